"""Write a text of any size from a seed, whose vocabulary grows as that of real text does.

A few words are most of the text and new ones keep coming (Zipf's and Heaps' laws): 200 thousand distinct pre-tokens in
100 MB. A longer text of the same seed begins with the shorter one.

    python benches/python/make_corpus.py 1GB corpus.txt --seed 0
"""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

import numpy as np

UNITS = {"kB": 10**3, "MB": 10**6, "GB": 10**9}

ONSETS = ["", "b", "c", "d", "f", "g", "h", "l", "m", "n", "p", "r", "s", "t", "w", "st", "tr", "pl", "sh", "th"]
VOWELS = ["a", "e", "i", "o", "u", "ea", "ou"]
CODAS = ["", "n", "r", "s", "t", "nd"]
SYLLABLES = ["".join(parts) for parts in itertools.product(ONSETS, VOWELS, CODAS)]

COMMON = 30_000  # words that make up most of the text, by Zipf's law
COMMON_SHARE = 0.75
TAIL_EXPONENT = 1.35  # of all others: so many of n words are new that distinct ones grow as n ** (1 / 1.35)
WORDS = 1 << 16  # drawn at a time


@lru_cache(maxsize=1 << 21)
def spelled(rank: int) -> str:
    """The word of a rank, each its own; the most frequent have one syllable."""
    base, word = len(SYLLABLES), ""
    length = 1
    while rank >= base**length:
        rank -= base**length
        length += 1
    rank = (rank + 1) * 0x9E3779B1 % base**length if length > 1 else rank * 509 % base  # neighbours look unlike
    for _ in range(length):
        rank, syllable = divmod(rank, base)
        word += SYLLABLES[syllable]
    return word


def blocks(seed: int) -> Iterator[str]:
    """The text, endless, in pieces."""
    random = np.random.default_rng(seed)
    weights = 1 / (np.arange(COMMON) + 2.7)
    borders = np.cumsum(weights / weights.sum())
    while True:
        ranks = np.searchsorted(borders, random.random(WORDS))
        rare = random.random(WORDS) >= COMMON_SHARE
        ranks[rare] = COMMON + np.minimum(random.zipf(TAIL_EXPONENT, int(rare.sum())), 10**9)
        ends = random.random(WORDS)
        signs = np.select([ends < 0.004, ends < 0.015, ends < 0.06, ends < 0.11], [4, 3, 2, 1], 0)
        capital, pieces = True, []
        for rank, sign, share in zip(ranks.tolist(), signs.tolist(), random.random(WORDS).tolist(), strict=True):
            word = spelled(rank) if share > 0.008 else str(rank % 2100)
            pieces.append(word.capitalize() if capital or share > 0.98 else word)
            pieces.append((" ", ", ", ". ", ".\n", ".\n\n<|endoftext|>")[sign])
            capital = sign >= 2
        yield "".join(pieces)


def main() -> None:
    """Read the command line and write the text."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("size", help="such as 100MB or 1GB")
    parser.add_argument("output", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    left = int(float(options.size[:-2]) * UNITS[options.size[-2:]])
    with options.output.open("wb") as file:
        for block in blocks(options.seed):
            part = block.encode()[:left]
            file.write(part)
            left -= len(part)
            if left == 0:
                break


if __name__ == "__main__":
    main()
