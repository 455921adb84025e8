"""Causal multi-head self-attention."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cs336.config import ModelConfig
from cs336.errors import ConfigError
from cs336.nn.cache import LayerCache, LayerStep
from cs336.nn.functional import scaled_dot_product_attention
from cs336.nn.linear import Linear
from cs336.nn.norm import RMSNorm
from cs336.nn.rope import RotaryPositionalEmbedding

__all__ = ["MultiheadSelfAttention", "SharedValues", "build_attention"]


class SharedValues:
    """The first layer's values in one forward pass, on their way to the later layers.

    Those attend over (v_1 + v_n) / 2 instead of v_n: what a token is stays within reach however deep the layer (value
    residual learning, Zhou et al. 2024, with both shares fixed at a half). Which layer is the first is said from
    outside: under activation checkpointing it comes a second time, after all others.
    """

    def __init__(self) -> None:
        self.first: Tensor | None = None

    def keep(self, values: Tensor) -> Tensor:
        """Keep the first layer's values (B, T, H D), over which it attends."""
        self.first = values
        return values

    def mix(self, values: Tensor) -> Tensor:
        """Return what a later layer attends over, (B, T, H D) as well."""
        assert self.first is not None, "the first layer comes first"
        return (values + self.first) * 0.5


class MultiheadSelfAttention(nn.Module):
    """Each head attends over the tokens up to its own; the heads' outputs stand side by side and are mixed.

    MultiHead(x) = output_proj(concat(head_1, ..., head_h)), head_i = softmax(Q_i K_i^T / sqrt(d_k)) V_i (Vaswani et
    al. 2017, section 3.2.2). Rows i d_k to (i + 1) d_k of q_proj, k_proj and v_proj belong to head i.

    Letters in names: B any leading dimensions, T new tokens, S all tokens so far, H heads, D = d_model / H.

    Args:
        d_model: width of the input and the output.
        num_heads: H; must divide d_model.
        bias: biases in the four projections.
        attn_pdrop: dropout on attention probabilities, in training only.
        rope: turns queries and keys by their positions; None leaves them.
        qk_norm: RMSNorm over each head's queries and keys, with one weight (D) each for all heads, before RoPE.
        norm_eps: of those norms.
        attention: "sdpa" for PyTorch's fused kernel, "reference" for the formula of functional.py.
        device: where the weights are made.
        dtype: of the weights.
    """

    def __init__(
        self,
        d_model: int,
        num_heads: int,
        *,
        bias: bool = False,
        attn_pdrop: float = 0.0,
        rope: RotaryPositionalEmbedding | None = None,
        qk_norm: bool = False,
        norm_eps: float = 1e-5,
        attention: str = "sdpa",
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        if d_model % num_heads:
            raise ConfigError(f"num_heads must divide d_model: {d_model} is not a multiple of {num_heads}")
        if attention not in ("sdpa", "reference"):
            raise ConfigError(f"attention must be sdpa or reference, not {attention!r}")
        self.num_heads = num_heads
        self.head_dim = d_model // num_heads
        self.attn_pdrop = attn_pdrop
        self.attention = attention
        self.q_proj = Linear(d_model, d_model, bias, device, dtype)
        self.k_proj = Linear(d_model, d_model, bias, device, dtype)
        self.v_proj = Linear(d_model, d_model, bias, device, dtype)
        self.output_proj = Linear(d_model, d_model, bias, device, dtype)
        self.q_norm = RMSNorm(self.head_dim, norm_eps, device, dtype) if qk_norm else None
        self.k_norm = RMSNorm(self.head_dim, norm_eps, device, dtype) if qk_norm else None
        self.rope = rope

    def forward(
        self,
        x: Tensor,
        token_positions: Tensor | None = None,
        *,
        cache: LayerCache | LayerStep | None = None,
        mask: Tensor | None = None,
        shared: Callable[[Tensor], Tensor] | None = None,
    ) -> Tensor:
        """(B..., T, d_model) -> (B..., T, d_model).

        Args:
            x: T new tokens, after those in the cache.
            token_positions: (T) or (B..., T), for RoPE; None: 0, 1, 2, ..., going on from the cache.
            cache: earlier keys and values; the new ones are added to it. x must be (B, T, d_model) then.
            mask: (B, 1, T, S), True where a query may attend; None: to all up to itself.
            shared: gives the values to attend over for this layer's own, see SharedValues; None: these themselves.
        """
        past = 0 if cache is None else cache.length
        turned = self.rope is not None or self.q_norm is not None
        # Values that are mixed are new ones, and would stand beside those that queries and keys hold on to.
        at_once = torch.is_grad_enabled() and (turned or shared is None)
        q, k, v = self._project(x, at_once)
        if turned and at_once:
            # Queries and keys will be new ones. What was projected may go, but for the values, which stand in between.
            v = v.clone(memory_format=torch.preserve_format)
        if shared is not None:
            v = shared(v)
        q_BHTD, k_BHTD, v_BHTD = map(self._split_heads, (q, k, v))
        if self.q_norm is not None and self.k_norm is not None:
            q_BHTD, k_BHTD = self.q_norm(q_BHTD), self.k_norm(k_BHTD)
        if self.rope is not None:
            if token_positions is None and past:
                token_positions = torch.arange(past, past + x.shape[-2], device=x.device)
            q_BHTD, k_BHTD = self.rope(q_BHTD, token_positions), self.rope(k_BHTD, token_positions)
        k_BHSD, v_BHSD = (k_BHTD, v_BHTD) if cache is None else cache.append(k_BHTD, v_BHTD)
        out_BHTD = self._attend(q_BHTD, k_BHSD, v_BHSD, past, mask)
        out: Tensor = self.output_proj(out_BHTD.transpose(-3, -2).flatten(-2))  # (B, T, H D)
        return out

    def _project(self, x: Tensor, at_once: bool) -> Iterable[Tensor]:
        """Queries, keys and values, (B, T, H D) each.

        In training by one product with the three weights one below the other, so that x and the gradient are read once
        instead of three times. Without gradients x may be a single token, and putting the weights together more work.
        """
        layers = (self.q_proj, self.k_proj, self.v_proj)
        if not at_once:
            return [layer(x) for layer in layers]
        biases: list[Tensor] = [layer.bias for layer in layers if layer.bias is not None]
        weights: list[Tensor] = [layer.weight for layer in layers]
        return F.linear(x, torch.cat(weights), torch.cat(biases) if biases else None).chunk(3, dim=-1)

    def _split_heads(self, x: Tensor) -> Tensor:
        """(B, T, H D) -> (B, H, T, D)."""
        return x.view(*x.shape[:-1], self.num_heads, self.head_dim).transpose(-3, -2)

    def _attend(self, q_BHTD: Tensor, k_BHSD: Tensor, v_BHSD: Tensor, past: int, mask: Tensor | None) -> Tensor:
        """Attention of the last T tokens over all S = past + T, causal where no mask says otherwise."""
        dropout = self.attn_pdrop if self.training else 0.0
        if self.attention == "reference":
            if mask is None:
                mask = _causal_mask(q_BHTD.shape[-2], k_BHSD.shape[-2], q_BHTD.device)
            return scaled_dot_product_attention(q_BHTD, k_BHSD, v_BHSD, mask, dropout)
        if mask is not None:
            return F.scaled_dot_product_attention(q_BHTD, k_BHSD, v_BHSD, mask, dropout)
        # The kernel's is_causal lines up the first query with the first key, which is wrong after a cache; and a
        # single query may attend to everything.
        mask_needed = past > 0 and q_BHTD.shape[-2] > 1
        return F.scaled_dot_product_attention(
            q_BHTD,
            k_BHSD,
            v_BHSD,
            _causal_mask(q_BHTD.shape[-2], k_BHSD.shape[-2], q_BHTD.device) if mask_needed else None,
            dropout,
            is_causal=past == 0,
        )

    def extra_repr(self) -> str:
        """Show the settings when the module is printed."""
        return f"num_heads={self.num_heads}, attn_pdrop={self.attn_pdrop}, attention={self.attention}"


def build_attention(
    config: ModelConfig,
    rope: RotaryPositionalEmbedding | None,
    device: torch.device | str | None = None,
    dtype: torch.dtype | None = None,
) -> MultiheadSelfAttention:
    """Return the attention layer that a configuration names."""
    return MultiheadSelfAttention(
        config.d_model,
        config.num_heads,
        bias=config.bias,
        attn_pdrop=config.attn_pdrop,
        rope=rope,
        qk_norm=config.qk_norm,
        norm_eps=config.norm_eps,
        attention=config.attention,
        device=device,
        dtype=dtype,
    )


def _causal_mask(queries: int, keys: int, device: torch.device) -> Tensor:
    """(queries, keys), True where a query may attend; the last query sees every key."""
    return torch.ones(queries, keys, dtype=torch.bool, device=device).tril(diagonal=keys - queries)
