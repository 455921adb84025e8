"""What a model is made of: one frozen configuration that can count its own parameters. Needs no torch."""

from __future__ import annotations

import dataclasses
import difflib
import math
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from cs336.errors import ConfigError
from cs336.files import explained

__all__ = ["PRESETS", "ModelConfig", "preset"]

Positions = Literal["learned", "rope", "none"]
FeedForwardKind = Literal["gelu", "gelu_tanh", "silu", "relu2", "swiglu"]
NormKind = Literal["rms", "layer"]
NormPlacement = Literal["pre", "post", "none"]
Initialization = Literal["course", "gpt2"]
AttentionKind = Literal["sdpa", "reference"]

_CHOICES: dict[str, tuple[str, ...]] = {
    "positions": get_args(Positions),
    "ffn": get_args(FeedForwardKind),
    "norm": get_args(NormKind),
    "norm_placement": get_args(NormPlacement),
    "init": get_args(Initialization),
    "attention": get_args(AttentionKind),
}
_COUNTS = ("vocab_size", "context_length", "d_model", "num_layers", "num_heads", "d_ff")
_SWITCHES = ("bias", "parallel", "tie_embeddings", "qk_norm", "value_residual", "zero_init")


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """A decoder-only Transformer language model. A value that makes no model raises ConfigError naming the field."""

    vocab_size: int
    """Rows of the embedding table: the greatest token id + 1."""
    context_length: int
    """The most tokens the model sees at once. [tokens]"""
    d_model: int
    """Width of the residual stream."""
    num_layers: int
    """Blocks, one after the other."""
    num_heads: int
    """Attention heads a layer; each is d_model / num_heads wide."""
    d_ff: int | None = None
    """Inner width of the feed-forward layer. None: 4 d_model, or for swiglu, which has three matrices instead of two,
    8/3 d_model rounded up to a multiple of 64. `hidden_size` is the value in use."""
    positions: Positions = "rope"
    """How the model knows the order of tokens: added embeddings, rotated queries and keys, or not at all."""
    rope_theta: float = 10000.0
    """rope: pair k of d turns by theta^(-2k/d) a position."""
    ffn: FeedForwardKind = "swiglu"
    """The feed-forward layer: one activation between two matrices, or swiglu, gated by a third."""
    norm: NormKind = "rms"
    """rms: scaled to a root mean square of 1. layer: mean taken away first."""
    norm_placement: NormPlacement = "pre"
    """pre: before each sublayer, and once before the head. post: after each residual addition, as in the first
    Transformer; the last block ends with a norm, so there is none before the head. none: no norms."""
    norm_eps: float = 1e-5
    """Added to the mean square under the root."""
    bias: bool = False
    """Biases in the linear layers (but not the head) and in LayerNorm."""
    parallel: bool = False
    """Attention and feed-forward both read the input of the block, instead of one after the other."""
    tie_embeddings: bool = False
    """The head uses the token embeddings as its weight."""
    residual_pdrop: float = 0.0
    """Dropout after the embeddings and after each sublayer."""
    attn_pdrop: float = 0.0
    """Dropout on attention probabilities."""
    qk_norm: bool = False
    """RMSNorm over each head's queries and keys, before RoPE."""
    value_residual: bool = False
    """Each layer but the first attends over the mean of its own values and the first layer's."""
    init: Initialization = "course"
    """course: variance 2 / (in + out). gpt2: standard deviation 0.02, less where it adds to the residual stream."""
    zero_init: bool = False
    """The last matrix of attention and of feed-forward begins at 0, so that at first no layer changes what it reads."""
    attention: AttentionKind = "sdpa"
    """sdpa: PyTorch's fused kernel. reference: the formula written out, for tests and for reading."""

    def __post_init__(self) -> None:
        for name in _COUNTS:
            self._check_count(name)
        for name, choices in _CHOICES.items():
            value = getattr(self, name)
            if value not in choices:
                raise ConfigError(f"{name} must be one of {', '.join(choices)}, not {value!r}")
        for name in _SWITCHES:
            value = getattr(self, name)
            if not isinstance(value, bool):
                raise ConfigError(f"{name} must be true or false, not {value!r}")
        for name in ("rope_theta", "norm_eps"):
            value = self._number(name)
            if not 0 < value < math.inf:
                raise ConfigError(f"{name} must be a finite number above 0, not {value!r}")
        for name in ("residual_pdrop", "attn_pdrop"):
            value = self._number(name)
            if not 0 <= value < 1:
                raise ConfigError(f"{name} must be a probability from 0 up to, not including, 1, not {value!r}")
        self._check_heads()

    def _check_count(self, name: str) -> None:
        value = getattr(self, name)
        if name == "d_ff" and value is None:
            return
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise ConfigError(f"{name} must be a whole number of at least 1, not {value!r}")

    def _number(self, name: str) -> float:
        value = getattr(self, name)
        if not isinstance(value, int | float) or isinstance(value, bool):
            raise ConfigError(f"{name} must be a number, not {value!r}")
        return value

    def _check_heads(self) -> None:
        if self.d_model % self.num_heads:
            raise ConfigError(f"num_heads must divide d_model: {self.d_model} is not a multiple of {self.num_heads}")
        if self.positions == "rope" and self.head_dim % 2:
            raise ConfigError(
                f"num_heads must leave heads of an even width, because RoPE turns pairs: d_model / num_heads = "
                f"{self.d_model} / {self.num_heads} = {self.head_dim}"
            )

    @property
    def head_dim(self) -> int:
        """Width of one attention head."""
        return self.d_model // self.num_heads

    @property
    def hidden_size(self) -> int:
        """Inner width of the feed-forward layer: `d_ff`, or its default."""
        if self.d_ff is not None:
            return self.d_ff
        if self.ffn != "swiglu":
            return 4 * self.d_model
        return -(-8 * self.d_model // (3 * 64)) * 64

    def num_parameters(self) -> int:
        """The exact number of trainable parameters; a tied head counts once."""
        d = self.d_model
        embeddings = self.vocab_size * d * (1 if self.tie_embeddings else 2)
        if self.positions == "learned":
            embeddings += self.context_length * d
        final_norm = self._norm_size if self.norm_placement == "pre" else 0
        return embeddings + self.num_layers * self._block_size + final_norm

    @property
    def _norm_size(self) -> int:
        has_bias = self.norm == "layer" and self.bias
        return self.d_model * (2 if has_bias else 1)

    @property
    def _block_size(self) -> int:
        d, h = self.d_model, self.hidden_size
        attention = 4 * d * d + (4 * d if self.bias else 0) + (2 * self.head_dim if self.qk_norm else 0)
        ups = 2 if self.ffn == "swiglu" else 1
        feed_forward = (ups + 1) * d * h + (ups * h + d if self.bias else 0)
        norms = {"pre": 2, "post": 1 if self.parallel else 2, "none": 0}[self.norm_placement]
        return attention + feed_forward + norms * self._norm_size


def _course_gpt2(d_model: int, num_layers: int, num_heads: int) -> ModelConfig:
    """GPT-2 as the course counts it: RMSNorm, no biases, learned positions, an untied head."""
    return ModelConfig(
        vocab_size=50257, context_length=1024, d_model=d_model, num_layers=num_layers, num_heads=num_heads,
        positions="learned", ffn="gelu",
    )  # fmt: skip


def _openai_gpt2(d_model: int, num_layers: int, num_heads: int) -> ModelConfig:
    """GPT-2 as OpenAI trained it (Radford et al. 2019): its published weights load into this."""
    return ModelConfig(
        vocab_size=50257, context_length=1024, d_model=d_model, num_layers=num_layers, num_heads=num_heads,
        positions="learned", ffn="gelu_tanh", norm="layer", bias=True, tie_embeddings=True,
        residual_pdrop=0.1, attn_pdrop=0.1, init="gpt2",
    )  # fmt: skip


_GPT2_SIZES = {"small": (768, 12, 12), "medium": (1024, 24, 16), "large": (1280, 36, 20), "xl": (1600, 48, 25)}

PRESETS: dict[str, ModelConfig] = {
    "tinystories-2024": ModelConfig(
        vocab_size=10_000, context_length=256, d_model=512, num_layers=4, num_heads=16, d_ff=2048,
        positions="learned", ffn="gelu", tie_embeddings=True, residual_pdrop=0.1, attn_pdrop=0.1,
    ),
    "tinystories-2025": ModelConfig(
        vocab_size=10_000, context_length=256, d_model=512, num_layers=4, num_heads=16, d_ff=1344,
    ),
    **{f"gpt2-{name}": _course_gpt2(*size) for name, size in _GPT2_SIZES.items()},
    **{f"openai-gpt2-{name}": _openai_gpt2(*size) for name, size in _GPT2_SIZES.items()},
}  # fmt: skip
"""Known models by name."""


def preset(name: str, **overrides: Any) -> ModelConfig:
    """Return a known model, with some fields changed: `preset("tinystories-2025", num_layers=2)`.

    An unknown name or field raises ConfigError with the nearest known one.
    """
    if name not in PRESETS:
        raise ConfigError(f"no preset is called {name!r}{_nearest(name, PRESETS)}; known: {', '.join(PRESETS)}")
    fields = [field.name for field in dataclasses.fields(ModelConfig)]
    for key in overrides:
        if key not in fields:
            raise ConfigError(f"a model has no setting {key!r}{_nearest(key, fields)}")
    return dataclasses.replace(PRESETS[name], **overrides)


def parse_value(text: str) -> Any:
    """A value as TOML writes it, or else the text itself, so that names need no quotes."""
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def _nearest(name: str, known: Any) -> str:
    matches = difflib.get_close_matches(str(name), list(known), n=1)
    return f" (did you mean {matches[0]!r}?)" if matches else ""


def read_toml(path: str | Path) -> dict[str, Any]:
    """A TOML file's tables; raises ConfigError with the path where it is none."""
    try:
        with explained(path):
            return tomllib.loads(Path(path).read_text("utf-8"))
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} is not UTF-8, as TOML must be: {error}; save it as UTF-8") from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path} is not valid TOML: {error}; correct it there") from error
