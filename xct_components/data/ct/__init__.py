"""Chest CTs from disk: NIfTI, NRRD, MetaImage and DICOM series, as HU on a voxel grid."""

from xct_components.data.ct.reading import read_ct

__all__ = ["read_ct"]
