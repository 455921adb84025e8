"""What stands in tables: nothing that moves a cursor, nothing that turns its neighbours around."""

from __future__ import annotations

import sys
import unicodedata

import pytest

from cs336.visible import escaped, isolated, quoted, shortened

MARKS = "\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"


def test_no_control_no_mark_and_no_line_break_is_left():
    for number in range(sys.maxunicode + 1):
        shown = escaped(chr(number))
        assert shown.isprintable()
        assert not any(unicodedata.category(sign) in ("Cc", "Cf", "Zl", "Zp", "Cs") for sign in shown)


def test_escapes_are_those_of_python():
    assert escaped(f"a\n\x1b[2J{MARKS[0]}é") == r"a\n\x1b[2J\u061cé"


def test_every_letter_from_right_to_left_is_isolated():
    for number in range(sys.maxunicode + 1):
        sign = chr(number)
        if unicodedata.bidirectional(sign) in ("R", "AL", "AN") and sign not in MARKS:
            assert isolated(sign) == f"\u2066{sign}\u2069", hex(number)


def test_isolates_lie_within_a_cell_and_a_line():
    page = "│ שלום עולם  5  صفر │ 7\nא\nab"
    assert isolated(page) == "│ \u2066שלום עולם\u2069  5  \u2066صفر\u2069 │ 7\n\u2066א\u2069\nab"


@pytest.mark.parametrize(("data", "text"), [(b"caf\xc3\xa9", "'café'"), (b"\xc3", r"b'\xc3'"), (b"\x00", r"'\x00'")])
def test_bytes_are_quoted_as_python_does(data, text):
    assert quoted(data) == text


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"a" * 60, repr("a" * 60)),
        ("é".encode() * 1000, f"{'é' * 60!r}… (2,000 bytes)"),
        (b"\xff" * 61, f"{bytes([255] * 60)!r}… (61 bytes)"),
    ],
)
def test_of_a_long_token_only_the_beginning_is_shown(data, text):
    assert shortened(data) == text
