"""Learning rates as functions of the step, counted from 0."""

from __future__ import annotations

import math


def cosine_schedule(step: int, max_lr: float, min_lr: float, warmup_steps: int, cosine_steps: int) -> float:
    """Linear from 0 to ``max_lr`` at ``warmup_steps``, half a cosine to ``min_lr`` at ``cosine_steps``, then flat."""
    if step < warmup_steps:
        return max_lr * step / warmup_steps
    if step >= cosine_steps:
        return min_lr
    progress = (step - warmup_steps) / (cosine_steps - warmup_steps)
    return min_lr + (max_lr - min_lr) * (1 + math.cos(math.pi * progress)) / 2


def wsd_schedule(
    step: int, max_lr: float, min_lr: float, warmup_steps: int, decay_start: int, total_steps: int
) -> float:
    """Linear to ``max_lr``, flat until ``decay_start``, linear to ``min_lr`` at ``total_steps``, then flat."""
    if step < warmup_steps:
        return max_lr * step / warmup_steps
    if step < decay_start:
        return max_lr
    if step >= total_steps:
        return min_lr
    return max_lr + (min_lr - max_lr) * (step - decay_start) / (total_steps - decay_start)


def constant_schedule(step: int, max_lr: float, warmup_steps: int = 0) -> float:
    """Linear from 0 to ``max_lr`` at ``warmup_steps``, then flat."""
    return max_lr * step / warmup_steps if step < warmup_steps else max_lr
