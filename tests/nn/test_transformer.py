from __future__ import annotations

import dataclasses
import math
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from cs336.config import ModelConfig, preset
from cs336.errors import CheckpointError, ConfigError
from cs336.nn import TransformerBlock, TransformerLM, cross_entropy

SMALL = ModelConfig(vocab_size=50, context_length=12, d_model=16, num_layers=2, num_heads=4, d_ff=24)

SWITCHES = st.fixed_dictionaries(
    {
        "positions": st.sampled_from(["learned", "rope", "none"]),
        "ffn": st.sampled_from(["gelu", "gelu_tanh", "silu", "relu2", "swiglu"]),
        "norm": st.sampled_from(["rms", "layer"]),
        "norm_placement": st.sampled_from(["pre", "post", "none"]),
        "bias": st.booleans(),
        "parallel": st.booleans(),
        "tie_embeddings": st.booleans(),
        "qk_norm": st.booleans(),
        "value_residual": st.booleans(),
        "init": st.sampled_from(["course", "gpt2"]),
        "d_ff": st.sampled_from([None, 24]),
        "num_heads": st.sampled_from([1, 2, 4]),
    }
)
every_configuration = given(switches=SWITCHES)
quickly = settings(max_examples=60, deadline=None)


def build(config: ModelConfig, dtype: torch.dtype = torch.float64, **changes: object) -> TransformerLM:
    """A model in evaluation whose biases and norms are not trivial."""
    torch.manual_seed(0)
    model = TransformerLM(dataclasses.replace(config, **changes), dtype=dtype).eval()
    for parameter in model.parameters():
        if parameter.dim() == 1:
            nn.init.normal_(parameter, mean=parameter.mean().item(), std=0.3)
    return model


def ids(*shape: int, vocab_size: int = SMALL.vocab_size) -> Tensor:
    return torch.randint(0, vocab_size, shape, generator=torch.Generator().manual_seed(1))


@every_configuration
@quickly
def test_parameters_are_counted_exactly(switches: dict[str, object]) -> None:
    config = dataclasses.replace(SMALL, **switches)
    model = TransformerLM(config, device="meta")
    assert config.num_parameters() == model.num_parameters() == sum(p.numel() for p in model.state_dict().values())


@every_configuration
@quickly
def test_the_kernel_equals_the_formula(switches: dict[str, object]) -> None:
    fast, readable = build(SMALL, **switches), build(SMALL, **switches, attention="reference")
    torch.testing.assert_close(fast(ids(2, 12)), readable(ids(2, 12)), rtol=1e-10, atol=1e-10)


@every_configuration
@quickly
def test_the_cache_equals_the_whole(switches: dict[str, object]) -> None:
    for attention in ("sdpa", "reference"):
        model = build(SMALL, **switches, attention=attention)
        tokens, cache = ids(2, 12), model.new_cache(2)
        with torch.no_grad():
            parts = [model(tokens[:, start:end], cache=cache) for start, end in pairwise([0, 3, 4, 5, 9, 12])]
            torch.testing.assert_close(torch.cat(parts, dim=1), model(tokens), rtol=1e-10, atol=1e-10)
        assert cache.length == 12
        cache.reset()
        assert cache.length == 0


@every_configuration
@quickly
def test_no_logit_knows_a_later_token(switches: dict[str, object]) -> None:
    for attention in ("sdpa", "reference"):
        for dtype in (torch.float32, torch.float64):
            model = build(SMALL, dtype, **switches, attention=attention)
            tokens, changed = ids(2, 12), ids(2, 12)
            changed[:, 7:] = (changed[:, 7:] + 1) % SMALL.vocab_size
            with torch.no_grad():
                before, after = model(tokens), model(changed)
            assert torch.equal(before[:, :7], after[:, :7])
            assert not torch.equal(before[:, 7:], after[:, 7:])


@pytest.mark.parametrize("length", [33, 130, 256])
@pytest.mark.parametrize("attention", ["sdpa", "reference"])
def test_causal_to_the_bit_at_the_sizes_of_blocked_kernels(attention: str, length: int) -> None:
    config = ModelConfig(vocab_size=50, context_length=256, d_model=64, num_layers=2, num_heads=2, attention=attention)
    model = build(config, torch.float32)
    tokens = ids(2, length)
    with torch.no_grad():
        before = model(tokens)
        for place in (1, length // 2, length - 1):
            changed = tokens.clone()
            changed[:, place:] = (changed[:, place:] + 7) % 50
            assert torch.equal(before[:, :place], model(changed)[:, :place])


@every_configuration
@quickly
def test_every_parameter_is_learned(switches: dict[str, object]) -> None:
    model = build(SMALL, **switches).train()
    cross_entropy(model(ids(4, 12)), ids(4, 12).flip(0)).backward()
    # Softmax does not see what is added to every score of a row: the bias of the keys, unless RoPE or a norm follows.
    idle = "k_proj.bias" if model.config.positions != "rope" and not model.config.qk_norm else "nothing"
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert idle in name or parameter.grad.abs().max() > 0, name


def test_weight_names_are_those_of_the_hand_outs() -> None:
    block = [f"attn.{name}_proj" for name in ("q", "k", "v", "output")] + ["ffn.w1", "ffn.w2", "ln1", "ln2"]

    def names(block: list[str], *others: str) -> set[str]:
        return {f"layers.{i}.{name}.weight" for i in range(2) for name in block} | {f"{name}.weight" for name in others}

    edition_2025 = build(SMALL)
    assert set(edition_2025.state_dict()) == names([*block, "ffn.w3"], "token_embeddings", "ln_final", "lm_head")
    edition_2024 = build(SMALL, positions="learned", ffn="gelu")
    assert set(edition_2024.state_dict()) == names(
        block, "token_embeddings", "position_embeddings", "ln_final", "lm_head"
    )
    with_biases = build(SMALL, norm="layer", bias=True, tie_embeddings=True)
    weights = names([*block, "ffn.w3"], "token_embeddings", "ln_final")
    assert set(with_biases.state_dict()) == weights | {
        name.replace("weight", "bias") for name in weights if name != "token_embeddings.weight"
    }


def test_a_tied_head_is_stored_once_and_may_be_loaded_twice() -> None:
    model, other = build(SMALL, tie_embeddings=True), TransformerLM(dataclasses.replace(SMALL, tie_embeddings=True))
    other = other.double().eval()
    state = model.state_dict()
    assert "lm_head.weight" not in state
    table = state["token_embeddings.weight"]
    for extra in ({}, {"lm_head.weight": table.clone()}):
        other.load_state_dict({**state, **extra})
        assert torch.equal(other(ids(2, 5)), model(ids(2, 5)))
    only_head = {("lm_head.weight" if name.startswith("token") else name): value for name, value in state.items()}
    other.load_state_dict(only_head)
    assert torch.equal(other(ids(2, 5)), model(ids(2, 5)))
    with pytest.raises(CheckpointError, match="tie_embeddings to false"):
        other.load_state_dict({**state, "lm_head.weight": table + 1})


def test_an_untied_model_needs_both_tables() -> None:
    state = build(SMALL).state_dict()
    del state["lm_head.weight"]
    with pytest.raises(RuntimeError, match=r"Missing key.*lm_head\.weight"):
        build(SMALL).load_state_dict(state)


def test_placements_of_norms() -> None:
    x = torch.randn(2, 5, 16, dtype=torch.float64)

    def block(**changes: object) -> TransformerBlock:
        return TransformerBlock(dataclasses.replace(SMALL, **changes), dtype=torch.float64)

    b = block()
    z = x + b.attn(b.ln1(x))
    torch.testing.assert_close(b(x), z + b.ffn(b.ln2(z)))
    b = block(parallel=True)
    torch.testing.assert_close(b(x), x + b.attn(b.ln1(x)) + b.ffn(b.ln2(x)))
    b = block(norm_placement="post")
    z = b.ln1(x + b.attn(x))
    torch.testing.assert_close(b(x), b.ln2(z + b.ffn(z)))
    b = block(norm_placement="post", parallel=True)
    torch.testing.assert_close(b(x), b.ln1(x + b.attn(x) + b.ffn(x)))
    b = block(norm_placement="none")
    z = x + b.attn(x)
    torch.testing.assert_close(b(x), z + b.ffn(z))


def test_dropout_after_the_embeddings_and_each_sublayer_in_training_only() -> None:
    model = build(SMALL, residual_pdrop=0.5, attn_pdrop=0.5)
    assert torch.equal(model(ids(2, 5)), model(ids(2, 5)))
    dropped = []
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.register_forward_hook(lambda module, args, out: dropped.append((out == 0).double().mean().item()))
    model.train()(ids(2, 12))
    assert len(dropped) == 1 + 2 * SMALL.num_layers
    assert all(0.3 < share < 0.7 for share in dropped)


@pytest.mark.parametrize("value_residual", [False, True])
def test_checkpointing_changes_no_gradient_and_runs_each_layer_again(value_residual: bool) -> None:
    """With dropout, which must draw the same numbers the second time."""
    gradients, calls = [], []
    for checkpointing in (False, True):
        model = build(SMALL, residual_pdrop=0.2, value_residual=value_residual).train()
        model.activation_checkpointing = checkpointing
        model.layers[1].register_forward_pre_hook(lambda *_: calls.append(None))
        torch.manual_seed(1)
        mask = torch.ones(12, 12, dtype=torch.bool).tril()[None, None]
        model(ids(2, 12), mask=mask, targets_BT=ids(2, 12).flip(0)).backward()
        gradients.append({name: parameter.grad for name, parameter in model.named_parameters()})
    torch.testing.assert_close(gradients[1], gradients[0], rtol=0, atol=0)
    assert len(calls) == 1 + 2


def test_a_narrow_stream_is_of_autocasts_type() -> None:
    model = build(SMALL).float()
    seen: list[torch.dtype] = []
    model.layers[1].register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].dtype))
    losses = []
    for narrow in (False, True):
        model.narrow_stream = narrow
        model(ids(2, 12))  # without autocast it changes nothing
        with torch.autocast("cpu", torch.bfloat16):
            losses.append(model(ids(2, 12), targets_BT=ids(2, 12).flip(0)))
    assert seen == [torch.float32, torch.float32, torch.float32, torch.bfloat16]
    assert losses[0] != losses[1]
    torch.testing.assert_close(losses[1], losses[0], rtol=0.01, atol=0)


@pytest.mark.parametrize("attention", ["sdpa", "reference"])
def test_attention_dropout_in_training_only(attention: str) -> None:
    model = build(SMALL, attn_pdrop=0.5, attention=attention)
    assert torch.equal(model(ids(2, 5)), model(ids(2, 5)))
    model.train()
    assert not torch.equal(model(ids(2, 5)), model(ids(2, 5)))


@pytest.mark.parametrize("tie_embeddings", [False, True])
@pytest.mark.parametrize("init", ["course", "gpt2"])
@pytest.mark.parametrize("positions", ["rope", "learned"])
def test_the_first_loss_is_that_of_a_guess(init: str, positions: str, tie_embeddings: bool) -> None:
    torch.manual_seed(0)
    config = ModelConfig(
        vocab_size=1000, context_length=32, d_model=128, num_layers=2, num_heads=4, init=init, positions=positions,
        tie_embeddings=tie_embeddings,
    )  # fmt: skip
    tokens = torch.randint(0, 1000, (2, 8, 32))
    loss = cross_entropy(TransformerLM(config)(tokens[0]), tokens[1])
    assert loss.item() == pytest.approx(math.log(1000), abs=0.7)


def test_gpt2_initialization() -> None:
    torch.manual_seed(0)
    config = dataclasses.replace(SMALL, vocab_size=500, d_model=128, d_ff=512, num_layers=8, init="gpt2", bias=True)
    for name, parameter in TransformerLM(config).named_parameters():
        if name.endswith((".bias",)):
            assert parameter.eq(0).all()
        elif parameter.dim() == 1:
            assert parameter.eq(1).all()
        else:
            std = 0.02 / 4 if name.endswith(("output_proj.weight", "w2.weight")) else 0.02
            assert parameter.std().item() == pytest.approx(std, rel=0.03), name


@pytest.mark.parametrize("init", ["course", "gpt2"])
@pytest.mark.parametrize("tie_embeddings", [False, True])
def test_zero_init_changes_the_last_matrix_of_each_sublayer_only(init: str, tie_embeddings: bool) -> None:
    settings = {"init": init, "tie_embeddings": tie_embeddings}
    plain, model = build(SMALL, **settings).state_dict(), build(SMALL, **settings, zero_init=True)
    for name, weight in model.state_dict().items():
        zero = name.endswith(("output_proj.weight", "w2.weight"))
        assert torch.equal(weight, torch.zeros_like(weight) if zero else plain[name]), name
    seen: list[Tensor] = []
    for layer in model.layers:
        layer.register_forward_hook(lambda module, args, out: seen.append((args[0] - out).abs().max()))
    model(ids(2, 12))
    assert seen == [0.0, 0.0]
    cross_entropy(model(ids(4, 12)), ids(4, 12).flip(0)).backward()
    for layer in model.layers:
        assert layer.ffn.w2.weight.grad.abs().min() > 0  # the zeros do not stay


def test_later_layers_attend_over_the_first_layer_s_values_too() -> None:
    """By another hand: put the mean of both values where the second layer computes its own."""
    model, plain = build(SMALL, value_residual=True), build(SMALL)
    first: list[Tensor] = []

    def keep(module: nn.Module, args: tuple[Tensor], values: Tensor) -> None:
        first.append(values)

    def mean(module: nn.Module, args: tuple[Tensor], values: Tensor) -> Tensor:
        return (values + first[-1]) / 2

    before = plain(ids(2, 12))
    plain.layers[0].attn.v_proj.register_forward_hook(keep)
    plain.layers[1].attn.v_proj.register_forward_hook(mean)
    with torch.no_grad():  # or queries, keys and values come from one product
        expected = plain(ids(2, 12))
        torch.testing.assert_close(model(ids(2, 12)), expected, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(model(ids(2, 12)), expected, rtol=1e-12, atol=1e-12)
    assert not torch.allclose(model(ids(2, 12)), before)
    assert torch.equal(model(ids(2, 12)), model(ids(2, 12)))  # nothing stays from one pass to the next
    one = {"num_layers": 1}
    assert torch.equal(build(SMALL, **one, value_residual=True)(ids(2, 12)), build(SMALL, **one)(ids(2, 12)))


def test_a_seed_repeats_the_weights() -> None:
    first, second = build(SMALL).state_dict(), build(SMALL).state_dict()
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_a_text_longer_than_the_context_is_refused() -> None:
    model = build(SMALL)
    with pytest.raises(ConfigError, match="13 tokens are more than the model's context_length of 12"):
        model(ids(1, 13))
    cache = model.new_cache()
    model(ids(1, 12), cache=cache)
    with pytest.raises(ConfigError, match="13 tokens"):
        model(ids(1, 1), cache=cache)


@pytest.mark.parametrize("name", ["tinystories-2024", "tinystories-2025", "gpt2-xl", "openai-gpt2-xl"])
def test_presets_are_built_as_they_are_counted(name: str) -> None:
    assert TransformerLM(preset(name), device="meta").num_parameters() == preset(name).num_parameters()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_whole_model_is_gpt2(dtype: torch.dtype) -> None:
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(0)
    theirs = GPT2LMHeadModel(GPT2Config(vocab_size=50, n_positions=12, n_embd=16, n_layer=2, n_head=4)).to(dtype)
    for parameter in theirs.parameters():
        nn.init.normal_(parameter, std=0.3)
    config = preset("openai-gpt2-small", vocab_size=50, context_length=12, d_model=16, num_layers=2, num_heads=4)
    ours = TransformerLM(config, dtype=dtype)
    ours.load_state_dict(from_gpt2(theirs.state_dict(), config.num_layers))
    tokens = ids(3, 12)
    expected = theirs.eval()(tokens).logits
    tolerance = {"rtol": 1e-4, "atol": 1e-4} if dtype == torch.float32 else {"rtol": 1e-10, "atol": 1e-10}
    torch.testing.assert_close(ours.eval()(tokens), expected, **tolerance)


def from_gpt2(state: dict[str, Tensor], num_layers: int) -> dict[str, Tensor]:
    """Our names for transformers' GPT-2, whose matrices are (in, out)."""
    ours = {"token_embeddings.weight": state["transformer.wte.weight"]}
    ours["position_embeddings.weight"] = state["transformer.wpe.weight"]
    for kind in ("weight", "bias"):
        ours[f"ln_final.{kind}"] = state[f"transformer.ln_f.{kind}"]
        for i in range(num_layers):
            source, target = f"transformer.h.{i}", f"layers.{i}"
            for theirs, name in (("ln_1", "ln1"), ("ln_2", "ln2")):
                ours[f"{target}.{name}.{kind}"] = state[f"{source}.{theirs}.{kind}"]
            pairs = {"attn.c_proj": "attn.output_proj", "mlp.c_fc": "ffn.w1", "mlp.c_proj": "ffn.w2"}
            for theirs, name in pairs.items():
                ours[f"{target}.{name}.{kind}"] = transposed(state[f"{source}.{theirs}.{kind}"])
            for part, name in zip(transposed(state[f"{source}.attn.c_attn.{kind}"]).chunk(3), "qkv", strict=True):
                ours[f"{target}.attn.{name}_proj.{kind}"] = part
    return ours


def test_the_whole_model_is_llama() -> None:
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    theirs = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=50, hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=2,
            max_position_embeddings=12, rms_norm_eps=1e-5,
        )
    ).double()  # fmt: skip
    for parameter in theirs.parameters():
        nn.init.normal_(parameter, std=0.3)
    ours = TransformerLM(dataclasses.replace(SMALL, num_heads=2), dtype=torch.float64)
    ours.load_state_dict(from_llama(theirs.state_dict(), num_heads=2))
    # transformers keeps its angles in float32, so the two differ by its rounding
    torch.testing.assert_close(ours(ids(3, 12)), theirs.eval()(ids(3, 12)).logits, rtol=1e-4, atol=1e-4)


def transposed(x: Tensor) -> Tensor:
    return x.mT if x.dim() == 2 else x


def from_llama(state: dict[str, Tensor], num_heads: int) -> dict[str, Tensor]:
    """Our names for transformers' Llama, which pairs row i of a head with row i + d_k / 2."""
    names = {
        "model.embed_tokens": "token_embeddings", "model.norm": "ln_final", "model.": "", "self_attn": "attn",
        "o_proj": "output_proj", "input_layernorm": "ln1", "post_attention_layernorm": "ln2", "mlp": "ffn",
        "gate_proj": "w1", "down_proj": "w2", "up_proj": "w3",
    }  # fmt: skip
    ours = {}
    for theirs, value in state.items():
        name = theirs
        for old, new in names.items():
            name = name.replace(old, new)
        if name.endswith(("q_proj.weight", "k_proj.weight")):
            halves = value.unflatten(0, (num_heads, 2, -1))
            value = halves.transpose(1, 2).flatten(0, 2)  # noqa: PLW2901
        ours[name] = value
    return ours
