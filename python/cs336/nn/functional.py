"""The mathematics of the layers, written out: activations, softmax, loss, attention.

Where PyTorch has a fused kernel for the same formula the layers use the kernel, and the tests hold the two equal.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

__all__ = ["cross_entropy", "gelu", "gelu_tanh", "relu2", "scaled_dot_product_attention", "silu", "softmax"]


def gelu(x: Tensor) -> Tensor:
    """x times the probability that a standard normal variable is below x, by erf (Hendrycks & Gimpel 2016)."""
    return x * 0.5 * (1.0 + torch.erf(x / math.sqrt(2.0)))


def gelu_tanh(x: Tensor) -> Tensor:
    """GELU by its tanh approximation, which GPT-2 was trained with (Hendrycks & Gimpel 2016, section 2)."""
    return 0.5 * x * (1.0 + torch.tanh(math.sqrt(2.0 / math.pi) * (x + 0.044715 * x**3)))


def silu(x: Tensor) -> Tensor:
    """x sigmoid(x), also called Swish (Elfwing et al. 2017)."""
    return x * torch.sigmoid(x)


def relu2(x: Tensor) -> Tensor:
    """max(x, 0) squared (So et al. 2021, Primer)."""
    return torch.relu(x).square()


def softmax(x: Tensor, dim: int) -> Tensor:
    """exp(x) / sum(exp(x)) along `dim`. Shape stays.

    The greatest entry is subtracted first: the result is the same, and exp never overflows.
    """
    shifted = x - x.amax(dim=dim, keepdim=True).detach()  # the shift cancels, so no gradient passes through it
    exponentials = shifted.exp()
    return exponentials / exponentials.sum(dim=dim, keepdim=True)


def cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    """Mean negative log-likelihood of the targets, in nats, as a scalar.

    loss = mean(log(sum(exp(logits))) - logits[target]), with the greatest logit subtracted before exp, and computed in
    float32 or wider whatever the logits are.

    Args:
        logits: (..., vocab), unnormalized.
        targets: (...), ids from 0 to vocab - 1. An id outside raises RuntimeError on the CPU.

    Raises:
        ValueError: the leading dimensions differ, or there are no targets.
    """
    if logits.shape[:-1] != targets.shape:
        raise ValueError(
            f"logits of shape {tuple(logits.shape)} need targets of shape {tuple(logits.shape[:-1])}, "
            f"not {tuple(targets.shape)}"
        )
    if targets.numel() == 0:
        raise ValueError("the mean over no targets has no value; give at least one")
    wide = logits if logits.dtype == torch.float64 else logits.float()
    shifted = wide - wide.amax(dim=-1, keepdim=True).detach()
    log_total = shifted.exp().sum(dim=-1).log()
    of_target = shifted.gather(-1, targets.long().unsqueeze(-1)).squeeze(-1)
    return (log_total - of_target).mean()


def scaled_dot_product_attention(
    queries: Tensor, keys: Tensor, values: Tensor, mask: Tensor | None = None, dropout: float = 0.0
) -> Tensor:
    """softmax(Q K^T / sqrt(d_k)) V (Vaswani et al. 2017, equation 1).

    Args:
        queries: (..., queries, d_k).
        keys: (..., keys, d_k).
        values: (..., keys, d_v).
        mask: boolean, broadcasts to (..., queries, keys); True where a query may attend. A query that may attend to
            nothing gets zeros, as from PyTorch's own kernel.
        dropout: probability of dropping an attention probability. Applied whenever it is above 0.

    Returns:
        (..., queries, d_v).
    """
    scores = queries @ keys.transpose(-2, -1) / math.sqrt(queries.shape[-1])
    if mask is None:
        probabilities = softmax(scores, dim=-1)
    else:
        # The lowest finite number instead of -inf: a row without any True then has no NaN, in value or gradient, and
        # the second fill makes it zeros.
        scores = scores.masked_fill(~mask, torch.finfo(scores.dtype).min)
        probabilities = softmax(scores, dim=-1).masked_fill(~mask, 0.0)
    if dropout > 0.0:
        probabilities = torch.dropout(probabilities, dropout, train=True)
    return probabilities @ values
