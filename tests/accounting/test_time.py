"""Devices, time and generation: against arithmetic by another hand, and against the model's own cache."""

from __future__ import annotations

import pytest
from configurations import configurations
from hypothesis import given, settings

from cs336.accounting import DEVICES, find_device, flops_per_token, generation, kv_cache_bytes, mfu, training_time
from cs336.config import ModelConfig, preset
from cs336.errors import ConfigError
from cs336.nn import TransformerLM

XL = preset("gpt2-xl")


@pytest.mark.parametrize(("dtype", "days"), [("float32", 5115.19), ("bfloat16", 319.70)])
def test_the_course_s_question_of_days(dtype: str, days: float) -> None:
    """GPT-2 XL, 400,000 steps of 1,024 sequences on one A100 at half its peak."""
    time = training_time(XL, steps=400_000, batch_size=1024, peak_flops=DEVICES["a100"].peak(dtype), mfu=0.5)
    assert time.flops == 400_000 * 1024 * 3 * 3_506_703_564_800
    assert time.days == pytest.approx(days, abs=0.01)
    assert time.seconds == pytest.approx(time.flops / (0.5 * {"float32": 19.5e12, "bfloat16": 312e12}[dtype]))
    assert time.seconds_per_step * 400_000 == pytest.approx(time.seconds)
    assert time.tokens_per_second == pytest.approx(1024 * 1024 / time.seconds_per_step)


def test_utilization_is_the_inverse_of_time() -> None:
    peak = DEVICES["h100"].peak("bfloat16")
    time = training_time(XL, steps=7, batch_size=3, peak_flops=peak, mfu=0.37, devices=4)
    assert mfu(XL, tokens_per_second=time.tokens_per_second, peak_flops=peak, devices=4) == pytest.approx(0.37)


def test_a_token_takes_about_six_operations_a_parameter() -> None:
    assert flops_per_token(XL) == 3 * 3_506_703_564_800 / 1024
    assert flops_per_token(XL) / (6 * XL.num_parameters()) == pytest.approx(1, abs=0.1)


@pytest.mark.parametrize(
    ("name", "known"),
    [
        ("a100", "a100"),
        ("NVIDIA A100-SXM4-80GB", "a100"),
        ("NVIDIA A100-SXM4-40GB", "a100-40gb"),
        ("NVIDIA A100-PCIE-40GB", "a100-40gb"),
        ("NVIDIA A100 80GB PCIe", "a100"),
        ("NVIDIA H100 80GB HBM3", "h100"),
        ("NVIDIA H100 PCIe", "h100-pcie"),
        ("NVIDIA H200", "h200"),
        ("NVIDIA B200", "b200"),
        ("Tesla T4", "t4"),
        ("Tesla V100-SXM2-16GB", "v100-16gb"),
        ("Tesla V100-SXM2-32GB", "v100"),
        ("NVIDIA GeForce RTX 4090", "rtx4090"),
        ("NVIDIA A10", "a10"),
        ("NVIDIA L4", "l4"),
        ("NVIDIA L40S", "l40s"),
    ],
)
def test_a_card_is_found_by_the_name_that_cuda_gives(name: str, known: str) -> None:
    assert find_device(name) is DEVICES[known]


@pytest.mark.parametrize(
    ("name", "hint"),
    [("h1000", "did you mean 'h100'"), ("NVIDIA H100 NVL", "known: "), ("NVIDIA GeForce RTX 3090 Ti", "known: ")],
)
def test_an_unknown_card_is_refused(name: str, hint: str) -> None:
    with pytest.raises(ConfigError, match=f"no device is called '{name}'; {hint}"):
        find_device(name)


def test_a_type_that_a_card_lacks_is_refused() -> None:
    with pytest.raises(ConfigError, match="v100 has no bfloat16; it has float32, float16"):
        DEVICES["v100"].peak("bfloat16")
    with pytest.raises(ConfigError, match="no dtype is called 'int8'"):
        DEVICES["v100"].peak("int8")


@given(config=configurations())
@settings(max_examples=50, deadline=None)
def test_the_cache_takes_what_the_model_s_own_takes(config: ModelConfig) -> None:
    cache = TransformerLM(config).new_cache(3)
    own = sum(layer.keys_BHSD.nbytes + layer.values_BHSD.nbytes for layer in cache.layers)
    assert kv_cache_bytes(config, batch_size=3) == own
    assert kv_cache_bytes(config, batch_size=3, dtype="bfloat16") == own // 2
    assert kv_cache_bytes(config, batch_size=3, tokens=1) * config.context_length == own


def test_a_token_waits_for_memory_alone_and_for_compute_in_a_crowd() -> None:
    a100 = DEVICES["a100"]
    alone = generation(XL, dtype="bfloat16", device=a100)
    looked_up = 50257 * 1600 + 1024 * 1600
    read = 2 * (1_637_176_000 - looked_up) + 2 * 2 * 48 * 1024 * 1600
    assert (alone.bound, alone.token_seconds) == ("memory", pytest.approx(read / 2039e9))
    assert alone.prefill_seconds == pytest.approx(3_506_703_564_800 / 312e12)
    short = preset("gpt2-xl", context_length=2)
    crowd = generation(short, batch_size=4096, dtype="bfloat16", device=a100)
    assert (crowd.bound, crowd.token_seconds) == ("compute", pytest.approx(crowd.token_flops / 312e12))
    assert generation(XL).token_seconds is None


def test_a_tied_table_is_read_as_the_head() -> None:
    tied = preset("gpt2-xl", tie_embeddings=True)
    times = [generation(config, device=DEVICES["a100"]).token_seconds for config in (XL, tied)]
    assert times[0] == times[1]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"steps": 0}, "steps must be a whole number of at least 1, not 0"),
        ({"batch_size": -1}, "batch_size must be a whole number of at least 1, not -1"),
        ({"devices": 0}, "devices must be"),
        ({"mfu": 0}, "mfu must be a finite number above 0, at most 1, not 0"),
        ({"mfu": 1.5}, "mfu must be a finite number above 0, at most 1, not 1.5"),
        ({"mfu": float("nan")}, "mfu must be a finite number"),
        ({"peak_flops": -1e12}, "peak_flops must be a finite number above 0, not -1"),
        ({"peak_flops": float("inf")}, "peak_flops must be a finite number above 0, not inf"),
        ({"peak_flops": "fast"}, "peak_flops must be a finite number above 0, not 'fast'"),
    ],
)
def test_nonsense_is_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        training_time(XL, **({"steps": 1, "batch_size": 1, "peak_flops": 1e12} | changes))
