"""Running the parts that do not stand there yet. One that fails loses no other; one that is done is not run again."""

from __future__ import annotations

import shutil
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from filelock import FileLock, Timeout

from cs336.errors import ConfigError, Cs336Error
from cs336.experiments.report.page import PAGES, Section, write_pages
from cs336.experiments.report.part import Bench, Part
from cs336.experiments.report.parts import PARTS
from cs336.experiments.report.plan import Plan
from cs336.experiments.report.record import Record, key_of, path_of, read_record, write_record
from cs336.files import advise, check_target, explained, remove_leftovers, whole_file

__all__ = ["Done", "Report", "make_report"]

_FOLDERS = ("parts", "pictures", "tables", "work")


@dataclass(frozen=True)
class Done:
    """How a part ended."""

    part: Part
    status: Literal["measured", "kept", "failed", "not asked for"]
    record: Record | None = None
    error: str | None = None


@dataclass(frozen=True)
class Report:
    """A report that stands."""

    folder: Path
    html: Path
    markdown: Path
    done: tuple[Done, ...]

    @property
    def failed(self) -> list[Done]:
        """The parts that are missing because something went wrong."""
        return [one for one in self.done if one.status == "failed"]


def make_report(
    plan: Plan,
    folder: Path,
    *,
    only: Sequence[str] = (),
    restart: bool = False,
    parts: Sequence[Part] = PARTS,
    told: Callable[[str], object] = print,
) -> Report:
    """Measures what does not stand in the folder yet, and writes the pages.

    ``only`` names parts to measure, with those that they need; ``restart`` forgets what stands of them. Where a part
    fails, the page says so and the others stand. Ctrl-C and SIGKILL lose the part that runs, or less: training goes on
    from its checkpoint.

    Raises ConfigError, CorpusError and OSError where the corpora or the folder can't be worked with, before any work.
    """
    chosen = _with_needed(only, parts)
    plan.check()
    with _own(folder, plan):
        done: dict[str, Done] = {}
        for number, part in enumerate(parts, start=1):
            needed = [done[name] for name in part.needs]
            asked = part.name in chosen
            anew = restart and (part.name in only or not only)
            done[part.name] = _bring(part, plan, folder, needed, asked=asked, restart=anew, told=told, number=number)
        sections = [
            Section(number, one.part, one.record, one.error) for number, one in enumerate(done.values(), start=1)
        ]
        html, markdown = write_pages(sections, plan, folder)
    return Report(folder, html, markdown, tuple(done.values()))


def _with_needed(only: Sequence[str], parts: Sequence[Part]) -> set[str]:
    """The parts asked for, all where none is named, and those that they need."""
    by_name = {part.name: part for part in parts}
    for name in only:
        if name not in by_name:
            raise ConfigError(f"there is no part {name!r}; the parts are {', '.join(by_name)}")
    chosen = set(only or by_name)
    waiting = list(chosen)
    while waiting:
        further = set(by_name[waiting.pop()].needs) - chosen
        chosen |= further
        waiting += further
    return chosen


@contextmanager
def _own(folder: Path, plan: Plan) -> Iterator[None]:
    """The folder with all that stands in it, for one process at a time."""
    with explained(folder):
        names = [path.name for path in folder.iterdir()] if folder.exists() else []
        if names and "parts" not in names:
            raise ConfigError(f"{folder} is not empty, and holds no report; name another folder with --out")
        for name in _FOLDERS:
            (folder / name).mkdir(parents=True, exist_ok=True)
        for name in PAGES:
            check_target(folder / name, plan.paths)
        lock = FileLock(folder / "work" / "report.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise ConfigError(f"another process makes the report in {folder}; wait for its end, or stop it") from None
    try:
        for name in (".", *_FOLDERS[:-1]):
            remove_leftovers(folder / name)
        yield
    finally:
        lock.release()


def _bring(
    part: Part,
    plan: Plan,
    folder: Path,
    needed: Sequence[Done],
    *,
    asked: bool,
    restart: bool,
    told: Callable[[str], object],
    number: int,
) -> Done:
    """A part from the folder, or measured now."""
    missing = [one.part.title for one in needed if one.record is None]
    if missing:
        if not asked:
            return Done(part, "not asked for")
        return Done(part, "failed", error=f"It needs {missing[0]!r}, which is missing.")
    key = key_of(part, plan, [one.record.key for one in needed if one.record is not None])
    work = folder / "work" / f"{part.name}-{key[:12]}"
    if restart and asked:
        shutil.rmtree(work, ignore_errors=True)
    elif (record := read_record(folder, part, key)) is not None and _can_be_answered(part, record):
        return Done(part, "kept", record)
    if not asked:
        return Done(part, "not asked for")
    path_of(folder, part).unlink(missing_ok=True)  # of other inputs: nobody shall take it for what is measured now
    return _measure(part, key, Bench(plan, folder, work, told), number)


def _can_be_answered(part: Part, record: Record) -> bool:
    """Whether the tables are those that the part makes today; an earlier version of it may have made others."""
    try:
        part.answer(record.found.rows())
    except (LookupError, TypeError, ValueError):
        return False
    return True


def _measure(part: Part, key: str, bench: Bench, number: int) -> Done:
    for old in (bench.folder / "work").glob(f"{part.name}-????????????"):
        if old != bench.work:  # of other inputs
            shutil.rmtree(old, ignore_errors=True)
    failure = path_of(bench.folder, part).with_suffix(".error.txt")
    try:
        bench.work.mkdir(exist_ok=True)
        bench.told(f"{number}. {part.title} ...")
        with _timed(bench.work / "seconds") as seconds:
            found = part.measure(bench)
            part.answer(found.rows())  # what can't be answered has not been measured
        record = write_record(bench.folder, part, key, seconds(), found)
    except Exception as error:
        failure.write_text(traceback.format_exc(), encoding="utf-8")
        bench.told(f"{number}. {part.title} failed: {_explain(error)}")
        return Done(part, "failed", error=_explain(error))
    failure.unlink(missing_ok=True)
    return Done(part, "measured", record)


@contextmanager
def _timed(path: Path) -> Iterator[Callable[[], float]]:
    """Adds what it takes to what earlier calls took that were stopped; gives a function of all seconds so far."""
    before = float(path.read_text("utf-8")) if path.exists() else 0.0
    began = time.perf_counter()
    try:
        yield lambda: float(path.read_text("utf-8"))
    finally:
        with whole_file(path) as aside:
            aside.write_text(f"{before + time.perf_counter() - began}", encoding="utf-8")


def _explain(error: Exception) -> str:
    """An error in a line."""
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {advise(error)}" if error.filename else advise(error)
    known = isinstance(error, Cs336Error | OSError)
    return " ".join((str(error) if known else f"{type(error).__name__}: {error}").split())
