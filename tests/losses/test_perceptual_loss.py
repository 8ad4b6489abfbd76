"""What the frozen encoder finds alike."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from xct_components.data.phantom import random_thorax
from xct_components.geometry import VolumeGrid
from xct_components.losses.feature_encoder import FeatureEncoder, load_feature_encoder
from xct_components.losses.perceptual import PerceptualFeatureLoss

#: float32 means over a volume against float64.
SAME_SUM = 1e-5
GRID = VolumeGrid.chest((64, 64, 64), 5.0)


@pytest.fixture(scope="module")
def people() -> Tensor:
    """(2, 1, 64, 64, 64) HU of two phantoms that the encoder was not trained on."""
    return torch.cat([random_thorax(seed, GRID).ct_hu for seed in (70_001, 70_002)])


def test_it_is_the_mean_over_four_resolutions_of_the_squared_difference_of_features(people: Tensor) -> None:
    encoder = load_feature_encoder()
    pairs = zip(encoder(people[:1]), encoder(people[1:]), strict=True)
    expected = [float(((a - b).double() ** 2).mean()) for a, b in pairs]
    assert PerceptualFeatureLoss()(people[:1], people[1:]).item() == pytest.approx(sum(expected) / 4, rel=SAME_SUM)


def blurred(ct_hu: Tensor) -> Tensor:
    return F.avg_pool3d(F.pad(ct_hu, (1,) * 6, mode="replicate"), 3, stride=1)


def noise(like: Tensor) -> Tensor:
    return torch.randn(like.shape, generator=torch.Generator().manual_seed(10))


@pytest.mark.parametrize(
    ("change", "most"),  # a tenth for what no reader minds; found with the shipped encoder: 0.004, 0.04 and 0.42
    [(lambda me: me + 20.0 * noise(me), 0.1), (lambda me: me + 20.0, 0.1), (blurred, 0.6)],
    ids=["noisy", "brighter", "blurred"],
)
def test_another_person_is_farther_than_the_same_person(
    people: Tensor, change: Callable[[Tensor], Tensor], most: float
) -> None:
    loss, me = PerceptualFeatureLoss(), people[:1]
    assert loss(change(me), me).item() < most * loss(people[1:], me).item()


def test_blur_costs_more_than_noise_of_the_same_squared_error(people: Tensor) -> None:
    loss, me = PerceptualFeatureLoss(), people[:1]
    rms_hu = (blurred(me) - me).square().mean().sqrt()
    assert loss(blurred(me), me).item() > 2.0 * loss(me + rms_hu * noise(me), me).item()  # found: 4.1


def test_no_gradient_flows_into_the_truth(people: Tensor) -> None:
    truth = people[:1, :, ::4, ::4, ::4].clone().requires_grad_()
    loss = PerceptualFeatureLoss()(truth.detach() + 100.0, truth)
    assert not loss.requires_grad


def test_nothing_of_it_is_trained_or_saved() -> None:
    loss = PerceptualFeatureLoss()
    assert list(loss.parameters()) == []
    assert loss.state_dict() == {}


def test_another_encoder_can_be_given(tmp_path: Path, people: Tensor) -> None:
    torch.manual_seed(0)
    torch.save(FeatureEncoder().state_dict(), tmp_path / "mine.pt")
    mine, shipped = PerceptualFeatureLoss(tmp_path / "mine.pt"), PerceptualFeatureLoss()
    a, b = people[:, :, ::4, ::4, ::4].split(1)
    assert mine(a, b).item() != pytest.approx(shipped(a, b).item(), rel=0.1)


def test_two_networks_at_once_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="exclude each other"):
        PerceptualFeatureLoss(tmp_path / "a.pt", medicalnet_weights=tmp_path / "b.pth")
