"""UTF-8 byte by byte: which bytes are a character, and why others can be none."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

__all__ = ["Sequence", "sequences", "whole_until"]

_CONTINUATION = (0x80, 0xBF)
# What may follow a lead byte, where that is less than every continuation byte, and why the rest may not.
_SECOND = {
    0xE0: ((0xA0, 0xBF), "three bytes for a code point below U+0800, which takes fewer"),
    0xED: ((0x80, 0x9F), "a surrogate (U+D800 to U+DFFF), half of a pair in UTF-16 and no character"),
    0xF0: ((0x90, 0xBF), "four bytes for a code point below U+10000, which takes fewer"),
    0xF4: ((0x80, 0x8F), "a code point beyond U+10FFFF, the last there is"),
}
_ORDINALS = ("first", "second", "third", "fourth")


@dataclass(frozen=True)
class Sequence:
    """Bytes that are one character, or a place where decoding fails."""

    start: int
    data: bytes
    reason: str | None
    """Why the bytes are no character; None where they are."""

    @property
    def character(self) -> str | None:
        """What the bytes stand for, if anything."""
        return None if self.reason else self.data.decode("utf-8")

    def meanings(self) -> list[str]:
        """Of each byte, what it says."""
        if self.reason:
            return [self.reason] + ["continues it in vain"] * (len(self.data) - 1)
        lead = self.data[0]
        if len(self.data) == 1:
            return [f"a character of its own; code point {lead:07b}"]
        payload = format(lead, "08b")[len(self.data) + 1 :]
        found = [f"the first of {len(self.data)} bytes; begins the code point: {payload}"]
        return found + [f"continues; next six bits of the code point: {byte & 0x3F:06b}" for byte in self.data[1:]]


def sequences(data: bytes) -> Iterator[Sequence]:
    """Cuts bytes as decoders do: characters, and beginnings of one as long as they are valid (Unicode, section 3.9)."""
    at = 0
    while at < len(data):
        length, reason = _next(data, at)
        yield Sequence(at, data[at : at + length], reason)
        at += length


def whole_until(data: bytes, limit: int) -> int:
    """The last place at or before ``limit`` at which no character is cut."""
    end = min(limit, len(data))
    for back in range(4):
        if end - back <= 0 or end == len(data):
            break
        if data[end - back] & 0xC0 != 0x80:
            return end - back
    return end


def _next(data: bytes, at: int) -> tuple[int, str | None]:
    """How many bytes belong together, and why they are no character where they are none."""
    lead = data[at]
    if lead < 0x80:
        return 1, None
    if lead < 0xC2 or lead > 0xF4:
        return 1, _never_leads(lead)
    count = 2 if lead < 0xE0 else 3 if lead < 0xF0 else 4
    for place in range(1, count):
        why_not = _never_follows(data[at : at + count], place)
        if why_not:
            return place, f"begins a character of {count} bytes, but {why_not}"
    return count, None


def _never_leads(byte: int) -> str:
    """Why a byte can't be the first of a character."""
    if byte < 0xC0:
        return f"a continuation byte (10xxxxxx), but no character has begun that {byte:02X} could continue"
    if byte < 0xC2:
        first = (byte & 0x1F) << 6
        small = f"U+{first:04X} to U+{first + 63:04X}"
        return f"never in UTF-8: it would begin two bytes for one of {small}, each of which has one byte, and only that"
    if byte > 0xF7:
        return "never in UTF-8: no character has more than four bytes"
    return "never in UTF-8: it would begin a code point beyond U+10FFFF, the last there is"


def _never_follows(begun: bytes, place: int) -> str | None:
    """Why the byte at a place can't continue what is right before it; None where it can."""
    if place == len(begun):
        return f"the text ends after {place}"
    byte = begun[place]
    if not _CONTINUATION[0] <= byte <= _CONTINUATION[1]:
        return f"the {_ORDINALS[place]}, {byte:02X}, is no continuation byte (10xxxxxx)"
    (low, high), why_not = _SECOND.get(begun[0], (_CONTINUATION, "")) if place == 1 else (_CONTINUATION, "")
    return None if low <= byte <= high else f"with {byte:02X} behind it, it would be {why_not}"
