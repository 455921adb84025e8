"""What the parts that train models share: token files of the first corpus, and the configurations of small models."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any, Literal

import numpy as np

from cs336.data import open_tokens
from cs336.errors import DataError
from cs336.experiments.quick import quick_overrides
from cs336.experiments.report.part import Bench
from cs336.experiments.report.plan import Plan
from cs336.files import whole_file, whole_folder
from cs336.token_files import encode_files
from cs336.tokenizer import Tokenizer, train_bpe
from cs336.training import RunConfig, load_config, make_config, to_toml
from cs336.wording import plural

__all__ = ["config_file", "config_of"]

Kind = Literal["run", "lr-sweep", "ablation"]

_ENTRIES = {True: 1024, False: 10_000}
"""Of quick reports and of others."""
_VALIDATION = 0.05
"""The part of the tokens, at the end, that is not trained on."""
_SMALL = {"context_length": 128, "d_model": 128, "num_layers": 3, "num_heads": 4}
"""What two cores train in a minute."""
_LARGER = {"context_length": 256, "d_model": 256, "num_layers": 4, "num_heads": 8}
"""For a patient person, or a GPU."""


def config_file(plan: Plan, folder: Path, kind: Kind) -> Path:
    """Where a configuration stands in the report's folder."""
    about = [plan.corpora[0].digest, plan.seed, plan.separator, plan.reading, plan.quick]
    key = hashlib.sha256(json.dumps(about).encode()).hexdigest()
    return folder / "work" / f"laboratory-{key[:12]}" / f"{kind}.toml"


def config_of(bench: Bench, kind: Kind) -> RunConfig:
    """A configuration, with token files; both are made where they do not stand yet."""
    path = config_file(bench.plan, bench.folder, kind)
    if not path.parent.exists():
        with whole_folder(path.parent) as aside:
            _prepare(bench, aside)
    config = _configuration(bench.plan, path.parent, kind)
    with whole_file(path) as aside:
        aside.write_text(to_toml(config), encoding="utf-8")
    return config


def _prepare(bench: Bench, folder: Path) -> None:
    """Tokenizer and token files of the first corpus."""
    plan, corpus = bench.plan, bench.plan.corpora[0]
    how: dict[str, Any] = {"threads": plan.threads, "progress": False, **plan.reading}
    bench.told(f"encoding {corpus.name} for training")
    tokenizer = train_bpe(corpus.path, _ENTRIES[plan.quick], [plan.separator], **how)
    tokenizer.save(folder / "tokenizer.json")
    whole = folder / "whole.npy"
    encode_files(tokenizer, corpus.path, whole, separator=plan.separator, **how)
    tokens = open_tokens(whole).tokens
    cut = _cut(tokens, tokenizer.special_tokens[plan.separator])
    least = _LARGER["context_length"]
    for name, part in (("train", tokens[:cut]), ("valid", tokens[cut:])):
        if len(part) <= least:
            raise DataError(
                f"{corpus.path} makes {plural(len(part), 'token')} for {name}, and the model sees up to {least} at a"
                " time; give a longer text"
            )
        np.save(folder / f"{name}.npy", part)
    del tokens, part  # Windows removes no file that is mapped
    for path in folder.glob("whole.npy*"):
        path.unlink()


def _cut(tokens: Any, end: int) -> int:
    """Where the validation part begins: behind the last document that ends before it, if there is one."""
    wanted = int(len(tokens) * (1 - _VALIDATION))
    ends = np.flatnonzero(tokens[wanted // 2 : wanted] == end)
    return wanted // 2 + int(ends[-1]) + 1 if len(ends) else wanted


def _configuration(plan: Plan, folder: Path, kind: Kind) -> RunConfig:
    entries = Tokenizer.load(folder / "tokenizer.json").vocab_size
    files = {name: str(folder / f"{name}.npy") for name in ("train", "valid")}
    if plan.quick and kind != "run":
        overrides = {"model.vocab_size": str(entries), "training.seed": str(plan.seed)}
        return load_config(None, quick_overrides(kind, **files) | overrides)
    size = _SMALL if plan.quick or kind != "run" else _LARGER
    steps = {"run": 400 if plan.quick else 4000, "lr-sweep": 300, "ablation": 200}[kind]
    return make_config(
        {
            "model": {"vocab_size": entries, **size},
            "data": files | {"tokenizer": str(folder / "tokenizer.json")},
            "optimizer": {"lr": 3e-3, "warmup_steps": steps // 10},
            "training": {
                "steps": steps,
                "batch_size": 8 if plan.quick else 32,
                "eval_every": steps // 8 if kind == "run" else steps,
                "eval_batches": 20,
                "checkpoint_every": steps // 4,
                "keep_last": 1,
                "seed": plan.seed,
            },
        }
    )
