"""A run in a few steps that leave nothing behind: what is wrong with it, and what it will cost."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import Tensor

from cs336.accounting import training_memory
from cs336.nn.loss import chunk_bytes
from cs336.training.config import RunConfig, with_absolute_paths
from cs336.training.distributed import World, part_here, processes
from cs336.training.loop import Run, say_nothing
from cs336.training.precision import DTYPES
from cs336.training.run import RunFolder


@dataclass(frozen=True)
class Rehearsal:
    """What a run will take, judged by a few steps of it."""

    device: str
    parameters: int
    state_bytes: int
    """Of weights, their gradients and what the optimizer remembers, in one process."""
    expected_bytes: int
    """The most in a step by the accounting's formulas, activations included, in one process."""
    peak_bytes: int | None
    """The most that PyTorch held at once, activations included; None where it does not count (CPU, MPS)."""
    flops_per_step: int
    """Of all matrix products: forward, backward, and those of Muon; counted while they ran."""
    tokens: int
    """Of the whole run."""
    seconds_per_step: float
    seconds: float
    """Of all steps, without evaluations."""
    loss: float
    """Of the second step: near ln(vocab_size) is right."""


def rehearse(config: RunConfig) -> Rehearsal:
    """Takes a few steps on the run's own data and forgets them: what is wrong shows at once, and what it will cost.

    Writes nothing. The second step is timed, because the first also prepares; on CUDA its peak of memory is measured.
    With training.compile it is the third, because what counts operations keeps the compiler away from the first.
    """
    with TemporaryDirectory() as nowhere, processes(config.training.device) as world:
        return _rehearse(with_absolute_paths(config), RunFolder(Path(nowhere)), world)


def _rehearse(config: RunConfig, folder: RunFolder, world: World) -> Rehearsal:
    from torch.utils.flop_counter import FlopCounterMode

    run = Run(config, folder, config.data.tokenizer, world, say_nothing)
    with FlopCounterMode(display=False, custom_mapping={torch.ops.aten.addmm: _addmm_flops}) as counter:
        run.stepper.step(1)
    on_cuda = run.device.type == "cuda"
    if on_cuda:
        torch.cuda.reset_peak_memory_stats(run.device)
    second = run.stepper.step(2)
    timed = run.stepper.step(3) if config.training.compile else second
    weights = list(run.stepper.model.parameters())
    remembered = [
        value for optimizer in run.stepper.optimizers for state in optimizer.state.values() for value in state.values()
    ]
    kept = [part_here(t) for t in (*weights, *weights, *remembered) if isinstance(t, Tensor)]  # twice: gradients
    return Rehearsal(
        device=str(run.device),
        parameters=config.model.num_parameters(),
        state_bytes=sum(tensor.numel() * tensor.element_size() for tensor in kept),
        expected_bytes=expected_bytes(config, world.size, run.device.type),
        peak_bytes=torch.cuda.max_memory_allocated(run.device) if on_cuda else None,
        flops_per_step=counter.get_total_flops() * world.size,
        tokens=config.training.steps * config.training.batch_size * config.model.context_length,
        seconds_per_step=timed["seconds"],
        seconds=timed["seconds"] * config.training.steps,
        loss=second["loss"],
    )


def _addmm_flops(added: list[int], left: list[int], right: list[int], *_: Any, **__: Any) -> int:
    """Of the product; torch's own formula does not know all variants before 2.12."""
    return 2 * left[0] * left[1] * right[1]


def expected_bytes(config: RunConfig, processes: int, kind: str) -> int:
    """Weights, gradients, optimizer and what waits for the backward pass of one part of a batch, in each process, on
    devices of a kind.
    """
    training = config.training
    memory = training_memory(
        config.model,
        counting="autograd",
        dtype=training.dtype,
        optimizer=config.optimizer.name,
        loss=training.loss,
        checkpointing=training.activation_checkpointing,
        devices=processes if training.parallel == "fsdp" else 1,
    )
    sequences = training.batch_size // training.grad_accumulation // processes
    expected = memory.total(sequences)
    if training.loss == "chunked":
        logits = chunk_bytes(
            kind, sequences * config.model.context_length, config.model.vocab_size, DTYPES[training.dtype]
        )
        # These come and go before the first gradient is there, and take no more room where gradients take it later.
        expected += max(0, logits - memory.of_kind("gradients", sequences))
    return expected
