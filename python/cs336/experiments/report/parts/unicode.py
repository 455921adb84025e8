"""Section 1: the character U+0000, shown and printed."""

from __future__ import annotations

from pathlib import Path

from cs336.accounting.table import Column, Table
from cs336.experiments.report.part import Bench, Found, Part, Rows
from cs336.experiments.report.plan import Plan
from cs336.experiments.unicode import TABLES, Text
from cs336.wording import joined

_SIGNS = "\x00\t \u00a0\u200b\u00e9\U0001f627"
_WITHIN = "this is a test\x00string"


def _measure(bench: Bench) -> Found:
    nul = chr(0)
    rows = [
        ("repr(chr(0))", repr(nul), len(repr(nul))),
        ("chr(0), printed", nul, len(nul)),
        ("chr(0).isspace()", str(nul.isspace()), None),
        ("chr(0).isprintable()", str(nul.isprintable()), None),
        ("repr of it in a text", repr(_WITHIN), len(repr(_WITHIN))),
        ("the text, printed", _WITHIN, len(_WITHIN)),
    ]
    columns = (Column("expression"), Column("is, escaped"), Column("characters", "count"))
    zero = Table("zero", "The character 0", columns, list(rows))
    return Found([zero, TABLES["characters"](Text(_SIGNS.encode()))])


def _answer(rows: Rows) -> list[str]:
    zero = {row["expression"]: row for row in rows["zero"]}
    sign = rows["characters"][0]
    spaces = [row["code_point"] for row in rows["characters"] if str(row["prints"]).startswith("white space")]
    is_space = zero["chr(0).isspace()"]["is,_escaped"] == "True" or sign["code_point"] in spaces
    shown = zero["repr(chr(0))"]["is,_escaped"]
    told = (
        "is white space, as the write-up says"
        if is_space
        else f"prints {sign['prints']}; the write-up calls that white space, which it is not"
    )
    within = zero["repr of it in a text"]["characters"] - zero["the text, printed"]["characters"]
    return [
        f"chr(0) is {sign['code_point']}, {sign['name']} (category {sign['category']}).",
        f"Its repr is {shown}, of {zero['repr(chr(0))']['characters']} characters; the character itself {told}.",
        f"In a text, the repr is {within} characters longer than what is printed, for its quotes and the escape.",
        f"Of the characters below, {joined(spaces)} print{'s' if len(spaces) == 1 else ''} white space.",
    ]


def _commands(plan: Plan, folder: Path) -> list[str]:
    return ["printf '\\000\\t \\302\\240\\342\\200\\213\\303\\251\\360\\237\\230\\247' | cs336 text --table characters"]


PART = Part("unicode", "Understanding Unicode", _measure, _answer, _commands)
