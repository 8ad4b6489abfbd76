"""``xct validate-stage``: whether a trained stage does what it is there for, as a check sheet."""

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xct_components import __version__
from xct_components.data.atomic_folder import made_folder, require_free_folder
from xct_components.failures import Failure, RefusedInput, UsageFailure

if TYPE_CHECKING:
    from xct_components.bundle_io.stage_document import StageDocument
    from xct_components.training.check_sheet import CheckSheet
    from xct_components.training.stage_checks import Check, CheckedCase

SHEET_PNG, SHEET_JSON = "check.png", "check.json"
SIDES = ("val", "test", "train")


def validate_stage(
    bundle: str,
    *,
    dataset_dir: str,
    output: str,
    side: str = "val",
    overlays: str = "",
    pictures: int = 8,
    device: str = "cpu",
    strict: bool = False,
    overwrite: bool = False,
) -> list[object]:
    """Check a trained stage on held-out cases: does it beat what it starts from, explain the film, know the depth?

    The sheet has each check with PASS or FAIL, its number and its bar, the curves of the training, and pictures of the cases.
    A stage that fails a check has still been checked: the exit code is 0, unless strict is given.

    Args:
        bundle: folder of the stage, bundles/stage1; it finds the stages before as in training.
        dataset_dir: what xct prepare made.
        output: folder for check.png and check.json; it is made if missing.
        side: val, test or train.
        overlays: more documents of the bundle with commas between, as in training, such as full.json.
        pictures: cases shown on the sheet, the worst first.
        device: cpu, cuda, cuda:1.
        strict: exit with code 4 if a check fails; the sheet is written all the same.
        overwrite: replace files that exist.

    Returns:
        The checks in words, and what was written.
    """
    if side not in SIDES:
        raise UsageFailure(f"side must be one of {', '.join(SIDES)}, got {side!r}")
    if pictures < 0:
        raise UsageFailure(f"pictures must be 0 or more, got {pictures}")
    folder = Path(output)
    require_free_folder(folder, (SHEET_PNG, SHEET_JSON), overwrite=overwrite)
    if find_spec("matplotlib") is None:
        raise Failure("the check sheet needs matplotlib: pip install 'xct-components[train]'")
    from xct_components.bundle_io.stage_document import StageDocument

    document = StageDocument(bundle, [name.strip() for name in overlays.split(",") if name.strip()], _device(device))
    sheet = _sheet(document, Path(dataset_dir), side, pictures, device)
    targets = [folder / SHEET_PNG, folder / SHEET_JSON]
    _write(targets, sheet)
    failed = [check for check in sheet.checks if check.passed is False]
    if strict and failed:
        names = ", ".join(check.name for check in failed)
        raise RefusedInput(f"{len(failed)} of {len(sheet.checks)} checks failed: {names}; see {targets[0]}")
    return [*(check.in_words() for check in sheet.checks), *targets]


def _sheet(document: "StageDocument", prepared: Path, side: str, pictures: int, device: str) -> "CheckSheet":
    from xct_components.data.cases.cases import present_items
    from xct_components.training.check_sheet import CheckSheet
    from xct_components.training.stage_checks import checks_of
    from xct_components.training.training_log import read_log

    items = present_items(prepared, side, document.setting("volume_size"))
    log_file = Path(document.setting("log_path"))
    log = read_log(log_file) if log_file.is_file() else None
    cases, shown = _checked(document, items, pictures, device)
    checks: list[Check] = checks_of(cases, log, trains_depth=document.trains_depth())
    weights = document.weights()
    about = {"software": f"xct-components {__version__}", "bundle": weights[0]["bundle"], "side": side, "weights": weights}
    kept = "" if len(shown) == len(cases) or not shown else f", the worst {len(shown)} shown"
    count = f"{len(cases)} case{'s' if len(cases) > 1 else ''} of the {side} side{kept}"
    title = f"{weights[0]['bundle']}, {weights[0]['file']} {weights[0]['sha256'][:8]}: {count}"
    return CheckSheet(title, checks, cases, shown, log or [], about)


def _checked(
    document: "StageDocument", items: Sequence[dict[str, Any]], pictures: int, device: str
) -> "tuple[list[CheckedCase], list[CheckedCase]]":
    """All cases without their pictures, and the worst ones with them: pictures of thousands would not fit into memory."""
    from dataclasses import replace

    from tqdm import tqdm

    from xct_components.data.cases.cases import TrainingCases, case_dataset
    from xct_components.training.checked_case import checked_case
    from xct_components.training.validation import PrepareValidation

    stage = document.stage()
    prepare = PrepareValidation(stage, document.parents())
    held_out = TrainingCases(case_dataset(items), augment=False, randomize_exposure=False)
    cases: list[CheckedCase] = []
    shown: list[CheckedCase] = []
    for number in tqdm(range(len(held_out)), desc="cases", leave=False, disable=None):
        case = checked_case(stage, prepare, held_out[number], device)
        cases.append(replace(case, picture=None))
        shown = sorted([*shown, case], key=_rmse_hu, reverse=True)[:pictures]
    return cases, shown


def _rmse_hu(case: "CheckedCase") -> float:
    return case.figures["rmse_hu"]


def _device(name: str) -> str:
    import torch

    try:
        torch.empty(0, device=name)
    except (RuntimeError, AssertionError) as error:
        raise UsageFailure(f"device must be cpu, or a GPU that is there such as cuda, got {name!r}") from error
    return name


def _write(targets: Sequence[Path], sheet: "CheckSheet") -> None:
    """Both files or none; the folder too."""
    from xct_components.data.atomic_files import written_together
    from xct_components.training.check_sheet import write_sheet_json, write_sheet_png

    with made_folder(targets[0].parent), written_together(*targets) as (picture, record):
        write_sheet_png(picture, sheet)
        write_sheet_json(record, sheet)
