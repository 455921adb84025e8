"""Llama as ``transformers`` lays it out: RoPE turns row i of a head with row i + d_k / 2, not with its neighbour."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from cs336.config import ModelConfig
from cs336.errors import ConfigError
from cs336.interop.architecture import Architecture, Key, refuse
from cs336.wording import in_toml

_ROTATED = ("attn.q_proj.", "attn.k_proj.")


def _halves(name: str, tensor: Tensor, config: ModelConfig) -> Tensor:
    """Rows of each head from pairs, 0 1 | 2 3 | ..., to halves, 0 2 ... | 1 3 ...; biases likewise."""
    if not name.startswith(_ROTATED):
        return tensor
    return tensor.view(config.num_heads, -1, 2, *tensor.shape[1:]).transpose(1, 2).reshape(tensor.shape)


def _pairs(name: str, tensor: Tensor, config: ModelConfig) -> Tensor:
    if not name.startswith(_ROTATED):
        return tensor
    return tensor.view(config.num_heads, 2, -1, *tensor.shape[1:]).transpose(1, 2).reshape(tensor.shape)


def _more_to_theirs(config: ModelConfig) -> dict[str, Any]:
    return {
        "intermediate_size": config.hidden_size,
        "mlp_bias": config.bias,
        "num_key_value_heads": config.num_heads,
        "hidden_act": "silu",
        # One key for version 5 of transformers, one for 4.
        "rope_parameters": {"rope_type": "default", "rope_theta": config.rope_theta},
        "rope_theta": config.rope_theta,
    }


def _more_to_ours(raw: Mapping[str, Any]) -> dict[str, Any]:
    heads, width = raw.get("num_attention_heads", 32), raw.get("hidden_size", 4096)
    bias = raw.get("attention_bias", False)
    fixed: dict[str, tuple[object, ...]] = {
        "hidden_act": ("silu",),
        "num_key_value_heads": (heads, None),
        "head_dim": (width // heads, None),
        "mlp_bias": (bias,),
    }
    defaults = {"hidden_act": "silu", "mlp_bias": False}
    for key, wanted in fixed.items():
        value = raw.get(key, defaults.get(key))
        if value not in wanted:
            raise refuse(key, value, in_toml(wanted[0]))
    return {"rope_theta": _rope_theta(raw), "positions": "rope", "ffn": "swiglu"}


def _rope_theta(raw: Mapping[str, Any]) -> Any:
    """The base of the angles; raises UnrepresentableError where they are scaled."""
    theta = raw.get("rope_theta")
    # The later counts, as in transformers 5: where there is an old key, it takes the place of the new one.
    for key in ("rope_parameters", "rope_scaling"):
        rope = raw.get(key) or {}
        if not isinstance(rope, Mapping):
            raise ConfigError(f"{key} must be an object or null, not {in_toml(rope)}")
        kind = rope.get("rope_type", rope.get("type", "default"))
        if kind != "default":
            raise refuse(f"rope_type in {key}", kind, "'default'")
        if rope:
            theta = rope.get("rope_theta") or raw.get("rope_theta")
    return theta or 10000.0


LLAMA = Architecture(
    model_type="llama",
    class_name="LlamaForCausalLM",
    needs={"positions": ("rope",), "norm": ("rms",), "ffn": ("swiglu",), "bias": (False, True)},
    keys=(
        Key("vocab_size", "vocab_size", 32000),
        Key("max_position_embeddings", "context_length", 2048),
        Key("hidden_size", "d_model", 4096),
        Key("intermediate_size", "d_ff", 11008),
        Key("num_hidden_layers", "num_layers", 32),
        Key("num_attention_heads", "num_heads", 32),
        Key("rms_norm_eps", "norm_eps", 1e-6),
        Key("attention_bias", "bias", False),
        Key("attention_dropout", "attn_pdrop", 0.0),
        Key("tie_word_embeddings", "tie_embeddings", False),
    ),
    outer={"token_embeddings": "model.embed_tokens", "ln_final": "model.norm", "lm_head": "lm_head"},
    layer="model.layers.{}",
    inner={
        ("ln1",): "input_layernorm",
        ("attn.q_proj",): "self_attn.q_proj",
        ("attn.k_proj",): "self_attn.k_proj",
        ("attn.v_proj",): "self_attn.v_proj",
        ("attn.output_proj",): "self_attn.o_proj",
        ("ln2",): "post_attention_layernorm",
        ("ffn.w1",): "mlp.gate_proj",
        ("ffn.w2",): "mlp.down_proj",
        ("ffn.w3",): "mlp.up_proj",
    },
    ignored=(".rotary_emb.inv_freq",),  # tables of angles, which old files hold
    to_theirs=_halves,
    to_ours=_pairs,
    more_to_theirs=_more_to_theirs,
    more_to_ours=_more_to_ours,
)
