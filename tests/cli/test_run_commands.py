"""Commands around runs: configuration, rehearsal, resuming with changes, evaluation, pictures."""

from __future__ import annotations

import dataclasses
import json
import math
import os
import signal
import socket
import subprocess
import sys
import time

import pytest

from cs336.presets import RUN_PRESETS
from cs336.training import load_config
from cs336.training.config import SECTIONS
from cs336.training.keys import keys


def test_every_key_has_a_meaning():
    listed = list(keys())
    assert [key.name for key in listed] == [
        f"{section}.{field.name}" for section, kind in SECTIONS.items() for field in dataclasses.fields(kind)
    ]
    assert [key.name for key in listed if not key.meaning or "[" in key.meaning] == []
    steps = next(key for key in listed if key.name == "optimizer.warmup_steps")
    assert (steps.default, steps.unit, steps.kind) == (0, "steps", "int")


def test_config_lists_keys_with_meaning_default_and_unit(cs336, one_line_error):
    shown = cs336("config").stdout
    for words in ("[model]", "[data]", "d_model", "Optimizer steps in all.", "sequences", "must be given", "0.001"):
        assert words in shown
    found = json.loads(cs336("config", "optimizer", "training.batch-size", "--json").stdout)
    assert {key["name"].partition(".")[0] for key in found} == {"optimizer", "training"}
    batch = found[-1]
    assert (batch["name"], batch["default"], batch["unit"]) == ("training.batch_size", 32, "sequences")
    assert "'lr'" in one_line_error("config", "lr")


@pytest.mark.parametrize("name", RUN_PRESETS)
def test_a_preset_is_printed_as_a_file_that_trains(cs336, one_line_error, tmp_path, workshop, name):
    shown = cs336("config", "--preset", name).stdout
    assert shown.startswith(f"# {name}: {RUN_PRESETS[name].about}")
    (tmp_path / "run.toml").write_text(f'{shown}\n[data]\ntrain = "train.npy"\n', encoding="utf-8")
    config = load_config(tmp_path / "run.toml")
    assert config == load_config(None, {"preset": name, "data.train": "train.npy"})
    assert json.loads(cs336("config", "--preset", name, "--json").stdout)["training"]["steps"] == config.training.steps


def test_what_is_no_run_has_no_file(one_line_error):
    assert "is a model's preset" in one_line_error("config", "--preset", "gpt2-small")
    assert "is no preset of a run" in one_line_error("config", "--preset", "gpt2-tiny")
    assert "NAMES or --preset" in one_line_error("config", "model", "--preset", "tinystories")


@pytest.mark.parametrize("name", RUN_PRESETS)
def test_a_dry_run_of_each_preset(cs336, workshop, name):
    data = workshop / "run" / "config.toml"
    words = ["train", "--preset", name, "--data.train", load_config(data).data.train, "--dry-run", "--json"]
    small = {"d-model": 16, "d-ff": 32, "num-heads": 2, "num-layers": 1, "context-length": 16}
    words += [word for key, value in small.items() for word in (f"--model.{key}", str(value))]
    done = cs336(*words, "--training.batch-size", "2", "--training.device", "cpu")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    preset = load_config(None, {"preset": name, "data.train": "train.npy"})
    assert found["tokens"] == preset.training.steps * 2 * 16
    assert found["config"]["optimizer"]["lr"] == preset.optimizer.lr


@pytest.mark.slow
@pytest.mark.parametrize("name", RUN_PRESETS)
def test_a_dry_run_of_each_preset_at_its_size(cs336, workshop, name):
    data = workshop / "run" / "config.toml"
    words = ["train", "--preset", name, "--data.train", load_config(data).data.train, "--dry-run", "--json"]
    found = json.loads(cs336(*words, "--training.batch-size", "4", "--training.device", "cpu").stdout)
    config = load_config(None, {"preset": name, "data.train": "t.npy"}).model
    assert found["parameters"] == config.num_parameters()
    assert found["loss"] == pytest.approx(math.log(config.vocab_size), abs=0.1)  # after one step


def test_a_dry_run_prints_what_is_to_come_and_writes_nothing(workshop, cs336, tmp_path):
    config = workshop / "run" / "config.toml"
    found = json.loads(cs336("train", "--config", config, "--dry-run", "--json", "--training.steps", "50").stdout)
    model = load_config(config).model
    assert found["config"]["training"]["steps"] == 50
    assert found["parameters"] == model.num_parameters()
    assert found["seconds"] == pytest.approx(50 * found["seconds_per_step"])
    # Muon keeps one number for each weight in its matrices, AdamW two: beside weight and gradient, 3 to 4 of 4 bytes.
    assert 3 < found["state_bytes"] / (4 * found["parameters"]) <= 4
    assert found["expected_bytes"] > found["state_bytes"]  # and activations
    matrices = model.num_parameters() - model.vocab_size * model.d_model  # looking up an embedding is no product
    batch = found["config"]["training"]["batch_size"] * model.context_length
    plain = json.loads(cs336("train", "--config", config, "--dry-run", "--json", "--optimizer.name", "adamw").stdout)
    assert 0.95 < plain["flops_per_step"] / (6 * matrices * batch) < 1.4  # attention comes on top
    assert found["flops_per_step"] > plain["flops_per_step"]  # and Muon's iterations
    shown = cs336("train", "--config", config, "--dry-run").stdout
    for words in ("[optimizer]", "parameters", "time expected", "FLOPs a step"):
        assert words in shown
    assert list(tmp_path.iterdir()) == []


def test_resume_takes_changes_only_when_told_to(workshop, cs336, one_line_error, tmp_path):
    config = workshop / "run" / "config.toml"
    new = ["train", "--config", config, "--run", "again", "--training.steps=2", "--optimizer.warmup-steps=0"]
    assert cs336(*new, "--training.eval-batches=1").returncode == 0
    resume = ["train", "--resume", "again", "--training.steps", "3"]
    said = one_line_error(*resume)
    assert "training.steps (2 there, 3 now)" in said
    assert "--accept-changes" in said
    done = cs336(*resume, "--accept-changes", "--json")
    assert json.loads(done.stdout)["step"] == 3
    assert "from step 3 on, training.steps is 3 and no longer 2" in done.stderr
    assert "training.deterministic" in one_line_error("train", "--resume", "again", "--deterministic")
    assert "--accept-changes is for --resume" in one_line_error(*new, "--accept-changes")


def test_the_configuration_is_printed_when_nothing_is_wrong_with_it(workshop, cs336, tmp_path):
    config = workshop / "run" / "config.toml"
    new = ["train", "--config", config, "--run", "new", "--training.steps=1", "--optimizer.warmup-steps=0"]
    for wrong in (["--data.train", "none.npy"], ["--training.device", "tpu"], ["--model.vocab-size", "20"]):
        done = cs336(*new, *wrong)
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr.startswith("error: ")
        assert list(tmp_path.iterdir()) == []
    assert cs336(*new).stdout.startswith("[model]\n")
    (tmp_path / "new" / "tokenizer.json").unlink()
    assert cs336("train", "--resume", "new").stdout == ""


def test_the_first_process_alone_says_what_all_meet(cs336, monkeypatch):
    words = ["train", "--run", "run", "--preset", "tinystories", "--data.train", "none.npy"]
    monkeypatch.setenv("WORLD_SIZE", "2")
    for more, status in ((["--training.stepps", "1"], 1), (["--nonsense"], 2)):
        said = {}
        for rank in "01":
            monkeypatch.setenv("LOCAL_RANK", rank)
            said[rank] = cs336(*words, *more)
        assert said["0"].stderr.count("\n") == 1
        assert (said["1"].stdout, said["1"].stderr) == ("", "")
        assert said["0"].returncode == said["1"].returncode == status


def test_other_commands_and_single_processes_always_say_what_is_wrong(cs336, monkeypatch):
    monkeypatch.setenv("LOCAL_RANK", "1")
    alone = ["train", "--run", "run", "--preset", "tinystories", "--data.train", "none.npy"]
    assert "none.npy" in cs336(*alone).stderr
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert "none.txt" in cs336("tokenizer", "train", "none.txt", "--vocab-size", "300", "--output", "t.json").stderr


@pytest.mark.slow
def test_two_processes_say_a_mistake_once(tmp_path):
    """As torchrun starts them."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    together = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    words = ["train", "--run", "run", "--preset", "tinystories", "--data.train", "none.npy", "--training.device", "cpu"]
    both = [
        subprocess.Popen(
            [sys.executable, "-m", "cs336", *words],
            env=os.environ | together | {"RANK": rank, "LOCAL_RANK": rank},
            cwd=tmp_path,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in "01"
    ]
    printed = [process.communicate(timeout=120) for process in both]
    assert [process.returncode for process in both] == [1, 1]
    assert [out for out, _ in printed] == ["", ""]
    (line,) = [line for _, err in printed for line in err.splitlines() if "error" in line]
    assert line.startswith("error: ")
    assert "none.npy" in line
    assert list(tmp_path.iterdir()) == []


def test_eval_at_a_context_length_and_at_a_step(workshop, cs336, one_line_error):
    run = workshop / "run"
    short = json.loads(cs336("eval", run, "--json", "--context-length", "16").stdout)
    whole = json.loads(cs336("eval", run, "--json").stdout)
    assert (short["context_length"], whole["context_length"]) == (
        16,
        load_config(run / "config.toml").model.context_length,
    )
    assert short["loss"] != whole["loss"]
    assert json.loads(cs336("eval", run, "--json", "--which", "2").stdout)["loss"] == whole["loss"]
    assert "one of its steps: " in one_line_error("eval", run, "--which", "7")
    assert "more than the model sees" in one_line_error("eval", run, "--context-length", "100000")


def test_plot_draws_one_run_or_several(workshop, cs336, tmp_path, one_line_error):
    run = workshop / "run"
    for words, target in (
        ([run, "--output", "one.png"], "one.png"),
        ([run, run, "--by", "time"], "curves.png"),
    ):
        done = cs336("plot", *words)
        assert done.stdout == f"{target}\n"
        assert (tmp_path / target).read_bytes().startswith(b"\x89PNG")
    assert "no run folder" in one_line_error("plot", "nowhere")


@pytest.mark.skipif(os.name != "posix", reason="sends SIGTERM")
def test_sigterm_ends_the_command_with_the_way_to_go_on(workshop, tmp_path):
    config = workshop / "run" / "config.toml"
    words = ["train", "--config", str(config), "--run", "run", "--training.steps", "5000"]
    with subprocess.Popen(
        [sys.executable, "-m", "cs336", *words], cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        log = tmp_path / "run/metrics.jsonl"
        until = time.monotonic() + 60
        while not (log.exists() and log.stat().st_size) and time.monotonic() < until:
            time.sleep(0.05)
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert "Go on with: cs336 train --resume run" in out
    saved = max((tmp_path / "run/checkpoints").iterdir()).name
    assert saved == f"step-{json.loads(log.read_text('utf-8').splitlines()[-1])['step']:08d}"
