"""What preparing a CT costs, and what it keeps: CPU seconds, peak memory, and the films of the prepared volume.

`python -m benchmarks.prepare --input FOLDER [--exclude PATTERNS] [--sheet PICTURE.png]` prepares every CT below the folder,
each in a process of its own with one thread. The table holds CPU seconds by step, the most memory above that of a process
which has loaded the libraries, and the relative L2 difference between line integrals of the prepared 256-voxel volume and of
the original CT (table removed, clipped to the same 320 mm field) on a frontal and a lateral cone-beam film of 256 x 256
pixels. The picture shows every case: PA film, coronal, axial and sagittal section.
"""

from __future__ import annotations

import argparse
import resource
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.machine import describe_machine
from benchmarks.markdown_table import markdown_table
from xct_components.data.ct.discovery import CtSource, find_cts
from xct_components.data.ct.reading import read_ct, read_ct_images
from xct_components.data.prepare.case_workers import WorkerDied, run_in_workers
from xct_components.data.prepare.prepared_case import PatientOnly, PreparedVolume, patient_only, prepared_volumes
from xct_components.data.prepare.prepared_files import write_case
from xct_components.failures import Failure
from xct_components.geometry import ChestView, VolumeGrid, chest_beam_covering
from xct_components.physics.attenuation import hu_to_mu_per_mm
from xct_components.physics.projector import project

VIEWS: tuple[ChestView, ...] = ("PA", "LL")
#: The project's goals: CPU seconds for a CT of 512 x 512 x 300, and the difference of films.
GOAL_CPU_S, GOAL_DIFFERENCE = 6.0, 0.01
#: Sections are shown in this window, HU; films from air to the thickest ray.
WINDOW_HU = (-1000.0, 400.0)


def measured(source: CtSource) -> dict[str, Any]:
    """Prepare one CT; seconds, memory, film differences and the 128-voxel volume."""
    torch.set_num_threads(1)
    warm_up()
    start_mib = peak_mib()
    seconds = [time.process_time()]
    try:
        ct_hu, grid = read_ct_images(source.files, source.case) if source.is_dicom else read_ct(source.files[0])
        seconds.append(time.process_time())
        patient = patient_only(ct_hu, grid)
    except Failure as failure:
        return {"failed": str(failure)}
    shape = tuple(ct_hu.shape[2:])
    del ct_hu
    volumes = prepared_volumes(patient)
    seconds.append(time.process_time())
    with tempfile.TemporaryDirectory() as folder:
        record = write_case(Path(folder), {"case": source.case}, volumes, ".nii.gz")
        seconds.append(time.process_time())
    memory_mib = peak_mib() - start_mib
    return {
        "shape": " x ".join(map(str, shape)),
        "seconds": np.diff(seconds).tolist(),
        "peak_mib": memory_mib,
        "mb": sum(made["bytes"] for made in record["outputs"].values()) / 1e6,
        "differences": {view: film_difference(patient, volumes["256"], view) for view in VIEWS},
        "facts": patient.facts,
        "picture": picture(volumes["256"]),
    }


def warm_up() -> None:
    """Load what the steps load, so that the first case pays no more than the others."""
    import nibabel  # noqa: F401
    import pydicom  # noqa: F401
    from scipy import ndimage, sparse  # noqa: F401


def film_difference(patient: PatientOnly, prepared: PreparedVolume, view: ChestView) -> float:
    """||film(prepared) - film(original)|| / ||film(original)|| over the field of view."""
    beam = chest_beam_covering(prepared.grid, view, 256, 256)
    ours = project(hu_to_mu_per_mm(as_tensor(prepared.hu)), prepared.grid, [beam])
    original = hu_to_mu_per_mm(as_tensor(patient.ct.hu))
    for axis, share in enumerate(shares_inside(patient.ct.grid, prepared.grid)):
        original *= share.reshape([-1 if i == axis + 2 else 1 for i in range(5)])
    theirs = project(original, patient.ct.grid, [beam])
    return float((ours - theirs).norm() / theirs.norm())


def shares_inside(inner: VolumeGrid, field: VolumeGrid) -> list[Tensor]:
    """For each axis of a straight (H, D, W) grid: how much of each voxel lies inside the field."""
    shares = []
    for axis, (world, field_axis) in enumerate(((2, 1), (1, 0), (0, 2))):
        step = inner.spacing_mm[axis]
        places = inner.affine[world, 3] + inner.affine[world, axis] * torch.arange(inner.shape[axis])
        half = field.extent_mm[field_axis] / 2
        low, high = field.center_mm[world] - half, field.center_mm[world] + half
        overlap = (places + step / 2).clamp(max=high) - (places - step / 2).clamp(min=low)
        shares.append((overlap / step).clamp(0.0, 1.0).float())
    return shares


def as_tensor(hu: np.ndarray) -> Tensor:
    """(1, 1, ...) float32."""
    return torch.from_numpy(hu.astype(np.float32))[None, None]


def picture(volume: PreparedVolume) -> np.ndarray:
    """PA film, coronal, axial and sagittal section side by side, 0 to 1."""
    film = project(hu_to_mu_per_mm(as_tensor(volume.hu)), volume.grid, [chest_beam_covering(volume.grid, "PA", 256, 256)])
    hu = volume.hu.astype(np.float32)
    sections = [hu[128], hu[:, 128], hu[:, :, 80].T]
    low, high = WINDOW_HU
    shown = [film[0, 0, 0].numpy() / float(film.max()), *((section - low) / (high - low) for section in sections)]
    return np.concatenate([np.clip(image, 0.0, 1.0) for image in shown], axis=1)


def peak_mib() -> float:
    """Most memory of this process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024.0


def row(case: str, result: dict[str, Any]) -> list[Any]:
    """A line of the table."""
    read_s, prepare_s, write_s = result["seconds"]
    facts = result["facts"]
    return [
        case,
        result["shape"],
        read_s,
        prepare_s,
        write_s,
        sum(result["seconds"]),
        result["peak_mib"],
        result["mb"],
        *(f"{100 * result['differences'][view]:.2f} %" for view in VIEWS),
        f"{facts['lungs']['right_ml']} / {facts['lungs']['left_ml']}",
        ", ".join(f"{side[0]} {gap:.0f}" for side, gap in facts["gaps_mm"].items() if gap > 0) or "none",
    ]


def write_sheet(path: Path, pictures: Sequence[tuple[str, np.ndarray]]) -> None:
    """The contact sheet of all cases."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12.0, 3.15 * len(pictures)), layout="tight")
    for i, (case, image) in enumerate(pictures):
        axes = figure.add_subplot(len(pictures), 1, i + 1)
        axes.imshow(image, cmap="gray", vmin=0.0, vmax=1.0)
        axes.set_title(
            f"{case}: PA film | coronal | axial | sagittal through the right lung (patient's right on the left)", size=9
        )
        axes.set_axis_off()
    figure.savefig(path, dpi=80)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print the table, write the picture."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--input", type=Path, required=True, help="folder with CTs")
    parser.add_argument("--exclude", default="", help="shell patterns of paths to leave out, separated by commas")
    parser.add_argument("--sheet", type=Path, help="PNG to write the contact sheet to")
    options = parser.parse_args(arguments)
    found = find_cts(options.input, exclude=[pattern for pattern in options.exclude.split(",") if pattern])
    rows, pictures = [], []
    for source in found.sources:
        result = next(outcome for _, outcome in run_in_workers(measured, [source], 1))
        if isinstance(result, WorkerDied):
            result = {"failed": result.reason}
        if "failed" in result:
            print(f"left out: {source.case}: {result['failed']}", file=sys.stderr)
            continue
        rows.append(row(source.case, result))
        pictures.append((source.case, result["picture"]))
    header = ["case", "voxels", "read s", "prepare s", "write s", "CPU s", "peak MiB", "MB written", "PA diff", "LL diff"]
    print(markdown_table([*header, "lungs R / L ml", "field beyond the CT, mm"], rows))
    machine = describe_machine(["numpy", "scipy", "nibabel"])
    print(f"\nOne thread. Goals: {GOAL_CPU_S:g} CPU s for 512 x 512 x 300, films within {GOAL_DIFFERENCE:.0%}. {machine}")
    if options.sheet and pictures:
        write_sheet(options.sheet, pictures)
    return 0


if __name__ == "__main__":
    sys.exit(main())
