"""A chunk's logits to losses and gradient, as one kernel for graphics cards.

Each row is read twice, the second time from the cache, and written once; as PyTorch's own kernels in a row it would be
read and written eight times.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

__all__ = ["softmax_gradient"]


@triton.jit  # type: ignore[untyped-decorator]
def _softmax_gradient_of_row(logits, targets, losses, stride, columns, vocab, BLOCK: tl.constexpr):  # type: ignore[no-untyped-def]
    row = tl.program_id(0).to(tl.int64)
    row_start = logits + row * stride
    target = tl.load(targets + row)
    logit_of_target = tl.load(row_start + target).to(tl.float32)
    at = tl.arange(0, BLOCK)
    # The greatest logit so far, and the sum of exponentials in its measure (Milakov & Gimelshein 2018).
    greatest, total = -3e38, 0.0
    for start in range(0, columns, BLOCK):
        # By the columns, whose number lets 8 be loaded at once, and not by the vocabulary.
        x = tl.load(row_start + start + at, mask=start + at < columns, other=0.0).to(tl.float32)
        x = tl.where(start + at < vocab, x, -float("inf"))
        greater = tl.maximum(greatest, tl.max(x, axis=0))
        total = total * tl.exp(greatest - greater) + tl.sum(tl.exp(x - greater), axis=0)
        greatest = greater
    tl.store(losses + row, greatest + tl.log(total) - logit_of_target)
    share = 1.0 / total
    for start in range(0, columns, BLOCK):
        x = tl.load(row_start + start + at, mask=start + at < columns, other=0.0).to(tl.float32)
        x = tl.where(start + at < vocab, x, -float("inf"))
        probability = tl.exp(x - greatest) * share
        gradient = tl.where(start + at == target, probability - 1.0, probability)
        tl.store(row_start + start + at, gradient.to(logits.dtype.element_ty), mask=start + at < columns)


def softmax_gradient(logits_RV: Tensor, targets_R1: Tensor, vocab: int) -> tuple[Tensor, Tensor]:
    """The rows' losses, (R, 1) in float32, and the gradient of their sum, which overwrites the logits."""
    rows, columns = logits_RV.shape
    losses_R1 = torch.empty(rows, 1, dtype=torch.float32, device=logits_RV.device)
    block, warps = (8192, 16) if columns > 32768 else (4096, 8)  # the fastest of several on an H100
    with torch.cuda.device_of(logits_RV):  # type: ignore[no-untyped-call]  # Triton starts kernels on the current one
        _softmax_gradient_of_row[(rows,)](
            logits_RV, targets_R1, losses_R1, logits_RV.stride(0), columns, vocab, BLOCK=block, num_warps=warps
        )
    return losses_R1, logits_RV
