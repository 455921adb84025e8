"""Runs of two processes: they learn what one learns, and each goes on with what the other has left.

gloo on the CPU, with the variables that torchrun sets; a helper that has torch imported already forks the processes.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from runs import MODEL, changed, rows_of

from cs336.training import load_run, make_config, to_toml, train
from cs336.training.checkpoint import checkpoints
from cs336.training.distributed import accumulating

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="forks the processes")

PAIR = Path(__file__).with_name("pair.py")
Pair = Callable[..., list[dict[str, Any]]]


@pytest.fixture(scope="module")
def train_pair() -> Iterator[Pair]:
    """Trains in two processes; gives what each returned or raised."""
    with subprocess.Popen(
        [sys.executable, "-W", "error", PAIR], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as helper:
        assert helper.stdin is not None
        assert helper.stdout is not None

        def call(config: dict[str, Any], run: Path, **more: Any) -> list[dict[str, Any]]:
            file = run.with_name(f"{run.name}.toml")
            file.write_text(to_toml(make_config(config)), encoding="utf-8")
            print(json.dumps({"config": str(file), "run": str(run), **more}), file=helper.stdin, flush=True)
            answers: list[dict[str, Any]] = json.loads(helper.stdout.readline())
            return answers

        yield call
        helper.stdin.close()


@pytest.fixture
def plain(raw: dict[str, Any]) -> dict[str, Any]:
    """Without dropout, which draws other numbers in each process; with parts of a batch to add up."""
    return changed(
        raw | {"model": MODEL | {"num_layers": 2}}, "training", grad_accumulation=2, batch_size=8, eval_batches=3
    )


def assert_close(run: Path, other: Path) -> None:
    """The same logs and weights, but for sums in another order."""
    for mine, theirs in zip(rows_of(run), rows_of(other), strict=True):
        assert {k: v for k, v in mine.items() if v} == pytest.approx({k: v for k, v in theirs.items() if v}, rel=1e-3)
    weights, others = (load_run(path, device="cpu")[0].state_dict() for path in (run, other))
    torch.testing.assert_close(weights, others, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(
    ("optimizer", "model"),
    [("adamw", {}), ("muon", {}), ("muon", {"num_layers": 3, "value_residual": True, "zero_init": True})],
)
@pytest.mark.parametrize("parallel", ["ddp", "fsdp"])
def test_two_processes_learn_what_one_does(
    train_pair: Pair, plain: dict[str, Any], tmp_path: Path, parallel: str, optimizer: str, model: dict[str, Any]
) -> None:
    config = changed(changed(plain, "training", parallel=parallel), "optimizer", name=optimizer)
    config = changed(config, "model", **model)
    train(make_config(config), tmp_path / "one")
    outcomes = train_pair(config, tmp_path / "two")
    one = [row for row in rows_of(tmp_path / "one") if "valid_loss" in row][-1]
    for outcome in outcomes:
        assert outcome["step"] == 12
        assert outcome["valid_loss"] == pytest.approx(one["valid_loss"], rel=1e-4)
    assert_close(tmp_path / "two", tmp_path / "one")  # and so every row is there once
    assert len(checkpoints(tmp_path / "two/checkpoints")) == 2


@pytest.mark.parametrize("parallel", ["ddp", "fsdp"])
def test_one_goes_on_with_what_two_have_left_and_the_reverse(
    train_pair: Pair, plain: dict[str, Any], tmp_path: Path, parallel: str
) -> None:
    config = changed(plain, "training", parallel=parallel)
    whole, run = tmp_path / "whole", tmp_path / "run"
    train(make_config(config), whole)
    assert [outcome["interrupted"] for outcome in train_pair(config, run, stop=3)] == [True, True]
    first = train(make_config(config), run, resume=True, report=stop_after(7))
    assert (first.step, first.interrupted) == (7, True)
    assert [outcome["step"] for outcome in train_pair(config, run, resume=True)] == [12, 12]
    assert_close(run, whole)


def test_two_that_are_stopped_at_an_evaluation_save_before_they_end(
    train_pair: Pair, plain: dict[str, Any], tmp_path: Path
) -> None:
    outcomes = train_pair(plain, tmp_path / "run", stop=5, pipelined=True)  # the fifth is evaluated, and not saved
    assert [(outcome["step"], outcome["interrupted"]) for outcome in outcomes] == [(6, True)] * 2
    assert checkpoints(tmp_path / "run/checkpoints")[-1].name == "step-00000006"


def stop_after(step: int) -> Any:
    def report(row: dict[str, Any]) -> None:
        if row.get("step") == step and "loss" in row:
            os.kill(os.getpid(), 15)

    return report


def test_two_processes_with_dropout_resume_bit_for_bit(train_pair: Pair, raw: dict[str, Any], tmp_path: Path) -> None:
    train_pair(raw, tmp_path / "whole")
    train_pair(raw, tmp_path / "run", stop=6)
    train_pair(raw, tmp_path / "run", resume=True)
    assert rows_of(tmp_path / "run") == rows_of(tmp_path / "whole")
    last, twin = (checkpoints(tmp_path / name / "checkpoints")[-1] for name in ("run", "whole"))
    assert (last / "model.safetensors").read_bytes() == (twin / "model.safetensors").read_bytes()


def test_the_failure_of_one_ends_both_with_its_reason(train_pair: Pair, plain: dict[str, Any], tmp_path: Path) -> None:
    first, second = train_pair(plain, tmp_path / "run", fail=5)
    assert second["error"] == "ValueError: the second process has had enough"
    assert first["error"].startswith("WorkerError: this process ends because another one failed: process 1: ValueError")


def test_a_bad_loss_of_one_stops_both_and_harms_nothing(
    train_pair: Pair, plain: dict[str, Any], tmp_path: Path
) -> None:
    outcomes = train_pair(plain, tmp_path / "run", poison=6)
    assert len(outcomes) == 2
    for outcome in outcomes:
        assert outcome["error"].startswith("NonFiniteLossError: step 6: the loss is nan")
        assert "step-00000004" in outcome["error"]
    assert [row["step"] for row in rows_of(tmp_path / "run") if "loss" in row] == [1, 2, 3, 4, 5]


def test_one_that_is_killed_ends_the_other(train_pair: Pair, plain: dict[str, Any], tmp_path: Path) -> None:
    outcomes = train_pair(plain, tmp_path / "run", kill=5)
    assert [outcome["error"].partition(":")[0] for outcome in outcomes] == ["WorkerError"]
    assert train(make_config(plain), tmp_path / "run", resume=True).step == 12


@pytest.mark.parametrize("trouble", [{}, {"fail": 5}, {"poison": 6}])
def test_ddp_is_gone_when_the_processes_part(
    train_pair: Pair, plain: dict[str, Any], tmp_path: Path, trouble: dict[str, int]
) -> None:
    outcomes = train_pair(plain, tmp_path / "run", **trouble)
    assert [outcome["left"] for outcome in outcomes] == [[0], [0]]
    assert all(("error" in outcome) == bool(trouble) for outcome in outcomes)


def test_a_mistake_is_raised_in_both_and_leaves_nothing(
    train_pair: Pair, plain: dict[str, Any], tmp_path: Path
) -> None:
    for section, values, expected in (
        ("model", {"vocab_size": 12}, r"DataError: .*\.npy: token \d+ at position"),
        ("training", {"batch_size": 6}, r"ConfigError: training\.batch_size must be a multiple"),
    ):
        outcomes = train_pair(changed(plain, section, **values), tmp_path / "run")
        assert all(re.match(expected, outcome["error"]) for outcome in outcomes)
        assert len(outcomes) == 2
        assert not (tmp_path / "run").exists()


class Recorder(torch.nn.Module):
    """Looks like what DDP, or FSDP2, makes of a model, and writes down when gradients would be exchanged."""

    def __init__(self) -> None:
        super().__init__()
        self.exchanges = True
        self.seen: list[bool] = []

    def note(self) -> None:
        self.seen.append(self.exchanges)


class LikeDDP(Recorder):
    @contextmanager
    def no_sync(self) -> Iterator[None]:
        self.exchanges = False
        yield
        self.exchanges = True


class LikeFSDP(Recorder):
    def set_requires_gradient_sync(self, needed: bool) -> None:
        self.exchanges = needed


@pytest.mark.parametrize("kind", [LikeDDP, LikeFSDP])
def test_only_the_last_part_of_a_batch_exchanges_gradients(kind: type[Recorder]) -> None:
    model = kind()
    for last in (False, False, True):
        with accumulating(model, last=last):
            model.note()
    assert model.seen == [False, False, True]
