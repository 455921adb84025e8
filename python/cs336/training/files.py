"""Files that are whole or not there: written aside, synced, renamed."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_ASIDE = ".aside-"


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Gives a path to write to; on success the file is synced and takes the final name, else nothing is left."""
    aside = path.with_name(f"{_ASIDE}{os.getpid()}-{path.name}")
    try:
        yield aside
        sync(aside)
        aside.replace(path)
        sync(path.parent)
    except BaseException:
        aside.unlink(missing_ok=True)
        raise


@contextmanager
def whole_folder(path: Path) -> Iterator[Path]:
    """The like for a folder, which must not exist yet."""
    aside = path.with_name(f"{_ASIDE}{os.getpid()}-{path.name}")
    try:
        aside.mkdir()
        yield aside
        for file in aside.iterdir():
            sync(file)
        sync(aside)
        aside.replace(path)
        sync(path.parent)
    except BaseException:
        shutil.rmtree(aside, ignore_errors=True)
        raise


def remove_leftovers(folder: Path) -> None:
    """Removes what a process that was killed had not yet given its final name."""
    for path in folder.glob(f"{_ASIDE}*"):
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def sync(path: Path) -> None:
    """Forces a file, or the names in a folder, to the disk."""
    if os.name == "nt" and path.is_dir():
        return  # Windows has no such call for folders.
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
