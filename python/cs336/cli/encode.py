"""cs336 tokenizer encode, decode"""

from __future__ import annotations

import dataclasses
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from cs336.cli.options import PATH, engine_option, input_format_option, ray_address_option, text_column_option
from cs336.cli.show import json_option, show
from cs336.errors import DataError, TokenIdError
from cs336.files import check_target, followed, whole_file

if TYPE_CHECKING:
    from cs336.inputs import InputFormat
    from cs336.tokenizer import Tokenizer

DECODE_BLOCK = 1 << 20
"""Tokens decoded at a time, so that a file of any size needs little memory."""

tokenizer_option = click.option(
    "--tokenizer", "tokenizer_path", type=PATH, required=True, help="A tokenizer.json, from `tokenizer train`."
)


@click.command()
@click.argument("paths", metavar="[INPUT... OUTPUT]", type=PATH, nargs=-1)
@tokenizer_option
@click.option("--text", help="Encode this text and print its ids.")
@click.option(
    "--special",
    type=click.Choice(["token", "text", "error"]),
    default="token",
    show_default=True,
    help="What special tokens in the text are: themselves, plain text, or an error.",
)
@click.option(
    "--separator",
    metavar="TOKEN",
    default="<|endoftext|>",
    show_default=True,
    help="A special token that follows each document and file, unless it ends with that already.",
)
@click.option("--no-separator", is_flag=True, help="Put nothing between documents.")
@click.option("--dtype", type=click.Choice(["uint16", "uint32"]), help="Without it, uint16 where all ids fit.")
@click.option(
    "--shard-tokens", type=click.IntRange(min=1), help="Write OUTPUT-00000 and so on, each of so many tokens."
)
@input_format_option
@text_column_option
@click.option("--threads", type=click.IntRange(min=1), help="Threads; without it, one for each core.")
@click.option("--restart", is_flag=True, help="Forget what an earlier run left, and begin anew.")
@engine_option
@ray_address_option
@click.option("--progress", is_flag=True, help="Show progress also where standard error is no terminal, as lines.")
@json_option
def encode(
    paths: tuple[Path, ...],
    tokenizer_path: Path,
    text: str | None,
    special: Literal["token", "text", "error"],
    separator: str,
    no_separator: bool,
    dtype: str | None,
    shard_tokens: int | None,
    input_format: InputFormat | None,
    text_column: str,
    threads: int | None,
    restart: bool,
    engine: Literal["local", "ray"],
    ray_address: str | None,
    progress: bool,
    as_json: bool,
) -> None:
    """Turn texts into token ids.

    An INPUT is a file, a pattern in quotes ("data/*.txt"), or - for standard input; plain or compressed by gzip or
    zstd; text, JSON Lines (.jsonl) or Parquet (.parquet), where each row is a document. OUTPUT is the token file to
    write: a .npy array, with a .json beside it that describes it. It appears when it is whole. A run that was stopped
    goes on when the same command is given again.

    \b
    Example: cs336 tokenizer encode stories.txt stories.npy --tokenizer tokenizer.json
             cs336 tokenizer encode "web/*.zst" web.npy --shard-tokens 100000000 --tokenizer web.json
             cs336 tokenizer encode --text "Once upon a time" --tokenizer tokenizer.json
    """
    from cs336.tokenizer import Tokenizer

    if (text is None) != (len(paths) >= 2) or (text is not None and paths):
        raise click.UsageError("give INPUT... and OUTPUT, or --text")
    tokenizer = Tokenizer.load(tokenizer_path)
    if text is not None:
        ids = tokenizer.encode(text, special=special)
        click.echo(str(ids) if as_json else " ".join(map(str, ids)))
        return
    *inputs, output = paths
    from cs336._bpe import check_token_sources
    from cs336.inputs import expand
    from cs336.token_files import record_path

    check_target(output)
    real = followed(output)
    check_target(real.with_name(f"{real.name}.json"))  # the sidecar
    numbers = 2 if engine == "ray" else int(shard_tokens is not None)
    check_token_sources(output, numbers, [*expand(inputs), tokenizer_path])
    options: dict[str, Any] = {
        "special": special,
        "separator": None if no_separator else separator,
        "dtype": dtype,
        "shard_tokens": shard_tokens,
        "input_format": input_format,
        "text_column": text_column,
        "restart": restart,
        "progress": True if progress else False if as_json else None,
    }
    started = time.perf_counter()
    try:
        values = _encode(tokenizer, inputs, output, options, engine, threads, ray_address)
    except KeyboardInterrupt:
        if record_path(output).exists():
            click.echo("what is done is kept; give the same command again to go on", err=True)
        raise
    show(values | {"seconds": time.perf_counter() - started}, as_json=as_json)


def _encode(
    tokenizer: Tokenizer,
    inputs: list[Path],
    output: Path,
    options: dict[str, Any],
    engine: str,
    threads: int | None,
    ray_address: str | None,
) -> dict[str, Any]:
    from cs336.token_files import encode_files

    if ray_address is not None and engine != "ray":
        raise click.UsageError("--ray-address goes with --engine ray")
    if engine == "ray":
        from cs336.token_cluster import encode_files_on_ray

        with redirect_stdout(sys.stderr):  # where Ray prints of lost workers
            stats = encode_files_on_ray(tokenizer, inputs, output, threads=threads or 1, address=ray_address, **options)
    else:
        stats = encode_files(tokenizer, inputs, output, threads=threads, **options)
    values = dataclasses.asdict(stats) | {"bytes_per_token": stats.bytes_per_token}
    values["files"] = [str(file) for file in stats.files]
    return values


@click.command()
@click.argument("sources", metavar="[SOURCE]...", type=PATH, nargs=-1)
@tokenizer_option
@click.option("--ids", help='Decode these ids: "1 2 3".')
@click.option("--output", type=PATH, help="The text file to write; without it, standard output.")
def decode(sources: tuple[Path, ...], tokenizer_path: Path, ids: str | None, output: Path | None) -> None:
    """Turn token ids back into text.

    A SOURCE is a token file, from `tokenizer encode`, or a pattern in quotes; several are one text.

    \b
    Example: cs336 tokenizer decode stories.npy --tokenizer tokenizer.json --output back.txt
             cs336 tokenizer decode "web-*.npy" --tokenizer web.json
    """
    from cs336.tokenizer import Tokenizer

    if (ids is None) == (not sources):
        raise click.UsageError("give SOURCE or --ids")
    tokenizer = Tokenizer.load(tokenizer_path)
    if ids is not None:
        words = ids.replace(",", " ").split()
        pieces: Iterable[bytes] = [tokenizer.decode_bytes([_whole_number(word) for word in words])]
    else:
        pieces = _decoded(tokenizer, tokenizer_path, sources)
    if output is None:
        sys.stdout.buffer.writelines(pieces)
        sys.stdout.buffer.flush()
        return
    from cs336.inputs import expand

    with whole_file(output, [tokenizer_path, *expand(sources)]) as aside, aside.open("wb") as file_out:
        file_out.writelines(pieces)


def _decoded(tokenizer: Tokenizer, tokenizer_path: Path, sources: tuple[Path, ...]) -> Iterator[bytes]:
    from cs336.data import open_tokens
    from cs336.inputs import expand

    files = [open_tokens(source) for source in expand(sources)]  # all, before anything is written
    for file in files:
        if file.info is not None and file.info.vocabulary_hash != tokenizer.hash:
            message = f"{file.path} was encoded with another tokenizer than {tokenizer_path}"
            raise DataError(f"{message}; give the one it was")
    for file in files:
        for start in range(0, len(file.tokens), DECODE_BLOCK):
            yield tokenizer.decode_bytes(file.tokens[start : start + DECODE_BLOCK])


def _whole_number(word: str) -> int:
    try:
        return int(word)
    except ValueError:
        raise TokenIdError(f"--ids takes whole numbers, and {word!r} is none") from None
