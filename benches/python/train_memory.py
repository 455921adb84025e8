"""Measure what a forward pass keeps for the backward pass, and hold it against what the accounting predicts.

On the CPU: the bytes of all tensors that autograd has saved, weights and tables left out. On CUDA: the peak of a whole
step less what stood before it, which holds gradients and what lives for a moment, too.

    python benches/python/train_memory.py --preset tinystories-2025 --batch-size 8 --output memory
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import weakref
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path

import torch
from side_by_side import facts, write
from torch import Tensor

from cs336.accounting import training_memory
from cs336.config import PRESETS, ModelConfig, preset
from cs336.nn import TransformerLM, cross_entropy


@dataclass
class Result:
    """One way of saving memory, in megabytes."""

    loss: str
    checkpointing: bool
    predicted: float
    """That waits for the backward pass. With checkpointing without the one layer that is computed again, which does not
    stand there yet."""
    measured: float
    peak: float | None
    """Of a whole step, on CUDA."""


class Saved:
    """A saved tensor, for as long as the graph holds it."""

    def __init__(self, tensor: Tensor) -> None:
        self.tensor = tensor.detach()  # or a tensor that its own node saves would keep the node alive


def saved_bytes(model: TransformerLM, tokens: Tensor, loss: str) -> int:
    """Bytes of all storages that the graph of a loss holds, without weights and tables, by the hooks of autograd."""
    saved: weakref.WeakSet[Saved] = weakref.WeakSet()

    def pack(tensor: Tensor) -> Saved:
        saved.add(one := Saved(tensor))
        return one

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda one: one.tensor):
        value = loss_of(model, tokens, loss)
    own = {tensor.untyped_storage().data_ptr() for tensor in (*model.parameters(), *model.buffers())}
    storages = {one.tensor.untyped_storage().data_ptr(): one.tensor.untyped_storage().nbytes() for one in saved}
    del value  # and with it the graph, but not before
    return sum(size for place, size in storages.items() if place not in own)


def loss_of(model: TransformerLM, tokens: Tensor, loss: str) -> Tensor:
    """The loss as the loop computes it; the targets are a tensor of their own, as there."""
    if loss == "chunked":
        value: Tensor = model(tokens, targets_BT=tokens.clone())
        return value
    return cross_entropy(model(tokens), tokens.clone())


def peak_bytes(model: TransformerLM, tokens: Tensor, loss: str) -> int:
    """The most that forward and backward pass hold beyond what stood before."""
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    loss_of(model, tokens, loss).backward()  # type: ignore[no-untyped-call]  # torch's
    return torch.cuda.max_memory_allocated() - before


def measure(config: ModelConfig, batch_size: int, device: str) -> list[Result]:
    """Every way of saving memory, on one model."""
    model = TransformerLM(config, device=device).train()
    tokens = torch.randint(0, config.vocab_size, (batch_size, config.context_length), device=device)
    found = []
    for loss, checkpointing in product(("whole", "chunked"), (False, True)):
        model.activation_checkpointing = checkpointing
        memory = training_memory(config, counting="autograd", loss=loss, checkpointing=checkpointing)
        waiting = [item for item in memory.items if item.kind == "activations" and "(one block)" not in item.name]
        model.zero_grad(set_to_none=True)
        found.append(
            Result(
                loss=loss,
                checkpointing=checkpointing,
                predicted=sum(item.bytes(batch_size) for item in waiting) / 1e6,
                measured=saved_bytes(model, tokens, loss) / 1e6,
                peak=peak_bytes(model, tokens, loss) / 1e6 if model.token_embeddings.weight.is_cuda else None,
            )
        )
    return found


def markdown(results: list[Result]) -> str:
    """The results as a table."""
    lines = ["| loss | checkpointing | predicted MB | measured MB | peak of a step, MB |", "|---|---|---|---|---|"]
    for one in results:
        peak = "" if one.peak is None else f"{one.peak:,.1f}"
        lines.append(
            f"| {one.loss} | {'yes' if one.checkpointing else 'no'} | {one.predicted:,.1f} | {one.measured:,.1f} "
            f"| {peak} |"
        )
    return "\n".join(lines)


def main() -> None:
    """Read the command line, measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", choices=list(PRESETS), default="tinystories-2025")
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--json", action="store_true", help="print JSON instead of the table")
    parser.add_argument("--output", type=Path, help="write OUTPUT.md and OUTPUT.json")
    options = parser.parse_args()
    config = dataclasses.replace(preset(options.preset), residual_pdrop=0.0, attn_pdrop=0.0)
    results = measure(config, options.batch_size, options.device)
    about = facts(
        ["cs336", "torch"],
        model=asdict(config),
        batch_size=options.batch_size,
        device=options.device,
        results=[asdict(one) for one in results],
    )
    print(json.dumps(about, indent=1) if options.json else markdown(results))
    if options.output:
        write(options.output, markdown(results), about)


if __name__ == "__main__":
    main()
