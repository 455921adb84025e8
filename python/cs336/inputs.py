"""What text is read from: paths and patterns of paths; and Parquet, which the Rust core leaves to pyarrow."""

from __future__ import annotations

import os

from cs336 import _bpe
from cs336.errors import CorpusError, FormatError, TextEncodingError
from cs336.extra import needs_extra

TYPE_CHECKING = False  # type checkers take it for true; see cs336.tokenizer
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path
    from typing import Any, Literal, TypeAlias

    StrPath: TypeAlias = str | os.PathLike[str]
    InputFormat: TypeAlias = Literal["text", "jsonl", "parquet"]
    Batch: TypeAlias = tuple[memoryview, memoryview, int]
    # Paths that the core reads; documents that it does not, what these amount to in the progress, and how to call it
    # all; format and column of the former.
    Corpus: TypeAlias = tuple[list[str], Iterable[str | Batch] | None, int | None, str | None, InputFormat | None, str]

_ROWS = 1024  # of a Parquet file that are in memory at a time
_BUFFER = 1 << 20  # bytes of its columns that are


def corpus_of(paths: StrPath | Sequence[StrPath], input_format: InputFormat | None, text_column: str) -> Corpus:
    """A corpus as the core takes it."""
    files = expand(paths)
    read_by_core, parquet = split_parquet(files, input_format)
    size = parquet_size(parquet)
    documents = parquet_documents(parquet, text_column) if parquet else None
    origin = _name_some(files) if parquet else None
    return read_by_core, documents, size, origin, None if input_format == "parquet" else input_format, text_column


def expand(paths: StrPath | Sequence[StrPath]) -> list[str]:
    """The files that paths and patterns such as ``data/*.txt`` name; those of a pattern in sorted order."""
    names = [paths] if isinstance(paths, str | os.PathLike) else list(paths)
    files = [file for name in names for file in _matches(os.fspath(name))]
    if files.count("-") > 1:
        raise CorpusError("standard input (-) can be read only once; give it once")
    return files


def _matches(name: str) -> list[str]:
    if not any(sign in name for sign in "*?["):
        return [name]
    import errno
    import glob
    from pathlib import Path

    if Path(name).exists():
        return [name]
    found = glob.glob(name, recursive=True)  # noqa: PTH207  Path.glob takes no absolute pattern
    files = sorted(path for path in found if not Path(path).is_dir())
    if not files:
        raise FileNotFoundError(errno.ENOENT, "no file matches this pattern; check its folder and its name", name)
    return files


def read_utf8(path: Path) -> bytes:
    """The content of a text file; raises TextEncodingError where it is not UTF-8."""
    from cs336.files import explained

    with explained(path):
        text = path.read_bytes()
    try:
        text.decode("utf-8")
    except UnicodeDecodeError as error:
        raise TextEncodingError(
            f"{path} is not UTF-8: invalid byte 0x{text[error.start]:02x} at byte offset {error.start}; "
            "convert the text to UTF-8 first"
        ) from error
    return text


def _name_some(files: Sequence[str]) -> str:
    shown = ", ".join(files[:3])
    return f"{shown}, and {len(files) - 3} more" if len(files) > 3 else shown


def split_parquet(paths: Iterable[str], input_format: InputFormat | None) -> tuple[list[str], list[str]]:
    """Paths for the core to read, and those of Parquet files."""
    other: list[str] = []
    parquet: list[str] = []
    for path in paths:
        is_parquet = (input_format or _bpe.input_format(path)) == "parquet"
        (parquet if is_parquet else other).append(path)
    return other, parquet


def parquet_documents(paths: Sequence[str], column: str) -> Iterator[Batch]:
    """The rows of Parquet files as documents, many at a time: their bytes, their borders, and bytes of the file read.

    A null is no document. Memory is bounded by the longest rows, not by the size of a file or of a row group.
    """
    for path in paths:
        yield from _rows(path, column)


def parquet_size(paths: Sequence[str]) -> int:
    """The size of Parquet files, checked to be there and to be readable before the work begins."""
    if not paths:
        return 0
    from pathlib import Path

    from cs336.files import explained

    _pyarrow()
    size = 0
    for path in paths:
        with explained(path), Path(path).open("rb"):
            size += Path(path).stat().st_size
    return size


def _pyarrow() -> Any:
    with needs_extra("reading Parquet", extra="parquet"):
        import pyarrow.parquet

        return pyarrow


def _rows(path: str, column: str) -> Iterator[Batch]:
    arrow = _pyarrow()
    size = os.path.getsize(path)  # noqa: PTH202  pathlib is not imported here
    try:
        options = {"buffer_size": _BUFFER, "pre_buffer": False, "page_checksum_verification": True}
        with arrow.parquet.ParquetFile(path, **options) as file:
            _check_column(path, file.schema_arrow, column, arrow.types)
            total, done = file.metadata.num_rows, 0
            for rows in file.iter_batches(batch_size=_ROWS, columns=[column]):
                # By name: "a.b" also asks for the field b of a column a.
                texts = rows.column(column).cast(arrow.large_string()).drop_null()
                before, done = done, done + rows.num_rows
                # In whole bytes that add up to the file's size.
                yield *_buffers(texts), size * done // total - size * before // total
    except (arrow.ArrowException, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        reason = " ".join(str(error).split())
        message = f"{path}: not a valid Parquet file: {reason}; give another file, or write it again"
        raise FormatError(message) from error


def _check_column(path: str, schema: Any, column: str, types: Any) -> None:
    if column not in schema.names:
        there = ", ".join(map(repr, schema.names))
        raise FormatError(f"{path}: there is no column {column!r}; name another: the columns are {there}")
    if schema.names.count(column) > 1:
        raise FormatError(f"{path}: several columns are called {column!r}; rename all but one, or name another column")
    kind = schema.field(column).type
    if types.is_dictionary(kind):
        kind = kind.value_type
    if not (types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind)):
        raise FormatError(f"{path}: the column {column!r} holds {kind}, not strings; name a column of text")


def _buffers(texts: Any) -> tuple[memoryview, memoryview]:
    """The bytes of an array of strings, and where in them each begins and the last ends; without copying."""
    _, borders, data = texts.buffers()
    if not len(texts):
        return memoryview(b""), memoryview(bytes(8)).cast("q")
    borders = memoryview(borders).cast("B").cast("q")[texts.offset : texts.offset + len(texts) + 1]
    return memoryview(data or b"").cast("B")[borders[0] : borders[-1]], borders
