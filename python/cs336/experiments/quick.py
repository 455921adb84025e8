"""A configuration so small that a sweep or an ablation of it takes two minutes on two cores."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from cs336.data import END_OF_TEXT, open_tokens, write_stories
from cs336.files import whole_folder
from cs336.tokenizer import train_bpe
from cs336.training import RunConfig, load_config

__all__ = ["ABLATION_RATES", "quick_config", "quick_data", "quick_overrides"]

_VOCABULARY = 512
_STORIES = 4000
_QUICK = {
    "model.context_length": "64",
    "model.d_model": "64",
    "model.num_layers": "2",
    "model.num_heads": "4",
    "training.batch_size": "16",
    "training.device": "cpu",
}
_STEPS = {"lr-sweep": 100, "ablation": 50}
"""An ablation has five times as many runs."""

ABLATION_RATES = (1e-2, 3e-2, 1e-1)
"""So small a model takes rates that high."""


def quick_data(folder: Path) -> dict[str, str]:
    """Built-in stories as token files in the folder, made once: the section ``data`` of a configuration."""
    if not folder.exists():
        folder.parent.mkdir(parents=True, exist_ok=True)
        with whole_folder(folder) as aside:
            texts = {"train": aside / "train.txt", "valid": aside / "valid.txt"}
            write_stories(texts["train"], count=_STORIES, seed=0)
            write_stories(texts["valid"], count=_STORIES // 20, seed=1)
            tokenizer = train_bpe(texts["train"], _VOCABULARY, [END_OF_TEXT], progress=False)
            tokenizer.save(aside / "tokenizer.json")
            for name, text in texts.items():
                tokenizer.encode_file(text, aside / f"{name}.npy", progress=False)
                text.unlink()
    return {"train": str(folder / "train.npy"), "valid": str(folder / "valid.npy")}


def quick_overrides(kind: str, train: str, valid: str | None = None) -> dict[str, str]:
    """The keys of small, short runs on token files, for ``lr-sweep`` or ``ablation``, as ``load_config`` takes them."""
    info = open_tokens(train).info
    vocabulary = {} if info is None else {"model.vocab_size": str(info.vocab_size)}
    data = {"data.train": train} | ({} if valid is None else {"data.valid": valid})
    steps = _STEPS[kind]
    length = {
        "training.steps": str(steps),
        "training.eval_every": str(steps),
        "optimizer.warmup_steps": str(steps // 10),
    }
    return _QUICK | length | vocabulary | data


def quick_config(kind: str, folder: Path, overrides: Mapping[str, str] | None = None) -> RunConfig:
    """Small, short runs on built-in stories, whose token files are made in the folder."""
    return load_config(None, quick_overrides(kind, **quick_data(folder)) | dict(overrides or {}))
