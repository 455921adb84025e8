"""cs336 tokenizer inspect, compare"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cs336.cli.options import PATH, input_format_option, progress_of, progress_option, text_column_option
from cs336.cli.show import json_option, show, text_of
from cs336.errors import CorpusError
from cs336.visible import quoted, shortened

if TYPE_CHECKING:
    from cs336.inputs import InputFormat, StrPath
    from cs336.inspection import Inspection
    from cs336.tokenizer import Tokenizer

# Backgrounds on which black can be read, and that differ for those who see fewer colours, too.
_COLOURS = ("#a6cee3", "#fdbf6f", "#b2df8a", "#fb9a99", "#cab2d6")

text_option = click.option("--text", help="Show this text cut into tokens, each in a colour of its own.")


@click.command()
@click.argument("tokenizer_path", metavar="TOKENIZER", type=PATH)
@click.argument("inputs", type=PATH, nargs=-1)
@text_option
@input_format_option
@text_column_option
@progress_option
@json_option
def inspect(
    tokenizer_path: Path,
    inputs: tuple[Path, ...],
    text: str | None,
    input_format: InputFormat | None,
    text_column: str,
    progress: bool,
    as_json: bool,
) -> None:
    """Describe a tokenizer.

    With INPUTS, which are those of `tokenizer train`, tell how well it compresses these, and which tokens never occur
    in them.

    \b
    Example: cs336 tokenizer inspect tokenizer.json stories.txt
             cs336 tokenizer inspect tokenizer.json --text "Once upon a time"
    """
    from cs336.tokenizer import Tokenizer

    tokenizer = Tokenizer.load(tokenizer_path)
    values: dict[str, Any] = {
        "vocab_size": tokenizer.vocab_size,
        "merges": len(tokenizer.merges),
        "special_tokens": tokenizer.special_tokens,
        "pattern": tokenizer.pattern,
        "hash": tokenizer.hash,
        "longest_tokens": longest(tokenizer, 10),
    }
    if inputs:
        inspection = _inspected(tokenizer, inputs, input_format, text_column, progress, as_json)
        unused = inspection.unused(tokenizer)
        values |= _compression(inspection) | {
            "tokens_used": len(tokenizer.vocab) - len(unused),
            "tokens_never_used": len(unused),
            "never_used": _never_used(tokenizer, unused, as_json=as_json),
            "most_frequent": [shortened(tokenizer.id_to_token(id)) for id, _ in inspection.most_frequent(10)],
        }
    if text is not None and as_json:
        values["pieces"] = _pieces(tokenizer, text)
    show(values, as_json=as_json)
    if text is not None and not as_json:
        render(tokenizer, text)


@click.command()
@click.argument("one_path", metavar="A", type=PATH)
@click.argument("other_path", metavar="B", type=PATH)
@click.argument("inputs", type=PATH, nargs=-1)
@text_option
@input_format_option
@text_column_option
@progress_option
@json_option
def compare(
    one_path: Path,
    other_path: Path,
    inputs: tuple[Path, ...],
    text: str | None,
    input_format: InputFormat | None,
    text_column: str,
    progress: bool,
    as_json: bool,
) -> None:
    """Compare two tokenizers on the same texts.

    INPUTS are those of `tokenizer train`.

    \b
    Example: cs336 tokenizer compare small.json large.json stories.txt
             cs336 tokenizer compare small.json large.json --text "Once upon a time"
    """
    from cs336.inspection import readable_again
    from cs336.tokenizer import Tokenizer

    if not inputs and text is None:
        raise click.UsageError("give INPUTS, or --text")
    tokenizers = [Tokenizer.load(path) for path in (one_path, other_path)]
    columns: list[dict[str, Any]] = []
    with readable_again(inputs) as files:
        for path, tokenizer in zip((one_path, other_path), tokenizers, strict=True):
            column: dict[str, Any] = {"tokenizer": str(path), "vocab_size": tokenizer.vocab_size}
            column |= {"pattern": tokenizer.pattern}
            if inputs:
                inspection = _inspected(tokenizer, files, input_format, text_column, progress, as_json)
                column |= _compression(inspection)
                column |= {"tokens_never_used": len(inspection.unused(tokenizer))}
            if text is not None and as_json:
                column["pieces"] = _pieces(tokenizer, text)
            columns.append(column)
    one, other = columns
    both: dict[str, Any] = {"shared_tokens": len(set(tokenizers[0].vocab.values()) & set(tokenizers[1].vocab.values()))}
    if inputs:
        both["tokens_of_b_for_one_of_a"] = other["text_tokens"] / one["text_tokens"]
    if as_json:
        show({"a": one, "b": other} | both, as_json=True)
        return
    show({name: f"{text_of(one[name])}  |  {text_of(other[name])}" for name in one} | both, as_json=False)
    if text is not None:
        for tokenizer in tokenizers:
            render(tokenizer, text)


def _inspected(
    tokenizer: Tokenizer,
    inputs: Sequence[StrPath],
    input_format: InputFormat | None,
    text_column: str,
    progress: bool,
    as_json: bool,
) -> Inspection:
    from cs336.inspection import inspect_texts

    try:
        return inspect_texts(
            tokenizer,
            inputs,
            input_format=input_format,
            text_column=text_column,
            progress=progress_of(progress, as_json=as_json),
        )
    except CorpusError as error:
        raise CorpusError(f"{error}, to compress") from error


def _compression(inspection: Inspection) -> dict[str, Any]:
    return {
        "text_bytes": inspection.bytes,
        "text_tokens": inspection.tokens,
        "bytes_per_token": inspection.bytes_per_token,
        "tokens_per_word": inspection.tokens_per_word,
    }


def _never_used(tokenizer: Tokenizer, unused: list[int], *, as_json: bool) -> list[str]:
    """All of them and whole for machines, and for people a few to look at."""
    if as_json:
        return [quoted(tokenizer.id_to_token(id)) for id in unused]
    return [shortened(tokenizer.id_to_token(id)) for id in unused[:10]]


def _pieces(tokenizer: Tokenizer, text: str) -> list[dict[str, Any]]:
    from cs336.inspection import pieces_of

    return [{"id": id, "text": piece} for id, piece in pieces_of(tokenizer, text)]


def render(tokenizer: Tokenizer, text: str) -> None:
    """Prints a text cut into tokens: in colours, or with bars between where there are none; and how many they are."""
    from rich.console import Console
    from rich.text import Text

    from cs336.inspection import pieces_of

    console = Console(highlight=False)
    pieces = pieces_of(tokenizer, text)
    line = Text()
    for number, (_, piece) in enumerate(pieces):
        if console.color_system is None and number:
            line.append("|")
        line.append(piece, style=f"black on {_COLOURS[number % len(_COLOURS)]}")
    console.print(line, soft_wrap=True)
    noun = "token" if len(pieces) == 1 else "tokens"
    console.print(f"{len(pieces)} {noun}: {' '.join(str(id) for id, _ in pieces)}", soft_wrap=True)


def longest(tokenizer: Tokenizer, count: int) -> list[str]:
    """The longest tokens but for the special ones, as people read them: the beginning of one that fills lines."""
    special = set(tokenizer.special_tokens.values())
    ordinary = (token for token_id, token in tokenizer.vocab.items() if token_id not in special)
    return [shortened(token) for token in sorted(ordinary, key=len, reverse=True)[:count]]
