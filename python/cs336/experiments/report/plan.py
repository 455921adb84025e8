"""What a report is asked for."""

from __future__ import annotations

import hashlib
import shlex
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cs336.errors import ConfigError, CorpusError
from cs336.experiments.documents import END, as_text, check_corpus, is_text
from cs336.experiments.tokenizers import short_names
from cs336.files import explained
from cs336.inputs import expand

if TYPE_CHECKING:
    from cs336.inputs import InputFormat

__all__ = ["Corpus", "Plan", "default_sizes"]


def default_sizes(corpora: int) -> tuple[int, ...]:
    """The course's: 10,000 entries for the first corpus, its TinyStories, 32,000 for others, its OpenWebText."""
    return (10_000, *(32_000 for _ in range(corpora - 1)))


@dataclass(frozen=True)
class Corpus:
    """A corpus, and the size of its vocabulary."""

    name: str
    path: Path
    vocab_size: int

    @cached_property
    def digest(self) -> str:
        """SHA-256 of its files' contents: the same corpus under another name, or touched, is the same."""
        digest = hashlib.sha256()
        for name in expand(self.path):
            with explained(name), Path(name).open("rb") as file:
                digest.update(hashlib.file_digest(file, "sha256").digest())
        return digest.hexdigest()


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Everything that decides what a report measures."""

    paths: tuple[Path, ...]
    vocab_sizes: tuple[int, ...]
    """One, or one for each corpus."""
    quick: bool = False
    seed: int = 0
    threads: int | None = None
    """Of tokenizers; None: one for each core."""
    separator: str = END
    input_format: InputFormat | None = None
    text_column: str = "text"

    @cached_property
    def corpora(self) -> list[Corpus]:
        """The corpora with short names."""
        sizes = self.vocab_sizes * (len(self.paths) if len(self.vocab_sizes) == 1 else 1)
        return [Corpus(*each) for each in zip(short_names(self.paths), self.paths, sizes, strict=True)]

    def check(self) -> None:
        """Raises, before any work, where there is a corpus that can't be read, is empty, or is given twice."""
        if not self.paths:
            raise CorpusError("a report needs a corpus; give --corpus FILE, best twice")
        if len(self.vocab_sizes) not in (1, len(self.paths)):
            raise ConfigError(
                f"give one vocabulary size, or one for each of {len(self.paths)} corpora, not {len(self.vocab_sizes)}"
            )
        for path in self.paths:
            check_corpus(path, input_format=self.input_format, separator=self.separator)
        seen: dict[str, Path] = {}
        for corpus in self.corpora:
            if corpus.digest in seen:
                raise CorpusError(
                    f"{seen[corpus.digest]} and {corpus.path} hold the same text; give it once, and another beside it"
                )
            seen[corpus.digest] = corpus.path

    @property
    def reading(self) -> dict[str, Any]:
        """How the corpora are read."""
        return {"input_format": self.input_format, "text_column": self.text_column}

    def text_of(self, corpus: Corpus, folder: Path) -> AbstractContextManager[Path]:
        """A corpus as one text file."""
        return as_text(corpus.path, folder, separator=self.separator, **self.reading)

    def is_plain(self, corpus: Corpus) -> bool:
        """Whether it is one text file as it stands, which any command reads."""
        return is_text([Path(name) for name in expand(corpus.path)], self.input_format)

    def identity(self, *, corpora: bool) -> dict[str, Any]:
        """What decides a part's numbers, in plain values."""
        options: dict[str, Any] = {"quick": self.quick, "seed": self.seed}
        if corpora:
            options |= {"threads": self.threads, "separator": self.separator, **self.reading}
            options["corpora"] = [[one.name, one.digest, one.vocab_size] for one in self.corpora]
        return options

    def words(self, *, option: str | None = None) -> list[str]:
        """The corpora and how they are read, as words of a command; each behind an option, or bare."""
        found = [word for one in self.paths for word in ([str(one)] if option is None else [option, str(one)])]
        if tuple(self.vocab_sizes) != default_sizes(len(self.paths)) or option is None:
            found += [word for size in self.vocab_sizes for word in ("--vocab-size", str(size))]
        for name, value, usual in (
            ("--special-token", self.separator, END),
            ("--input-format", self.input_format, None),
            ("--text-column", self.text_column, "text"),
            ("--threads", self.threads, None),
            ("--seed", self.seed, 0),
        ):
            found += [] if value == usual else [name, str(value)]
        return found

    def command(self, folder: Path, only: str | None = None) -> str:
        """The command that makes the report, or a part of it anew."""
        words = ["cs336", "report", *self.words(option="--corpus"), *(["--quick"] if self.quick else [])]
        return shlex.join([*words, "--out", str(folder), *([] if only is None else ["--only", only, "--restart"])])


def shell(words: Sequence[str]) -> str:
    """Words as a line of a shell."""
    return shlex.join(words)
