"""Runs the command as a user does, and keeps one tiny trained run for the tests of a session."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

Done = subprocess.CompletedProcess[str]
Command = Callable[..., Done]

TINY = ["--stories", "300", "--steps", "4", "--vocab-size", "300"]


def call(*words: str | Path, cwd: Path) -> Done:
    return subprocess.run(
        [sys.executable, "-m", "cs336", *map(str, words)],
        cwd=cwd,
        env=os.environ | {"OMP_NUM_THREADS": "1", "NO_COLOR": "1", "COLUMNS": "100"},
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=False,
        timeout=120,
    )


@pytest.fixture
def cs336(tmp_path: Path) -> Command:
    """Calls the command in an empty folder."""
    return lambda *words: call(*words, cwd=tmp_path)


@pytest.fixture(scope="session")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which a tiny quickstart has run as `run`, with what it printed in `printed.txt`."""
    folder = tmp_path_factory.mktemp("workshop")
    done = call("quickstart", "--run", "run", *TINY, cwd=folder)
    assert done.returncode == 0, done.stderr
    (folder / "printed.txt").write_text(done.stdout + done.stderr, encoding="utf-8")
    return folder
