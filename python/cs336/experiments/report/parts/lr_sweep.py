"""Section 10: learning rates and warm-ups of a model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cs336.errors import WorkerError
from cs336.experiments.lr_sweep import RATES, lr_sweep
from cs336.experiments.report import laboratory
from cs336.experiments.report.part import Bench, Found, Part, Picture, Rows
from cs336.experiments.report.plan import Plan, shell
from cs336.experiments.study import Study
from cs336.wording import joined, plural

_RATES = ",".join(f"{rate:g}" for rate in RATES)


def _measure(bench: Bench) -> Found:
    config = laboratory.config_of(bench, "lr-sweep")
    sweep = lr_sweep(config, bench.work / "study")
    finished(sweep)
    sweep.draw(bench.pictures / "lr-sweep.png")
    return Found(sweep.tables(), [Picture("lr-sweep.png", sweep.alt_text)])


def finished(study: Study) -> None:
    """Raises where a study lacks runs. Those that it has are kept, and a second call goes on."""
    if study.failed:
        raise WorkerError(f"{study.failed[0].name} failed: {study.failed[0].reason}")
    if study.unfinished:  # by a signal, which the study takes for itself
        raise KeyboardInterrupt


def _answer(rows: Rows) -> list[str]:
    arms = rows["arms"]
    trained = [row for row in arms if row["status"] == "trained" and _loss(row) is not None]
    sentences = []
    if trained:
        best = min(trained, key=lambda row: float(_loss(row)))
        sentences.append(
            f"Of {plural(len({row['rate'] for row in arms}), 'learning rate')}, {best['rate']:g} with"
            f" {plural(best['warm-up'], 'step')} of warm-up ends lowest, at a loss of {_loss(best):.3f}"
            f"{_at_end(best['rate'], [row['rate'] for row in arms])}."
        )
    else:
        sentences.append("No run has trained.")
    sentences += [_edge(warmup, [row for row in arms if row["warm-up"] == warmup]) for warmup in _warmups(arms)]
    return sentences


def _loss(row: dict[str, Any]) -> Any:
    """What runs are compared by."""
    return row["last_training_loss"] if row["validation_loss"] is None else row["validation_loss"]


def _at_end(rate: float, rates: list[float]) -> str:
    ends = {min(rates): "smallest", max(rates): "largest"}
    return f", the {ends[rate]} tried, so that one beyond may be better" if rate in ends and len(set(rates)) > 1 else ""


def _warmups(arms: list[dict[str, Any]]) -> list[int]:
    return sorted({row["warm-up"] for row in arms})


def _edge(warmup: int, arms: list[dict[str, Any]]) -> str:
    """Where training becomes unstable."""
    trained = [row["rate"] for row in arms if row["status"] == "trained"]
    diverged = sorted(row["rate"] for row in arms if row["status"] == "diverged")
    begin = f"With {plural(warmup, 'step')} of warm-up,"
    if not diverged:
        return f"{begin} no rate diverges."
    if not trained:
        return f"{begin} no rate trains; {joined([f'{rate:g}' for rate in diverged])} diverged."
    if max(trained) < diverged[0]:
        return f"{begin} the edge of stability is between {max(trained):g} and {diverged[0]:g}, which diverges."
    return f"{begin} {diverged[0]:g} is the smallest rate that diverges, and {max(trained):g} the largest that trains."


def _commands(plan: Plan, folder: Path) -> list[str]:
    config = laboratory.config_file(plan, folder, "lr-sweep")
    return [shell(["cs336", "experiment", "lr-sweep", "--config", str(config), "--rates", _RATES])]


PART = Part("lr-sweep", "Learning rates of a model", _measure, _answer, _commands, reads_corpora=True)
