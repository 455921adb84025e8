"""What a checkpoint is, what is none, and what is said of one that is damaged."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from cs336.config import preset
from cs336.errors import CheckpointError
from cs336.interop.models import export_model
from cs336.nn import TransformerLM
from cs336.training.checkpoint import Snapshot, checkpoints, save_weights, write_checkpoint
from cs336.training.run import RunFolder

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


OTHERS = ("step-00000004.bak", "step-00000012 (copy)", "step-foo", "step-4", "step-0000000\u0664", "step-000000004")


def test_copies_beside_checkpoints_are_left_alone(tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    write_checkpoint(run.checkpoints, snapshot(4), keep_last=2)
    for name in OTHERS:
        shutil.copytree(run.checkpoints / "step-00000004", run.checkpoints / name)
    for step in (8, 12, 16):
        write_checkpoint(run.checkpoints, snapshot(step), keep_last=2)
    kept = ["step-00000012", "step-00000016"]
    assert [path.name for path in checkpoints(run.checkpoints)] == kept
    assert {path.name for path in run.checkpoints.iterdir()} == {*kept, *OTHERS}
    assert run.checkpoint_of("12").name == kept[0]
    with pytest.raises(CheckpointError, match="no checkpoint '4'; name last, best, or one of its steps: 12, 16"):
        run.checkpoint_of("4")
    assert run.last_whole_checkpoint() == (run.checkpoints / kept[1], [])


def test_checkpoints_stand_in_the_order_of_their_steps(tmp_path: Path) -> None:
    for step in (99_999_998, 99_999_999, 100_000_000):
        write_checkpoint(tmp_path, snapshot(step), keep_last=2)
    assert [path.name for path in checkpoints(tmp_path)] == ["step-99999999", "step-100000000"]
