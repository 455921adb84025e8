"""cs336 account"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import click

from cs336.accounting.activations import COUNTINGS, LOSSES
from cs336.accounting.devices import DEVICES, find_device
from cs336.accounting.optimizers import OPTIMIZERS
from cs336.accounting.precision import DTYPES
from cs336.accounting.run_file import model_of, read_run
from cs336.accounting.tables import TABLES, USUAL, WRITEUP, Question, describe
from cs336.cli.options import PATH, parse_overrides, size_of
from cs336.cli.show import json_option
from cs336.cli.tables import chosen_form, form_option, print_tables
from cs336.config import parse_value
from cs336.errors import ConfigError
from cs336.presets import with_preset

DEFAULT_PRESET = "gpt2-xl"


@click.command(context_settings={"ignore_unknown_options": True, "allow_extra_args": True})
@click.argument("tables", nargs=-1, metavar="[TABLE]...", type=click.UNPROCESSED)
@click.option("--preset", help=f"A known model or run; without it and --config: {DEFAULT_PRESET}.")
@click.option("--config", "config_path", type=PATH, help="The model, batch, steps and type of a run's TOML file.")
@click.option("--context-length", type=int, help="Tokens of a sequence, instead of the model's.")
@click.option("--batch-size", type=int, help="Sequences a step, on all devices; without it 1, and 1024 for time.")
@click.option("--grad-accumulation", type=int, help="Parts that a batch is computed in, one after the other.")
@click.option("--steps", type=int, help="Steps of training.  [default: 400000]")
@click.option("--dtype", type=click.Choice(DTYPES), help="The type of matrix products.  [default: float32]")
@click.option("--optimizer", type=click.Choice(OPTIMIZERS), help="[default: adamw]")
@click.option(
    "--attention", type=click.Choice(["sdpa", "reference"]), help="Fused, or written out: with scores in memory."
)
@click.option(
    "--counting",
    type=click.Choice(COUNTINGS),
    default="course",
    show_default=True,
    help="Activations as the course lists them, or as PyTorch keeps them.",
)
@click.option("--loss", type=click.Choice(LOSSES), help="As PyTorch keeps it: with all logits, or in chunks of them.")
@click.option("--checkpointing", is_flag=True, help="Keep the inputs of blocks only, and compute the rest again.")
@click.option("--devices", type=int, default=1, show_default=True, help="How many share the weights (FSDP).")
@click.option("--device", default="a100", show_default=True, help=f"{', '.join(DEVICES)}.")
@click.option("--device-memory", metavar="SIZE", callback=size_of, help="Such as 80GB, instead of the device's own.")
@click.option("--mfu", type=float, default=0.5, show_default=True, help="The part of the peak that training reaches.")
@form_option
@json_option
@click.option("--chart", type=PATH, help="Draw the shares by model size into this file: .png, .svg or .pdf.")
@click.pass_context
def command(
    ctx: click.Context,
    /,
    tables: tuple[str, ...],
    preset: str | None,
    config_path: Path | None,
    form: str,
    as_json: bool,
    chart: Path | None,
    **settings: Any,
) -> None:
    """Count parameters, FLOPs, memory and time of a model, by formula.

    TABLE: parameters, flops, training, memory, batch, time and inference, which are shown without a name; sizes, which
    compares model sizes and contexts; writeup-answers, writeup-flops, writeup-shares and writeup-memory, or writeup for
    all four, which correct a student's accounting. Every setting of a model is an option, too: --model.KEY VALUE.

    \b
    Example: cs336 account
             cs336 account flops sizes --context-length 16384
             cs336 account memory batch --device-memory 24GB --dtype bfloat16
             cs336 account --config runs/first/config.toml --device h100
    """
    words, overrides = _split([*tables, *ctx.args])
    names = _table_names(words)
    question = _question(preset, config_path, overrides, settings)
    form = chosen_form(form, names, as_json=as_json)
    found = [TABLES[name](question) for name in names]
    if chart is not None:
        from cs336.accounting.chart import draw_shares

        draw_shares(question, chart)
    about = {"model": question.name, "config": dataclasses.asdict(question.config)}
    print_tables(found, form, heading=f"{question.name}: {describe(question.config)}", about=about)


def _split(words: Iterable[str]) -> tuple[list[str], dict[str, Any]]:
    """Names of tables, and overrides of the model."""
    names: list[str] = []
    options: list[str] = []
    rest = iter(words)
    for word in rest:
        if not word.startswith("-"):
            names.append(word)
            continue
        options.append(word)
        if "=" not in word:
            options += [value for value in [next(rest, None)] if value is not None]
    overrides = parse_overrides(options)
    for key in overrides:
        if not key.startswith("model."):
            raise click.UsageError(f"no such option: --{key}; settings of the model are --model.KEY VALUE")
    values = {key.removeprefix("model.").replace("-", "_"): parse_value(text) for key, text in overrides.items()}
    return names, values


def _table_names(words: list[str]) -> list[str]:
    names: list[str] = []
    for word in words:
        if word == "writeup":
            names += WRITEUP
        elif word in TABLES:
            names.append(word)
        else:
            raise click.UsageError(f"no such table: {word}; there are {', '.join([*TABLES, 'writeup'])}")
    return names or list(USUAL)


def _question(
    preset: str | None, config_path: Path | None, overrides: dict[str, Any], settings: dict[str, Any]
) -> Question:
    """What the options ask: they outweigh the file, which outweighs the defaults."""
    if preset is not None and config_path is not None:
        raise click.UsageError("give either --preset or --config")
    run: dict[str, Any] = {"training": {}, "optimizer": {}} | with_preset({"preset": preset or DEFAULT_PRESET})
    if config_path is not None:
        run = read_run(config_path)
    context_length = settings.pop("context_length")
    if context_length is not None:
        overrides["context_length"] = context_length
    from_run = {name: run["training"].get(name) for name in ("batch_size", "grad_accumulation", "steps", "dtype")}
    chosen = from_run | {"optimizer": run["optimizer"].get("name")}
    if config_path is not None:
        chosen["loss"] = run["training"].get("loss", "chunked")  # as it trains unless told otherwise
    chosen |= {name: value for name, value in settings.items() if value is not None}
    device = find_device(chosen.pop("device"))
    try:
        config = model_of(run["model"] | overrides)
        changed = ", changed" if overrides else ""
        name = f"{preset or DEFAULT_PRESET}{changed}" if config_path is None else str(config_path)
        return Question(config=config, name=name, device=device, **{k: v for k, v in chosen.items() if v is not None})
    except ConfigError as error:
        if config_path is None:
            raise
        raise ConfigError(f"{config_path}{' with the options given' if overrides else ''}: {error}") from error
