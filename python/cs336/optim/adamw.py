"""AdamW (Loshchilov and Hutter, 2019): Adam with weight decay apart from the gradient."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
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

    ``fused`` computes all of it by PyTorch's kernel, which passes over memory once instead of nine times; the same
    formula, to rounding, on the same state, so that a run may change its mind. None: where PyTorch has that kernel.
    """

    def __init__(
        self,
        params: Iterable[Tensor] | Iterable[dict[str, Any]],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.01,
        *,
        fused: bool | None = None,
    ) -> None:
        if lr < 0 or eps < 0 or weight_decay < 0:
            raise ValueError(f"lr, eps and weight_decay must not be negative: {lr}, {eps}, {weight_decay}")
        if not all(0 <= beta < 1 for beta in betas):
            raise ValueError(f"betas must be at least 0 and below 1, but are {betas}")
        super().__init__(params, {"lr": lr, "betas": tuple(betas), "eps": eps, "weight_decay": weight_decay})
        self.fused = fused

    def _update_all(self, parameters: list[Tensor], group: dict[str, Any]) -> None:
        kernel = [parameter for parameter in parameters if self._has_kernel(parameter)]
        super()._update_all([parameter for parameter in parameters if not self._has_kernel(parameter)], group)
        for t, alike in _by_step([(parameter, self._next_state(parameter)) for parameter in kernel]).items():
            weights, states = zip(*alike, strict=True)
            _fused_adamw(weights, states, t, group, self.found_inf)

    def _has_kernel(self, parameter: Tensor) -> bool:
        if self.fused is None:
            return parameter.device.type in ("cpu", "cuda") and parameter.is_floating_point()
        return self.fused

    def _next_state(self, parameter: Tensor) -> dict[str, Any]:
        """What is remembered of a parameter, one step on."""
        state: dict[str, Any] = self.state[parameter]
        if not state:
            state["t"] = 0
            state["m"] = torch.zeros_like(parameter)
            state["v"] = torch.zeros_like(parameter)
        state["t"] += 1
        return state

    def _update(self, parameter: Tensor, gradient: Tensor, group: dict[str, Any]) -> None:
        state = self._next_state(parameter)
        m, v, t = state["m"], state["v"], state["t"]
        lr, (beta1, beta2) = group["lr"], group["betas"]
        parameter.mul_(1 - lr * group["weight_decay"])
        m.lerp_(gradient, 1 - beta1)
        v.mul_(beta2).addcmul_(gradient, gradient, value=1 - beta2)
        # The corrections of bias are divided out of the step and of the root, so that no array is made for them.
        denominator = v.sqrt().div_(math.sqrt(1 - beta2**t)).add_(group["eps"])
        parameter.addcdiv_(m, denominator, value=-lr / (1 - beta1**t))


Remembered = tuple[Tensor, dict[str, Any]]


def _by_step(parameters: list[Remembered]) -> dict[int, list[Remembered]]:
    """Apart by how many steps they have taken: all alike, but where some had no gradient at times."""
    apart: dict[int, list[Remembered]] = {}
    for parameter, state in parameters:
        apart.setdefault(state["t"], []).append((parameter, state))
    return apart


def _fused_adamw(
    weights: Sequence[Tensor],
    states: Sequence[dict[str, Any]],
    t: int,
    group: dict[str, Any],
    found_inf: Tensor | None,
) -> None:
    """All updates of step t in one call, as from ``torch.optim.AdamW(fused=True)``, which would import its compiler."""
    beta1, beta2 = group["betas"]
    step = torch.full((), float(t), device=weights[0].device)
    torch._fused_adamw_(
        [_local(weight) for weight in weights],
        [_local(weight.grad) for weight in weights],
        [_local(state["m"]) for state in states],
        [_local(state["v"]) for state in states],
        [],
        [step] * len(weights),
        lr=group["lr"],
        beta1=beta1,
        beta2=beta2,
        weight_decay=group["weight_decay"],
        eps=group["eps"],
        amsgrad=False,
        maximize=False,
        found_inf=found_inf,
    )


def _local(tensor: Any) -> Tensor:
    """What this process holds of a tensor that may be spread over several; each number is updated by itself."""
    part: Tensor = getattr(tensor, "to_local", lambda: tensor)()
    return part
