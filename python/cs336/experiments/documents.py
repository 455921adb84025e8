"""Documents of a text file, drawn by seed."""

from __future__ import annotations

import mmap
import random
from collections.abc import Iterator
from pathlib import Path

from cs336.errors import CorpusError
from cs336.files import explained

__all__ = ["sample_documents"]


def sample_documents(path: Path, count: int, *, seed: int, separator: str = "<|endoftext|>") -> list[bytes]:
    """So many documents, each as likely as any other, in the order of the file; all where there are fewer.

    The file is read once and never held (Vitter's algorithm R).
    """
    draw = random.Random(seed)
    kept: list[tuple[int, bytes]] = []
    for seen, document in enumerate(_documents(path, separator.encode())):
        if seen < count:
            kept.append((seen, document))
        elif (place := draw.randrange(seen + 1)) < count:
            kept[place] = (seen, document)
    if not kept:
        raise CorpusError(f"{path} holds no document; give a text file")
    return [document for _, document in sorted(kept)]


def _documents(path: Path, separator: bytes) -> Iterator[bytes]:
    """What stands between separators, without the line breaks around it, and but for what is empty."""
    with explained(path), path.open("rb") as file:
        if not path.stat().st_size:  # which can't be mapped
            return
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as text:
            start = 0
            while start <= len(text):
                end = text.find(separator, start)
                end = len(text) if end < 0 else end
                if document := text[start:end].strip(b"\r\n"):
                    yield document
                start = end + len(separator)
