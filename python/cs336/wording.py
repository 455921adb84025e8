"""Numbers, lists and values of a configuration as sentences have them."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["in_toml", "joined", "plural"]


def in_toml(value: object) -> str:
    """A value as a file of TOML and the command line have it: ``true``, ``'rope'``, ``0.1``."""
    return repr(value).lower() if isinstance(value, bool) else repr(value)


def joined(words: Sequence[str]) -> str:
    """``a, b and c``."""
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}" if words else "none"


def plural(count: int, noun: str, nouns: str | None = None) -> str:
    """``1 step``, ``2 steps``."""
    return f"{count:,} {noun if count == 1 else nouns or noun + 's'}"
