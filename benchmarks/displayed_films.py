"""What becomes of a CT whose film was displayed and calibrated, as every real film is, beside one whose film is exact.

    python -m benchmarks.displayed_films --cts DIR [DIR] [--bundles DIR] [--keep bundles]

Every CT in turn is the patient: films of him without the scanner's table, displayed linearly and saved as pictures, are read
and calibrated by a reference made of the *other* CTs, and bend the others (``networks.multi_atlas``) to themselves. No network,
no training. The result is compared with the patient's CT voxel by voxel at 64 voxels a side; so are the mean of the others, the
same made to explain his film, and the one of them whose film is nearest (after the best gain and offset if his was displayed).
Where a patient stood no picture says, so errors are told twice: where the volume lies, and moved to where it fits best. Prints
RMSE in HU over the whole field; how wide errors of moved volumes are beside what is stated of them, in the body; and how far
the scale of calibrated films is from the truth. ``--keep`` writes that width into stageN/models/model.json of a folder of
bundles, for calibrated films: what each stage has for exact ones, times what a display does to it at 64 voxels.
"""

from __future__ import annotations

import argparse
import json
import statistics
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor
from tqdm import tqdm

from benchmarks.best_shift import best_shift, shifted
from benchmarks.deviation import LEAST_HU
from benchmarks.film_cases import FIELD_PIXELS, LATERAL_CURVE, CtCase, ct_cases, with_size
from benchmarks.lateral_films import decision, frontal_of
from benchmarks.markdown_table import markdown_table
from xct_components.cascade import UnifiedHybridViTCascade
from xct_components.data.film.calibration import CalibratedFilm, calibrated_film
from xct_components.data.film.height_match import HeightProfile, field_heights
from xct_components.data.film.lateral_calibration import calibrated_lateral
from xct_components.data.film.reference import FilmReference, reference_of
from xct_components.evaluation.deviation_check import keep_factor
from xct_components.geometry import VolumeGrid, chest_beam_covering
from xct_components.inferers.cascade_film import CALIBRATED, CascadeFilm
from xct_components.inferers.lateral_film_reading import shown_part
from xct_components.inferers.stage import StageInferer
from xct_components.inferers.stage_films import stage_films
from xct_components.inferers.stated_deviation import stated_deviation
from xct_components.metrics.image import rmse_hu
from xct_components.metrics.regions import chest_regions
from xct_components.metrics.uncertainty import error_correlation, width_ratio_90
from xct_components.networks.cascade_stage import CascadeStage
from xct_components.networks.deviation_factors import NO_SAMPLES, STD_FACTORS, DeviationFactors, FilmsSeen, MeasuredFactor
from xct_components.networks.explained_volume import explained_hu
from xct_components.physics.attenuation import hu_to_mu_per_mm
from xct_components.physics.gain_and_offset import fit_gain_offset
from xct_components.physics.projector import project

EXACT, SIZED, DISPLAYED = "exact film", "pixel size known", "no pixel size"
#: What is kept for stages: the films that were given, and what is to be known of them.
SIZED_PAIR, PAIR = "pixel size known, and lateral", "no pixel size, and lateral"
GIVEN = (EXACT, SIZED, SIZED_PAIR, DISPLAYED, PAIR, "no pixel size, and another's lateral")
KEPT = {
    SIZED: FilmsSeen(1, calibrated=True, sized=True),
    SIZED_PAIR: FilmsSeen(2, calibrated=True, sized=True),
    DISPLAYED: FilmsSeen(1, calibrated=True),
    PAIR: FilmsSeen(2, calibrated=True),
}


#: What needs no bending, of an exact film and of one whose pixel size nobody knows.
PLAIN = (
    "mean of the others",
    f"mean + consistency, {EXACT}",
    f"nearest's CT, {EXACT}",
    f"mean + consistency, {DISPLAYED}",
    f"nearest's CT, {DISPLAYED}",
)


class Told(NamedTuple):
    """Of a volume: RMSE in HU over the field, as it lies and moved to where it fits best.

    Of the moved one, in the body: how wide errors are beside the stated deviation, and Spearman's correlation.
    """

    rmse_hu: float
    moved_rmse_hu: float
    width: float
    correlation: float


class Displayed(NamedTuple):
    """A patient's films, calibrated: with the pixel size known and by anatomy alone; no lateral one if it was refused."""

    sized: CalibratedFilm
    sized_lateral: CalibratedFilm | None
    frontal: CalibratedFilm
    lateral: CalibratedFilm | None


def main() -> None:
    """Print a row a patient, the means, and the scale of films."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cts", type=Path, nargs="+", required=True, help="folders; every file or DICOM folder is one CT")
    parser.add_argument("--bundles", default=None, help="folder of the bundles whose atlas is used")
    parser.add_argument("--keep", type=Path, default=None, help="folder of the bundles that get the factors")
    options = parser.parse_args()
    cases = list(ct_cases(options.cts, table=False))
    stage = UnifiedHybridViTCascade.from_pretrained(options.bundles, stages=1).stages[0]
    films = [_displayed(case, reference_of([one.films for one in cases if one is not case], {})) for case in tqdm(cases)]
    found: list[dict[str, Told | None]] = []
    plain: list[list[tuple[float, float]]] = []
    for index, (case, shown) in enumerate(zip(cases, films, strict=True)):
        others = [one for one in cases if one is not case]
        plain.append(_plain(case, shown, others))
        found.append(_told(case, shown, films[index - 1].lateral, others, stage))
    _print(cases, plain, found)
    scales = [_scale(case, one.sized) for case, one in zip(cases, films, strict=True)]
    for name, values in zip(("gain", "offset"), zip(*scales, strict=True), strict=True):
        print(f"{name} from film to truth: mean {statistics.mean(values):.2f}, deviation {statistics.stdev(values):.2f}")
    if options.keep is not None:
        _keep(found, options.keep)


def _displayed(case: CtCase, reference: FilmReference) -> Displayed:
    film, size = frontal_of(case, reference), (FIELD_PIXELS, FIELD_PIXELS)
    _, _, lateral = decision(case.grey("LL", LATERAL_CURVE, "upright"), reference)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        sized, frontal = (calibrated_film(one, *size, reference=reference) for one in (with_size(film, case.exposure), film))
        if lateral is None:
            return Displayed(sized, None, frontal, None)
        known = with_size(lateral, case.lateral_exposure)
        laterals = [
            calibrated_lateral(one, by.record, *size, heights=_heights(by), reference=reference)
            for one, by in ((known, sized), (lateral, frontal))
        ]
    return Displayed(sized, laterals[0], frontal, laterals[1])


def _heights(frontal: CalibratedFilm) -> HeightProfile | None:
    return field_heights(frontal.line_integrals[0, 0, 0], frontal.record["placement"])


def _scale(case: CtCase, film: CalibratedFilm) -> tuple[float, float]:
    """Gain and offset that bring a calibrated film closest to the truth."""
    gain, offset = fit_gain_offset(film.line_integrals, case.training_film[None, None, None])
    return float(gain), float(offset)


def _plain(case: CtCase, shown: Displayed, others: Sequence[CtCase]) -> list[tuple[float, float]]:
    """Of each of ``PLAIN`` RMSE in HU, as it lies and moved to where it fits best."""
    mean = torch.cat([one.prepared_hu for one in others]).mean(0, keepdim=True)
    exact, displayed = case.training_film[None, None, None], shown.frontal.line_integrals
    volumes = [
        mean,
        _explained(mean, _exact(case)),
        min(others, key=lambda one: float((one.training_film - exact).norm())).prepared_hu,
        _explained(mean, _as_given(shown.frontal)),
        min(others, key=lambda one: _unlike(displayed, one.training_film)).prepared_hu,
    ]
    return [(_rmse_hu(one, case), _rmse_hu(shifted(one, best_shift(one, case.prepared_hu)), case)) for one in volumes]


def _explained(volume_hu: Tensor, film: CascadeFilm) -> Tensor:
    """The volume made to explain a film, as the cascade does it."""
    field = VolumeGrid.chest(volume_hu.shape[2:], 320.0 / volume_hu.shape[2], film.center_mm)
    films = stage_films(film.line_integrals, [film.beams], [field], [field], body_share=film.body_share)
    return explained_hu(volume_hu, films.measured, [field], films.measured_beams, [film.believed])


def _unlike(displayed: Tensor, film: Tensor) -> float:
    """How far a displayed film is from an exact one after the best gain and offset, in parts of the latter."""
    gain, offset = fit_gain_offset(displayed, film[None, None, None])
    return float((gain * displayed + offset - film).norm() / film.norm())


def _told(
    case: CtCase, shown: Displayed, other: CalibratedFilm | None, others: Sequence[CtCase], stage: CascadeStage
) -> dict[str, Told | None]:
    """What each of ``GIVEN`` tells; None where there is no such film."""
    if stage.multi_atlas is None:
        raise SystemExit("--bundles needs a stage 1 with atlas_cts")
    stage.multi_atlas.make_room(len(others))
    stage.multi_atlas.measure((one.name, one.prepared_hu) for one in others)
    given = [
        _exact(case),
        _as_given(shown.sized),
        _pair(shown.sized, shown.sized_lateral),
        _as_given(shown.frontal),
        _pair(shown.frontal, shown.lateral),
        None if shown.lateral is None else _pair(shown.frontal, other),
    ]
    return {name: None if film is None else _judged(film, case, stage) for name, film in zip(GIVEN, given, strict=True)}


@torch.no_grad()
def _judged(film: CascadeFilm, case: CtCase, stage: CascadeStage) -> Told:
    """The volume that stage 1 starts from, and what the CTs that the films bent tell of its error."""
    field = film.field_of(stage)
    inferer = StageInferer(consistency=film.believed, body_share=film.body_share)
    work = inferer.prepared(film.line_integrals, stage, fields=[field], beams=[film.beams])
    (bent,) = work.bent
    std = stated_deviation(work.prior_hu, field, bent=bent)
    if std is None:
        raise SystemExit("--cts must hold at least three CTs: two others tell of the error")
    shift = best_shift(work.prior_hu, case.prepared_hu)
    moved, moved_std = (shifted(one, shift) for one in (work.prior_hu, std.clamp_min(LEAST_HU)))
    volume, stated, truth = (one[0, 0].numpy() for one in (moved, moved_std, case.prepared_hu))
    body = chest_regions(truth, field).body_on(field.shape)
    told = width_ratio_90(volume, stated, truth, body), error_correlation(volume, stated, truth, body)
    return Told(_rmse_hu(work.prior_hu, case), _rmse_hu(moved, case), *told)


def _exact(case: CtCase) -> CascadeFilm:
    size = case.prepared_hu.shape[2:]
    grid = VolumeGrid.chest(size, 320.0 / size[0])
    beams = [chest_beam_covering(grid, "PA", *size[1:])]
    return CascadeFilm(project(hu_to_mu_per_mm(case.prepared_hu), grid, beams), tuple(beams), exact=True)


def _as_given(frontal: CalibratedFilm) -> CascadeFilm:
    """A calibrated film as `xct generate` gives it to the cascade."""
    record = {**frontal.record, "geometry_from": CALIBRATED, "file": "a picture"}
    return CascadeFilm(frontal.line_integrals, (frontal.beam,), record=record)


def _pair(frontal: CalibratedFilm, lateral: CalibratedFilm | None) -> CascadeFilm | None:
    return None if lateral is None else _as_given(frontal).with_view(shown_part(lateral))


def _print(
    cases: Sequence[CtCase], plain: Sequence[list[tuple[float, float]]], found: Sequence[dict[str, Told | None]]
) -> None:
    """RMSE of every patient and their mean, as the volume lies and moved; then what is told of errors."""
    for index, (title, name) in enumerate((("RMSE HU where it lies", "rmse_hu"), ("RMSE HU moved", "moved_rmse_hu"))):
        rows: list[list[Any]] = [
            [case.name, *(one[index] for one in others), *_of(told, name)]
            for case, others, told in zip(cases, plain, found, strict=True)
        ]
        both = [row for row in rows if None not in row]
        means, pairs = (
            [what, *(_mean([row[k] for row in chosen]) for k in range(1, len(PLAIN) + len(GIVEN) + 1))]
            for what, chosen in (("mean", rows), (f"mean of the {len(both)} with a lateral", both))
        )
        cells = [[f"{cell:.0f}" if isinstance(cell, float) else cell for cell in row] for row in [*rows, means, pairs]]
        print(markdown_table([title, *PLAIN, *GIVEN], cells) + "\n")
    lines = []
    for name in GIVEN:
        told = [one for patient in found if (one := patient[name]) is not None]
        each = " ".join(f"{one.width:.2f}" for one in told)
        lines.append([name, *(f"{_mean([getattr(one, of) for one in told]):.2f}" for of in ("correlation", "width")), each])
    print(markdown_table(["film", "Spearman", "errors wider than stated by", "of each patient"], lines) + "\n")


def _keep(found: Sequence[dict[str, Told | None]], bundles: Path) -> None:
    """The factors of calibrated films, with one view and with two."""
    widths = {name: [one.width for patient in found if (one := patient[name]) is not None] for name in GIVEN}
    for weights in sorted(bundles.glob("stage*/models/model.pt")):
        described = json.loads(weights.with_suffix(".json").read_text(encoding="utf-8"))
        exact = DeviationFactors.from_json(described.get(STD_FACTORS, ())).at(NO_SAMPLES)
        for name, seen in KEPT.items():
            factor = exact * statistics.mean(widths[name]) / statistics.mean(widths[EXACT])
            keep_factor(weights, MeasuredFactor(NO_SAMPLES, factor, len(widths[name]), seen))


def _of(told: dict[str, Told | None], name: str) -> list[float | None]:
    return [None if one is None else getattr(one, name) for one in told.values()]


def _rmse_hu(volume_hu: Tensor, case: CtCase) -> float:
    return rmse_hu(volume_hu.numpy(), case.prepared_hu.numpy())


def _mean(values: Sequence[Any]) -> float | None:
    known = [value for value in values if value is not None]
    return statistics.mean(known) if known else None


if __name__ == "__main__":
    main()
