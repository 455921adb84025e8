"""What an ablation changes: one switch of a configuration at a time, all else equal, and the arms that come of it.

Feed-forward layers are compared at equal parameters: a gated layer (SwiGLU) has three matrices where the others have
two, so that its inner width is two thirds of theirs. Batches are compared at equal tokens: twice the batch has half the
steps.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

from cs336.accounting.checks import one_of
from cs336.config import FeedForwardKind, ModelConfig
from cs336.errors import ConfigError
from cs336.experiments.arms import Arm
from cs336.experiments.lr_sweep import at_rate
from cs336.training import RunConfig

__all__ = [
    "BASELINE",
    "RATES",
    "SEEDS",
    "VARIANTS",
    "ablation_arms",
    "default_variants",
    "equal_d_ff",
    "same_validation",
    "vary",
]

BASELINE = "baseline"
RATES = (1e-3, 3e-3, 1e-2)
SEEDS = (0, 1, 2)

_SWITCHES: dict[str, dict[str, Any]] = {
    "no-norm": {"norm_placement": "none"},
    "pre-norm": {"norm_placement": "pre"},
    "post-norm": {"norm_placement": "post"},
    "no-positions": {"positions": "none"},
    "rope": {"positions": "rope"},
    "learned-positions": {"positions": "learned"},
    "parallel": {"parallel": True},
    "serial": {"parallel": False},
    "tied": {"tie_embeddings": True},
    "untied": {"tie_embeddings": False},
}
_FEED_FORWARD: tuple[FeedForwardKind, ...] = ("gelu", "silu", "swiglu", "relu2")
_FACTORS = (0.5, 2)
_EXTRA = ("learned-positions",)
"""Tried only if asked for."""

VARIANTS = (*_SWITCHES, *_FEED_FORWARD)
"""The changes that have a name; ``batch-N`` stands for batches of N sequences."""


def equal_d_ff(config: ModelConfig, kind: FeedForwardKind) -> int:
    """The inner width at which a feed-forward layer of this kind has the parameters of the configuration's own.

    To the nearest whole number, so that a layer differs by less than one unit of the width: its ``(m + 1) d`` weights,
    where m is 2 for swiglu and 1 for the others.
    """

    def of_a_unit(kind: str) -> int:
        ups = 2 if kind == "swiglu" else 1
        return (ups + 1) * config.d_model + (ups if config.bias else 0)

    return max(1, round(config.hidden_size * of_a_unit(config.ffn) / of_a_unit(kind)))


def default_variants(config: RunConfig) -> tuple[str, ...]:
    """The baseline, and every change that does change it; batches of half and twice the size."""
    batches = [size for size in (config.training.batch_size * factor for factor in _FACTORS) if size >= 1]
    names = [*(name for name in VARIANTS if name not in _EXTRA), *(f"batch-{round(size)}" for size in batches)]
    return (BASELINE, *(name for name in names if vary(config, name) != config))


def vary(config: RunConfig, name: str) -> RunConfig:
    """The configuration with one change."""
    if name == BASELINE:
        return config
    if name.startswith("batch-"):
        return _with_batches(config, name.removeprefix("batch-"))
    one_of("change", name, [*VARIANTS, "batch-N"])
    model = config.model
    if name in _SWITCHES:
        return dataclasses.replace(config, model=dataclasses.replace(model, **_SWITCHES[name]))
    kind = next(kind for kind in _FEED_FORWARD if kind == name)
    if kind == model.ffn:
        return config
    changed = dataclasses.replace(model, ffn=kind, d_ff=equal_d_ff(model, kind))
    return dataclasses.replace(config, model=changed)


def _with_batches(config: RunConfig, text: str) -> RunConfig:
    """Batches of another size, and so many steps that all in all there are as many tokens, as nearly as can be."""
    if not text.isdecimal() or int(text) < 1:
        raise ConfigError(f"batch-{text} names no size of a batch; write batch-16")
    training, optimizer = config.training, config.optimizer
    size = int(text)
    share = training.batch_size / size
    steps = max(1, round(training.steps * share))
    changed = dataclasses.replace(
        training,
        batch_size=size,
        steps=steps,
        eval_every=max(1, round(training.eval_every * share)),
        checkpoint_every=max(1, round(training.checkpoint_every * share)),
        grad_accumulation=math.gcd(size, training.grad_accumulation),
    )
    warmed = dataclasses.replace(optimizer, warmup_steps=min(steps - 1, round(optimizer.warmup_steps * share)))
    return dataclasses.replace(config, training=changed, optimizer=warmed)


def same_validation(configs: Mapping[str, RunConfig]) -> dict[str, RunConfig]:
    """The configurations with so many batches that each evaluates on the same tokens, at least as many as before."""
    sizes = [config.training.batch_size for config in configs.values()]
    base = configs[BASELINE].training
    common = math.lcm(*sizes)
    sequences = common * -(-base.eval_batches * base.batch_size // common)
    return {
        name: dataclasses.replace(
            config,
            training=dataclasses.replace(config.training, eval_batches=sequences // config.training.batch_size),
        )
        for name, config in configs.items()
    }


def ablation_arms(
    config: RunConfig,
    variants: Sequence[str] | None = None,
    rates: Sequence[float] = RATES,
    seeds: Sequence[int] = SEEDS,
) -> tuple[Arm, ...]:
    """An arm for every change, rate and seed. None: the baseline, and every change that does change it."""
    if variants is None:
        variants = default_variants(config)
    names = dict.fromkeys((BASELINE, *variants))
    configs = same_validation({name: vary(config, name) for name in names})
    return tuple(
        Arm(
            f"{name}-lr-{rate:g}-seed-{seed}",
            _at_seed(at_rate(varied, rate), seed),
            {"variant": name, "rate": rate, "seed": seed},
        )
        for name, varied in configs.items()
        for rate in rates
        for seed in seeds
    )


def _at_seed(config: RunConfig, seed: int) -> RunConfig:
    return dataclasses.replace(config, training=dataclasses.replace(config.training, seed=seed))
