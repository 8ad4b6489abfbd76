"""The Python face: bundles in, films in, a CT with its place and its record out."""

from __future__ import annotations

import shutil
import warnings
from pathlib import Path

import pytest
import torch

from tests.inferers.tiny_stages import chest_hu, tiny_stage, write_bundles
from xct_components.cascade import UnifiedHybridViTCascade
from xct_components.data.bundle_folder import bundles_folder
from xct_components.data.file_hash import file_sha256
from xct_components.data.film.calibration import calibrated_film
from xct_components.data.film.reading import read_film
from xct_components.failures import OutOfResources, RefusedInput, UsageFailure, WeightsFailure
from xct_components.geometry import VolumeGrid, chest_beam_covering
from xct_components.inferers.generated_ct import GeneratedCt
from xct_components.physics.attenuation import hu_to_mu_per_mm
from xct_components.physics.projector import project

REAL_FILM = Path(__file__).parent / "data" / "films" / "00000001_000.png"
GRID = VolumeGrid.chest((64, 64, 64), 5.0)
FILM = project(hu_to_mu_per_mm(chest_hu(GRID)), GRID, [chest_beam_covering(GRID, "PA", 64, 64)])[0, 0, 0]


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_bundles(tmp_path_factory.mktemp("bundles"))


@pytest.fixture(scope="module")
def cascade(bundles: Path) -> UnifiedHybridViTCascade:
    return UnifiedHybridViTCascade.from_pretrained(bundles, stages=2)


def test_bundles_load_with_their_weights_and_are_known_by_their_hash(bundles, cascade):
    assert [len(cascade.stages), len(cascade.weights)] == [2, 2]
    for number, weights in enumerate(cascade.weights, start=1):
        assert weights["sha256"] == file_sha256(bundles / f"stage{number}" / "models" / "model.pt")
    expected = tiny_stage(32, needs_coarse=True, seed=1).state_dict()
    assert all(torch.equal(tensor, expected[name]) for name, tensor in cascade.stages[1].state_dict().items())
    assert not any(parameter.requires_grad for parameter in cascade.stages[0].parameters())


def test_the_volume_is_a_meta_tensor_in_the_patients_world_and_never_has_the_films_affine(cascade):
    ct = cascade.generate(FILM)
    assert ct.volume.shape == (1, 32, 32, 32)
    torch.testing.assert_close(ct.volume.affine, VolumeGrid.chest((32, 32, 32), 10.0).affine)
    assert ct.field.axis_codes == "PIL"
    assert ct.film_error[0] <= 0.01
    assert ct.std is None


def test_each_stage_can_be_had_alone_or_from_the_volume_of_the_one_before(cascade):
    first = cascade.generate_stage1(FILM)
    assert first.volume.shape == (1, 16, 16, 16)
    continued = cascade.generate_stage2(FILM, first.volume)
    assert torch.equal(continued.volume, cascade.generate(FILM, 2).volume)
    assert [stage["stage"] for stage in continued.record["stages"]] == [2]
    assert torch.equal(cascade.generate_stage2(FILM).volume, continued.volume)
    with pytest.raises(UsageFailure, match="stages"):
        cascade.generate_stage3(FILM)


def test_a_real_film_is_calibrated_and_its_decisions_are_recorded(cascade):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from_file = cascade.generate(REAL_FILM, samples=2, steps=2, seed=3)
        by_hand: GeneratedCt = cascade.generate(calibrated_film(read_film(REAL_FILM), 512, 512), seed=3)
    assert torch.equal(from_file.volume, by_hand.volume)
    assert from_file.std is not None
    assert from_file.std.affine.equal(from_file.volume.affine)
    record = from_file.record
    assert record["settings"]["seed"] == 3
    assert record["film"]["file"]["sha256"] == file_sha256(REAL_FILM)
    assert not record["film_is_exact"]
    assert record["film_error_after_gain_and_offset"][0] <= record["film_error"][0]
    assert all(stage["seconds"] >= 0.0 and stage["peak_memory_mib"] > 0 for stage in record["stages"])


def test_settings_decide_how_far_the_film_is_believed(cascade):
    believed, ignored = (cascade.generate(FILM, consistency=name).film_error[0] for name in ("hard", "off"))
    assert believed <= 0.01 < ignored
    with pytest.raises(UsageFailure, match="steps"):
        cascade.generate(FILM, steps=0)


@pytest.mark.parametrize("harm", ["no folder", "no weights", "cut short", "other hash", "other shape", "pickled code"])
def test_wrong_weights_are_named(harm, bundles, tmp_path):
    folder = tmp_path / "bundles"
    shutil.copytree(bundles, folder)
    weights = folder / "stage2" / "models" / "model.pt"
    if harm == "no folder":
        shutil.rmtree(folder / "stage2")
    elif harm == "no weights":
        weights.unlink()
    elif harm == "cut short":
        weights.write_bytes(weights.read_bytes()[:1000])
    elif harm == "other hash":
        weights.with_suffix(".json").write_text('{"sha256": "' + "0" * 64 + '"}')
    elif harm == "other shape":
        torch.save(tiny_stage(16).state_dict() | {"hu_mean": torch.zeros(3)}, weights)
    else:
        torch.save({"hu_mean": Path("x")}, weights)
    with pytest.raises(WeightsFailure, match=r"stage ?2"):
        UnifiedHybridViTCascade.from_pretrained(folder, stages=2)
    assert len(UnifiedHybridViTCascade.from_pretrained(folder, stages=1).stages) == 1


def test_the_bundles_are_found_where_they_are_named_or_usual(bundles, tmp_path, monkeypatch):
    assert bundles_folder(bundles) == bundles
    monkeypatch.setenv("XCT_BUNDLES", str(bundles))
    assert bundles_folder() == bundles
    monkeypatch.setenv("XCT_BUNDLES", str(tmp_path))
    with pytest.raises(WeightsFailure, match="XCT_BUNDLES"):
        bundles_folder()
    monkeypatch.delenv("XCT_BUNDLES")
    (tmp_path / "bundles").symlink_to(bundles)
    monkeypatch.chdir(tmp_path)
    assert bundles_folder() == Path("bundles")


def test_what_cannot_be_had_is_refused_before_the_work(bundles):
    with pytest.raises(UsageFailure, match="stages"):
        UnifiedHybridViTCascade.from_pretrained(bundles, stages=4)
    with pytest.raises(OutOfResources, match="not available"):
        UnifiedHybridViTCascade.from_pretrained(bundles, device="cuda:99")
    with pytest.raises(ValueError, match="one to three"):
        UnifiedHybridViTCascade([])


def test_a_film_of_another_view_is_refused(cascade, tmp_path):
    import numpy as np
    from PIL import Image

    turned = tmp_path / "turned.png"
    Image.fromarray(np.rot90(np.asarray(Image.open(REAL_FILM)), 2).copy()).save(turned)
    with pytest.raises(RefusedInput):
        cascade.generate(turned)
