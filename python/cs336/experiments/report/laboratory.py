"""What the parts that train models share: token files of the first corpus, and a small model's configuration."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np

from cs336.data import open_tokens
from cs336.errors import DataError
from cs336.experiments.report.part import Bench
from cs336.experiments.report.plan import Plan
from cs336.files import whole_file, whole_folder
from cs336.token_files import encode_files
from cs336.tokenizer import train_bpe
from cs336.training import RunConfig, make_config, to_toml

__all__ = ["configuration", "folder_of"]

_VALIDATION = 0.05
"""The part of the tokens, at the end, that is not trained on."""
_EXTENT: dict[bool, dict[str, int]] = {
    True: {"entries": 2048, "context": 128, "d_model": 128, "layers": 3, "heads": 4, "batch": 8, "steps": 400},
    False: {"entries": 10_000, "context": 256, "d_model": 256, "layers": 4, "heads": 8, "batch": 32, "steps": 4000},
}
"""Of quick reports and of others: a size that two cores train in a minute, and one for a patient person or a GPU."""


def folder_of(bench: Bench) -> Path:
    """A folder with tokenizer, token files and configuration; made where it is not there yet."""
    about = [bench.plan.corpora[0].digest, bench.plan.seed, bench.plan.separator, bench.plan.reading, _EXTENT]
    key = hashlib.sha256(json.dumps([*about, bench.plan.quick]).encode()).hexdigest()
    folder = bench.folder / "work" / f"laboratory-{key[:12]}"
    if not folder.exists():
        with whole_folder(folder) as aside:
            _prepare(bench, aside)
    config = configuration(bench.plan, folder)
    if not (folder / "config.toml").exists():
        with whole_file(folder / "config.toml") as aside:
            aside.write_text(to_toml(config), encoding="utf-8")
    return folder


def _prepare(bench: Bench, folder: Path) -> None:
    """Tokenizer and token files of the first corpus."""
    plan, corpus, extent = bench.plan, bench.plan.corpora[0], _EXTENT[bench.plan.quick]
    bench.told(f"encoding {corpus.name} for training")
    tokenizer = train_bpe(
        corpus.path, extent["entries"], [plan.separator], threads=plan.threads, progress=False, **plan.reading
    )
    tokenizer.save(folder / "tokenizer.json")
    whole = folder / "whole.npy"
    encode_files(
        tokenizer, corpus.path, whole, separator=plan.separator, threads=plan.threads, progress=False, **plan.reading
    )
    tokens = open_tokens(whole).tokens
    cut = _cut(tokens, tokenizer.special_tokens[plan.separator])
    for name, part in (("train.npy", tokens[:cut]), ("valid.npy", tokens[cut:])):
        if len(part) <= extent["context"]:
            raise DataError(
                f"{corpus.path} makes {len(part):,} tokens for {name}, and the model sees {extent['context']} at a"
                " time; give a longer text"
            )
        np.save(folder / name, part)
    del tokens, part  # Windows removes no file that is mapped
    for path in folder.glob("whole.npy*"):
        path.unlink()


def _cut(tokens: Any, end: int) -> int:
    """Where the validation part begins: behind the last document that ends before it, if there is one."""
    wanted = int(len(tokens) * (1 - _VALIDATION))
    ends = np.flatnonzero(tokens[wanted // 2 : wanted] == end)
    return wanted // 2 + int(ends[-1]) + 1 if len(ends) else wanted


def configuration(plan: Plan, folder: Path) -> RunConfig:
    """The run of the laboratory, which the parts about training vary."""
    from cs336.tokenizer import Tokenizer

    extent = _EXTENT[plan.quick]
    steps = extent["steps"]
    return make_config(
        {
            "model": {
                "vocab_size": Tokenizer.load(folder / "tokenizer.json").vocab_size,
                "context_length": extent["context"],
                "d_model": extent["d_model"],
                "num_layers": extent["layers"],
                "num_heads": extent["heads"],
            },
            "data": {name: str(folder / f"{name}.npy") for name in ("train", "valid")}
            | {"tokenizer": str(folder / "tokenizer.json")},
            "optimizer": {"lr": 3e-3, "warmup_steps": steps // 10},
            "training": {
                "steps": steps,
                "batch_size": extent["batch"],
                "eval_every": steps // 8,
                "eval_batches": 20,
                "checkpoint_every": steps // 4,
                "keep_last": 1,
                "seed": plan.seed,
            },
        }
    )
