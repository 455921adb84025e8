"""Which sequences a step trains on: a function of seed, step and position, so that a run can go on anywhere."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from cs336.data.batches import check_length
from cs336.data.token_file import Tokens
from cs336.errors import DataError

Indices = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Draw:
    """The sequences of a batch."""

    files: Indices
    """Of each, the number of its file."""
    starts: Indices
    """And its first token there."""
    position: tuple[int, ...]
    """Sequences drawn until now, from each group of files: the next draw goes on from here."""


class Sampler:
    """Draws sequences from one or several token files.

    Without weights the files are one long one, but no sequence crosses from one to the next. With weights each sequence
    comes from a file by chance, as often as its weight says.

    random: each place of a file equally likely, with replacement. epochs: files are cut into sequences of
    ``context_length``, which come in an order shuffled anew for each epoch, each once; what is left at a file's end
    is too short to be one.
    """

    def __init__(
        self,
        files: Sequence[Tokens],
        context_length: int,
        *,
        seed: int,
        order: str = "random",
        weights: Sequence[float] | None = None,
    ) -> None:
        for tokens in files:
            check_length(tokens, context_length)
        if weights is not None and len(weights) != len(files):
            raise DataError(f"there are {len(weights)} weights for {len(files)} token files; give one for each")
        self.files = files
        self.context_length = context_length
        self.seed = seed
        self.in_epochs = order == "epochs"
        numbers = list(range(len(files)))
        groups = [numbers] if weights is None else [[number] for number in numbers]
        self.groups = [_Group(group, [self._choices(files[n]) for n in group]) for group in groups]
        self.chances = np.ones(1) if weights is None else np.asarray(weights) / np.sum(weights)

    def _choices(self, tokens: Tokens) -> int:
        """How many sequences there are to choose from."""
        places = len(tokens) - self.context_length
        return (len(tokens) - 1) // self.context_length if self.in_epochs else places

    @property
    def beginning(self) -> tuple[int, ...]:
        """The position from which nothing has been drawn."""
        return (0,) * len(self.groups)

    def draw(self, step: int, size: int, position: tuple[int, ...]) -> Draw:
        """The ``size`` sequences of a step."""
        rng = np.random.default_rng([self.seed, step])
        chosen = rng.choice(len(self.groups), size=size, p=self.chances) if len(self.groups) > 1 else np.zeros(size)
        files, starts = np.zeros(size, np.int64), np.zeros(size, np.int64)
        after = list(position)
        for number, group in enumerate(self.groups):
            mine = np.flatnonzero(chosen == number)
            if self.in_epochs:
                choices = self._shuffled(number, position[number] + np.arange(len(mine)))
            else:
                choices = rng.integers(0, group.total, size=len(mine))
            files[mine], starts[mine] = group.locate(choices)
            after[number] += len(mine)
        stride = self.context_length if self.in_epochs else 1
        return Draw(files, starts * stride, tuple(after))

    def _shuffled(self, number: int, positions: Indices) -> Indices:
        """The sequences at these positions of a group's endless row of epochs."""
        total = self.groups[number].total
        choices = np.empty_like(positions)
        for epoch in np.unique(positions // total):
            here = positions // total == epoch
            choices[here] = permute(positions[here] % total, total, [self.seed, number, int(epoch)])
        return choices

    def windows(self, draw: Draw, which: slice | Indices = slice(None)) -> Indices:
        """The tokens of some of the sequences, and the one that follows each: (sequences, context_length + 1)."""
        files, starts = draw.files[which], draw.starts[which]
        windows = np.empty((len(starts), self.context_length + 1), np.int64)
        for number in np.unique(files):
            here = files == number
            windows[here] = self.files[number][starts[here][:, None] + np.arange(self.context_length + 1)]
        return windows


class _Group:
    """Files whose choices are counted through, one file after the other."""

    def __init__(self, files: list[int], choices: list[int]) -> None:
        self.files = np.array(files)
        self.ends = np.cumsum(choices)
        self.total = int(self.ends[-1])

    def locate(self, choices: Indices) -> tuple[Any, Any]:
        """File and number within the file of each choice."""
        index = np.searchsorted(self.ends, choices, side="right")
        return self.files[index], choices - (self.ends[index] - np.diff(self.ends, prepend=0)[index])


def permute(index: Indices, size: int, key: list[int]) -> Indices:
    """Where a shuffle of ``range(size)`` has these places, without ever holding it.

    A Feistel network permutes the smallest even number of bits that holds ``size``; what falls outside goes through it
    again until it falls inside (Black and Rogaway 2002, "Ciphers with Arbitrary Finite Domains").
    """
    half = np.uint64(max(1, (int(size - 1).bit_length() + 1) // 2))
    mask = np.uint64((1 << int(half)) - 1)
    keys = np.random.default_rng(key).integers(0, 1 << 63, size=6, dtype=np.uint64)
    values = index.astype(np.uint64)
    outside = np.arange(len(values))
    while len(outside):
        left, right = values[outside] >> half, values[outside] & mask
        for round_key in keys:
            left, right = right, left ^ (_mix(right ^ round_key) & mask)
        values[outside] = (left << half) | right
        outside = outside[values[outside] >= size]
    return values.astype(np.int64)


def _mix(x: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """The finalizer of SplitMix64 (Steele et al. 2014): every bit of the input moves about half of the output's."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))
