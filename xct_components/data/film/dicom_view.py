"""What the tags say of a film's view and sides: ViewPosition, ViewCodeSequence, PatientOrientation (PS3.3 C.8.11, C.7.6.1)."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np

from xct_components.data.film.dicom_admission import code_string

#: View codes of PS3.16, CID 4010, in SNOMED CT and in the older SRT: frontal and lateral ones with their ViewPosition, if any.
FRONTAL_CODES = {"272479007": "PA", "R-40888": "PA", "399348003": "AP", "R-10206": "AP"}
LATERAL_CODES: dict[str, str | None] = {
    "399067008": None, "R-102CD": None, "399173006": "LL", "R-10236": "LL", "399198007": "RL", "R-10232": "RL",
}  # fmt: skip
FRONTAL_POSITIONS, LATERAL_POSITIONS = ("PA", "AP"), ("LL", "RL", "LAT", "LATERAL")

View = Literal["frontal", "lateral", "other"]


def tagged_view(dataset: Any) -> tuple[View | None, str | None, tuple[str, ...]]:
    """The view, the tags' own word for it, and warnings where they contradict each other; ViewPosition goes first."""
    position, (coded, word) = code_string(dataset.get("ViewPosition")), _coded_view(dataset)
    if not position:
        along = _directions(dataset)
        lateral = coded is None and len(along) == 2 and along[0] in ("A", "P")
        return ("lateral" if lateral else coded), word, ()
    view: View = "frontal" if position in FRONTAL_POSITIONS else "lateral" if position in LATERAL_POSITIONS else "other"
    contradicts = coded is not None and (coded != view or (word is not None and word != position))
    note = f"ViewPosition says {position}, the view code {word or coded}: the first is taken"
    return view, position, (note,) if contradicts else ()


def _coded_view(dataset: Any) -> tuple[View | None, str | None]:
    for code in dataset.get("ViewCodeSequence") or ():
        value = str(code.get("CodeValue") or "")
        if value in FRONTAL_CODES:
            return "frontal", FRONTAL_CODES[value]
        if value in LATERAL_CODES:
            return "lateral", LATERAL_CODES[value]
    return None, None


def upright(dataset: Any, grey: np.ndarray) -> tuple[np.ndarray, list[str], bool]:
    """A film turned and flipped as PatientOrientation asks for; what was done; whether the tags fix the sides."""
    along, done = _directions(dataset), list[str]()
    if len(along) == 2 and along[0] in ("F", "H") and along[1] in ("L", "R", "A", "P"):
        grey, along, done = grey.T, along[::-1], ["rows to columns"]
    if len(along) != 2 or along[0] not in ("L", "R", "A", "P") or along[1] not in ("F", "H"):
        return grey, [], False
    if along[0] == "R":
        grey, done = grey[:, ::-1], [*done, "left to right"]
    if along[1] == "H":
        grey, done = grey[::-1], [*done, "top to bottom"]
    return grey, done, along[0] in ("L", "R")


def facing(dataset: Any) -> Literal["left", "right"] | None:
    """Towards which side of an upright lateral picture the patient looks: PatientOrientation names where the columns grow."""
    across = [direction for direction in _directions(dataset) if direction in ("A", "P")][:1]
    return "right" if across == ["A"] else "left" if across == ["P"] else None


def _directions(dataset: Any) -> list[str]:
    """The main direction along the rows and along the columns, or nothing."""
    orientation = dataset.get("PatientOrientation") or ()
    if isinstance(orientation, str) or len(orientation) != 2:
        return []
    return [str(direction).strip().upper()[:1] for direction in orientation]
