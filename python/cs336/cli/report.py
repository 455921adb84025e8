"""cs336 report"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cs336.cli.options import PATH, corpus_format_option, text_column_option, threads_option
from cs336.cli.show import json_option, show
from cs336.experiments.documents import END
from cs336.experiments.report.engine import make_report
from cs336.experiments.report.parts import PARTS
from cs336.experiments.report.plan import Plan, default_sizes

if TYPE_CHECKING:
    from cs336.inputs import InputFormat


@click.command()
@click.option("--corpus", "corpora", type=PATH, multiple=True, help="A corpus; give two, or more.")
@click.option("--quick", is_flag=True, help="Small models and few steps: minutes on two cores.")
@click.option(
    "--out",
    "folder",
    type=PATH,
    default="report",
    show_default=True,
    help="The folder of the report, new or begun before.",
)
@click.option(
    "--vocab-size",
    "vocab_sizes",
    type=int,
    multiple=True,
    help="Entries; once, or once for each corpus.  [default: 10000 for the first, 32000 for others]",
)
@click.option("--special-token", default=END, show_default=True, help="What stands between two documents.")
@corpus_format_option
@text_column_option
@click.option("--seed", type=click.IntRange(0, 2**63 - 1), default=0, show_default=True, help="Of all that is drawn.")
@threads_option
@click.option(
    "--only", metavar="PART", multiple=True, help="Measure this part, and what it needs; several times for more."
)
@click.option("--restart", is_flag=True, help="Measure again what stands there already.")
@click.option("--list", "list_parts", is_flag=True, help="List the parts, and do nothing.")
@json_option
@click.pass_context
def command(
    ctx: click.Context,
    corpora: tuple[Path, ...],
    quick: bool,
    folder: Path,
    vocab_sizes: tuple[int, ...],
    special_token: str,
    input_format: InputFormat | None,
    text_column: str,
    seed: int,
    threads: int | None,
    only: tuple[str, ...],
    restart: bool,
    list_parts: bool,
    as_json: bool,
) -> None:
    """Run every experiment of the write-up, and bind the answers into a page.

    The folder gets report.html, which needs nothing beside it, and report.md; pictures, tables (CSV), raw numbers
    (parts, JSON). A report that was stopped goes on when the same command is given again; what is done is not run
    again unless a corpus, an option or the machine has changed. Where a part fails, the page says so, the others
    stand, and the exit status is 1.

    \b
    Example: cs336 report --corpus stories.txt --corpus books.txt --quick
             cs336 report --corpus stories.txt --corpus books.txt --only tokenizers --restart
    """
    if list_parts:
        show({part.name: part.title for part in PARTS}, as_json=as_json)
        return
    if not corpora:
        raise click.UsageError("give --corpus FILE, best twice")
    plan = Plan(
        paths=corpora,
        vocab_sizes=vocab_sizes or default_sizes(len(corpora)),
        quick=quick,
        seed=seed,
        threads=threads,
        separator=special_token,
        input_format=input_format,
        text_column=text_column,
    )

    def told(what: str) -> None:
        if not as_json or sys.stderr.isatty():
            click.echo(what, err=True)

    try:
        report = make_report(plan, folder, only=only, restart=restart, told=told)
    except KeyboardInterrupt:
        click.echo("what is done is kept; give the same command again to go on", err=True)
        raise
    values = {one.part.name: one.error or one.status for one in report.done}
    show({"page": str(report.html), "markdown": str(report.markdown), **values}, as_json=as_json)
    if report.failed:
        names = ", ".join(one.part.name for one in report.failed)
        click.echo(f"error: {len(report.failed)} of {len(report.done)} parts failed: {names}; see the page", err=True)
        ctx.exit(1)
