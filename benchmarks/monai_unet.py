r"""A baseline: MONAI's DiffusionModelUNet, trained on the same cases as our first stage, for ``xct evaluate --baseline``.

    python -m benchmarks.monai_unet --prepared PREPARED --output VOLUMES --cache_dir DIR \
        --real_repeats 40 --phantom_count 180 --epochs 1 [--without a,b] [--side val]

It sees the noisy CT and the film, spread evenly along its rays, and predicts the clean CT (cosine schedule, loss of velocity,
AdamW, warm cosine, average of the weights: all as ours); it knows no prior, no lifting and no consistency. What it writes is
its one-step mean of every case of the side, CASE.nii.gz on the case's grid. It does not resume.
"""

from __future__ import annotations

import argparse
import logging
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from tqdm import tqdm

from xct_components.data.cases.cases import (
    TrainingBatch,
    TrainingCases,
    case_dataset,
    mixed_items,
    prepared_items,
    render_batch,
)
from xct_components.diffusion.schedule import clean_weight, draw_times, noised
from xct_components.networks.precision import network_autocast
from xct_components.networks.xray_encoder import LINE_INTEGRAL_SCALE
from xct_components.physics.projector import sample_along_rays
from xct_components.training.case_order import CaseOrder
from xct_components.training.learning_rate import warm_cosine
from xct_components.training.prepare_batch import chances_of, drawn_noise
from xct_components.training.weight_average import power_average

SIZE, CHANNELS = 64, (32, 64, 128)
#: Middle and half width of the range of CT numbers: the network works between -1 and 1.
MIDDLE_HU, HALF_HU = 238.0, 1262.0
MOST_STEPS = 1000


def main() -> None:
    """Train, then write the means of the held-out cases."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    options = _options()
    torch.manual_seed(0)
    network = _network()
    parameters = sum(parameter.numel() for parameter in network.parameters()) / 1e6
    begun = time.process_time()
    average = _train(network, _cases(options), options)
    logging.info("%.1f million parameters, %.0f CPU s of training", parameters, time.process_time() - begun)
    _write_means(average, options)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--prepared", required=True)
    parser.add_argument("--output", required=True)
    parser.add_argument("--cache_dir", required=True, help="where phantoms are kept")
    parser.add_argument("--without", default="", help="cases to leave out of the training, with commas")
    parser.add_argument("--side", default="val", help="whose means are written")
    parser.add_argument("--real_repeats", type=int, default=40)
    parser.add_argument("--phantom_count", type=int, default=180)
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--batch_size", type=int, default=4)
    parser.add_argument("--learning_rate", type=float, default=2e-4)
    return parser.parse_args()


def _network() -> nn.Module:
    from monai.networks.nets import DiffusionModelUNet

    return DiffusionModelUNet(
        spatial_dims=3,
        in_channels=2,
        out_channels=1,
        channels=CHANNELS,
        num_res_blocks=1,
        attention_levels=(False, False, True),
        num_head_channels=32,
        norm_num_groups=16,
        use_flash_attention=True,
    )


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
    with tqdm(total=steps, disable=None) as bar:
        for epoch in range(1, options.epochs + 1):
            cases.set_epoch(epoch)
            order.set_epoch(epoch)
            indices = list(order)
            for start in range(0, len(indices) - options.batch_size + 1, options.batch_size):
                loss = _loss(network, [cases[i] for i in indices[start : start + options.batch_size]])
                optimizer.zero_grad()
                loss.backward()
                nn.utils.clip_grad_norm_(network.parameters(), 1.0)
                optimizer.step()
                scheduler.step()
                average.update_parameters(network)
                bar.update()
    return average.module.eval()


def _loss(network: nn.Module, cases: Sequence[dict[str, Any]]) -> Tensor:
    chances = chances_of(cases)
    rendered = render_batch(cases, rows=SIZE, cols=SIZE)
    clean = _standardized(rendered.ct_hu)
    time_ = torch.cat([draw_times(1, chance) for chance in chances])
    noise = drawn_noise(chances, tuple(clean.shape[1:]))
    error = (_predicted(network, noised(clean, noise, time_), time_, rendered) - clean).square().flatten(1).mean(1)
    return (clean_weight(time_) * error).mean()


def _predicted(network: nn.Module, noisy: Tensor, time_: Tensor, rendered: TrainingBatch) -> Tensor:
    """The clean CT, -1 to 1."""
    beams = [list(views) for views in rendered.beams]
    spread = sample_along_rays(rendered.film, rendered.grids, beams).mean(1) / LINE_INTEGRAL_SCALE - 1.0
    with network_autocast(noisy.device, "auto"):
        predicted: Tensor = network(torch.cat([noisy, spread], dim=1), (MOST_STEPS * time_).long())
    return predicted.float()


@torch.no_grad()
def _write_means(network: nn.Module, options: argparse.Namespace) -> None:
    import nibabel

    output = Path(options.output)
    output.mkdir(parents=True, exist_ok=True)
    items = prepared_items(options.prepared, options.side, SIZE)
    cases = TrainingCases(case_dataset(items), augment=False, randomize_exposure=False)
    for number in range(len(cases)):
        rendered = render_batch([cases[number]], rows=SIZE, cols=SIZE)
        nothing = torch.zeros_like(rendered.ct_hu)
        volume_hu = _predicted(network, nothing, torch.ones(1), rendered) * HALF_HU + MIDDLE_HU
        image = nibabel.Nifti1Image(volume_hu[0, 0].numpy(), rendered.grids[0].affine.numpy())
        nibabel.save(image, output / f"{cases[number]['case']}.nii.gz")


def _standardized(ct_hu: Tensor) -> Tensor:
    return (ct_hu.clamp(MIDDLE_HU - HALF_HU, MIDDLE_HU + HALF_HU) - MIDDLE_HU) / HALF_HU


if __name__ == "__main__":
    main()
