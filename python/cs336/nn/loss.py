"""The loss of the model's head, in chunks: logits of a whole batch never stand in memory."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["IGNORED", "chunked_cross_entropy"]

IGNORED = -100
"""A target that counts in neither the sum nor the number of rows, as in PyTorch's own loss."""

# Bytes of logits at once: on the CPU a few caches full, and no more than malloc keeps for the next chunk; on a graphics
# card enough to keep it busy, and to add up the gradient of the weight seldom.
CHUNK = {"cpu": 32_000_000, "cuda": 2**30}
MULTIPLE = {"cuda": 64}

# A chunk's gradient of the weight is a sum over its rows before it is divided by their number, and no loss scale
# reaches it. In float16, which ends at 65,504, there is room for so many rows with hidden states up to 16.
FLOAT16_ROWS = 4096


def chunked_cross_entropy(
    hidden: Tensor,
    weight: Tensor,
    targets: Tensor,
    *,
    rows: int | None = None,
    multiple: int | None = None,
) -> Tensor:
    """cross_entropy(hidden @ weight^T, targets), as a scalar, in float32 or wider.

    A loss is the start of the backward pass, so the gradient of each chunk of rows is computed while its logits are at
    hand, and they are overwritten by the next. What waits for the backward pass are the gradients of `hidden` and
    `weight` themselves.

    Args:
        hidden: (..., d_model), what the head reads.
        weight: (vocab, d_model), the head's.
        targets: (...), ids from 0 to vocab - 1, or IGNORED. If all are ignored the loss is NaN, as PyTorch's.
        rows: of a chunk; None: as suits the device.
        multiple: the vocabulary is padded to a multiple of this inside, by rows that no softmax sees. None: 64 on CUDA,
            whose matrix products are fast for such sizes only, and 1 elsewhere.
    """
    if hidden.shape[:-1] != targets.shape:
        raise ValueError(
            f"hidden states of shape {tuple(hidden.shape)} need targets of shape {tuple(hidden.shape[:-1])}, "
            f"not {tuple(targets.shape)}"
        )
    if targets.numel() == 0:
        raise ValueError("the mean over no targets has no value; give at least one")
    kind = hidden.device.type
    narrow = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else hidden.dtype
    if rows is None:
        rows = chunk_rows(kind, weight.shape[0], narrow)
    multiple = multiple or MULTIPLE.get(kind, 1)
    with torch.autocast(kind, enabled=False):
        loss: Tensor = _ChunkedCrossEntropy.apply(
            hidden.flatten(0, -2), weight, targets.flatten(), rows, multiple, narrow
        )
    return loss


def chunk_rows(kind: str, vocab: int, dtype: torch.dtype) -> int:
    """Rows of a chunk; on CUDA a power of two, so that those of usual batches are alike, and of sizes products like."""
    number = dtype.itemsize if kind == "cuda" else 4  # elsewhere logits are made float32
    rows = max(1, CHUNK.get(kind, CHUNK["cpu"]) // (number * vocab))
    rows = 1 << rows.bit_length() - 1 if kind == "cuda" else rows
    return min(rows, FLOAT16_ROWS) if dtype == torch.float16 else rows


SoftmaxGradient = Callable[[Tensor, Tensor, int], tuple[Tensor, Tensor]]


def chunk_bytes(kind: str, rows: int, vocab: int, dtype: torch.dtype) -> int:
    """What the logits of a chunk take of this many rows at most, with what becomes of them."""
    columns = vocab + -vocab % MULTIPLE.get(kind, 1)
    wide = torch.promote_types(dtype, torch.float32)
    number = dtype.itemsize
    if kind != "cuda" and wide != dtype:
        number += wide.itemsize  # a copy, to compute with; the rest is in place
    return min(rows, chunk_rows(kind, vocab, dtype)) * columns * number


def softmax_gradient(logits_RV: Tensor, targets_R1: Tensor, vocab: int) -> tuple[Tensor, Tensor]:
    """The losses of rows, (R, 1), and the gradient of their sum, (R, V'), of the logits' type: probabilities - 1 at the
    target.

    Columns from `vocab` on are no entries, and their gradient is 0. The logits may be overwritten: here, in float32, a
    chunk takes no memory but theirs.
    """
    narrow = logits_RV.dtype
    logits_RV = logits_RV.to(torch.promote_types(narrow, torch.float32))
    logits_RV[:, vocab:] = -torch.inf
    shifted_RV = logits_RV.sub_(logits_RV.amax(dim=-1, keepdim=True))
    of_target_R1 = shifted_RV.gather(1, targets_R1)
    exponentials_RV = shifted_RV.exp_()
    total_R1 = exponentials_RV.sum(dim=-1, keepdim=True)
    gradient_RV = exponentials_RV.div_(total_R1)
    gradient_RV.scatter_add_(1, targets_R1, gradient_RV.new_full(targets_R1.shape, -1.0))
    return total_R1.log() - of_target_R1, gradient_RV.to(narrow)


def fastest_softmax_gradient(kind: str, dtype: torch.dtype) -> SoftmaxGradient:
    """The function above, or its kernel where there is one."""
    if kind == "cuda" and dtype.itemsize <= 4 and importlib.util.find_spec("triton") is not None:
        from cs336.nn import loss_triton  # what PyTorch's builds for CUDA bring with them; it takes a second to import

        return loss_triton.softmax_gradient
    return softmax_gradient


class _ChunkedCrossEntropy(torch.autograd.Function):
    """Letters in names: R rows of a chunk, D d_model, V vocabulary."""

    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, weight: Tensor, targets: Tensor, rows: int, multiple: int, dtype: torch.dtype
    ) -> Tensor:
        """Loss and gradients, for the mean over the rows that count."""
        wide = torch.promote_types(dtype, torch.float32)
        vocab = weight.shape[0]
        padding = -vocab % multiple
        weight_VD = weight.to(dtype)
        if padding:
            weight_VD = F.pad(weight_VD, (0, 0, 0, padding))
        grads = any(ctx.needs_input_grad)
        hidden_grad = torch.empty_like(hidden) if grads else None
        weight_grad: Tensor | None = None
        counts = targets != IGNORED
        mean = 1 / counts.sum().to(wide)
        targets_1 = targets.masked_fill(~counts, 0).long()[:, None]
        # Where a row does not count, zeros are read: it then adds nothing to the gradient of the weight.
        read = hidden.masked_fill(~counts[:, None], 0).to(dtype)
        softmax_gradient = fastest_softmax_gradient(hidden.device.type, dtype)
        total = torch.zeros((), dtype=wide, device=hidden.device)
        for start in range(0, len(targets), rows):
            at = slice(start, start + rows)
            hidden_RD, target_R1 = read[at], targets_1[at]
            losses_R1, grad_RV = softmax_gradient(hidden_RD @ weight_VD.T, target_R1, vocab)
            total += (losses_R1.squeeze(1) * counts[at]).sum()
            if hidden_grad is None:
                continue
            hidden_grad[at] = grad_RV @ weight_VD
            weight_grad = _add_product(weight_grad, grad_RV.T, hidden_RD, wide)
        if hidden_grad is not None and weight_grad is not None:
            hidden_grad.mul_(counts[:, None] * mean)
            ctx.save_for_backward(hidden_grad, weight_grad[:vocab].mul_(mean).to(weight.dtype))
        return total * mean

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        """The gradients are known but for what the loss itself is multiplied by."""
        hidden_grad, weight_grad = ctx.saved_tensors
        scale = grads[0]
        return hidden_grad * scale, weight_grad * scale, None, None, None, None


def _add_product(total: Tensor | None, a: Tensor, b: Tensor, dtype: torch.dtype) -> Tensor:
    """total + a @ b of this type, in place where there is a product for it; None is 0."""
    if total is None:
        return (a @ b).to(dtype)
    if a.dtype == dtype:
        torch.addmm(total, a, b, out=total)  # not addmm_, which counters of FLOPs do not know
    elif a.device.type == "cuda" and hasattr(torch.ops.aten.addmm, "dtype_out"):  # since torch 2.8
        torch.ops.aten.addmm.dtype_out(total, a, b, dtype, out=total)
    else:
        total.add_(a @ b)
    return total
