"""A CT that the cascade made, with all that is known of how."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from monai.data import MetaTensor

from xct_components.geometry import VolumeGrid
from xct_components.inferers.cascade import CascadeResult, with_affines
from xct_components.inferers.cascade_film import CascadeFilm

#: Voxels below this are air around the patient; lungs lie above it.
LEAST_BODY_HU = -950.0


@dataclass(frozen=True)
class GeneratedCt:
    """A CT that the cascade made of a film.

    Args:
        volume: (1, D, H, W) HU, a ``MetaTensor`` whose affine (RAS mm) lies in the film's world; axes grow to posterior,
            inferior and left (PIL).
        std: (1, D, H, W) HU likewise, the standard deviation, see ``stated_deviation``; None where nothing tells it.
        film_error: of each film ||DRR(volume) - film|| / ||film||.
        film: what the volume was made of.
        record: versions, weights, decisions, errors, seconds; JSON-ready.
        members: (1, D, H, W) whole HU, int16, likewise: CTs of other patients that the film bent, each made to explain it.
    """

    volume: MetaTensor
    std: MetaTensor | None
    film_error: tuple[float, ...]
    film: CascadeFilm
    record: dict[str, Any]
    members: tuple[MetaTensor, ...] = ()

    @property
    def shown_film_error(self) -> tuple[float, ...]:
        """Of each film the error to look at: of a displayed one, which has no scale, after the best gain and offset."""
        return self.film_error if self.film.exact else tuple(self.record["film_error_after_gain_and_offset"])

    @property
    def std_title(self) -> str:
        """What tells the standard deviation, in a few words, and times what: at most 64 characters, as DICOM wants it."""
        how = self.record.get("deviation") or {}
        told_by = [f"{how[key]} {name}" for key, name in (("bent_cts", "bent CTs"), ("samples", "samples")) if how.get(key)]
        scaled = f" x {how['factor']:.2f}" if how.get("patients") else ", uncalibrated"
        return f"standard deviation of {' and '.join(told_by)}{scaled}"

    @property
    def typical_std_hu(self) -> float | None:
        """Median of the standard deviation where the CT shows more than air; None without one."""
        if self.std is None:
            return None
        body = self.volume.as_tensor() > LEAST_BODY_HU
        return float(self.std.as_tensor()[body].median()) if bool(body.any()) else None

    @property
    def field(self) -> VolumeGrid:
        """Where the voxels lie."""
        return VolumeGrid.from_affine(self.volume.shape[-3:], self.volume.affine)


def generated_ct(result: CascadeResult, film: CascadeFilm, record: dict[str, Any]) -> GeneratedCt:
    """The result of the inferer with its affine, on the processor."""
    volume = with_affines(result.volume_hu.cpu(), [result.field])[0]
    std = None if result.std_hu is None else with_affines(result.std_hu.cpu(), [result.field])[0]
    members = tuple(with_affines(one.cpu(), [result.field])[0] for one in result.members_hu)
    return GeneratedCt(volume, std, tuple(result.film_error), film, record, members)
