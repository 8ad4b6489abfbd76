"""``xct join-stages``: one file of all stages makes what their bundles make, to the last bit, and says what it was made of."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from tests.inferers.tiny_stages import SIZES, tiny_stage, write_bundles
from xct_components.__main__ import main
from xct_components.cascade import UnifiedHybridViTCascade
from xct_components.data.file_hash import file_sha256
from xct_components.failures import ExitCode
from xct_components.training.released_weights import write_weights

FACTOR = {"steps": 0, "views": 1, "calibrated": False, "sized": False, "factor": 1.7, "patients": 9}


@pytest.fixture
def bundles(tmp_path: Path) -> Path:
    """Stages 1 and 3 in float32, stage 2 in half precision as a training releases it; the first holds CTs and has a factor."""
    folder = write_bundles(tmp_path / "bundles", atlas_cts=2)
    write_weights(tiny_stage(SIZES[1], needs_coarse=True, seed=1), weights_of(folder, 2), {"epoch": 3})
    described = {"sha256": file_sha256(weights_of(folder, 1)), "std_factors": [FACTOR], "held_cts": 2}
    weights_of(folder, 1).with_suffix(".json").write_text(json.dumps(described))
    return folder


def weights_of(bundles: Path, stage: int) -> Path:
    return bundles / f"stage{stage}" / "models" / "model.pt"


def join(bundles: Path, output: Path, *options: str) -> int:
    return main(["join-stages", str(bundles), "--output", str(output), *options])


def film() -> torch.Tensor:
    """Line integrals of a body that is denser in the middle; any film will do."""
    rows = torch.linspace(-1.0, 1.0, SIZES[-1])
    return 4.0 * torch.exp(-(rows[:, None] ** 2) - 2.0 * rows[None] ** 2)


def test_the_cascade_from_the_file_makes_the_volumes_of_the_bundles_to_the_last_bit(bundles, tmp_path, capsys):
    file = tmp_path / "all.pt"
    assert join(bundles, file) == ExitCode.OK
    assert capsys.readouterr().out.splitlines() == [str(file), str(file.with_suffix(".json"))]
    apart, joined = (UnifiedHybridViTCascade.from_pretrained(bundles, weights=one) for one in (None, file))
    for stage in (1, 2, 3):
        expected, made = (cascade.generate(film(), stage) for cascade in (apart, joined))
        assert torch.equal(made.volume.as_tensor(), expected.volume.as_tensor())
        assert expected.std is not None
        assert made.std is not None
        assert torch.equal(made.std.as_tensor(), expected.std.as_tensor())
        assert made.record["deviation"] == expected.record["deviation"]
    assert [stage.deviation_factors for stage in joined.stages] == [stage.deviation_factors for stage in apart.stages]
    assert {one["sha256"] for one in joined.weights} == {file_sha256(file)}


def test_the_json_tells_the_weights_of_every_stage_and_no_folder(bundles, tmp_path):
    file = tmp_path / "all.pt"
    assert join(bundles, file) == ExitCode.OK
    text = file.with_suffix(".json").read_text()
    document = json.loads(text)
    assert document["sha256"] == file_sha256(file)
    for number in (1, 2, 3):
        one = document["joined_from"][f"stage{number}"]
        assert (one["bundle"], one["file"]) == (f"stage{number}", "model.pt")
        assert one["sha256"] == file_sha256(weights_of(bundles, number))
    assert document["joined_from"]["stage1"]["held_cts"] == 2
    assert document["joined_from"]["stage1"]["std_factors"] == [FACTOR]
    assert document["joined_from"]["stage2"]["epoch"] == 3
    assert str(tmp_path) not in text


def test_the_same_weights_make_the_same_bytes(bundles, tmp_path):
    for name in ("a.pt", "b.pt"):
        assert join(bundles, tmp_path / name) == ExitCode.OK
    assert (tmp_path / "a.pt").read_bytes() == (tmp_path / "b.pt").read_bytes()


def test_fewer_stages_make_a_file_for_so_many(bundles, tmp_path):
    file = tmp_path / "two.pt"
    assert join(bundles, file, "--stages", "2") == ExitCode.OK
    assert len(UnifiedHybridViTCascade.from_pretrained(bundles, weights=file, stages=2).stages) == 2


def test_factors_that_no_weights_are_named_for_are_believed_no_more_than_in_the_bundle(bundles, tmp_path):
    weights_of(bundles, 1).with_suffix(".json").write_text(json.dumps({"std_factors": [FACTOR]}))
    file = tmp_path / "all.pt"
    assert join(bundles, file) == ExitCode.OK
    (stage,) = UnifiedHybridViTCascade.from_pretrained(bundles, weights=file, stages=1).stages
    assert stage.deviation_factors.measured == ()


def test_a_json_of_another_file_is_noticed(bundles, tmp_path):
    files = [tmp_path / "three.pt", tmp_path / "two.pt"]
    for file, stages in zip(files, ("3", "2"), strict=True):
        assert join(bundles, file, "--stages", stages) == ExitCode.OK
    files[0].with_suffix(".json").write_bytes(files[1].with_suffix(".json").read_bytes())
    with pytest.raises(OSError, match=r"three\.pt is not the file that three\.json describes"):
        UnifiedHybridViTCascade.from_pretrained(bundles, weights=files[0])


def test_what_exists_is_replaced_only_if_asked(bundles, tmp_path, capsys):
    file = tmp_path / "all.pt"
    file.with_suffix(".json").write_text("precious")
    assert join(bundles, file) == ExitCode.CANNOT_WRITE
    assert "all.json exists; choose another name, or add --overwrite" in capsys.readouterr().err
    assert not file.exists()
    assert join(bundles, file, "--overwrite") == ExitCode.OK
    assert json.loads(file.with_suffix(".json").read_text())["sha256"] == file_sha256(file)


def test_the_weights_of_a_stage_are_never_replaced(bundles, capsys):
    target = weights_of(bundles, 3)
    before = file_sha256(target)
    assert join(bundles, target, "--overwrite") == ExitCode.CANNOT_WRITE
    assert "it is the weights of stage 3; choose another name" in capsys.readouterr().err
    assert file_sha256(target) == before


def a_folder_in_the_way(bundles: Path) -> None:
    (bundles / "all.json").mkdir()


def no_weights(bundles: Path) -> None:
    weights_of(bundles, 2).unlink()


def other_weights(bundles: Path) -> None:
    weights_of(bundles, 3).write_bytes(weights_of(bundles, 1).read_bytes())


def no_third_bundle(bundles: Path) -> None:
    (bundles / "stage3").rename(bundles / "elsewhere")


def half_a_file(bundles: Path) -> None:
    weights_of(bundles, 3).write_bytes(weights_of(bundles, 3).read_bytes()[:1000])


def nothing(bundles: Path) -> None:
    """All is as it should be."""


REFUSED = {
    "no .pt": (nothing, "all.bin", [], ExitCode.USAGE, "output must end in .pt, got 'all.bin'"),
    "no folder": (nothing, "nowhere/all.pt", [], ExitCode.CANNOT_WRITE, "nowhere does not exist"),
    "a folder": (a_folder_in_the_way, "all.pt", ["--overwrite"], ExitCode.CANNOT_WRITE, "it is a folder"),
    "no such number": (nothing, "all.pt", ["--stages", "4"], ExitCode.USAGE, "stages must lie between 1 and 3, got 4"),
    "no weights": (no_weights, "all.pt", [], ExitCode.WEIGHTS, "no weights"),
    "other weights": (other_weights, "all.pt", [], ExitCode.WEIGHTS, "belongs to another network"),
    "no bundle": (no_third_bundle, "all.pt", [], ExitCode.WEIGHTS, "no stage 3"),
    "damaged": (half_a_file, "all.pt", [], ExitCode.WEIGHTS, "holds no plain tensors, or is damaged"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_cannot_be_joined_is_one_line_and_leaves_no_file(what, bundles, capsys):
    change, name, options, code, words = REFUSED[what]
    change(bundles)
    assert join(bundles, bundles / name, *options) == code
    complaint = capsys.readouterr().err
    assert words in complaint
    assert complaint.count("\n") == 1
    assert not [path for path in bundles.iterdir() if path.is_file()]
