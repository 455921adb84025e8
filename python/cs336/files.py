"""Files that are whole or not there: written aside, synced, renamed. And what to say where the system refuses one."""

from __future__ import annotations

import errno
import os
import secrets
import shutil
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from cs336.errors import ConfigError

_ASIDE = ".aside-"

_ADVICE = {
    errno.ENOENT: "check the path",
    errno.ENOTDIR: "a part of the path is a file; check the path",
    errno.EISDIR: "name a file, not a folder",
    errno.EACCES: "change its permissions, or choose another place",
    errno.EPERM: "change its permissions, or choose another place",
    errno.EROFS: "choose a place that can be written to",
    errno.ENOSPC: "free some space, or choose another disk",
    errno.EDQUOT: "free some space, or choose another disk",
    errno.EFBIG: "raise the limit (ulimit -f), or choose another disk",
    errno.ELOOP: "mend the symbolic link",
    errno.ENAMETOOLONG: "choose a shorter name",
}


def advise(error: OSError) -> str:
    """The system's reason, and what to do about it where that is known and not said yet."""
    reason = error.strerror or str(error)
    advice = _ADVICE.get(error.errno or 0)
    return reason if advice is None or ";" in reason else f"{reason}; {advice}"


@contextmanager
def explained(path: str | os.PathLike[str], aside: Path | None = None) -> Iterator[None]:
    """Raises the system's refusals again with advice, and with the path that the caller knows instead of ``aside``.

    Class and number stay, so that ``except FileNotFoundError`` works as ever. A name that no file can have, which
    Python refuses in other ways, is an OSError as well.
    """
    try:
        possible = b"\0" not in os.fsencode(path)
    except UnicodeEncodeError:  # a lone surrogate
        possible = False
    if not possible:
        raise OSError(errno.EINVAL, "no file can have this name; check the path", os.fspath(path))
    try:
        yield
    except OSError as error:
        if error.errno is None:
            raise
        about = os.fspath(error.filename) if isinstance(error.filename, str | os.PathLike) else os.fspath(path)
        if aside is not None and about.startswith(str(aside)):
            about = os.fspath(path)
        raise OSError(error.errno, advise(error), about) from error


def check_target(path: Path, sources: Iterable[str | os.PathLike[str]] = ()) -> None:
    """Refuses a path that no file can be written to, or that is one of the sources; called before the work."""
    with explained(path):
        try:
            mode = path.stat().st_mode
        except FileNotFoundError:
            folder = followed(path).parent
            if not folder.is_dir():
                raise FileNotFoundError(errno.ENOENT, "no such folder; make it first", str(folder)) from None
            return
        if stat.S_ISDIR(mode):
            raise IsADirectoryError(errno.EISDIR, "is a folder; name a file in it", str(path))
        if not stat.S_ISREG(mode):  # the file would take its place
            raise FileExistsError(errno.EEXIST, "is a device or a pipe, not a file; name a file to write", str(path))
    refuse_overwriting(path, sources)


def refuse_overwriting(path: Path, sources: Iterable[str | os.PathLike[str]]) -> None:
    """Refuses an output that is one of the sources, by whatever name: links to one are that one."""
    for source in sources:
        if _same_file(path, source):
            raise ConfigError(
                f"{path} would be written, which would overwrite the source; give the output another name"
            )


def _same_file(path: Path, source: str | os.PathLike[str]) -> bool:
    try:
        found = os.fstat(0) if os.fspath(source) == "-" else Path(source).stat()  # standard input may be a file, too
        return os.path.samestat(path.stat(), found)
    except (OSError, ValueError):
        return False  # one is not there; if that is wrong, reading will say so


@contextmanager
def whole_file(path: Path, sources: Iterable[str | os.PathLike[str]] = ()) -> Iterator[Path]:
    """Gives a path to write to; on success the file is synced and takes the final name, else nothing is left.

    A symbolic link is followed, and stays. The file must be none of the sources.
    """
    check_target(path, sources)
    target = followed(path)
    aside = beside(target)
    with explained(path, aside):
        try:
            yield aside
            sync(aside)
            aside.replace(target)
            sync(target.parent)
        except BaseException:
            aside.unlink(missing_ok=True)
            raise


@contextmanager
def whole_folder(path: Path) -> Iterator[Path]:
    """The like for a folder, which must not exist yet."""
    aside = beside(path)
    with explained(path, aside):
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


def new_folder(path: Path) -> Path:
    """The same path, where `whole_folder` can put a folder; called before the work. Makes the folders above it."""
    with explained(path):
        if path.exists() and (not path.is_dir() or any(path.iterdir())):
            raise ConfigError(f"{path} is there already and is not an empty folder; name another")
        path.absolute().parent.mkdir(parents=True, exist_ok=True)
    return path


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


def followed(path: Path) -> Path:
    """Where a symbolic link leads, also one to nothing yet."""
    return Path(os.path.realpath(path)) if path.is_symlink() else path


def beside(path: Path) -> Path:
    """A name for what is not finished yet, or no longer: `remove_leftovers` removes it after a crash."""
    # A new name each time, so that two writers of one file never share it. Not by tempfile, whose files only their
    # owner may read.
    return path.with_name(f"{_ASIDE}{secrets.token_hex(4)}-{path.name}")
