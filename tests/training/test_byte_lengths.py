from __future__ import annotations

import base64
from pathlib import Path

from cs336.cli.inspect import longest
from cs336.tokenizer import Tokenizer, train_bpe_from_iterator
from cs336.training.evaluate import byte_lengths


def test_bits_per_byte_leave_out_special_tokens_only(tmp_path: Path) -> None:
    """Known by their ids: other tokens may be spelled like them, or decode to the like of them."""
    tokenizer = train_bpe_from_iterator(["low lower"], 260, ["\ufffd"])
    lengths = byte_lengths(tokenizer).tolist()
    assert [token_id for token_id, length in enumerate(lengths) if length == 0] == [0]
    ranks = [base64.b64encode(token).decode() for token in [*(bytes([byte]) for byte in range(256)), b"lo"]]
    (tmp_path / "ranks").write_text("".join(f"{token} {rank}\n" for rank, token in enumerate(ranks)), encoding="utf-8")
    spelled_alike = Tokenizer.from_tiktoken(tmp_path / "ranks", special_tokens={"lo": 257})
    assert byte_lengths(spelled_alike).tolist() == [1] * 256 + [2, 0]
    assert longest(spelled_alike, 1) == ["'lo'"]
