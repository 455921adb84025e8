"""Muon (Jordan et al., 2024): momentum whose update is made orthogonal, for the matrices inside a model."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from cs336.optim.optimizer import Optimizer

# Coefficients of the quintic iteration: they push singular values towards 1 fast rather than exactly.
_A, _B, _C = 3.4445, -4.7750, 2.0315


def orthogonalize(matrix: Tensor, steps: int = 5) -> Tensor:
    """Newton-Schulz iteration: a matrix of the same shape and singular vectors, with singular values near 1.

    Args:
        matrix: shape (rows, columns).
        steps: iterations; five bring all but tiny singular values between about 0.7 and 1.2.
    """
    x: Tensor = matrix / (matrix.norm() + 1e-7)
    wide = x.shape[0] <= x.shape[1]
    x = x if wide else x.mT
    for _ in range(steps):
        gram = x @ x.mT
        x = _A * x + (_B * gram + _C * gram @ gram) @ x
    return x if wide else x.mT


class Muon(Optimizer):
    """For matrices only: w <- (1 - lr * weight_decay) w - lr * scale * orthogonalize(momentum).

    The scale sqrt(max(1, rows / columns)) keeps the change of a layer's output alike across shapes. Embeddings, heads,
    norms and biases belong to AdamW.
    """

    def __init__(
        self,
        params: Iterable[Tensor] | Iterable[dict[str, Any]],
        lr: float = 0.02,
        momentum: float = 0.95,
        weight_decay: float = 0.0,
    ) -> None:
        if lr < 0 or weight_decay < 0 or not 0 <= momentum < 1:
            raise ValueError(f"invalid lr {lr}, momentum {momentum} or weight_decay {weight_decay}")
        super().__init__(params, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.ndim != 2:
                    raise ValueError(f"Muon takes matrices; a parameter of shape {tuple(parameter.shape)} is none")

    def _update(self, parameter: Tensor, gradient: Tensor, group: dict[str, Any]) -> None:
        state = self.state[parameter]
        if "momentum" not in state:
            state["momentum"] = torch.zeros_like(parameter)
        momentum = state["momentum"]
        momentum.lerp_(gradient, 1 - group["momentum"])
        # Nesterov: look one step ahead along the momentum.
        update = orthogonalize(gradient.lerp(momentum, group["momentum"]))
        rows, columns = parameter.shape
        parameter.mul_(1 - group["lr"] * group["weight_decay"])
        parameter.sub_(update, alpha=group["lr"] * max(1.0, rows / columns) ** 0.5)
