"""``xct hold-cts``: give stage 1 the CTs that it bends to every film, and later stages their detail. Nothing is trained."""

from collections.abc import Sequence
from itertools import takewhile
from pathlib import Path
from typing import TYPE_CHECKING

from xct_components.evaluation.run_limits import require_between, require_writable
from xct_components.failures import UsageFailure

if TYPE_CHECKING:
    from xct_components.networks.cascade_stage import CascadeStage

#: More would make weights of 2.6 GB.
MOST_CTS = 10_000
#: Of more the detail is held only if it is asked for: 2.6 MB each.
USUAL_DETAILS = 64
#: Cases that the output names.
MOST_NAMED = 20


def hold_cts(
    prepared: str,
    *,
    side: str = "train",
    without: str = "",
    most: int = 16,
    network_share: float = 1.0,
    detail: bool | None = None,
    bundles: str | None = None,
    dry_run: bool = False,
) -> list[str]:
    """Put the CTs of a prepared folder into stage 1 in place of those it holds: it bends them to every film from then on.

    The more of your own patients it holds, the better it knows such patients: of many, the 16 are bent whose films are most
    like the given one. Each takes 0.26 MB of the weights, which then hold these chests, voxels of 5 mm. Stages 2 and 3 hold
    what single members show beyond that, 0.6 and 2 MB each, voxels of 2.5 and 1.25 mm. Treat all as patient data. No network
    is trained. Factors of the standard deviation were measured with other CTs and are dropped, of all stages: run xct
    calibrate-deviation with patients that are not held.

    Args:
        prepared: output folder of xct prepare.
        side: train, val or test.
        without: names of cases that are not to be held, with commas between them.
        most: CTs to hold; of more they are chosen evenly by name.
        network_share: how much of what the network adds is to be believed from now on, 0 to 1: a network that was trained on
            another start says too much. Its samples spread by so much less, too.
        detail: let stages 2 and 3 hold the detail of these CTs; without, they hold none (default - of up to 64 CTs).
        bundles: folder with stage1 (default - XCT_BUNDLES, ./bundles, or the one beside the package).
        dry_run: print, write nothing.

    Returns:
        Which CTs are held, and what was written.
    """
    require_between("network_share", network_share, 0, 1)
    require_between("most", most, 1, MOST_CTS)
    from xct_components.bundle_io.parent_stages import WEIGHTS
    from xct_components.cascade import UnifiedHybridViTCascade
    from xct_components.data.bundle_folder import STAGES, bundles_folder
    from xct_components.data.cases.cases import TrainingCases, case_dataset, present_items
    from xct_components.data.file_hash import file_sha256
    from xct_components.evaluation.deviation_check import forget_factors
    from xct_components.training.released_weights import write_weights

    folder = bundles_folder(bundles)
    first, *others = (folder / f"stage{number}" / WEIGHTS for number in STAGES)
    files = [first, *takewhile(Path.is_file, others)]
    unloaded = [file for file in others[len(files) - 1 :] if file.is_file()]  # parents of these lie elsewhere
    stage, *later = UnifiedHybridViTCascade.from_pretrained(folder, stages=len(files)).stages
    if stage.multi_atlas is None:
        raise UsageFailure(f"{folder / 'stage1'} holds no CTs (atlas_cts is 0); train it with --network_def::atlas_cts 16")
    if not dry_run:
        require_writable([file.parent for file in (*files, *unloaded)])
    items = present_items(Path(prepared), side, stage.field.shape[0])
    left_out = _names(without, [str(item["case"]) for item in items])
    kept = [item for item in items if item["case"] not in left_out]
    if not kept:
        raise UsageFailure(f"without names every case of side {side}; leave one")
    stage.multi_atlas.make_room(min(most, len(kept)))
    names = stage.multi_atlas.measure(TrainingCases(case_dataset(kept)).patients(stage.multi_atlas.count))
    stage.residual_scale_hu.mul_(network_share)
    detailed = names if detail or (detail is None and len(names) <= USUAL_DETAILS) else []
    for one in later:
        _hold_detail(one, Path(prepared), side, detailed)
    unnamed = f" and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else ""
    said = [f"{len(names)} of {len(kept)} CTs held: {', '.join(names[:MOST_NAMED])}{unnamed}"]
    said += [
        f"stage {number}: detail of {len(one.detail.key)} CTs" for number, one in enumerate(later, 2) if one.detail is not None
    ]
    if dry_run:
        return said
    write_weights(
        stage, files[0], {"network_of": file_sha256(files[0]), "held_cts": len(names), "network_share": network_share}
    )
    written = [files[0], *(changed for one, file in zip(later, files[1:], strict=True) if (changed := _written(one, file)))]
    written += [file.with_suffix(".json") for file in unloaded if forget_factors(file)]
    return [*said, *map(str, written)]


def _written(stage: "CascadeStage", file: Path) -> Path | None:
    """The file of a later stage that was changed: its weights if it holds detail, else their JSON if factors were in it."""
    from xct_components.data.file_hash import file_sha256
    from xct_components.evaluation.deviation_check import forget_factors
    from xct_components.training.released_weights import write_weights

    if stage.detail is None:
        return file.with_suffix(".json") if forget_factors(file) else None
    write_weights(stage, file, {"network_of": file_sha256(file), "detail_of_cts": len(stage.detail.key)})
    return file


def _hold_detail(stage: "CascadeStage", prepared: Path, side: str, names: Sequence[str]) -> None:
    """Give a stage the detail of these cases, and of no others."""
    from xct_components.data.cases.cases import load_case, present_items

    if stage.detail is None:
        return
    items = {str(item["case"]): item for item in present_items(prepared, side, stage.field.shape[0])} if names else {}
    stage.detail.measure((name, load_case(items[name])["ct_hu"]) for name in names)


def _names(without: str, known: Sequence[str]) -> list[str]:
    """The cases that are named.

    Raises:
        UsageFailure: if one is none of the known.
    """
    names = [name.strip() for name in without.split(",") if name.strip()]
    unknown = [name for name in names if name not in known]
    if unknown:
        raise UsageFailure(f"without names no case of this side: {', '.join(unknown)}; it has {', '.join(known)}")
    return names
