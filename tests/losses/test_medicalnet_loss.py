"""MONAI's MedicalNet loss from a local file: random weights here, since the real ones do not belong into the repository."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from xct_components.losses.medicalnet import MedicalNet10
from xct_components.losses.perceptual import PerceptualFeatureLoss

#: float32, a dozen convolutions in another order.
ROUNDING = 1e-4

State = dict[str, Tensor]


@pytest.fixture(scope="module")
def state() -> State:
    """Random weights under the names of the distributed file."""
    torch.manual_seed(0)
    made = {}
    for name, value in MedicalNet10().state_dict().items():
        noise = torch.randn(value.shape)
        if value.ndim == 5:
            made[name] = noise * (2.0 / value[0].numel()) ** 0.5
        else:  # of a normalisation: near 1 what multiplies, near 0 what adds
            made[name] = 0.1 * noise + (1.0 if name.endswith(("weight", "running_var")) else 0.0)
    return made


@pytest.fixture(scope="module")
def weights(state: State, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("medicalnet") / "resnet10.pth"
    torch.save({"state_dict": {f"module.{name}": value for name, value in state.items()}}, path)
    return path


@pytest.fixture(scope="module")
def loss(weights: Path) -> PerceptualFeatureLoss:
    return PerceptualFeatureLoss(medicalnet_weights=weights)


def by_hand(state: State, x: Tensor) -> Tensor:
    """ResNet-10 of Med3D (arXiv:1904.00625): the last two layers keep the resolution and dilate their kernels by 2 and 4."""

    def norm(x: Tensor, name: str) -> Tensor:
        mean, variance, weight, bias = (state[f"{name}.{part}"] for part in ("running_mean", "running_var", "weight", "bias"))
        scale = weight / (variance + 1e-5).sqrt()
        return (x - mean.view(1, -1, 1, 1, 1)) * scale.view(1, -1, 1, 1, 1) + bias.view(1, -1, 1, 1, 1)

    x = F.relu(norm(F.conv3d(x, state["conv1.weight"], stride=2, padding=3), "bn1"))
    x = F.max_pool3d(x, 3, stride=2, padding=1)
    for layer, stride, dilation in (("layer1.0", 1, 1), ("layer2.0", 2, 1), ("layer3.0", 1, 2), ("layer4.0", 1, 4)):
        y = F.conv3d(x, state[f"{layer}.conv1.weight"], stride=stride, padding=dilation, dilation=dilation)
        y = F.conv3d(F.relu(norm(y, f"{layer}.bn1")), state[f"{layer}.conv2.weight"], padding=dilation, dilation=dilation)
        y = norm(y, f"{layer}.bn2")
        if f"{layer}.downsample.0.weight" in state:
            x = norm(F.conv3d(x, state[f"{layer}.downsample.0.weight"], stride=stride), f"{layer}.downsample.1")
        x = F.relu(x + y)
    return x


@pytest.fixture(scope="module")
def volumes() -> Tensor:
    return 300.0 * torch.randn(4, 1, 16, 24, 16, generator=torch.Generator().manual_seed(11))


def test_it_is_the_squared_difference_of_unit_features_of_standardised_volumes(
    loss: PerceptualFeatureLoss, state: State, volumes: Tensor
) -> None:
    unit = [F.normalize(by_hand(state, (x - x.mean()) / x.std()), dim=1) for x in volumes[:2, None]]
    expected = (unit[0] - unit[1]).square().sum(1).mean()
    assert expected > 100 * ROUNDING
    assert loss(volumes[:1], volumes[1:2]).item() == pytest.approx(expected.item(), rel=ROUNDING)


def test_the_loss_of_a_batch_is_the_mean_of_its_samples(loss: PerceptualFeatureLoss, volumes: Tensor) -> None:
    """MONAI standardises a whole batch at once; here each sample stands for itself."""
    a, b = volumes[:2] * torch.tensor([1.0, 3.0]).view(2, 1, 1, 1, 1), volumes[2:]
    alone = [loss(a[i : i + 1], b[i : i + 1]).item() for i in (0, 1)]
    assert loss(a, b).item() == pytest.approx(sum(alone) / 2, rel=ROUNDING)


def test_it_is_zero_at_the_truth_and_gradients_are_finite_also_for_air(loss: PerceptualFeatureLoss, volumes: Tensor) -> None:
    air = torch.full_like(volumes[:1], -1000.0)
    for prediction, truth in ((volumes[:1], volumes[:1]), (volumes[:1], volumes[1:2]), (air, air), (air, volumes[:1])):
        leaf = prediction.clone().requires_grad_()
        value = loss(leaf, truth)
        assert torch.isfinite(torch.autograd.grad(value, leaf)[0]).all()
        assert value.item() == 0.0 or truth is not prediction


def test_a_missing_or_foreign_file_is_refused_with_the_way_out(tmp_path: Path) -> None:
    foreign = tmp_path / "foreign.pth"
    torch.save({"state_dict": {"module.weight": torch.zeros(3)}}, foreign)
    for path in (tmp_path / "missing.pth", foreign):
        with pytest.raises(ValueError, match=r"medicalnet_weights must be a local copy of .*MONAI/checkpoints"):
            PerceptualFeatureLoss(medicalnet_weights=path)
