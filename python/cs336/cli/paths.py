"""Where a command may write."""

from __future__ import annotations

import errno
from pathlib import Path


def output_file(path: Path) -> Path:
    """The file to write, links followed; raises before the work, not after it, where the result has no place to go.

    Results are written aside and renamed, which would put a file in the place of a device such as /dev/null.
    """
    if path.is_symlink():
        path = path.resolve()
    if not path.parent.is_dir():
        raise FileNotFoundError(errno.ENOENT, "No such folder; make it first", str(path.parent))
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, "Is a folder; name a file in it", str(path))
    if path.exists() and not path.is_file():
        raise FileExistsError(errno.EEXIST, "Is a device, not a file; name a file to write", str(path))
    return path
