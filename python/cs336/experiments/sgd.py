"""Which learning rates let SGD diverge: the course's toy problem, measured, and the threshold derived.

The loss is the mean of the squares of n weights (n = 100), from the course's start, 5 times a standard normal. Its
gradient is 2 w / n, so that step t, counted from 0, of the course's SGD (rate r / sqrt(t + 1)) multiplies every weight
by

    1 - 2 r / (n sqrt(t + 1))

and the loss by its square. The loss grows in a step if the factor is beyond 1 in size: if r > n sqrt(t + 1). So n is
the threshold of the first step. A greater rate lets the loss grow for as long as t + 1 < (r / n)^2; then the decaying
rate is below the threshold, and the loss falls.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from cs336.accounting.table import Column, Table
from cs336.errors import ConfigError
from cs336.optim import SGD

__all__ = ["RATES", "SHAPE", "STEPS", "Descent", "curve_table", "descend", "later_table", "rates_table"]

RATES = (1.0, 10.0, 100.0, 1000.0)
STEPS = 10
SHAPE = (10, 10)
_SMALL = 1e-9
"""A change of the loss, as a part of it, that rounding may make."""


@dataclass(frozen=True)
class Descent:
    """A run at one rate: the loss before the first step, and after each."""

    rate: float
    losses: tuple[float, ...]
    weights: int

    def verdict(self, steps: int) -> str:
        """What the loss did in so many steps, from the measured losses alone."""
        first, last = self.losses[0], self.losses[steps]
        if not math.isfinite(last):
            return "overflows"
        if abs(last - first) <= _SMALL * first:
            return "stays"
        return "diverges" if last > first else "decays"

    @property
    def threshold_step(self) -> int:
        """After how many steps the formula has the loss at its greatest: the first t at which r <= n sqrt(t + 1)."""
        return max(0, math.ceil((self.rate / self.weights) ** 2) - 1)

    @property
    def peak_step(self) -> int:
        """After how many steps it was measured at its greatest; the first, where several are equal but for rounding."""
        greatest = max(self.losses)
        return next(step for step, loss in enumerate(self.losses) if loss >= greatest * (1 - _SMALL))

    @property
    def recovery_step(self) -> int | None:
        """After how many steps the loss is below its start for the first time after the peak."""
        after = range(self.peak_step, len(self.losses))
        return next((step for step in after if self.losses[step] < self.losses[0]), None)


def descend(rate: float, steps: int, *, seed: int = 0, shape: tuple[int, int] = SHAPE) -> Descent:
    """Runs the course's SGD. In float64: in float32 a rate of 1000 overflows before the decaying rate takes hold."""
    if not (math.isfinite(rate) and rate >= 0):
        raise ConfigError(f"a learning rate is a number of at least 0, not {rate}")
    if steps < 1:
        raise ConfigError(f"steps must be at least 1, not {steps}")
    start = torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    weights = torch.nn.Parameter(5 * start)
    optimizer = SGD([weights], lr=rate)
    losses = []
    for _ in range(steps):
        optimizer.zero_grad()
        loss = (weights**2).mean()
        losses.append(loss.item())
        loss.backward()  # type: ignore[no-untyped-call]  # torch's has no types
        optimizer.step()
    losses.append((weights.detach() ** 2).mean().item())
    return Descent(rate, tuple(losses), weights.numel())


def rates_table(runs: Sequence[Descent], steps: int) -> Table:
    """The verdicts on the course's few steps."""
    columns = (
        Column("rate", "number"),
        Column("loss before", "number"),
        Column("after step 1", "number"),
        Column(f"after step {steps}", "number"),
        Column("last / first", "number", "times"),
        Column("verdict"),
    )
    rows = []
    for run in runs:
        first, last = run.losses[0], run.losses[steps]
        rows.append((run.rate, first, run.losses[1], last, last / first, run.verdict(steps)))
    notes = [*_comparison(runs, steps), *_first_step(runs)]
    return Table("rates", f"{steps} steps of SGD", columns, rows, notes=notes)


def _comparison(runs: Sequence[Descent], steps: int) -> list[str]:
    """Which rates decay, the fastest first, and which diverge."""
    by_verdict: dict[str, list[Descent]] = {}
    for run in sorted(runs, key=lambda run: run.losses[steps]):
        by_verdict.setdefault(run.verdict(steps), []).append(run)
    notes = []
    for verdict, found in by_verdict.items():
        rates = ", ".join(f"{run.rate:g}" for run in found)
        order = ", the fastest first" if verdict == "decays" and len(found) > 1 else ""
        notes.append(f"The loss {verdict} in {steps} steps{order}: at {rates}.")
    return notes


def _first_step(runs: Sequence[Descent]) -> list[str]:
    """The threshold, and the measured first steps beside it."""
    weights = runs[0].weights
    below, above = (_change(descend(weights * part, 1)) for part in (0.99, 1.01))
    notes = [
        f"The threshold: step t multiplies every weight by 1 - 2 r / ({weights} sqrt(t + 1)), so that the loss grows if"
        f" r > {weights} sqrt(t + 1): in the first step, if r > {weights}. Measured there at {0.99 * weights:g}: "
        f"{below:+.2%}; at {1.01 * weights:g}: {above:+.2%}."
    ]
    still = [run for run in runs if run.rate and abs(_change(run)) <= _SMALL]
    for run in still:
        notes.append(f"At {run.rate:g} the first step leaves the loss as it is, for it turns the sign of every weight.")
    return notes


def _change(run: Descent) -> float:
    """By what part of itself the first step changed the loss."""
    return run.losses[1] / run.losses[0] - 1


def later_table(runs: Sequence[Descent], steps: int) -> Table:
    """What the decaying rate makes of those that grew, in all steps."""
    grew = [run for run in runs if run.verdict(steps) in ("diverges", "overflows")]
    columns = (
        Column("rate", "number"),
        Column("steps to the peak, by formula", "count", "peak by formula"),
        Column("steps to the peak, measured", "count", "measured"),
        Column("loss at the peak", "number", "loss there"),
        Column("steps until below the start", "count", "below the start"),
        Column("steps", "count"),
        Column("loss after them", "number", "loss after"),
    )
    rows = []
    notes = []
    for run in grew:
        total, last = len(run.losses) - 1, run.losses[-1]
        overflown = not all(map(math.isfinite, run.losses))
        peak = None if overflown else run.peak_step
        back = None if overflown else run.recovery_step
        rows.append((run.rate, run.threshold_step, peak, max(run.losses), back, total, last))
        notes.append(_later(run, overflown))
    if not grew:
        notes = [f"No rate let the loss grow in {steps} steps."]
    return Table("later", "What the decaying rate makes of them later", columns, rows, notes=notes)


def _later(run: Descent, overflown: bool) -> str:
    """What became of a run."""
    total = len(run.losses) - 1
    if overflown:
        step = next(step for step, loss in enumerate(run.losses) if not math.isfinite(loss))
        return f"At {run.rate:g} the loss is beyond float64 after {step:,} steps; what comes later says nothing."
    peak, back = run.peak_step, run.recovery_step
    if peak == total:
        return (
            f"At {run.rate:g} the loss still grows after {total:,} steps; by the formula, until {run.threshold_step:,}."
        )
    turned = f"At {run.rate:g} the loss grows for {peak:,} steps, to {run.losses[peak]:.3g}, and then falls"
    if back is None:
        return f"{turned}; after {total:,} steps it is {run.losses[-1]:.3g}, still above its start."
    return f"{turned}: after {back:,} steps it is below its start, after {total:,} it is {run.losses[-1]:.3g}."


def curve_table(runs: Sequence[Descent], steps: int) -> Table:
    """The losses, step by step."""
    columns = (Column("step", "count"), *(Column(f"{run.rate:g}", "number") for run in runs))
    rows = [(step, *(run.losses[step] for run in runs)) for step in range(steps + 1)]
    return Table("curve", "Loss by step and rate", columns, rows)
