"""The quick configuration: built-in stories made once, or given token files."""

from __future__ import annotations

import numpy as np
import pytest

from cs336.data import open_tokens
from cs336.experiments.quick import quick_config, quick_data, quick_overrides


def test_stories_are_made_once_and_fit_the_model(tmp_path):
    config = quick_config("lr-sweep", tmp_path / "data")
    assert (config.training.steps, config.optimizer.warmup_steps, config.model.num_parameters()) == (100, 10, 172_352)
    train, valid = (open_tokens(path) for path in (config.data.train, config.data.valid))
    assert train.info.vocab_size == valid.info.vocab_size == config.model.vocab_size == 512
    assert len(train.tokens) > 100 * config.training.batch_size * config.model.context_length  # nothing seen twice
    written = (tmp_path / "data" / "train.npy").stat().st_mtime_ns
    again = quick_config("ablation", tmp_path / "data", {"training.steps": "7", "optimizer.warmup_steps": "1"})
    assert (again.training.steps, again.data) == (7, config.data)
    assert (tmp_path / "data" / "train.npy").stat().st_mtime_ns == written
    assert sorted(path.name for path in (tmp_path / "data").iterdir()) == [
        "tokenizer.json", "train.npy", "train.npy.json", "valid.npy", "valid.npy.json"
    ]  # fmt: skip


def test_given_tokens_bring_their_vocabulary(tmp_path):
    found = quick_overrides("ablation", **quick_data(tmp_path / "data"))
    assert (found["model.vocab_size"], found["training.steps"]) == ("512", "50")
    np.save(tmp_path / "plain.npy", np.arange(100, dtype=np.uint16))
    assert "model.vocab_size" not in quick_overrides("ablation", str(tmp_path / "plain.npy"))
    with pytest.raises(FileNotFoundError):
        quick_overrides("lr-sweep", str(tmp_path / "none.npy"))
