"""Standard streams as users have them: closed, or of an old encoding."""

from __future__ import annotations

import io
import subprocess
import sys
from unittest import mock

import pytest

from cs336.cli import main
from cs336.cli.quickstart import _title


def in_cp1252(work):
    """What is shown where the encoding of standard output lacks most characters."""
    out = io.TextIOWrapper(io.BytesIO(), encoding="cp1252", newline="")
    with mock.patch.object(sys, "stdout", out):
        work()
    out.flush()
    return out.buffer.getvalue().decode("cp1252")  # type: ignore[attr-defined]  # it is the BytesIO from above


def test_what_cannot_be_shown_becomes_a_question_mark(workshop, monkeypatch):
    words = ["cs336", "generate", str(workshop / "run"), "--prompt", "→ é", "--max-new-tokens", "1"]
    monkeypatch.setattr(sys, "argv", words)

    def generate():
        with pytest.raises(SystemExit) as stopped:
            main()
        assert stopped.value.code == 0

    assert in_cp1252(generate).startswith("? é")


def test_a_title_is_underlined_all_the_same():
    assert in_cp1252(lambda: _title("1. Text")) == "\n1. Text\n" + "-" * 40 + "\n"


@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&-", "<&- >&- 2>&-"])
@pytest.mark.parametrize("words", ["--help", "stories --count 2 --output s.txt", "nonsense"])
def test_closed_streams_are_no_error(closed, words, tmp_path):
    done = subprocess.run(
        ["sh", "-c", f'exec "$0" -m cs336 {words} {closed}', sys.executable],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert "Traceback" not in done.stderr
    assert "AttributeError" not in done.stderr
    assert done.returncode == (2 if words == "nonsense" else 0)
    if "s.txt" in words:
        text = (tmp_path / "s.txt").read_text(encoding="utf-8")
        assert text.endswith("\n<|endoftext|>\n")
        assert text.count("<|endoftext|>") == 2
