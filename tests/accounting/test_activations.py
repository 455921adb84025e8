"""What a forward pass keeps: the formulas against what autograd holds on to, byte for byte."""

from __future__ import annotations

import dataclasses
import weakref
from unittest.mock import patch

import pytest
import torch
from configurations import configurations
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from cs336.accounting.activations import BOOL, activations, total_bytes
from cs336.accounting.formula import as_formula, d, sizes
from cs336.accounting.memory import training_memory
from cs336.config import ModelConfig, preset
from cs336.errors import ConfigError
from cs336.nn import TransformerLM, cross_entropy
from cs336.nn.attention import SharedValues

quickly = settings(max_examples=60, deadline=None)
batches = st.integers(1, 3)


class Kept:
    """A saved tensor, for as long as the graph holds it."""

    def __init__(self, tensor: Tensor) -> None:
        self.tensor = tensor.detach()  # or a tensor that its own node saves would keep the node alive


def kept_bytes(
    config: ModelConfig, batch: int, dtype: torch.dtype, *, checkpointing: bool = False, loss: str = "whole"
) -> int:
    """Bytes of all storages that the graph of one loss holds, and with it the blocks; without weights and tables."""
    model = TransformerLM(config).train()
    model.activation_checkpointing = checkpointing
    kept: weakref.WeakSet[Kept] = weakref.WeakSet()
    shared: list[Tensor] = []

    def keep(shares: SharedValues, values: Tensor) -> Tensor:
        shared.append(values)
        return own_keep(shares, values)

    def pack(tensor: Tensor) -> Kept:
        kept.add(one := Kept(tensor))
        return one

    tokens = torch.zeros(batch, config.context_length, dtype=torch.long)
    own_keep = SharedValues.keep
    with (
        patch.object(SharedValues, "keep", keep),
        torch.autograd.graph.saved_tensors_hooks(pack, lambda one: one.tensor),
    ):
        with torch.autocast("cpu", dtype, enabled=dtype != torch.float32):
            out = model(tokens, targets_BT=tokens.clone() if loss == "chunked" else None)
        value = out if loss == "chunked" else cross_entropy(out.float(), tokens.clone())
    del out
    own = {t.untyped_storage().data_ptr() for t in (*model.parameters(), *model.buffers())}
    tensors = [one.tensor for one in kept] + (shared if checkpointing else [])
    storages = {t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in tensors}
    assert value.requires_grad
    return sum(size for place, size in storages.items() if place not in own)


def counted_bytes(config: ModelConfig, batch: int, dtype: str, loss: str = "whole") -> int:
    return total_bytes(activations(config, counting="autograd", dtype=dtype, loss=loss)).value(sizes(config, B=batch))


@quickly
@given(config=configurations(), batch=batches)
def test_autograd_keeps_what_is_counted(config: ModelConfig, batch: int) -> None:
    assert counted_bytes(config, batch, "float32") == kept_bytes(config, batch, torch.float32)


@quickly
@given(config=configurations(), batch=batches)
def test_autograd_keeps_what_is_counted_in_mixed_precision(config: ModelConfig, batch: int) -> None:
    """Here the graph keeps the narrow copies of the matrices, too."""
    memory = training_memory(config, counting="autograd", dtype="bfloat16")
    copies = memory.of_kind("copies", batch)
    assert counted_bytes(config, batch, "bfloat16") == memory.of_kind("activations", batch)
    assert counted_bytes(config, batch, "bfloat16") + copies == kept_bytes(config, batch, torch.bfloat16)


@quickly
@given(config=configurations(), batch=batches)
def test_autograd_keeps_what_is_counted_with_the_loss_in_chunks(config: ModelConfig, batch: int) -> None:
    """Under mixed precision nothing of the head's narrow copy is left when the loss is known."""
    assert counted_bytes(config, batch, "float32", "chunked") == kept_bytes(
        config, batch, torch.float32, loss="chunked"
    )
    copies = training_memory(config, dtype="bfloat16").of_kind("copies", batch) - 2 * config.vocab_size * config.d_model
    assert counted_bytes(config, batch, "bfloat16", "chunked") + copies == kept_bytes(
        config, batch, torch.bfloat16, loss="chunked"
    )


@quickly
@given(config=configurations(dropout=True, attention="reference"), batch=batches)
def test_autograd_keeps_what_is_counted_under_dropout(config: ModelConfig, batch: int) -> None:
    """The CPU keeps a mask as numbers, of four bytes, where CUDA keeps one byte."""
    found = activations(config, counting="autograd")
    masks = [a for a in found if a.name.startswith("dropout")]
    assert all(a.width == BOOL for a in masks)
    assert bool(masks) == bool(config.residual_pdrop or config.attn_pdrop)
    more = 3 * total_bytes(masks).value(sizes(config, B=batch))
    assert counted_bytes(config, batch, "float32") + more == kept_bytes(config, batch, torch.float32)


@quickly
@given(config=configurations(), batch=batches)
def test_checkpointing_keeps_the_inputs_of_blocks(config: ModelConfig, batch: int) -> None:
    memory = training_memory(config, counting="autograd", checkpointing=True)
    again = sum(item.bytes(batch) for item in memory.items if item.name.endswith("(one block)"))
    kept = kept_bytes(config, batch, torch.float32, checkpointing=True)
    assert memory.of_kind("activations", batch) - again == kept


def test_one_block_computed_again_is_all_but_its_input() -> None:
    config = preset("gpt2-small")
    one_layer = dataclasses.replace(config, num_layers=1)
    for counting, already in (("autograd", 1), ("course", 0)):
        whole = training_memory(one_layer, counting=counting).of_kind("activations", 1)
        memory = training_memory(one_layer, counting=counting, checkpointing=True).of_kind("activations", 1)
        block_input = 4 * config.context_length * config.d_model
        assert memory - whole == (1 - already) * block_input
        again = [one_block_bytes(each, counting) for each in (one_layer, config)]
        assert again[0] == again[1] > 0


def one_block_bytes(config: ModelConfig, counting: str) -> int:
    memory = training_memory(config, counting=counting, checkpointing=True)
    return sum(item.bytes(1) for item in memory.items if item.name.endswith("(one block)"))


@pytest.mark.parametrize(
    ("changes", "formula"),
    [
        ({}, "16 N B L d + 2 N B H L² + B L d + B L V + B L"),
        ({"ffn": "swiglu", "d_ff": None}, "8 N B L d + 2 N B H L² + 4 N B L f + B L d + B L V + B L"),
        ({"norm_placement": "post"}, "8 N B L d + 2 N B H L² + 2 N B L f + B L V + B L"),
        ({"norm_placement": "none"}, "6 N B L d + 2 N B H L² + 2 N B L f + B L V + B L"),
        ({"qk_norm": True}, "10 N B L d + 2 N B H L² + 2 N B L f + B L d + B L V + B L"),
    ],
)
def test_the_course_s_list_in_symbols(changes: dict[str, object], formula: str) -> None:
    config = preset("gpt2-xl", **changes)
    numbers = sum((a.formula for a in activations(config, attention="reference")), start=as_formula(0))
    if not changes:
        numbers = numbers.where("f", 4 * d)
    assert str(numbers) == formula


def test_fused_attention_keeps_a_number_a_row_instead_of_the_scores() -> None:
    config = preset("gpt2-xl")
    rows = config.num_layers * config.num_heads * config.context_length
    for counting, squares, sums in (("course", 2, 0), ("autograd", 2, 1)):
        by = {
            attention: total_bytes(activations(config, counting=counting, attention=attention)).slope("B")
            for attention in ("reference", "sdpa")
        }
        difference = by["reference"].value(sizes(config)) - by["sdpa"].value(sizes(config))
        assert difference == 4 * (squares * rows * config.context_length + sums * rows - rows)


def test_unknown_ways_of_counting_are_refused() -> None:
    config = preset("gpt2-small")
    with pytest.raises(ConfigError, match="no way of counting is called 'autograde'; did you mean 'autograd'"):
        activations(config, counting="autograde")
    with pytest.raises(ConfigError, match="no attention is called 'flash'; known: sdpa, reference"):
        activations(config, attention="flash")
    with pytest.raises(ConfigError, match="no loss is called 'chunk'; did you mean 'chunked'"):
        activations(config, loss="chunk")
    with pytest.raises(ConfigError, match="no dtype is called 'bfloat17'; did you mean 'bfloat16'"):
        activations(config, dtype="bfloat17")
