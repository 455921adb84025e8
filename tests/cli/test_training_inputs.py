"""`cs336 tokenizer train`: what it reads, and what it tells at its end."""

from __future__ import annotations

import gzip
import json
import re
import sys

import pytest

TRAIN = ["tokenizer", "train", "--output", "t.json", "--vocab-size"]


@pytest.fixture
def corpus(tmp_path):
    (tmp_path / "a.txt").write_text("low lower lowest", encoding="utf-8")
    (tmp_path / "b.txt.gz").write_bytes(gzip.compress(b"newest widest"))
    (tmp_path / "c.jsonl").write_text('{"text": "low"}\n{"text": null}\n{"text": "new"}\n', encoding="utf-8")
    return tmp_path


def test_every_kind_of_input_in_one_call(cs336, corpus):
    done = cs336(*TRAIN, "270", "*.txt", "b.txt.gz", "c.jsonl", "--json")
    assert done.returncode == 0, done.stderr
    summary = json.loads(done.stdout)
    assert summary["corpus_bytes"] == 16 + 13 + 6
    assert (summary["documents"], summary["pretokens"], summary["distinct_pretokens"]) == (4, 7, 6)
    assert summary["ran_out_of_pairs"] is False
    assert [stage["stage"] for stage in summary["stages"]] == ["counting", "merging", "saving"]
    assert sum(stage["seconds"] for stage in summary["stages"]) <= summary["seconds"]
    assert "profile" not in summary


def test_the_summary_for_people_says_the_same(cs336, corpus):
    done = cs336(*TRAIN, "257", "--special-token", "<e>", "a.txt")
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    rows = dict(re.findall(r"(?m)^ (\S.*?) {2,}(\S.*?) *$", done.stdout))
    assert (rows["corpus bytes"], rows["pretokens"], rows["merges"]) == ("16", "3", "0")
    memory = ", at most " if sys.platform == "linux" else ""
    assert all(f" s{memory}" in rows[stage] for stage in ("counting", "merging", "saving"))


def test_a_profile_names_steps_and_speeds(cs336, corpus):
    shown = cs336(*TRAIN, "270", "a.txt", "--profile", "--threads", "2").stdout
    for words in ("step: reading", "step: finding pairs", "counting by thread", "merges per second"):
        assert words in shown
    profile = json.loads(cs336(*TRAIN, "262", "a.txt", "--profile", "--json", "--threads", "2").stdout)["profile"]
    assert len(profile["thread_seconds"]) == 1  # for the text is one task
    assert {step["step"] for step in profile["steps"]} >= {"reading", "counting", "merges"}
    assert profile["merges_per_second"] > 0


def test_a_corpus_that_runs_out_of_pairs_is_a_warning(cs336, corpus):
    done = cs336(*TRAIN, "5000", "a.txt", "--json")
    assert done.returncode == 0
    assert json.loads(done.stdout)["ran_out_of_pairs"] is True
    merges = json.loads(done.stdout)["merges"]
    expected = f"warning: the corpus ran out of pairs after {merges} merges, so the vocabulary is smaller than 5,000"
    assert done.stderr == f"{expected}; give more text\n"
    rare = cs336(*TRAIN, "5000", "a.txt", "--json", "--min-frequency", "3").stderr
    assert rare.startswith("warning: no pair is left that occurs 3 times after 2 merges, so")
    assert rare.endswith("; give more text, or a smaller --min-frequency\n")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            ["1"],
            "no pair is left that makes a token of at most 1 byte after 0 merges, so",
        ),
        (
            ["3", "--min-frequency", "2"],
            "no pair is left that occurs 2 times and makes a token of at most 3 bytes",
        ),
    ],
)
def test_a_limit_is_named_where_no_pair_is_left(cs336, corpus, words, said):
    shown = cs336(*TRAIN, "5000", "a.txt", "--max-token-length", *words).stderr
    assert shown.startswith(f"warning: {said} ")
    assert ", or a greater --max-token-length" in shown


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["none/*.txt"], "none/*.txt: no file matches this pattern; check its folder and its name"),
        (["-", "-"], "standard input (-) can be read only once; give it once"),
        (["c.jsonl", "--text-column", "body"], 'line 1: there is no column "body"; the columns are: "text"'),
        (["a.txt", "--format", "jsonl"], "a.txt: not a valid JSON Lines file: line 1: "),
        (["a.txt", "--format", "parquet"], "a.txt: not a valid Parquet file: "),
        (["bad.txt.gz"], "bad.txt.gz: not a valid gzip file: it does not begin as its name says"),
    ],
)
def test_bad_inputs_are_one_line(cs336, corpus, words, said):
    (corpus / "bad.txt.gz").write_text("plain", encoding="utf-8")
    done = cs336(*TRAIN, "300", *words)
    assert done.returncode == 1
    assert done.stderr.startswith("error: ")
    assert said in done.stderr
    assert done.stderr.count("\n") == 1
    assert not (corpus / "t.json").exists()
