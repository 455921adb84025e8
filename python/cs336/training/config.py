"""What a run is made of: dataclasses, read strictly from TOML and from overrides that use the same names.

Reading needs pydantic, writing tomli-w, and both are imported then: a run whose configuration is made from the
dataclasses does without.
"""

from __future__ import annotations

import dataclasses
import difflib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from cs336.config import PRESETS, ModelConfig, parse_value, preset, read_toml
from cs336.data import END_OF_TEXT
from cs336.errors import ConfigError
from cs336.extra import needs_extra
from cs336.presets import RUN_PRESETS, with_preset


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """Where the tokens are, and in which order they come."""

    train: str | tuple[str, ...]
    """Token file to train on, or a list of several; an empty list in what was not trained here."""
    weights: tuple[float, ...] | None = None
    """How often a sequence comes from each of several files; None: as if they were one."""
    order: Literal["random", "epochs"] = "random"
    """random: sequences from random places. epochs: every sequence once, shuffled anew for each epoch."""
    valid: str | None = None
    """Token file to evaluate on; without one there is no validation loss."""
    tokenizer: str | None = None
    """The tokenizer of all of them, copied into the run; needed for bits per byte and for generating."""
    document_masking: bool = False
    """No attention across the ends of documents."""
    document_end: str = END_OF_TEXT
    """The special token that ends a document."""

    @property
    def train_files(self) -> tuple[str, ...]:
        """The token files to train on, one or several."""
        return (self.train,) if isinstance(self.train, str) else self.train


@dataclass(frozen=True, kw_only=True)
class OptimizerConfig:
    """How weights are updated."""

    name: Literal["adamw", "muon", "sgd"] = "adamw"
    """muon: Muon for the matrices inside the model, AdamW for the rest."""
    lr: float = 1e-3
    """Peak learning rate."""
    min_lr: float | None = None
    """Learning rate at the end; None: a tenth of lr."""
    embedding_lr: float | None = None
    """Peak learning rate of the token and position embeddings, which follows the same schedule; None: lr."""
    muon_lr: float = 0.02
    """Peak learning rate of Muon's part; it follows the same schedule."""
    betas: tuple[float, float] = (0.9, 0.95)
    """AdamW: how much of the averages of gradient and squared gradient each step keeps."""
    eps: float = 1e-8
    """AdamW: added to the root of the squared gradient's average."""
    weight_decay: float = 0.1
    """Share of a weight that a step at learning rate 1 takes away."""
    decay_all: bool = False
    """Decay every parameter, not the matrices only."""
    grad_clip: float = 1.0
    """Greatest global norm of the gradient; 0 turns clipping off."""
    schedule: Literal["cosine", "wsd", "constant"] = "cosine"
    """The learning rate after the warm-up: half a cosine, flat and then linearly down, or flat."""
    warmup_steps: int = 0
    """How long the learning rate rises linearly to its peak. [steps]"""
    decay_fraction: float = 0.2
    """wsd: the part of the steps that decays."""


@dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """How long, how much at a time, on what, and what is kept."""

    steps: int
    """Optimizer steps in all. [steps]"""
    batch_size: int = 32
    """Sequences a step, those of all processes together. [sequences]"""
    grad_accumulation: int = 1
    """Parts that a batch is computed in, one after the other; saves memory. [parts]"""
    eval_every: int = 100
    """Between evaluations; the last step is always evaluated. [steps]"""
    eval_batches: int = 10
    """The fixed part of the validation tokens. [batches]"""
    eval_context_length: int | None = None
    """The most context in evaluations; None: the model's. [tokens]"""
    checkpoint_every: int = 500
    """Between checkpoints; the last step always has one. [steps]"""
    keep_last: int = 2
    """How many are kept, beside the best weights. [checkpoints]"""
    seed: int = 0
    """Of initial weights, dropout and the order of the data."""
    device: str = "auto"
    """auto, cpu, cuda, cuda:1, mps. Under torchrun each process takes a GPU of its own."""
    dtype: Literal["float32", "tf32", "bfloat16", "float16"] = "float32"
    """Type of the matrix products; weights and optimizer stay in float32. float16 scales the loss as it needs."""
    narrow_stream: bool = False
    """With bfloat16 or float16: the residual stream is of that type, too. Faster on a GPU, and its sums less exact."""
    loss: Literal["chunked", "whole"] = "chunked"
    """chunked: of some rows at a time, with their gradients, so that logits of a whole batch never stand in memory.
    whole: of all logits at once, as the formula reads."""
    activation_checkpointing: bool = False
    """Keep of each layer its input only, and compute the rest again in the backward pass: less memory, more time."""
    parallel: Literal["ddp", "fsdp"] = "ddp"
    """With several processes: a whole copy of the model in each, or one copy spread over all."""
    compile: bool = False
    """Translate the model into fused kernels first (torch.compile)."""
    deterministic: bool = False
    """Only kernels that give the same bits every time."""
    tensorboard: bool = False
    """Write the log for TensorBoard, too, into the run's folder tensorboard."""
    wandb: Literal["off", "offline", "online"] = "off"
    """Give the log to Weights & Biases, too; offline keeps it in the run's folder wandb."""


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """Everything that decides what a run computes."""

    model: ModelConfig
    data: DataConfig
    training: TrainingConfig
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)

    def __post_init__(self) -> None:
        training, optimizer = self.training, self.optimizer
        positive = {
            "training.steps": training.steps,
            "training.batch_size": training.batch_size,
            "training.grad_accumulation": training.grad_accumulation,
            "training.eval_every": training.eval_every,
            "training.eval_batches": training.eval_batches,
            "training.checkpoint_every": training.checkpoint_every,
            "training.keep_last": training.keep_last,
            "training.eval_context_length": 1 if training.eval_context_length is None else training.eval_context_length,
        }
        for name, value in positive.items():
            if value < 1:
                raise ConfigError(f"{name} must be at least 1, not {value}")
        if not 0 <= training.seed < 2**63:
            raise ConfigError(f"training.seed must be at least 0 and below 2^63, not {training.seed}")
        if (training.eval_context_length or 1) > self.model.context_length:
            raise ConfigError(
                f"training.eval_context_length is {training.eval_context_length}, but the model sees no more than "
                f"model.context_length, {self.model.context_length} tokens"
            )
        self._check_data()
        if training.batch_size % training.grad_accumulation:
            raise ConfigError(
                f"training.grad_accumulation must divide training.batch_size: {training.batch_size} is not a multiple "
                f"of {training.grad_accumulation}"
            )
        # Without an eps, a weight that never had a gradient is divided by zero.
        for name in ("lr", "eps"):
            value = getattr(optimizer, name)
            if not 0 < value < math.inf:
                raise ConfigError(f"optimizer.{name} must be above 0 and finite, not {value}")
        for name in ("weight_decay", "grad_clip", "muon_lr", "embedding_lr", "min_lr"):
            value = getattr(optimizer, name)
            if value is not None and not 0 <= value < math.inf:
                raise ConfigError(f"optimizer.{name} must be at least 0 and finite, not {value}")
        if not 0 <= optimizer.decay_fraction <= 1:
            raise ConfigError(f"optimizer.decay_fraction must be from 0 to 1, not {optimizer.decay_fraction}")
        if not all(0 <= beta < 1 for beta in optimizer.betas):
            raise ConfigError(f"optimizer.betas must be at least 0 and below 1, but are {optimizer.betas}")
        if not 0 <= optimizer.warmup_steps < training.steps:
            raise ConfigError(
                f"optimizer.warmup_steps must be at least 0 and below training.steps ({training.steps}), "
                f"not {optimizer.warmup_steps}"
            )

    def _check_data(self) -> None:
        files, weights = self.data.train_files, self.data.weights
        if weights is None:
            return
        if len(weights) != len(files):
            raise ConfigError(f"data.weights must be one for each file of data.train: {len(weights)} for {len(files)}")
        if not all(0 <= weight < math.inf for weight in weights) or not sum(weights):
            raise ConfigError(f"data.weights must be finite, at least 0 and not all 0, but are {list(weights)}")


SECTIONS: dict[str, type] = {
    "model": ModelConfig,
    "data": DataConfig,
    "optimizer": OptimizerConfig,
    "training": TrainingConfig,
}
"""What a configuration is made of, by the names in a file."""

_LIST_OF_TEXTS = "tuple[str, ...]"


def load_config(path: str | Path | None, overrides: Mapping[str, str] | None = None) -> RunConfig:
    """Reads a TOML file, if given, and puts the overrides on top: ``{"model.d-model": "512"}``.

    ``preset``, outside of the sections, names a known run or model, and in the section ``model`` a known model; the
    other keys change it. Raises ConfigError on anything
    that is no valid configuration, naming the file and the key.
    """
    if path is None:
        return make_config(_with_overrides({}, overrides or {}))
    raw = read_toml(path)
    try:
        return make_config(_with_overrides(raw, overrides or {}))
    except ConfigError as error:
        raise ConfigError(f"{path}{' with the options given' if overrides else ''}: {error}") from error


def _with_overrides(raw: dict[str, Any], overrides: Mapping[str, str]) -> dict[str, Any]:
    for key, text in overrides.items():
        section, _, name = key.replace("-", "_").partition(".")
        if key == "preset":
            raw[key] = text
            continue
        if not name:
            raise ConfigError(f"--{key} names no section; write --SECTION.KEY, as in --model.d-model 512")
        raw.setdefault(section, {})
        if not isinstance(raw[section], dict):
            raise ConfigError(f"{section} must be a section, not {raw[section]!r}")
        raw[section][name] = parse_value(text)
    return raw


def make_config(raw: Mapping[str, Any]) -> RunConfig:
    """Builds a configuration from plain dictionaries, one a section, on top of a preset where one is named."""
    raw = with_preset(raw)
    _check_names(raw)
    sections = {name: dict(raw[name]) for name in raw}
    model = sections.get("model", {})
    if "preset" in model:
        base = dataclasses.asdict(preset(str(model.pop("preset"))))
        sections["model"] = base | model
    with needs_extra("a configuration"):
        from pydantic import TypeAdapter, ValidationError
    try:
        return TypeAdapter(RunConfig).validate_json(json.dumps(sections, default=str), strict=True)
    except ValidationError as error:
        # Of a key that may be a text or a list, only that it is no text.
        details = [detail for detail in error.errors() if _LIST_OF_TEXTS not in detail["loc"]]
        raise ConfigError("; ".join(map(_explain, details))) from error


def to_toml(config: RunConfig) -> str:
    """The configuration as TOML that reads back the same; keys whose value is None are left out."""
    return sections_to_toml(dataclasses.asdict(config))


def sections_to_toml(sections: Mapping[str, Mapping[str, Any]]) -> str:
    """Some sections of a configuration as TOML."""
    with needs_extra("writing TOML"):
        import tomli_w
    return tomli_w.dumps({n: {k: v for k, v in s.items() if v is not None} for n, s in sections.items()})


def preset_sections(name: str) -> dict[str, dict[str, Any]]:
    """Every key of a known run with its value, but for those of its data."""
    if name not in RUN_PRESETS:
        known = f"there are {', '.join(RUN_PRESETS)}"
        what = "is a model's preset, not a run's" if name in PRESETS else "is no preset of a run"
        raise ConfigError(f"{name!r} {what}; {known}")
    sections = dataclasses.asdict(make_config({"preset": name, "data": {"train": ""}}))
    return {section: values for section, values in sections.items() if section != "data"}


def differences(old: RunConfig, new: RunConfig) -> dict[str, tuple[Any, Any]]:
    """The keys that differ, each with its old and its new value."""
    before, after = dataclasses.asdict(old), dataclasses.asdict(new)
    keys = [(section, key) for section in before for key in before[section]]
    return {f"{s}.{k}": (before[s][k], after[s][k]) for s, k in keys if before[s][k] != after[s][k]}


def with_absolute_paths(config: RunConfig) -> RunConfig:
    """The same, with files named so that they are found from every folder."""

    def absolute(path: str) -> str:
        return str(Path(path).absolute())

    data = config.data
    moved = dataclasses.replace(
        data,
        train=absolute(data.train) if isinstance(data.train, str) else tuple(map(absolute, data.train)),
        valid=data.valid and absolute(data.valid),
        tokenizer=data.tokenizer and absolute(data.tokenizer),
    )
    return dataclasses.replace(config, data=moved)


def _check_names(raw: Mapping[str, Any]) -> None:
    """Raises ConfigError on a section or key that nobody knows."""
    _refuse_unknown(raw, SECTIONS, "section")
    for name, values in raw.items():
        if not isinstance(values, Mapping):
            raise ConfigError(f"{name} must be a section, not {values!r}")
        known = [f.name for f in dataclasses.fields(SECTIONS[name])] + (["preset"] if name == "model" else [])
        _refuse_unknown(values, known, f"key in [{name}]")


def _refuse_unknown(given: Mapping[str, Any], known: Any, what: str) -> None:
    for name in given:
        if name not in known:
            close = difflib.get_close_matches(name, list(known), n=1, cutoff=0.4)
            hint = f"; did you mean {close[0]!r}?" if close else f"; known: {', '.join(known)}"
            raise ConfigError(f"unknown {what}: {name!r}{hint}")


def _explain(detail: Any) -> str:
    where = ".".join(str(part) for part in detail["loc"] if part not in ("ModelConfig", "str"))
    if detail["type"] == "missing" and where in SECTIONS:
        preset_too = " or --preset NAME" if where == "model" else ""
        return f"the section {where} is missing; set its keys in the file or with --{where}.KEY VALUE{preset_too}"
    if detail["type"] == "missing" and isinstance(detail["loc"][-1], int):
        *key, number = detail["loc"]
        return f"{'.'.join(map(str, key))} has too few values; give at least {number + 1}"
    if detail["type"] == "missing":
        section, _, key = where.replace("_", "-").partition(".")
        return f"{where} is missing; set it in a file under [{section}], or with --{section}.{key or 'KEY'}"
    message = str(detail["msg"]).removeprefix("Value error, ")
    if detail["type"] == "value_error":  # of a whole section, or of the whole configuration, which has no name
        return f"{where}: {message}" if where else message
    if detail["type"] == "string_type":  # as of a file whose name is a number
        return f"{where} must be a text, not {detail['input']!r}; write it in quotes: '\"{detail['input']}\"'"
    return f"{where}: {message}, not {detail['input']!r}"
