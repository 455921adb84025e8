"""Clipping of gradients by their global norm (Pascanu et al., 2013)."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor


@torch.no_grad()
def clip_grad_norm(parameters: Iterable[Tensor], max_norm: float, eps: float = 1e-6) -> Tensor:
    """Scales all gradients in place so that their common L2 norm is at most ``max_norm``.

    Parameters without a gradient are passed over. Returns the norm from before, a scalar tensor; nothing here waits for
    a device.
    """
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    if not gradients:
        return torch.zeros(())
    norm: Tensor = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(gradients)))
    scale = torch.clamp(max_norm / (norm + eps), max=1.0)
    if scale.device.type != "cpu" or scale != 1:  # The CPU knows already; and NaN is not 1.
        torch._foreach_mul_(gradients, scale)
    return norm
