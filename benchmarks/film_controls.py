"""What must not be mistaken: films of random phantoms, mirrored and not, and coronal CT slices saved as pictures."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from benchmarks.folder_of_cts import read_cts
from xct_components.data.phantom import random_thorax
from xct_components.data.prepare.prepared_case import patient_only
from xct_components.geometry import VolumeGrid, chest_beam_covering
from xct_components.physics.attenuation import hu_to_mu_per_mm
from xct_components.physics.projector import project

#: Seeds of this benchmark's phantoms, apart from those that train.
FIRST_SEED = 100_000
#: Phantoms are 384 mm a side; their films have this many pixels and show line integrals up to this as white.
PHANTOM_VOXELS, PHANTOM_VOXEL_MM, FILM_PIXELS, WHITE = 96, 4.0, 256, 6.5
#: Windows in HU that viewers offer: lung twice, the whole range, soft tissue.
WINDOWS = {
    "lung": (-1000.0, 300.0),
    "narrow lung": (-1350.0, 150.0),
    "whole range": (-1000.0, 1000.0),
    "soft tissue": (-160.0, 240.0),
}
#: Places of the slices behind the middle of the lungs, mm.
BEHIND_MM = (-40.0, -10.0, 20.0, 50.0)


def phantom_films(count: int) -> Iterator[tuple[int, np.ndarray]]:
    """(seed, (256, 256) uint16 PA film in a linear display) of random adults."""
    grid = VolumeGrid.chest((PHANTOM_VOXELS,) * 3, PHANTOM_VOXEL_MM)
    beam = chest_beam_covering(grid, "PA", FILM_PIXELS, FILM_PIXELS)
    for seed in range(FIRST_SEED, FIRST_SEED + count):
        integrals = project(hu_to_mu_per_mm(random_thorax(seed, grid).ct_hu.float()), grid, [beam])[0, 0, 0]
        yield seed, (integrals / WHITE * 65535.0).clamp(0.0, 65535.0).numpy().astype(np.uint16)


def coronal_slices(folders: list[Path]) -> Iterator[tuple[str, str, np.ndarray]]:
    """(CT, window, (rows, cols) uint8) of slices of each CT's patient on pixels of 1 mm, head up, right on the left."""
    from skimage.transform import resize

    for name, ct_hu, grid in read_cts(folders):
        patient = patient_only(ct_hu, grid)
        height_mm, depth_mm, width_mm = patient.ct.grid.spacing_mm
        for behind_mm in BEHIND_MM:
            index = round(patient.center_hdw[1] + behind_mm / depth_mm)
            hu = patient.ct.hu[:, min(max(index, 0), patient.ct.hu.shape[1] - 1)].astype(np.float32)
            hu = resize(hu, (round(hu.shape[0] * height_mm), round(hu.shape[1] * width_mm)), order=1)
            for window, (black, white) in WINDOWS.items():
                yield name, window, np.round(np.clip((hu - black) / (white - black), 0.0, 1.0) * 255.0).astype(np.uint8)
