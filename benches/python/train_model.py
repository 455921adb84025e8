"""Train the same model with every contender, side by side, and print tokens a second and ratios.

A step is forward pass, loss, backward pass, clipping to norm 1 and AdamW, in float32 unless told otherwise. Each
contender is a process of its own that lives through all rounds; rounds are interleaved, so that a slow minute of the
machine hits everybody, and what counts is the median of the rounds' ratios. Besides `cs336`, which is a step of our
training loop with all that belongs to it (drawing the batch, the row of the log):

    transformers  GPT2LMHeadModel and torch's AdamW            pip install transformers
    nanogpt       karpathy/nanoGPT's model and the step of its train.py, from a checkout named by --nanogpt

    python benches/python/train_model.py --nanogpt ~/nanoGPT --batch-size 8 --batch-size 32 --compile --output results
    python benches/python/train_model.py --nanogpt ~/nanoGPT --preset gpt2-small --batch-size 16 --device cuda \
        --dtype bfloat16 --compile
"""

from __future__ import annotations

import argparse
import dataclasses
import importlib.util
import json
import multiprocessing
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from side_by_side import facts, write

from cs336.accounting import mfu
from cs336.config import PRESETS, ModelConfig, preset

LEARNING_RATE, BETAS, WEIGHT_DECAY = 6e-4, (0.9, 0.95), 0.1

Step = Callable[[], Any]


@dataclass(frozen=True, kw_only=True)
class Job:
    """What every contender trains."""

    model: ModelConfig
    batch_size: int
    device: str
    dtype: str
    compile: bool
    nanogpt: Path | None
    settings: dict[str, str]
    """More keys of our optimizer or training, as `training.loss`."""


def cs336(job: Job, model: ModelConfig, folder: Path) -> Step:
    """A step of our loop, on random tokens."""
    import numpy as np

    from cs336.config import parse_value
    from cs336.training import DataConfig, OptimizerConfig, RunConfig, TrainingConfig
    from cs336.training.distributed import World
    from cs336.training.loop import Run, say_nothing
    from cs336.training.run import RunFolder

    tokens = np.random.default_rng(0).integers(0, model.vocab_size, size=1_000_000)
    np.save(folder / "train.npy", tokens.astype(np.uint16))
    sections: dict[str, dict[str, Any]] = {
        "optimizer": {"lr": LEARNING_RATE, "betas": BETAS, "weight_decay": WEIGHT_DECAY, "grad_clip": 1.0},
        "training": {
            "steps": 1_000_000,
            "batch_size": job.batch_size,
            "device": job.device,
            "dtype": job.dtype,
            "compile": job.compile,
        },
    }
    for key, value in job.settings.items():
        section, _, name = key.partition(".")
        sections[section][name.replace("-", "_")] = parse_value(value)
    config = RunConfig(
        model=model,
        data=DataConfig(train=str(folder / "train.npy")),
        optimizer=OptimizerConfig(**sections["optimizer"]),
        training=TrainingConfig(**sections["training"]),
    )
    run = Run(config, RunFolder(folder / "run"), None, World(), say_nothing)
    numbers = iter(range(1, 1_000_000))
    return lambda: run.stepper.advance(next(numbers))


def ours(job: Job, folder: Path) -> Step:
    """Our model as it comes."""
    return cs336(job, job.model, folder)


def ours_as_gpt2(job: Job, folder: Path) -> Step:
    """Our model with GPT-2's parts, so that it computes what the rivals compute."""
    as_gpt2 = dataclasses.replace(
        job.model, positions="learned", ffn="gelu_tanh", norm="layer", bias=True, tie_embeddings=True, d_ff=None
    )
    return cs336(job, as_gpt2, folder)


def ours_as_nanogpt(job: Job, folder: Path) -> Step:
    """The same without biases, as nanoGPT trains."""
    as_nanogpt = dataclasses.replace(
        job.model, positions="learned", ffn="gelu", norm="layer", bias=False, tie_embeddings=True, d_ff=None
    )
    return cs336(job, as_nanogpt, folder)


def transformers(job: Job, folder: Path) -> Step:
    """GPT-2 of Hugging Face, in the plainest step."""
    import torch
    from transformers import GPT2Config, GPT2LMHeadModel

    shape = job.model
    config = GPT2Config(
        vocab_size=shape.vocab_size, n_positions=shape.context_length, n_embd=shape.d_model, n_layer=shape.num_layers,
        n_head=shape.num_heads, resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0, use_cache=False,
    )  # fmt: skip
    model = GPT2LMHeadModel(config).to(job.device).train()
    optimizer = torch.optim.AdamW(model.parameters(), LEARNING_RATE, BETAS, weight_decay=WEIGHT_DECAY)
    forward = torch.compile(model) if job.compile else model

    def loss(inputs: Any, targets: Any) -> Any:
        return forward(input_ids=inputs, labels=inputs).loss  # it moves the labels itself

    return rivals_step(job, model, optimizer, loss)


def nanogpt(job: Job, folder: Path) -> Step:
    """nanoGPT, as its train.py makes and trains it from scratch: without dropout and biases."""
    import torch

    specification = importlib.util.spec_from_file_location("nanogpt_model", nanogpt_file(job.nanogpt))
    assert specification is not None
    assert specification.loader is not None
    module = sys.modules["nanogpt_model"] = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    shape = job.model
    config = module.GPTConfig(
        vocab_size=-(-shape.vocab_size // 64) * 64 if shape.vocab_size == 50257 else shape.vocab_size,  # as it does
        block_size=shape.context_length, n_embd=shape.d_model, n_layer=shape.num_layers, n_head=shape.num_heads,
        dropout=0.0, bias=False,
    )  # fmt: skip
    model = module.GPT(config).to(job.device)
    optimizer = model.configure_optimizers(WEIGHT_DECAY, LEARNING_RATE, BETAS, torch.device(job.device).type)
    forward = torch.compile(model) if job.compile else model
    return rivals_step(job, model, optimizer, lambda inputs, targets: forward(inputs, targets)[1])


def rivals_step(job: Job, model: Any, optimizer: Any, loss: Callable[[Any, Any], Any]) -> Step:
    """A step on a batch that is there already."""
    import torch

    torch.set_float32_matmul_precision("high" if job.dtype == "tf32" else "highest")
    shape = (job.batch_size, job.model.context_length + 1)
    windows = torch.randint(0, job.model.vocab_size, shape, device=job.device)
    inputs, targets = windows[:, :-1].contiguous(), windows[:, 1:].contiguous()
    narrow = {"bfloat16": torch.bfloat16, "float16": torch.float16}.get(job.dtype)

    def step() -> None:
        with torch.autocast(torch.device(job.device).type, narrow, enabled=narrow is not None):
            value = loss(inputs, targets)
        value.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    return step


CONTENDERS: dict[str, Callable[[Job, Path], Step]] = {
    "cs336": ours,
    "cs336 as GPT-2": ours_as_gpt2,
    "cs336 as nanoGPT": ours_as_nanogpt,
    "transformers": transformers,
    "nanogpt": nanogpt,
}
RIVALS = ("transformers", "nanogpt")


@dataclass
class Result:
    """One contender at one batch size: medians over the rounds."""

    batch_size: int
    compiled: bool
    contender: str
    tokens_per_second: float
    mfu: float | None
    peak_megabytes: float
    """Of the process; on CUDA of the device, as PyTorch counts."""
    ratios: dict[str, float]
    """For each rival how many times its speed this is."""


def work(contender: str, job: Job, pipe: Connection) -> None:
    """The process of a contender: prepares, then takes as many steps as it is told and answers how long they took."""
    import torch

    with tempfile.TemporaryDirectory() as folder:
        step = CONTENDERS[contender](job, Path(folder))
        on_cuda = torch.device(job.device).type == "cuda"
        while steps := pipe.recv():
            start = time.perf_counter()
            for _ in range(steps):
                step()
            if on_cuda:
                torch.cuda.synchronize()
            taken = time.perf_counter() - start
            pipe.send((taken, torch.cuda.max_memory_allocated() / 1e6 if on_cuda else peak_megabytes()))


def peak_megabytes() -> float:
    """The most memory that this process has held, or nan where the system does not tell."""
    try:
        import resource
    except ImportError:  # Windows
        return float("nan")
    unit = 1e6 if sys.platform == "darwin" else 1e3
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit


def measure(job: Job, contenders: list[str], rounds: int, steps: int) -> Iterator[Result]:
    """Every contender once a round, after two steps that prepare."""
    context = multiprocessing.get_context("spawn")
    pipes: dict[str, Connection] = {}
    processes = []
    for contender in contenders:
        pipes[contender], theirs = context.Pipe()
        processes.append(context.Process(target=work, args=(contender, job, theirs), daemon=True))
        processes[-1].start()
        theirs.close()
    times: dict[str, list[float]] = {contender: [] for contender in contenders}
    memory: dict[str, float] = {}
    for pipe in pipes.values():
        pipe.send(2)
    for pipe in pipes.values():  # all at once, since compilers take minutes
        pipe.recv()
    for _ in range(rounds):
        for contender, pipe in pipes.items():
            pipe.send(steps)
            taken, memory[contender] = pipe.recv()
            times[contender].append(taken / steps)
    for pipe, process in zip(pipes.values(), processes, strict=True):
        pipe.send(0)
        process.join()
    for contender, mine in times.items():
        speed = job.batch_size * job.model.context_length / statistics.median(mine)
        yield Result(
            batch_size=job.batch_size,
            compiled=job.compile,
            contender=contender,
            tokens_per_second=speed,
            mfu=utilization(job, speed),
            peak_megabytes=memory[contender],
            ratios={
                rival: statistics.median(their / my for their, my in zip(times[rival], mine, strict=True))
                for rival in RIVALS
                if rival in times
            },
        )


def utilization(job: Job, speed: float) -> float | None:
    """The share of a graphics card's peak, by the operations of our model: one yardstick for all."""
    import torch

    from cs336.training.run import peak_flops

    peak = peak_flops(torch.device(job.device), job.dtype)
    return None if peak is None else mfu(job.model, tokens_per_second=speed, peak_flops=peak)


def markdown(results: list[Result]) -> str:
    """The results as a table."""
    rivals = [rival for rival in RIVALS if any(rival in one.ratios for one in results)]
    lines = [
        f"| batch | compiled | contender | tokens/s | MFU | peak MB | {' | '.join(f'x {r}' for r in rivals)} |",
        "|---" * (6 + len(rivals)) + "|",
    ]
    for one in results:
        share = "" if one.mfu is None else f"{one.mfu:.1%}"
        ratios = " | ".join(f"{one.ratios[rival]:.2f}" for rival in rivals)
        lines.append(
            f"| {one.batch_size} | {'yes' if one.compiled else 'no'} | {one.contender} | {one.tokens_per_second:,.0f} "
            f"| {share} | {one.peak_megabytes:,.0f} | {ratios} |"
        )
    return "\n".join(lines)


def nanogpt_file(checkout: Path | None) -> Path:
    """The file of its model: the one that --nanogpt names, or that of the folder that it names."""
    path = checkout or Path()
    return path if path.suffix == ".py" else path / "model.py"


def choose(asked: list[str] | None, checkout: Path | None) -> list[str]:
    """The contenders that are there; the others are named."""
    there = {
        "transformers": importlib.util.find_spec("transformers") is not None,
        "nanogpt": checkout is not None and nanogpt_file(checkout).is_file(),
    }
    wanted = [name for name in CONTENDERS if asked is None or name == "cs336" or name in asked]
    missing = [name for name in wanted if not there.get(name, True)]
    if missing:
        print(f"not there, left out: {', '.join(missing)} (see --help)", file=sys.stderr)
    return [name for name in wanted if name not in missing]


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", choices=list(PRESETS), default="tinystories-2025", help="shape of the model")
    for name in ("num_layers", "d_model", "num_heads", "d_ff", "context_length", "vocab_size"):
        parser.add_argument(f"--{name.replace('_', '-')}", type=int, help="default: the preset's")
    parser.add_argument("--batch-size", type=int, action="append", help="default: 8, 32")
    parser.add_argument("--compile", action="store_true", help="measure with torch.compile, too")
    parser.add_argument("--only-compile", action="store_true", help="measure with torch.compile only")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", default="float32", choices=["float32", "tf32", "bfloat16", "float16"])
    parser.add_argument("--nanogpt", type=Path, help="a checkout of karpathy/nanoGPT, or its model.py")
    parser.add_argument("--contender", action="append", choices=list(CONTENDERS), help="only these, besides cs336")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="of our optimizer or training")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=3, help="a round")
    parser.add_argument("--json", action="store_true", help="print JSON instead of the table")
    parser.add_argument("--output", type=Path, help="write OUTPUT.md and OUTPUT.json")
    return parser.parse_args()


def main() -> None:
    """Measure, print and write."""
    options = parse()
    shape = {
        name: getattr(options, name)
        for name in ("num_layers", "d_model", "num_heads", "d_ff", "context_length", "vocab_size")
        if getattr(options, name) is not None
    }
    contenders = choose(options.contender, options.nanogpt)
    job = Job(
        model=preset(options.preset, **shape, residual_pdrop=0.0, attn_pdrop=0.0),
        batch_size=0,
        device=options.device,
        dtype=options.dtype,
        compile=False,
        nanogpt=options.nanogpt,
        settings=dict(setting.split("=", 1) for setting in options.set),
    )
    modes = [True] if options.only_compile else [False, True] if options.compile else [False]
    results: list[Result] = []
    for compiled in modes:
        for size in options.batch_size or [8, 32]:
            mine = dataclasses.replace(job, batch_size=size, compile=compiled)
            results += measure(mine, contenders, options.rounds, options.steps)
            if not options.json:
                print(markdown(results[-len(contenders) :]), flush=True)
    about = facts(
        ["cs336", "torch", "transformers"],
        model=asdict(job.model),
        device=options.device,
        dtype=options.dtype,
        rounds=options.rounds,
        steps=options.steps,
        results=[asdict(one) for one in results],
    )
    if options.json:
        print(json.dumps(about, indent=1))
    if options.output:
        write(options.output, markdown(results), about)


if __name__ == "__main__":
    main()
