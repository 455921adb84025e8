"""Floating-point operations, matrix product by matrix product.

A product of (m, k) and (k, n) takes 2 m k n operations: a multiplication and an addition for each of the m n k pairs
(the course's hand-out, section on resource accounting). All else (norms, softmax, activations, biases) is left out, as
there and in `torch.utils.flop_counter`: it grows with the width, the products with its square.

Attention counts whole matrices, though a causal model needs only half of the scores: so do the course, PaLM's MFU
(Chowdhery et al. 2022, appendix B) and the counter.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from cs336.accounting.checks import at_least_one, one_of, whole
from cs336.accounting.formula import Formula, H, L, N, S, V, as_formula, d, f, k, sizes
from cs336.accounting.optimizers import optimizer_flops
from cs336.config import ModelConfig

__all__ = [
    "MatrixProduct",
    "StepFlops",
    "backward_flops",
    "flops_by_component",
    "forward_flops",
    "matrix_products",
    "step_flops",
]


@dataclass(frozen=True)
class MatrixProduct:
    """One kind of matrix product of the forward pass of one sequence, in all layers and heads."""

    name: str
    component: str
    """projections, scores, feed-forward or output head."""
    left: tuple[int, int]
    right: tuple[int, int]
    copies: int
    """How often it takes place: layers, or layers times heads."""
    formula: Formula
    """Operations of all of them, in symbols."""

    @property
    def flops(self) -> int:
        """Operations of all of them: 2 m k n each."""
        (m, inner), (_, n) = self.left, self.right
        return 2 * self.copies * m * inner * n


def matrix_products(config: ModelConfig, *, tokens: int | None = None, past: int = 0) -> list[MatrixProduct]:
    """The matrix products of a forward pass, in its order, for one sequence.

    Args:
        config: the model.
        tokens: how many tokens go through it; None: its context length.
        past: how many are in the key/value cache already, so that the new ones look at past + tokens.
    """
    tokens = config.context_length if tokens is None else at_least_one("tokens", tokens)
    past = whole("past", past)
    numbers = sizes(config, L=tokens, S=past + tokens)
    keys = S if past else L

    def product(
        name: str, component: str, m: Formula, inner: Formula, n: Formula, copies: Formula | int = N
    ) -> MatrixProduct:
        rows, middle, columns, times = (as_formula(x).value(numbers) for x in (m, inner, n, copies))
        return MatrixProduct(name, component, (rows, middle), (middle, columns), times, 2 * m * inner * n * copies)

    def all_of_them() -> Iterator[MatrixProduct]:
        for name in ("Q", "K", "V"):
            yield product(f"{name} projection", "projections", L, d, d)
        yield product("scores Q·K", "scores", L, k, keys, N * H)
        yield product("weighted sum of V", "scores", L, keys, k, N * H)
        yield product("output projection", "projections", L, d, d)
        yield product("feed-forward W1", "feed-forward", L, d, f)
        if config.ffn == "swiglu":
            yield product("feed-forward W3", "feed-forward", L, d, f)
        yield product("feed-forward W2", "feed-forward", L, f, d)
        yield product("output head", "output head", L, d, V, 1)

    return list(all_of_them())


def flops_by_component(config: ModelConfig, *, tokens: int | None = None, past: int = 0) -> dict[str, int]:
    """Operations of a forward pass of one sequence: projections, scores, feed-forward, output head."""
    shares: dict[str, int] = {}
    for product in matrix_products(config, tokens=tokens, past=past):
        shares[product.component] = shares.get(product.component, 0) + product.flops
    return shares


def forward_flops(config: ModelConfig, *, tokens: int | None = None, past: int = 0) -> int:
    """Operations of a forward pass of one sequence."""
    return sum(flops_by_component(config, tokens=tokens, past=past).values())


def backward_flops(config: ModelConfig, *, tokens: int | None = None, recompute_scores: bool = False) -> int:
    """Operations of a backward pass of one sequence: twice the forward.

    Of C = A B each factor gets a gradient, by a product as large as the first: dA = dC Bᵀ and dB = Aᵀ dC (the course's
    hand-out; Kaplan et al. 2020, section 2.1).

    Args:
        config: the model.
        tokens: how many tokens went through it; None: its context length.
        recompute_scores: count also Q Kᵀ, which fused attention forms again instead of keeping it (Dao et al. 2022,
            section 3.1): five products where the forward pass had two.
    """
    products = matrix_products(config, tokens=tokens)
    again = sum(p.flops for p in products if p.name == "scores Q·K") if recompute_scores else 0
    return 2 * sum(p.flops for p in products) + again


@dataclass(frozen=True)
class StepFlops:
    """Operations of one training step over a batch."""

    forward: int
    backward: int
    """Twice the forward, without what is computed again."""
    recomputed: int
    """What fused attention and activation checkpointing compute a second time."""
    optimizer: int

    @property
    def model(self) -> int:
        """What the mathematics asks for: forward and backward. MFU counts this (Chowdhery et al. 2022, appendix B)."""
        return self.forward + self.backward

    @property
    def total(self) -> int:
        """What the device does in the end; of this, too, the optimizer is a tiny part."""
        return self.model + self.recomputed + self.optimizer


def step_flops(
    config: ModelConfig,
    batch_size: int,
    *,
    attention: str | None = None,
    checkpointing: bool = False,
    optimizer: str = "adamw",
) -> StepFlops:
    """Operations of one training step.

    Args:
        config: the model.
        batch_size: sequences a step, each as long as the context.
        attention: "sdpa" or "reference"; None: the configuration's own. On the CPU, PyTorch writes sdpa out where
            there is dropout on attention.
        checkpointing: each block runs forward once more before its backward pass (Chen et al. 2016).
        optimizer: adamw, muon or sgd.
    """
    at_least_one("batch_size", batch_size)
    forward = forward_flops(config)
    fused = one_of("attention", attention or config.attention, ("sdpa", "reference")) == "sdpa"
    recomputed = backward_flops(config, recompute_scores=fused) - 2 * forward
    if checkpointing:
        recomputed += forward - flops_by_component(config)["output head"]
    return StepFlops(
        forward=batch_size * forward,
        backward=batch_size * 2 * forward,
        recomputed=batch_size * recomputed,
        optimizer=optimizer_flops(config, optimizer),
    )
