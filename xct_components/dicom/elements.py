"""What our DICOM objects are put together from: UIDs, codes, items of sequences, decimal strings, the notice."""

from __future__ import annotations

import uuid
from typing import Any

#: What every volume made of a film is called.
SYNTHETIC = "SYNTHETIC from CXR - NOT FOR DIAGNOSIS"


def uid(*sources: str) -> Any:
    """A UID of the 2.25 root (PS3.5 B.2), the same for the same sources.

    Example:
        >>> uid("film", "series") == uid("film", "series") != uid("film", "study")
        True
    """
    from pydicom.uid import UID

    return UID(f"2.25.{uuid.uuid5(uuid.NAMESPACE_OID, '/'.join(('xct-components', *sources))).int}")


def code(value: str, scheme: str, meaning: str) -> Any:
    """An item of a code sequence (PS3.3, 8.8)."""
    return item(CodeValue=value, CodingSchemeDesignator=scheme, CodeMeaning=meaning)


def item(**attributes: Any) -> Any:
    """An item of a sequence, its attributes by keyword."""
    from pydicom.dataset import Dataset

    made = Dataset()
    for keyword, value in attributes.items():
        setattr(made, keyword, value)
    return made


def decimal(value: float) -> str:
    """A Decimal String (at most 16 characters): ten digits."""
    return f"{value:.10g}"
