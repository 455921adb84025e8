"""How far a long call is, told to whoever wants to know. What it looks like stands in ``bars``."""

from __future__ import annotations

import sys

TYPE_CHECKING = (
    False  # type checkers take it for true; `typing` itself takes longer to import than small texts to train
)
if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager
    from typing import TypeAlias

    Report: TypeAlias = Callable[[str, int, int | None], object]


class _Given:
    """A context that gives what it was made with."""

    def __init__(self, report: Report | None) -> None:
        self._report = report

    def __enter__(self) -> Report | None:
        return self._report

    def __exit__(self, *error: object) -> None:
        pass


def reporting(progress: bool | Report | None) -> AbstractContextManager[Report | None]:
    """What a job should call with ``(stage, done, total)``, as a context.

    True: a bar on a terminal, a line that is written over in a notebook, a line now and then elsewhere. None: the same,
    but nothing elsewhere.
    """
    if callable(progress):
        return _Given(progress)
    if progress is False or sys.stderr is None:
        return _Given(None)
    terminal, notebook = sys.stderr.isatty(), type(sys.stderr).__module__.startswith("ipykernel")
    if not (terminal or notebook or progress):
        return _Given(None)
    from cs336 import bars

    return bars.bar() if terminal else bars.lines(sys.stderr, over=notebook)
