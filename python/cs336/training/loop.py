"""The training loop: it stops at any step and goes on bit for bit."""

from __future__ import annotations

import json
import math
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock, Timeout
from torch import Tensor
from torch.nn import Parameter

from cs336.accounting import mfu
from cs336.data.batches import to_device
from cs336.data.sampler import Draw, Sampler
from cs336.data.token_file import check_tokens, fingerprint, open_tokens
from cs336.errors import ConfigError, DataError, NonFiniteLossError
from cs336.files import remove_leftovers, sync, whole_file
from cs336.nn import TransformerLM, cross_entropy
from cs336.optim import SGD, AdamW, Muon, clip_grad_norm, constant_schedule, cosine_schedule, wsd_schedule
from cs336.optim.optimizer import Optimizer
from cs336.training.checkpoint import (
    Snapshot,
    checkpoints,
    fit,
    read_checkpoint,
    set_aside,
    write_checkpoint,
    write_weights,
)
from cs336.training.compiled import compiled
from cs336.training.config import OptimizerConfig, RunConfig, with_absolute_paths
from cs336.training.distributed import World, accumulating, parallel, processes, whole
from cs336.training.evaluate import EvalResult, evaluate, mask_of
from cs336.training.metrics import Row, append_row, read_rows, rewind
from cs336.training.plot import plot_losses
from cs336.training.precision import DTYPES, LossScale, autocast, set_up_torch
from cs336.training.run import (
    RunFolder,
    check_folder,
    choose_device,
    create_folder,
    find_document_end,
    load_tokenizer,
    peak_flops,
    write_config,
)
from cs336.training.signals import stop_on_signals
from cs336.training.sinks import Sink, check_sinks, open_sinks
from cs336.training.state import (
    HostCopy,
    optimizer_state,
    random_states,
    restore_optimizers,
    restore_random_states,
    seed_everything,
)
from cs336.training.writer import BackgroundWriter
from cs336.wording import in_toml

Report = Callable[[Row], None]


@dataclass(frozen=True)
class TrainResult:
    """How a run ended."""

    run: Path
    step: int
    """Steps done."""
    interrupted: bool
    """Stopped by a signal before its last step; ``cs336 train --resume RUN`` goes on."""
    valid_loss: float | None
    bits_per_byte: float | None
    seconds: float
    """Of this process, not of earlier parts of the run."""


def train(
    config: RunConfig,
    run_dir: str | Path,
    *,
    resume: bool = False,
    accept_changes: bool = False,
    report: Report | None = None,
    ready: Callable[[], None] | None = None,
) -> TrainResult:
    """Trains a model into a run folder, or goes on with one.

    Under torchrun, every process calls this alike. ``ready`` is called when all is checked and training begins, and
    ``report`` with every row of the log, both in the first process only. SIGTERM and Ctrl-C finish the step, save and
    return. Going on, a configuration that differs from the run's is refused by name, unless ``accept_changes``; and so
    is a token file that has changed.

    Raises ConfigError, DataError, CheckpointError, WorkerError where another process has failed, OSError where a
    checkpoint can't be written, and NonFiniteLossError before a bad loss can harm the weights.
    """
    config = with_absolute_paths(config)
    folder = RunFolder(Path(run_dir))

    def train_in(world: World) -> TrainResult:
        changes = world.from_first(lambda: check_folder(folder, config, resume, accept_changes))
        tokenizer = folder.tokenizer if resume else config.data.tokenizer
        # Everything is opened and checked before the folder is made, so that a mistake leaves nothing in the way.
        run = Run(config, folder, tokenizer, world, report if report is not None and world.is_first else say_nothing)
        if not resume:
            world.from_first(lambda: create_folder(folder, config))
        if ready is not None and world.is_first:
            ready()
        return run.go(accepted=changes)

    with processes(config.training.device) as world:
        return train_in(world)


def say_nothing(row: Row) -> None:
    """A report for nobody."""


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


class Run:
    """One process's part of a run."""

    def __init__(
        self, config: RunConfig, folder: RunFolder, tokenizer: str | Path | None, world: World, report: Report
    ) -> None:
        self.config, self.folder, self.world, self.report = config, folder, world, report
        training, data = config.training, config.data
        if not data.train_files:
            raise ConfigError("data.train names no file to train on; give one: --data.train train.npy")
        if training.batch_size % (training.grad_accumulation * world.size):
            raise ConfigError(
                f"training.batch_size must be a multiple of training.grad_accumulation times the number of processes: "
                f"{training.batch_size} is none of {training.grad_accumulation} * {world.size}"
            )
        self.device = choose_device(training.device, world.local_rank if world.size > 1 else None)
        self.dtype = DTYPES[training.dtype]
        self.peak_flops = peak_flops(self.device, training.dtype)
        set_up_torch(training, self.device)
        check_sinks(training)
        self.tokenizer = load_tokenizer(tokenizer) if tokenizer is not None and data.tokenizer is not None else None
        self.train_files = [open_tokens(path) for path in data.train_files]
        self.valid_file = None if data.valid is None else open_tokens(data.valid)
        self.sampler = Sampler(
            [file.tokens for file in self.train_files],
            config.model.context_length,
            seed=training.seed,
            order=data.order,
            weights=data.weights,
        )
        world.from_first(self._check_data)
        self.document_end = find_document_end(data, self.tokenizer, self.train_files)
        seed_everything(training.seed)
        self.model = TransformerLM(config.model).to(self.device)
        self.model.activation_checkpointing = training.activation_checkpointing
        self.model.narrow_stream = training.narrow_stream
        self.wrapped = parallel(self.model, world, training.parallel, self.device)
        self.optimizers = make_optimizers(self.model, config.optimizer)
        self.forward = compiled(self.wrapped, self.model) if training.compile else self.wrapped
        if not world.is_first:
            seed_everything(training.seed + world.rank)  # dropout of its own
        self.scale = LossScale(self.dtype)
        self.position = self.sampler.beginning
        self.upcoming: tuple[int, Draw, Tensor] | None = None
        self.holds_back = can_hold_back(self.optimizers, self.device) and not self.scale.active
        self.under_way: Begun | None = None
        self.settled = 0.0  # when the numbers of a step were last known
        self.best = math.inf
        self.writer = BackgroundWriter()
        self.sinks: list[Sink] = []
        self.stop = threading.Event()
        self.stopping = False

    def _check_data(self) -> None:
        """Refuses token files before training where they can't belong to the model, or to each other."""
        files = [*self.train_files, *([self.valid_file] if self.valid_file else [])]
        hashes = {file.path: file.info.vocabulary_hash for file in files if file.info is not None}
        if self.tokenizer is not None:
            wanted, by = self.tokenizer.hash, str(self.config.data.tokenizer)
        else:
            by, wanted = next(((str(path), found) for path, found in hashes.items()), ("", ""))
        for path, found in hashes.items():
            if found != wanted:
                raise DataError(
                    f"{path} was encoded with another tokenizer than {by}: their hashes are {found[:12]}... and "
                    f"{wanted[:12]}...; encode the text with one tokenizer"
                )
        for file in files:
            check_tokens(file.tokens, self.config.model.vocab_size)

    def go(self, accepted: Row) -> TrainResult:
        """Trains from the last whole checkpoint, or from the start, to the end or to a signal."""
        started = time.perf_counter()
        training = self.config.training
        with ExitStack() as stack:
            self.stop = stack.enter_context(stop_on_signals())
            stack.enter_context(self.writer)
            lock = FileLock(self.folder.lock)
            stack.callback(lock.release)
            self.world.from_first(lambda: self._take_over(lock))
            step = self._restore(accepted)
            for sink in self.sinks:
                stack.callback(sink.close)
            while step < training.steps and not self.stopping:
                step += 1
                self._log_all(self.advance(step))
                self.writer.check()
                # Asked once a step, so that what stops the loop is also what saves.
                self.stopping |= self.stop.is_set() and self.world.size == 1
                saving = step == training.steps or self.stopping or step % training.checkpoint_every == 0
                if saving or self._evaluation_is_due(step):
                    self._log_all(self.catch_up())
                if saving:
                    self._save(step)
                if self._evaluation_is_due(step):
                    self._evaluate(step)
        final = self.world.from_first(self._finish)
        return TrainResult(
            run=self.folder.path,
            step=step,
            interrupted=step < training.steps,
            valid_loss=final.get("valid_loss"),
            bits_per_byte=final.get("bits_per_byte"),
            seconds=time.perf_counter() - started,
        )

    def _take_over(self, lock: FileLock) -> None:
        """Keeps other runs out of the folder, until this process ends in whatever way."""
        try:
            lock.acquire(timeout=0)
        except Timeout:
            raise ConfigError(
                f"another process is training in {self.folder.path}; wait for its end, or stop it"
            ) from None

    def _finish(self) -> Row:
        """Draws the curve; gives the last evaluation."""
        rows = read_rows(self.folder.metrics)
        plot_losses(rows, self.folder.plot)
        evaluations = [row for row in rows if "valid_loss" in row]
        return evaluations[-1] if evaluations else {}

    # One step

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
        if not self.holds_back:
            row, accepted = self._settle(begun)
            self._update(begun, accepted)
            return [row]
        rows = self.catch_up()
        self._update(begun, True)
        self.under_way = begun
        return rows

    def catch_up(self) -> list[Row]:
        """Waits for the step under way, if there is one; gives its row."""
        begun, self.under_way = self.under_way, None
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
            self.upcoming = self._load(step + 1, draw.position)  # while the device computes
        return begun

    def _update(self, begun: Begun, accepted: bool) -> None:
        """The optimizer's part of a step, which its kernels leave out if they find that the numbers are not finite."""
        found_inf = (~begun.sums[:2].isfinite().all()).float() if self.holds_back else None
        for each in self.optimizers:
            for group in each.param_groups:
                group["lr"] = self._learning_rate(begun.step, group["peak_lr"])
            each.found_inf = found_inf
            if accepted:
                each.step()
            each.zero_grad(set_to_none=True)
        self.position = begun.draw.position

    def _settle(self, begun: Begun) -> tuple[Row, bool]:
        """Waits for a step's numbers; gives its row and whether it is taken. NonFiniteLossError if none can be right.

        This is the only place in a step where the CPU waits for the device.
        """
        begun.wait()
        loss_sum, norm_sum, told = begun.numbers.tolist()
        loss, norm = loss_sum / self.world.size, norm_sum / self.world.size
        self.stopping |= told > 0
        accepted = self._accept(begun.step, loss, norm, begun.draw)
        now = time.perf_counter()
        seconds, self.settled = now - max(begun.started, self.settled), now
        tokens = self.config.training.batch_size * self.config.model.context_length
        row = {
            "step": begun.step,
            "tokens": sum(begun.draw.position) * self.config.model.context_length,
            "loss": loss,
            "lr": self._learning_rate(begun.step, self.config.optimizer.lr),
            "grad_norm": norm if accepted else None,
            "seconds": seconds,
            "tokens_per_second": tokens / seconds,
            "mfu": self._mfu(tokens / seconds),
        }
        return row | ({"loss_scale": self.scale.value} if self.scale.active else {}), accepted

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
        if self.upcoming is None or self.upcoming[0] != step:
            self.upcoming = self._load(step, self.position)
        _, draw, windows = self.upcoming
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
        """Whether the optimizer may take the step; raises NonFiniteLossError where no step can be right."""
        if math.isfinite(loss) and math.isfinite(norm):
            self.scale.succeeded()
            return True
        if math.isfinite(loss) and self.scale.shrink():
            return False  # float16 had no room for the scaled gradient: leave the step out
        self.writer.wait()
        checkpoint, places = self.world.from_first(lambda: self._record_bad_batch(step, loss, norm, draw))
        raise NonFiniteLossError(
            f"step {step}: the loss is {loss} and the gradient's norm {norm}; the weights are unharmed, as step "
            f"{step - 1} has left them. The batch stands in {places}. Last whole checkpoint: {checkpoint or 'none'}. "
            "Look at that batch, or try a smaller optimizer.lr or a longer warm-up"
        )

    def _record_bad_batch(self, step: int, loss: float, norm: float, draw: Draw) -> tuple[Path | None, Path]:
        places = [
            {"file": str(self.train_files[file].path), "first_token": start}
            for file, start in zip(draw.files.tolist(), draw.starts.tolist(), strict=True)
        ]
        path = self.folder.path / f"bad-batch-{step:08d}.json"
        about = {"step": step, "loss": str(loss), "grad_norm": str(norm), "sequences": places}
        with whole_file(path) as aside:
            aside.write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")
        return self.folder.last_whole_checkpoint()[0], path

    # Saving and restoring

    def _save(self, step: int) -> None:
        """Copies what a checkpoint needs, and writes it while training goes on."""
        copy = HostCopy(keep=self.world.is_first)
        weights = {name: copy(tensor) for name, tensor in self.model.state_dict().items()}
        state = {
            "optimizer": optimizer_state(self.model, self.optimizers, copy),
            "random": self.world.gather(random_states()),
            "position": list(self.position),
            "loss_scale": self.scale.state(),
            "data": [fingerprint(file) for file in self.train_files],
        }
        copied = copy.event()

        def write() -> None:
            copied()
            if self.folder.metrics.exists():
                sync(self.folder.metrics)  # A power cut must not take rows from before the checkpoint.
            write_checkpoint(self.folder.checkpoints, Snapshot(step, weights, state), self.config.training.keep_last)

        if self.world.is_first:
            self.writer.submit(write)

    def _save_best(self, step: int, loss: float) -> None:
        copy = HostCopy(keep=self.world.is_first)
        weights = {name: copy(tensor) for name, tensor in self.model.state_dict().items()}
        copied = copy.event()

        def write() -> None:
            copied()
            with whole_file(self.folder.best) as aside:
                write_weights(aside, weights, step=step, valid_loss=loss)

        if self.world.is_first:
            self.writer.submit(write)

    def _restore(self, accepted: Row) -> int:
        """Goes back to the last whole checkpoint; returns its step, or 0 where there is none."""
        checkpoint = self.world.from_first(self._choose_checkpoint)
        step = 0 if checkpoint is None else self._read(checkpoint, accepted)
        rows: list[Row] = self.world.from_first(lambda: self._rewind(step, accepted))
        self.best = min((row["valid_loss"] for row in rows if "valid_loss" in row), default=math.inf)
        if self.world.is_first:
            self.sinks = open_sinks(self.folder.path, self.config, step)
        if self._evaluation_is_due(step):
            self._evaluate(step)
        return step

    def _choose_checkpoint(self) -> Path | None:
        for folder in (self.folder.path, self.folder.checkpoints):
            remove_leftovers(folder)
        checkpoint, problems = self.folder.last_whole_checkpoint()
        for problem in problems:
            self.report({"warning": problem})
        saved = checkpoints(self.folder.checkpoints)
        for damaged in saved[len(saved) - len(problems) :]:
            set_aside(damaged)
        if problems:
            going_on = "no whole checkpoint is left; beginning again"
            self.report({"warning": going_on if checkpoint is None else f"going on from {checkpoint}"})
        return checkpoint

    def _read(self, checkpoint: Path, accepted: Row) -> int:
        snapshot = read_checkpoint(checkpoint)
        state = snapshot.state
        data = [fingerprint(file) for file in self.train_files]
        if state["data"] and state["data"] != data and "data.train" not in accepted:
            changed = [f.path for f, old, new in zip(self.train_files, state["data"], data, strict=True) if old != new]
            raise DataError(
                f"{changed[0]} is not the file that {checkpoint} was trained on: it has changed; put the old one back, "
                "or start a new run"
            )
        fit(snapshot.weights, self.model, checkpoint)
        restore_optimizers(self.model, self.optimizers, state["optimizer"])
        self.scale.restore(state["loss_scale"])
        self.position = tuple(state["position"])
        if len(self.position) != len(self.sampler.beginning):  # other weights were accepted: only the sum has a meaning
            self.position = (sum(self.position), *self.sampler.beginning[1:])
        if self.world.rank < len(state["random"]):
            restore_random_states(state["random"][self.world.rank])
        else:  # More processes than before: the new ones get a state that none has had.
            seed_everything(self.config.training.seed + snapshot.step * self.world.size + self.world.rank)
        return snapshot.step

    def _rewind(self, step: int, accepted: Row) -> list[Row]:
        """Takes back what the log says of later steps; puts accepted changes on record."""
        rows = rewind(self.folder.metrics, step if step else -1)
        for key, (old, new) in accepted.items():
            append_row(self.folder.changes, {"after_step": step, "key": key, "old": old, "new": new})
            self.report({"warning": f"from step {step + 1} on, {key} is {in_toml(new)} and no longer {in_toml(old)}"})
        if accepted:
            write_config(self.folder, self.config)
        return rows

    # Evaluation and logs

    def _evaluation_is_due(self, step: int) -> bool:
        training = self.config.training
        return self.valid_file is not None and step > 0 and (step % training.eval_every == 0 or step == training.steps)

    def _evaluate(self, step: int) -> None:
        if self.valid_file is None:
            return
        training = self.config.training
        started = time.perf_counter()
        parts = training.grad_accumulation * self.world.size  # as a step has them, so that one fits where a step does
        result: EvalResult = evaluate(
            self.model,
            self.valid_file.tokens,
            context_length=training.eval_context_length or self.config.model.context_length,
            batch_size=training.batch_size // parts,
            batches=training.eval_batches * parts,
            tokenizer=self.tokenizer,
            device=self.device,
            dtype=self.dtype,
            document_end=self.document_end,
            world=self.world,
        )
        if result.loss < self.best:
            self.best = result.loss
            self._save_best(step, result.loss)
        self._log(
            {
                "step": step,
                "valid_loss": result.loss,
                "perplexity": result.perplexity,
                "bits_per_byte": result.bits_per_byte,
                "context_length": result.context_length,
                "seconds": time.perf_counter() - started,
            }
        )

    def _log_all(self, rows: list[Row]) -> None:
        for row in rows:
            self._log(row)

    def _log(self, row: Row) -> None:
        if self.world.is_first:
            append_row(self.folder.metrics, row)
            for sink in self.sinks:
                sink.write(row)
            self.report(row)


def make_optimizers(model: TransformerLM, config: OptimizerConfig) -> list[Optimizer]:
    """The optimizers of a model; each group of parameters carries its peak learning rate as ``peak_lr``."""
    rest = dict(model.named_parameters())
    optimizers: list[Optimizer] = []
    if config.name == "sgd":
        optimizers.append(SGD(rest.values(), lr=config.lr))
    if config.name == "muon":
        hidden = [name for name, p in rest.items() if p.ndim == 2 and name.startswith("layers.")]
        matrices = [rest.pop(name) for name in hidden]
        optimizers.append(Muon(matrices, lr=config.muon_lr, weight_decay=config.weight_decay))
    if config.name != "sgd":
        optimizers.append(AdamW(_adamw_groups(rest, config), lr=config.lr, betas=config.betas, eps=config.eps))
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["peak_lr"] = group["lr"]
    return optimizers


def can_hold_back(optimizers: list[Optimizer], device: torch.device) -> bool:
    """Whether all optimizers leave out an update whose numbers the CPU does not know yet; only then is not waiting for
    them worth anything, or right.
    """
    return device.type == "cuda" and all(isinstance(each, AdamW) and each.fused is None for each in optimizers)


def _adamw_groups(named: dict[str, Parameter], config: OptimizerConfig) -> list[dict[str, Any]]:
    """Parameters by learning rate and decay: embeddings may have a rate of their own, vectors do not decay."""
    groups: dict[tuple[float, float], list[Parameter]] = {}
    for name, parameter in named.items():
        lr = config.lr
        if config.embedding_lr is not None and name.endswith("_embeddings.weight"):
            lr = config.embedding_lr
        decay = config.weight_decay if config.decay_all or parameter.ndim >= 2 else 0.0
        groups.setdefault((lr, decay), []).append(parameter)
    return [{"params": members, "lr": lr, "weight_decay": decay} for (lr, decay), members in groups.items()]


def learning_rate(step: int, peak: float, config: OptimizerConfig, steps: int) -> float:
    """The rate of a step (counted from 1) for a group of parameters with this peak."""
    floor = peak * ((config.min_lr / config.lr) if config.min_lr is not None else 0.1)
    if config.schedule == "constant":
        return constant_schedule(step, peak, config.warmup_steps)
    if config.schedule == "wsd":
        decay_start = max(config.warmup_steps, round(steps * (1 - config.decay_fraction)))
        return wsd_schedule(step, peak, floor, config.warmup_steps, decay_start, steps)
    return cosine_schedule(step, peak, floor, config.warmup_steps, steps)
