"""Write xct_components/data/film/detail_reference.json from a folder that `xct prepare` made.

Run it by hand when the geometry or the list of CTs changes:

    python scripts/make_detail_reference.py PREPARED

Every CT of every side is projected to its PA and left lateral film, in the cascade's geometry, and the strength of its detail
over the lungs is measured. Means over patients are written, nothing of a single patient.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from xct_components.data.cases.cases import load_case, prepared_items
from xct_components.data.film.detail import BANDS_MM, band_strengths, detail_reference_of
from xct_components.geometry import ChestView, VolumeGrid, chest_beam_covering
from xct_components.physics.attenuation import hu_to_mu_per_mm
from xct_components.physics.projector import project

REFERENCE = Path(__file__).resolve().parents[1] / "xct_components" / "data" / "film" / "detail_reference.json"
SIZE = 256
VIEWS: dict[str, ChestView] = {"frontal": "PA", "lateral": "LL"}


def strengths_of(item: dict[str, Any], view: ChestView) -> list[float]:
    """Strength of each band in the film of one prepared CT."""
    grid = VolumeGrid.from_json(item["grid"])
    beams = [chest_beam_covering(grid, view, SIZE, SIZE)]
    film = project(hu_to_mu_per_mm(load_case(item)["ct_hu"].float()), grid, beams)[0, 0, 0]
    strengths = band_strengths(film, torch.ones_like(film, dtype=torch.bool))
    if strengths is None:
        raise ValueError(f"the film of {item['case']} must cover the middle of the field; was it prepared?")
    return strengths


def main(prepared: str) -> None:
    """Measure and write."""
    items = [item for side in ("train", "val", "test") for item in prepared_items(prepared, side, SIZE)]
    document: dict[str, Any] = {
        "provenance": {
            "command": "scripts/make_detail_reference.py",
            "cts": sorted(item["case"] for item in items),
            "films": f"prepared CTs of {SIZE} voxels a side, their films in the cascade's geometry, line integrals at 60 keV",
            "credits": "see film_reference.json",
        },
        "bands_mm": BANDS_MM,
    }
    for name, view in VIEWS.items():
        reference = detail_reference_of([strengths_of(item, view) for item in tqdm(items, desc=name)])
        document[name] = {
            "log_mean": [round(mean, 4) for mean in reference.log_mean],
            "log_std": [round(std, 4) for std in reference.log_std],
        }
    REFERENCE.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    print(f"{REFERENCE.name}: {len(items)} CTs")


if __name__ == "__main__":
    main(sys.argv[1])
