"""Trains a run in children that it kills at random moments, each going on from what the one before has left.

    python killer.py CONFIG.toml RUN KILLS SEED

Trains `whole` beside RUN first, unbroken, to know how long that takes. Prints a JSON line for each kill. It is a
program of its own because it forks: torch must have computed nothing before, and is imported once for all children.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time
from pathlib import Path

import matplotlib.figure  # noqa: F401  what a run imports late is here before the children are
import torch

from cs336.optim import AdamW
from cs336.training import load_config, train


def start(config_path: Path, run: Path) -> int:
    """Begins the run, or goes on with it, in a child; returns its process id."""
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            train(load_config(config_path), run, resume=(run / "config.toml").exists())
            status = 0
        finally:
            os._exit(status)
    return pid


def finish(pid: int) -> None:
    _, status = os.waitpid(pid, 0)
    assert status == 0, f"a child failed with {status}"


def state(run: Path) -> dict[str, object]:
    """How far a run is, by what stands in its folder."""
    log = run / "metrics.jsonl"
    return {
        "rows": log.read_text("utf-8").count("\n") if log.exists() else 0,
        "checkpoints": sorted(path.name for path in run.glob("checkpoints/step-*")),
        # Without looking into them: they may be renamed at any moment.
        "half_written": sorted(path.name for level in ("", "checkpoints/") for path in run.glob(f"{level}.aside-*")),
    }


def main(config_path: Path, run: Path, kills: int, seed: int) -> None:
    torch.set_num_threads(1)
    AdamW([torch.nn.Parameter(torch.zeros(1))])  # imports what the first optimizer imports
    started = time.perf_counter()
    finish(start(config_path, run.with_name("whole")))
    length = time.perf_counter() - started
    rng = random.Random(seed)
    for _ in range(kills):
        rows = state(run)["rows"]
        pid = start(config_path, run)
        if rng.random() < 0.8:  # else it may be killed before it has done anything
            while state(run)["rows"] == rows and os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
                time.sleep(0.001)
        # So that the kills are spread over the whole run.
        time.sleep(rng.uniform(0, 1.5 * length / kills))
        os.kill(pid, signal.SIGKILL)
        _, status = os.waitpid(pid, 0)
        if status == 0:
            break  # It was done before.
        assert os.WTERMSIG(status) == signal.SIGKILL, f"a child failed with {status}"
        print(json.dumps(state(run)), flush=True)
    finish(start(config_path, run))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]))
