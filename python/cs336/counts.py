"""Counts files: a corpus counted once is trained at many vocabulary sizes, and counted in parts by many machines.

What stands in such a file is described in ``docs/formats.md``.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from cs336 import _bpe
from cs336.files import refuse_overwriting
from cs336.inputs import corpus_of, expand
from cs336.progress import reporting
from cs336.tokenizer import Tokenizer, check_options

if TYPE_CHECKING:
    from cs336.inputs import InputFormat, StrPath
    from cs336.tokenizer import Progress

__all__ = ["CountsInfo", "count_pretokens", "default_max_memory", "merge_counts", "read_info", "train_bpe_from_counts"]


@dataclass(frozen=True)
class CountsInfo:
    """What a counts file says of itself, and, where it was just counted, how often memory did not do."""

    pattern: str
    special_tokens: tuple[str, ...]
    corpus_bytes: int
    pre_tokens: int
    distinct: int
    spilled_runs: int = 0


def default_max_memory() -> int:
    """The bytes that counting and merging may take where ``max_memory`` is None.

    Three quarters of the memory available now, by the system and by every control group around the process, whichever
    allows the least; 64 MiB at least.
    """
    return _bpe.default_max_memory()


def count_pretokens(
    paths: StrPath | Sequence[StrPath],
    output: StrPath,
    special_tokens: Iterable[str] = (),
    *,
    pattern: str = "gpt2",
    input_format: InputFormat | None = None,
    text_column: str = "text",
    threads: int | None = None,
    max_memory: int | None = None,
    progress: Progress = None,
) -> CountsInfo:
    """Count the pre-tokens of the files that ``train_bpe`` takes, and write a counts file.

    The same texts with the same options give the same bytes, however many threads count in however little memory.
    """
    check_options(threads=threads, max_memory=max_memory)
    files = expand(paths)
    refuse_overwriting(Path(output), files)
    corpus = corpus_of(files, input_format, text_column)
    with reporting(progress) as report:
        return _info(_bpe.count_corpus(*corpus, output, special_tokens, pattern, threads, max_memory, False, report))


def merge_counts(paths: StrPath | Sequence[StrPath], output: StrPath) -> CountsInfo:
    """Add counts files up, also those that a pattern names (``"parts/*.counts"``).

    The result is the file that counting all their texts at once would give, byte by byte.
    CountsMismatchError where two differ in pattern or special tokens.
    """
    files = expand(paths)
    refuse_overwriting(Path(output), files)
    return _info(_bpe.merge_counts(files, output))


def read_info(path: StrPath) -> CountsInfo:
    """What the first line of a counts file says; the rest is read, and checked, where it is used."""
    return _info(_bpe.read_counts(path))


def train_bpe_from_counts(
    path: StrPath,
    vocab_size: int,
    *,
    min_frequency: int = 1,
    max_token_length: int | None = None,
    extend: Tokenizer | None = None,
    threads: int | None = None,
    max_memory: int | None = None,
    progress: Progress = None,
) -> Tokenizer:
    """Learn the tokenizer that ``train_bpe`` learns from the texts; the file says pattern and special tokens."""
    check_options(
        vocab_size=vocab_size,
        min_frequency=min_frequency,
        max_token_length=max_token_length,
        threads=threads,
        max_memory=max_memory,
    )
    options = (vocab_size, min_frequency, max_token_length, extend, threads, max_memory)
    with reporting(progress) as report:
        return Tokenizer(_bpe.train_counts(path, *options, report))


def _info(written: tuple[str, list[str], int, int, int, int]) -> CountsInfo:
    pattern, special, *numbers = written
    return CountsInfo(pattern, tuple(special), *numbers)
