"""What is in a vocabulary: lengths, leading spaces, scripts."""

from __future__ import annotations

import unicodedata
from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cs336.tokenizer import Tokenizer

__all__ = ["Vocabulary", "script_of"]

# Python tells no character's script, but the names of letters begin with it; with these exceptions.
_SCRIPTS = {"CJK": "Han", "IDEOGRAPHIC": "Han", "HALFWIDTH": "Katakana", "FULLWIDTH": "Latin"}
_NO_SCRIPTS = {"MODIFIER", "FEMININE", "MASCULINE", "MICRO", "SUPERSCRIPT", "MATHEMATICAL", "DOUBLE"}


def script_of(token: bytes) -> str:
    """The script of a token's letters; where it has none, what it consists of."""
    try:
        text = token.decode("utf-8")
    except UnicodeDecodeError:
        return "part of a character"
    scripts = {_script(sign) for sign in text if unicodedata.category(sign).startswith("L")}
    if scripts:
        return scripts.pop() if len(scripts) == 1 else "several scripts"
    if any(unicodedata.category(sign) == "Nd" for sign in text):
        return "digits"
    return "white space" if text.isspace() else "punctuation and symbols"


def _script(letter: str) -> str:
    first = unicodedata.name(letter, "OTHER").split()[0].partition("-")[0]
    return "other letters" if first in _NO_SCRIPTS else _SCRIPTS.get(first, first.title())


@dataclass(frozen=True)
class Vocabulary:
    """The tokens of a tokenizer but for the special ones."""

    name: str
    tokenizer: Tokenizer

    @cached_property
    def tokens(self) -> list[bytes]:
        """All of them, in the order of their ids."""
        special = set(self.tokenizer.special_tokens.values())
        return [token for number, token in sorted(self.tokenizer.vocab.items()) if number not in special]

    @cached_property
    def learned(self) -> frozenset[bytes]:
        """Those that training made. The single bytes are in every vocabulary."""
        return frozenset(token for token in self.tokens if len(token) > 1)

    @property
    def with_leading_space(self) -> int:
        """How many of the learned begin with a space, as the words of a sentence do."""
        return sum(token.startswith(b" ") for token in self.learned)

    @cached_property
    def lengths(self) -> Counter[int]:
        """How many of the learned have so many bytes."""
        return Counter(map(len, self.learned))

    @cached_property
    def scripts(self) -> Counter[str]:
        """How many of the learned have a script."""
        return Counter(map(script_of, self.learned))

    def longest(self, count: int) -> list[bytes]:
        """The longest tokens; of equally long ones, those that were learned first."""
        return sorted(self.tokens, key=len, reverse=True)[:count]
