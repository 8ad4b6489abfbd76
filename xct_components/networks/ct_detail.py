"""What the CTs that the first stage holds show beyond the voxels of the stage before: packed, and bent with the CT.

    detail = CT - (means of 2 x 2 x 2 of its voxels, in whole steps, interpolated)

A mean over bent CTs has no such detail, as it lies elsewhere in each; a single member has (``BentCts``). What is less than a
step counts as noise.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from xct_components.networks.multi_atlas import as_held, hu_of_held, key_of

#: What a signed byte holds on either side.
MOST_STEPS = 127
#: Level 9 packs 128³ voxels in steps of 10 HU into 0.6 MB on average, 256³ in steps of 30 HU into 2 MB; finer entropy coding
#: would gain a tenth.
ZLIB_LEVEL = 9


class CtDetail(nn.Module):
    """The detail of some CTs, part of a stage's weights: who shares the weights shares these CTs.

    Weights bring as many as they hold; weights without any, written before there was such detail, load too.

    Args:
        size: voxels of each CT along D, H and W, even.
        step_hu: in which it is held; weights bring their own.

    Raises:
        ValueError: for a size that is not even, or no step.
    """

    packed: Tensor  # bytes of zlib, one CT after the other
    length: Tensor  # (K,) bytes of each
    key: Tensor  # (K,) of whom, as in ``MultiAtlas``
    step_hu: Tensor

    def __init__(self, size: Sequence[int], step_hu: float = 10.0) -> None:
        super().__init__()
        if not step_hu > 0.0:
            raise ValueError(f"step_hu must be positive, got {step_hu}")
        if any(n % 2 for n in size):
            raise ValueError(f"size must be even, so that 2 x 2 x 2 voxels are one of the stage before, got {tuple(size)}")
        self.size = tuple(size)
        self.register_buffer("packed", torch.zeros(0, dtype=torch.uint8))
        self.register_buffer("length", torch.zeros(0, dtype=torch.int64))
        self.register_buffer("key", torch.zeros(0, dtype=torch.int64))
        self.register_buffer("step_hu", torch.tensor(float(step_hu)))

    def measure(self, named_hu: Iterable[tuple[str, Tensor]]) -> list[str]:
        """Take the detail of patients, names and (1, 1, D, H, W) HU; whatever was held before is gone.

        Returns:
            The names of those that are held: the weights keep none.
        """
        names, lengths, packs = list[str](), list[int](), bytearray()
        for name, ct_hu in named_hu:
            steps = self._beyond_the_coarse(ct_hu.to(self.step_hu.device, torch.float32)) / self.step_hu
            steps = torch.where(steps.abs() < 1.0, 0.0, steps.round().clamp(-MOST_STEPS, MOST_STEPS))
            pack = zlib.compress(steps.to("cpu", torch.int8).numpy().tobytes(), ZLIB_LEVEL)
            names.append(name)
            lengths.append(len(pack))
            packs += pack
        self.packed = torch.frombuffer(packs, dtype=torch.uint8).to(self.packed.device) if packs else self.packed[:0]
        self.length = self.length.new_tensor(lengths)
        self.key = self.key.new_tensor([key_of(name) for name in names])
        return names

    def of(self, key: int) -> Float[Tensor, "1 1 d h w"] | None:
        """The detail of one patient in HU, on the voxels it was measured on; None if it is not held."""
        places = (self.key == key).nonzero()[:, 0].tolist()
        if not places:
            return None
        end = int(self.length[: places[0] + 1].sum())
        pack = self.packed[end - int(self.length[places[0]]) : end].cpu().numpy().tobytes()
        steps = np.frombuffer(zlib.decompress(pack), dtype=np.int8).reshape(1, 1, *self.size)
        return torch.from_numpy(steps.astype(np.float32)).to(self.packed.device).mul_(self.step_hu)

    def _beyond_the_coarse(self, ct_hu: Tensor) -> Tensor:
        fine = F.interpolate(ct_hu, size=self.size, mode="area")
        coarse = hu_of_held(as_held(ct_hu, [n // 2 for n in self.size]))
        return fine - F.interpolate(coarse, size=self.size, mode="trilinear")

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *how: Any) -> None:
        """As of any module, but first with room for what is loaded, and with nothing where nothing is there."""
        for name in ("packed", "length", "key"):
            own = getattr(self, name)
            loaded = state_dict.setdefault(f"{prefix}{name}", own[:0])
            if isinstance(loaded, Tensor) and loaded.ndim == 1:
                setattr(self, name, own.new_zeros(len(loaded)))
        state_dict.setdefault(f"{prefix}step_hu", self.step_hu)
        super()._load_from_state_dict(state_dict, prefix, *how)
