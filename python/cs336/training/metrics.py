"""The log of a run: one JSON object a line, appended as the run goes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from cs336.files import whole_file

Row = dict[str, Any]


def read_rows(path: Path) -> list[Row]:
    """All whole rows of a log; a last line that a crash cut short does not count."""
    if not path.exists():
        return []
    rows = []
    for line in path.read_text("utf-8").splitlines():
        try:
            rows.append(json.loads(line))
        except ValueError:
            break
    return rows


def append_row(path: Path, row: Row) -> None:
    """Adds a row."""
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(row) + "\n")


def rewind(path: Path, step: int) -> list[Row]:
    """Drops what was logged after a checkpoint, evaluations of its own step too: they are made again."""
    rows = [row for row in read_rows(path) if row["step"] < step or (row["step"] == step and "loss" in row)]
    if path.exists():
        with whole_file(path) as aside:
            aside.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return rows
