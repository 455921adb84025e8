"""Double-encoded text: UTF-8 that was read as Latin-1 or Windows-1252, and encoded again. Found, and undone."""

from __future__ import annotations

from dataclasses import dataclass

from cs336.experiments.utf8 import sequences

__all__ = [
    "WRITEUP_TOKEN",
    "Repair",
    "encoded_again",
    "explain_writeup",
    "kind_of",
    "repaired",
    "rounds_without_controls",
]

WRITEUP_TOKEN = b"\xc3\x83\xc3\x82" * 32
"""The longest token of the write-up's OpenWebText vocabulary."""

_ROUNDS = 12  # each doubles the text
_ORIGIN = "\xa0"  # the no-break space, which web pages are full of


def _windows_1252() -> list[str]:
    """What each byte is there. The five that have no character are controls, as browsers have it."""
    signs = [bytes([byte]).decode("cp1252", "replace") for byte in range(256)]
    return [chr(byte) if sign == "\ufffd" else sign for byte, sign in enumerate(signs)]


_DECODE = {"Latin-1": [chr(byte) for byte in range(256)], "Windows-1252": _windows_1252()}
_ENCODE = {codec: {sign: byte for byte, sign in enumerate(signs)} for codec, signs in _DECODE.items()}


@dataclass(frozen=True)
class Repair:
    """Double-encoded text undone: what it was, and what it was read as by mistake, the last mistake first."""

    text: str
    codecs: tuple[str, ...]

    def made_again(self) -> bytes:
        """The bytes that the mistakes make of the text; the repair holds if they are those that it began with."""
        text = self.text
        for codec in reversed(self.codecs):
            text = encoded_again(text, codec)
        return text.encode("utf-8")


def encoded_again(text: str, codec: str = "Latin-1") -> str:
    """The mistake: UTF-8 read as another encoding."""
    return "".join(_DECODE[codec][byte] for byte in text.encode("utf-8"))


def repaired(data: bytes) -> Repair | None:
    """The text that double-encoded text was, through any number of rounds; None where it is no such text."""
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        return None
    codecs: list[str] = []
    while (undone := _undone(text)) is not None:
        text, codec = undone
        codecs.append(codec)
    repair = Repair(text, tuple(codecs))
    return repair if codecs and repair.made_again() == data else None


def _undone(text: str) -> tuple[str, str] | None:
    """One round back, and through which encoding."""
    if text.isascii():
        return None
    for codec, bytes_of in _ENCODE.items():
        try:
            return bytes(bytes_of[sign] for sign in text).decode("utf-8"), codec
        except (KeyError, UnicodeDecodeError):
            continue
    return None


def rounds_without_controls(text: str) -> int | None:
    """After how many rounds through Latin-1 a no-break space begins like the text, if U+0080 to U+009F are dropped."""
    if not text.startswith("ÃÂ"):
        return None
    for rounds in range(1, _ROUNDS + 1):
        if _without_controls(_rounds_of(_ORIGIN, rounds)).startswith(text):
            return rounds
    return None


def _rounds_of(text: str, rounds: int) -> str:
    for _ in range(rounds):
        text = encoded_again(text)
    return text


def _without_controls(text: str) -> str:
    return "".join(sign for sign in text if not "\x80" <= sign <= "\x9f")


def kind_of(token: bytes) -> str:
    """Whether a token is readable, and if not, why."""
    try:
        text = token.decode("utf-8")
    except UnicodeDecodeError:
        return "part of a character"
    if repaired(token) is not None:
        return "double-encoded"
    if rounds_without_controls(text.strip()) is not None:
        return "double-encoded, controls lost"
    return "readable" if text.strip().isprintable() else "does not print"


def explain_writeup() -> list[str]:
    """Where the write-up's longest token comes from, and why that can't be undone."""
    text = WRITEUP_TOKEN.decode("utf-8")
    rounds = rounds_without_controls(text)
    assert rounds is not None
    in_latin_1 = bytes(map(ord, text))
    first = next(sequences(in_latin_1))
    # Texts that differ become the same: none can tell which it was.
    one, other = (_without_controls(_rounds_of(sign, rounds)) for sign in ("\x80", "\x9f"))
    assert one == other
    return [
        f"The write-up's longest token, {len(WRITEUP_TOKEN)} bytes, is {text[:2]!r} {len(text) // 2} times. A no-break"
        f" space (U+00A0) begins so after {rounds} rounds of UTF-8 read as Latin-1 and encoded again, if the control"
        " characters U+0080 to U+009F are dropped on the way; in the token they are missing.",
        f"It can't be undone: in Latin-1 it is {in_latin_1[:4].hex(' ').upper()} ..., where {first.data.hex().upper()}"
        f" {first.reason}. Nor can the controls be put back: after {rounds} rounds, and without controls, U+0080 and"
        " U+009F, for two, are the same.",
    ]
