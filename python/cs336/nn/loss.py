"""The loss of the model's head, in chunks: logits of a whole batch never stand in memory."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["IGNORED", "chunked_cross_entropy"]

IGNORED = -100
"""A target that counts in neither the sum nor the number of rows, as in PyTorch's own loss."""

# Logits at once: a few caches full on the CPU, and on a graphics card enough to keep it busy.
CHUNK = {"cpu": 2**22, "cuda": 2**27}


def chunked_cross_entropy(
    hidden: Tensor, weight: Tensor, targets: Tensor, *, rows: int | None = None, multiple: int | None = None
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
    kind = hidden.device.type
    rows = rows or max(1, CHUNK.get(kind, CHUNK["cpu"]) // weight.shape[0])
    multiple = multiple or (64 if kind == "cuda" else 1)
    narrow = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else hidden.dtype
    with torch.autocast(kind, enabled=False):
        loss: Tensor = _ChunkedCrossEntropy.apply(
            hidden.flatten(0, -2), weight, targets.flatten(), rows, multiple, narrow
        )
    return loss


class _ChunkedCrossEntropy(torch.autograd.Function):
    """Letters in names: R rows of a chunk, D d_model, V vocabulary."""

    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, weight: Tensor, targets: Tensor, rows: int, multiple: int, dtype: torch.dtype
    ) -> Tensor:
        """Loss and gradients, for the mean over the rows that count."""
        wide = torch.promote_types(dtype, torch.float32)
        vocab = weight.shape[0]
        weight_VD = F.pad(weight.to(dtype), (0, 0, 0, -vocab % multiple))
        grads = any(ctx.needs_input_grad)
        hidden_grad = torch.empty_like(hidden) if grads else None
        weight_grad = torch.zeros(weight_VD.shape, dtype=wide, device=weight.device) if grads else None
        counts = targets != IGNORED
        mean = 1 / counts.sum().to(wide)
        total = torch.zeros((), dtype=wide, device=hidden.device)
        for start in range(0, len(targets), rows):
            at = slice(start, start + rows)
            hidden_RD, counted_R = hidden[at].to(dtype), counts[at]
            target_R1 = targets[at].masked_fill(~counted_R, 0).long()[:, None]
            logits_RV = (hidden_RD @ weight_VD.T).to(wide)
            logits_RV[:, vocab:] = -torch.inf
            log_probabilities_RV = torch.log_softmax(logits_RV, dim=-1)
            del logits_RV  # its memory serves the next chunk
            total -= (log_probabilities_RV.gather(1, target_R1).squeeze(1) * counted_R).sum()
            if hidden_grad is None or weight_grad is None:
                continue
            # d loss / d logits = probabilities - 1 at the target, for each row that counts.
            grad_RV = log_probabilities_RV.exp_()
            grad_RV.scatter_add_(1, target_R1, grad_RV.new_full(target_R1.shape, -1.0))
            grad_RV = grad_RV.mul_(counted_R[:, None]).to(dtype)
            hidden_grad[at] = grad_RV @ weight_VD
            _add_product(weight_grad, grad_RV.T, hidden_RD)
        if hidden_grad is not None and weight_grad is not None:
            ctx.save_for_backward(hidden_grad.mul_(mean), weight_grad[:vocab].mul_(mean).to(weight.dtype))
        return total * mean

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        """The gradients are known but for what the loss itself is multiplied by."""
        hidden_grad, weight_grad = ctx.saved_tensors
        scale = grads[0]
        return hidden_grad * scale, weight_grad * scale, None, None, None, None


def _add_product(total: Tensor, a: Tensor, b: Tensor) -> None:
    """total += a @ b, in place if all are of a type."""
    if a.dtype == total.dtype:
        torch.addmm(total, a, b, out=total)  # not addmm_, which counters of FLOPs do not know
    else:
        total += a @ b
