"""What the cascade trains on: prepared CTs and phantoms, as MONAI datasets; chance drawn per case, applied per batch."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor
from torch.utils.data import Dataset

from xct_components.data.cases.augmentation import PatientAugmentation, augment_patient, draw_patient_augmentation
from xct_components.data.cases.exposure import TrainingExposure, draw_training_exposure, take_film
from xct_components.data.cases.random_draws import case_generator, seed_of
from xct_components.data.prepare.chest_grid import FIELD_MM
from xct_components.failures import UnreadableInput, UsageFailure
from xct_components.geometry import ChestView, ConeBeam, VolumeGrid

if TYPE_CHECKING:
    import monai.data

Cache = Literal["none", "memory", "disk"]

#: Keeps the chance of noise and diffusion times apart from that of augmentations and exposures.
CHANCE_STREAM = 1 << 32
#: How the names of phantoms begin.
PHANTOM = "phantom-"


class TrainingBatch(NamedTuple):
    """Volumes, their films, and where both lie; B cases, V views.

    ``ct_hu``: (B, 1, D, H, W). ``film`` and ``line_integrals``: (B, V, 1, rows, cols), see ``TrainingFilm``.
    ``grids``: B. ``beams``: B lists of V.
    """

    ct_hu: Float[Tensor, "b 1 d h w"]
    film: Float[Tensor, "b v 1 rows cols"]
    line_integrals: Float[Tensor, "b v 1 rows cols"]
    grids: list[VolumeGrid]
    beams: list[list[ConeBeam]]


def prepared_items(prepared: str | Path, side: str, size: int | str) -> list[dict[str, Any]]:
    """One item per CT of one side of a prepared folder's split.

    The SHA-256 of the file is part of it, so that no cache takes a CT that was prepared anew for the one before.

    Args:
        prepared: the output folder of ``xct prepare``.
        side: "train", "val" or "test".
        size: 64, 128, 256 or "full".

    Raises:
        UnreadableInput: if there is no manifest; run ``xct prepare`` first.
        UsageFailure: if the manifest knows no such side, or a case was not prepared at this size.
    """
    folder = Path(prepared)
    try:
        manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UnreadableInput(f"{folder} holds no readable manifest.json; run `xct prepare` first") from error
    if side not in manifest["sides"]:
        raise UsageFailure(f"side must be one of {', '.join(manifest['sides'])}, got {side!r}")
    chosen = set(manifest["sides"][side])
    items = []
    for case in manifest["cases"]:
        if case["case"] not in chosen:
            continue
        if str(size) not in case["outputs"]:
            raise UsageFailure(f"{case['case']} was not prepared at size {size}; it has {', '.join(case['outputs'])}")
        output = case["outputs"][str(size)]
        file = {"file": str(folder / output["file"]), "sha256": output["sha256"]}
        items.append({"case": case["case"], **file, "grid": output["grid"]})
    return items


def present_items(prepared: str | Path, side: str, size: int | str) -> list[dict[str, Any]]:
    """``prepared_items`` where there must be some.

    Raises:
        UsageFailure: likewise, and if the side holds no case.
    """
    items = prepared_items(prepared, side, size)
    if not items:
        raise UsageFailure(f"side {side} of {prepared} holds no case; prepare with --split_list or a larger --{side}_share")
    return items


def phantom_items(count: int, size: int, first_seed: int = 0) -> list[dict[str, Any]]:
    """One item per random thorax: seeds ``first_seed`` onwards, on the cascade's grid of ``size`` voxels."""
    grid = VolumeGrid.chest((size, size, size), FIELD_MM / size).to_json()
    return [{"case": f"{PHANTOM}{seed}", "phantom_seed": seed, "grid": grid} for seed in range(first_seed, first_seed + count)]


def mixed_items(
    prepared: str | Path, size: int, *, side: str = "train", repeats: int = 1, phantoms: int = 0, without: Sequence[str] = ()
) -> list[dict[str, Any]]:
    """Prepared CTs, each so often in an epoch, and phantoms.

    Args:
        prepared: the output folder of ``xct prepare``; "" for phantoms alone.
        size: voxels a side.
        side: of the split.
        repeats: how often each CT comes in an epoch, differently augmented every time.
        phantoms: how many random thoraxes, seeds 0 onwards.
        without: cases to leave out, for cross-validation.
    """
    real = [item for item in prepared_items(prepared, side, size) if item["case"] not in without] if prepared else []
    return real * repeats + phantom_items(phantoms, size)


def load_case(item: Mapping[str, Any]) -> dict[str, Any]:
    """The volume of an item: ``case``, ``ct_hu`` (1, 1, D, H, W) int16, ``grid`` (JSON). No chance is in it."""
    return {"case": item["case"], "ct_hu": _phantom(item) if "phantom_seed" in item else _prepared(item), "grid": item["grid"]}


def case_dataset(
    items: Sequence[Mapping[str, Any]], cache: Cache = "none", cache_dir: str | Path | None = None
) -> monai.data.Dataset:
    """The items as a MONAI dataset of loaded volumes.

    Args:
        items: from ``prepared_items`` and ``phantom_items``, in any mixture.
        cache: "none" (Dataset), "memory" (CacheDataset) or "disk" (PersistentDataset in ``cache_dir``: for phantoms that
            are dear to render, or folders too large for memory).
        cache_dir: folder of the disk cache.

    Raises:
        ValueError: for no items, an unknown cache, or a disk cache without a folder.
    """
    from monai.data import CacheDataset, Dataset, PersistentDataset
    from monai.transforms import Lambda

    if not items:
        raise ValueError("items must hold at least one case, got none; look at the sides in manifest.json")
    load = Lambda(load_case)  # a bare function counts as chance in MONAI, and would never be cached
    if cache == "memory":
        return CacheDataset(items, load, progress=True)
    if cache == "disk":
        if cache_dir is None:
            raise ValueError('cache_dir must be given with cache="disk", got None')
        return PersistentDataset(items, load, cache_dir=cache_dir)
    if cache != "none":
        raise ValueError(f'cache must be "none", "memory" or "disk", got {cache!r}')
    return Dataset(items, load)


class TrainingCases(Dataset[dict[str, Any]]):
    """Loaded volumes with the augmentation and the exposure chosen for them; nothing is applied yet.

    Case i of epoch e depends on (seed, e, i) alone: not on workers, order, ranks or what was drawn before. What was chosen
    travels with the case as JSON, so any sample can be made again.

    Args:
        volumes: from ``case_dataset``.
        seed: of the whole training.
        augment: whether to change the patients.
        randomize_exposure: whether films are taken in different rooms; otherwise all in the cascade's own.
        draws: in how many ways each case is augmented and exposed, one after the other; 0 in another way every epoch.

    Raises:
        ValueError: for fewer draws than none.
    """

    def __init__(
        self,
        volumes: monai.data.Dataset,
        *,
        seed: int = 0,
        augment: bool = True,
        randomize_exposure: bool = True,
        draws: int = 0,
    ) -> None:
        if draws < 0:
            raise ValueError(f"draws must be at least 0, got {draws}; 0 draws anew in every epoch")
        self.volumes, self.seed, self.epoch = volumes, seed, 0
        self.augment, self.randomize_exposure, self.draws = augment, randomize_exposure, draws

    def patients(self, count: int, wanted: Callable[[str], bool] = bool) -> Iterator[tuple[str, Tensor]]:
        """Up to ``count`` different ones as they are, evenly chosen: name and (1, 1, D, H, W) HU; phantoms where all are.

        Args:
            count: most of them.
            wanted: of which names; no other volume is loaded.
        """
        first = {str(item["case"]): i for i, item in reversed(list(enumerate(self.volumes.data)))}
        names = sorted(name for name in first if not name.startswith(PHANTOM)) or sorted(first)
        names = [name for name in names if wanted(name)]
        for k in range(min(count, len(names))):
            name = names[k * len(names) // min(count, len(names))]
            yield name, self.volumes[first[name]]["ct_hu"].float()

    def __len__(self) -> int:
        """Cases an epoch."""
        return len(self.volumes)

    def set_epoch(self, epoch: int) -> None:
        """Choose anew for another epoch; call it before the epoch begins, as with a DistributedSampler."""
        self.epoch = epoch

    def __getitem__(self, index: int) -> dict[str, Any]:
        """``case``, ``ct_hu`` (1, 1, D, H, W), ``grid``, and what was chosen (all but the tensor JSON-ready).

        ``augmentation`` and ``exposure`` come again after ``draws`` epochs; ``chance_seed``, of all else that is drawn for the
        case, does not.
        """
        generator = case_generator(self.seed, self.epoch % self.draws if self.draws else self.epoch, index)
        augmentation, exposure = draw_patient_augmentation(generator), draw_training_exposure(generator)
        return {
            **self.volumes[index],
            "augmentation": (augmentation if self.augment else PatientAugmentation()).to_json(),
            "exposure": (exposure if self.randomize_exposure else TrainingExposure()).to_json(),
            "chance_seed": seed_of(case_generator(self.seed, self.epoch, CHANCE_STREAM + index)),
        }

    def fingerprint(self) -> str:
        """Twelve digits that tell these cases from others: names, contents and order, not where the files lie."""
        told = [[item["case"], item.get("sha256"), item["grid"]] for item in self.volumes.data]
        return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:12]


def render_batch(
    cases: Sequence[Mapping[str, Any]],
    *,
    rows: int,
    cols: int,
    views: tuple[ChestView, ...] = ("PA",),
    device: str | torch.device = "cpu",
) -> TrainingBatch:
    """Apply what was chosen for each case, on the device that trains: augment, then take the films.

    Args:
        cases: items of ``TrainingCases`` (a DataLoader with ``collate_fn=list`` passes them on).
        rows: of the films.
        cols: of the films.
        views: "PA" and others; each case is seen from all.
        device: where to compute.
    """
    volumes, films, grids = [], [], []
    for case in cases:
        grid = VolumeGrid.from_json(case["grid"])
        ct_hu = case["ct_hu"].to(device, torch.float32)
        volumes.append(augment_patient(ct_hu, grid, PatientAugmentation.from_json(case["augmentation"])))
        exposure = TrainingExposure.from_json(case["exposure"])
        films.append(take_film(volumes[-1], grid, exposure, views=views, rows=rows, cols=cols))
        grids.append(grid)
    return TrainingBatch(
        torch.cat(volumes),
        torch.cat([film.film for film in films]),
        torch.cat([film.line_integrals for film in films]),
        grids,
        [film.beams for film in films],
    )


def _prepared(item: Mapping[str, Any]) -> Tensor:
    import nibabel
    import numpy as np

    try:
        image = nibabel.load(item["file"])
        return torch.from_numpy(np.asarray(image.dataobj, dtype=np.int16)[None, None])
    except (OSError, EOFError, ValueError) as error:
        raise UnreadableInput(f"{item['case']} cannot be read; run `xct prepare` again to repair it") from error


def _phantom(item: Mapping[str, Any]) -> Tensor:
    from xct_components.data.phantom import random_thorax

    return random_thorax(item["phantom_seed"], VolumeGrid.from_json(item["grid"])).ct_hu.round().to(torch.int16)
