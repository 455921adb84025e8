"""Arms in processes of their own: side by side, killed, gone on with, refused, failing."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from filelock import FileLock
from small_runs import small_config, without_clocks

from cs336.errors import ConfigError
from cs336.experiments.ablation import ablation
from cs336.experiments.lr_sweep import Sweep, lr_sweep
from cs336.training import to_toml

STEPS = 120
RATES = (0.001, 0.01, 1e3)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with a configuration, and with a sweep of it that nobody has interrupted in `whole`."""
    folder = tmp_path_factory.mktemp("sweeps")
    config = small_config(folder, steps=STEPS)
    (folder / "run.toml").write_text(to_toml(config))
    lr_sweep(config, folder / "whole", rates=RATES, warmups=[0], jobs=2)
    return folder


def results(folder):
    return without_clocks(json.loads((folder / "results.json").read_text()))


def test_a_sweep_in_two_processes(place):
    found = Sweep.load(place / "whole")
    assert [(one.about["rate"], one.status) for one in found.outcomes] == [
        (0.001, "trained"), (0.01, "trained"), (1e3, "diverged")
    ]  # fmt: skip
    assert found.best.about["rate"] == 0.01
    told = results(place / "whole")
    assert (told["jobs"], told["edges"]) == (2, [{"warmup": 0, "largest_trained": 0.01, "smallest_diverged": 1e3}])
    names = sorted(path.name for path in (place / "whole").iterdir())
    assert names == ["arms", "config.toml", "results.json", "study.json", "study.lock"]


def test_what_has_finished_is_not_run_again(place, monkeypatch):
    monkeypatch.setattr(sys, "executable", "/no/such/python")
    config = small_config(place, steps=STEPS)
    news = []
    again = lr_sweep(config, place / "whole", rates=RATES, warmups=[0], jobs=2, told=lambda done, one: news.append(one))
    assert again == Sweep.load(place / "whole")
    assert len(news) == 3


@pytest.mark.parametrize("stop", [signal.SIGKILL, pytest.param(signal.SIGINT, marks=pytest.mark.slow)])
def test_a_stopped_sweep_goes_on_and_ends_alike(place, tmp_path, stop):
    words = ["--config", place / "run.toml", "--rates", "0.001,0.01,1e3", "--warmups", "0", "--jobs", "2"]
    command = [sys.executable, "-m", "cs336", "experiment", "lr-sweep", *words, "--output", tmp_path / "broken"]
    process = subprocess.Popen(list(map(str, command)), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 120
    while not list((tmp_path / "broken").glob("arms/*/checkpoints/step-*")):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(stop)
    printed, said = process.communicate(timeout=60)
    kept = list((tmp_path / "broken").glob("arms/*/result.json"))
    assert len(kept) < 3
    if stop == signal.SIGINT:
        assert process.returncode == 130
        assert "Go on with: cs336 experiment lr-sweep --config" in said
        statuses = [one.status for one in Sweep.load(tmp_path / "broken").outcomes]
        assert "unfinished" in statuses
        assert "unfinished" in printed
    lr_sweep(small_config(place, steps=STEPS), tmp_path / "broken", rates=RATES, warmups=[0], jobs=2)
    assert results(tmp_path / "broken") == results(place / "whole")


def test_another_configuration_is_refused_by_name(place):
    other = small_config(place, steps=STEPS + 1, weight_decay=0.5)
    with pytest.raises(ConfigError, match=r"optimizer\.weight_decay \(0\.1 there, 0\.5 now\)") as caught:
        lr_sweep(other, place / "whole", rates=RATES)
    assert "training.steps (120 there, 121 now)" in str(caught.value)


def test_another_experiment_and_a_foreign_folder_are_refused(place, tmp_path):
    config = small_config(place, steps=STEPS)
    with pytest.raises(ConfigError, match="holds the experiment lr-sweep, not ablation"):
        ablation(config, place / "whole", variants=["tied"])
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(ConfigError, match="is not empty, and holds no study"):
        lr_sweep(config, tmp_path)
    with pytest.raises(ConfigError, match="asked for twice"):
        lr_sweep(config, place / "whole", rates=[0.1, 0.1])
    with pytest.raises(ConfigError, match="nothing to run"):
        lr_sweep(config, place / "whole", rates=[])
    with FileLock(place / "whole" / "study.lock"), pytest.raises(ConfigError, match="another process runs a study"):
        lr_sweep(config, place / "whole", rates=RATES)


def test_changed_tokens_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "executable", "/no/such/python")
    config = small_config(tmp_path, steps=5)
    with pytest.raises(FileNotFoundError):
        lr_sweep(config, tmp_path / "sweep", rates=[0.1], warmups=[0])
    np.save(tmp_path / "valid.npy", np.zeros(500, np.uint16))
    with pytest.raises(ConfigError, match=r"valid\.npy has changed since"):
        lr_sweep(config, tmp_path / "sweep", rates=[0.1], warmups=[0])


def test_a_process_that_dies_is_the_error_of_its_arm(tmp_path, monkeypatch):
    dying = tmp_path / "dying"
    dying.write_text("#!/bin/sh\necho 'all is lost' >&2\nexit 3\n")
    dying.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(dying))
    found = lr_sweep(small_config(tmp_path, steps=5), tmp_path / "sweep", rates=[0.1, 0.2], warmups=[0], jobs=1)
    assert [(one.status, one.reason) for one in found.outcomes] == [
        ("failed", "the process of this run has died: exit status 3; it said last: all is lost")
    ] * 2
    assert Sweep.load(tmp_path / "sweep") == found
