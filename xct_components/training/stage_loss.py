"""The loss as MONAI's trainer calls it, which also keeps the mean of every term over the epoch."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from xct_components.losses.hybrid import HybridLoss
from xct_components.losses.stage_terms import StageTerms
from xct_components.training.joint import JointBatch, JointLoss
from xct_components.training.processes import summed_over_processes
from xct_components.training.stage_batch import StageBatch


class StageLoss:
    """Called with what ``StageStep`` returned, or ``JointStep``.

    Args:
        loss: the weighted sum: ``HybridLoss``, or ``JointLoss`` for all stages at once.
    """

    def __init__(self, loss: HybridLoss | JointLoss) -> None:
        self.loss = loss
        self.sums: dict[str, float] = {}
        self.steps = 0

    def __call__(self, terms: StageTerms | list[StageTerms], batch: StageBatch | JointBatch) -> Tensor:  # noqa: ARG002
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
        *totals, steps = summed_over_processes([*self.sums.values(), float(self.steps)])
        means = {name: total / max(steps, 1) for name, total in zip(self.sums, totals, strict=True)}
        engine.state.metrics.update({f"train_{name}": mean for name, mean in means.items()})
        text = ", ".join(f"{name} {mean:.4f}" for name, mean in means.items())
        engine.logger.info("epoch %d: %s", engine.state.epoch, text)
        self.sums, self.steps = {}, 0

    def state_dict(self) -> dict[str, Any]:
        """The sums of the epoch that is under way."""
        return {"sums": dict(self.sums), "steps": self.steps}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on with them."""
        self.sums, self.steps = dict(state["sums"]), state["steps"]
