"""The training loop: it stops at any step and goes on bit for bit."""

from __future__ import annotations

import dataclasses
import math
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

import numpy as np
import torch

from cs336.data.batches import check_length, get_batch
from cs336.data.token_file import TokenFile, check_tokens, open_tokens
from cs336.errors import ConfigError, DataError, NonFiniteLossError
from cs336.files import explained, remove_leftovers, sync, whole_file
from cs336.nn import TransformerLM, cross_entropy
from cs336.optim import SGD, AdamW, Muon, clip_grad_norm, constant_schedule, cosine_schedule, wsd_schedule
from cs336.training.checkpoint import load_run_checkpoint, save_run_checkpoint, save_weights
from cs336.training.config import OptimizerConfig, RunConfig, load_config, to_toml
from cs336.training.evaluate import evaluate
from cs336.training.metrics import Row, append_row, read_rows, rewind
from cs336.training.plot import plot_losses
from cs336.training.run import RunFolder, choose_device, load_tokenizer

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


def train(config: RunConfig, run_dir: str | Path, *, resume: bool = False, report: Report | None = None) -> TrainResult:
    """Trains a model into a run folder, or goes on with one.

    ``report`` is called with every row of the log. SIGTERM and Ctrl-C finish the step, save and return. Raises
    ConfigError, DataError, CheckpointError, and NonFiniteLossError before a bad loss can harm the weights.
    """
    folder = RunFolder(Path(run_dir))
    _check_folder(folder, config, resume)
    tokenizer = folder.tokenizer if resume else config.data.tokenizer
    # Everything is opened and checked before the folder is made, so that a mistake leaves nothing in the way.
    run = _Run(config, folder, tokenizer, report or (lambda row: None))
    if resume:
        remove_leftovers(folder.path)
        remove_leftovers(folder.checkpoints)
    else:
        _create_folder(folder, config)
    return run.go()


def _check_folder(folder: RunFolder, config: RunConfig, resume: bool) -> None:
    """Refuses a folder of another run, or of another configuration."""
    if resume:
        folder.check()
        changed = _differences(load_config(folder.config), config)
        if changed:
            raise ConfigError(f"the run in {folder.path} has other values for {', '.join(changed)}; start a new run")
        return
    # A start that was killed before it wrote the configuration leaves no more than these.
    harmless = (folder.tokenizer.name,)
    with explained(folder.path):
        names = [path.name for path in folder.path.iterdir()] if folder.path.exists() else []
    if any(name not in harmless and name[0] != "." for name in names):
        raise ConfigError(
            f"{folder.path} is not empty; go on with it by `cs336 train --resume {folder.path}`, or name another folder"
        )


def _create_folder(folder: RunFolder, config: RunConfig) -> None:
    """Makes the folder; the configuration comes last, because it makes the folder a run that can be resumed."""
    with explained(folder.path):
        folder.path.mkdir(parents=True, exist_ok=True)
    if config.data.tokenizer is not None:
        with whole_file(folder.tokenizer) as aside:
            shutil.copyfile(config.data.tokenizer, aside)
    with whole_file(folder.config) as aside:
        aside.write_text(to_toml(config), encoding="utf-8")


def _differences(old: RunConfig, new: RunConfig) -> list[str]:
    before, after = dataclasses.asdict(old), dataclasses.asdict(new)
    return [f"{s}.{k}" for s in before for k in before[s] if before[s][k] != after[s][k]]


class _Run:
    """One process's part of a run."""

    def __init__(self, config: RunConfig, folder: RunFolder, tokenizer: str | Path | None, report: Report) -> None:
        self.config, self.folder, self.report = config, folder, report
        self.device = choose_device(config.training.device)
        self.dtype = torch.bfloat16 if config.training.dtype == "bfloat16" else torch.float32
        if torch.are_deterministic_algorithms_enabled() != config.training.deterministic:
            # Asked first, because telling torch what is so already would import its compiler, which takes seconds.
            torch.use_deterministic_algorithms(config.training.deterministic)
        self.tokenizer = (
            load_tokenizer(tokenizer) if tokenizer is not None and config.data.tokenizer is not None else None
        )
        self.train_tokens = self._open(config.data.train)
        self.valid_tokens = self._open(config.data.valid) if config.data.valid is not None else None
        torch.manual_seed(config.training.seed)
        self.model = TransformerLM(config.model).to(self.device)
        self.optimizers = make_optimizers(self.model, config.optimizer)
        self.forward = torch.compile(self.model) if config.training.compile else self.model

    def _open(self, path: str) -> TokenFile:
        """Opens a token file and refuses it before training where it can't belong to the model."""
        file = open_tokens(path)
        model = self.config.model
        if file.info is not None and self.tokenizer is not None and file.info.vocabulary_hash != self.tokenizer.hash:
            raise DataError(
                f"{path} was encoded with another tokenizer than {self.config.data.tokenizer}; "
                "encode the text with it again"
            )
        check_length(file.tokens, model.context_length)
        check_tokens(file.tokens, model.vocab_size)
        return file

    def go(self) -> TrainResult:
        """Trains from the last whole checkpoint, or from the start, to the end or to a signal."""
        started = time.perf_counter()
        step = self._restore()
        steps = self.config.training.steps
        with _stop_on_signals() as stop:
            while step < steps and not stop.is_set():
                step += 1
                self._step(step)
                last = step == steps
                if last or stop.is_set() or step % self.config.training.checkpoint_every == 0:
                    self._save(step)
                if self._evaluation_is_due(step):
                    self._evaluate(step)
        rows = read_rows(self.folder.metrics)
        plot_losses(rows, self.folder.plot)
        evaluations = [row for row in rows if "valid_loss" in row]
        final = evaluations[-1] if evaluations else {}
        return TrainResult(
            run=self.folder.path,
            step=step,
            interrupted=step < steps,
            valid_loss=final.get("valid_loss"),
            bits_per_byte=final.get("bits_per_byte"),
            seconds=time.perf_counter() - started,
        )

    def _restore(self) -> int:
        checkpoint, problems = self.folder.last_whole_checkpoint()
        for problem in problems:
            self.report({"warning": problem})
        if problems:
            found = (
                "no whole checkpoint is left; beginning again" if checkpoint is None else f"going on from {checkpoint}"
            )
            self.report({"warning": found})
        if checkpoint is None:
            rewind(self.folder.metrics, -1)
            return 0
        step = load_run_checkpoint(checkpoint, self.model, self.optimizers)
        rewind(self.folder.metrics, step)
        if self._evaluation_is_due(step):
            self._evaluate(step)
        return step

    def _step(self, step: int) -> None:
        """One optimizer step; its batch and its learning rate are functions of the step alone."""
        training, optimizer = self.config.training, self.config.optimizer
        started = time.perf_counter()
        context = self.config.model.context_length
        rng = np.random.default_rng([training.seed, step])
        batch = get_batch(self.train_tokens.tokens, training.batch_size, context, self.device, rng=rng)
        self.model.train()
        loss = torch.zeros((), device=self.device)
        for inputs, targets in zip(*(t.chunk(training.grad_accumulation) for t in batch), strict=True):
            with torch.autocast(self.device.type, self.dtype, enabled=self.dtype != torch.float32):
                logits = self.forward(inputs)
            part = cross_entropy(logits.float(), targets) / training.grad_accumulation
            torch.autograd.backward(part)
            loss += part.detach()
        norm = clip_grad_norm(self.model.parameters(), optimizer.grad_clip or math.inf)
        value, norm_value = loss.item(), norm.item()
        if not (math.isfinite(value) and math.isfinite(norm_value)):
            checkpoint, _ = self.folder.last_whole_checkpoint()
            raise NonFiniteLossError(
                f"step {step}: the loss is {value} and the gradient's norm {norm_value}; the weights are unharmed. "
                f"Last checkpoint: {checkpoint or 'none'}. Try a smaller optimizer.lr or a longer warm-up"
            )
        for each in self.optimizers:
            for group in each.param_groups:
                group["lr"] = learning_rate(step, group["peak_lr"], optimizer, training.steps)
            each.step()
            each.zero_grad(set_to_none=True)
        seconds = time.perf_counter() - started
        tokens = training.batch_size * context
        self._log(
            {
                "step": step,
                "tokens": step * tokens,
                "loss": value,
                "lr": learning_rate(step, optimizer.lr, optimizer, training.steps),
                "grad_norm": norm_value,
                "seconds": seconds,
                "tokens_per_second": tokens / seconds,
                "mfu": None,
            }
        )

    def _log(self, row: Row) -> None:
        append_row(self.folder.metrics, row)
        self.report(row)

    def _save(self, step: int) -> None:
        if self.folder.metrics.exists():
            sync(self.folder.metrics)  # A power cut must not take rows from before the checkpoint.
        save_run_checkpoint(self.folder.checkpoints, step, self.model, self.optimizers, self.config.training.keep_last)

    def _evaluation_is_due(self, step: int) -> bool:
        training = self.config.training
        return (
            self.valid_tokens is not None and step > 0 and (step % training.eval_every == 0 or step == training.steps)
        )

    def _evaluate(self, step: int) -> None:
        if self.valid_tokens is None:
            return
        training = self.config.training
        started = time.perf_counter()
        result = evaluate(
            self.model,
            self.valid_tokens.tokens,
            context_length=self.config.model.context_length,
            batch_size=training.batch_size,
            batches=training.eval_batches,
            tokenizer=self.tokenizer,
            device=self.device,
            dtype=self.dtype,
        )
        earlier = [row["valid_loss"] for row in read_rows(self.folder.metrics) if "valid_loss" in row]
        if result.loss < min(earlier, default=math.inf):
            with whole_file(self.folder.best) as aside:
                save_weights(aside, self.model)
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


def make_optimizers(model: TransformerLM, config: OptimizerConfig) -> list[torch.optim.Optimizer]:
    """The optimizers of a model; each group of parameters carries its peak learning rate as ``peak_lr``."""
    named = dict(model.named_parameters())
    hidden = [p for name, p in named.items() if p.ndim == 2 and name.startswith("layers.")]
    rest = list(named.values())
    optimizers: list[torch.optim.Optimizer] = []
    if config.name == "sgd":
        optimizers.append(SGD(rest, lr=config.lr))
    if config.name == "muon":
        optimizers.append(Muon(hidden, lr=config.muon_lr, weight_decay=config.weight_decay))
        in_muon = {id(p) for p in hidden}
        rest = [p for p in rest if id(p) not in in_muon]
    if config.name != "sgd":
        decayed = [p for p in rest if config.decay_all or p.ndim >= 2]
        plain = [p for p in rest if not (config.decay_all or p.ndim >= 2)]
        groups = [{"params": decayed, "weight_decay": config.weight_decay}, {"params": plain, "weight_decay": 0.0}]
        groups = [group for group in groups if group["params"]]
        optimizers.append(AdamW(groups, lr=config.lr, betas=config.betas, eps=config.eps))
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["peak_lr"] = group["lr"]
    return optimizers


def learning_rate(step: int, peak: float, config: OptimizerConfig, steps: int) -> float:
    """The rate of a step (counted from 1) for a group of parameters with this peak."""
    floor = peak * ((config.min_lr / config.lr) if config.min_lr is not None else 0.1)
    if config.schedule == "constant":
        return constant_schedule(step, peak, config.warmup_steps)
    if config.schedule == "wsd":
        decay_start = max(config.warmup_steps, round(steps * (1 - config.decay_fraction)))
        return wsd_schedule(step, peak, floor, config.warmup_steps, decay_start, steps)
    return cosine_schedule(step, peak, floor, config.warmup_steps, steps)


@contextmanager
def _stop_on_signals() -> Iterator[threading.Event]:
    """An event that SIGTERM or Ctrl-C sets; a second Ctrl-C interrupts at once. Only the main thread gets signals."""
    stop = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return

    def handle(number: int, frame: FrameType | None) -> None:
        if stop.is_set() and number == signal.SIGINT:
            raise KeyboardInterrupt
        stop.set()

    previous = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
