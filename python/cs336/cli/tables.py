"""What commands that give tables have in common: the form, and printing in it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Literal

import click

from cs336.accounting.table import Column, Table, finite
from cs336.cli.show import print_page
from cs336.visible import escaped, isolated

_LONGEST_WORD = 24
"""Longer words break where a table has no room."""

form_option = click.option(
    "--format",
    "form",
    type=click.Choice(["table", "csv", "markdown", "json"]),
    default="table",
    show_default=True,
    help="Short numbers for people: table, markdown; exact ones: csv, json.",
)


def chosen_form(form: str, names: Sequence[str], *, as_json: bool) -> str:
    """The form that the options ask for; CSV has one table a file."""
    form = "json" if as_json else form
    if form == "csv" and len(names) != 1:
        raise click.UsageError(f"CSV holds one table; name it: {', '.join(names)}")
    return form


def print_tables(tables: Sequence[Table], form: str, *, heading: str, about: dict[str, Any]) -> None:
    """Prints tables: ``heading`` stands above them for people, and ``about`` beside them for machines."""
    if form == "json":
        told = finite(about | {table.name: table.as_dict() for table in tables})
        click.echo(json.dumps(told, indent=2, allow_nan=False))
    elif form == "csv":
        click.echo(tables[0].as_csv(), nl=False)
    elif form == "markdown":
        click.echo(isolated("\n".join([f"{escaped(heading)}\n", *(table.as_markdown() for table in tables)])))
    else:
        _print(tables, heading)


def _print(tables: Sequence[Table], heading: str) -> None:
    """Tables that fit a terminal."""
    from rich.console import Group
    from rich.padding import Padding
    from rich.text import Text

    page: list[Any] = [Text(f"{escaped(heading)}\n")]
    for table in tables:
        page += [Text(escaped(table.title), style="bold"), "", *([_laid_out(table), ""] if table.rows else [])]
        page += [Padding(Text(escaped(note)), (0, 0, 0, 2)) for note in table.notes]
        page += [""] if table.notes else []
    print_page(Group(*page))


def _laid_out(table: Table) -> Any:
    """The table as rich's."""
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table as RichTable
    from rich.text import Text

    columns, rows = table.shown_columns, table.readable_rows()
    gaps = 2 * (len(columns) - 1)
    widths = _widths(columns, rows, Console().width - gaps)
    # Widths are given, because rich would break words, and cut headings, where a table has no room.
    whole = sum(widths) + gaps
    shown = RichTable(box=SIMPLE_HEAD, padding=(0, 1, 0, 0), show_edge=False, pad_edge=False, width=whole)
    for column, width in zip(columns, widths, strict=True):
        justify: Literal["left", "right"] = "left" if column.kind == "text" else "right"
        shown.add_column(Text(escaped(column.title)), justify=justify, overflow="fold", width=width)
    for place, row in enumerate(rows, start=1):
        shown.add_row(*map(Text, row), end_section=place == len(rows) - table.totals)
    return shown


def _widths(columns: Sequence[Column], rows: Sequence[Sequence[str]], room: int) -> list[int]:
    """How wide each column is: what its longest cell takes, less where there is no room, but no word breaks."""
    from rich.cells import cell_len

    widths, least = [], []
    for place, column in enumerate(columns):
        cells, title = [row[place] for row in rows], escaped(column.title)
        # A number is one word, and so are names: what a row is about should be seen at once.
        words = cells if place == 0 or column.kind != "text" else " ".join(cells).split()
        longest = max(map(cell_len, words), default=0)
        kept = longest if column.kind != "text" else min(longest, _LONGEST_WORD)
        least.append(max([kept, *map(cell_len, title.split())]))
        natural = max(map(cell_len, [title, *cells]))
        widths.append(min(natural, max(room, least[-1])))
    for _ in range(sum(widths) - room):
        loose = [place for place, width in enumerate(widths) if width > least[place]]
        if not loose:
            break
        widths[max(loose, key=widths.__getitem__)] -= 1
    return widths
