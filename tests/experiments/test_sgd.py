"""The learning-rate study: the formula against the optimizer, and the sentences against the numbers."""

from __future__ import annotations

import math

import pytest

from cs336.errors import ConfigError
from cs336.experiments.sgd import Descent, curve_table, descend, later_table, rates_table


@pytest.mark.parametrize("rate", [1, 10, 99, 101, 1000])
def test_each_step_is_the_formula(rate):
    run = descend(rate, 20, seed=3)
    assert run.weights == 100
    for step, (before, after) in enumerate(zip(run.losses, run.losses[1:], strict=False)):
        assert after == pytest.approx(before * (1 - 2 * rate / (100 * math.sqrt(step + 1))) ** 2, rel=1e-9)


@pytest.mark.parametrize("shape", [(10, 10), (3, 5)])
@pytest.mark.parametrize("part", [0.99, 1.01])
def test_the_threshold_is_the_number_of_weights(shape, part):
    run = descend(part * math.prod(shape), 1, shape=shape)
    assert (run.losses[1] > run.losses[0]) == (part > 1)


def test_verdicts_of_the_courses_rates():
    runs = [descend(rate, 10) for rate in (1, 10, 100, 1000)]
    assert [run.verdict(10) for run in runs] == ["decays", "decays", "decays", "diverges"]
    assert rates_table(runs, 10).notes[:2] == [
        "The loss decays in 10 steps, the fastest first: at 100, 10, 1.",
        "The loss diverges in 10 steps: at 1000.",
    ]
    assert "At 100 the first step leaves the loss as it is" in rates_table(runs, 10).notes[-1]
    assert runs[2].verdict(1) == "stays"


@pytest.mark.parametrize("rate", [150, 300, 1000])
def test_the_decaying_rate_turns_the_loss_where_the_formula_says(rate):
    run = descend(rate, 150)
    assert run.peak_step == run.threshold_step == math.ceil((rate / 100) ** 2) - 1


def test_what_becomes_of_a_divergent_run():
    run = descend(1000, 1000)
    (row,) = later_table([run], 10).rows
    back = row[4]
    assert run.losses[back] < run.losses[0] <= run.losses[back - 1]
    assert row[-1] < 1e-9
    short = descend(1000, 20)
    assert later_table([short], 10).notes == ["At 1000 the loss still grows after 20 steps; by the formula, until 99."]
    falling = descend(1000, 120)
    assert "still above its start" in later_table([falling], 10).notes[0]
    assert later_table([descend(1, 10)], 10).notes == ["No rate let the loss grow in 10 steps."]


def test_an_overflow_is_said_not_hidden():
    run = descend(1e40, 10)
    assert run.verdict(10) == "overflows"
    table = later_table([run], 10)
    assert table.rows[0][2] is None
    assert "beyond float64" in table.notes[0]
    assert "The loss overflows in 10 steps: at 1e+40." in rates_table([run], 10).notes


def test_verdicts_follow_from_the_losses():
    assert Descent(1, (1.0, 2.0), 100).verdict(1) == "diverges"
    assert Descent(1, (1.0, 1.0), 100).verdict(1) == "stays"
    assert Descent(1, (1.0, math.nan), 100).verdict(1) == "overflows"
    assert curve_table([Descent(1, (1.0, 2.0), 100), Descent(5, (1.0, 0.0), 100)], 1).rows == [(0, 1, 1), (1, 2, 0)]


@pytest.mark.parametrize(("rate", "steps"), [(-1, 10), (math.nan, 10), (math.inf, 10), (1, 0)])
def test_nonsense(rate, steps):
    with pytest.raises(ConfigError):
        descend(rate, steps)
