"""A run that stops, for any reason, goes on and ends bit for bit where it would have ended."""

from __future__ import annotations

import errno
import json
import os
import random
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from runs import assert_same_end, changed

from cs336 import files
from cs336.training import make_config, to_toml, train
from cs336.training.checkpoint import checkpoints


class CrashError(Exception):
    pass


def stop_at(step: int, how: Any) -> Any:
    def report(row: dict[str, Any]) -> None:
        if row.get("step") == step and "loss" in row:
            how()

    return report


def crash() -> None:
    raise CrashError


@pytest.mark.parametrize("optimizer", ["adamw", "muon", "sgd"])
def test_a_crashed_run_ends_as_an_unbroken_one(raw: dict[str, Any], tmp_path: Path, optimizer: str) -> None:
    config = make_config(changed(raw, "optimizer", name=optimizer))
    whole = train(config, tmp_path / "whole")
    for step in (3, 6, 8):  # before the first checkpoint, between two, and on one before it is written
        with pytest.raises(CrashError):
            train(config, tmp_path / "broken", resume=step != 3, report=stop_at(step, crash))
    result = train(config, tmp_path / "broken", resume=True)
    assert (result.step, result.interrupted, result.valid_loss) == (12, False, whole.valid_loss)
    assert_same_end(tmp_path / "broken", tmp_path / "whole")
    for name in ("config.toml", "loss.png", "metrics.jsonl"):
        assert (tmp_path / "broken" / name).stat().st_size > 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_saves_and_the_run_goes_on(raw: dict[str, Any], tmp_path: Path, number: int) -> None:
    config = make_config(raw)
    before = signal.getsignal(number)
    result = train(config, tmp_path / "run", report=stop_at(7, lambda: os.kill(os.getpid(), number)))
    assert signal.getsignal(number) is before
    assert (result.step, result.interrupted) == (7, True)
    assert checkpoints(tmp_path / "run/checkpoints")[-1].name == "step-00000007"
    train(config, tmp_path / "run", resume=True)
    train(config, tmp_path / "whole")
    assert_same_end(tmp_path / "run", tmp_path / "whole")


KILLER = Path(__file__).with_name("killer.py")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="kills children that it forks")
@pytest.mark.parametrize(
    ("optimizer", "kills"),
    [("adamw", 8), *(pytest.param(name, 60, marks=pytest.mark.slow) for name in ("adamw", "muon", "sgd"))],
)
def test_kill_9_at_random_moments(raw: dict[str, Any], tmp_path: Path, optimizer: str, kills: int) -> None:
    raw = changed(changed(raw, "optimizer", name=optimizer), "training", steps=3 * kills, checkpoint_every=2)
    (tmp_path / "run.toml").write_text(to_toml(make_config(raw)), encoding="utf-8")
    seed = random.SystemRandom().randrange(1 << 32)
    print("seed of the moments:", seed)  # pytest shows it where the test fails
    done = subprocess.run(
        [sys.executable, KILLER, tmp_path / "run.toml", tmp_path / "run", str(kills), str(seed)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    print(done.stdout, done.stderr)
    assert done.returncode == 0
    left = [json.loads(line) for line in done.stdout.splitlines()]
    assert len({state["rows"] for state in left}) > 1, "the kills did not hit different moments"
    assert_same_end(tmp_path / "run", tmp_path / "whole")
    assert not list((tmp_path / "run").rglob(".aside-*"))


def test_a_broken_newest_checkpoint_falls_back(raw: dict[str, Any], tmp_path: Path) -> None:
    config = make_config(changed(raw, "training", keep_last=2))
    train(config, tmp_path / "whole")
    with pytest.raises(CrashError):
        train(config, tmp_path / "run", report=stop_at(10, crash))
    weights = checkpoints(tmp_path / "run/checkpoints")[-1] / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-7])
    seen: list[dict[str, Any]] = []
    train(config, tmp_path / "run", resume=True, report=seen.append)
    assert "damaged" in seen[0]["warning"]
    assert "going on from" in seen[1]["warning"]
    assert_same_end(tmp_path / "run", tmp_path / "whole")


def test_a_full_disk_leaves_the_old_checkpoint(
    raw: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = make_config(raw)
    real = files.sync

    def full(path: Path) -> None:
        if "step-00000008" in str(path):
            raise OSError(errno.ENOSPC, "No space left on device", str(path))
        real(path)

    monkeypatch.setattr(files, "sync", full)
    with pytest.raises(OSError, match="No space"):
        train(config, tmp_path / "run")
    assert [p.name for p in (tmp_path / "run/checkpoints").iterdir()] == ["step-00000004"]
    monkeypatch.undo()
    train(config, tmp_path / "run", resume=True)
    train(config, tmp_path / "whole")
    assert_same_end(tmp_path / "run", tmp_path / "whole")


def test_without_a_whole_checkpoint_a_run_begins_again_and_says_so(raw: dict[str, Any], tmp_path: Path) -> None:
    config = make_config(raw)
    train(config, tmp_path / "whole")
    with pytest.raises(CrashError):
        train(config, tmp_path / "run", report=stop_at(10, crash))
    for checkpoint in checkpoints(tmp_path / "run/checkpoints"):
        (checkpoint / "model.safetensors").write_bytes(b"")
    seen: list[dict[str, Any]] = []
    train(config, tmp_path / "run", resume=True, report=seen.append)
    assert "beginning again" in [row["warning"] for row in seen if "warning" in row][-1]
    assert_same_end(tmp_path / "run", tmp_path / "whole")
