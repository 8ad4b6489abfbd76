"""The run that made synthetic DICOM objects: its software, weights, words, and the UIDs that it hands out."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from xct_components.dicom.elements import SYNTHETIC, code, item, uid
from xct_components.dicom.source_film import SourceFilm

MANUFACTURER, MODEL = "xct-components", "xct generate"
#: What a single member is.
MEMBER = "One of many CTs that explain the radiograph: the CT of another patient, bent to it."
#: Longest Long String and Short Text (PS3.5, 6.2).
_MOST_LO, _MOST_ST = 64, 1024
#: Hexadecimal digits of a weights' SHA-256 that fit a Long String beside a name; DerivationDescription holds all of them.
_SHORT_HASH = 40


@dataclass(frozen=True)
class SyntheticRun:
    """What made synthetic objects, and when.

    Every run hands out UIDs of its own: a server never meets two volumes under one UID. A caller who wants the same objects
    again gives ``name`` and ``made_at``: same film, same voxels, same name and time are the same bytes.

    Args:
        software: name and version.
        weights: (name, SHA-256) of each network, in order.
        description: how the objects came about, in plain words (ASCII).
        name: what the UIDs derive from, beside film and voxels; unique unless given.
        made_at: local time.
    """

    software: str
    weights: tuple[tuple[str, str], ...]
    description: str
    name: str = field(default_factory=lambda: uuid.uuid4().hex)
    made_at: datetime = field(default_factory=datetime.now)

    def uid(self, *sources: str) -> Any:
        """A UID of this run for what ``sources`` name."""
        return uid("run", self.name, *sources)

    def mark(self, dataset: Any, film: SourceFilm) -> None:
        """Say in every place a viewer may look that an object is synthetic, what made it and of which film.

        SOP Common, General Equipment and General Image modules (PS3.3 C.12.1, C.7.5.1, C.7.6.1).
        """
        versions = [self.software, *(f"{name} {sha256[:_SHORT_HASH]}"[:_MOST_LO] for name, sha256 in self.weights)]
        dataset.SyntheticData = "YES"
        dataset.Manufacturer, dataset.ManufacturerModelName, dataset.SoftwareVersions = MANUFACTURER, MODEL, versions
        hashes = "".join(f" Weights {name} SHA-256 {sha256}." for name, sha256 in self.weights)
        description = f"{self.description} Film SHA-256 {film.sha256}.{hashes}"
        dataset.DerivationDescription = description[:_MOST_ST]
        dataset.DerivationCodeSequence = [code("123110", "DCM", "Artificial Intelligence")]
        dataset.ImageComments = f"{SYNTHETIC}. Estimated from a chest radiograph, not measured by a CT scanner."
        dataset.BurnedInAnnotation, dataset.LossyImageCompression = "NO", "00"
        dataset.InstanceCreationDate = dataset.SeriesDate = dataset.ContentDate = self.made_at.strftime("%Y%m%d")
        dataset.InstanceCreationTime = dataset.SeriesTime = dataset.ContentTime = self.made_at.strftime("%H%M%S")
        dataset.ContributingEquipmentSequence = self._equipment(film, versions)

    def _equipment(self, film: SourceFilm, versions: list[str]) -> list[Any]:
        synthesizing = item(
            PurposeOfReferenceCodeSequence=[code("109100", "DCM", "Synthesizing Equipment")],
            Manufacturer=MANUFACTURER,
            ManufacturerModelName=MODEL,
            SoftwareVersions=versions,
            ContributionDateTime=self.made_at.strftime("%Y%m%d%H%M%S"),
            ContributionDescription="Estimated a CT from a chest radiograph",
        )
        if film.equipment is None:
            return [synthesizing]
        manufacturer, model = film.equipment
        acquisition = item(
            PurposeOfReferenceCodeSequence=[code("109101", "DCM", "Acquisition Equipment")],
            Manufacturer=manufacturer,
            ContributionDescription="Took the chest radiograph",
        )
        if model:
            acquisition.ManufacturerModelName = model
        return [acquisition, synthesizing]


def synthetic_run(record: Mapping[str, Any], *, name: str | None = None, made_at: datetime | None = None) -> SyntheticRun:
    """The run of a record that the cascade wrote.

    Args:
        record: its "software", "weights" and "settings" are used.
        name: see ``SyntheticRun``.
        made_at: likewise.
    """
    settings = ", ".join(f"{key} {value}" for key, value in record["settings"].items() if value is not None)
    description = f"CT estimated from a chest radiograph by neural networks, not measured by a CT scanner ({settings})."
    if record["settings"]["mode"] == "member":
        description += f" {MEMBER}"
    weights = tuple((str(weight["bundle"]), str(weight["sha256"])) for weight in record["weights"])
    given = {key: value for key, value in (("name", name), ("made_at", made_at)) if value is not None}
    return SyntheticRun(str(record["software"]), weights, description, **given)  # type: ignore[arg-type]
