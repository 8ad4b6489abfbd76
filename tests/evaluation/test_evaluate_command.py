"""``xct evaluate`` as a user meets it: tables that can be believed, four files or none, one line for what cannot be."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.evaluation.made_prepared import made_ct, write_nifti, write_prepared
from tests.inferers.tiny_stages import write_bundles
from xct_components.__main__ import main
from xct_components.evaluate_command import evaluate
from xct_components.failures import ExitCode
from xct_components.metrics.pair import evaluate_pair

FILES = ["evaluation.csv", "evaluation.html", "evaluation.json", "evaluation.png"]
#: A film of 64 voxels a side explained by 32: what consistency leaves of it.
EXPLAINED = 0.02


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_prepared(tmp_path_factory.mktemp("prepared"))


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_bundles(tmp_path_factory.mktemp("bundles"), count=2, atlas_cts=2)


@pytest.fixture(scope="module")
def done(prepared: Path, bundles: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any], list[str]]:
    """One run with everything: two stages, two samples, and the truth itself as another network."""
    oracle = tmp_path_factory.mktemp("oracle")
    write_nifti(oracle / "held-out.nii.gz", *made_ct(150.0, 32))
    folder = tmp_path_factory.mktemp("done") / "out"
    options: dict[str, Any] = {"stages": 2, "samples": 2, "steps": 2, "baseline": f"oracle={oracle}", "bundles": str(bundles)}
    lines = evaluate(str(prepared), output=str(folder), **options)
    return folder, json.loads((folder / "evaluation.json").read_text()), lines


def scores(record: dict[str, Any], size: int, method: str) -> dict[str, Any]:
    (row,) = [row for row in record["rows"] if (row["size"], row["method"]) == (size, method)]
    return row["scores"]


def test_every_size_stands_beside_its_baselines(done):
    _, record, _ = done
    methods = {size: [row["method"] for row in record["rows"] if row["size"] == size] for size in (16, 32)}
    shared = ["mean volume", "atlas without film", "atlas + consistency", "nearest film's CT"]
    bent = "CTs bent to the film + consistency"
    assert methods[16] == [*shared, bent, "stage 1, mean", "stage 1, one sample"]
    assert methods[32] == [
        *shared,
        "oracle",
        "previous stage + consistency",
        "stage 2, mean",
        "stage 2, one sample",
        "stage 2, mean of 2",
    ]


def test_the_mean_volume_and_the_neighbour_are_those_of_the_training_side(done):
    _, record, _ = done
    (truth, field), (other, _), (similar, _) = (made_ct(marker, 32) for marker in (150.0, -300.0, 160.0))
    mean = evaluate_pair(truth, (other + similar) / 2.0, field)
    neighbour = evaluate_pair(truth, similar, field)
    assert scores(record, 32, "mean volume") == pytest.approx(mean, rel=1e-5)
    assert scores(record, 32, "nearest film's CT") == pytest.approx(neighbour, rel=1e-5)
    assert record["training_cases"] == ["train-a", "train-b"]


def test_the_truth_given_as_another_network_has_every_best_value(done):
    oracle = scores(done[1], 32, "oracle")
    assert oracle["psnr_db"] == "inf"
    assert [oracle[name] for name in ("rmse_hu", "lateral_film_error", "dice_body")] == [0.0, 0.0, 1.0]


def test_what_is_consistent_explains_its_film_better_than_the_mean_volume(done):
    _, record, _ = done
    errors = {
        method: scores(record, 32, method)["frontal_film_error"]
        for method in ("mean volume", "atlas + consistency", "previous stage + consistency", "stage 2, mean")
    }
    unaware = errors.pop("mean volume")
    assert max(errors.values()) < min(EXPLAINED, unaware)


def test_only_means_have_an_uncertainty(done):
    _, record, _ = done
    with_one = [row["method"] for row in record["rows"] if "crps_hu" in row["scores"]]
    assert with_one == ["stage 1, mean", "stage 2, mean", "stage 2, mean of 2"]


def test_gains_are_ours_minus_theirs_and_n_is_said(done):
    _, record, lines = done
    gain = next(one for one in record["gains"] if (one["size"], one["over"], one["metric"]) == (32, "mean volume", "psnr_db"))
    ours, theirs = (scores(record, 32, method)["psnr_db"] for method in ("stage 2, mean", "mean volume"))
    assert gain["mean"] == pytest.approx(ours - theirs)
    assert (gain["n"], gain["low"]) == (1, None)
    assert sum("n=1" in line for line in lines) == 2


def test_the_csv_holds_the_same_figures(done):
    folder, record, _ = done
    with (folder / "evaluation.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) == len(record["rows"])
    assert float(rows[0]["ssim"]) == record["rows"][0]["scores"]["ssim"]
    assert rows[0]["crps_hu"] == ""


def test_the_page_stands_alone_with_its_picture(done):
    folder, _, lines = done
    assert sorted(path.name for path in folder.iterdir()) == FILES
    page = (folder / "evaluation.html").read_text()
    assert 'src="data:image/png;base64,' in page
    assert "http" not in page
    for text in ("stage 2, mean", "n=1", "Research only", "95 % interval"):
        assert text in page
    picture = np.asarray(Image.open(folder / "evaluation.png"))
    assert picture.std() > 10.0
    assert [line for line in lines if line.endswith(".png")] == [str(folder / "evaluation.png")]


def test_nothing_is_replaced_unless_asked(done, prepared, bundles, capsys):
    folder, _, _ = done
    before = (folder / "evaluation.json").read_bytes()
    code = main(["evaluate", str(prepared), "--output", str(folder), "--bundles", str(bundles)])
    assert (code, (folder / "evaluation.json").read_bytes()) == (ExitCode.CANNOT_WRITE, before)
    assert "already holds" in capsys.readouterr().err


REFUSED: dict[str, tuple[list[str], ExitCode, str]] = {
    "training side": (["--side", "train"], ExitCode.USAGE, "side must be val or test"),
    "side without cases": (["--side", "test"], ExitCode.USAGE, "holds no case"),
    "one sample": (["--samples", "1"], ExitCode.USAGE, "samples must be 0, or lie between 2"),
    "four stages": (["--stages", "4"], ExitCode.USAGE, "stages must lie between 1 and 3"),
    "window of one number": (["--window_hu", "2000"], ExitCode.USAGE, "window_hu must be LOWEST,HIGHEST"),
    "unknown protocol": (["--protocol", "best"], ExitCode.USAGE, "protocol must be one of honest, x2ct"),
    "protocol that leaves open": (["--protocol", "liftxr"], ExitCode.USAGE, "nothing is guessed"),
    "protocol without CTs": (["--protocol", "x2ct"], ExitCode.USAGE, "--originals"),
    "baseline without a name": (["--baseline", "/tmp"], ExitCode.USAGE, "NAME=FOLDER"),
    "baseline nowhere": (["--baseline", "unet=/no/where"], ExitCode.USAGE, "is no folder"),
    "no bundles": (["--bundles", "/no/where"], ExitCode.WEIGHTS, "no bundles"),
    "stage that is not there": (["--stages", "3"], ExitCode.WEIGHTS, "no stage 3"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_cannot_be_meant_is_one_line_and_leaves_nothing(what, prepared, bundles, tmp_path, capsys):
    options, code, words = REFUSED[what]
    arguments = {"--bundles": str(bundles), "--stages": "1"} | dict(zip(options[::2], options[1::2], strict=True))
    flat = [part for pair in arguments.items() for part in pair]
    assert main(["evaluate", str(prepared), "--output", str(tmp_path / "out"), *flat]) == code
    complaint = capsys.readouterr().err
    assert words in complaint
    assert complaint.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_a_folder_that_was_not_prepared_is_refused(bundles, tmp_path, capsys):
    code = main(["evaluate", str(tmp_path), "--output", str(tmp_path / "out"), "--bundles", str(bundles), "--stages", "1"])
    assert code == ExitCode.UNREADABLE
    assert "no readable manifest.json" in capsys.readouterr().err


@pytest.mark.parametrize(("name", "words"), [("other-case", "holds no held-out.nii.gz"), ("held-out", "lies elsewhere")])
def test_predictions_of_other_cases_or_places_are_refused(name, words, prepared, bundles, tmp_path, capsys):
    hu, grid = made_ct(150.0, 16)
    moved = grid.affine
    moved[0, 3] += 3.0
    (tmp_path / "given").mkdir()
    write_nifti(tmp_path / "given" / f"{name}.nii.gz", hu, type(grid).from_affine(grid.shape, moved))
    options = ["--bundles", str(bundles), "--stages", "1", "--baseline", f"unet={tmp_path / 'given'}"]
    code = main(["evaluate", str(prepared), "--output", str(tmp_path / "out"), *options])
    assert code in (ExitCode.UNREADABLE, ExitCode.REFUSED)
    assert words in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
