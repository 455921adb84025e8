"""What all optimizers share: a step over the parameters that have a gradient."""

from __future__ import annotations

import inspect
from abc import abstractmethod
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

_Torchs = torch.optim.Optimizer


class Optimizer(_Torchs):
    """Torch's optimizer, with the loop over parameters that a subclass would write.

    torch wraps some methods, so that ``torch.compile`` leaves them alone; what wraps them imports its compiler when the
    first of them is called, which takes seconds. Nothing here is compiled, so they stand here without that.
    """

    found_inf: Tensor | None = None
    """Where this is 1, a fused kernel that knows it leaves weights and memory as they are. It stands beside the
    weights, and may be the outcome of work that the device has not done yet. The name is torch's, for its scaling of
    gradients.
    """

    add_param_group = inspect.unwrap(_Torchs.add_param_group)
    load_state_dict = inspect.unwrap(_Torchs.load_state_dict)
    state_dict = inspect.unwrap(_Torchs.state_dict)
    zero_grad = inspect.unwrap(_Torchs.zero_grad)

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]  # torch types two overloads
        """Takes one step; returns the closure's loss, if one is given."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            self._update_all([parameter for parameter in group["params"] if parameter.grad is not None], group)
        return loss

    def _update_all(self, parameters: list[Tensor], group: dict[str, Any]) -> None:
        """Moves the parameters of a group that have a gradient; one after the other, unless there is a faster way."""
        for parameter in parameters:
            assert parameter.grad is not None
            self._update(parameter, parameter.grad, group)

    @abstractmethod
    def _update(self, parameter: Tensor, gradient: Tensor, group: dict[str, Any]) -> None:
        """Moves one parameter in place, by the settings of its group; ``self.state[parameter]`` is its memory."""
