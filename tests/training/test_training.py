from __future__ import annotations

import dataclasses
import errno
import io
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from cs336.errors import CheckpointError, ConfigError, DataError, NonFiniteLossError
from cs336.optim import AdamW
from cs336.training import (
    evaluate,
    load_checkpoint,
    load_config,
    load_run,
    make_config,
    save_checkpoint,
    to_toml,
    train,
)
from cs336.training import files as files_module
from cs336.training.checkpoint import checkpoints
from cs336.training.config import RunConfig
from cs336.training.metrics import read_rows

CLOCK = ("seconds", "tokens_per_second", "mfu")
MODEL = {"vocab_size": 16, "context_length": 8, "d_model": 16, "num_layers": 1, "num_heads": 2, "d_ff": 32}


@pytest.fixture
def raw(tmp_path: Path) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    # A walk over 16 tokens in steps of 1 to 3: 1.1 nats a token are left to chance, the rest can be learned.
    walk = (np.cumsum(rng.integers(1, 4, size=2000)) % 16).astype(np.uint16)
    np.save(tmp_path / "train.npy", walk[:1600])
    np.save(tmp_path / "valid.npy", walk[1600:])
    return {
        "model": MODEL | {"residual_pdrop": 0.1, "attn_pdrop": 0.1},
        "data": {"train": str(tmp_path / "train.npy"), "valid": str(tmp_path / "valid.npy")},
        "optimizer": {"lr": 0.01, "warmup_steps": 2},
        "training": {
            "steps": 12, "batch_size": 4, "eval_every": 5, "eval_batches": 2, "checkpoint_every": 4, "device": "cpu"
        },
    }  # fmt: skip


def changed(raw: dict[str, Any], section: str, **values: Any) -> dict[str, Any]:
    return raw | {section: raw[section] | values}


def rows_of(run: Path) -> list[dict[str, Any]]:
    return [{k: v for k, v in row.items() if k not in CLOCK} for row in read_rows(run / "metrics.jsonl")]


def assert_same_end(run: Path, other: Path) -> None:
    last, twin = checkpoints(run / "checkpoints")[-1], checkpoints(other / "checkpoints")[-1]
    assert last.name == twin.name
    assert (last / "model.safetensors").read_bytes() == (twin / "model.safetensors").read_bytes()
    mine, theirs = (torch.load(path / "state.pt", weights_only=True) for path in (last, twin))
    assert torch.equal(mine["rng"], theirs["rng"])
    for first, second in zip(mine["optimizers"], theirs["optimizers"], strict=True):
        torch.testing.assert_close(first, second, rtol=0, atol=0)
    assert rows_of(run) == rows_of(other)
    assert (run / "best.safetensors").read_bytes() == (other / "best.safetensors").read_bytes()


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


SCRIPT = """
import sys, time
from cs336.training import load_config, train
def report(row):
    print(row.get("step"), flush=True)
    time.sleep(0.03)
train(load_config(sys.argv[1]), sys.argv[2], resume=sys.argv[3] == "resume", report=report)
"""


def test_kill_9_at_any_moment(raw: dict[str, Any], tmp_path: Path) -> None:
    config = make_config(changed(raw, "training", checkpoint_every=1))
    (tmp_path / "run.toml").write_text(to_toml(config), encoding="utf-8")
    run = tmp_path / "broken"
    for attempt, (lines, delay) in enumerate([(3, 0.031), (4, 0.036)]):
        mode = "resume" if attempt else "fresh"
        process = subprocess.Popen(
            [sys.executable, "-c", SCRIPT, str(tmp_path / "run.toml"), str(run), mode],
            stdout=subprocess.PIPE, env=os.environ | {"OMP_NUM_THREADS": "1"},
        )  # fmt: skip
        assert process.stdout is not None
        for _ in range(lines):
            process.stdout.readline()
        time.sleep(delay)
        process.kill()
        process.wait()
        process.stdout.close()
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        train(config, run, resume=True)
        train(config, tmp_path / "whole")
    finally:
        torch.set_num_threads(threads)
    assert_same_end(run, tmp_path / "whole")
    assert not list(run.rglob(".aside-*"))


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


def test_a_full_disk_leaves_the_old_checkpoint(
    raw: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = make_config(raw)
    real = files_module.sync

    def full(path: Path) -> None:
        if "step-00000008" in str(path):
            raise OSError(errno.ENOSPC, "No space left on device", str(path))
        real(path)

    monkeypatch.setattr(files_module, "sync", full)
    with pytest.raises(OSError, match="No space"):
        train(config, tmp_path / "run")
    assert [p.name for p in (tmp_path / "run/checkpoints").iterdir()] == ["step-00000004"]
    monkeypatch.undo()
    train(config, tmp_path / "run", resume=True)
    train(config, tmp_path / "whole")
    assert_same_end(tmp_path / "run", tmp_path / "whole")


def test_accumulation_equals_the_large_batch(raw: dict[str, Any], tmp_path: Path) -> None:
    raw = raw | {"model": MODEL}
    train(make_config(raw), tmp_path / "large")
    train(make_config(changed(raw, "training", grad_accumulation=4)), tmp_path / "parts")
    for large, parts in zip(rows_of(tmp_path / "large"), rows_of(tmp_path / "parts"), strict=True):
        # Sums in another order: float32 rounding, a little amplified by twelve steps of Adam.
        assert {k: v for k, v in parts.items() if v} == pytest.approx({k: v for k, v in large.items() if v}, rel=1e-3)


def test_it_learns(raw: dict[str, Any], tmp_path: Path) -> None:
    raw = changed(raw | {"model": MODEL}, "training", steps=150, batch_size=16, eval_every=150)
    result = train(make_config(raw), tmp_path / "run")
    # ln 16 = 2.77 knows nothing, ln 3 = 1.10 knows all that can be known.
    assert result.valid_loss is not None
    assert 1.0 < result.valid_loss < 1.35
    model, tokenizer, config = load_run(tmp_path / "run", device="cpu")
    best, _, _ = load_run(tmp_path / "run", which="best", device="cpu")
    assert tokenizer is None
    assert config.model == model.config == best.config
    tokens = np.load(raw["data"]["valid"])
    everything = evaluate(model, tokens, context_length=8)
    assert everything.tokens == len(tokens) - 1
    assert everything.perplexity == pytest.approx(np.exp(everything.loss))
    assert everything.bits_per_byte is None


def test_a_bad_loss_stops_before_the_weights(
    raw: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from cs336.training import loop

    calls = []

    def poisoned(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        calls.append(None)
        loss = torch.nn.functional.cross_entropy(logits.flatten(0, -2), targets.flatten())
        return loss * float("nan") if len(calls) == 6 else loss

    monkeypatch.setattr(loop, "cross_entropy", poisoned)
    with pytest.raises(NonFiniteLossError, match=r"step 6: .*step-00000004"):
        train(make_config(raw), tmp_path / "run")
    assert [row["step"] for row in rows_of(tmp_path / "run") if "loss" in row] == [1, 2, 3, 4, 5]


def test_what_cannot_be_trained_is_refused_and_leaves_nothing(raw: dict[str, Any], tmp_path: Path) -> None:
    run = tmp_path / "run"
    with pytest.raises(DataError, match="outside the vocabulary"):
        train(make_config(changed(raw, "model", vocab_size=12)), run)
    with pytest.raises(DataError, match="context"):
        train(make_config(changed(raw, "model", context_length=5000)), run)
    with pytest.raises(FileNotFoundError, match="nowhere"):
        train(make_config(changed(raw, "data", train=str(tmp_path / "nowhere.npy"))), run)
    with pytest.raises(CheckpointError, match="no run folder"):
        train(make_config(raw), run, resume=True)
    assert not run.exists()
    train(make_config(raw), run)
    with pytest.raises(ConfigError, match="--resume"):
        train(make_config(raw), run)
    with pytest.raises(ConfigError, match=r"optimizer\.lr"):
        train(make_config(changed(raw, "optimizer", lr=0.5)), run, resume=True)


def test_single_file_checkpoint_round_trip(tmp_path: Path) -> None:
    def make() -> tuple[torch.nn.Module, AdamW]:
        net = torch.nn.Linear(3, 2)
        return net, AdamW(net.parameters())

    net, optimizer = make()
    net(torch.ones(3)).sum().backward()
    optimizer.step()
    buffer = io.BytesIO()
    save_checkpoint(buffer, net, optimizer, 7)
    save_checkpoint(tmp_path / "one.pt", net, optimizer, 7)
    buffer.seek(0)
    for source in (buffer, tmp_path / "one.pt"):
        other, other_optimizer = make()
        assert load_checkpoint(source, other, other_optimizer) == 7
        torch.testing.assert_close(other.state_dict(), net.state_dict(), rtol=0, atol=0)
        torch.testing.assert_close(other_optimizer.state_dict(), optimizer.state_dict(), rtol=0, atol=0)
    whole = (tmp_path / "one.pt").read_bytes()
    for damaged in (b"", whole[:100], whole[: len(whole) // 2], b"not a checkpoint"):
        (tmp_path / "broken.pt").write_bytes(damaged)
        with pytest.raises(CheckpointError, match=r"broken\.pt"):
            load_checkpoint(tmp_path / "broken.pt", *make())


def test_configuration_round_trip_and_overrides(raw: dict[str, Any], tmp_path: Path) -> None:
    config = make_config(raw)
    (tmp_path / "c.toml").write_text(to_toml(config), encoding="utf-8")
    assert load_config(tmp_path / "c.toml", {}) == config
    other = load_config(tmp_path / "c.toml", {"model.d-model": "32", "optimizer.schedule": "wsd"})
    assert isinstance(other, RunConfig)
    assert (other.model.d_model, other.optimizer.schedule) == (32, "wsd")
    assert dataclasses.replace(other.model, d_model=16) == config.model


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"model.d-modle": "8"}, "d_model"),
        ({"optimiser.lr": "1"}, "optimizer"),
        ({"model.d-model": "wide"}, r"model\.d_model.*wide"),
        ({"model.d-model": "true"}, "d_model"),
        ({"model.num-heads": "3"}, "num_heads"),
        ({"training.steps": "0"}, r"training\.steps"),
        ({"training.batch-size": "3", "training.grad-accumulation": "2"}, "grad_accumulation"),
        ({"optimizer.lr": "nan"}, r"optimizer\.lr"),
        ({"optimizer.weight-decay": "-1"}, "weight_decay"),
        ({"lr": "1"}, "section"),
        ({"model.preset": "tinystories-2052"}, "tinystories"),
    ],
)
def test_a_bad_configuration_names_the_key(
    raw: dict[str, Any], tmp_path: Path, overrides: dict[str, str], message: str
) -> None:
    (tmp_path / "c.toml").write_text(to_toml(make_config(raw)), encoding="utf-8")
    with pytest.raises(ConfigError, match=message):
        load_config(tmp_path / "c.toml", overrides)


def test_an_error_in_a_file_names_the_file(tmp_path: Path) -> None:
    (tmp_path / "run.toml").write_text("[modle]\nd_model = 64\n", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"run\.toml: unknown section: 'modle'; did you mean 'model'\?"):
        load_config(tmp_path / "run.toml")


def test_a_missing_section_says_how_to_give_it() -> None:
    with pytest.raises(ConfigError, match=r"the section model is missing.*--model\.KEY VALUE or --preset NAME"):
        load_config(None, {"training.steps": "3"})


def test_rows_hold_what_the_design_says(raw: dict[str, Any], tmp_path: Path) -> None:
    train(make_config(raw), tmp_path / "run")
    lines = (tmp_path / "run/metrics.jsonl").read_text("utf-8").splitlines()
    rows = [json.loads(line) for line in lines]
    assert set(rows[0]) == {"step", "tokens", "loss", "lr", "grad_norm", *CLOCK}
    assert [row["step"] for row in rows if "valid_loss" in row] == [5, 10, 12]
    assert [row["tokens"] for row in rows if "loss" in row] == [32 * step for step in range(1, 13)]
