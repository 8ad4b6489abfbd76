"""Where voxels, pixels and rays are: frozen, validated, in RAS millimetres."""

from xct_components.geometry.beam import Beam, ConeBeam, ParallelBeam
from xct_components.geometry.chest import (
    ChestView,
    chest_beam_covering,
    chest_beam_from_dicom,
    chest_cone_beam,
    chest_parallel_beam,
)
from xct_components.geometry.detector import Detector
from xct_components.geometry.volume_grid import VolumeGrid

__all__ = [
    "Beam",
    "ChestView",
    "ConeBeam",
    "Detector",
    "ParallelBeam",
    "VolumeGrid",
    "chest_beam_covering",
    "chest_beam_from_dicom",
    "chest_cone_beam",
    "chest_parallel_beam",
]
