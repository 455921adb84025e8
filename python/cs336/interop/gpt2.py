"""GPT-2 as ``transformers`` lays it out: matrices transposed, queries, keys and values in one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from cs336.config import ModelConfig
from cs336.interop.architecture import Architecture, Key, refuse
from cs336.wording import in_toml

_ACTIVATIONS = {
    "gelu_new": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
    "gelu": "gelu",
    "silu": "silu",
    "relu2": "relu2",
}
_FIXED = {"scale_attn_weights": True, "scale_attn_by_inverse_layer_idx": False, "add_cross_attention": False}


def _turned(name: str, tensor: Tensor, config: ModelConfig) -> Tensor:
    """Their linear layers are convolutions of width 1, whose weight is (in, out). This is its own inverse."""
    in_a_layer = name.startswith(("attn.", "ffn."))
    return tensor.mT if in_a_layer and tensor.dim() == 2 else tensor


def _more_to_theirs(config: ModelConfig) -> dict[str, Any]:
    activation = next(theirs for theirs, ours in _ACTIVATIONS.items() if ours == config.ffn)
    return {"activation_function": activation, "embd_pdrop": config.residual_pdrop, **_FIXED}


def _more_to_ours(raw: Mapping[str, Any]) -> dict[str, Any]:
    for key, wanted in _FIXED.items():
        if raw.get(key, wanted) != wanted:
            raise refuse(key, raw[key], in_toml(wanted))
    activation = raw.get("activation_function", "gelu_new")
    if not isinstance(activation, str) or activation not in _ACTIVATIONS:
        raise refuse("activation_function", activation, ", ".join(_ACTIVATIONS))
    embeddings, sublayers = raw.get("embd_pdrop", 0.1), raw.get("resid_pdrop", 0.1)
    if embeddings != sublayers:
        raise refuse("embd_pdrop", embeddings, f"the {sublayers!r} of resid_pdrop")
    return {"positions": "learned", "ffn": _ACTIVATIONS[activation], "norm": "layer", "bias": True, "init": "gpt2"}


GPT2 = Architecture(
    model_type="gpt2",
    class_name="GPT2LMHeadModel",
    needs={
        "positions": ("learned",),
        "norm": ("layer",),
        "bias": (True,),
        "ffn": tuple(dict.fromkeys(_ACTIVATIONS.values())),
    },
    keys=(
        Key("vocab_size", "vocab_size", 50257),
        Key("n_positions", "context_length", 1024),
        Key("n_embd", "d_model", 768),
        Key("n_layer", "num_layers", 12),
        Key("n_head", "num_heads", 12),
        Key("n_inner", "d_ff"),
        Key("layer_norm_epsilon", "norm_eps", 1e-5),
        Key("resid_pdrop", "residual_pdrop", 0.1),
        Key("attn_pdrop", "attn_pdrop", 0.1),
        Key("tie_word_embeddings", "tie_embeddings", True),
    ),
    outer={
        "token_embeddings": "transformer.wte",
        "position_embeddings": "transformer.wpe",
        "ln_final": "transformer.ln_f",
        "lm_head": "lm_head",
    },
    layer="transformer.h.{}",
    inner={
        ("ln1",): "ln_1",
        ("attn.q_proj", "attn.k_proj", "attn.v_proj"): "attn.c_attn",
        ("attn.output_proj",): "attn.c_proj",
        ("ln2",): "ln_2",
        ("ffn.w1",): "mlp.c_fc",
        ("ffn.w2",): "mlp.c_proj",
    },
    ignored=(".attn.bias", ".attn.masked_bias"),  # the causal mask, which old files hold
    to_theirs=_turned,
    to_ours=_turned,
    more_to_theirs=_more_to_theirs,
    more_to_ours=_more_to_ours,
)  # fmt: skip
