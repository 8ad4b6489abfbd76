"""The three bundles run as MONAI runs them, from any directory, with tiny networks and random weights."""

from __future__ import annotations

import json
import logging
import shutil
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from monai.bundle import ConfigWorkflow, run, verify_net_in_out

from tests.bundles.prepared_folder import prepared_folder
from tests.bundles.tiny_bundles import STAGES, TINY_SIZE, copied_bundles
from tests.inferers.tiny_stages import FIELD_MM
from xct_components.data.file_hash import file_sha256
from xct_components.geometry import VolumeGrid

FILM = Path(__file__).parent.parent / "data" / "films" / "00000001_000.png"
#: Largest difference of affines in mm: float32 of the NIfTI header.
HEADER_MM = 1e-3
#: HU are saved as whole numbers.
ROUNDING_HU = 0.5


@pytest.fixture(scope="module")
def bundles(tmp_path_factory):
    return copied_bundles(tmp_path_factory.mktemp("bundles"))


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    return prepared_folder(tmp_path_factory.mktemp("prepared"), TINY_SIZE.values())


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    """Every run starts in a directory that has nothing to do with the bundles, and leaves logging as it was."""
    root = logging.getLogger()
    before = root.level, root.handlers[:]
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    yield
    root.setLevel(before[0])
    root.handlers[:] = before[1]


def infer(bundle: Path, output: Path, **settings) -> nibabel.Nifti1Image:
    run(
        config_file=str(bundle / "configs" / "inference.json"),
        bundle_root=str(bundle),
        input=str(FILM),
        output_dir=str(output),
        **settings,
    )
    return nibabel.load(output / "00000001_000_ct.nii.gz")


def record(output: Path) -> dict[str, Any]:
    return json.loads((output / "00000001_000_ct.json").read_text())


@pytest.mark.parametrize("stage", STAGES)
def test_a_film_becomes_a_volume_with_the_affine_of_the_volume(stage, bundles, tmp_path):
    volume = infer(bundles / f"stage{stage}", tmp_path / "out")
    size = TINY_SIZE[stage]
    expected = VolumeGrid.chest((size,) * 3, FIELD_MM / size)
    assert volume.shape == expected.shape
    assert nibabel.aff2axcodes(volume.affine) == tuple("PIL")
    np.testing.assert_allclose(volume.affine, expected.affine, atol=HEADER_MM)
    values = np.asarray(volume.dataobj)
    assert values.min() >= -1024
    assert values.max() <= 1500
    assert values.std() > 0
    weights = [bundles / f"stage{number}" / "models" / "model.pt" for number in (stage, *range(1, stage))]
    assert [one["sha256"] for one in record(tmp_path / "out")["weights"]] == [file_sha256(path) for path in weights]


def test_a_coarse_volume_replaces_the_stages_before(bundles, tmp_path):
    infer(bundles / "stage1", tmp_path / "coarse")
    whole = infer(bundles / "stage2", tmp_path / "whole")
    alone = tmp_path / "alone" / "stage2"
    shutil.copytree(bundles / "stage2", alone)
    refined = infer(alone, tmp_path / "out", coarse=str(tmp_path / "coarse" / "00000001_000_ct.nii.gz"))
    assert [one["bundle"] for one in record(tmp_path / "out")["weights"]] == ["stage2"]
    # the coarse volume went through a file of whole numbers; what is added to it hardly changes by that
    difference = np.abs(np.asarray(refined.dataobj, float) - np.asarray(whole.dataobj, float))
    assert np.median(difference) <= 2 * ROUNDING_HU


def test_another_coarse_volume_gives_another_result(bundles, tmp_path):
    first = infer(bundles / "stage1", tmp_path / "coarse")
    mirrored = nibabel.Nifti1Image(np.asarray(first.dataobj)[:, :, ::-1], first.affine)
    nibabel.save(mirrored, tmp_path / "mirrored.nii.gz")
    volumes = [
        np.asarray(infer(bundles / "stage2", tmp_path / name, coarse=str(path)).dataobj, float)
        for name, path in (("a", tmp_path / "coarse" / "00000001_000_ct.nii.gz"), ("b", tmp_path / "mirrored.nii.gz"))
    ]
    assert np.abs(volumes[0] - volumes[1]).max() > 2 * ROUNDING_HU


def test_bundles_that_were_moved_together_under_other_names_find_each_other(bundles, tmp_path):
    for number in (1, 2):
        shutil.copytree(bundles / f"stage{number}", tmp_path / "moved" / f"xct_stage{number}")
    infer(tmp_path / "moved" / "xct_stage2", tmp_path / "out")
    assert [one["bundle"] for one in record(tmp_path / "out")["weights"]] == ["xct_stage2", "xct_stage1"]


def test_two_samples_bring_their_deviation_and_the_same_seed_the_same_bytes(bundles, tmp_path):
    for name in ("a", "b"):
        infer(bundles / "stage1", tmp_path / name, mode="sample", samples=2, steps=2, seed=5)
    deviation = nibabel.load(tmp_path / "a" / "00000001_000_std.nii.gz")
    assert deviation.shape == (TINY_SIZE[1],) * 3
    assert np.asarray(deviation.dataobj).max() > 0
    for name in ("00000001_000_ct.nii.gz", "00000001_000_std.nii.gz", "00000001_000_ct.json"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


@pytest.mark.parametrize(
    ("misspelt", "expected"),
    [
        ({"inptu": "film.png"}, "did you mean input"),
        ({"sample": 3}, "did you mean samples"),
        ({"steps_": 3}, "did you mean steps"),
    ],
)
def test_a_misspelt_setting_is_refused(misspelt, expected, bundles, tmp_path):
    with pytest.raises(RuntimeError) as refused:
        infer(bundles / "stage1", tmp_path / "out", **misspelt)
    reasons = []
    error: BaseException | None = refused.value
    while error is not None:
        reasons.append(str(error))
        error = error.__cause__
    assert expected in reasons[-1]
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("stage", STAGES)
def test_monai_misses_no_property_of_inference(stage, bundles):
    workflow = workflow_of(bundles / f"stage{stage}", "inference.json", workflow_type="infer", input=str(FILM))
    assert workflow.check_properties() == []


@pytest.mark.parametrize("stage", STAGES)
def test_monai_misses_no_property_of_training(stage, bundles, prepared):
    workflow = workflow_of(
        bundles / f"stage{stage}", "train.json", dataset_dir=str(prepared), phantom_count=0, case_cache="none"
    )
    assert workflow.check_properties() == []


def workflow_of(bundle: Path, name: str, **settings) -> ConfigWorkflow:
    workflow = ConfigWorkflow(str(bundle / "configs" / name), bundle_root=str(bundle), **settings)
    workflow.initialize()
    return workflow


@pytest.mark.parametrize("stage", STAGES)
def test_the_network_takes_and_gives_what_the_metadata_say(stage, bundles, tmp_path):
    size, configs = TINY_SIZE[stage], bundles / f"stage{stage}" / "configs"
    metadata = json.loads((configs / "metadata.json").read_text())
    metadata["network_data_format"]["inputs"]["image"]["spatial_shape"] = [size] * 2
    metadata["network_data_format"]["outputs"]["pred"]["spatial_shape"] = [size] * 3
    (tmp_path / "metadata.json").write_text(json.dumps(metadata))
    verify_net_in_out(
        net_id="network_def", meta_file=str(tmp_path / "metadata.json"), config_file=str(configs / "inference.json")
    )


def test_a_bundle_without_weights_says_where_they_belong(bundles, tmp_path):
    shutil.copytree(bundles / "stage1", tmp_path / "stage1", ignore=shutil.ignore_patterns("*.pt"))
    with pytest.raises(RuntimeError) as refused:
        infer(tmp_path / "stage1", tmp_path / "out")
    assert "no weights" in str(refused.value.__cause__)
    assert str(Path("models") / "model.pt") in str(refused.value.__cause__)
