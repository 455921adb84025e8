"""cs336 tokenizer train; the group's other commands stand in cs336.cli.counts, encode and inspect"""

from __future__ import annotations

import dataclasses
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cs336.cli import counts
from cs336.cli import encode as encoding
from cs336.cli import inspect as inspecting
from cs336.cli.lazy import GroupInOrder
from cs336.cli.options import (
    PATH,
    input_format_option,
    max_memory_option,
    pattern_option,
    progress_of,
    progress_option,
    refuse_options,
    special_token_option,
    text_column_option,
    threads_option,
)
from cs336.cli.show import json_option, show
from cs336.files import check_target

if TYPE_CHECKING:
    from cs336.inputs import InputFormat


@click.group(cls=GroupInOrder)
def command() -> None:
    """Train and use byte-level BPE tokenizers."""


@command.command()
@click.argument("inputs", type=PATH, nargs=-1)
@counts.from_counts_option
@click.option("--vocab-size", type=int, required=True, help="Entries: special tokens, 256 bytes, merges.")
@click.option("--output", type=PATH, required=True, help="The tokenizer.json to write.")
@special_token_option
@pattern_option
@click.option("--min-frequency", type=int, default=1, show_default=True, help="Merge no pair that is rarer.")
@click.option("--max-token-length", type=click.IntRange(min=1), help="Make no token of more bytes.")
@click.option(
    "--extend",
    type=PATH,
    help="Go on from this tokenizer.json: its ids, merges, special tokens and pattern stay, new merges follow.",
)
@input_format_option
@text_column_option
@threads_option
@max_memory_option
@progress_option
@click.option("--profile", is_flag=True, help="Tell in more detail where the time went.")
@json_option
@click.pass_context
def train(
    ctx: click.Context,
    inputs: tuple[Path, ...],
    from_counts: Path | None,
    vocab_size: int,
    output: Path,
    special_tokens: tuple[str, ...],
    pattern: str,
    min_frequency: int,
    max_token_length: int | None,
    extend: Path | None,
    input_format: InputFormat | None,
    text_column: str,
    threads: int | None,
    max_memory: int | None,
    progress: bool,
    profile: bool,
    as_json: bool,
) -> None:
    """Learn a tokenizer from files of text.

    An input is a file, a pattern in quotes ("data/*.txt"), or - for standard input. It may be compressed by gzip or
    zstd. A text is a document, or several with special tokens between them; in JSON Lines (.jsonl) and Parquet
    (.parquet) each row is one. Instead of inputs, --from-counts takes a file that `tokenizer count` made.

    \b
    Example: cs336 tokenizer train stories.txt --vocab-size 2000 --output tokenizer.json
             cs336 tokenizer train "web/*.jsonl.zst" --vocab-size 32000 --output web.json
             cs336 tokenizer train --from-counts my.counts --vocab-size 2000 --output my.json
    """
    from cs336.cli.summary import profile_of, summary_of, warnings_of
    from cs336.counts import default_max_memory
    from cs336.inputs import expand
    from cs336.report import stage
    from cs336.tokenizer import Tokenizer, train_bpe_with_report

    if from_counts is not None:
        counts.train_from_counts(
            ctx,
            from_counts,
            vocab_size,
            output,
            min_frequency=min_frequency,
            max_token_length=max_token_length,
            extend=extend,
            threads=threads,
            max_memory=max_memory,
            progress=progress,
            as_json=as_json,
        )
        return
    if not inputs:
        raise click.UsageError("give INPUTS, or --from-counts")
    check_target(output, expand(inputs) + ([] if extend is None else [str(extend)]))
    max_memory = default_max_memory() if max_memory is None else max_memory
    started = time.perf_counter()
    if extend is not None:
        refuse_options(ctx, counts.CUTS, "the tokenizer to extend says it")
    tokenizer, report = train_bpe_with_report(
        inputs,
        vocab_size,
        [] if extend is not None else list(special_tokens),
        pattern=None if extend is not None else pattern,
        min_frequency=min_frequency,
        max_token_length=max_token_length,
        extend=None if extend is None else Tokenizer.load(extend),
        input_format=input_format,
        text_column=text_column,
        threads=threads,
        max_memory=max_memory,
        progress=progress_of(progress, as_json=as_json),
    )
    stages = list(report.stages)
    with stage("saving", stages):
        tokenizer.save(output)
    report = dataclasses.replace(report, stages=tuple(stages))
    seconds = time.perf_counter() - started
    values: dict[str, Any] = {"tokenizer": str(output), "vocab_size": tokenizer.vocab_size}
    values |= summary_of(report, seconds, as_json=as_json) | {"max_memory": max_memory}
    values |= {"longest_tokens": inspecting.longest(tokenizer, 5)}
    if profile:
        values |= profile_of(report, as_json=as_json)
    show(values, as_json=as_json)
    for warning in warnings_of(tokenizer, vocab_size, min_frequency, max_token_length):
        click.echo(f"warning: {warning}", err=True)


command.add_command(counts.count)
command.add_command(counts.merge)
command.add_command(encoding.encode)
command.add_command(encoding.decode)
command.add_command(inspecting.inspect)
command.add_command(inspecting.compare)
