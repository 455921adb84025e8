"""Section 5: tokenizers compared, on documents and from file to file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cs336.accounting.table import readable
from cs336.experiments.report.part import Bench, Found, Part, Rows
from cs336.experiments.report.parts import training_bpe
from cs336.experiments.report.plan import Plan, shell
from cs336.experiments.tokenizer_tables import TABLES

_TABLES = ("compression", "throughput", "files")


def _measure(bench: Bench) -> Found:
    study = training_bpe.study_of(bench)
    return Found([TABLES[name](study) for name in _TABLES])


def _answer(rows: Rows) -> list[str]:
    ratios = {
        (row["tokenizer_of"], heading.removeprefix("on_")): value
        for row in rows["compression"]
        for heading, value in row.items()
        if heading != "tokenizer_of"
    }
    names = [row["tokenizer_of"] for row in rows["compression"]]
    keys = {name: name.replace(" ", "_") for name in names}
    sentences = []
    for name in names:
        own = ratios[name, keys[name]]
        sentences.append(f"The tokenizer of {name} has {own:.2f} bytes a token on its own corpus.")
        for other in names:
            if other != name:
                sentences.append(_compared(other, name, ratios[other, keys[name]], own))
    return [*sentences, *_speeds(rows), _sizes(rows)]


def _compared(other: str, corpus: str, ratio: float, own: float) -> str:
    """Another corpus's tokenizer on this one."""
    change = ratio / own - 1
    much = f"{abs(change):.1%} {'more' if change > 0 else 'fewer'}"
    return f"That of {other} has {ratio:.2f} on {corpus}, {'as many' if not round(change, 3) else much}."


def _speeds(rows: Rows) -> list[str]:
    """The range of speeds, and the Pile at both ends."""
    found = sorted(rows["throughput"], key=lambda row: float(row["bytes_per_second"]))
    ends = {"slowest": found[0], "fastest": found[-1]} if len(found) > 1 else {"one measured": found[0]}
    return [f"From file to file, the {word} is {_speed(row)}." for word, row in ends.items()]


def _sizes(rows: Rows) -> str:
    """The integer type of the ids, and what a corpus's own token file takes."""
    found = rows["files"]
    dtypes = sorted({row["dtype"] for row in found})
    fits = "uint16 holds all ids" if dtypes == ["uint16"] else f"the ids take {' or '.join(dtypes)}"
    shares = [row["token_file"] / row["bytes"] for row in found if row["tokenizer_of"] == row["corpus"]]
    return (
        f"For these vocabularies {fits}; a corpus's token file has {min(shares):.0%}"
        + (f" to {max(shares):.0%}" if f"{max(shares):.0%}" != f"{min(shares):.0%}" else "")
        + " of its text's size."
    )


def _speed(row: dict[str, Any]) -> str:
    """How fast a tokenizer is on a corpus, and what the Pile would take at that."""
    speed = readable(row["bytes_per_second"], "bytes per second")
    pile = readable(row["seconds_for_the_Pile"], "seconds")
    return f"the tokenizer of {row['tokenizer_of']} on {row['corpus']}, with {speed}: {pile} for the Pile"


def _commands(plan: Plan, folder: Path) -> list[str]:
    tables = [word for name in _TABLES for word in ("--table", name)]
    return [shell(["cs336", "experiment", "tokenizer", *plan.words(), *tables])]


PART = Part(
    "tokenizers",
    "Tokenizers compared",
    _measure,
    _answer,
    _commands,
    reads_corpora=True,
    needs=(training_bpe.NAME,),
)
