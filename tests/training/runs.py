"""What the tests of training share: a tiny run, changes of it, and when two runs have ended alike."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch

from cs336.training.checkpoint import checkpoints
from cs336.training.metrics import read_rows

CLOCK = ("seconds", "tokens_per_second", "mfu")
MODEL = {"vocab_size": 16, "context_length": 8, "d_model": 16, "num_layers": 1, "num_heads": 2, "d_ff": 32}


def changed(raw: dict[str, Any], section: str, **values: Any) -> dict[str, Any]:
    """A configuration with other values in one section."""
    return raw | {section: raw[section] | values}


def rows_of(run: Path) -> list[dict[str, Any]]:
    """The log, but for what a clock reads."""
    return [{k: v for k, v in row.items() if k not in CLOCK} for row in read_rows(run / "metrics.jsonl")]


def assert_same_end(run: Path, other: Path) -> None:
    """Weights, optimizer, random state, log rows and best weights are the same, bit for bit."""
    last, twin = checkpoints(run / "checkpoints")[-1], checkpoints(other / "checkpoints")[-1]
    assert last.name == twin.name
    assert (last / "model.safetensors").read_bytes() == (twin / "model.safetensors").read_bytes()
    mine, theirs = (torch.load(path / "state.pt", weights_only=True) for path in (last, twin))
    assert is_same(mine, theirs)
    assert rows_of(run) == rows_of(other)
    assert (run / "best.safetensors").read_bytes() == (other / "best.safetensors").read_bytes()


def is_same(mine: Any, theirs: Any) -> bool:
    """Equal down to types and bits."""
    if type(mine) is not type(theirs):
        return False
    if isinstance(mine, torch.Tensor):
        return mine.dtype == theirs.dtype and torch.equal(mine, theirs)
    if isinstance(mine, dict):
        return mine.keys() == theirs.keys() and all(is_same(mine[key], theirs[key]) for key in mine)
    if isinstance(mine, list | tuple):
        return len(mine) == len(theirs) and all(map(is_same, mine, theirs))
    return bool(mine == theirs)


def write_sidecar(path: Path, vocabulary_hash: str, special_tokens: dict[str, int]) -> None:
    """Says of a token file which tokenizer made it."""
    tokens = np.load(path)
    sidecar = {
        "format": "cs336-tokens", "version": 1, "dtype": "uint16", "tokens": len(tokens), "vocab_size": 16,
        "vocabulary_hash": vocabulary_hash, "documents": 1, "source": [], "special_tokens": special_tokens,
    }  # fmt: skip
    path.with_name(f"{path.name}.json").write_text(json.dumps(sidecar), encoding="utf-8")
