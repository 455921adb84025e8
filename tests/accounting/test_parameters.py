"""The weights that the formulas list are those that the model has."""

from __future__ import annotations

import pytest
from configurations import configurations
from hypothesis import given, settings

from cs336.accounting import num_parameters, parameters, weights
from cs336.accounting.formula import sizes
from cs336.accounting.parameters import with_head
from cs336.accounting.writeup import WRITTEN_PARAMETERS
from cs336.config import PRESETS, ModelConfig, preset
from cs336.nn import TransformerLM


@given(config=configurations())
@settings(max_examples=200, deadline=None)
def test_every_weight_has_the_name_and_the_shape_of_the_model_s(config: ModelConfig) -> None:
    numbers = sizes(config)
    counted = {
        weight.name.replace("*", str(layer)): tuple(side.value(numbers) for side in weight.shape)
        for weight in weights(config)
        for layer in range(config.num_layers if weight.in_block else 1)
    }
    model = TransformerLM(config, device="meta")
    assert counted == {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    assert num_parameters(config) == config.num_parameters() == model.num_parameters()


@pytest.mark.parametrize("name", PRESETS)
def test_presets_are_counted_alike(name: str) -> None:
    assert num_parameters(PRESETS[name]) == TransformerLM(PRESETS[name], device="meta").num_parameters()


@pytest.mark.parametrize("name", WRITTEN_PARAMETERS)
def test_the_write_up_counts_parameters_right(name: str) -> None:
    assert num_parameters(preset(name)) == WRITTEN_PARAMETERS[name]


def test_gpt2_xl_by_component_tied_and_untied() -> None:
    config = preset("gpt2-xl")
    assert parameters(config) == {
        "token embeddings": 80_411_200,
        "position embeddings": 1_638_400,
        "norms": 155_200,
        "attention": 491_520_000,
        "feed-forward": 983_040_000,
        "output head": 80_411_200,
    }
    assert num_parameters(with_head(config, tied=False)) == 1_637_176_000
    assert num_parameters(with_head(config, tied=True)) == 1_556_764_800
    assert "output head" not in parameters(with_head(config, tied=True))
