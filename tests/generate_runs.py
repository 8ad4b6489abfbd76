"""``xct generate`` for tests: a film that knows where its CT lies, and one run with the tiny cascade."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import nibabel
import numpy as np

from tests.inferers.tiny_stages import FIELD_MM, chest_hu
from xct_components.generate_command import generate
from xct_components.geometry import VolumeGrid
from xct_components.simulate_command import simulate

REAL_FILM = Path(__file__).parent / "data" / "films" / "00000001_000.png"
#: Where the CT of the simulated film lies, in its own world; no corner or middle is at the origin.
CENTER_MM = (33.0, -21.0, 140.0)


def simulate_film(folder: Path) -> Path:
    """A film of a CT with a dense ball in the patient's left lung; its JSON and the CT are beside it."""
    grid = VolumeGrid.chest((64, 64, 64), FIELD_MM / 64, CENTER_MM)
    hu = chest_hu(grid)[0, 0].numpy().astype(np.int16)
    nibabel.save(nibabel.Nifti1Image(hu, grid.affine.numpy()), folder / "ct.nii.gz")
    simulate(str(folder / "ct.nii.gz"), output=str(folder / "film.nii.gz"), rows=128, cols=128)
    return folder / "film.nii.gz"


def run(film: Path, output: Path, bundles: Path, **options: Any) -> list[str]:
    """What the command writes; the made-up chests need --accept."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        options = {"stages": 2, "accept": True, "bundles": str(bundles), **options}
        return [path.name for path in generate(str(film), output=str(output), **options)]
