"""All that needs a GPU, in one run of a few minutes that ends with a table: python tests/gpu/check.py

It takes what is installed of cs336, or else a wheel (--wheel, or the newest in dist/), or else the sources beside it,
and needs torch, numpy, filelock, safetensors and matplotlib; no network, no Rust, no pydantic, no tokenizer. The exit
status is 1 where a row failed. Without a GPU every row is skipped, and the status is 0. --device cpu runs what can run
there, in small, which tests this program and no GPU.
"""

from __future__ import annotations

import argparse
import atexit
import gc
import importlib.util
import json
import math
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

if TYPE_CHECKING:
    from cs336.config import ModelConfig
    from cs336.training import RunConfig
    from cs336.training.loop import Run

ROOT = Path(__file__).resolve().parents[2]


class SkippedError(Exception):
    """Why a row can't be had here."""


class WrongError(Exception):
    """What is not as it should be."""


@dataclass(frozen=True)
class Bench:
    """Where the rows are computed, and how large."""

    device: str
    folder: Path
    """For token files and runs."""
    small: bool = False
    """Tiny shapes and few steps, for the tests of this program."""
    patience: float = 180
    """For a process that does a part of a row. [seconds]"""

    @property
    def on_cuda(self) -> bool:
        return self.device.startswith("cuda")


@dataclass
class Row:
    """One line of the table."""

    name: str
    status: str
    """ok, FAILED or skipped."""
    seconds: float
    text: str
    figures: dict[str, Any] = field(default_factory=dict)


Figures = dict[str, Any]
Check = Callable[[Bench], tuple[str, Figures]]

# Finding the package


def find_package(wheel: Path | None) -> str:
    """Makes cs336 importable, here and in processes that are started from here; says where it was found."""
    if wheel is None and importlib.util.find_spec("cs336") is not None:
        return "installed"
    wheels = sorted((ROOT / "dist").glob("cs336-*.whl"), key=lambda path: path.stat().st_mtime)
    wheel = wheel or (wheels[-1] if wheels else None)
    place = ROOT / "python"
    if wheel is not None:
        place = Path(tempfile.mkdtemp(prefix="cs336-wheel-"))
        atexit.register(shutil.rmtree, place, ignore_errors=True)
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(place)
    sys.path.insert(0, str(place))
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(place), os.environ.get("PYTHONPATH")]))
    return str(wheel or place)


# Runs


def model_of(bench: Bench, name: str) -> ModelConfig:
    """A known model, or a tiny one of its kind."""
    from cs336 import config

    if not bench.small:
        return config.preset(name)
    return config.preset(name, vocab_size=64, context_length=16, d_model=32, d_ff=64, num_layers=2, num_heads=2)


def configure(
    bench: Bench, model: ModelConfig, *, optimizer: dict[str, Any] | None = None, **training: Any
) -> RunConfig:
    """A run on tokens that can be learned: a walk over the vocabulary in steps of 1 to 3."""
    from cs336.training import DataConfig, OptimizerConfig, RunConfig, TrainingConfig

    path = bench.folder / f"walk-{model.vocab_size}.npy"
    if not path.exists():
        steps = np.random.default_rng(0).integers(1, 4, size=200_000 if bench.small else 4_000_000)
        np.save(path, (np.cumsum(steps) % model.vocab_size).astype(np.uint16))
    settings = {"steps": 1000, "device": bench.device} | training
    return RunConfig(
        model=model,
        data=DataConfig(train=str(path), valid=str(path)),
        optimizer=OptimizerConfig(**(optimizer or {})),
        training=TrainingConfig(**settings),
    )


@contextmanager
def running(config: RunConfig, folder: Path) -> Iterator[Run]:
    """A run whose steps are taken one by one, and whose memory is given back."""
    from cs336.training.distributed import World
    from cs336.training.loop import Run, say_nothing
    from cs336.training.run import RunFolder

    try:
        yield Run(config, RunFolder(folder), None, World(), say_nothing)
    finally:
        if config.training.compile:
            torch.compiler.reset()
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


def losses_of(bench: Bench, config: RunConfig, steps: int) -> list[float]:
    """Of the first steps the losses and the gradients' norms, up to a step that float16 leaves out: its gradient did
    not fit."""
    found = []
    with running(config, bench.folder / "none") as run:
        for step in range(1, steps + 1):
            row = run.stepper.step(step)
            found += [row["loss"]] if row["grad_norm"] is None else [row["loss"], row["grad_norm"]]
            if row["grad_norm"] is None:
                break
    return found


def difference(mine: list[float], theirs: list[float]) -> float:
    """The greatest relative difference, as far as both go."""
    return max(abs(one - other) / abs(other) for one, other in zip(mine, theirs, strict=False))


def expect_close(what: str, mine: list[float], theirs: list[float], most: float) -> float:
    """Refuses losses that are not finite or differ by more than a part of themselves."""
    found = difference(mine, theirs) if all(map(math.isfinite, [*mine, *theirs])) else math.nan
    if not found <= most:
        raise WrongError(f"{what}: losses differ by {found:.2g} of themselves, more than {most:g}: {mine} and {theirs}")
    return found


# Rows

FLOAT32 = 1e-4  # What another order of sums makes of a loss in a few steps, and far below what a mistake makes of it.


def check_cpu(bench: Bench) -> tuple[str, Figures]:
    """The same losses as on the CPU, in float32."""
    model = model_of(bench, "tinystories-2025")
    here, there = (
        losses_of(bench, configure(bench, model, batch_size=4, device=device), steps=3)
        for device in (bench.device, "cpu")
    )
    # Losses only: the CPU adds up the squares of a norm in float32, one after the other, and so less exactly.
    found = expect_close(f"{bench.device} and cpu", here[::2], there[::2], FLOAT32)
    return f"losses of 3 steps differ by {found:.1e}", {"difference": found}


PRECISIONS = {"tf32": 3e-3, "bfloat16": 2e-2, "float16": 3e-3}
"""By type: how far the losses of a few steps may be from float32's. Mantissas of 10, 7 and 10 bits."""


def check_precisions(bench: Bench) -> tuple[str, Figures]:
    """Narrow types train as float32 does."""
    model = model_of(bench, "tinystories-2025")
    kinds = [kind for kind in PRECISIONS if bench.on_cuda or kind == "bfloat16"]
    losses = {
        kind: losses_of(bench, configure(bench, model, batch_size=16, dtype=kind), steps=10)
        for kind in ["float32", *kinds]
    }
    figures = {kind: expect_close(kind, losses[kind], losses["float32"], PRECISIONS[kind]) for kind in kinds}
    return ", ".join(f"{kind} {found:.1e}" for kind, found in figures.items()) + " from float32", figures


def check_compiled(bench: Bench) -> tuple[str, Figures]:
    """The compiled model computes what the eager one does."""
    model = model_of(bench, "tinystories-2025")
    eager, compiled = (
        losses_of(bench, configure(bench, model, batch_size=8, compile=switch), steps=4) for switch in (False, True)
    )
    found = expect_close("compiled and eager", compiled, eager, FLOAT32)
    return f"losses of 4 steps differ by {found:.1e}", {"difference": found}


def check_resume(bench: Bench) -> tuple[str, Figures]:
    """A run that is killed goes on, and ends bit for bit as an unbroken one."""
    whole, broken = bench.folder / "whole", bench.folder / "broken"
    child("resume", bench, whole)
    child("resume", bench, broken, "--kill-at", "7", status=-signal.SIGKILL)
    if (broken / "checkpoints" / "step-00000012").exists():
        raise WrongError("the run was not killed")
    child("resume", bench, broken)
    compare_ends(whole, broken)
    return "killed at step 7 of 12, the same end bit for bit", {}


def go_on(bench: Bench, run_folder: Path, kill_at: int | None) -> None:
    """Trains a run, or goes on with it; killed at a step, as soon as there is a checkpoint to go on from."""
    from cs336.config import ModelConfig
    from cs336.training.distributed import World
    from cs336.training.loop import Run
    from cs336.training.run import RunFolder

    model = ModelConfig(
        vocab_size=64, context_length=64, d_model=64, num_layers=2, num_heads=2, residual_pdrop=0.1, attn_pdrop=0.1
    )
    dtype = "bfloat16" if bench.on_cuda else "float32"
    settings = {"eval_every": 5, "eval_batches": 2, "checkpoint_every": 4, "deterministic": True, "dtype": dtype}
    config = configure(bench, model, batch_size=8, steps=12, **settings)
    folder = RunFolder(run_folder)
    folder.path.mkdir(exist_ok=True)

    def report(row: dict[str, Any]) -> None:
        if row.get("step") == kill_at:
            while not list(folder.checkpoints.glob("step-*")):
                time.sleep(0.01)
            os.kill(os.getpid(), signal.SIGKILL)

    Run(config, folder, None, World(), report).go(accepted={})


def compare_ends(whole: Path, broken: Path) -> None:
    """Refuses runs that differ in weights, optimizer, random states or the rows of their logs."""
    from cs336.training.metrics import read_rows

    clocks = ("seconds", "tokens_per_second", "mfu")
    last = [run / "checkpoints" / "step-00000012" for run in (whole, broken)]
    if len({(checkpoint / "model.safetensors").read_bytes() for checkpoint in last}) != 1:
        raise WrongError("the weights differ after a kill")
    states = [torch.load(checkpoint / "state.pt", weights_only=True) for checkpoint in last]
    if not is_same(*states):
        raise WrongError("optimizer or random states differ after a kill")
    logs = [
        [{key: value for key, value in row.items() if key not in clocks} for row in read_rows(run / "metrics.jsonl")]
        for run in (whole, broken)
    ]
    if logs[0] != logs[1]:
        raise WrongError("the logs differ after a kill")


def is_same(mine: Any, theirs: Any) -> bool:
    """Equal down to bits."""
    if isinstance(mine, torch.Tensor):
        return mine.dtype == theirs.dtype and torch.equal(mine, theirs)
    if isinstance(mine, dict):
        return mine.keys() == theirs.keys() and all(is_same(mine[key], theirs[key]) for key in mine)
    if isinstance(mine, list | tuple):
        return len(mine) == len(theirs) and all(map(is_same, mine, theirs))
    return bool(mine == theirs)


def check_distributed(bench: Bench) -> tuple[str, Figures]:
    """DDP in one process, through the library that connects several (nccl), computes what the plain model does."""
    found = json.loads(child("distributed", bench, bench.folder / "none").splitlines()[-1])
    backend = "nccl" if bench.on_cuda else "gloo"
    expect_close(f"DDP by {backend} and none", found["ddp"], found["plain"], FLOAT32)
    return f"{backend}: losses of 3 steps differ by {difference(found['ddp'], found['plain']):.1e}", found


def distributed_losses(bench: Bench) -> Figures:
    """Losses with DDP and without, in a process that has joined itself."""
    import torch.distributed as dist

    from cs336.training.distributed import World, parallel

    config = configure(bench, model_of(bench, "tinystories-2025"), batch_size=4, grad_accumulation=2)
    plain = losses_of(bench, config, steps=3)
    store = dist.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    dist.init_process_group("nccl" if bench.on_cuda else "gloo", store=store, rank=0, world_size=1)
    try:
        with running(config, bench.folder / "none") as run:
            # Of two, so that the model is wrapped; the group that was joined has one.
            run.stepper.wrapped = run.stepper.forward = parallel(run.stepper.model, World(size=2), "ddp", run.device)
            rows = [run.stepper.step(step) for step in (1, 2, 3)]
            return {"plain": plain, "ddp": [row[key] for row in rows for key in ("loss", "grad_norm")]}
    finally:
        dist.destroy_process_group()


def peak_of(run: Run) -> int:
    """The most memory that PyTorch has held in a step, after one that prepares."""
    run.stepper.step(1)
    torch.cuda.reset_peak_memory_stats(run.device)
    run.stepper.step(2)
    return torch.cuda.max_memory_allocated(run.device)


MEMORY_RUNS = (
    ("tinystories-2025", 32, "float32"),
    ("tinystories-2025", 128, "bfloat16"),
    ("gpt2-small", 8, "bfloat16"),
)


def check_memory(bench: Bench, peak: Callable[[Run], int] = peak_of) -> tuple[str, Figures]:
    """The peak of a step's memory against what the accounting predicts."""
    from cs336.training.rehearsal import expected_bytes

    if not bench.on_cuda and peak is peak_of:
        raise SkippedError("PyTorch counts memory on CUDA only")
    figures = {}
    for name, batch, dtype in MEMORY_RUNS:
        config = configure(bench, model_of(bench, name), batch_size=2 if bench.small else batch, dtype=dtype)
        with running(config, bench.folder / "none") as run:
            measured = peak(run)
        figures[f"{name} {batch} {dtype}"] = {
            "measured": measured,
            "expected": expected_bytes(config, 1, bench.device.partition(":")[0]),
        }
    text = ", ".join(
        f"{name}: {found['measured'] / 1e9:.2f} of {found['expected'] / 1e9:.2f} GB" for name, found in figures.items()
    )
    if not all(2 / 3 <= found["measured"] / found["expected"] <= 3 / 2 for found in figures.values()):
        raise WrongError(f"measured and predicted memory differ by more than a half: {text}")
    return text, figures


SPEED_RUNS = {"gpt2-small": ("MFU", 0.45), "tinystories-2025": ("tokens/s", 1.2e6)}
"""By model: what is aimed at on one H100 or H200, which does not decide whether the row is ok."""


def check_speed(bench: Bench, name: str) -> tuple[str, Figures]:
    """Tokens a second and MFU of a compiled model in bfloat16: the median of many steps."""
    model = model_of(bench, name)
    batch = 2 if bench.small else fitting_batch(bench, model)
    config = configure(bench, model, batch_size=batch, dtype="bfloat16", compile=not bench.small)
    with running(config, bench.folder / "none") as run:
        for step in range(1, 9):  # the first compile and choose kernels
            run.stepper.advance(step)
        rows, started = [], time.perf_counter()
        while len(rows) < 10 or (time.perf_counter() - started < 20 and not bench.small):
            rows += run.stepper.advance(9 + len(rows))
    speed = statistics.median(row["tokens_per_second"] for row in rows)
    mfu = None if rows[0]["mfu"] is None else statistics.median(row["mfu"] for row in rows)
    unit, aim = SPEED_RUNS[name]
    text = f"{speed:,.0f} tokens/s, MFU {'unknown' if mfu is None else f'{mfu:.1%}'}, batch {batch}, {len(rows)} steps"
    aimed = f" (aim: {aim:.0%} MFU)" if unit == "MFU" else f" (aim: {aim:,.0f} tokens/s)"
    return text + aimed, {"tokens_per_second": speed, "mfu": mfu, "batch": batch, "steps": len(rows)}


def fitting_batch(bench: Bench, model: ModelConfig) -> int:
    """A power of two, up to 131,072 tokens, that fits into two thirds of the memory as the accounting counts it."""
    from cs336.accounting import training_memory

    free = torch.cuda.mem_get_info(torch.device(bench.device))[0]
    fits = training_memory(model, counting="autograd", dtype="bfloat16").largest_batch(free * 2 // 3)
    if fits < 1:
        raise SkippedError(f"not one sequence fits into {free / 1e9:.1f} GB")
    return 2 ** int(math.log2(min(fits, 131_072 // model.context_length)))


CHECKS: dict[str, Check] = {
    "CUDA = CPU": check_cpu,
    "types": check_precisions,
    "resume": check_resume,
    "DDP": check_distributed,
    "memory": check_memory,
    "compiled = eager": check_compiled,
    "speed 17M": lambda bench: check_speed(bench, "tinystories-2025"),
    "speed gpt2-small": lambda bench: check_speed(bench, "gpt2-small"),
}

# Running them


def child(work: str, bench: Bench, folder: Path, *options: str, status: int = 0) -> str:
    """Does a part of a row in a process of its own; gives what it printed."""
    words = [sys.executable, __file__, "--child", work, "--device", bench.device, "--folder", str(bench.folder)]
    words += ["--run", str(folder), *(["--small"] if bench.small else []), *options]
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=bench.patience)
    if done.returncode != status:
        last = (done.stderr.strip() or "nothing was said").splitlines()[-1]
        raise WrongError(f"the process for {work} ended with {done.returncode} instead of {status}: {last}")
    return done.stdout


def run_check(name: str, check: Check, bench: Bench) -> Row:
    """One row, whatever comes of it."""
    started = time.perf_counter()
    figures: Figures = {}
    try:
        text, figures = check(bench)
        status = "ok"
    except SkippedError as reason:
        status, text = "skipped", str(reason)
    except WrongError as reason:
        status, text = "FAILED", str(reason)
    except Exception as error:
        status, text = "FAILED", f"{type(error).__name__}: {' '.join(str(error).split())}"
    return Row(name, status, time.perf_counter() - started, text, figures)


def run_all(
    bench: Bench | None, budget: float, say: Callable[[str], None] = print, only: list[str] | None = None
) -> list[Row]:
    """All rows, or some; without a bench, and when the time is up, they are skipped."""
    started, rows = time.perf_counter(), []
    for name, check in CHECKS.items():
        if only and name not in only:
            continue
        if bench is None:
            rows.append(Row(name, "skipped", 0.0, "no CUDA device"))
        elif time.perf_counter() - started > budget:
            rows.append(Row(name, "skipped", 0.0, f"{budget:.0f} seconds were over"))
        else:
            say(f"{name} ...")
            rows.append(run_check(name, check, bench))
            say(f"{name}: {rows[-1].status}")
    return rows


def table(rows: list[Row]) -> str:
    """The rows below each other."""
    width = max(len(row.name) for row in rows)
    return "\n".join(f"{row.name:<{width}}  {row.status:<7}  {row.seconds:5.1f} s  {row.text}" for row in rows)


def describe() -> str:
    """The machine."""
    card = torch.cuda.get_device_name() if torch.cuda.is_available() else "no CUDA device"
    return f"{card}; torch {torch.__version__}, Python {sys.version.split()[0]}"


def main(words: list[str] | None = None) -> int:
    """The command; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--wheel", type=Path, help="a wheel of cs336 to take")
    parser.add_argument("--json", type=Path, help="where to write the figures, too")
    parser.add_argument("--budget", type=float, default=330, help="seconds after which no row is begun")
    parser.add_argument("--only", action="append", choices=list(CHECKS), help="this row, and others named so")
    parser.add_argument("--small", action="store_true", help="tiny shapes")
    for hidden in ("--child", "--run", "--folder", "--kill-at"):
        parser.add_argument(hidden, help=argparse.SUPPRESS)
    options = parser.parse_args(words)
    origin = find_package(options.wheel)
    if options.child:
        bench = Bench(options.device, Path(options.folder), options.small)
        if options.child == "resume":
            go_on(bench, Path(options.run), options.kill_at and int(options.kill_at))
        else:
            print(json.dumps(distributed_losses(bench)))
        return 0
    print(f"{describe()}; cs336: {origin}", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        there = options.device == "cpu" or torch.cuda.is_available()
        bench = Bench(options.device, Path(folder), options.small or options.device == "cpu") if there else None
        rows = run_all(bench, options.budget, lambda text: print(text, flush=True), options.only)
    print(f"\n{table(rows)}")
    if options.json is not None:
        figures = [vars(row) for row in rows]
        options.json.write_text(json.dumps({"machine": describe(), "rows": figures}, indent=1) + "\n", encoding="utf-8")
    return int(any(row.status == "FAILED" for row in rows))


if __name__ == "__main__":
    sys.exit(main())
