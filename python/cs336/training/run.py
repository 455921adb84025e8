"""The folder of a run: its files, and how to get a model back out of it."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from cs336.accounting import find_device
from cs336.data.token_file import TokenFile
from cs336.errors import CheckpointError, ConfigError
from cs336.files import explained, new_folder, whole_file, whole_folder
from cs336.nn import TransformerLM
from cs336.training.checkpoint import (
    WEIGHTS,
    OtherFormatError,
    Snapshot,
    checkpoints,
    checkpoints_by_step,
    load_weights,
    verify,
    write_checkpoint,
)
from cs336.training.config import (
    DataConfig,
    RunConfig,
    TrainingConfig,
    differences,
    load_config,
    to_toml,
    with_absolute_paths,
)
from cs336.training.metrics import Row, read_rows
from cs336.wording import in_toml

if TYPE_CHECKING:  # A run without a tokenizer needs no compiled one.
    from cs336.tokenizer import Tokenizer


@dataclass(frozen=True)
class RunFolder:
    """Where everything of a run stands."""

    path: Path

    @property
    def config(self) -> Path:
        """The resolved configuration."""
        return self.path / "config.toml"

    @property
    def metrics(self) -> Path:
        """The log, a JSON object a line."""
        return self.path / "metrics.jsonl"

    @property
    def lock(self) -> Path:
        """Held by the process that trains in here."""
        return self.path / "run.lock"

    @property
    def changes(self) -> Path:
        """Changes of the configuration that were accepted when the run went on, a JSON object a line."""
        return self.path / "config-changes.jsonl"

    @property
    def checkpoints(self) -> Path:
        """The folder of checkpoints."""
        return self.path / "checkpoints"

    @property
    def best(self) -> Path:
        """Weights with the lowest validation loss so far."""
        return self.path / "best.safetensors"

    @property
    def tokenizer(self) -> Path:
        """The run's own copy of the tokenizer."""
        return self.path / "tokenizer.json"

    def accepted_changes(self) -> list[Row]:
        """What was accepted when the run went on: after which step, key, old and new value."""
        return read_rows(self.changes, of="after_step")

    def changed_after(self, step: int) -> set[str]:
        """The keys of changes that were accepted after a step."""
        return {change["key"] for change in self.accepted_changes() if change["after_step"] >= step}

    @property
    def plot(self) -> Path:
        """The loss curve."""
        return self.path / "loss.png"

    def check(self) -> None:
        """Raises CheckpointError where this is not the folder of a run."""
        with explained(self.path):
            if not self.path.is_dir():
                raise CheckpointError(f"there is no run folder {self.path}; name one that `cs336 train` has made")
            if not self.config.exists():
                raise CheckpointError(
                    f"{self.path} is no run folder: it has no {self.config.name}; name one that `cs336 train` has made"
                )

    def checkpoint_of(self, step: str) -> Path:
        """The checkpoint of a step, verified."""
        kept = {str(step): path for step, path in checkpoints_by_step(self.checkpoints).items()}
        known = ", ".join(kept) or "none yet"
        if step not in kept:
            raise CheckpointError(
                f"{self.path} has no checkpoint {step!r}; name last, best, or one of its steps: {known}"
            )
        try:
            verify(kept[step])
        except OtherFormatError:
            raise
        except CheckpointError as error:
            raise CheckpointError(f"{error}; name last, for the newest whole one, or another step: {known}") from error
        return kept[step]

    def last_whole_checkpoint(self) -> tuple[Path | None, list[str]]:
        """The newest checkpoint that is not damaged, and what is wrong with newer ones.

        Raises OtherFormatError where there is none but another version of this package has some.
        """
        errors: list[CheckpointError] = []
        for checkpoint in reversed(checkpoints(self.checkpoints)):
            try:
                verify(checkpoint)
            except CheckpointError as error:
                errors.append(error)
            else:
                return checkpoint, list(map(str, errors))
        for one in errors:
            if isinstance(one, OtherFormatError):  # not to be begun again: that version has its steps
                raise one
        return None, list(map(str, errors))


def check_folder(folder: RunFolder, config: RunConfig, resume: bool, accept_changes: bool) -> dict[str, Any]:
    """Refuses a folder of another run, or of another configuration; gives the changes that are accepted."""
    if resume:
        folder.check()
        changed = differences(with_absolute_paths(load_config(folder.config)), config)
        if changed and not accept_changes:
            listed = ", ".join(
                f"{key} ({in_toml(old)} there, {in_toml(new)} now)" for key, (old, new) in changed.items()
            )
            raise ConfigError(
                f"the run in {folder.path} has another configuration: {listed}; leave that as it is, start a new run, "
                "or go on with other values by --accept-changes"
            )
        return dict(changed)
    # A start that was killed before it wrote the configuration leaves no more than these.
    harmless = (folder.tokenizer.name,)
    with explained(folder.path):
        names = [path.name for path in folder.path.iterdir()] if folder.path.exists() else []
    if any(name not in harmless and name[0] != "." for name in names):
        raise ConfigError(
            f"{folder.path} is not empty; go on with it by `cs336 train --resume {folder.path}`, or name another folder"
        )
    return {}


def create_folder(folder: RunFolder, config: RunConfig) -> None:
    """Makes the folder; the configuration comes last, because it makes the folder a run that can be resumed."""
    with explained(folder.path):
        folder.path.mkdir(parents=True, exist_ok=True)
    keep_tokenizer(folder, config)
    write_config(folder, config)


def keep_tokenizer(folder: RunFolder, config: RunConfig) -> None:
    """Puts a copy of the tokenizer into the folder, in place of what was there."""
    if config.data.tokenizer is None:
        folder.tokenizer.unlink(missing_ok=True)
        return
    with whole_file(folder.tokenizer) as aside:
        shutil.copyfile(config.data.tokenizer, aside)


def adopt(path: Path, model: TransformerLM, tokenizer: Tokenizer | None) -> None:
    """Makes a run of a model that was trained elsewhere, at step 0: `load_run` reads it, and `--resume` trains it.

    What it is to be trained on, and for how long, comes then, as accepted changes.
    """
    folder = RunFolder(Path(path).absolute())
    config = RunConfig(
        model=model.config,
        data=DataConfig(train=(), tokenizer=None if tokenizer is None else str(folder.tokenizer)),
        training=TrainingConfig(steps=1),
    )
    weights = {name: tensor.detach().cpu() for name, tensor in model.state_dict().items()}
    nothing_yet = {"optimizer": {}, "random": [], "position": [0], "loss_scale": {}, "data": []}
    with whole_folder(new_folder(folder.path)) as aside:
        new = RunFolder(aside)
        write_checkpoint(new.checkpoints, Snapshot(0, weights, nothing_yet), keep_last=1)
        if tokenizer is not None:
            tokenizer.save(new.tokenizer)
        write_config(new, config)


def write_config(folder: RunFolder, config: RunConfig) -> None:
    """Writes the resolved configuration."""
    with whole_file(folder.config) as aside:
        aside.write_text(to_toml(config), encoding="utf-8")


def choose_device(name: str, local_rank: int | None = None) -> torch.device:
    """The device by its name; ``auto`` takes CUDA, else MPS, else the CPU. Several processes have a GPU each."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ConfigError(f"training.device {name!r} is no device; use auto, cpu, cuda, cuda:N or mps") from error
    there = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if device.type not in there:
        raise ConfigError(f"training.device {name!r} is none to train on; use auto, cpu, cuda, cuda:N or mps")
    if not there[device.type]:
        kind = device.type.upper()
        raise ConfigError(f"training.device is {name!r}, but PyTorch finds no {kind} device here; use auto or cpu")
    if device.type == "cuda" and local_rank is not None:
        if device.index is not None:
            raise ConfigError(f"training.device is {name!r} for several processes; use cuda, and each takes its own")
        device = torch.device("cuda", local_rank)
    return device


def peak_flops(device: torch.device, dtype: str) -> float | None:
    """What the device can do in a second, by its data sheet; None where that is not known."""
    if device.type != "cuda":
        return None
    try:
        return find_device(torch.cuda.get_device_name(device)).peak(dtype)
    except ConfigError:
        return None


def find_document_end(data: DataConfig, tokenizer: Tokenizer | None, files: Iterable[TokenFile]) -> int | None:
    """The id of the token that ends documents, from the tokenizer or from a token file; None without masking."""
    if not data.document_masking:
        return None
    known = [] if tokenizer is None else [tokenizer.special_tokens]
    known += [file.info.special_tokens for file in files if file.info is not None]
    for special_tokens in known:
        if data.document_end in special_tokens:
            return special_tokens[data.document_end]
    raise ConfigError(
        f"data.document_masking needs to know the id of {data.document_end!r}, and neither tokenizer nor token files "
        "have it as a special token; name the one that ends documents as data.document_end"
    )


def load_tokenizer(path: str | Path) -> Tokenizer:
    """Reads a tokenizer; the compiled part is imported only now."""
    from cs336.tokenizer import Tokenizer

    return Tokenizer.load(path)


def load_run(
    path: str | Path, *, which: str = "last", device: str = "auto"
) -> tuple[TransformerLM, Tokenizer | None, RunConfig]:
    """The model of a run, ready to evaluate or generate, with its tokenizer and configuration.

    ``last``: from the newest whole checkpoint; ``best``: the weights with the lowest validation loss; a number: from
    the checkpoint of that step.
    """
    folder = RunFolder(Path(path))
    folder.check()
    config = load_config(folder.config)
    model = TransformerLM(config.model)
    if which == "best":
        if not folder.best.exists():
            raise CheckpointError(
                f"{path} has no best weights yet: it keeps them after its first evaluation; ask for last"
            )
        load_weights(folder.best, model)
    elif which != "last":
        load_weights(folder.checkpoint_of(which) / WEIGHTS, model)
    else:
        checkpoint, problems = folder.last_whole_checkpoint()
        if checkpoint is None:
            reason = "; ".join(problems) or "none was saved yet"
            raise CheckpointError(
                f"{path} has no whole checkpoint: {reason}; train on with: cs336 train --resume {path}"
            )
        load_weights(checkpoint / WEIGHTS, model)
    tokenizer = load_tokenizer(folder.tokenizer) if folder.tokenizer.exists() else None
    return model.to(choose_device(device)).eval(), tokenizer, config
