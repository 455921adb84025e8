"""The course's data, downloaded whole: what is here under its final name has the checksum that the hub states."""

from __future__ import annotations

import errno
import hashlib
import io
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from cs336.errors import ChecksumError, CorpusError, DownloadError, OfflineError
from cs336.extra import needs_extra
from cs336.files import explained, sync, whole_file
from cs336.progress import reporting

if TYPE_CHECKING:
    from cs336.data.hub import HubFile
    from cs336.progress import Report

_BLOCK = 1 << 20
SUMS = "SHA256SUMS"
"""Where a folder says what its files were when they came, as ``sha256sum --check`` reads it."""


@dataclass(frozen=True)
class Corpus:
    """A dataset on the hub."""

    about: str
    repo: str
    files: dict[str, str]
    """By part: train, valid."""


CORPORA = {
    "tinystories": Corpus(
        "short stories for children, written by GPT-4 (Eldan and Li 2023)",
        "roneneldan/TinyStories",
        {"train": "TinyStoriesV2-GPT4-train.txt", "valid": "TinyStoriesV2-GPT4-valid.txt"},
    ),
    "openwebtext": Corpus(
        "the course's sample of OpenWebText (Gokaslan and Cohen 2019), web pages",
        "stanford-cs336/owt-sample",
        {"train": "owt_train.txt.gz", "valid": "owt_valid.txt.gz"},
    ),
}
"""What can be downloaded, by name."""


@dataclass(frozen=True)
class Downloaded:
    """A file that is here, whole and checked."""

    path: Path
    size: int
    sha256: str
    source: Literal["hub", "cache", "folder"]
    """hub: it came now. cache: copied from that of the hub's library. folder: it was here."""


def download_corpus(
    name: str,
    folder: str | os.PathLike[str] = "data",
    *,
    parts: Sequence[str] | None = None,
    revision: str = "main",
    endpoint: str | None = None,
    progress: bool | Report | None = None,
) -> list[Downloaded]:
    """Brings a corpus of `CORPORA`, or parts of it, into a folder.

    What was begun goes on where it stopped. A file in the cache of the hub's library is copied instead, and one that is
    in the folder already is only checked. ``HF_ENDPOINT``, ``HF_TOKEN`` and ``HF_HUB_OFFLINE`` count as ever; offline,
    files are checked against what `SUMS` says.

    Raises CorpusError for an unknown name; NetworkError, OfflineError, ChecksumError, which are all DownloadError; and
    OSError where the disk is full.
    """
    corpus = _find(name)
    folder = Path(folder)
    with needs_extra("downloading data", extra="hub"):
        import cs336.data.hub  # noqa: F401  before a folder is made
    with explained(folder):
        folder.mkdir(parents=True, exist_ok=True)
    files = [_part(name, corpus, part) for part in parts or corpus.files]
    with reporting(progress) as report:
        return [_bring(corpus.repo, file, folder, revision, endpoint, report or _say_nothing) for file in files]


def _find(name: str) -> Corpus:
    if name not in CORPORA:
        near = get_close_matches(name, CORPORA, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(CORPORA)}"
        raise CorpusError(f"no corpus is called {name!r}; {hint}")
    return CORPORA[name]


def _part(name: str, corpus: Corpus, part: str) -> str:
    if part not in corpus.files:
        raise CorpusError(f"{name} has no part {part!r}; there are {', '.join(corpus.files)}")
    return corpus.files[part]


def _bring(repo: str, name: str, folder: Path, revision: str, endpoint: str | None, report: Report) -> Downloaded:
    from cs336.data import hub

    target = folder / name
    cached = hub.find_cached(repo, name, revision)
    if hub.is_offline():
        return _bring_offline(target, cached, report)
    stated = hub.look_up(repo, name, revision, endpoint)
    if target.exists():
        return _check_present(target, stated.sha256, f"the hub states {stated.sha256}", report)
    if cached is not None and cached[1] == stated.sha256:
        return _copy(*cached, target, report)
    return _download(stated, target, report)


def _bring_offline(target: Path, cached: tuple[Path, str] | None, report: Report) -> Downloaded:
    """What is here already, checked against what was stated when it came."""
    noted = _noted(target.parent).get(target.name)
    if target.exists() and noted is not None:
        return _check_present(target, noted, f"{target.parent / SUMS} says {noted}", report)
    if target.exists():
        raise OfflineError(
            f"{target} can't be checked: HF_HUB_OFFLINE is set, and {target.parent / SUMS} does not name it; unset "
            "HF_HUB_OFFLINE once"
        )
    if cached is None:
        raise OfflineError(f"{target} is not here and not in the hub's cache, and HF_HUB_OFFLINE is set; unset it")
    return _copy(*cached, target, report)


def _check_present(target: Path, sha256: str, stated: str, report: Report) -> Downloaded:
    with explained(target):
        found = _sha256(target, report)
        size = target.stat().st_size
    if found != sha256:
        raise ChecksumError(
            f"{target} has the SHA-256 {found}, but {stated}: it is damaged or another version; move it away, or name "
            "another folder"
        )
    _note(target, sha256)
    return Downloaded(target, size, sha256, "folder")


def _copy(source: Path, sha256: str, target: Path, report: Report) -> Downloaded:
    with whole_file(target) as aside:
        shutil.copyfile(source, aside)
        if (found := _sha256(aside, report, target.name)) != sha256:
            raise ChecksumError(
                f"{source} in the hub's cache has the SHA-256 {found} instead of {sha256}; remove it there"
            )
    _note(target, sha256)
    return Downloaded(target, target.stat().st_size, sha256, "cache")


def _download(stated: HubFile, target: Path, report: Report) -> Downloaded:
    from cs336.data.hub import fetch

    # The checksum in its name: what was begun of another version is left alone.
    partial = target.with_name(f".{stated.sha256[:16]}-{target.name}.part")
    with explained(target, partial), _alone(partial, target):
        done = partial.stat().st_size if partial.exists() else 0
        _check_space(target.parent, stated.size - done)
        if done < stated.size:
            with _Reported(partial, target.name, stated.size, report) as file:
                fetch(stated, file, done)
        if (found := _sha256(partial, report, target.name)) != stated.sha256:
            partial.unlink()
            raise ChecksumError(
                f"{stated.url} came with the SHA-256 {found}, but the hub states {stated.sha256}; start again"
            )
        sync(partial)
        partial.replace(target)
        sync(target.parent)
    _note(target, stated.sha256)
    return Downloaded(target, stated.size, stated.sha256, "hub")


class _Reported(io.BufferedWriter):
    """A file that is appended to and tells how long it is."""

    def __init__(self, path: Path, stage: str, total: int, report: Report) -> None:
        super().__init__(io.FileIO(path, "ab"))
        self._stage, self._total, self._report = stage, total, report
        report(stage, self.tell(), total)

    def write(self, data: Any, /) -> int:
        written = super().write(data)
        self._report(self._stage, self.tell(), self._total)
        return written


@contextmanager
def _alone(partial: Path, target: Path) -> Iterator[None]:
    """Keeps two processes from writing one file."""
    from filelock import FileLock, Timeout

    lock = FileLock(partial.with_suffix(".lock"))
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise DownloadError(f"another process is downloading {target}; wait for its end, or stop it") from None
    try:
        yield
    finally:
        with suppress(PermissionError):  # of Windows, which removes it when it is released
            Path(lock.lock_file).unlink(missing_ok=True)
        lock.release()


def _check_space(folder: Path, needed: int) -> None:
    free = shutil.disk_usage(folder).free
    if needed > free:
        wanted = f"{needed / 1e9:,.2f} GB are needed and {free / 1e9:,.2f} GB free"
        raise OSError(errno.ENOSPC, f"{wanted}; free some space, or choose another disk", str(folder))


def _sha256(path: Path, report: Report, name: str | None = None) -> str:
    stage = f"checking {name or path.name}"
    digest, total, done = hashlib.sha256(), path.stat().st_size, 0
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
            done += len(block)
            report(stage, done, total)
    return digest.hexdigest()


def _noted(folder: Path) -> dict[str, str]:
    """What `SUMS` says, by name of file."""
    path = folder / SUMS
    if not path.exists():
        return {}
    with explained(path):
        lines = path.read_text("utf-8").splitlines()
    return {name: sha256 for sha256, _, name in (line.partition("  ") for line in lines)}


def _note(target: Path, sha256: str) -> None:
    """Puts a file's checksum into `SUMS`."""
    noted = _noted(target.parent)
    if noted.get(target.name) == sha256:
        return
    noted[target.name] = sha256
    with whole_file(target.parent / SUMS) as aside:
        aside.write_text("".join(f"{value}  {name}\n" for name, value in noted.items()), encoding="utf-8")


def _say_nothing(stage: str, done: int, total: int | None) -> None:
    """A report for nobody."""
