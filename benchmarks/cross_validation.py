r"""Patient-wise cross-validation: train on the other patients, judge the left-out ones, fold after fold.

    python -m benchmarks.cross_validation --prepared PREPARED --work WORK --folds folds.json --initial PRETRAINED \
        --trained 1 --stages 2 -- --real_repeats 40 --phantom_count 180 --max_epochs 1

``folds.json`` is a list of lists of cases; together they are the patients that are judged. Of each fold WORK/foldK holds the
split, the bundles and the evaluation; what is there is not done again, and a training that was stopped goes on. ``--initial``
is a folder with stageN/models/model.pt: stages up to ``--trained`` begin from them, later ones are used as they are, so they
must never have seen a patient (weights of pretrain.json have not). No left-out patient chooses an epoch: trainings validate on
phantoms. With ``--lateral`` the cascade sees a lateral film beside the frontal one; the trainings are the same. With
``--monai_unet "--initial FILE ..."``, the settings of ``benchmarks.monai_unet``, that network is trained in every fold too,
with the same films, and stands in the tables. What follows ``--`` is given to every training of ours. Prints the table of all
patients beside the baselines of ``xct evaluate``, with one film or two, and what each stage gains over each of them, with
bootstrap intervals; patients whose own CTs the weights hold are named.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from benchmarks.machine import describe_machine
from benchmarks.markdown_table import markdown_table
from xct_components.evaluation.case_rows import Row, mean_of
from xct_components.evaluation.held_patients import HELD_NOTE
from xct_components.evaluation.summary import MAIN, gains, means

BUNDLES = Path(__file__).resolve().parent.parent / "bundles"
#: What ``benchmarks.monai_unet`` writes, by the names of the table: size and folder.
MONAI_UNET = {
    "MONAI UNet": (64, "64"),
    "MONAI UNet + consistency": (64, "64_consistent"),
    "MONAI UNet (64) upsampled to 128 + consistency": (128, "128_consistent"),
    "MONAI UNet (64) upsampled to 256 + consistency": (256, "256_consistent"),
}
#: Columns of evaluation.csv that say what a row is; the others are scores.
NAMES = ("case", "size", "method")


def main() -> None:
    """Train and judge what is not there yet, then print."""
    options = _options()
    folds = json.loads(Path(options.folds).read_text(encoding="utf-8"))
    rows: list[Row] = []
    held: list[str] = []
    for number, cases in enumerate(folds):
        fold = Path(options.work) / f"fold{number}"
        _make(fold, cases, options)
        for stage in range(1, options.trained + 1):
            _train(fold, stage, cases, options)
        if options.monai_unet is not None:
            _train_monai_unet(fold, options)
        output = _evaluation(fold, options)
        rows += _rows(output)
        held += _record(output)["held_by_the_weights"]["cases"]
    machine = describe_machine(["monai"])
    _print_tables(rows)
    if held:
        print(f"\n{', '.join(held)}: {HELD_NOTE}")
    print("\n" + ", ".join(f"{name} {value}" for name, value in machine.items()))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--prepared", required=True)
    parser.add_argument("--work", required=True)
    parser.add_argument("--folds", required=True)
    parser.add_argument("--initial", required=True)
    parser.add_argument("--trained", type=int, default=1)
    parser.add_argument("--stages", type=int, default=1)
    parser.add_argument("--lateral", action="store_true")
    parser.add_argument("--monai_unet", help="settings of benchmarks.monai_unet, in one text")
    parser.add_argument("settings", nargs="*", help="after --, for every training")
    return parser.parse_args()


def _make(fold: Path, cases: list[str], options: argparse.Namespace) -> None:
    """Split and bundles of a fold; the prepared volumes stay where they are."""
    prepared, source = fold / "prepared", Path(options.prepared).absolute()
    prepared.mkdir(parents=True, exist_ok=True)
    manifest = json.loads((source / "manifest.json").read_text(encoding="utf-8"))
    everyone = [case["case"] for case in manifest["cases"]]
    unknown = sorted(set(cases) - set(everyone))
    if unknown:
        raise SystemExit(f"cross_validation: no case {', '.join(unknown)} in {source}; it has {', '.join(everyone)}")
    for case in everyone:
        link = prepared / case
        if not link.exists():
            link.symlink_to(source / case)
    others = [case for case in everyone if case not in cases]
    (prepared / "manifest.json").write_text(json.dumps({**manifest, "sides": {"train": others, "val": cases, "test": []}}))
    for stage in range(1, options.stages + 1):
        bundle = fold / "bundles" / f"stage{stage}"
        if bundle.is_dir():
            continue
        shutil.copytree(BUNDLES / bundle.name, bundle, ignore=shutil.ignore_patterns("models", "cache", "eval", "runs"))
        (bundle / "models").mkdir()
        if stage > options.trained:
            shutil.copy(_initial(options, stage), bundle / "models" / "model.pt")


def _initial(options: argparse.Namespace, stage: int) -> Path:
    return Path(options.initial).absolute() / f"stage{stage}" / "models" / "model.pt"


def _train(fold: Path, stage: int, cases: list[str], options: argparse.Namespace) -> None:
    bundle = fold / "bundles" / f"stage{stage}"
    done = fold / f"trained{stage}"
    if done.exists():
        return
    configs = [str(bundle / "configs" / name) for name in ("train.json", "pretrain.json")]
    settings = {
        "config_file": configs,
        "bundle_root": bundle,
        "dataset_dir": fold / "prepared",
        "train::items::without": cases,
        "initial_weights": _initial(options, stage),
        "statistics_again": True,
    }
    command = [sys.executable, "-m", "monai.bundle", "run"]
    for name, value in settings.items():
        command += [f"--{name}", str(value)]
    print(f"{fold.name}: training stage {stage}", file=sys.stderr)
    with (fold / f"train{stage}.log").open("ab") as log:
        subprocess.run([*command, *options.settings], stdout=log, stderr=log, check=True)
    done.touch()


def _monai_unet(fold: Path, options: argparse.Namespace) -> Path:
    """The folder of its volumes."""
    return fold / ("monai_unet_lateral" if options.lateral else "monai_unet")


def _train_monai_unet(fold: Path, options: argparse.Namespace) -> None:
    output = _monai_unet(fold, options)
    done = fold / f"trained_{output.name}"
    if done.exists():
        return
    print(f"{fold.name}: training MONAI's UNet", file=sys.stderr)
    command = [sys.executable, "-m", "benchmarks.monai_unet", "--prepared", str(fold / "prepared"), "--output", str(output)]
    settings = [*shlex.split(options.monai_unet), *(["--lateral"] if options.lateral else [])]
    with (fold / f"train_{output.name}.log").open("ab") as log:
        subprocess.run([*command, *settings], stdout=log, stderr=log, check=True)
    done.touch()


def _evaluation(fold: Path, options: argparse.Namespace) -> Path:
    """The folder of what ``xct evaluate`` writes."""
    stages, lateral, peer = options.stages, options.lateral, options.monai_unet is not None
    output = fold / f"evaluation{stages}{'_lateral' if lateral else ''}{'_monai' if peer else ''}"
    if "held_by_the_weights" not in _record(output):  # not judged, or before anybody asked whose CTs are held
        print(f"{fold.name}: judging", file=sys.stderr)
        command = [sys.executable, "-m", "xct_components", "evaluate", str(fold / "prepared"), "--output", str(output)]
        command += ["--overwrite", "True"]
        bundles = ["--bundles", str(fold / "bundles"), "--stages", str(stages), "--lateral", str(lateral)]
        if peer:
            finest, volumes = 64 * 2 ** (stages - 1), _monai_unet(fold, options)
            given = [f"{name}={volumes / folder}" for name, (size, folder) in MONAI_UNET.items() if size <= finest]
            bundles += ["--baseline", ",".join(given)]
        subprocess.run([*command, *bundles], stdout=sys.stderr, check=True, env={**os.environ})
    return output


def _record(output: Path) -> dict[str, Any]:
    """The evaluation of a fold as JSON; empty where there is none."""
    file = output / "evaluation.json"
    record: dict[str, Any] = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    return record


def _rows(output: Path) -> list[Row]:
    with (output / "evaluation.csv").open(encoding="utf-8") as stream:
        return [_row(fields) for fields in csv.DictReader(stream)]


def _row(fields: dict[str, str]) -> Row:
    scores = {name: float(value) for name, value in fields.items() if name not in NAMES and value != ""}
    return Row(fields["case"], int(fields["size"]), fields["method"], scores)


def _print_tables(rows: list[Row]) -> None:
    cases = sorted({row.case for row in rows})
    sizes = sorted({row.size for row in rows})
    for size, methods in means(rows).items():
        columns = [name for name in MAIN if any(name in scores for scores in methods.values())]
        table = [[method, *(_interval(scores.get(name)) for name in columns)] for method, scores in methods.items()]
        print(f"\n{size} voxels a side, mean over n={len(cases)} patients (95 % bootstrap interval)\n")
        print(markdown_table(["method", *(MAIN[name] for name in columns)], table))
    ours = {size: mean_of(number) for number, size in enumerate(sizes, start=1)}
    print(f"\nGain of the stage's mean over each other method, patient by patient, n={len(cases)}\n")
    header = ("size", "over", "metric", "mean gain (95 %)", "better in")
    found = []
    for gain in gains(rows, ours):
        better = f"{gain['better_in']} of {len(cases)}"
        found.append([gain["size"], gain["over"], gain["metric"], _interval(gain["gain"]), better])
    print(markdown_table(header, found))
    print(f"\nPSNR [dB] of each patient at {sizes[-1]}, window -1024 to 1024 HU\n")
    last = [row for row in rows if row.size == sizes[-1]]
    names = list(dict.fromkeys(row.method for row in last))
    scores = {(row.case, row.method): row.scores["psnr_db"] for row in last}
    print(markdown_table(["patient", *names], [[case, *(f"{scores[case, name]:.2f}" for name in names)] for case in cases]))


def _interval(value: Any) -> str | None:
    if value is None:
        return None
    return f"{value.mean:.4g} ({value.low:.4g} to {value.high:.4g})"


if __name__ == "__main__":
    main()
