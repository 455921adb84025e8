"""cs336 experiment lr-sweep"""

from __future__ import annotations

from pathlib import Path

import click

from cs336.cli.studies import (
    chosen_config,
    conclude,
    parse_whole,
    rates_option,
    repeated,
    study_options,
    watched,
)
from cs336.cli.tables import chosen_form
from cs336.experiments.lr_sweep import RATES, Sweep, lr_sweep, sweep_arms
from cs336.picture import check_picture

TABLES = ("arms",)


@click.command(context_settings={"ignore_unknown_options": True, "allow_extra_args": True})
@rates_option(RATES)
@click.option(
    "--warmups",
    metavar="LIST",
    callback=parse_whole,
    help="Steps of warm-up, as 0,100. Without it: none, and a tenth of the steps.",
)
@study_options("runs/lr-sweep", TABLES)
@click.pass_context
def command(
    ctx: click.Context,
    rates: tuple[float, ...] | None,
    warmups: tuple[int, ...] | None,
    config_path: Path | None,
    preset: str | None,
    quick: bool,
    output: Path,
    jobs: int | None,
    keep_checkpoints: bool,
    names: tuple[str, ...],
    form: str,
    as_json: bool,
    chart: Path | None,
) -> None:
    """Find the best learning rate of a training, and where training becomes unstable.

    Trains the configuration at every rate with every warm-up, in processes side by side, and stops early what
    diverges. The configuration is given as for `cs336 train`: --config, --preset, --SECTION.KEY VALUE; make it short
    with --training.steps. A second call with the same words goes on where the first was stopped.

    \b
    Example: cs336 experiment lr-sweep --quick
             cs336 experiment lr-sweep --config run.toml --training.steps 200 --rates 1e-4:1e-1:7 --warmups 0,20
    """
    chosen = names or TABLES
    form = chosen_form(form, chosen, as_json=as_json)
    if chart is not None:
        check_picture(chart)
    config = chosen_config(ctx.args, Sweep.kind, config_path, preset, output, quick=quick)
    rates = rates or RATES
    with watched(sweep_arms(config, rates, warmups)) as told:
        sweep = lr_sweep(
            config, output, rates=rates, warmups=warmups, jobs=jobs, keep_checkpoints=keep_checkpoints,
            command=repeated(), told=told,
        )  # fmt: skip
    heading = f"{config.model.num_parameters():,} parameters, at most {config.training.steps:,} steps"
    conclude(sweep, output, chosen, form, heading, chart)
