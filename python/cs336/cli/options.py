"""What options of several commands have in common."""

from __future__ import annotations

from pathlib import Path

import click

PATH = click.Path(path_type=Path, readable=False)
"""Any path. Whether it can be read shows when it is read, and the message then says what to do."""

input_format_option = click.option(
    "--format",
    "input_format",
    type=click.Choice(["text", "jsonl", "parquet"]),
    help="What all inputs hold; without it, what each name says: .jsonl, .parquet, or else text.",
)
text_column_option = click.option(
    "--text-column", default="text", show_default=True, help="The column of JSON Lines or Parquet that holds the text."
)
