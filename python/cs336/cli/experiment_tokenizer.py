"""cs336 experiment tokenizer"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cs336.cli.options import PATH, corpus_format_option, pattern_option, text_column_option, threads_option
from cs336.cli.show import json_option
from cs336.cli.tables import chosen_form, form_option, print_tables
from cs336.experiments.documents import END, check_corpus
from cs336.experiments.tokenizer_tables import TABLES
from cs336.experiments.tokenizers import Study, train_each
from cs336.files import explained
from cs336.picture import check_picture

if TYPE_CHECKING:
    from cs336.inputs import InputFormat


@click.command()
@click.argument("corpora", metavar="CORPUS...", type=PATH, nargs=-1, required=True)
@click.option(
    "--vocab-size",
    "vocab_sizes",
    type=int,
    multiple=True,
    default=[10_000],
    show_default=True,
    help="Entries; given once, or once for each corpus.",
)
@click.option("--special-token", default=END, show_default=True, help="What stands between two documents.")
@pattern_option
@corpus_format_option
@text_column_option
@click.option(
    "--documents", type=click.IntRange(min=1), default=10, show_default=True, help="To draw from each corpus."
)
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of the documents drawn.")
@click.option(
    "--repeats", type=click.IntRange(min=1), default=3, show_default=True, help="Encode so often, for a median."
)
@threads_option
@click.option("--output", type=PATH, help="A folder to keep the tokenizers in.")
@click.option(
    "--table",
    "names",
    type=click.Choice(list(TABLES)),
    multiple=True,
    help="Show this table only; several times for more.",
)
@form_option
@json_option
@click.option("--chart", type=PATH, help="Draw the vocabularies into this file: .png, .svg or .pdf.")
def command(
    corpora: tuple[Path, ...],
    vocab_sizes: tuple[int, ...],
    special_token: str,
    pattern: str,
    input_format: InputFormat | None,
    text_column: str,
    documents: int,
    seed: int,
    repeats: int,
    threads: int | None,
    output: Path | None,
    names: tuple[str, ...],
    form: str,
    as_json: bool,
    chart: Path | None,
) -> None:
    """Train a tokenizer on each corpus, and compare them.

    CORPUS is a file, or a pattern in quotes ("data/*.txt"), plain or compressed by gzip or zstd: text with a special
    token between its documents, JSON Lines, or Parquet. Time and memory of training by stage, the longest
    tokens, vocabularies side by side, bytes a token of every tokenizer on every corpus, and how fast each encodes
    each.

    \b
    Example: cs336 experiment tokenizer stories.txt books.txt
             cs336 experiment tokenizer stories.jsonl.gz books.txt --vocab-size 32000
    """
    chosen = names or tuple(TABLES)
    form = chosen_form(form, chosen, as_json=as_json)
    if chart is not None:
        check_picture(chart)
    for path in corpora:  # before minutes of training
        check_corpus(path, input_format=input_format, separator=special_token)
    if output is not None:
        with explained(output):
            output.mkdir(exist_ok=True)

    def told(what: str) -> None:
        if sys.stderr.isatty():
            click.echo(f"{what} ...", err=True)

    with tempfile.TemporaryDirectory() as work:
        trained = train_each(
            corpora,
            vocab_sizes,
            output or Path(work),
            special_tokens=[special_token],
            pattern=pattern,
            input_format=input_format,
            text_column=text_column,
            threads=threads,
            told=told,
        )
        study = Study(
            trained,
            Path(work),
            seed=seed,
            documents=documents,
            repeats=repeats,
            threads=threads,
            separator=special_token,
            input_format=input_format,
            text_column=text_column,
            told=told,
        )
        tables = [TABLES[name](study) for name in chosen]
    if chart is not None:
        from cs336.experiments.vocabulary_chart import draw_vocabularies

        draw_vocabularies([one.vocabulary for one in trained], chart)
    heading = f"Tokenizers of {', '.join(one.name for one in trained)}"
    print_tables(tables, form, heading=heading, about={"seed": seed, "corpora": [str(one.path) for one in trained]})
