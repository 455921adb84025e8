"""What generating text takes: the key/value cache, operations, and the time that one token needs at least.

Source: Pope et al. 2022, "Efficiently Scaling Transformer Inference", section 2: a token waits for the operations or
for the bytes, whichever takes longer. While generating it is mostly the bytes: each step reads all weights, but for
embeddings, of which it looks up a row.
"""

from __future__ import annotations

from dataclasses import dataclass

from cs336.accounting.checks import at_least_one
from cs336.accounting.devices import Device
from cs336.accounting.flops import forward_flops
from cs336.accounting.formula import B, Formula, L, N, d, sizes
from cs336.accounting.parameters import num_parameters, parameters
from cs336.accounting.precision import narrow_bytes
from cs336.config import ModelConfig

__all__ = ["KV_CACHE", "Generation", "generation", "kv_cache_bytes"]

KV_CACHE: Formula = 2 * N * B * L * d
"""Numbers in the cache: a key and a value of width d, a layer and token."""


def kv_cache_bytes(
    config: ModelConfig, *, batch_size: int = 1, tokens: int | None = None, dtype: str = "float32"
) -> int:
    """Bytes of the keys and values of so many tokens (None: the whole context) of each sequence of a batch."""
    at_least_one("batch_size", batch_size)
    length = config.context_length if tokens is None else at_least_one("tokens", tokens)
    return narrow_bytes(dtype) * KV_CACHE.value(sizes(config, B=batch_size, L=length))


@dataclass(frozen=True)
class Generation:
    """Generating the last token of a full context, for a batch of sequences."""

    weight_bytes: int
    cache_bytes: int
    prefill_flops: int
    """A whole context read at once."""
    token_flops: int
    """One more token of each sequence, with the cache full."""
    prefill_seconds: float | None
    """At the device's peak; None without a device."""
    token_seconds: float | None
    """At least, on that device."""
    bound: str | None
    """What the time of a token comes from: memory or compute."""


def generation(
    config: ModelConfig, *, batch_size: int = 1, dtype: str = "float32", device: Device | None = None
) -> Generation:
    """Memory, operations and the least time of generating; weights and cache are stored in `dtype`."""
    at_least_one("batch_size", batch_size)
    weight_bytes = narrow_bytes(dtype) * num_parameters(config)
    cache_bytes = kv_cache_bytes(config, batch_size=batch_size, dtype=dtype)
    prefill = batch_size * forward_flops(config)
    token = batch_size * forward_flops(config, tokens=1, past=config.context_length - 1)
    if device is None:
        return Generation(weight_bytes, cache_bytes, prefill, token, None, None, None)
    compute = token / device.peak(dtype)
    looked_up = ("position embeddings", *(() if config.tie_embeddings else ("token embeddings",)))
    read = sum(count for component, count in parameters(config).items() if component not in looked_up)
    memory = (narrow_bytes(dtype) * read + cache_bytes) / device.bandwidth
    bound = "memory" if memory > compute else "compute"
    prefill_seconds = prefill / device.peak(dtype)
    return Generation(weight_bytes, cache_bytes, prefill, token, prefill_seconds, max(compute, memory), bound)
