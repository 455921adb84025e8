"""What commands print: tables that align, JSON for machines, progress on standard error."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import click

from cs336.visible import isolated

which_option = click.option(
    "--which",
    metavar="last|best|STEP",
    default="last",
    show_default=True,
    help="Weights of the last checkpoint, those with the lowest validation loss, or of the checkpoint of a step.",
)
device_option = click.option(
    "--device", default="auto", show_default=True, help="cpu, cuda, cuda:1, mps; auto takes a GPU if there is one."
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON and nothing else.")


def show(values: Mapping[str, Any], *, as_json: bool) -> None:
    """Prints named values as a table with two columns, or as JSON."""
    if as_json:
        finite = {name: None if _is_infinite(value) else value for name, value in values.items()}
        click.echo(json.dumps(finite, indent=2, allow_nan=False))
        return
    from rich.box import SIMPLE
    from rich.table import Table
    from rich.text import Text

    words_only = all(isinstance(value, str) for value in values.values())
    table = Table(box=SIMPLE, show_header=False, pad_edge=False)
    table.add_column()
    table.add_column(justify="left" if words_only else "right", overflow="fold")
    for name, value in values.items():
        # As Text, because a token such as "[/b]" or ":x:" is neither markup nor an emoji.
        table.add_row(name.replace("_", " "), Text(text_of(value)))
    print_page(table)


def print_page(page: Any) -> None:
    """Prints what rich lays out, with what reads from right to left isolated in it."""
    from rich.console import Console

    console = Console(highlight=False)
    with console.capture() as captured:
        console.print(page, crop=False)  # a table that can't be narrower is whole all the same
    sys.stdout.write(isolated(captured.get()))


def _is_infinite(value: Any) -> bool:
    """Whether JSON has no word for a value: infinities and NaN, which become null."""
    return isinstance(value, float) and not math.isfinite(value)


def text_of(value: Any) -> str:
    """A value as people read it."""
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:,.3f}"
    if isinstance(value, list):
        return "\n".join(map(text_of, value))
    return str(value)


@contextmanager
def progress_bar(what: str, total: int) -> Iterator[Callable[[int, str], None]]:
    """A bar on standard error where that is a terminal; gives a function of (units done, note)."""
    if not sys.stderr.isatty():
        yield lambda done, note: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn(what), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[note]}"))
    with Progress(*columns, TimeRemainingColumn(), console=Console(stderr=True)) as progress:
        task = progress.add_task(what, total=total, note="")
        yield lambda done, note: progress.update(task, completed=done, note=note)
