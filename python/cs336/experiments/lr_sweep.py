"""Learning rates and warm-ups of a training configuration: which ends lowest, and where training becomes unstable."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from cs336.accounting.table import Column, Table
from cs336.errors import ConfigError
from cs336.experiments.arms import Arm, Outcome
from cs336.experiments.divergence import RULE
from cs336.experiments.runner import Told, say_nothing
from cs336.experiments.study import OUTCOME_COLUMNS, Study, conduct, outcome_cells
from cs336.training import RunConfig

__all__ = ["RATES", "Edge", "Sweep", "at_rate", "geometric", "lr_sweep", "sweep_arms"]

RATES = (1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1, 3e-1, 1.0)
"""Learning rates that a sweep takes where none are given."""


@dataclass(frozen=True)
class Edge:
    """Where training becomes unstable, for one warm-up."""

    warmup: int
    largest_trained: float | None
    """The largest rate that trained."""
    smallest_diverged: float | None
    """The smallest rate that diverged."""

    @property
    def sentence(self) -> str:
        """What the numbers say."""
        steps = f"{self.warmup:,} step{'' if self.warmup == 1 else 's'} of warm-up"
        trained, diverged = self.largest_trained, self.smallest_diverged
        if trained is None and diverged is None:
            return f"With {steps}, no rate trained and none diverged."
        if trained is None:
            return f"With {steps}, no rate trained; the smallest that diverged is {diverged:g}."
        if diverged is None:
            return f"With {steps}, no rate diverged; the largest that trained is {trained:g}."
        found = f"the largest rate that trained is {trained:g}, the smallest that diverged {diverged:g}"
        if trained > diverged:
            return f"With {steps}, {found}: between them, some trained and some diverged."
        return f"With {steps}, {found}: the edge of stability is between them."


@dataclass(frozen=True)
class Sweep(Study):
    """The outcome of every rate with every warm-up; ``about`` of each has ``rate`` and ``warmup``."""

    kind: ClassVar[str] = "lr-sweep"

    @property
    def best(self) -> Outcome | None:
        """The arm that trained to the lowest loss; of equals, the one with the smallest rate."""
        trained = [one for one in self.outcomes if one.has_trained and one.loss is not None]
        return min(trained, key=lambda one: (one.loss, one.about["rate"], one.about["warmup"]), default=None)

    @property
    def warmups(self) -> list[int]:
        """The warm-ups, each once."""
        return sorted({int(one.about["warmup"]) for one in self.outcomes})

    def of_warmup(self, warmup: int) -> list[Outcome]:
        """The arms with a warm-up, by rate."""
        return sorted((one for one in self.outcomes if one.about["warmup"] == warmup), key=rate_of)

    def edges(self) -> list[Edge]:
        """The edge of stability for each warm-up."""
        found = []
        for warmup in self.warmups:
            arms = self.of_warmup(warmup)
            trained = [rate_of(one) for one in arms if one.has_trained]
            diverged = [rate_of(one) for one in arms if one.status == "diverged"]
            found.append(Edge(warmup, max(trained, default=None), min(diverged, default=None)))
        return found

    def to_json(self) -> dict[str, Any]:
        """All of it in plain values, with what follows from the outcomes."""
        best = None if self.best is None else self.best.name
        edges = [dataclasses.asdict(edge) for edge in self.edges()]
        return super().to_json() | {"best": best, "edges": edges}

    @classmethod
    def from_json(cls, told: dict[str, Any]) -> Sweep:
        """What `to_json` gave; what follows from the outcomes is found anew."""
        return super().from_json({key: value for key, value in told.items() if key not in ("best", "edges")})

    def tables(self) -> list[Table]:
        """Every arm, with the best and the edges in the notes."""
        columns = (
            Column("rate", "number"),
            Column("warm-up", "count"),
            *OUTCOME_COLUMNS,
        )
        rows = []
        for warmup in self.warmups:
            for one in self.of_warmup(warmup):
                rows.append((rate_of(one), warmup, *outcome_cells(one)))
        return [Table("arms", "Losses by learning rate and warm-up", columns, rows, notes=self.sentences())]

    def sentences(self) -> list[str]:
        """The best arm, the edges, what went wrong, the rule."""
        failed = [f"{one.name} failed: {one.reason}" for one in self.failed]
        unfinished = len(self.unfinished)
        left = [f"{unfinished} of {len(self.outcomes)} arms have not finished."] if unfinished else []
        return [self.verdict, *(edge.sentence for edge in self.edges()), *failed, *left, RULE]

    @property
    def verdict(self) -> str:
        """The best arm in a sentence."""
        best = self.best
        if best is None:
            return "No arm has trained."
        measure = "training" if best.valid_loss is None else "validation"
        tried = [rate_of(one) for one in self.outcomes]
        at_end = {min(tried): "smallest", max(tried): "largest"}.get(rate_of(best))
        beyond = (
            f" It is the {at_end} rate tried; one beyond it may be better." if at_end and len(set(tried)) > 1 else ""
        )
        return (
            f"The lowest {measure} loss, {best.loss:.4f}, is that of rate {rate_of(best):g} with "
            f"{best.about['warmup']:,} steps of warm-up.{beyond}"
        )

    def draw(self, path: str | Path) -> None:
        """Draws loss against rate, and the curves: .png, .svg or .pdf."""
        from cs336.experiments.lr_sweep_chart import draw_sweep

        draw_sweep(self, Path(path))

    @property
    def alt_text(self) -> str:
        """The picture in words."""
        rates = sorted({rate_of(one) for one in self.outcomes})
        return (
            f"Two panels. Left: final loss against learning rate from {rates[0]:g} to {rates[-1]:g} on a logarithmic "
            f"axis, a line for each warm-up, diverged rates as crosses at the upper edge. Right: the training loss by "
            f"step of each rate. {self.verdict} {' '.join(edge.sentence for edge in self.edges())}"
        )


def rate_of(outcome: Outcome) -> float:
    """The learning rate of an arm."""
    return float(outcome.about["rate"])


def geometric(low: float, high: float, count: int) -> tuple[float, ...]:
    """So many rates from low to high, each by the same factor above the one before, to three digits."""
    if not 0 < low < high or count < 2:
        raise ConfigError(f"a range of rates rises from above 0, and has at least 2, unlike {low:g}:{high:g}:{count}")
    factor = (high / low) ** (1 / (count - 1))
    return tuple(float(f"{low * factor**place:.3g}") for place in range(count))


def at_rate(config: RunConfig, rate: float, warmup: int | None = None) -> RunConfig:
    """The configuration at another peak rate; `min_lr`, and Muon's own rate, keep their proportion to it."""
    optimizer = config.optimizer
    share = rate / optimizer.lr
    changed = dataclasses.replace(
        optimizer,
        lr=rate,
        min_lr=None if optimizer.min_lr is None else optimizer.min_lr * share,
        muon_lr=optimizer.muon_lr * share if optimizer.name == "muon" else optimizer.muon_lr,
        warmup_steps=optimizer.warmup_steps if warmup is None else warmup,
    )
    return dataclasses.replace(config, optimizer=changed)


def sweep_arms(
    config: RunConfig, rates: Sequence[float] = RATES, warmups: Sequence[int] | None = None
) -> tuple[Arm, ...]:
    """An arm for every rate with every warm-up. None: without warm-up, and with a tenth of the steps."""
    if warmups is None:
        warmups = sorted({0, config.training.steps // 10})
    return tuple(
        Arm(f"lr-{rate:g}-warmup-{warmup}", at_rate(config, rate, warmup), {"rate": rate, "warmup": warmup})
        for warmup in warmups
        for rate in rates
    )


def lr_sweep(
    config: RunConfig,
    folder: str | Path,
    *,
    rates: Sequence[float] = RATES,
    warmups: Sequence[int] | None = None,
    jobs: int | None = None,
    keep_checkpoints: bool = False,
    command: str | None = None,
    told: Told = say_nothing,
) -> Sweep:
    """Trains the configuration at every rate with every warm-up, in ``jobs`` processes side by side.

    Keeps everything in ``folder``: a second call goes on where the first was, and refuses another configuration by
    name. ``command`` is what repeats this, for the record; ``told`` hears of the progress. An arm that meets an error
    has the status ``failed``; Ctrl-C leaves arms ``unfinished``. Either way all the others are kept.

    Raises ConfigError and DataError on what can't be run at all, before anything is.
    """
    arms = sweep_arms(config, rates, warmups)
    folder = Path(folder)
    sweep = Sweep(
        *conduct(
            Sweep.kind, config, arms, folder, jobs=jobs, keep_checkpoints=keep_checkpoints, command=command, told=told
        )
    )
    sweep.save(folder)
    return sweep
