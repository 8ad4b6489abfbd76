"""Films whose pixels are not square, made square: the mean chest is laid over them in mm alike both ways."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from xct_components.data.film.source import FilmSource, require_film_size

#: Height and width of a pixel may differ by this factor and pass as square.
MOST_OBLONG = 1.01


def with_square_pixels(source: FilmSource, name: str) -> FilmSource:
    """The film itself, or one resampled linearly to pixels as wide and as high as its finer ones.

    Args:
        source: a film as found.
        name: what messages call it.

    Raises:
        RefusedInput: if it would be larger than any film.
    """
    from skimage.transform import resize

    if source.pixel_mm is None or max(source.pixel_mm) <= MOST_OBLONG * min(source.pixel_mm):
        return source
    finest_mm = min(source.pixel_mm)
    shape = [max(1, round(count * mm / finest_mm)) for count, mm in zip(source.pixels.shape, source.pixel_mm, strict=True)]
    require_film_size(shape[0], shape[1], name)
    pixels = np.ascontiguousarray(resize(source.pixels, shape, order=1, mode="edge", preserve_range=True), dtype=np.float32)
    pixel_mm = tuple(mm * old / new for mm, old, new in zip(source.pixel_mm, source.pixels.shape, shape, strict=True))
    facts = {**source.facts, "resampled_to_square_pixels_from_mm": list(source.pixel_mm)}
    return replace(source, pixels=pixels, pixel_mm=(pixel_mm[0], pixel_mm[1]), facts=facts)
