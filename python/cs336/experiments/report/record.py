"""What a part has measured, as a file that appears when the part is done, and tells whether it still holds."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cs336.accounting.table import Column, Table, finite
from cs336.experiments.machine import machine, versions
from cs336.experiments.report.part import Found, Part, Picture
from cs336.experiments.report.plan import Plan
from cs336.files import whole_file

__all__ = ["Record", "key_of", "path_of", "read_record", "write_record"]

_FORMAT = 1


@dataclass(frozen=True)
class Record:
    """A part that is done."""

    key: str
    seconds: float
    found: Found
    machine: dict[str, Any]
    versions: dict[str, str]


def path_of(folder: Path, part: Part) -> Path:
    """The raw numbers of a part."""
    return folder / "parts" / f"{part.name}.json"


def key_of(part: Part, plan: Plan, needed: list[str]) -> str:
    """What a part's numbers depend on: options, contents of the corpora, other parts, machine, versions."""
    about = [_FORMAT, part.name, plan.identity(corpora=part.reads_corpora), machine(), versions(), needed]
    return hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()


def write_record(folder: Path, part: Part, key: str, seconds: float, found: Found) -> Record:
    """Keeps what was found; the file appears whole, and behind the files that it names."""
    pictures = [f"pictures/{picture.file}" for picture in found.pictures]
    told = {
        "format": _FORMAT,
        "part": part.name,
        "title": part.title,
        "key": key,
        "seconds": seconds,
        "machine": machine(),
        "versions": versions(),
        "tables": [dataclasses.asdict(table) for table in found.tables],
        "pictures": [dataclasses.asdict(picture) for picture in found.pictures],
        "texts": found.texts,
        "files": {name: _digest(folder / name) for name in [*pictures, *found.files]},
    }
    path = path_of(folder, part)
    with whole_file(path) as aside:
        aside.write_text(json.dumps(finite(told), indent=1, allow_nan=False, ensure_ascii=False) + "\n", "utf-8")
    # As it will be read again, so that a page of today and one of tomorrow are made of the same.
    record = read_record(folder, part, key)
    assert record is not None
    return record


def read_record(folder: Path, part: Part, key: str) -> Record | None:
    """What was kept of a part, if it is of the same inputs and all its files are still what they were."""
    try:
        told = json.loads(path_of(folder, part).read_text("utf-8"))
        if told["format"] != _FORMAT or told["key"] != key:
            return None
        if any(_digest(folder / name) != digest for name, digest in told["files"].items()):
            return None
        pictures = [Picture(**picture) for picture in told["pictures"]]
        shown = {f"pictures/{picture.file}" for picture in pictures}
        files = [name for name in told["files"] if name not in shown]
        found = Found([_table(table) for table in told["tables"]], pictures, told["texts"], files)
        return Record(key, told["seconds"], found, told["machine"], told["versions"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None  # not there, or damaged: measured anew


def _table(told: dict[str, Any]) -> Table:
    columns = tuple(Column(**column) for column in told["columns"])
    rows = [tuple(row) for row in told["rows"]]
    return Table(told["name"], told["title"], columns, rows, told["totals"], told["notes"])


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
