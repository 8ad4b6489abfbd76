"""The average of the weights over training: what is evaluated and released."""

from __future__ import annotations

from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

#: Exponent of the average: its width is about a tenth of the training so far (EDM2, Karras et al. 2024, eq. 126: sigma_rel
#: 0.10).
POWER = 6.94


def power_average(model: nn.Module, power: float = POWER) -> AveragedModel:
    """A copy of ``model`` that averages its weights with a memory that grows with the training: no length to choose.

    Step k keeps (1 - 1/k)^(power + 1) of the average (Karras et al. 2024, eq. 123); buffers are copied.
    """

    def averaged(average: Tensor, current: Tensor, steps: Tensor | int) -> Tensor:
        keep = (1.0 - 1.0 / (float(steps) + 1.0)) ** (power + 1.0)
        return average * keep + current * (1.0 - keep)

    return AveragedModel(model, avg_fn=averaged, use_buffers=False)


def make_room_for_buffers(average: AveragedModel, model: nn.Module) -> None:
    """Buffers of the sizes that ``model`` has by now: what a stage holds of patients is known only once it is measured."""
    for name, buffer in model.named_buffers():
        own = average.module.get_buffer(name)
        if own.shape != buffer.shape:
            owner, _, last = name.rpartition(".")
            setattr(average.module.get_submodule(owner), last, own.new_zeros(buffer.shape))
