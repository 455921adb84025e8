"""Models as transformers reads and writes them: the same logits, the same text, or a reason."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from cs336.config import PRESETS, ModelConfig, preset
from cs336.errors import CheckpointError, ConfigError, FormatError, UnrepresentableError
from cs336.generation import generate_ids
from cs336.interop.models import ARCHITECTURES, architecture_of, export_model, import_model
from cs336.nn import TransformerLM
from cs336.tokenizer import Tokenizer, train_bpe_from_iterator
from cs336.training import load_config, load_run, train
from cs336.training.run import RunFolder, adopt, write_config

END = "<|endoftext|>"
SMALL: dict[str, Any] = {"vocab_size": 300, "context_length": 48, "d_model": 32, "num_layers": 2, "num_heads": 4}
GPT2 = preset("openai-gpt2-small", **SMALL)
LLAMA = preset("tinystories-2025", **SMALL, d_ff=72)
SHAPES = {
    "gpt2": GPT2,
    "gpt2-erf": dataclasses.replace(GPT2, ffn="gelu", d_ff=80, norm_eps=1e-3),
    "gpt2-untied": dataclasses.replace(GPT2, ffn="relu2", tie_embeddings=False),
    "llama": LLAMA,
    "llama-theta": dataclasses.replace(LLAMA, rope_theta=500.0, norm_eps=1e-3, d_ff=None),
    "llama-biases": dataclasses.replace(LLAMA, bias=True, tie_embeddings=True, attn_pdrop=0.1),
}


def build(config: ModelConfig) -> TransformerLM:
    """A model in evaluation none of whose parameters is trivial."""
    torch.manual_seed(0)
    model = TransformerLM(config).eval()
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.3)
    return model


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return train_bpe_from_iterator(["once upon a time there was a little cat. "] * 9, 300, [END])


def load_theirs(folder: Path) -> Any:
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(folder)


IDS = torch.randint(0, 300, (2, 40), generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("shape", SHAPES)
def test_an_exported_model_gives_the_same_logits_and_text(shape: str, tmp_path: Path) -> None:
    ours = build(SHAPES[shape])
    name = export_model(ours, None, tmp_path / "out")
    theirs = load_theirs(tmp_path / "out")
    assert type(theirs).__name__ == ARCHITECTURES[name].class_name
    assert next(theirs.parameters()).dtype == torch.float32
    with torch.no_grad():
        torch.testing.assert_close(ours(IDS), theirs(IDS).logits, rtol=1e-4, atol=1e-4)
        written = theirs.generate(IDS[:1, :8], max_new_tokens=30, do_sample=False)
    assert written[0, 8:].tolist() == list(generate_ids(ours, IDS[0, :8].tolist(), max_new_tokens=30, temperature=0))


@pytest.mark.parametrize("shape", SHAPES)
def test_there_and_back_is_the_same_model(shape: str, tmp_path: Path, tokenizer: Tokenizer) -> None:
    ours = build(SHAPES[shape])
    export_model(ours, tokenizer, tmp_path / "out")
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "config.json", "generation_config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json",
    }  # fmt: skip
    back, its_tokenizer = import_model(tmp_path / "out")
    assert its_tokenizer == tokenizer
    state, expected = back.state_dict(), ours.state_dict()
    assert state.keys() == expected.keys()
    assert all(torch.equal(state[name], expected[name]) for name in expected)
    theirs = load_theirs(tmp_path / "out")
    assert theirs.config.eos_token_id == theirs.generation_config.eos_token_id == tokenizer.special_tokens[END]


def their_gpt2(**changes: Any) -> Any:
    from transformers import GPT2Config, GPT2LMHeadModel

    sizes = {"vocab_size": 300, "n_positions": 48, "n_embd": 32, "n_layer": 2, "n_head": 4}
    return randomized(GPT2LMHeadModel(GPT2Config(**(sizes | changes))))


def their_llama(**changes: Any) -> Any:
    from transformers import LlamaConfig, LlamaForCausalLM

    sizes = {"vocab_size": 300, "max_position_embeddings": 48, "hidden_size": 32, "intermediate_size": 72,
             "num_hidden_layers": 2, "num_attention_heads": 4}  # fmt: skip
    return randomized(LlamaForCausalLM(LlamaConfig(**(sizes | changes))))


def randomized(model: Any) -> Any:
    torch.manual_seed(2)
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.3)
    return model.eval()


@pytest.mark.parametrize(
    "make",
    [
        their_gpt2,
        lambda: their_gpt2(activation_function="gelu", n_inner=80, tie_word_embeddings=False),
        their_llama,
        lambda: their_llama(attention_bias=True, mlp_bias=True, tie_word_embeddings=True),
        lambda: their_llama(rope_parameters={"rope_type": "default", "rope_theta": 700.0}, rms_norm_eps=1e-3),
    ],
)
def test_a_model_of_theirs_gives_the_same_logits(make: Callable[[], Any], tmp_path: Path) -> None:
    theirs = make()
    theirs.save_pretrained(tmp_path)
    ours, tokenizer = import_model(tmp_path)
    assert tokenizer is None
    with torch.no_grad():
        torch.testing.assert_close(ours(IDS), theirs(IDS).logits, rtol=1e-4, atol=1e-4)


def test_weights_in_several_files_without_a_head_and_in_half_precision(tmp_path: Path) -> None:
    theirs = their_gpt2().half()
    theirs.transformer.save_pretrained(tmp_path, max_shard_size="20KB")
    assert len(list(tmp_path.glob("*.safetensors"))) > 2
    ours, _ = import_model(tmp_path)
    assert ours.token_embeddings.weight.dtype == torch.float32
    with torch.no_grad():
        torch.testing.assert_close(ours(IDS), theirs.float()(IDS).logits, rtol=1e-4, atol=1e-4)


def test_gpt2_as_it_is_published_is_the_preset(tmp_path: Path) -> None:
    from transformers import GPT2Config

    for name, (width, layers, heads) in {"small": (768, 12, 12), "xl": (1600, 48, 25)}.items():
        GPT2Config(n_embd=width, n_layer=layers, n_head=heads).save_pretrained(tmp_path)
        raw = json.loads((tmp_path / "config.json").read_text("utf-8"))
        assert ARCHITECTURES["GPT-2"].config_to_ours(raw) == PRESETS[f"openai-gpt2-{name}"]


def test_old_files_with_masks_and_the_head_twice(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    theirs = their_gpt2()
    theirs.save_pretrained(tmp_path)
    tensors = {name.removeprefix("transformer."): tensor for name, tensor in theirs.state_dict().items()}
    tensors["h.0.attn.bias"] = torch.ones(1, 1, 48, 48).tril()
    tensors["lm_head.weight"] = tensors["wte.weight"].clone()
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, tmp_path / "model.safetensors")
    ours, _ = import_model(tmp_path)
    with torch.no_grad():
        torch.testing.assert_close(ours(IDS), theirs(IDS).logits, rtol=1e-4, atol=1e-4)
        tensors["lm_head.weight"] += 1
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, tmp_path / "model.safetensors")
    with pytest.raises(CheckpointError, match="tie_word_embeddings says that they are one"):
        import_model(tmp_path)


def test_a_tokenizer_in_two_files(tmp_path: Path, tokenizer: Tokenizer) -> None:
    their_gpt2().save_pretrained(tmp_path)
    tokenizer.to_files(tmp_path / "vocab.json", tmp_path / "merges.txt")
    assert import_model(tmp_path)[1] == tokenizer


@pytest.mark.parametrize("name", [name for name in PRESETS if not name.startswith("openai")])
def test_which_presets_have_a_counterpart(name: str) -> None:
    if name == "tinystories-2025":
        assert architecture_of(PRESETS[name])[0] == "Llama"
        return
    with pytest.raises(UnrepresentableError, match=r"GPT-2, .*model\.norm must be 'layer', not 'rms'.*; for Llama, "):
        architecture_of(PRESETS[name])


@pytest.mark.parametrize(
    ("config", "changes", "key"),
    [
        (LLAMA, {"positions": "learned"}, "positions must be 'rope', not 'learned'"),
        (LLAMA, {"ffn": "silu"}, "ffn must be 'swiglu', not 'silu'"),
        (LLAMA, {"qk_norm": True}, "qk_norm must be false, not true"),
        (LLAMA, {"parallel": True}, "parallel must be false, not true"),
        (LLAMA, {"value_residual": True}, "value_residual must be false, not true"),
        (LLAMA, {"norm_placement": "post"}, "norm_placement must be 'pre', not 'post'"),
        (GPT2, {"bias": False}, "bias must be true, not false"),
        (GPT2, {"norm": "rms"}, "norm must be 'layer', not 'rms'"),
        (GPT2, {"ffn": "swiglu"}, "ffn must be 'gelu_tanh' or 'gelu' or 'silu' or 'relu2', not 'swiglu'"),
        (GPT2, {"norm_placement": "none"}, "norm_placement must be 'pre', not 'none'"),
    ],
)
def test_what_has_no_counterpart_is_refused_by_its_key(
    config: ModelConfig, changes: dict[str, Any], key: str, tmp_path: Path
) -> None:
    model = TransformerLM(dataclasses.replace(config, **changes))
    with pytest.raises(UnrepresentableError, match=f"model.{key}"):
        export_model(model, None, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_how_weights_began_needs_no_counterpart(tmp_path: Path) -> None:
    export_model(TransformerLM(dataclasses.replace(LLAMA, zero_init=True)), None, tmp_path / "out")
    assert import_model(tmp_path / "out")


@pytest.mark.parametrize(
    ("make", "changes", "message"),
    [
        (their_gpt2, {"activation_function": "tanh"}, "activation_function is 'tanh'.*gelu_new"),
        (their_gpt2, {"scale_attn_by_inverse_layer_idx": True}, "scale_attn_by_inverse_layer_idx is true"),
        (their_gpt2, {"embd_pdrop": 0.3}, "embd_pdrop is 0.3.*0.1 of resid_pdrop"),
        (their_gpt2, {"model_type": "mamba"}, "model_type is 'mamba'.*gpt2, llama"),
        (their_llama, {"num_key_value_heads": 2}, "num_key_value_heads is 2"),
        (their_llama, {"mlp_bias": True}, "mlp_bias is true"),
        (their_llama, {"head_dim": 16}, "head_dim is 16"),
        (their_llama, {"hidden_act": "gelu"}, "hidden_act is 'gelu'"),
        (
            their_llama,
            {"rope_parameters": {"rope_type": "linear"}},
            "rope_type in rope_parameters is 'linear'",
        ),
        (their_llama, {"rope_scaling": {"type": "linear", "factor": 2.0}}, "rope_type in rope_scaling is 'linear'"),
        (
            their_llama,
            {"rope_scaling": {"rope_type": "linear"}},
            "rope_type in rope_scaling is 'linear'",
        ),
        (their_llama, {"rope_scaling": {"rope_type": "llama3"}}, "rope_type in rope_scaling is 'llama3'"),
    ],
)
def test_what_theirs_has_and_ours_not_is_refused_by_its_key(
    make: Callable[[], Any], changes: dict[str, Any], message: str, tmp_path: Path
) -> None:
    make().save_pretrained(tmp_path)
    change_config(tmp_path, **changes)
    with pytest.raises(UnrepresentableError, match=message):
        import_model(tmp_path)


COUNT = "must be a whole number of at least 1"


@pytest.mark.parametrize(
    ("make", "changes", "message"),
    [
        (their_llama, {"num_attention_heads": 0}, f"num_attention_heads {COUNT}, not 0"),
        (their_llama, {"num_attention_heads": "2"}, f"num_attention_heads {COUNT}, not '2'"),
        (their_llama, {"hidden_size": None}, f"hidden_size {COUNT}, not None"),
        (
            their_llama,
            {"num_attention_heads": 5, "num_key_value_heads": 5},
            "num_heads must divide d_model: 32 is not a multiple of 5",
        ),
        (their_llama, {"rope_scaling": "linear"}, "rope_scaling must be an object or null, not 'linear'"),
        (their_llama, {"rope_scaling": {"rope_theta": "x"}}, "rope_theta must be a number, not 'x'"),
        (their_gpt2, {"n_head": True}, f"n_head {COUNT}, not true"),
    ],
)
def test_what_makes_no_model_is_said_in_words(
    make: Callable[[], Any], changes: dict[str, Any], message: str, tmp_path: Path
) -> None:
    make().save_pretrained(tmp_path)
    change_config(tmp_path, **({"head_dim": None} | changes))
    with pytest.raises(FormatError, match=rf"config\.json describes no \w+: {message}; copy or download it again$"):
        import_model(tmp_path)


def test_an_activation_that_is_no_name_is_refused(tmp_path: Path) -> None:
    their_gpt2().save_pretrained(tmp_path)
    change_config(tmp_path, activation_function=["gelu"])
    with pytest.raises(UnrepresentableError, match=r"activation_function is \['gelu'\]"):
        import_model(tmp_path)


def change_config(folder: Path, **changes: Any) -> None:
    raw = json.loads((folder / "config.json").read_text("utf-8"))
    (folder / "config.json").write_text(json.dumps(raw | changes), "utf-8")


def test_bad_folders(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="there is no folder"):
        import_model(tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError, match=r"config\.json"):
        import_model(tmp_path)
    their_gpt2().save_pretrained(tmp_path)
    for changes, error, message in (
        ({"n_embd": "wide"}, FormatError, f"describes no gpt2: n_embd {COUNT}, not 'wide'"),
        (
            {"n_embd": 64},
            CheckpointError,
            "config.json: token_embeddings.weight is 300 x 32 there and 300",
        ),
        ({"n_layer": 3}, CheckpointError, r"transformer\.h\.2\.attn\.c_attn\.bias is missing.*and 9 more"),
        ({"n_layer": 1}, CheckpointError, r"transformer\.h\.1\.attn\.c_attn\.bias is unknown"),
    ):
        change_config(tmp_path, **({"n_embd": 32, "n_layer": 2} | changes))
        with pytest.raises(error, match=message):
            import_model(tmp_path)
    change_config(tmp_path, n_layer=2)
    whole = (tmp_path / "model.safetensors").read_bytes()
    (tmp_path / "model.safetensors").write_bytes(whole[:-100])
    with pytest.raises(CheckpointError, match=r"model\.safetensors is no whole file.*download it again"):
        import_model(tmp_path)
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"has no model\.safetensors.*save_pretrained"):
        import_model(tmp_path)
    (tmp_path / "config.json").write_text("[]", "utf-8")
    with pytest.raises(FormatError, match="JSON object"):
        import_model(tmp_path)
    (tmp_path / "config.json").write_text("{", "utf-8")
    with pytest.raises(FormatError, match="not valid JSON"):
        import_model(tmp_path)


def test_nothing_is_overwritten_or_left_half_written(
    tmp_path: Path, on_a_full_disk: Callable[[Callable[[], Any]], Any]
) -> None:
    model = build(GPT2)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").touch()
    for write in (lambda path: export_model(model, None, path), lambda path: adopt(path, model, None)):
        with pytest.raises(ConfigError, match="not an empty folder"):
            write(tmp_path / "full")
        with pytest.raises(OSError, match=r"File too large.*new"):
            on_a_full_disk(lambda write=write: write(tmp_path / "new"))
        assert [path.name for path in tmp_path.iterdir()] == ["full"]


def test_an_adopted_model_is_a_run(tmp_path: Path, tokenizer: Tokenizer) -> None:
    model = build(GPT2)
    adopt(tmp_path / "run", model, tokenizer)
    back, its_tokenizer, config = load_run(tmp_path / "run", device="cpu")
    assert (config.model, its_tokenizer) == (GPT2, tokenizer)
    with torch.no_grad():
        assert torch.equal(back(IDS), model(IDS))


def test_an_adopted_model_trains_on_whoever_names_the_data(tmp_path: Path) -> None:
    adopt(tmp_path / "run", build(GPT2), None)
    np.save(tmp_path / "train.npy", np.arange(500, dtype=np.uint16) % 300)
    old = load_config(tmp_path / "run" / "config.toml")
    # Accepted changes stand in the file already when a run is killed before its first checkpoint.
    data = dataclasses.replace(old.data, train=str(tmp_path / "train.npy"))
    training = dataclasses.replace(old.training, batch_size=2, device="cpu")
    config = dataclasses.replace(old, data=data, training=training)
    write_config(RunFolder(tmp_path / "run"), config)
    assert train(config, tmp_path / "run", resume=True).step == 1
