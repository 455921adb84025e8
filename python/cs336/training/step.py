"""One optimizer step: a batch, its gradients and what the optimizers make of them, on a device that never waits."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from cs336.accounting import mfu
from cs336.data.batches import to_device
from cs336.data.sampler import Draw, Sampler
from cs336.nn import TransformerLM, cross_entropy
from cs336.optim import AdamW, clip_grad_norm
from cs336.optim.optimizer import Optimizer
from cs336.training.compiled import compiled
from cs336.training.config import RunConfig
from cs336.training.distributed import World, accumulating, parallel, part_here, whole
from cs336.training.evaluate import mask_of
from cs336.training.metrics import Row
from cs336.training.optimizers import learning_rate, make_optimizers
from cs336.training.precision import DTYPES, LossScale, autocast
from cs336.training.run import peak_flops
from cs336.training.state import HostCopy, seed_everything


@dataclass(frozen=True)
class Begun:
    """A step that the device may still be at."""

    step: int
    draw: Draw
    started: float
    sums: Tensor
    """Loss, gradient's norm and whether one was told to stop, added up over the processes; on the device."""
    numbers: Tensor
    """The same on the CPU, after `wait`."""
    wait: Callable[[], None]


class NotFiniteError(Exception):
    """A step whose numbers no optimizer may see; the weights are as the step before has left them."""

    def __init__(self, step: int, loss: float, norm: float, draw: Draw) -> None:
        super().__init__(f"step {step}: the loss is {loss} and the gradient's norm {norm}")
        self.step, self.loss, self.norm, self.draw = step, loss, norm, draw


class Stepper:
    """The model, what trains it, and where in the data it is: all that a step changes."""

    def __init__(
        self,
        config: RunConfig,
        sampler: Sampler,
        document_end: int | None,
        world: World,
        device: torch.device,
        stop: threading.Event,
    ) -> None:
        """``stop`` says that this process was told to stop; it tells the others with its next step."""
        training = config.training
        self.config, self.sampler, self.document_end = config, sampler, document_end
        self.world, self.device, self.stop = world, device, stop
        self.dtype = DTYPES[training.dtype]
        self.peak_flops = peak_flops(device, training.dtype)
        seed_everything(training.seed)
        self.model = TransformerLM(config.model).to(device)
        self.model.activation_checkpointing = training.activation_checkpointing
        self.model.narrow_stream = training.narrow_stream
        self.wrapped = parallel(self.model, world, training.parallel, device)
        self.optimizers = make_optimizers(self.model, config.optimizer)
        self.forward = compiled(self.wrapped, self.model) if training.compile else self.wrapped
        if not world.is_first:
            seed_everything(training.seed + world.rank)  # dropout of its own
        self.scale = LossScale(self.dtype)
        self.position = sampler.beginning
        self.counted = (0, 0)
        """A number of sequences, and how many tokens they had: all from then on are as long as the context."""
        self.told = False
        """Whether a process was told to stop; all of them learn it from the same step."""
        self._upcoming: tuple[int, Draw, Tensor] | None = None
        self._holds_back = can_hold_back(self.optimizers, device) and not self.scale.active
        self._under_way: Begun | None = None
        self._settled = 0.0  # when the numbers of a step were last known

    def step(self, step: int) -> Row:
        """One optimizer step on the sequences that the sampler draws for it; gives its row of the log."""
        (row,) = self.advance(step) + self.catch_up()
        return row

    def advance(self, step: int) -> list[Row]:
        """A step that need not be over when this returns; gives the rows of those that are.

        No weight may move before loss and gradient are known to be finite. Where the optimizer's kernel can look for
        itself (`can_hold_back`), the CPU does not wait to know them, too: it asks for a step's numbers when the device
        is at the next one already, so that the device always has work.
        """
        begun = self._begin(step)
        if not self._holds_back:
            row, accepted = self._settle(begun)
            self._update(begun, accepted)
            return [row]
        rows = self.catch_up()
        self._update(begun, True)
        self._under_way = begun
        return rows

    def catch_up(self) -> list[Row]:
        """Waits for the step under way, if there is one; gives its row."""
        begun, self._under_way = self._under_way, None
        return [] if begun is None else [self._settle(begun)[0]]

    def _begin(self, step: int) -> Begun:
        """Gradients of a step; all that is asked of the device, and nothing waited for."""
        started = time.perf_counter()
        draw, windows = self._take(step)
        loss = self._forward_and_backward(windows)
        self.scale.unscale(p.grad for p in self.model.parameters() if p.grad is not None)
        norm = whole(clip_grad_norm(self.model.parameters(), self.config.optimizer.grad_clip or math.inf))
        # The mean over all processes; together they learn whether one was told to stop.
        sums = self.world.sum(torch.stack([loss, norm.to(loss), loss.new_full((), self.stop.is_set())]))
        copy = HostCopy(keep=True)
        begun = Begun(step, draw, started, sums, copy(sums), copy.event())
        if step < self.config.training.steps:
            self._upcoming = self._load(step + 1, draw.position)  # while the device computes
        return begun

    def _update(self, begun: Begun, accepted: bool) -> None:
        """The optimizer's part of a step, which its kernels leave out if they find that the numbers are not finite."""
        found_inf = (~begun.sums[:2].isfinite().all()).float() if self._holds_back else None
        for each in self.optimizers:
            for group in each.param_groups:
                group["lr"] = self._learning_rate(begun.step, group["peak_lr"])
            each.found_inf = found_inf
            if accepted:
                each.step()
            each.zero_grad(set_to_none=True)
        self.position = begun.draw.position

    def _settle(self, begun: Begun) -> tuple[Row, bool]:
        """Waits for a step's numbers; gives its row and whether it is taken. NotFiniteError if none can be right.

        This is the only place in a step where the CPU waits for the device.
        """
        begun.wait()
        loss_sum, norm_sum, told = begun.numbers.tolist()
        loss, norm = loss_sum / self.world.size, norm_sum / self.world.size
        self.told |= told > 0
        accepted = self._accept(begun.step, loss, norm, begun.draw)
        now = time.perf_counter()
        seconds, self._settled = now - max(begun.started, self._settled), now
        tokens = self.config.training.batch_size * self.config.model.context_length
        row = {
            "step": begun.step,
            "tokens": self.tokens_until(begun.draw.position),
            "loss": loss,
            "lr": self._learning_rate(begun.step, self.config.optimizer.lr),
            "grad_norm": norm if accepted else None,
            "seconds": seconds,
            "tokens_per_second": tokens / seconds,
            "mfu": self._mfu(tokens / seconds),
        }
        return row | ({"loss_scale": self.scale.value} if self.scale.active else {}), accepted

    def tokens_until(self, position: tuple[int, ...]) -> int:
        """How many tokens were trained on up to a position in the data."""
        sequences, tokens = self.counted
        return tokens + (sum(position) - sequences) * self.config.model.context_length

    def weights_are_finite(self) -> bool:
        """Whether all are, in all processes."""
        harmed = torch.stack([~part_here(weight).isfinite().all() for weight in self.model.parameters()]).any()
        return not self.world.sum(harmed.float()).item()

    def _learning_rate(self, step: int, peak: float) -> float:
        return learning_rate(step, peak, self.config.optimizer, self.config.training.steps)

    def _mfu(self, tokens_per_second: float) -> float | None:
        """The share of the devices' peak that this speed means; None where the peak is not known."""
        if self.peak_flops is None:
            return None
        return mfu(
            self.config.model,
            tokens_per_second=tokens_per_second,
            peak_flops=self.peak_flops,
            devices=self.world.size,
        )

    def _take(self, step: int) -> tuple[Draw, Tensor]:
        """The batch of a step, which is here already but for the first time."""
        if self._upcoming is None or self._upcoming[0] != step:
            self._upcoming = self._load(step, self.position)
        _, draw, windows = self._upcoming
        return draw, windows

    def _load(self, step: int, position: tuple[int, ...]) -> tuple[int, Draw, Tensor]:
        """Draws the batch of a step, and brings this process's share of each of its parts to the device."""
        training, world = self.config.training, self.world
        draw = self.sampler.draw(step, training.batch_size, position)
        of_parts = torch.arange(training.batch_size).view(training.grad_accumulation, world.size, -1)
        mine = of_parts[:, world.rank].flatten().numpy()
        return step, draw, to_device(self.sampler.windows(draw, mine), self.device)

    def _forward_and_backward(self, windows: Tensor) -> Tensor:
        """Adds up the gradients of all parts of a batch; returns the mean loss of this process's share."""
        self.model.train()
        parts = windows.chunk(self.config.training.grad_accumulation)
        loss = torch.zeros((), device=self.device)
        for number, part in enumerate(parts, start=1):
            inputs, targets = part[:, :-1], part[:, 1:]
            with accumulating(self.wrapped, last=number == len(parts)):
                part_loss = self._loss(inputs, targets) / len(parts)
                torch.autograd.backward(part_loss * self.scale.value if self.scale.active else part_loss)
            loss += part_loss.detach()
        return loss

    def _loss(self, inputs: Tensor, targets: Tensor) -> Tensor:
        """The mean loss of a part of a batch."""
        mask = mask_of(inputs, self.document_end)
        with autocast(self.device, self.dtype):
            if self.config.training.loss == "chunked":
                loss: Tensor = self.forward(inputs, targets_BT=targets, **mask)
                return loss
            logits = self.forward(inputs, **mask)
        return cross_entropy(logits.float(), targets)

    def _accept(self, step: int, loss: float, norm: float, draw: Draw) -> bool:
        """Whether the optimizer may take the step; raises NotFiniteError where no step can be right."""
        if math.isfinite(loss) and math.isfinite(norm):
            self.scale.succeeded()
            return True
        if math.isfinite(loss) and self.scale.shrink():
            return False  # float16 had no room for the scaled gradient: leave the step out
        raise NotFiniteError(step, loss, norm, draw)


def can_hold_back(optimizers: list[Optimizer], device: torch.device) -> bool:
    """Whether all optimizers leave out an update whose numbers the CPU does not know yet; only then is not waiting for
    them worth anything, or right.
    """
    return device.type == "cuda" and all(isinstance(each, AdamW) and each.fused is None for each in optimizers)
