"""Section 11: what each part of a model is worth."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cs336.experiments.ablation import ablation
from cs336.experiments.quick import ABLATION_RATES
from cs336.experiments.report import laboratory
from cs336.experiments.report.part import Bench, Found, Part, Picture, Rows
from cs336.experiments.report.parts.lr_sweep import finished
from cs336.experiments.report.plan import Plan, shell
from cs336.experiments.variants import BASELINE, RATES, SEEDS
from cs336.wording import joined


def _rates(plan: Plan) -> tuple[float, ...]:
    return ABLATION_RATES if plan.quick else RATES


def _measure(bench: Bench) -> Found:
    config = laboratory.config_of(bench, "ablation")
    found = ablation(config, bench.work / "study", rates=_rates(bench.plan), seeds=SEEDS)
    finished(found)
    found.draw(bench.pictures / "ablation.png")
    return Found(found.tables(), [Picture("ablation.png", found.alt_text)])


def _answer(rows: Rows) -> list[str]:
    verdicts = {row["variant"]: row for row in rows["verdicts"]}
    base = verdicts[BASELINE]
    sentences = ["The baseline diverges at every rate."]
    if base["mean_loss"] is not None:
        spread = f"{base['lowest_loss']:.3f} to {base['highest_loss']:.3f} by seed"
        rate = f"{base['best_rate']:g}"
        sentences = [f"The baseline ends at a loss of {base['mean_loss']:.3f} ({spread}), at its best rate, {rate}."]
    others = [row for name, row in verdicts.items() if name != BASELINE]
    words = {"better": "Better in every seed", "worse": "Worse in every seed", "no verdict": "Without a verdict"}
    for verdict, word in words.items():
        found = [row for row in others if row["verdict"] == verdict]
        found.sort(key=lambda row: abs(row["against_the_baseline"] or 0), reverse=True)
        if found:
            sentences.append(f"{word}: {joined([_told(row) for row in found])}.")
    diverges = [row["variant"] for row in others if row["verdict"] == "diverges"]
    if diverges:
        sentences.append(f"At every rate a seed diverges of {joined(diverges)}.")
    return sentences


def _told(row: dict[str, Any]) -> str:
    change = row["against_the_baseline"]
    return str(row["variant"]) if change is None else f"{row['variant']} ({change:+.3f})"


def _commands(plan: Plan, folder: Path) -> list[str]:
    config = laboratory.config_file(plan, folder, "ablation")
    rates, seeds = ",".join(f"{rate:g}" for rate in _rates(plan)), ",".join(map(str, SEEDS))
    return [shell(["cs336", "experiment", "ablation", "--config", str(config), "--rates", rates, "--seeds", seeds])]


PART = Part("ablation", "What each part of a model is worth", _measure, _answer, _commands, reads_corpora=True)
