"""Documents of a corpus, drawn by seed."""

from __future__ import annotations

import mmap
import random
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from cs336 import _bpe
from cs336.errors import CorpusError
from cs336.files import explained
from cs336.inputs import expand

if TYPE_CHECKING:
    from cs336.inputs import InputFormat

__all__ = ["END", "as_text", "check_corpus", "is_text", "sample_documents"]

END = "<|endoftext|>"
"""What stands between two documents, unless told otherwise."""
_PACKED = (b"\x1f\x8b", b"\x28\xb5\x2f\xfd", b"\x2a\x4d\x18")
"""How gzip and zstd begin; the last after a byte that may differ."""
_BLOCK = 1 << 22


def sample_documents(path: Path, count: int, *, seed: int, separator: str = END) -> list[bytes]:
    """So many documents, each as likely as any other, in the order of the file; all where there are fewer.

    The file, a text, is read once and never held (Vitter's algorithm R).
    """
    draw = random.Random(seed)
    kept: list[tuple[int, bytes]] = []
    for seen, document in enumerate(_documents(path, separator.encode())):
        if seen < count:
            kept.append((seen, document))
        elif (place := draw.randrange(seen + 1)) < count:
            kept[place] = (seen, document)
    if not kept:
        raise _no_document(path)
    return [document for _, document in sorted(kept)]


def check_corpus(path: Path, *, input_format: InputFormat | None = None, separator: str = END) -> None:
    """Raises where a corpus is not there, or is a text without documents; called before the work."""
    if str(path) == "-":
        raise CorpusError("a corpus is read several times, and standard input only once; give a file")
    files = [Path(name) for name in expand(path)]
    for file in files:
        with explained(file), file.open("rb"):
            pass
    if is_text(files, input_format) and next(_documents(path, separator.encode()), None) is None:
        raise _no_document(path)


@contextmanager
def as_text(
    path: Path,
    folder: Path,
    *,
    input_format: InputFormat | None = None,
    text_column: str = "text",
    separator: str = END,
) -> Iterator[Path]:
    """The corpus as one text file: itself, or what the core reads in it, written into the folder for a while.

    The core decides what the documents of compressed files, JSON Lines and Parquet are, as it does in training.
    """
    files = [Path(name) for name in expand(path)]
    if is_text(files, input_format):
        yield path
        return
    from cs336.data import open_tokens
    from cs336.token_files import encode_files
    from cs336.tokenizer import Tokenizer

    bare = Tokenizer({byte: bytes([byte]) for byte in range(256)}, [], [separator])  # each byte is a token
    with TemporaryDirectory(dir=folder) as work:
        packed, text = Path(work) / "bytes.npy", Path(work) / path.name
        encode_files(
            bare, path, packed, separator=separator, input_format=input_format, text_column=text_column, progress=False
        )
        tokens = open_tokens(packed).tokens
        with text.open("wb") as file:
            for start in range(0, len(tokens), _BLOCK):
                file.write(bare.decode_bytes(tokens[start : start + _BLOCK]))
        del tokens  # Windows removes no file that is mapped
        packed.unlink()
        yield text


def is_text(files: list[Path], input_format: InputFormat | None) -> bool:
    """Whether a corpus is one text as it stands."""
    if len(files) != 1 or (input_format or _bpe.input_format(files[0])) != "text":
        return False
    with explained(files[0]), files[0].open("rb") as file:
        begins = file.read(4)
    return not (begins.startswith(_PACKED[:2]) or begins[1:] == _PACKED[2])


def _documents(path: Path, separator: bytes) -> Iterator[bytes]:
    """What stands between separators, without the line breaks around it, and but for what is empty."""
    with explained(path), path.open("rb") as file:
        if not path.stat().st_size:  # which can't be mapped
            return
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as text:
            start = 0
            while start <= len(text):
                end = text.find(separator, start)
                end = len(text) if end < 0 else end
                if document := text[start:end].strip(b"\r\n"):
                    yield document
                start = end + len(separator)


def _no_document(path: Path) -> CorpusError:
    return CorpusError(f"{path} holds no document; give a text")
