"""cs336 stories"""

from __future__ import annotations

import dataclasses
from pathlib import Path

import click

from cs336.cli.options import PATH, size_of
from cs336.cli.show import json_option, show


@click.command()
@click.option("--count", type=click.IntRange(min=1), help="How many stories.")
@click.option("--size", metavar="SIZE", callback=size_of, help="How many bytes at least, such as 500kB or 10MB.")
@click.option(
    "--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Other seeds tell other stories."
)
@click.option("--output", type=PATH, help="The file to write; without it, standard output.")
@json_option
def command(count: int | None, size: int | None, seed: int, output: Path | None, as_json: bool) -> None:
    """Write short stories in simple English, each followed by a line <|endoftext|>.

    Without --count and --size: 3 stories on the screen, 1000 in a file.

    \b
    Example: cs336 stories --size 10MB --output stories.txt
    """
    from cs336.data import stories, write_stories

    if count is not None and size is not None:
        raise click.UsageError("give either --count or --size")
    if output is not None:
        if size is None and count is None:
            count = 1000
        stats = write_stories(output, count=count, size=size, seed=seed)
        show(dataclasses.asdict(stats), as_json=as_json)
        return
    if as_json:
        raise click.UsageError("--json describes the file that --output names; give --output")
    limit = count or (3 if size is None else size)  # no story is shorter than a byte
    written = 0
    for text in stories(limit, seed):
        if size is not None and written >= size:
            break
        block = f"{text}\n<|endoftext|>\n"
        written += len(block.encode())
        click.echo(block, nl=False)
