"""cs336 data"""

from __future__ import annotations

import dataclasses
import json
import shlex
from pathlib import Path

import click

from cs336.cli.lazy import GroupInOrder
from cs336.cli.options import PATH
from cs336.cli.show import json_option, show


@click.group(cls=GroupInOrder)
def command() -> None:
    """Get the data that models of the course are trained on."""


@command.command()
@click.argument("name")
@click.option("--folder", type=PATH, default=Path("data"), show_default=True, help="Where the files shall stand.")
@click.option(
    "--part", "parts", type=click.Choice(["train", "valid"]), multiple=True, help="One part only; without it, both."
)
@click.option("--revision", default="main", show_default=True, help="Branch, tag or commit of the dataset.")
@json_option
def download(name: str, folder: Path, parts: tuple[str, ...], revision: str, as_json: bool) -> None:
    """Download a corpus from the Hugging Face hub: tinystories, or openwebtext (the course's sample).

    Files are checked against the SHA-256 that the hub states, and get their names only when they are whole. What was
    stopped goes on where it was. HF_ENDPOINT names another hub, HF_HUB_OFFLINE=1 forbids the network, HF_TOKEN is the
    token for what needs one.

    \b
    Example: cs336 data download tinystories
             cs336 data download openwebtext --part valid --folder corpora
    """
    from cs336.data.download import download_corpus

    files = download_corpus(name, folder, parts=parts or None, revision=revision)
    if as_json:
        click.echo(json.dumps([dataclasses.asdict(file) | {"path": str(file.path)} for file in files], indent=2))
        return
    for file in files:
        show({**dataclasses.asdict(file), "path": str(file.path)}, as_json=False)
    if parts != ("valid",):
        tokenizer = shlex.quote(str(folder / "tokenizer.json"))
        click.echo(
            f"Next: cs336 tokenizer train {shlex.quote(str(files[0].path))} --vocab-size 10000 --output {tokenizer}"
        )
