"""What a tokenizer makes of given texts: compression, tokens that are used and that are not, a rendering."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from cs336.data import open_tokens
from cs336.token_files import encode_files
from cs336.tokenizer import Tokenizer

if TYPE_CHECKING:
    from cs336.inputs import InputFormat, StrPath
    from cs336.tokenizer import Progress

_BLOCK = 1 << 20  # tokens that are looked at at a time


@dataclass(frozen=True)
class Inspection:
    """A tokenizer on texts."""

    bytes: int
    tokens: int
    words: int
    """Runs of anything but white space."""
    counts: tuple[int, ...]
    """By id, how often the token occurs."""

    @property
    def bytes_per_token(self) -> float:
        """Compression."""
        return self.bytes / self.tokens

    @property
    def tokens_per_word(self) -> float:
        """Also called fertility."""
        return self.tokens / max(self.words, 1)

    def unused(self, tokenizer: Tokenizer) -> list[int]:
        """The ids of tokens that never occur."""
        return [id for id in tokenizer.vocab if not self.counts[id]]

    def most_frequent(self, count: int) -> list[tuple[int, int]]:
        """Ids with their numbers, the most frequent first."""
        order = sorted(range(len(self.counts)), key=lambda id: -self.counts[id])
        return [(id, self.counts[id]) for id in order[:count] if self.counts[id]]


def inspect_texts(
    tokenizer: Tokenizer,
    paths: StrPath | Sequence[StrPath],
    *,
    input_format: InputFormat | None = None,
    text_column: str = "text",
    progress: Progress = None,
) -> Inspection:
    """Encode the inputs that ``train_bpe`` takes, as ``encode_files`` does but without separators, and count."""
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "tokens.npy"
        stats = encode_files(
            tokenizer,
            paths,
            target,
            separator=None,
            input_format=input_format,
            text_column=text_column,
            progress=progress,
        )
        ids = open_tokens(target).tokens
        counts = np.zeros(tokenizer.vocab_size, np.int64)
        words, open_word = 0, False
        for start in range(0, len(ids), _BLOCK):
            block = ids[start : start + _BLOCK]
            counts += np.bincount(block, minlength=tokenizer.vocab_size)
            text = tokenizer.decode_bytes(block)
            # A word may run on from the block before.
            words += len(text.split()) - (open_word and not text[:1].isspace())
            open_word = not text[-1:].isspace()
        del ids, block
    return Inspection(stats.bytes, stats.tokens, words, tuple(counts.tolist()))


def pieces_of(tokenizer: Tokenizer, text: str) -> list[tuple[int, str]]:
    """The ids of a text, and what each stands for as people can read it."""
    return [(id, _visible(tokenizer.id_to_token(id))) for id in tokenizer.encode(text)]


def _visible(token: bytes) -> str:
    """Text as it is, but for what can't be seen; bytes that are no characters as numbers."""
    text = token.decode("utf-8", "backslashreplace")
    names = {"\n": "⏎", "\t": "⇥", "\r": "␍"}
    return "".join(names.get(c, c if c.isprintable() else c.encode("unicode_escape").decode()) for c in text)
