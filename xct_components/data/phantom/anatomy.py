"""One person, complete and independent of any grid."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from xct_components.data.phantom.abdomen import Abdomen, build_abdomen
from xct_components.data.phantom.body_frame import BodyFrame, body_frame
from xct_components.data.phantom.body_wall import BodyWall, build_body_wall, muscle_distance, skin_distance
from xct_components.data.phantom.cage import build_cage, cavity
from xct_components.data.phantom.great_vessels import build_great_vessels
from xct_components.data.phantom.heart import build_heart
from xct_components.data.phantom.lesions import Lesions, LungCloud, place_lesions
from xct_components.data.phantom.lung_trees import LEAVES, LungTrees, grow_lung_trees
from xct_components.data.phantom.lungs import Chest, lung_distance, mediastinum_distance
from xct_components.data.phantom.parameters import ThoraxParameters
from xct_components.data.phantom.randomness import detail, uniform
from xct_components.data.phantom.ribs import RibCage, build_rib_cage
from xct_components.data.phantom.shapes import Points
from xct_components.data.phantom.shoulder import build_shoulder
from xct_components.data.phantom.spine import build_spine
from xct_components.data.phantom.texture import texture_lattice

#: Points thrown into a box around the lungs, and that box in reference mm.
_THROWN = 45_000
_BOX_LOW, _BOX_HIGH = (-138.0, -120.0, -140.0), (138.0, 104.0, 136.0)
#: The skin is looked for at points so far apart along x, y, z, and so far from the reference's origin at most, mm.
_SKIN_STEPS_MM, _SKIN_REACH_MM = (15.0, 3.0, 15.0), 210.0
#: Lung vessels end this deep under the pleura, mm.
_VESSEL_END_MM = -4.5


@dataclass(frozen=True)
class Anatomy:
    """Everything ``render_thorax`` paints, in the reference mm of ``frame``."""

    parameters: ThoraxParameters
    frame: BodyFrame
    chest: Chest
    wall: BodyWall
    ribs: RibCage
    abdomen: Abdomen
    trees: LungTrees
    lesions: Lesions
    lattice: Tensor
    lung_ml: float


def build_anatomy(parameters: ThoraxParameters) -> Anatomy:
    """The person with these parameters, centred as ``data.prepare.chest_grid`` centres a CT."""
    frame = body_frame(parameters)
    cage = build_cage(parameters, frame.scale[2])
    heart = build_heart(parameters, cage)
    vessels = build_great_vessels(parameters, heart, frame.mean_scale)
    spine = build_spine()
    chest = Chest(cage, heart, vessels, spine, heart_fat_mm=max(2.0, 4.0 + 0.25 * (parameters.bmi - 24.0)))
    cloud = _lung_cloud(parameters.seed, chest, frame)
    wall = build_body_wall(parameters, build_shoulder(parameters, cage))
    lattice = texture_lattice(parameters.seed)
    deep = cloud.points_mm[cloud.depth_mm < _VESSEL_END_MM]
    return Anatomy(
        parameters,
        frame.centred_at(_center_mm(frame, cloud.points_mm, wall)),
        chest,
        wall,
        build_rib_cage(parameters, cage, spine),
        build_abdomen(parameters, cage, frame.mean_scale),
        grow_lung_trees(parameters.seed, vessels, _enough(deep[deep[:, 0] > 0]), _enough(deep[deep[:, 0] < 0])),
        place_lesions(parameters, cloud, lattice),
        lattice,
        cloud.volume_ml,
    )


def _center_mm(frame: BodyFrame, lung_mm: Tensor, wall: BodyWall) -> Tensor:
    """World mm: the middle of the box around the lungs; from front to back, of the body at their level."""
    lungs = frame.world_from_reference(lung_mm)
    low, high = lungs.amin(0), lungs.amax(0)
    rows = torch.arange(float(lung_mm[:, 2].amin()), float(lung_mm[:, 2].amax()), _SKIN_STEPS_MM[2], dtype=torch.float64)
    across, along = (torch.arange(-_SKIN_REACH_MM, _SKIN_REACH_MM, step, dtype=torch.float64) for step in _SKIN_STEPS_MM[:2])
    points_mm = torch.cartesian_prod(across, along, rows)
    points = Points(*points_mm.unbind(-1))
    body = frame.world_from_reference(points_mm[skin_distance(wall, points, muscle_distance(wall, points)) < 0.0])
    center = (low + high) / 2
    center[1] = (body[:, 1].amin() + body[:, 1].amax()) / 2
    return center


def _lung_cloud(seed: int, chest: Chest, frame: BodyFrame) -> LungCloud:
    low, high = (torch.tensor(corner, dtype=torch.float64) for corner in (_BOX_LOW, _BOX_HIGH))
    thrown = low + (high - low) * uniform(detail(seed, "lung cloud"), _THROWN, 3)
    points = Points(*thrown.unbind(-1))
    in_cage = cavity(chest.cage, points).distance < 0.0
    thrown = thrown[in_cage]
    points = Points(*thrown.unbind(-1))
    place = cavity(chest.cage, points)
    tubes = {name: chest.vessels.distance(points, name) for name in chest.vessels.lines}
    depth = lung_distance(chest, points, place, mediastinum_distance(chest, points, chest.heart.distance(points), tubes))
    kept = depth < 0.0
    ml = float((high - low).prod()) / 1000.0 / _THROWN * frame.mean_scale**3
    return LungCloud(thrown[kept], depth[kept], place.level[kept], ml)


def _enough(points_mm: Tensor) -> Tensor:
    """At least the points the trees need; a very small lung lends each point several times."""
    times = -(-2 * LEAVES // max(1, len(points_mm)))
    return points_mm.repeat(times, 1)
