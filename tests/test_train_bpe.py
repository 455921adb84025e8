from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cs336 import reference
from cs336.errors import CorpusError, PatternError, SpecialTokenError, TextEncodingError, VocabularyError
from cs336.tokenizer import train_bpe, train_bpe_from_iterator


def test_the_example_of_sennrich() -> None:
    corpus = " ".join(["low"] * 5 + ["lower"] * 2 + ["widest"] * 3 + ["newest"] * 6)
    tokenizer = train_bpe_from_iterator([corpus], 256 + 12, pattern=r"\S+")
    merges = "s t, e st, o w, l ow, w est, n e, ne west, w i, wi d, wid est, low e, lowe r"
    assert [b" ".join(pair).decode() for pair in tokenizer.merges] == merges.split(", ")


@settings(max_examples=40, deadline=None)
@given(st.lists(st.text("ab \n'\u00e9<", max_size=60), min_size=1, max_size=4))
def test_rust_equals_the_twin(documents: list[str]) -> None:
    documents.append("ab<e>ab")
    tokenizer = train_bpe_from_iterator(documents, 290, ["<e>"], threads=2)
    assert (tokenizer.vocab, tokenizer.merges) == reference.train(documents, 290, ["<e>"])


def test_bad_corpora_and_options(tmp_path: Path) -> None:
    text, empty, broken = tmp_path / "a.txt", tmp_path / "empty.txt", tmp_path / "broken.txt"
    text.write_text("some text")
    empty.write_text("")
    broken.write_bytes(b"ab\xffcd")
    with pytest.raises(FileNotFoundError, match=r"missing\.txt"):
        train_bpe(tmp_path / "missing.txt", 300)
    with pytest.raises(IsADirectoryError):
        train_bpe(tmp_path, 300)
    with pytest.raises(CorpusError, match="holds no text"):
        train_bpe(empty, 300)
    with pytest.raises(TextEncodingError, match="byte offset 2"):
        train_bpe(broken, 300)
    with pytest.raises(VocabularyError, match="at least 257"):
        train_bpe(text, 256, ["<e>"])
    with pytest.raises(SpecialTokenError, match="empty"):
        train_bpe(text, 300, [""])
    with pytest.raises(PatternError, match="names no known pattern"):
        train_bpe(text, 300, pattern="gpt9")
    with pytest.raises(PatternError):
        train_bpe(text, 300, pattern="(")
    with pytest.raises(TypeError, match="single str"):
        train_bpe(text, 300, "<e>")


def test_an_error_in_the_callback_comes_out(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("some text " * 100)

    def fail(stage: str, done: int, total: int | None) -> None:
        raise RuntimeError("enough")

    with pytest.raises(RuntimeError, match="enough"):
        train_bpe(path, 300, progress=fail)
