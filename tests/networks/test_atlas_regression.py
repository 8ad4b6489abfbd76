"""The regression of the atlas beside least squares solved another way, and what films may and may not do to it."""

from __future__ import annotations

import pytest
import torch

from tests.networks.small_stages import GRID, SIDE, beams_of, chest_hu, film_of, hard, small_stage
from xct_components.geometry import Beam, chest_beam_covering
from xct_components.networks.atlas_regression import KINDS, AtlasRegression, axis_of, film_features, film_kind
from xct_components.networks.cascade_stage import SeenFilms
from xct_components.physics.attenuation import hu_to_mu_per_mm
from xct_components.physics.consistency import HardConsistency, NoConsistency, SoftConsistency

SIZE = (SIDE // 2,) * 3
ATLAS = hu_to_mu_per_mm(chest_hu())
#: Films read on a plane of 20 mm pixels against those of a beam nearer or farther away: the cone magnifies front and back
#: differently, up to this share.
CONE = 0.06
#: float32 sums over a film.
ROUNDING = 1e-4


def regression(rank: int = 2, seed: int = 0) -> AtlasRegression:
    """Random components and maps."""
    made, generator = AtlasRegression(rank, SIZE), torch.Generator().manual_seed(seed)
    made.component.copy_(torch.randn(made.component.shape, generator=generator))
    made.coefficient.copy_(1e-3 * torch.randn(made.coefficient.shape, generator=generator))
    return made


def film(*views: str, wide: float = 1.1) -> torch.Tensor:
    return film_of(chest_hu(wide=wide), beams_of(*views))[0]


def test_what_the_films_are_chooses_the_regression():
    kinds = [
        film_kind(GRID, beams_of(*views), how)
        for how in (HardConsistency(), SoftConsistency())
        for views in (("PA",), ("PA", "LL"))
    ]
    assert kinds == list(range(len(KINDS)))
    assert film_kind(GRID, beams_of("AP"), HardConsistency()) == 0
    assert film_kind(GRID, beams_of("PA"), NoConsistency()) is None
    assert film_kind(GRID, beams_of("LL"), HardConsistency()) is None


def test_an_oblique_film_belongs_to_no_axis():
    turn = torch.tensor([[0.9, 0.436, 0, 0], [-0.436, 0.9, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]], dtype=torch.float64)
    turn[:2, :2] /= turn[:2, :2].det().sqrt()
    oblique, upright = GRID.moved(turn), beams_of("PA")[0]
    assert [axis_of(GRID, upright), axis_of(oblique, upright)] == [0, None]
    made = regression()
    assert made.moved(ATLAS, film("PA"), oblique, [upright], HardConsistency()) is ATLAS


def test_an_unmeasured_regression_leaves_the_atlas_alone():
    assert AtlasRegression(2, SIZE).moved(ATLAS, film("PA"), GRID, beams_of("PA"), HardConsistency()) is ATLAS


def test_features_of_a_frontal_film_are_its_means_over_the_fields_pixels():
    read = film_features(ATLAS, film("PA"), GRID, beams_of("PA"), HardConsistency(), SIZE)
    assert read.shape == (SIZE[1] * (SIZE[0] + SIZE[2]),)
    frontal, lateral = read.split([SIZE[1] * SIZE[2], SIZE[0] * SIZE[1]])
    assert not lateral.any()
    pooled = torch.nn.functional.adaptive_avg_pool2d(film("PA")[0], SIZE[1:]).flatten()
    assert float((frontal - pooled).norm() / pooled.norm()) < CONE


def test_the_same_patient_in_another_room_is_read_alike():
    near: list[Beam] = [chest_beam_covering(GRID, "PA", SIDE, SIDE, source_to_detector_mm=1400.0, source_to_patient_mm=1200.0)]
    far = beams_of("PA")
    one, other = (
        film_features(ATLAS, film_of(chest_hu(), beams)[0], GRID, beams, HardConsistency(), SIZE) for beams in (near, far)
    )
    assert float((one - other).norm() / other.norm()) < CONE


def test_gain_and_offset_of_an_estimated_film_do_not_matter():
    beams = beams_of("PA")
    one, other = (
        film_features(ATLAS, gain * film("PA") + offset, GRID, beams, SoftConsistency(), SIZE)
        for gain, offset in ((1.0, 0.0), (0.6, 0.4))
    )
    torch.testing.assert_close(one, other, rtol=ROUNDING, atol=ROUNDING)


def test_the_atlas_moves_by_its_components_as_the_map_says():
    made, beams = regression(), beams_of("PA")
    read = film_features(ATLAS, film("PA"), GRID, beams, HardConsistency(), SIZE)
    scores = [float(row @ read) for row in made.coefficient[0]]
    water = float(hu_to_mu_per_mm(torch.zeros(())))
    change = sum(score * component for score, component in zip(scores, made.component, strict=True))
    fine = torch.nn.functional.interpolate(change[None, None], size=ATLAS.shape[2:], mode="trilinear")
    moved = made.moved(ATLAS, film("PA"), GRID, beams, HardConsistency())
    torch.testing.assert_close(moved, (ATLAS + water * fine).clamp_min(0.0), rtol=ROUNDING, atol=1e-7)
    assert float(moved.amin()) >= 0.0


@pytest.mark.parametrize("views", [("PA",), ("PA", "LL")])
def test_a_stage_starts_from_the_moved_atlas_and_explains_the_film(views):
    stage, beams = small_stage(), beams_of(*views)
    films = film_of(chest_hu(wide=1.1), beams)
    plain = stage.prior_hu(films, [GRID], [beams], hard())
    stage.regression = regression()
    moved = stage.prior_hu(films, [GRID], [beams], hard())
    assert float((moved - plain).abs().amax()) > 10.0
    again = film_of(moved, beams)
    assert float((again - films).norm() / films.norm()) < 0.05


def test_the_regression_reads_the_whole_film_where_physics_compares_a_part():
    stage, beams = small_stage(), beams_of("PA")
    stage.regression = regression()
    films = film_of(chest_hu(wide=1.1), beams)
    rows = slice(2, SIDE - 2)
    part, cut = films[..., rows, :], [beams[0].crop(rows, slice(0, SIDE))]
    whole = stage.prior_hu(part, [GRID], [cut], hard(), seen=SeenFilms(films, [beams]))
    expected = stage.regression.moved(stage.atlas.mu_per_mm(GRID.shape), films[0], GRID, beams, HardConsistency())
    believed = HardConsistency()(expected, part, GRID, cut).clamp_max(float(hu_to_mu_per_mm(torch.tensor(1500.0))))
    torch.testing.assert_close(hu_to_mu_per_mm(whole), believed, rtol=1e-3, atol=1e-5)


def test_weights_of_a_stage_hold_its_regression():
    stage = small_stage(regression_rank=3)
    names = {name for name in stage.state_dict() if name.startswith("regression.")}
    assert names == {"regression.component", "regression.coefficient", "regression.bias"}
    assert small_stage().regression is None
