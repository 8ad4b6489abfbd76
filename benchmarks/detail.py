"""How much detail real films have beside films of CTs, and what bringing it down to theirs undoes.

    python -m benchmarks.detail --prepared PREPARED --films FILMS

Strength of each band of ``data.film.detail`` over the lungs, in line integrals: of every film of the folder that is accepted,
once its grey values are calibrated, and of the film of every prepared CT. Then films of CTs are sharpened as displays do, by an
unsharp mask, and brought down to the reference of the *other* CTs: relative error of what is finer than 10 mm, over the lungs.
"""

from __future__ import annotations

import argparse
import warnings
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from scipy.ndimage import gaussian_filter
from torch import Tensor
from tqdm import tqdm

from benchmarks.markdown_table import markdown_table
from xct_components.bundle_io.film_items import FILM_SUFFIXES
from xct_components.data.cases.cases import load_case, prepared_items
from xct_components.data.film.calibration import calibrated_film
from xct_components.data.film.detail import BANDS_MM, band_strengths, detail_reference_of, tamed_detail
from xct_components.data.film.reading import read_film
from xct_components.data.simulate.chest_exposure import FIELD_MM
from xct_components.failures import Failure, InputWarning
from xct_components.geometry import VolumeGrid, chest_beam_covering
from xct_components.physics.attenuation import hu_to_mu_per_mm
from xct_components.physics.projector import project

SIZE = 256
#: Unsharp masks: the film plus so many times what is finer than so many mm.
MASK_MM, AMOUNTS = 4.0, (0.0, 1.0, 2.0, 3.0)
NAMES = (f"< {BANDS_MM[0]:g} mm", *(f"{a:g} to {b:g} mm" for a, b in pairwise(BANDS_MM)))


def main() -> None:
    """Print the two tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--prepared", required=True)
    parser.add_argument("--films", required=True, type=Path)
    options = parser.parse_args()
    items = [item for side in ("train", "val", "test") for item in prepared_items(options.prepared, side, SIZE)]
    films = {str(item["case"]): _film(item) for item in tqdm(items, "projecting")}
    everywhere = torch.ones((SIZE, SIZE), dtype=torch.bool)
    strengths = {name: band_strengths(film, everywhere) or [] for name, film in films.items()}
    rows = [*_real_rows(options.films), *([name, *(f"{s:.3f}" for s in own), *[""] * 3] for name, own in strengths.items())]
    print(markdown_table(["film", *NAMES, *(f"gain, {name}" for name in NAMES)], rows))
    errors: dict[float, list[tuple[float, float]]] = {amount: [] for amount in AMOUNTS}
    for name, film in films.items():
        reference = detail_reference_of([own for other, own in strengths.items() if other != name])
        for amount in AMOUNTS:
            sharp = (film + amount * (film - _smooth(film, MASK_MM))).clamp_min(0.0)
            errors[amount].append((_fine_error(sharp, film), _fine_error(tamed_detail(sharp, everywhere, reference)[0], film)))
    lines = [
        [f"{amount:g}", *(f"{sum(column) / len(column):.2f}" for column in zip(*errors[amount], strict=True))]
        for amount in AMOUNTS
    ]
    print("\n" + markdown_table([f"unsharp mask of {MASK_MM:g} mm, times", "error as shown", "error after"], lines))


def _film(item: dict[str, Any]) -> Tensor:
    grid = VolumeGrid.from_json(item["grid"])
    beams = [chest_beam_covering(grid, "PA", SIZE, SIZE)]
    return project(hu_to_mu_per_mm(load_case(item)["ct_hu"].float()), grid, beams)[0, 0, 0]


def _real_rows(folder: Path) -> list[list[str]]:
    rows = []
    for path in sorted(path for path in folder.rglob("*") if path.name.lower().endswith(FILM_SUFFIXES)):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", InputWarning)
            try:
                detail = calibrated_film(read_film(path), SIZE, SIZE).record["response"]["detail"]
            except (Failure, ValueError):
                continue
        rows.append([path.name, *(f"{x:.3f}" for x in detail["strength"]), *(f"{x:.2f}" for x in detail["gain"])])
    return rows


def _smooth(film: Tensor, sigma_mm: float) -> Tensor:
    return torch.from_numpy(gaussian_filter(film.numpy(), sigma_mm * SIZE / FIELD_MM, mode="nearest"))


def _fine_error(film: Tensor, truth: Tensor) -> float:
    """||fine difference|| / ||fine truth|| in the middle of the film, finer than 10 mm."""
    middle = slice(SIZE // 5, -SIZE // 5)
    fine_film, fine_truth = ((one - _smooth(one, BANDS_MM[-1]))[middle, middle] for one in (film, truth))
    return float((fine_film - fine_truth).norm() / fine_truth.norm())


if __name__ == "__main__":
    main()
