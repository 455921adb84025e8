"""What an optimizer keeps and computes for each parameter."""

from __future__ import annotations

from cs336.accounting.checks import one_of
from cs336.accounting.formula import Formula, P, as_formula, sizes
from cs336.accounting.parameters import Weight, weights
from cs336.config import ModelConfig

__all__ = ["ADAMW_FLOPS", "MUON_ITERATIONS", "OPTIMIZERS", "optimizer_flops", "optimizer_state_formula"]

OPTIMIZERS = ("adamw", "muon", "sgd")

ADAMW_FLOPS = {
    "decay: w <- (1 - lr λ) w": 1,
    "first moment: m <- β₁ m + (1 - β₁) g": 3,
    "second moment: v <- β₂ v + (1 - β₂) g²": 4,
    "root: √(v / (1 - β₂ᵗ)) + ε": 3,
    "step: w <- w - lr / (1 - β₁ᵗ) m / root": 3,
}
"""Operations a parameter of AdamW, line by line (Loshchilov & Hutter 2019, algorithm 2; a root counts as one): 14."""

SGD_FLOPS = 2
"""w <- w - lr g: a multiplication and a subtraction."""

MUON_ITERATIONS = 5
"""Newton-Schulz iterations of a step (Jordan et al. 2024)."""


def optimizer_state_formula(config: ModelConfig, optimizer: str = "adamw") -> Formula:
    """Numbers that an optimizer keeps, in symbols: two a parameter for AdamW, one momentum for Muon, none for SGD.

    Muon takes the matrices inside the layers, and AdamW the rest, as `cs336 train` has it.
    """
    one_of("optimizer", optimizer, OPTIMIZERS)
    if optimizer == "sgd":
        return as_formula(0)
    one_less = [weight.formula for weight in weights(config) if optimizer == "muon" and _in_muon(weight)]
    return 2 * P - sum(one_less, start=as_formula(0))


def optimizer_flops(config: ModelConfig, optimizer: str = "adamw") -> int:
    """Operations of a step of the optimizer, whatever the batch."""
    one_of("optimizer", optimizer, OPTIMIZERS)
    numbers = sizes(config)
    total = 0
    for weight in weights(config):
        count = weight.formula.value(numbers)
        if optimizer == "sgd":
            total += SGD_FLOPS * count
        elif optimizer == "muon" and _in_muon(weight):
            total += config.num_layers * _newton_schulz(*(side.value(numbers) for side in weight.shape))
        else:
            total += sum(ADAMW_FLOPS.values()) * count
    return total


def _in_muon(weight: Weight) -> bool:
    return weight.in_block and len(weight.shape) == 2


def _newton_schulz(rows: int, columns: int) -> int:
    """Matrix products of one orthogonalization; of x (r, c), r the shorter side, each iteration forms x xᵀ, the square
    of that, and their sum times x. What Muon does besides is elementwise and too little to count."""
    short, long = sorted((rows, columns))
    return MUON_ITERATIONS * (2 * short * short * long + 2 * short**3 + 2 * short * short * long)
