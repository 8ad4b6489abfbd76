"""The conventions under which published X-ray-to-CT systems were trained and scored, each with where it is written.

A figure of another paper means something only on the array that it was computed on. These are the arrays' recipes;
``protocol_volume.py`` follows them, ``protocol_films.py`` places the films, ``protocol_split.py`` reads the lists of patients.
What the sources leave open is ``None`` here, and is asked for instead of guessed. docs/protocols.md tells the whole story.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal

from jaxtyping import Float
from torch import Tensor

Anchor = Literal["last", "middle"]

#: Stored values are HU + 1024, so that 0 is the air of a scanner (X2CT CT2XRAY/ctxray_utils.py:104).
STORED_AT_ZERO_HU = 1024


@dataclass(frozen=True)
class FilmSetup:
    """How a protocol's frontal and lateral film were rendered from its stored volume.

    Args:
        source_to_detector_mm: SID.
        pixels: rows, and columns, of the square film; None where it is not published.
        size_mm: side of the film on the detector; None where it is not published.
        source_to_axis_mm: focal spot to the middle of the volume; None where it is not published.
        isocenter_text_cut: whether the last character of the isocentre's z went missing on its way to the DRR tool.
    """

    source_to_detector_mm: float
    pixels: int | None
    size_mm: float | None
    source_to_axis_mm: float | None
    isocenter_text_cut: bool


@dataclass(frozen=True)
class Protocol:
    """The published way from a CT to the volume that a prediction is compared with.

    Axis codes are those of ``VolumeGrid.axis_codes``, the direction in which an array axis grows: "SPL" is (z, y, x) of an
    ITK image of a supine patient, lowest slice first.

    Args:
        name: as the literature calls it.
        stored_axes: axes of the array that is resampled and cropped; None keeps those of the file.
        stored_dtype: type of that array; whole numbers make SciPy round after every interpolation.
        body_mask: whether everything outside a body mask is set to 0 first.
        spacing_mm: voxels after resampling; None where the field of view is resized as it is.
        cube_voxels: side of the cube that is cropped or padded (value 0) to; None where nothing is.
        anchors: what a crop keeps along each stored axis: the last voxels, or the middle ones. Padding is shared by
            both ends; the odd voxel goes to the far end.
        model_axes: axes of the volume that is scored; None keeps the stored ones.
        model_voxels: its side.
        resize_order: spline order of the last resize, corner voxel to corner voxel; None where it is not published.
        resized_before_clip: stored axes that are resized before values are clipped. The others follow afterwards, linearly,
            outer edge to outer edge.
        window_hu: lowest and highest HU; what is beyond is clipped; they become 0 and 1.
        decimals: the scaled values are rounded to this many; None where they are not.
        films: geometry of the films.
        series: numbers of series for training, validation and test, as published; None where there is no such set.
        leaked_patients: patients on both sides of the published lists.

    Raises:
        ValueError: if the window is empty, a size is not positive, or axes are not in the order (z, y, x).
    """

    name: str
    stored_axes: str | None
    stored_dtype: Literal["int16", "float32"]
    body_mask: bool
    spacing_mm: float | None
    cube_voxels: int | None
    anchors: tuple[Anchor, Anchor, Anchor]
    model_axes: str | None
    model_voxels: int
    resize_order: int | None
    resized_before_clip: tuple[int, ...]
    window_hu: tuple[float, float]
    decimals: int | None
    films: FilmSetup
    series: tuple[int | None, int | None, int | None]
    leaked_patients: tuple[str, ...]

    def __post_init__(self) -> None:
        if not -math.inf < self.window_hu[0] < self.window_hu[1] < math.inf:
            raise ValueError(f"window_hu must be (lowest, highest), got {self.window_hu}; most use (-1024, 1476)")
        for name in ("spacing_mm", "cube_voxels", "model_voxels"):
            size = getattr(self, name)
            if size is not None and not 0 < size < math.inf:
                raise ValueError(f"{name} must be positive, got {size}; None means that the protocol has none")

        for name in ("stored_axes", "model_axes"):
            codes = getattr(self, name)
            if codes is not None and not (
                len(codes) == 3 and all(c in pair for c, pair in zip(codes, ("SI", "PA", "LR"), strict=True))
            ):
                raise ValueError(
                    f"{name} must be (z, y, x) axes such as 'SPL' or 'IPL', got {codes!r}; None keeps those there are"
                )

    @property
    def window_stored(self) -> tuple[float, float]:
        """The window in stored values, e.g. (0, 2500)."""
        return self.window_hu[0] + STORED_AT_ZERO_HU, self.window_hu[1] + STORED_AT_ZERO_HU

    def hu_of(self, volume: Float[Tensor, "*batch d h w"]) -> Float[Tensor, "*batch d h w"]:
        """HU of a scored volume in [0, 1], as far as the window holds them."""
        lowest, highest = self.window_hu
        return volume * (highest - lowest) + lowest


#: X2CT-GAN (CVPR 2019, arXiv 1905.06902), from github.com/kylekma/X2CT at a9f0473:
#:   1 mm, cubic, nearest edge      CT2XRAY/ctpro.py:14-30
#:   crop, padding                  CT2XRAY/ctpro.py:33-55
#:   body mask, never published     CT2XRAY/ctpro.py:79-81, CT2XRAY/ctxray_utils.py:45-47
#:   scored slices run head first   3DGAN/lib/utils/ct.py:25-32; 3DGAN/visual.py:166-168 undoes it; see docs/protocols.md
#:   128^3, order 1, clip, scale    3DGAN/lib/dataset/data_augmentation_1030.py:192-, 3DGAN/lib/utils/transform_3d.py:111-232
#:   0..2500, 128                   3DGAN/experiment/multiview2500/d2_multiview2500.yml:6,96-99
#:   films                          CT2XRAY/xraypro.py:25-48,69-92
#:   lists                          3DGAN/data; the test list serves for validation too (ReadMe.md:123)
X2CT = Protocol(
    name="x2ct",
    stored_axes="SPL",
    stored_dtype="int16",
    body_mask=True,
    spacing_mm=1.0,
    cube_voxels=320,
    anchors=("last", "middle", "middle"),
    model_axes="IPL",
    model_voxels=128,
    resize_order=1,
    resized_before_clip=(0, 1, 2),
    window_hu=(-1024.0, 1476.0),
    decimals=6,
    films=FilmSetup(949.0, pixels=320, size_mm=500.0, source_to_axis_mm=541.0, isocenter_text_cut=True),
    series=(916, None, 102),
    leaked_patients=("LIDC-IDRI-0442",),
)

#: PerX2CT (ICASSP 2023, arXiv 2303.05297), from github.com/dek924/PerX2CT at be4c354:
#:   slices by InstanceNumber, HU + 1024, SliceThickness taken for distance   data_preprocessing/0_dicom2mhd.py:45,55-75,79-82
#:   1 mm, crop and padding like X2CT, no mask           data_preprocessing/1_ctpro_wo_mask.py:14-55,82-89
#:   one axis to 128, once for each direction of slices  data_preprocessing/4_ct_dataset_prepare.py:21-87
#:   clip, scale                                         configs/PerX2CT.yaml:116-118, x2ct_nerf/data/base.py:40-57
#:   the other two axes, as scored                       main_test.py:280, x2ct_nerf/models/zoom_aegan.py:162-173
#:   films                                               data_preprocessing/2_xraypro.py:33-48,83,103
#:   lists                                               dataset_list/LIDC_CTslice, data_preprocessing/dataset_list
#: This is its volume of axial slices; replace(PERX2CT, resized_before_clip=(1,)) is that of coronal, (2,) of sagittal ones.
PERX2CT = Protocol(
    name="perx2ct",
    stored_axes="IPL",
    stored_dtype="int16",
    body_mask=False,
    spacing_mm=1.0,
    cube_voxels=320,
    anchors=("last", "middle", "middle"),
    model_axes="IPL",
    model_voxels=128,
    resize_order=1,
    resized_before_clip=(0,),
    window_hu=(-1024.0, 1476.0),
    decimals=6,
    films=FilmSetup(949.0, pixels=320, size_mm=500.0, source_to_axis_mm=700.0, isocenter_text_cut=True),
    series=(855, 17, 76),
    leaked_patients=("LIDC-IDRI-0442",),
)

#: PSCT-Net (arXiv 2606.19867), from github.com/DYDevelop/PSCT-Net at b174d1c. It loads X2CT's HDF5 files (front_pro.py:39,
#: alignDataSetViews.py) through an identical data_augmentation_1030.py; window d2_multiview2500_BP.yml:6; README.md:125 states
#: 917/101 volumes of LIDC-IDRI, X2CT's lists have 916/102, and its own lists are not published.
PSCT = replace(X2CT, name="psct", series=(917, None, 101), leaked_patients=())

#: LiftXR ("Learning Where and What to Lift for Bi-planar X-ray-to-CT Reconstruction", code not released), section
#: "Dataset and Pre-processing": 128^3, HU clamped to [-1024, 1024] and scaled to [0, 1]; DiffDRR with SID 3000 mm and 1.0 mm
#: pixels; LIDC-IDRI 818/200, CT-RATE 2000/300. Interpolation, axes, film size and source position are not stated.
LIFTXR = Protocol(
    name="liftxr",
    stored_axes=None,
    stored_dtype="float32",
    body_mask=False,
    spacing_mm=None,
    cube_voxels=None,
    anchors=("middle", "middle", "middle"),
    model_axes=None,
    model_voxels=128,
    resize_order=None,
    resized_before_clip=(0, 1, 2),
    window_hu=(-1024.0, 1024.0),
    decimals=None,
    films=FilmSetup(3000.0, pixels=None, size_mm=None, source_to_axis_mm=None, isocenter_text_cut=False),
    series=(818, None, 200),
    leaked_patients=(),
)

PROTOCOLS = {protocol.name: protocol for protocol in (X2CT, PERX2CT, PSCT, LIFTXR)}


def protocol_named(name: str) -> Protocol:
    """The published protocol of that name.

    Raises:
        ValueError: if there is none.
    """
    if name not in PROTOCOLS:
        raise ValueError(f"name must be one of {', '.join(PROTOCOLS)}, got {name!r}; docs/protocols.md describes them")
    return PROTOCOLS[name]
