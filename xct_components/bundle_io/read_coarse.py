"""The previous stage's volume from a file, on the field of the film it belongs to."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from xct_components.bundle_io.film_tensor import films_of
from xct_components.data.ct.reading import read_ct
from xct_components.geometry import VolumeGrid
from xct_components.inferers.resampled_volume import on_field


class ReadCoarsed:
    """Dictionary transform: the path of a volume becomes a tensor (1, d, h, w) in HU, edge to edge on the stage's field.

    An item without the key stays as it is: then the stages before this one are run.

    Args:
        field: of the stage that the volume is for.
        keys: of the volume in the item.
        film_key: of the film, read already: it says where the patient stood.
    """

    def __init__(self, field: VolumeGrid, keys: str = "coarse", film_key: str = "image") -> None:
        self.field, self.keys, self.film_key = field, keys, film_key

    def __call__(self, item: Mapping[str, Any]) -> dict[str, Any]:
        """The item with its volume read; raises what ``read_ct`` raises."""
        if self.keys not in item:
            return dict(item)
        ct_hu, grid = read_ct(item[self.keys])
        (film,) = films_of(item[self.film_key], self.field)
        field = VolumeGrid.chest(self.field.shape, self.field.spacing_mm, film.center_mm)
        return {**item, self.keys: on_field(ct_hu, grid, field)[0]}
