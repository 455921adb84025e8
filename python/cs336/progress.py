"""How far a long call is: a bar on a terminal, or whatever the caller wants to do with it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeAlias

Report: TypeAlias = Callable[[str, int, int | None], object]


@contextmanager
def reporting(progress: bool | Report | None) -> Iterator[Report | None]:
    """What a job should call with ``(stage, done, total)``. None: a bar if standard error is a terminal."""
    if progress is None:
        progress = sys.stderr is not None and sys.stderr.isatty()
    if not isinstance(progress, bool):
        yield progress
    elif progress:
        with _bar() as report:
            yield report
    else:
        yield None


@contextmanager
def _bar() -> Iterator[Report]:
    from rich.console import Console
    from rich.progress import Progress, TaskID

    with Progress(console=Console(stderr=True), transient=True) as bar:
        tasks: dict[str, TaskID] = {}

        def report(stage: str, done: int, total: int | None) -> None:
            if stage not in tasks:
                tasks[stage] = bar.add_task(stage)
            bar.update(tasks[stage], completed=done, total=total)

        yield report
