"""The memory of training: weights, gradients, optimizer states, activations.

    memory = a * batch + b        largest batch = floor((device - b) / a)

With AdamW in float32, b is 16 bytes a parameter: weight, gradient, and two moments (the course's hand-out, section on
AdamW's resources). `a`, the activations of one sequence, comes from `cs336.accounting.activations`, where it is counted
as the course does or as PyTorch does.
"""

from __future__ import annotations

from dataclasses import dataclass

from cs336.accounting.activations import Activation, activations
from cs336.accounting.checks import at_least_one, whole
from cs336.accounting.formula import B, Formula, L, N, P, V, as_formula, d, sizes
from cs336.accounting.optimizers import optimizer_state_formula
from cs336.accounting.parameters import weights
from cs336.accounting.precision import is_mixed, narrow_bytes
from cs336.config import ModelConfig

__all__ = ["KINDS", "MemoryItem", "TrainingMemory", "training_memory"]

KINDS = ("weights", "gradients", "optimizer", "copies", "activations")

WIDE, NARROW = 4, 2


@dataclass(frozen=True)
class MemoryItem:
    """One part of training's memory on one device."""

    name: str
    kind: str
    """One of KINDS."""
    formula: Formula
    """Bytes in symbols, B sequences at once; before they are divided among devices."""
    sizes: dict[str, int]
    shards: int = 1
    """Devices that share it."""

    def bytes(self, batch_size: int) -> int:
        """Bytes on one device, of the device's own batch."""
        return -(-self.formula.value(self.sizes | {"B": batch_size}) // self.shards)


@dataclass(frozen=True)
class TrainingMemory:
    """All that training keeps on one device: a * batch + b."""

    items: list[MemoryItem]

    @property
    def a(self) -> int:
        """Bytes for each sequence of the batch."""
        return self.total(1) - self.total(0)

    @property
    def b(self) -> int:
        """Bytes whatever the batch."""
        return self.total(0)

    @property
    def a_formula(self) -> Formula:
        """Bytes for each sequence, in symbols."""
        return self._sum().slope("B")

    @property
    def b_formula(self) -> Formula:
        """Bytes whatever the batch, in symbols; on one device."""
        return self._sum().without("B")

    def _sum(self) -> Formula:
        return sum((item.formula for item in self.items), start=as_formula(0))

    def total(self, batch_size: int) -> int:
        """Bytes at a batch size, which may be 0."""
        whole("batch_size", batch_size)
        return sum(item.bytes(batch_size) for item in self.items)

    def of_kind(self, kind: str, batch_size: int) -> int:
        """Bytes of the items of one kind."""
        return sum(item.bytes(batch_size) for item in self.items if item.kind == kind)

    def largest_batch(self, device_memory: int) -> int:
        """The most sequences that fit into so many bytes; 0 if not even one does."""
        at_least_one("device_memory", device_memory)
        return max(0, (device_memory - self.b) // self.a)


def training_memory(
    config: ModelConfig,
    *,
    counting: str = "course",
    attention: str | None = None,
    dtype: str = "float32",
    optimizer: str = "adamw",
    checkpointing: bool = False,
    loss: str = "whole",
    devices: int = 1,
) -> TrainingMemory:
    """What training keeps on one device, item by item.

    Args:
        config: the model.
        counting: which list of activations, course or autograd.
        attention: "sdpa" or "reference"; None: the configuration's own for autograd, "reference" for the course's list.
        dtype: float32, tf32, bfloat16 or float16; the last two keep float32 weights, and narrow copies of the matrices.
        optimizer: adamw, muon or sgd.
        checkpointing: of each block only the input is kept, and one block at a time is computed again (Chen et al.
            2016, with one segment a layer).
        loss: "whole" or "chunked", for the autograd list.
        devices: how many share weights, gradients and optimizer states (FSDP, Zhao et al. 2023; stage 3 of ZeRO,
            Rajbhandari et al. 2020). The batch is that of one device.
    """
    at_least_one("devices", devices)
    numbers = sizes(config)
    items = [
        MemoryItem("weights", "weights", WIDE * P, numbers, devices),
        MemoryItem("gradients", "gradients", WIDE * P, numbers, devices),
        MemoryItem(
            f"{optimizer} states", "optimizer", WIDE * optimizer_state_formula(config, optimizer), numbers, devices
        ),
    ]
    if devices > 1:
        items += [MemoryItem(f"gathered {what}", "copies", _gathered(config, dtype), numbers) for what in KINDS[:2]]
    elif is_mixed(dtype):
        items.append(MemoryItem(f"{dtype} copies of the matrices", "copies", NARROW * _matrices(config), numbers))
    found = activations(config, counting=counting, attention=attention, dtype=dtype, loss=loss)
    kept = _checkpointed(found) if checkpointing else [(activation.name, activation.bytes) for activation in found]
    if checkpointing and config.value_residual:  # an input of the later blocks that no block can compute again
        kept.append(("values of the first layer", narrow_bytes(dtype) * B * L * d))
    items += [MemoryItem(name, "activations", formula, numbers) for name, formula in kept]
    return TrainingMemory(items)


def _checkpointed(found: list[Activation]) -> list[tuple[str, Formula]]:
    """The inputs of all blocks, what stands outside of blocks, and the rest of the one block that is computed again."""
    inside = [activation for activation in found if activation.in_block and not activation.is_block_input]
    outside = [activation for activation in found if not activation.in_block]
    return [
        ("block inputs", WIDE * N * B * L * d),
        *((f"{activation.name} (one block)", activation.one * activation.width) for activation in inside),
        *((activation.name, activation.bytes) for activation in outside),
    ]


def _matrices(config: ModelConfig) -> Formula:
    """Numbers in the matrices of linear layers, which autocast copies once a step; looking up a row needs no copy."""
    linear = [w.formula for w in weights(config) if len(w.shape) == 2 and "embeddings" not in w.component]
    return sum(linear, start=V * d if config.tie_embeddings else as_formula(0))


def _gathered(config: ModelConfig, dtype: str) -> Formula:
    """Bytes of the weights that a device has whole at a time, and as much for their gradients.

    What stands outside of blocks stays gathered from forward to backward, as `fully_shard` does with its root; of the
    blocks there are two, one at work and one on its way.
    """
    outside = [weight.one for weight in weights(config) if not weight.in_block]
    block = [weight.one for weight in weights(config) if weight.in_block]
    parts = [*outside, *block * min(2, config.num_layers)]
    return narrow_bytes(dtype) * sum(parts, start=as_formula(0))
