"""A student's write-up of the course's accounting, and what is wrong with it, term by term.

Its numbers of parameters are right. Its operations are those of one layer, without the output projection; its memory
has terms taken wrong in the table, and then letters lost in the code. Each function begins with what was written and
adds named corrections, in symbols, until it arrives at what is right.
"""

from __future__ import annotations

from dataclasses import dataclass

from cs336.accounting.checks import at_least_one
from cs336.accounting.formula import Formula, H, L, N, V, as_formula, d, sizes
from cs336.config import ModelConfig, preset

__all__ = [
    "WRITTEN_FLOPS",
    "WRITTEN_PARAMETERS",
    "Correction",
    "MemoryCorrection",
    "flops_corrections",
    "memory_corrections",
]

WRITTEN_PARAMETERS = {
    "gpt2-small": 162_935_040,
    "gpt2-medium": 406_014_976,
    "gpt2-large": 837_850_880,
    "gpt2-xl": 1_637_176_000,
}
"""All four right."""

WRITTEN_FLOPS = {
    ("gpt2-small", 1024): {"head": 79_047_426_048, "feed-forward": 9_663_676_416, "attention": 6_845_104_128},
    ("gpt2-medium", 1024): {"head": 105_396_568_064, "feed-forward": 17_179_869_184, "attention": 10_737_418_240},
    ("gpt2-large", 1024): {"head": 131_745_710_080, "feed-forward": 26_843_545_600, "attention": 15_435_038_720},
    ("gpt2-xl", 1024): {"head": 164_682_137_600, "feed-forward": 41_943_040_000, "attention": 22_439_526_400},
    ("gpt2-xl", 16384): {
        "head": 2_634_914_201_600,
        "feed-forward": 671_088_640_000,
        "attention": 1_969_645_158_400,
    },
}
"""Operations of a forward pass as written, by model and context length. What it calls the embedding is the head."""


@dataclass(frozen=True)
class Correction:
    """One step from what was written to what is right."""

    why: str
    change: Formula
    result: Formula
    """With this correction and all before it."""


def flops_corrections() -> list[Correction]:
    """From the operations as written to those of a forward pass."""
    written = 2 * L * V * d + 16 * L * d**2 + 6 * L * d**2 + 4 * L**2 * d
    return _corrected(
        written,
        [
            ("the attention's output projection is left out", 2 * L * d**2),
            ("one layer is counted, not N: the rest of the feed-forward", 16 * (N - 1) * L * d**2),
            ("... of the projections", 8 * (N - 1) * L * d**2),
            ("... of the scores and their weighted sum", 4 * (N - 1) * L**2 * d),
        ],
    )


def _corrected(written: Formula, changes: list[tuple[str, Formula]]) -> list[Correction]:
    steps = [Correction("as written", as_formula(0), written)]
    for why, change in changes:
        steps.append(Correction(why, change, steps[-1].result + change))
    return steps


@dataclass(frozen=True)
class MemoryCorrection:
    """One step of the memory's a * batch + b, in numbers of four bytes, and what batch would fit with it."""

    why: str
    a_change: Formula
    b_change: Formula
    a: int
    """Bytes a sequence, with this correction and all before it."""
    b: int
    largest_batch: int


A_CODE = 3 * N * L**2 + 21 * N * d + L + L * (d + V + 1)
B_CODE = 46 * N * d**2 + 6 * N * d + 4 * V * d + 3 * d
_NOTHING = as_formula(0)

_MEMORY_CHANGES: list[tuple[str, Formula, Formula]] = [
    ("the code drops the number of heads", 3 * N * H * L**2 - 3 * N * L**2, _NOTHING),
    ("the code drops a context length", 21 * N * L * d - 21 * N * d, _NOTHING),
    ("the code adds the cross-entropy's L twice", -1 * L, _NOTHING),
    ("the weighted sum of V is as large as a sublayer's output, not as the scores", N * L * d - N * H * L**2, _NOTHING),
    ("the output projection keeps one output, not four; its states are 4 d², not 2", -3 * N * L * d, 2 * N * d**2),
    ("W2 gives d numbers a token, not 4 d", -3 * N * L * d, _NOTHING),
    ("a norm's weight is kept four times (weight, gradient, two moments), not three", _NOTHING, 2 * N * d + d),
    ("the token embeddings are left out", _NOTHING, 4 * V * d),
    ("the position embeddings are left out", _NOTHING, 4 * L * d),
]


def memory_corrections(config: ModelConfig | None = None, device_memory: int = 80 * 10**9) -> list[MemoryCorrection]:
    """From the code of the write-up, by way of its own formula (after three corrections), to the right memory.

    The first row says 68 sequences fit 80 GB, the fourth 2, the last 3. `config` is GPT-2 XL in the course's shape, or
    another in that shape.
    """
    at_least_one("device_memory", device_memory)
    numbers = sizes(config or preset("gpt2-xl"))
    steps = []
    a, b = A_CODE, B_CODE
    for why, a_change, b_change in [("the code as written", _NOTHING, _NOTHING), *_MEMORY_CHANGES]:
        a, b = a + a_change, b + b_change
        a_bytes, b_bytes = 4 * a.value(numbers), 4 * b.value(numbers)
        fits = max(0, (device_memory - b_bytes) // a_bytes)
        steps.append(MemoryCorrection(why, a_change, b_change, a_bytes, b_bytes, fits))
    return steps
