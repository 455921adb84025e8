"""The model as the compiler is given it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from cs336.nn import TransformerLM
from cs336.nn.loss import chunked_cross_entropy


def compiled(wrapped: nn.Module, model: TransformerLM) -> Callable[..., Any]:
    """Translates a model, which may stand in a wrapper, into fused kernels: at its first call, which takes a minute.

    The loop over the loss's chunks stays outside: the compiler would write every chunk out, and compute the logits of
    all of them before the first gradient, so that they would stand in memory at once.
    """
    model.loss_of_head = torch.compiler.disable(chunked_cross_entropy)  # type: ignore[no-untyped-call]
    return torch.compile(wrapped)
