"""Training goes on from a tokenizer, and keeps tokens short."""

from pathlib import Path

import pytest

from cs336.counts import count_pretokens, train_bpe_from_counts
from cs336.data import write_stories
from cs336.errors import ConfigError
from cs336.tokenizer import Tokenizer, train_bpe, train_bpe_from_iterator, train_bpe_with_report

SPECIAL = ["<|endoftext|>"]


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("extend") / "stories.txt"
    write_stories(path, count=300)
    return path


def test_going_on_equals_never_having_stopped(corpus: Path, tmp_path: Path) -> None:
    whole = train_bpe(corpus, 900, SPECIAL)
    base = train_bpe(corpus, 400, SPECIAL)
    assert train_bpe(corpus, 900, extend=base) == whole
    count_pretokens(corpus, tmp_path / "a.counts", SPECIAL)
    assert train_bpe_from_counts(tmp_path / "a.counts", 900, extend=base) == whole


def test_another_corpus_leaves_the_first_part_unchanged(corpus: Path) -> None:
    base = train_bpe(corpus, 400, SPECIAL)
    grown = train_bpe_from_iterator(["die Katze saß auf der Matratze und träumte vom Frühstück " * 3], 420, extend=base)
    assert grown.vocab_size == 420
    assert grown.merges[: len(base.merges)] == base.merges
    assert {id: token for id, token in grown.vocab.items() if id < 400} == base.vocab
    assert grown.special_tokens == base.special_tokens
    assert len(grown.encode("Matratze")) < len(base.encode("Matratze"))


def test_a_tokenizer_of_another_hand_is_extended(shared: Path, corpus: Path) -> None:
    base = Tokenizer.from_tiktoken(shared / "encodings" / "r50k_base.tiktoken", special_tokens={SPECIAL[0]: 50256})
    grown = train_bpe(corpus, 50300, extend=base)
    assert grown.vocab_size == 50300
    assert {id: token for id, token in grown.vocab.items() if id <= 50256} == base.vocab


def test_merges_are_counted_where_ids_have_gaps(corpus: Path) -> None:
    base = train_bpe(corpus, 300)
    base = Tokenizer({**base.vocab, 1000: b"<far>"}, base.merges, ["<far>"])
    grown, report = train_bpe_with_report(corpus, 1021, extend=base)
    assert grown.vocab_size == 1021
    assert report.merges == len(grown.merges) == 44 + 20


def test_no_token_is_too_long(corpus: Path) -> None:
    tokenizer = train_bpe(corpus, 600, SPECIAL, max_token_length=4)
    lengths = {len(token) for id, token in tokenizer.vocab.items() if id > 0}
    assert lengths == {1, 2, 3, 4}
    assert max(len(token) for token in train_bpe(corpus, 600, SPECIAL).vocab.values()) > 4


def test_what_cannot_be_extended_is_refused(corpus: Path, tmp_path: Path) -> None:
    base = train_bpe(corpus, 400, SPECIAL)
    with pytest.raises(ConfigError, match="own special tokens and pattern"):
        train_bpe(corpus, 500, ["<pad>"], extend=base)
    with pytest.raises(ConfigError, match="own special tokens and pattern"):
        train_bpe(corpus, 500, pattern="cl100k", extend=base)
    with pytest.raises(ConfigError, match="own special tokens and pattern"):
        train_bpe(corpus, 500, pattern="gpt2", extend=train_bpe(corpus, 400, pattern="cl100k"))
    assert train_bpe(corpus, 500, pattern="gpt2", extend=base) == train_bpe(corpus, 500, extend=base)
    with pytest.raises(ValueError, match="vocab_size 399 is below the 400"):
        train_bpe(corpus, 399, extend=base)
    count_pretokens(corpus, tmp_path / "other.counts", SPECIAL, pattern="cl100k")
    with pytest.raises(ValueError, match='goes on from a tokenizer with pattern "gpt2"'):
        train_bpe_from_counts(tmp_path / "other.counts", 500, extend=base)
