"""No output takes the place of what it is made from, whatever name that goes by."""

from __future__ import annotations

import os

import numpy as np
import pytest

from cs336 import count_pretokens, encode_files, merge_counts, train_bpe, train_bpe_from_iterator
from cs336.errors import ConfigError

COMMANDS = {
    "train": ["train", "s.txt", "--vocab-size", "300", "--output", "OUTPUT"],
    "train on a pattern": ["train", "other.txt", "s*.txt", "--vocab-size", "300", "--output", "OUTPUT"],
    "train on standard input": ["train", "-", "--vocab-size", "300", "--output", "OUTPUT"],
    "train on counts": ["train", "--from-counts", "s.txt", "--vocab-size", "300", "--output", "OUTPUT"],
    "extend": ["train", "other.txt", "--extend", "s.txt", "--vocab-size", "300", "--output", "OUTPUT"],
    "count": ["count", "s.txt", "--output", "OUTPUT"],
    "merge-counts": ["merge-counts", "s.*", "--output", "OUTPUT"],
    "encode": ["encode", "s.txt", "OUTPUT", "--tokenizer", "t.json"],
    "encode onto the tokenizer": ["encode", "other.txt", "OUTPUT", "--tokenizer", "s.txt"],
    "decode": ["decode", "s.txt", "--tokenizer", "t.json", "--output", "OUTPUT"],
    "decode onto the tokenizer": ["decode", "--ids", "1 2", "--tokenizer", "s.txt", "--output", "OUTPUT"],
}


@pytest.fixture
def sources(cs336, tmp_path):
    """A folder with a text, and a tokenizer trained on it."""
    (tmp_path / "other.txt").write_text("low lower lowest " * 50, encoding="utf-8")
    words = ["tokenizer", "train", "other.txt", "--vocab-size", "260", "--output", "t.json"]
    assert cs336(*words).returncode == 0
    return tmp_path


def write_source(name: str, folder, cs336) -> None:
    """Makes s.txt what the command takes."""
    source = folder / "s.txt"
    if name in ("extend", "encode onto the tokenizer", "decode onto the tokenizer"):
        source.write_bytes((folder / "t.json").read_bytes())
    elif name in ("merge-counts", "train on counts"):
        assert cs336("tokenizer", "count", "other.txt", "--output", "s.txt").returncode == 0
    elif name == "decode":
        with source.open("wb") as file:
            np.save(file, np.array([97, 98], dtype=np.uint16))
    else:
        source.write_text("low lower lowest " * 50, encoding="utf-8")
    (folder / "symbolic").symlink_to("s.txt")
    (folder / "hard").hardlink_to(source)


@pytest.mark.parametrize("output", ["s.txt", "./s.txt", "symbolic", "hard"])
@pytest.mark.parametrize("name", COMMANDS)
def test_a_source_is_never_overwritten(name, output, cs336, sources):
    write_source(name, sources, cs336)
    before = {path.name: path.read_bytes() for path in sources.iterdir()}
    words = [output if word == "OUTPUT" else word for word in COMMANDS[name]]
    kept = os.dup(0)
    try:
        with (sources / "s.txt").open("rb") as source:
            os.dup2(source.fileno(), 0)
        done = cs336("tokenizer", *words)
    finally:
        os.dup2(kept, 0)
        os.close(kept)
    assert done.returncode == 1
    assert done.stderr.startswith("error: ")
    assert "would overwrite the source; give" in done.stderr
    assert done.stderr.count("\n") == 1
    assert {path.name: path.read_bytes() for path in sources.iterdir()} == before


def test_the_functions_refuse_it_too(tmp_path):
    text, counts = tmp_path / "s.txt", tmp_path / "s.counts"
    text.write_text("low lower lowest", encoding="utf-8")
    count_pretokens(text, counts)
    tokenizer = train_bpe(text, 260)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    calls = (
        lambda: count_pretokens(tmp_path / "*.txt", text),
        lambda: merge_counts([counts], counts),
        lambda: tokenizer.encode_file(text, text),
    )
    for call in calls:
        with pytest.raises(ConfigError, match="would overwrite the source; give"):
            call()
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_a_sidecar_overwrites_no_source_either(cs336, sources):
    before = {path.name: path.read_bytes() for path in sources.iterdir()}
    done = cs336("tokenizer", "encode", "other.txt", "t", "--tokenizer", "t.json")
    assert "t.json would be written, which would overwrite the source; give" in done.stderr
    assert {path.name: path.read_bytes() for path in sources.iterdir()} == before


INPUTS = {
    "shards": ["web-00000.txt", "web-00001.txt", "web-00002.txt"],
    "a later shard": ["web-00003.txt"],
    "a shard past five digits": ["web-100000.txt"],
    "sidecar of a shard": ["web-00000.txt.json"],
    "ids of a shard under way": ["web-00002.txt.partial"],
    "the record": ["web.txt.partial.json"],
    "what the record is written to": ["web.txt.partial.json.new"],
    "the lock": ["web.txt.partial.lock"],
}


@pytest.mark.parametrize("restart", [[], ["--restart"]])
@pytest.mark.parametrize("link", ["", "symbolic", "hard"])
@pytest.mark.parametrize("names", INPUTS.values(), ids=INPUTS)
def test_no_name_that_an_output_may_take_is_a_source(names, link, restart, cs336, sources):
    for name in names:
        (sources / name).write_text("low lower lowest " * 50, encoding="utf-8")
        if link:
            (source := sources / f"{link} {name}").write_text("low lower lowest " * 50, encoding="utf-8")
            (sources / name).unlink()
            if link == "hard":
                (sources / name).hardlink_to(source)
            else:
                (sources / name).symlink_to(source.name)
    before = {path.name: path.read_bytes() for path in sources.iterdir()}
    inputs = [f"{link} {name}" if link else name for name in names]
    words = ["tokenizer", "encode", *inputs, "web.txt", "--tokenizer", "t.json", "--shard-tokens", "5", *restart]
    done = cs336(*words)
    assert done.returncode == 1
    assert "would overwrite the source; give" in done.stderr
    assert {path.name: path.read_bytes() for path in sources.iterdir()} == before


def test_no_name_that_an_output_may_take_is_the_tokenizer(cs336, sources):
    (sources / "t.json").rename(sources / "z-00000.npy.json")
    before = {path.name: path.read_bytes() for path in sources.iterdir()}
    done = cs336("tokenizer", "encode", "other.txt", "z.npy", "--tokenizer", "z-00000.npy.json", "--shard-tokens", "9")
    assert "z-00000.npy.json would be written, which would overwrite the source; give" in done.stderr
    assert {path.name: path.read_bytes() for path in sources.iterdir()} == before


@pytest.mark.parametrize("name", ["o.npy.partial", "o.npy.partial.json", "o.npy.partial.lock", "o.npy.json"])
@pytest.mark.parametrize("restart", [False, True])
def test_what_is_under_way_overwrites_no_source(name, restart, tmp_path):
    tokenizer = train_bpe_from_iterator(["low lower lowest"], 260, ["<|endoftext|>"])
    (tmp_path / name).write_text("low lower lowest", encoding="utf-8")
    with pytest.raises(ConfigError, match="would overwrite the source; give"):
        encode_files(tokenizer, [tmp_path / name], tmp_path / "o.npy", restart=restart)
    assert {path.name: path.read_text("utf-8") for path in tmp_path.iterdir()} == {name: "low lower lowest"}


def test_names_that_only_look_like_an_output_are_taken(tmp_path):
    tokenizer = train_bpe_from_iterator(["low lower lowest"], 260, ["<|endoftext|>"])
    names = ["o-1.txt", "o-000001.txt", "o-00000.txt.old", "o-00000-00000.txt", "o-00000x.txt"]
    for name in names:
        (tmp_path / name).write_text("low lower lowest", encoding="utf-8")
    inputs = [tmp_path / name for name in names]
    names.append("o-20260101.txt")  # a number of more digits than shards have, most likely a date
    (tmp_path / names[-1]).write_text("low lower lowest", encoding="utf-8")
    for restart in (False, True):
        encode_files(tokenizer, inputs, tmp_path / "o.txt", shard_tokens=5, restart=restart)
        assert all((tmp_path / name).read_text("utf-8") == "low lower lowest" for name in names)
