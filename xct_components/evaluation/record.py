"""What an evaluation was asked for, what came of it, and its record: how every figure was made."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from xct_components.cascade import UnifiedHybridViTCascade, software
from xct_components.data.protocols.protocol import Protocol
from xct_components.evaluation.baselines import TrainSide
from xct_components.evaluation.case_rows import CascadeSettings, Row, mean_of
from xct_components.evaluation.held_patients import HELD_NOTE, held_cases
from xct_components.evaluation.sheet import PicturedCase
from xct_components.evaluation.summary import Table, gains, means
from xct_components.metrics.protocols import LEFT_OUT

SCHEMA, SCHEMA_VERSION = "xct-evaluation", 1


@dataclass(frozen=True)
class Request:
    """What was asked for, checked.

    Args:
        prepared: output folder of ``xct prepare``.
        side: val or test.
        settings: of the cascade.
        window_hu: of PSNR and SSIM.
        protocol: a published protocol that is scored too; None for none.
        originals: folder of the CTs that were prepared; read for a protocol alone.
        folders: other predictions by name.
        lateral: whether the cascade is given the lateral film too.
    """

    prepared: Path
    side: str
    settings: CascadeSettings
    window_hu: tuple[float, float]
    protocol: Protocol | None
    originals: Path
    folders: dict[str, Path]
    lateral: bool


@dataclass
class Found:
    """What came of it, patient after patient.

    Args:
        rows: honest figures.
        protocol_rows: those of a published protocol.
        pictured: the first patients' volumes.
        film_sizes: voxels a side of the volumes that films were rendered from.
    """

    rows: list[Row] = field(default_factory=list)
    protocol_rows: list[Row] = field(default_factory=list)
    pictured: list[PicturedCase] = field(default_factory=list)
    film_sizes: set[int] = field(default_factory=set)


def evaluation_record(cascade: UnifiedHybridViTCascade, train: TrainSide, request: Request, found: Found) -> dict[str, Any]:
    """Everything but the rows, JSON-ready: software, weights, settings, means with intervals, gains over the baselines."""
    ours = {stage.field.shape[0]: mean_of(number) for number, stage in enumerate(cascade.stages, start=1)}
    views = "PA and lateral films" if request.lateral else "one PA film"
    cases = list(dict.fromkeys(row.case for row in found.rows))
    held = held_cases(cascade.stages, cases)
    return {
        "schema": SCHEMA,
        "schema_version": SCHEMA_VERSION,
        **software(),
        "weights": cascade.weights,
        "settings": {**asdict(request.settings), "side": request.side, "lateral_film_given": request.lateral},
        "n": len(cases),
        "held_by_the_weights": {"cases": held, "note": HELD_NOTE if held else ""},
        "window_hu": list(request.window_hu),
        "film": f"The cascade was given {views}, exact line integrals from {_sizes(found.film_sizes)} voxels a side.",
        "mean_volume": f"of the {len(train.cases)} training CTs" if train.cases else "the atlas of stage 1 (no training CTs)",
        "training_cases": list(train.cases),
        "means": _summary(means(found.rows)),
        "protocol_means": _summary(means(found.protocol_rows)),
        "protocol": _protocol_record(request.protocol),
        "gains": [_plain_gain(one) for one in gains(found.rows, ours)],
    }


def _summary(table: Table) -> list[dict[str, Any]]:
    return [
        {"size": size, "method": method, "metrics": {name: value.to_json() for name, value in metrics.items()}}
        for size, methods in table.items()
        for method, metrics in methods.items()
    ]


def _plain_gain(gain: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in gain.items() if name != "gain"} | gain["gain"].to_json()


def _protocol_record(protocol: Protocol | None) -> dict[str, Any] | None:
    if protocol is None:
        return None
    left_out = ", ".join(LEFT_OUT[protocol.name]) or "nothing"
    mask = " The body mask is ours, as theirs is unpublished." if protocol.body_mask else ""
    note = (
        f"Volumes and figures as {protocol.name} makes them (docs/protocols.md), of these patients, not of its list; the film "
        f"is ours, and so is everything outside the cascade's field: air.{mask} Left out: {left_out}."
    )
    return {"name": protocol.name, "note": note}


def _sizes(sizes: set[int]) -> str:
    return " or ".join(map(str, sorted(sizes)))
