"""The stages as one: each refines the one before, in the patient's own world."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from monai.data import MetaTensor, decollate_batch
from torch import Tensor

from tests.inferers.tiny_stages import FIELD_MM, chest_hu, held_voxels_mm, tiny_stage
from xct_components.failures import RefusedInput, UnreadableInput, UsageFailure
from xct_components.geometry import VolumeGrid, chest_beam_covering
from xct_components.inferers.cascade import CascadeInferer
from xct_components.inferers.cascade_film import CascadeFilm
from xct_components.inferers.film_reading import as_cascade_film, read_cascade_film
from xct_components.inferers.memory_needed import available_bytes, needed_bytes
from xct_components.inferers.resampled_volume import on_field
from xct_components.inferers.stated_deviation import stated_deviation
from xct_components.networks.deviation_factors import NO_SAMPLES, DeviationFactors, FilmsSeen, MeasuredFactor
from xct_components.networks.multi_atlas import key_of
from xct_components.physics.attenuation import hu_to_mu_per_mm
from xct_components.physics.consistency import HardConsistency, NoConsistency
from xct_components.physics.projector import project
from xct_components.simulate_command import simulate

CENTER_MM = (12.0, -30.0, 45.0)
GRID = VolumeGrid.chest((64, 64, 64), 5.0, CENTER_MM)
BEAM = chest_beam_covering(GRID, "PA", 64, 64)
FILM = CascadeFilm(project(hu_to_mu_per_mm(chest_hu(GRID)), GRID, [BEAM]), (BEAM,), CENTER_MM, exact=True)
#: Issue 4: a simulated film is explained to this at every stage.
EXPLAINED = 0.01
ROUNDING_HU = 0.05
FIRST, SECOND = tiny_stage(16), tiny_stage(32, needs_coarse=True, seed=1)
HOLDING = tiny_stage(16, atlas_cts=3)
CT = Path(__file__).parents[1] / "data" / "cip-ct-64.nrrd"
REAL_FILM = Path(__file__).parents[1] / "data" / "films" / "00000001_000.png"


def test_every_stage_explains_the_film_and_lies_around_the_patient():
    seen = []
    result = CascadeInferer([FIRST]).run(FILM, SECOND, on_stage=lambda *what: seen.append(what))
    assert [number for number, _, _ in seen] == [1, 2]
    assert [field.shape for _, _, field in seen] == [(16, 16, 16), (32, 32, 32)]
    assert all(float(stage.film_error) <= EXPLAINED for _, stage, _ in seen)
    assert all(field.center_mm == pytest.approx(CENTER_MM) for _, _, field in seen)
    assert result.field.axis_codes == "PIL"
    assert len(result.seconds) == 2


def test_the_cascade_is_one_stage_after_the_other():
    by_hand = CascadeInferer([FIRST]).run(FILM, SECOND).volume_hu
    coarse_hu = CascadeInferer().run(FILM, FIRST).volume_hu
    assert torch.equal(CascadeInferer().run(FILM, SECOND, coarse_hu=coarse_hu).volume_hu, by_hand)
    assert torch.equal(CascadeInferer([FIRST], num_stages=1).run(FILM, SECOND).volume_hu, coarse_hu)


def test_chains_run_through_all_stages_and_their_statistics_are_those_of_their_volumes():
    settings: dict[str, Any] = {"mode": "sample", "steps": 2}
    result = CascadeInferer([FIRST], samples=2, **settings).run(FILM, SECOND)
    first = CascadeInferer([FIRST], **settings).run(FILM, SECOND).volume_hu
    second = 2.0 * result.volume_hu - first
    assert result.std_hu is not None
    raw = torch.from_numpy(np.var([first.numpy(), second.numpy()], axis=0, ddof=1))
    told = stated_deviation(result.volume_hu, result.field, variance_hu2=raw)
    torch.testing.assert_close(result.std_hu, told, atol=ROUNDING_HU, rtol=0.0)
    assert float(result.std_hu.mean()) > 1.0


def test_what_the_first_stage_bends_tells_the_deviation_of_the_last():
    seen = []
    result = CascadeInferer([HOLDING]).run(FILM, SECOND, on_stage=lambda *what: seen.append(what[1]))
    (bent,) = seen[0].bent
    told = stated_deviation(result.volume_hu, result.field, bent=bent)
    assert result.std_hu is not None
    assert told is not None
    assert torch.equal(result.std_hu, told)
    assert (result.bent_cts, result.std_factor) == (3, 1.0)
    assert seen[1].bent[0] is bent
    given = CascadeInferer([HOLDING]).run(FILM, SECOND, coarse_hu=seen[0].volume_hu)
    assert (given.std_hu, given.bent_cts) == (None, 0)


def test_samples_bend_once_and_add_to_the_deviation(monkeypatch):
    held = HOLDING.multi_atlas
    assert held is not None
    bends: list[Any] = []
    bent = held.bent

    def counted(*what: Any) -> Any:
        bends.append(bent(*what))
        return bends[-1]

    monkeypatch.setattr(held, "bent", counted)
    result = CascadeInferer([HOLDING], samples=2, steps=2).run(FILM, SECOND)
    assert len(bends) == 1
    alone = stated_deviation(result.volume_hu, result.field, bent=bends[0])
    assert result.std_hu is not None
    assert alone is not None
    assert bool((result.std_hu >= alone).all())
    assert float((result.std_hu - alone).mean()) > 1.0
    assert CascadeInferer([HOLDING], mode="sample", steps=2).run(FILM, SECOND).std_hu is None


def test_members_come_beside_a_mean_that_does_not_know_of_them():
    alone, result = CascadeInferer([HOLDING]).run(FILM, SECOND), CascadeInferer([HOLDING], members=3).run(FILM, SECOND)
    assert torch.equal(result.volume_hu, alone.volume_hu)
    assert alone.std_hu is not None
    assert result.std_hu is not None
    assert torch.equal(result.std_hu, alone.std_hu)
    by_itself = [CascadeInferer([HOLDING], mode="member", seed=seed).run(FILM, SECOND) for seed in range(3)]
    assert [one.std_hu for one in by_itself] == [None] * 3
    assert all(float(one.film_error[0]) <= EXPLAINED for one in by_itself)
    for member, one in zip(result.members_hu, by_itself, strict=True):
        assert member.dtype == torch.int16
        assert torch.equal(member, one.volume_hu.round().to(torch.int16))


def test_a_member_has_the_detail_of_its_ct_and_the_mean_none():
    fine = VolumeGrid.chest((32, 32, 32), FIELD_MM / 32)
    plain, detailed = (tiny_stage(32, needs_coarse=True, seed=1, detail_step_hu=10.0) for _ in range(2))
    assert detailed.detail is not None
    assert HOLDING.multi_atlas is not None
    rough = 200.0 * torch.randn((1, 1, 32, 32, 32), generator=torch.Generator().manual_seed(0))
    first, second, third = (f"in {mm} mm" for mm in held_voxels_mm(3))
    detailed.detail.measure([(first, chest_hu(fine) + rough), (third, chest_hu(fine) + rough)])
    without, with_it = (CascadeInferer([HOLDING], members=3).run(FILM, stage) for stage in (plain, detailed))
    assert torch.equal(with_it.volume_hu, without.volume_hu)
    for number, key in enumerate(_keys_in_order()):
        sharper = [float(one.members_hu[number].float().diff(dim=2).square().mean()) for one in (without, with_it)]
        assert (sharper[1] > 1.1 * sharper[0]) == (key != key_of(second))
        assert torch.equal(with_it.members_hu[number], without.members_hu[number]) == (key == key_of(second))


def _keys_in_order() -> list[int]:
    """Whose the members are."""
    seen: list[Any] = []
    CascadeInferer([HOLDING]).run(FILM, SECOND, on_stage=lambda *what: seen.append(what[1]))
    keys: list[int] = seen[0].bent[0].keys.tolist()
    return keys


def test_members_are_counted_as_passes_and_refused_before_the_mean_is_finished():
    seen: list[tuple[int, int, int]] = []
    CascadeInferer([HOLDING], members=2, seed=5).run(FILM, SECOND, on_progress=lambda *what: seen.append(what))
    assert [(done, total) for _, done, total in seen] == [(done, 6) for done in range(1, 7)]
    for stages, count, most in (([HOLDING], 4, 3), ([FIRST], 1, 0)):
        seen.clear()
        with pytest.raises(UsageFailure, match=f"members must be at most {most}, .*; got {count}"):
            CascadeInferer(stages, members=count).run(FILM, SECOND, on_progress=lambda *what: seen.append(what))
        assert len(seen) == 1
    coarse_hu = CascadeInferer().run(FILM, FIRST).volume_hu
    with pytest.raises(UsageFailure, match="begin with the first stage"):
        CascadeInferer([HOLDING], members=1).run(FILM, SECOND, coarse_hu=coarse_hu)
    with pytest.raises(ValueError, match="members must be 0 or more"):
        CascadeInferer(members=-1)


@pytest.mark.parametrize("num_stages", [1, 2])
def test_the_deviation_is_multiplied_by_the_factor_of_the_last_stage_that_runs(num_stages):
    factors = {1: 1.5, 2: 3.0}
    stages = [tiny_stage(16), tiny_stage(32, needs_coarse=True, seed=1)]
    infer = CascadeInferer(stages[:1], samples=2, steps=2, num_stages=num_stages)
    drawn = infer.run(FILM, stages[1])
    for number, stage in enumerate(stages, start=1):
        stage.deviation_factors = DeviationFactors((MeasuredFactor(2, factors[number], 10),))
    result = infer.run(FILM, stages[1])
    assert (drawn.std_factor, result.std_factor) == (1.0, factors[num_stages])
    assert drawn.std_hu is not None
    assert result.std_hu is not None
    assert torch.equal(result.std_hu, drawn.std_hu * factors[num_stages])


@pytest.mark.parametrize("consistency", [None, HardConsistency(), NoConsistency()], ids=["its own", "hard", "off"])
def test_a_calibrated_film_has_the_factor_of_such_films_however_far_it_is_believed(consistency):
    stage = tiny_stage(16, atlas_cts=3)
    of_such = MeasuredFactor(NO_SAMPLES, 1.5, 10, FilmsSeen(1, calibrated=True))
    stage.deviation_factors = DeviationFactors((MeasuredFactor(NO_SAMPLES, 9.0, 10), of_such))
    film = CascadeFilm(FILM.line_integrals, FILM.beams, CENTER_MM)
    plain, stated = (CascadeInferer(consistency=consistency).run(film, one) for one in (tiny_stage(16, atlas_cts=3), stage))
    assert stated.std_factor == 1.5
    if plain.std_hu is None:  # films that are not believed bend nothing
        assert isinstance(consistency, NoConsistency)
        return
    assert stated.std_hu is not None
    assert torch.equal(stated.std_hu, plain.std_hu * 1.5)


def test_progress_counts_stages_and_samples():
    seen: list[tuple[int, int, int]] = []
    CascadeInferer([FIRST], samples=2, steps=2).run(FILM, SECOND, on_progress=lambda *what: seen.append(what))
    assert [done for _, done, _ in seen] == list(range(1, 11))
    assert {total for _, _, total in seen} == {10}
    assert [stage for stage, _, _ in seen] == [1, 2, 1, 1, 2, 2, 1, 1, 2, 2]


def test_a_batch_of_an_evaluator_becomes_volumes_with_their_own_affines():
    fields = [VolumeGrid.chest((32, 32, 32), 10.0, center) for center in (CENTER_MM, (0.0, 0.0, 0.0))]
    beams = [[BEAM], [chest_beam_covering(fields[1], "PA", 64, 64)]]
    film = MetaTensor(
        FILM.line_integrals[:, :, 0].repeat(2, 1, 1, 1), meta={"affine": torch.diag(torch.tensor([2.0, 2.0, 1.0, 1.0]))}
    )
    volumes = CascadeInferer([FIRST])(film, SECOND, fields=fields, beams=beams)
    assert volumes.shape == (2, 1, 32, 32, 32)
    for volume, field in zip(decollate_batch(volumes), fields, strict=True):
        torch.testing.assert_close(volume.affine, field.affine)
    torch.testing.assert_close(volumes[0].as_subclass(Tensor), volumes[1].as_subclass(Tensor), atol=0.5, rtol=0.0)


def test_a_last_field_that_reaches_further_is_filled_from_the_stage_before():
    tall = VolumeGrid.chest((32, 38, 32), 10.0, CENTER_MM)
    result = CascadeInferer([FIRST]).run(FILM, SECOND, last_field=tall)
    assert result.volume_hu.shape[2:] == (32, 38, 32)
    assert result.film_error[0] <= EXPLAINED


def test_a_volume_on_another_field_keeps_its_place():
    grid, field = VolumeGrid.chest((8, 8, 8), 10.0), VolumeGrid.chest((16, 24, 16), 5.0)
    index = torch.stack(torch.meshgrid(*(torch.arange(8),) * 3, indexing="ij"), dim=-1)
    height_mm = grid.world_from_voxels(index)[..., 2].float()
    moved = on_field(height_mm[None, None], grid, field)
    assert moved.shape[2:] == (8, 12, 8)
    expected = torch.arange(55.0, -65.0, -10.0).clamp(-35.0, 35.0)
    torch.testing.assert_close(moved[0, 0, 4, :, 4], expected, atol=1e-3, rtol=0.0)
    assert on_field(height_mm[None, None], grid, VolumeGrid.chest((32, 32, 32), 2.5)) is not None
    assert torch.equal(on_field(height_mm[None, None], grid, VolumeGrid.chest((32, 32, 32), 2.5))[0, 0], height_mm)


def simulated(folder: Path, name: str = "film.nii.gz", **how: Any) -> Path:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        simulate(str(CT), output=str(folder / name), rows=128, cols=128, overwrite=True, **how)
    return folder / name


def read(path: Path, **how: Any) -> CascadeFilm:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return read_cascade_film(path, **how)


def test_a_simulated_film_brings_its_geometry_and_is_exact(tmp_path):
    film = read(simulated(tmp_path))
    geometry = json.loads((tmp_path / "film.json").read_text())
    assert film.exact
    assert film.beams[0].to_json() == geometry["beam"]
    assert float(np.linalg.norm(np.subtract(film.center_mm, geometry["isocenter_mm"]))) < 80.0
    picture = read(simulated(tmp_path, "film.png"))
    typical = read(simulated(tmp_path, "noisy.nii.gz", film_formation="typical"))
    assert not typical.exact
    body = film.line_integrals.clamp(0.5, 6.5)
    torch.testing.assert_close(picture.line_integrals.clamp(0.5, 6.5), body, atol=2e-4, rtol=0.0)  # 16 bit over 6 units


def test_a_lateral_film_needs_geometry_and_the_same_ct(tmp_path):
    frontal, lateral = simulated(tmp_path), simulated(tmp_path, "lateral.nii.gz", view="LATERAL")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        both = as_cascade_film(frontal, lateral=lateral)
        assert [len(both.beams), both.line_integrals.shape[1]] == [2, 2]
        with pytest.raises(RefusedInput, match="no geometry"):
            as_cascade_film(frontal, lateral=REAL_FILM)
        with pytest.raises(RefusedInput, match="not a lateral"):
            as_cascade_film(frontal, lateral=frontal)
        document = json.loads((tmp_path / "lateral.json").read_text())
        document["ct"]["voxels_sha256"] = "0" * 64
        (tmp_path / "lateral.json").write_text(json.dumps(document))
        with pytest.raises(RefusedInput, match="another CT"):
            as_cascade_film(frontal, lateral=lateral)


def test_a_json_that_belongs_to_another_film_is_noticed(tmp_path):
    path = simulated(tmp_path)
    text = (tmp_path / "film.json").read_text()
    (tmp_path / "film.json").write_text(text.replace('"rows": 128', '"rows": 256'))
    with pytest.raises(RefusedInput, match="128 x 128"):
        read(path)
    (tmp_path / "film.json").write_text(text[:100])
    with pytest.raises(UnreadableInput, match=r"film\.json"):
        read(path)


def test_only_one_film_of_line_integrals_is_a_tensor_that_can_be_meant():
    assert as_cascade_film(torch.rand(1, 32, 32)).exact
    with pytest.raises(UsageFailure, match="one film"):
        as_cascade_film(torch.rand(2, 32, 32))


def test_more_voxels_more_samples_and_single_draws_need_more_memory():
    small, large = (128, 128, 128), (256, 256, 256)
    assert needed_bytes(small, "mean", 1) < needed_bytes(large, "mean", 1) < needed_bytes(large, "sample", 1)
    assert needed_bytes(large, "sample", 1) < needed_bytes(large, "sample", 4) == needed_bytes(large, "mean", 4)
    assert needed_bytes(large, "mean", 1) < needed_bytes(large, "member", 1) < needed_bytes(large, "mean", 1, 1)
    assert needed_bytes(large, "mean", 1, 16) - needed_bytes(large, "mean", 1, 8) == 8 * 2 * 256**3  # int16
    free = available_bytes(torch.device("cpu"))
    assert free is None or 0 < free < 2**46


@pytest.mark.parametrize("count", [0, 3])
def test_no_more_stages_are_run_than_there_are(count):
    with pytest.raises(ValueError, match="num_stages"):
        CascadeInferer([FIRST], num_stages=count)
