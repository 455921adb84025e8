"""What a run goes on from, taken out of live objects and put back, whatever the number of processes."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from cs336.errors import CheckpointError
from cs336.training.distributed import sharded_like, whole

State = dict[str, Any]


class HostCopy:
    """Copies tensors to the CPU without waiting for the device: the copies are ordered before the next step's work."""

    def __init__(self, *, keep: bool) -> None:
        """Without ``keep``, takes part in gathering what FSDP has spread, and keeps nothing of it."""
        self.keep = keep
        self._cuda: torch.device | None = None

    def __call__(self, tensor: Tensor) -> Tensor:
        """A copy that later changes of the tensor don't reach; on CUDA it is complete only after `wait`."""
        tensor = whole(tensor.detach())
        if not self.keep:
            return tensor.new_empty(0)
        if tensor.device.type != "cuda":
            return tensor.to("cpu", copy=True)
        self._cuda = tensor.device
        return torch.empty_like(tensor, device="cpu", pin_memory=True).copy_(tensor, non_blocking=True)

    def event(self) -> Callable[[], None]:
        """A function that waits until the copies made so far are complete."""
        if self._cuda is None:
            return lambda: None
        # Of the tensors' device, which need not be the current one: cuda:1 in a process that has chosen none.
        event: torch.cuda.Event = torch.cuda.current_stream(self._cuda).record_event()
        return event.synchronize


def optimizer_state(
    model: torch.nn.Module, optimizers: Sequence[torch.optim.Optimizer], copy: Callable[[Tensor], Tensor]
) -> State:
    """What the optimizers remember of each weight, by its name: ``{"ln_final.weight": {"t": 3, "m": ...}}``."""
    return {
        name: {key: copy(value) if isinstance(value, Tensor) else value for key, value in remembered.items()}
        for optimizer in optimizers
        for name, remembered in _by_name(model, optimizer, optimizer.state_dict()["state"])
    }


def restore_optimizers(model: torch.nn.Module, optimizers: Sequence[torch.optim.Optimizer], state: State) -> None:
    """Puts back what `optimizer_state` gave; raises CheckpointError where it is of other weights."""
    weights = dict(model.named_parameters())
    known = {name for optimizer in optimizers for name in _names(model, optimizer)}
    if state and set(state) != known:
        odd = sorted(set(state) ^ known)
        raise CheckpointError(f"the checkpoint's optimizer is of another model: it differs in {', '.join(odd[:3])}")
    for optimizer in optimizers:
        plain = optimizer.state_dict()
        plain["state"] = {
            index: {key: sharded_like(weights[name], value) for key, value in state[name].items()}
            for index, name in enumerate(_names(model, optimizer))
            if name in state
        }
        optimizer.load_state_dict(plain)


def _by_name(
    model: torch.nn.Module, optimizer: torch.optim.Optimizer, state: dict[int, State]
) -> Iterator[tuple[str, State]]:
    names = _names(model, optimizer)
    for index, remembered in state.items():
        yield names[index], remembered


def _names(model: torch.nn.Module, optimizer: torch.optim.Optimizer) -> list[str]:
    """The names of an optimizer's weights, in the order in which its state counts them."""
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    return [names[id(parameter)] for group in optimizer.param_groups for parameter in group["params"]]


def seed_everything(seed: int) -> None:
    """Seeds the generators of Python, NumPy and torch, which are global."""
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)


def random_states() -> State:
    """The states of all of them, in types that load without executing code."""
    name, keys, *rest = np.random.get_state(legacy=True)
    return {
        "python": random.getstate(),
        "numpy": (name, torch.from_numpy(np.asarray(keys).astype(np.int64)), *rest),
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
    }


def restore_random_states(states: State) -> None:
    """Puts back what `random_states` gave."""
    random.setstate(states["python"])
    name, keys, *rest = states["numpy"]
    np.random.set_state((name, keys.numpy().astype(np.uint32), *rest))
    torch.set_rng_state(states["torch"])
    if states["cuda"] and torch.cuda.is_available():
        torch.cuda.set_rng_state_all(states["cuda"][: torch.cuda.device_count()])
