"""The films of one CT in the frame of the film reference: the patient alone, the middle of the lungs in the middle."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from xct_components.data.film.reference import PIXEL_MM, ChestFilms
from xct_components.data.prepare.body import body_mask
from xct_components.data.prepare.chest_grid import cascade_grid
from xct_components.data.prepare.coarse_ct import coarse_ct
from xct_components.data.prepare.lungs import find_lungs
from xct_components.data.prepare.prepared_case import patient_only
from xct_components.failures import RefusedInput
from xct_components.geometry import ChestView, Detector, VolumeGrid, chest_cone_beam
from xct_components.geometry.chest import SOURCE_TO_DETECTOR_MM, SOURCE_TO_PATIENT_MM
from xct_components.physics.attenuation import hu_to_mu_per_mm
from xct_components.physics.projector import project

#: Pixels per side: 400 mm, more than the cascade's field, so that smaller and larger chests still meet the mean one.
PIXELS = 50
#: A ray has crossed the whole body if its path in the CT is at least this share of the usual one.
WHOLE_PATH = 0.85


def chest_films(name: str, ct_hu: Float[Tensor, "1 1 s r c"], grid: VolumeGrid) -> ChestFilms:
    """Frontal and lateral film of a CT, cone beam at the cascade's distances, 400 x 400 mm, table removed.

    Args:
        name: of the CT.
        ct_hu: (1, 1, S, R, C) HU.
        grid: where its voxels lie.

    Raises:
        RefusedInput: if the CT shows no body or no lungs.
    """
    patient = patient_only(ct_hu, grid)
    coarse = coarse_ct(patient.ct)
    lungs = find_lungs(coarse, body_mask(coarse))
    if lungs is None:
        raise RefusedInput(f"{name} shows no lungs; is it a chest CT?")
    fine = torch.from_numpy(lungs.both)
    for axis, (step, count) in enumerate(zip(coarse.steps, patient.ct.hu.shape, strict=True)):
        fine = fine.repeat_interleave(step, axis).narrow(axis, 0, count)
    middle_mm = cascade_grid(patient.ct, patient.center_hdw, 64).center_mm
    mu_per_mm = hu_to_mu_per_mm(torch.from_numpy(patient.ct.hu).float()[None, None])
    films, covered = {}, {}
    views: tuple[ChestView, ...] = ("PA", "LL")
    for view in views:
        films[view] = _film(mu_per_mm, patient.ct.grid, view, middle_mm)
        inside_mm = _film(torch.ones_like(mu_per_mm), patient.ct.grid, view, middle_mm)
        usual_mm = float(inside_mm[inside_mm > 0].quantile(0.75))
        covered[view] = (inside_mm > WHOLE_PATH * usual_mm).float()
    lungs_alone = fine.float()[None, None]
    paths_mm = [_film(lungs_alone, patient.ct.grid, view, middle_mm) for view in views]
    return ChestFilms(name, films["PA"], films["LL"], covered["PA"], covered["LL"], *paths_mm)


def _film(density: Tensor, grid: VolumeGrid, view: ChestView, middle_mm: tuple[float, float, float]) -> Tensor:
    pitch_mm = PIXEL_MM * SOURCE_TO_DETECTOR_MM / SOURCE_TO_PATIENT_MM
    beam = chest_cone_beam(view, Detector(PIXELS, PIXELS, pitch_mm), isocenter_mm=middle_mm)
    return project(density, grid, [beam])[0, 0, 0]
