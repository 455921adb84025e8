"""How well a model predicts a token file: loss, perplexity, bits per byte."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from cs336.data.batches import check_length, document_mask, sequential_batches
from cs336.data.token_file import Tokens
from cs336.errors import NonFiniteLossError
from cs336.training.distributed import World
from cs336.training.precision import autocast

if TYPE_CHECKING:  # Tokens can be trained on and evaluated without the compiled tokenizer.
    from cs336.tokenizer import Tokenizer

Batch = tuple[Tensor, Tensor]


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
    document_masking: bool = False
    """Whether that context ended where a document ends."""


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
    document_end: int | None = None,
    world: World = World(),  # noqa: B008  it is frozen
) -> EvalResult:
    """Evaluates on ``batches`` batches spread evenly over the file, always the same ones, or (None) on all of it.

    With ``document_end``, no token sees another document. Several processes share the batches among them.
    Raises NonFiniteLossError where the model predicts no numbers.
    """
    lengths = byte_lengths(tokenizer) if tokenizer is not None else None
    # Sums of nats and of targets, over all and over those that stand for text.
    sums = torch.zeros(4, dtype=torch.float64)
    was_training = model.training
    model.eval()
    source = (
        sequential_batches(tokens, batch_size, context_length, device)
        if batches is None
        else spread_batches(tokens, batch_size, context_length, batches, device)
    )
    for (inputs, targets), counts in _share(source, world):
        with autocast(torch.device(device), dtype):
            logits = model(inputs, **mask_of(inputs, document_end))
        losses = _losses(logits.flatten(0, 1), targets.flatten())
        if not counts:
            continue
        losses = losses.cpu().double()  # MPS has no 64 bits
        sums[0] += losses.sum()
        sums[1] += losses.numel()
        if lengths is not None:
            sizes = lengths[targets.flatten().cpu()]
            sums[2] += losses[sizes > 0].sum()
            sums[3] += sizes.sum()
    model.train(was_training)
    nats, count, text_nats, text_bytes = world.sum(sums.to(device if world.size > 1 else "cpu")).tolist()
    loss = nats / count
    if not math.isfinite(loss):
        raise NonFiniteLossError(f"the loss is {loss}: the weights, or what the model makes of them, are not finite")
    bits = text_nats / text_bytes / math.log(2) if text_bytes else None
    return EvalResult(loss, math.exp(min(loss, 700.0)), bits, int(count), context_length, document_end is not None)


def _losses(logits: Tensor, targets: Tensor, *, rows: int = 1024) -> Tensor:
    """Of each row, in float32; some rows at a time, so that no such copies of all logits stand beside them."""
    slices = [slice(start, start + rows) for start in range(0, len(targets), rows)]
    nats = torch.nn.functional.cross_entropy
    return torch.cat([nats(logits[part].float(), targets[part], reduction="none") for part in slices])


def mask_of(inputs: Tensor, document_end: int | None) -> dict[str, Tensor]:
    """What a model is told beside its inputs: who may attend to whom, unless that is everyone before."""
    return {} if document_end is None else {"mask": document_mask(inputs, document_end)}


def _share(source: Iterator[Batch], world: World) -> Iterator[tuple[Batch, bool]]:
    """This process's part of the batches, and whether each counts: where there is none left for it, one is repeated.

    All processes must compute equally often, since under FSDP they gather weights from each other.
    """
    while around := list(islice(source, world.size)):
        yield around[min(world.rank, len(around) - 1)], world.rank < len(around)


def byte_lengths(tokenizer: Tokenizer) -> Tensor:
    """Bytes of each token by id, 0 for special tokens and for ids that are none. Shape (vocab_size,)."""
    lengths = torch.zeros(tokenizer.vocab_size, dtype=torch.int64)
    special = set(tokenizer.special_tokens.values())
    for token_id, token in tokenizer.vocab.items():
        if token_id not in special:
            lengths[token_id] = len(token)
    return lengths


def spread_batches(
    tokens: Tokens, batch_size: int, context_length: int, batches: int, device: str | torch.device
) -> Iterator[tuple[Tensor, Tensor]]:
    """Batches of sequences at places spread evenly over a file."""
    check_length(tokens, context_length)
    starts = np.linspace(0, len(tokens) - context_length - 1, batches * batch_size).astype(np.int64)
    for part in np.split(np.unique(starts), range(batch_size, len(np.unique(starts)), batch_size)):
        windows = torch.from_numpy(tokens[part[:, None] + np.arange(context_length + 1)].astype(np.int64)).to(device)
        yield windows[:, :-1], windows[:, 1:]
