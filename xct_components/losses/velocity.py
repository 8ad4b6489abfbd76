"""The diffusion loss: how far the predicted clean signal is from the true one, weighted by noise level."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor, nn

from xct_components.diffusion.schedule import clean_weight


class VelocityLoss(nn.Module):
    """Mean squared error of the velocity v = alpha noise - sigma clean, with the truncated min-SNR weight.

    The network predicts the clean signal. With z given, |v_hat - v|^2 = |clean_hat - clean|^2 / sigma^2, so no velocity is
    formed: the weight on v times 1 / sigma^2 is ``clean_weight``, the signal-to-noise ratio held between 1 and the ceiling.

    Args:
        v_parameterization: False weighs all noise levels alike: the plain squared error of the clean signal.
        ceiling: the largest weight, at least 1 (min-SNR-5: Hang et al., arXiv:2303.09556).

    Raises:
        ValueError: if the ceiling is below 1.
    """

    def __init__(self, v_parameterization: bool = True, ceiling: float = 5.0) -> None:
        super().__init__()
        if not ceiling >= 1.0:
            raise ValueError(f"ceiling must be at least 1, the smallest weight, got {ceiling}; 5 is usual")
        self.v_parameterization, self.ceiling = v_parameterization, ceiling

    def per_sample(
        self, clean_prediction: Float[Tensor, "b c d h w"], clean: Float[Tensor, "b c d h w"], time: Float[Tensor, " b"]
    ) -> Float[Tensor, " b"]:
        """The loss of each sample.

        Args:
            clean_prediction: what the network takes for the clean signal (the normalised residual of a stage).
            clean: the clean signal.
            time: 0 (clean) to 1 (noise) of each sample.
        """
        error = (clean_prediction.float() - clean.float()).square().mean(dim=(1, 2, 3, 4))
        return clean_weight(time.float(), self.ceiling) * error if self.v_parameterization else error

    def forward(self, clean_prediction: Tensor, clean: Tensor, time: Tensor) -> Tensor:
        """The mean over the batch, a scalar."""
        return self.per_sample(clean_prediction, clean, time).mean()
