"""Linear operators that know their adjoint, and how autograd goes through them."""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor


@runtime_checkable
class LinearOperator(Protocol):
    """A matrix too large to write down: ``operator(x)`` applies it, ``operator.adjoint`` is its transpose."""

    def __call__(self, x: Tensor, /) -> Tensor:
        """A x."""

    @property
    def adjoint(self) -> LinearOperator:
        """The operator of A^T; ``adjoint.adjoint`` acts as the operator itself."""


def apply_linear(operator: LinearOperator, x: Tensor) -> Tensor:
    """``operator(x)``, differentiable any number of times; nothing is saved for backward.

    The gradient of A x is A^T g, again a linear operator, so double backward needs no further code.
    """
    result: Tensor = _ApplyLinear.apply(x, operator)
    return result


class _ApplyLinear(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, operator: LinearOperator) -> Tensor:
        ctx.operator, ctx.input_dtype = operator, x.dtype
        return operator(x)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, None]:
        (grad,) = grad_outputs
        return apply_linear(ctx.operator.adjoint, grad).to(ctx.input_dtype), None

    @staticmethod
    def jvp(ctx: Any, *grad_inputs: Any) -> Tensor:
        return apply_linear(ctx.operator, grad_inputs[0])
