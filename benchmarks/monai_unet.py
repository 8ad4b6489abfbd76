r"""A baseline: MONAI's DiffusionModelUNet, trained on the same cases as our first stage, for ``xct evaluate --baseline``.

    python -m benchmarks.monai_unet --phantom_count 800 --cache_dir DIR --weights PRETRAINED.pt
    python -m benchmarks.monai_unet --prepared PREPARED --real_repeats 16 --phantom_count 72 --cache_dir DIR \
        [--initial PRETRAINED.pt] [--without a,b] [--side val] [--lateral] --output VOLUMES

It sees the noisy CT and the film, spread evenly along its rays, and predicts the clean CT (cosine schedule, loss of velocity,
AdamW, warm cosine, average of the weights: all as ours); it knows no prior, no lifting and no consistency. With ``--lateral`` a
lateral film is one more channel; weights of one film to begin from then count half for each. It writes its one-step mean of
every case of the side, CASE.nii.gz on the case's grid: OUTPUT/64 as it comes, OUTPUT/64_consistent after hard consistency with
the films, which leaves the network alone to differ from ours, and OUTPUT/128_consistent and OUTPUT/256_consistent, the first
interpolated to so many voxels a side before that. A training does not resume.
"""

from __future__ import annotations

import argparse
import logging
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from tqdm import tqdm

from xct_components.data.atomic_files import written_together
from xct_components.data.cases.cases import TrainingCases, case_dataset, mixed_items, render_batch
from xct_components.diffusion.schedule import clean_weight, draw_times, noised
from xct_components.evaluation.held_out_case import cases_of_side, finest_size, loaded
from xct_components.geometry import ChestView, ConeBeam, VolumeGrid, chest_beam_covering
from xct_components.inferers.stage_films import stage_films
from xct_components.networks.explained_volume import explained_hu
from xct_components.networks.precision import network_autocast
from xct_components.networks.xray_encoder import LINE_INTEGRAL_SCALE
from xct_components.physics.attenuation import hu_to_mu_per_mm
from xct_components.physics.consistency import HardConsistency
from xct_components.physics.projector import project, sample_along_rays
from xct_components.training.case_order import CaseOrder
from xct_components.training.learning_rate import warm_cosine
from xct_components.training.prepare_batch import chances_of, drawn_noise
from xct_components.training.weight_average import power_average

SIZE = 64
#: Sizes to which its mean is interpolated, to stand beside our later stages.
FINER = (128, 256)
#: Middle and half width of the range of CT numbers: the network works between -1 and 1.
MIDDLE_HU, HALF_HU = 238.0, 1262.0
MOST_STEPS = 1000


def main() -> None:
    """Train, then write the means of the held-out cases."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    options = _options()
    torch.manual_seed(0)
    network = _network([int(count) for count in options.channels.split(",")], films=len(_views(options)))
    parameters = sum(parameter.numel() for parameter in network.parameters()) / 1e6
    begun = time.process_time()
    if options.initial is not None:
        network.load_state_dict(_widened(torch.load(options.initial, weights_only=True), network))
    average = _train(network, _cases(options), options)
    logging.info("%.1f million parameters, %.0f CPU s of training", parameters, time.process_time() - begun)
    if options.weights is not None:
        with written_together(options.weights) as (draft,):
            torch.save(average.state_dict(), draft)
    if options.output is not None:
        _write_means(average, options)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--prepared", default="", help="CTs to train on and to judge; phantoms alone without it")
    parser.add_argument("--output", help="folder of the means")
    parser.add_argument("--initial", type=Path, help="weights to begin from")
    parser.add_argument("--weights", type=Path, help="file to keep the weights in")
    parser.add_argument("--cache_dir", required=True, help="where phantoms are kept")
    parser.add_argument("--without", default="", help="cases to leave out of the training, with commas")
    parser.add_argument("--side", default="val", help="whose means are written")
    parser.add_argument("--channels", default="32,64,128", help="of the three levels; the last one attends")
    parser.add_argument("--lateral", action="store_true", help="see a lateral film beside the frontal one")
    parser.add_argument("--real_repeats", type=int, default=40)
    parser.add_argument("--phantom_count", type=int, default=180)
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--batch_size", type=int, default=4)
    parser.add_argument("--learning_rate", type=float, default=2e-4)
    return parser.parse_args()


def _views(options: argparse.Namespace) -> tuple[ChestView, ...]:
    return ("PA", "LL") if options.lateral else ("PA",)


def _network(channels: Sequence[int], films: int) -> nn.Module:
    from monai.networks.nets import DiffusionModelUNet

    return DiffusionModelUNet(
        spatial_dims=3,
        in_channels=1 + films,
        out_channels=1,
        channels=channels,
        num_res_blocks=1,
        attention_levels=(False, False, True),
        num_head_channels=32,
        norm_num_groups=16,
        use_flash_attention=True,
    )


def _widened(weights: dict[str, Tensor], network: nn.Module) -> dict[str, Tensor]:
    """Weights of a network with one film, for one with as many as ``network`` has: each counts alike."""
    first = "conv_in.conv.weight"
    films = network.state_dict()[first].shape[1] - 1
    given = weights[first]
    if given.shape[1] == 2 and films > 1:
        given = torch.cat([given[:, :1], given[:, 1:].repeat(1, films, 1, 1, 1) / films], dim=1)
    return {**weights, first: given}


def _cases(options: argparse.Namespace) -> TrainingCases:
    without = [name for name in options.without.split(",") if name]
    settings = {"repeats": options.real_repeats, "phantoms": options.phantom_count, "without": without}
    items = mixed_items(options.prepared, SIZE, **settings)
    return TrainingCases(case_dataset(items, cache="disk", cache_dir=options.cache_dir))


def _train(network: nn.Module, cases: TrainingCases, options: argparse.Namespace) -> nn.Module:
    """The average of the weights after all epochs."""
    average, order = power_average(network), CaseOrder(cases)
    steps = options.epochs * (len(cases) // options.batch_size)
    optimizer = torch.optim.AdamW(network.parameters(), lr=options.learning_rate)
    scheduler = warm_cosine(optimizer, steps)
    with tqdm(total=steps, disable=None, mininterval=5) as bar:
        for epoch in range(1, options.epochs + 1):
            cases.set_epoch(epoch)
            order.set_epoch(epoch)
            indices = list(order)
            for start in range(0, len(indices) - options.batch_size + 1, options.batch_size):
                loss = _loss(network, [cases[i] for i in indices[start : start + options.batch_size]], _views(options))
                optimizer.zero_grad()
                loss.backward()
                nn.utils.clip_grad_norm_(network.parameters(), 1.0)
                optimizer.step()
                scheduler.step()
                average.update_parameters(network)
                bar.update()
    return average.module.eval()


def _loss(network: nn.Module, cases: Sequence[dict[str, Any]], views: tuple[ChestView, ...]) -> Tensor:
    chances = chances_of(cases)
    rendered = render_batch(cases, rows=SIZE, cols=SIZE, views=views)
    clean = _standardized(rendered.ct_hu)
    time_ = torch.cat([draw_times(1, chance) for chance in chances])
    noise = drawn_noise(chances, tuple(clean.shape[1:]))
    spread = sample_along_rays(rendered.film, rendered.grids, [list(views) for views in rendered.beams])
    error = (_predicted(network, noised(clean, noise, time_), time_, spread) - clean).square().flatten(1).mean(1)
    return (clean_weight(time_) * error).mean()


def _predicted(network: nn.Module, noisy: Tensor, time_: Tensor, spread: Tensor) -> Tensor:
    """The clean CT, -1 to 1, of (B, 1, D, H, W) noise and (B, V, 1, D, H, W) line integrals along the rays."""
    seen = spread[:, :, 0] / LINE_INTEGRAL_SCALE - 1.0
    with network_autocast(noisy.device, "auto"):
        predicted: Tensor = network(torch.cat([noisy, seen], dim=1), (MOST_STEPS * time_).long())
    return predicted.float()


@torch.no_grad()
def _write_means(network: nn.Module, options: argparse.Namespace) -> None:
    prepared, side, output = Path(options.prepared), options.side, Path(options.output)
    for name in cases_of_side(prepared, side, (SIZE, *FINER)):
        finest, whole = loaded(prepared, side, name, finest_size(prepared, name, FINER[-1]))
        beams = [chest_beam_covering(whole, view, *whole.shape[1:]) for view in _views(options)]
        film = project(hu_to_mu_per_mm(finest), whole, beams)
        field = loaded(prepared, side, name, SIZE)[1]
        mean_hu = _one_step_mean_hu(network, film, beams, field)
        _write(mean_hu, field, output / f"{SIZE}" / f"{name}.nii.gz")
        for size in (SIZE, *FINER):
            finer = field.resampled([size] * 3)
            volume_hu = F.interpolate(mean_hu, size=finer.shape, mode="trilinear")
            _write(_explained(volume_hu, film, beams, finer), finer, output / f"{size}_consistent" / f"{name}.nii.gz")


def _one_step_mean_hu(network: nn.Module, film: Tensor, beams: list[ConeBeam], field: VolumeGrid) -> Tensor:
    films = stage_films(film, [beams], [field], [field])
    spread = sample_along_rays(films.seen, [field], films.seen_beams)
    nothing = torch.zeros(1, 1, *field.shape)
    return _predicted(network, nothing, torch.ones(1), spread) * HALF_HU + MIDDLE_HU


def _explained(volume_hu: Tensor, film: Tensor, beams: list[ConeBeam], field: VolumeGrid) -> Tensor:
    """The volume made consistent with the film, as the cascade does it."""
    films = stage_films(film, [beams], [field], [field])
    return explained_hu(volume_hu, films.measured, [field], films.measured_beams, [HardConsistency(sweeps=1 + len(beams))])


def _write(volume_hu: Tensor, field: VolumeGrid, path: Path) -> None:
    import nibabel

    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(volume_hu[0, 0].numpy(), field.affine.numpy()), path)


def _standardized(ct_hu: Tensor) -> Tensor:
    return (ct_hu.clamp(MIDDLE_HU - HALF_HU, MIDDLE_HU + HALF_HU) - MIDDLE_HU) / HALF_HU


if __name__ == "__main__":
    main()
