"""Runs by name have the course's numbers."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from cs336.errors import ConfigError
from cs336.presets import RUN_PRESETS, with_preset
from cs336.training import RunConfig, make_config


def run(name: str, **sections: object) -> RunConfig:
    return make_config({"preset": name, "data": {"train": "train.npy"}, **sections})


@pytest.mark.parametrize(
    ("name", "parameters", "tokens", "target"),
    [
        ("tinystories", 17_576_448, 327_680_000, 1.45),
        ("tinystories-low-resource", 17_576_448, 32 * 5000 * 256, 2.0),
        ("openwebtext", 17_576_448 + 22_000 * 512, 327_680_000, None),  # a head for 32,000 entries
    ],
)
def test_parameters_tokens_and_target(name: str, parameters: int, tokens: int, target: float | None) -> None:
    config = run(name)
    model, training = config.model, config.training
    # The course's 17M leave out the token embeddings.
    assert model.num_parameters() - model.vocab_size * model.d_model == parameters
    assert training.steps * training.batch_size * model.context_length == tokens
    assert (model.num_layers, model.d_model, model.d_ff, model.num_heads, model.context_length) == (
        4,
        512,
        1344,
        16,
        256,
    )
    assert (model.positions, model.rope_theta, model.ffn) == ("rope", 10_000, "swiglu")
    assert RUN_PRESETS[name].target_loss == target


def test_every_run_is_held_by_a_test() -> None:
    assert list(RUN_PRESETS) == ["tinystories", "tinystories-low-resource", "openwebtext", "speedrun"]


def test_speedrun_is_the_recipe_that_was_measured() -> None:
    """Its rows stand in docs/recipes.json, so that none of its settings changes without being measured."""
    measured = json.loads((Path(__file__).parents[1] / "docs/recipes.json").read_text("utf-8"))
    ours = [one for one in measured["results"] if one["recipe"] == "speedrun"]
    best = min(ours, key=lambda one: one["bits_per_byte"])
    wanted = measured["base"] | best["settings"] | {"training.steps": best["steps"]}
    sections = RUN_PRESETS["speedrun"].sections
    held = {f"{section}.{key}": value for section, values in sections.items() for key, value in values.items()}
    assert held | {"training.device": "cpu"} == wanted
    run("speedrun")


def test_what_is_given_outweighs_the_preset() -> None:
    config = run("tinystories", training={"steps": 600}, model={"num_layers": 2})
    assert (config.training.steps, config.training.batch_size) == (600, 128)
    assert (config.model.num_layers, config.model.d_model) == (2, 512)
    assert run("openwebtext", model={"preset": "gpt2-small"}).model.vocab_size == 32_000
    assert run("tinystories").training.steps == 10_000  # nothing of the changes has stayed


def test_a_model_by_name() -> None:
    assert run("gpt2-small", training={"steps": 1}).model.num_layers == 12
    with pytest.raises(ConfigError, match="the section training is missing"):
        run("gpt2-small")


def test_unknown_names() -> None:
    with pytest.raises(ConfigError, match=r"no preset is called 'tinystory' \(did you mean 'tinystories'\?\); known: "):
        with_preset({"preset": "tinystory"})
    with pytest.raises(ConfigError, match="no preset is called"):
        with_preset({"preset": 3})


def test_they_need_no_torch() -> None:
    code = "import sys, cs336.presets; sys.exit('torch' in sys.modules or 'pydantic' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
