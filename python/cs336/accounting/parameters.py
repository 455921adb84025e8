"""How many numbers a model learns, weight by weight.

Source: the shapes of the layers in `cs336.nn`, which are those of the course's hand-out; GPT-2 XL in the course's shape
(RMSNorm, no biases, learned positions, untied head) comes to 1,637,176,000.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from dataclasses import dataclass

from cs336.accounting.formula import Formula, L, N, V, as_formula, d, f, k, sizes
from cs336.config import ModelConfig

__all__ = ["Weight", "num_parameters", "parameter_formulas", "parameters", "weights", "with_head"]


@dataclass(frozen=True)
class Weight:
    """One tensor that is learned, or the same one in every layer."""

    name: str
    """As in a saved model, with * for the number of the layer: `layers.*.attn.q_proj.weight`."""
    component: str
    """token embeddings, position embeddings, attention, feed-forward, norms or output head."""
    shape: tuple[Formula, ...]

    @property
    def in_block(self) -> bool:
        """Whether every layer has one."""
        return self.name.startswith("layers.")

    @property
    def one(self) -> Formula:
        """Numbers in one of them."""
        return math.prod(self.shape, start=as_formula(1))

    @property
    def formula(self) -> Formula:
        """Numbers in the whole model."""
        return self.one * N if self.in_block else self.one


def weights(config: ModelConfig) -> list[Weight]:
    """Every learned tensor of a model, in the order of its state dict. A tied head is the token embeddings."""
    found = [Weight("token_embeddings.weight", "token embeddings", (V, d))]
    if config.positions == "learned":
        found.append(Weight("position_embeddings.weight", "position embeddings", (L, d)))
    found += _block(config)
    if config.norm_placement == "pre":
        found += _norm(config, "ln_final")
    if not config.tie_embeddings:
        found.append(Weight("lm_head.weight", "output head", (V, d)))
    return found


def _block(config: ModelConfig) -> Iterator[Weight]:
    norms = config.norm_placement != "none"
    if norms:
        yield from _norm(config, "layers.*.ln1")
    for name in ("q_proj", "k_proj", "v_proj", "output_proj"):
        yield from _linear(config, f"layers.*.attn.{name}", "attention", d, d)
    if config.qk_norm:
        yield Weight("layers.*.attn.q_norm.weight", "norms", (k,))
        yield Weight("layers.*.attn.k_norm.weight", "norms", (k,))
    if norms and not (config.norm_placement == "post" and config.parallel):
        yield from _norm(config, "layers.*.ln2")
    yield from _linear(config, "layers.*.ffn.w1", "feed-forward", f, d)
    yield from _linear(config, "layers.*.ffn.w2", "feed-forward", d, f)
    if config.ffn == "swiglu":
        yield from _linear(config, "layers.*.ffn.w3", "feed-forward", f, d)


def _linear(config: ModelConfig, name: str, component: str, out: Formula, inner: Formula) -> Iterator[Weight]:
    yield Weight(f"{name}.weight", component, (out, inner))
    if config.bias:
        yield Weight(f"{name}.bias", component, (out,))


def _norm(config: ModelConfig, name: str) -> Iterator[Weight]:
    yield Weight(f"{name}.weight", "norms", (d,))
    if config.norm == "layer" and config.bias:
        yield Weight(f"{name}.bias", "norms", (d,))


def parameter_formulas(config: ModelConfig) -> dict[str, Formula]:
    """Parameters by component, in symbols."""
    formulas: dict[str, Formula] = {}
    for weight in weights(config):
        formulas[weight.component] = formulas.get(weight.component, as_formula(0)) + weight.formula
    return formulas


def parameters(config: ModelConfig) -> dict[str, int]:
    """Parameters by component, in numbers; a tied head adds none."""
    return {name: formula.value(sizes(config)) for name, formula in parameter_formulas(config).items()}


def num_parameters(config: ModelConfig) -> int:
    """All parameters of a model."""
    return sum(parameters(config).values())


def with_head(config: ModelConfig, *, tied: bool) -> ModelConfig:
    """The same model with its head tied to the token embeddings, or with a head of its own."""
    return dataclasses.replace(config, tie_embeddings=tied)
