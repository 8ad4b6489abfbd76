"""One picture of many films: as they arrived, and as line integrals on the cascade's field, beside simulated ones."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

COLUMNS = 6
#: Line integrals shown as black and white.
WINDOW = (0.0, 6.0)


def contact_sheet(
    path: Path,
    real: dict[str, tuple[np.ndarray, Tensor | None, str]],
    simulated: list[tuple[str, np.ndarray, Tensor, Tensor | None]],
) -> None:
    """Write the sheet.

    Args:
        path: of the PNG.
        real: name -> (film without borders, calibrated line integrals or None if refused, caption).
        simulated: (name, displayed film, true training film, calibrated line integrals or None if refused).
    """
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    films: list[tuple[str, list[tuple[str, Any]]]] = [
        (f"{name}\n{caption}", [("as it arrived", grey), ("calibrated", result)])
        for name, (grey, result, caption) in real.items()
    ]
    films += [
        (name, [("simulated display", grey), ("calibrated", result), ("truth", true)]) for name, grey, true, result in simulated
    ]
    bands = -(-len(films) // COLUMNS)
    figure, axes = plt.subplots(3 * bands, COLUMNS, figsize=(2.6 * COLUMNS, 7.9 * bands), squeeze=False)
    for axis in axes.flat:
        axis.axis("off")
    for index, (name, pictures) in enumerate(films):
        band, column = divmod(index, COLUMNS)
        for row, (caption, picture) in enumerate(pictures):
            axis = axes[3 * band + row, column]
            title = textwrap.fill(f"{name} ", 38, replace_whitespace=False)[:170] if row == 0 else caption
            axis.set_title(title, fontsize=6)
            if picture is None:
                axis.text(0.5, 0.5, "refused", ha="center", va="center", color="firebrick")
            elif row == 0:
                low, high = np.percentile(picture, (0.5, 99.5))
                axis.imshow(picture, cmap="gray", vmin=low, vmax=high)
            else:
                axis.set_facecolor("slategray")
                axis.imshow(np.ma.masked_invalid(np.asarray(picture)), cmap="gray", vmin=WINDOW[0], vmax=WINDOW[1])
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    plt.close(figure)
