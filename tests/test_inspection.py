"""What a tokenizer makes of texts: words, tokens, and the borders that no word crosses."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

from cs336 import inspection
from cs336.inspection import inspect_texts
from cs336.tokenizer import Tokenizer, train_bpe_from_iterator

END = "<|endoftext|>"
TOKENIZER = train_bpe_from_iterator(["low lower lowest"], 260, [END])


def words_of(folder: Path, texts: list[str], tokenizer: Tokenizer = TOKENIZER) -> int:
    paths = [folder / f"{number}.txt" for number in range(len(texts))]
    for path, text in zip(paths, texts, strict=True):
        path.write_text(text, "utf-8", newline="")
    return inspect_texts(tokenizer, paths).words


def test_no_word_runs_from_a_document_into_the_next(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in ("aa", "aa", "aa")))
    seen = inspect_texts(TOKENIZER, tmp_path / "rows.jsonl")
    assert (seen.bytes, seen.tokens, seen.words, seen.tokens_per_word) == (6, 6, 3, 2.0)
    assert seen.counts == tuple(6 if token == b"a" else 0 for token in TOKENIZER.vocab.values())
    assert words_of(tmp_path, ["cc", "bb"]) == 2
    assert words_of(tmp_path, ["cc", "bb"], train_bpe_from_iterator(["low"], 257)) == 2  # without special tokens


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (f"a{END}b", 2),
        (f"{END}a {END} b{END}", 2),
        ("a\u3000b\u00a0c\u2003\u2003d\u0085e", 5),
        ("a\u200bb", 1),
        (" ", 0),
    ],
)
def test_words_end_at_special_tokens_and_all_white_space(tmp_path: Path, text: str, words: int) -> None:
    assert words_of(tmp_path, [text]) == words


@pytest.mark.parametrize("block", [1, 2, 7])
def test_where_a_block_ends_does_not_matter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, block: int) -> None:
    monkeypatch.setattr(inspection, "_BLOCK", block)
    rng = random.Random(block)
    for _ in range(20):
        texts = ["".join(rng.choices(["low", " ", "é", "\u3000", "🐈", END], k=12)) + "." for _ in range(3)]
        assert words_of(tmp_path, texts) == sum(len(text.replace(END, " ").split()) for text in texts)
