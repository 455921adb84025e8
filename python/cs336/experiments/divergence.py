"""When a run counts as diverged: a rule on its losses alone, so that it is stopped early and judged the same each time.

Nothing of other runs goes in. So a verdict depends neither on the order in which runs are made, nor on how many are
made side by side, nor on whether one was stopped and went on.
"""

from __future__ import annotations

import math

__all__ = ["MARGIN", "RULE", "Judge", "window_of"]

RULE = (
    "A run has diverged when its loss or gradient is NaN or infinite, or when the mean of its last k losses (k: a "
    "tenth of its steps, at least 5) is, by more than a tenth of the first loss, above the middle between the first "
    "loss and the lowest such mean before (or the first loss, if no mean was lower). So a loss that stays above its "
    "start has diverged, and one that gave back more than half of what it had gained. A diverged run is stopped there. "
    "At its end it has diverged, too, if its validation loss is more than a tenth above the first loss; it has trained "
    "if that mean is below the first loss."
)
"""The rule in words."""

MARGIN = 1.1
"""A loss up to so many times its start is not above it but for noise."""


def window_of(steps: int) -> int:
    """How many losses are averaged: k in the rule."""
    return min(steps, max(5, steps // 10))


class Judge:
    """Watches a run's training losses, step by step."""

    def __init__(self, steps: int) -> None:
        self.window = window_of(steps)
        self.losses: list[float] = []
        self.lowest = math.inf
        """The lowest mean of a window so far."""

    @property
    def mean(self) -> float:
        """The mean of the last losses."""
        last = self.losses[-self.window :]
        return sum(last) / len(last)

    @property
    def limit(self) -> float:
        """What the mean may not pass."""
        start = self.losses[0]
        return (start + min(start, self.lowest)) / 2 + (MARGIN - 1) * start

    def add(self, loss: float) -> str | None:
        """Takes the loss of the next step; says why the run has diverged, if it has."""
        self.losses.append(loss)
        if not math.isfinite(loss):
            return f"the loss is {loss}"
        if len(self.losses) < self.window:
            return None
        mean, limit, start = self.mean, self.limit, self.losses[0]
        if mean <= limit:
            self.lowest = min(self.lowest, mean)
            return None
        if self.lowest >= start:
            return f"the mean of the last {self.window} losses is {mean:.3g}, above the start, {start:.3g}"
        return (
            f"the mean of the last {self.window} losses is {mean:.3g}, and it was {self.lowest:.3g} before: more than "
            f"half of what was gained from {start:.3g} is lost"
        )
