"""The files of a tokenizer: ``tokenizer.json``, GPT-2's pair, tiktoken's ranks, and files of tokens.

All are written aside, synced and renamed, so that a reader never meets half a file.
"""

from __future__ import annotations

import base64
import binascii
import json
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from cs336 import _bpe
from cs336.errors import FormatError, TextEncodingError, UnrepresentableError

if TYPE_CHECKING:
    import numpy as np

_BLOCK = 1 << 20  # bytes of text encoded at a time
_NPY_HEADER = 128  # bytes before the data of every file of tokens; the shape is filled in at the end


@contextmanager
def written_aside(path: Path) -> Iterator[IO[bytes]]:
    """A file that takes its name only when everything has been written."""
    if path.is_dir():
        raise IsADirectoryError(21, "cannot write: is a directory", str(path))
    if not path.parent.is_dir():
        raise FileNotFoundError(2, "cannot write: no such folder", str(path.parent))
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        umask = os.umask(0)
        os.umask(umask)
        Path(name).chmod(0o666 & ~umask)
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


@cache
def _byte_to_char() -> dict[int, str]:
    """GPT-2's alphabet: printable bytes are themselves, the others the characters from U+0100 on."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    return {**{byte: chr(byte) for byte in printable}, **{byte: chr(256 + at) for at, byte in enumerate(others)}}


@cache
def _char_to_byte() -> dict[str, int]:
    return {char: byte for byte, char in _byte_to_char().items()}


def _spelled(token: bytes) -> str:
    return "".join(map(_byte_to_char().__getitem__, token))


def _unspelled(text: str) -> bytes:
    """The bytes of a spelled token; a token in other characters, as special ones are, is its own UTF-8."""
    try:
        return bytes(map(_char_to_byte().__getitem__, text))
    except KeyError:
        return text.encode()


def _read_json(path: Path, kind: str) -> Any:
    try:
        return json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise FormatError(f"{path}: not a valid {kind} file: {error}") from None


def read_native(path: Path) -> _bpe.Tokenizer:
    """Read what ``write_native`` wrote; checked against the hash that stands in it."""
    data = _read_json(path, "tokenizer.json")
    try:
        model = data["model"]
        ours = model["cs336"]
        special = {item["content"]: item["id"] for item in data["added_tokens"]}
        names = dict(model["vocab"])
        tokens = [(id, text.encode() if text in special else _unspelled(text)) for text, id in names.items()]
        merges = [(_unspelled(left), _unspelled(right)) for left, right in model["merges"]]
        built = _bpe.from_parts(tokens, merges, ours["special_tokens"], model["ignore_merges"], ours["pattern"])
        wanted = ours["hash"]
    except (KeyError, TypeError, AttributeError, ValueError, OverflowError) as error:
        reason = f"{type(error).__name__}: {error}"
        raise FormatError(
            f"{path}: not a valid tokenizer.json file of cs336: {reason}; train or save it anew"
        ) from None
    if built.hash != wanted:
        raise FormatError(f"{path}: not a valid tokenizer.json file: its hash does not fit its content; save it anew")
    return built


def write_native(tokenizer: _bpe.Tokenizer, path: Path) -> None:
    """Write a file that Hugging Face ``tokenizers`` reads too; what is only ours stands in ``model.cs336``."""
    tokens, merges, special, whole, pattern = tokenizer.parts()
    ids = tokenizer.special_tokens
    special_ids = set(ids.values())
    vocab: dict[str, int] = {}
    for id, token in tokens:
        text = token.decode() if id in special_ids else _spelled(token)
        if text in vocab:
            raise UnrepresentableError(
                f"cannot write this tokenizer as tokenizer.json: two tokens are spelled {text!r}"
            )
        vocab[text] = id
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}
    split = {"type": "Split", "pattern": {"Regex": _for_huggingface(pattern)}, "behavior": "Isolated", "invert": False}
    model = {
        "type": "BPE",
        "dropout": None,
        "unk_token": None,
        "continuing_subword_prefix": None,
        "end_of_word_suffix": None,
        "fuse_unk": False,
        "byte_fallback": False,
        "ignore_merges": whole,
        "vocab": vocab,
        "merges": [[_spelled(left), _spelled(right)] for left, right in merges],
        "cs336": {"pattern": pattern, "special_tokens": special, "hash": tokenizer.hash},
    }
    added = [{"id": id, "content": text, **flags} for text, id in sorted(ids.items(), key=lambda item: item[1])]
    data = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": added,
        "normalizer": None,
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [split, level]},
        "post_processor": None,
        "decoder": level,
        "model": model,
    }
    with written_aside(path) as file:
        file.write(json.dumps(data, ensure_ascii=False, indent=1).encode())


def _for_huggingface(pattern: str) -> str:
    """A pattern in the dialect of that library's engine: there ``{1,3}+`` repeats, and ``$`` ends a line."""
    text = _bpe.pattern_regex(pattern)
    if text == pattern:
        return text
    return text.replace("{1,3}+", "{1,3}").replace("$", r"\z")


def read_gpt2(vocab_path: Path, merges_path: Path) -> tuple[dict[int, bytes], list[tuple[bytes, bytes]]]:
    """Read ``vocab.json`` and ``merges.txt``."""
    data = _read_json(vocab_path, "vocab.json")
    if not isinstance(data, dict) or not all(isinstance(id, int) for id in data.values()):
        raise FormatError(f"{vocab_path}: not a valid vocab.json file: it must map tokens to ids")
    vocab = {id: _unspelled(token) for token, id in data.items()}
    if len(vocab) != len(data):
        raise FormatError(f"{vocab_path}: not a valid vocab.json file: two tokens have the same id")
    merges = []
    try:
        lines = merges_path.read_text(encoding="utf-8").split("\n")
    except UnicodeDecodeError as error:
        raise FormatError(f"{merges_path}: not a valid merges.txt file: {error}") from None
    for number, line in enumerate(lines, start=1):
        if not line.strip() or (number == 1 and line.startswith("#version")):
            continue
        pair = line.rstrip("\r").split(" ")
        if len(pair) != 2:
            raise FormatError(f"{merges_path}: not a valid merges.txt file: line {number} is not two tokens")
        merges.append((_unspelled(pair[0]), _unspelled(pair[1])))
    return vocab, merges


def write_gpt2(tokenizer: _bpe.Tokenizer, vocab_path: Path, merges_path: Path) -> None:
    """Write ``vocab.json`` and ``merges.txt``; special tokens stand in the vocabulary as they are."""
    special = set(tokenizer.special_tokens.values())
    vocab = {(t.decode() if id in special else _spelled(t)): id for id, t in tokenizer.vocab.items()}
    if len(vocab) != len(tokenizer.vocab):
        raise UnrepresentableError("cannot write this tokenizer as vocab.json: two tokens are spelled alike")
    with written_aside(vocab_path) as file:
        file.write(json.dumps(vocab, ensure_ascii=False).encode())
    lines = ["#version: 0.2", *(f"{_spelled(left)} {_spelled(right)}" for left, right in tokenizer.merges)]
    with written_aside(merges_path) as file:
        file.write(("\n".join(lines) + "\n").encode())


def read_ranks(path: Path) -> list[tuple[int, bytes]]:
    """Read a rank file of tiktoken: on each line a token in base64 and its rank."""
    ranks = []
    for number, line in enumerate(path.read_bytes().splitlines(), start=1):
        if not line:
            continue
        try:
            token, rank = line.split()
            ranks.append((int(rank), base64.b64decode(token, validate=True)))
        except (ValueError, binascii.Error):
            raise FormatError(f"{path}: not a valid tiktoken file: line {number} is not a token and a rank") from None
    return ranks


def write_ranks(tokenizer: _bpe.Tokenizer, path: Path) -> None:
    """Write a rank file of tiktoken, without the special tokens."""
    special = tokenizer.special_tokens
    ordinary = [(id, token) for id, token in tokenizer.vocab.items() if id not in special.values()]
    if _bpe.from_ranks(ordinary, list(special.items()), tokenizer.pattern) != tokenizer:
        raise UnrepresentableError("cannot write this tokenizer as tiktoken ranks: its merges are not in order of id")
    with written_aside(path) as file:
        file.writelines(base64.b64encode(token) + b" %d\n" % id for id, token in ordinary)


def encode_file(
    tokenizer: _bpe.Tokenizer,
    source: Path,
    target: Path,
    special: str | Iterable[str],
    dtype: np.dtype[Any],
    report: Callable[[str, int, int | None], object] | None,
) -> tuple[int, int, int, str]:
    """Stream a text through the tokenizer into ``target`` and its sidecar. Returns tokens, bytes, documents, dtype."""
    if not isinstance(special, str):
        special = set(special)
    stream = tokenizer.encode_stream(special=special)
    documents = _Documents(tokenizer)
    with source.open("rb") as text, written_aside(target) as file:
        total = os.fstat(text.fileno()).st_size
        file.write(b"\0" * _NPY_HEADER)
        tokens = done = 0
        check = _Utf8(source)
        while block := text.read(_BLOCK):
            check.feed(block)
            done += len(block)
            ids = stream.push_u32(block)
            file.write(ids.astype(dtype).tobytes())
            documents.feed(ids)
            tokens += len(ids)
            if report:
                report("encode", done, total)
        check.finish()
        ids = stream.finish_u32()
        file.write(ids.astype(dtype).tobytes())
        documents.feed(ids)
        tokens += len(ids)
        file.seek(0)
        file.write(_npy_header(dtype, tokens))
        sidecar = {
            "format": "cs336-tokens",
            "version": 1,
            "dtype": dtype.name,
            "tokens": tokens,
            "vocab_size": tokenizer.vocab_size,
            "vocabulary_hash": tokenizer.hash,
            "documents": documents.count,
            "source": [{"name": source.name, "bytes": done}],
            "special_tokens": tokenizer.special_tokens,
        }
        with written_aside(target.with_name(target.name + ".json")) as beside:
            beside.write(json.dumps(sidecar, indent=2).encode() + b"\n")
    return tokens, done, documents.count, dtype.name


def _npy_header(dtype: np.dtype[Any], tokens: int) -> bytes:
    """The header of a one-dimensional ``.npy`` of version 1.0, padded to a fixed length."""
    content = f"{{'descr': '{dtype.newbyteorder('<').str}', 'fortran_order': False, 'shape': ({tokens},), }}"
    body = content.ljust(_NPY_HEADER - 11) + "\n"
    return b"\x93NUMPY\x01\x00" + (_NPY_HEADER - 10).to_bytes(2, "little") + body.encode("latin1")


class _Documents:
    """Counts the pieces between special tokens that hold more than white space."""

    def __init__(self, tokenizer: _bpe.Tokenizer) -> None:
        import numpy as np

        kinds = np.full(tokenizer.vocab_size, 1, np.int8)  # 0 blank, 1 text, 2 special
        for id, token in tokenizer.vocab.items():
            if not token.strip():
                kinds[id] = 0
        kinds[list(tokenizer.special_tokens.values())] = 2
        self._kinds = kinds
        self._inside = False
        self.count = 0

    def feed(self, ids: np.ndarray[Any, Any]) -> None:
        """Count the documents that begin in these ids."""
        import numpy as np

        kinds = self._kinds[ids]
        marks = kinds[kinds > 0]
        before = np.concatenate([[1 if self._inside else 2], marks])[:-1]
        self.count += int(((marks == 1) & (before == 2)).sum())
        if len(marks):
            self._inside = bool(marks[-1] == 1)


class _Utf8:
    """Checks that a text that comes in blocks is UTF-8, and says where it is not."""

    def __init__(self, source: Path) -> None:
        import codecs

        self._decoder = codecs.getincrementaldecoder("utf-8")()
        self._source = source
        self._seen = 0

    def feed(self, block: bytes, final: bool = False) -> None:
        """Check the next block."""
        waiting = len(self._decoder.getstate()[0])
        try:
            self._decoder.decode(block, final)
        except UnicodeDecodeError as error:
            offset, byte = self._seen - waiting + error.start, error.object[error.start]
            raise TextEncodingError(
                f"{self._source} is not UTF-8: invalid byte 0x{byte:02x} at byte offset {offset}; "
                "convert the text to UTF-8 first"
            ) from None
        self._seen += len(block)

    def finish(self) -> None:
        """Check that no character is left open at the end."""
        self.feed(b"", final=True)
