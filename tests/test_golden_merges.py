"""The merges of real corpora never change: their hashes are kept in a file."""

import hashlib
import json
from pathlib import Path

import pytest

from cs336.tokenizer import train_bpe

GOLDEN = Path(__file__).parent / "golden" / "merges.json"
ROWS = json.loads(GOLDEN.read_text())


def hash_of(merges: list[tuple[bytes, bytes]]) -> str:
    """SHA-256 over lines of two hexadecimal numbers each."""
    return hashlib.sha256("".join(f"{one.hex()} {other.hex()}\n" for one, other in merges).encode()).hexdigest()


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row['corpus']}-{row['pattern']}-{row['vocab_size']}")
@pytest.mark.parametrize("threads", [1, 2])
def test_merges_are_those_of_before(row: dict[str, str | int], threads: int, shared: Path) -> None:
    path, size = shared / str(row["corpus"]), int(row["vocab_size"])
    tokenizer = train_bpe(path, size, ["<|endoftext|>"], pattern=str(row["pattern"]), threads=threads)
    assert len(tokenizer.merges) == row["merges"]
    assert hash_of(tokenizer.merges) == row["sha256"]
