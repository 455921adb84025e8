"""Text that can stand in a table: no control characters, and no direction but its own."""

from __future__ import annotations

import re

__all__ = ["escaped", "isolated", "quoted", "shortened"]

_SHOWN = 60  # characters of a token; more are no easier to recognize, and rich takes long to fold a million

# The blocks that Unicode reads from right to left, assigned or not, without the marks of direction, which are escaped.
_RIGHT_TO_LEFT = "[\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufefe\U00010800-\U00010fff\U0001e800-\U0001efff]+"
# Words with little between them. The cells of a table have more: two spaces, or a border.
_RUN = re.compile(rf"{_RIGHT_TO_LEFT}(?:[ '\"’.,/-]?{_RIGHT_TO_LEFT})*")
_LEFT_TO_RIGHT_ISOLATE, _POP_ISOLATE = "\u2066", "\u2069"


def escaped(text: str) -> str:
    """What does not print, as Python writes it in a string: controls, marks of direction, unassigned code points."""
    if text.isprintable():
        return text
    return "".join(sign if sign.isprintable() else sign.encode("unicode_escape").decode("ascii") for sign in text)


def isolated(page: str) -> str:
    """Puts what is read from right to left in isolates, or it would turn the numbers and borders beside it around.

    The page is laid out already: a line break between the two ends of an isolate would undo it. It is escaped, too: an
    isolate that the text itself opens or closes would.
    """
    return page if page.isascii() else _RUN.sub(rf"{_LEFT_TO_RIGHT_ISOLATE}\g<0>{_POP_ISOLATE}", page)


def quoted(data: bytes) -> str:
    """A token's bytes as text with quotes, or as Python writes bytes where they are no text."""
    return repr(_readable(data))


def shortened(data: bytes) -> str:
    """The same, but of a long token only the beginning, and how many bytes it has."""
    readable = _readable(data)
    if len(readable) <= _SHOWN:
        return repr(readable)
    return f"{readable[:_SHOWN]!r}… ({len(data):,} bytes)"


def _readable(data: bytes) -> str | bytes:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return data
