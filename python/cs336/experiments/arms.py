"""Arms: the training runs of a study, each a configuration with a name, and what became of it.

This is what the process that runs an arm does (`run_arm`), and what is kept of it (`Outcome`). How arms are spread over
processes stands in `runner`.
"""

from __future__ import annotations

import dataclasses
import json
import math
import shutil
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from filelock import FileLock, Timeout

from cs336.errors import CheckpointError, NonFiniteLossError
from cs336.experiments.divergence import MARGIN, Judge
from cs336.files import whole_file
from cs336.training import RunConfig, train
from cs336.training.metrics import Row, read_rows
from cs336.training.run import RunFolder

__all__ = ["Arm", "Outcome", "Status", "keep", "read_kept", "run_arm"]

Status = Literal["trained", "no progress", "diverged", "failed", "unfinished"]

_RESULT = "result.json"
_POINTS = 100
"""At most so many points of a curve are kept."""
_SECONDS_FOR_LOCK = 60
"""A process whose parent was killed ends after its step; so long another waits for it to leave the run's folder."""


@dataclass(frozen=True)
class Arm:
    """One training run of a study."""

    name: str
    """Its own in the study; a folder has it, too."""
    config: RunConfig
    about: dict[str, str | int | float]
    """What sets it apart from other arms: ``{"rate": 0.001, "warmup": 10}``."""


@dataclass(frozen=True)
class Outcome:
    """What became of an arm. Losses are in nats a token; None stands for what was not measured or is not finite."""

    name: str
    about: dict[str, str | int | float]
    status: Status
    """trained, no progress and diverged by the rule in `divergence`; failed: an error; unfinished: interrupted."""
    steps: int
    """That it was to take."""
    step: int = 0
    """Steps taken."""
    reason: str | None = None
    """Why it diverged or failed."""
    first_loss: float | None = None
    """Training loss of the first step, before any update."""
    last_loss: float | None = None
    """Mean of the last training losses, as many as the rule takes."""
    valid_loss: float | None = None
    """Validation loss after the last step."""
    parameters: int = 0
    tokens: int = 0
    """Trained on."""
    curve: tuple[tuple[int, float], ...] = ()
    """Step and training loss, as means of stretches where there are many steps."""
    seconds: float = 0.0
    """Of training, without evaluations."""

    @property
    def loss(self) -> float | None:
        """What arms are compared by: the validation loss, or without validation tokens the mean of the last losses."""
        return self.last_loss if self.valid_loss is None else self.valid_loss

    @property
    def has_trained(self) -> bool:
        """Whether it came to its end and learned something."""
        return self.status == "trained"

    @classmethod
    def from_json(cls, told: dict[str, Any]) -> Outcome:
        """What ``dataclasses.asdict`` and JSON have made of one."""
        return cls(**(told | {"curve": tuple((int(step), float(loss)) for step, loss in told["curve"])}))


class _DivergedError(Exception):
    """Ends a run from within its report."""


def run_arm(arm: Arm, folder: Path, *, keep_checkpoints: bool, on_step: Callable[[int], object]) -> Outcome:
    """Trains an arm in its folder, from its last checkpoint if it has one, until its end or until it diverges.

    The outcome is kept in the folder unless a signal has stopped the run, which can then go on.
    """
    run = RunFolder(folder)
    resume = run.config.exists()
    if not resume:  # A start that was killed has left no more than a half-made folder.
        shutil.rmtree(folder, ignore_errors=True)
        folder.parent.mkdir(parents=True, exist_ok=True)
    else:
        with suppress(Timeout), FileLock(run.lock, timeout=_SECONDS_FOR_LOCK):
            pass  # If it is still held, `train` says so.
    judge = Judge(arm.config.training.steps)

    def report(row: Row) -> None:
        if "loss" not in row:
            return
        if row["step"] > 1 and not judge.losses:  # The run went on: what it logged before counts, too.
            for earlier in _losses(run, before=row["step"]):
                judge.add(earlier)
        on_step(row["step"])
        if (reason := judge.add(row["loss"])) is not None:
            raise _DivergedError(reason)

    try:
        result = train(arm.config, folder, resume=resume, report=report)
    except _DivergedError as diverged:
        outcome = _outcome(arm, run, "diverged", reason=str(diverged))
    except NonFiniteLossError as error:
        outcome = _outcome(arm, run, "diverged", reason=str(error).partition(";")[0])
    else:
        if result.interrupted:
            return _outcome(arm, run, "unfinished")
        outcome = _judged(_outcome(arm, run, "trained", valid_loss=result.valid_loss))
    keep(outcome, folder)
    if not keep_checkpoints:
        shutil.rmtree(run.checkpoints, ignore_errors=True)
        run.best.unlink(missing_ok=True)
    return outcome


def keep(outcome: Outcome, folder: Path) -> None:
    """Writes an outcome into the folder of its arm, which then counts as finished."""
    with whole_file(folder / _RESULT) as aside:
        aside.write_text(json.dumps(dataclasses.asdict(outcome), indent=1, allow_nan=False) + "\n", encoding="utf-8")


def read_kept(folder: Path) -> Outcome | None:
    """The outcome of an arm that has finished."""
    path = folder / _RESULT
    if not path.exists():
        return None
    try:
        return Outcome.from_json(json.loads(path.read_text("utf-8")))
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise CheckpointError(f"{path} is damaged ({error!r}); remove {folder}, and its run is made again") from error


def _losses(run: RunFolder, *, before: int) -> list[float]:
    """The training losses of the log's earlier steps."""
    return [row["loss"] for row in read_rows(run.metrics) if "loss" in row and row["step"] < before]


def _outcome(
    arm: Arm, run: RunFolder, status: Status, *, reason: str | None = None, valid_loss: float | None = None
) -> Outcome:
    """What the run's log tells."""
    rows = [row for row in read_rows(run.metrics) if "loss" in row]
    losses = [row["loss"] for row in rows]
    judge = Judge(arm.config.training.steps)
    judge.losses = losses
    return Outcome(
        name=arm.name,
        about=arm.about,
        status=status,
        steps=arm.config.training.steps,
        step=len(rows),
        reason=reason,
        first_loss=_finite(losses[0]) if losses else None,
        last_loss=_finite(judge.mean) if losses else None,
        valid_loss=_finite(valid_loss),
        parameters=arm.config.model.num_parameters(),
        tokens=rows[-1]["tokens"] if rows else 0,
        curve=_thinned(losses),
        seconds=sum(row["seconds"] for row in rows),
    )


def _judged(ended: Outcome) -> Outcome:
    """A run that came to its end: the last step may have broken its weights, or it may have learned nothing."""
    if ended.loss is None or ended.first_loss is None or ended.last_loss is None:
        return dataclasses.replace(ended, status="diverged", reason="the loss after the last step is not finite")
    if ended.loss > MARGIN * ended.first_loss:
        reason = f"the loss after the last step is {ended.loss:.3g}, above the start, {ended.first_loss:.3g}"
        return dataclasses.replace(ended, status="diverged", reason=reason)
    if ended.last_loss >= ended.first_loss:
        return dataclasses.replace(ended, status="no progress", reason="the loss ended no lower than it began")
    return ended


def _thinned(losses: list[float]) -> tuple[tuple[int, float], ...]:
    """Means of equal stretches, each at its last step; what is not finite is left out."""
    each = -(-len(losses) // _POINTS) or 1
    stretches = [losses[start : start + each] for start in range(0, len(losses), each)]
    points = ((min(len(losses), (n + 1) * each), sum(part) / len(part)) for n, part in enumerate(stretches))
    return tuple((step, loss) for step, loss in points if math.isfinite(loss))


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None
