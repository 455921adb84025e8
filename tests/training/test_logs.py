"""Logs beside metrics.jsonl, and pictures of several runs."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from runs import changed, rows_of

from cs336.accounting import flops_per_token
from cs336.errors import MissingDependencyError
from cs336.training import make_config, step, train
from cs336.training.metrics import read_rows
from cs336.training.plot import Curves, draw_runs
from cs336.training.run import peak_flops

ROWS = [
    {"step": 1, "tokens": 32, "loss": 3.0, "seconds": 0.5},
    {"step": 2, "tokens": 64, "loss": 2.5, "seconds": 0.25},
    {"step": 2, "valid_loss": 2.6, "seconds": 100.0},
    {"step": 3, "tokens": 96, "loss": 2.0, "seconds": 0.5},
]


@pytest.mark.parametrize(
    ("by", "places", "at_validation"),
    [("step", [1, 2, 3], 2), ("tokens", [32, 64, 96], 64), ("time", [0.5, 0.75, 1.25], 0.75)],
)
def test_points_along_steps_tokens_and_time(by: Any, places: list[float], at_validation: float) -> None:
    curves = Curves("run", ROWS)
    assert curves.training(by) == list(zip(places, [3.0, 2.5, 2.0], strict=True))
    assert curves.validation(by) == [(at_validation, 2.6)]  # evaluations take no time of training


def test_mfu_is_known_only_where_the_peak_is(
    raw: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = make_config(raw)
    train(config, tmp_path / "unknown")
    monkeypatch.setattr(step, "peak_flops", lambda device, dtype: 1e9)
    train(config, tmp_path / "known")
    assert {row["mfu"] for row in read_rows(tmp_path / "unknown/metrics.jsonl") if "loss" in row} == {None}
    for row in read_rows(tmp_path / "known/metrics.jsonl"):
        if "loss" in row:
            assert row["mfu"] == pytest.approx(row["tokens_per_second"] * flops_per_token(config.model) / 1e9)
    assert peak_flops(torch.device("cpu"), "float32") is None
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "NVIDIA H100 80GB HBM3")
    assert peak_flops(torch.device("cuda"), "bfloat16") == 989.4e12
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "NVIDIA Abacus")
    assert peak_flops(torch.device("cuda"), "bfloat16") is None


def test_several_runs_in_one_picture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from matplotlib.figure import Figure

    legends: list[list[str]] = []
    real = Figure.savefig

    def savefig(self: Figure, *args: Any, **options: Any) -> None:
        legends.append(self.axes[0].get_legend_handles_labels()[1])
        real(self, *args, **options)

    monkeypatch.setattr(Figure, "savefig", savefig)
    draw_runs([Curves("one", ROWS), Curves("two", ROWS[:2]), Curves("none", [])], tmp_path / "a.png", by="time")
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
    assert legends == [["one, 2.600 at the end", "two: training"]]


@pytest.mark.parametrize(("package", "value"), [("tensorboard", True), ("wandb", "offline")])
def test_what_is_not_installed_is_said_before_anything_is_written(
    raw: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, package: str, value: Any
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingDependencyError, match=rf"pip install 'cs336\[{package}\]'"):
        train(make_config(changed(raw, "training", **{package: value})), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def stop(row: dict[str, Any]) -> None:
    if row["step"] == 7:
        os.kill(os.getpid(), signal.SIGTERM)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of packages that are not ours
def test_tensorboard_shows_each_step_once(raw: dict[str, Any], tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    config = make_config(changed(raw, "training", tensorboard=True))
    train(config, tmp_path / "run", report=stop)
    train(config, tmp_path / "run", resume=True)
    events = EventAccumulator(str(tmp_path / "run/tensorboard"))
    events.Reload()
    for tag, key in (("training/loss", "loss"), ("validation/valid_loss", "valid_loss")):
        shown = {event.step: event.value for event in events.Scalars(tag)}
        assert shown == pytest.approx({row["step"]: row[key] for row in rows_of(tmp_path / "run") if key in row})


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_weights_and_biases_offline(raw: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_SILENT", "true")
    config = make_config(changed(raw, "training", wandb="offline"))
    train(config, tmp_path / "run", report=stop)
    train(config, tmp_path / "run", resume=True)
    name = (tmp_path / "run/wandb-id").read_text("utf-8")
    written = list((tmp_path / "run/wandb").glob(f"offline-run-*/run-{name}.wandb"))
    assert len(written) == 2  # two parts of the same run there
    assert all(path.stat().st_size > 0 for path in written)
