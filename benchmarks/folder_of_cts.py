"""The CTs of some folders, for benchmarks on data that does not ship."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator
from pathlib import Path

from torch import Tensor

from xct_components.data.ct.reading import read_ct
from xct_components.failures import Failure
from xct_components.geometry import VolumeGrid


def read_cts(folders: list[Path]) -> Iterator[tuple[str, Tensor, VolumeGrid]]:
    """Name, HU (1, 1, D, H, W) and grid of every CT in the folders; what is not a CT is named on stderr and left out."""
    for path in sorted(path for folder in folders for path in folder.iterdir()):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # what a CT lacks is no matter here
                ct_hu, grid = read_ct(path)
        except Failure as refused:
            print(f"left out: {refused}", file=sys.stderr)
            continue
        print(f"read {path.name}", file=sys.stderr, flush=True)
        yield path.name.split(".")[0], ct_hu, grid
