"""cs336 train"""

from __future__ import annotations

import dataclasses
import os
import shlex
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import click

from cs336.bars import clock
from cs336.cli.options import PATH, parse_overrides
from cs336.cli.show import json_option, progress_bar, show
from cs336.config import PRESETS
from cs336.errors import Cs336Error, WorkerError
from cs336.presets import RUN_PRESETS
from cs336.training import RunConfig, TrainResult, load_config, rehearse, to_toml
from cs336.training import train as run_training
from cs336.training.metrics import Row
from cs336.training.run import RunFolder, check_folder


@contextmanager
def said_once() -> Iterator[None]:
    """Of processes that torchrun has started, lets the first on each machine say what all meet alike.

    The others end with the same status. What befalls one of them alone still comes out: its first process ends by a
    WorkerError that repeats it.
    """
    try:
        yield
    except WorkerError:
        raise
    except (Cs336Error, OSError, click.UsageError) as error:
        if os.environ.get("WORLD_SIZE", "1") != "1" and os.environ.get("LOCAL_RANK", "0") != "0":
            sys.exit(getattr(error, "exit_code", 1))
        raise


@click.command(context_settings={"ignore_unknown_options": True, "allow_extra_args": True})
@click.option("--config", "config_path", type=PATH, help="A TOML file with those sections.")
@click.option("--preset", help=f"A known run: {', '.join(RUN_PRESETS)}; or a known model: {', '.join(PRESETS)}.")
@click.option("--run", "run_dir", type=PATH, help="The folder of a new run.")
@click.option("--resume", type=PATH, help="The folder of a run to go on with; its configuration is in it.")
@click.option("--accept-changes", is_flag=True, help="With --resume: go on with other values, given as options.")
@click.option(
    "--dry-run", is_flag=True, help="Print what would be done, take a few steps to see what they cost; write nothing."
)
@click.option("--deterministic", is_flag=True, help="Only kernels that give the same bits every time.")
@json_option
@click.pass_context
@said_once()
def command(
    ctx: click.Context,
    config_path: Path | None,
    preset: str | None,
    run_dir: Path | None,
    resume: Path | None,
    accept_changes: bool,
    dry_run: bool,
    deterministic: bool,
    as_json: bool,
) -> None:
    """Train a language model on token files, or go on with a run.

    Every key of the configuration is an option, too: --SECTION.KEY VALUE, with the sections model, data, optimizer and
    training.

    \b
    Example: cs336 train --preset tinystories --run runs/stories --data.train train.npy \\
                 --data.valid valid.npy --data.tokenizer tokenizer.json
             cs336 train --preset tinystories-2025 --run runs/first --training.steps 1000 \\
                 --data.train train.npy --data.valid valid.npy \\
                 --data.tokenizer tokenizer.json --model.vocab-size 2000
             cs336 train --resume runs/first
             torchrun --nproc-per-node 8 -m -- cs336 train --resume runs/first
    """
    overrides = parse_overrides(ctx.args)
    if deterministic:
        overrides["training.deterministic"] = "true"
    if resume is not None:
        if dry_run:
            raise click.UsageError(
                "--dry-run is for a new run; give its configuration, as with --config RUN/config.toml"
            )
        if config_path is not None or preset is not None or run_dir is not None:
            raise click.UsageError(
                "--resume takes the configuration from the run; give none of --config, --preset, --run"
            )
        folder = RunFolder(resume)
        folder.check()
        config = load_config(folder.config, overrides)
        result = train_with_progress(
            config, resume, resume=True, accept_changes=accept_changes, quiet=as_json, show_config=not as_json
        )
    else:
        if accept_changes:
            raise click.UsageError("--accept-changes is for --resume; a new run takes any configuration")
        if preset is not None:
            overrides["preset"] = preset
        if dry_run:
            show_rehearsal(load_config(config_path, overrides), run_dir, as_json=as_json)
            return
        if run_dir is None:
            raise click.UsageError("name the folder of the new run with --run, or a run to go on with --resume")
        config = load_config(config_path, overrides)
        result = train_with_progress(config, run_dir, quiet=as_json, show_config=not as_json)
    if is_first_process():
        show({**dataclasses.asdict(result), "run": str(result.run)}, as_json=as_json)
        if not as_json:
            click.echo(next_step(result))
    if result.interrupted:
        ctx.exit(130)


def show_rehearsal(config: RunConfig, run_dir: Path | None, *, as_json: bool) -> None:
    """Prints the resolved configuration, and what a few steps of it have shown; the folder, if named, must be free."""
    if run_dir is not None:
        check_folder(RunFolder(run_dir), config, resume=False, accept_changes=False)
    found = dataclasses.asdict(rehearse(config))
    if not is_first_process():
        return
    if as_json:
        show({"config": dataclasses.asdict(config), **found}, as_json=True)
        return
    click.echo(to_toml(config))
    readable = {
        "device": found["device"],
        "parameters": found["parameters"],
        "weights, gradients, optimizer": f"{found['state_bytes'] / 1e6:,.1f} MB",
        "memory expected": f"{found['expected_bytes'] / 1e6:,.1f} MB",
        "memory measured": f"{found['peak_bytes'] / 1e6:,.1f} MB" if found["peak_bytes"] else "unknown",
        "FLOPs a step": f"{found['flops_per_step']:.3g}",
        "tokens": found["tokens"],
        "time a step": f"{found['seconds_per_step']:.3g} s",
        "time expected": f"{clock(found['seconds'])} and evaluations",
        "loss of the second step": found["loss"],
    }
    show(readable, as_json=False)


def is_first_process() -> bool:
    """Whether this is the one process that prints, of those that torchrun has started."""
    return os.environ.get("RANK", "0") == "0"


def train_with_progress(
    config: RunConfig,
    run_dir: Path,
    *,
    resume: bool = False,
    accept_changes: bool = False,
    quiet: bool = False,
    show_config: bool = False,
) -> TrainResult:
    """Trains with a live line of loss and speed, and prints each evaluation.

    With ``show_config``, the resolved configuration comes first, but not before a mistake in it.
    """
    with ExitStack() as stack:
        advance: Callable[[int, str], None]
        speed = 0.0

        def ready() -> None:
            nonlocal advance
            if show_config:
                click.echo(to_toml(config))
            advance = stack.enter_context(progress_bar("training", config.training.steps))

        def report(row: Row) -> None:
            nonlocal speed
            if "loss" in row:
                speed = 0.9 * speed + 0.1 * row["tokens_per_second"] if speed else row["tokens_per_second"]
                share = "" if row["mfu"] is None else f", MFU {row['mfu']:.0%}"
                advance(row["step"], f"loss {row['loss']:.3f}, {speed:,.0f} tokens/s{share}{memory_used()}")
            elif "warning" in row:
                click.echo(f"warning: {row['warning']}", err=True)
            elif not quiet:
                bits = f", {row['bits_per_byte']:.3f} bits a byte" if row["bits_per_byte"] is not None else ""
                click.echo(f"step {row['step']:>6}: validation loss {row['valid_loss']:.4f}{bits}", err=True)

        return run_training(config, run_dir, resume=resume, accept_changes=accept_changes, report=report, ready=ready)


def memory_used() -> str:
    """The most memory so far, as the live line shows it: of the GPU, else of the process; nothing where unknown."""
    if "torch" in sys.modules and sys.modules["torch"].cuda.is_initialized():
        return f", {sys.modules['torch'].cuda.max_memory_allocated() / 1e9:.2f} GB"
    if sys.platform != "linux":
        return ""
    import resource

    return f", {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9:.2f} GB"


def next_step(result: TrainResult) -> str:
    """What to do with a run now."""
    if result.interrupted:
        return (
            f"Stopped at step {result.step} and saved. Go on with: cs336 train --resume {shlex.quote(str(result.run))}"
        )
    return f"Next: cs336 generate {shlex.quote(str(result.run))} --prompt 'Once upon a time'"
