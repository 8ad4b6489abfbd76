"""One person, complete and independent of any grid."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from xct_components.data.phantom.abdomen import Abdomen, build_abdomen
from xct_components.data.phantom.body_frame import BodyFrame, body_frame
from xct_components.data.phantom.body_wall import BodyWall, build_body_wall
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
    """The person with these parameters, centred on the box around the lungs."""
    frame = body_frame(parameters)
    cage = build_cage(parameters, frame.scale[2])
    heart = build_heart(parameters, cage)
    vessels = build_great_vessels(parameters, heart, frame.mean_scale)
    spine = build_spine()
    chest = Chest(cage, heart, vessels, spine, heart_fat_mm=max(2.0, 4.0 + 0.25 * (parameters.bmi - 24.0)))
    cloud = _lung_cloud(parameters.seed, chest, frame)
    in_world = frame.world_from_reference(cloud.points_mm)
    lattice = texture_lattice(parameters.seed)
    deep = cloud.points_mm[cloud.depth_mm < _VESSEL_END_MM]
    return Anatomy(
        parameters,
        frame.centred_at((in_world.amin(0) + in_world.amax(0)) / 2),
        chest,
        build_body_wall(parameters, build_shoulder(parameters, cage)),
        build_rib_cage(parameters, cage, spine),
        build_abdomen(parameters, cage, frame.mean_scale),
        grow_lung_trees(parameters.seed, vessels, _enough(deep[deep[:, 0] > 0]), _enough(deep[deep[:, 0] < 0])),
        place_lesions(parameters, cloud, lattice),
        lattice,
        cloud.volume_ml,
    )


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
