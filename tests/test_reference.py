import regex
from hypothesis import example, given, settings
from hypothesis import strategies as st

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


PIECES = [
    "a",
    "b",
    "aa",
    "ab",
    " ",
    "  ",
    "\n",
    "'s",
    "1",
    "!",
    "<e>",
    "<e><e>",
    "<e",
    ">",
    "\u00e9",
    "\u4f60",
    "\u3000",
]


@st.composite
def merge_lists(draw: st.DrawFn) -> list[tuple[bytes, bytes]]:
    """Merges that nobody trained: parts may rank below the whole, a token may be made in several ways."""
    tokens = [*[b"a", b"b"] * 4, b" ", b"\n", b"1", b"<", b">", b"\xc3", b"\xa9"]
    merges: list[tuple[bytes, bytes]] = []
    for _ in range(draw(st.integers(0, 25))):
        pair = (draw(st.sampled_from(tokens)), draw(st.sampled_from(tokens)))
        if pair not in merges:
            merges.append(pair)
            tokens.append(pair[0] + pair[1])
    return draw(st.permutations(merges))


@settings(max_examples=150, deadline=None)
@given(
    merges=merge_lists(),
    special=st.lists(st.sampled_from(["<e>", "<e><e>", "ab!", " a", "\n\n"]), unique=True),
    pieces=st.lists(st.sampled_from(PIECES), max_size=40),
    pattern=st.sampled_from(["gpt2", "cl100k", r"\w+|\s+"]),
)
@example(merges=[(b"ab", b"a"), (b"a", b"b")], special=[], pieces=["abab"], pattern="gpt2")
def test_whole_texts_equal_the_twin(
    merges: list[tuple[bytes, bytes]], special: list[str], pieces: list[str], pattern: str
) -> None:
    tokens = dict.fromkeys([bytes([byte]) for byte in range(256)] + [left + right for left, right in merges])
    ours = Tokenizer(dict(enumerate(tokens)), merges, special, pattern=pattern)
    text = "".join(pieces)
    expected = reference.encode(text, ours.vocab, merges, special, pattern=pattern)
    assert ours.encode(text) == expected
    assert list(ours.encode_iterable(pieces)) == expected
    assert ours.decode(expected) == text
