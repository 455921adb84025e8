"""What each part of a model is worth: one change at a time, at several rates and seeds, against the baseline."""

from __future__ import annotations

import dataclasses
import json
import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from cs336.accounting import parameters
from cs336.accounting.table import Column, Table
from cs336.experiments.arms import Outcome
from cs336.experiments.divergence import RULE
from cs336.experiments.lr_sweep import rate_of
from cs336.experiments.runner import Told, say_nothing
from cs336.experiments.study import OUTCOME_COLUMNS, Study, conduct, outcome_cells
from cs336.experiments.variants import BASELINE, RATES, SEEDS, ablation_arms, same_validation, vary
from cs336.training import RunConfig, make_config

__all__ = ["Ablation", "Summary", "ablation"]

VERDICT_RULE = (
    "Each arm stands at its best rate: the one with the lowest mean loss over the seeds, of those at which no seed "
    "diverged. It is better than the baseline if each of its seeds ended below each of the baseline's, worse if each "
    "ended above each; where the ranges overlap, or there is one seed only, there is no verdict. An arm of which "
    "a seed diverged at every rate diverges."
)
"""How verdicts come about, in words."""


@dataclass(frozen=True)
class Summary:
    """A variant at its best rate."""

    variant: str
    best_rate: float | None
    """None where a seed diverged at every rate."""
    losses: tuple[float, ...]
    """At the best rate, of each seed."""
    verdict: str
    """better, worse, no verdict or diverges; the baseline's own is -; unfinished or failed where runs are missing."""
    parameters: int
    feed_forward: int
    """Parameters of all feed-forward layers."""
    d_ff: int
    batch_size: int
    steps: int
    tokens: int
    diverged: int
    """Runs that diverged, at any rate."""
    runs: int
    at_edge: str | None
    """smallest or largest, where the best rate is the last that was tried: one beyond may be better."""

    @property
    def mean(self) -> float | None:
        """Of the losses."""
        return statistics.fmean(self.losses) if self.losses else None

    @property
    def lowest(self) -> float | None:
        """Of the losses."""
        return min(self.losses, default=None)

    @property
    def highest(self) -> float | None:
        """Of the losses."""
        return max(self.losses, default=None)


@dataclass(frozen=True)
class Ablation(Study):
    """The outcome of every change at every rate with every seed; ``about`` of each has them by name."""

    kind: ClassVar[str] = "ablation"

    @property
    def config(self) -> RunConfig:
        """The configuration that the variants change."""
        return make_config(self.about["config"])

    @property
    def variants(self) -> list[str]:
        """The names, in order."""
        return list(dict.fromkeys(str(one.about["variant"]) for one in self.outcomes))

    @property
    def seeds(self) -> list[int]:
        """The seeds, each once."""
        return sorted({int(one.about["seed"]) for one in self.outcomes})

    def rates(self) -> list[float]:
        """The rates, each once."""
        return sorted({rate_of(one) for one in self.outcomes})

    def of(self, variant: str, rate: float | None = None) -> list[Outcome]:
        """The runs of a variant, at one rate or at all."""
        runs = [one for one in self.outcomes if one.about["variant"] == variant]
        return runs if rate is None else [one for one in runs if rate_of(one) == rate]

    def losses(self, variant: str, rate: float) -> tuple[float, ...] | None:
        """Of each seed, by seed; None where one has diverged, failed or not finished."""
        runs = sorted(self.of(variant, rate), key=lambda one: int(one.about["seed"]))
        found = [one.loss for one in runs if one.status in ("trained", "no progress") and one.loss is not None]
        return tuple(found) if runs and len(found) == len(runs) else None

    def best_rate(self, variant: str) -> float | None:
        """The rate with the lowest mean loss; of equals, the smallest."""
        means = {rate: statistics.fmean(found) for rate in self.rates() if (found := self.losses(variant, rate))}
        return min(means, key=lambda rate: (means[rate], rate), default=None)

    def verdict(self, variant: str) -> str:
        """By the rule: better, worse, no verdict or diverges; - for the baseline; what runs are missing comes first."""
        statuses = {one.status for one in self.of(variant)}
        for missing in ("failed", "unfinished"):
            if missing in statuses:
                return missing
        best, reference = self.best_rate(variant), self.best_rate(BASELINE)
        if best is None:
            return "diverges"
        if variant == BASELINE:
            return "-"
        here, there = self.losses(variant, best), None if reference is None else self.losses(BASELINE, reference)
        if here is None or there is None or len(here) < 2:
            return "no verdict"
        return "better" if max(here) < min(there) else "worse" if min(here) > max(there) else "no verdict"

    def summaries(self) -> list[Summary]:
        """Every variant at its best rate."""
        base = self.config
        configs = same_validation({name: vary(base, name) for name in self.variants})
        return [self._summary(name, config) for name, config in configs.items()]

    def _summary(self, variant: str, config: RunConfig) -> Summary:
        runs, best = self.of(variant), self.best_rate(variant)
        counted = parameters(config.model)
        rates = self.rates()
        at_edge = {rates[0]: "smallest", rates[-1]: "largest"}.get(best) if best is not None and rates[1:] else None
        training = config.training
        return Summary(
            variant=variant,
            best_rate=best,
            losses=(self.losses(variant, best) or ()) if best is not None else (),
            verdict=self.verdict(variant),
            parameters=sum(counted.values()),
            feed_forward=counted["feed-forward"],
            d_ff=config.model.hidden_size,
            batch_size=training.batch_size,
            steps=training.steps,
            tokens=training.steps * training.batch_size * config.model.context_length,
            diverged=sum(one.status == "diverged" for one in runs),
            runs=len(runs),
            at_edge=at_edge,
        )

    def to_json(self) -> dict[str, Any]:
        """All of it in plain values, with what follows from the outcomes."""
        summaries = [dataclasses.asdict(one) | {"mean": one.mean} for one in self.summaries()]
        told: dict[str, Any] = super().to_json() | {"summaries": json.loads(json.dumps(summaries))}
        return told | {"verdict_rule": VERDICT_RULE}

    @classmethod
    def from_json(cls, told: dict[str, Any]) -> Ablation:
        """What `to_json` gave; what follows from the outcomes is found anew."""
        return super().from_json({k: value for k, value in told.items() if k not in ("summaries", "verdict_rule")})

    def tables(self) -> list[Table]:
        """The verdicts; what the variants are made of; every run."""
        return [self._verdicts(), self._sizes(), self._runs()]

    def _verdicts(self) -> Table:
        columns = (
            Column("variant"),
            Column("verdict"),
            Column("best rate", "number", "rate"),
            Column("mean loss", "number", "mean"),
            Column("lowest loss", "number", "lowest"),
            Column("highest loss", "number", "highest"),
            Column("against the baseline", "number", "difference"),
            Column("diverged"),
        )
        summaries = self.summaries()
        base = summaries[0].mean
        rows = []
        for one in summaries:
            difference = None if one.mean is None or base is None or one.variant == BASELINE else one.mean - base
            spread = (one.mean, one.lowest, one.highest, difference)
            rows.append((one.variant, one.verdict, one.best_rate, *spread, f"{one.diverged} of {one.runs}"))
        return Table("verdicts", "Each variant at its best rate", columns, rows, notes=self.sentences())

    def _sizes(self) -> Table:
        columns = (
            Column("variant"),
            Column("parameters", "count"),
            Column("of feed-forward layers", "count", "in feed-forward"),
            Column("d_ff", "count"),
            Column("batch size", "count"),
            Column("steps", "count"),
            Column("tokens", "count"),
        )
        rows = [
            (one.variant, one.parameters, one.feed_forward, one.d_ff, one.batch_size, one.steps, one.tokens)
            for one in self.summaries()
        ]
        return Table("sizes", "What they are made of", columns, rows)

    def _runs(self) -> Table:
        columns = (
            Column("variant"),
            Column("rate", "number"),
            Column("seed", "count"),
            *OUTCOME_COLUMNS,
        )
        rows = [
            (*(one.about[name] for name in ("variant", "rate", "seed")), *outcome_cells(one)) for one in self.outcomes
        ]
        return Table("runs", "Losses of every run", columns, rows)

    def sentences(self) -> list[str]:
        """The verdicts, what limits them, what went wrong, the rules."""
        summaries = self.summaries()
        found = []
        for verdict in ("better", "worse", "no verdict", "diverges"):
            names = [one.variant for one in summaries if one.verdict == verdict]
            if names:
                found.append(f"{verdict.capitalize()}: {', '.join(names)}.")
        at_edge = [f"{one.variant} ({one.at_edge})" for one in summaries if one.at_edge]
        if at_edge:
            found.append(
                f"Best at the edge of the rates tried, so that one beyond may be better: {', '.join(at_edge)}."
            )
        found += [f"{one.name} failed: {one.reason}" for one in self.failed]
        if self.unfinished:
            found.append(f"{len(self.unfinished)} of {len(self.outcomes)} runs have not finished.")
        return [*found, VERDICT_RULE, self._chance(), RULE]

    def _chance(self) -> str:
        """How often the rule would find a difference where there is none."""
        n = len(self.seeds)
        if n < 2:
            return "One seed has no spread: give several for a verdict."
        chance = 2 / math.comb(2 * n, n)
        return f"Of variants that are no different, {chance:.1%} would get a verdict by chance with {n} seeds."

    def draw(self, path: str | Path) -> None:
        """Draws a row of losses for each variant: .png, .svg or .pdf."""
        from cs336.experiments.ablation_chart import draw_ablation

        draw_ablation(self, Path(path))

    @property
    def alt_text(self) -> str:
        """The picture in words."""
        parts = []
        for one in self.summaries():
            if one.mean is None or one.best_rate is None:
                parts.append(f"{one.variant}: {one.verdict}")
                continue
            told = f"{one.variant} {one.mean:.3f} ({one.lowest:.3f} to {one.highest:.3f}) at {one.best_rate:g}"
            parts.append(told if one.variant == BASELINE else f"{told}, {one.verdict}")
        return (
            "A row for each variant: the final loss of each seed at its best learning rate, the mean at other rates in "
            "grey, the range of the baseline as a band, the verdict at the right. "
            f"{'; '.join(parts)}."
        )


def ablation(
    config: RunConfig,
    folder: str | Path,
    *,
    variants: Sequence[str] | None = None,
    rates: Sequence[float] = RATES,
    seeds: Sequence[int] = SEEDS,
    jobs: int | None = None,
    keep_checkpoints: bool = False,
    command: str | None = None,
    told: Told = say_nothing,
) -> Ablation:
    """Trains every variant of the configuration at every rate with every seed, in ``jobs`` processes side by side.

    ``variants`` are names of VARIANTS, and ``batch-N``; the baseline is always among them. For the rest see `lr_sweep`.
    """
    arms = ablation_arms(config, variants, rates, seeds)
    folder = Path(folder)
    found = Ablation(
        *conduct(
            Ablation.kind, config, arms, folder,
            jobs=jobs, keep_checkpoints=keep_checkpoints, command=command, told=told,
        )
    )  # fmt: skip
    found.save(folder)
    return found
