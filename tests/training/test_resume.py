"""A run that stops, for any reason, goes on and ends bit for bit where it would have ended."""

from __future__ import annotations

import errno
import json
import os
import random
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from runs import assert_same_end, changed, rows_of, write_sidecar

from cs336 import Tokenizer, files, train_bpe_from_iterator
from cs336.errors import CheckpointError, ConfigError, DataError
from cs336.training import load_config, load_run, loop, make_config, to_toml, train
from cs336.training.checkpoint import checkpoints, noted
from cs336.training.metrics import read_rows
from cs336.training.plot import Curves, draw_runs


class CrashError(Exception):
    pass


def stop_at(step: int, how: Any) -> Any:
    def report(row: dict[str, Any]) -> None:
        if row.get("step") == step and "loss" in row:
            how()

    return report


def crash() -> None:
    raise CrashError


EVERY_SWITCH = {"num_layers": 3, "qk_norm": True, "value_residual": True, "zero_init": True, "ffn": "relu2"}


@pytest.mark.parametrize(
    ("optimizer", "model"),
    [
        ({"name": "adamw"}, {}),
        ({"name": "muon"}, {}),
        ({"name": "sgd"}, {}),
        ({"name": "muon", "embedding_lr": 0.05, "schedule": "wsd", "decay_fraction": 0.5}, EVERY_SWITCH),
        ({"name": "adamw", "embedding_lr": 0.05, "schedule": "constant"}, EVERY_SWITCH | {"tie_embeddings": True}),
    ],
)
def test_a_crashed_run_ends_as_an_unbroken_one(
    raw: dict[str, Any], tmp_path: Path, optimizer: dict[str, Any], model: dict[str, Any]
) -> None:
    config = make_config(changed(changed(raw, "optimizer", **optimizer), "model", **model))
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
    newest = checkpoints(tmp_path / "run/checkpoints")[-1]
    weights, of_a_person = newest / "model.safetensors", newest.with_name("step-foo")
    weights.write_bytes(weights.read_bytes()[:-7])
    of_a_person.mkdir()
    seen: list[dict[str, Any]] = []
    train(config, tmp_path / "run", resume=True, report=seen.append)
    assert "damaged" in seen[0]["warning"]
    assert "going on from" in seen[1]["warning"]
    assert of_a_person.is_dir()
    assert_same_end(tmp_path / "run", tmp_path / "whole")


def test_a_damaged_checkpoint_takes_no_whole_one_s_place(raw: dict[str, Any], tmp_path: Path) -> None:
    config = make_config(changed(raw, "training", keep_last=2, checkpoint_every=3))
    with pytest.raises(CrashError):
        train(config, tmp_path / "run", report=stop_at(8, crash))
    whole, broken = checkpoints(tmp_path / "run/checkpoints")
    (broken / "state.pt").write_bytes(b"")
    with pytest.raises(CrashError):
        train(config, tmp_path / "run", resume=True, report=stop_at(8, crash))
    assert [path.name for path in checkpoints(tmp_path / "run/checkpoints")] == [whole.name, broken.name]
    assert (whole.parent / f"damaged-{broken.name}").is_dir()


def test_two_processes_never_train_in_one_folder(raw: dict[str, Any], tmp_path: Path) -> None:
    def again(row: dict[str, Any]) -> None:
        if row["step"] == 3:
            train(make_config(raw), tmp_path / "run", resume=True)

    with pytest.raises(ConfigError, match="another process is training in"):
        train(make_config(raw), tmp_path / "run", report=again)


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


def test_the_random_states_of_python_numpy_and_torch_go_on(raw: dict[str, Any], tmp_path: Path) -> None:
    config = make_config(raw)

    def train_and_draw(run: str, *, resume: bool, until: int) -> list[tuple[float, float, float]]:
        drawn = {}

        def draw(row: dict[str, Any]) -> None:
            if "loss" in row:
                drawn[row["step"]] = (random.random(), float(np.random.standard_normal()), float(torch.rand(())))
                if row["step"] == until:
                    crash()

        with pytest.raises(CrashError) if until < 12 else nullcontext():
            train(config, tmp_path / run, resume=resume, report=draw)
        return [drawn[step] for step in range(9, 13) if step in drawn]

    whole = train_and_draw("whole", resume=False, until=99)
    train_and_draw("broken", resume=False, until=10)
    random.seed(99)
    np.random.seed(99)
    assert train_and_draw("broken", resume=True, until=99) == whole
    assert_same_end(tmp_path / "broken", tmp_path / "whole")


MISFITS = [
    (
        {"d_ff": 48},
        "model.d_ff, its weights have other shapes or names: layers.0.ffn.w1.weight is 32 x 16 there and 48 x 16 here, "
        "layers.0.ffn.w2.weight is 16 x 32 there and 16 x 48 here, "
        "layers.0.ffn.w3.weight is 32 x 16 there and 48 x 16 here",
    ),
    (
        {"num_layers": 2, "rope_theta": 5.0},
        "model.num_layers and model.rope_theta, its weights have other shapes or names: "
        "layers.1.ln1.weight is missing, layers.1.attn.q_proj.weight is missing, "
        "layers.1.attn.k_proj.weight is missing, and 6 more",
    ),
]


def test_changes_are_refused_by_name_and_recorded_when_accepted(raw: dict[str, Any], tmp_path: Path) -> None:
    run = tmp_path / "run"
    train(make_config(raw), run)
    longer = make_config(changed(changed(raw, "training", steps=16), "optimizer", lr=0.02))
    with pytest.raises(
        ConfigError, match=r"training.steps \(12 there, 16 now\), optimizer.lr \(0.01 there, 0.02 now\)"
    ):
        train(longer, run, resume=True)
    before = (run / "config.toml").read_bytes()
    for model, misfits in MISFITS:
        with pytest.raises(CheckpointError) as refused:
            train(make_config(changed(raw, "model", **model)), run, resume=True, accept_changes=True)
        assert str(refused.value) == (
            f"{run / 'checkpoints/step-00000012'} does not hold the weights of this model: with other values of "
            f"{misfits}; leave that as it was, or start a new run"
        )
        assert (run / "config.toml").read_bytes() == before
    said: list[dict[str, Any]] = []
    result = train(longer, run, resume=True, accept_changes=True, report=said.append)
    assert result.step == 16
    assert said[1]["warning"] == "from step 13 on, optimizer.lr is 0.02 and no longer 0.01"
    assert load_config(run / "config.toml").training.steps == 16
    rows = [json.loads(line) for line in (run / "config-changes.jsonl").read_text("utf-8").splitlines()]
    assert rows[0] == {"after_step": 12, "key": "training.steps", "old": 12, "new": 16}
    assert [row["step"] for row in rows_of(run) if "loss" in row] == list(range(1, 17))


def test_tokens_are_counted_by_what_was_drawn(raw: dict[str, Any], tmp_path: Path) -> None:
    run = tmp_path / "run"
    train(make_config(raw), run)
    raw = changed(changed(raw, "training", steps=14, batch_size=6), "data", train=[raw["data"]["train"]] * 2)
    with pytest.raises(ConfigError, match=r"data\.train .*training\.batch_size \(4 there, 6 now\)"):
        train(make_config(raw), run, resume=True)
    train(make_config(changed(raw, "data", weights=[1.0, 1.0])), run, resume=True, accept_changes=True)
    assert [row["tokens"] for row in rows_of(run) if "loss" in row][10:] == [11 * 32, 12 * 32, 432, 480]


def test_relative_paths_are_found_from_another_folder(
    raw: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    relative = make_config(raw | {"data": {"train": "train.npy", "valid": "valid.npy"}})
    train(relative, "run")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    train(load_config(tmp_path / "run/config.toml"), tmp_path / "run", resume=True)


def test_training_goes_on_while_a_checkpoint_is_written(
    raw: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = make_config(changed(raw, "training", eval_every=12))
    real, may_write = loop.write_checkpoint, threading.Event()

    def slow(folder: Path, snapshot: Any, keep_last: int) -> Path:
        assert may_write.wait(30)
        return real(folder, snapshot, keep_last)

    def report(row: dict[str, Any]) -> None:
        if row["step"] == 7:  # three steps after the checkpoint that is not written yet, just before the next
            assert not checkpoints(tmp_path / "run/checkpoints")
            may_write.set()
            crash()

    monkeypatch.setattr(loop, "write_checkpoint", slow)
    with pytest.raises(CrashError):
        train(config, tmp_path / "run", report=report)
    monkeypatch.undo()
    assert [path.name for path in checkpoints(tmp_path / "run/checkpoints")] == ["step-00000004"]
    train(config, tmp_path / "run", resume=True)  # from a copy of step 4, though training had gone on
    train(config, tmp_path / "whole")
    assert_same_end(tmp_path / "run", tmp_path / "whole")


def test_a_really_full_disk_names_the_checkpoint(
    raw: dict[str, Any], tmp_path: Path, on_a_full_disk: Callable[[Callable[[], Any]], Any]
) -> None:
    config = make_config(raw)
    with pytest.raises(OSError, match=r"File too large.*step-00000004"):
        on_a_full_disk(lambda: train(config, tmp_path / "run"))
    assert list((tmp_path / "run/checkpoints").iterdir()) == []
    train(config, tmp_path / "run", resume=True)
    train(config, tmp_path / "whole")
    assert_same_end(tmp_path / "run", tmp_path / "whole")


def test_the_best_weights_are_verified(raw: dict[str, Any], tmp_path: Path) -> None:
    train(make_config(raw), tmp_path / "run")
    best = tmp_path / "run/best.safetensors"
    load_run(tmp_path / "run", which="best", device="cpu")
    content = bytearray(best.read_bytes())
    content[-1] ^= 1
    best.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"best\.safetensors is damaged"):
        load_run(tmp_path / "run", which="best", device="cpu")


def test_other_tokens_under_the_same_name_are_refused(raw: dict[str, Any], tmp_path: Path) -> None:
    config = make_config(raw)
    with pytest.raises(CrashError):
        train(config, tmp_path / "run", report=stop_at(6, crash))
    path = tmp_path / "train.npy"
    content = path.read_bytes()
    path.write_bytes(content[:-100])
    with pytest.raises(DataError, match=r"train\.npy is not a whole \.npy file"):
        train(config, tmp_path / "run", resume=True)
    np.save(path, np.load(tmp_path / "valid.npy"))
    with pytest.raises(DataError, match=r"train\.npy is not the file that .*step-00000004 was trained on"):
        train(config, tmp_path / "run", resume=True)
    path.write_bytes(content)
    assert train(config, tmp_path / "run", resume=True).step == 12


def test_a_validation_file_that_has_changed_is_refused(raw: dict[str, Any], tmp_path: Path) -> None:
    config = make_config(raw)
    with pytest.raises(CrashError):
        train(config, tmp_path / "run", report=stop_at(6, crash))
    np.save(tmp_path / "valid.npy", np.load(tmp_path / "train.npy")[:300])
    with pytest.raises(DataError, match=r"valid\.npy is not the file that .*step-00000004 was evaluated on"):
        train(config, tmp_path / "run", resume=True)


@pytest.mark.parametrize("files", [1, 2])
def test_other_data_that_was_accepted_needs_no_second_word(raw: dict[str, Any], tmp_path: Path, files: int) -> None:
    run = tmp_path / "run"
    np.save(tmp_path / "other.npy", np.load(tmp_path / "train.npy")[::-1])
    with pytest.raises(CrashError):
        train(make_config(raw), run, report=stop_at(5, crash))
    other = make_config(changed(raw, "data", train=[str(tmp_path / "other.npy")] * files))
    with pytest.raises(CrashError):  # before another checkpoint knows of it
        train(other, run, resume=True, accept_changes=True, report=stop_at(7, crash))
    assert train(other, run, resume=True).step == 12
    # Nor where the checkpoints that know of it are damaged.
    for newer in checkpoints(run / "checkpoints")[-2:]:
        if newer.name > "step-00000004":
            (newer / "state.pt").write_bytes(b"")
    assert train(other, run, resume=True).step == 12


def test_another_number_of_files_is_an_error_of_its_own(raw: dict[str, Any], tmp_path: Path) -> None:
    run = tmp_path / "run"
    with pytest.raises(CrashError):
        train(make_config(raw), run, report=stop_at(5, crash))
    edited = make_config(changed(raw, "data", train=[raw["data"]["train"]] * 2))
    (run / "config.toml").write_text(to_toml(edited), encoding="utf-8")
    with pytest.raises(DataError, match=r"trained on 1 token files, and data\.train names 2; .*--accept-changes"):
        train(edited, run, resume=True)


def test_another_tokenizer_is_taken_over_or_refused(raw: dict[str, Any], tmp_path: Path) -> None:
    run, tokenizers = tmp_path / "run", [tmp_path / "one.json", tmp_path / "two.json"]
    for path, text in zip(tokenizers, ("low lower lowest", "tick tack toe"), strict=True):
        train_bpe_from_iterator([text], 258, progress=False).save(path)
    raw = changed(raw, "model", vocab_size=258)
    train(make_config(raw), run)
    with_one = changed(changed(raw, "data", tokenizer=str(tokenizers[0])), "training", steps=14)
    train(make_config(with_one), run, resume=True, accept_changes=True)
    assert (run / "tokenizer.json").read_bytes() == tokenizers[0].read_bytes()
    hashed = Tokenizer.load(tokenizers[0]).hash
    for name in ("train", "valid"):
        write_sidecar(tmp_path / f"{name}.npy", hashed, {})
    with_two = changed(with_one, "data", tokenizer=str(tokenizers[1]))
    with pytest.raises(DataError, match=r"train\.npy was encoded with another tokenizer than .*two\.json"):
        train(make_config(changed(with_two, "training", steps=15)), run, resume=True, accept_changes=True)
    assert (run / "tokenizer.json").read_bytes() == tokenizers[0].read_bytes()


def test_best_weights_of_a_continuation_taken_back_are_gone(raw: dict[str, Any], tmp_path: Path) -> None:
    run = tmp_path / "run"
    raw = changed(raw, "training", steps=20, checkpoint_every=6, keep_last=9)
    train(make_config(raw), run)
    best = noted(run / "best.safetensors")
    taken_back = [path for path in checkpoints(run / "checkpoints") if path.name > "step-00000006"]
    assert best["step"] > 6
    for path in taken_back:
        (path / "state.pt").write_bytes(b"")
    # From here on it learns nothing more, so that no loss gets as low as the one taken back.
    frozen = make_config(changed(raw, "optimizer", lr=1e-9, warmup_steps=0))
    train(frozen, run, resume=True, accept_changes=True)
    losses = {row["step"]: row["valid_loss"] for row in rows_of(run) if "valid_loss" in row}
    best = noted(run / "best.safetensors")
    assert losses[best["step"]] == best["valid_loss"]


def test_losses_on_other_validation_tokens_are_not_compared(raw: dict[str, Any], tmp_path: Path) -> None:
    run = tmp_path / "run"
    train(make_config(raw), run)
    rng = np.random.default_rng(1)
    np.save(tmp_path / "hard.npy", rng.integers(0, 16, size=400).astype(np.uint16))
    hard = changed(changed(raw, "data", valid=str(tmp_path / "hard.npy")), "training", steps=20)
    train(make_config(hard), run, resume=True, accept_changes=True)
    assert noted(run / "best.safetensors")["step"] > 12


def test_tokens_go_on_from_another_context_length(raw: dict[str, Any], tmp_path: Path) -> None:
    run = tmp_path / "run"
    train(make_config(raw), run)
    shorter = changed(changed(raw, "model", context_length=4), "training", steps=14)
    train(make_config(shorter), run, resume=True, accept_changes=True)
    assert [row["tokens"] for row in rows_of(run) if "loss" in row][10:] == [
        11 * 32,
        12 * 32,
        12 * 32 + 16,
        12 * 32 + 32,
    ]


def test_a_log_with_a_line_that_is_no_row_is_named(raw: dict[str, Any], tmp_path: Path) -> None:
    run = tmp_path / "run"
    train(make_config(raw), run)
    log = run / "metrics.jsonl"
    whole = log.read_text("utf-8")
    for line in ("3", '{"loss": 1.0}', "{"):
        log.write_text(f"{line}\n{whole}", encoding="utf-8")
        with pytest.raises(DataError, match=r"metrics\.jsonl, line 1: this is no row"):
            train(make_config(raw), run, resume=True)
    # One that a crash has cut short is the last.
    log.write_text(whole + '{"step": 13, "lo', encoding="utf-8")
    assert train(make_config(raw), run, resume=True).step == 12


def test_a_finished_run_without_its_log_can_be_resumed_and_drawn(raw: dict[str, Any], tmp_path: Path) -> None:
    run = tmp_path / "run"
    train(make_config(raw), run)
    (run / "metrics.jsonl").unlink()
    assert train(make_config(raw), run, resume=True).step == 12
    for along in ("step", "tokens", "time"):
        draw_runs([Curves("run", read_rows(run / "metrics.jsonl"))], tmp_path / "loss.png", by=along)
