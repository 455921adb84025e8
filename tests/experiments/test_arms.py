"""One arm in this process: what it ends as, and that a stopped one ends alike."""

from __future__ import annotations

import dataclasses
import json
import os
import signal

import pytest
from small_runs import small_config, without_clocks

from cs336.errors import CheckpointError
from cs336.experiments.arms import Arm, Outcome, read_kept, run_arm


def run(config, folder, on_step=lambda step: None, **options):
    options = {"keep_checkpoints": False} | options
    return run_arm(Arm("one", config, {"rate": config.optimizer.lr}), folder, on_step=on_step, **options)


def plain(outcome: Outcome):
    return without_clocks(dataclasses.asdict(outcome))


def test_a_good_rate_trains(tmp_path):
    steps = []
    outcome = run(small_config(tmp_path, lr=0.01), tmp_path / "arm", steps.append)
    assert (outcome.status, outcome.step, outcome.reason) == ("trained", 30, None)
    assert outcome.first_loss > outcome.last_loss > outcome.valid_loss * 0.8
    assert outcome.loss == outcome.valid_loss
    assert steps == list(range(1, 31))
    assert [step for step, _ in outcome.curve] == steps
    assert outcome.tokens == 30 * 8 * 16
    assert read_kept(tmp_path / "arm") == outcome
    assert not list(tmp_path.glob("arm/checkpoints")) + list(tmp_path.glob("arm/best*"))


def test_checkpoints_are_kept_on_demand(tmp_path):
    run(small_config(tmp_path, steps=5), tmp_path / "arm", keep_checkpoints=True)
    assert [path.name for path in (tmp_path / "arm" / "checkpoints").iterdir()] == ["step-00000005"]


@pytest.mark.parametrize("name", ["adamw", "sgd"])
def test_a_rate_of_1000_diverges_and_is_stopped(tmp_path, name):
    outcome = run(small_config(tmp_path, name=name, lr=1e3), tmp_path / "arm")
    assert outcome.status == "diverged"
    assert outcome.step <= 10
    assert "above the start" in outcome.reason or "the loss is" in outcome.reason
    json.dumps(dataclasses.asdict(outcome), allow_nan=False)


def test_a_loss_that_is_not_finite_diverges(tmp_path):
    config = small_config(tmp_path, name="sgd", lr=1e30, grad_clip=0)
    outcome = run(config, tmp_path / "arm")
    assert (outcome.status, outcome.valid_loss) == ("diverged", None)
    assert outcome.reason.startswith("step 2: the loss is ")


def test_a_last_step_that_breaks_the_weights_diverges(tmp_path):
    outcome = run(small_config(tmp_path, steps=1, name="sgd", lr=1e3), tmp_path / "arm")
    assert (outcome.status, outcome.step) == ("diverged", 1)
    assert outcome.reason.startswith("the loss after the last step is ")


def test_a_rate_too_small_makes_no_progress_or_little(tmp_path):
    outcome = run(small_config(tmp_path, steps=5, lr=1e-30), tmp_path / "arm")
    expected = "trained" if outcome.last_loss < outcome.first_loss else "no progress"
    assert outcome.status == expected
    assert outcome.last_loss == pytest.approx(outcome.first_loss, rel=0.1)


# 0.01 trains to its end; 10 diverges in step 5, by losses from before and after the stop.
@pytest.mark.parametrize(("lr", "stop_at"), [(0.01, 12), (10.0, 3)])
def test_a_stopped_arm_goes_on_and_ends_alike(tmp_path, lr, stop_at):
    config = small_config(tmp_path, lr=lr)
    whole = run(config, tmp_path / "whole")
    assert (whole.status, whole.step) == (("trained", 30) if lr < 1 else ("diverged", 5))

    def stop(step: int) -> None:
        if step == stop_at:
            os.kill(os.getpid(), signal.SIGTERM)

    stopped = run(config, tmp_path / "arm", stop)
    assert (stopped.status, stopped.step) == ("unfinished", stop_at)
    assert read_kept(tmp_path / "arm") is None
    assert plain(run(config, tmp_path / "arm")) == plain(whole)


def test_a_damaged_result_is_named(tmp_path):
    (tmp_path / "result.json").write_text("{")
    with pytest.raises(CheckpointError, match=r"result\.json is damaged.*remove"):
        read_kept(tmp_path)
