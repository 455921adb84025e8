"""Formulas: they compute as numbers do, and print as people write."""

from __future__ import annotations

import doctest

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cs336.accounting import formula
from cs336.accounting.formula import LETTERS, B, Formula, H, L, N, V, as_formula, d, f

letters = st.sampled_from([*LETTERS])
formulas = st.dictionaries(
    st.lists(letters, max_size=3).map(lambda word: tuple(sorted(word, key=[*LETTERS].index))),
    st.integers(-5, 5),
    max_size=4,
).map(Formula)
sizes = st.fixed_dictionaries(dict.fromkeys(LETTERS, st.integers(0, 7)))


@given(left=formulas, right=formulas, numbers=sizes)
def test_the_value_of_a_sum_is_the_sum_of_the_values(left: Formula, right: Formula, numbers: dict[str, int]) -> None:
    a, b = left.value(numbers), right.value(numbers)
    assert (left + right).value(numbers) == a + b
    assert (left - right).value(numbers) == a - b
    assert (left * right).value(numbers) == a * b
    assert (left**2).value(numbers) == a * a
    assert (3 * left + 2).value(numbers) == 3 * a + 2


@given(any_formula=formulas, other=formulas, letter=letters, numbers=sizes)
def test_putting_in_a_meaning_equals_computing_with_it(
    any_formula: Formula, other: Formula, letter: str, numbers: dict[str, int]
) -> None:
    meant = other.value(numbers)
    assert any_formula.where(letter, other).value(numbers) == any_formula.value(numbers | {letter: meant})


def test_a_line_comes_apart_into_slope_and_rest() -> None:
    line = B * (16 * L * d + 2 * H * L**2) + 4 * V * d
    assert line.slope("B") == 16 * L * d + 2 * H * L**2
    assert line.without("B") == 4 * V * d


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (N * (16 * B * L * d + 2 * B * H * L**2), "16 N B L d + 2 N B H L²"),
        (d * V + 1, "V d + 1"),
        (L - 3 * N * d**12, "L - 3 N d¹²"),
        (-1 * f, "- f"),
        (d - d, "0"),
        (as_formula(1), "1"),
        (as_formula(-7), "- 7"),
    ],
)
def test_formulas_print_as_people_write(value: Formula, text: str) -> None:
    assert str(value) == text
    assert repr(value) == f"Formula({text})"


def test_equal_formulas_are_equal_whatever_their_order() -> None:
    assert d * L + 2 == 2 + L * d
    assert hash(d * L + 2) == hash(2 + L * d)
    assert d != L
    assert as_formula(3) == 3


def test_a_letter_without_a_size_is_an_error() -> None:
    with pytest.raises(KeyError, match="L"):
        (L * d).value({"d": 2})


def test_the_example_of_the_module() -> None:
    assert doctest.testmod(formula).failed == 0
