"""Which DICOM objects are single grey films, from their tags alone, before any pixel is decoded."""

from __future__ import annotations

import re
from typing import Any

from xct_components.data.film.source import require_film_size
from xct_components.failures import RefusedInput

MODALITIES = ("CR", "DX", "RG")
#: A secondary capture may name how it was made instead: other, or digitised.
CAPTURE_MODALITIES = (*MODALITIES, "OT", "SC", "")
#: Storage classes of films (PS3.4, B.5), and of secondary captures in one grey.
FILM_CLASSES = ("1.2.840.10008.5.1.4.1.1.1", "1.2.840.10008.5.1.4.1.1.1.1", "1.2.840.10008.5.1.4.1.1.1.1.1")
CAPTURE_CLASSES = ("1.2.840.10008.5.1.4.1.1.7", "1.2.840.10008.5.1.4.1.1.7.2", "1.2.840.10008.5.1.4.1.1.7.3")
CHEST_PARTS = ("", "CHEST", "THORAX", "LUNG", "RIBS", "CHESTABDOMEN")
#: Code strings are capitals, digits, blanks and underscores; another text does not belong into a message.
_CODE_STRING = re.compile(r"[A-Z0-9_ ]{1,16}")


def code_string(value: Any) -> str:
    """A tag's code (VR CS) in capitals, or "" where it holds none; "another" for a text that cannot be a code."""
    text = str(value or "").strip().upper()
    return text if not text or _CODE_STRING.fullmatch(text) else "another"


def require_single_film(dataset: Any, name: str) -> None:
    """Refuse what is no single grey film.

    Raises:
        RefusedInput: for another object or modality, several frames, colours, or a size that no film has.
    """
    kind, modality = str(dataset.get("SOPClassUID") or ""), code_string(dataset.get("Modality"))
    if modality not in (CAPTURE_MODALITIES if kind in CAPTURE_CLASSES else MODALITIES):
        raise RefusedInput(f"{name} has the modality {modality or 'none'}, not a film (CR or DX)")
    if kind and kind not in (*FILM_CLASSES, *CAPTURE_CLASSES):
        raise RefusedInput(f"{name} is an object of another kind ({_kind_name(kind)}), not a CR or DX image")
    if int(dataset.get("NumberOfFrames") or 1) != 1 or int(dataset.get("SamplesPerPixel") or 1) != 1:
        raise RefusedInput(f"{name} holds several frames or colours, not one grey film; export it as grey")
    require_film_size(int(dataset.get("Rows") or 0), int(dataset.get("Columns") or 0), name)
    if code_string(dataset.get("PhotometricInterpretation")) not in ("MONOCHROME1", "MONOCHROME2"):
        raise RefusedInput(f"{name} is not MONOCHROME1 or MONOCHROME2; export it as grey")


def concerns_and_warnings(dataset: Any) -> tuple[list[str], list[str]]:
    """What the tags say against a chest film, and what its reader should know."""
    concerns, warnings = [], []
    part = "".join(letter for letter in code_string(dataset.get("BodyPartExamined")) if letter.isalpha())
    if part not in CHEST_PARTS:
        concerns.append(f"the tags say body part {part}")
    if code_string(dataset.get("PresentationIntentType")) == "FOR PROCESSING":
        concerns.append("it is a raw FOR PROCESSING image; the FOR PRESENTATION image of the same exposure is the better one")
    if str(dataset.get("SOPClassUID") or "") in CAPTURE_CLASSES:
        warnings.append("it is a secondary capture: its greys, size and sides may be those of a screen")
    if code_string(dataset.get("BurnedInAnnotation")) == "YES":
        warnings.append("text is burned into its pixels: it may name the patient, and count as anatomy")
    return concerns, warnings


def _kind_name(kind: str) -> str:
    from pydicom.uid import UID

    return UID(kind).name if UID(kind).name != kind else "an unknown one"
