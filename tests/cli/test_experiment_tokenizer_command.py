"""cs336 experiment tokenizer: what it prints, what it leaves, and what it refuses."""

from __future__ import annotations

import json

import pytest

from cs336 import Tokenizer
from cs336.experiments.tokenizer_tables import TABLES


@pytest.fixture
def corpora(tmp_path_factory):
    folder = tmp_path_factory.mktemp("corpora")
    for name in ("cats", "dogs"):
        text = "".join(f"the {name} saw {number} hats\n<|endoftext|>\n" for number in range(20))
        (folder / f"{name}.txt").write_text(text, encoding="utf-8")
    return [folder / "cats.txt", folder / "dogs.txt"]


def test_the_command(cs336, corpora, tmp_path):
    words = ("experiment", "tokenizer", *corpora, "--vocab-size", "270", "--repeats", "1", "--documents", "3")
    done = cs336(*words, "--json", "--output", "kept", "--chart", "v.svg")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert list(told) == ["seed", "corpora", *TABLES]
    assert Tokenizer.load(tmp_path / "kept" / "cats.json").vocab_size == 270
    assert (tmp_path / "v.svg").read_bytes().startswith(b"<?xml")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["kept", "v.svg"]
    alike = cs336("experiment", "tokenizer", corpora[0], "--vocab-size", "270", "--table", "shared")
    assert "give a second corpus" in alike.stdout


@pytest.mark.parametrize(
    ("words", "status", "message"),
    [
        ([], 2, "CORPUS"),
        (["none.txt"], 1, "none.txt: No such file or directory; check the path"),
        (["."], 1, "name a file, not a folder"),
    ],
)
def test_what_the_command_refuses(cs336, words, status, message):
    done = cs336("experiment", "tokenizer", *words)
    assert (done.returncode, done.stdout) == (status, "")
    assert message in done.stderr
