from __future__ import annotations

import dataclasses
import io
import json
import math
import os
import signal
import socket
import subprocess
import sys
from contextlib import nullcontext
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.distributed as dist
from runs import CLOCK, MODEL, assert_same_end, changed, rows_of, write_sidecar
from torch.utils._python_dispatch import TorchDispatchMode

from cs336 import train_bpe_from_iterator
from cs336.data import get_batch
from cs336.errors import CheckpointError, ConfigError, DataError, NonFiniteLossError
from cs336.nn import TransformerLM
from cs336.optim import AdamW
from cs336.training import (
    evaluate,
    load_checkpoint,
    load_config,
    load_run,
    make_config,
    rehearse,
    save_checkpoint,
    step,
    to_toml,
    train,
)
from cs336.training.checkpoint import checkpoints
from cs336.training.config import RunConfig
from cs336.training.distributed import processes
from cs336.training.evaluate import _losses
from cs336.training.precision import LossScale, set_up_torch
from cs336.training.run import choose_device
from cs336.training.state import HostCopy


def test_accumulation_equals_the_large_batch(raw: dict[str, Any], tmp_path: Path) -> None:
    raw = raw | {"model": MODEL}
    train(make_config(raw), tmp_path / "large")
    train(make_config(changed(raw, "training", grad_accumulation=4)), tmp_path / "parts")
    for large, parts in zip(rows_of(tmp_path / "large"), rows_of(tmp_path / "parts"), strict=True):
        # Sums in another order: float32 rounding, a little amplified by twelve steps of Adam.
        assert {k: v for k, v in parts.items() if v} == pytest.approx({k: v for k, v in large.items() if v}, rel=1e-3)


def test_a_run_that_compiles_nothing_does_not_import_the_compiler(raw: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text(to_toml(make_config(raw)))
    code = """
import sys
from cs336.training import load_config, train
train(load_config("config.toml"), "run")
assert "torch._dynamo" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True)  # a fresh one: in this it may be imported


def test_a_setting_of_the_whole_run_is_named(raw: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=r"^training\.steps must be at least 1, not 0$"):
        make_config(changed(raw, "training", steps=0))


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


@pytest.mark.parametrize("eval_every", [3, 100])
def test_weights_that_are_not_finite_are_neither_kept_nor_called_unharmed(
    raw: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, eval_every: int
) -> None:
    plain = step.Stepper._update

    def harm(self: step.Stepper, begun: Any, accepted: bool) -> None:
        plain(self, begun, accepted)
        if begun.step == 3:
            with torch.no_grad():
                next(iter(self.model.parameters())).fill_(math.nan)

    monkeypatch.setattr(step.Stepper, "_update", harm)
    config = make_config(changed(raw, "training", eval_every=eval_every, checkpoint_every=1, keep_last=9))
    with pytest.raises(
        NonFiniteLossError, match=r"step 3(: the loss is nan| has left numbers| or an earlier one)"
    ) as caught:
        train(config, tmp_path / "run")
    assert "unharmed" not in str(caught.value)
    assert [path.name for path in checkpoints(tmp_path / "run/checkpoints")] == ["step-00000001", "step-00000002"]
    assert "NaN" not in (tmp_path / "run/metrics.jsonl").read_text("utf-8")


def test_a_bad_step_says_so_where_the_weights_are_harmed(
    raw: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = step.Stepper._update

    def harm(self: step.Stepper, begun: Any, accepted: bool) -> None:
        plain(self, begun, accepted)
        with torch.no_grad():
            next(iter(self.model.parameters())).fill_(math.inf)

    monkeypatch.setattr(step.Stepper, "_update", harm)
    with pytest.raises(NonFiniteLossError, match=r"step 2: .* not finite any more since step 1 or an earlier one"):
        train(make_config(raw), tmp_path / "run")


@pytest.mark.parametrize("holds_back", [False, True])
def test_a_bad_loss_stops_before_the_weights(
    raw: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, holds_back: bool
) -> None:
    seen: list[torch.Tensor] = []
    steppers: list[step.Stepper] = []
    plain = step.Stepper._loss

    def weights_of(stepper: step.Stepper) -> torch.Tensor:
        return torch.cat([weight.detach().flatten() for weight in stepper.model.parameters()])

    def poisoned(self: step.Stepper, inputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        seen.append(weights_of(self))
        steppers.append(self)
        loss = plain(self, inputs, targets)
        return loss * float("nan") if len(seen) == 6 else loss

    monkeypatch.setattr(step.Stepper, "_loss", poisoned)
    monkeypatch.setattr(step, "can_hold_back", lambda optimizers, device: holds_back)
    config = make_config(raw)
    with pytest.raises(NonFiniteLossError, match=r"step 6: .*bad-batch-00000006\.json.*step-00000004"):
        train(config, tmp_path / "run")
    assert len(seen) == (7 if holds_back else 6)  # one that does not wait is at the next step already
    assert not torch.equal(seen[4], seen[5])
    for later in [*seen[6:], weights_of(steppers[-1])]:
        assert torch.equal(later, seen[5])
    assert [row["step"] for row in rows_of(tmp_path / "run") if "loss" in row] == [1, 2, 3, 4, 5]
    bad = json.loads((tmp_path / "run/bad-batch-00000006.json").read_text("utf-8"))
    tokens = np.load(raw["data"]["train"])
    inputs, _ = get_batch(tokens, 4, 8, "cpu", rng=np.random.default_rng([0, 6]))
    assert [place["file"] for place in bad["sequences"]] == [raw["data"]["train"]] * 4
    found = np.stack([tokens[place["first_token"] :][:8] for place in bad["sequences"]])
    assert found.tolist() == inputs.tolist()


def test_a_run_that_does_not_wait_for_each_step_is_the_same(
    raw: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = make_config(raw)
    train(config, tmp_path / "waits")
    monkeypatch.setattr(step, "can_hold_back", lambda optimizers, device: True)
    train(config, tmp_path / "does-not")
    assert_same_end(tmp_path / "waits", tmp_path / "does-not")


def test_float16_steps_over_gradients_that_overflow(
    raw: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = make_config(changed(raw, "training", dtype="float16", steps=24))
    whole, run = tmp_path / "whole", tmp_path / "run"

    class Eager(LossScale):
        """Doubles so often that it overflows again and again."""

        def __init__(self, dtype: torch.dtype) -> None:
            super().__init__(dtype, patience=1)

    monkeypatch.setattr(step, "LossScale", Eager)
    train(config, whole)
    rows = [row for row in rows_of(whole) if "loss" in row]
    left_out = [row for row in rows if row["grad_norm"] is None]
    assert 0 < len(left_out) < 12
    for before, row in pairwise(rows):
        assert row["loss_scale"] == before["loss_scale"] * (0.5 if row["grad_norm"] is None else 2)
    assert rows[-1]["loss"] < rows[0]["loss"]

    def stop(row: dict[str, Any]) -> None:
        if row["step"] == left_out[-1]["step"] - 1:  # at a scale that a new run would not have
            os.kill(os.getpid(), signal.SIGTERM)

    train(config, run, report=stop)
    train(config, run, resume=True)
    assert_same_end(run, whole)


def test_a_scale_is_not_blamed_for_a_bad_loss() -> None:
    scale = LossScale(torch.float16)
    halvings = 0
    while scale.shrink():
        halvings += 1
    assert (halvings, scale.value) == (16, 1.0)
    assert not LossScale(torch.float32).shrink()


def test_tf32_needs_cuda(raw: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"training\.dtype tf32 .*use float32"):
        train(make_config(changed(raw, "training", dtype="tf32")), tmp_path / "run")


def test_deterministic_kernels_are_asked_for(
    raw: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    seen = []
    for name, deterministic in (("one", True), ("two", False)):
        config = make_config(changed(raw, "training", deterministic=deterministic))
        train(config, tmp_path / name, report=lambda row: seen.append(torch.are_deterministic_algorithms_enabled()))
    assert seen == [True] * 15 + [False] * 15
    assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"


def test_processes_that_nobody_has_started_are_named(
    raw: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "4")
    monkeypatch.delenv("RANK", raising=False)
    with pytest.raises(ConfigError, match=r"4 processes, but RANK.* not set; start them with torchrun"):
        train(make_config(raw), tmp_path / "run")


@pytest.mark.parametrize(
    ("device", "fails", "destroyed"), [("cuda", False, 1), ("cuda", True, 0), ("cpu", False, 1), ("cpu", True, 1)]
)
def test_who_fails_does_not_wait_for_the_others_of_nccl(
    monkeypatch: pytest.MonkeyPatch, device: str, fails: bool, destroyed: int
) -> None:
    calls: list[str] = []
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    about = {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    for name, value in about.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(torch.cuda, "set_device", lambda _: None)
    monkeypatch.setattr(dist, "init_process_group", lambda backend, **_: calls.append(backend))
    monkeypatch.setattr(dist, "destroy_process_group", lambda: calls.append("destroyed"))
    with pytest.raises(ValueError, match="enough") if fails else nullcontext(), processes(device):
        if fails:
            raise ValueError("enough")
    assert calls == ["nccl" if device == "cuda" else "gloo"] + ["destroyed"] * destroyed


def test_tokens_of_two_tokenizers_are_refused_by_their_hashes(raw: dict[str, Any], tmp_path: Path) -> None:
    write_sidecar(tmp_path / "train.npy", "aa" * 32, {})
    write_sidecar(tmp_path / "valid.npy", "bb" * 32, {})
    with pytest.raises(DataError, match=r"valid\.npy was encoded with another tokenizer than .*train\.npy.*bbbb.*aaaa"):
        train(make_config(raw), tmp_path / "run")


def test_documents_are_kept_apart_in_training_and_evaluation(
    raw: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    raw = raw | {"model": MODEL}
    masked = changed(raw, "data", document_masking=True)
    with pytest.raises(ConfigError, match=r"id of '<\|endoftext\|>'"):
        train(make_config(masked), tmp_path / "run")
    write_sidecar(tmp_path / "train.npy", "aa" * 32, {"<|endoftext|>": 3})
    train(make_config(masked), tmp_path / "masked")
    train(make_config(raw), tmp_path / "plain")
    for one, other in zip(rows_of(tmp_path / "masked"), rows_of(tmp_path / "plain"), strict=True):
        assert one["step"] == other["step"]
        key = "loss" if "loss" in one else "valid_loss"
        assert one[key] != other[key]
    model, _, _ = load_run(tmp_path / "masked", device="cpu")
    tokens = np.load(raw["data"]["valid"])
    result = evaluate(model, tokens, context_length=8, batch_size=4, batches=2, document_end=3)
    last = [row for row in rows_of(tmp_path / "masked") if "valid_loss" in row][-1]
    assert result.document_masking
    assert (result.loss, 8) == (last["valid_loss"], last["context_length"])


def test_evaluation_at_another_context_length(raw: dict[str, Any], tmp_path: Path) -> None:
    train(make_config(changed(raw, "training", eval_context_length=4)), tmp_path / "run")
    last = [row for row in rows_of(tmp_path / "run") if "valid_loss" in row][-1]
    model, _, _ = load_run(tmp_path / "run", device="cpu")
    tokens = np.load(raw["data"]["valid"])
    assert last["context_length"] == 4
    assert last["valid_loss"] == evaluate(model, tokens, context_length=4, batch_size=4, batches=2).loss
    with pytest.raises(ConfigError, match=r"training\.eval_context_length is 9, .*8 tokens"):
        make_config(changed(raw, "training", eval_context_length=9))


def test_evaluation_takes_no_more_at_once_than_a_step(
    raw: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: dict[bool, list[int]] = {True: [], False: []}
    forward = TransformerLM.forward

    def noted(self: TransformerLM, ids: torch.Tensor, **more: Any) -> torch.Tensor:
        seen[self.training].append(len(ids))
        return forward(self, ids, **more)

    monkeypatch.setattr(TransformerLM, "forward", noted)
    raw = changed(changed(raw | {"model": MODEL}, "training", batch_size=8, steps=1), "optimizer", warmup_steps=0)
    whole = train(make_config(raw), tmp_path / "whole")
    assert seen == {True: [8], False: [8, 8]}
    seen[True], seen[False] = [], []
    parts = train(make_config(changed(raw, "training", grad_accumulation=4)), tmp_path / "parts")
    assert seen == {True: [2] * 4, False: [2] * 8}
    assert parts.valid_loss == pytest.approx(whole.valid_loss, rel=1e-4)  # the same sequences


def test_evaluation_copies_some_logits_at_a_time() -> None:
    logits = torch.randn(2500, 40, generator=torch.Generator().manual_seed(0)).bfloat16()
    targets = torch.arange(2500) % 40
    largest = 0

    class Watch(TorchDispatchMode):
        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            nonlocal largest
            out = func(*args, **(kwargs or {}))
            if isinstance(out, torch.Tensor) and out.dtype == torch.float32:
                largest = max(largest, out.numel())
            return out

    with Watch():
        losses = _losses(logits, targets)
    assert largest <= 1024 * 40
    assert torch.equal(losses, torch.nn.functional.cross_entropy(logits.float(), targets, reduction="none"))


@pytest.mark.parametrize("order", ["random", "epochs"])
def test_several_files_go_on_where_they_were(raw: dict[str, Any], tmp_path: Path, order: str) -> None:
    np.save(tmp_path / "more.npy", np.load(raw["data"]["train"])[:500])
    files = [raw["data"]["train"], str(tmp_path / "more.npy")]
    config = make_config(changed(raw, "data", train=files, weights=[1.0, 2.0], order=order))

    def stop(row: dict[str, Any]) -> None:
        if row["step"] == 7:
            os.kill(os.getpid(), signal.SIGTERM)

    train(config, tmp_path / "whole")
    train(config, tmp_path / "run", report=stop)
    train(config, tmp_path / "run", resume=True)
    assert_same_end(tmp_path / "run", tmp_path / "whole")


def test_what_cannot_be_trained_is_refused_and_leaves_nothing(raw: dict[str, Any], tmp_path: Path) -> None:
    run = tmp_path / "run"
    with pytest.raises(DataError, match=r"train\.npy: token \d+ at position .* is outside the vocabulary"):
        train(make_config(changed(raw, "model", vocab_size=12)), run)
    with pytest.raises(DataError, match=r"train\.npy: a context of 5,000"):
        train(make_config(changed(raw, "model", context_length=5000)), run)
    np.save(tmp_path / "short.npy", np.load(tmp_path / "valid.npy")[:8])
    short = changed(raw, "data", valid=str(tmp_path / "short.npy"))
    with pytest.raises(DataError, match=r"short\.npy: a context of 8 needs at least 9 tokens"):
        train(make_config(short), run)
    with pytest.raises(DataError, match=r"short\.npy: a context of 8 needs at least 9 tokens"):
        rehearse(make_config(short))
    # A tokenizer that does not know all ids that the model does.
    train_bpe_from_iterator(["low"], 256, special_tokens=[], progress=False).save(tmp_path / "bytes.json")
    np.save(tmp_path / "beyond.npy", np.arange(250, 290, dtype=np.uint16))
    small = changed(raw, "data", valid=str(tmp_path / "beyond.npy"), tokenizer=str(tmp_path / "bytes.json"))
    with pytest.raises(DataError, match=r"beyond\.npy: token 256 at position 6 is outside the vocabulary of 256"):
        train(make_config(changed(small, "model", vocab_size=300)), run)
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


def test_a_dry_run_does_not_time_the_compiler(raw: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    seconds = {1: 5.0, 2: 60.0, 3: 0.5}  # counting operations; compiling; a step
    monkeypatch.setattr(step.Stepper, "step", lambda _, number: {"seconds": seconds[number], "loss": float(number)})
    monkeypatch.setattr(torch, "compile", lambda model: model)
    found = rehearse(make_config(changed(raw, "training", compile=True)))
    assert (found.seconds_per_step, found.seconds, found.loss) == (0.5, 6.0, 2.0)


def test_a_card_that_is_named_is_the_current_one(raw: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    chosen: list[torch.device] = []
    monkeypatch.setattr(torch.cuda, "set_device", chosen.append)
    for name in ("cpu", "cuda", "cuda:1"):
        set_up_torch(make_config(raw).training, torch.device(name))
    assert chosen == [torch.device("cuda:1")]


def test_a_checkpoint_waits_for_the_device_of_its_tensors(monkeypatch: pytest.MonkeyPatch) -> None:
    class OnSecondCard:
        """Of a tensor on cuda:1, as much as a copy asks for."""

        device = torch.device("cuda:1")

        def detach(self) -> OnSecondCard:
            return self

    asked: list[torch.device | None] = []

    class Stream:
        def __init__(self, device: torch.device | None = None) -> None:
            asked.append(device)

        def record_event(self) -> Stream:
            return self

        def synchronize(self) -> None:
            asked.append(None)

    class Pinned:
        def copy_(self, source: OnSecondCard, non_blocking: bool) -> Pinned:
            return self

    monkeypatch.setattr(torch, "empty_like", lambda *_, **__: Pinned())
    monkeypatch.setattr(torch.cuda, "current_stream", Stream)
    copy = HostCopy(keep=True)
    tensor: Any = OnSecondCard()
    copy(tensor)
    copy.event()()
    assert asked == [torch.device("cuda:1"), None]


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
        ({"optimizer.lr": "inf"}, r"optimizer\.lr must be above 0 and finite"),
        ({"optimizer.min-lr": "-5"}, r"optimizer\.min_lr must be at least 0"),
        ({"optimizer.decay-fraction": "nan"}, r"optimizer\.decay_fraction must be from 0 to 1"),
        ({"optimizer.decay-fraction": "7"}, r"optimizer\.decay_fraction must be from 0 to 1"),
        ({"optimizer.betas": "[0.9]"}, r"optimizer\.betas has too few values; give at least 2"),
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


@pytest.mark.skipif(torch.backends.mps.is_available(), reason="this machine has such a device")
def test_devices_that_are_not_there() -> None:
    with pytest.raises(ConfigError, match="'mps', but PyTorch finds no MPS device here"):
        choose_device("mps")
    with pytest.raises(ConfigError, match="'meta' is none to train on"):
        choose_device("meta")


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
