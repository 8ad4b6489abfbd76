"""``xct evaluate``: held-out CTs through the cascade, beside baselines, with every metric and its interval."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xct_components.evaluation.run_limits import MOST_SAMPLES, require_stages_and_steps
from xct_components.failures import Failure, UsageFailure

if TYPE_CHECKING:
    from xct_components.cascade import UnifiedHybridViTCascade
    from xct_components.evaluation.baselines import TrainSide
    from xct_components.evaluation.case_rows import OnWork
    from xct_components.evaluation.record import Found, Request
    from xct_components.evaluation.sheet import PicturedCase

#: Patients in the picture: the first of the side.
PICTURED = 3


def evaluate(  # noqa: PLR0913 - each argument is an option of the command line
    prepared: str,
    *,
    output: str,
    side: str = "val",
    stages: int = 3,
    samples: int = 0,
    steps: int = 4,
    seed: int = 0,
    window_hu: str = "-1024,1024",
    protocol: str = "honest",
    originals: str | None = None,
    baseline: str | None = None,
    lateral: bool = False,
    bundles: str | None = None,
    device: str = "cpu",
    overwrite: bool = False,
) -> list[str]:
    """Judge the cascade on CTs that it was not trained on, beside baselines that need no network.

    Each CT of one side of a prepared folder gives a simulated frontal film; the film goes through the stages. Beside each
    stage stand the mean volume and the CT of the most similar films of the training side, the atlas made to explain the film,
    and the stage before. Every mean over patients has its bootstrap interval and its n. docs/metrics.md defines all metrics.
    A patient whose own CT the weights hold is named, and that CT is left out of those that his film bends.

    Args:
        prepared: output folder of xct prepare.
        output: folder for evaluation.json, evaluation.csv, evaluation.html and evaluation.png. It is made if missing.
        side: val or test.
        stages: 1 (64 voxels along each edge), 2 (128) or 3 (256); all sizes up to it are judged.
        samples: volumes to draw of each patient, at least 2, to judge them and what they tell of the error; 0 for none.
        steps: network evaluations of a sample.
        seed: of the noise.
        window_hu: lowest and highest HU that PSNR and SSIM refer to; write --window_hu=-1024,1024.
        protocol: honest alone, or beside it x2ct, psct or perx2ct, as published.
        originals: the folder that was prepared; published protocols score the original CTs.
        baseline: other predictions, NAME=FOLDER with one .nii.gz for each case, on its grid; several with commas.
        lateral: give the cascade the lateral film too; then no view is held out.
        bundles: folder with stage1, stage2 and stage3 (default - XCT_BUNDLES, ./bundles, or the one beside the package).
        device: cpu, cuda, cuda:1.
        overwrite: replace files that exist.

    Returns:
        The main figures as tables, and what was written.
    """
    _require_counts(stages, samples, steps)
    window = _window(window_hu)
    if find_spec("matplotlib") is None:
        raise Failure("evaluation.png needs matplotlib: pip install 'xct-components[report]'")
    from xct_components.cascade import UnifiedHybridViTCascade
    from xct_components.evaluation.baselines import read_train_side
    from xct_components.evaluation.case_rows import CascadeSettings
    from xct_components.evaluation.given_volumes import named_folders
    from xct_components.evaluation.held_out_case import cases_of_side
    from xct_components.evaluation.output_files import require_targets, write_evaluation
    from xct_components.evaluation.protocol_rows import require_protocol
    from xct_components.evaluation.record import Found, Request, evaluation_record
    from xct_components.evaluation.summary import means, protocol_tables, text_tables

    targets = require_targets(Path(output), overwrite=overwrite)
    request = Request(
        Path(prepared),
        side,
        CascadeSettings(stages, samples, steps, seed),
        window,
        require_protocol(protocol, originals),
        Path(originals or ""),
        named_folders(baseline),
        lateral,
    )
    with _progress() as (bar, on_work):
        on_work("loading")
        cascade = UnifiedHybridViTCascade.from_pretrained(bundles, device=device, stages=stages)
        sizes = [stage.field.shape[0] for stage in cascade.stages]
        cases = cases_of_side(request.prepared, side, sizes)
        train = read_train_side(request.prepared, sizes, lambda name: on_work(f"train: {name}"), lateral=lateral)
        found = Found()
        bar.total = len(cases)
        for name in cases:
            _judge_case(name, cascade, train, request, found, on_work)
            bar.update()
        on_work("writing")
        record = evaluation_record(cascade, train, request, found)
        write_evaluation(targets, record, found.rows, found.protocol_rows, found.pictured)
    tables = text_tables(means(found.rows), len(cases)) + protocol_tables(means(found.protocol_rows), len(cases), protocol)
    held = record["held_by_the_weights"]
    warned = [f"{', '.join(held['cases'])}: {held['note']}"] if held["cases"] else []
    return [*warned, *tables, "", *map(str, targets)]


def _judge_case(
    name: str,
    cascade: "UnifiedHybridViTCascade",
    train: "TrainSide",
    request: "Request",
    found: "Found",
    on_work: "OnWork",
) -> None:
    """One patient from film to figures; nothing of it is kept but figures and, for the first patients, pictures."""
    from xct_components.evaluation.case_rows import judged, predictions
    from xct_components.evaluation.held_out_case import held_out_case
    from xct_components.evaluation.protocol_rows import protocol_rows

    def on_case(what: str) -> None:
        on_work(f"{name}: {what}")

    stages = cascade.stages[: request.settings.stages]
    case = held_out_case(request.prepared, request.side, name, stages, lateral=request.lateral)
    made = predictions(case, cascade, train, request.settings, request.folders, on_case)
    found.film_sizes.add(case.film_size)
    found.rows += judged(case, made, request.window_hu, on_case)
    if request.protocol is not None:
        found.protocol_rows += protocol_rows(case, made, request.protocol, request.prepared, request.originals, on_case)
    if len(found.pictured) < PICTURED:
        found.pictured.append(_picture(case, made, len(stages)))


def _picture(case: Any, made: Any, stages: int) -> "PicturedCase":
    from xct_components.evaluation.baselines import ATLAS, MEAN
    from xct_components.evaluation.case_rows import mean_of
    from xct_components.evaluation.sheet import PicturedCase

    size = max(made.volumes)
    shown = {name: made.volumes[size][name] for name in (mean_of(stages), ATLAS, MEAN)}
    return PicturedCase(case.name, case.fields[size], case.truth_hu[size], shown)


def _require_counts(stages: int, samples: int, steps: int) -> None:
    require_stages_and_steps(stages, steps)
    if samples != 0 and not 2 <= samples <= MOST_SAMPLES:
        raise UsageFailure(f"samples must be 0, or lie between 2 and {MOST_SAMPLES}, got {samples}; one has no deviation")


def _window(text: str) -> tuple[float, float]:
    try:
        low, high = (float(part) for part in text.split(","))
    except ValueError:
        low, high = math.nan, math.nan
    if not -math.inf < low < high < math.inf:
        raise UsageFailure(f"window_hu must be LOWEST,HIGHEST in HU, got {text!r}; write --window_hu=-1024,1024")
    return low, high


@contextmanager
def _progress() -> Iterator[tuple[Any, "OnWork"]]:
    """A bar over the patients that says what is done; in log files it never appears."""
    from tqdm import tqdm

    with tqdm(total=1, bar_format="{desc:<60.60} {bar:20} {n_fmt}/{total_fmt} {elapsed}", leave=False, disable=None) as bar:
        yield bar, bar.set_description_str
