"""The processes of a run: one, or as many as torchrun has started.

Every process computes the same configuration on its share of each batch. The first one alone touches the run's folder.
"""

from __future__ import annotations

import gc
import inspect
import os
import traceback
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed import PrefixStore, TCPStore  # type: ignore[attr-defined]

from cs336.errors import ConfigError, WorkerError

T = TypeVar("T")
_FAILURE = "cs336/failure"


@dataclass(frozen=True)
class World:
    """Which process this is, and of how many."""

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    """Among the processes of this machine: the number of its GPU."""

    @property
    def is_first(self) -> bool:
        """Whether this one writes logs and checkpoints."""
        return self.rank == 0

    def sum(self, numbers: Tensor) -> Tensor:
        """The sum over all processes, in place."""
        if self.size > 1:
            dist.all_reduce(numbers)
        return numbers

    def gather(self, value: T) -> list[T]:
        """A value of each process, in the order of their ranks."""
        if self.size == 1:
            return [value]
        values: list[Any] = [None] * self.size
        dist.all_gather_object(values, value)
        return values

    def from_first(self, work: Callable[[], T]) -> T:
        """Does something in the first process only; every process returns its result, or raises its error."""
        if self.size == 1:
            return work()
        outcome: list[Any] = [None, None]
        if self.is_first:
            try:
                outcome[0] = work()
            except Exception as error:
                outcome[1] = error
        dist.broadcast_object_list(outcome, src=0)
        if outcome[1] is not None:
            raise outcome[1]
        result: T = outcome[0]
        return result


@contextmanager
def processes(device: str) -> Iterator[World]:
    """Joins the other processes that torchrun has started; alone, there is nothing to join.

    Where one process fails, it tells the others why, and they end with its reason instead of a broken connection. What
    they train together must be gone when this ends, so it belongs into a function that is called in here: what its
    frames hold goes with them, also where it fails.
    """
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        yield World()
        return
    missing = [name for name in ("RANK", "MASTER_ADDR", "MASTER_PORT") if name not in os.environ]
    if missing:
        raise ConfigError(
            f"WORLD_SIZE says that there are {size} processes, but {', '.join(missing)} is not set; start them with "
            "torchrun, or unset WORLD_SIZE for one process"
        )
    world = World(int(os.environ["RANK"]), size, int(os.environ.get("LOCAL_RANK", "0")))
    on_cuda = device.startswith("cuda") or (device == "auto" and torch.cuda.is_available())
    if on_cuda:
        torch.cuda.set_device(world.local_rank)
    store = TCPStore(
        os.environ["MASTER_ADDR"],
        int(os.environ["MASTER_PORT"]),
        is_master=world.is_first and os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True",
        wait_for_workers=False,
    )
    attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")  # torchrun's restarts share the store
    key = f"{_FAILURE}/{attempt}"
    dist.init_process_group(
        "nccl" if on_cuda else "gloo",
        store=PrefixStore(f"cs336/{attempt}", store),
        rank=world.rank,
        world_size=size,
    )
    failed = True
    try:
        yield world
        failed = False
    except BaseException as error:
        _empty_frames(error)
        raise _told(error, world, store, key) from error
    finally:
        # DDP holds the group, too, and must go first: as the last to hold it, DDP waits for the group's thread and
        # keeps the interpreter's lock, for which that thread waits to let go of a tensor (seen in torch 2.11).
        gc.collect()
        # nccl's end waits for all processes. Where this one fails, the others may be waiting for it in the middle of a
        # step, and its error would never be seen; so the group ends with the process then, by force.
        if not (failed and on_cuda):
            dist.destroy_process_group()


def _empty_frames(error: BaseException | None) -> None:
    """Lets an error's traceback show where it was raised, but hold nothing that its frames held."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        traceback.clear_frames(error.__traceback__)
        error = error.__cause__ or error.__context__


def _told(error: BaseException, world: World, store: TCPStore, key: str) -> BaseException:
    """Tells the others of an error; where it is only the echo of one of theirs, gives that instead."""
    try:
        # A broken connection is torch's plain RuntimeError, or a kind of it.
        if isinstance(error, RuntimeError) and store.check([key]):
            return WorkerError(f"this process ends because another one failed: {store.get(key).decode()}")
        if isinstance(error, dist.DistError) or "gloo" in str(error):
            error = WorkerError("another process of this run has ended without a word; was it killed? Start it again")
        elif not store.check([key]):
            store.set(key, f"process {world.rank}: {type(error).__name__}: {error}")
    except (RuntimeError, ValueError):  # The store went with the process that kept it.
        return error
    return error


def parallel(model: torch.nn.Module, world: World, how: str, device: torch.device) -> torch.nn.Module:
    """The model as all processes train it together.

    ddp: every process holds all of it, and gradients are averaged while the backward pass still runs. fsdp: weights,
    gradients and optimizer state are spread over the processes (FSDP2), and each layer is gathered when it is used.
    """
    if world.size == 1:
        return model
    if how == "ddp":
        from torch.nn.parallel import DistributedDataParallel

        devices = [device] if device.type == "cuda" else None
        # The only buffers are tables of RoPE, the same everywhere. The switch that leaves them alone has two names.
        switches = inspect.signature(DistributedDataParallel).parameters
        switch = "forward_sync_buffers" if "forward_sync_buffers" in switches else "broadcast_buffers"
        options: dict[str, Any] = {switch: False}
        return DistributedDataParallel(model, device_ids=devices, gradient_as_bucket_view=True, **options)
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    mesh = init_device_mesh(device.type, (world.size,))
    for layer in model.get_submodule("layers").children():
        fully_shard(layer, mesh=mesh)
    fully_shard(model, mesh=mesh)
    return model


def accumulating(model: torch.nn.Module, *, last: bool) -> AbstractContextManager[None]:
    """Around one part of a batch: gradients of all but the last are added up without talking to other processes."""
    fsdp_switch = getattr(model, "set_requires_gradient_sync", None)
    if fsdp_switch is not None:
        fsdp_switch(last)
    ddp_context: Callable[[], AbstractContextManager[None]] = getattr(model, "no_sync", nullcontext)
    return nullcontext() if last else ddp_context()


def whole(tensor: Tensor) -> Tensor:
    """All of a tensor that FSDP has spread; every process must ask for it."""
    gathered: Tensor = getattr(tensor, "full_tensor", lambda: tensor)()
    return gathered


def part_here(tensor: Tensor) -> Tensor:
    """What this process holds of a tensor."""
    part: Tensor = getattr(tensor, "to_local", lambda: tensor)()
    return part


def sharded_like(parameter: Any, value: Any) -> Any:
    """A whole tensor spread as a weight of the same shape is; anything else as it is."""
    if not (hasattr(parameter, "placements") and isinstance(value, Tensor) and value.shape == parameter.shape):
        return value
    from torch.distributed.tensor import distribute_tensor

    return distribute_tensor(value.to(parameter.device), parameter.device_mesh, parameter.placements)
