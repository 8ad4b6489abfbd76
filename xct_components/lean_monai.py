"""MONAI without what films never ask of it: a third of a preview's time went into loading libraries that no film uses."""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

#: Optional dependencies that MONAI loads wherever they are installed: training, plots, ultrasound, contours, slides, tables.
NOT_ASKED = ("ignite", "matplotlib", "scipy.signal", "skimage", "tifffile", "itk", "pandas", "tensorboard")


def load_lean_monai() -> None:
    """Import MONAI as it is where the libraries of ``NOT_ASKED`` are not installed, which MONAI allows of each of them.

    For a process that only turns films into CTs: MONAI's engines cannot train in it afterwards. Whatever imports one of these
    libraries itself gets it. Nothing happens where MONAI is loaded already.
    """
    if "monai" in sys.modules:
        return
    with _hidden([name for name in NOT_ASKED if name not in sys.modules]):
        import monai.bundle  # noqa: F401 - with it all that the cascade uses
    gc.freeze()  # the million objects of these libraries stay to the end: not searched for cycles again, nor on the way out


@contextmanager
def _hidden(names: Sequence[str]) -> Iterator[None]:
    """Within it an import of these modules fails as if they were not installed."""
    sys.modules.update(dict.fromkeys(names))  # type: ignore[arg-type] # Python takes None for "there is none"
    try:
        yield
    finally:
        for name in names:
            del sys.modules[name]
