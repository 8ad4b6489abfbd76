"""A simulated film as NIfTI (its numbers) and as PNG (its looks)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, UInt16
from torch import Tensor

from xct_components.data.simulate.simulated_film import SimulatedFilm
from xct_components.geometry import Beam
from xct_components.physics.display_curve import DisplayCurve, display

#: Thickness of the film as a volume of one slice.
THICKNESS_MM = 1.0
#: White of a 16-bit picture.
WHITE = 65535


def write_nifti_film(path: Path, film: SimulatedFilm) -> None:
    """The line integrals as float32 (cols, rows, 1), every pixel at its RAS position on the detector plane.

    Args:
        path: ends in .nii or .nii.gz.
        film: what to write.
    """
    write_nifti_line_integrals(path, film.line_integrals, film.beam, "SIMULATED")


def write_nifti_line_integrals(path: Path, line_integrals: Float[Tensor, "rows cols"], beam: Beam, origin: str) -> None:
    """Line integrals of any origin, written like a simulated film; ``origin`` is one word for the header."""
    import nibabel

    image = nibabel.Nifti1Image(line_integrals.T[..., None].numpy(), world_from_pixel(beam))
    image.set_sform(image.affine, code="scanner")
    image.set_qform(image.affine, code="scanner")
    image.header.set_xyzt_units("mm")
    image.header["descrip"] = f"{origin} film: line integrals, -ln(I/I0)".encode()
    nibabel.save(image, path)


def write_png_film(path: Path, film: SimulatedFilm, curve: DisplayCurve) -> None:
    """The film as displayed, 16-bit grey, bones white."""
    write_png_line_integrals(path, film.line_integrals, curve)


def write_png_line_integrals(path: Path, line_integrals: Float[Tensor, "rows cols"], curve: DisplayCurve) -> None:
    """Line integrals of any origin as displayed, 16-bit grey, bones white."""
    from skimage.io import imsave

    imsave(path, _grey(line_integrals, curve), check_contrast=False)


def display_pixels(film: SimulatedFilm, curve: DisplayCurve) -> UInt16[np.ndarray, "rows cols"]:
    """Grey values 0 (black) to 65535 (white), larger = more attenuation."""
    return _grey(film.line_integrals, curve)


def _grey(line_integrals: Tensor, curve: DisplayCurve) -> np.ndarray:
    return (display(line_integrals, curve) * WHITE).round().to(torch.int32).numpy().astype(np.uint16)


def world_from_pixel(beam: Beam) -> np.ndarray:
    """The 4x4 affine of a film as a volume (column, row, 0): RAS mm on the detector plane; the third axis is its normal."""
    height_mm, width_mm = beam.detector.pitch_mm
    affine = np.eye(4)
    affine[:3, 0] = np.asarray(beam.col_direction) * width_mm
    affine[:3, 1] = np.asarray(beam.row_direction) * height_mm
    affine[:3, 2] = np.asarray(beam.normal) * THICKNESS_MM
    affine[:3, 3] = beam.pixel_centers_mm(torch.zeros(2)).numpy()
    return affine
