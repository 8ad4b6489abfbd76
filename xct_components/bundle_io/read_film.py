"""The first step of the bundles' preprocessing: a film file becomes line integrals that know how they were taken."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from xct_components.bundle_io.film_tensor import film_tensor
from xct_components.inferers.film_reading import read_cascade_film


class ReadFilmd:
    """Dictionary transform: the path of a film becomes a ``MetaTensor`` (1, rows, cols); see ``read_cascade_film``.

    Args:
        keys: of the film in the item.
        view: "PA" or "AP", if someone has seen that the films are upright frontal chest films.
        accept: take films whatever speaks against them.
    """

    def __init__(self, keys: str = "image", *, view: str | None = None, accept: bool = False) -> None:
        self.keys, self.view, self.accept = keys, view, accept

    def __call__(self, item: Mapping[str, Any]) -> dict[str, Any]:
        """The item with its film read; raises what ``read_cascade_film`` raises."""
        path = str(item[self.keys])
        return {**item, self.keys: film_tensor(read_cascade_film(path, view=self.view, accept=self.accept), path)}
