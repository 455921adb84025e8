"""Section 9, where the write-up breaks off: a model trained on the first corpus."""

from __future__ import annotations

import math
from itertools import pairwise
from pathlib import Path

from cs336.accounting.table import Column, Table, readable
from cs336.experiments.report import laboratory
from cs336.experiments.report.part import Bench, Found, Part, Picture, Rows
from cs336.experiments.report.plan import Plan, shell
from cs336.generation import generate
from cs336.training import load_run, train
from cs336.training.metrics import Row, read_rows
from cs336.training.plot import Curves, draw_runs
from cs336.training.run import RunFolder

_SAMPLE_TOKENS = 150


def _measure(bench: Bench) -> Found:
    config = laboratory.config_of(bench, "run")
    run = RunFolder(bench.work / "run")
    result = train(config, run.path, resume=run.config.exists())
    if result.interrupted:  # by a signal, which training takes for itself
        raise KeyboardInterrupt
    rows = read_rows(run.metrics)
    draw_runs([Curves(bench.plan.corpora[0].name, rows)], bench.pictures / "run.png")
    tables = [_summary(config.model.num_parameters(), config.model.vocab_size, rows), _evaluations(rows)]
    losses = [row["valid_loss"] for row in rows if "valid_loss" in row]
    alt = (
        f"Loss by step, training and validation. The first evaluation of the validation loss gives {losses[0]:.2f},"
        f" the last {losses[-1]:.2f}."
    )
    model, tokenizer, _ = load_run(run.path)
    assert tokenizer is not None
    text = generate(
        model, tokenizer, "", max_new_tokens=_SAMPLE_TOKENS, temperature=0.7, top_p=0.95, seed=bench.plan.seed
    )
    return Found(tables, [Picture("run.png", alt)], {"A sample, temperature 0.7, top-p 0.95": text.strip()})


def _summary(parameters: int, entries: int, rows: list[Row]) -> Table:
    """The run in numbers."""
    steps = [row for row in rows if "loss" in row]
    last = [row for row in rows if "valid_loss" in row][-1]
    seconds = sum(row["seconds"] for row in steps)
    found = [
        ("parameters", parameters, "count"),
        ("steps", len(steps), "count"),
        ("tokens trained on", steps[-1]["tokens"], "count"),
        ("time of the steps", seconds, "seconds"),
        ("tokens a second", steps[-1]["tokens"] / seconds, "number"),
        ("validation loss, nats a token", last["valid_loss"], "number"),
        ("perplexity", math.exp(last["valid_loss"]), "number"),
        ("bits per byte", last["bits_per_byte"], "number"),
        ("loss of guessing among all entries", math.log(entries), "number"),
    ]
    columns = (Column("what"), Column("value", "measure"), Column("unit", "machine"))
    return Table("run", "A training run", columns, list(found))


def _evaluations(rows: list[Row]) -> Table:
    """Loss as training went on."""
    columns = (
        Column("step", "count"),
        Column("tokens", "count"),
        Column("training loss", "number"),
        Column("validation loss", "number"),
        Column("bits per byte", "number"),
    )
    by_step = {row["step"]: row for row in rows if "loss" in row}
    found = [
        (
            row["step"],
            by_step[row["step"]]["tokens"],
            by_step[row["step"]]["loss"],
            row["valid_loss"],
            row["bits_per_byte"],
        )
        for row in rows
        if "valid_loss" in row
    ]
    return Table("evaluations", "Evaluations", columns, found)


def _answer(rows: Rows) -> list[str]:
    about = {row["what"]: row["value"] for row in rows["run"]}
    losses = [row["validation_loss"] for row in rows["evaluations"]]
    sentences = [
        f"A model of {about['parameters']:,} parameters takes {about['steps']:,} steps, {about['tokens trained on']:,}"
        f" tokens, in {readable(about['time of the steps'], 'seconds')}: {about['tokens a second']:,.0f} a second."
    ]
    if len(losses) > 1:
        verb = "falls" if losses[-1] < losses[0] else "rises" if losses[-1] > losses[0] else "stays"
        steadily = ", at every evaluation" if verb == "falls" and all(b < a for a, b in pairwise(losses)) else ""
        sentences.append(f"Its validation loss {verb} from {losses[0]:.3f} to {losses[-1]:.3f} nats a token{steadily}.")
    end, guess = about["validation loss, nats a token"], about["loss of guessing among all entries"]
    place = "below" if end < guess else "not below"
    bits = about["bits per byte"]
    sentences.append(
        f"That is a perplexity of {about['perplexity']:,.1f}"
        + ("" if bits is None else f" and {bits:.3f} bits per byte")
        + f", {place} the {guess:.3f} nats of guessing."
    )
    return sentences


def _commands(plan: Plan, folder: Path) -> list[str]:
    return [shell(["cs336", "train", "--config", str(laboratory.config_file(plan, folder, "run")), "--run", "again"])]


PART = Part("training", "A training run", _measure, _answer, _commands, reads_corpora=True)
