"""The first step of the bundles' preprocessing: a film file becomes line integrals that know how they were taken."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from xct_components.bundle_io.film_tensor import film_tensor
from xct_components.data.film.pixel_size import PixelMm
from xct_components.inferers.film_reading import read_cascade_film


class ReadFilmd:
    """Dictionary transform: the path of a film becomes a ``MetaTensor`` (1, rows, cols); see ``read_cascade_film``.

    Args:
        keys: of the film in the item.
        view: "PA" or "AP", if someone has seen that the films are upright frontal chest films.
        accept: take films whatever speaks against them.
        pixel_mm: how large a pixel of the films is on the detector, see ``read_film`` of ``data.film``; None: as files say.
    """

    def __init__(
        self, keys: str = "image", *, view: str | None = None, accept: bool = False, pixel_mm: PixelMm | None = None
    ) -> None:
        self.keys, self.view, self.accept, self.pixel_mm = keys, view, accept, pixel_mm

    def __call__(self, item: Mapping[str, Any]) -> dict[str, Any]:
        """The item with its film read; raises what ``read_cascade_film`` raises."""
        path = str(item[self.keys])
        film = read_cascade_film(path, view=self.view, accept=self.accept, pixel_mm=self.pixel_mm)
        return {**item, self.keys: film_tensor(film, path)}
