"""cs336 tokenizer encode, decode, inspect, compare: what they write and print."""

from __future__ import annotations

import gzip
import json
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from cs336.data import stories
from cs336.tokenizer import Tokenizer, train_bpe_from_iterator

END = "<|endoftext|>"


@pytest.fixture(autouse=True)
def files(tmp_path: Path) -> None:
    texts = ["low lower  lowest\n", "newest 🐈 widest", "low low"]
    for name, size in (("small", 270), ("large", 290)):
        train_bpe_from_iterator(texts, size, [END]).save(tmp_path / f"{name}.json")
    (tmp_path / "a.txt").write_text(f"{texts[0]}{END}\n", "utf-8")
    (tmp_path / "b.txt").write_text(texts[1], "utf-8")
    (tmp_path / "c.jsonl").write_text("".join(json.dumps({"body": text}) + "\n" for text in texts), "utf-8")


def test_many_inputs_in_one_command(cs336, tmp_path):
    words = ["tokenizer", "encode", "*.txt", "c.jsonl", "out.npy", "--tokenizer", "large.json"]
    done = cs336(*words, "--text-column", "body", "--shard-tokens", "10", "--dtype", "uint32", "--json")
    assert done.returncode == 0, done.stderr
    stats = json.loads(done.stdout)
    assert stats["separators"] == 4
    assert stats["documents"] == 5
    assert stats["dtype"] == "uint32" == np.load(tmp_path / "out-00000.npy").dtype
    assert stats["files"] == [f"out-{number:05}.npy" for number in range(len(stats["files"]))]
    back = cs336("tokenizer", "decode", "out-*.npy", "--tokenizer", "large.json").stdout
    low, newest = f"low lower  lowest\n{END}", f"newest 🐈 widest{END}"
    assert back == f"{low}\n{newest}{low}{newest}low low{END}"
    cs336(*words, "--text-column", "body", "--no-separator", "--restart")
    assert END not in cs336("tokenizer", "decode", "out.npy", "--tokenizer", "large.json").stdout.replace(low, "", 1)


def test_a_link_does_not_hide_which_tokenizer_it_was(cs336, tmp_path):
    (tmp_path / "far").mkdir()
    (tmp_path / "link.npy").symlink_to("far/real.npy")
    assert cs336("tokenizer", "encode", "a.txt", "link.npy", "--tokenizer", "small.json").returncode == 0
    for name in ("link.npy", "far/real.npy"):
        assert cs336("tokenizer", "decode", name, "--tokenizer", "small.json").returncode == 0
        done = cs336("tokenizer", "decode", name, "--tokenizer", "large.json")
        assert done.returncode == 1
        assert "was encoded with another tokenizer than large.json" in done.stderr


def test_separators_have_to_be_special(cs336):
    done = cs336("tokenizer", "encode", "a.txt", "o.npy", "--tokenizer", "small.json", "--separator", "<x>")
    assert done.returncode == 1
    assert "is no special token of this tokenizer" in done.stderr


def test_a_cluster_is_asked_for_by_name(cs336):
    done = cs336("tokenizer", "encode", "a.txt", "o.npy", "--tokenizer", "small.json", "--ray-address", "x")
    assert done.returncode == 2
    assert "--engine ray" in done.stderr


@pytest.mark.skipif(sys.platform == "win32", reason="sends a signal")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_and_says_how_to_go_on(cs336, tmp_path, number):
    (tmp_path / "long.txt").write_text(" ".join(stories(3000)) * 40, "utf-8")
    words = ["tokenizer", "encode", "long.txt", "o.npy", "--tokenizer", "small.json"]
    run = subprocess.Popen(
        [sys.executable, "-c", "from cs336.cli import main; main()", *words],
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        text=True,
    )
    partial = tmp_path / "o.npy.partial"
    while run.poll() is None and not (partial.exists() and partial.stat().st_size > 1 << 20):
        time.sleep(0.01)
    os.kill(run.pid, number)
    _, errors = run.communicate(timeout=60)
    assert run.returncode == 130, errors
    said = [line for line in errors.splitlines() if line]
    assert said == ["what is done is kept; give the same command again to go on", "error: interrupted"]
    assert (tmp_path / "o.npy.partial.json").exists()
    assert not (tmp_path / "o.npy").exists()
    done = cs336(*words, "--json")
    assert json.loads(done.stdout)["resumed_at"] > 0, done.stderr
    whole = Tokenizer.load(tmp_path / "small.json").encode_numpy((tmp_path / "long.txt").read_bytes())
    assert np.array_equal(np.load(tmp_path / "o.npy")[:-1], whole)  # behind them is the separator
    assert not list(tmp_path.glob("*.partial*"))


@pytest.mark.skipif(sys.platform == "win32", reason="sends a signal")
def test_where_nothing_is_done_nothing_is_said_to_be_kept(tmp_path):
    words = ["tokenizer", "encode", "-", "o.npy", "--tokenizer", "small.json"]
    run = subprocess.Popen(
        [sys.executable, "-c", "from cs336.cli import main; main()", *words],
        cwd=tmp_path,
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    while run.poll() is None and not (tmp_path / "o.npy.partial").exists():
        time.sleep(0.01)
    os.kill(run.pid, signal.SIGINT)
    status = run.wait(timeout=60)  # while standard input is still open
    _, errors = run.communicate()
    assert status == 130, errors
    assert errors.strip() == "error: interrupted"
    assert not list(tmp_path.glob("o.npy*"))


def test_inspect_tells_what_is_used(cs336, tmp_path):
    seen = json.loads(cs336("tokenizer", "inspect", "large.json", "a.txt", "b.txt", "--json").stdout)
    raw = (tmp_path / "a.txt").read_bytes() + (tmp_path / "b.txt").read_bytes()
    tokenizer = train_bpe_from_iterator(["low lower  lowest\n", "newest 🐈 widest", "low low"], 290, [END])
    ids = tokenizer.encode(raw)
    assert seen["text_bytes"] == len(raw)
    assert seen["text_tokens"] == len(ids)
    assert seen["bytes_per_token"] == len(raw) / len(ids)
    assert seen["tokens_per_word"] == len(ids) / len(raw.decode().replace(END, " ").split())
    assert seen["tokens_used"] == len(set(ids))
    assert seen["tokens_never_used"] == len(seen["never_used"]) == tokenizer.vocab_size - len(set(ids))
    table = cs336("tokenizer", "inspect", "large.json", "c.jsonl", "--text-column", "body").stdout
    for row in ("tokens never used", "bytes per token", "longest tokens"):
        assert row in table


def test_a_token_as_long_as_the_text_is_cut_short(cs336, tmp_path):
    (tmp_path / "long.txt").write_text("a" * 100_000)
    train = ["tokenizer", "train", "long.txt", "--vocab-size", "1000", "--output", "long.json"]
    for words in (train, ["tokenizer", "inspect", "long.json", "long.txt"]):
        shown = "".join(cs336(*words).stdout.split())  # what is folded, in one line
        assert f"'{'a' * 60}'…(100,000bytes)" in shown
        assert "a" * 61 not in shown
        assert json.loads(cs336(*words, "--json").stdout)["longest_tokens"][0] == f"'{'a' * 60}'… (100,000 bytes)"


def test_a_text_is_shown_in_tokens(cs336):
    shown = cs336("tokenizer", "inspect", "large.json", "--text", f"low 🐈\n{END}é").stdout
    assert "\nlow| 🐈|⏎|<|endoftext|>|\\xc3|\\xa9\n6 tokens: 258 " in shown
    pieces = json.loads(cs336("tokenizer", "inspect", "large.json", "--text", "low", "--json").stdout)["pieces"]
    assert [piece["text"] for piece in pieces] == ["low"]


def test_two_tokenizers_on_the_same_text(cs336):
    words = ["tokenizer", "compare", "small.json", "large.json"]
    seen = json.loads(cs336(*words, "a.txt", "b.txt", "--json").stdout)
    assert seen["a"]["text_bytes"] == seen["b"]["text_bytes"]
    assert seen["a"]["text_tokens"] > seen["b"]["text_tokens"]
    assert seen["tokens_of_b_for_one_of_a"] == seen["b"]["text_tokens"] / seen["a"]["text_tokens"]
    assert seen["shared_tokens"] == 270
    table = cs336(*words, "a.txt", "--text", "lower").stdout
    assert "270  |  " in table
    assert table.count("token") > 3
    assert cs336(*words).returncode == 2


@pytest.mark.skipif(os.name == "nt", reason="Windows has no named pipes of this kind")
@pytest.mark.parametrize("source", ["-", "pipe.jsonl", "pipe.gz"])
def test_what_can_be_read_only_once_is_compared_all_the_same(cs336, tmp_path, source):
    text, rows = (tmp_path / "b.txt").read_bytes(), (tmp_path / "c.jsonl").read_bytes()
    content = {"-": text, "pipe.jsonl": rows, "pipe.gz": gzip.compress(text)}[source]
    words = ["compare", "small.json", "large.json", "--text-column", "body", "--json"]
    (tmp_path / "file.jsonl").write_bytes(rows)
    expected = cs336("tokenizer", *words, "file.jsonl" if "jsonl" in source else "b.txt")
    if source == "-":
        done = in_a_process(tmp_path, *words, "-", stdin=content)
    else:
        os.mkfifo(tmp_path / source)
        with ThreadPoolExecutor() as pool:
            writing = pool.submit((tmp_path / source).write_bytes, content)
            done = in_a_process(tmp_path, *words, source)
            writing.result()
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == json.loads(expected.stdout)


def test_what_is_read_once_goes_by_its_own_name(tmp_path):
    done = in_a_process(tmp_path, "compare", "small.json", "large.json", "-", stdin=b"low \xff")
    assert done.returncode == 1
    assert done.stderr.startswith(b"error: standard input is not UTF-8")


def in_a_process(folder, *words, stdin=b""):
    command = [sys.executable, "-m", "cs336", "tokenizer", *words]
    return subprocess.run(command, cwd=folder, input=stdin, capture_output=True, check=False)


@pytest.mark.parametrize("words", [["inspect", "small.json"], ["compare", "small.json", "large.json"]])
def test_progress_can_be_asked_for_in_a_pipe(cs336, monkeypatch, words):
    monkeypatch.setattr("cs336.bars._SECONDS_BETWEEN_LINES", -1)
    assert cs336("tokenizer", *words, "a.txt").stderr == ""
    assert "encoding" in cs336("tokenizer", *words, "a.txt", "--progress", "--json").stderr
