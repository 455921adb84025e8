"""The feed-forward layers: plain, and gated."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cs336.config import ModelConfig
from cs336.errors import ConfigError
from cs336.nn import functional
from cs336.nn.linear import Linear

__all__ = ["FeedForward", "SwiGLU", "build_feed_forward"]

# PyTorch's kernels for the formulas of functional.py, where it has one: a single pass over memory.
ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "gelu": F.gelu,
    "gelu_tanh": partial(F.gelu, approximate="tanh"),
    "silu": F.silu,
    "relu2": functional.relu2,
}


class FeedForward(nn.Module):
    """y = w2(activation(w1 x)) (Vaswani et al. 2017, equation 2)."""

    def __init__(
        self,
        d_model: int,
        d_ff: int,
        activation: str = "gelu",
        *,
        bias: bool = False,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        if activation not in ACTIVATIONS:
            raise ConfigError(f"activation must be one of {', '.join(ACTIVATIONS)}, not {activation!r}")
        self.activation = activation
        self.w1 = Linear(d_model, d_ff, bias, device, dtype)
        self.w2 = Linear(d_ff, d_model, bias, device, dtype)

    def forward(self, x: Tensor) -> Tensor:
        """(..., d_model) -> (..., d_model)."""
        hidden: Tensor = ACTIVATIONS[self.activation](self.w1(x))  # (..., d_ff)
        out: Tensor = self.w2(hidden)
        return out

    def extra_repr(self) -> str:
        """Show the activation when the module is printed."""
        return f"activation={self.activation}"


class SwiGLU(nn.Module):
    """y = w2(silu(w1 x) * w3 x): w1 opens and closes what w3 lets through (Shazeer 2020)."""

    def __init__(
        self,
        d_model: int,
        d_ff: int,
        bias: bool = False,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        self.w1 = Linear(d_model, d_ff, bias, device, dtype)
        self.w2 = Linear(d_ff, d_model, bias, device, dtype)
        self.w3 = Linear(d_model, d_ff, bias, device, dtype)

    def forward(self, x: Tensor) -> Tensor:
        """(..., d_model) -> (..., d_model)."""
        out: Tensor = self.w2(F.silu(self.w1(x)) * self.w3(x))
        return out


def build_feed_forward(
    config: ModelConfig, device: torch.device | str | None = None, dtype: torch.dtype | None = None
) -> FeedForward | SwiGLU:
    """Return the feed-forward layer that a configuration names."""
    if config.ffn == "swiglu":
        return SwiGLU(config.d_model, config.hidden_size, config.bias, device, dtype)
    return FeedForward(config.d_model, config.hidden_size, config.ffn, bias=config.bias, device=device, dtype=dtype)
