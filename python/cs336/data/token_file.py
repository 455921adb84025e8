"""Token files: a NumPy array of ids on disk, and a JSON sidecar that says where they come from."""

from __future__ import annotations

import errno
import hashlib
import json
import tokenize
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from numpy.lib.format import MAGIC_PREFIX

from cs336.errors import DataError
from cs336.files import explained, followed

Tokens = npt.NDArray[Any]


@dataclass(frozen=True)
class TokenFileInfo:
    """What the sidecar of a token file says."""

    dtype: str
    tokens: int
    vocab_size: int
    vocabulary_hash: str
    documents: int
    source_bytes: int
    special_tokens: dict[str, int]


@dataclass(frozen=True)
class TokenFile:
    """A token file, mapped into memory."""

    path: Path
    tokens: Tokens
    """Shape (tokens,), read-only; pages are read when they are touched."""
    info: TokenFileInfo | None
    """None where the file has no sidecar."""


def sidecar_path(path: str | Path) -> Path:
    """Where the sidecar of a token file stands: beside the file itself, or where none does, beside a link to it."""
    beside = [file.with_name(file.name + ".json") for file in (followed(Path(path)), Path(path))]
    return next((sidecar for sidecar in beside if sidecar.exists()), beside[0])


def open_tokens(path: str | Path) -> TokenFile:
    """Maps a token file. A plain one-dimensional integer ``.npy`` without a sidecar is taken too.

    Raises DataError where the file or its sidecar is damaged or the two disagree, and OSError where it can't be read.
    """
    path = Path(path)
    tokens = _map(path)
    if tokens.ndim != 1 or not np.issubdtype(tokens.dtype, np.integer):
        raise DataError(
            f"{path} holds an array of shape {tokens.shape} and type {tokens.dtype}; "
            "a token file has one dimension and integers"
        )
    sidecar = sidecar_path(path)
    info = _read_sidecar(sidecar) if sidecar.exists() else None
    if info is not None and (info.tokens != len(tokens) or np.dtype(info.dtype) != tokens.dtype):
        raise DataError(
            f"{path} holds {len(tokens):,} tokens of {tokens.dtype}, but its sidecar {sidecar.name} says "
            f"{info.tokens:,} of {info.dtype}; encode the text again"
        )
    return TokenFile(path, tokens, info)


def _map(path: Path) -> Tokens:
    try:
        with explained(path):
            if path.is_dir():
                raise IsADirectoryError(errno.EISDIR, "this is a folder; give the .npy file in it", str(path))
            with path.open("rb") as file:
                if file.read(len(MAGIC_PREFIX)) != MAGIC_PREFIX:  # NumPy would take it for a pickle, or an archive
                    raise DataError(f"{path} is not a .npy file; give a file of token ids, or encode the text again")
            return np.asanyarray(np.load(path, mmap_mode="r", allow_pickle=False))
    except FileNotFoundError as error:
        raise FileNotFoundError(
            error.errno, "there is no such token file; check the path, or encode the text first", str(path)
        ) from error
    except DataError:
        raise
    except (ValueError, EOFError) as error:
        raise DataError(f"{path} is not a whole .npy file ({error}); encode the text again") from error
    except (tokenize.TokenError, SyntaxError, TypeError, KeyError, OverflowError, RecursionError, MemoryError) as error:
        # NumPy reads the header as Python, and lets through what that says.
        raise DataError(f"{path} is not a whole .npy file: its header is damaged; encode the text again") from error


def _read_sidecar(path: Path) -> TokenFileInfo:
    try:
        fields = json.loads(path.read_text("utf-8"))
        if fields["format"] != "cs336-tokens" or fields["version"] != 1:
            raise DataError(
                f"{path} is of format {fields['format']!r}, version {fields['version']!r}; this is version 1"
            )
        return TokenFileInfo(
            dtype=np.dtype(fields["dtype"]).name,
            tokens=int(fields["tokens"]),
            vocab_size=int(fields["vocab_size"]),
            vocabulary_hash=str(fields["vocabulary_hash"]),
            documents=int(fields["documents"]),
            source_bytes=sum(int(source["bytes"]) for source in fields["source"]),
            special_tokens={str(token): int(token_id) for token, token_id in fields["special_tokens"].items()},
        )
    except DataError:
        raise
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        message = f"{path} is no valid sidecar of a token file: {_reason(error)}"
        raise DataError(f"{message}; encode the text again") from error


def _reason(error: Exception) -> str:
    """What is wrong with a sidecar, without Python's names for it."""
    if isinstance(error, json.JSONDecodeError | UnicodeDecodeError | RecursionError):
        return f"it is not JSON ({error})"
    if isinstance(error, KeyError):
        return f"it has no key {error}"
    return "a key has a value of the wrong kind"


def fingerprint(file: TokenFile, *, sample: int = 1 << 20) -> str:
    """What tells a token file from another without reading all of it: type, length, and both ends' checksum."""
    digest = hashlib.sha256(f"{file.tokens.dtype} {len(file.tokens)}".encode())
    for part in (file.tokens[:sample], file.tokens[-sample:]):
        digest.update(np.ascontiguousarray(part).tobytes())
    return digest.hexdigest()


def check_tokens(tokens: Tokens, vocab_size: int, path: Path | None = None, *, block: int = 1 << 24) -> None:
    """Raises DataError naming the first id that is negative or not below ``vocab_size``. Reads in blocks."""
    for start in range(0, len(tokens), block):
        part = tokens[start : start + block]
        if int(part.max()) < vocab_size and int(part.min()) >= 0:
            continue
        position = int(np.flatnonzero((part >= vocab_size) | (part < 0))[0])
        where = "" if path is None else f"{path}: "
        raise DataError(
            f"{where}token {int(part[position])} at position {start + position:,} is outside the vocabulary of "
            f"{vocab_size:,}; the tokens and the model need the same tokenizer"
        )
