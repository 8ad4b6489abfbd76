"""The last stage and its baselines on the array of a published protocol, scored as its authors did: a table of its own."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from xct_components.data.ct.reading import read_ct
from xct_components.data.prepare.body import body_mask
from xct_components.data.prepare.canonical_ct import CanonicalCt, canonical_ct
from xct_components.data.prepare.coarse_ct import coarse_ct
from xct_components.data.protocols.protocol import PROTOCOLS, Protocol, protocol_named
from xct_components.data.protocols.volume import ProtocolVolume, prepare_for_protocol
from xct_components.evaluation.case_rows import Predictions, Row
from xct_components.evaluation.held_out_case import HeldOutCase
from xct_components.failures import UnreadableInput, UsageFailure
from xct_components.geometry import VolumeGrid
from xct_components.metrics.protocols import PAIRWISE, PLANES, PlaneName, perx2ct_scores

HONEST = "honest"
#: What a prediction is outside its field: air, as the protocols' padding.
OUTSIDE_HU = -1024.0


def require_protocol(name: str, originals: str | None) -> Protocol | None:
    """The protocol to score beside the honest figures; None for those alone.

    Raises:
        UsageFailure: for an unknown name, one that leaves open how it scores, or missing original CTs.
    """
    if name == HONEST:
        return None
    if name not in PROTOCOLS:
        raise UsageFailure(f"protocol must be one of {', '.join((HONEST, *PROTOCOLS))}, got {name!r}")
    if name == "liftxr":
        raise UsageFailure(
            "protocol liftxr does not publish its field of view, interpolation, PSNR averaging and SSIM window: nothing is "
            "guessed; xct_components.metrics.protocols.liftxr_scores takes your choices"
        )
    if originals is None:
        raise UsageFailure(f"protocol {name} is scored on the original CTs: name the folder that was prepared with --originals")
    return protocol_named(name)


def protocol_rows(
    case: HeldOutCase, made: Predictions, protocol: Protocol, prepared: Path, originals: Path, on_work: Callable[[str], None]
) -> list[Row]:
    """Every prediction of the last size on the protocol's array.

    Raises:
        UnreadableInput: if the original CT is not there.
    """
    size = max(made.volumes)
    on_work(f"{protocol.name}: its array")
    targets = _targets(original_ct(prepared, originals, case.name), protocol)
    rows = []
    for method, volume in made.volumes[size].items():
        on_work(f"{protocol.name}: {method}")
        predicted = {plane: on_protocol(volume, case.fields[size], one, protocol) for plane, one in targets.items()}
        truth = {plane: one.volume[0, 0].numpy() for plane, one in targets.items()}
        scores = (
            perx2ct_scores(predicted, truth)
            if len(targets) > 1
            else PAIRWISE[protocol.name](predicted["axial"], truth["axial"])
        )
        rows.append(Row(case.name, truth["axial"].shape[0], method, scores))
    return rows


def original_ct(prepared: Path, originals: Path, case: str) -> CanonicalCt:
    """The CT that a case was prepared from, as sources.json of the prepared folder names it.

    Raises:
        UnreadableInput: if it is not there or cannot be read.
    """
    try:
        sources: Mapping[str, str] = json.loads((prepared / "sources.json").read_text(encoding="utf-8"))["cases"]
        path = originals / sources[case]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UnreadableInput(
            f"{prepared} holds no sources.json that names the CT of {case}; run `xct prepare` again"
        ) from error
    return canonical_ct(*read_ct(path))


def on_protocol(volume_hu: Tensor, field: VolumeGrid, target: ProtocolVolume, protocol: Protocol) -> np.ndarray:
    """A prediction (1, 1, D, H, W) on ``field`` at the voxels of the protocol's array, in [0, 1]: linear, air outside."""
    index = torch.stack(torch.meshgrid(*(torch.arange(n) for n in target.grid.shape), indexing="ij"), dim=-1)
    voxels = field.voxels_from_world(target.grid.world_from_voxels(index))
    places = ((2.0 * voxels + 1.0) / torch.tensor(field.shape) - 1.0).flip(-1).float()
    inside = (places.abs() <= 1.0).all(dim=-1)
    sampled = F.grid_sample(volume_hu.float(), places[None], padding_mode="border", align_corners=False)[0, 0]
    low, high = protocol.window_hu
    hu = torch.where(inside, sampled, torch.tensor(OUTSIDE_HU))
    return ((hu.clamp(low, high) - low) / (high - low)).numpy()


def _targets(ct: CanonicalCt, protocol: Protocol) -> dict[PlaneName, ProtocolVolume]:
    """The protocol's array; for perx2ct one for each direction of slices."""
    ct_hu = torch.from_numpy(ct.hu)[None, None].float()
    body = torch.from_numpy(_patient(ct))[None, None] if protocol.body_mask else None
    axes: dict[PlaneName, int] = {plane: order[0] for plane, order in PLANES.items()}
    if protocol.name != "perx2ct":
        return {"axial": prepare_for_protocol(ct_hu, ct.grid, protocol, body=body)}
    return {
        plane: prepare_for_protocol(ct_hu, ct.grid, replace(protocol, resized_before_clip=(axis,)), body=body)
        for plane, axis in axes.items()
    }


def _patient(ct: CanonicalCt) -> np.ndarray:
    """The patient without the table, by our own rule: the masks of the authors are not published."""
    coarse = coarse_ct(ct)
    fine = body_mask(coarse)
    for axis, (count, step) in enumerate(zip(ct.hu.shape, coarse.steps, strict=True)):
        fine = fine.repeat(step, axis=axis).take(range(count), axis=axis)
    return fine
