"""The tables in docs/accounting.md are those that the commands above them print."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from cs336.accounting.tables import TABLES, WRITEUP, Question
from cs336.config import preset

DOCUMENT = Path(__file__).parents[2] / "docs" / "accounting.md"
BLOCK = re.compile(r"<!-- \$ cs336 account (\S+) --format markdown -->\n(.*?)<!-- end -->", re.DOTALL)
BLOCKS = BLOCK.findall(DOCUMENT.read_text("utf-8"))


@pytest.mark.parametrize(("name", "shown"), BLOCKS, ids=[name for name, _ in BLOCKS])
def test_each_table_is_what_the_command_prints(name: str, shown: str) -> None:
    assert shown == f"\n{body(name)}\n\n"


def body(name: str) -> str:
    """Without the heading: the document has its own."""
    table = TABLES[name](Question(config=preset("gpt2-xl"), name="gpt2-xl"))
    return table.as_markdown().split("\n", 2)[2].rstrip("\n")


def test_the_document_shows_the_write_up_whole() -> None:
    names = [name for name, _ in BLOCKS]
    assert set(WRITEUP) <= set(names)
    assert {"flops", "sizes", "batch"} <= set(names)
