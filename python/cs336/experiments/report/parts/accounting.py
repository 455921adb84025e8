"""Section 6: parameters and operations of GPT-2."""

from __future__ import annotations

from pathlib import Path

from cs336.accounting.chart import draw_shares
from cs336.accounting.table import readable
from cs336.accounting.tables import COMPONENTS, TABLES, Question
from cs336.config import preset
from cs336.experiments.report.part import Bench, Found, Part, Picture, Rows
from cs336.experiments.report.plan import Plan
from cs336.wording import joined

_TABLES = ("parameters", "flops", "sizes", "writeup-answers", "writeup-flops", "writeup-shares")
NAME = "gpt2-xl"


def _measure(bench: Bench) -> Found:
    question = Question(config=preset(NAME), name=NAME)
    draw_shares(question, bench.pictures / "shares.png")
    tables = [TABLES[name](question) for name in _TABLES]
    rows = Found(tables).rows()["sizes"]
    leaders = [f"{row['model']} at {row['context']:,}: {_leader(row)} {row[_leader(row)]:.0%}" for row in _plain(rows)]
    alt = (
        "Bars of the shares of a forward pass by model, above at the shorter context, below at the longer one. The"
        f" largest shares: {'; '.join(leaders)}."
    )
    return Found(tables, [Picture("shares.png", alt)])


def _plain(rows: list[dict[str, object]]) -> list[dict[str, object]]:
    """Rows whose components have their names back."""
    return [row | {name: row[name.replace(" ", "_")] for name in COMPONENTS} for row in rows]


def _leader(row: dict[str, object]) -> str:
    """The component with the largest share."""
    return max(COMPONENTS, key=lambda name: float(str(row[name])))


def _answer(rows: Rows) -> list[str]:
    counts = {row["component"]: row for row in rows["parameters"]}
    total = next(row for row in rows["flops"] if row["product"] == "total")
    sizes = _plain(rows["sizes"])
    sentences = [
        f"GPT-2 XL has {counts['total']['parameters']:,} parameters, {readable(counts['total']['float32'], 'bytes')} in"
        f" float32 ({counts['with a tied head']['parameters']:,} with a tied head).",
        f"A forward pass takes {readable(total['FLOP'], 'flop')}FLOP. {_written(rows)}",
    ]
    for context in sorted({int(str(row["context"])) for row in sizes}):
        models = [row for row in sizes if row["context"] == context]
        leaders = {str(row["model"]): _leader(row) for row in models}
        if len(set(leaders.values())) == 1:
            leader = next(iter(leaders.values()))
            shares = joined([f"{row[leader]:.1%}" for row in models])
            sentences.append(f"At {context:,} tokens, the {leader} take{_s(leader)} the most in all sizes: {shares}.")
        else:
            told = joined([f"{model} the {leader}" for model, leader in leaders.items()])
            sentences.append(f"At {context:,} tokens, what takes the most is in {told}.")
    sentences += _growth(sizes)
    return sentences


def _s(component: str) -> str:
    return "" if component.endswith("s") else "s"


def _written(rows: Rows) -> str:
    """The write-up's total beside the right one."""
    row = next(row for row in rows["writeup-flops"] if row["model"] == NAME)
    if round(row["ratio"], 3) == 1:
        return "The write-up says the same."
    return (
        f"The write-up says {readable(row['written'], 'flop')}FLOP; the right number is {row['ratio']:.3g} times that."
    )


def _growth(sizes: list[dict[str, object]]) -> list[str]:
    """What grows from the smallest model to the largest, at the shortest context."""
    shortest = min(int(str(row["context"])) for row in sizes)
    models = [row for row in sizes if row["context"] == shortest]
    first, last = models[0], models[-1]
    gains = {name: float(str(last[name])) - float(str(first[name])) for name in COMPONENTS}
    words = {
        "grows": [name for name in COMPONENTS if gains[name] > 0],
        "falls": [name for name in COMPONENTS if gains[name] < 0],
    }
    told = []
    for verb, names in words.items():
        ordered = sorted(names, key=lambda name: -abs(gains[name]))
        if ordered:
            told.append(
                f"{verb} for {joined([f'the {name} ({first[name]:.1%} to {last[name]:.1%})' for name in ordered])}"
            )
    return [f"From {first['model']} to {last['model']} the share {' and '.join(told)}."] if told else []


def _commands(plan: Plan, folder: Path) -> list[str]:
    return [f"cs336 account {' '.join(_TABLES)} --preset {NAME} --chart shares.png"]


PART = Part("accounting", "Transformer LM resource accounting", _measure, _answer, _commands)
