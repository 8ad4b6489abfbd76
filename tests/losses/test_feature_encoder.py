"""The encoder that ships: small, readable without running code, and of the arithmetic it claims."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.signal import correlate

import xct_components.losses
from tests.losses.made_batches import bodies
from xct_components.data.phantom import random_thorax
from xct_components.geometry import VolumeGrid
from xct_components.losses.feature_encoder import (
    CONVOLUTIONS,
    FEATURE_CONVOLUTIONS,
    SHIPPED_WEIGHTS,
    FeatureEncoder,
    load_feature_encoder,
)

WEIGHTS = Path(xct_components.losses.__file__).parent / SHIPPED_WEIGHTS
#: The wheel carries this file; the issue allows 1 MB.
MOST_BYTES = 1_000_000
#: float32 convolutions against float64, features of order 1.
ROUNDING = 1e-4


def slow_features(encoder: FeatureEncoder, ct_hu: np.ndarray) -> list[np.ndarray]:
    """The same by scipy's correlation, one pair of channels at a time, float64."""
    x, features = (ct_hu + 1000.0)[None] / 1000.0, []
    state = {name: value.double().numpy() for name, value in encoder.state_dict().items()}
    for index, (_, _, stride) in enumerate(CONVOLUTIONS):
        if index > 0:
            x = x / (1.0 + np.exp(-x))
        kernel, bias = (state[f"convolutions.{index}.{part}"] for part in ("weight", "bias"))
        padded = np.pad(x, ((0, 0), (1, 1), (1, 1), (1, 1)))
        full = [
            sum(correlate(channel, part, mode="valid", method="direct") for channel, part in zip(padded, one, strict=True))
            for one in kernel
        ]
        x = np.stack(full)[:, ::stride, ::stride, ::stride] + bias[:, None, None, None]
        if index in FEATURE_CONVOLUTIONS:
            features.append(x)
    return features


def test_the_shipped_weights_are_small_half_precision_and_hold_nothing_but_tensors() -> None:
    assert WEIGHTS.stat().st_size < MOST_BYTES
    state = torch.load(WEIGHTS, weights_only=True)
    assert {value.dtype for value in state.values()} == {torch.float16}


def test_features_equal_correlations_computed_by_scipy() -> None:
    encoder = load_feature_encoder()
    body = bodies(torch.Generator().manual_seed(9))[:1, :, 3:10, 2:10, 5:14]
    for fast, slow in zip(encoder(body), slow_features(encoder, body[0, 0].double().numpy()), strict=True):
        assert np.allclose(fast[0].numpy(), slow, atol=ROUNDING)


def test_features_of_a_phantom_it_never_saw_have_mean_0_and_variance_1() -> None:
    """The normalisation it was trained with is folded in: one channel may stray, all together may not."""
    ct_hu = random_thorax(70_000, VolumeGrid.chest((64, 64, 64), 5.0)).ct_hu
    for feature in load_feature_encoder()(ct_hu):
        assert feature.mean().item() == pytest.approx(0.0, abs=0.3)
        assert feature.square().mean().item() == pytest.approx(1.0, abs=0.35)


def test_any_shape_goes_in_and_each_level_halves_it() -> None:
    shapes = [tuple(feature.shape) for feature in load_feature_encoder()(torch.zeros(2, 1, 9, 16, 33))]
    assert shapes == [(2, 8, 9, 16, 33), (2, 16, 5, 8, 17), (2, 32, 3, 4, 9), (2, 64, 2, 2, 5)]


def test_it_is_frozen_and_in_full_precision() -> None:
    parameters = list(load_feature_encoder().parameters())
    assert not any(parameter.requires_grad for parameter in parameters)
    assert {parameter.dtype for parameter in parameters} == {torch.float32}


def test_a_missing_or_foreign_file_is_refused_with_the_way_out(tmp_path: Path) -> None:
    foreign, text = tmp_path / "foreign.pt", tmp_path / "text.pt"
    torch.save({"weight": torch.zeros(3)}, foreign)
    text.write_text("no weights")
    for path in (tmp_path / "missing.pt", foreign, text):
        with pytest.raises(ValueError, match=r"weights must be a state dict of FeatureEncoder.*leave weights out"):
            load_feature_encoder(path)
