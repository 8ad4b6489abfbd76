"""One stage as a MONAI inferer: prior, conditions, sampler, columns, consistency."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple, get_args

import torch
from monai.inferers import Inferer
from torch import Tensor

from xct_components.data.cases.random_draws import case_generator
from xct_components.diffusion.sampler import dpm_solver_pp_2m, sampling_times
from xct_components.geometry import Beam, VolumeGrid, chest_beam_covering
from xct_components.inferers.column_reach import column_reach, window_alignment
from xct_components.inferers.columns import ColumnWindow, column_windows
from xct_components.inferers.film_errors import film_errors
from xct_components.inferers.members import members_of, with_detail
from xct_components.inferers.stage_films import stage_films
from xct_components.inferers.stage_work import StageWork, cropped, denoised, grown, padded_volume
from xct_components.inferers.stated_deviation import stated_deviation
from xct_components.inferers.volume_statistics import VolumeStatistics
from xct_components.networks.cascade_stage import CascadeStage, SeenFilms
from xct_components.networks.deviation_factors import ONE_EXACT_FILM, FilmsSeen, steps_drawn
from xct_components.networks.explained_volume import explained_hu
from xct_components.networks.hybrid_vit_unet import HybridViTUNet
from xct_components.networks.multi_atlas import BentCts
from xct_components.physics.consistency import Consistency, HardConsistency
from xct_components.physics.in_slabs import apply_in_slabs

#: Volumes of at most so many voxels are denoised in one piece when the caller does not say.
UNTILED_VOXELS = 256**3
#: Side of a column, and overlap of neighbours, in voxels, when larger volumes are cut and the caller does not say. The overlap
#: is more than twice the reach of the released stage 3 (43), so that columns compute exactly what one piece would; of the sides
#: that cut 512 x 604 voxels across the rays, 352 computes the fewest voxels twice (four columns, 1.4 times the volume).
USUAL_COLUMN, USUAL_OVERLAP = 352, 96

Mode = Literal["mean", "sample", "member"]
MODES: tuple[Mode, ...] = get_args(Mode)
#: Called with (network evaluations done, evaluations in all).
OnStep = Callable[[int, int], None]


class StageResult(NamedTuple):
    """B samples, V views; on the device of the network.

    ``volume_hu``: (B, 1, D, H, W). ``std_hu``: likewise, see ``stated_deviation``; None for a single draw or member, and where
    neither bent CTs nor samples tell it of every patient. ``prior_hu``: what the stage started from. ``film_error``: (B, V)
    ||DRR(volume) - film|| / ||film||. ``bent``: per sample the CTs of other patients that its films bent, of the first stage.
    """

    volume_hu: Tensor
    std_hu: Tensor | None
    prior_hu: Tensor
    film_error: Tensor
    bent: Sequence[BentCts | None]


class StageInferer(Inferer):  # type: ignore[misc]  # MONAI ships no types
    """From films to the volume of one stage.

    Args:
        steps: network evaluations of a sample; 4 or more are worth having.
        samples: how many volumes are drawn; two or more tell of the standard deviation.
        mode: "mean": the volume is the posterior's mean in one network evaluation; "sample": the mean of the samples drawn;
            "member": one of the CTs that the films bent, not their mean, where the first stage starts; one evaluation.
        seed: of the noise. Noise belongs to the whole volume: the same for any columns, and for every sample of a batch. Of
            members the number: 0 is the one that bends with the least energy.
        consistency: how far the films are to be believed, for all samples.
        column: side in voxels of the full-depth columns that are denoised one by one, a multiple of the network's
            ``coarsest``; None: one piece up to 256³ voxels, else columns of 352.
        overlap: of neighbouring columns, in voxels; narrow columns overlap as far as the attention windows leave room.
        residual_std: width of the posterior around its mean in units of the residual; see ``sampling_times``.
        body_share: which rays count as measured; see ``stage_films``.
        seen: what a display has lost of the films; their number is that of the inputs.

    Raises:
        ValueError: for steps or samples below 1, or another mode.
    """

    def __init__(
        self,
        *,
        steps: int = 4,
        samples: int = 1,
        mode: Mode = "mean",
        seed: int = 0,
        consistency: Consistency | None = None,
        column: int | None = None,
        overlap: int = USUAL_OVERLAP,
        residual_std: float = 1.0,
        body_share: float = 0.0,
        seen: FilmsSeen = ONE_EXACT_FILM,
    ) -> None:
        if steps < 1 or samples < 1:
            raise ValueError(f"steps and samples must be at least 1, got {steps} and {samples}; 4 steps give a sample")
        if mode not in MODES:
            raise ValueError(f"mode must be one of {', '.join(MODES)}, got {mode!r}")
        if mode == "member" and samples > 1:
            raise ValueError(
                f"samples must be 1 in mode member, which draws none, got {samples}; other seeds are other members"
            )
        self.steps, self.samples, self.mode, self.seed = steps, samples, mode, seed
        self.consistency: Consistency = HardConsistency() if consistency is None else consistency
        self.column, self.overlap, self.residual_std, self.body_share = column, overlap, residual_std, body_share
        self.seen = seen

    @property
    def evaluations(self) -> int:
        """Network evaluations of one call, columns counted together."""
        return (self.mode != "sample") + self._chains * self.steps

    @property
    def _chains(self) -> int:
        return 0 if self.mode != "sample" and self.samples == 1 else self.samples

    @torch.no_grad()
    def __call__(
        self,
        inputs: Tensor,
        network: CascadeStage,
        *,
        fields: Sequence[VolumeGrid] | None = None,
        beams: Sequence[Sequence[Beam]] | None = None,
        coarse_hu: Tensor | None = None,
        bent: Sequence[BentCts | None] | None = None,
        without: Sequence[str | None] | None = None,
        chain: int = 0,
        on_step: OnStep | None = None,
    ) -> StageResult:
        """Run the stage.

        Args:
            inputs: (B, V, 1, rows, cols) line integrals of any size; averaged or interpolated to the stage's.
            network: the stage.
            fields: one volume per sample; by default the stage's own.
            beams: V exposures per sample; by default PA films over the fields.
            coarse_hu: (B, 1, d, h, w) the previous stage's volume, edge to edge on the same fields.
            bent: the CTs that the films bent, of an earlier call or stage; None: the stage bends those that it holds.
            without: per sample, the patient whose own CT must not be among those that the stage bends; None for none.
            chain: number of the first sample; others have other noise, or are other members.
            on_step: called after every network evaluation.

        Raises:
            ValueError: if a stage that needs a coarse volume has none, or shapes do not fit.
            UsageFailure: for a member where films bend no CTs.
        """
        given: dict[str, Any] = {"fields": fields, "beams": beams, "coarse_hu": coarse_hu, "bent": bent, "without": without}
        work = self.prepared(inputs, network, chain=chain, **given)
        done = 0

        def step() -> None:
            nonlocal done
            done += 1
            if on_step is not None:
                on_step(done, self.evaluations)

        drawn = VolumeStatistics()
        mean_hu = self.mean(work, step) if self.mode != "sample" else None
        for number in range(self._chains):
            drawn.add(self.sample(work, chain + number, step))
        volume_hu = drawn.mean if mean_hu is None else mean_hu
        prior_hu, films, whole, known = cropped(work.prior_hu, work.fields[0].shape), work.films, work.fields, work.bent
        del work  # with its conditions: a full-size volume is 640 MB
        is_mean = self.mode == "mean" or drawn.count > 1
        std_hu = self._stated(volume_hu, drawn, whole, known, network, inputs.shape[1]) if is_mean else None
        return StageResult(volume_hu, std_hu, prior_hu, film_errors(volume_hu, films, whole)[0], known)

    def prepared(
        self,
        film: Tensor,
        network: CascadeStage,
        *,
        fields: Sequence[VolumeGrid] | None = None,
        beams: Sequence[Sequence[Beam]] | None = None,
        coarse_hu: Tensor | None = None,
        bent: Sequence[BentCts | None] | None = None,
        without: Sequence[str | None] | None = None,
        chain: int = 0,
    ) -> StageWork:
        """Prior and conditions, once for all samples; arguments as for the call."""
        _require_inputs(film, network, coarse_hu)
        count, device = film.shape[0], next(network.parameters()).device
        whole = list(fields) if fields is not None else [network.field] * count
        views = beams if beams is not None else [[chest_beam_covering(one, "PA", *film.shape[-2:])] for one in whole]
        padded = [grown(one, network.network.coarsest) for one in whole]
        films = stage_films(film.to(device, torch.float32), views, whole, padded, body_share=self.body_share)
        coarse = None if coarse_hu is None else coarse_hu.to(device, torch.float32)
        believed = [self.consistency] * count
        if bent is None and coarse is None:
            bent = network.bent_cts(SeenFilms(films.seen, films.seen_beams), whole, believed, without)
        known: list[BentCts | None] = [None] * count if bent is None else list(bent)
        start = known
        if self.mode == "member":
            if coarse is None:
                start = [*members_of(known, self.seed + chain)]
            elif network.detail is not None:
                coarse = with_detail(coarse, network.detail, whole, known, self.seed + chain)
        prior_hu = network.prior_hu(films.measured, whole, films.measured_beams, believed, coarse, bent=start)
        prior_hu = padded_volume(prior_hu, padded[0].shape)
        conditions = network.condition(films.seen, padded, films.seen_beams, prior_hu)
        windows = self._windows(padded[0].shape, network.network)
        return StageWork(network, films, whole, padded[0].shape, prior_hu, conditions, windows, {}, known)

    def mean(self, work: StageWork, on_step: Callable[[], None] | None = None) -> Tensor:
        """The posterior's mean (B, 1, D, H, W) in HU: what the network says at time 1, consistent with the films.

        There the noisy volume tells nothing, and what a network of finite training still makes of it is noise in the result. So
        it is given the mean of the noise, zero.
        """
        nothing = work.prior_hu.new_zeros(()).expand_as(work.prior_hu)
        volume_hu = self._volume_hu(work, denoised(work, nothing, torch.ones(len(nothing), device=nothing.device)))
        self._explain(work, volume_hu)
        if on_step is not None:
            on_step()
        return cropped(volume_hu, work.fields[0].shape)

    def sample(self, work: StageWork, chain: int, on_step: Callable[[], None] | None = None) -> Tensor:
        """One volume (B, 1, D, H, W) in HU of the posterior, consistent with the films at every step."""

        def denoise(noisy: Tensor, time: Tensor) -> Tensor:
            volume_hu = self._volume_hu(work, denoised(work, noisy, time))
            self._explain(work, volume_hu)
            if on_step is not None:
                on_step()
            return apply_in_slabs(work.network.residual, volume_hu, work.prior_hu, out=volume_hu)

        times = sampling_times(self.steps, residual_std=self.residual_std)
        residual = dpm_solver_pp_2m(denoise, self._noise(work, chain), times, residual_std=self.residual_std)
        return cropped(self._volume_hu(work, residual), work.fields[0].shape)

    def _stated(
        self,
        volume_hu: Tensor,
        drawn: VolumeStatistics,
        fields: Sequence[VolumeGrid],
        bent: Sequence[BentCts | None],
        network: CascadeStage,
        views: int,
    ) -> Tensor | None:
        """The deviation of every volume; None if one has none."""
        factor = network.deviation_factors.at(steps_drawn(drawn.count, self.steps), self.seen._replace(views=views))
        count = len(volume_hu)
        variances = [None] * count if (variance := drawn.variance) is None else variance.split(1)
        parts = zip(volume_hu.split(1), fields, bent, variances, strict=True)
        stated = [
            stated_deviation(one, field, bent=cts, variance_hu2=of_samples, factor=factor)
            for one, field, cts, of_samples in parts
        ]
        known = [one for one in stated if one is not None]
        return torch.cat(known) if len(known) == count else None

    @staticmethod
    def _volume_hu(work: StageWork, residual: Tensor) -> Tensor:
        """The volume of a residual, which is overwritten: full-size volumes are 640 MB."""
        return apply_in_slabs(work.network.volume_hu, residual, work.prior_hu, out=residual)

    def _noise(self, work: StageWork, chain: int) -> Tensor:
        return noise_field(work.size, self.seed, chain).to(work.prior_hu).expand_as(work.prior_hu)

    def _explain(self, work: StageWork, volume_hu: Tensor) -> None:
        """Make the volume consistent with the films, in place; the network's padding is left as it is."""
        inside, films = cropped(volume_hu, work.fields[0].shape), work.films
        believed = [self.consistency] * len(volume_hu)
        explained_hu(inside, films.measured, work.fields, films.measured_beams, believed, out=inside)

    def _windows(self, size: tuple[int, int, int], network: HybridViTUNet) -> list[ColumnWindow] | None:
        if self.column is None and size[0] * size[1] * size[2] <= UNTILED_VOXELS:
            return None
        column = USUAL_COLUMN if self.column is None else self.column
        alignment, multiple = window_alignment(network), network.coarsest
        overlap = min(self.overlap, max(column - alignment, multiple))
        return column_windows(size, column, overlap, multiple=multiple, alignment=alignment, reach=column_reach(network))


def noise_field(size: tuple[int, int, int], seed: int, chain: int) -> Tensor:
    """White noise (1, 1, D, H, W) of a whole volume, made on the processor: the same on every device and for any columns."""
    return torch.randn((1, 1, *size), generator=case_generator(seed, chain, size[0]))


def _require_inputs(film: Any, network: CascadeStage, coarse_hu: Tensor | None) -> None:
    if film.ndim != 5 or film.shape[2] != 1:
        raise ValueError(f"film must have the shape (B, V, 1, rows, cols), got {tuple(film.shape)}")
    if network.needs_coarse and coarse_hu is None:
        raise ValueError("coarse_hu must be given for a stage that refines another's volume, got None; run that stage first")
