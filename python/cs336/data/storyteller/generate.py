"""Stories in any amount: story number i of a seed is always the same, however many are asked for."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random

from cs336.data.storyteller.cast import introduce, make_scene
from cs336.data.storyteller.plots import PLOTS

END_OF_TEXT = "<|endoftext|>"


@dataclass(frozen=True)
class StoriesStats:
    """What was written."""

    stories: int
    bytes: int
    words: int


def story(index: int, seed: int = 0) -> str:
    """One story: paragraphs set apart by an empty line."""
    rng = Random(f"{seed}/{index}")
    scene = make_scene(rng)
    return "\n\n".join([introduce(scene), *rng.choice(PLOTS)(scene)])


def stories(count: int, seed: int = 0) -> Iterator[str]:
    """The first ``count`` stories of a seed."""
    return (story(index, seed) for index in range(count))


def write_stories(
    path: str | Path, *, count: int | None = None, size: int | None = None, seed: int = 0
) -> StoriesStats:
    """Writes stories to a file, each followed by a line ``<|endoftext|>``.

    Give ``count``, or ``size`` in bytes: the file then ends with the first story that reaches it. The file is written
    aside and renamed, so that it is whole or not there.
    """
    if (count is None) == (size is None):
        raise ValueError("give either count or size")
    path = Path(path)
    written = number = words = 0
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            while (count is not None and number < count) or (size is not None and written < size):
                text = story(number, seed)
                written += file.write(f"{text}\n{END_OF_TEXT}\n".encode())
                words += len(text.split())
                number += 1
            file.flush()
            os.fsync(file.fileno())
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    return StoriesStats(number, written, words)
