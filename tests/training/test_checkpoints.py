"""What a checkpoint is, what is none, and what is said of one that is damaged."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from cs336.config import preset
from cs336.interop.models import export_model
from cs336.nn import TransformerLM
from cs336.training.checkpoint import Snapshot, save_weights, write_checkpoint

SMALL = {"vocab_size": 16, "context_length": 8, "d_model": 16, "num_layers": 1, "num_heads": 2, "d_ff": 32}


def snapshot(step: int) -> Snapshot:
    return Snapshot(step, {"weight": torch.full((2, 3), float(step))}, {"optimizer": {}})


@pytest.fixture
def others_may_read() -> Iterator[None]:
    before = os.umask(0o027)
    yield
    os.umask(before)


@pytest.mark.skipif(os.name == "nt", reason="files there have no such modes")
@pytest.mark.usefixtures("others_may_read")
def test_weights_may_be_read_by_whom_the_umask_says(tmp_path: Path) -> None:
    model = TransformerLM(preset("tinystories-2025", **SMALL))
    export_model(model, None, tmp_path / "exported")
    write_checkpoint(tmp_path / "checkpoints", snapshot(4), keep_last=1)
    save_weights(tmp_path / "weights.safetensors", model)
    modes = {path: oct(path.stat().st_mode & 0o777) for path in tmp_path.rglob("*") if path.is_file()}
    assert modes == dict.fromkeys(modes, oct(0o640))
    assert [path.suffix for path in modes].count(".safetensors") == 3
