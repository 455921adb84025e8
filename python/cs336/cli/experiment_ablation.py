"""cs336 experiment ablation"""

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
from cs336.experiments.ablation import Ablation, ablation
from cs336.experiments.quick import ABLATION_RATES
from cs336.experiments.variants import RATES, SEEDS, VARIANTS, ablation_arms
from cs336.picture import check_picture

TABLES = ("verdicts", "sizes", "runs")


def _words(ctx: click.Context, param: click.Parameter, value: str | None) -> tuple[str, ...] | None:
    return None if value is None else tuple(word.strip() for word in value.split(","))


@click.command(context_settings={"ignore_unknown_options": True, "allow_extra_args": True})
@click.option(
    "--arms",
    "variants",
    metavar="LIST",
    callback=_words,
    help=f"What to change, as no-norm,relu2,batch-64. There are: {', '.join(VARIANTS)}, batch-N. Without it: all that "
    "change something (but learned-positions), and batches of half and twice the size.",
)
@rates_option(RATES)
@click.option("--seeds", metavar="LIST", callback=parse_whole, help=f"Without it: {','.join(map(str, SEEDS))}.")
@study_options("runs/ablation", TABLES)
@click.pass_context
def command(
    ctx: click.Context,
    variants: tuple[str, ...] | None,
    rates: tuple[float, ...] | None,
    seeds: tuple[int, ...] | None,
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
    """Measure what each part of a model is worth, by changing one at a time.

    Norms, positions, feed-forward layers at equal parameters, parallel blocks, a tied head, batches at equal tokens:
    each at several rates and seeds, in processes side by side, so that a verdict comes with its spread. The
    configuration is given as for `cs336 train`. A second call with the same words goes on where the first was stopped.

    \b
    Example: cs336 experiment ablation --quick
             cs336 experiment ablation --config run.toml --arms no-norm,gelu --rates 1e-3,3e-3 --seeds 0,1,2,3
    """
    chosen = names or TABLES[:2]
    form = chosen_form(form, chosen, as_json=as_json)
    if chart is not None:
        check_picture(chart)
    config = chosen_config(ctx.args, Ablation.kind, config_path, preset, output, quick=quick)
    rates = rates or (ABLATION_RATES if quick else RATES)
    seeds = seeds or SEEDS
    with watched(ablation_arms(config, variants, rates, seeds)) as told:
        found = ablation(
            config, output, variants=variants, rates=rates, seeds=seeds, jobs=jobs, keep_checkpoints=keep_checkpoints,
            command=repeated(), told=told,
        )  # fmt: skip
    heading = f"Ablation of {config.model.num_parameters():,} parameters, {config.training.steps:,} steps"
    conclude(found, output, chosen, form, heading, chart)
