"""A text as Unicode, UTF-8 and a tokenizer see it, as tables."""

from __future__ import annotations

import unicodedata
from bisect import bisect_left
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING

from cs336.accounting.table import Column, Table
from cs336.experiments.pretokens import pretokens
from cs336.experiments.utf8 import Sequence, sequences, whole_until
from cs336.visible import quoted
from cs336.wording import plural

if TYPE_CHECKING:
    from cs336.tokenizer import Tokenizer

__all__ = ["EXPLAINED", "TABLES", "Text", "name_of", "prints"]

EXPLAINED = 100_000
"""Bytes of a text that are looked at one by one; of a longer one, the beginning."""

_CATEGORIES = {
    "Lu": "uppercase letter",
    "Ll": "lowercase letter",
    "Lt": "titlecase letter",
    "Lm": "modifier letter",
    "Lo": "other letter",
    "Mn": "mark without width",
    "Mc": "mark with width",
    "Me": "enclosing mark",
    "Nd": "decimal digit",
    "Nl": "letter number",
    "No": "other number",
    "Pc": "connector punctuation",
    "Pd": "dash punctuation",
    "Ps": "opening punctuation",
    "Pe": "closing punctuation",
    "Pi": "initial quotation mark",
    "Pf": "final quotation mark",
    "Po": "other punctuation",
    "Sm": "mathematical symbol",
    "Sc": "currency symbol",
    "Sk": "modifier symbol",
    "So": "other symbol",
    "Zs": "space",
    "Zl": "line separator",
    "Zp": "paragraph separator",
    "Cc": "control",
    "Cf": "format",
    "Co": "private use",
    "Cn": "unassigned",
}
# Control characters have no name in Unicode, but these are known by one; and what a terminal does at them.
_CONTROLS = {
    0x00: ("null", "nothing"),
    0x07: ("bell", "nothing, but a sound"),
    0x08: ("backspace", "nothing; goes back one column"),
    0x09: ("tab", "white space up to the next tab stop"),
    0x0A: ("line feed", "a line break"),
    0x0B: ("line tabulation", "a line break"),
    0x0C: ("form feed", "a line break"),
    0x0D: ("carriage return", "nothing; goes to the start of the line"),
    0x1B: ("escape", "nothing; begins a command to the terminal"),
    0x7F: ("delete", "nothing"),
}


@dataclass(frozen=True)
class Text:
    """Bytes that are, or should be, text; and what they are looked at with."""

    data: bytes
    tokenizer: Tokenizer | None = None
    pattern: str = "gpt2"
    """What cuts it where there is no tokenizer, whose pattern outweighs this."""
    limit: int = 100
    """The most rows of a table."""

    @cached_property
    def head(self) -> bytes:
        """The part that is looked at one by one."""
        return self.data[: whole_until(self.data, EXPLAINED)]

    @cached_property
    def sequences(self) -> list[Sequence]:
        """The characters of the head, and what is none."""
        return list(sequences(self.head))

    @property
    def special_tokens(self) -> list[str]:
        """Those of the tokenizer."""
        return [] if self.tokenizer is None else list(self.tokenizer.special_tokens)

    def left_out(self, rows: int, what: str) -> list[str]:
        """Notes that say what a table does not show."""
        notes = []
        if rows > self.limit:
            notes.append(f"The first {self.limit:,} of {rows:,} {what}.")
        if len(self.head) < len(self.data):
            notes.append(f"Of the first {len(self.head):,} of {len(self.data):,} bytes.")
        return notes


def characters_table(text: Text) -> Table:
    """Each character: code point, name, category, repr, what prints, bytes."""
    rows: list[tuple[object, ...]] = []
    for sequence in text.sequences[: text.limit]:
        sign, utf8 = sequence.character, sequence.data.hex(" ").upper()
        if sign is None:
            rows.append((None, "not UTF-8", None, repr(sequence.data), "nothing", utf8))
            continue
        category = unicodedata.category(sign)
        described = f"{category}, {_CATEGORIES[category]}"
        rows.append((f"U+{ord(sign):04X}", name_of(sign), described, repr(sign), prints(sign), utf8))
    headings = ("code point", "name", "category", "repr", "prints", "UTF-8")
    columns = tuple(Column(heading) for heading in headings)
    notes = text.left_out(len(text.sequences), "characters")
    notes.append(f"Names and categories of Unicode {unicodedata.unidata_version}.")
    return Table("characters", "Characters", columns, rows, notes=notes)


def sizes_table(text: Text) -> Table:
    """The whole text in the three encodings."""
    columns = (Column("encoding"), Column("bytes", "count"), Column("bytes a character", "number"))
    try:
        decoded = text.data.decode("utf-8")
    except UnicodeDecodeError as error:
        why_not = f"Not UTF-8 at byte {error.start:,}, so there is no text that the other two could encode."
        sizes = [("UTF-8", len(text.data), None), ("UTF-16", None, None), ("UTF-32", None, None)]
        return Table("sizes", "Sizes", columns, list(sizes), notes=[why_not])
    characters = len(decoded)
    beyond = sum(sign > "\uffff" for sign in decoded)  # in UTF-16 they take two units
    bytes_of = {"UTF-8": len(text.data), "UTF-16": 2 * (characters + beyond), "UTF-32": 4 * characters}
    rows = [(name, size, size / characters if characters else None) for name, size in bytes_of.items()]
    least = min(bytes_of.values())
    shortest = " and ".join(name for name, size in bytes_of.items() if size == least)
    notes = [f"{shortest}: the fewest bytes for this text."] if characters else []
    notes.append(
        f"{plural(characters, 'character')}. "
        "Without a byte order mark, which takes two bytes in UTF-16, four in UTF-32."
    )
    return Table("sizes", "Sizes", columns, rows, notes=notes)


def bytes_table(text: Text) -> Table:
    """Byte by byte, the characters that take several, and what is no character."""
    shown = [sequence for sequence in text.sequences if len(sequence.data) > 1 or sequence.reason]
    rows: list[tuple[object, ...]] = []
    for sequence in shown[: text.limit]:  # a sequence whole, or not
        of = "nothing" if sequence.character is None else repr(sequence.character)
        for place, (byte, meaning) in enumerate(zip(sequence.data, sequence.meanings(), strict=True)):
            rows.append((sequence.start + place, f"{byte:02X}", f"{byte:08b}", of, meaning))
    columns = (Column("byte", "count"), Column("hex"), Column("bits"), Column("part of"), Column("what it says"))
    notes = text.left_out(len(shown), "sequences")
    return Table("bytes", "Bytes that are no character alone", columns, rows, notes=[*notes, *_byte_by_byte(text)])


def _byte_by_byte(text: Text) -> list[str]:
    """Why a text can't be decoded byte by byte, and why this one can't be decoded."""
    notes = []
    longer = [sequence for sequence in text.sequences if sequence.character is not None and len(sequence.data) > 1]
    if longer:
        first, count = longer[0], sum(len(sequence.data) for sequence in longer)
        parts = " and ".join(f"{byte:02X}" for byte in first.data)
        notes.append(
            f"Decoded byte by byte, {count:,} of {len(text.head):,} bytes fail: "
            f"{first.character!r} is {parts} together,"
            " and none of these is a character alone."
        )
    broken = [sequence for sequence in text.sequences if sequence.reason]
    if broken:
        first = broken[0]
        places = plural(len(broken), "place")
        notes.append(f"Decoding fails at {places}, first at byte {first.start:,} ({first.data.hex(' ').upper()}).")
    return notes


def pretokens_table(text: Text) -> Table:
    """What the pattern cuts the text into, and into how many tokens the tokenizer cuts each."""
    pattern = text.pattern if text.tokenizer is None else text.tokenizer.pattern
    found = pretokens(text.head, pattern, text.special_tokens)
    counts = _tokens_within(text, found)
    rows: list[tuple[object, ...]] = [
        (quoted(pretoken), len(pretoken), count)
        for pretoken, count in list(zip(found, counts, strict=True))[: text.limit]
    ]
    tokens = Column("tokens", "count" if text.tokenizer is not None else "machine")
    columns = (Column("pre-token"), Column("bytes", "count"), tokens)
    whole = f"{plural(len(found), 'pre-token')} of {plural(len(text.head), 'byte')}."
    notes = [whole, *text.left_out(len(found), "pre-tokens")]
    return Table("pretokens", f"Pre-tokens under the pattern {pattern}", columns, rows, notes=notes)


def _tokens_within(text: Text, found: list[bytes]) -> list[int | None]:
    """How many tokens each pre-token has; none crosses the border of two."""
    if text.tokenizer is None:
        return [None] * len(found)
    _, offsets = text.tokenizer.encode_with_offsets(text.head)
    starts = [start for start, _ in offsets]
    borders = [bisect_left(starts, end) for end in accumulate(map(len, found), initial=0)]
    return [after - before for before, after in pairwise(borders)]


def tokens_table(text: Text) -> Table:
    """The tokens of the tokenizer."""
    assert text.tokenizer is not None
    ids = text.tokenizer.encode(text.head)
    special = set(text.tokenizer.special_tokens.values())
    rows: list[tuple[object, ...]] = []
    for number in ids[: text.limit]:
        token = text.tokenizer.id_to_token(number)
        kind = "special" if number in special else "text" if _is_text(token) else "part of a character"
        rows.append((number, quoted(token), len(token), token.hex(" ").upper(), kind))
    columns = (Column("id"), Column("token"), Column("bytes", "count"), Column("hex"), Column("kind"))
    notes = text.left_out(len(ids), "tokens")
    if ids:
        ratio = len(text.head) / len(ids)
        notes.insert(0, f"{plural(len(ids), 'token')} of {plural(len(text.head), 'byte')}: {ratio:.2f} bytes a token.")
    return Table("tokens", "Tokens", columns, rows, notes=notes)


TABLES: dict[str, Callable[[Text], Table]] = {
    "characters": characters_table,
    "sizes": sizes_table,
    "bytes": bytes_table,
    "pretokens": pretokens_table,
    "tokens": tokens_table,
}
"""The tables, by the name that asks for them."""


def name_of(sign: str) -> str:
    """The character's name, or what stands for it where Unicode gives none."""
    number = ord(sign)
    if number in _CONTROLS:
        return f"control: {_CONTROLS[number][0]}"
    kinds = {"Cc": "control", "Co": "private use", "Cs": "surrogate"}
    return unicodedata.name(sign, None) or f"{kinds.get(unicodedata.category(sign), 'unassigned')}-{number:04X}"


def prints(sign: str) -> str:
    """What is seen when the character is printed: itself, where that can do no harm."""
    category = unicodedata.category(sign)
    if ord(sign) in _CONTROLS:
        return _CONTROLS[ord(sign)][1]
    if category == "Cf":
        turns = unicodedata.bidirectional(sign) in ("LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI")
        return "nothing; turns the direction of what follows" if turns else "nothing"
    if category == "Cc":
        return "nothing"
    if category.startswith("Z"):
        return "white space" if category == "Zs" else "a line break, or nothing"
    if category in ("Co", "Cn"):
        return "whatever the font has for it"
    return f"\u25cc{sign}" if category in ("Mn", "Me", "Mc") else sign  # a mark needs something to stand on


def _is_text(token: bytes) -> bool:
    try:
        token.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True
