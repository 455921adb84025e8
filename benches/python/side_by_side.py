"""What the comparisons share: watched processes, the facts that belong to a table, and the files it goes to."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import subprocess
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Run:
    """One process, from its start to its end."""

    seconds: float
    cpu_seconds: float
    peak_megabytes: float


def run_python(code: str, **environment: str) -> Run:
    """Run a program in a Python of its own and measure it. RuntimeError with what it wrote, if it fails."""
    # A small process in between starts it: the peak of a child begins at that of its parent.
    watch = (
        "import json, os, subprocess, sys, time\n"
        "start = time.perf_counter()\n"
        "child = subprocess.Popen([sys.executable, '-c', sys.argv[1]], stdout=subprocess.DEVNULL)\n"
        "_, status, usage = os.wait4(child.pid, 0)\n"
        "seconds, cpu = time.perf_counter() - start, usage.ru_utime + usage.ru_stime\n"
        "print(json.dumps([status, seconds, cpu, usage.ru_maxrss / 1e3]))"
    )
    command = [sys.executable, "-c", watch, code]
    # An installed package has its bytecode; where none may be written, each start would compile what it imports.
    environment = {"PYTHONDONTWRITEBYTECODE": "", **environment}
    done = subprocess.run(command, env=os.environ | environment, capture_output=True, text=True, check=True)
    status, *figures = json.loads(done.stdout)
    if status != 0:
        raise RuntimeError(f"this failed:\n{code}\n{done.stderr}")
    return Run(*figures)


def digest(path: Path) -> str:
    """SHA-256 of a file of any size."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def facts(packages: Iterable[str], **more: Any) -> dict[str, Any]:
    """The machine, Python, the versions of installed packages, and whatever else decides a measurement."""
    return {
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, {platform.platform()}",
        "python": platform.python_version(),
        "versions": {name: known for name in packages if (known := version_of(name))},
        **more,
    }


def version_of(package: str) -> str | None:
    """The version of an installed package, None of another."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def write(output: Path, table: str, about: Mapping[str, Any]) -> None:
    """OUTPUT.md with the table, OUTPUT.json with everything."""
    output.with_suffix(".json").write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")
    output.with_suffix(".md").write_text(table + "\n", encoding="utf-8")
