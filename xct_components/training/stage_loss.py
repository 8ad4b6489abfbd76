"""The loss as MONAI's trainer calls it, which also keeps the mean of every term over the epoch."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from xct_components.losses.hybrid import HybridLoss
from xct_components.losses.stage_terms import StageTerms
from xct_components.training.stage_batch import StageBatch


class StageLoss:
    """Called with what ``StageStep`` returned.

    Args:
        loss: the weighted sum.
    """

    def __init__(self, loss: HybridLoss) -> None:
        self.loss = loss
        self.sums: dict[str, float] = {}
        self.steps = 0

    def __call__(self, terms: StageTerms, batch: StageBatch) -> Tensor:  # noqa: ARG002
        """The total, a scalar."""
        report = self.loss(terms)
        for name, term in report.items():
            self.sums[name] = self.sums.get(name, 0.0) + float(term.detach())
        self.steps += 1
        return report["loss"]

    def attach(self, engine: Any) -> None:
        """Log the means of every epoch of the trainer."""
        from ignite.engine import Events

        engine.add_event_handler(Events.EPOCH_COMPLETED, self.report)

    def report(self, engine: Any) -> None:
        """After an epoch."""
        means = {name: total / max(self.steps, 1) for name, total in self.sums.items()}
        engine.state.metrics.update({f"train_{name}": mean for name, mean in means.items()})
        text = ", ".join(f"{name} {mean:.4f}" for name, mean in means.items())
        engine.logger.info("epoch %d: %s", engine.state.epoch, text)
        self.sums, self.steps = {}, 0
