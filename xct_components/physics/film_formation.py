"""From the water and bone that each ray crosses to the film a detector records."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, fields
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from xct_components.physics.detector_response import detector_blur, pixel_photons, quantum_noise
from xct_components.physics.scatter import scattered_radiation
from xct_components.physics.spectrum import (
    linearized_line_integral,
    monoenergetic_line_integral,
    polyenergetic_line_integral,
    tube_spectrum,
)

#: Darkest signal a detector tells from none, relative to the open beam: half a step of a 16-bit converter. Film <= 11.8.
DARKEST_INTENSITY = 0.5 / 65536


@dataclass(frozen=True)
class FilmFormation:
    """How a film comes about. Every step is off by default: what is left is the monoenergetic line integral at 60 keV.

    Args:
        tube_kvp: 80, 100, 120 or 140: a real beam that hardens, instead of 60 keV. See ``tube_spectrum``.
        water_linearized: correct the finished film for the hardening of that beam in water. See ``linearized_line_integral``.
        scatter_to_primary: 0.1-0.6 behind a grid, 1-2.5 without. See ``scattered_radiation``.
        scatter_sigma_mm: width of the scatter on the detector, 15-60 mm; without effect while ``scatter_to_primary`` is None.
        photons_per_mm2: quanta that 1 mm2 of detector counts in the open beam, 4e5-2e6. The entrance dose of PA chest films
            surveyed is 0.05-0.15 mGy, without the patient 35-105 uGy at the detector; there 120 kVp (3 mm Al) has 23 700
            photons per mm2 and uGy, of which CsI absorbs 79 % (spekpy, xraydb) and a grid lets about two thirds pass.
        blur_sigma_mm: spread in the scintillator, 0.12-0.19 mm. See ``detector_blur``.

    Raises:
        ValueError: if a value is not positive and finite, the voltage is not tabulated, or there is no beam to linearize.

    Example:
        >>> FilmFormation(tube_kvp=120, scatter_to_primary=0.4, photons_per_mm2=1e6, blur_sigma_mm=0.15).tube_kvp
        120
    """

    tube_kvp: int | None = None
    water_linearized: bool = False
    scatter_to_primary: float | None = None
    scatter_sigma_mm: float = 40.0
    photons_per_mm2: float | None = None
    blur_sigma_mm: float | None = None

    def __post_init__(self) -> None:
        if self.tube_kvp is not None:
            tube_spectrum(self.tube_kvp)
        elif self.water_linearized:
            raise ValueError("water_linearized needs tube_kvp, got None; a single energy does not harden")
        for name in ("scatter_to_primary", "scatter_sigma_mm", "photons_per_mm2", "blur_sigma_mm"):
            value = getattr(self, name)
            if value is None and name != "scatter_sigma_mm":
                continue
            if value is None or not 0.0 < value < math.inf:
                raise ValueError(f"{name} must be positive and finite, got {value}; None switches a step off")
            object.__setattr__(self, name, float(value))

    def to_json(self) -> dict[str, Any]:
        """A JSON-ready dictionary; ``from_json`` restores equal settings."""
        return asdict(self)

    @classmethod
    def from_json(cls, settings: dict[str, Any]) -> FilmFormation:
        """The settings that ``to_json`` described.

        Raises:
            ValueError: for a name that is no setting, so that a misspelt one is not silently ignored.
        """
        known = [field.name for field in fields(cls)]
        if unknown := sorted(set(settings) - set(known)):
            raise ValueError(f"settings must be among {', '.join(known)}, got {', '.join(unknown)}")
        return cls(**settings)


def form_film(
    soft_mm: Float[Tensor, "*films rows cols"],
    bone_mm: Float[Tensor, "*films rows cols"],
    pixel_mm: float | tuple[float, float],
    settings: FilmFormation,
    generator: torch.Generator | None = None,
) -> Float[Tensor, "*films rows cols"]:
    """The film of a patient, as -ln of the detected intensity relative to the open beam.

    Beam -> scatter -> quanta -> spread of light -> logarithm. Scatter takes contrast from the film, and makes it slightly
    negative beside the patient. Differentiable in both paths with every step on; leading dimensions are films, each
    with its own scatter and noise.

    Args:
        soft_mm: water-equivalent path of each ray, the projection of ``soft`` of ``hu_to_materials``; float32 or float64.
        bone_mm: cortical-bone path of each ray, the projection of its ``bone``.
        pixel_mm: pixel pitch on the detector: one number, or (rows, columns).
        settings: which steps, and how strong.
        generator: the randomness of the noise; required exactly when ``photons_per_mm2`` is set.

    Returns:
        The film, same shape; larger = more attenuation.

    Raises:
        ValueError: for unequal shapes, a path that is not finite or not floating-point, or noise without a generator.

    Example:
        >>> path_mm = torch.full((2, 2), 100.0)
        >>> form_film(path_mm, torch.zeros(2, 2), 0.2, FilmFormation())[0, 0].round(decimals=3)
        tensor(2.0590)
    """
    _require_paths(soft_mm, bone_mm)
    pitch_mm = (pixel_mm, pixel_mm) if isinstance(pixel_mm, int | float) else pixel_mm
    if settings.tube_kvp is None:
        return _detected(monoenergetic_line_integral(soft_mm, bone_mm), pitch_mm, settings, generator)
    spectrum = tube_spectrum(settings.tube_kvp)
    film = _detected(polyenergetic_line_integral(soft_mm, bone_mm, spectrum), pitch_mm, settings, generator)
    return linearized_line_integral(film, spectrum) if settings.water_linearized else film


def _detected(
    film: Tensor, pixel_mm: tuple[float, float], settings: FilmFormation, generator: torch.Generator | None
) -> Tensor:
    """The primary film after scatter, noise and blur; untouched when all three are off."""
    if settings.scatter_to_primary is None and settings.photons_per_mm2 is None and settings.blur_sigma_mm is None:
        return film
    intensity = torch.exp(-film)
    if settings.scatter_to_primary is not None:
        intensity = intensity + scattered_radiation(film, pixel_mm, settings.scatter_to_primary, settings.scatter_sigma_mm)
    if settings.photons_per_mm2 is not None:
        if generator is None:
            raise ValueError("generator must be given with photons_per_mm2, got None; pass torch.Generator().manual_seed(seed)")
        intensity = quantum_noise(intensity, pixel_photons(settings.photons_per_mm2, pixel_mm), generator)
    if settings.blur_sigma_mm is not None:
        intensity = detector_blur(intensity, pixel_mm, settings.blur_sigma_mm)
    return -intensity.clamp_min(DARKEST_INTENSITY).log()


def _require_paths(soft_mm: Tensor, bone_mm: Tensor) -> None:
    if soft_mm.shape != bone_mm.shape:
        raise ValueError(f"bone_mm must have the shape of soft_mm, got {tuple(bone_mm.shape)} and {tuple(soft_mm.shape)}")
    for name, path_mm in (("soft_mm", soft_mm), ("bone_mm", bone_mm)):
        if path_mm.dtype not in (torch.float32, torch.float64):
            raise ValueError(f"{name} must be float32 or float64, got {path_mm.dtype}; a film spans more than half types hold")
        if not bool(torch.isfinite(path_mm).all()):
            raise ValueError(f"{name} must be finite, got NaN or Inf; check the volume it was projected from")
