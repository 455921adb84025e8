"""cs336 plot"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import click

from cs336.cli.options import PATH
from cs336.training.metrics import read_rows
from cs336.training.plot import Curves, draw_runs
from cs336.training.run import RunFolder


@click.command()
@click.argument("runs", type=PATH, nargs=-1, required=True)
@click.option(
    "--by", type=click.Choice(["step", "tokens", "time"]), default="step", show_default=True, help="What to draw along."
)
@click.option("--output", type=PATH, help="The PNG; default: loss.png in the run, or curves.png here for several runs.")
def command(runs: tuple[Path, ...], by: Literal["step", "tokens", "time"], output: Path | None) -> None:
    """Draw the losses of runs into one picture, by step, tokens or time of training.

    Time is that of the steps, without evaluations and without pauses between parts of a run.

    \b
    Example: cs336 plot runs/first
             cs336 plot runs/adamw runs/muon --by time --output compared.png
    """
    curves = []
    for run in runs:
        folder = RunFolder(run)
        folder.check()
        curves.append(Curves(name=run.name or str(run), rows=read_rows(folder.metrics)))
    target = output or (RunFolder(runs[0]).plot if len(runs) == 1 else Path("curves.png"))
    draw_runs(curves, target, by=by)
    click.echo(target)
