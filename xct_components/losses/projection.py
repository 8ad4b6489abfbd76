"""The film that a predicted volume would give, against the film that was taken."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor, nn

from xct_components.physics.film_corrections import EMPTY_RAY
from xct_components.physics.projector import Beams, Grids, project


class ProjectionLoss(nn.Module):
    """Squared relative film error of a prediction, before any consistency step has mended it.

    It holds at every noise level: the film y is a condition of the network and the projector A is linear, so the mean of all
    volumes that explain the film explains it too, E[A x | z, y] = y, however much noise z carries.

    Example:
        >>> import torch
        >>> from xct_components.geometry import VolumeGrid, chest_beam_covering
        >>> grid = VolumeGrid.chest((16, 16, 16), 20.0)
        >>> beams, mu_per_mm = [chest_beam_covering(grid, "PA", 16, 16)], torch.full((1, 1, 16, 16, 16), 0.02)
        >>> round(ProjectionLoss()(0.9 * mu_per_mm, project(mu_per_mm, grid, beams), grid, beams).item(), 4)
        0.01
    """

    def per_sample(
        self,
        mu_per_mm: Float[Tensor, "b 1 d h w"],
        line_integrals: Float[Tensor, "b v 1 rows cols"],
        grid: Grids,
        beams: Beams,
    ) -> Float[Tensor, " b"]:
        """||A mu - y||^2 / ||y||^2 of each sample, the mean of its views; a film of air alone is not divided by 0.

        Args:
            mu_per_mm: predicted attenuation at 60 keV.
            line_integrals: the film, dimensionless, at the same energy.
            grid: where the voxels lie, one or one per sample.
            beams: V exposures, or V per sample.
        """
        measured = line_integrals.float().flatten(2)
        difference = project(mu_per_mm, grid, beams).flatten(2) - measured
        power = measured.square().mean(2).clamp_min(EMPTY_RAY**2)
        return (difference.square().mean(2) / power).mean(1)

    def forward(self, mu_per_mm: Tensor, line_integrals: Tensor, grid: Grids, beams: Beams) -> Tensor:
        """The mean over the batch, a scalar."""
        return self.per_sample(mu_per_mm, line_integrals, grid, beams).mean()
