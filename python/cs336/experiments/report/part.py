"""A part of the report: what it measures, and the answer that its tables give."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cs336.accounting.table import Table
from cs336.experiments.report.plan import Plan

__all__ = ["Bench", "Found", "Part", "Picture", "Rows"]

Rows = dict[str, list[dict[str, Any]]]
"""Of each table, by its name, the rows as values by heading (with underscores)."""


@dataclass(frozen=True)
class Picture:
    """A picture in the report's folder ``pictures``."""

    file: str
    alt: str
    """What it shows, for who doesn't see it."""


@dataclass(frozen=True)
class Found:
    """What a part has measured: everything on the page is made of this."""

    tables: Sequence[Table]
    pictures: Sequence[Picture] = ()
    texts: dict[str, str] = field(default_factory=dict)
    """Longer texts, as samples of a model, by what they are."""
    files: Sequence[str] = ()
    """What other parts need, by its path in the report's folder."""

    def rows(self) -> Rows:
        """For the answer."""
        return {table.name: table.as_dict()["rows"] for table in self.tables}


@dataclass(frozen=True)
class Bench:
    """Where a part works."""

    plan: Plan
    folder: Path
    """The report's."""
    work: Path
    """A folder of the part's own, of which nothing is shown. What it left there when it was stopped is still there."""
    told: Callable[[str], object] = print

    @property
    def pictures(self) -> Path:
        """Where pictures go."""
        return self.folder / "pictures"


@dataclass(frozen=True)
class Part:
    """A section of the report."""

    name: str
    title: str
    measure: Callable[[Bench], Found]
    answer: Callable[[Rows], list[str]]
    """Sentences that follow from the rows of its tables, whatever these are."""
    commands: Callable[[Plan, Path], list[str]]
    """What repeats its tables one by one; the folder is the report's."""
    reads_corpora: bool = False
    needs: tuple[str, ...] = ()
    """Parts whose files it works with."""
