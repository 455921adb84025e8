"""Whole runs by name: the course's settings of model, optimizer, schedule, batch and steps. Needs no torch."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cs336.config import PRESETS
from cs336.errors import ConfigError


@dataclass(frozen=True)
class RunPreset:
    """A run but for its data."""

    about: str
    sections: Mapping[str, Mapping[str, Any]]
    """The keys that differ from their defaults, as a TOML file has them."""
    target_loss: float | None = None
    """The validation loss that the course asks for, where it names one."""


# The course leaves the rate to its students; this one is not tuned, and neither is the warm-up, 5% of the steps.
_FULL: dict[str, dict[str, Any]] = {
    "optimizer": {"lr": 1e-3, "warmup_steps": 500},
    "training": {"steps": 10_000, "batch_size": 128, "eval_every": 500, "checkpoint_every": 1000},
}

RUN_PRESETS = {
    "tinystories": RunPreset(
        "TinyStories in full, 327,680,000 tokens",
        {"model": {"preset": "tinystories-2025"}, **_FULL},
        target_loss=1.45,
    ),
    "tinystories-low-resource": RunPreset(
        "TinyStories without a GPU, 40,960,000 tokens",
        {
            "model": {"preset": "tinystories-2025"},
            "optimizer": {"lr": 1e-3, "warmup_steps": 250},
            "training": {"steps": 5000, "batch_size": 32, "eval_every": 250, "checkpoint_every": 500},
        },
        target_loss=2.0,
    ),
    "openwebtext": RunPreset(
        "OpenWebText as TinyStories in full: the same shape, steps and tokens, with 32,000 entries",
        {"model": {"preset": "tinystories-2025", "vocab_size": 32_000}, **_FULL},
    ),
    # The best of the recipes in docs/recipes.md, at the size that it was measured at.
    "speedrun": RunPreset(
        "a small model that learns in fewer steps: Muon and the switches of docs/recipes.md",
        {
            "model": {
                "vocab_size": 2000, "context_length": 128, "d_model": 128, "num_layers": 4, "num_heads": 4,
                "qk_norm": True, "value_residual": True, "zero_init": True,
            },
            "optimizer": {
                "name": "muon", "lr": 8e-3, "embedding_lr": 0.1, "muon_lr": 0.02, "betas": [0.5, 0.98],
                "warmup_steps": 5, "schedule": "wsd", "decay_fraction": 0.6,
            },
            "training": {"steps": 144, "batch_size": 8},
        },
    ),
}  # fmt: skip
"""Known runs by name."""


def with_preset(raw: Mapping[str, Any]) -> dict[str, Any]:
    """Sections of a run, where ``preset`` names a known run or model that the other keys change.

    An unknown name raises ConfigError with the nearest known one.
    """
    given = dict(raw)
    if "preset" not in given:
        return given
    name = given.pop("preset")
    if name in PRESETS:
        preset: Mapping[str, Mapping[str, Any]] = {"model": {"preset": name}}
    elif name in RUN_PRESETS:
        preset = RUN_PRESETS[name].sections
    else:
        known = [*RUN_PRESETS, *PRESETS]
        near = difflib.get_close_matches(str(name), known, n=1)
        hint = f" (did you mean {near[0]!r}?)" if near else ""
        raise ConfigError(f"no preset is called {name!r}{hint}; known: {', '.join(known)}")
    changed = {section: values for section, values in given.items() if isinstance(values, Mapping)}
    return {
        section: {**preset.get(section, {}), **changed[section]} if section in changed else value
        for section, value in {**preset, **given}.items()
    }
