"""The commands that count, merge counts and train from them."""

from __future__ import annotations

import json

import pytest

WORDS = "low lower widest newest "


@pytest.fixture
def texts(tmp_path):
    for name in ("a", "b"):
        (tmp_path / f"{name}.txt").write_text(f"{WORDS * 50}<|endoftext|>{name}", encoding="utf-8")
    return tmp_path


def test_count_merge_and_train(cs336, texts):
    for name in ("a", "b"):
        done = cs336("tokenizer", "count", f"{name}.txt", "--output", f"{name}.counts", "--json")
        assert done.returncode == 0, done.stderr
        counted = json.loads(done.stdout)
        assert counted["corpus_bytes"] == (texts / f"{name}.txt").stat().st_size
        assert counted["max_memory"] >= 64 << 20
        assert (counted["pre_tokens"], counted["distinct"], counted["spilled_runs"]) == (202, 7, 0)
    done = cs336("tokenizer", "merge-counts", "a.counts", "b.counts", "--output", "both.counts", "--json")
    assert done.returncode == 0, done.stderr
    merged = json.loads(done.stdout)
    assert (merged["files"], merged["pre_tokens"], merged["special_tokens"]) == (2, 404, ["<|endoftext|>"])
    words = ["--vocab-size", "270", "--json", "--output"]
    done = cs336("tokenizer", "train", "--from-counts", "both.counts", *words, "counts.json", "--max-memory", "1GiB")
    assert done.returncode == 0, done.stderr
    trained = json.loads(done.stdout)
    assert (trained["max_memory"], trained["pre_tokens"]) == (1 << 30, 404)
    direct = json.loads(cs336("tokenizer", "train", "a.txt", "b.txt", *words, "texts.json").stdout)
    assert {direct[name] == trained[name] for name in ("vocab_size", "merges", "corpus_bytes", "longest_tokens")} == {
        True
    }
    assert (texts / "counts.json").read_bytes() == (texts / "texts.json").read_bytes()


def test_people_read_numbers(cs336, texts):
    shown = cs336("tokenizer", "count", "a.txt", "--output", "a.counts", "--max-memory", "500MB").stdout
    assert "max memory" in shown
    assert "500,000,000" in shown


BAD = {
    "no input": (["train", "--vocab-size", "300"], "give INPUTS, or --from-counts"),
    "two inputs": (["train", "a.txt", "--from-counts", "a.counts", "--vocab-size", "300"], "either INPUTS or"),
    "a pattern": (
        ["train", "--from-counts", "a.counts", "--vocab-size", "300", "--pattern", "gpt2"],
        "leave --pattern out: the counts file says it",
    ),
    "a special token": (
        ["train", "--from-counts", "a.counts", "--vocab-size", "300", "--special-token", "<e>"],
        "leave --special-token out: the counts file says it",
    ),
    "text for counts": (["train", "--from-counts", "a.txt", "--vocab-size", "300"], "not a valid counts file"),
    "no size": (["count", "a.txt", "--max-memory", "much"], "'much' is no size"),
    "a unit without a letter": (["count", "a.txt", "--max-memory", "3iB"], "'3iB' is no size"),
    "another pattern": (["merge-counts", "a.counts", "other.counts"], "not counted alike"),
    "nothing to merge": (["merge-counts"], "INPUTS"),
    "an address without Ray": (["count", "a.txt", "--ray-address", "auto"], "--ray-address goes with --engine ray"),
    "no folder for the output": (["count", "a.txt", "--output", "nowhere/a.counts"], "nowhere"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_words_are_one_line(name, cs336, texts):
    assert cs336("tokenizer", "count", "a.txt", "--output", "a.counts").returncode == 0
    assert cs336("tokenizer", "count", "a.txt", "--output", "other.counts", "--pattern", "cl100k").returncode == 0
    before = sorted(texts.iterdir())
    (command, *words), expected = BAD[name]
    done = cs336("tokenizer", command, "--output", "out", *words)
    assert done.returncode != 0
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1
    assert expected in done.stderr
    assert sorted(texts.iterdir()) == before


@pytest.mark.parametrize(
    ("size", "bytes_"),
    [("1000", 1000), ("10kB", 10_000), ("1.5MB", 1_500_000), ("2GiB", 2 << 30), ("1 TiB", 1 << 40), ("3k", 3000)],
)
def test_sizes(size, bytes_, cs336, texts):
    done = cs336("tokenizer", "count", "a.txt", "--output", "a.counts", "--max-memory", size, "--json")
    assert json.loads(done.stdout)["max_memory"] == bytes_
