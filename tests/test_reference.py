import regex

from cs336 import _bpe, reference
from cs336.tokenizer import Tokenizer


def test_pretokens_of_a_custom_pattern_are_those_of_regex() -> None:
    text = "low 12 lower!!  newest\n"
    spans = [match.group() for match in regex.finditer(r"\w+", text)]
    pieces = reference.pretokenize(text, r"\w+")
    assert "".join(pieces) == text
    assert [piece for piece in pieces if piece in spans] == spans
    assert regex.compile(_bpe.pattern_regex("gpt2"))


def test_the_twin_round_trips_and_equals_rust() -> None:
    vocab, merges = reference.train(["low lower lowest"] * 3, 262)
    ids = reference.encode("lowest lower", vocab, merges)
    assert reference.decode(ids, vocab) == "lowest lower"
    assert Tokenizer(vocab, merges).encode("lowest lower") == ids
