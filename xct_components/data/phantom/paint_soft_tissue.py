"""Paint the wall of the body, what lies under the diaphragm, and the mediastinum."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from xct_components.data.phantom.abdomen import DIAPHRAGM_MM, liver_distance, spleen_distance, stomach_distances
from xct_components.data.phantom.anatomy import Anatomy
from xct_components.data.phantom.body_wall import SKIN_MM, axillary_fat, gland_distance, muscle_distance, skin_distance
from xct_components.data.phantom.cage import Cavity, above_diaphragm
from xct_components.data.phantom.canvas import Canvas, part_of
from xct_components.data.phantom.great_vessels import AIRWAY_WALL_MM
from xct_components.data.phantom.heart import LEFT_WALL_MM
from xct_components.data.phantom.labels import (
    AIR_HU,
    AIRWAY_WALL_HU,
    BLOOD_HU,
    FAT_HU,
    GLAND_HU,
    LIVER_HU,
    MUSCLE_HU,
    MYOCARDIUM_HU,
    OESOPHAGUS_HU,
    SKIN_HU,
    SPLEEN_HU,
    STOMACH_CONTENT_HU,
    STOMACH_WALL_HU,
)
from xct_components.data.phantom.shapes import ellipsoid_distance, sheet_occupancy

# Enhancement of other tissue as a share of that of the left heart, venous-phase like (general knowledge).
_RIGHT_HEART, _MYOCARDIUM, _LIVER, _SPLEEN = 1.08, 0.35, 0.28, 0.40
# Walls of the other chambers, mm.
_THIN_WALL_MM = {"right_ventricle": 3.5, "outflow": 3.5, "right_atrium": 2.0, "left_atrium": 2.0, "left_auricle": 2.0}
#: A box wider and longer than any trunk, mm.
_WIDE_MM, _LONG_MM = 230.0, 600.0
#: Planes of fat between ribs and muscles, and between the muscles: distance outside the cavity and thickness, mm.
_FAT_PLANES = ((13.5, 2.0), (21.0, 1.5))


def paint_wall(canvas: Canvas, anatomy: Anatomy, place: Cavity, coarse: Tensor) -> None:
    """Skin, fat, breasts and muscle; the cavity inside is filled with fat. Fat planes come and go with the ``coarse`` field."""
    wall, points = anatomy.wall, canvas.points
    muscle = muscle_distance(wall, points)
    skin = skin_distance(wall, points, muscle)
    canvas.fill_body(skin, SKIN_HU, "skin")
    canvas.fill_body(skin + SKIN_MM, FAT_HU, "fat")
    if wall.breasts:
        canvas.fill(canvas.occupancy(torch.maximum(gland_distance(wall, points), muscle * -1.0 + 4.0)), GLAND_HU, "breast")
    inside_muscle = canvas.occupancy(muscle)
    canvas.fill(inside_muscle, MUSCLE_HU, "muscle")
    patchy = (0.45 + 0.6 * coarse).clamp(0.0, 1.0) * ((100.0 - points.z) / 20.0).clamp(0.0, 1.0)
    thicker = 0.4 + anatomy.wall.fat_mm / 15.0
    for outside_mm, thickness_mm in _FAT_PLANES:
        plane = sheet_occupancy(
            place.distance - outside_mm, thickness_mm * thicker, max(canvas.edge_mm, thickness_mm * thicker)
        )
        canvas.fill(plane * inside_muscle * patchy, FAT_HU, "fat")
    for side in (1.0, -1.0):
        body = axillary_fat(side, anatomy.parameters.arms_up)
        window = canvas.window(*_box(body.center, body.radii))
        if window is not None:
            part = canvas.cut(window)
            part.fill_body(ellipsoid_distance(part.points, body), FAT_HU, "fat")
    canvas.fill_body(place.distance, FAT_HU, "mediastinal_fat")


def paint_abdomen(whole: Canvas, anatomy: Anatomy, place_in_whole: Cavity) -> None:
    """The diaphragm and what it covers."""
    top = max(anatomy.chest.cage.dome_mm) + 10.0
    window = whole.window((-_WIDE_MM, -_WIDE_MM, -_LONG_MM), (_WIDE_MM, _WIDE_MM, top))
    if window is None:
        return
    canvas, place = whole.cut(window), Cavity(*(part_of(values, window) for values in place_in_whole))
    points, abdomen, enhanced = canvas.points, anatomy.abdomen, anatomy.parameters.blood_enhancement_hu
    below = -above_diaphragm(anatomy.chest.cage, points, place)
    canvas.fill_body(torch.maximum(place.distance, below), MUSCLE_HU, "diaphragm")
    inside = torch.maximum(place.distance, below) + DIAPHRAGM_MM
    canvas.fill_body(inside, FAT_HU, "abdominal_fat")
    canvas.fill_body(spleen_distance(abdomen, points, inside), SPLEEN_HU + _SPLEEN * enhanced, "spleen")
    stomach, content, gas = stomach_distances(abdomen, points, inside)
    canvas.fill_body(stomach, STOMACH_WALL_HU, "stomach")
    canvas.fill_body(content, STOMACH_CONTENT_HU, "stomach")
    canvas.fill_body(liver_distance(abdomen, points, inside), LIVER_HU + _LIVER * enhanced, "liver")
    canvas.fill_body(gas, AIR_HU, "gas")


def paint_heart(picture: Canvas, anatomy: Anatomy, distance: Tensor) -> None:
    """Heart muscle, and the blood in the chambers; ``distance`` is that to the heart."""
    heart, enhanced = anatomy.chest.heart, anatomy.parameters.blood_enhancement_hu
    window = picture.window(*heart.body()[:2])
    if window is None:
        return
    canvas = picture.cut(window)
    points, whole = canvas.points, canvas.occupancy(distance[window])
    canvas.fill(whole, MYOCARDIUM_HU + _MYOCARDIUM * enhanced, "heart")
    left = heart.chamber(points, "left_ventricle")
    septum = -left + 1.0  # the right ventricle wraps around the left one
    for name, wall_mm in _THIN_WALL_MM.items():
        blood = torch.maximum(heart.chamber(points, name) + wall_mm, septum)
        right_sided = not name.startswith("left")
        canvas.fill(
            torch.minimum(canvas.occupancy(blood), whole), BLOOD_HU + (_RIGHT_HEART if right_sided else 1.0) * enhanced, "heart"
        )
    canvas.fill_body(left + LEFT_WALL_MM, BLOOD_HU + enhanced, "heart")


def paint_great_vessels(canvas: Canvas, enhanced: float, tubes: Mapping[str, Tensor]) -> None:
    """Veins, arteries, oesophagus and the airway to the lobes; ``tubes`` are the distances to them by name."""
    canvas.fill_body(tubes["oesophagus"], OESOPHAGUS_HU, "oesophagus")
    for name, label, strength in (
        ("azygos", "vein", 0.7),
        ("vein", "vein", 1.0),
        ("pulmonary_vein", "vein", 1.0),
        ("pulmonary_artery", "pulmonary_artery", _RIGHT_HEART),
        ("arch_branches", "aorta", 1.0),
        ("aorta", "aorta", 1.0),
    ):
        canvas.fill_body(tubes[name], BLOOD_HU + strength * enhanced, label)
    canvas.fill_body(tubes["airway"] - AIRWAY_WALL_MM, AIRWAY_WALL_HU, "airway")
    canvas.fill_body(tubes["airway"], AIR_HU, "airway")


def _box(
    center: tuple[float, float, float], radii: tuple[float, float, float]
) -> tuple[tuple[float, float, float], tuple[float, float, float]]:
    low = tuple(c - r for c, r in zip(center, radii, strict=True))
    high = tuple(c + r for c, r in zip(center, radii, strict=True))
    return (low[0], low[1], low[2]), (high[0], high[1], high[2])
