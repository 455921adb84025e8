"""Byte-level BPE as the definition says it: the readable twin of the Rust core, and the oracle of its tests.

Nothing here is fast. It needs the package ``regex`` for the patterns, ``pip install regex``.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any

from cs336 import _bpe
from cs336.errors import MissingDependencyError

__all__ = ["decode", "encode", "pretokenize", "train"]

Pair = tuple[bytes, bytes]


def _regex() -> Any:
    try:
        import regex
    except ModuleNotFoundError as error:
        raise MissingDependencyError("cs336.reference needs regex; get it with: pip install regex") from error
    return regex


def pretokenize(text: str, pattern: str = "gpt2") -> list[str]:
    """The spans of ``regex.finditer``, and the text between two of them."""
    pieces: list[str] = []
    end = 0
    for match in _regex().finditer(_bpe.pattern_regex(pattern), text):
        pieces += [piece for piece in (text[end : match.start()], match.group()) if piece]
        end = match.end()
    return pieces + [text[end:]] * (end < len(text))


def split_special(text: str, special_tokens: Iterable[str]) -> list[tuple[str, bool]]:
    """Cuts a text at special tokens, the longest at the leftmost place: ``(piece, whether it is special)``."""
    tokens = sorted(special_tokens, key=lambda token: len(token.encode()), reverse=True)
    if not tokens:
        return [(text, False)] if text else []
    pieces = re.split("(" + "|".join(map(re.escape, tokens)) + ")", text)
    return [(piece, at % 2 == 1) for at, piece in enumerate(pieces) if piece]


def merge(tokens: Sequence[bytes], pair: Pair) -> list[bytes]:
    """Replaces a pair from left to right."""
    merged: list[bytes] = []
    at = 0
    while at < len(tokens):
        if tuple(tokens[at : at + 2]) == pair:
            merged.append(pair[0] + pair[1])
            at += 2
        else:
            merged.append(tokens[at])
            at += 1
    return merged


def train(
    documents: Iterable[str],
    vocab_size: int,
    special_tokens: Sequence[str] = (),
    *,
    pattern: str = "gpt2",
    min_frequency: int = 1,
) -> tuple[dict[int, bytes], list[Pair]]:
    """Count all pairs, merge the most frequent (among equals the greater) everywhere, begin again."""
    counts: Counter[str] = Counter()
    for document in documents:
        for piece, special in split_special(document, special_tokens):
            counts.update([] if special else pretokenize(piece, pattern))
    words = [([bytes([byte]) for byte in word.encode()], count) for word, count in counts.items()]
    merges: list[Pair] = []
    while len(merges) < vocab_size - 256 - len(special_tokens):
        pairs: Counter[Pair] = Counter()
        for tokens, count in words:
            for pair in pairwise(tokens):
                pairs[pair] += count
        best = max(pairs, key=lambda pair: (pairs[pair], pair), default=None)
        if best is None or pairs[best] < min_frequency:
            break
        words = [(merge(tokens, best), count) for tokens, count in words]
        merges.append(best)
    tokens = [*(token.encode() for token in special_tokens), *(bytes([byte]) for byte in range(256))]
    tokens += [left + right for left, right in merges]
    return dict(enumerate(tokens)), merges


def encode(
    text: str,
    vocab: dict[int, bytes],
    merges: Sequence[Pair],
    special_tokens: Iterable[str] = (),
    *,
    pattern: str = "gpt2",
) -> list[int]:
    """Within each pre-token, merge the pair that was learned first, leftmost first, until no known pair is left."""
    ids = {token: id for id, token in vocab.items()}
    ranks = {pair: rank for rank, pair in enumerate(merges)}
    encoded: list[int] = []
    for piece, special in split_special(text, special_tokens):
        if special:
            encoded.append(ids[piece.encode()])
            continue
        for word in pretokenize(piece, pattern):
            tokens = [bytes([byte]) for byte in word.encode()]
            while known := [(ranks[pair], at) for at, pair in enumerate(pairwise(tokens)) if pair in ranks]:
                _, at = min(known)
                tokens[at : at + 2] = [tokens[at] + tokens[at + 1]]
            encoded += [ids[token] for token in tokens]
    return encoded


def decode(ids: Iterable[int], vocab: dict[int, bytes]) -> str:
    """The tokens' bytes one behind the other, as UTF-8."""
    return b"".join(vocab[id] for id in ids).decode("utf-8", "replace")
