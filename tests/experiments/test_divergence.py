"""The rule of divergence, on losses made by hand."""

from __future__ import annotations

import math

import pytest

from cs336.experiments.divergence import Judge, window_of


def judged(losses, steps=100):
    """At which step, counted from 1, the rule stops a run, and why."""
    judge = Judge(steps)
    for step, loss in enumerate(losses, start=1):
        if (reason := judge.add(loss)) is not None:
            return step, reason
    return None, None


@pytest.mark.parametrize(("steps", "window"), [(3, 3), (30, 5), (50, 5), (100, 10), (1000, 100)])
def test_the_window_is_a_tenth_of_the_steps_and_at_least_5(steps, window):
    assert window_of(steps) == window


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_what_is_not_finite_stops_at_once(bad):
    assert judged([4.0, 3.0, bad]) == (3, f"the loss is {bad}")


def test_a_loss_that_stays_above_its_start_stops_when_the_window_is_full():
    assert judged([4.0] + [4.5] * 50) == (10, "the mean of the last 10 losses is 4.45, above the start, 4")


def test_a_loss_a_little_above_its_start_is_noise():
    assert judged([4.0] + [4.35] * 99) == (None, None)


def test_a_short_rise_is_forgiven():
    assert judged([4.0, 5.0, 5.0] + [3.0] * 97) == (None, None)


def test_more_than_half_of_the_gain_given_back_stops():
    step, reason = judged([6.0] * 10 + [2.0] * 40 + [5.5] * 50)
    # 2 was reached: the limit is (6 + 2) / 2 + 0.6, and 8 of 10 losses at 5.5 bring the mean above it.
    assert step == 58
    lost = "more than half of what was gained from 6 is lost"
    assert reason == f"the mean of the last 10 losses is 4.8, and it was 2 before: {lost}"


def test_less_than_half_given_back_goes_on():
    assert judged([6.0] * 10 + [2.0] * 40 + [4.5] * 50) == (None, None)
