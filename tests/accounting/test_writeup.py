"""The write-up's figures, wrong as they are, and the way from each to the right one."""

from __future__ import annotations

import pytest

from cs336.accounting import forward_flops, training_memory
from cs336.accounting.formula import B, H, L, N, V, d, sizes
from cs336.accounting.writeup import (
    A_CODE,
    B_CODE,
    WRITTEN_FLOPS,
    flops_corrections,
    memory_corrections,
)
from cs336.accounting.writeup_tables import answers, shares
from cs336.config import preset

XL = preset("gpt2-xl")


@pytest.mark.parametrize(("name", "context"), WRITTEN_FLOPS)
def test_operations_from_the_written_to_the_right_total(name: str, context: int) -> None:
    config = preset(name, context_length=context)
    numbers = sizes(config)
    first, *_, last = steps = flops_corrections()
    assert first.result.value(numbers) == sum(WRITTEN_FLOPS[name, context].values())
    assert last.result.value(numbers) == forward_flops(config)
    total = first.result.value(numbers) + sum(step.change.value(numbers) for step in steps)
    assert total == forward_flops(config)


def test_the_written_totals() -> None:
    totals = [sum(parts.values()) for parts in WRITTEN_FLOPS.values()]
    assert totals == [95_556_206_592, 133_313_855_488, 174_024_294_400, 229_064_704_000, 5_275_648_000_000]


@pytest.mark.parametrize(("name", "context"), WRITTEN_FLOPS)
def test_each_written_component_is_one_layer_of_the_right_one(name: str, context: int) -> None:
    """Without the output projection; and the head, which the write-up calls embedding, whole."""
    config = preset(name, context_length=context)
    tokens, width = context, config.d_model
    scores = 4 * tokens**2 * width
    assert WRITTEN_FLOPS[name, context] == {
        "head": 2 * tokens * width * config.vocab_size,
        "feed-forward": 4 * tokens * width * config.hidden_size,
        "attention": 3 * 2 * tokens * width**2 + scores,
    }


def test_memory_from_the_written_code_to_the_right_batch() -> None:
    steps = memory_corrections(XL)
    written, formula, right = steps[0], steps[3], steps[-1]
    assert (written.a, written.b, written.largest_batch) == (822_845_440, 23_898_361_600, 68)
    own = B * (3 * N * H * L**2 + 21 * N * L * d + L * (d + V + 1))
    assert (formula.a, formula.largest_batch) == (4 * own.value(sizes(XL, B=1)), 2)
    memory = training_memory(XL)
    assert (right.a, right.b, right.largest_batch) == (memory.a, memory.b, memory.largest_batch(80 * 10**9))
    assert right.largest_batch == 3


@pytest.mark.parametrize("name", ["gpt2-small", "gpt2-medium", "gpt2-large", "gpt2-xl"])
def test_memory_s_corrections_hold_for_every_size(name: str) -> None:
    config = preset(name)
    right, memory = memory_corrections(config)[-1], training_memory(config)
    assert (right.a, right.b) == (memory.a, memory.b)


def test_memory_s_corrections_in_symbols() -> None:
    steps = memory_corrections(XL)
    a = sum((step.a_change for step in steps), start=A_CODE)
    b = sum((step.b_change for step in steps), start=B_CODE)
    assert a == 2 * N * H * L**2 + 16 * N * L * d + L * d + L * V + L
    assert b == 4 * (12 * N * d**2 + 2 * N * d + d + 2 * V * d + L * d)


def test_the_answers_follow_from_the_formulas() -> None:
    rows = {row[0]: row[1:] for row in answers().rows}
    assert rows["largest batch for 80 GB"] == ("68 (its own formula: 2)", "3")
    assert rows["FLOP of a forward pass"] == ("229.065 G", "3.507 T")
    assert rows["FLOP at 16,384 tokens"] == ("5.276 T", "133.417 T")
    assert rows["what takes most of them"][1] == "feed-forward, in all sizes: 39.8%, 49.9%, 54.5%, 57.4%"
    assert rows["whose share grows with size"][1] == "feed-forward from 39.8% to 57.4%"
    assert rows["at 16,384 tokens"][1] == "attention 73.9%, feed-forward 24.1%, head 2.0%"


def test_written_shares_are_those_of_the_write_up() -> None:
    written = {(row[0], row[1]): row[2::2] for row in shares().rows}
    assert written["gpt2-xl", 1024] == pytest.approx((0.718932837, 0.183105643, 0.097961519))
    assert written["gpt2-xl", 16384] == pytest.approx((0.499448447204969, 0.127204968944099, 0.373346583850932))
