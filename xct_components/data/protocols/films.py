"""The films of a published protocol: their rays in the patient, their attenuation, their grey values.

The films were rendered by Plastimatch 1.7.3.12 with ``-nrm "0 1 0"`` (frontal) and ``"1 0 0"`` (lateral), from the stored
volume as the tool understood it (``ProtocolVolume.film_grid``). There the focal spot stands at isocentre + distance * nrm in
LPS, and the first column lies towards nrm x (0, 0, 1) (proj_matrix.cxx of Plastimatch): behind the patient, and on his left.
"""

from __future__ import annotations

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from xct_components.data.protocols.protocol import Protocol
from xct_components.data.protocols.volume import ProtocolVolume
from xct_components.geometry import ConeBeam, Detector, VolumeGrid

#: "plastimatch adjust --pw-linear 0,-1000" made HU of stored values, which are HU + 1024: 24 HU too many.
DRR_HU_AT_STORED_ZERO = -1000.0
#: Plastimatch's attenuation: 0.022 per mm in water, none at or below -800 HU (attenuation_lookup_hu in drr.cxx).
DRR_WATER_PER_MM, DRR_NOTHING_BELOW_HU = 0.022, -800.0

#: The letters of an axis of the patient; the first is where films count from or to.
_LEFT, _POSTERIOR, _INFERIOR = "LR", "PA", "IS"


def protocol_beams(prepared: ProtocolVolume, protocol: Protocol) -> tuple[ConeBeam, ConeBeam]:
    """The exposures of the published frontal and lateral film, of ``drr_mu_per_mm`` of ``stored`` on ``film_grid``.

    Both films show the head up. Frontal: X-rays from behind, column 0 shows the patient's right (the tool's film was
    mirrored afterwards). Lateral: X-rays from the patient's left, column 0 shows the front.

    Raises:
        ValueError: if the protocol does not publish where the source stands or how large the film is.
    """
    films, grid = protocol.films, prepared.film_grid
    if films.source_to_axis_mm is None or films.pixels is None or films.size_mm is None:
        raise ValueError(
            f"films must state source_to_axis_mm, pixels and size_mm, got {films} for {protocol.name}, which does not publish "
            "them; choose with dataclasses.replace(protocol, films=FilmSetup(...)) and state the choice beside every number"
        )
    detector = Detector(films.pixels, films.pixels, films.size_mm / films.pixels)
    left, posterior, inferior = (_towards(grid, letters) for letters in (_LEFT, _POSTERIOR, _INFERIOR))
    isocenter = torch.tensor(prepared.film_isocenter_mm, dtype=torch.float64)
    behind = films.source_to_detector_mm - films.source_to_axis_mm
    frontal, lateral = (
        ConeBeam(
            detector,
            tuple((isocenter - behind * to_source).tolist()),
            tuple(inferior.tolist()),
            tuple(columns.tolist()),
            source_mm=tuple((isocenter + films.source_to_axis_mm * to_source).tolist()),
        )
        for to_source, columns in ((posterior, left), (left, posterior))
    )
    return frontal, lateral


def drr_mu_per_mm(stored: Float[Tensor, "*batch d h w"]) -> Float[Tensor, "*batch d h w"]:
    """The attenuation per mm that the DRR tool gave to stored values (HU + 1024); lung below -824 HU attenuates nothing."""
    tool_hu = stored + DRR_HU_AT_STORED_ZERO
    return torch.where(tool_hu > DRR_NOTHING_BELOW_HU, DRR_WATER_PER_MM * (1.0 + tool_hu / 1000.0), torch.zeros_like(stored))


def published_film(line_integrals: Float[Tensor, "*batch rows cols"]) -> UInt8[Tensor, "*batch rows cols"]:
    """The 8-bit film: each film divided by its own maximum, times 255, cut to whole numbers (X2CT CT2XRAY/xraypro.py:33-35).

    Raises:
        ValueError: if a film shows nothing.
    """
    largest = line_integrals.amax(dim=(-2, -1), keepdim=True)
    if not bool((largest > 0).all()):
        raise ValueError("line_integrals must be positive somewhere on every film; the volume is empty or beside the beam")
    return (line_integrals / largest * 255.0).clamp(min=0.0).to(torch.uint8)


def _towards(grid: VolumeGrid, letters: str) -> Tensor:
    """Unit vector in RAS along the grid's axis of these letters, towards the first of them."""
    codes = grid.axis_codes
    axis = next(i for i in range(3) if codes[i] in letters)
    along = grid.affine[:3, axis] / grid.spacing_mm[axis]
    return along if codes[axis] == letters[0] else -along
