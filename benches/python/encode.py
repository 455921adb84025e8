"""Encode the same texts with every tokenizer that is installed, side by side, check the ids, and print a table.

Rounds are interleaved, so that a slow minute of the machine hits everybody; what counts are the ratios. Of each text a
slice of 10 MB is taken, and the whole file. ``cold`` is the first call of a new tokenizer, the median of several;
``warm`` the median of later calls. Every call gets new strings. All run on one thread, snaptokens and Hugging Face too,
which would otherwise start one for each core on a batch. ``file`` is a whole process, from a text file to a token file.
Rivals that are not installed are left out and named:

    pip install gigatoken tiktoken snaptokens splintr-rs tokenizers
    python benches/python/encode.py --encodings ENCODINGS books.txt code.txt --vocabulary r50k --output results

ENCODINGS is a folder with tiktoken's rank files, ``r50k_base.tiktoken`` and so on, and with ``r50k.tokenizer.json`` and
so on for the libraries that read nothing else.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.util
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from side_by_side import Run, digest, facts, run_python, write

END_OF_TEXT = "<|endoftext|>"
SLICE = 10_000_000
SMALL = 2_000

TASKS = ["array", "list", "batch to lists", "batch to array", "decode"]
OTHERS = ["file", "short"]

Task = Callable[[Any], Any]


@dataclass(frozen=True)
class Vocabulary:
    """A vocabulary as the libraries name it."""

    name: str
    pattern: str
    gigatoken: str
    end_of_text: int


VOCABULARIES = {
    one.name: one
    for one in (
        Vocabulary("r50k", "gpt2", "gpt2", 50256),
        Vocabulary("cl100k", "cl100k", "gpt4", 100257),
        Vocabulary("o200k", "o200k", "o200k", 199999),
    )
}


def cs336(folder: Path, vocabulary: Vocabulary) -> dict[str, Task]:
    """Ours."""
    from cs336 import Tokenizer

    path = folder / f"{vocabulary.name}_base.tiktoken"
    special = {END_OF_TEXT: vocabulary.end_of_text}
    tokenizer = Tokenizer.from_tiktoken(path, pattern=vocabulary.pattern, special_tokens=special)
    return {
        "array": lambda texts: tokenizer.encode_numpy(texts[0]),
        "list": lambda texts: tokenizer.encode(texts[0]),
        "batch to lists": lambda texts: tokenizer.encode_batch(texts, threads=1),
        "batch to array": lambda texts: tokenizer.encode_batch_numpy(texts, threads=1)[0],
        "decode": tokenizer.decode_bytes,
    }


def gigatoken(folder: Path, vocabulary: Vocabulary) -> dict[str, Task]:
    """gigatoken, by its own interface."""
    from gigatoken import Tokenizer  # type: ignore[import-not-found, unused-ignore]  # a rival

    path = folder / f"{vocabulary.name}_base.tiktoken"
    special = {END_OF_TEXT: vocabulary.end_of_text}
    tokenizer = Tokenizer.from_tiktoken(str(path), vocabulary.gigatoken, special)
    return {
        "array": lambda texts: np.asarray(tokenizer.encode(texts[0])),
        "list": lambda texts: tokenizer.encode_batch_list([texts[0]], parallel=False)[0],
        "batch to lists": lambda texts: tokenizer.encode_batch_list(texts, parallel=False),
        "batch to array": lambda texts: np.asarray(tokenizer.encode_batch(texts, parallel=False).layout.content.data),
        "decode": tokenizer.decode,
    }


def tiktoken(folder: Path, vocabulary: Vocabulary) -> dict[str, Task]:
    """tiktoken, the reference of all ids."""
    from tiktoken import Encoding
    from tiktoken.load import load_tiktoken_bpe

    from cs336._bpe import pattern_regex

    encoding = Encoding(
        vocabulary.name,
        pat_str=pattern_regex(vocabulary.pattern),
        mergeable_ranks=load_tiktoken_bpe(str(folder / f"{vocabulary.name}_base.tiktoken")),
        special_tokens={END_OF_TEXT: vocabulary.end_of_text},
    )
    allowed = {END_OF_TEXT}
    return {
        "array": lambda texts: encoding.encode_to_numpy(texts[0], allowed_special=allowed),
        "list": lambda texts: encoding.encode(texts[0], allowed_special=allowed),
        "batch to lists": lambda texts: [encoding.encode(text, allowed_special=allowed) for text in texts],
        "decode": encoding.decode_bytes,
    }


def tokenizers(folder: Path, vocabulary: Vocabulary) -> dict[str, Task]:
    """Hugging Face tokenizers."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(folder / f"{vocabulary.name}.tokenizer.json"))
    return {
        "list": lambda texts: tokenizer.encode(texts[0], add_special_tokens=False).ids,
        "batch to lists": lambda texts: [one.ids for one in tokenizer.encode_batch(texts, add_special_tokens=False)],
    }


def snaptokens(folder: Path, vocabulary: Vocabulary) -> dict[str, Task]:
    """snaptokens."""
    from snaptokens import Tokenizer  # type: ignore[import-not-found, unused-ignore]  # a rival

    tokenizer = Tokenizer.from_file(str(folder / f"{vocabulary.name}.tokenizer.json"))
    return {
        "array": lambda texts: np.frombuffer(tokenizer.encode_batch_flat(texts)[0], np.uint32),
        "list": lambda texts: tokenizer.encode(texts[0]).ids,
        "batch to lists": lambda texts: [one.ids for one in tokenizer.encode_batch(texts)],
        "batch to array": lambda texts: np.frombuffer(tokenizer.encode_batch_flat(texts)[0], np.uint32),
    }


def splintr(folder: Path, vocabulary: Vocabulary) -> dict[str, Task]:
    """splintr."""
    from splintr import from_json  # type: ignore[import-not-found, unused-ignore]  # a rival

    tokenizer = from_json(str(folder / f"{vocabulary.name}.tokenizer.json"))
    return {
        "array": lambda texts: np.frombuffer(tokenizer.encode_flat(texts[0]), np.uint32),
        "list": lambda texts: tokenizer.encode(texts[0]),
        "batch to lists": tokenizer.encode_batch,
        "batch to array": lambda texts: np.frombuffer(tokenizer.encode_batch_flat(texts)[0], np.uint32),
    }


LIBRARIES: dict[str, Callable[[Path, Vocabulary], dict[str, Task]]] = {
    "cs336": cs336,
    "gigatoken": gigatoken,
    "snaptokens": snaptokens,
    "splintr": splintr,
    "tiktoken": tiktoken,
    "tokenizers": tokenizers,
}

PACKAGES = {"splintr": "splintr-rs"}

SLOW = {"tiktoken": 4, "tokenizers": 40}
"""Libraries that get only a part of the text, so that a run ends: one in so many bytes."""


@dataclass
class Result:
    """One library at one task: megabytes of text a second."""

    vocabulary: str
    text: str
    task: str
    library: str
    cold: float
    warm: float
    ratio_cold: float = 1.0
    ratio_warm: float = 1.0
    """Times as fast as the library is cs336: of what was measured in turns, the median."""
    peak_megabytes: float | None = None
    """Of a process of its own."""


def as_texts(task: str, text: str) -> list[str]:
    """What a task gets of a text."""
    if not task.startswith("batch"):
        return [text]
    return [text[start : start + SMALL] for start in range(0, len(text), SMALL)]


def flat(ids: Any) -> list[int]:
    """Ids of any shape one behind the other."""
    if isinstance(ids, np.ndarray):
        return [int(one) for one in ids]
    if ids and not isinstance(ids[0], int):
        return [one for part in ids for one in part]
    return list(ids)


def anew(argument: Any) -> Any:
    """The same texts as new strings: Python keeps the UTF-8 of one that was asked for it once."""
    if isinstance(argument, list) and isinstance(argument[0], str):
        return [text.encode().decode() for text in argument]
    return argument


def seconds(task: Task, argument: Any) -> tuple[float, Any]:
    """How long a call takes, and what it gives."""
    start = time.perf_counter()
    result = task(argument)
    return time.perf_counter() - start, result


def compare(
    new: Callable[[], dict[str, dict[str, Task]]],
    vocabulary: str,
    text_name: str,
    text: str,
    task: str,
    *,
    tokenizers: int,
    rounds: int,
) -> list[Result]:
    """Every library at one task, in turns: the first call of so many tokenizers, then so many rounds with the last."""
    libraries = new()
    taking_part = [name for name, tasks in libraries.items() if task in tasks]
    arguments: dict[str, Any] = {}
    for name in taking_part:
        part = text[: len(text) // SLOW.get(name, 1)]
        arguments[name] = as_texts(task, part)
        if task == "decode":
            ids = libraries["cs336"]["array"]([part])
            arguments[name] = ids.tolist() if name == "tiktoken" else ids
    megabytes = {name: len(text.encode()) / SLOW.get(name, 1) / 1e6 for name in taking_part}
    cold: dict[str, list[float]] = {name: [] for name in taking_part}
    warm: dict[str, list[float]] = {name: [] for name in taking_part}
    given: dict[str, Any] = {}
    for times in [cold] * tokenizers + [warm] * rounds:
        if times is cold:
            libraries = new()
        for name in taking_part:
            taken, given[name] = seconds(libraries[name][task], anew(arguments[name]))
            times[name].append(taken / megabytes[name])
    check(libraries, task, arguments, given)

    def ratio(times: dict[str, list[float]], name: str) -> float:
        return statistics.median(one / our for one, our in zip(times[name], times["cs336"], strict=True))

    return [
        Result(
            vocabulary=vocabulary,
            text=text_name,
            task=task,
            library=name,
            cold=1 / statistics.median(cold[name]),
            warm=1 / statistics.median(warm[name]),
            ratio_cold=ratio(cold, name),
            ratio_warm=ratio(warm, name),
        )
        for name in taking_part
    ]


def check(libraries: dict[str, dict[str, Task]], task: str, arguments: dict[str, Any], given: dict[str, Any]) -> None:
    """Hold what each library gave against ours on the same argument."""
    for name, result in given.items():
        expected = given["cs336"] if name not in SLOW else libraries["cs336"][task](arguments[name])
        if (result if task == "decode" else flat(result)) != (expected if task == "decode" else flat(expected)):
            raise RuntimeError(f"{task}: what {name} gives differs from what cs336 gives")


def latency(libraries: dict[str, dict[str, Task]], vocabulary: str, text: str) -> list[Result]:
    """Microseconds of one call on short texts, in the place of megabytes a second: the first round, and the median."""
    results = []
    for length in (20, 200, 2000):
        argument, calls = [text[1000 : 1000 + length]], max(200, 200_000 // length)
        for task in ("list", "array"):
            taking_part = [name for name, tasks in libraries.items() if task in tasks]
            times: dict[str, list[float]] = {name: [] for name in taking_part}
            for _ in range(7):
                for name in taking_part:
                    work = libraries[name][task]
                    start = time.perf_counter()
                    for _ in range(calls):
                        work(argument)
                    times[name].append((time.perf_counter() - start) / calls * 1e6)
            ours = times["cs336"]
            for name, mine in times.items():
                ratio = statistics.median(one / our for one, our in zip(mine, ours, strict=True))
                micro = statistics.median(mine)
                label = f"{length} characters, µs"
                results.append(Result(vocabulary, label, task, name, mine[0], micro, mine[0] / ours[0], ratio))
    return results


ARRAY_TO_FILE = """
from pathlib import Path
import numpy as np
import encode
text = open(source, encoding="utf-8", newline="").read()
ids = encode.{name}(Path(folder), encode.VOCABULARIES[vocabulary])["array"]([text])
np.save(target, np.asarray(ids).astype(dtype))
"""

FILE_PROGRAMS = {
    "cs336": """
from cs336 import Tokenizer
tokenizer = Tokenizer.from_tiktoken(ranks, pattern=pattern, special_tokens=special)
tokenizer.encode_file(source, target, threads=threads, progress=False)
""",
    "gigatoken": """
import numpy as np
from gigatoken import Tokenizer
tokenizer = Tokenizer.from_tiktoken(ranks, gigatoken_name, special)
ids = np.asarray(tokenizer.encode_files([source], parallel=threads > 1).layout.content.data)
np.save(target, ids.astype(dtype))
""",
    "snaptokens": ARRAY_TO_FILE.format(name="snaptokens"),
    "tiktoken": ARRAY_TO_FILE.format(name="tiktoken"),
}


def files(
    folder: Path, vocabulary: Vocabulary, source: Path, names: Iterable[str], threads: int, rounds: int
) -> list[Result]:
    """A text file to a token file in a process of its own, in megabytes a second; and its peak memory."""
    known = {
        "folder": str(folder.resolve()),
        "vocabulary": vocabulary.name,
        "pattern": vocabulary.pattern,
        "gigatoken_name": vocabulary.gigatoken,
        "ranks": str(folder / f"{vocabulary.name}_base.tiktoken"),
        "special": {END_OF_TEXT: vocabulary.end_of_text},
        "dtype": "uint16" if vocabulary.end_of_text < 1 << 16 else "uint32",
        "threads": threads,
        "source": str(source.resolve()),
    }
    # Only what needs this module imports it, and NumPy with it.
    head = f"import sys\nsys.path.insert(0, {str(Path(__file__).parent)!r})\nglobals().update({known!r})\n"
    megabytes = source.stat().st_size / 1e6
    taking_part = [name for name in names if name in FILE_PROGRAMS]
    runs: dict[str, list[Run]] = {name: [] for name in taking_part}
    ids: dict[str, str] = {}
    with tempfile.TemporaryDirectory() as place:
        for _ in range(rounds):
            for name in taking_part:
                target = Path(place) / f"{name}.npy"
                code = f"{head}target = {str(target)!r}\n{FILE_PROGRAMS[name]}"
                runs[name].append(run_python(code, RAYON_NUM_THREADS=str(threads)))
        for name in taking_part:
            ids[name] = hashlib.sha256(np.load(Path(place) / f"{name}.npy", mmap_mode="r")).hexdigest()
    if different := [name for name in taking_part if ids[name] != ids["cs336"]]:
        raise RuntimeError(f"file: what {' and '.join(different)} gives differs from what cs336 gives")
    ours = runs["cs336"]
    return [
        Result(
            vocabulary=vocabulary.name,
            text=source.name,
            task=f"file, {threads} {'thread' if threads == 1 else 'threads'}",
            library=name,
            cold=megabytes / mine[0].seconds,
            warm=megabytes / statistics.median(one.seconds for one in mine),
            ratio_cold=mine[0].seconds / ours[0].seconds,
            ratio_warm=statistics.median(one.seconds / our.seconds for one, our in zip(mine, ours, strict=True)),
            peak_megabytes=max(one.peak_megabytes for one in mine),
        )
        for name, mine in runs.items()
    ]


def markdown(results: list[Result]) -> str:
    """The results as a table."""
    lines = [
        "| vocabulary | text | task | library | cold MB/s | warm MB/s | cs336 is so many times as fast, cold | warm "
        "| peak MB |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for one in results:
        lines.append(
            f"| {one.vocabulary} | {one.text} | {one.task} | {one.library} | {one.cold:.4g} | {one.warm:.4g} "
            f"| {one.ratio_cold:.2f} | {one.ratio_warm:.2f} "
            f"| {'' if one.peak_megabytes is None else f'{one.peak_megabytes:.0f}'} |"
        )
    return "\n".join(lines)


def slice_of(text: str) -> str:
    """Ten megabytes from the middle."""
    start = max(0, (len(text) - SLICE) // 3)
    return text[start : start + SLICE]


def main() -> None:
    """Read the command line, measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("texts", nargs="+", type=Path)
    parser.add_argument("--encodings", type=Path, required=True)
    parser.add_argument("--vocabulary", action="append", choices=list(VOCABULARIES), help="default: r50k")
    parser.add_argument("--tokenizers", type=int, default=3, help="how many for the first calls (default: 3)")
    parser.add_argument("--rounds", type=int, default=5, help="of later calls, and of files (default: 5)")
    parser.add_argument("--library", action="append", help="only these, besides cs336")
    parser.add_argument("--task", action="append", choices=TASKS + OTHERS, help="only these")
    parser.add_argument("--output", type=Path, help="write OUTPUT.md and OUTPUT.json")
    options = parser.parse_args()
    asked = options.library or list(LIBRARIES)
    wanted = options.task or TASKS + OTHERS
    names = [name for name in LIBRARIES if name == "cs336" or (name in asked and importlib.util.find_spec(name))]
    # Read when a library first starts its threads, which has not happened yet.
    os.environ["RAYON_NUM_THREADS"] = "1"
    missing = sorted(set(asked) - set(names))
    if missing:
        print(f"not installed, left out: {', '.join(missing)}", file=sys.stderr)

    def new(vocabulary: Vocabulary) -> dict[str, dict[str, Task]]:
        return {name: LIBRARIES[name](options.encodings, vocabulary) for name in names}

    results: list[Result] = []
    for vocabulary in (VOCABULARIES[name] for name in options.vocabulary or ["r50k"]):
        for path in options.texts:
            text = path.read_bytes().decode()
            parts = {f"{path.name}, 10 MB": (slice_of(text), TASKS)}
            if len(text) > 2 * SLICE:
                parts[path.name] = (text, ["array"])
            for part_name, (part, tasks) in parts.items():
                for task in filter(wanted.__contains__, tasks):
                    counts = {"tokenizers": options.tokenizers, "rounds": options.rounds}
                    found = compare(partial(new, vocabulary), vocabulary.name, part_name, part, task, **counts)
                    print(markdown(found), flush=True)
                    results += found
            for threads in (1, 2) if "file" in wanted else ():
                found = files(options.encodings, vocabulary, path, names, threads, options.rounds)
                print(markdown(found), flush=True)
                results += found
        if "short" in wanted:
            results += latency(new(vocabulary), vocabulary.name, text)
    print(markdown(results))
    if options.output:
        about = facts(
            [PACKAGES.get(name, name) for name in names],
            rounds=options.rounds,
            sha256={path.name: digest(path) for path in options.texts},
            results=[asdict(one) for one in results],
        )
        write(options.output, markdown(results), about)


if __name__ == "__main__":
    main()
