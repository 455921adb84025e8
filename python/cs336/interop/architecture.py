"""What two descriptions of one model have in common: keys of configurations, names and layouts of weights."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from cs336.config import ModelConfig
from cs336.errors import CheckpointError, ConfigError, UnrepresentableError
from cs336.wording import in_toml

# They size the model, or do not change what a trained one computes.
_FREE = ("vocab_size", "context_length", "d_model", "num_layers", "num_heads", "d_ff", "rope_theta", "norm_eps",
         "tie_embeddings", "residual_pdrop", "attn_pdrop", "init", "zero_init", "attention")  # fmt: skip


@dataclass(frozen=True)
class Key:
    """A key of the other library's configuration, and what it takes where a file leaves it out."""

    theirs: str
    ours: str
    default: Any = None


@dataclass(frozen=True)
class Architecture:
    """One architecture of ``transformers``, as a table."""

    model_type: str
    class_name: str
    needs: Mapping[str, tuple[object, ...]]
    """What keys of our configuration must be."""
    keys: tuple[Key, ...]
    """What both configurations say, in other words."""
    outer: Mapping[str, str]
    """Their names of tensors outside the layers, by ours."""
    layer: str
    """How they call layer ``{}``."""
    inner: Mapping[tuple[str, ...], str]
    """Their names in a layer, by ours; several of ours stand side by side in one of theirs."""
    ignored: tuple[str, ...]
    """Ends of the names of tensors that are no weights."""
    to_theirs: Callable[[str, Tensor, ModelConfig], Tensor]
    """One of our tensors, by its name in a layer, in their layout."""
    to_ours: Callable[[str, Tensor, ModelConfig], Tensor]
    """The inverse."""
    more_to_theirs: Callable[[ModelConfig], dict[str, Any]]
    """What else their configuration says."""
    more_to_ours: Callable[[Mapping[str, Any]], dict[str, Any]]
    """What else ours says; raises UnrepresentableError where theirs asks for something that we have not."""

    def unmet(self, config: ModelConfig) -> list[str]:
        """Why this is not the architecture of a configuration, key by key."""
        reasons = []
        for field in dataclasses.fields(config):
            value = getattr(config, field.name)
            if field.name in _FREE:
                continue
            wanted = self.needs.get(field.name, (field.default,))  # what nobody here knows must be switched off
            if value not in wanted:
                reasons.append(f"model.{field.name} must be {' or '.join(map(in_toml, wanted))}, not {in_toml(value)}")
        return reasons

    def config_to_theirs(self, config: ModelConfig) -> dict[str, Any]:
        """Their configuration."""
        shared = {key.theirs: getattr(config, key.ours) for key in self.keys}
        about = {"architectures": [self.class_name], "model_type": self.model_type}
        return about | shared | self.more_to_theirs(config)

    def config_to_ours(self, raw: Mapping[str, Any]) -> ModelConfig:
        """Our configuration; what theirs says beyond it is refused, and so is by ConfigError what makes no model."""
        for key in self.keys:
            if isinstance(key.default, int) and not isinstance(key.default, bool):
                _check_count(key.theirs, raw.get(key.theirs, key.default))
        shared = {key.ours: raw.get(key.theirs, key.default) for key in self.keys}
        return ModelConfig(**{**shared, **self.more_to_ours(raw)})

    def weights_to_theirs(self, weights: Mapping[str, Tensor], config: ModelConfig) -> dict[str, Tensor]:
        """Their state dict."""
        theirs = {}
        for ours, name in self._names(weights, config):
            parts = [self.to_theirs(_in_layer(one), weights[one], config) for one in ours]
            theirs[name] = torch.cat(parts, dim=-1)
        return theirs

    def weights_to_ours(self, weights: Mapping[str, Tensor], config: ModelConfig, source: object) -> dict[str, Tensor]:
        """Our state dict in float32; raises CheckpointError where a tensor is missing or nobody knows it."""
        from cs336.nn import TransformerLM

        theirs = self._normalized(weights, config)
        wanted = dict(self._names(TransformerLM(config, device="meta").state_dict(), config))
        missing, unknown = set(wanted.values()) - set(theirs), set(theirs) - set(wanted.values())
        if missing or unknown:
            odd = [f"{name} is missing" for name in sorted(missing)] + [
                f"{name} is unknown" for name in sorted(unknown)
            ]
            more = f", and {len(odd) - 3} more" if len(odd) > 3 else ""
            raise CheckpointError(
                f"{source} does not hold the weights of this {self.model_type}: {', '.join(odd[:3])}{more}"
            )
        ours = {}
        for names, name in wanted.items():
            for one, part in zip(names, theirs[name].float().chunk(len(names), dim=-1), strict=True):
                ours[one] = self.to_ours(_in_layer(one), part, config).contiguous()
        return ours

    def _names(self, weights: Mapping[str, Any], config: ModelConfig) -> Iterator[tuple[tuple[str, ...], str]]:
        """Our names and theirs, of all tensors that there are."""
        outer = {(ours,): theirs for ours, theirs in self.outer.items()}
        layers = {
            tuple(f"layers.{number}.{name}" for name in ours): f"{self.layer.format(number)}.{theirs}"
            for number in range(config.num_layers)
            for ours, theirs in self.inner.items()
        }
        for ours, theirs in (outer | layers).items():
            for kind in ("weight", "bias"):
                if f"{ours[0]}.{kind}" in weights:
                    yield tuple(f"{one}.{kind}" for one in ours), f"{theirs}.{kind}"

    def _normalized(self, weights: Mapping[str, Tensor], config: ModelConfig) -> dict[str, Tensor]:
        """Their weights as a model with a head names them, each once, and no buffers."""
        prefix = self.layer.partition(".")[0] + "."
        bare = not any(name.startswith(prefix) for name in weights)  # the model was saved without its head
        named = {
            f"{prefix}{name}" if bare and not name.startswith("lm_head") else name: tensor
            for name, tensor in weights.items()
            if not name.endswith(self.ignored)
        }
        table = named.get(f"{self.outer['token_embeddings']}.weight")
        if config.tie_embeddings and "lm_head.weight" in named and table is not None:
            if not torch.equal(named["lm_head.weight"], table):
                raise CheckpointError(
                    "lm_head.weight differs from the token embeddings, but tie_word_embeddings says that they are one; "
                    "set that to false in config.json"
                )
            del named["lm_head.weight"]
        return named


def _check_count(key: str, value: object) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ConfigError(f"{key} must be a whole number of at least 1, not {in_toml(value)}")


def refuse(key: str, value: object, known: str) -> UnrepresentableError:
    """What a configuration asks for and we have not."""
    return UnrepresentableError(
        f"{key} is {in_toml(value)}, and what can be read is {known}; there is no counterpart here"
    )


def _in_layer(name: str) -> str:
    """``layers.3.attn.q_proj.weight`` without the layer."""
    return name.split(".", 2)[2] if name.startswith("layers.") else name
