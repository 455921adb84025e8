"""What progress looks like: a bar on a terminal, a line that is written over in a notebook, lines in a log."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from cs336.progress import Report

_NAMES = {"count": "counting", "merge": "merging", "encode": "encoding"}
_SECONDS_BETWEEN_LINES = 10.0  # in a log file
_SECONDS_BETWEEN_REWRITES = 0.25  # in a notebook


class Pace:
    """How fast a stage goes, and how long it will take."""

    def __init__(self, stage: str, now: float, done: int = 0) -> None:
        self.stage = stage
        self.began = now
        self.done_before = done

    def describe(self, done: int, total: int | None, now: float) -> str:
        """``12.3 MB/s, 0:42 left``; what is not known yet is left out."""
        seconds = now - self.began
        if done <= self.done_before or seconds <= 0:
            return ""
        rate = (done - self.done_before) / seconds
        speed = f"{rate:,.0f} merges/s" if self.stage == "merge" else f"{rate / 1e6:,.1f} MB/s"
        if total is None:
            amount = f"{done:,}" if self.stage == "merge" else f"{done / 1e6:,.0f} MB"
            return f"{amount}, {speed}"
        return f"{speed}, {clock((total - done) / rate)} left"


def clock(seconds: float) -> str:
    """``1:02:03``, or ``2:03`` within an hour."""
    minutes, rest = divmod(max(0, round(seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


@contextmanager
def lines(target: TextIO, *, over: bool) -> Iterator[Report]:
    """Progress as text: lines one below the other, or each ``over`` the last."""
    pace, printed, width = Pace("", 0.0), 0.0, 0
    least = _SECONDS_BETWEEN_REWRITES if over else _SECONDS_BETWEEN_LINES

    def report(stage: str, done: int, total: int | None) -> None:
        nonlocal pace, printed, width
        now = time.monotonic()
        if stage != pace.stage:
            pace, printed = Pace(stage, now, done), now
        if now - printed < least:
            return
        printed = now
        share = f" {100 * done // total}%" if total else ""
        note = pace.describe(done, total, now)
        line = f"{_NAMES.get(stage, stage)}{share}{', ' if note else ''}{note}"
        target.write(f"\r{line:<{width}}" if over else f"{line}\n")
        target.flush()
        width = len(line)

    try:
        yield report
    finally:
        if over and width:
            target.write(f"\r{'':<{width}}\r")
            target.flush()


@contextmanager
def bar() -> Iterator[Report]:
    """Progress as a bar for each stage, gone at the end."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskID, TaskProgressColumn, TextColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TextColumn("{task.fields[note]}"))
    with Progress(*columns, console=Console(stderr=True), transient=True) as shown:
        tasks: dict[str, tuple[TaskID, Pace]] = {}

        def report(stage: str, done: int, total: int | None) -> None:
            now = time.monotonic()
            if stage not in tasks:
                for last, pace in tasks.values():
                    # The last that was heard of a stage came some moments before its end.
                    shown.update(last, completed=shown.tasks[last].total, note=f"in {clock(now - pace.began)}")
                tasks[stage] = shown.add_task(_NAMES.get(stage, stage), total=total, note=""), Pace(stage, now, done)
            task, pace = tasks[stage]
            shown.update(task, completed=done, total=total, note=pace.describe(done, total, now))

        yield report
