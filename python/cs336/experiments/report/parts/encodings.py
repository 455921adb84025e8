"""Section 2: what encodings take, and why bytes can't be decoded one by one."""

from __future__ import annotations

import dataclasses
from collections import Counter
from pathlib import Path

from cs336.accounting.table import Column, Table
from cs336.experiments.report.part import Bench, Found, Part, Rows
from cs336.experiments.report.plan import Plan, shell
from cs336.experiments.unicode import TABLES, Text
from cs336.experiments.utf8 import whole_until
from cs336.wording import joined

_HEAD = 1_000_000
"""Bytes of a corpus that are looked at."""
_SAMPLES = {
    "English": "All human beings are born free and equal.",
    "German": "Alle Menschen sind frei und gleich geboren, für immer schön.",
    "Greek": "Όλοι οι άνθρωποι γεννιούνται ελεύθεροι.",
    "Japanese": "すべての人間は、生まれながらにして自由である。",
    "emoji": "😧😀🎉",
}
_FACE, _INVALID = "😧", b"\xc0\xc0"
_NAMES = ("UTF-8", "UTF-16", "UTF-32")


def _measure(bench: Bench) -> Found:
    texts = {name: sample.encode() for name, sample in _SAMPLES.items()}
    for corpus in bench.plan.corpora:
        with bench.plan.text_of(corpus, bench.work) as path, path.open("rb") as file:
            head = file.read(_HEAD + 4)
        texts[corpus.name] = head[: whole_until(head, _HEAD)]
    rows = [_sizes(name, data) for name, data in texts.items()]
    columns = (
        Column("text"),
        Column("characters", "count"),
        *(Column(name, "count") for name in _NAMES),
        Column("UTF-8 bytes a character", "number", "UTF-8 a character"),
    )
    notes = [f"Bytes without byte order marks. Of a corpus, the first {_HEAD:,} bytes at most."]
    sizes = Table("sizes", "Bytes by encoding", columns, rows, notes=notes)
    shown = [
        _renamed(TABLES["bytes"](Text(_FACE.encode())), "face", f"The bytes of {_FACE}"),
        _renamed(TABLES["bytes"](Text(_INVALID)), "invalid", "The bytes C0 C0"),
    ]
    return Found([sizes, *shown, _pairs()])


def _sizes(name: str, data: bytes) -> tuple[object, ...]:
    """A text's bytes in each encoding."""
    text = data.decode("utf-8", "replace")
    found = [len(data), len(text.encode("utf-16-le")), len(text.encode("utf-32-le"))]
    return (name, len(text), *found, len(data) / len(text) if text else None)


def _renamed(table: Table, name: str, title: str) -> Table:
    return dataclasses.replace(table, name=name, title=title)


def _pairs() -> Table:
    """All sequences of two bytes, by what they decode to."""
    kinds = Counter(_kind(bytes([first, second])) for first in range(256) for second in range(256))
    rows = [(kind, count, count / 65_536) for kind, count in kinds.most_common()]
    columns = (Column("two bytes decode to"), Column("sequences", "count"), Column("share", "share"))
    return Table("pairs", "All sequences of two bytes", columns, rows)


def _kind(pair: bytes) -> str:
    try:
        return "one character" if len(pair.decode("utf-8")) == 1 else "two characters"
    except UnicodeDecodeError:
        return "no text"


def _answer(rows: Rows) -> list[str]:
    shortest: dict[tuple[str, ...], list[str]] = {}
    for row in rows["sizes"]:
        least = min(row[name] for name in _NAMES)
        shortest.setdefault(tuple(name for name in _NAMES if row[name] == least), []).append(row["text"])
    sentences = [
        f"{joined(names)} take{'s' if len(names) == 1 else ''} the fewest bytes for {joined(texts)}."
        for names, texts in shortest.items()
    ]
    always = all("UTF-8" in names for names in shortest)
    sentences.append(
        "So UTF-8 is never longer than the others here."
        if always
        else "So UTF-8 is not the shortest for every text, though the write-up gives that as its merit."
    )
    face = rows["face"]
    if face:
        sentences.append(
            f"Decoding byte by byte fails for {face[0]['part_of']}: its {len(face)} bytes are a character together."
        )
    counts = {row["two_bytes_decode_to"]: row for row in rows["pairs"]}
    if "no text" in counts and rows["invalid"]:
        invalid = " ".join(row["hex"] for row in rows["invalid"])
        sentences.append(
            f"{invalid} decodes to nothing, like {counts['no text']['sequences']:,} of all"
            f" {sum(row['sequences'] for row in rows['pairs']):,} sequences of two bytes."
        )
    return sentences


def _commands(plan: Plan, folder: Path) -> list[str]:
    corpora = [
        f"head -c {_HEAD} {shell([str(one.path)])} | cs336 text --table sizes"
        for one in plan.corpora
        if plan.is_plain(one)
    ]
    return [*corpora, f'cs336 text "{_FACE}" --table bytes', 'cs336 text --hex "C0 C0" --table bytes']


PART = Part("encodings", "Unicode encodings", _measure, _answer, _commands, reads_corpora=True)
