"""The tables about a text."""

from __future__ import annotations

import sys
import unicodedata

import pytest

from cs336 import reference, train_bpe_from_iterator
from cs336.errors import PatternError
from cs336.experiments.pretokens import pretokens
from cs336.experiments.unicode import EXPLAINED, TABLES, Text, name_of, prints
from cs336.visible import escaped

STRANGE = "naïve 😧 שלום 12\t\u202e\u2066\x00\x1b[2J e\u0301 \r\n \u2028漢字"


def rows(name, text, **settings):
    return TABLES[name](Text(text if isinstance(text, bytes) else text.encode(), **settings)).rows


@pytest.mark.parametrize("pattern", ["gpt2", "cl100k", "o200k", r"\w+"])
def test_pretokens_are_those_of_the_reference(pattern):
    pytest.importorskip("regex")
    for text in (STRANGE, "it's 12345  x\n\n y", "", "   ", "aaaa"):
        assert [piece.decode() for piece in pretokens(text.encode(), pattern)] == reference.pretokenize(text, pattern)


def test_pretokens_stop_at_special_tokens_and_at_bytes_that_are_no_text():
    data = b"a<|e|>b\xc0\xc0\xe2\x82 c"
    assert pretokens(data, special_tokens=["<|e|>"]) == [b"a", b"<|e|>", b"b", b"\xc0\xc0\xe2\x82", b" c"]
    assert pretokens(b"<|e|>", special_tokens=["<|e|>"]) == [b"<|e|>"]
    assert pretokens(b"\xff") == [b"\xff"]
    with pytest.raises(PatternError):
        pretokens(b"a", "gtp2")


def test_characters():
    assert rows("characters", "é")[0] == (
        "U+00E9",
        "LATIN SMALL LETTER E WITH ACUTE",
        "Ll, lowercase letter",
        "'é'",
        "é",
        "C3 A9",
    )
    # The write-up's first answer: chr(0).
    assert rows("characters", b"\x00") == [("U+0000", "control: null", "Cc, control", r"'\x00'", "nothing", "00")]
    assert rows("characters", b"\xc0") == [(None, "not UTF-8", None, r"b'\xc0'", "nothing", "C0")]


def test_every_character_has_a_name_and_prints_harmlessly():
    for number in range(0, sys.maxunicode + 1, 7):
        sign = chr(number)
        if unicodedata.category(sign) != "Cs":
            assert name_of(sign)
            assert escaped(prints(sign)) == prints(sign)
    assert name_of("\x85") == "control-0085"
    assert name_of("\ue000") == "private use-E000"
    assert prints("\u202e") == "nothing; turns the direction of what follows"
    assert prints("\u0301") == "\u25cc\u0301"


@pytest.mark.parametrize("text", ["", "hello", "naïve", "漢字漢字", "😧", STRANGE])
def test_sizes_are_those_of_the_encodings(text):
    sizes = [size for _, size, _ in rows("sizes", text)]
    assert sizes == [len(text.encode(name)) for name in ("utf-8", "utf-16-le", "utf-32-le")]


@pytest.mark.parametrize(
    ("text", "note"), [("hello", "UTF-8: the fewest"), ("漢字", "UTF-16: the fewest"), ("é", "UTF-8 and UTF-16: the")]
)
def test_the_shortest_encoding_is_told_from_the_sizes(text, note):
    assert TABLES["sizes"](Text(text.encode())).notes[0].startswith(note)


def test_bytes_tell_why_decoding_byte_by_byte_fails():
    table = TABLES["bytes"](Text("aé😧".encode()))
    assert [(row[0], row[1]) for row in table.rows] == [
        (1, "C3"),
        (2, "A9"),
        (3, "F0"),
        (4, "9F"),
        (5, "98"),
        (6, "A7"),
    ]
    assert table.notes == [
        "Decoded byte by byte, 6 of 7 bytes fail: 'é' is C3 and A9 together, and none of these is a character alone."
    ]
    for _, byte, *_ in table.rows:
        with pytest.raises(UnicodeDecodeError):
            bytes.fromhex(byte).decode()


def test_tokens_and_pretokens_under_a_tokenizer():
    tokenizer = train_bpe_from_iterator(["the cat the hat the bat"] * 9, 262, ["<|endoftext|>"])
    data = "the cat<|endoftext|> é\xff".encode() + b"\xff the"
    found = rows("tokens", data, tokenizer=tokenizer)
    assert [row[0] for row in found] == tokenizer.encode(data)
    kinds = {row[1]: row[4] for row in found}
    assert kinds["'<|endoftext|>'"] == "special"
    assert kinds[r"b'\xc3'"] == "part of a character"
    counted = rows("pretokens", data, tokenizer=tokenizer)
    assert sum(row[2] for row in counted) == len(found)
    assert sum(row[1] for row in counted) == len(data)
    assert ("'<|endoftext|>'", 13, 1) in counted


def test_of_a_long_text_the_beginning_is_explained():
    text = Text("é".encode() * EXPLAINED, limit=3)
    assert len(text.head) == EXPLAINED
    characters = TABLES["characters"](text)
    assert len(characters.rows) == 3
    assert characters.notes[:2] == ["The first 3 of 50,000 characters.", "Of the first 100,000 of 200,000 bytes."]
    assert TABLES["sizes"](text).rows[0] == ("UTF-8", 200_000, 2.0)
