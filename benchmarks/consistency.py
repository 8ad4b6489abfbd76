"""What ray correction is worth: the mean chest of other patients, made consistent with a patient's film.

`python -m benchmarks.consistency --data FOLDER` reads every CT in the folder, puts each on the cascade's first grid
(64 x 64 x 64 voxels of 5 mm, centred on the body), and for every patient takes the mean attenuation of all others. The table
holds the relative error ||A mean - y|| / ||y|| against that patient's cone-beam PA film y: before, and after one, two and
three sweeps. The film is that of the patient's CT on the same grid, so nothing but the anatomy differs. Beside it stands the
relative error of the volume itself, which a film cannot bring to zero.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.folder_of_cts import read_cts
from benchmarks.machine import describe_machine
from benchmarks.markdown_table import markdown_table
from xct_components.data.simulate.chest_exposure import body_box_mm
from xct_components.geometry import VolumeGrid, chest_beam_covering
from xct_components.physics.attenuation import hu_to_mu_per_mm
from xct_components.physics.consistency import corrected_along_rays
from xct_components.physics.projector import project

SHAPE = (64, 64, 64)
SPACING_MM = 5.0
#: A voxel is the mean of this many points of the CT along each axis: 1.7 mm apart, about a CT's own spacing.
SUBSAMPLES = 3
SWEEPS = (0, 1, 2, 3)


def chest_mu_per_mm(ct_hu: Tensor, ct_grid: VolumeGrid) -> Tensor:
    """A CT's attenuation per mm on the 5 mm grid centred on its body: (1, 1, 64, 64, 64); 0 outside the scan."""
    low_mm, high_mm = body_box_mm(ct_hu, ct_grid)
    fine = VolumeGrid.chest(SHAPE, SPACING_MM, ((low_mm + high_mm) / 2).tolist()).resampled([n * SUBSAMPLES for n in SHAPE])
    ct_from_fine = _cube_from_voxels(ct_grid) @ ct_grid.voxel_from_world @ fine.affine @ _cube_from_voxels(fine).inverse()
    xyz_first = ct_from_fine[[2, 1, 0]][:, [2, 1, 0, 3]]  # grid_sample counts from the fastest axis
    sampling = F.affine_grid(xyz_first.float()[None], [1, 1, *fine.shape], align_corners=False)
    points = F.grid_sample(hu_to_mu_per_mm(ct_hu), sampling, align_corners=False)
    return F.avg_pool3d(points, SUBSAMPLES)


def _cube_from_voxels(grid: VolumeGrid) -> Tensor:
    """(4, 4) float64: voxel indices to the cube [-1, 1] that spans the grid from edge to edge."""
    counts = torch.tensor(grid.shape, dtype=torch.float64)
    matrix = torch.diag(torch.cat([2 / counts, torch.ones(1, dtype=torch.float64)]))
    matrix[:3, 3] = 1 / counts - 1
    return matrix


def read_chests(folders: list[Path]) -> Iterator[tuple[str, Tensor]]:
    """(name, attenuation) of every CT in the folders."""
    for name, ct_hu, grid in read_cts(folders):
        yield name, chest_mu_per_mm(ct_hu, grid)


def errors_after_sweeps(prior: Tensor, patient: Tensor) -> dict[str, float]:
    """Relative film error of the prior after each number of sweeps, and its relative volume error before and after."""
    grid = VolumeGrid.chest(SHAPE, SPACING_MM)
    beams = [chest_beam_covering(grid, "PA", *SHAPE[:2])]
    film = project(patient, grid, beams)
    figures: dict[str, float] = {}
    for sweeps in SWEEPS:
        volume = corrected_along_rays(prior, film, grid, beams, sweeps=sweeps) if sweeps else prior
        figures[f"film_error_{sweeps}"] = float((project(volume, grid, beams) - film).norm() / film.norm())
        figures[f"volume_error_{sweeps}"] = float((volume - patient).norm() / patient.norm())
    return figures


def leave_one_out(chests: dict[str, Tensor]) -> list[dict[str, Any]]:
    """One row per patient: the mean of all others against that patient's film."""
    total = torch.stack(list(chests.values())).sum(dim=0)
    return [
        {"patient": name, **errors_after_sweeps((total - chest) / (len(chests) - 1), chest)} for name, chest in chests.items()
    ]


def as_markdown(results: dict[str, Any]) -> str:
    """The run as a header line and a table, the worst patient last."""
    columns = [f"{kind}_error_{sweeps}" for kind in ("film", "volume") for sweeps in SWEEPS]
    header = ["patient", *(f"film, {n} sweeps" for n in SWEEPS), *(f"volume, {n} sweeps" for n in SWEEPS)]
    rows = [[row["patient"], *(row[column] for column in columns)] for row in results["patients"]]
    rows.append(["largest", *(max(row[column] for row in results["patients"]) for column in columns)])
    machine = " · ".join(f"{name} {value}" for name, value in results["machine"].items() if value is not None)
    return f"{machine}\n\n{markdown_table(header, rows)}"


def main(arguments: list[str]) -> None:
    """Read, correct, print the table, and write the files that were asked for."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.consistency", description=__doc__.split("\n\n")[0])
    parser.add_argument(
        "--data", type=Path, nargs="+", required=True, help="folders; every file or DICOM folder in them is one CT"
    )
    parser.add_argument("--json", type=Path, help="also write all figures here")
    parser.add_argument("--markdown", type=Path, help="also write the table here")
    options = parser.parse_args(arguments)
    missing = [str(folder) for folder in options.data if not folder.is_dir()]
    if missing:
        parser.error(f"--data must name folders with CTs, got {', '.join(missing)}")
    chests = dict(read_chests(options.data))
    if len(chests) < 2:
        parser.error(
            f"--data must hold at least two CTs, got {len(chests)}: one patient is corrected from the mean of the others"
        )
    results = {"machine": describe_machine(["xct-components"]), "patients": leave_one_out(chests)}
    print(as_markdown(results))
    if options.json:
        options.json.write_text(json.dumps(results, indent=1) + "\n")
    if options.markdown:
        options.markdown.write_text(as_markdown(results) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
