"""Token files from many and large inputs, in order, in a run that can be stopped at any moment and goes on.

What stands in the files is described in ``docs/formats.md``.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from cs336 import _bpe
from cs336.errors import ConfigError, CorpusError
from cs336.files import followed
from cs336.inputs import expand, parquet_documents, parquet_size, split_parquet
from cs336.progress import reporting
from cs336.tokenizer import Tokenizer, check_options

if TYPE_CHECKING:
    from numpy.typing import DTypeLike

    from cs336.inputs import Batch, InputFormat, StrPath
    from cs336.tokenizer import Progress, Special

__all__ = ["TokenFilesStats", "encode_files"]

SEPARATOR = "<|endoftext|>"


@dataclass(frozen=True)
class TokenFilesStats:
    """What ``encode_files`` wrote, in all the turns that the run took."""

    tokens: int
    bytes: int
    """Of text; separators that were put in do not count."""
    documents: int
    """Stretches between special tokens, or rows of the inputs, that hold more than white space."""
    separators: int
    """How many were put in."""
    dtype: str
    files: tuple[Path, ...]
    resumed_at: int
    """How many tokens an earlier turn had written."""

    @property
    def bytes_per_token(self) -> float:
        """The compression ratio."""
        return self.bytes / (self.tokens - self.separators) if self.tokens > self.separators else 0.0


def record_path(target: Path) -> Path:
    """Where it stands how far a run is; a link is followed, as it is for what is written."""
    real = followed(target)
    return real.with_name(f"{real.name}.partial.json")


def encode_files(
    tokenizer: Tokenizer,
    paths: StrPath | Sequence[StrPath],
    target: StrPath,
    *,
    special: Special = "token",
    separator: str | None = SEPARATOR,
    dtype: DTypeLike | None = None,
    shard_tokens: int | None = None,
    input_format: InputFormat | None = None,
    text_column: str = "text",
    threads: int | None = None,
    restart: bool = False,
    record_seconds: float = 5.0,
    progress: Progress = None,
) -> TokenFilesStats:
    """Encode the inputs that ``train_bpe`` takes, one behind the other, to a token file with a sidecar.

    Where a document or a file does not end with ``separator``, a special token, that follows it; None puts none in.
    With ``shard_tokens``, ``name.npy`` becomes ``name-00000.npy``, ``name-00001.npy``, ..., each with so many tokens
    and the last with the rest. Files get their names when they are whole. A run that is stopped, also by force, leaves
    beside them what it needs to go on: called again with the same inputs and options, it does; with ``restart`` it
    begins anew. How far it is gets on record every ``record_seconds``.
    """
    check_options(threads=threads)
    if shard_tokens is not None and not 1 <= shard_tokens < 1 << 64:
        raise ConfigError(f"shard_tokens must be from 1 to 2^64 - 1, not {shard_tokens}")
    if not 0 <= record_seconds < 1e9:
        raise ConfigError(f"record_seconds must be a number of seconds, not {record_seconds}")
    files = expand(paths)
    if not files:
        raise CorpusError("there are no inputs; give at least one file")
    _, parquet = split_parquet(files, input_format)
    parquet_size(parquet)  # checks that all are there

    def documents(index: int) -> Iterator[Batch]:
        return parquet_documents([files[index]], text_column)

    wide = None if dtype is None else tokenizer.file_dtype(dtype).itemsize == 4
    with reporting(progress) as report:
        tokens, size, count, separators, kind, written, resumed_at = _bpe.encode_inputs(
            tokenizer,
            files,
            documents if parquet else None,
            input_format,
            text_column,
            os.fspath(target),
            special,
            separator,
            wide,
            shard_tokens,
            threads,
            restart,
            record_seconds,
            report,
        )
    return TokenFilesStats(tokens, size, count, separators, kind, tuple(map(Path, written)), resumed_at)
