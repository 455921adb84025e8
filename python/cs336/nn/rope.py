"""Rotary position embedding."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Self

import torch
from torch import Tensor, nn

from cs336.errors import ConfigError

__all__ = ["RotaryPositionalEmbedding"]


class RotaryPositionalEmbedding(nn.Module):
    """RoPE: the pair (x[2k], x[2k+1]) at position i turns by the angle i / theta^(2k / d_k) (Su et al. 2021).

    The dot product of a turned query and a turned key then depends on their distance only. Nothing here is learned or
    saved: the table of cosines and sines, (max_seq_len, d_k / 2, 2), is made again wherever the module goes.
    """

    turns: Tensor

    def __init__(
        self,
        theta: float,
        d_k: int,
        max_seq_len: int,
        device: torch.device | str | None = None,
        *,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        if d_k % 2:
            raise ConfigError(f"RoPE turns pairs, so d_k must be even, not {d_k}")
        self.theta = theta
        self.d_k = d_k
        self.max_seq_len = max_seq_len
        where = torch.device(device) if device is not None else torch.get_default_device()
        self._build_table(where, dtype or torch.get_default_dtype())

    def _build_table(self, device: torch.device, dtype: torch.dtype) -> None:
        dtype = torch.float64 if dtype == torch.float64 else torch.float32
        exponents = torch.arange(0, self.d_k, 2, dtype=torch.float64, device="cpu") / self.d_k
        positions = torch.arange(self.max_seq_len, dtype=torch.float64, device="cpu")
        angles = torch.outer(positions, self.theta**-exponents)  # (max_seq_len, d_k / 2)
        turns = torch.stack((angles.cos(), angles.sin()), dim=-1)
        self.register_buffer("turns", turns.to(device, dtype), persistent=False)

    @property
    def cos(self) -> Tensor:
        """(max_seq_len, d_k / 2)."""
        return self.turns[..., 0]

    @property
    def sin(self) -> Tensor:
        """(max_seq_len, d_k / 2)."""
        return self.turns[..., 1]

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        """Follow the model to a device or to float64, but never to a type that cannot tell positions apart.

        In bfloat16 the cosine of a small angle is 1; so a narrower type leaves the table in float32.
        """
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]  # torch's has no types
        self._build_table(self.turns.device, self.turns.dtype)
        return self

    def forward(self, x: Tensor, token_positions: Tensor | None = None) -> Tensor:
        """Turn each pair by its position's angle.

        Args:
            x: (..., sequence, d_k).
            token_positions: (sequence) or (batch..., sequence), each below max_seq_len; None: 0, 1, 2, ... Its batch
                dimensions are the first ones of x: positions (batch, sequence) suit x (batch, heads, sequence, d_k).

        Returns:
            (..., sequence, d_k), of the type that came in, and in memory ordered as that.
        """
        length = x.shape[-2]
        if token_positions is None:
            if length > self.max_seq_len:
                raise ConfigError(
                    f"a sequence of {length} is longer than the {self.max_seq_len} that RoPE was made for; "
                    "give fewer tokens, or a greater max_seq_len"
                )
            turns = self.turns[:length]
        else:
            turns = self.turns[_align(token_positions, x.dim() - 1)]
        return _turn(x.to(torch.promote_types(x.dtype, turns.dtype)), turns).to(x.dtype)

    def extra_repr(self) -> str:
        """Show the sizes when the module is printed."""
        return f"theta={self.theta}, d_k={self.d_k}, max_seq_len={self.max_seq_len}"


def _turn(x: Tensor, turns: Tensor) -> Tensor:
    """Turn the pairs of x (..., d_k) by the cosines and sines in turns (..., d_k / 2, 2).

    A pair is a complex number, and a turn its product with cos + i sin: one pass over memory, of which the backward
    pass needs the table only. The compiler, which knows no complex numbers, makes one pass of the product written out.
    """
    pairs = x.view(*x.shape[:-1], x.shape[-1] // 2, 2)
    if torch.compiler.is_compiling():
        # With both numbers of a pair side by side, forward and backward: pairs taken apart and stacked again would have
        # a gradient that is written five times as slowly.
        cos, sin = turns[..., :1], turns[..., 1:]
        return (pairs * cos + pairs.flip(-1) * torch.cat((-sin, sin), dim=-1)).flatten(-2)
    if any(stride % 2 for stride in pairs.stride()[:-1]) or pairs.stride(-1) != 1 or pairs.storage_offset() % 2:
        pairs = pairs.contiguous()  # or a pair is no complex number's place in memory
    return torch.view_as_real(torch.view_as_complex(pairs) * torch.view_as_complex(turns)).flatten(-2)


def _align(positions: Tensor, dims: int) -> Tensor:
    """(batch..., sequence) -> (batch..., 1..., sequence) with `dims` dimensions; a plain (sequence) stays."""
    missing = dims - positions.dim()
    if positions.dim() == 1 or missing <= 0:
        return positions
    shape: Any = (*positions.shape[:-1], *([1] * missing), positions.shape[-1])
    return positions.reshape(shape)
