"""What the comparisons share: the facts that belong to a table, and the two files it is written to."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Iterable, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any


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
