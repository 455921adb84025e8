"""How well a model predicts a token file: loss, perplexity, bits per byte."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from cs336.data.batches import check_length, sequential_batches
from cs336.data.token_file import Tokens

if TYPE_CHECKING:  # Tokens can be trained on and evaluated without the compiled tokenizer.
    from cs336.tokenizer import Tokenizer


@dataclass(frozen=True)
class EvalResult:
    """What an evaluation found, and on how much."""

    loss: float
    """Mean negative log-likelihood a token, in nats."""
    perplexity: float
    """exp(loss)"""
    bits_per_byte: float | None
    """Bits a byte of text, special tokens left out on both sides; None without a tokenizer."""
    tokens: int
    """Predicted tokens."""
    context_length: int
    """The most context any of them had."""


@torch.no_grad()
def evaluate(
    model: torch.nn.Module,
    tokens: Tokens,
    *,
    context_length: int,
    batch_size: int = 32,
    batches: int | None = None,
    tokenizer: Tokenizer | None = None,
    device: str | torch.device = "cpu",
    dtype: torch.dtype = torch.float32,
) -> EvalResult:
    """Evaluates on ``batches`` batches spread evenly over the file, always the same ones, or (None) on all of it."""
    lengths = byte_lengths(tokenizer, device) if tokenizer is not None else None
    nats = text_nats = 0.0
    count = text_bytes = 0
    was_training = model.training
    model.eval()
    source = (
        sequential_batches(tokens, batch_size, context_length, device)
        if batches is None
        else spread_batches(tokens, batch_size, context_length, batches, device)
    )
    for inputs, targets in source:
        with torch.autocast(torch.device(device).type, dtype, enabled=dtype != torch.float32):
            logits = model(inputs)
        losses = torch.nn.functional.cross_entropy(logits.float().flatten(0, 1), targets.flatten(), reduction="none")
        nats += losses.double().sum().item()
        count += losses.numel()
        if lengths is not None:
            sizes = lengths[targets.flatten()]
            text_nats += losses[sizes > 0].double().sum().item()
            text_bytes += int(sizes.sum().item())
    model.train(was_training)
    loss = nats / count
    bits = text_nats / text_bytes / math.log(2) if text_bytes else None
    return EvalResult(loss, math.exp(min(loss, 700.0)), bits, count, context_length)


def byte_lengths(tokenizer: Tokenizer, device: str | torch.device) -> Tensor:
    """Bytes of each token by id, 0 for special tokens and for ids that are none. Shape (vocab_size,)."""
    lengths = torch.zeros(tokenizer.vocab_size, dtype=torch.int64)
    special = set(tokenizer.special_tokens.values())
    for token_id, token in tokenizer.vocab.items():
        if token_id not in special:
            lengths[token_id] = len(token)
    return lengths.to(device)


def spread_batches(
    tokens: Tokens, batch_size: int, context_length: int, batches: int, device: str | torch.device
) -> Iterator[tuple[Tensor, Tensor]]:
    """Batches of sequences at places spread evenly over a file."""
    check_length(tokens, context_length)
    starts = np.linspace(0, len(tokens) - context_length - 1, batches * batch_size).astype(np.int64)
    for part in np.split(np.unique(starts), range(batch_size, len(np.unique(starts)), batch_size)):
        windows = torch.from_numpy(tokens[part[:, None] + np.arange(context_length + 1)].astype(np.int64)).to(device)
        yield windows[:, :-1], windows[:, 1:]
