"""What an ablation changes, counted by the accounting."""

from __future__ import annotations

import dataclasses

import pytest
from small_runs import small_config

from cs336.accounting import parameters
from cs336.config import PRESETS, ModelConfig
from cs336.errors import ConfigError
from cs336.experiments.variants import BASELINE, ablation_arms, default_variants, equal_d_ff, vary

KINDS = ("gelu", "silu", "relu2", "swiglu")


def feed_forward(config: ModelConfig) -> int:
    return parameters(config)["feed-forward"]


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("base", [PRESETS["tinystories-2025"], PRESETS["tinystories-2024"], PRESETS["gpt2-small"]])
@pytest.mark.parametrize("kind", KINDS)
def test_feed_forward_layers_have_equal_parameters(base, kind, bias):
    base = dataclasses.replace(base, bias=bias)
    other = dataclasses.replace(base, ffn=kind, d_ff=equal_d_ff(base, kind))
    unit = (3 * base.d_model + 2) if kind == "swiglu" else (2 * base.d_model + 1)
    off = abs(feed_forward(other) - feed_forward(base)) / base.num_layers
    assert off <= unit / 2  # no other width is nearer
    if kind == "swiglu" or base.ffn != "swiglu":
        return
    assert equal_d_ff(base, kind) in (base.hidden_size * 3 // 2, base.hidden_size * 3 // 2 + 1)


def test_the_default_is_every_change_of_the_issue(tmp_path):
    switches = ("baseline", "no-norm", "post-norm", "no-positions", "parallel", "tied")
    assert default_variants(small_config(tmp_path)) == (*switches, "gelu", "silu", "relu2", "batch-4", "batch-16")


@pytest.mark.parametrize("name", ["no-norm", "post-norm", "no-positions", "parallel", "tied"])
def test_a_switch_changes_one_key(tmp_path, name):
    config = small_config(tmp_path)
    key, value = {
        "no-norm": ("norm_placement", "none"),
        "post-norm": ("norm_placement", "post"),
        "no-positions": ("positions", "none"),
        "parallel": ("parallel", True),
        "tied": ("tie_embeddings", True),
    }[name]
    assert vary(config, name) == dataclasses.replace(config, model=dataclasses.replace(config.model, **{key: value}))


def test_batches_see_equal_tokens_and_are_measured_on_the_same_ones(tmp_path):
    config = small_config(tmp_path, steps=32, warmup_steps=8)
    arms = ablation_arms(config, ["batch-2", "batch-16", "batch-3"], rates=[0.01], seeds=[0])
    found = {arm.about["variant"]: arm.config for arm in arms}
    trained = {name: one.training.steps * one.training.batch_size for name, one in found.items()}
    assert trained == {BASELINE: 256, "batch-2": 256, "batch-16": 256, "batch-3": 255}
    assert {name: one.optimizer.warmup_steps for name, one in found.items()} == {
        BASELINE: 8, "batch-2": 32, "batch-16": 4, "batch-3": 21
    }  # fmt: skip
    measured = {one.training.eval_batches * one.training.batch_size for one in found.values()}
    assert measured == {48}  # at least the 16 of before, and a multiple of every batch


def test_every_change_stands_at_every_rate_and_seed(tmp_path):
    arms = ablation_arms(small_config(tmp_path, min_lr=1e-4), ["tied"], rates=[0.01, 0.03], seeds=[4, 5])
    assert [arm.name for arm in arms[:3]] == [
        "baseline-lr-0.01-seed-4",
        "baseline-lr-0.01-seed-5",
        "baseline-lr-0.03-seed-4",
    ]
    assert len({arm.name for arm in arms}) == len(arms) == 8
    last = arms[-1].config
    assert (last.optimizer.lr, last.training.seed, last.model.tie_embeddings) == (0.03, 5, True)
    assert last.optimizer.min_lr == pytest.approx(3e-3)  # the proportion is kept


@pytest.mark.parametrize(
    ("name", "message"),
    [("no-norms", "did you mean 'no-norm'"), ("batch-x", "write batch-16"), ("batch-0", "write batch-16")],
)
def test_a_change_that_nobody_knows(tmp_path, name, message):
    with pytest.raises(ConfigError, match=message):
        vary(small_config(tmp_path), name)
