"""Paint the bones: cortex first, then the marrow inside."""

from __future__ import annotations

import torch

from xct_components.data.phantom.anatomy import Anatomy
from xct_components.data.phantom.canvas import Canvas
from xct_components.data.phantom.labels import CANAL_HU, CARTILAGE_HU, CORTICAL_HU, DISC_HU
from xct_components.data.phantom.spine import spine_distances
from xct_components.data.phantom.tubes import Tubes

#: The box around the column, reference mm.
_COLUMN_LOW, _COLUMN_HIGH = (-38.0, -150.0, -300.0), (38.0, 20.0, 300.0)
#: Cortex, mm: of a vertebral body, of its arch, of ribs and blade, of the collar bone and the arm (general knowledge).
_BODY_CORTEX, _ARCH_CORTEX, _RIB_CORTEX, _LONG_CORTEX = 1.0, 1.0, 1.3, 2.4
#: The marrow of other bones is denser or fatter than that of the vertebrae, HU.
_ARCH_MARROW, _RIB_MARROW, _STERNAL_MARROW, _ARM_MARROW = 120.0, 60.0, 10.0, -40.0
#: Cartilage calcifies from this age on, HU per year.
_CALCIFIES_FROM, _CALCIFIES_HU = 35.0, 2.4


def paint_skeleton(canvas: Canvas, anatomy: Anatomy) -> None:
    """Spine, ribs, breastbone, shoulders and arms."""
    marrow = anatomy.parameters.trabecular_bone_hu
    _paint_column(canvas, anatomy, marrow)
    older = max(0.0, anatomy.parameters.age_years - _CALCIFIES_FROM)
    canvas.fill(canvas.tubes(anatomy.ribs.cartilage), CARTILAGE_HU + _CALCIFIES_HU * older, "cartilage")
    _paint_bone(canvas, (anatomy.ribs.ribs,), _RIB_CORTEX, marrow + _RIB_MARROW, "rib")
    _paint_bone(canvas, (anatomy.ribs.sternum,), _RIB_CORTEX, marrow + _STERNAL_MARROW, "sternum")
    _paint_bone(canvas, anatomy.wall.shoulder.scapula, _RIB_CORTEX, marrow + _RIB_MARROW, "scapula")
    _paint_bone(canvas, (anatomy.wall.shoulder.clavicle,), _LONG_CORTEX, marrow + _RIB_MARROW, "clavicle")
    _paint_bone(canvas, (anatomy.wall.shoulder.humerus,), _LONG_CORTEX, marrow + _ARM_MARROW, "humerus")


def _paint_column(canvas: Canvas, anatomy: Anatomy, marrow: float) -> None:
    window = canvas.window(_COLUMN_LOW, _COLUMN_HIGH)
    if window is None:
        return
    part = canvas.cut(window)
    distances = spine_distances(anatomy.chest.spine, part.points)
    part.fill_body(distances.disc, DISC_HU, "disc")
    part.fill_body(distances.canal, CANAL_HU, "spinal_canal")
    for distance, cortex, inside in (
        (distances.arch, _ARCH_CORTEX, marrow + _ARCH_MARROW),
        (distances.body, _BODY_CORTEX, marrow),
    ):
        part.fill_body(distance, CORTICAL_HU, "vertebra")
        part.fill_body(distance + cortex, inside, "vertebra")


def _paint_bone(canvas: Canvas, bones: tuple[Tubes, ...], cortex_mm: float, marrow_hu: float, label: str) -> None:
    for bone in bones:
        outer, inner = canvas.tubes(bone), canvas.tubes(bone.scaled(less_mm=cortex_mm))
        inner = torch.minimum(inner, outer)
        # what both cover is marrow, the rest of the outer is cortex: mixed in one step so that thin bone keeps its mass
        mixed = (CORTICAL_HU * (outer - inner) + marrow_hu * inner) / outer.clamp_min(1e-6)
        canvas.fill(outer, mixed, label)
