"""One stage of the cascade: a prior volume that explains the film, and the network that predicts what it is still wrong about.

    volume = consistency(prior + residual_scale * residual),  residual drawn by conditional diffusion

The three stages differ in their settings alone. A stage's weights hold all it needs: network, atlas, scales.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from xct_components.geometry import Beam, VolumeGrid, chest_beam_covering
from xct_components.networks.atlas import Atlas
from xct_components.networks.ct_detail import CtDetail
from xct_components.networks.depth_lifting import DepthLifting, LiftedDepth, lifted_mu_per_mm
from xct_components.networks.deviation_factors import DeviationFactors
from xct_components.networks.embeddings import PreviousStageEmbedding
from xct_components.networks.explained_volume import HIGHEST_HU, LOWEST_HU, explained_hu, explained_mu_as_hu
from xct_components.networks.film_lift import FilmLift
from xct_components.networks.hybrid_vit_unet import HybridViTUNet
from xct_components.networks.multi_atlas import BentCts, MultiAtlas
from xct_components.networks.precision import Precision, network_autocast
from xct_components.networks.stage_conditions import (
    Column,
    StageConditions,
    VoxelConditions,
    coarser_grids,
    cut,
    cut_grids,
    position_in_field,
)
from xct_components.networks.xray_encoder import LINE_INTEGRAL_SCALE, FilmFeatures, XrayEncoder
from xct_components.physics.attenuation import hu_to_mu_per_mm, mu_per_mm_to_hu
from xct_components.physics.consistency import Consistency, HardConsistency
from xct_components.physics.projector import sample_along_rays

#: CTs of other patients are kept at most so fine.
MULTI_ATLAS_SIDE = 64
#: The lifted attenuation is built at most so fine and then interpolated: its bins are no finer.
LIFTED_SIZE = 64


class SeenFilms(NamedTuple):
    """Films (B, V, 1, rows, cols) over the whole field, and V exposures per sample."""

    film: Tensor
    beams: Sequence[Sequence[Beam]]


class CascadeStage(nn.Module):
    """A stage with its settings.

    Args:
        encoder: film features; its levels are the network's (more of them serve as context).
        network: the denoiser.
        encoder_channels: the encoder's channels, finest first.
        volume_shape: voxels of the whole volume along D, H and W.
        spacing_mm: of the voxels.
        needs_coarse: whether the stage starts from the previous stage's volume; the first starts from its atlas.
        embedding: width of the embedding.
        depth_bins: of the lifting.
        use_depth_lifting: spread film features by a learned depth distribution; otherwise evenly along rays.
        atlas_cts: CTs of other patients, at most, that films bend to themselves before consistency; 0 starts from the atlas.
        detail_step_hu: step in which the stage holds the detail of the CTs that the first one holds; 0 holds none.
        precision: of the network; physics is always float32. "auto" takes bf16 where the processor computes it.

    Raises:
        ValueError: if the encoder has fewer levels than the network.
    """

    hu_mean: Tensor
    hu_std: Tensor
    residual_scale_hu: Tensor

    def __init__(  # noqa: PLR0913 - the parts of a stage, each named in its bundle's JSON
        self,
        encoder: XrayEncoder,
        network: HybridViTUNet,
        *,
        encoder_channels: Sequence[int],
        volume_shape: Sequence[int] = (64, 64, 64),
        spacing_mm: float = 5.0,
        needs_coarse: bool = False,
        embedding: int = 256,
        depth_bins: int = 64,
        use_depth_lifting: bool = True,
        atlas_cts: int = 0,
        detail_step_hu: float = 0.0,
        precision: Precision = "auto",
    ) -> None:
        super().__init__()
        if len(encoder_channels) < len(network.widths):
            raise ValueError(
                f"encoder_channels must have one entry for each of the network's {len(network.widths)} levels, "
                f"got {list(encoder_channels)}; more serve as context"
            )
        self.encoder, self.network, self.precision, self.needs_coarse = encoder, network, precision, needs_coarse
        self.field = VolumeGrid.chest(volume_shape, spacing_mm)
        self.previous = PreviousStageEmbedding(embedding)
        self.atlas = Atlas()
        size = [min(n, MULTI_ATLAS_SIDE) for n in self.field.shape]
        self.multi_atlas = MultiAtlas(atlas_cts, size) if atlas_cts else None
        self.detail = CtDetail(self.field.shape, detail_step_hu) if detail_step_hu else None
        self.lifting = DepthLifting(encoder_channels[0], depth_bins) if use_depth_lifting else None
        pairs = zip(encoder_channels, network.widths, strict=False)
        self.lifts = nn.ModuleList(FilmLift(film, width, by_depth=use_depth_lifting) for film, width in pairs)
        #: How wide errors are beside what is stated of them; known of weights that were measured, see ``StageWeights``.
        self.deviation_factors = DeviationFactors()
        self.register_buffer("hu_mean", torch.tensor(-600.0))
        self.register_buffer("hu_std", torch.tensor(480.0))
        self.register_buffer("residual_scale_hu", torch.tensor(200.0))

    @property
    def film_shape(self) -> tuple[int, int]:
        """Rows and columns of the films the stage reads: those of its volume."""
        return self.field.shape[1], self.field.shape[2]

    def forward(self, film: Tensor) -> Tensor:
        """The one-step mean of a frontal film taken in the cascade's own geometry, consistent with it.

        Args:
            film: (B, 1, rows, cols) line integrals over the stage's field, one view. There is no coarse volume here: every
                stage starts from its atlas.

        Returns:
            (B, 1, D, H, W) in HU.
        """
        films, count = film[:, :, None], film.shape[0]
        fields, beams = [self.field] * count, [[chest_beam_covering(self.field, "PA", *self.film_shape)]] * count
        explain: list[Consistency] = [HardConsistency()] * count
        prior_hu = self.prior_hu(films, fields, beams, explain)
        return self.mean_hu(self.condition(films, fields, beams, prior_hu), explain)

    def mean_hu(self, conditions: StageConditions, consistency: Sequence[Consistency]) -> Tensor:
        """The one-step mean (B, 1, D, H, W) in HU, made to explain the films."""
        predicted_hu = self.predicted_hu(conditions)
        return explained_hu(predicted_hu, conditions.film, conditions.fields, conditions.beams, consistency)

    def predicted_hu(self, conditions: StageConditions) -> Tensor:
        """The one-step mean (B, 1, D, H, W) in HU before consistency: the answer at time 1 to the mean of the noise."""
        prior_hu = conditions.prior_hu
        time = torch.ones(prior_hu.shape[0], device=prior_hu.device)
        clean = self.denoise(torch.zeros_like(prior_hu), time, self.at_voxels(conditions))
        return self.volume_hu(clean, prior_hu)

    def prior_hu(
        self,
        film: Tensor,
        fields: Sequence[VolumeGrid],
        beams: Sequence[Sequence[Beam]],
        consistency: Sequence[Consistency],
        coarse_hu: Tensor | None = None,
        *,
        seen: SeenFilms | None = None,
        without: Sequence[str] | None = None,
        bent: Sequence[BentCts | None] | None = None,
    ) -> Tensor:
        """The volume the stage starts from: the atlas or the previous stage's volume, made to explain the films.

        Args:
            film: (B, V, 1, rows, cols) line integrals.
            fields: the stage's whole field, one grid per sample.
            beams: V exposures per sample.
            consistency: how far each sample's films are to be believed.
            coarse_hu: (B, 1, d, h, w) the previous stage's volume on the same field; None starts from the CTs of other
                patients that the stage holds, bent to the films, or from the atlas if it holds none.
            seen: the films over the whole field, where ``film`` is cut to what was measured.
            without: per sample, the patient whose own CT must not be among those, as in training.
            bent: those CTs, if ``bent_cts`` has bent them before.

        Returns:
            (B, 1, D, H, W) in HU.
        """
        size = fields[0].shape
        if coarse_hu is None:
            known = self.bent_cts(seen or SeenFilms(film, beams), fields, consistency, without) if bent is None else bent
            atlas = self.atlas.mu_per_mm(size)
            start = torch.cat([atlas if one is None else one.mu_per_mm for one in known])
        else:
            start = hu_to_mu_per_mm(F.interpolate(coarse_hu, size=size, mode="trilinear"))
        return explained_mu_as_hu(start, film, fields, beams, consistency)

    def bent_cts(
        self,
        seen: SeenFilms,
        fields: Sequence[VolumeGrid],
        consistency: Sequence[Consistency],
        without: Sequence[str | None] | None = None,
    ) -> list[BentCts | None]:
        """The CTs of other patients that the stage holds, as each sample's films bend them; arguments as for ``prior_hu``.

        None for a sample where there is nothing to bend, see ``MultiAtlas.bent``.
        """
        count = len(fields)
        if self.multi_atlas is None:
            return [None] * count
        atlas, names = self.atlas.mu_per_mm(fields[0].shape), [None] * count if without is None else without
        samples = zip(seen.film, fields, seen.beams, consistency, names, strict=True)
        return [self.multi_atlas.bent(atlas, *sample) for sample in samples]

    def condition(
        self,
        film: Tensor,
        fields: Sequence[VolumeGrid],
        beams: Sequence[Sequence[Beam]],
        prior_hu: Tensor,
        coarse_noise: Tensor | None = None,
        film_present: Tensor | None = None,
    ) -> StageConditions:
        """Look at the films and the prior once.

        Args:
            film: (B, V, 1, rows, cols) line integrals.
            fields: the stage's whole field, one grid per sample.
            beams: V exposures per sample.
            prior_hu: from ``prior_hu``.
            coarse_noise: (B,) how much noise the previous stage's volume was given, 0 to 1; None for none.
            film_present: (B,) 1 where the network sees the film, 0 where only the prior still holds it; None for all.
        """
        views = [list(sample) for sample in beams]
        with self._autocast(film):
            half = self.encoder(film, views, film_present)
        features = FilmFeatures([one.float() for one in half.maps], half.tokens.float(), half.embedding.float())
        noise = torch.zeros_like(prior_hu[:, 0, 0, 0, 0]) if coarse_noise is None else coarse_noise
        embedding = features.embedding + self.previous(self.standardized(prior_hu), noise)
        atlas = self.atlas.tissue.float()
        lifted = None if self.lifting is None else self.lifting(features.maps[0], atlas, fields, views)
        lifted_hu = None if lifted is None else self._lifted_hu(lifted, film, fields, views)
        if film_present is not None:
            keep = film_present.to(film)[:, None, None, None, None]
            film = film * keep
            lifted_hu = None if lifted_hu is None else torch.lerp(prior_hu, lifted_hu, keep)
        return StageConditions(film, list(fields), views, features, lifted, prior_hu, lifted_hu, embedding)

    def at_voxels(self, conditions: StageConditions, column: Column | None = None) -> VoxelConditions:
        """What the denoiser needs for the whole field, or for a full-depth column of it."""
        fields, beams = conditions.fields, conditions.beams
        grids = cut_grids(fields, column)
        prior = self.standardized(cut(conditions.prior_hu, column))
        lifted = prior if conditions.lifted_hu is None else self.standardized(cut(conditions.lifted_hu, column))
        film = sample_along_rays(conditions.film, grids, beams).mean(1) / LINE_INTEGRAL_SCALE - 1.0
        tokens = [coarser_grids(grids, self.network.patch * 2**level) for level in range(len(self.lifts))]
        features = [
            lift(film_map, conditions.lifted, fields, beams, token_grids)
            for lift, film_map, token_grids in zip(self.lifts, conditions.features.maps, tokens, strict=False)
        ]
        position = torch.stack([position_in_field(field, grid) for field, grid in zip(fields, tokens[0], strict=True)]).to(
            prior
        )
        inputs = torch.cat([prior, lifted, film], dim=1)
        return VoxelConditions(inputs, position, features, conditions.embedding, conditions.features.tokens)

    def denoise(self, noisy: Tensor, time: Tensor, conditions: VoxelConditions) -> Tensor:
        """The clean normalised residual that the network sees in a noisy one: (B, 1, D, H, W), float32."""
        with self._autocast(noisy):
            return self.network(noisy, time, *conditions).float()

    def residual(self, ct_hu: Tensor, prior_hu: Tensor) -> Tensor:
        """What the prior is wrong about, of order 1."""
        return (ct_hu.clamp(LOWEST_HU, HIGHEST_HU) - prior_hu) / self.residual_scale_hu

    def volume_hu(self, residual: Tensor, prior_hu: Tensor) -> Tensor:
        """The volume of a residual; not yet consistent with the film."""
        return (prior_hu + self.residual_scale_hu * residual).clamp(LOWEST_HU, HIGHEST_HU)

    def standardized(self, ct_hu: Tensor) -> Tensor:
        """CT numbers with mean 0 and deviation 1 over the training data."""
        return (ct_hu - self.hu_mean) / self.hu_std

    def _lifted_hu(self, lifted: LiftedDepth, film: Tensor, fields: Sequence[VolumeGrid], beams: list[list[Beam]]) -> Tensor:
        size, (rows, cols) = fields[0].shape, lifted.log_mass.shape[-2:]
        small = [field.resampled([min(n, LIFTED_SIZE) for n in size]) for field in fields]
        pooled = F.adaptive_avg_pool2d(film.flatten(0, 1), (rows, cols)).unflatten(0, film.shape[:2])
        mu = lifted_mu_per_mm(lifted, pooled, fields, beams, small)
        return F.interpolate(mu_per_mm_to_hu(mu).clamp(LOWEST_HU, HIGHEST_HU), size=size, mode="trilinear")

    def _autocast(self, x: Tensor) -> torch.autocast:
        return network_autocast(x.device, self.precision)
