"""How alike the anatomy of two volumes is: overlap, surfaces, volumes, the heart's width, and a score with its parts."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool

from xct_components.metrics.regions import ChestRegions
from xct_components.metrics.surfaces import Surface, surface_distances

#: Surfaces closer than these agree, mm.
TOLERANCES_MM = (2.0, 4.0)
HEART = "heart_silhouette"
#: The worst error of a volume or a ratio, for a region that is not there: all of it.
ALL = 1.0


def dice(predicted: Bool[np.ndarray, "*shape"], truth: Bool[np.ndarray, "*shape"]) -> float:
    """2 |A and B| / (|A| + |B|): 1 is best. An empty mask gets 0, even if both are empty: what is not there shows no skill."""
    both = int(predicted.sum()) + int(truth.sum())
    return 2.0 * int((predicted & truth).sum()) / both if both else 0.0


def volume_ml(mask: Bool[np.ndarray, "d h w"], regions: ChestRegions) -> float:
    """Volume of a mask on the regions' grid, ml."""
    return float(mask.sum()) * regions.grid.voxel_volume_mm3 / 1000.0


def anatomy_scores(predicted: ChestRegions, truth: ChestRegions) -> dict[str, float]:
    """All measures of docs/metrics.md by name; an empty region is the worst value of each, never left out.

    Args:
        predicted: of the volume that is judged.
        truth: of the true CT, on the same grid.

    Returns:
        ``dice_R``, ``surface_dice_2mm_R``, ``surface_dice_4mm_R``, ``hd95_mm_R`` of every region R, and of the
        ``heart_silhouette`` in its plane; of every region ``volume_ml_R``, ``true_volume_ml_R`` and ``volume_error_R``
        (relative, 1 at most); ``cardiothoracic_ratio`` and its ``_error``; ``anatomy_score`` and its parts
        ``anatomy_part_...``.
    """
    scores: dict[str, float] = {}
    true_masks = truth.masks
    for name, mask in predicted.masks.items():
        scores[f"dice_{name}"] = dice(mask, true_masks[name])
        scores |= _surface_scores(name, predicted.surfaces[name], truth.surfaces[name])
        scores[f"volume_ml_{name}"] = volume_ml(mask, predicted)
        scores[f"true_volume_ml_{name}"] = volume_ml(true_masks[name], truth)
        scores[f"volume_error_{name}"] = _volume_error(mask, true_masks[name])
    scores[f"dice_{HEART}"] = dice(predicted.heart_silhouette, truth.heart_silhouette)
    scores |= _surface_scores(HEART, predicted.heart_outline, truth.heart_outline)
    scores["cardiothoracic_ratio"] = predicted.cardiothoracic_ratio
    scores["cardiothoracic_ratio_error"] = abs(predicted.cardiothoracic_ratio - truth.cardiothoracic_ratio)
    return scores | _composite(scores, predicted, truth)


def _surface_scores(name: str, predicted: Surface, truth: Surface) -> dict[str, float]:
    """How near two surfaces are."""
    distances = surface_distances(predicted, truth)
    near = {f"surface_dice_{mm:g}mm_{name}": distances.surface_dice(mm) for mm in TOLERANCES_MM}
    return near | {f"hd95_mm_{name}": distances.hausdorff_95_mm}


def _composite(scores: dict[str, float], predicted: ChestRegions, truth: ChestRegions) -> dict[str, float]:
    """Ten times the mean of five parts in [0, 1]; it means nothing without them and without the mean volume's own score."""
    parts = {
        "lung_dice": dice(predicted.lungs, truth.lungs),
        "body_dice": scores["dice_body"],
        "bone_surface_dice_4mm": scores["surface_dice_4mm_bone"],
        "soft_surface_dice_4mm": scores["surface_dice_4mm_soft_tissue"],
        "lung_volume": 1.0 - _volume_error(predicted.lungs, truth.lungs),
    }
    named = {f"anatomy_part_{name}": value for name, value in parts.items()}
    return {"anatomy_score": 10.0 * sum(parts.values()) / len(parts), **named}


def _volume_error(predicted: np.ndarray, truth: np.ndarray) -> float:
    """|V' - V| / V, at most 1; 1 where either is empty."""
    counts = int(predicted.sum()), int(truth.sum())
    return ALL if 0 in counts else min(ALL, abs(counts[0] - counts[1]) / counts[1])
