"""The training loop: it stops at any step and goes on bit for bit."""

from __future__ import annotations

import json
import math
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import torch
from filelock import FileLock, Timeout
from torch import Tensor

from cs336.data.sampler import Sampler
from cs336.errors import ConfigError, NonFiniteLossError
from cs336.files import remove_leftovers, sync, whole_file
from cs336.training.checkpoint import (
    Snapshot,
    checkpoints,
    fit,
    noted,
    read_checkpoint,
    set_aside,
    write_checkpoint,
    write_weights,
)
from cs336.training.config import RunConfig, with_absolute_paths
from cs336.training.data import RunData
from cs336.training.distributed import World, processes
from cs336.training.evaluate import EvalResult, evaluate
from cs336.training.metrics import Row, append_row, read_rows, rewind, write_rows
from cs336.training.plot import plot_losses
from cs336.training.precision import set_up_torch
from cs336.training.run import (
    RunFolder,
    check_folder,
    choose_device,
    create_folder,
    find_document_end,
    keep_tokenizer,
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
from cs336.training.step import NotFiniteError, Stepper
from cs336.training.writer import BackgroundWriter
from cs336.wording import in_toml

Report = Callable[[Row], None]

JUDGES = frozenset(
    {
        "data.valid",
        "data.document_masking",
        "data.document_end",
        "model.context_length",
        "training.batch_size",
        "training.eval_batches",
        "training.eval_context_length",
    }
)
"""Keys that decide what a validation loss is measured on: losses from before such a change can't be compared."""


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
        tokenizer = folder.tokenizer if resume and "data.tokenizer" not in changes else config.data.tokenizer
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


def check_finite(weights: Mapping[str, Tensor], step: int) -> None:
    """Raises NonFiniteLossError where weights are not worth keeping."""
    for name, tensor in weights.items():
        if not torch.stack(torch.aminmax(tensor)).isfinite().all():
            raise NonFiniteLossError(
                f"step {step} has left numbers in the weights that are not finite, as in {name}, so that no checkpoint "
                "was written; go on from the one before with a smaller optimizer.lr or a longer warm-up"
            )


class Run:
    """One process's part of a run."""

    def __init__(
        self, config: RunConfig, folder: RunFolder, tokenizer: str | Path | None, world: World, report: Report
    ) -> None:
        self.config, self.folder, self.world, self.report = config, folder, world, report
        training = config.training
        if training.batch_size % (training.grad_accumulation * world.size):
            raise ConfigError(
                f"training.batch_size must be a multiple of training.grad_accumulation times the number of processes: "
                f"{training.batch_size} is none of {training.grad_accumulation} * {world.size}"
            )
        self.device = choose_device(training.device, world.local_rank if world.size > 1 else None)
        set_up_torch(training, self.device)
        check_sinks(training)
        self.data = RunData(config.data, tokenizer)
        world.from_first(lambda: self.data.check(config))
        self.sampler = Sampler(
            [file.tokens for file in self.data.train],
            config.model.context_length,
            seed=training.seed,
            order=config.data.order,
            weights=config.data.weights,
        )
        self.document_end = find_document_end(config.data, self.data.tokenizer, self.data.train)
        self.stop = threading.Event()
        self.stepper = Stepper(config, self.sampler, self.document_end, world, self.device, self.stop)
        self.best = math.inf
        self.writer = BackgroundWriter()
        self.sinks: list[Sink] = []

    def go(self, accepted: Row) -> TrainResult:
        """Trains from the last whole checkpoint, or from the start, to the end or to a signal."""
        started = time.perf_counter()
        with ExitStack() as stack:
            stack.enter_context(stop_on_signals(self.stop))
            stack.enter_context(self.writer)
            lock = FileLock(self.folder.lock)
            stack.callback(lock.release)
            self.world.from_first(lambda: self._take_over(lock))
            step = self._restore(accepted)
            for sink in self.sinks:
                stack.callback(sink.close)
            try:
                step = self._steps(step)
            except NotFiniteError as error:
                self._refuse(error)
        final = self.world.from_first(self._finish)
        return TrainResult(
            run=self.folder.path,
            step=step,
            interrupted=step < self.config.training.steps,
            valid_loss=final.get("valid_loss"),
            bits_per_byte=final.get("bits_per_byte"),
            seconds=time.perf_counter() - started,
        )

    def _steps(self, step: int) -> int:
        """Takes the steps after this one, with all that is due between them; returns the last one taken."""
        training, stopping = self.config.training, False
        while step < training.steps and not stopping:
            step += 1
            self._log_all(self.stepper.advance(step))
            self.writer.check()
            # Asked once a step, so that what stops the loop is also what saves.
            stopping = self.stepper.told or (self.stop.is_set() and self.world.size == 1)
            saving = step == training.steps or stopping or step % training.checkpoint_every == 0
            if saving or self._evaluation_is_due(step):
                self._log_all(self.stepper.catch_up())
            if saving:
                self._save(step)
            if self._evaluation_is_due(step):
                self._evaluate(step)
        return step

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

    def _refuse(self, bad: NotFiniteError) -> NoReturn:
        """Ends the run, with all that is known of the step that cannot be taken."""
        unharmed = self.stepper.weights_are_finite()
        checkpoint = self._last_whole_checkpoint()
        places = self.world.from_first(lambda: self._record_bad_batch(bad))
        weights = (
            f"the weights are unharmed, as step {bad.step - 1} has left them"
            if unharmed
            else f"no wonder, for the weights are not finite any more since step {bad.step - 1} or an earlier one"
        )
        raise NonFiniteLossError(
            f"step {bad.step}: the loss is {bad.loss} and the gradient's norm {bad.norm}; {weights}. The batch stands "
            f"in {places}. Last whole checkpoint: {checkpoint or 'none'}. Look at that batch, or try a smaller "
            "optimizer.lr or a longer warm-up"
        ) from None

    def _last_whole_checkpoint(self) -> Path | None:
        """What to go back to, once what is being written stands on the disk."""
        with suppress(NonFiniteLossError):
            self.writer.wait()
        return self.world.from_first(lambda: self.folder.last_whole_checkpoint()[0])

    def _record_bad_batch(self, bad: NotFiniteError) -> Path:
        places = [
            {"file": str(self.data.train[file].path), "first_token": start}
            for file, start in zip(bad.draw.files.tolist(), bad.draw.starts.tolist(), strict=True)
        ]
        path = self.folder.path / f"bad-batch-{bad.step:08d}.json"
        about = {"step": bad.step, "loss": str(bad.loss), "grad_norm": str(bad.norm), "sequences": places}
        with whole_file(path) as aside:
            aside.write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")
        return path

    # Saving and restoring

    def _save(self, step: int) -> None:
        """Copies what a checkpoint needs, and writes it while training goes on."""
        copy = HostCopy(keep=self.world.is_first)
        weights = {name: copy(tensor) for name, tensor in self.stepper.model.state_dict().items()}
        state = {
            "optimizer": optimizer_state(self.stepper.model, self.stepper.optimizers, copy),
            "random": self.world.gather(random_states()),
            "position": list(self.stepper.position),
            "tokens": self.stepper.tokens_until(self.stepper.position),
            "loss_scale": self.stepper.scale.state(),
            **self.data.fingerprints(),
        }
        copied = copy.event()

        def write() -> None:
            copied()
            check_finite(weights, step)
            if self.folder.metrics.exists():
                sync(self.folder.metrics)  # A power cut must not take rows from before the checkpoint.
            write_checkpoint(self.folder.checkpoints, Snapshot(step, weights, state), self.config.training.keep_last)

        if self.world.is_first:
            self.writer.submit(write)

    def _save_best(self, step: int, loss: float) -> None:
        copy = HostCopy(keep=self.world.is_first)
        weights = {name: copy(tensor) for name, tensor in self.stepper.model.state_dict().items()}
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
        self.best = self.world.from_first(lambda: self._rewind(step, accepted))
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
        # What was accepted after this checkpoint, by a start that saved none, stands in the configuration already.
        self.data.check_unchanged(state, checkpoint, {*accepted, *self.folder.changed_after(snapshot.step)})
        fit(snapshot.weights, self.stepper.model, checkpoint, changed=accepted)
        restore_optimizers(self.stepper.model, self.stepper.optimizers, state["optimizer"])
        self.stepper.scale.restore(state["loss_scale"])
        position = tuple(state["position"])
        if len(position) != len(self.sampler.beginning):  # other weights were accepted: only the sum has a meaning
            position = (sum(position), *self.sampler.beginning[1:])
        self.stepper.position = position
        if "tokens" in state:  # They may have been of another context length.
            self.stepper.counted = (sum(position), state["tokens"])
        if self.world.rank < len(state["random"]):
            restore_random_states(state["random"][self.world.rank])
        else:  # More processes than before: the new ones get a state that none has had.
            seed_everything(self.config.training.seed + snapshot.step * self.world.size + self.world.rank)
        return snapshot.step

    def _rewind(self, step: int, accepted: Row) -> float:
        """Takes back log and best weights of later steps, puts accepted changes on record; returns the best loss."""
        rows = rewind(self.folder.metrics, step if step else -1)
        for key, (old, new) in accepted.items():
            self.report({"warning": f"from step {step + 1} on, {key} is {in_toml(new)} and no longer {in_toml(old)}"})
        if accepted:
            records = [{"after_step": step, "key": k, "old": old, "new": new} for k, (old, new) in accepted.items()]
            write_rows(self.folder.changes, [*self.folder.accepted_changes(), *records])
            if "data.tokenizer" in accepted:
                keep_tokenizer(self.folder, self.config)
            write_config(self.folder, self.config)
        return self._best_so_far(rows, step)

    def _best_so_far(self, rows: list[Row], step: int) -> float:
        """The loss that best.safetensors was kept for, if the log still knows it and it can be compared with new ones.

        Weights of a later step than this belong to a continuation that is taken back: they will come again, or not.
        """
        best = noted(self.folder.best)
        if best.get("step", 0) > step:
            self.folder.best.unlink()
        since = max((row["after_step"] for row in self.folder.accepted_changes() if row["key"] in JUDGES), default=0)
        losses = {row["step"]: row["valid_loss"] for row in rows if "valid_loss" in row and row["step"] > since}
        loss: float = best.get("valid_loss", math.inf)
        return loss if losses.get(best.get("step")) == loss else math.inf

    # Evaluation and logs

    def _evaluation_is_due(self, step: int) -> bool:
        training = self.config.training
        return self.data.valid is not None and step > 0 and (step % training.eval_every == 0 or step == training.steps)

    def _evaluate(self, step: int) -> None:
        if self.data.valid is None:
            return
        training = self.config.training
        started = time.perf_counter()
        parts = training.grad_accumulation * self.world.size  # as a step has them, so that one fits where a step does
        try:
            result: EvalResult = evaluate(
                self.stepper.model,
                self.data.valid.tokens,
                context_length=training.eval_context_length or self.config.model.context_length,
                batch_size=training.batch_size // parts,
                batches=training.eval_batches * parts,
                tokenizer=self.data.tokenizer,
                device=self.device,
                dtype=self.stepper.dtype,
                document_end=self.document_end,
                world=self.world,
            )
        except NonFiniteLossError as error:
            checkpoint = self._last_whole_checkpoint()
            raise NonFiniteLossError(
                f"evaluation after step {step}: {error}. Last whole checkpoint: {checkpoint or 'none'}. Try a smaller "
                "optimizer.lr or a longer warm-up"
            ) from None
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
