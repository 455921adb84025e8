"""Checkpoints: one file for a model and its optimizer, and the folder of a run, verified by checksums."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import pickle
import re
import shutil
import zipfile
from pathlib import Path
from typing import IO, Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from cs336.errors import CheckpointError
from cs336.files import explained, whole_file, whole_folder

WEIGHTS, STATE, MANIFEST = "model.safetensors", "state.pt", "manifest.json"


def save_checkpoint(
    target: str | os.PathLike[str] | IO[bytes], model: torch.nn.Module, optimizer: torch.optim.Optimizer, step: int
) -> None:
    """Writes a model, its optimizer and the number of steps done to one file. A path gets a whole file or none."""
    state = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "step": step}
    if isinstance(target, str | os.PathLike):
        with whole_file(Path(target)) as aside:
            _torch_save(state, aside)
    else:
        torch.save(state, target)


def load_checkpoint(
    source: str | os.PathLike[str] | IO[bytes], model: torch.nn.Module, optimizer: torch.optim.Optimizer | None = None
) -> int:
    """Reads what ``save_checkpoint`` wrote into a model and an optimizer; returns the number of steps done.

    Executes no code from the file. Raises CheckpointError where the file is damaged or of another model.
    """
    state = _torch_load(source)
    try:
        model.load_state_dict(state["model"])
        if optimizer is not None:
            optimizer.load_state_dict(state["optimizer"])
        return int(state["step"])
    except (KeyError, RuntimeError, TypeError, ValueError) as error:
        raise CheckpointError(f"{source} does not fit this model and optimizer: {error}") from error


def save_run_checkpoint(
    folder: Path,
    step: int,
    model: torch.nn.Module,
    optimizers: list[torch.optim.Optimizer],
    keep_last: int,
) -> Path:
    """Writes ``folder/step-XXXXXXXX`` with weights, optimizer state and random state, and removes the oldest ones."""
    folder.mkdir(parents=True, exist_ok=True)
    final = folder / f"step-{step:08d}"
    if final.exists():
        shutil.rmtree(final)  # Only a damaged one is ever written again.
    state = {
        "step": step,
        "optimizers": [optimizer.state_dict() for optimizer in optimizers],
        "rng": torch.get_rng_state(),
        "cuda_rng": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
    }
    with whole_folder(final) as aside:
        save_weights(aside / WEIGHTS, model)
        _torch_save(state, aside / STATE)
        sums = {name: _checksum(aside / name) for name in (WEIGHTS, STATE)}
        (aside / MANIFEST).write_text(json.dumps({"step": step, "sha256": sums}, indent=1), encoding="utf-8")
    kept = [path for path in checkpoints(folder) if path.name <= final.name]
    for path in checkpoints(folder):
        # What is newer than this one was damaged and left behind when the run went back.
        if path not in kept[-keep_last:]:
            shutil.rmtree(path)
    return final


def checkpoints(folder: Path) -> list[Path]:
    """The checkpoints of a run, oldest first."""
    return sorted(folder.glob("step-*")) if folder.is_dir() else []


def verify(checkpoint: Path) -> None:
    """Raises CheckpointError unless every file is there with the checksum written when it was saved.

    A file that can't be read at the moment says nothing about the checkpoint: that stays an OSError.
    """
    try:
        with explained(checkpoint):
            sums = json.loads((checkpoint / MANIFEST).read_text("utf-8"))["sha256"]
            damaged = [name for name in (WEIGHTS, STATE) if _checksum(checkpoint / name) != sums[name]]
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{checkpoint} is not a whole checkpoint: {error}") from error
    if damaged:
        raise CheckpointError(f"{checkpoint / damaged[0]} is damaged: its checksum is not the one it was saved with")


def load_run_checkpoint(checkpoint: Path, model: torch.nn.Module, optimizers: list[torch.optim.Optimizer]) -> int:
    """Verifies a checkpoint of a run and puts model, optimizers and random state back; returns its step."""
    verify(checkpoint)
    load_weights(checkpoint / WEIGHTS, model)
    state = _torch_load(checkpoint / STATE)
    for optimizer, saved in zip(optimizers, state["optimizers"], strict=True):
        optimizer.load_state_dict(saved)
    torch.set_rng_state(state["rng"])
    if state["cuda_rng"] and torch.cuda.is_available():
        torch.cuda.set_rng_state_all(state["cuda_rng"])
    return int(state["step"])


def save_weights(path: Path, model: torch.nn.Module) -> None:
    """Writes weights as safetensors under their public names; a tied head is stored once."""
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}
    try:
        save_file(tensors, path)
    except SafetensorError as error:
        # A full disk comes with its number in the text only.
        number = re.search(r"\(os error (\d+)\)", str(error))
        if number is None:
            raise
        raise OSError(int(number[1]), os.strerror(int(number[1])), str(path)) from error


def load_weights(path: Path, model: torch.nn.Module) -> None:
    """Reads weights into a model; raises CheckpointError where they are damaged or do not fit."""
    try:
        with explained(path):
            tensors = load_file(path)
        model.load_state_dict(tensors)
    except (SafetensorError, RuntimeError) as error:
        raise CheckpointError(f"{path} does not hold the weights of this model: {error}") from error


def _torch_save(state: dict[str, Any], path: Path) -> None:
    try:
        with path.open("wb") as file:
            torch.save(state, file)
    except RuntimeError as error:
        # torch's writer trips over what the system refused, while it cleans up; the refusal is what there is to say.
        if isinstance(error.__context__, OSError):
            raise error.__context__ from None
        raise


def _torch_load(source: str | os.PathLike[str] | IO[bytes]) -> dict[str, Any]:
    where = source if isinstance(source, str | os.PathLike) else "the file"
    try:
        with explained(where):
            try:
                state: dict[str, Any] = torch.load(source, map_location="cpu", weights_only=True)
            except OSError as error:
                if error.errno == errno.EINVAL:  # from seeking to where a file that was cut short should go on
                    raise ValueError("cut short") from error
                raise
        return state
    except (RuntimeError, EOFError, pickle.UnpicklingError, zipfile.BadZipFile, ValueError, KeyError) as error:
        # torch's own text is left to the traceback: it advises to load without `weights_only`, which executes code.
        raise CheckpointError(
            f"{where} is not a whole checkpoint: it is cut short, damaged, or something else; take an earlier one"
        ) from error


def _checksum(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
