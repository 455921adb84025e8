"""Small models of every kind, for tests that hold formulas against real ones."""

from __future__ import annotations

from hypothesis import strategies as st

from cs336.config import ModelConfig

_SWITCHES = ("bias", "parallel", "tie_embeddings", "qk_norm", "value_residual", "zero_init")


@st.composite
def configurations(draw: st.DrawFn, *, dropout: bool = False, **fixed: object) -> ModelConfig:
    """Any valid configuration, with sizes so different from each other that a mix-up shows."""
    heads = draw(st.sampled_from([1, 2, 3]))
    positions = draw(st.sampled_from(["learned", "rope", "none"]))
    widths = [2, 4, 6] if positions == "rope" else [1, 2, 3, 6]
    settings = {
        "vocab_size": draw(st.integers(2, 90)),
        "context_length": draw(st.integers(1, 11)),
        "d_model": heads * draw(st.sampled_from(widths)),
        "num_heads": heads,
        "num_layers": draw(st.integers(1, 3)),
        "d_ff": draw(st.none() | st.integers(1, 40)),
        "positions": positions,
        "ffn": draw(st.sampled_from(["gelu", "gelu_tanh", "silu", "relu2", "swiglu"])),
        "norm": draw(st.sampled_from(["rms", "layer"])),
        "norm_placement": draw(st.sampled_from(["pre", "post", "none"])),
        "attention": draw(st.sampled_from(["sdpa", "reference"])),
        **{switch: draw(st.booleans()) for switch in _SWITCHES},
    }
    if dropout:
        settings |= {name: draw(st.sampled_from([0.0, 0.25])) for name in ("residual_pdrop", "attn_pdrop")}
    return ModelConfig(**(settings | fixed))
