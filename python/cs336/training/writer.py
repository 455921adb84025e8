"""Writing while training goes on."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType


class BackgroundWriter:
    """Writes one thing at a time, in the order given; an error is raised by the next call in the training thread.

    A new thing waits for the one before, so that never more than one copy of a model is held.
    """

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="cs336-writer")
        self._running: Future[object] | None = None

    def submit(self, work: Callable[[], object]) -> None:
        """Begins to write."""
        self.wait()
        self._running = self._pool.submit(work)

    def check(self) -> None:
        """Raises what went wrong so far; waits for nothing."""
        if self._running is not None and self._running.done():
            self.wait()

    def wait(self) -> None:
        """Waits until everything stands on the disk."""
        running, self._running = self._running, None
        if running is not None:
            running.result()

    def __enter__(self) -> BackgroundWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if error is None:
                self.wait()
        finally:
            self._pool.shutdown(wait=True)  # What was begun is finished, also when training failed.
