"""The cascade's inferer as the bundles use it: what a film is, it reads from the film."""

from __future__ import annotations

import torch
from monai.data import MetaTensor
from torch import Tensor

from xct_components.bundle_io.film_tensor import films_of
from xct_components.inferers.cascade import CascadeInferer, with_affines
from xct_components.networks.cascade_stage import CascadeStage

#: Keys of the result's metadata, see ``CascadeResult``: (B, 1, D, H, W) HU where all have one, and (B,) what multiplied it;
#: (B, V).
STD, STD_FACTOR, FILM_ERROR = "std_hu", "std_factor", "film_error"


class FilmInferer(CascadeInferer):
    """A ``CascadeInferer`` on tensors from ``film_tensor``: beams, place and how far to believe them come from the metadata."""

    fewer_stages = "with the bundle of stage {}"

    def __call__(  # type: ignore[override]
        self, inputs: Tensor, network: CascadeStage, *, coarse_hu: Tensor | None = None
    ) -> MetaTensor:
        """Run a batch as MONAI's evaluator does.

        Args:
            inputs: (B, V, rows, cols) line integrals.
            network: the last stage.
            coarse_hu: (B, 1, d, h, w) the volume before the network's, edge to edge on the same fields: no parent is run.

        Returns:
            (B, 1, D, H, W) HU with the affine of every volume (RAS mm); deviation and film error are in the metadata.
        """
        films = films_of(inputs, network.field)
        coarse = [None] * len(films) if coarse_hu is None else coarse_hu.as_subclass(Tensor).split(1)
        results = [self.run(film, network, coarse_hu=one) for film, one in zip(films, coarse, strict=True)]
        volumes = with_affines(torch.cat([one.volume_hu for one in results]), [one.field for one in results])
        volumes.meta[FILM_ERROR] = torch.tensor([one.film_error for one in results])
        deviations = [one.std_hu for one in results if one.std_hu is not None]
        if len(deviations) == len(results):
            volumes.meta[STD] = torch.cat(deviations)
            volumes.meta[STD_FACTOR] = torch.tensor([one.std_factor for one in results])
        return volumes
