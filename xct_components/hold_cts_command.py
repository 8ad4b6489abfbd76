"""``xct hold-cts``: give stage 1 the CTs that it bends to every film, and stage 2 their detail. Nothing is trained."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from xct_components.evaluation.run_limits import require_between, require_writable
from xct_components.failures import UsageFailure

if TYPE_CHECKING:
    from xct_components.networks.cascade_stage import CascadeStage

#: More would make weights of 2.6 GB.
MOST_CTS = 10_000
#: Cases that the output names.
MOST_NAMED = 20


def hold_cts(
    prepared: str,
    *,
    side: str = "train",
    without: str = "",
    most: int = 16,
    network_share: float = 1.0,
    detail: bool = True,
    bundles: str | None = None,
    dry_run: bool = False,
) -> list[str]:
    """Put the CTs of a prepared folder into stage 1 in place of those it holds: it bends them to every film from then on.

    The more of your own patients it holds, the better it knows such patients: of many, the 16 are bent whose films are most
    like the given one. Each takes 0.26 MB of the weights, which then hold these chests, voxels of 5 mm; and about 0.7 MB of
    those of stage 2, if it is there, for what single members show beyond that, voxels of 2.5 mm. Treat them as patient data. No
    network is trained. Factors of the standard deviation were measured with other CTs and are dropped, of all stages: run xct
    calibrate-deviation with patients that are not held.

    Args:
        prepared: output folder of xct prepare.
        side: train, val or test.
        without: names of cases that are not to be held, with commas between them.
        most: CTs to hold; of more they are chosen evenly by name.
        network_share: how much of what the network adds is to be believed from now on, 0 to 1: a network that was trained on
            another start says too much. Its samples spread by so much less, too.
        detail: let stage 2 hold the detail of these CTs; without, it holds none.
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
    target, finer = (folder / name / WEIGHTS for name in ("stage1", "stage2"))
    stage, *others = UnifiedHybridViTCascade.from_pretrained(folder, stages=2 if finer.is_file() else 1).stages
    if stage.multi_atlas is None:
        raise UsageFailure(f"{folder / 'stage1'} holds no CTs (atlas_cts is 0); train it with --network_def::atlas_cts 16")
    later = [file for file in (folder / f"stage{number}" / WEIGHTS for number in STAGES[1:]) if file.is_file()]
    if not dry_run:
        require_writable([file.parent for file in (target, *later)])
    items = present_items(Path(prepared), side, stage.field.shape[0])
    left_out = _names(without, [str(item["case"]) for item in items])
    kept = [item for item in items if item["case"] not in left_out]
    if not kept:
        raise UsageFailure(f"without names every case of side {side}; leave one")
    stage.multi_atlas.make_room(min(most, len(kept)))
    names = stage.multi_atlas.measure(TrainingCases(case_dataset(kept)).patients(stage.multi_atlas.count))
    stage.residual_scale_hu.mul_(network_share)
    unnamed = f" and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else ""
    said = [f"{len(names)} of {len(kept)} CTs held: {', '.join(names[:MOST_NAMED])}{unnamed}"]
    second = next((one for one in others if one.detail is not None), None)
    if second is not None:
        _hold_detail(second, Path(prepared), side, names if detail else [])
        said.append(f"stage 2: detail of {len(names) if detail else 0} CTs")
    if dry_run:
        return said
    write_weights(stage, target, {"network_of": file_sha256(target), "held_cts": len(names), "network_share": network_share})
    if second is not None:
        write_weights(second, finer, {"network_of": file_sha256(finer), "detail_of_cts": len(names) if detail else 0})
    written = [target, *([finer] if second is not None else [])]
    forgotten = [weights.with_suffix(".json") for weights in later if weights not in written and forget_factors(weights)]
    return [*said, *map(str, (*written, *forgotten))]


def _hold_detail(stage: "CascadeStage", prepared: Path, side: str, names: Sequence[str]) -> None:
    """Give a stage the detail of these cases, and of no others."""
    from xct_components.data.cases.cases import load_case, present_items

    items = {str(item["case"]): item for item in present_items(prepared, side, stage.field.shape[0])}
    if stage.detail is not None:
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
