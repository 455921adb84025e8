"""Tokenizers of several corpora: trained and measured, each in a process of its own."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cs336.errors import ConfigError, CorpusError
from cs336.experiments.documents import END, as_text, sample_documents
from cs336.experiments.vocabulary import Vocabulary
from cs336.token_files import TokenFilesStats, encode_files
from cs336.tokenizer import Tokenizer

if TYPE_CHECKING:
    from cs336.inputs import InputFormat

__all__ = ["Encoding", "Study", "Trained", "short_names", "train_each"]


def _silent(what: str) -> None:
    """Tells nobody."""


@dataclass(frozen=True)
class Trained:
    """A corpus with the tokenizer that was trained on it, and what training told about itself."""

    name: str
    path: Path
    tokenizer: Tokenizer
    report: dict[str, Any]
    """As `cs336 tokenizer train --json` prints it."""

    @cached_property
    def vocabulary(self) -> Vocabulary:
        """What is in the tokenizer."""
        return Vocabulary(self.name, self.tokenizer)

    @property
    def peak_memory(self) -> int | None:
        """The most memory of all stages, where the system tells."""
        return max((stage["peak_memory"] or 0 for stage in self.report["stages"]), default=0) or None

    @property
    def slowest(self) -> dict[str, Any]:
        """The stage that took the most time."""
        slowest: dict[str, Any] = max(self.report["stages"], key=lambda stage: float(stage["seconds"]))
        return slowest


def train_each(
    paths: Sequence[Path],
    vocab_sizes: Sequence[int],
    folder: Path,
    *,
    special_tokens: Sequence[str] = (END,),
    pattern: str = "gpt2",
    input_format: InputFormat | None = None,
    text_column: str = "text",
    threads: int | None = None,
    told: Callable[[str], object] = _silent,
) -> list[Trained]:
    """Trains a tokenizer on each corpus, and keeps it in the folder.

    Each in a process of its own, by the command that a person would type: the peak of memory is that of a process.
    """
    if len(vocab_sizes) not in (1, len(paths)):
        raise ConfigError(f"give one vocabulary size, or one for each of {len(paths)} corpora, not {len(vocab_sizes)}")
    sizes = list(vocab_sizes) * (len(paths) if len(vocab_sizes) == 1 else 1)
    found = []
    for name, path, size in zip(short_names(paths), paths, sizes, strict=True):
        told(f"training on {name}")
        target = folder / f"{name}.json"
        options = ["--vocab-size", str(size), "--output", str(target), "--pattern", pattern, "--json"]
        options += ["--text-column", text_column, *([] if input_format is None else ["--format", input_format])]
        options += [word for token in special_tokens for word in ("--special-token", token)]
        options += [] if threads is None else ["--threads", str(threads)]
        command = [sys.executable, "-m", "cs336", "tokenizer", "train", *options, "--", str(path)]
        done = subprocess.run(command, capture_output=True, encoding="utf-8", check=False)
        if done.returncode:
            raise CorpusError(done.stderr.strip().removeprefix("error: ") or f"training on {path} failed")
        found.append(Trained(name, path, Tokenizer.load(target), json.loads(done.stdout)))
    return found


def short_names(paths: Sequence[Path]) -> list[str]:
    """Short names, each its own."""
    stems = [_stem(path) or "corpus" for path in paths]
    if len(set(stems)) == len(stems):
        return stems
    return [f"{stem}-{number}" for number, stem in enumerate(stems, start=1)]


def _stem(path: Path) -> str:
    """What names a corpus: its file or pattern, or else its folder."""
    return path.name.partition(".")[0].strip("*?[] ") or path.parent.name


@dataclass(frozen=True)
class Encoding:
    """What it took to encode a corpus from file to file: the median of several times."""

    seconds: float
    stats: TokenFilesStats
    file_bytes: int

    @property
    def speed(self) -> float:
        """Bytes of text a second."""
        return self.stats.bytes / self.seconds


@dataclass(frozen=True)
class Study:
    """Trained tokenizers, and how they are compared."""

    trained: Sequence[Trained]
    folder: Path
    """Where token files go, one at a time, while they are measured."""
    seed: int = 0
    documents: int = 10
    repeats: int = 3
    threads: int | None = None
    separator: str = END
    input_format: InputFormat | None = None
    text_column: str = "text"
    told: Callable[[str], object] = _silent

    @cached_property
    def samples(self) -> dict[str, list[bytes]]:
        """Documents of each corpus."""
        found = {}
        for one in self.trained:
            with as_text(one.path, self.folder, separator=self.separator, **self._how_to_read) as text:
                found[one.name] = sample_documents(text, self.documents, seed=self.seed, separator=self.separator)
        return found

    @cached_property
    def encodings(self) -> dict[tuple[str, str], Encoding]:
        """Every corpus under every tokenizer, by the names of tokenizer and corpus."""
        return {(one.name, corpus.name): self._encode(one, corpus) for one in self.trained for corpus in self.trained}

    @property
    def _how_to_read(self) -> dict[str, Any]:
        return {"input_format": self.input_format, "text_column": self.text_column}

    def _encode(self, one: Trained, corpus: Trained) -> Encoding:
        self.told(f"encoding {corpus.name} with the tokenizer of {one.name}")
        options: dict[str, Any] = {"separator": self.separator, "threads": self.threads, **self._how_to_read}
        seconds = []
        with tempfile.TemporaryDirectory(dir=self.folder) as folder:
            target = Path(folder) / "tokens.npy"
            for _ in range(self.repeats):
                began = time.perf_counter()
                stats = encode_files(one.tokenizer, corpus.path, target, restart=True, progress=False, **options)
                seconds.append(time.perf_counter() - began)
            return Encoding(statistics.median(seconds), stats, target.stat().st_size)
