"""cs336 tokenizer count, merge-counts, and train --from-counts"""

from __future__ import annotations

import dataclasses
import sys
import time
from contextlib import redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from cs336.cli.options import (
    PATH,
    engine_option,
    input_format_option,
    max_memory_option,
    pattern_option,
    progress_of,
    progress_option,
    ray_address_option,
    refuse_options,
    special_token_option,
    text_column_option,
    threads_option,
)
from cs336.cli.show import json_option, show
from cs336.files import check_target

if TYPE_CHECKING:
    from cs336.inputs import InputFormat

from_counts_option = click.option(
    "--from-counts", type=PATH, help="A counts file instead of INPUTS; it says pattern and special tokens, too."
)

CUTS = ("--pattern", "--special-token")
"""The options that say how to cut text."""


@click.command()
@click.argument("inputs", type=PATH, nargs=-1, required=True)
@click.option("--output", type=PATH, required=True, help="The counts file to write, such as x.counts.")
@special_token_option
@pattern_option
@input_format_option
@text_column_option
@threads_option
@max_memory_option
@engine_option
@ray_address_option
@progress_option
@json_option
def count(
    inputs: tuple[Path, ...],
    output: Path,
    special_tokens: tuple[str, ...],
    pattern: str,
    input_format: InputFormat | None,
    text_column: str,
    threads: int | None,
    max_memory: int | None,
    engine: Literal["local", "ray"],
    ray_address: str | None,
    progress: bool,
    as_json: bool,
) -> None:
    """Count the pre-tokens of files of text, to train on the counts.

    Inputs are those of `tokenizer train`. What does not fit into --max-memory goes to temporary files.

    \b
    Example: cs336 tokenizer count stories.txt --output stories.counts
             cs336 tokenizer count "/shared/web/*.jsonl.zst" --output web.counts --engine ray
    """
    from cs336.cluster import count_pretokens_on_ray
    from cs336.counts import count_pretokens, default_max_memory

    check_target(output)
    started = time.perf_counter()
    options: dict[str, Any] = {
        "special_tokens": list(special_tokens),
        "pattern": pattern,
        "input_format": input_format,
        "text_column": text_column,
        "progress": progress_of(progress, as_json=as_json),
    }
    if engine == "ray":
        options |= {"threads": threads or 1, "max_memory": max_memory, "address": ray_address}
        with redirect_stdout(sys.stderr):  # where Ray prints of lost workers
            info = count_pretokens_on_ray(inputs, output, **options)
    elif ray_address is not None:
        raise click.UsageError("--ray-address goes with --engine ray")
    else:
        max_memory = default_max_memory() if max_memory is None else max_memory
        info = count_pretokens(inputs, output, threads=threads, max_memory=max_memory, **options)
    summary: dict[str, Any] = {"counts": str(output)} | _rows(dataclasses.asdict(info))
    limit = {} if max_memory is None else {"max_memory": max_memory}
    show(summary | limit | {"seconds": time.perf_counter() - started}, as_json=as_json)


@click.command("merge-counts")
@click.argument("inputs", type=PATH, nargs=-1, required=True)
@click.option("--output", type=PATH, required=True, help="The counts file to write.")
@json_option
def merge(inputs: tuple[Path, ...], output: Path, as_json: bool) -> None:
    """Add counts files up, as if all their texts were counted at once.

    All must be counted with the same pattern and special tokens.

    \b
    Example: cs336 tokenizer merge-counts a.counts b.counts --output both.counts
    """
    from cs336.counts import merge_counts

    check_target(output)
    started = time.perf_counter()
    info = dataclasses.asdict(merge_counts(inputs, output))
    del info["spilled_runs"]
    seconds = time.perf_counter() - started
    show({"counts": str(output), "files": len(inputs)} | _rows(info) | {"seconds": seconds}, as_json=as_json)


def _rows(info: dict[str, Any]) -> dict[str, Any]:
    return info | {"special_tokens": list(info["special_tokens"])}


def train_from_counts(
    ctx: click.Context,
    counts: Path,
    vocab_size: int,
    output: Path,
    *,
    min_frequency: int,
    max_token_length: int | None,
    extend: Path | None,
    threads: int | None,
    max_memory: int | None,
    progress: bool,
    as_json: bool,
) -> None:
    """What ``train --from-counts`` does."""
    from cs336.cli.inspect import longest
    from cs336.cli.summary import stages_of, warnings_of
    from cs336.counts import default_max_memory, read_info, train_bpe_from_counts
    from cs336.report import StageReport, stage
    from cs336.tokenizer import Tokenizer

    if ctx.params["inputs"]:
        raise click.UsageError("give either INPUTS or --from-counts")
    refuse_options(ctx, CUTS, "the counts file says it, or count again")
    refuse_options(ctx, ("--format", "--text-column"), "it is about INPUTS, and a counts file has a format of its own")
    refuse_options(ctx, ("--profile",), "it is about counting, and that is done; the stages are told without it")
    check_target(output, [counts] if extend is None else [counts, extend])
    started = time.perf_counter()
    info = read_info(counts)
    max_memory = default_max_memory() if max_memory is None else max_memory
    base = None if extend is None else Tokenizer.load(extend)
    stages: list[StageReport] = []
    with stage("merging", stages):
        tokenizer = train_bpe_from_counts(
            counts,
            vocab_size,
            min_frequency=min_frequency,
            max_token_length=max_token_length,
            extend=base,
            threads=threads,
            max_memory=max_memory,
            progress=progress_of(progress, as_json=as_json),
        )
    with stage("saving", stages):
        tokenizer.save(output)
    summary = {
        "tokenizer": str(output),
        "vocab_size": tokenizer.vocab_size,
        "corpus_bytes": info.corpus_bytes,
        "pretokens": info.pre_tokens,
        "distinct_pretokens": info.distinct,
        "merges": len(tokenizer.merges),
        "ran_out_of_pairs": tokenizer.vocab_size < vocab_size,
        "seconds": time.perf_counter() - started,
    }
    summary |= stages_of(stages, as_json=as_json)
    show(summary | {"max_memory": max_memory, "longest_tokens": longest(tokenizer, 5)}, as_json=as_json)
    for warning in warnings_of(tokenizer, vocab_size, min_frequency, max_token_length):
        click.echo(f"warning: {warning}", err=True)
