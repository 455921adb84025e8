"""Exact byte-level BPE: training, encoding, decoding, and the files around them. The face of the Rust core.

What it promises stands in ``docs/tokenizer.md``. Nothing is imported before something needs it, of the standard library
neither: training on a small text takes less time than importing much of that.
"""

from __future__ import annotations

from cs336 import _bpe
from cs336.errors import ConfigError, TokenIdError, UnrepresentableError
from cs336.inputs import corpus_of
from cs336.progress import reporting

TYPE_CHECKING = False  # type checkers take it for true
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from typing import Any, AnyStr, Literal, Self, TypeAlias

    import numpy as np
    import tiktoken
    from numpy.typing import DTypeLike, NDArray

    from cs336.inputs import Corpus, InputFormat, StrPath
    from cs336.report import EncodeFileStats, TrainReport

    Special: TypeAlias = str | Iterable[str]
    Progress: TypeAlias = bool | Callable[[str, int, int | None], object] | None

__all__ = ["Tokenizer", "train_bpe", "train_bpe_from_iterator", "train_bpe_with_report"]

_THREADS = 1024  # the most; more than that would only exhaust the machine
_PIECE = 1 << 16  # characters of a long item that are encoded at a time, so that memory stays bounded


class Tokenizer(_bpe.Tokenizer):
    """A vocabulary with its merges, special tokens and pattern. Never changes; may be used from many threads."""

    @classmethod
    def from_files(
        cls,
        vocab_filepath: StrPath,
        merges_filepath: StrPath,
        special_tokens: Iterable[str] | None = None,
        *,
        pattern: str = "gpt2",
    ) -> Self:
        """Read GPT-2's ``vocab.json`` and ``merges.txt``, which carry neither pattern nor special tokens."""
        special = () if special_tokens is None else special_tokens
        return cls(_bpe.load_gpt2(vocab_filepath, merges_filepath, special, pattern))

    def to_files(self, vocab_filepath: StrPath, merges_filepath: StrPath) -> None:
        """Write GPT-2's ``vocab.json`` and ``merges.txt``, both or none.

        UnrepresentableError where they can't hold this tokenizer: if a special token is spelled like an ordinary one.
        """
        _bpe.save_gpt2(self, vocab_filepath, merges_filepath)

    @classmethod
    def load(cls, path: StrPath) -> Self:
        """Read a ``tokenizer.json`` that ``save`` wrote. FormatError where it is damaged or of another kind."""
        return cls(_bpe.load_native(path))

    def save(self, path: StrPath) -> None:
        """Write a ``tokenizer.json``, which holds any tokenizer.

        Hugging Face ``tokenizers`` reads it with the same ids, or refuses it where it would not.
        """
        _bpe.save_native(self, path)

    @classmethod
    def from_huggingface(cls, path: StrPath) -> Self:
        """Read a ``tokenizer.json`` of Hugging Face ``tokenizers``, if it is byte-level BPE, with the same ids.

        Added tokens become special tokens. UnrepresentableError names the key that asks for something else.
        """
        return cls(_bpe.load_huggingface(path))

    def to_huggingface(self, path: StrPath) -> None:
        """Write a ``tokenizer.json`` for Hugging Face; UnrepresentableError where it would give other ids."""
        _bpe.save_huggingface(self, path)

    @classmethod
    def from_tiktoken(
        cls,
        source: StrPath | tiktoken.Encoding,
        *,
        pattern: str | None = None,
        special_tokens: Mapping[str, int] | None = None,
    ) -> Self:
        """Read a rank file of tiktoken, which carries neither pattern (``gpt2`` if none is given) nor special tokens.

        Or take a ``tiktoken.Encoding``, which has both.
        """
        from cs336.interop.tiktoken import is_encoding, read_encoding

        if is_encoding(source):
            if pattern is not None or special_tokens is not None:
                raise ConfigError("an encoding has its own pattern and special tokens; leave them out")
            return cls(read_encoding(source))
        special = list((special_tokens or {}).items())
        path: Any = source
        return cls(_bpe.load_tiktoken(path, special, "gpt2" if pattern is None else pattern))

    def to_tiktoken(self, path: StrPath) -> None:
        """Write a rank file of tiktoken; UnrepresentableError where ranks alone would not give the same ids."""
        _bpe.save_tiktoken(self, path)

    def to_tiktoken_encoding(self, name: str = "cs336") -> tiktoken.Encoding:
        """A ``tiktoken.Encoding`` with the same ids; UnrepresentableError where there is none."""
        from cs336.interop.tiktoken import make_encoding

        return make_encoding(self, name)

    def save_pretrained(self, folder: StrPath) -> None:
        """Write a folder that ``transformers.AutoTokenizer.from_pretrained`` loads, with the same ids.

        UnrepresentableError where it would give others.
        """
        from pathlib import Path

        from cs336.interop.transformers import save_folder

        save_folder(self, Path(folder))

    def encode_with_offsets(
        self, text: str | bytes, *, special: Special | None = None, unit: Literal["bytes", "characters"] = "bytes"
    ) -> tuple[list[int], list[tuple[int, int]]]:
        """The ids, and of each the ``(start, end)`` of the text that it stands for.

        In characters, a token that holds part of one has all of it, so that spans may overlap.
        """
        if unit not in ("bytes", "characters"):
            raise ValueError(f'unit must be "bytes" or "characters", not {unit!r}')
        ids, spans = super().encode_with_offsets(text, special=special)
        return ids, spans if unit == "bytes" else _bpe.character_spans(text, spans)

    def truncate(self, text: AnyStr, limit: int, *, special: Special = "token") -> AnyStr:
        """The beginning of a text that its first ids, at most ``limit`` of them, stand for; never part of a character.

        Encoded by itself it has at most ``limit`` ids, too.
        """
        if not 0 <= limit < 1 << 64:
            raise ConfigError(f"limit must be from 0 to 2^64 - 1, but is {limit}")
        kept: AnyStr = _bpe.truncate(self, text, limit, special)
        return kept

    def encode_numpy(
        self, text: str | bytes, *, special: Special = "token", dtype: DTypeLike | None = None
    ) -> NDArray[Any]:
        """The ids as an array: uint16 where all ids fit, else uint32, or the type asked for."""
        if dtype is None:
            return self.encode_array(text, special=special)
        chosen = self._dtype(dtype)  # first, for it may refuse
        return self.encode_array(text, special=special).astype(chosen, copy=False)

    def encode_batch_numpy(
        self,
        texts: Iterable[str | bytes],
        *,
        special: Special = "token",
        dtype: DTypeLike | None = None,
        threads: int | None = None,
    ) -> tuple[NDArray[Any], NDArray[np.int64]]:
        """The ids of all texts one behind the other, and the n + 1 offsets of their borders."""
        chosen = None if dtype is None else self._dtype(dtype)  # first, for it may refuse
        ids, offsets = self.encode_batch_array(texts, special=special, threads=threads)
        return (ids if chosen is None else ids.astype(chosen, copy=False)), offsets

    def encode_iterable(self, texts: Iterable[str | bytes], *, special: Special = "token") -> Iterator[int]:
        """The ids of one text that comes in pieces, cut anywhere; lazily, in bounded memory."""
        if isinstance(texts, bytes):  # whose items are numbers; those of a str are pieces
            raise TypeError("texts must be an iterable of str or bytes, such as a list or an open file, not bytes")
        return self._iterate(self.encode_stream(special=special), texts)

    @staticmethod
    def _iterate(stream: _bpe.StreamEncoder, texts: Iterable[str | bytes]) -> Iterator[int]:
        for text in texts:
            if isinstance(text, str | bytes) and len(text) > _PIECE:
                for start in range(0, len(text), _PIECE):
                    yield from stream.push(text[start : start + _PIECE])
            else:
                yield from stream.push(text)
        yield from stream.finish()

    def encode_file(
        self,
        source: StrPath,
        target: StrPath,
        *,
        special: Special = "token",
        dtype: DTypeLike | None = None,
        threads: int | None = None,
        progress: Progress = None,
    ) -> EncodeFileStats:
        """Write the ids of a UTF-8 text file as ``.npy`` and a JSON sidecar beside it. Both appear whole or not at all.

        The file may be compressed by gzip or zstd, or be one that can be read only once, as a pipe. ``dtype`` is uint16
        or uint32; without it, uint16 where all ids fit.
        """
        from pathlib import Path

        from cs336.files import refuse_overwriting
        from cs336.report import EncodeFileStats

        _check_threads(threads)
        refuse_overwriting(Path(target), [source])
        wide = None if dtype is None else self.file_dtype(dtype).itemsize == 4
        with reporting(progress) as report:
            written = _bpe.encode_file(self, source, target, special, wide, threads, report)
        return EncodeFileStats(*written)

    def decode(self, ids: Any, errors: str = "replace") -> str:
        """The text of ids. What is not UTF-8 is handled as ``bytes.decode`` does with ``errors``."""
        return self.decode_bytes(ids).decode("utf-8", errors)

    def _dtype(self, dtype: DTypeLike | None) -> np.dtype[Any]:
        import numpy as np

        if dtype is None:
            return np.dtype(np.uint16 if self.vocab_size <= 1 << 16 else np.uint32)
        chosen = np.dtype(dtype)
        if chosen.kind not in "iu":
            raise TokenIdError(f"dtype {chosen} can't hold ids, which are integers; use uint32")
        if self.vocab_size - 1 > np.iinfo(chosen).max:
            raise TokenIdError(f"dtype {chosen} can't hold ids up to {self.vocab_size - 1}; use uint32")
        return chosen

    def file_dtype(self, dtype: DTypeLike) -> np.dtype[Any]:
        """The integer type of a token file, if it can be this one."""
        import numpy as np

        chosen = self._dtype(dtype)
        if chosen not in (np.dtype(np.uint16), np.dtype(np.uint32)):
            raise UnrepresentableError(
                f"token files hold uint16 or uint32, not {chosen}; leave dtype out, and convert what numpy.load gives"
            )
        return chosen

    def __reduce__(self) -> tuple[Any, ...]:
        return _restore, (type(self), *self.parts())

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self

    def __repr__(self) -> str:
        special = list(self.special_tokens)
        return f"Tokenizer(vocab_size={self.vocab_size}, special_tokens={special}, pattern={self.pattern!r})"


def _restore(cls: type[Tokenizer], *parts: Any) -> Tokenizer:
    return cls(_bpe.from_parts(*parts))


def _check_threads(threads: int | None) -> None:
    if threads is not None and threads < 1:
        raise ConfigError(f"threads must be at least 1, not {threads}")
    if threads is not None and threads > _THREADS:
        raise ConfigError(f"threads must be at most {_THREADS:,}, not {threads}")


def check_options(
    *,
    vocab_size: int = 0,
    min_frequency: int = 0,
    max_token_length: int | None = None,
    threads: int | None = None,
    max_memory: int | None = None,
) -> None:
    """Raise ConfigError where any option of training can't be what it is."""
    limits = (  # what the core's integers hold, which for ids are of 32 bits
        ("vocab_size", vocab_size, 1 << 32),
        ("min_frequency", min_frequency, (1 << 64) - 1),
        ("max_token_length", max_token_length or 0, (1 << 63) - 1),
    )
    for name, value, most in limits:
        if value < 0:
            raise ConfigError(f"{name} must not be negative, but is {value}")
        if value > most:
            raise ConfigError(f"{name} must be at most {most:,}, not {value}")
    _check_threads(threads)
    if max_memory is not None and not 0 <= max_memory < 1 << 64:
        raise ConfigError(f"max_memory is a number of bytes, not {max_memory}")


def train_bpe(
    paths: StrPath | Sequence[StrPath],
    vocab_size: int,
    special_tokens: Iterable[str] = (),
    *,
    pattern: str | None = None,
    min_frequency: int = 1,
    max_token_length: int | None = None,
    extend: Tokenizer | None = None,
    input_format: InputFormat | None = None,
    text_column: str = "text",
    threads: int | None = None,
    max_memory: int | None = None,
    progress: Progress = None,
) -> Tokenizer:
    """Learn a tokenizer from files: texts, each of them a document; JSON Lines and Parquet, each row a document.

    A path may be a pattern (``"data/*.txt"``) or ``"-"``, standard input, and a file may be compressed by gzip or zstd.
    ``input_format`` is "text", "jsonl" or "parquet"; without it, what each name says. ``pattern`` is gpt2 where none is
    given. Ids: special tokens in the order given, the 256 bytes, the merges. Of pairs that are equally frequent the
    greater one is merged first, so the result does not depend on threads. Pairs rarer than ``min_frequency`` are not
    merged, nor those that make a token of more than ``max_token_length`` bytes. With ``extend`` training goes on from
    that tokenizer: its ids and merges stay, new ones follow, and its own special tokens and pattern cut the text.
    ``max_memory``, in bytes: what does not fit while counting goes to temporary files; None takes three quarters of
    what is available. ``progress``: None shows it on terminals and in notebooks, True everywhere.
    """
    cut = (special_tokens, pattern)
    limits = (vocab_size, min_frequency, max_token_length)
    corpus = corpus_of(paths, input_format, text_column)
    trained, _ = _train(corpus, cut, limits, extend, threads, max_memory, progress)
    return Tokenizer(trained)


def train_bpe_with_report(
    paths: StrPath | Sequence[StrPath],
    vocab_size: int,
    special_tokens: Iterable[str] = (),
    *,
    pattern: str | None = None,
    min_frequency: int = 1,
    max_token_length: int | None = None,
    extend: Tokenizer | None = None,
    input_format: InputFormat | None = None,
    text_column: str = "text",
    threads: int | None = None,
    max_memory: int | None = None,
    progress: Progress = None,
) -> tuple[Tokenizer, TrainReport]:
    """As ``train_bpe``, and tell where time and memory went."""
    cut = (special_tokens, pattern)
    limits = (vocab_size, min_frequency, max_token_length)
    corpus = corpus_of(paths, input_format, text_column)
    trained, numbers = _train(corpus, cut, limits, extend, threads, max_memory, progress)
    return Tokenizer(trained), _report(numbers, trained, vocab_size)


def train_bpe_from_iterator(
    texts: Iterable[str],
    vocab_size: int,
    special_tokens: Iterable[str] = (),
    *,
    pattern: str | None = None,
    min_frequency: int = 1,
    max_token_length: int | None = None,
    extend: Tokenizer | None = None,
    threads: int | None = None,
    max_memory: int | None = None,
    progress: Progress = None,
) -> Tokenizer:
    """Learn a tokenizer from texts in memory, each of them a document; otherwise as ``train_bpe``."""
    if isinstance(texts, str):
        raise TypeError("texts must be an iterable of str, one per document, not a single str")
    cut = (special_tokens, pattern)
    limits = (vocab_size, min_frequency, max_token_length)
    corpus: Corpus = ([], texts, None, "the iterable of texts", None, "")
    trained, _ = _train(corpus, cut, limits, extend, threads, max_memory, progress)
    return Tokenizer(trained)


def _train(
    corpus: Corpus,
    cut: tuple[Iterable[str], str | None],
    limits: tuple[int, int, int | None],
    extend: Tokenizer | None,
    threads: int | None,
    max_memory: int | None,
    progress: Progress,
) -> tuple[_bpe.Tokenizer, Any]:
    """Checks what all trainers take, and calls the core: special tokens and pattern; size, frequency and length."""
    vocab_size, min_frequency, max_token_length = limits
    check_options(
        vocab_size=vocab_size,
        min_frequency=min_frequency,
        max_token_length=max_token_length,
        threads=threads,
        max_memory=max_memory,
    )
    special_tokens, pattern = _cut_as(extend, *cut)
    with reporting(progress) as report:
        return _bpe.train_corpus(
            *corpus,
            vocab_size,
            special_tokens,
            pattern,
            min_frequency,
            max_token_length,
            extend,
            threads,
            max_memory,
            report,
        )


def _cut_as(extend: Tokenizer | None, special_tokens: Iterable[str], pattern: str | None) -> tuple[Iterable[str], str]:
    """What cuts the text: what the caller says, or the tokenizer that training goes on from."""
    if extend is None:
        return special_tokens, "gpt2" if pattern is None else pattern
    if list(special_tokens) or pattern not in (None, extend.pattern):
        raise ConfigError("training goes on with the tokenizer's own special tokens and pattern; leave them out")
    return extend.special_tokens, extend.pattern


def _report(numbers: Any, tokenizer: _bpe.Tokenizer, wanted: int) -> TrainReport:
    from cs336.report import StageReport, TrainReport

    corpus_bytes, documents, pretokens, distinct, stages, steps, threads = numbers
    return TrainReport(
        corpus_bytes=corpus_bytes,
        documents=documents,
        pretokens=pretokens,
        distinct_pretokens=distinct,
        merges=len(tokenizer.merges),  # not what is left of vocab_size: ids may have gaps
        ran_out_of_pairs=tokenizer.vocab_size < wanted,
        stages=tuple(StageReport(*stage) for stage in stages),
        steps=dict(steps),
        thread_seconds=tuple(threads),
    )
