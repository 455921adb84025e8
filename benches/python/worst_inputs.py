"""Encode the inputs that hurt byte-pair encoders most, with every tokenizer that is installed, and check the ids.

One letter, white space, digits and the like are single pre-tokens of a million bytes; random ones leave nothing to look
up. Milliseconds for 1 MB and, of ours, for 10 MB, which should be ten times as much; the best of the rounds, each with
a new tokenizer. Rivals get 1 MB only, for some are slow here. One that can't read a vocabulary is left out of it,
and one that fails on an input there.

    pip install gigatoken tiktoken snaptokens splintr-rs
    python benches/python/worst_inputs.py --encodings ENCODINGS --vocabulary r50k --output results
"""

from __future__ import annotations

import argparse
import importlib.util
import random
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from encode import LIBRARIES, PACKAGES, VOCABULARIES, Vocabulary, anew, seconds
from side_by_side import facts, write

MEGABYTE = 1_000_000
LIMIT = 30.0  # seconds that a library may have taken in the round before


def random_text(first: int, last: int) -> Callable[[int], str]:
    """Random characters of a range, surrogates left out, up to a number of bytes."""

    def make(size: int) -> str:
        source = random.Random(0)
        characters = [chr(source.randint(first, last)) for _ in range(size // len(chr(first).encode()))]
        text = "".join(character for character in characters if not "\ud800" <= character <= "\udfff")
        return text.encode()[:size].decode(errors="ignore")

    return make


INPUTS: dict[str, Callable[[int], str]] = {
    "one letter": lambda size: "a" * size,
    "spaces": lambda size: " " * size,
    "newlines": lambda size: "\n" * size,
    "digits": lambda size: "".join(random.Random(0).choices("0123456789", k=size)),
    "punctuation": lambda size: "".join(random.Random(0).choices("!?.,;:-_/()[]{}#*", k=size)),
    "random a-z": lambda size: "".join(random.Random(0).choices("abcdefghijklmnopqrstuvwxyz", k=size)),
    "random ASCII": random_text(0x20, 0x7E),
    "random CJK": random_text(0x4E00, 0x9FFF),
    "emoji": random_text(0x1F600, 0x1F64F),
    "random Unicode": random_text(0x80, 0x2FFFF),
}


@dataclass
class Result:
    """One library on one input, in milliseconds."""

    vocabulary: str
    text: str
    library: str
    one: float
    ten: float | None


def reads(library: str, folder: Path, vocabulary: Vocabulary) -> bool:
    """Whether a library takes the vocabulary; says why not."""
    try:
        LIBRARIES[library](folder, vocabulary)
    except ValueError as error:
        print(f"{vocabulary.name}: {library} is left out: {error}", file=sys.stderr)
        return False
    return True


def measure(folder: Path, vocabulary: Vocabulary, name: str, libraries: list[str], rounds: int) -> list[Result]:
    """Every library on one input. RuntimeError if ids differ."""
    small, large = INPUTS[name](MEGABYTE), INPUTS[name](10 * MEGABYTE)
    times: dict[str, list[float]] = {library: [] for library in libraries}
    tens: list[float] = []
    ids: dict[str, np.ndarray] = {}
    for _ in range(rounds):
        for library in tuple(times):
            if times[library] and times[library][-1] > LIMIT:
                continue
            task = LIBRARIES[library](folder, vocabulary)["array"]
            try:
                taken, result = seconds(task, anew([small]))
            except ValueError as error:
                print(f"{vocabulary.name}, {name}: {library} fails: {error}", file=sys.stderr)
                del times[library]
                continue
            times[library].append(taken)
            ids[library] = np.asarray(result)
            if library == "cs336":
                task = LIBRARIES[library](folder, vocabulary)["array"]
                tens.append(seconds(task, anew([large]))[0])
    if different := [library for library in times if not np.array_equal(ids[library], ids["cs336"])]:
        raise RuntimeError(f"{name}: what {' and '.join(different)} gives differs from what cs336 gives")
    return [
        Result(vocabulary.name, name, library, 1e3 * min(mine), 1e3 * min(tens) if library == "cs336" else None)
        for library, mine in times.items()
    ]


def markdown(results: list[Result]) -> str:
    """The results as a table, a line for each input."""
    libraries = list(dict.fromkeys(one.library for one in results))
    lines = [
        f"| vocabulary | input | cs336, 10 MB | {' | '.join(f'{library}, 1 MB' for library in libraries)} |",
        f"|---|---|---|{'---|' * len(libraries)}",
    ]
    for vocabulary, text in dict.fromkeys((one.vocabulary, one.text) for one in results):
        row = {one.library: one for one in results if (one.vocabulary, one.text) == (vocabulary, text)}
        cells = [f"{row[library].one:.0f}" if library in row else "" for library in libraries]
        lines.append(f"| {vocabulary} | {text} | {row['cs336'].ten:.0f} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    """Read the command line, measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--encodings", type=Path, required=True)
    parser.add_argument("--vocabulary", action="append", choices=list(VOCABULARIES), help="default: r50k")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--library", action="append", help="only these, besides cs336")
    parser.add_argument("--output", type=Path, help="write OUTPUT.md and OUTPUT.json")
    options = parser.parse_args()
    asked = options.library or [name for name in LIBRARIES if name != "tokenizers"]
    names = [name for name in LIBRARIES if name == "cs336" or (name in asked and importlib.util.find_spec(name))]
    if missing := sorted(set(asked) - set(names)):
        print(f"not installed, left out: {', '.join(missing)}", file=sys.stderr)
    results: list[Result] = []
    for vocabulary in (VOCABULARIES[name] for name in options.vocabulary or ["r50k"]):
        able = [name for name in names if reads(name, options.encodings, vocabulary)]
        for text in INPUTS:
            found = measure(options.encodings, vocabulary, text, able, options.rounds)
            print(markdown(found).splitlines()[-1], flush=True)
            results += found
    print(markdown(results))
    if options.output:
        about = facts([PACKAGES.get(name, name) for name in names], rounds=options.rounds)
        write(options.output, markdown(results), about | {"results": [asdict(one) for one in results]})


if __name__ == "__main__":
    main()
