"""Optimizers from scratch, learning-rate schedules, gradient clipping."""

from __future__ import annotations

from cs336.extra import needs_extra

with needs_extra("cs336.optim"):
    from cs336.optim.adamw import AdamW
    from cs336.optim.clip import clip_grad_norm
    from cs336.optim.muon import Muon
    from cs336.optim.schedules import constant_schedule, cosine_schedule, wsd_schedule
    from cs336.optim.sgd import SGD

__all__ = ["SGD", "AdamW", "Muon", "clip_grad_norm", "constant_schedule", "cosine_schedule", "wsd_schedule"]
