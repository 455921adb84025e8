"""Checkpoints: one file for a model and its optimizer, and the folder of a run, verified by checksums."""

from __future__ import annotations

import hashlib
import json
import pickle
import shutil
import zipfile
from pathlib import Path
from typing import IO, Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from cs336.errors import CheckpointError
from cs336.training.files import whole_file, whole_folder

WEIGHTS, STATE, MANIFEST = "model.safetensors", "state.pt", "manifest.json"


def save_checkpoint(
    target: str | Path | IO[bytes], model: torch.nn.Module, optimizer: torch.optim.Optimizer, step: int
) -> None:
    """Writes a model, its optimizer and the number of steps done to one file. A path gets a whole file or none."""
    state = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "step": step}
    if isinstance(target, str | Path):
        with whole_file(Path(target)) as aside:
            torch.save(state, aside)
    else:
        torch.save(state, target)


def load_checkpoint(
    source: str | Path | IO[bytes], model: torch.nn.Module, optimizer: torch.optim.Optimizer | None = None
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
        torch.save(state, aside / STATE)
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
    """Raises CheckpointError unless every file is there with the checksum written when it was saved."""
    try:
        sums = json.loads((checkpoint / MANIFEST).read_text("utf-8"))["sha256"]
        for name in (WEIGHTS, STATE):
            if _checksum(checkpoint / name) != sums[name]:
                raise CheckpointError(f"{checkpoint / name} is damaged: its checksum is not the one it was saved with")
    except (OSError, ValueError, KeyError, TypeError) as error:
        if isinstance(error, CheckpointError):
            raise
        raise CheckpointError(f"{checkpoint} is not a whole checkpoint: {error}") from error


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
    save_file({name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}, path)


def load_weights(path: Path, model: torch.nn.Module) -> None:
    """Reads weights into a model; raises CheckpointError where they are damaged or do not fit."""
    try:
        model.load_state_dict(load_file(path))
    except (SafetensorError, RuntimeError, OSError) as error:
        raise CheckpointError(f"{path} does not hold the weights of this model: {error}") from error


def _torch_load(source: str | Path | IO[bytes]) -> dict[str, Any]:
    try:
        state: dict[str, Any] = torch.load(source, map_location="cpu", weights_only=True)
        return state
    except FileNotFoundError:
        raise
    except (RuntimeError, EOFError, pickle.UnpicklingError, zipfile.BadZipFile, ValueError, KeyError) as error:
        raise CheckpointError(f"{source} is not a whole checkpoint: {error}") from error


def _checksum(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
