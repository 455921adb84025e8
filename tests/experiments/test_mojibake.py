"""Double-encoded text: found, undone, and made again."""

from __future__ import annotations

import pytest

from cs336.experiments.mojibake import (
    WRITEUP_TOKEN,
    Repair,
    encoded_again,
    explain_writeup,
    kind_of,
    repaired,
    rounds_without_controls,
)


@pytest.mark.parametrize("text", [" café", "\xa0", "naïve", "漢字", "’", "😧"])
@pytest.mark.parametrize("codecs", [("Latin-1",), ("Windows-1252",), ("Latin-1", "Windows-1252"), ("Latin-1",) * 3])
def test_what_was_encoded_again_is_found_and_made_again(text, codecs):
    damaged = text
    for codec in codecs:
        damaged = encoded_again(damaged, codec)
    repair = repaired(damaged.encode())
    assert repair is not None
    assert repair.text == text
    assert len(repair.codecs) == len(codecs)
    assert repair.made_again() == damaged.encode()
    assert kind_of(damaged.encode()) == "double-encoded"


def test_the_mistakes_are_those_of_pythons_codecs():
    assert encoded_again("é", "Latin-1") == "é".encode().decode("latin-1")
    assert encoded_again("’", "Windows-1252") == "’".encode().decode("cp1252") == "â€™"
    assert repaired("â€™".encode()) == Repair("’", ("Windows-1252",))


@pytest.mark.parametrize("text", [" accomplishments", "", "café", "Ã", "ÃÂ", "漢字", "naïve façade", "Â"])
def test_what_is_not_double_encoded_stays(text):
    assert repaired(text.encode()) is None
    assert repaired(b"\xc3") is None


def test_kinds():
    assert kind_of(b" cat") == "readable"
    assert kind_of(b"\n\n") == "readable"
    assert kind_of(b"\xe2\x80") == "part of a character"
    assert kind_of(b"a\x00") == "does not print"
    assert kind_of(WRITEUP_TOKEN) == "double-encoded, controls lost"


def test_the_write_ups_token_can_be_explained_and_not_repaired(shared):
    write_up = next((shared.parent / "seed").glob("*.txt")).read_text("utf-8")
    assert repr(WRITEUP_TOKEN) in write_up
    assert repaired(WRITEUP_TOKEN) is None
    text = WRITEUP_TOKEN.decode()
    with pytest.raises(UnicodeDecodeError):
        text.encode("latin-1").decode("utf-8")
    # By Python's own codecs: seven rounds, the controls dropped.
    grown = "\xa0"
    for _ in range(7):
        assert not "".join(sign for sign in grown if not 0x80 <= ord(sign) < 0xA0).startswith(text)
        grown = grown.encode("utf-8").decode("latin-1")
    assert "".join(sign for sign in grown if not 0x80 <= ord(sign) < 0xA0).startswith(text)
    assert rounds_without_controls(text) == 7
    origin, why_not = explain_writeup()
    assert "after 7 rounds" in origin
    assert "C3 begins a character of 2 bytes, but the second, C2, is no continuation byte" in why_not
