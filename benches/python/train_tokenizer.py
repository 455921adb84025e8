"""Train the same vocabulary with every trainer that is installed, side by side, and print a table.

Each run is a process of its own: a text file in, merges out. Rounds are interleaved, so that a slow minute of the
machine hits everybody; what counts are the ratios. Rivals that are not installed are left out and named:

    pip install gigabpe gigatoken ffbpe rustbpe tokenizers
    python benches/python/train_tokenizer.py corpus.txt --vocab-size 10000 --threads 1 --threads 2 --output results
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import statistics
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from side_by_side import Run, digest, facts, run_python, write

GPT2 = r"'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"

# Each takes the path of the corpus, the size of the vocabulary, the number of threads, and the file to write.
PROGRAMS = {
    "cs336": """
import cs336
cs336.train_bpe(path, size, ["<|endoftext|>"], threads=threads, progress=False).save(target)
""",
    "gigabpe": """
import gigabpe
gigabpe.train_tokenizer([path], vocab_size=size, output=target, pretokenizer="bytelevel",
                        special_tokens=["<|endoftext|>"], threads=threads)
""",
    "gigatoken": """
import gigatoken
source = gigatoken.TextFileSource([path], separator=b"<|endoftext|>")
result = gigatoken.train_bpe(source, size, ["<|endoftext|>"])
open(target, "w").write(str(len(str(result))))
""",
    "ffbpe": """
from ffbpe import BpeTrainer, PreTokenizer
counter = PreTokenizer(["<|endoftext|>"]).word_counter()
counter.add_source([open(path).read()])
trainer = BpeTrainer(["<|endoftext|>"], tie_break="largest_content")
trainer.add_word_counter(counter)
trainer.train(size)
trainer.validate_model().save_merges_txt(target)
""",
    "rustbpe": f"""
import rustbpe
tokenizer = rustbpe.Tokenizer()
texts = open(path).read().split("<|endoftext|>")
tokenizer.train_from_iterator(iter(texts), size - 1, pattern={GPT2!r})
open(target, "w").write(str(len(tokenizer.get_mergeable_ranks())))
""",
    "tokenizers": """
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
tokenizer = Tokenizer(models.BPE())
tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
trainer = trainers.BpeTrainer(vocab_size=size, special_tokens=["<|endoftext|>"], show_progress=False,
                              initial_alphabet=pre_tokenizers.ByteLevel.alphabet())
tokenizer.train([path], trainer)
tokenizer.save(target)
""",
}


@dataclass
class Result:
    """One trainer on one corpus: medians over the rounds."""

    corpus: str
    vocab_size: int
    threads: int
    trainer: str
    seconds: float
    cpu_seconds: float
    peak_megabytes: float
    ratio: float = 1.0
    """Times as long as cs336."""


def run(trainer: str, corpus: Path, size: int, threads: int, target: Path) -> Run:
    """Start a trainer and wait for it; its time, processor time and peak memory."""
    code = f"path, size, threads, target = {str(corpus)!r}, {size}, {threads}, {str(target)!r}\n{PROGRAMS[trainer]}"
    return run_python(code, RAYON_NUM_THREADS=str(threads), TOKENIZERS_PARALLELISM="true")


def measure(corpus: Path, size: int, threads: int, trainers: list[str], rounds: int) -> Iterator[Result]:
    """Every trainer once a round."""
    runs: dict[str, list[Run]] = {trainer: [] for trainer in trainers}
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(rounds):
            for trainer in trainers:
                runs[trainer].append(run(trainer, corpus, size, threads, Path(folder) / trainer))
        if "ffbpe" in trainers:
            check_merges(Path(folder))
    for trainer, mine in runs.items():
        yield Result(
            corpus=corpus.name,
            vocab_size=size,
            threads=threads,
            trainer=trainer,
            seconds=statistics.median(one.seconds for one in mine),
            cpu_seconds=statistics.median(one.cpu_seconds for one in mine),
            peak_megabytes=statistics.median(one.peak_megabytes for one in mine),
            ratio=statistics.median(one.seconds / ours.seconds for one, ours in zip(mine, runs["cs336"], strict=True)),
        )


def check_merges(folder: Path) -> None:
    """Hold our merges against those of the one rival that settles ties as we do."""
    model = json.loads((folder / "cs336").read_text("utf-8"))["model"]
    ours = [tuple(pair) for pair in model["merges"]]
    lines = (folder / "ffbpe").read_text("utf-8").split("\n")
    pairs = [line.partition(" => ")[0] for line in lines if line and not line.startswith("#version")]
    theirs = [tuple(pair.split(" ")) for pair in pairs]
    if ours != theirs:
        first = next((at for at, pair in enumerate(zip(ours, theirs, strict=False)) if pair[0] != pair[1]), None)
        raise RuntimeError(f"the merges differ from ffbpe's ({len(ours)} and {len(theirs)}), first at {first}")


def markdown(results: list[Result]) -> str:
    """The results as a table."""
    lines = [
        "| corpus | entries | threads | trainer | seconds | CPU seconds | peak MB | times as long |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for one in results:
        lines.append(
            f"| {one.corpus} | {one.vocab_size:,} | {one.threads} | {one.trainer} | {one.seconds:.2f} "
            f"| {one.cpu_seconds:.2f} | {one.peak_megabytes:.0f} | {one.ratio:.1f} |"
        )
    return "\n".join(lines)


def main() -> None:
    """Read the command line, measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("corpora", nargs="+", type=Path)
    parser.add_argument("--vocab-size", type=int, action="append", help="default: 10000")
    parser.add_argument("--threads", type=int, action="append", help="default: 1")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--trainer", action="append", help="only these, besides cs336")
    parser.add_argument("--output", type=Path, help="write OUTPUT.md and OUTPUT.json")
    options = parser.parse_args()
    asked = options.trainer or list(PROGRAMS)
    trainers = [name for name in PROGRAMS if name == "cs336" or (name in asked and importlib.util.find_spec(name))]
    missing = sorted(set(asked) - set(trainers))
    if missing:
        print(f"not installed, left out: {', '.join(missing)}", file=sys.stderr)
    results: list[Result] = []
    for corpus in options.corpora:
        for size in options.vocab_size or [10_000]:
            for threads in options.threads or [1]:
                results += measure(corpus, size, threads, trainers, options.rounds)
                print(markdown(results[-len(trainers) :]), flush=True)
    if options.output:
        about = facts(
            trainers,
            rounds=options.rounds,
            sha256={c.name: digest(c) for c in options.corpora},
            results=[asdict(one) for one in results],
        )
        write(options.output, markdown(results), about)


if __name__ == "__main__":
    main()
