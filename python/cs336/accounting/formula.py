"""Formulas that can be read and computed: polynomials in the sizes of a model.

Each count of this package is written once, in letters, and its number is the value of that very formula, so that what
is printed in symbols and what is printed in digits cannot part.

    >>> from cs336.accounting.formula import L, N, d
    >>> attention = N * (8 * L * d**2 + 4 * L**2 * d)
    >>> print(attention)
    8 N L d² + 4 N L² d
    >>> attention.value({"N": 2, "L": 3, "d": 5})
    1560
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping

from cs336.config import ModelConfig

__all__ = ["LETTERS", "B", "Formula", "H", "L", "N", "P", "S", "V", "as_formula", "d", "f", "k", "sizes"]

LETTERS = {
    "P": "parameters of the model",
    "N": "num_layers",
    "B": "batch size, in sequences",
    "H": "num_heads",
    "L": "tokens of a sequence: context_length, or fewer",
    "S": "tokens that a query may look at, those in the cache and the new ones",
    "V": "vocab_size",
    "d": "d_model",
    "k": "width of a head, d / H",
    "f": "d_ff, the inner width of the feed-forward layer",
}
"""What the letters stand for, in the order in which a product names them."""

_SUPERSCRIPTS = str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹")

Monomial = tuple[str, ...]
"""Letters, each as often as it is a factor, in the order of LETTERS."""


class Formula:
    """A polynomial with whole coefficients. It adds, multiplies and compares as numbers do."""

    __slots__ = ("terms",)

    def __init__(self, terms: Mapping[Monomial, int]) -> None:
        self.terms = {letters: coefficient for letters, coefficient in terms.items() if coefficient}

    def __add__(self, other: Formula | int) -> Formula:
        terms = Counter(self.terms)
        for letters, coefficient in as_formula(other).terms.items():
            terms[letters] += coefficient
        return Formula(terms)

    def __mul__(self, other: Formula | int) -> Formula:
        terms: Counter[Monomial] = Counter()
        for left, a in self.terms.items():
            for right, b in as_formula(other).terms.items():
                terms[tuple(sorted(left + right, key=_ORDER.__getitem__))] += a * b
        return Formula(terms)

    def __sub__(self, other: Formula | int) -> Formula:
        return self + -1 * as_formula(other)

    def __pow__(self, exponent: int) -> Formula:
        return math.prod([self] * exponent, start=as_formula(1))

    __radd__ = __add__
    __rmul__ = __mul__

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Formula | int) and self.terms == as_formula(other).terms

    def __hash__(self) -> int:
        return hash(frozenset(self.terms.items()))

    def value(self, sizes: Mapping[str, int]) -> int:
        """The number that the formula has for these sizes, one for each letter in it."""
        return sum(c * math.prod(sizes[letter] for letter in letters) for letters, c in self.terms.items())

    def where(self, letter: str, meaning: Formula) -> Formula:
        """The same formula with something put in for a letter: f = 4 d turns 2 N d f into 8 N d²."""
        return sum(
            (
                Formula({letters: c}).without(letter)
                + Formula({letters: c}).slope(letter).where(letter, meaning) * meaning
                for letters, c in self.terms.items()
            ),
            start=as_formula(0),
        )

    def slope(self, letter: str) -> Formula:
        """What the letter is multiplied with, in a formula in which it stands once a term at most: `a` of a B + b."""
        terms: dict[Monomial, int] = {}
        for letters, coefficient in self.terms.items():
            if letter in letters:
                rest = list(letters)
                rest.remove(letter)
                terms[tuple(rest)] = coefficient
        return Formula(terms)

    def without(self, letter: str) -> Formula:
        """The terms in which the letter does not stand: `b` of a B + b."""
        return Formula({letters: c for letters, c in self.terms.items() if letter not in letters})

    def __str__(self) -> str:
        text = ""
        for letters, coefficient in self.terms.items():
            sign = "-" if coefficient < 0 else "+"
            factors = [str(abs(coefficient))] if abs(coefficient) != 1 or not letters else []
            factors += [_power(letter, exponent) for letter, exponent in Counter(letters).items()]
            text += f" {sign} {' '.join(factors)}"
        return text.removeprefix(" + ").lstrip() or "0"

    def __repr__(self) -> str:
        return f"Formula({self})"


_ORDER = {letter: place for place, letter in enumerate(LETTERS)}


def as_formula(value: Formula | int) -> Formula:
    """A number as a formula without letters; a formula as it is."""
    return value if isinstance(value, Formula) else Formula({(): value})


def _power(letter: str, exponent: int) -> str:
    return letter if exponent == 1 else letter + str(exponent).translate(_SUPERSCRIPTS)


P, N, B, H, L, S, V, d, k, f = (Formula({(letter,): 1}) for letter in LETTERS)


def sizes(config: ModelConfig, **others: int) -> dict[str, int]:
    """The numbers that a model has for the letters; `B`, and an `L` or `S` of one's own, as keywords."""
    return {
        "P": config.num_parameters(),
        "N": config.num_layers,
        "H": config.num_heads,
        "L": config.context_length,
        "S": config.context_length,
        "d": config.d_model,
        "k": config.head_dim,
        "f": config.hidden_size,
        "V": config.vocab_size,
        **others,
    }
