"""Stories in any amount: story number i of a seed is always the same, however many are asked for."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random

from cs336.data import END_OF_TEXT
from cs336.data.storyteller.cast import introduce, make_scene
from cs336.data.storyteller.plots import PLOTS
from cs336.files import whole_file


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
    text = "\n\n".join([introduce(scene), *rng.choice(PLOTS)(scene)])
    # An answer begins a paragraph of its own.
    return re.sub(r'([.!?]") (")', r"\1\n\n\2", text)


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
    if (count if count is not None else size or 0) < 0:
        raise ValueError("count and size can't be negative")
    written = number = words = 0
    with whole_file(Path(path)) as aside, aside.open("wb") as file:
        while (count is not None and number < count) or (size is not None and written < size):
            text = story(number, seed)
            written += file.write(f"{text}\n{END_OF_TEXT}\n".encode())
            words += len(text.split())
            number += 1
    return StoriesStats(number, written, words)
