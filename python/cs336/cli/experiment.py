"""cs336 experiment: one module an experiment, imported when it is called"""

from __future__ import annotations

import click

from cs336.cli.lazy import LazyGroup

_COMMANDS = {
    "tokenizer": ("cs336.cli.experiment_tokenizer", "Train a tokenizer on each corpus, and compare them."),
    "sgd-lr": ("cs336.cli.experiment_sgd", "Find the learning rate at which SGD diverges."),
    "lr-sweep": (
        "cs336.cli.experiment_lr_sweep",
        "Find a training's best learning rate, and its edge of stability.",
    ),
    "ablation": ("cs336.cli.experiment_ablation", "Measure what each part of a model is worth."),
}


@click.group(cls=LazyGroup, commands_at=_COMMANDS)
def command() -> None:
    """Repeat the experiments of the write-up, with every number measured."""
