"""Where the log goes beside ``metrics.jsonl``: TensorBoard, Weights & Biases."""

from __future__ import annotations

import dataclasses
import importlib
import secrets
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any

from cs336.extra import needs_extra
from cs336.files import whole_file
from cs336.training.config import RunConfig, TrainingConfig
from cs336.training.metrics import Row

_NOT_DRAWN = ("step", "tokens", "context_length")


class Sink(ABC):
    """Takes the rows of the log."""

    @abstractmethod
    def write(self, row: Row) -> None:
        """Takes a row."""

    @abstractmethod
    def close(self) -> None:
        """Writes what is left."""


class TensorBoard(Sink):
    """Event files below the run; what they hold of steps that are taken again is hidden."""

    def __init__(self, folder: Path, step: int) -> None:
        from torch.utils import tensorboard

        untyped: Any = tensorboard
        self._writer = untyped.SummaryWriter(str(folder / "tensorboard"), purge_step=step + 1)

    def write(self, row: Row) -> None:
        """Each number under its own name, evaluations under ``validation/``."""
        group = "validation" if "valid_loss" in row else "training"
        for name, value in _numbers(row).items():
            self._writer.add_scalar(f"{group}/{name}", value, row["step"])

    def close(self) -> None:
        """Writes what is left."""
        self._writer.close()


class WeightsAndBiases(Sink):
    """One run there for one run here, however often it goes on."""

    def __init__(self, folder: Path, config: RunConfig) -> None:
        import wandb

        name = folder / "wandb-id"
        if not name.exists():
            with whole_file(name) as aside:
                aside.write_text(secrets.token_hex(4), encoding="utf-8")
        self._run = wandb.init(
            project="cs336",
            id=name.read_text("utf-8"),
            name=folder.resolve().name,
            dir=str(folder),
            mode="offline" if config.training.wandb == "offline" else "online",
            resume="allow",
            config=dataclasses.asdict(config),
        )

    def write(self, row: Row) -> None:
        """The same names as TensorBoard's. Rows that it has from before are passed over there."""
        group = "validation" if "valid_loss" in row else "training"
        self._run.log({f"{group}/{name}": value for name, value in _numbers(row).items()}, step=row["step"])

    def close(self) -> None:
        """Writes what is left."""
        self._run.finish()


def check_sinks(training: TrainingConfig) -> None:
    """Raises MissingDependencyError where one that is asked for is not installed."""
    if training.tensorboard:
        with needs_extra("training.tensorboard", "tensorboard"):
            importlib.import_module("tensorboard")
    if training.wandb != "off":
        with needs_extra("training.wandb", "wandb"):
            importlib.import_module("wandb")


def open_sinks(folder: Path, config: RunConfig, step: int) -> list[Sink]:
    """Those that the configuration asks for; ``step`` is the last one whose rows stay."""
    sinks: list[Sink] = []
    if config.training.tensorboard:
        sinks.append(TensorBoard(folder, step))
    if config.training.wandb != "off":
        sinks.append(WeightsAndBiases(folder, config))
    return sinks


def _numbers(row: Row) -> dict[str, float]:
    return {name: value for name, value in row.items() if value is not None and name not in _NOT_DRAWN}
