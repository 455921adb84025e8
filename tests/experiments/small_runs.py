"""What the tests of sweeps and ablations share: a small run, and results without what a clock reads."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from cs336.training import RunConfig, make_config

CLOCKS = ("seconds", "machine", "versions", "command")


def small_config(folder: Path, *, steps: int = 30, **optimizer: Any) -> RunConfig:
    """Two layers, 32 wide, on a walk over 16 tokens in steps of 1 to 3, of which much can be learned."""
    rng = np.random.default_rng(0)
    walk = (np.cumsum(rng.integers(1, 4, size=3000)) % 16).astype(np.uint16)
    for name, part in (("train", walk[:2500]), ("valid", walk[2500:])):
        if not (folder / f"{name}.npy").exists():
            np.save(folder / f"{name}.npy", part)
    return make_config(
        {
            "model": {"vocab_size": 16, "context_length": 16, "d_model": 32, "num_layers": 2, "num_heads": 2},
            "data": {"train": str(folder / "train.npy"), "valid": str(folder / "valid.npy")},
            "optimizer": optimizer,
            "training": {
                "steps": steps,
                "batch_size": 8,
                "eval_every": steps,
                "eval_batches": 2,
                "checkpoint_every": 5,
                "device": "cpu",
            },
        }
    )


def without_clocks(value: Any) -> Any:
    """Results but for what a clock reads and for where they were made."""
    if isinstance(value, dict):
        return {key: without_clocks(item) for key, item in value.items() if key not in CLOCKS}
    return [without_clocks(item) for item in value] if isinstance(value, list) else value
