"""How well volumes explain their films."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from xct_components.geometry import VolumeGrid
from xct_components.inferers.stage_films import StageFilms
from xct_components.physics.attenuation import hu_to_mu_per_mm
from xct_components.physics.gain_and_offset import fit_gain_offset
from xct_components.physics.projector import project


def film_errors(volume_hu: Tensor, films: StageFilms, fields: Sequence[VolumeGrid]) -> tuple[Tensor, Tensor]:
    """(B, V) ||DRR(volume) - film|| / ||film|| on the measured pixels at the stage's resolution.

    First for the film as it is, then for the film with the gain and offset that fit the DRR best: what is left for a film whose
    scale was only estimated.
    """
    plain, fitted = [], []
    samples = zip(volume_hu.split(1), films.measured.split(1), fields, films.measured_beams, strict=True)
    for one_hu, film, field, beams in samples:
        drr = project(hu_to_mu_per_mm(one_hu), field, beams)
        gain, offset = fit_gain_offset(film, drr)
        plain.append(_relative(drr, film))
        fitted.append(_relative(drr, gain * film + offset))
    return torch.cat(plain), torch.cat(fitted)


def _relative(drr: Tensor, film: Tensor) -> Tensor:
    return (drr - film).flatten(2).norm(dim=2) / film.flatten(2).norm(dim=2).clamp_min(1e-12)
