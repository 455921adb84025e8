"""Runs the command in this process, and keeps one tiny trained run for the tests of a session.

A process of its own for each call would spend its time on importing torch. What only a process can show (exit at a
signal, a closed pipe, what is imported) stands in the tests that start one.
"""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, chdir, contextmanager
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

import pytest
from rich import console

from cs336.cli import main

TINY = ["--stories", "300", "--steps", "2", "--vocab-size", "300"]


@dataclass
class Done:
    """How a call ended, and what it printed."""

    returncode: int
    stdout: str
    stderr: str


Command = Callable[..., Done]


def call(*words: str | Path, cwd: Path) -> Done:
    """What ``cs336 WORDS`` does, from the words to the exit status."""
    # Files as a process has them: text on top of bytes, and no terminal.
    out, err = (io.TextIOWrapper(io.BytesIO(), encoding="utf-8", newline="") for _ in range(2))
    with (
        chdir(cwd),
        mock.patch.object(sys, "argv", ["cs336", *map(str, words)]),
        mock.patch.dict(os.environ, {"NO_COLOR": "1", "COLUMNS": "100"}),
        mock.patch.multiple(sys, stdout=out, stderr=err),
    ):
        status: object = 0
        try:
            main()
        except SystemExit as stop:
            status = stop.code or 0
    for stream in (out, err):
        stream.flush()
    # Typeshed knows the buffer as any stream of bytes, but these are the BytesIO from above.
    texts = [stream.buffer.getvalue().decode("utf-8") for stream in (out, err)]  # type: ignore[attr-defined]
    assert isinstance(status, int), status
    return Done(status, *texts)


@pytest.fixture
def cs336(tmp_path: Path) -> Command:
    """Calls the command in an empty folder, or in another."""
    return lambda *words, cwd=tmp_path: call(*words, cwd=cwd)


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], AbstractContextManager[None]]:
    """Makes the terminal so many cells wide."""

    @contextmanager
    def of_width(width: int) -> Iterator[None]:
        class Terminal(console.Console):
            def __init__(self, **settings):
                super().__init__(width=width, **settings)

        with monkeypatch.context() as patch:
            patch.setattr(console, "Console", Terminal)
            yield

    return of_width


@pytest.fixture(scope="session")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which a tiny quickstart has run as `run`, with what it printed in `printed.txt`."""
    folder = tmp_path_factory.mktemp("workshop")
    done = call("quickstart", "--run", "run", *TINY, cwd=folder)
    assert done.returncode == 0, done.stderr
    (folder / "printed.txt").write_text(done.stdout + done.stderr, encoding="utf-8")
    return folder


@pytest.fixture(scope="session")
def plain_run(workshop: Path) -> Path:
    """A run of the quickstart's data whose model has a counterpart in transformers."""
    words = ["--model.value-residual", "false", "--training.eval-batches", "1"]
    done = call("train", "--config", "run/config.toml", "--run", "plain", *words, cwd=workshop)
    assert done.returncode == 0, done.stderr
    return workshop / "plain"


@pytest.fixture
def one_line_error(cs336: Command) -> Callable[..., str]:
    """Calls the command, expects one line of error, and gives the line."""

    def fails(*words: str | Path) -> str:
        done = cs336(*words)
        assert done.returncode not in (0, None), done.stdout
        assert done.stderr.startswith("error: "), done.stderr
        assert done.stderr.count("\n") == 1, done.stderr
        assert "--debug" not in done.stderr, f"nobody has foreseen this: {done.stderr}"
        return str(done.stderr)

    return fails
