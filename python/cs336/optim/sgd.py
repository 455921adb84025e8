"""SGD with a decaying rate, as in the course's study of learning rates."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

from torch import Tensor

from cs336.optim.optimizer import Optimizer


class SGD(Optimizer):
    """w <- w - lr / sqrt(t + 1) * gradient, where t counts the steps from 0."""

    def __init__(self, params: Iterable[Tensor] | Iterable[dict[str, Any]], lr: float = 1e-3) -> None:
        if lr < 0:
            raise ValueError(f"lr must not be negative, but is {lr}")
        super().__init__(params, {"lr": lr})

    def _update(self, parameter: Tensor, gradient: Tensor, group: dict[str, Any]) -> None:
        state = self.state[parameter]
        t = state.get("t", 0)
        parameter.sub_(gradient, alpha=group["lr"] / math.sqrt(t + 1))
        state["t"] = t + 1
