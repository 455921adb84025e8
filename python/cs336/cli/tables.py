"""What commands that give tables have in common: the form, and printing in it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Literal

import click

from cs336.accounting.table import Table, finite
from cs336.cli.show import print_page
from cs336.visible import escaped, isolated

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
        page += [Text(escaped(table.title), style="bold"), _laid_out(table)]
        page += [Padding(Text(escaped(note)), (0, 0, 0, 2)) for note in table.notes]
        page += [""] if table.notes else []
    print_page(Group(*page))


def _laid_out(table: Table) -> Any:
    """The table as rich's."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table as RichTable
    from rich.text import Text

    shown = RichTable(box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    rows = table.readable_rows()
    for place, column in enumerate(table.shown_columns):
        # Names break last: what a row is about should be seen at once.
        width = min(max((len(row[place]) for row in rows), default=0), 24) if place == 0 else None
        justify: Literal["left", "right"] = "left" if column.kind == "text" else "right"
        number = column.kind != "text"
        title = Text(escaped(column.title))
        shown.add_column(title, justify=justify, overflow="fold", min_width=width, no_wrap=number)
    for place, row in enumerate(rows, start=1):
        shown.add_row(*map(Text, row), end_section=place == len(rows) - table.totals)
    return shown
