"""The study of tokenizers as tables. Every sentence follows from the numbers beside it."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable
from itertools import combinations
from typing import Any

from cs336.accounting.table import Column, Table, readable
from cs336.experiments.machine import cores
from cs336.experiments.mojibake import explain_writeup, kind_of, repaired
from cs336.experiments.tokenizers import Study
from cs336.experiments.vocabulary import Vocabulary
from cs336.visible import quoted

__all__ = ["PILE_BYTES", "TABLES"]

PILE_BYTES = 825 * 10**9
_WRITEUP_SPEED = 74_177.9909660446  # bytes a second, measured on OpenWebText
_WRITEUP_DIVISOR = 741_778  # bytes a second, in its sum
_LONGEST = 10


def training_table(study: Study) -> Table:
    """What each training took."""
    columns = (
        Column("corpus"),
        Column("corpus bytes", "bytes", "text"),
        Column("vocabulary", "count"),
        Column("seconds", "seconds", "time"),
        Column("peak memory", "bytes"),
        Column("slowest stage"),
    )
    rows = []
    notes = []
    for one in study.trained:
        told, size = one.report, one.tokenizer.vocab_size
        slowest = one.slowest["stage"]
        about = (told["corpus_bytes"], size, told["seconds"], one.peak_memory)
        rows.append((one.name, *about, slowest))
        notes.append(
            f"{one.name}: {slowest} takes the most time, {one.slowest['seconds'] / told['seconds']:.0%} of it."
        )
        if told["ran_out_of_pairs"]:
            notes.append(f"{one.name}: the corpus ran out of pairs, so the vocabulary has {size:,} entries.")
    return Table("training", "Training", columns, rows, notes=notes)


def stages_table(study: Study) -> Table:
    """The same by stage."""
    columns = (
        Column("corpus"),
        Column("stage"),
        Column("seconds", "seconds", "time"),
        Column("share", "share"),
        Column("peak memory", "bytes"),
    )
    rows = [
        (one.name, stage["stage"], stage["seconds"], stage["seconds"] / one.report["seconds"], stage["peak_memory"])
        for one in study.trained
        for stage in one.report["stages"]
    ]
    note = "Memory: the most that the process, one for each corpus, had resident during the stage."
    return Table("stages", "Training by stage", columns, rows, notes=[note])


def longest_table(study: Study) -> Table:
    """The longest tokens, and what double-encoded ones were."""
    columns = (Column("corpus"), Column("token"), Column("bytes", "count"), Column("kind"), Column("repaired"))
    rows = []
    for one in study.trained:
        for token in one.vocabulary.longest(_LONGEST):
            repair = repaired(token)
            was = None if repair is None else repr(repair.text)
            rows.append((one.name, quoted(token), len(token), kind_of(token), was))
    notes = [*(_kinds(one.vocabulary) for one in study.trained), *explain_writeup()]
    return Table("longest", "The longest tokens", columns, rows, notes=notes)


def _kinds(vocabulary: Vocabulary) -> str:
    """Of all learned tokens, how many are what, and what the repaired ones were."""
    kinds = Counter(map(kind_of, vocabulary.learned))
    told = ", ".join(f"{kind} {count:,}" for kind, count in sorted(kinds.items(), key=lambda item: (-item[1], item)))
    note = f"{vocabulary.name}: of {len(vocabulary.learned):,} tokens of more than one byte, {told}."
    repairs = [(token, repair) for token in sorted(vocabulary.learned) if (repair := repaired(token))]
    if repairs:
        examples = ", ".join(f"{quoted(token)} was {repair.text!r}" for token, repair in repairs[:3])
        note += f" Each of the double-encoded is itself again when its repair is encoded so; {examples}."
    return note


def vocabularies_table(study: Study) -> Table:
    """Vocabularies side by side."""
    columns = (
        Column("corpus"),
        Column("learned tokens", "count", "learned"),
        Column("mean bytes", "number"),
        Column("longest", "count"),
        Column("leading space", "count"),
        Column("share", "share"),
        Column("in no other", "count"),
    )
    rows = []
    for one in study.trained:
        learned, spaces = one.vocabulary.learned, one.vocabulary.with_leading_space
        others = frozenset[bytes]().union(*(other.vocabulary.learned for other in study.trained if other is not one))
        mean, share = (amount / len(learned) if learned else None for amount in (sum(map(len, learned)), spaces))
        longest = max(map(len, learned), default=None)
        rows.append((one.name, len(learned), mean, longest, spaces, share, len(learned - others)))
    return Table("vocabularies", "Vocabularies: tokens of more than one byte", columns, rows)


def shared_table(study: Study) -> Table:
    """What each two vocabularies have in common."""
    columns = (
        Column("corpus"),
        Column("and"),
        Column("shared", "count"),
        Column("of the first", "share"),
        Column("of the second", "share"),
    )
    rows = []
    for one, other in combinations(study.trained, 2):
        sets = (one.vocabulary.learned, other.vocabulary.learned)
        shared = len(sets[0] & sets[1])
        rows.append((one.name, other.name, shared, *(shared / len(tokens) if tokens else None for tokens in sets)))
    notes = [] if rows else ["One vocabulary has nothing to share; give a second corpus."]
    return Table("shared", "Shared tokens", columns, rows, notes=notes)


def scripts_table(study: Study) -> Table:
    """How many tokens of each script are in each vocabulary, the most frequent first."""
    return _counts_table(
        study,
        Table("scripts", "Tokens by script", (Column("script"),), []),
        lambda one: one.scripts,
        lambda counts: [script for script, _ in sorted(counts.items(), key=lambda item: (-item[1], item[0]))],
    )


def lengths_table(study: Study) -> Table:
    """How many tokens have how many bytes."""
    bare = Table("lengths", "Tokens by length", (Column("length in bytes", "count", "bytes"),), [])
    return _counts_table(study, bare, lambda one: one.lengths, sorted)


def _counts_table(
    study: Study,
    bare: Table,
    counts_of: Callable[[Vocabulary], Counter[Any]],
    order: Callable[[Counter[Any]], Iterable[Any]],
) -> Table:
    """One column a vocabulary."""
    counts = [counts_of(one.vocabulary) for one in study.trained]
    rows = [(key, *(count[key] for count in counts)) for key in order(sum(counts, Counter()))]
    # A corpus may have the name of another column, so its own says more than that.
    columns = (*bare.columns, *(Column(f"tokens of {one.name}", "count", one.name) for one in study.trained))
    return Table(bare.name, bare.title, columns, rows)


def compression_table(study: Study) -> Table:
    """Bytes a token: every tokenizer on documents of every corpus."""
    names = list(study.samples)
    ratios = {
        (one.name, corpus): sum(map(len, texts)) / sum(map(one.tokenizer.count, texts))
        for one in study.trained
        for corpus, texts in study.samples.items()
    }
    rows = [(name, *(ratios[name, corpus] for corpus in names)) for name in names]
    notes = []
    for corpus, texts in study.samples.items():
        best = max(names, key=lambda name: ratios[name, corpus])
        drawn = f"{len(texts)} document{'s' if len(texts) > 1 else ''} drawn, {sum(map(len, texts)):,} bytes"
        notes.append(f"{corpus}: {drawn}; the tokenizer of {best} has the most bytes a token.")
        for name in names:
            change = ratios[name, corpus] / ratios[corpus, corpus] - 1
            if name != corpus:
                word = "more" if change >= 0 else "fewer"
                notes.append(f"{corpus} under the tokenizer of {name}: {abs(change):.1%} {word} than under its own.")
    columns = (Column("tokenizer of"), *(Column(f"on {name}", "number") for name in names))
    return Table("compression", f"Bytes a token, seed {study.seed}", columns, rows, notes=notes)


def throughput_table(study: Study) -> Table:
    """How fast every tokenizer encodes every corpus, and how long the Pile would take."""
    columns = (
        Column("tokenizer of"),
        Column("corpus", short="on"),
        Column("bytes", "bytes", "text"),
        Column("seconds", "seconds", "time"),
        Column("bytes per second", "bytes per second", "speed"),
        Column("seconds for the Pile", "seconds", "the Pile"),
    )
    threads = study.threads or cores()
    note = (
        f"From file to file on {threads} thread{'s' if threads > 1 else ''}, the median of {study.repeats};"
        f" the Pile has {PILE_BYTES / 1e9:g} GB."
    )
    rows: list[tuple[Any, ...]] = [
        (*names, found.stats.bytes, found.seconds, found.speed, PILE_BYTES / found.speed)
        for names, found in study.encodings.items()
    ]
    return Table("throughput", "Encoding", columns, rows, notes=[note, _writeup_speed()])


def files_table(study: Study) -> Table:
    """What the tokens of every corpus take on disk under every tokenizer."""
    columns = (
        Column("tokenizer of"),
        Column("corpus", short="on"),
        Column("bytes", "bytes", "text"),
        Column("tokens", "count"),
        Column("dtype", short="type"),
        Column("token file", "bytes"),
    )
    rows: list[tuple[Any, ...]] = [
        (*names, found.stats.bytes, found.stats.tokens, found.stats.dtype, found.file_bytes)
        for names, found in study.encodings.items()
    ]
    notes = []
    for one in study.trained:
        found, largest = study.encodings[one.name, one.name], one.tokenizer.vocab_size - 1
        fits = "fit into" if largest < 1 << 16 else "are too large for"
        notes.append(
            f"{one.name}: ids up to {largest:,} {fits} uint16 (up to 65,535); the token file, of {found.stats.dtype},"
            f" has {found.file_bytes / found.stats.bytes:.0%} of the text's size."
        )
    return Table("files", "Token files", columns, rows, notes=notes)


def _writeup_speed() -> str:
    """The write-up's sum, and the right one."""
    right, wrong = (PILE_BYTES / speed / 3600 for speed in (_WRITEUP_SPEED, _WRITEUP_DIVISOR))
    given = math.floor(wrong)  # it drops what is behind the point
    return (
        f"The write-up divides by {_WRITEUP_DIVISOR:,} bytes a second, {_WRITEUP_DIVISOR / _WRITEUP_SPEED:.0f} times"
        f" what it measured. {_WRITEUP_SPEED:,.0f} bytes a second are {right:,.0f} hours"
        f" ({readable(right * 3600, 'seconds')}), not {given:,}."
    )


TABLES: dict[str, Callable[[Study], Table]] = {
    "training": training_table,
    "stages": stages_table,
    "longest": longest_table,
    "vocabularies": vocabularies_table,
    "shared": shared_table,
    "scripts": scripts_table,
    "lengths": lengths_table,
    "compression": compression_table,
    "throughput": throughput_table,
    "files": files_table,
}
"""The tables, by the name that asks for them."""
