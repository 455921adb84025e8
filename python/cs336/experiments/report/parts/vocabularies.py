"""Section 4: what the vocabularies hold."""

from __future__ import annotations

from pathlib import Path

from cs336.accounting.table import readable
from cs336.experiments.report.part import Bench, Found, Part, Picture, Rows
from cs336.experiments.report.parts import training_bpe
from cs336.experiments.report.plan import Plan, shell
from cs336.experiments.tokenizer_tables import TABLES
from cs336.experiments.vocabulary_chart import draw_vocabularies
from cs336.wording import joined, plural

_TABLES = ("longest", "vocabularies", "shared", "scripts", "lengths")
_NO_SCRIPTS = (
    "punctuation and symbols",
    "digits",
    "white space",
    "part of a character",
    "several scripts",
    "other letters",
)


def _measure(bench: Bench) -> Found:
    study = training_bpe.study_of(bench)
    draw_vocabularies([one.vocabulary for one in study.trained], bench.pictures / "vocabularies.png")
    tables = [TABLES[name](study) for name in _TABLES]
    modes = [
        f"{one.name}: most tokens have {max(one.vocabulary.lengths, key=one.vocabulary.lengths.__getitem__)} bytes"
        for one in study.trained
        if one.vocabulary.lengths
    ]
    alt = (
        f"Left, a line for each vocabulary: how many tokens have how many bytes ({'; '.join(modes)}). Right, bars: how"
        " many tokens have which script, on a logarithmic scale; the tables scripts and lengths have the numbers."
    )
    return Found(tables, [Picture("vocabularies.png", alt)])


def _answer(rows: Rows) -> list[str]:
    sentences = []
    names = [row["corpus"] for row in rows["vocabularies"]]
    for name in names:
        tokens = [row for row in rows["longest"] if row["corpus"] == name]
        first = max(tokens, key=lambda row: int(row["bytes"]))
        ties = sum(row["bytes"] == first["bytes"] for row in tokens) - 1
        also = f", as {plural(ties, 'other has', 'others have')}" if ties else ""
        sentences.append(
            f"The longest token of {name} is {first['token']}: {first['bytes']} bytes{also}, {first['kind']}."
        )
        sentences += _damaged(name, [row for row in tokens if str(row["kind"]).startswith("double-encoded")])
    for row in rows["shared"]:
        sentences.append(
            f"{row['corpus']} and {row['and']} share {row['shared']:,} tokens"
            f" ({row['of_the_first']:.1%} of the first, {row['of_the_second']:.1%} of the second)."
        )
    spaces = [f"{row['share']:.1%} of {row['corpus']}" for row in rows["vocabularies"] if row["share"] is not None]
    if spaces:
        sentences.append(f"A space begins {joined(spaces)}.")
    scripts = {
        name: sum(
            1
            for row in rows["scripts"]
            if row[f"tokens of {name}".replace(" ", "_")] and row["script"] not in _NO_SCRIPTS
        )
        for name in names
    }
    told = [f"{plural(scripts[name], 'script')} in {name}" for name in names]
    sentences.append(f"Their letters are of {joined(told)}.")
    sentences += _variety(rows)
    return sentences


def _damaged(name: str, tokens: list[dict[str, object]]) -> list[str]:
    """What is double-encoded among the longest."""
    if not tokens:
        return []
    undone = sum(row["repaired"] is not None for row in tokens)
    return [f"Of its longest, {plural(len(tokens), 'is', 'are')} double-encoded; {undone} can be repaired."]


def _variety(rows: Rows) -> list[str]:
    """Which vocabulary has the longest tokens on average, and the most that no other has."""
    known = [row for row in rows["vocabularies"] if row["mean_bytes"] is not None]
    if len(known) < 2:
        return []
    means = {str(row["corpus"]): float(row["mean_bytes"]) for row in known}
    own = {str(row["corpus"]): row["in_no_other"] / row["learned_tokens"] for row in known}
    longest, least = joined(_greatest(means)), readable(max(means.values()), "number")
    most = max(own.values())
    return [
        f"On average, the tokens of {longest} are the longest, with {least} bytes.",
        f"The largest part that is in no other vocabulary is that of {joined(_greatest(own))}, {most:.1%}.",
    ]


def _greatest(values: dict[str, float]) -> list[str]:
    """Who has the greatest value; several where they are equal."""
    return [name for name, value in values.items() if value == max(values.values())]


def _commands(plan: Plan, folder: Path) -> list[str]:
    tables = [word for name in _TABLES for word in ("--table", name)]
    return [shell(["cs336", "experiment", "tokenizer", *plan.words(), *tables, "--chart", "vocabularies.png"])]


PART = Part(
    "vocabularies",
    "What the vocabularies hold",
    _measure,
    _answer,
    _commands,
    reads_corpora=True,
    needs=(training_bpe.NAME,),
)
