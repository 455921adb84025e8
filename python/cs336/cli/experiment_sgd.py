"""cs336 experiment sgd-lr"""

from __future__ import annotations

from pathlib import Path

import click

from cs336.cli.options import PATH
from cs336.cli.show import json_option
from cs336.cli.tables import chosen_form, form_option, print_tables
from cs336.experiments.sgd import RATES, STEPS, curve_table, descend, later_table, rates_table
from cs336.picture import check_picture

TABLES = {"rates": rates_table, "later": later_table, "curve": curve_table}


@click.command()
@click.option(
    "--rate",
    "rates",
    type=click.FloatRange(min=0, min_open=True),
    multiple=True,
    default=RATES,
    show_default=True,
    help="A learning rate; may be given several times.",
)
@click.option("--steps", type=click.IntRange(min=1), default=STEPS, show_default=True, help="Steps to judge by.")
@click.option(
    "--later-steps",
    type=click.IntRange(min=1),
    default=1000,
    show_default=True,
    help="Steps to go on to, for what the decaying rate makes of a loss that grew.",
)
@click.option(
    "--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of the weights that it begins with."
)
@click.option(
    "--table",
    "names",
    type=click.Choice(list(TABLES)),
    multiple=True,
    help="Show this table only; several times for more.",
)
@form_option
@json_option
@click.option("--chart", type=PATH, help="Draw the losses into this file: .png, .svg or .pdf.")
def command(
    rates: tuple[float, ...],
    steps: int,
    later_steps: int,
    seed: int,
    names: tuple[str, ...],
    form: str,
    as_json: bool,
    chart: Path | None,
) -> None:
    """Find the learning rate at which SGD diverges.

    The course's toy problem: the mean of the squares of 100 weights, by SGD whose rate falls as 1/sqrt(t + 1). What
    decays and what diverges is measured; the threshold is derived, and measured too.

    \b
    Example: cs336 experiment sgd-lr
             cs336 experiment sgd-lr --rate 90 --rate 110 --chart losses.png
    """
    chosen = names or tuple(TABLES)
    form = chosen_form(form, chosen, as_json=as_json)
    if chart is not None:
        check_picture(chart)
    runs = [descend(rate, max(steps, later_steps), seed=seed) for rate in rates]
    tables = [TABLES[name](runs, steps) for name in chosen]
    if chart is not None:
        from cs336.experiments.sgd_chart import draw_descents

        draw_descents(runs, steps, chart)
    heading = f"SGD on the mean of {runs[0].weights} squares, rate r / sqrt(t + 1), seed {seed}"
    print_tables(tables, form, heading=heading, about={"seed": seed, "steps": steps, "weights": runs[0].weights})
