"""What frozen stages make of training cases, kept on the disk: each draw of a case goes through them once for all epochs."""

from __future__ import annotations

import hashlib
import json
import zlib
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from xct_components import __version__
from xct_components.data.atomic_files import written_together
from xct_components.failures import CannotWrite

#: Packs fastest; whole HU of 64³ voxels take about 0.26 MB.
ZLIB_LEVEL = 1


class KeptVolumes:
    """A folder of volumes, each under the SHA-256 of what it was made from; in whole HU, and so from the first time on.

    Args:
        folder: made when the first volume is kept.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)

    def of(self, described: Mapping[str, Any], make: Callable[[], Tensor]) -> Float[Tensor, "1 1 d h w"]:
        """The volume of what is described, HU on the device of ``make``'s; made, and kept, where it is not there.

        Args:
            described: all that the volume depends on; JSON-ready.
            make: makes it, (1, 1, D, H, W) HU.

        Raises:
            CannotWrite: if it cannot be kept, as on a full disk.
        """
        text = json.dumps({"xct-components": __version__, **described}, sort_keys=True)
        file = self.folder / f"{hashlib.sha256(text.encode()).hexdigest()}.hu"
        kept = _read(file)
        if kept is not None:
            return kept
        made = make().round()
        _write(made, file)
        return made


def kept_where_drawn_again(folder: str | Path, draws: int) -> KeptVolumes | None:
    """For a training whose cases come again after so many ``draws``; None where they never do (0)."""
    return KeptVolumes(folder) if draws else None


class TensorsFingerprint:
    """Twelve digits that tell the tensors of modules from others; found anew only when one of them has changed.

    Args:
        modules: whose parameters and buffers.
    """

    def __init__(self, modules: Iterable[nn.Module]) -> None:
        self._modules = list(modules)
        self._seen: list[tuple[int, int]] = []
        self._digits = ""

    def digits(self) -> str:
        """Of the tensors as they are now."""
        tensors = [tensor for module in self._modules for tensor in module.state_dict().values()]
        now = [(tensor.data_ptr(), tensor._version) for tensor in tensors]
        if not self._digits or now != self._seen:
            digest = hashlib.sha256()
            for tensor in tensors:
                digest.update(f"{tuple(tensor.shape)} {tensor.dtype}".encode())
                digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
            self._seen, self._digits = now, digest.hexdigest()[:12]
        return self._digits


def _read(file: Path) -> Tensor | None:
    """None where there is no such file, or none that can be read."""
    try:
        head, _, packed = file.read_bytes().partition(b"\n")
        shape = json.loads(head)
        voxels = np.frombuffer(zlib.decompress(packed), dtype="<i2").reshape(shape)
    except (OSError, ValueError, zlib.error):
        return None
    return torch.from_numpy(voxels.astype(np.float32))


def _write(volume_hu: Tensor, file: Path) -> None:
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CannotWrite(f"cannot make the folder {file.parent}: {error.strerror}") from error
    voxels = volume_hu.cpu().numpy().astype("<i2")
    with written_together(file) as (draft,):
        draft.write_bytes(json.dumps(voxels.shape).encode() + b"\n" + zlib.compress(voxels.tobytes(), ZLIB_LEVEL))
