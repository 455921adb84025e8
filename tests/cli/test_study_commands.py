"""cs336 experiment lr-sweep and ablation: their words, what they print, and what they refuse."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest

SWEEP, ABLATION = ["experiment", "lr-sweep"], ["experiment", "ablation"]
MODEL = {"vocab-size": 16, "context-length": 8, "d-model": 16, "num-layers": 1, "num-heads": 2}
TRAINING = {"steps": 5, "batch-size": 4, "device": "cpu"}


@pytest.fixture
def words(tmp_path: Path) -> list[str]:
    """A configuration so small that it trains in a moment."""
    np.save(tmp_path / "train.npy", (np.arange(500) % 16).astype(np.uint16))
    sections = {"model": MODEL, "training": TRAINING, "data": {"train": "train.npy"}}
    return [
        word
        for name, keys in sections.items()
        for key, value in keys.items()
        for word in (f"--{name}.{key}", str(value))
    ]


def test_a_sweep_prints_and_keeps_what_it_found(cs336, tmp_path, words):
    done = cs336(
        *SWEEP, *words, "--rates", "0.01", "--warmups", "1", "--output", "sweep", "--json", "--chart", "it.svg"
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert [(row["rate"], row["warm-up"], row["status"]) for row in told["arms"]["rows"]] == [(0.01, 1, "trained")]
    assert (told["best"], told["config"]["training"]["steps"]) == ("lr-0.01-warmup-1", 5)
    assert told["command"].startswith("cs336 experiment lr-sweep --model.vocab-size 16")
    assert sorted(path.name for path in (tmp_path / "sweep").iterdir()) == [
        "arms", "config.toml", "picture.png", "results.json", "study.json", "study.lock"
    ]  # fmt: skip
    assert (tmp_path / "it.svg").read_bytes().startswith(b"<?xml")
    # The same words again print what is there, for people too, on a narrow terminal.
    again = cs336(*SWEEP, *words, "--rates", "0.01", "--warmups", "1", "--output", "sweep")
    assert " trained " in again.stdout
    assert "Kept: sweep/picture.png and sweep/results.json" in again.stdout
    other = cs336(*SWEEP, *words, "--rates", "0.01", "--output", "sweep", "--training.steps", "6")
    assert (other.returncode, other.stdout) == (1, "")
    assert "sweep was begun with another configuration: training.steps (5 there, 6 now)" in other.stderr


def test_a_failed_arm_is_the_commands_error(cs336, tmp_path, words, monkeypatch):
    dying = tmp_path / "dying"
    dying.write_text("#!/bin/sh\nexit 3\n")
    dying.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(dying))
    done = cs336(
        *ABLATION, *words, "--arms", "tied", "--rates", "0.01", "--seeds", "0", "--output", "out", "--jobs", "1"
    )
    assert done.returncode == 1
    assert (
        done.stderr
        == "error: baseline-lr-0.01-seed-0 failed, and 1 more: the process of this run has died: exit status 3\n"
    )
    assert "failed" in done.stdout
    outcomes = json.loads((tmp_path / "out" / "results.json").read_text())["outcomes"]
    assert [one["status"] for one in outcomes] == ["failed", "failed"]


@pytest.mark.parametrize(
    ("command", "more", "status", "message"),
    [
        (SWEEP, ["--rates", "fast"], 2, "'fast' names no rates; write 1e-3,3e-3,1e-2 or 1e-4:1:9"),
        (SWEEP, ["--rates", "1:0.1:3"], 2, "a range of rates rises from above 0, and has at least 2, unlike 1:0.1:3"),
        (SWEEP, ["--rates", "-1"], 1, "optimizer.lr must be above 0"),
        (SWEEP, ["--warmups", "few"], 2, "'few' names no whole numbers"),
        (SWEEP, ["--warmups", "5"], 1, "optimizer.warmup_steps must be at least 0 and below training.steps (5), not 5"),
        (SWEEP, ["--rates", "0.1,0.1"], 1, "lr-0.1-warmup-0 is asked for twice"),
        (SWEEP, ["--quick", "--preset", "gpt2-small"], 2, "--quick brings a configuration of its own"),
        (SWEEP, ["--data.train", "none.npy"], 1, "none.npy: there is no such token file"),
        (SWEEP, ["--chart", "it.bmp"], 1, "no format of a picture is called 'bmp'"),
        (ABLATION, ["--arms", "no-norms"], 1, "no change is called 'no-norms'; did you mean 'no-norm'?"),
        (ABLATION, ["--seeds", "-1"], 2, "names no whole numbers"),
    ],
)
def test_what_is_refused_leaves_nothing(cs336, tmp_path, words, command, more, status, message):
    done = cs336(*command, *words, "--output", "out", *more)
    assert (done.returncode, done.stdout) == (status, "")
    assert message in done.stderr
    assert not (tmp_path / "out").exists()
