"""What the commands of a learning-rate sweep and an ablation have in common."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import click

from cs336.cli.options import PATH, parse_overrides
from cs336.cli.show import json_option, progress_bar
from cs336.cli.tables import form_option, print_tables
from cs336.errors import ConfigError, WorkerError
from cs336.experiments.ablation import Ablation
from cs336.experiments.arms import Arm
from cs336.experiments.lr_sweep import Sweep, geometric
from cs336.experiments.quick import quick_data, quick_overrides
from cs336.experiments.study import RESULTS, refuse_foreign
from cs336.training import RunConfig, load_config

__all__ = [
    "chosen_config",
    "conclude",
    "parse_whole",
    "rates_option",
    "repeated",
    "study_options",
    "watched",
]

PICTURE = "picture.png"
F = TypeVar("F", bound=Callable[..., Any])


def study_options(output: str, tables: Sequence[str]) -> Callable[[F], F]:
    """The options of both; ``output`` is the folder where none is named."""
    options = (
        click.option("--config", "config_path", type=PATH, help="A TOML file, as `cs336 train` takes it."),
        click.option("--preset", help="A known model: tinystories-2025, gpt2-small, ..."),
        click.option(
            "--quick", is_flag=True, help="A small model on built-in stories, or on --data.train: about two minutes."
        ),
        click.option(
            "--output",
            type=PATH,
            default=output,
            show_default=True,
            help="The folder of results; it can be gone on with.",
        ),
        click.option(
            "--jobs",
            type=click.IntRange(min=1),
            help="Runs at once, each with its share of the cores; without it, one for each core, or one on a GPU.",
        ),
        click.option("--keep-checkpoints", is_flag=True, help="Keep those of finished runs, too."),
        click.option(
            "--table",
            "names",
            type=click.Choice(list(tables)),
            multiple=True,
            help="Show this table only; several times for more.",
        ),
        form_option,
        json_option,
        click.option("--chart", type=PATH, help="Draw into this file, too: .png, .svg or .pdf."),
    )

    def decorate(command: F) -> F:
        for option in reversed(options):
            command = option(command)
        return command

    return decorate


def rates_option(default: Sequence[float]) -> Callable[[F], F]:
    """The learning rates, and which they are without the option."""
    ways = "Learning rates: 1e-3,3e-3,1e-2, or so many from one to another by equal factors: 1e-4:1:9."
    shown = ", ".join(f"{rate:g}" for rate in default)  # with spaces, where a line of the help may end
    return click.option("--rates", metavar="LIST", callback=parse_rates, help=f"{ways} Without it: {shown}.")


def parse_rates(ctx: click.Context, param: click.Parameter, value: str | None) -> tuple[float, ...] | None:
    """``1e-3,1e-2`` or ``1e-4:1:9``."""
    if value is None:
        return None
    try:
        if ":" in value:
            low, high, count = value.split(":")
            return geometric(float(low), float(high), int(count))
        return tuple(map(float, value.split(",")))
    except ConfigError as error:
        raise click.BadParameter(str(error), ctx, param) from error
    except ValueError as error:
        message = f"{value!r} names no rates; write 1e-3,3e-3,1e-2 or 1e-4:1:9"
        raise click.BadParameter(message, ctx, param) from error


def parse_whole(ctx: click.Context, param: click.Parameter, value: str | None) -> tuple[int, ...] | None:
    """``0,10,100``"""
    if value is None:
        return None
    if not all(part.strip().isdecimal() for part in value.split(",")):
        raise click.BadParameter(f"{value!r} names no whole numbers; write 0,10", ctx, param)
    return tuple(map(int, value.split(",")))


def chosen_config(
    words: list[str], kind: str, config_path: Path | None, preset: str | None, output: Path, *, quick: bool
) -> RunConfig:
    """The configuration that the options ask for."""
    overrides = parse_overrides(words)
    if not quick:
        chosen = {} if preset is None else {"model.preset": preset}
        return load_config(config_path, overrides | chosen)
    if config_path is not None or preset is not None:
        raise click.UsageError("--quick brings a configuration of its own; give neither --config nor --preset with it")
    refuse_foreign(output)
    given = overrides.get("data.train")
    data = quick_data(output / "data") if given is None else {"train": given}
    return load_config(None, quick_overrides(kind, **data) | overrides)


def repeated() -> str:
    """The command as it was typed."""
    return shlex.join(["cs336", *sys.argv[1:]])


def watched(arms: Sequence[Arm]) -> Any:
    """A bar of the steps of all runs, as a context that gives what `told` takes."""
    return progress_bar(f"{len(arms)} runs", sum(arm.config.training.steps for arm in arms))


def conclude(
    study: Sweep | Ablation, output: Path, names: Sequence[str], form: str, heading: str, chart: Path | None
) -> None:
    """Draws and prints what was found; what failed makes the exit status 1, what was interrupted 130."""
    ended = [one for one in study.outcomes if one.status in ("trained", "no progress", "diverged")]
    if ended:
        for path in (output / PICTURE, *([chart] if chart is not None else [])):
            study.draw(path)
    tables = [table for table in study.tables() if table.name in names]
    about = {"output": str(output)} | {key: value for key, value in study.to_json().items() if key != "outcomes"}
    print_tables(tables, form, heading=heading, about=about)
    if form == "table":
        kept = f"{output / PICTURE} and " if ended else ""
        click.echo(f"Kept: {kept}{output / RESULTS}")
    if study.failed:
        one = study.failed[0]
        others = f", and {len(study.failed) - 1} more" if study.failed[1:] else ""
        raise WorkerError(f"{one.name} failed{others}: {one.reason}")
    if study.unfinished:
        click.echo(f"Stopped; {len(ended)} of {len(study.outcomes)} runs are done. Go on with: {repeated()}", err=True)
        click.get_current_context().exit(130)
