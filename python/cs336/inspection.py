"""What a tokenizer makes of given texts: compression, tokens that are used and that are not, a rendering."""

from __future__ import annotations

import codecs
import os
import secrets
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import numpy as np

from cs336 import _bpe
from cs336.data import open_tokens
from cs336.errors import Cs336Error
from cs336.inputs import expand
from cs336.token_files import encode_files
from cs336.tokenizer import Tokenizer

if TYPE_CHECKING:
    from cs336.data.token_file import Tokens
    from cs336.inputs import InputFormat, StrPath
    from cs336.tokenizer import Progress

_BLOCK = 1 << 20  # tokens that are looked at at a time


@dataclass(frozen=True)
class Inspection:
    """A tokenizer on texts."""

    bytes: int
    tokens: int
    words: int
    """Runs of anything but white space, which end at special tokens and with their document, too."""
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
    bordered, border = _with_border(tokenizer)
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "tokens.npy"
        stats = encode_files(
            bordered,
            paths,
            target,
            separator=border,
            input_format=input_format,
            text_column=text_column,
            progress=progress,
        )
        ids = open_tokens(target).tokens
        blocks = [ids[start : start + _BLOCK] for start in range(0, len(ids), _BLOCK)]  # mapped, not read yet
        counts = _occurrences(blocks, bordered.vocab_size)
        words = _words(_between(bordered, blocks))
        del ids, blocks  # a file that is mapped can't be removed everywhere
    return Inspection(stats.bytes, stats.tokens - stats.separators, words, counts[:-1])


@contextmanager
def readable_again(paths: StrPath | Sequence[StrPath]) -> Iterator[list[str]]:
    """The files that paths name, for several readers: what can be read only once is kept in temporary files meanwhile.

    In errors it goes by its own name.
    """
    files = expand(paths)
    kept: dict[str, str] = {}
    with tempfile.TemporaryDirectory() as folder:
        for number, file in enumerate(files):
            if _is_stream(file):
                # With the whole name, whose end may say the format.
                files[number] = str(Path(folder) / f"{number}-{Path(file).name}")
                kept[files[number]] = "standard input" if file == "-" else file
                with _opened(file) as source, Path(files[number]).open("wb") as copy:
                    shutil.copyfileobj(source, copy)
        try:
            yield files
        except Cs336Error as error:
            message = str(error)
            for copied, name in kept.items():
                message = message.replace(copied, name)
            raise type(error)(message) from error


def _is_stream(file: str) -> bool:
    path = Path(file)
    return file == "-" or (path.exists() and not path.is_file() and not path.is_dir())


def _opened(file: str) -> BinaryIO:
    return os.fdopen(0, "rb", closefd=False) if file == "-" else Path(file).open("rb")


def _with_border(tokenizer: Tokenizer) -> tuple[Tokenizer, str]:
    """The same tokenizer with one more special token, which no text has; its id is the last."""
    ordinary, merges, special, whole_tokens, pattern = tokenizer.parts()
    border = f"<|{secrets.token_hex(16)}|>"
    special = [*special, (border, tokenizer.vocab_size)]
    return Tokenizer(_bpe.from_parts(ordinary, merges, special, whole_tokens, pattern)), border


def _occurrences(blocks: Iterable[Tokens], size: int) -> tuple[int, ...]:
    """By id, how often it occurs."""
    counts = np.zeros(size, np.int64)
    for block in blocks:
        counts += np.bincount(block, minlength=size)
    return tuple(counts.tolist())


def _between(tokenizer: Tokenizer, blocks: Iterable[Tokens]) -> Iterator[str]:
    """The text of ids a piece at a time, with a space for each special token."""
    special = list(tokenizer.special_tokens.values())
    (space,) = tokenizer.encode(" ", special="text")
    decoder = codecs.getincrementaldecoder("utf-8")("replace")  # for a character may run on into the next block
    for block in blocks:
        yield decoder.decode(tokenizer.decode_bytes(np.where(np.isin(block, special), space, block)))


def _words(texts: Iterable[str]) -> int:
    """How many runs of anything but white space there are in a text that comes in pieces."""
    words, open_word = 0, False
    for text in filter(None, texts):
        # A word may run on from the piece before.
        words += len(text.split()) - (open_word and not text[:1].isspace())
        open_word = not text[-1:].isspace()
    return words


def pieces_of(tokenizer: Tokenizer, text: str) -> list[tuple[int, str]]:
    """The ids of a text, and what each stands for as people can read it."""
    return [(id, _visible(tokenizer.id_to_token(id))) for id in tokenizer.encode(text)]


def _visible(token: bytes) -> str:
    """Text as it is, but for what can't be seen; bytes that are no characters as numbers."""
    text = token.decode("utf-8", "backslashreplace")
    names = {"\n": "⏎", "\t": "⇥", "\r": "␍"}
    return "".join(names.get(c, c if c.isprintable() else c.encode("unicode_escape").decode()) for c in text)
