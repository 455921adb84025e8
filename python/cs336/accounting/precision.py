"""The number types of training, and how many bytes each part of it takes under them."""

from __future__ import annotations

from cs336.accounting.checks import one_of

__all__ = ["DTYPES", "is_mixed", "narrow_bytes"]

DTYPES = ("float32", "tf32", "bfloat16", "float16")
"""float32 and tf32 keep everything in four bytes, and differ in speed only. bfloat16 and float16 are mixed precision
(Micikevicius et al. 2018) as `torch.autocast` does it: weights, gradients and optimizer states stay in float32, matrix
products read and write two bytes, and norms, residual stream, logits and loss have four."""


def is_mixed(dtype: str) -> bool:
    """Whether matrix products have a narrower type than weights."""
    return one_of("dtype", dtype, DTYPES) in ("bfloat16", "float16")


def narrow_bytes(dtype: str) -> int:
    """Bytes of a number that a matrix product reads or writes."""
    return 2 if is_mixed(dtype) else 4
