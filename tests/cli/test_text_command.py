"""cs336 text: what it takes, and that nothing in it garbles what it prints."""

from __future__ import annotations

import csv
import io
import json
import subprocess
import sys
import unicodedata

import pytest

from cs336 import train_bpe_from_iterator

STRANGE = "naïve 😧 שלום 12 صفر\t\u202e\u2066\x1b[2J e\u0301 \r\n \u2028漢字"


def test_the_write_ups_bytes_are_explained(cs336):
    told = json.loads(cs336("text", "--hex", "C0 C0", "--json").stdout)
    assert list(told) == ["text_bytes", "characters", "sizes", "bytes", "pretokens"]
    assert told["text_bytes"] == 2
    first = told["bytes"]["rows"][0]
    assert (first["hex"], first["bits"], first["part_of"]) == ("C0", "11000000", "nothing")
    assert "never in UTF-8" in first["what_it_says"]


@pytest.mark.parametrize("form", ["table", "markdown"])
def test_nothing_garbles_the_page(cs336, form):
    done = cs336("text", STRANGE, "--format", form)
    assert done.returncode == 0, done.stderr
    for line in done.stdout.split("\n"):
        marks = [sign for sign in line if not sign.isprintable()]
        assert marks == ["\u2066", "\u2069"] * (len(marks) // 2)
        # Outside of isolates nothing is read from right to left.
        outside = "".join(part.rpartition("\u2069")[2] for part in line.split("\u2066"))
        assert not any(unicodedata.bidirectional(sign) in ("R", "AL", "AN") for sign in outside)
    assert "'\\x1b'" in done.stdout
    assert "ש" in done.stdout


def test_a_text_comes_as_words_as_a_file_or_by_standard_input(cs336, tmp_path):
    (tmp_path / "a.txt").write_bytes(b"two words")
    expected = cs336("text", "two", "words").stdout
    assert "9 bytes" in expected
    assert cs336("text", "--file", "a.txt").stdout == expected
    piped = subprocess.run(
        [sys.executable, "-m", "cs336", "text", "--json"], input=b"two words", capture_output=True, check=True
    )
    assert json.loads(piped.stdout) == json.loads(cs336("text", "two", "words", "--json").stdout)


def test_a_single_dash_is_standard_input_and_one_is_one(cs336):
    piped = subprocess.run([sys.executable, "-m", "cs336", "text", "-"], input=b"x", capture_output=True, check=True)
    told = piped.stdout.decode()
    assert told.startswith("1 byte\n")
    assert "1 character." in told
    assert "1 pre-token of 1 byte." in told
    assert json.loads(cs336("text", "-", "-", "--json").stdout)["text_bytes"] == 3


def test_a_text_that_is_a_files_name_is_text(cs336, tmp_path):
    (tmp_path / "a.txt").write_bytes(b"content")
    done = cs336("text", "a.txt")
    assert "LATIN SMALL LETTER X" in done.stdout
    assert done.stderr == "note: TEXT is the name of a file, too; to look into it: --file 'a.txt'\n"


def test_bytes_of_the_command_line_that_are_not_utf8(cs336):
    told = json.loads(cs336("text", "a\udcc0", "--json").stdout)
    assert [row["UTF-8"] for row in told["characters"]["rows"]] == ["61", "C0"]


def test_tokens_of_a_tokenizer(cs336, tmp_path):
    tokenizer = train_bpe_from_iterator(["the cat the hat"], 260)
    tokenizer.save(tmp_path / "t.json")
    done = cs336("text", "the bat", "--tokenizer", "t.json", "--table", "tokens", "--format", "csv")
    rows = list(csv.DictReader(io.StringIO(done.stdout)))
    assert [int(row["id"]) for row in rows] == tokenizer.encode("the bat")
    assert set(json.loads(cs336("text", "the", "--tokenizer", "t.json", "--json").stdout)) >= {"tokens", "pretokens"}


@pytest.mark.parametrize(
    ("words", "status", "message"),
    [
        (["a", "--hex", "41"], 2, "give TEXT or --hex, one of them"),
        (["--hex", "4"], 2, "--hex takes bytes of two hexadecimal digits each, not '4'"),
        (["--file", "none.txt"], 1, "none.txt: No such file or directory; check the path"),
        (["a", "--table", "tokens"], 2, "the table of tokens needs --tokenizer"),
        (["a", "--format", "csv"], 2, "CSV holds one table; name it: characters, sizes"),
        (["a", "--pattern", "gtp2"], 1, "gtp2"),
    ],
)
def test_what_it_refuses(cs336, words, status, message):
    done = cs336("text", *words)
    assert (done.returncode, done.stdout) == (status, "")
    assert message in done.stderr


def test_an_empty_text(cs336):
    assert "0 bytes" in cs336("text", "").stdout
