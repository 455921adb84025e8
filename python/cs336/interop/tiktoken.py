"""Objects of tiktoken: what is read gives their ids, and what one can't hold is refused."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from cs336 import _bpe
from cs336.errors import MissingDependencyError, UnrepresentableError

if TYPE_CHECKING:
    import tiktoken

_NAMES = ("gpt2", "cl100k", "o200k")
# What GPT-2 itself had, and older encodings still have.
_GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
# Ends of lines and texts, and flags that change how all is read, are not the same in that engine and in ours. Nor is
# what differs in case only: there are Turkish letters like i, and classes and ranges of letters.
_READ_OTHERWISE = re.compile(r"\$|(?<!\[)\^|\\[AzZGKbB<>]|\(\?[a-z]*[imsxU]")
# Contractions in any case, as many encodings have them: plain letters but i.
_SAME_IN_ANY_CASE = re.compile(r"\(\?i:(?:[a-hj-z'|]|\[[a-hj-z]+\])*\)")


def is_encoding(value: object) -> bool:
    """Whether this is a ``tiktoken.Encoding``; tiktoken need not be there to know."""
    return type(value).__module__.partition(".")[0] == "tiktoken" and hasattr(value, "_mergeable_ranks")


def read_encoding(encoding: Any) -> _bpe.Tokenizer:
    """The tokenizer of an encoding, with its pattern, special tokens and ids."""
    ranks = [(rank, token) for token, rank in encoding._mergeable_ranks.items()]
    return _bpe.from_ranks(ranks, list(encoding._special_tokens.items()), pattern_of(encoding._pat_str))


def pattern_of(expression: str) -> str:
    """What we call a regular expression of tiktoken."""
    known = {_bpe.pattern_regex(name): name for name in _NAMES} | {_GPT2: "gpt2"}
    if expression in known:
        return known[expression]
    if found := _READ_OTHERWISE.search(_SAME_IN_ANY_CASE.sub("", expression)):
        reason = f"its pattern has {found[0]!r}, which tiktoken's engine may read otherwise"
        raise UnrepresentableError(f"cannot read this encoding exactly: {reason}; give it a pattern without")
    return expression


def make_encoding(tokenizer: _bpe.Tokenizer, name: str) -> tiktoken.Encoding:
    """A ``tiktoken.Encoding`` with the same ids for every text."""
    if tokenizer.pattern not in _NAMES:
        reason = "where a custom pattern finds nothing, tiktoken drops the text"
        raise UnrepresentableError(f"cannot write this tokenizer as a tiktoken.Encoding: {reason}; save it as JSON")
    ranks = dict(_bpe.ranks_of(tokenizer))
    try:
        import tiktoken
    except ModuleNotFoundError as error:
        message = "making an encoding of tiktoken needs tiktoken, which is not installed; get it: pip install tiktoken"
        raise MissingDependencyError(message, name=error.name) from error
    return tiktoken.Encoding(
        name,
        pat_str=_bpe.pattern_regex(tokenizer.pattern),
        mergeable_ranks=ranks,
        special_tokens=tokenizer.special_tokens,
    )
