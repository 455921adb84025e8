from __future__ import annotations

import dataclasses
import math
import subprocess
import sys

import pytest

from cs336.config import PRESETS, ModelConfig, preset
from cs336.errors import ConfigError

SMALL = ModelConfig(vocab_size=100, context_length=16, d_model=32, num_layers=2, num_heads=4)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"vocab_size": 0}, "vocab_size must be a whole number"),
        ({"context_length": -1}, "context_length must be a whole number"),
        ({"d_model": 32.0}, "d_model must be a whole number"),
        ({"num_layers": True}, "num_layers must be a whole number"),
        ({"num_heads": "4"}, "num_heads must be a whole number"),
        ({"d_ff": 0}, "d_ff must be a whole number"),
        ({"num_heads": 5}, "num_heads must divide d_model"),
        ({"num_heads": 32}, "num_heads must leave heads of an even width"),
        ({"positions": "alibi"}, "positions must be one of learned, rope, none"),
        ({"ffn": "relu"}, "ffn must be one of"),
        ({"norm": "batch"}, "norm must be one of"),
        ({"norm_placement": "sandwich"}, "norm_placement must be one of"),
        ({"init": "zeros"}, "init must be one of"),
        ({"attention": "flash"}, "attention must be one of"),
        ({"positions": ["rope"]}, "positions must be one of"),
        ({"bias": 1}, "bias must be true or false"),
        ({"tie_embeddings": None}, "tie_embeddings must be true or false"),
        ({"rope_theta": 0.0}, "rope_theta must be a finite number"),
        ({"norm_eps": math.nan}, "norm_eps must be a finite number"),
        ({"norm_eps": "1e-5"}, "norm_eps must be a number"),
        ({"residual_pdrop": 1.0}, "residual_pdrop must be a probability"),
        ({"attn_pdrop": -0.1}, "attn_pdrop must be a probability"),
    ],
)
def test_what_makes_no_model_is_refused_by_name(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        dataclasses.replace(SMALL, **changes)


def test_heads_of_odd_width_are_fine_without_rope() -> None:
    assert dataclasses.replace(SMALL, num_heads=32, positions="learned").head_dim == 1


def test_a_configuration_is_frozen() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        SMALL.d_model = 64  # type: ignore[misc]


@pytest.mark.parametrize(
    ("d_model", "ffn", "d_ff", "expected"),
    [
        (512, "gelu", None, 2048),
        (512, "swiglu", None, 1408),  # 1365.3 rounded up to a multiple of 64
        (768, "swiglu", None, 2048),  # exact already
        (512, "swiglu", 1344, 1344),
        (512, "silu", 7, 7),
    ],
)
def test_inner_width(d_model: int, ffn: str, d_ff: int | None, expected: int) -> None:
    config = ModelConfig(
        vocab_size=10, context_length=4, d_model=d_model, num_layers=1, num_heads=4, ffn=ffn, d_ff=d_ff
    )
    assert config.hidden_size == expected


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("tinystories-2024", 10_000 * 512 + 256 * 512 + 4 * (4 * 512**2 + 2 * 512 * 2048 + 2 * 512) + 512),
        ("tinystories-2025", 2 * 10_000 * 512 + 4 * (4 * 512**2 + 3 * 512 * 1344 + 2 * 512) + 512),
        ("gpt2-small", 162_935_040),
        ("gpt2-xl", 1_637_176_000),  # the count of the course
        ("openai-gpt2-small", 124_439_808),  # the counts of the published weights
        ("openai-gpt2-medium", 354_823_168),
        ("openai-gpt2-large", 774_030_080),
        ("openai-gpt2-xl", 1_557_611_200),
    ],
)
def test_presets_have_the_known_number_of_parameters(name: str, parameters: int) -> None:
    assert preset(name).num_parameters() == parameters


def test_a_preset_with_changes() -> None:
    assert preset("tinystories-2025", num_layers=2) == dataclasses.replace(PRESETS["tinystories-2025"], num_layers=2)


def test_unknown_names_get_the_nearest_known() -> None:
    with pytest.raises(ConfigError, match=r"'gpt2-smal'.*did you mean 'gpt2-small'"):
        preset("gpt2-smal")
    with pytest.raises(ConfigError, match=r"'num_layer'.*did you mean 'num_layers'"):
        preset("gpt2-small", num_layer=2)


def test_a_configuration_needs_no_torch() -> None:
    code = "import sys, cs336; cs336.ModelConfig; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
