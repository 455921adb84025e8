"""Operations: the formulas against torch's counter on real models, exactly."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from configurations import configurations
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.flop_counter import FlopCounterMode

from cs336.accounting import (
    backward_flops,
    flops_by_component,
    forward_flops,
    matrix_products,
    num_parameters,
    optimizer_flops,
    step_flops,
)
from cs336.accounting.formula import sizes
from cs336.accounting.optimizers import ADAMW_FLOPS, MUON_ITERATIONS
from cs336.config import ModelConfig, preset
from cs336.errors import ConfigError
from cs336.nn import TransformerLM, cross_entropy
from cs336.optim.muon import orthogonalize

quickly = settings(max_examples=60, deadline=None)


def ids(*shape: int) -> torch.Tensor:
    return torch.zeros(shape, dtype=torch.long)


@given(config=configurations(), batch=st.integers(1, 3))
@quickly
def test_forward_and_backward_equal_the_counter(config: ModelConfig, batch: int) -> None:
    model, tokens = TransformerLM(config), ids(batch, config.context_length)
    with FlopCounterMode(display=False) as forward:
        loss = cross_entropy(model(tokens), tokens)
    with FlopCounterMode(display=False) as backward:
        loss.backward()
    assert forward.get_total_flops() == batch * forward_flops(config)
    fused = config.attention == "sdpa"
    assert backward.get_total_flops() == batch * backward_flops(config, recompute_scores=fused)
    step = step_flops(config, batch)
    assert step.forward == forward.get_total_flops()
    assert step.backward + step.recomputed == backward.get_total_flops()
    assert (step.recomputed > 0) == fused


@given(config=configurations(dropout=True), batch=st.integers(1, 3))
@quickly
def test_dropout_adds_no_products_and_on_the_cpu_attention_is_written_out_under_it(
    config: ModelConfig, batch: int
) -> None:
    model, tokens = TransformerLM(config).train(), ids(batch, config.context_length)
    with FlopCounterMode(display=False) as counter:
        cross_entropy(model(tokens), tokens).backward()
    done_by = "reference" if config.attn_pdrop else config.attention
    step = step_flops(config, batch, attention=done_by)
    assert counter.get_total_flops() == step.model + step.recomputed


@given(config=configurations(), data=st.data())
@quickly
def test_tokens_after_a_cache_equal_the_counter(config: ModelConfig, data: st.DataObject) -> None:
    past = data.draw(st.integers(0, config.context_length - 1))
    tokens = data.draw(st.integers(1, config.context_length - past))
    model = TransformerLM(config).eval()
    cache = model.new_cache(2)
    with torch.no_grad():
        if past:
            model(ids(2, past), cache=cache)
        with FlopCounterMode(display=False) as counter:
            model(ids(2, tokens), cache=cache)
    assert counter.get_total_flops() == 2 * forward_flops(config, tokens=tokens, past=past)


@pytest.mark.parametrize("shape", [(6, 10), (10, 6), (7, 7)])
def test_muon_equals_the_counter(shape: tuple[int, int]) -> None:
    config = ModelConfig(vocab_size=5, context_length=4, d_model=6, num_layers=3, num_heads=1, d_ff=10, ffn="gelu")
    with FlopCounterMode(display=False) as counter:
        orthogonalize(torch.randn(shape), steps=MUON_ITERATIONS)
    r, c = sorted(shape)
    assert counter.get_total_flops() == MUON_ITERATIONS * (4 * r * r * c + 2 * r**3)
    in_muon = 4 * 6 * 6 + 2 * 6 * 10
    rest = num_parameters(config) - 3 * in_muon
    expected = 3 * 4 * 5 * (6 * 6**3) + 3 * 2 * 5 * (4 * 6 * 6 * 10 + 2 * 6**3) + 14 * rest
    assert optimizer_flops(config, "muon") == expected


def test_optimizers_by_parameter() -> None:
    config = preset("gpt2-small")
    assert sum(ADAMW_FLOPS.values()) == 14
    assert optimizer_flops(config, "adamw") == 14 * num_parameters(config)
    assert optimizer_flops(config, "sgd") == 2 * num_parameters(config)


def test_gpt2_xl_product_by_product() -> None:
    """By another hand: the course's own way of adding it up."""
    tokens, d, heads, ff, layers, vocabulary = 1024, 1600, 25, 6400, 48, 50257
    by_hand = {
        "Q projection": layers * 2 * tokens * d * d,
        "K projection": layers * 2 * tokens * d * d,
        "V projection": layers * 2 * tokens * d * d,
        "scores Q·K": layers * heads * 2 * tokens * (d // heads) * tokens,
        "weighted sum of V": layers * heads * 2 * tokens * tokens * (d // heads),
        "output projection": layers * 2 * tokens * d * d,
        "feed-forward W1": layers * 2 * tokens * d * ff,
        "feed-forward W2": layers * 2 * tokens * ff * d,
        "output head": 2 * tokens * d * vocabulary,
    }
    products = matrix_products(preset("gpt2-xl"))
    assert {product.name: product.flops for product in products} == by_hand
    assert sum(by_hand.values()) == forward_flops(preset("gpt2-xl")) == 3_506_703_564_800
    shapes = {product.name: (product.left, product.right, product.copies) for product in products}
    assert shapes["scores Q·K"] == ((1024, 64), (64, 1024), 1200)
    assert shapes["feed-forward W2"] == ((1024, 6400), (6400, 1600), 48)


@given(config=configurations(), past=st.integers(0, 5))
def test_symbols_say_the_same_as_numbers(config: ModelConfig, past: int) -> None:
    for product in matrix_products(config, tokens=3, past=past):
        assert product.formula.value(sizes(config, L=3, S=past + 3)) == product.flops


@pytest.mark.parametrize("name", ["gpt2-small", "gpt2-medium", "gpt2-large", "gpt2-xl"])
def test_feed_forward_leads_in_every_size_and_the_scores_at_long_context(name: str) -> None:
    short = flops_by_component(preset(name))
    assert max(short, key=short.__getitem__) == "feed-forward"
    long = flops_by_component(preset(name, context_length=16_384))
    assert max(long, key=long.__getitem__) == "scores"


def test_checkpointing_runs_every_block_once_more() -> None:
    config = dataclasses.replace(preset("gpt2-small"), attention="reference")
    plain, again = step_flops(config, 3), step_flops(config, 3, checkpointing=True)
    assert plain.recomputed == 0
    assert again.recomputed == 3 * (forward_flops(config) - flops_by_component(config)["output head"])
    assert again.model == plain.model
    assert again.total == plain.total + again.recomputed


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda c: forward_flops(c, tokens=0), "tokens must be a whole number of at least 1, not 0"),
        (lambda c: forward_flops(c, past=-1), "past must be a whole number of at least 0, not -1"),
        (lambda c: forward_flops(c, tokens=2.5), "tokens must be a whole number of at least 1, not 2.5"),
        (lambda c: step_flops(c, True), "batch_size must be a whole number of at least 1, not True"),
        (lambda c: step_flops(c, 1, optimizer="adam"), "no optimizer is called 'adam'; did you mean 'adamw'"),
        (lambda c: step_flops(c, 1, attention="flash"), "no attention is called 'flash'"),
    ],
)
def test_nonsense_is_refused(call, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        call(preset("gpt2-small"))
