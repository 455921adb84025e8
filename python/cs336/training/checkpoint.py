"""Checkpoints: one file for a model and its optimizer, and the folder of a run, verified by checksums."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import pickle
import re
import shutil
import stat
import struct
import zipfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from cs336.errors import CheckpointError
from cs336.files import beside, explained, whole_file, whole_folder
from cs336.training.distributed import sharded_like
from cs336.wording import joined

WEIGHTS, STATE, MANIFEST = "model.safetensors", "state.pt", "manifest.json"
FORMAT = 2
NOTES = "cs336"
# A step as `_name` spells it and no other way: copies that people keep beside checkpoints are theirs.
_NAME = re.compile(r"step-([0-9]{8}|[1-9][0-9]{8,})")


class OtherFormatError(CheckpointError):
    """A checkpoint that another version of this package has written."""


@dataclass(frozen=True)
class Snapshot:
    """All that a run goes on from, on the CPU. Nothing in it knows how many processes there were."""

    step: int
    weights: dict[str, torch.Tensor]
    """By their public names, whole."""
    state: dict[str, Any]
    """Optimizer by names of weights, random states by process, data position; see state.py."""


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


def write_checkpoint(folder: Path, snapshot: Snapshot, keep_last: int) -> Path:
    """Writes ``folder/step-XXXXXXXX`` and removes all but the last ones. It holds weights, state and checksums."""
    folder.mkdir(parents=True, exist_ok=True)
    final = folder / _name(snapshot.step)
    if final.exists():
        _remove(final)  # Only a damaged one is ever written again.
    with whole_folder(final) as aside:
        write_weights(aside / WEIGHTS, snapshot.weights)
        _torch_save(snapshot.state, aside / STATE)
        sums = {name: _checksum(aside / name) for name in (WEIGHTS, STATE)}
        manifest = {"format": FORMAT, "step": snapshot.step, "sha256": sums}
        (aside / MANIFEST).write_text(json.dumps(manifest, indent=1), encoding="utf-8")
    saved = checkpoints_by_step(folder)
    kept = [step for step in saved if step <= snapshot.step][-keep_last:]
    for step, path in saved.items():
        # What is newer than this one was damaged and left behind when the run went back.
        if step not in kept:
            _remove(path)
    return final


def read_checkpoint(checkpoint: Path) -> Snapshot:
    """Verifies a checkpoint and reads it; raises CheckpointError where it is damaged or of another format."""
    step = verify(checkpoint)
    return Snapshot(step, read_tensors(checkpoint / WEIGHTS), _torch_load(checkpoint / STATE))


def checkpoints(folder: Path) -> list[Path]:
    """The checkpoints of a run, oldest first."""
    return list(checkpoints_by_step(folder).values())


def checkpoints_by_step(folder: Path) -> dict[int, Path]:
    """The checkpoints of a run by their steps, oldest first; what has any other name is none."""
    paths = folder.glob("step-*") if folder.is_dir() else ()
    found = {int(name[1]): path for path in paths if (name := _NAME.fullmatch(path.name))}
    return dict(sorted(found.items()))


def _name(step: int) -> str:
    return f"step-{step:08d}"


def verify(checkpoint: Path) -> int:
    """The step of a checkpoint, of which every file is there with the checksum written when it was saved.

    Raises CheckpointError where that is not so, and OtherFormatError where another version wrote it. A file that can't
    be read at the moment says nothing about the checkpoint: that stays an OSError.
    """
    name = MANIFEST
    try:
        with explained(checkpoint):
            manifest = _parsed((checkpoint / MANIFEST).read_bytes(), checkpoint)
            for name in (WEIGHTS, STATE):
                if _checksum(checkpoint / name) != manifest["sha256"][name]:
                    raise CheckpointError(
                        f"{checkpoint / name} is damaged: its checksum is not the one it was saved with"
                    )
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError) as error:
        raise CheckpointError(f"{checkpoint} is not a whole checkpoint: it has no file {name}") from error
    return int(manifest["step"])


def _parsed(content: bytes, checkpoint: Path) -> dict[str, Any]:
    """A manifest with all that there must be in one of this format."""
    try:
        manifest = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise CheckpointError(
            f"{checkpoint} is not a whole checkpoint: its {MANIFEST} is not valid JSON: {error}"
        ) from error
    number = manifest.get("format") if isinstance(manifest, dict) else None
    if _is_count(number) and number != FORMAT:
        raise OtherFormatError(
            f"{checkpoint} is of format {number}, and this version reads {FORMAT}; go on with the version of cs336 "
            "that wrote it"
        )
    if flaw := _flaw(manifest):
        raise CheckpointError(f"{checkpoint} is not a whole checkpoint: its {MANIFEST} {flaw}")
    return dict(manifest)


def _flaw(manifest: Any) -> str | None:
    """What is wrong with a manifest, if anything is."""
    if not isinstance(manifest, dict):
        return f"must hold a JSON object, not {type(manifest).__name__}"
    for key in ("format", "step", "sha256"):
        if key not in manifest:
            return f"has no {key!r}"
    for key in ("format", "step"):
        if not _is_count(manifest[key]):
            return f"must have a whole number of at least 0 as {key!r}, not {manifest[key]!r}"
    sums = manifest["sha256"]
    if not isinstance(sums, dict) or not all(isinstance(sums.get(name), str) for name in (WEIGHTS, STATE)):
        return f"must have an object with the checksums of {WEIGHTS} and {STATE} as 'sha256'"
    return None


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def save_weights(path: Path, model: torch.nn.Module) -> None:
    """Writes weights as safetensors under their public names; a tied head is stored once. A whole file or none."""
    with whole_file(path) as aside:
        write_weights(aside, {name: tensor.detach().cpu() for name, tensor in model.state_dict().items()})


def write_weights(path: Path, weights: Mapping[str, torch.Tensor], **about: object) -> None:
    """Writes tensors with their checksum, and what else is to be said about them."""
    tensors = {name: tensor.contiguous() for name, tensor in weights.items()}
    # Under one name, because safetensors writes several in an order that changes from time to time.
    notes = json.dumps({"sha256": _checksum_of(tensors), **about})
    write_tensors(path, tensors, {NOTES: notes})


def write_tensors(path: Path, tensors: Mapping[str, torch.Tensor], metadata: dict[str, str]) -> None:
    """Writes contiguous tensors as safetensors; what the system refuses is an OSError."""
    path.touch()  # only to learn its mode: safetensors puts a file of its own there, which only its owner may read
    mode = stat.S_IMODE(path.stat().st_mode)
    try:
        save_file(dict(tensors), path, metadata=metadata)
        path.chmod(mode)
    except SafetensorError as error:
        # A full disk comes with its number in the text only.
        number = re.search(r"\(os error (\d+)\)", str(error))
        if number is None:
            raise
        raise OSError(int(number[1]), os.strerror(int(number[1])), str(path)) from error


def load_weights(path: Path, model: torch.nn.Module) -> None:
    """Reads weights into a model; raises CheckpointError where they are damaged or do not fit."""
    fit(read_tensors(path), model, path)


def fit(weights: Mapping[str, torch.Tensor], model: torch.nn.Module, source: Path, changed: Iterable[str] = ()) -> None:
    """Puts whole tensors into a model, which may be spread over processes.

    Raises CheckpointError where they do not fit, with the keys of the model among those that were ``changed``.
    """
    own = model.state_dict()
    try:
        model.load_state_dict({n: sharded_like(own[n], t) if n in own else t for n, t in weights.items()})
    except RuntimeError as error:
        keys = [key for key in changed if key.startswith("model.")]
        why = f"with other values of {joined(keys)}, its weights have other shapes or names: " if keys else ""
        advice = "leave that as it was, or start a new run" if keys else "take the configuration it was trained with"
        raise CheckpointError(
            f"{source} does not hold the weights of this model: {why}{misfits(weights, own) or error}; {advice}"
        ) from error


def misfits(weights: Mapping[str, torch.Tensor], own: Mapping[str, torch.Tensor]) -> str:
    """In what weights differ from a model's own, by names and shapes."""
    odd = [f"{name} is missing" for name in own if name not in weights]
    odd += [f"{name} is unknown" for name in weights if name not in own]
    odd += [
        f"{name} is {_size(weights[name])} there and {_size(own[name])} here"
        for name in own
        if name in weights and weights[name].shape != own[name].shape
    ]
    return ", ".join(odd[:3]) + (f", and {len(odd) - 3} more" if len(odd) > 3 else "")


def _size(tensor: torch.Tensor) -> str:
    return " x ".join(map(str, tensor.shape)) or "a number"


def read_tensors(path: Path, advice: str = "take an earlier one") -> dict[str, torch.Tensor]:
    """Reads a file of safetensors; raises CheckpointError where it is damaged."""
    try:
        with explained(path), safe_open(path, framework="pt") as file:
            notes = json.loads((file.metadata() or {}).get(NOTES, "{}"))
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  it is no dictionary
    except (SafetensorError, ValueError) as error:
        raise CheckpointError(f"{path} is no whole file of weights: {error}; {advice}") from error
    if "sha256" in notes and _checksum_of(tensors) != notes["sha256"]:
        raise CheckpointError(f"{path} is damaged: its checksum is not the one it was saved with; {advice}")
    return tensors


def noted(path: Path) -> dict[str, Any]:
    """What `write_weights` was told to say about a file; nothing where there is none, or none that is whole."""
    try:
        with safe_open(path, framework="pt") as file:
            notes: dict[str, Any] = json.loads((file.metadata() or {}).get(NOTES, "{}"))
    except (FileNotFoundError, SafetensorError, ValueError):
        return {}
    return notes


def _checksum_of(tensors: Mapping[str, torch.Tensor]) -> str:
    """SHA-256 over names and bytes, in the order of the names."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        digest.update(name.encode())
        digest.update(tensors[name].flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()


def set_aside(checkpoint: Path) -> Path:
    """Gives a damaged checkpoint a name that is none of a checkpoint, so that it takes no whole one's place."""
    aside = checkpoint.with_name(f"damaged-{checkpoint.name}")
    if aside.exists():
        _remove(aside)
    return checkpoint.rename(aside)


def _remove(checkpoint: Path) -> None:
    """Takes the name first, so that nothing half removed ever looks like a checkpoint."""
    aside = beside(checkpoint)
    checkpoint.rename(aside)
    shutil.rmtree(aside)


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
            _check_archive(source)
            try:
                state: dict[str, Any] = torch.load(source, map_location="cpu", weights_only=True)
            except OSError as error:
                if error.errno == errno.EINVAL:  # from seeking to where a file that was cut short should go on
                    raise ValueError("cut short") from error
                raise
        return state
    except (*_TORN, pickle.UnpicklingError, zipfile.BadZipFile) as error:
        # torch's own text is left to the traceback: it advises to load without `weights_only`, which executes code.
        raise CheckpointError(
            f"{where} is not a whole checkpoint: it is cut short, damaged, or something else; take an earlier one"
        ) from error


# What torch's readers of cut and damaged files trip over.
_TORN = (
    RuntimeError,
    EOFError,
    ValueError,
    KeyError,
    IndexError,
    AssertionError,
    TypeError,
    AttributeError,
    struct.error,
)


def _check_archive(source: str | os.PathLike[str] | IO[bytes]) -> None:
    """Compares the checksums of a file that torch wrote, which torch itself reads past."""
    if not zipfile.is_zipfile(source):
        return  # the format of long ago, which has none
    with zipfile.ZipFile(source) as archive:
        damaged = archive.testzip()
    if not isinstance(source, str | os.PathLike):
        source.seek(0)
    if damaged is not None:
        raise zipfile.BadZipFile(f"the checksum of {damaged} is wrong")


def _checksum(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
