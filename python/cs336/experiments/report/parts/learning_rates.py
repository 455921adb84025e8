"""Section 7: learning rates of SGD."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cs336.experiments.report.part import Bench, Found, Part, Picture, Rows
from cs336.experiments.report.plan import Plan
from cs336.experiments.sgd import RATES, STEPS, curve_table, descend, later_table, rates_table
from cs336.experiments.sgd_chart import draw_descents
from cs336.wording import joined

_LATER = 1000


def _measure(bench: Bench) -> Found:
    runs = [descend(rate, _LATER, seed=bench.plan.seed) for rate in RATES]
    draw_descents(runs, STEPS, bench.pictures / "sgd.png")
    verdicts = "; ".join(f"at {run.rate:g} it {run.verdict(STEPS)}" for run in runs)
    alt = (
        f"Loss by step on a logarithmic scale, a line for each learning rate, on the left for {STEPS} steps, on the"
        f" right for {_LATER:,}. In {STEPS} steps, {verdicts}."
    )
    tables = [table(runs, STEPS) for table in (rates_table, later_table, curve_table)]
    return Found(tables, [Picture("sgd.png", alt)])


def _answer(rows: Rows) -> list[str]:
    after = next(key for key in rows["rates"][0] if key.startswith("after_step_") and key != "after_step_1")
    steps = after.removeprefix("after_step_")
    sentences = []
    for verdict in ("decays", "stays", "diverges", "overflows"):
        found = [row for row in rows["rates"] if row["verdict"] == verdict]
        if found:
            rates = joined([f"{row['rate']:g}" for row in found])
            sentences.append(f"In {steps} steps the loss {verdict} at {rates}.")
    decays = [row for row in rows["rates"] if row["verdict"] == "decays"]
    if len(decays) > 1:
        fastest = min(decays, key=lambda row: float(row[after]))
        sentences.append(
            f"The fastest is {fastest['rate']:g}: the loss goes from {fastest['loss_before']:.4g} to"
            f" {fastest[after]:.3g}."
        )
    grew = [row for row in rows["rates"] if row["verdict"] in ("diverges", "overflows")]
    sentences.append(
        f"So a rate that is too large diverges, as the write-up says: {joined([_growth(row, after) for row in grew])}."
        if grew
        else "None of these rates diverges, so the write-up's answer does not show here."
    )
    sentences += [_later(row) for row in rows["later"]]
    return sentences


def _growth(row: dict[str, Any], after: str) -> str:
    last = row[after]
    return f"{row['rate']:g} from {row['loss_before']:.4g} to {'beyond float64' if last is None else f'{last:.3g}'}"


def _later(row: dict[str, Any]) -> str:
    """What became of a rate that let the loss grow."""
    back, last = row["steps_until_below_the_start"], row["loss_after_them"]
    if back is None:
        return f"At {row['rate']:g} the loss is not below its start in {row['steps']:,} steps."
    return (
        f"At {row['rate']:g} the decaying rate turns it around: the loss is below its start after {back:,} steps,"
        f" and {last:.3g} after {row['steps']:,}."
    )


def _commands(plan: Plan, folder: Path) -> list[str]:
    return [f"cs336 experiment sgd-lr --later-steps {_LATER} --seed {plan.seed} --chart sgd.png"]


PART = Part("learning-rates", "Tuning the learning rate", _measure, _answer, _commands)
