"""What becomes of a CT whose film was displayed and calibrated, as every real film is, beside one whose film is exact.

    python -m benchmarks.displayed_films --cts DIR [DIR] [--bundles DIR]

Every CT in turn is the patient: `xct simulate`'s films of him, displayed linearly and saved as pictures, are read and
calibrated by a reference made of the *other* CTs, and bend the others (``networks.multi_atlas``) to themselves. No network, no
training. The result is compared with the patient's CT voxel by voxel at 64 voxels a side; what calibration misplaces counts
as an error. Prints RMSE in HU over the whole field, and how far the scale of calibrated films is from the truth.
"""

from __future__ import annotations

import argparse
import statistics
import warnings
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor
from tqdm import tqdm

from benchmarks.film_cases import FIELD_PIXELS, LATERAL_CURVE, CtCase, ct_cases
from benchmarks.lateral_films import decision, frontal_of
from benchmarks.markdown_table import markdown_table
from xct_components.cascade import UnifiedHybridViTCascade
from xct_components.data.film.calibration import CalibratedFilm, calibrated_film
from xct_components.data.film.lateral_calibration import calibrated_lateral
from xct_components.data.film.reference import FilmReference, reference_of
from xct_components.geometry import VolumeGrid, chest_beam_covering
from xct_components.inferers.cascade_film import CALIBRATED, CascadeFilm
from xct_components.inferers.lateral_film_reading import shown_part
from xct_components.inferers.stage_films import BODY_SHARE, stage_films
from xct_components.metrics.image import rmse_hu
from xct_components.networks.cascade_stage import CascadeStage
from xct_components.physics.attenuation import hu_to_mu_per_mm
from xct_components.physics.gain_and_offset import fit_gain_offset
from xct_components.physics.projector import project

GIVEN = ("mean of the others", "exact film", "displayed, pixel size known", "displayed", "+ lateral", "+ another's lateral")


class Displayed(NamedTuple):
    """A patient's films, calibrated: with the pixel size known and by anatomy alone; no lateral one if it was refused."""

    sized: CalibratedFilm
    frontal: CalibratedFilm
    lateral: CalibratedFilm | None


def main() -> None:
    """Print a row a patient, the means, and the scale of films."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cts", type=Path, nargs="+", required=True, help="folders; every file or DICOM folder is one CT")
    parser.add_argument("--bundles", default=None, help="folder of the bundles whose atlas is used")
    options = parser.parse_args()
    cases = list(ct_cases(options.cts))
    stage = UnifiedHybridViTCascade.from_pretrained(options.bundles, stages=1).stages[0]
    films = [_displayed(case, reference_of([one.films for one in cases if one is not case], {})) for case in tqdm(cases)]
    rows, scales = [], [_scale(case, one.sized) for case, one in zip(cases, films, strict=True)]
    for index, (case, shown) in enumerate(zip(cases, films, strict=True)):
        others = [one for one in cases if one is not case]
        rows.append([case.name, *_errors(case, shown, films[index - 1].lateral, others, stage)])
    means = ["mean", *(_mean([row[k] for row in rows]) for k in range(1, len(rows[0])))]
    both = [row for row in rows if None not in row]
    of_pairs = [f"mean of the {len(both)} with a lateral", *(_mean([row[k] for row in both]) for k in range(1, len(means)))]
    print(markdown_table(["RMSE HU", *GIVEN], [[_rounded(cell) for cell in row] for row in [*rows, means, of_pairs]]))
    for name, values in zip(("gain", "offset"), zip(*scales, strict=True), strict=True):
        print(f"{name} from film to truth: mean {statistics.mean(values):.2f}, deviation {statistics.stdev(values):.2f}")


def _displayed(case: CtCase, reference: FilmReference) -> Displayed:
    film, size = frontal_of(case, reference), (FIELD_PIXELS, FIELD_PIXELS)
    _, _, lateral = decision(case.grey("LL", LATERAL_CURVE, "upright"), reference)
    known = replace(film, pixel_mm=case.exposure.beam.detector.pitch_mm, magnification=case.exposure.magnification)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        sized, frontal = (calibrated_film(one, *size, reference=reference) for one in (known, film))
        seen = None if lateral is None else calibrated_lateral(lateral, frontal.record, *size, reference=reference)
    return Displayed(sized, frontal, seen)


def _scale(case: CtCase, film: CalibratedFilm) -> tuple[float, float]:
    """Gain and offset that bring a calibrated film closest to the truth."""
    gain, offset = fit_gain_offset(film.line_integrals, case.training_film[None, None, None])
    return float(gain), float(offset)


def _errors(
    case: CtCase, shown: Displayed, other: CalibratedFilm | None, others: Sequence[CtCase], stage: CascadeStage
) -> list[float | None]:
    """RMSE for each of ``GIVEN``; None where there is no such film."""
    if stage.multi_atlas is None:
        raise SystemExit("--bundles needs a stage 1 with atlas_cts")
    stage.multi_atlas.make_room(len(others))
    stage.multi_atlas.measure((one.name, one.prepared_hu) for one in others)
    volumes = [torch.cat([one.prepared_hu for one in others]).mean(0, keepdim=True), _prior_hu(_exact(case), stage)]
    volumes += [_prior_hu(_as_given(film), stage) for film in (shown.sized, shown.frontal)]
    errors: list[float | None] = [_rmse_hu(volume, case) for volume in volumes]
    for lateral in (shown.lateral, other):
        usable = shown.lateral is not None and lateral is not None
        film = _as_given(shown.frontal, lateral) if usable else None
        errors.append(None if film is None else _rmse_hu(_prior_hu(film, stage), case))
    return errors


def _exact(case: CtCase) -> CascadeFilm:
    size = case.prepared_hu.shape[2:]
    grid = VolumeGrid.chest(size, 320.0 / size[0])
    beams = [chest_beam_covering(grid, "PA", *size[1:])]
    return CascadeFilm(project(hu_to_mu_per_mm(case.prepared_hu), grid, beams), tuple(beams), exact=True)


def _as_given(frontal: CalibratedFilm, lateral: CalibratedFilm | None = None) -> CascadeFilm:
    """Calibrated films as `xct generate` gives them to the cascade."""
    record = {**frontal.record, "geometry_from": CALIBRATED, "file": "a picture"}
    film = CascadeFilm(frontal.line_integrals, (frontal.beam,), record=record)
    return film if lateral is None else film.with_view(shown_part(lateral))


@torch.no_grad()
def _prior_hu(film: CascadeFilm, stage: CascadeStage) -> Tensor:
    """What stage 1 starts from."""
    field = film.field_of(stage)
    share = 0.0 if film.exact else BODY_SHARE
    films = stage_films(film.line_integrals, [film.beams], [field], [field], body_share=share)
    return stage.prior_hu(films.measured, [field], films.measured_beams, [film.believed], None)


def _rmse_hu(volume_hu: Tensor, case: CtCase) -> float:
    return rmse_hu(volume_hu.numpy(), case.prepared_hu.numpy())


def _mean(values: Sequence[Any]) -> float | None:
    known = [value for value in values if value is not None]
    return statistics.mean(known) if known else None


def _rounded(cell: Any) -> Any:
    return f"{cell:.0f}" if isinstance(cell, float) else cell


if __name__ == "__main__":
    main()
