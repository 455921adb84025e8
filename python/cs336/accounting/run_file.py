"""The model of a run's configuration file, read without the laboratory that trains it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cs336.accounting.checks import one_of
from cs336.config import ModelConfig, preset, read_toml
from cs336.errors import ConfigError
from cs336.presets import with_preset

__all__ = ["model_of", "read_run"]


def read_run(path: str | Path) -> dict[str, Any]:
    """The sections of a TOML file of `cs336 train`, as far as accounting goes: model, training, optimizer.

    What is no TOML, or has no such sections, raises ConfigError with the path; what the file says of a model is checked
    when the model is made.
    """
    raw = read_toml(path)
    try:
        raw = with_preset(raw)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error
    sections = {name: raw.get(name, {}) for name in ("model", "training", "optimizer")}
    for name, values in sections.items():
        if not isinstance(values, dict):
            raise ConfigError(f"{path}: {name} must be a section, not {values!r}")
    if not sections["model"]:
        raise ConfigError(f"{path} has no section [model]; name a configuration of `cs336 train`")
    return sections


def model_of(settings: Mapping[str, Any]) -> ModelConfig:
    """A model from its settings by name; `preset` names one that the others change."""
    settings = dict(settings)
    if "preset" in settings:
        return preset(str(settings.pop("preset")), **settings)
    fields = dataclasses.fields(ModelConfig)
    for name in settings:
        one_of("setting of a model", name, [field.name for field in fields])
    missing = [field.name for field in fields if field.default is dataclasses.MISSING and field.name not in settings]
    if missing:
        raise ConfigError(f"a model needs {', '.join(missing)}, too; set them, or begin with a preset")
    return ModelConfig(**settings)
