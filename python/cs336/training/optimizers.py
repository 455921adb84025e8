"""The optimizers and the learning rates that a configuration asks for."""

from __future__ import annotations

from typing import Any

from torch.nn import Parameter

from cs336.nn import TransformerLM
from cs336.optim import SGD, AdamW, Muon, constant_schedule, cosine_schedule, wsd_schedule
from cs336.optim.optimizer import Optimizer
from cs336.training.config import OptimizerConfig


def make_optimizers(model: TransformerLM, config: OptimizerConfig) -> list[Optimizer]:
    """The optimizers of a model; each group of parameters carries its peak learning rate as ``peak_lr``."""
    rest = dict(model.named_parameters())
    optimizers: list[Optimizer] = []
    if config.name == "sgd":
        optimizers.append(SGD(rest.values(), lr=config.lr))
    if config.name == "muon":
        hidden = [name for name, p in rest.items() if p.ndim == 2 and name.startswith("layers.")]
        matrices = [rest.pop(name) for name in hidden]
        optimizers.append(Muon(matrices, lr=config.muon_lr, weight_decay=config.weight_decay))
    if config.name != "sgd":
        optimizers.append(AdamW(_adamw_groups(rest, config), lr=config.lr, betas=config.betas, eps=config.eps))
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["peak_lr"] = group["lr"]
    return optimizers


def _adamw_groups(named: dict[str, Parameter], config: OptimizerConfig) -> list[dict[str, Any]]:
    """Parameters by learning rate and decay: embeddings may have a rate of their own, vectors do not decay."""
    groups: dict[tuple[float, float], list[Parameter]] = {}
    for name, parameter in named.items():
        lr = config.lr
        if config.embedding_lr is not None and name.endswith("_embeddings.weight"):
            lr = config.embedding_lr
        decay = config.weight_decay if config.decay_all or parameter.ndim >= 2 else 0.0
        groups.setdefault((lr, decay), []).append(parameter)
    return [{"params": members, "lr": lr, "weight_decay": decay} for (lr, decay), members in groups.items()]


def learning_rate(step: int, peak: float, config: OptimizerConfig, steps: int) -> float:
    """The rate of a step (counted from 1) for a group of parameters with this peak."""
    floor = peak * ((config.min_lr / config.lr) if config.min_lr is not None else 0.1)
    if config.schedule == "constant":
        return constant_schedule(step, peak, config.warmup_steps)
    if config.schedule == "wsd":
        decay_start = max(config.warmup_steps, round(steps * (1 - config.decay_fraction)))
        return wsd_schedule(step, peak, floor, config.warmup_steps, decay_start, steps)
    return cosine_schedule(step, peak, floor, config.warmup_steps, steps)
