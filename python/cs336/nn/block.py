"""The Transformer block: attention and feed-forward around a residual stream."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from cs336.config import ModelConfig
from cs336.nn.attention import build_attention
from cs336.nn.cache import LayerCache, LayerStep
from cs336.nn.feedforward import build_feed_forward
from cs336.nn.norm import build_norm
from cs336.nn.rope import RotaryPositionalEmbedding

__all__ = ["TransformerBlock", "build_rope"]


class TransformerBlock(nn.Module):
    """One layer of the model, in the shape that `norm_placement` and `parallel` say.

        pre             z = x + attn(ln1(x));  y = z + ffn(ln2(z))        (Xiong et al. 2020; GPT-2)
        pre, parallel   y = x + attn(ln1(x)) + ffn(ln2(x))                (GPT-NeoX; Wang & Komatsuzaki 2021)
        post            z = ln1(x + attn(x));  y = ln2(z + ffn(z))        (Vaswani et al. 2017)
        post, parallel  y = ln1(x + attn(x) + ffn(x)), and there is no ln2
        none            the same as pre, without the norms

    Dropout (`residual_pdrop`) follows each sublayer, before the addition.
    """

    def __init__(
        self,
        config: ModelConfig,
        rope: RotaryPositionalEmbedding | None = None,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        """Build from a configuration. `rope` shares the tables of a whole model; None makes them if they are needed."""
        super().__init__()
        self.post = config.norm_placement == "post"
        self.parallel = config.parallel
        norms = config.norm_placement != "none"
        two_norms = norms and not (self.post and self.parallel)
        self.ln1 = build_norm(config, device, dtype) if norms else nn.Identity()
        self.attn = build_attention(config, rope or build_rope(config, device, dtype), device, dtype)
        self.ln2 = build_norm(config, device, dtype) if two_norms else nn.Identity()
        self.ffn = build_feed_forward(config, device, dtype)
        self.dropout = nn.Dropout(config.residual_pdrop)

    def forward(
        self,
        x: Tensor,
        token_positions: Tensor | None = None,
        *,
        cache: LayerCache | LayerStep | None = None,
        mask: Tensor | None = None,
        shared: Callable[[Tensor], Tensor] | None = None,
    ) -> Tensor:
        """(..., T, d_model) -> (..., T, d_model); the arguments are those of the attention."""

        def attend(x: Tensor) -> Tensor:
            out: Tensor = self.dropout(self.attn(x, token_positions, cache=cache, mask=mask, shared=shared))
            return out

        def feed(x: Tensor) -> Tensor:
            out: Tensor = self.dropout(self.ffn(x))
            return out

        if self.post and self.parallel:
            x = self.ln1(x + attend(x) + feed(x))
        elif self.post:
            x = self.ln1(x + attend(x))
            x = self.ln2(x + feed(x))
        elif self.parallel:
            x = x + attend(self.ln1(x)) + feed(self.ln2(x))
        else:
            x = x + attend(self.ln1(x))
            x = x + feed(self.ln2(x))
        return x


def build_rope(
    config: ModelConfig, device: torch.device | str | None = None, dtype: torch.dtype | None = None
) -> RotaryPositionalEmbedding | None:
    """Return the rotary embedding of a configuration, or None if it has other positions."""
    if config.positions != "rope":
        return None
    return RotaryPositionalEmbedding(config.rope_theta, config.head_dim, config.context_length, device, dtype=dtype)
