"""CTs bent to a film: beside the patient they came from, in other rooms, mirrored, and where there is nothing to bend."""

from __future__ import annotations

import io

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

import xct_components.networks.multi_atlas as multi_atlas_module
from tests.networks.small_stages import chest_hu as narrow_or_broad
from tests.networks.small_stages import film_of as film_on
from tests.networks.small_stages import hard, small_stage
from xct_components.geometry import Beam, VolumeGrid, chest_beam_covering
from xct_components.inferers.frontal_first import FrontalFirst
from xct_components.networks.cascade_stage import SeenFilms
from xct_components.networks.multi_atlas import BYTE_STEP_HU, BentCts, MultiAtlas, key_of
from xct_components.physics.attenuation import hu_to_mu_per_mm, mu_per_mm_to_hu
from xct_components.physics.consistency import Consistency, HardConsistency, NoConsistency, SoftConsistency
from xct_components.physics.gain_and_offset import MEAN_PATIENT_ERROR, believed_gain_offset
from xct_components.physics.projector import project
from xct_components.training.released_weights import release_state

SIDE = 32
SIZE = (SIDE,) * 3
GRID = VolumeGrid.chest(SIZE, 320.0 / SIDE)
SIZES = (0.8, 0.9, 1.0, 1.1)
HARD = HardConsistency()
#: Sums in another order, through a hundred steps, in HU: hundredths of a voxel at edges of 800 HU; patients differ by 100.
STEPS_AGREE_HU = 15.0


def chest_hu(*, size: float = 1.0, heart: bool = True) -> Tensor:
    """A patient so large in all directions."""
    return narrow_or_broad(VolumeGrid.chest(SIZE, 320.0 / SIDE / size), heart=heart)


ATLAS = hu_to_mu_per_mm(chest_hu())


def beams_of(*views: str) -> list[Beam]:
    return [chest_beam_covering(GRID, view, SIDE, SIDE) for view in views]  # type: ignore[arg-type]


def film_of(ct_hu: Tensor, beams: list[Beam]) -> Tensor:
    return film_on(ct_hu, beams, GRID)


def multi_atlas(**chests: Tensor) -> MultiAtlas:
    made = MultiAtlas(6, SIZE)
    made.measure(chests.items() if chests else [(f"size {size}", chest_hu(size=size)) for size in SIZES])
    return made


def bent_cts(held: MultiAtlas, film: Tensor, beams: list[Beam], how: Consistency = HARD, without: str | None = None) -> BentCts:
    """What a film bends; something."""
    found = held.bent(ATLAS, film, GRID, beams, how, without)
    assert found is not None
    return found


def bent(held: MultiAtlas, ct_hu: Tensor, *views: str, beams: list[Beam] | None = None, without: str | None = None) -> Tensor:
    """HU of the volume that films of ``ct_hu`` make of the CTs that are held."""
    exposures = beams_of(*(views or ("PA",))) if beams is None else beams
    return mu_per_mm_to_hu(bent_cts(held, film_of(ct_hu, exposures)[0], exposures, without=without).mu_per_mm)


def rmse(one: Tensor, other: Tensor) -> float:
    return float((one - other).square().mean().sqrt())


def deeper(ct_hu: Tensor, voxels: int) -> Tensor:
    """The patient further back."""
    return ct_hu.roll(voxels, dims=2)


def test_a_patient_whose_ct_is_held_gets_it_back() -> None:
    found = bent(multi_atlas(self=chest_hu()), chest_hu())
    # rounded to bytes, and bent by hundredths of a voxel to the film of what was not
    assert rmse(found, chest_hu()) < BYTE_STEP_HU


@pytest.mark.parametrize("size", [0.85, 1.05])
def test_bent_cts_are_nearer_to_a_patient_than_their_mean(size: float) -> None:
    truth = chest_hu(size=size)
    plain = torch.stack([chest_hu(size=other) for other in SIZES]).mean(0)
    assert rmse(bent(multi_atlas(), truth), truth) < 0.75 * rmse(plain, truth)


def test_a_lateral_film_tells_how_deep_things_lie() -> None:
    truth = deeper(chest_hu(size=0.95), 1)
    one, two = (rmse(bent(multi_atlas(), truth, *views), truth) for views in (("PA",), ("PA", "LL")))
    assert two < 0.8 * one


def test_a_patient_is_left_out_as_if_never_held() -> None:
    truth = chest_hu(size=0.95)
    others = {f"size {size}": chest_hu(size=size) for size in SIZES if size != 0.9}
    assert torch.equal(bent(multi_atlas(), truth, without="size 0.9"), bent(multi_atlas(**others), truth))
    assert torch.equal(bent(multi_atlas(), truth, without="somebody else"), bent(multi_atlas(), truth))


def test_a_patient_alone_leaves_nothing_when_left_out() -> None:
    held, beams = multi_atlas(self=chest_hu()), beams_of("PA")
    assert held.bent(ATLAS, film_of(chest_hu(), beams)[0], GRID, beams, HARD, "self") is None


def test_mean_and_variance_are_those_of_the_cts_one_by_one() -> None:
    beams = beams_of("PA")
    film = film_of(chest_hu(size=0.95), beams)[0]
    together = bent_cts(multi_atlas(), film, beams)
    each = [bent_cts(multi_atlas(**{str(size): chest_hu(size=size)}), film, beams) for size in SIZES]
    alone = torch.stack([one.mean_hu for one in each])
    torch.testing.assert_close(together.mean_hu, alone.mean(0), rtol=0.0, atol=STEPS_AGREE_HU)
    torch.testing.assert_close(together.variance_hu2.sqrt(), alone.std(0), rtol=0.0, atol=STEPS_AGREE_HU)
    assert float(together.variance_hu2.sqrt().max()) > 10.0 * STEPS_AGREE_HU
    assert (together.patients, together.grid.shape) == (len(SIZES), SIZE)
    assert [(one.patients, float(one.variance_hu2.max())) for one in each] == [(1, 0.0)] * len(SIZES)


@pytest.mark.parametrize("views", [("PA",), ("PA", "LL")])
def test_members_are_the_mean_one_by_one(views: tuple[str, ...]) -> None:
    """What moves the mean moves its members likewise: the mean of the moved ones is the mean moved."""
    beams = beams_of(*views)
    found = bent_cts(multi_atlas(), film_of(chest_hu(size=0.95), beams)[0], beams)
    assert found.members_per_mm.shape == (len(SIZES), 1, *SIZE)
    # nothing is below air: what a member has less than nothing, the mean may take from others
    somewhere = (found.members_per_mm > 0.0).all(0, keepdim=True)
    mean = found.members_per_mm.mean(0, keepdim=True)
    assert float(somewhere.float().mean()) > 0.3  # the body
    torch.testing.assert_close(mean[somewhere], found.mu_per_mm[somewhere], rtol=1e-4, atol=1e-6)


def test_every_member_shows_nearly_what_the_film_shows() -> None:
    beams, truth = beams_of("PA"), chest_hu(size=0.95)
    film = film_of(truth, beams)
    found = bent_cts(multi_atlas(), film[0], beams)

    def film_error(volume_per_mm: Tensor) -> float:
        return float((project(volume_per_mm, GRID, beams) - film).norm() / film.norm())

    as_they_are = [film_error(hu_to_mu_per_mm(chest_hu(size=size))) for size in SIZES]
    assert max(film_error(found.member_per_mm(number)) for number in range(len(SIZES))) < 0.5 * min(as_they_are)


def test_members_are_as_sharp_as_the_cts_they_were() -> None:
    """Hearts in different places: their mean has two faint ones."""
    beams, here, there = beams_of("PA"), chest_hu(), deeper(chest_hu(), 3)
    found = bent_cts(multi_atlas(here=here, there=there), film_of(chest_hu(), beams)[0], beams)
    sharpness = [float(one.diff(dim=2).square().mean()) for one in (found.member_per_mm(0), found.mu_per_mm)]
    assert sharpness[0] > 1.2 * sharpness[1]


def test_the_first_member_is_the_one_that_bends_with_the_least_energy() -> None:
    truth = chest_hu(size=0.95)
    held = multi_atlas(small=chest_hu(size=0.7), alike=truth, large=chest_hu(size=1.2))
    beams = beams_of("PA")
    found = bent_cts(held, film_of(truth, beams)[0], beams)
    errors = [rmse(mu_per_mm_to_hu(found.member_per_mm(number)), truth) for number in range(3)]
    assert errors[0] == min(errors)


def test_a_member_comes_on_the_voxels_of_the_mean() -> None:
    held, beams = multi_atlas(), beams_of("PA")
    fine = F.interpolate(ATLAS, scale_factor=2.0, mode="nearest")
    found = held.bent(fine, film_of(chest_hu(size=0.95), beams)[0], GRID.resampled((2 * SIDE,) * 3), beams, HARD)
    assert found is not None
    assert found.member_per_mm(0).shape == found.mu_per_mm.shape == fine.shape


def test_cts_whose_films_fit_better_count_more() -> None:
    truth = chest_hu(size=0.95)
    near, far = chest_hu(size=0.95), chest_hu(size=0.95, heart=False)
    found = bent(multi_atlas(near=near, far=far), truth)
    assert rmse(found, near) < rmse(found, far)


def test_mirrored_patients_are_bent_to_mirrored_films_alike() -> None:
    """The heart of the film's left stays on its left."""
    truth, mirrored = chest_hu(size=0.95), {f"size {size}": chest_hu(size=size).flip(-1) for size in SIZES}
    found = bent(multi_atlas(**mirrored), truth.flip(-1)).flip(-1)
    assert rmse(found, bent(multi_atlas(), truth)) < STEPS_AGREE_HU
    wrong = bent(multi_atlas(**mirrored), truth)
    assert rmse(wrong, truth) > rmse(found, truth)


def test_the_same_patient_in_another_room_is_bent_alike() -> None:
    near: list[Beam] = [chest_beam_covering(GRID, "PA", SIDE, SIDE, source_to_detector_mm=1400.0, source_to_patient_mm=1200.0)]
    truth = chest_hu(size=0.95)
    one, other = bent(multi_atlas(), truth, beams=near), bent(multi_atlas(), truth)
    assert rmse(one, other) < 0.2 * rmse(other, truth)


def test_a_calibrated_film_is_taken_for_what_it_may_mean_beside_the_atlas() -> None:
    beams, held = beams_of("PA"), multi_atlas()
    shown = 0.8 * film_of(chest_hu(size=0.95), beams) + 0.3
    gain, offset = believed_gain_offset(shown, project(ATLAS, GRID, beams), MEAN_PATIENT_ERROR)
    meant = bent_cts(held, (gain * shown + offset)[0], beams)
    assert torch.equal(bent_cts(held, shown[0], beams, SoftConsistency()).mu_per_mm, meant.mu_per_mm)
    assert not torch.equal(bent_cts(held, shown[0], beams).mu_per_mm, meant.mu_per_mm)


def test_a_film_that_is_calibrated_well_bends_as_an_exact_one_does() -> None:
    beams, held, truth = beams_of("PA"), multi_atlas(), chest_hu(size=0.95)
    film = film_of(truth, beams)[0]
    exact, estimated = (mu_per_mm_to_hu(bent_cts(held, film, beams, how).mu_per_mm) for how in (HARD, SoftConsistency()))
    assert rmse(exact, estimated) < 0.5 * rmse(exact, truth)


@pytest.mark.parametrize("scale", [0.8, 1.25])
def test_two_calibrated_films_show_how_thick_the_patient_is_and_with_it_their_scale(scale: float) -> None:
    patient, beams = chest_hu(size=0.95), beams_of("PA", "LL")
    film = film_of(patient, beams)[0]
    right = rmse(mu_per_mm_to_hu(bent_cts(multi_atlas(), film, beams).mu_per_mm), patient)
    ways: tuple[Consistency, ...] = (HARD, FrontalFirst())
    taken, told = (rmse(mu_per_mm_to_hu(bent_cts(multi_atlas(), scale * film, beams, how).mu_per_mm), patient) for how in ways)
    assert taken > 1.1 * right  # such films do harm if they are taken for exact ones
    assert told - right < 0.5 * (taken - right)


@pytest.mark.parametrize(
    ("views", "how"), [(("LL",), HARD), (("PA",), NoConsistency()), (("PA", "PA"), HARD)], ids=["lateral", "ignored", "twice"]
)
def test_films_that_say_nothing_bend_nothing(views: tuple[str, ...], how: Consistency) -> None:
    beams = beams_of(*views)
    assert multi_atlas().bent(ATLAS, film_of(chest_hu(), beams)[0], GRID, beams, how) is None


def test_an_oblique_film_bends_nothing_and_no_ct_is_bent() -> None:
    turn = torch.tensor([[0.9, 0.436, 0, 0], [-0.436, 0.9, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]], dtype=torch.float64)
    turn[:2, :2] /= turn[:2, :2].det().sqrt()
    beams = beams_of("PA")
    film = film_of(chest_hu(), beams)[0]
    assert multi_atlas().bent(ATLAS, film, GRID.moved(turn), beams, HARD) is None
    assert MultiAtlas(2, SIZE).bent(ATLAS, film, GRID, beams, HARD) is None


def test_it_holds_as_many_as_it_was_made_for_and_no_names() -> None:
    held = MultiAtlas(2, SIZE)
    assert [MultiAtlas(2, SIZE).is_measured, multi_atlas().is_measured] == [False, True]
    held.measure([("a", chest_hu()), ("b", chest_hu()), ("c", chest_hu())])
    assert held.key.tolist() == [key_of("a"), key_of("b")]
    held.measure([("c", chest_hu(size=0.8))])
    assert held.key.tolist() == [key_of("c"), 0]


def test_of_many_cts_those_are_bent_whose_films_are_most_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    """Four sizes, each many times: a film of one size is answered by its own kind, as if no other were held."""
    monkeypatch.setattr(multi_atlas_module, "MOST_BENT", 3)
    many = MultiAtlas(12, SIZE)
    many.measure((f"{size} {k}", chest_hu(size=size)) for k in range(3) for size in SIZES)
    for size in SIZES:
        film = film_of(chest_hu(size=size), beams_of("PA"))[0]
        alike = MultiAtlas(3, SIZE)
        alike.measure((str(k), chest_hu(size=size)) for k in range(3))
        found, expected = (bent_cts(held, film, beams_of("PA")) for held in (many, alike))
        assert found.patients == 3
        assert torch.equal(found.mu_per_mm, expected.mu_per_mm)


def test_a_patient_left_out_is_not_among_the_most_alike_either(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(multi_atlas_module, "MOST_BENT", 2)
    film, beams = film_of(chest_hu(size=0.9), beams_of("PA", "LL"))[0], beams_of("PA", "LL")
    held = multi_atlas()
    found, without = (bent_cts(held, film, beams, without=name) for name in (None, "size 0.9"))
    others = multi_atlas(**{f"size {size}": chest_hu(size=size) for size in SIZES if size != 0.9})
    assert torch.equal(without.mu_per_mm, bent_cts(others, film, beams).mu_per_mm)
    assert not torch.equal(found.mu_per_mm, without.mu_per_mm)


def test_weights_bring_as_many_cts_as_they_hold() -> None:
    held, other = multi_atlas(), MultiAtlas(2, SIZE)
    other.load_state_dict(held.state_dict(), strict=True)
    assert torch.equal(other.ct, held.ct)
    assert torch.equal(other.key, held.key)
    with pytest.raises(RuntimeError, match="size mismatch for ct"):
        MultiAtlas(2, (8, 8, 8)).load_state_dict(held.state_dict())


def test_what_is_beyond_a_byte_is_held_at_its_ends() -> None:
    held = multi_atlas(metal=torch.full((1, 1, *SIZE), 3000.0), nothing=torch.full((1, 1, *SIZE), -2000.0))
    assert (int(held.ct[0].min()), int(held.ct[1].max())) == (255, 0)


@pytest.mark.parametrize("views", [("PA",), ("PA", "LL")])
def test_a_stage_starts_from_bent_cts_and_explains_the_film(views: tuple[str, ...]) -> None:
    stage, beams = small_stage(SIDE, atlas_cts=6), beams_of(*views)
    films = film_of(chest_hu(size=0.95), beams)
    plain = stage.prior_hu(films, [GRID], [beams], hard())
    stage.multi_atlas = multi_atlas()
    found = stage.prior_hu(films, [GRID], [beams], hard())
    assert rmse(found, chest_hu(size=0.95)) < rmse(plain, chest_hu(size=0.95))
    again = film_of(found, beams)
    assert float((again - films).norm() / films.norm()) < 0.05
    assert not torch.equal(stage.prior_hu(films, [GRID], [beams], hard(), without=["size 0.9"]), found)


def test_the_whole_film_bends_where_physics_compares_a_part() -> None:
    stage, beams = small_stage(SIDE, atlas_cts=6), beams_of("PA")
    stage.multi_atlas = multi_atlas()
    films = film_of(chest_hu(size=0.95), beams)
    rows = slice(2, SIDE - 2)
    part, cut = films[..., rows, :], [beams[0].crop(rows, slice(0, SIDE))]
    found = stage.prior_hu(part, [GRID], [cut], hard(), seen=SeenFilms(films, [beams]))
    start = bent_cts(stage.multi_atlas, films[0], beams)
    expected = HARD(start.mu_per_mm, part, GRID, cut).clamp_max(float(hu_to_mu_per_mm(torch.tensor(1500.0))))
    torch.testing.assert_close(hu_to_mu_per_mm(found), expected, rtol=1e-3, atol=1e-5)


def test_weights_that_leave_training_hold_the_cts_to_the_byte() -> None:
    stage = small_stage(SIDE, atlas_cts=6)
    assert stage.multi_atlas is not None
    stage.multi_atlas.measure([("a", chest_hu())])
    file = io.BytesIO()
    torch.save(release_state(stage), file)
    file.seek(0)
    other = small_stage(SIDE, atlas_cts=6)
    other.load_state_dict(torch.load(file, weights_only=True), strict=True)
    assert other.multi_atlas is not None
    assert torch.equal(other.multi_atlas.ct, stage.multi_atlas.ct)
    assert torch.equal(other.multi_atlas.key, stage.multi_atlas.key)
    assert small_stage().multi_atlas is None
