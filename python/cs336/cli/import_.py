"""cs336 import"""

from __future__ import annotations

import shlex
from pathlib import Path

import click

from cs336.cli.options import PATH
from cs336.cli.show import json_option, show
from cs336.files import new_folder
from cs336.interop.models import import_model
from cs336.training.run import adopt


@click.command()
@click.argument("folder", type=PATH)
@click.argument("out", type=PATH)
@json_option
def command(folder: Path, out: Path, as_json: bool) -> None:
    """Make a run of a model that transformers has written: a GPT-2 or a Llama, with its tokenizer.

    FOLDER is what `save_pretrained` has written, or `cs336 export`. OUT must be new; it is the folder of a run at step
    0, for `cs336 generate` and `cs336 eval`, and for training on:

    \b
        cs336 train --resume OUT --accept-changes --data.train train.npy --training.steps 1000

    \b
    Example: cs336 import gpt2 runs/gpt2
    """
    new_folder(out)  # refused before the work
    model, tokenizer = import_model(folder)
    adopt(out, model, tokenizer)
    values = {"run": str(out), "parameters": model.num_parameters(), "tokenizer": tokenizer is not None}
    show(values, as_json=as_json)
    if not as_json and tokenizer is not None:
        click.echo(f"Next: cs336 generate {shlex.quote(str(out))} --prompt 'Once upon a time'")
