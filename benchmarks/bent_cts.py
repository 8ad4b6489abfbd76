"""What other patients' CTs tell, bent to the films of one that they have not seen: no network, no training.

    python -m benchmarks.bent_cts --prepared PREPARED [--counts 1,2,4,9] [--draws 3]

Every CT of a prepared folder, of any side, in turn is the patient; of the others so many are held, drawn so often (all of
them once). His films, in the cascade's geometry, bend them (``networks.multi_atlas``). RMSE in HU at 64 voxels a side over the
field of 320 mm, after consistency, beside the mean of all the others as they are.
"""

from __future__ import annotations

import argparse
import random
import time
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from benchmarks.markdown_table import markdown_table
from xct_components.data.cases.cases import load_case, prepared_items
from xct_components.geometry import ChestView, VolumeGrid, chest_beam_covering
from xct_components.networks.explained_volume import HIGHEST_HU, LOWEST_HU
from xct_components.networks.multi_atlas import MultiAtlas
from xct_components.physics.attenuation import hu_to_mu_per_mm, mu_per_mm_to_hu
from xct_components.physics.consistency import HardConsistency
from xct_components.physics.projector import project

SIZE = 64
SIDES = ("train", "val", "test")
VIEWS: tuple[tuple[str, tuple[ChestView, ...]], ...] = (("one film", ("PA",)), ("two films", ("PA", "LL")))


@torch.no_grad()
def main() -> None:
    """Print a row a patient and the mean over patients."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--prepared", required=True)
    parser.add_argument("--counts", default="1,2,4,9")
    parser.add_argument("--draws", type=int, default=3)
    options = parser.parse_args()
    counts = [int(count) for count in options.counts.split(",")]
    items = [item for side in SIDES for item in prepared_items(options.prepared, side, SIZE)]
    chests = {str(item["case"]): (load_case(item)["ct_hu"].float(), VolumeGrid.from_json(item["grid"])) for item in items}
    began = time.monotonic()
    rows = [_row(name, chests, counts, options.draws) for name in tqdm(chests)]
    means: list[Any] = ["mean", *(sum(row[k] for row in rows) / len(rows) for k in range(1, len(rows[0])))]
    headings = ["patient"]
    for films, _ in VIEWS:
        headings += [f"{films}: mean CT", *(f"{count} bent" for count in counts)]
    print(markdown_table(headings, [[row[0], *(f"{value:.0f}" for value in row[1:])] for row in [*rows, means]]))
    print(f"\n{time.monotonic() - began:.0f} s in all")


def _row(name: str, chests: dict[str, tuple[Tensor, VolumeGrid]], counts: Sequence[int], draws: int) -> list[Any]:
    """Name and RMSE in HU: of each of ``VIEWS`` the mean of the others, then so many of them, bent."""
    truth, grid = chests[name]
    others = [other for other in chests if other != name]
    mean = hu_to_mu_per_mm(torch.cat([chests[other][0] for other in others]).mean(0, keepdim=True))
    row: list[Any] = [name]
    for _, views in VIEWS:
        beams = [chest_beam_covering(grid, view, SIZE, SIZE) for view in views]
        film, explain = project(hu_to_mu_per_mm(truth), grid, beams), HardConsistency()

        def error(start: Tensor) -> float:
            explained = mu_per_mm_to_hu(explain(start, film, grid, beams)).clamp(LOWEST_HU, HIGHEST_HU)  # noqa: B023
            return float((explained - truth).square().mean().sqrt())

        row.append(error(mean))
        for count in counts:
            held, errors = MultiAtlas(count), []
            for draw in range(draws if count < len(others) else 1):
                chosen = random.Random(f"{name} {draw}").sample(others, min(count, len(others)))
                held.measure((other, chests[other][0]) for other in chosen)
                bent = held.bent(mean, film[0], grid, beams, explain)
                errors.append(error(mean if bent is None else bent.mu_per_mm))
            row.append(sum(errors) / len(errors))
    return row


if __name__ == "__main__":
    main()
