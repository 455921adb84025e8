"""AdamW (Loshchilov and Hutter, 2019): Adam with weight decay apart from the gradient."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from cs336.optim.optimizer import Optimizer


class AdamW(Optimizer):
    """Equal to ``torch.optim.AdamW`` to rounding.

    With gradient g and step t = 1, 2, ...::

        w <- w - lr * weight_decay * w
        m <- beta1 * m + (1 - beta1) * g
        v <- beta2 * v + (1 - beta2) * g^2
        w <- w - lr * (m / (1 - beta1^t)) / (sqrt(v / (1 - beta2^t)) + eps)
    """

    def __init__(
        self,
        params: Iterable[Tensor] | Iterable[dict[str, Any]],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.01,
    ) -> None:
        if lr < 0 or eps < 0 or weight_decay < 0:
            raise ValueError(f"lr, eps and weight_decay must not be negative: {lr}, {eps}, {weight_decay}")
        if not all(0 <= beta < 1 for beta in betas):
            raise ValueError(f"betas must be at least 0 and below 1, but are {betas}")
        super().__init__(params, {"lr": lr, "betas": tuple(betas), "eps": eps, "weight_decay": weight_decay})

    def _update(self, parameter: Tensor, gradient: Tensor, group: dict[str, Any]) -> None:
        state = self.state[parameter]
        if not state:
            state["t"] = 0
            state["m"] = torch.zeros_like(parameter)
            state["v"] = torch.zeros_like(parameter)
        state["t"] += 1
        m, v, t = state["m"], state["v"], state["t"]
        lr, (beta1, beta2) = group["lr"], group["betas"]
        parameter.mul_(1 - lr * group["weight_decay"])
        m.lerp_(gradient, 1 - beta1)
        v.mul_(beta2).addcmul_(gradient, gradient, value=1 - beta2)
        # The corrections of bias are divided out of the step and of the root, so that no array is made for them.
        denominator = v.sqrt().div_(math.sqrt(1 - beta2**t)).add_(group["eps"])
        parameter.addcdiv_(m, denominator, value=-lr / (1 - beta1**t))
