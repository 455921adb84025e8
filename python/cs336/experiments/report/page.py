"""The report as pages: one HTML file that needs nothing beside it, and Markdown with pictures."""

from __future__ import annotations

import base64
import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape

from cs336.accounting.table import Table, readable
from cs336.experiments.report.part import Part, Picture
from cs336.experiments.report.plan import Plan
from cs336.experiments.report.record import Record
from cs336.files import whole_file
from cs336.visible import escaped, isolated

__all__ = ["PAGES", "Section", "write_pages"]

PAGES = ("report.html", "report.md")
_LONG = 14
"""Rows, above which a table is folded."""
_MARKDOWN = str.maketrans({sign: f"\\{sign}" for sign in "\\`*_<["})


@dataclass(frozen=True)
class Section:
    """A part of the report as the page shows it."""

    number: int
    part: Part
    record: Record | None
    error: str | None = None

    @property
    def answer(self) -> str:
        """The answer, from the numbers as they stand in the tables."""
        return "" if self.record is None else " ".join(map(escaped, self.part.answer(self.record.found.rows())))

    @property
    def tables(self) -> Sequence[Table]:
        """The tables."""
        return () if self.record is None else self.record.found.tables

    @property
    def pictures(self) -> Sequence[Picture]:
        """The pictures."""
        return () if self.record is None else self.record.found.pictures

    @property
    def texts(self) -> dict[str, str]:
        """Longer texts, line by line without what does not print."""
        texts = {} if self.record is None else self.record.found.texts
        return {what: "\n".join(map(escaped, text.split("\n"))) for what, text in texts.items()}


def write_pages(sections: Sequence[Section], plan: Plan, folder: Path) -> tuple[Path, Path]:
    """Writes both pages, and every table as CSV."""
    for section in sections:
        for table in section.tables:
            with whole_file(folder / "tables" / f"{section.part.name}-{table.name}.csv") as aside:
                aside.write_text(table.as_csv(), "utf-8")
    values = _values(sections, plan, folder)
    written = []
    for name in PAGES:
        text = _environment(folder).get_template(f"{name}.jinja").render(values)
        path = folder / name
        with whole_file(path, plan.paths) as aside:
            aside.write_text(isolated(text) if name.endswith(".md") else text, "utf-8")
        written.append(path)
    return written[0], written[1]


def _values(sections: Sequence[Section], plan: Plan, folder: Path) -> dict[str, Any]:
    """What the templates are filled with."""
    known = next((section.record for section in sections if section.record is not None), None)
    return {
        "sections": sections,
        "plan": plan,
        "machine": None if known is None else known.machine,
        "versions": {} if known is None else known.versions,
        "command": plan.command(folder),
        "commands_of": lambda section: [
            *section.part.commands(plan, folder),
            plan.command(folder, section.part.name),
        ],
        "long": _LONG,
    }


def _environment(folder: Path) -> Environment:
    """Templates that escape what they are filled with, and know no undefined names."""
    here = FileSystemLoader(Path(__file__).parent)
    templates = Environment(
        loader=here,
        autoescape=select_autoescape(["html.jinja"]),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    templates.filters["inlined"] = lambda picture: _inlined(folder / "pictures" / picture.file)
    templates.filters["plain"] = lambda text: text.translate(_MARKDOWN)
    templates.filters["escaped"] = escaped
    templates.filters["seconds"] = lambda value: readable(value, "seconds")
    templates.filters["markdown"] = _markdown
    templates.filters["quoted"] = lambda text: "\n".join(f"    {line}".rstrip() for line in text.split("\n"))
    return templates


def _markdown(table: Table) -> str:
    """A table with its notes as plain text."""
    notes = [escaped(note).translate(_MARKDOWN) for note in table.notes]
    return dataclasses.replace(table, notes=notes).as_markdown().rstrip("\n")


def _inlined(path: Path) -> str:
    """A picture as an address that holds it."""
    return f"data:image/png;base64,{base64.b64encode(path.read_bytes()).decode('ascii')}"
