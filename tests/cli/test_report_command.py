"""cs336 report: what it prints, and what it refuses."""

from __future__ import annotations

import json

import pytest

from cs336.experiments.report.parts import PARTS


@pytest.fixture
def corpora(tmp_path):
    for name in ("cats", "dogs"):
        text = "".join(f"the {name} saw {number} hats\n<|endoftext|>\n" for number in range(20))
        (tmp_path / f"{name}.txt").write_text(text, encoding="utf-8")
    return ["--corpus", "cats.txt", "--corpus", "dogs.txt"]


def test_parts_are_listed(cs336):
    told = json.loads(cs336("report", "--list", "--json").stdout)
    assert list(told) == [part.name for part in PARTS]


def test_a_part_is_measured_once(cs336, corpora, tmp_path):
    words = ("report", *corpora, "--only", "unicode", "--json")
    told = json.loads(cs336(*words).stdout)
    assert told["unicode"] == "measured"
    assert told["training"] == "not asked for"
    assert (tmp_path / told["page"]).read_text("utf-8").startswith("<!DOCTYPE html>")
    assert json.loads(cs336(*words).stdout)["unicode"] == "kept"
    page = (tmp_path / told["markdown"]).read_text("utf-8")
    assert "cs336 report --corpus cats.txt --corpus dogs.txt --out report --only unicode --restart" in page


def test_one_corpus_is_enough(cs336, corpora, tmp_path):
    words = ("report", *corpora[:2], "--vocab-size", "270", "--only", "tokenizers", "--only", "vocabularies")
    done = cs336(*words)
    assert done.returncode == 0, done.stderr
    page = (tmp_path / "report" / "report.md").read_text("utf-8")
    assert "the one measured is the tokenizer of cats on cats, with" in page
    assert "the slowest" not in page


def test_a_part_that_fails_makes_the_status_1(cs336, corpora, tmp_path):
    words = ("report", *corpora, "--vocab-size", "3", "--only", "unicode", "--only", "vocabularies", "--out", "out")
    done = cs336(*words)
    assert done.returncode == 1
    assert done.stderr.endswith("error: 2 of 11 parts failed: bpe, vocabularies; see the page\n")
    page = (tmp_path / "out" / "report.md").read_text("utf-8")
    assert "**This part failed.** vocab\\_size 3 is too small" in page
    assert "chr(0) is U+0000" in page


@pytest.mark.parametrize(
    ("words", "status", "message"),
    [
        ([], 2, "give --corpus FILE, best twice"),
        (["--corpus", "none.txt"], 1, "none.txt: No such file or directory; check the path"),
        (["--corpus", "cats.txt", "--corpus", "./cats.txt"], 1, "hold the same text"),
        (["--corpus", "cats.txt", "--only", "nothing"], 1, "there is no part 'nothing'"),
        (["--corpus", "cats.txt", "--out", "."], 1, "holds no report; name another folder with --out"),
        (["--corpus", "cats.txt", "--out", "dogs.txt"], 1, "dogs.txt"),
    ],
)
def test_what_is_refused(cs336, corpora, tmp_path, words, status, message):
    done = cs336("report", *words)
    assert (done.returncode, done.stdout) == (status, "")
    assert message in done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cats.txt", "dogs.txt"]


@pytest.mark.slow
def test_the_whole_report(cs336, tmp_path):
    assert cs336("stories", "--count", "300", "--output", "a.txt").returncode == 0
    assert cs336("stories", "--count", "300", "--seed", "7", "--output", "b.txt").returncode == 0
    words = ("report", "--corpus", "a.txt", "--corpus", "b.txt", "--vocab-size", "600", "--quick", "--json")
    done = cs336(*words)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert all(told[part.name] == "measured" for part in PARTS)
    page = (tmp_path / told["page"]).read_text("utf-8")
    assert page.count('<img src="data:image/png;base64,') == 7
    assert "Not measured yet" not in page
    again = json.loads(cs336(*words).stdout)
    assert all(again[part.name] == "kept" for part in PARTS)
