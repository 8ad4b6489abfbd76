"""One row of ``benchmarks.sampling`` in a process of its own: `python -m benchmarks.sampling_worker JOB` prints JSON lines."""

from __future__ import annotations

import json
import resource
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.measure import cost_of, meter_of
from xct_components.data.cases.cases import load_case, phantom_items
from xct_components.geometry import VolumeGrid, chest_beam_covering
from xct_components.physics.attenuation import hu_to_mu_per_mm
from xct_components.physics.projector import project

#: Phantoms that the first stage bends, as many as the released weights hold CTs; voxels of the one that is filmed.
HELD, PHANTOM_SIDE = 8, 64
#: A field of 320 mm across, whatever the number of voxels.
FIELD_MM = 320.0


def main() -> None:
    """Measure the job of the command line."""
    job = json.loads(sys.argv[1])
    torch.set_num_threads(job["threads"])
    torch.manual_seed(0)
    call, parameters = (_ours if job["kind"] == "ours" else _monai)(job)
    meter = meter_of("cpu")
    with torch.no_grad():
        cost = cost_of(call, meter, repeats=3)
    held_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024.0
    known = {"wall_s": cost.wall_s, "cpu_s": cost.cpu_s, "peak_mib": cost.first_peak_mib, "process_mib": held_mib}
    print(json.dumps({"params_m": parameters / 1e6, **known, "calls": cost.calls}), flush=True)


def _ours(job: dict[str, Any]) -> tuple[Callable[[], Any], int]:
    if job["row"] == "cascade":
        return _cascade(job)
    from monai.bundle import ConfigParser

    from xct_components.inferers.stage import StageInferer

    config = Path(job["bundles"]) / f"stage{job['stage']}" / "configs" / "inference.json"
    parser = ConfigParser({"network_def": json.loads(config.read_text(encoding="utf-8"))["network_def"]})
    stage = parser.get_parsed_content("network_def").eval()
    shape = tuple(job["shape"])
    field = VolumeGrid.chest(shape, FIELD_MM / shape[2])
    stage.atlas.tissue.fill_(0.002)
    if stage.multi_atlas is not None:
        stage.multi_atlas.measure(
            (str(item["case"]), load_case(item)["ct_hu"].float()) for item in phantom_items(HELD, shape[0], 1)
        )
    film, coarse = _film(field), torch.full((1, 1, 64, 64, 64), -300.0)
    settings: dict[str, Any] = {"fields": [field], "coarse_hu": coarse if stage.needs_coarse else None}
    parameters = sum(parameter.numel() for parameter in stage.parameters())
    if job["row"] != "evaluation":
        infer = StageInferer(mode=job["row"], steps=job["steps"])
        return lambda: infer(film, stage, **settings), parameters
    work = StageInferer().prepared(film, stage, **settings)
    return lambda: StageInferer().mean(work), parameters


def _cascade(job: dict[str, Any]) -> tuple[Callable[[], Any], int]:
    """All stages up to one, from a film of a phantom in the cascade's own geometry."""
    from xct_components.cascade import UnifiedHybridViTCascade

    cascade = UnifiedHybridViTCascade.from_pretrained(job["bundles"], stages=job["stage"])
    own = cascade.stages[-1].field
    item = phantom_items(1, PHANTOM_SIDE)[0]
    film = project(
        hu_to_mu_per_mm(load_case(item)["ct_hu"].float()),
        VolumeGrid.from_json(item["grid"]),
        [chest_beam_covering(own, "PA", *own.shape[1:])],
    )
    full = tuple(job["shape"]) != own.shape
    parameters = sum(parameter.numel() for stage in cascade.stages for parameter in stage.parameters())
    return lambda: cascade.generate(film[0, 0, 0], full_size=full), parameters


def _film(field: VolumeGrid) -> Tensor:
    beams = [chest_beam_covering(field, "PA", field.shape[1], field.shape[2])]
    return project(hu_to_mu_per_mm(torch.full((1, 1, *field.shape), -300.0)), field, beams)


def _monai(job: dict[str, Any]) -> tuple[Callable[[], Any], int]:
    from monai.networks.nets import DiffusionModelUNet

    channels, shape = job["channels"], job["shape"]
    attention = [False] * (len(channels) - 1) + [True]
    network: nn.Module = DiffusionModelUNet(
        spatial_dims=3,
        in_channels=4,
        out_channels=1,
        channels=channels,
        num_res_blocks=1,
        attention_levels=attention,
        num_head_channels=32,
        norm_num_groups=16,
    ).eval()
    noisy, time = torch.randn(1, 4, *shape), torch.ones(1)

    def evaluate() -> Tensor:
        with torch.autocast("cpu", torch.bfloat16, enabled=job["precision"] == "bf16"):
            return network(noisy, time)

    return evaluate, sum(parameter.numel() for parameter in network.parameters())


if __name__ == "__main__":
    main()
