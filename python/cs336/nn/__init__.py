"""The model, one layer a file. In reading order: functional, linear, embedding, norm, rope, feedforward, cache,
attention, block, loss, transformer.
"""

from __future__ import annotations

from cs336.extra import needs_extra

with needs_extra("cs336.nn"):
    from cs336.nn.attention import MultiheadSelfAttention
    from cs336.nn.block import TransformerBlock
    from cs336.nn.cache import KeyValueCache
    from cs336.nn.embedding import Embedding
    from cs336.nn.feedforward import FeedForward, SwiGLU
    from cs336.nn.functional import cross_entropy, gelu, gelu_tanh, relu2, scaled_dot_product_attention, silu, softmax
    from cs336.nn.linear import Linear
    from cs336.nn.loss import chunked_cross_entropy
    from cs336.nn.norm import LayerNorm, RMSNorm
    from cs336.nn.rope import RotaryPositionalEmbedding
    from cs336.nn.transformer import TransformerLM

__all__ = [
    "Embedding",
    "FeedForward",
    "KeyValueCache",
    "LayerNorm",
    "Linear",
    "MultiheadSelfAttention",
    "RMSNorm",
    "RotaryPositionalEmbedding",
    "SwiGLU",
    "TransformerBlock",
    "TransformerLM",
    "chunked_cross_entropy",
    "cross_entropy",
    "gelu",
    "gelu_tanh",
    "relu2",
    "scaled_dot_product_attention",
    "silu",
    "softmax",
]
