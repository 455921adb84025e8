"""Trains in two processes that know of each other by torchrun's variables, as often as it is asked to.

Reads requests, a JSON object a line: the keys `config`, `run` and `resume`, and what is to befall a process before a
step, as {"stop": 3}: the first gets SIGTERM; "fail": the second raises an error; "kill": it gets SIGKILL; "poison": its
losses are NaN from then on. With "pipelined", steps are taken as on CUDA: the next one begins before the numbers of the
one before are known. Answers each with a JSON list of how the processes ended, and of how many models of DDP there were
when they parted; one that was killed is not in it.

It forks, so that torch is imported once for all: it must have computed nothing before.
"""

from __future__ import annotations

import gc
import json
import os
import signal
import socket
import sys
from pathlib import Path
from typing import Any

import matplotlib.figure  # noqa: F401  what a run imports late is here before the children are
import torch
import torch._dynamo
import torch._inductor
import torch.distributed as dist
import torch.distributed.fsdp
import torch.distributed.tensor
from torch.nn.parallel import DistributedDataParallel

from cs336.training import load_config, step, train
from cs336.training.step import Stepper

Request = dict[str, Any]


def befall(request: Request, step: int, rank: int) -> None:
    if rank == 0 and step == request.get("stop"):
        os.kill(os.getpid(), signal.SIGTERM)
    if rank == 1 and step == request.get("fail"):
        raise ValueError("the second process has had enough")
    if rank == 1 and step == request.get("poison"):
        loss = Stepper._loss
        Stepper._loss = lambda *arguments: loss(*arguments) * float("nan")  # type: ignore[method-assign]
    if rank == 1 and step == request.get("kill"):
        os.kill(os.getpid(), signal.SIGKILL)


def work(request: Request, rank: int, port: int) -> dict[str, Any]:
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2",
                   "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}  # fmt: skip
    if request.get("pipelined"):
        step.can_hold_back = lambda optimizers, device: True
    real = Stepper.advance

    def advance(self: Stepper, number: int) -> list[dict[str, Any]]:
        befall(request, number, rank)
        return real(self, number)

    Stepper.advance = advance  # type: ignore[method-assign]
    part, left = dist.destroy_process_group, []

    def destroy() -> None:
        left.append(sum(type(thing) is DistributedDataParallel for thing in gc.get_objects()))
        part()

    dist.destroy_process_group = destroy
    try:
        result = train(load_config(request["config"]), request["run"], resume=request.get("resume", False))
    except Exception as error:
        return {"error": f"{type(error).__name__}: {error}", "left": left}
    return {"step": result.step, "interrupted": result.interrupted, "valid_loss": result.valid_loss, "left": left}


def in_child(request: Request, rank: int, port: int, outcome: Path) -> int:
    pid = os.fork()
    if pid == 0:
        try:
            outcome.write_text(json.dumps(work(request, rank, port)), encoding="utf-8")
        finally:
            os._exit(0)
    return pid


def answer(request: Request) -> list[Any]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    outcomes = [Path(f"{request['run']}.outcome-{rank}") for rank in range(2)]
    for pid in [in_child(request, rank, port, outcome) for rank, outcome in enumerate(outcomes)]:
        os.waitpid(pid, 0)
    answers = [json.loads(outcome.read_text("utf-8")) for outcome in outcomes if outcome.exists()]
    for outcome in outcomes:
        outcome.unlink(missing_ok=True)
    return answers


torch.set_num_threads(1)
for line in sys.stdin:
    print(json.dumps(answer(json.loads(line))), flush=True)
