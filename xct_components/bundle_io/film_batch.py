"""From a batch of the bundles' items to the call of their inferer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor


class PrepareFilmBatch:
    """``prepare_batch`` of the bundles' evaluators: the films, and as ``coarse_hu`` the volumes of the stage before, if given.

    Args:
        film_key: of the films in the batch.
        coarse_key: of the volumes in the batch.
    """

    def __init__(self, film_key: str = "image", coarse_key: str = "coarse") -> None:
        self.film_key, self.coarse_key = film_key, coarse_key

    def __call__(
        self, batch: Mapping[str, Any], device: str | torch.device = "cpu", non_blocking: bool = False, **kwargs: Any
    ) -> tuple[Tensor, None, tuple[()], dict[str, Tensor]]:
        """(films (B, V, rows, cols), no target, no arguments, ``coarse_hu`` (B, 1, d, h, w) if given)."""
        film = batch[self.film_key].to(device=device, non_blocking=non_blocking, **kwargs)
        if self.coarse_key not in batch:
            return film, None, (), {}
        coarse_hu = batch[self.coarse_key].to(device=device, non_blocking=non_blocking, **kwargs)
        return film, None, (), {"coarse_hu": coarse_hu}
