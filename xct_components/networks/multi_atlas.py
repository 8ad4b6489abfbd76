"""CTs of other patients, bent until their films look like the one that is given: what a film alone says of a whole chest.

Multi-atlas registration (Iglesias & Sabuncu, Med Image Anal 2015;24:205), but from films. The frontal film moves what lies at
all depths of a ray alike and stretches the patient along it; a lateral film then moves depths. The mean of the bent CTs, those
counting most at each place that show there what the film shows, keeps the outlines that a mean over patients as they lie blurs.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from xct_components.geometry import Beam, VolumeGrid
from xct_components.networks.film_alignment import FilmAlignment, Stiffness, align_films, identity_places
from xct_components.networks.film_fusion import film_weights
from xct_components.networks.films_on_field import axis_of, read_on_middle_plane
from xct_components.physics.attenuation import hu_to_mu_per_mm, mu_per_mm_to_hu
from xct_components.physics.consistency import Consistency
from xct_components.physics.gain_and_offset import MEAN_PATIENT_ERROR, PAIR_GUESS_ERROR, believed_gain_offset
from xct_components.physics.projector import project

#: Lowest CT number that is kept and the step of all: a byte a voxel reaches to 1526 HU.
BYTE_LOWEST_HU, BYTE_STEP_HU = -1024.0, 10.0
#: Of more those are bent whose films take the least energy at a first ``GLANCE``, on volumes of so many voxels a side.
MOST_BENT, GLANCE_SIDE = 16, 16
#: Steps of a registration that only tells patients apart; see ``align_films``.
GLANCE = ((1, 25),)
#: CTs that are unpacked at a time, and slices that are read at a time.
UNPACKED, SLICES_READ = 64, 32
#: A lateral film moves depths; heights and breadth are the frontal film's.
LATERAL = Stiffness(thickness=5.0, unevenness=0.0, grows_alike=False, moves=(False, True))
#: The axes of the field that a frontal and a lateral film look along.
AXES = [0, 2]
NO_ONE = 0


class BentCts(NamedTuple):
    """What K CTs of other patients say of one patient, once films have bent them.

    ``mu_per_mm``: (1, 1, d, h, w) their mean, per mm, >= 0, those counting most at each place that show there what the films
    show. ``members_per_mm``: (K, 1, D, H, W) each of them, moved likewise towards what the films show, on ``grid``; first the
    one that was bent with the least energy. ``keys``: whose they are. ``displacement``: (K, D, H, W, 3) from where in his CT
    each voxel was read, (x, y, z) in units of ``grid_sample`` from the voxel itself. ``mean_hu`` and ``variance_hu2``: (1, 1,
    D, H, W) of the K, each counting alike, on ``grid``; the variance is 0 for one alone. ``patients``: K.
    """

    mu_per_mm: Float[Tensor, "1 1 d h w"]
    members_per_mm: Float[Tensor, "k 1 fd fh fw"]
    keys: Int[Tensor, " k"]
    displacement: Float[Tensor, "k fd fh fw 3"]
    mean_hu: Float[Tensor, "1 1 fd fh fw"]
    variance_hu2: Float[Tensor, "1 1 fd fh fw"]
    grid: VolumeGrid
    patients: int

    def member_per_mm(self, number: int) -> Float[Tensor, "1 1 d h w"]:
        """One of the members, 0 to K - 1, on the voxels of ``mu_per_mm``: sharp, as a mean is not."""
        one, size = self.members_per_mm[number : number + 1], self.mu_per_mm.shape[2:]
        return one if one.shape[2:] == size else F.interpolate(one, size=size, mode="trilinear")

    def bent_like(self, number: int, volume: Float[Tensor, "1 1 d h w"]) -> Float[Tensor, "1 1 d h w"]:
        """Another volume of the patient whose CT is that member, edge to edge over ``grid``, bent as the CT was."""
        moved, bent = self.displacement[number : number + 1].movedim(-1, 1), torch.empty_like(volume)
        places = identity_places(*volume.shape[2:]).to(moved)[None]
        for slices in torch.arange(volume.shape[2]).split(SLICES_READ):  # 256³ places at once would be 200 MB
            here = places[:, slices]
            bent[:, :, slices] = _read(volume, here + _read(moved, here).movedim(1, -1))
        return bent


class MultiAtlas(nn.Module):
    """CTs on the cascade's field, part of a stage's weights: who shares the weights shares these CTs, coarse as they are.

    Of many the few are bent whose films are most like the given one. Weights bring as many as they hold.

    Args:
        count: most CTs to hold, until weights are loaded.
        size: voxels of each along D, H and W.
    """

    ct: Tensor  # (count, D, H, W) bytes, see BYTE_STEP_HU
    key: Tensor  # (count,) of whom; NO_ONE for none

    def __init__(self, count: int, size: Sequence[int] = (64, 64, 64)) -> None:
        super().__init__()
        self.register_buffer("ct", torch.zeros(0, *size, dtype=torch.uint8))
        self.register_buffer("key", torch.zeros(0, dtype=torch.int64))
        self.make_room(count)

    @property
    def count(self) -> int:
        """Most CTs it holds."""
        return len(self.key)

    @property
    def is_measured(self) -> bool:
        """Whether it holds any CT."""
        return bool((self.key != NO_ONE).any())

    def make_room(self, count: int) -> None:
        """Room for so many CTs, and none held."""
        self.ct = self.ct.new_zeros(count, *self.ct.shape[1:])
        self.key = self.key.new_full((count,), NO_ONE)

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *how: Any) -> None:
        """As of any module, but first with room for what is loaded."""
        key = state_dict.get(f"{prefix}key")
        if isinstance(key, Tensor) and key.ndim == 1 and len(key) != self.count:
            self.make_room(len(key))
        super()._load_from_state_dict(state_dict, prefix, *how)

    def measure(self, named_hu: Iterable[tuple[str, Tensor]]) -> list[str]:
        """Take the CTs of patients, names and (1, 1, D, H, W) HU on the cascade's field, of any size; the first ``count``.

        Returns:
            The names of those that are held: the weights keep none.
        """
        self.key.fill_(NO_ONE)
        names: list[str] = []
        for number, (name, ct_hu) in zip(range(self.count), named_hu, strict=False):
            self.ct[number] = as_held(ct_hu.float(), self.ct.shape[1:])[0, 0].to(self.ct)
            self.key[number] = key_of(name)
            names.append(name)
        return names

    def bent(
        self,
        atlas: Float[Tensor, "1 1 d h w"],
        film: Float[Tensor, "v 1 rows cols"],
        field: VolumeGrid,
        beams: Sequence[Beam],
        consistency: Consistency,
        without: str | None = None,
    ) -> BentCts | None:
        """The CTs as one sample's films bend them.

        Args:
            atlas: per mm on ``field``: tells gain and offset of calibrated films.
            film: line integrals over the field.
            field: the stage's field.
            beams: V exposures; a frontal one, or a frontal and a lateral one.
            consistency: how far the films are to be believed.
            without: the patient whose own CT is not to be used.

        Returns:
            On voxels like those of ``atlas``; None where films are not believed, oblique or lateral alone, or there are no CTs.
        """
        axes = [axis_of(field, beam) for beam in beams]
        if consistency.film_scale == "ignored" or axes not in (AXES[:1], AXES):
            return None
        used = self.key != NO_ONE if without is None else (self.key != NO_ONE) & (self.key != key_of(without))
        others = used.nonzero()[:, 0]
        if not len(others):
            return None
        with torch.no_grad():
            films, calibrated = film[None], consistency.film_scale == "calibrated"
            if calibrated:
                films = _rescaled(film[None], atlas, field, beams, MEAN_PATIENT_ERROR)
            if len(others) > MOST_BENT:
                others = self._most_alike(others, films, field, beams[0])
            cts, keys = hu_to_mu_per_mm(hu_of_held(self._bytes(others))), self.key[others]
            bent = self._bent(cts, keys, films, field, beams, atlas.shape[2:])
            if calibrated and len(beams) > 1:  # two films show how thick the patient is, hence their own scale
                films = _rescaled(film[None], bent.mu_per_mm, field, beams, PAIR_GUESS_ERROR)
                bent = self._bent(cts, keys, films, field, beams, atlas.shape[2:])
            return bent

    def _bytes(self, chosen: Tensor) -> Tensor:
        """(K, 1, D, H, W), not yet HU."""
        return self.ct.index_select(0, chosen)[:, None].float()

    def _most_alike(self, others: Tensor, films: Tensor, field: VolumeGrid, beam: Beam) -> Tensor:
        """Which CTs to bend: a rough registration of rough films, all at once."""
        side = [min(n, GLANCE_SIDE) for n in self.ct.shape[1:]]
        small = torch.cat([F.interpolate(self._bytes(some), size=side, mode="area") for some in others.split(UNPACKED)])
        rough = beam.resampled(side[1], side[2])
        rough_per_mm = hu_to_mu_per_mm(hu_of_held(small))
        moving = read_on_middle_plane(project(rough_per_mm, field.resampled(side), [rough]), field, rough, 0, side)
        fixed = read_on_middle_plane(films[:, :1], field, beam, 0, side)[0]
        energy = align_films(moving, fixed, schedule=GLANCE).energy
        return others[energy.argsort()[:MOST_BENT].sort().values]

    def _bent(
        self, others: Tensor, keys: Tensor, films: Tensor, field: VolumeGrid, beams: Sequence[Beam], size: Sequence[int]
    ) -> BentCts:
        grid, frontal = field.resampled(others.shape[2:]), self._aligned(others, films, field, beams, 0)
        places, energy = _frontal_places(frontal, grid.shape), frontal.energy
        if len(beams) > 1:
            lateral = self._aligned(_read(others, places), films, field, beams, 1)
            places, energy = _frontal_places(frontal, grid.shape, lateral.displacement[..., 1]), energy + lateral.energy
        bent = _read(others, places)
        mean, members = _fused(bent, films, field, beams).tensor_split([1])
        if mean.shape[2:] != tuple(size):
            mean = F.interpolate(mean, size=tuple(size), mode="trilinear")
        bent_hu = mu_per_mm_to_hu(bent)
        mean_hu = bent_hu.mean(0, keepdim=True)
        squares_hu2 = (bent_hu - mean_hu).square().sum(0, keepdim=True)
        order, displacement = energy.argsort(stable=True), places - identity_places(*grid.shape).to(places)
        whose = (members[order], keys[order], displacement[order])
        return BentCts(mean, *whose, mean_hu, squares_hu2 / max(len(bent) - 1, 1), grid, len(bent))

    def _aligned(self, others: Tensor, films: Tensor, field: VolumeGrid, beams: Sequence[Beam], view: int) -> FilmAlignment:
        """The films of the CTs, taken as the given one was, bent to it."""
        moving, fixed = _seen(others, films, field, beams, view)
        return align_films(moving, fixed, None if view == 0 else LATERAL)


def _rescaled(films: Tensor, volume: Tensor, field: VolumeGrid, beams: Sequence[Beam], error: float) -> Tensor:
    """Calibrated films with the gain and offset that a volume tells of; ``error``: see ``believed_gain_offset``."""
    gain, offset = believed_gain_offset(films, project(volume, field, beams), error)
    return gain * films + offset


def _seen(volumes: Tensor, films: Tensor, field: VolumeGrid, beams: Sequence[Beam], view: int) -> tuple[Tensor, Tensor]:
    """Films (K, rows, cols) of the volumes, taken as the given one was, and that one (rows, cols), on the middle plane."""
    beam, axis, size = beams[view], AXES[view], volumes.shape[2:]
    own = read_on_middle_plane(project(volumes, field.resampled(size), [beam]), field, beam, axis, size)
    return own, read_on_middle_plane(films[:, view : view + 1], field, beam, axis, size)[0]


def _fused(bent: Tensor, films: Tensor, field: VolumeGrid, beams: Sequence[Beam]) -> Tensor:
    """(1 + K, 1, D, H, W): the mean of K bent CTs, and each of them, moved to what the films show.

    Each is moved within what sets the K apart, towards those that show at a place what it lacks: a ray, all along it.
    """
    mean, spacing_mm = bent.mean(0, keepdim=True), field.resampled(bent.shape[2:]).spacing_mm
    apart, moved = bent - mean, torch.cat([mean, bent])
    for view in range(len(beams)):
        # At first the moved ones are those that were bent: one film of each serves both.
        own, given = _seen(moved if view == 0 else torch.cat([moved, bent]), films, field, beams, view)
        pixel_mm = [mm for axis, mm in enumerate(spacing_mm) if axis != AXES[view]]
        weights = film_weights(own[-len(bent) :], given - own[: len(moved)], pixel_mm)
        along_rays = weights.unsqueeze(AXES[view] + 2)[:, :, None]
        moved = moved + torch.stack([(one * apart).sum(0) for one in along_rays])
    return moved.clamp_min(0.0)


def as_held(ct_hu: Float[Tensor, "b 1 d h w"], size: Sequence[int]) -> Float[Tensor, "b 1 hd hh hw"]:
    """A CT as it is held: means of its voxels in whole steps, 0 to 255."""
    small = F.interpolate(ct_hu, size=tuple(size), mode="area")
    return ((small - BYTE_LOWEST_HU) / BYTE_STEP_HU).round().clamp(0, 255)


def hu_of_held(steps: Float[Tensor, "*volume"]) -> Float[Tensor, "*volume"]:
    """HU of what ``as_held`` made."""
    return steps * BYTE_STEP_HU + BYTE_LOWEST_HU


def key_of(name: str) -> int:
    """A number for a name, the same everywhere: the weights hold no names."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big", signed=True) or 1


def _frontal_places(
    alignment: FilmAlignment, size: Sequence[int], moved_depth: Tensor | None = None
) -> Float[Tensor, "k d h w 3"]:
    """Where ``grid_sample`` reads the voxels of bent volumes, (x, y, z).

    ``moved_depth``: (K, D, H) by which a lateral film moves them first.
    """
    count, depth = len(alignment.misfit), size[0]
    z = ((torch.arange(depth) + 0.5) / depth * 2.0 - 1.0).to(alignment.misfit)[None, :, None].expand(count, -1, size[1])
    z = (z if moved_depth is None else z + moved_depth)[..., None] * torch.exp(-alignment.log_thickness)[:, None]
    plane = (identity_places(size[1], size[2]).to(z) + alignment.displacement)[:, None].expand(-1, depth, -1, -1, -1)
    return torch.cat([plane, z[..., None]], dim=-1)


def _read(volumes: Tensor, places: Tensor) -> Tensor:
    return F.grid_sample(volumes, places, padding_mode="border", align_corners=False)
