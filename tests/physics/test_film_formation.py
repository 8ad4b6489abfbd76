"""The whole chain: off by default, seeded, differentiable, and each step where it belongs."""

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from xct_components.physics.attenuation import hu_to_materials, hu_to_mu_per_mm
from xct_components.physics.film_formation import DARKEST_INTENSITY, FilmFormation, form_film
from xct_components.physics.scatter import scattered_radiation
from xct_components.physics.spectrum import polyenergetic_line_integral, tube_spectrum

FLOAT64 = 1e-12
#: Standard errors within which a seeded statistic must fall; chance exceeds it once in 1.7 million draws.
STANDARD_ERRORS = 5.0
PIXEL_MM = (1.0, 1.2)
EVERYTHING = FilmFormation(
    tube_kvp=120, water_linearized=True, scatter_to_primary=0.4, scatter_sigma_mm=10.0, photons_per_mm2=1e5, blur_sigma_mm=0.8
)
EACH_STEP = [
    FilmFormation(tube_kvp=100),
    FilmFormation(tube_kvp=120, water_linearized=True),
    FilmFormation(scatter_to_primary=1.5),
    FilmFormation(photons_per_mm2=1e6),
    FilmFormation(blur_sigma_mm=0.15),
    EVERYTHING,
]


def thorax_paths_mm(rows=12, cols=14, dtype=torch.float64) -> tuple[Tensor, Tensor]:
    """Water 20-250 mm and bone 0-20 mm, without symmetry."""
    y, x = torch.meshgrid(torch.linspace(0, 3, rows, dtype=dtype), torch.linspace(0, 4, cols, dtype=dtype), indexing="ij")
    return 135.0 + 115.0 * torch.sin(x) * torch.cos(y), 10.0 + 10.0 * torch.sin(3.0 * x + y)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def test_with_everything_off_the_film_is_the_line_integral_of_mu_at_60_kev():
    ct_hu = torch.randint(-1024, 2000, (20, 6, 7), generator=seeded()).double()
    soft, bone = hu_to_materials(ct_hu)
    film = form_film(soft.sum(dim=0) * 1.5, bone.sum(dim=0) * 1.5, PIXEL_MM, FilmFormation())
    torch.testing.assert_close(film, hu_to_mu_per_mm(ct_hu, 60.0).sum(dim=0) * 1.5, rtol=FLOAT64, atol=FLOAT64)


def test_a_real_beam_alone_gives_the_polyenergetic_line_integral():
    paths = thorax_paths_mm()
    film = form_film(*paths, PIXEL_MM, FilmFormation(tube_kvp=100))
    assert torch.equal(film, polyenergetic_line_integral(*paths, tube_spectrum(100)))


def test_scatter_adds_its_intensity_to_the_primary():
    paths = thorax_paths_mm()
    primary = form_film(*paths, PIXEL_MM, FilmFormation(tube_kvp=120))
    film = form_film(*paths, PIXEL_MM, FilmFormation(tube_kvp=120, scatter_to_primary=0.5, scatter_sigma_mm=8.0))
    added = torch.exp(-film) - torch.exp(-primary)
    torch.testing.assert_close(added, scattered_radiation(primary, PIXEL_MM, 0.5, 8.0), rtol=1e-9, atol=FLOAT64)


def test_a_corrected_film_of_water_is_as_if_the_beam_had_one_energy():
    soft_mm, _ = thorax_paths_mm()
    corrected = form_film(soft_mm, torch.zeros_like(soft_mm), PIXEL_MM, FilmFormation(tube_kvp=120, water_linearized=True))
    torch.testing.assert_close(corrected, form_film(soft_mm, torch.zeros_like(soft_mm), PIXEL_MM, FilmFormation()))


@pytest.mark.parametrize("scatter_to_primary", [None, 2.0])
def test_the_noise_of_the_film_is_that_of_all_quanta_that_arrive(scatter_to_primary):
    # 100 mm of water on 200 x 200 pixels; the scatter of a uniform film is uniform far from its edges.
    soft_mm = torch.full((200, 200), 100.0, dtype=torch.float64)
    settings = FilmFormation(scatter_to_primary=scatter_to_primary, scatter_sigma_mm=5.0)
    clean = form_film(soft_mm, torch.zeros_like(soft_mm), PIXEL_MM, settings)
    noisy = form_film(soft_mm, torch.zeros_like(soft_mm), PIXEL_MM, replace(settings, photons_per_mm2=1e6), seeded())
    middle = (slice(40, -40), slice(40, -40))
    counts = 1e6 * math.prod(PIXEL_MM) * torch.exp(-clean[middle])
    noise = (noisy - clean)[middle]
    # d(-ln N) = -dN / N: the variance of the film is 1 / counts.
    assert noise.var().item() == pytest.approx(
        (1.0 / counts).mean().item(), rel=STANDARD_ERRORS * math.sqrt(2.0 / noise.numel())
    )


def test_the_same_seed_gives_the_same_film_and_another_seed_another():
    paths = thorax_paths_mm()
    first, again, other = (form_film(*paths, PIXEL_MM, EVERYTHING, seeded(seed)) for seed in (7, 7, 8))
    assert torch.equal(first, again)
    assert not torch.allclose(first, other)


def test_one_pixel_pitch_serves_for_both_directions():
    paths = thorax_paths_mm()
    assert torch.equal(form_film(*paths, 0.9, EVERYTHING, seeded()), form_film(*paths, (0.9, 0.9), EVERYTHING, seeded()))


def test_the_films_of_a_batch_do_not_meet():
    soft_mm, bone_mm = (path[None, None].repeat(2, 1, 1, 1) for path in thorax_paths_mm())
    soft_mm[1] *= 0.5
    settings = replace(EVERYTHING, photons_per_mm2=None)
    together = form_film(soft_mm, bone_mm, PIXEL_MM, settings)
    for index in range(2):
        alone = form_film(soft_mm[index], bone_mm[index], PIXEL_MM, settings)
        torch.testing.assert_close(together[index], alone, rtol=1e-9, atol=FLOAT64)


def test_behind_opaque_metal_the_film_ends_at_the_darkest_signal():
    soft_mm = torch.full((4, 4), 1e4)
    film = form_film(soft_mm, soft_mm, PIXEL_MM, FilmFormation(photons_per_mm2=1e6, blur_sigma_mm=0.5), seeded())
    assert film.max().item() <= -math.log(DARKEST_INTENSITY) + 1e-5
    assert bool(torch.isfinite(film).all())


@pytest.mark.parametrize("settings", EACH_STEP)
def test_gradients_reach_both_paths_through_every_step(settings):
    paths_mm = torch.stack(thorax_paths_mm(rows=3, cols=4)).requires_grad_()
    assert torch.autograd.gradcheck(lambda p: form_film(p[0], p[1], PIXEL_MM, settings, seeded()), paths_mm, eps=1e-3)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("settings", EACH_STEP)
def test_a_film_keeps_the_precision_of_its_paths(settings, dtype):
    film = form_film(*thorax_paths_mm(dtype=dtype), PIXEL_MM, settings, seeded())
    assert film.dtype == dtype


@pytest.mark.parametrize("settings", [FilmFormation(), *EACH_STEP])
def test_settings_survive_repr_and_json(settings):
    assert eval(repr(settings)) == settings
    assert FilmFormation.from_json(settings.to_json()) == settings


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"tube_kvp": 125}, "tube_kvp must be one of 80, 100, 120, 140, got 125"),
        ({"water_linearized": True}, "water_linearized needs tube_kvp, got None"),
        ({"scatter_to_primary": 0.0}, "scatter_to_primary must be positive and finite, got 0.0; None switches"),
        ({"scatter_sigma_mm": -1.0}, "scatter_sigma_mm must be positive and finite, got -1.0"),
        ({"photons_per_mm2": float("inf")}, "photons_per_mm2 must be positive and finite, got inf"),
        ({"blur_sigma_mm": float("nan")}, "blur_sigma_mm must be positive and finite, got nan"),
    ],
)
def test_settings_out_of_range_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        FilmFormation(**settings)


def test_a_misspelt_setting_is_not_ignored():
    with pytest.raises(ValueError, match=r"settings must be among tube_kvp, .*, got scatter_ratio"):
        FilmFormation.from_json({"scatter_ratio": 0.4})


def test_noise_without_a_generator_is_refused():
    with pytest.raises(ValueError, match="generator must be given with photons_per_mm2, got None"):
        form_film(*thorax_paths_mm(), PIXEL_MM, FilmFormation(photons_per_mm2=1e6))


def test_paths_that_hold_nan_or_half_precision_are_refused():
    soft_mm, bone_mm = thorax_paths_mm()
    with pytest.raises(ValueError, match="bone_mm must be finite, got NaN or Inf"):
        form_film(soft_mm, bone_mm * float("nan"), PIXEL_MM, FilmFormation())
    with pytest.raises(ValueError, match=r"soft_mm must be float32 or float64, got torch\.float16"):
        form_film(soft_mm.half(), bone_mm, PIXEL_MM, FilmFormation())
