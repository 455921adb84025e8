"""The training loop, its configuration, checkpoints, logs and evaluation."""

from __future__ import annotations

from cs336.extra import needs_extra

with needs_extra("cs336.training"):
    from cs336.training.checkpoint import load_checkpoint, save_checkpoint
    from cs336.training.config import (
        DataConfig,
        OptimizerConfig,
        RunConfig,
        TrainingConfig,
        load_config,
        make_config,
        to_toml,
    )
    from cs336.training.evaluate import EvalResult, evaluate
    from cs336.training.loop import TrainResult, train
    from cs336.training.rehearsal import Rehearsal, rehearse
    from cs336.training.run import load_run

__all__ = [
    "DataConfig",
    "EvalResult",
    "OptimizerConfig",
    "Rehearsal",
    "RunConfig",
    "TrainResult",
    "TrainingConfig",
    "evaluate",
    "load_checkpoint",
    "load_config",
    "load_run",
    "make_config",
    "rehearse",
    "save_checkpoint",
    "to_toml",
    "train",
]
