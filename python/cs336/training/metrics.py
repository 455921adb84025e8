"""The log of a run: one JSON object a line, appended as the run goes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from cs336.errors import DataError
from cs336.files import whole_file

Row = dict[str, Any]


def read_rows(path: Path, *, of: str = "step") -> list[Row]:
    """All rows of a log, none where there is no file; a last line that a crash cut short does not count.

    Raises DataError where another line is no row, which has a key ``of``.
    """
    if not path.exists():
        return []
    lines = path.read_bytes().splitlines()
    rows = []
    for number, line in enumerate(lines, start=1):
        try:
            row = json.loads(line)
        except ValueError:
            if number == len(lines):
                break
            row = None
        if not isinstance(row, dict) or not isinstance(row.get(of), int):
            raise DataError(
                f"{path}, line {number}: this is no row of a run's log; the file was changed or damaged, so take this "
                "line out"
            )
        rows.append(row)
    return rows


def append_row(path: Path, row: Row) -> None:
    """Adds a row."""
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(row) + "\n")


def write_rows(path: Path, rows: list[Row]) -> None:
    """Writes a log anew, whole or not at all."""
    with whole_file(path) as aside:
        aside.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def rewind(path: Path, step: int) -> list[Row]:
    """Drops what was logged after a checkpoint, evaluations of its own step too: they are made again."""
    rows = [row for row in read_rows(path) if row["step"] < step or (row["step"] == step and "loss" in row)]
    if path.exists():
        write_rows(path, rows)
    return rows
