from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from cs336.nn import cross_entropy, gelu, gelu_tanh, relu2, scaled_dot_product_attention, silu, softmax

DTYPES = [torch.float32, torch.float64]


def tolerance(dtype: torch.dtype) -> dict[str, float]:
    return {"rtol": 1e-5, "atol": 1e-6} if dtype == torch.float32 else {"rtol": 1e-12, "atol": 1e-13}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (gelu, F.gelu),
        (gelu_tanh, lambda x: F.gelu(x, approximate="tanh")),
        (silu, F.silu),
        (relu2, lambda x: F.relu(x) ** 2),
    ],
)
def test_activations(ours: object, theirs: object, dtype: torch.dtype) -> None:
    x = torch.cat([torch.linspace(-12, 12, 1001, dtype=dtype), torch.tensor([-1e4, 0.0, 1e4], dtype=dtype)])
    torch.testing.assert_close(ours(x), theirs(x), **tolerance(dtype))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("dim", [0, 1, 2, -1])
def test_softmax(dtype: torch.dtype, dim: int) -> None:
    x = torch.randn(4, 5, 6, dtype=dtype, requires_grad=True)
    weights = torch.randn(4, 5, 6, dtype=dtype)
    torch.testing.assert_close(softmax(x, dim), F.softmax(x, dim), **tolerance(dtype))
    (ours,) = torch.autograd.grad((softmax(x, dim) * weights).sum(), x)
    (theirs,) = torch.autograd.grad((F.softmax(x, dim) * weights).sum(), x)
    torch.testing.assert_close(ours, theirs, **tolerance(dtype))


def test_softmax_is_stable() -> None:
    x = torch.tensor([1e4, 1e4 + 1, -1e4])
    torch.testing.assert_close(softmax(x, 0), F.softmax(x, 0))
    assert softmax(torch.tensor([0.0, -math.inf]), 0).tolist() == [1.0, 0.0]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(), (7,), (3, 4), (2, 3, 4)])
def test_cross_entropy(dtype: torch.dtype, shape: tuple[int, ...]) -> None:
    logits = torch.randn(*shape, 11, dtype=dtype, requires_grad=True)
    targets = torch.randint(0, 11, shape)
    ours, theirs = cross_entropy(logits, targets), F.cross_entropy(logits.reshape(-1, 11), targets.reshape(-1))
    torch.testing.assert_close(ours, theirs, **tolerance(dtype))
    (our_gradient,) = torch.autograd.grad(ours, logits)
    (their_gradient,) = torch.autograd.grad(theirs, logits)
    torch.testing.assert_close(our_gradient, their_gradient, **tolerance(dtype))


@pytest.mark.parametrize("dtype", DTYPES)
def test_cross_entropy_is_stable(dtype: torch.dtype) -> None:
    logits = 1e4 * torch.randn(20, 30, dtype=dtype)
    targets = torch.randint(0, 30, (20,))
    torch.testing.assert_close(cross_entropy(logits, targets), F.cross_entropy(logits, targets), **tolerance(dtype))


def test_cross_entropy_of_half_precision_is_computed_in_float32() -> None:
    logits = torch.randn(50, 1000).bfloat16()
    targets = torch.randint(0, 1000, (50,))
    torch.testing.assert_close(cross_entropy(logits, targets), F.cross_entropy(logits.float(), targets))


def test_cross_entropy_refuses_what_does_not_fit() -> None:
    with pytest.raises(ValueError, match=r"targets of shape \(2, 3\), not \(2,\)"):
        cross_entropy(torch.zeros(2, 3, 5), torch.zeros(2, dtype=torch.long))
    with pytest.raises(ValueError, match="no targets"):
        cross_entropy(torch.zeros(0, 5), torch.zeros(0, dtype=torch.long))
    for target in (-1, 5):
        with pytest.raises(RuntimeError, match="out of bounds"):
            cross_entropy(torch.zeros(1, 5), torch.tensor([target]))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("leading", [(), (2,), (2, 3), (2, 3, 2)])
def test_attention(dtype: torch.dtype, leading: tuple[int, ...]) -> None:
    q, k, v = (torch.randn(*leading, n, d, dtype=dtype) for n, d in [(5, 8), (7, 8), (7, 6)])
    masks: list[Tensor | None] = [None, torch.rand(5, 7) < 0.7, torch.rand(*leading, 5, 7) < 0.7]
    if leading:
        masks.append(torch.rand(*leading[:-1], 1, 1, 7) < 0.7)
    for mask in masks:
        ours = scaled_dot_product_attention(q, k, v, mask)
        theirs = F.scaled_dot_product_attention(q, k, v, mask)
        torch.testing.assert_close(ours, theirs, **tolerance(dtype))


def test_a_query_that_may_attend_to_nothing_gets_zeros_and_clean_gradients() -> None:
    q, k, v = (torch.randn(2, 3, 4, dtype=torch.float64, requires_grad=True) for _ in range(3))
    mask = torch.tensor([[True, False, False], [False, False, False], [True, True, False]])
    gradients = []
    for attend in (scaled_dot_product_attention, F.scaled_dot_product_attention):
        out = attend(q, k, v, mask)
        assert out[:, 1].eq(0).all()
        gradients.append(torch.autograd.grad(out.square().sum(), (q, k, v)))
    torch.testing.assert_close(*gradients)


def test_attention_dropout_keeps_the_mean() -> None:
    torch.manual_seed(0)
    q, k, v = torch.randn(1, 4), torch.randn(9, 4), torch.randn(9, 3)
    draws = torch.stack([scaled_dot_product_attention(q, k, v, dropout=0.3) for _ in range(4000)])
    assert draws.std(0).min() > 0.01
    torch.testing.assert_close(draws.mean(0), scaled_dot_product_attention(q, k, v), rtol=0, atol=0.05)
