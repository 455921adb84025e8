from __future__ import annotations

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from cs336.errors import ConfigError
from cs336.nn import (
    Embedding,
    FeedForward,
    LayerNorm,
    Linear,
    MultiheadSelfAttention,
    RMSNorm,
    RotaryPositionalEmbedding,
    SwiGLU,
)

DTYPES = [torch.float32, torch.float64]


def tolerance(dtype: torch.dtype) -> dict[str, float]:
    return {"rtol": 1e-5, "atol": 2e-6} if dtype == torch.float32 else {"rtol": 1e-11, "atol": 1e-12}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("bias", [False, True])
def test_linear(dtype: torch.dtype, bias: bool) -> None:
    theirs = nn.Linear(5, 7, bias=bias, dtype=dtype)
    ours = Linear(5, 7, bias, dtype=dtype)
    ours.load_state_dict(theirs.state_dict())
    x = torch.randn(2, 3, 5, dtype=dtype)
    torch.testing.assert_close(ours(x), theirs(x), **tolerance(dtype))


def test_linear_weights_are_drawn_as_the_hand_out_says() -> None:
    torch.manual_seed(0)
    weight = Linear(300, 700).weight
    std = math.sqrt(2 / 1000)
    assert weight.std().item() == pytest.approx(std, rel=0.03)  # the cut takes 1.3 percent
    assert 2.9 * std < weight.abs().max() <= 3 * std


def test_embedding() -> None:
    torch.manual_seed(0)
    ours = Embedding(1000, 64)
    ids = torch.randint(0, 1000, (2, 3))
    assert torch.equal(ours(ids), ours.weight[ids])
    assert ours.weight.std().item() == pytest.approx(1, rel=0.03)
    assert ours.weight.abs().max() <= 3
    for wrong in (-1, 1000):
        with pytest.raises(IndexError):
            ours(torch.tensor([wrong]))


@pytest.mark.parametrize("dtype", DTYPES)
def test_rms_norm(dtype: torch.dtype) -> None:
    ours, theirs = RMSNorm(16, dtype=dtype), nn.RMSNorm(16, eps=1e-5, dtype=dtype)
    weight = torch.randn(16, dtype=dtype)
    ours.load_state_dict({"weight": weight})
    theirs.load_state_dict({"weight": weight})
    for scale in (1e-3, 1.0, 1e4):
        x = scale * torch.randn(2, 3, 16, dtype=dtype)
        torch.testing.assert_close(ours(x), theirs(x), **tolerance(dtype))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("bias", [False, True])
def test_layer_norm(dtype: torch.dtype, bias: bool) -> None:
    ours = LayerNorm(16, bias=bias, dtype=dtype)
    nn.init.normal_(ours.weight)
    if ours.bias is not None:
        nn.init.normal_(ours.bias)
    theirs = nn.LayerNorm(16, bias=bias, dtype=dtype)
    theirs.load_state_dict(ours.state_dict())
    x = 3 * torch.randn(2, 3, 16, dtype=dtype) + 1
    torch.testing.assert_close(ours(x), theirs(x), **tolerance(dtype))
    formula = (x - x.mean(-1, keepdim=True)) / (x.var(-1, correction=0, keepdim=True) + 1e-5).sqrt() * ours.weight
    torch.testing.assert_close(ours(x), formula + (ours.bias if bias else 0), **tolerance(dtype))


@pytest.mark.parametrize("layer", [RMSNorm(64), LayerNorm(64)])
def test_norms_of_half_precision_are_computed_in_float32(layer: nn.Module) -> None:
    x = (300 * torch.randn(4, 64)).half()  # squares overflow float16
    assert layer(x).dtype == torch.float16
    assert torch.equal(layer(x), layer(x.float()).half())


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("activation", ["gelu", "gelu_tanh", "silu", "relu2"])
def test_feed_forward(dtype: torch.dtype, bias: bool, activation: str) -> None:
    ours = FeedForward(8, 20, activation, bias=bias, dtype=dtype)
    act = {
        "gelu": nn.GELU(),
        "gelu_tanh": nn.GELU(approximate="tanh"),
        "silu": nn.SiLU(),
        "relu2": lambda x: F.relu(x) ** 2,
    }[activation]
    x = torch.randn(2, 3, 8, dtype=dtype)
    expected = F.linear(act(F.linear(x, ours.w1.weight, ours.w1.bias)), ours.w2.weight, ours.w2.bias)
    torch.testing.assert_close(ours(x), expected, **tolerance(dtype))
    assert set(ours.state_dict()) == {"w1.weight", "w2.weight"} | ({"w1.bias", "w2.bias"} if bias else set())


def test_an_unknown_activation() -> None:
    with pytest.raises(ConfigError, match="activation must be one of gelu"):
        FeedForward(8, 20, "tanh")


@pytest.mark.parametrize("dtype", DTYPES)
def test_swiglu_is_llamas(dtype: torch.dtype) -> None:
    from transformers import LlamaConfig
    from transformers.models.llama.modeling_llama import LlamaMLP

    theirs = LlamaMLP(LlamaConfig(hidden_size=8, num_attention_heads=2, intermediate_size=20, hidden_act="silu")).to(
        dtype
    )
    ours = SwiGLU(8, 20, dtype=dtype)
    names = {"w1.weight": "gate_proj.weight", "w2.weight": "down_proj.weight", "w3.weight": "up_proj.weight"}
    ours.load_state_dict({name: theirs.state_dict()[other] for name, other in names.items()})
    x = torch.randn(2, 3, 8, dtype=dtype)
    torch.testing.assert_close(ours(x), theirs(x), **tolerance(dtype))


def turn_by_complex_numbers(x: torch.Tensor, positions: torch.Tensor, theta: float) -> torch.Tensor:
    """RoPE as a product of complex numbers: pair (a, b) is a + ib, turned by exp(i angle)."""
    d_k = x.shape[-1]
    angles = positions.double()[..., None] * theta ** (-torch.arange(0, d_k, 2).double() / d_k)
    pairs = torch.view_as_complex(x.double().unflatten(-1, (-1, 2)).contiguous())
    return torch.view_as_real(pairs * torch.polar(torch.ones_like(angles), angles)).flatten(-2).to(x.dtype)


@pytest.mark.parametrize("dtype", DTYPES)
def test_rope_is_a_turn_of_complex_numbers(dtype: torch.dtype) -> None:
    rope = RotaryPositionalEmbedding(10_000.0, 16, 512, dtype=dtype)
    x = torch.randn(2, 3, 20, 16, dtype=dtype)
    torch.testing.assert_close(rope(x), turn_by_complex_numbers(x, torch.arange(20), 1e4), **tolerance(dtype))
    positions = torch.randint(0, 512, (20,))
    torch.testing.assert_close(rope(x, positions), turn_by_complex_numbers(x, positions, 1e4), **tolerance(dtype))


def test_rope_positions_of_a_batch_are_shared_by_its_heads() -> None:
    rope = RotaryPositionalEmbedding(10_000.0, 16, 64)
    x = torch.randn(2, 3, 5, 16)
    positions = torch.tensor([[0, 1, 2, 3, 4], [7, 8, 9, 10, 63]])
    expected = torch.stack([rope(x[0], positions[0]), rope(x[1], positions[1])])
    torch.testing.assert_close(rope(x, positions), expected)
    torch.testing.assert_close(rope(x, positions[:1]), rope(x))


@pytest.mark.parametrize("dtype", DTYPES)
def test_rope_is_llamas_up_to_the_order_of_dimensions(dtype: torch.dtype) -> None:
    from transformers.models.llama.modeling_llama import apply_rotary_pos_emb

    d_k, length = 16, 30
    x = torch.randn(1, 1, length, d_k, dtype=dtype)
    halves = torch.cat([torch.arange(0, d_k, 2), torch.arange(1, d_k, 2)])  # llama pairs i with i + d_k / 2
    angles = torch.outer(torch.arange(length).double(), 1e4 ** (-torch.arange(0, d_k, 2).double() / d_k)).repeat(1, 2)
    theirs, _ = apply_rotary_pos_emb(x[..., halves], x, angles.cos()[None].to(dtype), angles.sin()[None].to(dtype))
    ours = RotaryPositionalEmbedding(1e4, d_k, length).to(dtype)(x)
    torch.testing.assert_close(ours[..., halves], theirs, **tolerance(dtype))


def test_rope_sees_distances_only() -> None:
    rope = RotaryPositionalEmbedding(10_000.0, 16, 200).double()
    q, k = torch.randn(2, 1, 16, dtype=torch.float64)
    products = [rope(q, torch.tensor([i + 5])) @ rope(k, torch.tensor([i])).T for i in (0, 17, 190)]
    torch.testing.assert_close(products[0], products[1])
    torch.testing.assert_close(products[0], products[2])


@pytest.mark.parametrize("dtype", [*DTYPES, torch.bfloat16])
def test_rope_as_a_complex_product_is_rope_written_out(dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is compiled takes the other way."""
    rope = RotaryPositionalEmbedding(10_000.0, 6, 9)
    whole = torch.randn(2, 9, 7, dtype=dtype)
    for x in (whole[..., :6], whole[..., 1:], torch.randn(2, 6, 9, dtype=dtype).mT, torch.randn(2, 9, 6, dtype=dtype)):
        turned = rope(x)
        monkeypatch.setattr(torch.compiler, "is_compiling", lambda: True)
        torch.testing.assert_close(turned, rope(x))
        monkeypatch.undo()


@pytest.mark.parametrize("changes", [{}, {"bias": True}, {"rope": True}, {"rope": True, "qk_norm": True}])
def test_attention_projects_in_one_product_or_in_three(changes: dict[str, Any]) -> None:
    rope = RotaryPositionalEmbedding(10_000.0, 8, 5) if changes.pop("rope", False) else None
    layer = MultiheadSelfAttention(32, 4, rope=rope, dtype=torch.float64, **changes)
    for parameter in layer.parameters():
        nn.init.normal_(parameter)
    x = torch.randn(2, 5, 32, dtype=torch.float64)
    with torch.no_grad():
        in_three = layer(x)
    torch.testing.assert_close(layer(x), in_three, rtol=1e-12, atol=1e-12)


def test_rope_tables_are_never_rounded_to_half_precision() -> None:
    rope = RotaryPositionalEmbedding(10_000.0, 16, 200)
    cos = rope.cos.clone()
    assert torch.equal(rope.bfloat16().cos, cos)
    assert rope(torch.ones(1, 16).bfloat16()).dtype == torch.bfloat16
    assert torch.equal(rope.double().float().cos, cos)
    empty = RotaryPositionalEmbedding(10_000.0, 16, 200, device="meta").to_empty(device="cpu")
    assert torch.equal(empty.cos, cos)
    assert not rope.state_dict()


def test_rope_refuses_what_it_was_not_made_for() -> None:
    with pytest.raises(ConfigError, match="even, not 7"):
        RotaryPositionalEmbedding(1e4, 7, 8)
    with pytest.raises(ConfigError, match="9 is longer than the 8"):
        RotaryPositionalEmbedding(1e4, 8, 8)(torch.zeros(9, 8))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("attention", ["sdpa", "reference"])
def test_multihead_attention_is_torchs(dtype: torch.dtype, bias: bool, attention: str) -> None:
    theirs = nn.MultiheadAttention(32, 4, bias=bias, batch_first=True, dtype=dtype)
    ours = MultiheadSelfAttention(32, 4, bias=bias, attention=attention, dtype=dtype)
    state: dict[str, Any] = {"output_proj.weight": theirs.out_proj.weight}
    for name, weight in zip("qkv", theirs.in_proj_weight.chunk(3), strict=True):
        state[f"{name}_proj.weight"] = weight
    if bias:
        nn.init.normal_(theirs.in_proj_bias)
        nn.init.normal_(theirs.out_proj.bias)
        state["output_proj.bias"] = theirs.out_proj.bias
        for name, part in zip("qkv", theirs.in_proj_bias.chunk(3), strict=True):
            state[f"{name}_proj.bias"] = part
    ours.load_state_dict(state)
    x = torch.randn(2, 9, 32, dtype=dtype)
    future = torch.ones(9, 9, dtype=torch.bool).triu(1)
    expected, _ = theirs(x, x, x, attn_mask=future, need_weights=False)
    torch.testing.assert_close(ours(x), expected, **tolerance(dtype))
    torch.testing.assert_close(ours(x[0]), expected[0], **tolerance(dtype))  # no batch
    torch.testing.assert_close(ours(x[None]), expected[None], **tolerance(dtype))  # two batch dimensions


def test_attention_takes_positions_of_its_own() -> None:
    rope = RotaryPositionalEmbedding(10_000.0, 8, 64)
    layer = MultiheadSelfAttention(32, 4, rope=rope)
    x = torch.randn(2, 5, 32)
    torch.testing.assert_close(layer(x, torch.arange(5)), layer(x))
    torch.testing.assert_close(layer(x, torch.arange(5)[None] + 7), layer(x), rtol=1e-4, atol=1e-5)  # distances only
    positions = torch.tensor([[0, 1, 2, 3, 4], [0, 2, 4, 6, 8]])
    torch.testing.assert_close(layer(x, positions)[1], layer(x[1], positions[1]))
    assert not torch.allclose(layer(x, positions)[1], layer(x)[1])


def test_query_key_norm_takes_away_the_scale_of_queries_and_keys() -> None:
    layer = MultiheadSelfAttention(32, 4, qk_norm=True, norm_eps=1e-12)
    x = torch.randn(2, 5, 32)
    before = layer(x)
    with torch.no_grad():
        layer.q_proj.weight.mul_(3)
        layer.k_proj.weight.mul_(0.1)
    torch.testing.assert_close(layer(x), before)
    assert layer.state_dict()["q_norm.weight"].shape == (8,)


def test_attention_refuses_bad_settings() -> None:
    with pytest.raises(ConfigError, match="num_heads must divide d_model"):
        MultiheadSelfAttention(32, 5)
    with pytest.raises(ConfigError, match="attention must be"):
        MultiheadSelfAttention(32, 4, attention="flash")
