"""Making a volume explain a film: what its rays lack is handed back to the voxels along them.

One sweep is

    mu <- (mu + u(mu) * B(k)) * B(s) + w(mu) * B(sharp((y - s * (A mu + k * A u)) / A w)),    k = smooth((y - A mu) / A u)

with A the projector and B its normalised adjoint (B 1 = 1). It is a step of algebraic reconstruction (Gordon, Bender & Herman,
J Theor Biol 1970;29:471) taken for all rays at once, with weights: along a ray a voxel takes the share of what is lacking that
it is likely to be wrong by. What is coarse on the film, over centimetres, goes to lung and to the blurred borders of body and
organs, as a patient thicker or wider than thought has them elsewhere, and little to muscle and bone (``coarse_share_per_mm``).
What is fine, vessels, ribs and edges, goes to what such detail usually is (``fine_share_per_mm``): mostly lung, and organs'
borders within the chest, not the skin. Scaling whole rays instead draws both as stripes through the chest wall, where there is
most to scale; s, smooth too, does so where more is lacking than shares can give, and is 1 elsewhere. Nothing falls below 0, and
air stays air.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from xct_components.geometry import Beam, VolumeGrid
from xct_components.physics.film_corrections import COARSE_MM, RayCorrections, film_corrections
from xct_components.physics.film_edges import FADE_MM, Margins, grown_beam, seen_part, unseen_margins, with_margins
from xct_components.physics.gain_and_offset import believed_gain_offset
from xct_components.physics.projector import project
from xct_components.physics.ray_sharing import RayShares

#: What films are to a consistency: true line integrals, calibrated ones (see ``believed_gain_offset``), or nothing it looks at.
FilmScale = Literal["exact", "calibrated", "ignored"]


@runtime_checkable
class Consistency(Protocol):
    """Anything that brings a volume closer to its films: (mu, films, grid, beams) -> mu."""

    @property
    def film_scale(self) -> FilmScale:
        """What it takes the films for."""

    def __call__(
        self,
        mu_per_mm: Tensor,
        line_integrals: Tensor,
        grid: VolumeGrid,
        beams: Sequence[Beam],
        *,
        out: Tensor | None = None,
    ) -> Tensor:
        """The corrected volume, written to ``out`` if that is given; ``out`` may be ``mu_per_mm``."""


@dataclass(frozen=True)
class HardConsistency:
    """The volume must explain the films as they are: for simulated films, whose line integrals are exact.

    Args:
        sweeps: corrections in a row, 1 to 3; the film's relative error falls to about 0.007, 0.002, 0.001.
    """

    sweeps: int = 2
    film_scale: ClassVar[FilmScale] = "exact"

    def __post_init__(self) -> None:
        _require_sweeps(self.sweeps)

    def __call__(
        self,
        mu_per_mm: Float[Tensor, "b c d h w"],
        line_integrals: Float[Tensor, "b v c rows cols"],
        grid: VolumeGrid,
        beams: Sequence[Beam],
        *,
        out: Float[Tensor, "b c d h w"] | None = None,
    ) -> Float[Tensor, "b c d h w"]:
        """The corrected volume, >= 0; see ``corrected_along_rays``."""
        return corrected_along_rays(mu_per_mm, line_integrals, grid, beams, sweeps=self.sweeps, out=out)


@dataclass(frozen=True)
class SoftConsistency:
    """The volume must explain the films up to the errors of their calibration and up to a tolerance: for real films.

    Args:
        sweeps: corrections in a row, 1 to 3.
        tolerance: line integral by which film and volume may differ without being corrected; only what exceeds it is.
    """

    sweeps: int = 1
    tolerance: float = 0.05
    film_scale: ClassVar[FilmScale] = "calibrated"

    def __post_init__(self) -> None:
        _require_sweeps(self.sweeps)
        if not self.tolerance >= 0.0:
            raise ValueError(f"tolerance must be a line integral >= 0, got {self.tolerance}")

    def __call__(
        self,
        mu_per_mm: Float[Tensor, "b c d h w"],
        line_integrals: Float[Tensor, "b v c rows cols"],
        grid: VolumeGrid,
        beams: Sequence[Beam],
        *,
        out: Float[Tensor, "b c d h w"] | None = None,
    ) -> Float[Tensor, "b c d h w"]:
        """The corrected volume, >= 0; gain and offset are estimated once, from the volume as it comes in."""
        mu = _without_negatives(mu_per_mm, out)
        gain, offset = believed_gain_offset(line_integrals, project(mu, grid, beams))
        return _swept(mu, gain * line_integrals + offset, grid, beams, self.sweeps, self.tolerance)


@dataclass(frozen=True)
class NoConsistency:
    """The volume is left as it is."""

    film_scale: ClassVar[FilmScale] = "ignored"

    def __call__(
        self,
        mu_per_mm: Float[Tensor, "b c d h w"],
        line_integrals: Float[Tensor, "b v c rows cols"],  # noqa: ARG002
        grid: VolumeGrid,  # noqa: ARG002
        beams: Sequence[Beam],  # noqa: ARG002
        *,
        out: Float[Tensor, "b c d h w"] | None = None,
    ) -> Float[Tensor, "b c d h w"]:
        """``mu_per_mm``."""
        return mu_per_mm if out is None else out.copy_(mu_per_mm)


def corrected_along_rays(
    mu_per_mm: Float[Tensor, "b c d h w"],
    line_integrals: Float[Tensor, "b v c rows cols"],
    grid: VolumeGrid,
    beams: Sequence[Beam],
    *,
    sweeps: int = 1,
    tolerance: float = 0.0,
    out: Float[Tensor, "b c d h w"] | None = None,
) -> Float[Tensor, "b c d h w"]:
    """Correct the voxels along every ray until the volume's line integrals are those of the films.

    Where gradients are recorded every correction makes new volumes; under ``torch.no_grad`` one volume is corrected in place,
    slab by slab, which sums in another order: equal but for rounding.

    Args:
        mu_per_mm: (B, C, D, H, W) attenuation per mm; negative values count as air.
        line_integrals: (B, V, C, rows, cols) films, dimensionless; values below 0 count as 0.
        grid: where the voxels lie.
        beams: the V exposures, corrected one after the other in every sweep.
        sweeps: 1 to 3.
        tolerance: difference in line integral that is left alone.
        out: (B, C, D, H, W) where the result is written, under ``torch.no_grad`` alone; may be ``mu_per_mm`` itself.

    Returns:
        (B, C, D, H, W), >= 0; air is unchanged. What lies beside a film is corrected as its nearest ray, the less the farther.
        Differentiable in volume and films.

    Raises:
        ValueError: for sweeps outside 1 to 3, an ``out`` where gradients are recorded, or what ``project`` refuses.
    """
    _require_sweeps(sweeps)
    return _swept(_without_negatives(mu_per_mm, out), line_integrals, grid, beams, sweeps, tolerance)


def relative_film_error(
    mu_per_mm: Float[Tensor, "b c d h w"],
    line_integrals: Float[Tensor, "b v c rows cols"],
    grid: VolumeGrid,
    beams: Sequence[Beam],
) -> Float[Tensor, "b v"]:
    """||A mu - y|| / ||y|| of each film: how far the volume is from explaining it."""
    difference = project(mu_per_mm, grid, beams) - line_integrals
    return difference.flatten(2).norm(dim=2) / line_integrals.flatten(2).norm(dim=2).clamp_min(1e-12)


def _without_negatives(mu_per_mm: Tensor, out: Tensor | None) -> Tensor:
    """A volume of our own to work on: ``out`` if it is given."""
    if out is None:
        return mu_per_mm.clamp_min(0.0)
    if torch.is_grad_enabled():
        raise ValueError("out must be None where gradients are recorded, got a tensor; call under torch.no_grad()")
    return torch.clamp_min(mu_per_mm, 0.0, out=out)


def _swept(mu: Tensor, films: Tensor, grid: VolumeGrid, beams: Sequence[Beam], sweeps: int, tolerance: float) -> Tensor:
    """The sweeps on a volume of our own, which is overwritten unless gradients are recorded."""
    _require_films(films, mu, beams)
    for _ in range(sweeps):
        for view, beam in enumerate(beams):
            mu = _corrected_once(mu, films[:, view : view + 1], grid, beam, tolerance)
    return mu


def _corrected_once(mu: Tensor, film: Tensor, grid: VolumeGrid, beam: Beam, tolerance: float) -> Tensor:
    """The volume after one film; what was needed on the way is let go before the next."""
    margins = unseen_margins(grid, beam)
    beyond = grown_beam(beam, margins)
    shares = RayShares(mu, grid, beyond)
    films = (project(mu, grid, [beyond]), *shares.projected())
    projected, one_coarse, one_fine = (seen_part(one, margins) for one in films)
    corrections = film_corrections(film, projected, one_coarse, one_fine, beam, tolerance)
    return shares.corrected(_beyond_the_edges(corrections, margins, beam) if any(margins) else corrections)


def _beyond_the_edges(corrections: RayCorrections, margins: Margins, beam: Beam) -> RayCorrections:
    """Those of the rays beside the film, too."""
    pitch_mm = beam.detector.pitch_mm
    return RayCorrections(
        with_margins(corrections.coarse, margins, pitch_mm, FADE_MM),
        1.0 + with_margins(corrections.factor - 1.0, margins, pitch_mm, FADE_MM),
        with_margins(corrections.fine, margins, pitch_mm, COARSE_MM),
    )


def _require_films(films: Tensor, mu: Tensor, beams: Sequence[Beam]) -> None:
    wanted = [(*mu.shape[:2], beam.detector.rows, beam.detector.cols) for beam in beams]
    if [tuple(film.shape) for film in films.unbind(1)] != wanted:
        raise ValueError(
            f"line_integrals must hold one film (B, C, rows, cols) per beam of the shapes {wanted}, got {tuple(films.shape)}; "
            "pass films with the rows and columns of their beams"
        )
    if not bool(torch.isfinite(films.detach().sum())):
        raise ValueError("line_integrals must be finite, got NaN or Inf; the rays of such pixels are to be cropped away")


def _require_sweeps(sweeps: int) -> None:
    if sweeps not in (1, 2, 3):
        raise ValueError(f"sweeps must be 1, 2 or 3, got {sweeps}; use NoConsistency() for none")
