"""SGD with a decaying rate, as in the course's study of learning rates."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor


class SGD(torch.optim.Optimizer):
    """w <- w - lr / sqrt(t + 1) * gradient, where t counts the steps from 0."""

    def __init__(self, params: Iterable[Tensor] | Iterable[dict[str, Any]], lr: float = 1e-3) -> None:
        if lr < 0:
            raise ValueError(f"lr must not be negative, but is {lr}")
        super().__init__(params, {"lr": lr})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """Takes one step; returns the closure's loss, if one is given."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                state = self.state[parameter]
                t = state.get("t", 0)
                parameter.sub_(parameter.grad, alpha=group["lr"] / math.sqrt(t + 1))
                state["t"] = t + 1
        return loss
