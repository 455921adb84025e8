"""What a learning-rate sweep and an ablation share: a folder that can be gone on with, and results that can be kept.

The folder holds ``config.toml`` (the configuration that the arms vary), ``study.json`` (what else must not change),
``arms/NAME`` (a run each), and ``results.json``.
"""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

from filelock import FileLock, Timeout

from cs336.accounting.table import Column
from cs336.data.token_file import fingerprint, open_tokens
from cs336.errors import CheckpointError, ConfigError
from cs336.experiments.arms import Arm, Outcome
from cs336.experiments.divergence import RULE
from cs336.experiments.machine import cores, machine, versions
from cs336.experiments.runner import Told, jobs_for, run_arms
from cs336.files import explained, whole_file
from cs336.training import RunConfig, load_config, to_toml
from cs336.training.config import differences, with_absolute_paths
from cs336.wording import in_toml

__all__ = ["RESULTS", "Study", "conduct", "refuse_foreign"]

CONFIG, STUDY, RESULTS, ARMS, LOCK = "config.toml", "study.json", "results.json", "arms", "study.lock"
_DATA = "data"
"""A folder with token files may stand there before."""


OUTCOME_COLUMNS = (
    Column("status"),
    Column("first loss", "number", "first", missing="–"),
    Column("last training loss", "number", "training", missing="–"),
    Column("validation loss", "number", "validation", missing="–"),
    Column("steps taken", "count", "steps"),
    Column("seconds", "seconds", "time", missing="–"),
)


def outcome_cells(one: Outcome) -> tuple[Any, ...]:
    """What stands in `OUTCOME_COLUMNS`. An arm that has not ended has no time yet, whatever it has done."""
    return (one.status, one.first_loss, one.last_loss, one.valid_loss, one.step, one.seconds or None)


@dataclass(frozen=True)
class Study:
    """Arms and what became of them, with what they were measured on."""

    kind: ClassVar[str]

    outcomes: tuple[Outcome, ...]
    about: dict[str, Any]
    """Machine, versions, command, processes and threads, the configuration that the arms vary, the rule."""

    @property
    def failed(self) -> list[Outcome]:
        """The arms that met an error."""
        return [one for one in self.outcomes if one.status == "failed"]

    @property
    def unfinished(self) -> list[Outcome]:
        """The arms that were interrupted, or not begun; a second call goes on with them."""
        return [one for one in self.outcomes if one.status == "unfinished"]

    def to_json(self) -> dict[str, Any]:
        """All of it in plain values."""
        outcomes = [dataclasses.asdict(one) for one in self.outcomes]
        told: dict[str, Any] = _plain({"kind": self.kind, **self.about, "outcomes": outcomes})
        return told

    @classmethod
    def from_json(cls, told: dict[str, Any]) -> Self:
        """What `to_json` gave."""
        if told.get("kind") != cls.kind:
            raise ConfigError(
                f"these are results of {told.get('kind')!r}, not of {cls.kind!r}; read them as what they are"
            )
        about = {key: value for key, value in told.items() if key not in ("kind", "outcomes")}
        return cls(tuple(map(Outcome.from_json, told["outcomes"])), about)

    def save(self, folder: Path) -> None:
        """Keeps it as results.json."""
        with whole_file(folder / RESULTS) as aside:
            aside.write_text(json.dumps(self.to_json(), indent=1, allow_nan=False) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, folder: str | Path) -> Self:
        """Reads what `save` wrote."""
        path = Path(folder) / RESULTS
        with explained(path):
            text = path.read_text("utf-8")
        try:
            return cls.from_json(json.loads(text))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            if isinstance(error, ConfigError):
                raise
            raise CheckpointError(
                f"{path} is damaged ({error!r}); run the experiment again to write it anew"
            ) from error


def conduct(
    kind: str,
    config: RunConfig,
    arms: Sequence[Arm],
    folder: Path,
    *,
    jobs: int | None,
    keep_checkpoints: bool,
    command: str | None,
    told: Told,
) -> tuple[tuple[Outcome, ...], dict[str, Any]]:
    """Runs the arms of a study in its folder, new or begun before; gives the fields of a `Study`.

    Raises ConfigError where the folder is of another study, or another process works in it.
    """
    double = [name for name, count in Counter(arm.name for arm in arms).items() if count > 1]
    if not arms or double:
        raise ConfigError(f"{double[0]} is asked for twice; once is enough" if double else "there is nothing to run")
    if jobs is not None and jobs < 1:
        raise ConfigError(f"jobs must be at least 1, not {jobs}")
    config = with_absolute_paths(config)
    paths = [*config.data.train_files, *([config.data.valid] if config.data.valid else [])]
    pinned = {"kind": kind, "data": {path: fingerprint(open_tokens(path)) for path in paths}}
    jobs = jobs_for(arms, jobs)
    _check_folder(folder, config, pinned)
    lock = FileLock(folder / LOCK)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise ConfigError(f"another process runs a study in {folder}; wait for its end, or stop it") from None
    try:
        outcomes = run_arms(arms, folder / ARMS, jobs=jobs, keep_checkpoints=keep_checkpoints, told=told)
    finally:
        lock.release()
    about: dict[str, Any] = _plain(
        {
            "command": command,
            "machine": machine(),
            "versions": versions(),
            "jobs": jobs,
            "threads": max(1, cores() // jobs),
            "config": dataclasses.asdict(config),
            "rule": RULE,
        }
    )
    return tuple(outcomes), about


def _plain(value: Any) -> Any:
    """As JSON gives it back, so that what was kept and what was computed are the same."""
    return json.loads(json.dumps(value, allow_nan=False))


def refuse_foreign(folder: Path) -> bool:
    """Whether a study was begun in the folder; raises ConfigError where something else stands in it."""
    with explained(folder):
        names = [path.name for path in folder.iterdir()] if folder.exists() else []
    if STUDY in names:
        return True
    if any(name not in (_DATA, CONFIG) and name[0] != "." for name in names):
        raise ConfigError(f"{folder} is not empty, and holds no study; name another folder")
    return False


def _check_folder(folder: Path, config: RunConfig, pinned: dict[str, Any]) -> None:
    """Makes the folder of a new study, or refuses by name what has changed since it was begun."""
    if not refuse_foreign(folder):
        with explained(folder):
            folder.mkdir(parents=True, exist_ok=True)
        with whole_file(folder / CONFIG) as aside:
            aside.write_text(to_toml(config), encoding="utf-8")
        with whole_file(folder / STUDY) as aside:  # The last: it makes the folder that of a study.
            aside.write_text(json.dumps(pinned, indent=1) + "\n", encoding="utf-8")
        return
    before = json.loads((folder / STUDY).read_text("utf-8"))
    if before["kind"] != pinned["kind"]:
        raise ConfigError(f"{folder} holds the experiment {before['kind']}, not {pinned['kind']}; name another folder")
    changed = differences(load_config(folder / CONFIG), config)
    if changed:
        listed = ", ".join(f"{key} ({in_toml(old)} there, {in_toml(new)} now)" for key, (old, new) in changed.items())
        raise ConfigError(
            f"{folder} was begun with another configuration: {listed}; leave that as it is, or name another folder"
        )
    for path, digest in pinned["data"].items():
        if before["data"].get(path) != digest:
            raise ConfigError(
                f"{path} has changed since {folder} was begun; put the old one back, or name another folder"
            )
