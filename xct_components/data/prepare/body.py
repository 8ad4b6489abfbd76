"""The patient in a CT, apart from the table, blankets and cables."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool

from xct_components.data.prepare.coarse_ct import CoarseCt

#: Skin and lung walls are denser than this (mean HU of a block), table foam, clothes and air are not.
BODY_HU = -500.0
#: What is thinner than this is not a part of the body by itself: shells of the table, cables, folds of a sheet.
THIN_MM = 9.0
#: Another part than the trunk (an arm beside it) holds at least this share of its volume, and is tissue on average.
SMALLEST_PART, PART_HU = 0.003, (-200.0, 400.0)
#: Such a part lies beside the trunk: less than this share of it is behind or in front of it.
MOST_BEHIND = 0.5
#: A stretch of chest wall so thin that it went with the thin things comes back if it is not longer than this.
THIN_WALL_MM = 60.0
#: A margin around the body keeps the blurred rim of the skin.
RIM_MM = 3.0


def body_mask(coarse: CoarseCt) -> Bool[np.ndarray, "h d w"]:
    """The blocks of the patient, cavities and a rim of about 3 mm included; the table and everything else outside is False.

    Args:
        coarse: block means of the CT.

    Returns:
        All False if there is nothing like a body.
    """
    from scipy import ndimage

    dense = coarse.hu > BODY_HU
    thin = [max(1, round(THIN_MM / mm)) for mm in coarse.spacing_mm[1:]]
    core = ndimage.grey_opening(dense, size=(1, *thin), mode="nearest")
    parts, count = ndimage.label(core)
    if count == 0:
        return np.zeros_like(dense)
    trunk = _parts_of_body(parts, count, coarse.hu)
    in_plane = ndimage.generate_binary_structure(3, 1)
    in_plane[0], in_plane[2] = False, False
    grown = ndimage.binary_dilation(trunk, in_plane, iterations=max(thin), mask=dense)  # not across a gap
    grown |= dense & _closed_in_plane(grown, [round(THIN_WALL_MM / 2 / mm) for mm in coarse.spacing_mm[1:]])
    filled = np.stack([ndimage.binary_fill_holes(level) for level in grown])
    rim = [2 * max(1, round(RIM_MM / mm)) + 1 for mm in coarse.spacing_mm[1:]]
    return ndimage.maximum_filter(filled, size=(1, *rim), mode="constant", cval=False)


def _parts_of_body(parts: np.ndarray, count: int, hu: np.ndarray) -> np.ndarray:
    """The largest part, and the tissue beside it: a table lies behind it, an apron in front."""
    sizes = np.bincount(parts.ravel(), minlength=count + 1)
    sizes[0] = 0
    trunk = parts == int(sizes.argmax())
    shadow = trunk.any(axis=1)
    body = trunk
    for part in np.nonzero(sizes >= SMALLEST_PART * sizes.max())[0]:
        inside = parts == part
        columns = inside.any(axis=1)
        beside = float((columns & shadow).sum()) < MOST_BEHIND * float(columns.sum())
        if beside and PART_HU[0] < float(hu[inside].mean()) < PART_HU[1]:
            body = body | inside
    return body


def _closed_in_plane(mask: np.ndarray, radius: list[int]) -> np.ndarray:
    """Morphological closing of every axial level by a box, holes filled; nothing is closed against the border of the image."""
    from scipy import ndimage

    rows, cols = radius
    size = (1, 2 * rows + 1, 2 * cols + 1)
    dilated = ndimage.maximum_filter(np.pad(mask, ((0, 0), (rows, rows), (cols, cols))), size=size, mode="constant", cval=False)
    closed = ndimage.minimum_filter(dilated, size=size, mode="constant", cval=False)
    return np.stack(
        [ndimage.binary_fill_holes(level[rows : rows + mask.shape[1], cols : cols + mask.shape[2]]) for level in closed]
    )
