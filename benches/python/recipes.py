"""Train small models by different recipes on the same tokens, and report bits per byte over a whole validation file.

Every recipe sees the same tokenizer, token files, context, tokens a step and steps, on one processor core. nanoGPT runs
its own train.py, where a copy of it is named:

    python benches/python/recipes.py stories-train.txt stories-valid.txt --output recipes --nanogpt ../nanoGPT
    python benches/python/recipes.py stories-train.txt stories-valid.txt --output tuning \\
        --recipe adamw --set optimizer.lr=0.002 --set optimizer.lr=0.004

A run that the output holds already is not done again. The folders of the runs stay under --work, for `cs336 plot`.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.util
import json
import os
import statistics
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch
from side_by_side import digest, facts, write
from torch import Tensor, nn

from cs336 import Tokenizer, train_bpe
from cs336.data import open_tokens
from cs336.training import evaluate, load_run, make_config, train

VOCABULARY, LAYERS, WIDTH, HEADS, CONTEXT, BATCH, WARMUP = 2000, 4, 128, 4, 128, 8, 20

Settings = dict[str, Any]

BASE: Settings = {
    "model.vocab_size": VOCABULARY, "model.context_length": CONTEXT, "model.d_model": WIDTH, "model.num_layers": LAYERS,
    "model.num_heads": HEADS, "optimizer.warmup_steps": WARMUP, "training.batch_size": BATCH, "training.device": "cpu",
}  # fmt: skip

ADAMW: Settings = {"optimizer.lr": 8e-3}
GPT2: Settings = {
    "model.positions": "learned", "model.norm": "layer", "model.ffn": "gelu", "model.tie_embeddings": True,
    "model.init": "gpt2",
}  # fmt: skip
MUON: Settings = {"optimizer.name": "muon", "optimizer.muon_lr": 0.02}
BETAS: Settings = {"optimizer.betas": [0.5, 0.98]}
WSD: Settings = {"optimizer.warmup_steps": 5, "optimizer.schedule": "wsd", "optimizer.decay_fraction": 0.6}
SPEEDRUN: Settings = (
    ADAMW | MUON | BETAS | WSD
    | {"model.zero_init": True, "model.value_residual": True, "model.qk_norm": True, "optimizer.embedding_lr": 0.1}
)  # fmt: skip

RECIPES: dict[str, Settings] = {
    "nanogpt": {"learning_rate": 4e-3},
    "gpt2": GPT2 | {"optimizer.lr": 4e-3},
    "adamw": ADAMW,
    "adamw_tuned": ADAMW | {"optimizer.betas": [0.7, 0.98]},
    "muon": ADAMW | MUON,
    "betas": ADAMW | BETAS,
    "wsd": ADAMW | WSD,
    "embedding_lr": ADAMW | {"optimizer.embedding_lr": 0.1},
    "zero_init": ADAMW | {"model.zero_init": True},
    "value_residual": ADAMW | {"model.value_residual": True},
    "qk_norm": ADAMW | {"model.qk_norm": True},
    "relu2": ADAMW | {"model.ffn": "relu2"},
    "tied": ADAMW | {"model.tie_embeddings": True},
    "gpt2_init": ADAMW | {"model.init": "gpt2"},
    "speedrun": SPEEDRUN,
    "speedrun_adamw": SPEEDRUN | {"optimizer.name": "adamw"},
    "speedrun_betas": SPEEDRUN | {"optimizer.betas": [0.9, 0.95]},
    "speedrun_cosine": SPEEDRUN | {"optimizer.warmup_steps": WARMUP, "optimizer.schedule": "cosine"},
    "speedrun_one_lr": SPEEDRUN | {"optimizer.embedding_lr": 8e-3},
    "speedrun_no_zero_init": SPEEDRUN | {"model.zero_init": False},
    "speedrun_no_value_residual": SPEEDRUN | {"model.value_residual": False},
    "speedrun_no_qk_norm": SPEEDRUN | {"model.qk_norm": False},
    "speedrun_relu2": SPEEDRUN | {"model.ffn": "relu2"},
    "speedrun_tied": SPEEDRUN | {"model.tie_embeddings": True, "optimizer.embedding_lr": 0.01},
}
"""What each changes of BASE; of nanogpt, the options of its train.py.

Those after speedrun take one of its switches back, or add one that it leaves out.
"""


@dataclass(frozen=True)
class Result:
    """One run."""

    recipe: str
    settings: Settings
    seed: int
    steps: int
    parameters: int
    loss: float
    bits_per_byte: float


@dataclass(frozen=True)
class Bench:
    """Where everything stands."""

    train: Path
    valid: Path
    work: Path
    nanogpt: Path | None

    @property
    def tokenizer(self) -> Path:
        return self.work / "tokenizer.json"

    def tokens(self, name: str) -> Path:
        return self.work / f"{name}.npy"

    def prepare(self) -> None:
        """Make tokenizer and token files, unless they are there."""
        self.work.mkdir(parents=True, exist_ok=True)
        if not self.tokenizer.exists():
            train_bpe(self.train, VOCABULARY, ["<|endoftext|>"]).save(self.tokenizer)
        tokenizer = Tokenizer.load(self.tokenizer)
        for name, text in (("train", self.train), ("valid", self.valid)):
            if not self.tokens(name).exists():
                tokenizer.encode_file(text, self.tokens(name))
                # The same ids as nanoGPT wants them: no head, under names of its own.
                open_tokens(self.tokens(name)).tokens.astype("uint16").tofile(
                    self.work / {"train": "train.bin", "valid": "val.bin"}[name]
                )

    def measure(self, model: nn.Module) -> tuple[float, float]:
        """Loss and bits per byte over all of the validation file."""
        found = evaluate(
            model, open_tokens(self.tokens("valid")).tokens, context_length=CONTEXT, batch_size=32,
            tokenizer=Tokenizer.load(self.tokenizer),
        )  # fmt: skip
        assert found.bits_per_byte is not None
        return found.loss, found.bits_per_byte

    def run(self, recipe: str, settings: Settings, seed: int, steps: int) -> Result:
        """Train by a recipe, and measure what came of it."""
        folder = self.work / "runs" / name_of(recipe, settings, seed, steps)
        if recipe == "nanogpt":
            model = self.train_nanogpt(folder, settings, seed, steps)
        else:
            model = self.train_ours(folder, settings, seed, steps)
        count = sum(parameter.numel() for parameter in model.parameters())
        return Result(recipe, settings, seed, steps, count, *self.measure(model))

    def train_ours(self, folder: Path, settings: Settings, seed: int, steps: int) -> nn.Module:
        fixed = {
            "data.train": str(self.tokens("train")), "data.valid": str(self.tokens("valid")),
            "data.tokenizer": str(self.tokenizer), "training.steps": steps, "training.seed": seed,
            "training.eval_every": max(1, steps // 6), "training.eval_batches": 4, "training.checkpoint_every": steps,
        }  # fmt: skip
        raw: dict[str, Settings] = {}
        for key, value in (BASE | fixed | settings).items():
            section, _, name = key.partition(".")
            raw.setdefault(section, {})[name] = value
        done = train(make_config(raw), folder, resume=(folder / "config.toml").exists())
        if done.interrupted:
            raise SystemExit(f"stopped at step {done.step} of {steps}; the same command goes on")
        return load_run(folder, device="cpu")[0]

    def train_nanogpt(self, folder: Path, settings: Settings, seed: int, steps: int) -> nn.Module:
        if self.nanogpt is None:
            raise SystemExit("the recipe nanogpt needs --nanogpt PATH, a copy of its repository")
        options = {
            "dataset": self.work.absolute(), "out_dir": folder.absolute(), "device": "cpu", "dtype": "float32",
            "compile": False, "n_layer": LAYERS, "n_head": HEADS, "n_embd": WIDTH, "block_size": CONTEXT,
            "batch_size": BATCH, "gradient_accumulation_steps": 1, "warmup_iters": WARMUP, "max_iters": steps,
            "lr_decay_iters": steps, "min_lr": settings["learning_rate"] / 10, "eval_interval": steps, "eval_iters": 10,
            "log_interval": 50,
        } | settings  # fmt: skip
        (self.work / "meta.pkl").write_bytes(pickled_vocabulary())
        # Its seed is a number in the middle of its code.
        code = (
            "import runpy, torch; real = torch.manual_seed; "
            f"torch.manual_seed = lambda seed: real(seed + {seed}); runpy.run_path('train.py', run_name='__main__')"
        )
        words = [f"--{key}={value}" for key, value in options.items()]
        subprocess.run([sys.executable, "-c", code, *words], cwd=self.nanogpt, check=True, stdout=subprocess.DEVNULL)
        return NanoGPT(self.nanogpt, folder / "ckpt.pt")


def pickled_vocabulary() -> bytes:
    import pickle

    return pickle.dumps({"vocab_size": VOCABULARY})


class NanoGPT(nn.Module):
    """A checkpoint of nanoGPT as a model of ours: ids in, logits of all positions out."""

    def __init__(self, repository: Path, checkpoint: Path) -> None:
        super().__init__()
        spec = importlib.util.spec_from_file_location("nanogpt_model", repository / "model.py")
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules["nanogpt_model"] = module
        spec.loader.exec_module(module)
        saved = torch.load(checkpoint, map_location="cpu", weights_only=False)  # our own process has written it
        self.model = module.GPT(module.GPTConfig(**saved["model_args"]))
        self.model.load_state_dict(saved["model"])

    def forward(self, token_ids: Tensor) -> Tensor:
        """Only with targets does it give more than the last logits."""
        logits: Tensor = self.model(token_ids, token_ids)[0]
        return logits


def name_of(recipe: str, settings: Settings, seed: int, steps: int) -> str:
    """A folder for each run: the same name only for the same run."""
    about = json.dumps([settings, BASE], sort_keys=True)
    return f"{recipe}-{steps}-{seed}-{hashlib.sha256(about.encode()).hexdigest()[:8]}"


def known(results: list[Result], recipe: str, settings: Settings, seed: int, steps: int) -> bool:
    """Whether a run has been done."""
    return any((r.recipe, r.settings, r.seed, r.steps) == (recipe, settings, seed, steps) for r in results)


def markdown(results: list[Result]) -> str:
    """A row for each recipe: the mean over its seeds, and each of them."""
    lines = ["| recipe | settings | steps | parameters | bits per byte | by seed |", "|---|---|---|---|---|---|"]
    groups: dict[str, list[Result]] = {}
    for one in results:
        groups.setdefault(json.dumps([one.recipe, one.settings, one.steps]), []).append(one)
    for group in groups.values():
        one, bits = group[0], [each.bits_per_byte for each in group]
        settings = ", ".join(f"{key.partition('.')[2] or key} {value}" for key, value in one.settings.items())
        lines.append(
            f"| {one.recipe} | {settings} | {one.steps} | {one.parameters:,} | {statistics.mean(bits):.4f} "
            f"| {', '.join(f'{each:.4f}' for each in bits)} |"
        )
    return "\n".join(lines)


def main() -> None:
    """Read the command line, measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("train", type=Path, help="text to train on")
    parser.add_argument("valid", type=Path, help="text to measure on")
    parser.add_argument("--work", type=Path, default=Path("runs/recipes"), help="token files and runs")
    parser.add_argument("--output", type=Path, required=True, help="write OUTPUT.md and OUTPUT.json")
    parser.add_argument("--nanogpt", type=Path, help="a copy of nanoGPT's repository")
    parser.add_argument("--recipe", action="append", help="only these")
    parser.add_argument("--set", action="append", metavar="KEY=VALUE,...", help="a variant: other settings, in JSON")
    parser.add_argument("--steps", type=int, default=240)
    parser.add_argument("--seed", type=int, action="append", help="default: 0 and 1")
    options = parser.parse_args()
    torch.set_num_threads(1)
    bench = Bench(options.train, options.valid, options.work, options.nanogpt)
    bench.prepare()
    source = options.output.with_suffix(".json")
    results = [Result(**one) for one in json.loads(source.read_text("utf-8"))["results"]] if source.exists() else []
    for recipe in options.recipe or [name for name in RECIPES if name != "nanogpt" or options.nanogpt]:
        for change in options.set or [None]:
            settings = RECIPES[recipe] | dict(map(parsed, change.split(",") if change else []))
            for seed in options.seed or [0, 1]:
                if known(results, recipe, settings, seed, options.steps):
                    continue
                results.append(bench.run(recipe, settings, seed, options.steps))
                save(options, results)
                print(results[-1], flush=True)
    print(markdown(results))


def parsed(change: str) -> tuple[str, Any]:
    key, _, text = change.partition("=")
    try:
        return key, json.loads(text)
    except ValueError:
        return key, text


def save(options: argparse.Namespace, results: list[Result]) -> None:
    """After every run, because the next may take long."""
    texts = (options.train, options.valid)
    about = facts(
        ["cs336", "torch"], threads=1, sha256={p.name: digest(p) for p in texts}, base=BASE,
        results=[asdict(one) for one in results],
    )  # fmt: skip
    write(options.output, markdown(results), about)


if __name__ == "__main__":
    main()
