"""What progress looks like on a terminal, in a notebook, in a pipe."""

from __future__ import annotations

import contextlib
import io
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from cs336 import bars
from cs336.bars import Pace, clock, lines
from cs336.progress import reporting


@pytest.fixture
def seconds(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Sets what time it is."""

    def at(now: float) -> None:
        monkeypatch.setattr(bars.time, "monotonic", lambda: now)

    at(0)
    return at


def test_times_read_as_on_a_clock() -> None:
    assert [clock(seconds) for seconds in (-1, 0, 59.6, 3599, 3723)] == ["0:00", "0:00", "1:00", "59:59", "1:02:03"]


def test_rate_and_time_left() -> None:
    assert Pace("count", 10).describe(50_000_000, 250_000_000, 12) == "25.0 MB/s, 0:08 left"
    assert Pace("count", 10).describe(50_000_000, None, 12) == "50 MB, 25.0 MB/s"
    assert Pace("merge", 10).describe(3_000, 6_000, 12) == "1,500 merges/s, 0:02 left"
    assert Pace("file", 10, 40_000_000).describe(50_000_000, 250_000_000, 12) == "5.0 MB/s, 0:40 left"
    assert Pace("count", 10).describe(0, 100, 12) == Pace("count", 10).describe(5, 100, 10) == ""


def test_lines_in_a_log(seconds: Callable[[float], None]) -> None:
    target = io.StringIO()
    with lines(target, over=False) as report:
        for now, done in ((0, 0), (5, 100_000_000), (10, 200_000_000), (12, 220_000_000)):
            seconds(now)
            report("count", done, 400_000_000)
        seconds(13)
        report("merge", 0, 1000)
        seconds(33)
        report("merge", 500, 1000)
    assert target.getvalue() == "counting 50%, 20.0 MB/s, 0:10 left\nmerging 50%, 25 merges/s, 0:20 left\n"


def test_a_line_in_a_notebook_is_written_over_and_taken_away(seconds: Callable[[float], None]) -> None:
    target = io.StringIO()
    with lines(target, over=True) as report:
        for now, done in ((0, 0), (1, 1_000_000), (1.1, 1_100_000), (2, 2_000_000)):
            seconds(now)
            report("count", done, None if done < 2_000_000 else 4_000_000)
        seconds(3)
        report("merge", 0, 10)
        seconds(4)
        report("merge", 0, 10)
    first, second, third, gone, end = target.getvalue().split("\r")[1:]
    assert first == "counting, 1 MB, 1.0 MB/s"
    assert second == "counting 50%, 1.0 MB/s, 0:02 left"
    assert third == f"{'merging 0%':<{len(second)}}"
    assert (gone.strip(), end) == ("", "")


class Notebook(io.StringIO):
    """As ipykernel's stream: no terminal."""


Notebook.__module__ = "ipykernel.iostream"


@pytest.mark.parametrize(
    ("stream", "asked", "shown"),
    [
        (io.StringIO, None, False),
        (io.StringIO, True, True),
        (io.StringIO, False, False),
        (Notebook, None, True),
        (Notebook, False, False),
    ],
)
def test_who_gets_progress(
    monkeypatch: pytest.MonkeyPatch,
    seconds: Callable[[float], None],
    stream: type[io.StringIO],
    asked: bool | None,
    shown: bool,
) -> None:
    target = stream()
    monkeypatch.setattr(sys, "stderr", target)
    with reporting(asked) as report:
        assert (report is not None) == shown
        for now in (0, 10, 20):
            seconds(now)
            if report is not None:
                report("count", now, 30)
    assert bool(target.getvalue()) == shown
    with reporting(print) as report:
        assert report is print


STAGES = """
import time
from cs336.progress import reporting
with reporting(None) as report:
    for stage, unit in (("count", 1_000_000), ("merge", 1000)):
        for done in (0, 1, 2):
            report(stage, done * unit, 4 * unit)
            time.sleep(0.15)
"""


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such terminals")
def test_a_bar_on_a_terminal(tmp_path: Path) -> None:
    import pty

    ours, theirs = pty.openpty()
    environment = os.environ | {"TERM": "xterm", "COLUMNS": "100"}
    with subprocess.Popen([sys.executable, "-c", STAGES], stderr=theirs, env=environment) as child:
        os.close(theirs)
        seen = b""
        # Linux tells the end of a terminal by an error.
        with contextlib.suppress(OSError):
            while part := os.read(ours, 1 << 16):
                seen += part
        assert child.wait() == 0
    os.close(ours)
    for words in (b"counting", b"merging", b" MB/s", b" merges/s", b" left", b"50%"):
        assert words in seen


def test_silence_in_a_pipe(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("low lower lowest")
    command = [sys.executable, "-m", "cs336", "tokenizer", "train", "a.txt", "--vocab-size", "258", "--output", "t"]
    assert subprocess.run(command, cwd=tmp_path, capture_output=True, check=True).stderr == b""
