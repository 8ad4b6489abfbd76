"""A lateral film as line integrals on the cascade's field: as tall as the frontal film of the same patient says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from torch import Tensor

from xct_components.data.film.calibration import (
    SIZE_DOUBT,
    USUAL_MAGNIFICATION,
    CalibratedFilm,
    calibration_record,
    on_cascade_field,
    own_line_integrals,
    without_enhancement,
)
from xct_components.data.film.height_match import HeightMatch, HeightProfile, height_profile, matched_heights
from xct_components.data.film.reading import ChestFilm
from xct_components.data.film.reference import FilmReference, film_reference
from xct_components.data.simulate.chest_exposure import FIELD_MM
from xct_components.geometry import ChestView, VolumeGrid, chest_beam_covering

#: Profiles of two films that agree less are left alone. Those of one patient agree by 0.91 and more (nine CTs), 0.94 and 0.75
#: (two real pairs, of which the second would be moved wrongly); those of two patients by 0.2 to 0.95, as chests are alike.
LEAST_AGREEMENT = 0.85
#: Lungs taller by this factor on one film than on the other are hardly those of one patient in one breath.
HEIGHT_DOUBT = 1.2


def calibrated_lateral(
    film: ChestFilm,
    frontal: Mapping[str, Any] | None = None,
    rows: int = 256,
    cols: int = 256,
    *,
    heights: HeightProfile | None = None,
    reference: FilmReference | None = None,
) -> CalibratedFilm:
    """Line integrals of a lateral film where a training film would have them.

    Its rows lie at the heights of the frontal film's: first the middle of the lungs is in the middle of both and, unless both
    films know their pixel size, the lungs are as tall on the one as on the other; then both show the same attenuation at each
    height (``height_match``).

    Args:
        film: from ``read_lateral``.
        frontal: record of the calibrated frontal film of the same patient; None for a lateral film alone.
        heights: what that film shows of each height; see ``field_heights``.
        rows: of the result, over 320 mm in the patient.
        cols: of the result, over 320 mm in the patient, from the patient's front to the back (for an RL film the other way).
        reference: what simulated films look like; by default the shipped reference.

    Raises:
        ValueError: if the film shows too little of a chest to fit a response.
    """
    greys, by = (reference or film_reference()).lateral_greys, None if frontal is None else frontal["placement"]
    integrals, response = own_line_integrals(film, greys)
    compared = None if heights is None else _compared(heights, film, integrals, *_placement(film, by))
    if compared is not None and compared.taken:
        film = compared.moved(film)
        integrals, response = own_line_integrals(film, greys)
    mm_per_pixel, placement = _placement(film, by)
    if compared is not None:
        placement |= {"heights": compared.to_json()}
        if compared.taken and not placement["size_known"]:
            placement["scale_from"] = "the frontal film: both show the same attenuation at each height"
        placement["warnings"] += compared.warnings
    values, covered = on_cascade_field(integrals, film.pose.middle, mm_per_pixel, rows, cols)
    values, response = without_enhancement(film, values, covered, response, "lateral")
    record = calibration_record(film, placement, response, values, covered)
    view: ChestView = "RL" if film.record["view"]["side_at_detector"] == "RL" else "LL"
    if view == "RL":
        values, covered = values.flip(1), covered.flip(1)
    beam = chest_beam_covering(VolumeGrid.chest((64, 64, 64), FIELD_MM / 64), view, rows, cols)
    return CalibratedFilm(values[None, None, None], covered[None, None, None], beam, record)


@dataclass(frozen=True)
class _Compared:
    """A lateral film's heights against the frontal film's; ``mm``: height of a pixel before."""

    match: HeightMatch
    mm: float

    @property
    def taken(self) -> bool:
        """Whether the films agree enough for that."""
        return self.match.agreement >= LEAST_AGREEMENT

    @property
    def warnings(self) -> list[str]:
        """What the user should know."""
        agreement = f"agreement {self.match.agreement:.2f}"
        doubt = f"the films show attenuation at different heights ({agreement}): one patient in one breath?"
        return [] if self.taken else [doubt]

    def moved(self, film: ChestFilm) -> ChestFilm:
        """The film where it shows the same heights as the frontal one."""
        row, col = film.pose.middle
        height_mm, width_mm = (mm * self.match.size for mm in film.pose.mm_per_pixel)
        middle = (row - self.match.shift_mm / (self.mm * self.match.size), col)
        return replace(film, pose=replace(film.pose, middle=middle, mm_per_pixel=(height_mm, width_mm)))

    def to_json(self) -> dict[str, Any]:
        """Plain entries of the record."""
        facts = {name: round(value, 4) for name, value in asdict(self.match).items()}
        return {**facts, "taken": self.taken}


def _compared(
    heights: HeightProfile,
    film: ChestFilm,
    integrals: Tensor,
    mm_per_pixel: tuple[float, float],
    placement: Mapping[str, Any],
) -> _Compared | None:
    own = height_profile(integrals, mm_per_pixel, film.pose.middle[0])
    match = matched_heights(heights, own, size_known=placement["size_known"])
    return None if match is None else _Compared(match, mm_per_pixel[0])


def _placement(film: ChestFilm, frontal: Mapping[str, Any] | None) -> tuple[tuple[float, float], dict[str, Any]]:
    """Height and width in the patient of a film pixel, and how they were found."""
    by_anatomy = film.pose.mm_per_pixel
    taller = _height_over_mean(frontal)
    by_frontal_mm = None if taller is None else by_anatomy[0] * taller
    known = film.pixel_mm is not None and (frontal is None or frontal["size_known"])
    warnings = []
    if film.pixel_mm is not None and known:
        magnification = film.magnification or USUAL_MAGNIFICATION
        size_mm = (film.pixel_mm[0] / magnification, film.pixel_mm[1] / magnification)
        scale_from = str(film.record["pixel_mm_from"])
        if not film.magnification:
            warnings.append(f"no magnification is known; {USUAL_MAGNIFICATION:g} is taken, as at 1800 and 1600 mm")
    elif by_frontal_mm is not None:
        size_mm, scale_from = (by_frontal_mm, by_frontal_mm), "the frontal film: the lungs are as tall on both"
    else:
        size_mm, scale_from = (by_anatomy[0], by_anatomy[0]), "anatomy: the lungs are as tall as the mean lungs"
        warnings.append("the pixel size is unknown: sizes are those of a mean patient")
    ratio = None if by_frontal_mm is None else size_mm[0] / by_frontal_mm
    if ratio is not None and not 1.0 / HEIGHT_DOUBT < ratio < HEIGHT_DOUBT:
        warnings.append(f"by its pixel size the lungs are {ratio:.2f} times as tall as on the frontal film: one patient?")
    deeper = size_mm[1] / by_anatomy[1]
    if not 1.0 / SIZE_DOUBT < deeper < SIZE_DOUBT:
        warnings.append(f"the chest is {deeper:.2f} times as deep as the mean chest: is it the film of the same patient?")
    return size_mm, {
        "scale_from": scale_from,
        "size_known": known,
        "mm_per_pixel_in_patient": list(size_mm),
        "mm_per_pixel_by_anatomy": [round(mm, 5) for mm in by_anatomy],
        "mm_per_pixel_by_frontal": None if by_frontal_mm is None else round(by_frontal_mm, 5),
        "lungs_taller_than_on_frontal": None if ratio is None else round(ratio, 4),
        "deeper_than_mean_chest": round(deeper, 4),
        "lungs_middle_pixel": [round(i, 1) for i in film.pose.middle],
        "agreement": round(film.pose.agreement, 3),
        "warnings": warnings,
    }


def _height_over_mean(frontal: Mapping[str, Any] | None) -> float | None:
    """Height of the patient's lungs relative to the mean lungs, as the frontal film was placed."""
    if frontal is None:
        return None
    return float(frontal["mm_per_pixel_in_patient"][0] / frontal["mm_per_pixel_by_anatomy"][0])
