"""a * batch + b: against numbers by another hand, and against the states of real optimizers."""

from __future__ import annotations

import dataclasses
import weakref

import pytest
import torch
from configurations import configurations
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from cs336.accounting import training_memory
from cs336.accounting.formula import sizes
from cs336.accounting.memory import KINDS
from cs336.accounting.parameters import num_parameters, with_head
from cs336.config import ModelConfig, preset
from cs336.errors import ConfigError
from cs336.nn import TransformerLM, cross_entropy
from cs336.training.config import OptimizerConfig
from cs336.training.optimizers import make_optimizers

XL = preset("gpt2-xl")
GB = 10**9


def test_gpt2_xl_as_the_course_counts() -> None:
    """By another hand: 16 bytes a parameter, and 4 N (16 L d + 2 H L²) + 4 (L d + L V + L) a sequence."""
    memory = training_memory(XL)
    layers, tokens, d, heads, vocabulary = 48, 1024, 1600, 25, 50257
    assert memory.a == 4 * (
        layers * (16 * tokens * d + 2 * heads * tokens**2) + tokens * d + tokens * vocabulary + tokens
    )
    assert memory.b == 16 * 1_637_176_000
    assert (round(memory.a / GB, 3), round(memory.b / GB, 3)) == (15.312, 26.195)
    assert memory.largest_batch(80 * GB) == 3
    assert str(memory.b_formula) == "16 P"
    assert training_memory(with_head(XL, tied=True)).b == 16 * 1_556_764_800


def test_the_largest_batch_fits_and_one_more_does_not() -> None:
    memory = training_memory(XL)
    for batch in (1, 2, 7):
        assert memory.largest_batch(memory.total(batch)) == batch
        assert memory.largest_batch(memory.total(batch) - 1) == batch - 1
    assert memory.largest_batch(memory.b // 2) == 0


@given(
    config=configurations(dropout=True),
    counting=st.sampled_from(["course", "autograd"]),
    dtype=st.sampled_from(["float32", "tf32", "bfloat16", "float16"]),
    optimizer=st.sampled_from(["adamw", "muon", "sgd"]),
    checkpointing=st.booleans(),
    devices=st.integers(1, 5),
    batch=st.integers(0, 9),
)
@settings(deadline=None)
def test_memory_is_a_line_in_the_batch(config: ModelConfig, devices: int, batch: int, **settings: object) -> None:
    memory = training_memory(config, devices=devices, **settings)
    assert memory.total(batch) == memory.a * batch + memory.b
    assert memory.total(batch) == sum(memory.of_kind(kind, batch) for kind in KINDS)
    assert memory.a_formula.value(sizes(config)) == memory.a
    if devices == 1:
        assert memory.b_formula.value(sizes(config)) == memory.b


@given(config=configurations(), name=st.sampled_from(["adamw", "muon", "sgd"]))
@settings(max_examples=40, deadline=None)
def test_weights_gradients_and_states_are_those_of_a_real_step(config: ModelConfig, name: str) -> None:
    model = TransformerLM(config)
    optimizers = make_optimizers(model, OptimizerConfig(name=name))
    tokens = torch.zeros(1, config.context_length, dtype=torch.long)
    cross_entropy(model(tokens), tokens).backward()
    for optimizer in optimizers:
        optimizer.step()
    states = [
        value
        for optimizer in optimizers
        for state in optimizer.state.values()
        for value in state.values()
        if isinstance(value, torch.Tensor) and value.ndim
    ]
    memory = training_memory(config, optimizer=name)
    assert memory.of_kind("weights", 1) == sum(p.nbytes for p in model.parameters())
    assert memory.of_kind("gradients", 1) == sum(p.grad.nbytes for p in model.parameters() if p.grad is not None)
    assert memory.of_kind("optimizer", 1) == sum(state.nbytes for state in states)


class Live(TorchDispatchMode):
    """Adds up the bytes of every storage while it lives, as an allocator does."""

    def __init__(self, tensors: list[torch.Tensor]) -> None:
        super().__init__()
        self.now = 0
        self.known: set[int] = set()
        for tensor in tensors:
            self.see(tensor)

    def see(self, tensor: torch.Tensor) -> None:
        storage = tensor.untyped_storage()
        if storage._cdata not in self.known:
            self.known.add(storage._cdata)
            self.now += storage.nbytes()
            weakref.finalize(storage, self.forget, storage._cdata, storage.nbytes())

    def forget(self, storage: int, size: int) -> None:
        self.known.discard(storage)
        self.now -= size

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        result = operation(*args, **(kwargs or {}))
        for leaf in tree_leaves(result):
            if isinstance(leaf, torch.Tensor):
                self.see(leaf)
        return result


def waiting_for_backward(config: ModelConfig, batch: int) -> int:
    """Bytes that live between forward and backward of a second step, when the optimizer has its states."""
    model = TransformerLM(config)
    (optimizer,) = make_optimizers(model, OptimizerConfig())
    tokens = torch.zeros(batch, config.context_length, dtype=torch.long)
    targets = tokens.clone()
    with Live([*model.parameters(), tokens, targets]) as live:
        live.known |= {table.untyped_storage()._cdata for table in model.buffers()}  # RoPE's, which nobody counts
        for _ in range(2):
            loss = cross_entropy(model(tokens), targets)
            waiting = live.now - loss.nbytes
            loss.backward()
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
    return waiting


@given(config=configurations(), batch=st.integers(1, 3))
@settings(max_examples=40, deadline=None)
def test_what_lives_before_the_backward_pass_is_counted_to_the_byte(config: ModelConfig, batch: int) -> None:
    memory = training_memory(config, counting="autograd")
    assert waiting_for_backward(config, batch) == sum(
        memory.of_kind(kind, batch) for kind in ("weights", "optimizer", "activations")
    )


def test_each_way_of_saving_memory_saves_some() -> None:
    steps: list[dict[str, object]] = [
        {"attention": "reference"},
        {"attention": "sdpa"},
        {"dtype": "bfloat16"},
        {"checkpointing": True},
        {"devices": 8},
    ]
    for counting in ("course", "autograd"):
        chosen: dict[str, object] = {"counting": counting}
        batches = []
        for step in steps:
            chosen |= step
            batches.append(training_memory(XL, **chosen).largest_batch(80 * GB))
        assert batches == sorted(set(batches)), batches


def test_sharded_among_devices() -> None:
    """A share of weights, gradients and moments; whole are the outside of blocks and two blocks, twice."""
    memory = training_memory(XL, devices=8)
    block = 4 * 1600**2 + 2 * 1600 * 6400 + 2 * 1600
    outside = num_parameters(XL) - 48 * block
    assert memory.b == 16 * num_parameters(XL) // 8 + 2 * 4 * (outside + 2 * block)
    assert memory.a == training_memory(XL).a
    one_layer = dataclasses.replace(XL, num_layers=1)
    assert training_memory(one_layer, devices=2).of_kind("copies", 1) == 2 * 4 * num_parameters(one_layer)
    narrow = training_memory(XL, devices=8, dtype="bfloat16").of_kind("copies", 1)
    assert narrow == memory.of_kind("copies", 1) // 2


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"devices": 0}, "devices must be a whole number of at least 1, not 0"),
        ({"dtype": "float8"}, "no dtype is called 'float8'"),
        ({"optimizer": "adam"}, "no optimizer is called 'adam'; did you mean 'adamw'"),
        ({"counting": "mine"}, "no way of counting is called 'mine'; known: course, autograd"),
        ({"attention": "flash"}, "no attention is called 'flash'"),
    ],
)
def test_nonsense_is_refused(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        training_memory(XL, **settings)
    memory = training_memory(XL)
    with pytest.raises(ConfigError, match="device_memory must be a whole number of at least 1, not -1"):
        memory.largest_batch(-1)
    with pytest.raises(ConfigError, match="batch_size must be a whole number of at least 0, not -2"):
        memory.total(-2)
