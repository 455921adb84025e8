"""UTF-8 byte by byte: equal to Python's decoder, with the reason of every failure."""

from __future__ import annotations

import random

import pytest

from cs336.experiments.utf8 import sequences, whole_until

# Bytes at the borders of what may lead and what may follow.
BORDERS = bytes.fromhex("00 41 7f 80 8f 90 9f a0 bf c0 c1 c2 df e0 e1 ec ed ee ef f0 f1 f3 f4 f5 f7 f8 ff")


def test_the_cuts_are_those_of_the_decoder():
    draw = random.Random(336)
    for _ in range(5_000):
        data = bytes(draw.choices(BORDERS, k=draw.randrange(9)))
        found = list(sequences(data))
        assert b"".join(sequence.data for sequence in found) == data
        assert "".join(sequence.character or "\ufffd" for sequence in found) == data.decode("utf-8", "replace")
        for sequence in found:
            assert len(sequence.meanings()) == len(sequence.data)
            assert data[sequence.start :].startswith(sequence.data)


@pytest.mark.parametrize(
    ("digits", "reason"),
    [
        ("C0 C0", "one of U+0000 to U+003F, each of which has one byte"),
        ("C1 80", "one of U+0040 to U+007F, each of which has one byte"),
        ("80", "no character has begun that 80 could continue"),
        ("E2 82", "begins a character of 3 bytes, but the text ends after 2"),
        ("E2 28", "the second, 28, is no continuation byte"),
        ("F0 9F 98 41", "the fourth, 41, is no continuation byte"),
        ("E0 9F BF", "three bytes for a code point below U+0800"),
        ("ED A0 80", "a surrogate"),
        ("F0 8F BF BF", "four bytes for a code point below U+10000"),
        ("F4 90 80 80", "beyond U+10FFFF"),
        ("F5 80 80 80", "beyond U+10FFFF"),
        ("FF", "no character has more than four bytes"),
    ],
)
def test_each_failure_has_its_reason(digits, reason):
    first = next(sequences(bytes.fromhex(digits)))
    assert first.character is None
    assert reason in first.meanings()[0]


def test_the_bits_of_a_character_make_its_code_point():
    for sign in "Aé漢😧":
        (found,) = sequences(sign.encode())
        assert int("".join(meaning.rpartition(" ")[2] for meaning in found.meanings()), 2) == ord(sign)


@pytest.mark.parametrize(("limit", "end"), [(0, 0), (1, 1), (2, 1), (3, 1), (4, 1), (5, 5), (6, 6), (99, 6)])
def test_no_character_is_cut(limit, end):
    assert whole_until("a😧b".encode(), limit) == end
