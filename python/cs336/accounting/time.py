"""How long training takes: operations, divided by what a device gets done in a second.

MFU, model FLOPs utilization (Chowdhery et al. 2022, appendix B), is the part of a device's peak that goes into the
operations of the mathematics, forward and backward; what is computed a second time does not count.
"""

from __future__ import annotations

from dataclasses import dataclass

from cs336.accounting.checks import above_zero, at_least_one
from cs336.accounting.flops import step_flops
from cs336.config import ModelConfig

__all__ = ["TrainingTime", "flops_per_token", "mfu", "training_time"]

SECONDS_A_DAY = 86_400


@dataclass(frozen=True)
class TrainingTime:
    """A training run, at a given utilization."""

    flops: int
    """Forward and backward of all steps."""
    tokens: int
    seconds: float
    steps: int

    @property
    def days(self) -> float:
        """The same in days."""
        return self.seconds / SECONDS_A_DAY

    @property
    def seconds_per_step(self) -> float:
        """One step."""
        return self.seconds / self.steps

    @property
    def tokens_per_second(self) -> float:
        """On all devices together."""
        return self.tokens / self.seconds


def training_time(
    config: ModelConfig, *, steps: int, batch_size: int, peak_flops: float, mfu: float = 0.5, devices: int = 1
) -> TrainingTime:
    """seconds = steps * operations a step / (devices * peak * MFU).

    Args:
        config: the model.
        steps: optimizer steps.
        batch_size: sequences a step, on all devices together.
        peak_flops: operations a second that one device can do: `DEVICES["a100"].peak("bfloat16")`.
        mfu: the part of the peak that training reaches; above 0, at most 1.
        devices: how many there are.
    """
    at_least_one("steps", steps)
    at_least_one("devices", devices)
    rate = devices * above_zero("peak_flops", peak_flops) * above_zero("mfu", mfu, most=1)
    flops = steps * step_flops(config, batch_size).model
    return TrainingTime(flops, steps * batch_size * config.context_length, flops / rate, steps)


def flops_per_token(config: ModelConfig) -> float:
    """Operations of training for each token, forward and backward. About 6 a parameter (Kaplan et al. 2020, 2.1)."""
    return step_flops(config, 1).model / config.context_length


def mfu(config: ModelConfig, *, tokens_per_second: float, peak_flops: float, devices: int = 1) -> float:
    """The utilization that a measured speed means: tokens a second times operations a token, over the peak."""
    at_least_one("devices", devices)
    done = above_zero("tokens_per_second", tokens_per_second) * flops_per_token(config)
    return done / (devices * above_zero("peak_flops", peak_flops))
