"""The Rust core's extension module."""

import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Self, final

import numpy as np
from numpy.typing import NDArray
from typing_extensions import Buffer, disjoint_base

__all__ = [
    "DecodeStream",
    "StreamEncoder",
    "Tokenizer",
    "__version__",
    "character_spans",
    "check_token_sources",
    "count_corpus",
    "default_max_memory",
    "encode_file",
    "encode_inputs",
    "from_parts",
    "from_ranks",
    "input_format",
    "load_gpt2",
    "load_huggingface",
    "load_native",
    "load_tiktoken",
    "memory",
    "merge_counts",
    "pattern_regex",
    "ranks_of",
    "read_counts",
    "save_gpt2",
    "save_huggingface",
    "save_native",
    "save_tiktoken",
    "token_files_left",
    "token_shard",
    "train_corpus",
    "train_counts",
    "truncate",
]

__version__: str

_Report = Callable[[str, int, int | None], object]

# Pattern, special tokens, bytes of text, pre-tokens, distinct ones, and the runs that were spilled.
_Counts = tuple[str, list[str], int, int, int, int]
# Bytes of text, documents, pre-tokens, distinct ones; stages with seconds and peak memory; steps with seconds; seconds
# that each thread counted.
_Numbers = tuple[int, int, int, int, list[tuple[str, float, int | None]], list[tuple[str, float]], list[float]]

@disjoint_base
class Tokenizer:
    def __new__(
        cls,
        vocab: dict[int, bytes] | Tokenizer,
        merges: Sequence[tuple[bytes, bytes]] | None = None,
        special_tokens: Iterable[str] | None = None,
        *,
        pattern: str = "gpt2",
    ) -> Self: ...
    def encode(self, text: str | bytes, *, special: str | Iterable[str] | None = None) -> list[int]: ...
    def encode_array(self, text: str | bytes, *, special: str | Iterable[str] | None = None) -> NDArray[Any]: ...
    def encode_batch(
        self,
        texts: Iterable[str | bytes],
        *,
        special: str | Iterable[str] | None = None,
        threads: int | None = None,
    ) -> list[list[int]]: ...
    def encode_batch_array(
        self,
        texts: Iterable[str | bytes],
        *,
        special: str | Iterable[str] | None = None,
        threads: int | None = None,
    ) -> tuple[NDArray[Any], NDArray[np.int64]]: ...
    def count(
        self, text: str | bytes, limit: int | None = None, *, special: str | Iterable[str] | None = None
    ) -> int: ...
    def encode_with_offsets(
        self, text: str | bytes, *, special: str | Iterable[str] | None = None
    ) -> tuple[list[int], list[tuple[int, int]]]: ...
    def encode_stream(self, *, special: str | Iterable[str] | None = None) -> StreamEncoder: ...
    def decode_bytes(self, ids: Any) -> bytes: ...
    def decode_stream(self, *, unknown: str = "error") -> DecodeStream: ...
    def token_to_id(self, token: bytes | str) -> int | None: ...
    def id_to_token(self, id: int) -> bytes: ...
    @property
    def vocab(self) -> dict[int, bytes]: ...
    @property
    def merges(self) -> list[tuple[bytes, bytes]]: ...
    @property
    def vocab_size(self) -> int: ...
    @property
    def special_tokens(self) -> dict[str, int]: ...
    @property
    def pattern(self) -> str: ...
    @property
    def hash(self) -> str: ...
    def parts(
        self,
    ) -> tuple[list[tuple[int, bytes]], list[tuple[int, int, int]], list[tuple[str, int]], bool, str]: ...
    def __eq__(self, other: object, /) -> bool: ...
    def __hash__(self) -> int: ...

@final
class StreamEncoder:
    def push(self, piece: str | bytes) -> list[int]: ...
    def finish(self) -> list[int]: ...

@final
class DecodeStream:
    def push(self, id: int) -> str: ...
    def finish(self) -> str: ...

def truncate(tokenizer: Tokenizer, value: str | bytes, limit: int, special: str | Iterable[str]) -> Any: ...
def character_spans(value: str | bytes, spans: Sequence[tuple[int, int]]) -> list[tuple[int, int]]: ...
def from_ranks(ranks: Sequence[tuple[int, bytes]], special: Sequence[tuple[str, int]], pattern: str) -> Tokenizer: ...
def ranks_of(tokenizer: Tokenizer) -> list[tuple[bytes, int]]: ...
def pattern_regex(pattern: str) -> str: ...
def from_parts(
    ordinary: Sequence[tuple[int, bytes]],
    merges: Sequence[tuple[int, int, int]],
    special: Sequence[tuple[str, int]],
    whole_tokens: bool,
    pattern: str,
) -> Tokenizer: ...
def load_native(path: str | os.PathLike[str]) -> Tokenizer: ...
def save_native(tokenizer: Tokenizer, path: str | os.PathLike[str]) -> None: ...
def load_gpt2(
    vocab: str | os.PathLike[str], merges: str | os.PathLike[str], special: Iterable[str], pattern: str
) -> Tokenizer: ...
def save_gpt2(tokenizer: Tokenizer, vocab: str | os.PathLike[str], merges: str | os.PathLike[str]) -> None: ...
def load_tiktoken(path: str | os.PathLike[str], special: Sequence[tuple[str, int]], pattern: str) -> Tokenizer: ...
def save_tiktoken(tokenizer: Tokenizer, path: str | os.PathLike[str]) -> None: ...
def load_huggingface(path: str | os.PathLike[str]) -> Tokenizer: ...
def save_huggingface(tokenizer: Tokenizer, path: str | os.PathLike[str]) -> None: ...
def encode_file(
    tokenizer: Tokenizer,
    source: str | os.PathLike[str],
    target: str | os.PathLike[str],
    special: str | Iterable[str],
    wide: bool | None,
    threads: int | None,
    progress: _Report | None,
) -> tuple[int, int, int, str]: ...
def encode_inputs(
    tokenizer: Tokenizer,
    paths: Sequence[str | os.PathLike[str]],
    documents: Callable[[int], Iterable[tuple[Buffer, Buffer, int]]] | None,
    input_format: str | None,
    text_column: str,
    target: str | os.PathLike[str],
    special: str | Iterable[str],
    separator: str | None,
    wide: bool | None,
    shard_tokens: int | None,
    threads: int | None,
    restart: bool,
    record_seconds: float,
    progress: _Report | None,
) -> tuple[int, int, int, int, str, list[Path], int]: ...
def check_token_sources(
    target: str | os.PathLike[str], numbers: int, sources: Sequence[str | os.PathLike[str]]
) -> None: ...
def token_files_left(target: str | os.PathLike[str], numbers: int) -> list[Path]: ...
def token_shard(target: str | os.PathLike[str], number: int) -> Path: ...
def train_corpus(
    paths: Sequence[str | os.PathLike[str]],
    documents: Iterable[str | tuple[Buffer, Buffer, int]] | None,
    documents_size: int | None,
    origin: str | None,
    input_format: str | None,
    text_column: str,
    vocab_size: int,
    special_tokens: Iterable[str],
    pattern: str,
    min_frequency: int,
    max_token_length: int | None,
    extend: Tokenizer | None,
    threads: int | None,
    max_memory: int | None,
    progress: _Report | None,
) -> tuple[Tokenizer, _Numbers]: ...
def input_format(path: str | os.PathLike[str]) -> str: ...
def memory() -> tuple[int | None, int | None]: ...
def default_max_memory() -> int: ...
def count_corpus(
    paths: Sequence[str | os.PathLike[str]],
    documents: Iterable[str | tuple[Buffer, Buffer, int]] | None,
    documents_size: int | None,
    origin: str | None,
    input_format: str | None,
    text_column: str,
    output: str | os.PathLike[str],
    special_tokens: Iterable[str],
    pattern: str,
    threads: int | None,
    max_memory: int | None,
    may_be_empty: bool,
    progress: _Report | None,
) -> _Counts: ...
def merge_counts(paths: Sequence[str | os.PathLike[str]], output: str | os.PathLike[str]) -> _Counts: ...
def read_counts(path: str | os.PathLike[str]) -> _Counts: ...
def train_counts(
    path: str | os.PathLike[str],
    vocab_size: int,
    min_frequency: int,
    max_token_length: int | None,
    extend: Tokenizer | None,
    threads: int | None,
    max_memory: int | None,
    progress: _Report | None,
) -> Tokenizer: ...
