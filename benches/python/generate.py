"""Generate text with and without our cache and with transformers, side by side, and print times and ratios.

The same weights: our model, and what `export_model` makes of it in transformers. Greedy, so that all must give the same
tokens, which is checked where the whole fits the context. Rounds are interleaved, so that a slow minute of the machine
hits everybody; what counts is the median of the rounds' ratios. Prefilling is part of the time.

On a busy machine, processor time on one thread says more than the clock on the wall: --clock cpu --threads 1.

    python benches/python/generate.py --output results
    python benches/python/generate.py --preset openai-gpt2-small --batch-size 1 --batch-size 8 --device cuda
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from cs336.config import PRESETS, preset
from cs336.generation import generate_batch
from cs336.interop.models import export_model
from cs336.nn import TransformerLM

Task = Callable[[list[list[int]]], list[list[int]]]


class Numbers:
    """A tokenizer whose texts are ids as numbers, so that no time goes into text."""

    def __init__(self, vocab_size: int) -> None:
        self.vocab = dict.fromkeys(range(vocab_size), b"")

    def encode(self, text: str) -> list[int]:
        return list(map(int, text.split()))

    def token_to_id(self, token: str) -> int | None:
        return None

    def decode_stream(self) -> Numbers:
        return self

    def push(self, token_id: int) -> str:
        return f"{token_id} "

    def finish(self) -> str:
        return ""


@dataclass
class Result:
    """One contender on one batch size: seconds of the median round."""

    batch_size: int
    contender: str
    seconds: float
    tokens_per_second: float
    times_as_long: float
    """As cs336 with its cache; the median of the rounds' ratios."""


def ours(model: TransformerLM, new: int, use_cache: bool) -> Task:
    """Our loop."""
    tokenizer = Numbers(model.config.vocab_size)

    def run(prompts: list[list[int]]) -> list[list[int]]:
        texts = [" ".join(map(str, prompt)) for prompt in prompts]
        settings: dict[str, Any] = {"temperature": 0, "max_new_tokens": new, "use_cache": use_cache, "stop": None}
        return [tokenizer.encode(text) for text in generate_batch(model, tokenizer, texts, **settings)]

    return run


def theirs(model: TransformerLM, new: int, device: str) -> Task:
    """transformers' generate, with its own cache."""
    from transformers import AutoModelForCausalLM

    with tempfile.TemporaryDirectory() as folder:
        export_model(model, None, Path(folder) / "model")
        loaded: Any = AutoModelForCausalLM.from_pretrained(Path(folder) / "model")
    loaded = loaded.to(device).eval()

    def run(prompts: list[list[int]]) -> list[list[int]]:
        ids = torch.tensor(prompts, device=device)
        settings: dict[str, Any] = {"max_new_tokens": new, "min_new_tokens": new, "do_sample": False, "pad_token_id": 0}
        found = loaded.generate(ids, attention_mask=torch.ones_like(ids), **settings)
        return [list(map(int, row)) for row in found[:, ids.shape[1] :]]

    return run


CLOCKS: dict[str, Callable[[], float]] = {"wall": time.perf_counter, "cpu": time.process_time}


def compare(
    contenders: dict[str, Task], prompts: list[list[int]], rounds: int, warm_up: bool, clock: Callable[[], float]
) -> list[Result]:
    """Every contender once a round, after one round that does not count."""
    times: dict[str, list[float]] = {name: [] for name in contenders}
    for number in range(rounds + warm_up):
        given = {}
        for name, task in contenders.items():
            start = clock()
            given[name] = task(prompts)
            if number >= warm_up:
                times[name].append(clock() - start)
        first = next(iter(given.values()))
        for name, tokens in given.items():
            if tokens != first:
                raise RuntimeError(f"{name} gives other tokens than cs336")
    tokens = sum(map(len, first))
    base = times["cs336"]
    return [
        Result(
            batch_size=len(prompts),
            contender=name,
            seconds=statistics.median(mine),
            tokens_per_second=tokens / statistics.median(mine),
            times_as_long=statistics.median(one / our for one, our in zip(mine, base, strict=True)),
        )
        for name, mine in times.items()
    ]


def markdown(results: list[Result]) -> str:
    """The results as a table."""
    lines = ["| batch | contender | seconds | tokens/s | times as long as cs336 |", "|---|---|---|---|---|"]
    for one in results:
        cells = (one.batch_size, one.contender, f"{one.seconds:.3g}", f"{one.tokens_per_second:.4g}")
        lines.append(f"| {' | '.join(map(str, cells))} | {one.times_as_long:.2f} |")
    return "\n".join(lines)


def main() -> None:
    """Read the command line, measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", default="tinystories-2025", choices=list(PRESETS))
    parser.add_argument("--context-length", type=int, default=512, help="of the model; prompt and text must fit")
    parser.add_argument("--prompt-tokens", type=int, default=16)
    parser.add_argument("--new-tokens", type=int, default=256)
    parser.add_argument("--batch-size", type=int, action="append", help="default: 1 and 8")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--no-warm-up", action="store_true", help="count the first round, too")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--clock", choices=list(CLOCKS), default="wall")
    parser.add_argument("--json", action="store_true", help="print JSON and nothing else")
    parser.add_argument("--output", type=Path, help="write OUTPUT.md and OUTPUT.json")
    options = parser.parse_args()
    if options.prompt_tokens + options.new_tokens > options.context_length:
        parser.error("prompt and new tokens must fit the context, where transformers' models end")
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    model = TransformerLM(preset(options.preset, context_length=options.context_length)).to(options.device).eval()
    contenders = {
        "cs336": ours(model, options.new_tokens, use_cache=True),
        "cs336 without its cache": ours(model, options.new_tokens, use_cache=False),
        "transformers": theirs(model, options.new_tokens, options.device),
    }
    results = []
    for batch_size in options.batch_size or [1, 8]:
        prompts = torch.randint(model.config.vocab_size, (batch_size, options.prompt_tokens)).tolist()
        results += compare(contenders, prompts, options.rounds, not options.no_warm_up, CLOCKS[options.clock])
        if not options.json:
            print(markdown(results), flush=True)
    facts = {
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, {platform.platform()}",
        "versions": {name: version(name) for name in ("torch", "transformers")},
        "settings": {name: str(value) for name, value in vars(options).items()},
        "results": [asdict(one) for one in results],
    }
    if options.json:
        print(json.dumps(facts, indent=1))
    if options.output:
        options.output.with_suffix(".json").write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")
        options.output.with_suffix(".md").write_text(markdown(results) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
