"""What options of several commands have in common."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

import click
from click.core import ParameterSource

PATH = click.Path(path_type=Path, readable=False)
"""Any path. Whether it can be read shows when it is read, and the message then says what to do."""

_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([kmgt]?)(i?)b?")


def size_of(ctx: click.Context, param: click.Parameter, value: str | None) -> int | None:
    """A number of bytes: 1000, 10kB, 1.5MB, 2GiB."""
    if value is None:
        return None
    match = _SIZE.fullmatch(value.strip().lower())
    if match is None or (match[3] and not match[2]):
        raise click.BadParameter(f"{value!r} is no size; write a number of bytes, or one with kB, MB or GB", ctx, param)
    unit: int = (1024 if match[3] else 1000) ** " kmgt".index(match[2] or " ")
    return round(float(match[1]) * unit)


def progress_of(progress: bool, *, as_json: bool) -> bool | None:
    """What the library takes: --json alone silences a terminal, too, but not what is asked for."""
    return True if progress else False if as_json else None


def refuse_options(ctx: click.Context, options: Iterable[str], reason: str) -> None:
    """Refuses options that are given where something else says what they would, or that can do nothing."""
    for param in ctx.command.params:
        given = ctx.get_parameter_source(param.name or "") is ParameterSource.COMMANDLINE
        if given and param.opts[0] in options:
            raise click.UsageError(f"leave {param.opts[0]} out: {reason}")


def parse_overrides(words: list[str]) -> dict[str, str]:
    """``--model.d-model 512`` and ``--model.d-model=512`` as names and values."""
    overrides: dict[str, str] = {}
    rest = iter(words)
    for word in rest:
        if not word.startswith("--") or "." not in word.partition("=")[0]:
            raise click.UsageError(f"no such option: {word}; keys of the configuration are --SECTION.KEY VALUE")
        name, equals, value = word[2:].partition("=")
        if not equals:
            value = next(rest, "")
            if not value:
                raise click.UsageError(f"--{name} needs a value")
        overrides[name] = value
    return overrides


special_token_option = click.option(
    "--special-token",
    "special_tokens",
    multiple=True,
    default=["<|endoftext|>"],
    show_default=True,
    help="A token that splits the text and is never merged; may be given several times.",
)
pattern_option = click.option(
    "--pattern", default="gpt2", show_default=True, help="gpt2, cl100k, o200k, or a regular expression."
)
threads_option = click.option("--threads", type=click.IntRange(min=1), help="Threads; without it, one for each core.")
max_memory_option = click.option(
    "--max-memory",
    metavar="SIZE",
    callback=size_of,
    help="Memory to take, such as 500MB or 2GiB; without it, three quarters of what is available.",
)
input_format_option = click.option(
    "--format",
    "input_format",
    type=click.Choice(["text", "jsonl", "parquet"]),
    help="What all inputs hold; without it, what each name says: .jsonl, .parquet, or else text.",
)
corpus_format_option = click.option(  # where --format is that of what is printed
    "--input-format",
    type=click.Choice(["text", "jsonl", "parquet"]),
    help="What each corpus holds; without it, what its name says: .jsonl, .parquet, or else text.",
)
text_column_option = click.option(
    "--text-column", default="text", show_default=True, help="The column of JSON Lines or Parquet that holds the text."
)
progress_option = click.option(
    "--progress", is_flag=True, help="Show progress also where standard error is no terminal, as lines."
)
engine_option = click.option(
    "--engine",
    type=click.Choice(["local", "ray"]),
    default="local",
    show_default=True,
    help="Who works: this machine, or a Ray cluster, where --threads (1) and --max-memory are those of each task.",
)
ray_address_option = click.option(
    "--ray-address", help="The cluster's; without it, that in RAY_ADDRESS, one that runs here, or else a new one here."
)
