"""What the set-up says first on a machine that lacks something, played on a PATH of links."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PROGRAMS = ["sh", "sed", "mktemp", "rm"]

pytestmark = pytest.mark.skipif(not shutil.which("sh"), reason="make needs a POSIX shell, and so does its preflight")


@pytest.fixture
def machine(tmp_path):
    """A folder of programs: a machine that has all that is needed."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in PROGRAMS:
        (folder / name).symlink_to(str(shutil.which(name)))
    pretend(folder, "cargo", "echo cargo 1.999.0")
    pretend(folder, "cc", "exit 0")
    pretend(folder, "python3", f'exec {sys.executable} "$@"')
    return folder


def pretend(folder: Path, name: str, does: str) -> None:
    program = folder / name
    program.write_text(f"#!{shutil.which('sh')}\n{does}\n", encoding="utf-8")
    program.chmod(0o755)


def preflight(folder: Path) -> str:
    """The first complaint about a machine, or nothing."""
    for words in (["rust"], ["python", "python3"]):
        done = subprocess.run(
            ["sh", "scripts/preflight.sh", *words],
            cwd=ROOT,
            env={"PATH": str(folder), "TMPDIR": os.environ.get("TMPDIR", "/tmp")},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.stdout == ""
        if done.returncode:
            return done.stderr
    return ""


def test_a_machine_that_has_everything_hears_nothing(machine):
    assert preflight(machine) == ""


LACKING = {
    "no cargo": ("cargo", None, ["Rust toolchain", "rustup.rs"]),
    "a rustup without a toolchain": ("cargo", "exit 1", ["Rust toolchain", "rustup.rs"]),
    "an old Rust": ("cargo", "echo cargo 1.75.0", ["1.75.0", "rustup update"]),
    "no compiler": ("cc", None, ["C compiler", "apt install gcc libc6-dev"]),
    "a compiler without a C library": ("cc", "exit 1", ["C compiler", "apt install gcc libc6-dev"]),
    "no Python": ("python3", None, ["Python 3.11", "no 'python3'", "apt install python3 python3-venv", "make PYTHON="]),
    "an old Python": (
        "python3",
        'case "$*" in --version) echo Python 3.9.1 ;; *) exit 1 ;; esac',
        ["Python 3.11", "Python 3.9.1", "make PYTHON="],
    ),
    "a Python without venv": (
        "python3",
        'case "$*" in *venv*) exit 1 ;; *) exit 0 ;; esac',
        ["venv", "apt install python3-venv"],
    ),
}


@pytest.mark.parametrize("name", LACKING)
def test_the_first_line_says_what_is_missing_and_how_to_get_it(machine, name):
    program, does, expected = LACKING[name]
    (machine / program).unlink()
    if does is not None:
        pretend(machine, program, does)
    message = preflight(machine)
    assert message.startswith("cs336 needs ")
    assert message.count("\n") == 1
    for words in expected:
        assert words in message


def test_a_newer_python_that_is_there_is_named(machine):
    pretend(machine, "python3", 'case "$*" in --version) echo Python 3.9.1 ;; *) exit 1 ;; esac')
    pretend(machine, "python3.12", "exit 0")
    assert "there is also python3.12, so: make PYTHON=python3.12 ..." in preflight(machine)
