"""A table that knows what its numbers are: exact for machines, short for people."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from cs336.visible import escaped

__all__ = ["FORMATS", "Column", "Table", "finite", "readable"]

_PREFIXES = ((1e24, "Y"), (1e21, "Z"), (1e18, "E"), (1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))

_MARKDOWN = str.maketrans({sign: f"\\{sign}" for sign in "|<`"})
"""What in a cell would end it, or begin what is no text."""


@dataclass(frozen=True)
class Column:
    """A heading, and what stands below it."""

    heading: str
    kind: str = "text"
    """text, a kind of FORMATS, or measure: a number whose kind the column `unit` of its row names. What is for machines
    only, as that unit is, has the kind machine."""
    short: str | None = None
    """The heading for people, where that is another."""
    missing: str = ""
    """What people see where there is no value."""

    @property
    def title(self) -> str:
        """The heading for people."""
        return self.heading if self.short is None else self.short


@dataclass(frozen=True)
class Table:
    """Rows of plain values, with what explains them."""

    name: str
    title: str
    columns: tuple[Column, ...]
    rows: list[tuple[Any, ...]]
    totals: int = 0
    """How many of the last rows sum up the others."""
    notes: list[str] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        """For JSON: exact values by heading."""
        keys = [column.heading.replace(" ", "_") for column in self.columns]
        rows = [dict(zip(keys, row, strict=True)) for row in self.rows]
        return {"title": self.title, "rows": rows, "notes": self.notes}

    def as_csv(self) -> str:
        """Exact values; the first line has the headings."""
        file = io.StringIO()
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(column.heading for column in self.columns)
        writer.writerows(self.rows)
        return file.getvalue()

    def as_markdown(self) -> str:
        """Short values under a heading."""
        shown = self.shown_columns
        lines = [[column.title for column in shown], ["---" if c.kind == "text" else "---:" for c in shown]]
        lines += [[cell.translate(_MARKDOWN) for cell in row] for row in self.readable_rows()]
        table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
        notes = "".join(f"\n{note}\n" for note in self.notes)
        return f"### {self.title}\n\n{table}\n{notes}"

    @property
    def shown_columns(self) -> list[Column]:
        """The columns for people, who see a unit beside its number."""
        return [column for column in self.columns if column.kind != "machine"]

    def readable_rows(self) -> list[list[str]]:
        """The rows for people, in the shown columns."""
        found = []
        for row in self.rows:
            by_heading = dict(zip((column.heading for column in self.columns), row, strict=True))
            unit = by_heading.get("unit", "")
            shown = self.shown_columns
            values = [(c, by_heading[c.heading], unit if c.kind == "measure" else c.kind) for c in shown]
            found.append([c.missing if value is None else readable(value, kind) for c, value, kind in values])
        return found


def readable(value: Any, kind: str) -> str:
    """A value as people read it: three decimals and a unit, or all digits of what is counted one by one."""
    return "" if value is None else FORMATS[kind](value) if kind in FORMATS else escaped(str(value))


def finite(value: Any) -> Any:
    """The value with null for what JSON has no word for: infinities and NaN."""
    if isinstance(value, dict):
        return {key: finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _scaled(value: float, unit: str) -> str:
    """1637176000 -> 1.637 G."""
    for factor, prefix in _PREFIXES:
        if abs(value) >= factor * 0.9999995:  # or it would round to 1,000 of the smaller
            return f"{value / factor:,.3f} {prefix}{unit}"
    return f"{value:,.4g} {unit}".rstrip()


def _number(value: float) -> str:
    """Four digits, and of a large number all before the point: 12041.3 -> 12,041."""
    return f"{value:,.0f}" if 9999.5 <= abs(value) < 1e7 else f"{value:,.4g}"


def _seconds(value: float) -> str:
    """3600 -> 1 h."""
    for factor, unit in ((86400, "days"), (3600, "h"), (60, "min"), (1, "s"), (1e-3, "ms")):
        if value >= factor:
            return f"{value / factor:,.{4 if value < 1e4 * factor else 12}g} {unit}"
    return f"{value * 1e6:.4g} µs"


FORMATS: dict[str, Callable[[Any], str]] = {
    "count": lambda value: f"{value:,}",
    "number": _number,
    "share": lambda value: f"{value:.1%}",
    "ratio": lambda value: f"{value:.1f}x",
    "bytes": lambda value: _scaled(value, "B"),
    "limit": lambda value: _scaled(value, "B").replace(".000 ", " "),  # a round size that somebody gave: 80 GB
    "GB": lambda value: f"{value / 1e9:,.3f}",  # the unit stands in the title
    "flop": lambda value: _scaled(value, ""),
    "tera": lambda value: f"{value / 1e12:,.3f}",  # here, too
    "per second": lambda value: _scaled(value, "/s"),
    "bytes per second": lambda value: _scaled(value, "B/s"),
    "seconds": _seconds,
    "days": lambda value: f"{value:,.1f}",
}
"""The kinds of numbers, and how people read them."""
