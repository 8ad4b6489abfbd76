"""``xct calibrate-deviation``: how wide errors are beside the standard deviation that is stated, and make it state that."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from xct_components.evaluation.run_limits import MOST_SAMPLES, require_between, require_stages_and_steps, require_writable
from xct_components.failures import RefusedInput

if TYPE_CHECKING:
    from xct_components.evaluation.deviation_check import DeviationCheck
    from xct_components.networks.cascade_stage import CascadeStage


def calibrate_deviation(
    prepared: str,
    *,
    side: str = "val",
    stages: int = 3,
    samples: int = 1,
    steps: int = 4,
    lateral: bool = False,
    bundles: str | None = None,
    device: str = "cpu",
    dry_run: bool = False,
) -> list[str]:
    """Measure how wide errors are beside the standard deviation that is stated, and keep the factor with the weights.

    Each CT of one side of a prepared folder gives a simulated frontal film; what the CTs that it bends tell of the error is
    held against the true error in the body. The mean factor of all patients, by which 90 % of the voxels lie where the
    deviation says, goes into models/model.json of each stage. From then on every std of these weights is multiplied by it.
    Weights that are trained anew, or hold other CTs, have none.

    Args:
        prepared: output folder of xct prepare. The weights must not have seen the CTs of the side; a side with CTs that they
            hold is refused.
        side: val or test.
        stages: 1 (64 voxels along each edge), 2 (128) or 3 (256); all up to it are measured.
        samples: from two on the factor for so many samples beside the bent CTs is measured too.
        steps: network evaluations of a sample; each number of steps has a factor of its own.
        lateral: give a simulated lateral film too; two films have a factor of their own.
        bundles: folder with stage1, stage2 and stage3 (default - XCT_BUNDLES, ./bundles, or the one beside the package).
        device: cpu, cuda, cuda:1.
        dry_run: print, write nothing.

    Returns:
        What was measured as a table, and what was written.
    """
    require_stages_and_steps(stages, steps)
    require_between("samples", samples, 1, MOST_SAMPLES)
    from tqdm import tqdm

    from xct_components.bundle_io.parent_stages import WEIGHTS
    from xct_components.cascade import UnifiedHybridViTCascade
    from xct_components.data.bundle_folder import bundles_folder
    from xct_components.evaluation.deviation_check import deviation_check, keep_factor, measured_factor
    from xct_components.evaluation.held_out_case import cases_of_side, held_out_case

    folder = bundles_folder(bundles)
    cascade = UnifiedHybridViTCascade.from_pretrained(folder, device=device, stages=stages)
    files = [folder / f"stage{number}" / WEIGHTS for number in range(1, stages + 1)]
    if not dry_run:
        require_writable([file.parent for file in files])
    holds_cts = (held := cascade.stages[0].multi_atlas) is not None and held.is_measured
    told_by = [1] * holds_cts + ([samples] if samples > 1 or not holds_cts else [])
    names = cases_of_side(Path(prepared), side, [stage.field.shape[0] for stage in cascade.stages])
    _require_none_held(cascade.stages, names)
    columns: dict[tuple[int, int], list[DeviationCheck]] = {(k, n): [] for k in range(1, stages + 1) for n in told_by}
    with tqdm(total=len(names) * len(columns), desc="patients x stages", leave=False, disable=None) as bar:
        for name in names:
            case = held_out_case(Path(prepared), side, name, cascade.stages, lateral=lateral)
            for (number, count), column in columns.items():
                column.append(deviation_check(cascade, case, number, count, steps))
                bar.update()
    if not dry_run:
        for (number, _), column in columns.items():
            keep_factor(files[number - 1], measured_factor(column))
    written = [] if dry_run else [str(file.with_suffix(".json")) for file in files]
    return [*_table(columns), "", *written]


def _require_none_held(stages: "Sequence[CascadeStage]", cases: Sequence[str]) -> None:
    """Refuse patients whose CTs the weights hold: networks were trained on them, and err less on them than on others."""
    from xct_components.evaluation.held_patients import held_cases

    if held := held_cases(stages, cases):
        raise RefusedInput(
            f"the weights hold the CTs of {', '.join(held)}: errors on patients that they know are smaller than on others, and "
            "so would be the factor; prepare a side without them (--split_list)"
        )


def _table(columns: "dict[tuple[int, int], list[DeviationCheck]]") -> list[str]:
    count = len(next(iter(columns.values())))
    lines = [
        f"n={count}; inside the body",
        f"{'voxels':>8s}{'samples':>9s}{'steps':>7s}{'within 1.645 std':>18s}{'Spearman':>10s}{'factor':>8s}   of each patient",
    ]
    for (_, samples), column in columns.items():
        steps = column[0].steps
        coverage, correlation, factor = (
            sum(values) / count
            for values in (
                [one.coverage_90 for one in column],
                [one.error_correlation for one in column],
                [one.factor for one in column],
            )
        )
        drawn = f"{samples if steps else '-':>9}{steps or '-':>7}"
        each = " ".join(f"{one.factor:.2f}" for one in column)
        lines.append(f"{column[0].size:8d}{drawn}{coverage:18.3f}{correlation:10.3f}{factor:8.2f}   {each}")
    return lines
