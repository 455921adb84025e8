"""The loss in chunks is the loss of the whole, and so are its gradients."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from cs336.config import ModelConfig
from cs336.nn import TransformerLM, cross_entropy
from cs336.nn.loss import FLOAT16_ROWS, IGNORED, chunk_bytes, chunk_rows, chunked_cross_entropy

MODEL = ModelConfig(vocab_size=50, context_length=12, d_model=16, num_layers=2, num_heads=4, d_ff=24)
TOLERANCE = {torch.float64: 1e-12, torch.float32: 1e-5}


def case(dtype: torch.dtype, *, scale: float = 1.0) -> tuple[Tensor, Tensor, Tensor]:
    torch.manual_seed(0)
    hidden = (scale * torch.randn(3, 7, 8, dtype=dtype)).requires_grad_()
    weight = torch.randn(50, 8, dtype=dtype, requires_grad=True)
    return hidden, weight, torch.randint(0, 50, (3, 7))


def gradients(loss: Tensor, *of: Tensor) -> tuple[Tensor, ...]:
    return torch.autograd.grad(3 * loss, of)  # three times, so that what comes from above shows


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("rows", [1, 4, 21, 100])
@pytest.mark.parametrize("multiple", [1, 64])
def test_equal_to_the_plain_loss(dtype: torch.dtype, rows: int, multiple: int) -> None:
    hidden, weight, targets = case(dtype)
    chunked = chunked_cross_entropy(hidden, weight, targets, rows=rows, multiple=multiple)
    plain = cross_entropy(hidden @ weight.T, targets)
    assert chunked.dtype == dtype
    close = {"rtol": TOLERANCE[dtype], "atol": TOLERANCE[dtype]}
    torch.testing.assert_close(chunked, plain, **close)
    for mine, other in zip(gradients(chunked, hidden, weight), gradients(plain, hidden, weight), strict=True):
        assert mine.dtype == dtype
        torch.testing.assert_close(mine, other, **close)


@pytest.mark.parametrize("rows", [2, 100])
def test_ignored_rows_count_nowhere(rows: int) -> None:
    hidden, weight, targets = case(torch.float64)
    targets[0] = IGNORED
    targets[2, 3] = IGNORED
    chunked = chunked_cross_entropy(hidden, weight, targets, rows=rows)
    plain = F.cross_entropy((hidden @ weight.T).flatten(0, 1), targets.flatten(), ignore_index=IGNORED)
    torch.testing.assert_close(chunked, plain)
    mine, other = gradients(chunked, hidden, weight), gradients(plain, hidden, weight)
    torch.testing.assert_close(mine, other)
    assert not mine[0][0].any()
    assert chunked_cross_entropy(hidden, weight, torch.full_like(targets, IGNORED)).isnan()


def test_stable_where_exponentials_overflow() -> None:
    hidden, weight, targets = case(torch.float32, scale=1e4)
    chunked = chunked_cross_entropy(hidden, weight, targets, rows=4)
    torch.testing.assert_close(chunked, cross_entropy(hidden @ weight.T, targets))
    assert all(gradient.isfinite().all() for gradient in gradients(chunked, hidden, weight))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_under_autocast_the_product_is_narrow_and_the_loss_wide(dtype: torch.dtype) -> None:
    hidden, weight, targets = case(torch.float32)
    exact = cross_entropy(hidden @ weight.T, targets)
    with torch.autocast("cpu", dtype):
        chunked = chunked_cross_entropy(hidden, weight, targets, rows=4)
        plain = cross_entropy(F.linear(hidden, weight).float(), targets)
    assert chunked.dtype == torch.float32
    torch.testing.assert_close(chunked, plain, rtol=1e-6, atol=1e-6)
    assert chunked != exact
    mine = gradients(chunked, hidden, weight)
    for gradient, other in zip(mine, gradients(exact, hidden, weight), strict=True):
        assert gradient.dtype == torch.float32
        torch.testing.assert_close(gradient, other, rtol=0.05, atol=0.01)


def test_float16_has_room_for_the_gradient_of_a_frequent_token() -> None:
    generator = torch.Generator().manual_seed(0)
    hidden, weight = torch.randn(50_000, 8, generator=generator), torch.randn(64, 8, generator=generator) / 8
    hidden[:, 0] = 4.0  # a feature that is always on,
    targets = torch.randint(64, (50_000,), generator=generator)
    targets[:25_000] = 3  # and a token that is half of all: their sum in one chunk would be 100,000
    weight.requires_grad_()
    with torch.autocast("cpu", torch.float16):
        chunked_cross_entropy(hidden, weight, targets).backward()
    (wanted,) = torch.autograd.grad(cross_entropy(hidden @ weight.T, targets), weight)
    torch.testing.assert_close(weight.grad, wanted, rtol=1e-2, atol=1e-3)


def test_gradients_of_a_part_or_of_nothing() -> None:
    hidden, weight, targets = case(torch.float64)
    both = gradients(chunked_cross_entropy(hidden, weight, targets), hidden, weight)
    (alone,) = gradients(chunked_cross_entropy(hidden, weight.detach(), targets), hidden)
    assert torch.equal(alone, both[0])
    with torch.no_grad():
        assert math.isfinite(chunked_cross_entropy(hidden, weight, targets).item())


def test_chunks_of_a_graphics_card_have_round_sizes() -> None:
    assert chunk_rows("cpu", 10_000, torch.bfloat16) == 800
    assert chunk_rows("cuda", 50_257, torch.bfloat16) == 8192
    assert chunk_rows("cuda", 50_257, torch.float32) == 4096
    assert chunk_rows("cuda", 50_257, torch.float16) == FLOAT16_ROWS
    assert chunk_rows("cuda", 10**10, torch.float32) == chunk_rows("cpu", 10**10, torch.float32) == 1
    assert chunk_bytes("cuda", 100_000, 50_257, torch.bfloat16) == 8192 * 50_304 * 2
    assert chunk_bytes("cuda", 100, 50_257, torch.bfloat16) == 100 * 50_304 * 2
    assert chunk_bytes("cpu", 100_000, 10_000, torch.float32) == 800 * 10_000 * 4
    assert chunk_bytes("cpu", 100_000, 10_000, torch.bfloat16) == 800 * 10_000 * (2 + 4)


def test_shapes_that_do_not_fit_are_refused() -> None:
    hidden, weight, targets = case(torch.float32)
    with pytest.raises(ValueError, match=r"\(3, 7, 8\) need targets of shape \(3, 7\), not \(3, 6\)"):
        chunked_cross_entropy(hidden, weight, targets[:, 1:])
    with pytest.raises(ValueError, match="mean over no targets has no value"):
        chunked_cross_entropy(hidden[:, :0], weight, targets[:, :0])


@pytest.mark.parametrize("tie_embeddings", [False, True])
@pytest.mark.parametrize("norm_placement", ["pre", "post"])
def test_a_model_with_targets_returns_its_loss(tie_embeddings: bool, norm_placement: str) -> None:
    torch.manual_seed(0)
    config = dataclasses.replace(MODEL, tie_embeddings=tie_embeddings, norm_placement=norm_placement)
    model = TransformerLM(config, dtype=torch.float64)
    tokens = torch.randint(0, 50, (2, 13))
    inputs, targets = tokens[:, :-1], tokens[:, 1:]
    chunked, plain = model(inputs, targets_BT=targets), cross_entropy(model(inputs), targets)
    torch.testing.assert_close(chunked, plain)
    weights = list(model.parameters())
    torch.testing.assert_close(gradients(chunked, *weights), gradients(plain, *weights))
