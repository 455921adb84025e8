"""The commands that count, merge counts and train from them."""

from __future__ import annotations

import json
import re
import sys

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
    assert (trained["max_memory"], trained["pretokens"]) == (1 << 30, 404)
    direct = json.loads(cs336("tokenizer", "train", "a.txt", "b.txt", *words, "texts.json").stdout)
    # All that training on the texts tells, but for what a counts file does not know.
    assert set(direct) - set(trained) == {"documents"}
    varying = {"tokenizer", "seconds", "stages", "max_memory"}
    assert {name: trained[name] for name in set(trained) - varying} == {
        name: direct[name] for name in set(direct) - varying - {"documents"}
    }
    assert [stage["stage"] for stage in trained["stages"]] == ["merging", "saving"]
    assert (texts / "counts.json").read_bytes() == (texts / "texts.json").read_bytes()


def test_counts_that_run_out_of_pairs_are_a_warning_as_texts_are(cs336, texts):
    cs336("tokenizer", "count", "a.txt", "--output", "a.counts")
    words = ["tokenizer", "train", "--vocab-size", "5000", "--output", "t.json", "--min-frequency", "3"]
    direct, trained = cs336(*words, "a.txt"), cs336(*words, "--from-counts", "a.counts")
    assert trained.stderr == direct.stderr
    assert trained.stderr.startswith("warning: no pair is left that occurs 3 times")
    memory = ", at most " if sys.platform == "linux" else ""
    assert re.search(rf"(?m)^ merging .* s{memory}", trained.stdout)


@pytest.mark.parametrize(
    "words", [["count"], ["train", "--vocab-size", "270"], ["train", "--vocab-size", "270", "--from-counts"]]
)
def test_progress_can_be_asked_for_in_a_pipe(cs336, texts, monkeypatch, words):
    cs336("tokenizer", "count", "a.txt", "--output", "a.counts")
    monkeypatch.setattr("cs336.bars._SECONDS_BETWEEN_LINES", -1)
    words = ["tokenizer", *words, "a.counts" if words[-1] == "--from-counts" else "a.txt", "--output", "out"]
    assert cs336(*words).stderr == ""
    assert "ing " in cs336(*words, "--progress", "--json").stderr


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
    "a format": (
        ["train", "--from-counts", "a.counts", "--vocab-size", "300", "--format", "jsonl"],
        "leave --format out: it is about INPUTS",
    ),
    "a column": (
        ["train", "--from-counts", "a.counts", "--vocab-size", "300", "--text-column", "text"],
        "leave --text-column out: it is about INPUTS",
    ),
    "a profile": (
        ["train", "--from-counts", "a.counts", "--vocab-size", "300", "--profile"],
        "leave --profile out: it is about counting",
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
