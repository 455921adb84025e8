"""Batches of token ids: at random for training, in order for evaluation."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from cs336.data.token_file import Tokens
from cs336.errors import DataError


def get_batch(
    tokens: Tokens,
    batch_size: int,
    context_length: int,
    device: str | torch.device,
    *,
    rng: np.random.Generator | None = None,
) -> tuple[Tensor, Tensor]:
    """Sequences from random places, each place equally likely, and what follows each of their tokens.

    Args:
        tokens: shape (n,), with n > context_length.
        batch_size: sequences.
        context_length: tokens in each.
        device: where the tensors go.
        rng: where the places come from; the same state gives the same batch.

    Returns:
        inputs and targets, int64, both of shape (batch_size, context_length); targets are the inputs moved by one.
    """
    _check_shape(batch_size, context_length)
    check_length(tokens, context_length)
    if rng is None:
        rng = np.random.default_rng()
    starts = rng.integers(0, len(tokens) - context_length, size=batch_size)
    windows = tokens[starts[:, None] + np.arange(context_length + 1)].astype(np.int64)
    return to_device(windows[:, :-1], device), to_device(windows[:, 1:], device)


def sequential_batches(
    tokens: Tokens, batch_size: int, context_length: int, device: str | torch.device
) -> Iterator[tuple[Tensor, Tensor]]:
    """All of a file in order: every token but the first is a target exactly once. The last batches are smaller.

    Yields inputs and targets, int64, of shape (up to batch_size, up to context_length).
    """
    _check_shape(batch_size, context_length)
    if len(tokens) < 2:
        raise DataError(f"at least 2 tokens are needed to predict one, not {len(tokens)}; encode more text")
    whole = (len(tokens) - 1) // context_length
    for first in range(0, whole, batch_size):
        rows = min(batch_size, whole - first)
        start = first * context_length
        span = tokens[start : start + rows * context_length + 1].astype(np.int64)
        shape = (rows, context_length)
        yield to_device(span[:-1].reshape(shape), device), to_device(span[1:].reshape(shape), device)
    rest = tokens[whole * context_length :].astype(np.int64)
    if len(rest) > 1:
        yield to_device(rest[None, :-1], device), to_device(rest[None, 1:], device)


def check_length(tokens: Tokens, context_length: int, path: Path | None = None) -> None:
    """Raises DataError where not even one sequence fits."""
    if len(tokens) <= context_length:
        where = "" if path is None else f"{path}: "
        raise DataError(
            f"{where}a context of {context_length:,} needs at least {context_length + 1:,} tokens, but there are "
            f"{len(tokens):,}; give more text or a smaller model.context_length"
        )


def _check_shape(batch_size: int, context_length: int) -> None:
    for name, size in (("batch_size", batch_size), ("context_length", context_length)):
        if size < 1:
            raise DataError(f"{name} is {size}; it must be at least 1")


def document_mask(token_ids: Tensor, document_end: int) -> Tensor:
    """Which tokens may attend to which: (B, T) -> (B, 1, T, T), True for earlier ones of the same document.

    The token that ends a document belongs to it.
    """
    ends = (token_ids == document_end).long()
    documents = ends.cumsum(-1) - ends
    same = documents[:, None, :, None] == documents[:, None, None, :]
    return same.tril()


def to_device(array: np.ndarray, device: str | torch.device) -> Tensor:
    """An array as a tensor there."""
    tensor = torch.from_numpy(np.ascontiguousarray(array))
    if torch.device(device).type == "cuda" and torch.cuda.is_available():
        # Pinned memory lets the copy run while the device computes.
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device)
