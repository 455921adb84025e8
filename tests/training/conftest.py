from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from runs import MODEL


@pytest.fixture
def raw(tmp_path: Path) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    # A walk over 16 tokens in steps of 1 to 3: 1.1 nats a token are left to chance, the rest can be learned.
    walk = (np.cumsum(rng.integers(1, 4, size=2000)) % 16).astype(np.uint16)
    np.save(tmp_path / "train.npy", walk[:1600])
    np.save(tmp_path / "valid.npy", walk[1600:])
    return {
        "model": MODEL | {"residual_pdrop": 0.1, "attn_pdrop": 0.1},
        "data": {"train": str(tmp_path / "train.npy"), "valid": str(tmp_path / "valid.npy")},
        "optimizer": {"lr": 0.01, "warmup_steps": 2},
        "training": {
            "steps": 12, "batch_size": 4, "eval_every": 5, "eval_batches": 2, "checkpoint_every": 4, "device": "cpu"
        },
    }  # fmt: skip
