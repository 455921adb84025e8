"""What a checkpoint is, what is none, and what is said of one that is damaged."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from cs336.config import preset
from cs336.errors import CheckpointError
from cs336.interop.models import export_model
from cs336.nn import TransformerLM
from cs336.training.checkpoint import (
    Snapshot,
    checkpoints,
    load_weights,
    read_checkpoint,
    save_weights,
    write_checkpoint,
)
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


def change_manifest(checkpoint: Path, **changes: Any) -> None:
    """With None, a key is taken out."""
    manifest = json.loads((checkpoint / "manifest.json").read_text("utf-8")) | changes
    manifest = {key: value for key, value in manifest.items() if value is not None}
    (checkpoint / "manifest.json").write_text(json.dumps(manifest), "utf-8")


CHECKSUMS = r"must have an object with the checksums of model\.safetensors and state\.pt as 'sha256'"
FLAWS: list[tuple[dict[str, Any], str]] = [
    ({"step": None}, "has no 'step'"),
    ({"step": "x"}, "must have a whole number of at least 0 as 'step', not 'x'"),
    ({"step": True}, "must have a whole number of at least 0 as 'step', not True"),
    ({"step": -1}, "must have a whole number of at least 0 as 'step', not -1"),
    ({"format": None}, "has no 'format'"),
    ({"format": "2"}, "must have a whole number of at least 0 as 'format', not '2'"),
    ({"sha256": None}, "has no 'sha256'"),
    ({"sha256": ["x"]}, CHECKSUMS),
    ({"sha256": {"state.pt": "x"}}, CHECKSUMS),
]


@pytest.mark.parametrize(("changes", "flaw"), FLAWS)
def test_a_damaged_manifest_falls_back_to_the_checkpoint_before(
    tmp_path: Path, changes: dict[str, Any], flaw: str
) -> None:
    run = RunFolder(tmp_path)
    before, newest = (write_checkpoint(run.checkpoints, snapshot(step), keep_last=2) for step in (4, 8))
    change_manifest(newest, **changes)
    found, problems = run.last_whole_checkpoint()
    assert (found, len(problems)) == (before, 1)
    with pytest.raises(CheckpointError, match=rf"step-00000008 is not a whole checkpoint: its manifest\.json {flaw}$"):
        read_checkpoint(newest)
    with pytest.raises(CheckpointError, match=rf"{flaw}; name last, for the newest whole one, or another step: 4, 8$"):
        run.checkpoint_of("8")
    assert read_checkpoint(before).step == 4


@pytest.mark.parametrize(
    ("content", "flaw"),
    [
        ("[]", "its manifest.json must hold a JSON object, not list"),
        ("{", "its manifest.json is not valid JSON: "),
        ("[" * 100_000, "its manifest.json is not valid JSON: "),
        (None, "it has no file manifest.json"),
    ],
)
def test_what_is_no_manifest_is_said_in_words(tmp_path: Path, content: str | None, flaw: str) -> None:
    checkpoint = write_checkpoint(tmp_path, snapshot(4), keep_last=1)
    (checkpoint / "manifest.json").unlink()
    if content is not None:
        (checkpoint / "manifest.json").write_text(content, "utf-8")
    with pytest.raises(CheckpointError) as refused:
        read_checkpoint(checkpoint)
    assert str(refused.value).startswith(f"{checkpoint} is not a whole checkpoint: {flaw}")


def test_a_checkpoint_of_another_version_is_not_begun_over(tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    before, newest = (write_checkpoint(run.checkpoints, snapshot(step), keep_last=2) for step in (4, 8))
    change_manifest(newest, format=99)
    found, problems = run.last_whole_checkpoint()
    assert found == before
    assert "step-00000008 is of format 99, and this version reads 2; go on with the version" in problems[0]
    (before / "state.pt").unlink()
    with pytest.raises(CheckpointError, match="step-00000008 is of format 99"):
        run.last_whole_checkpoint()


def test_weights_of_another_model_are_refused_in_one_sentence(tmp_path: Path) -> None:
    save_weights(tmp_path / "weights", TransformerLM(preset("tinystories-2025", **SMALL)))
    other = TransformerLM(preset("tinystories-2025", **SMALL | {"vocab_size": 17, "ffn": "silu"}))
    with pytest.raises(CheckpointError) as refused:
        load_weights(tmp_path / "weights", other)
    assert str(refused.value) == (
        f"{tmp_path / 'weights'} does not hold the weights of this model: layers.0.ffn.w3.weight is unknown, "
        "token_embeddings.weight is 16 x 16 there and 17 x 16 here, lm_head.weight is 16 x 16 there and 17 x 16 here; "
        "take the configuration it was trained with"
    )
