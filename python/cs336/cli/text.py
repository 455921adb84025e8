"""cs336 text"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import click

from cs336.cli.options import PATH, pattern_option
from cs336.cli.show import json_option
from cs336.cli.tables import chosen_form, form_option, print_tables
from cs336.experiments.unicode import TABLES, Text
from cs336.wording import plural


@click.command()
@click.argument("words", metavar="[TEXT]...", nargs=-1, type=click.UNPROCESSED)
@click.option("--file", "path", type=PATH, help="Read the text from this file; - is standard input.")
@click.option("--hex", "digits", metavar="DIGITS", help='Take these bytes: "C0 C0".')
@click.option("--tokenizer", "tokenizer_path", type=PATH, help="Show the tokens of this tokenizer.json, too.")
@pattern_option
@click.option(
    "--table",
    "names",
    type=click.Choice(list(TABLES)),
    multiple=True,
    help="Show this table only; may be given several times.",
)
@click.option(
    "--limit", type=click.IntRange(min=1), default=100, show_default=True, help="The most characters or tokens to show."
)
@form_option
@json_option
def command(
    words: tuple[str, ...],
    path: Path | None,
    digits: str | None,
    tokenizer_path: Path | None,
    pattern: str,
    names: tuple[str, ...],
    limit: int,
    form: str,
    as_json: bool,
) -> None:
    """Look at a text: characters, bytes, pre-tokens, tokens.

    Without TEXT, --file and --hex, or with - for TEXT, the text is standard input. It may hold anything: what does
    not print is shown escaped, and bytes that are not UTF-8 are explained one by one.

    \b
    Example: cs336 text "naïve 😧" --tokenizer tokenizer.json
             cs336 text --hex "C0 C0" --table bytes
             head -c 200 stories.txt | cs336 text
    """
    from cs336.tokenizer import Tokenizer

    data = _given(words, path, digits)
    if tokenizer_path is None and "tokens" in names:
        raise click.UsageError("the table of tokens needs --tokenizer")
    tokenizer = None if tokenizer_path is None else Tokenizer.load(tokenizer_path)
    text = Text(data, tokenizer, pattern, limit)
    chosen = names or tuple(name for name in TABLES if name != "tokens" or tokenizer is not None)
    form = chosen_form(form, chosen, as_json=as_json)
    tables = [TABLES[name](text) for name in chosen]
    if form != "json" and not names:
        tables = [table for table in tables if table.rows]
    print_tables(tables, form, heading=plural(len(data), "byte"), about={"text_bytes": len(data)})


def _given(words: tuple[str, ...], path: Path | None, digits: str | None) -> bytes:
    """The bytes that the command line names."""
    given = [what for what, there in (("TEXT", words), ("--file", path), ("--hex", digits is not None)) if there]
    if len(given) > 1:
        raise click.UsageError(f"give {' or '.join(given)}, one of them")
    if digits is not None:
        try:
            return bytes.fromhex(digits.replace("0x", "").replace("\\x", "").replace(",", " "))
        except ValueError:
            raise click.UsageError(f"--hex takes bytes of two hexadecimal digits each, not {digits!r}") from None
    if path is not None and str(path) != "-":
        return path.read_bytes()
    if words and words != ("-",):
        # A shell may hand over bytes that are not UTF-8, which Python keeps for os.fsencode to give back.
        if len(words) == 1 and os.path.isfile(words[0]):  # noqa: PTH113  unlike Path's, false for what can be no name
            click.echo(f"note: TEXT is the name of a file, too; to look into it: --file {words[0]!r}", err=True)
        return os.fsencode(" ".join(words))
    if not given and sys.stdin.isatty():
        raise click.UsageError("give TEXT, --file or --hex, or a text on standard input")
    return sys.stdin.buffer.read()
