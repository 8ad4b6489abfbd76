"""Presentation states beside a film: how a technologist turned, cropped or windowed it lives there, not in the film."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

from xct_components.data.ct.dicom_series import is_dicom
from xct_components.data.film.dicom_reading import film_header
from xct_components.failures import Failure

#: Softcopy presentation states (PS3.4, B.5): greyscale, colour and their like all begin so.
STATE_CLASSES = "1.2.840.10008.5.1.4.1.1.11."
#: They hold no pixels, and a folder of thousands is not searched to its end.
MOST_STATE_BYTES, MOST_FILES = 1 << 20, 200


def states_of(path: Path, dataset: Any) -> tuple[str, ...]:
    """A warning if a presentation state in the film's folder refers to it.

    Args:
        path: of the film.
        dataset: its tags.
    """
    instance = str(dataset.get("SOPInstanceUID") or "")
    neighbours = itertools.islice(path.absolute().parent.iterdir(), MOST_FILES)
    if not instance or not any(_refers(file, instance) for file in neighbours if file.name != path.name):
        return ()
    return ("a presentation state beside it says how to turn, crop or window it, which is not done: compare with your viewer",)


def _refers(file: Path, instance: str) -> bool:
    try:
        if not is_dicom(file) or file.stat().st_size > MOST_STATE_BYTES:
            return False
        header = film_header(file)
    except (Failure, OSError):  # of another's file nothing is to be said here
        return False
    if not str(header.get("SOPClassUID") or "").startswith(STATE_CLASSES):
        return False
    images = [
        image
        for series in header.get("ReferencedSeriesSequence") or ()
        for image in series.get("ReferencedImageSequence") or ()
    ]
    return any(str(image.get("ReferencedSOPInstanceUID") or "") == instance for image in images)
