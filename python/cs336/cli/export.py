"""cs336 export"""

from __future__ import annotations

from pathlib import Path

import click

from cs336.cli.options import PATH
from cs336.cli.show import json_option, show, which_option
from cs336.interop.models import export_model
from cs336.training import load_run
from cs336.training.run import RunFolder


@click.command()
@click.argument("run", metavar="RUN|CHECKPOINT", type=PATH)
@click.argument("folder", type=PATH)
@which_option
@json_option
def command(run: Path, folder: Path, which: str, as_json: bool) -> None:
    """Write a run's model, with its tokenizer, as transformers reads it: a GPT-2 or a Llama.

    RUN is the folder of a run; CHECKPOINT one of its checkpoints, or its best.safetensors. FOLDER must be new. A model
    that is neither architecture is refused, with the keys that stand in the way.

    \b
    Example: cs336 export runs/first exported --which best
    """
    run, which = locate(run, which)
    model, tokenizer, _ = load_run(run, which=which, device="cpu")
    architecture = export_model(model, tokenizer, folder)
    values = {"folder": str(folder), "architecture": architecture, "parameters": model.num_parameters()}
    show(values | {"tokenizer": tokenizer is not None}, as_json=as_json)


def locate(path: Path, which: str) -> tuple[Path, str]:
    """The run that a path is of, and which of its weights are meant."""
    if path.name == RunFolder(path.parent).best.name:
        return path.parent, "best"
    step = path.name.removeprefix("step-")
    if path.parent.name == RunFolder(path).checkpoints.name and step.isdecimal():
        return path.parent.parent, str(int(step))
    return path, which
