"""``xct calibrate-deviation``: how wide errors are beside the standard deviation that is stated, and make it state that."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from xct_components.evaluation.run_limits import MOST_SAMPLES, require_between, require_stages_and_steps, require_writable

if TYPE_CHECKING:
    from xct_components.evaluation.deviation_check import DeviationCheck


def calibrate_deviation(
    prepared: str,
    *,
    side: str = "val",
    stages: int = 3,
    samples: int = 4,
    steps: int = 4,
    bundles: str | None = None,
    device: str = "cpu",
    dry_run: bool = False,
) -> list[str]:
    """Measure how far errors go beyond the standard deviation of samples, and keep the factor with the weights.

    Samples share what the network has never seen, so their deviation is too small. Each CT of one side of a prepared folder
    gives a simulated frontal film; the deviation of its samples is held against the true error in the body. The mean factor
    of all patients, by which 90 % of the voxels lie where the deviation says, goes into models/model.json of each stage. From
    then on every std of these weights at so many steps is multiplied by it. Weights that are trained anew have none.

    Args:
        prepared: output folder of xct prepare. The weights must not have seen the CTs of the side.
        side: val or test.
        stages: 1 (64 voxels along each edge), 2 (128) or 3 (256); all up to it are measured.
        samples: volumes to draw of each patient and stage, at least 2.
        steps: network evaluations of a sample; each number of steps has a factor of its own.
        bundles: folder with stage1, stage2 and stage3 (default - XCT_BUNDLES, ./bundles, or the one beside the package).
        device: cpu, cuda, cuda:1.
        dry_run: print, write nothing.

    Returns:
        What was measured as a table, and what was written.
    """
    require_stages_and_steps(stages, steps)
    require_between("samples", samples, 2, MOST_SAMPLES)
    from tqdm import tqdm

    from xct_components.bundle_io.parent_stages import WEIGHTS
    from xct_components.cascade import UnifiedHybridViTCascade
    from xct_components.data.bundle_folder import bundles_folder
    from xct_components.evaluation.deviation_check import deviation_check, keep_factor, measured_factor
    from xct_components.evaluation.held_out_case import cases_of_side, held_out_case

    folder = bundles_folder(bundles)
    checks: list[list[DeviationCheck]] = []
    cascade = UnifiedHybridViTCascade.from_pretrained(folder, device=device, stages=stages)
    files = [folder / f"stage{number}" / WEIGHTS for number in range(1, stages + 1)]
    if not dry_run:
        require_writable([file.parent for file in files])
    names = cases_of_side(Path(prepared), side, [stage.field.shape[0] for stage in cascade.stages])
    with tqdm(total=len(names) * stages, desc="patients x stages", leave=False, disable=None) as bar:
        for name in names:
            case = held_out_case(Path(prepared), side, name, cascade.stages, lateral=False)
            checks.append([])
            for number in range(1, stages + 1):
                checks[-1].append(deviation_check(cascade, case, number, samples, steps))
                bar.update()
    by_stage = [list(column) for column in zip(*checks, strict=True)]
    if not dry_run:
        for file, column in zip(files, by_stage, strict=True):
            keep_factor(file, measured_factor(column, steps))
    written = [] if dry_run else [str(file.with_suffix(".json")) for file in files]
    return [*_table(by_stage, samples, steps), "", *written]


def _table(by_stage: "Sequence[Sequence[DeviationCheck]]", samples: int, steps: int) -> list[str]:
    count = len(by_stage[0])
    lines = [
        f"{samples} samples of {steps} steps, n={count}; inside the body",
        f"{'voxels':>8s}{'within 1.645 std':>18s}{'Spearman':>10s}{'factor':>8s}   of each patient",
    ]
    for column in by_stage:
        factors = [one.factor for one in column]
        means = [
            sum(values) / count for values in ([one.coverage_90 for one in column], [one.error_correlation for one in column])
        ]
        each = " ".join(f"{factor:.2f}" for factor in factors)
        lines.append(f"{column[0].size:8d}{means[0]:18.3f}{means[1]:10.3f}{sum(factors) / count:8.2f}   {each}")
    return lines
