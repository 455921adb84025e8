"""Encoding on a Ray cluster gives what this machine gives, also in several turns."""

from __future__ import annotations

import gzip
import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import cs336
from cs336.data import stories
from cs336.errors import CorpusError, MissingDependencyError
from cs336.token_cluster import encode_files_on_ray
from cs336.tokenizer import Tokenizer, train_bpe_from_iterator

END = "<|endoftext|>"
needs_ray = pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="needs cs336[ray]")


@pytest.fixture
def tokenizer(tmp_path: Path) -> Tokenizer:
    told = list(stories(2000, seed=3))
    for number in range(20):
        (tmp_path / f"{number:02}.txt").write_text("".join(told[number * 100 : number * 100 + 100]), "utf-8")
    rows = "".join(json.dumps({"text": text}) + "\n" for text in told[:50])
    (tmp_path / "20.jsonl.gz").write_bytes(gzip.compress(rows.encode()))
    (tmp_path / "21.txt").touch()
    tokenizer = train_bpe_from_iterator(told[:100], 300, [END])
    tokenizer.save(tmp_path / "tokenizer.json")
    return tokenizer


def on_ray(folder: Path, *words: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", "from cs336.cli import main; main()", "tokenizer", "encode", "[0-9]*.[tj]*"]
    command += ["out.npy", "--tokenizer", "tokenizer.json", "--engine", "ray", "--ray-address", "local", "--json"]
    return subprocess.Popen([*command, *words], cwd=folder, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def shards(folder: Path, pattern: str = "out-*.npy") -> list[int]:
    return [token for path in sorted(folder.glob(pattern)) for token in np.load(path).tolist()]


def test_what_a_cluster_cannot_do_is_said(
    tokenizer: Tokenizer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(CorpusError, match="a cluster can't read standard input"):
        encode_files_on_ray(tokenizer, "-", tmp_path / "out.npy")
    with pytest.raises(FileNotFoundError):
        encode_files_on_ray(tokenizer, tmp_path / "none.txt", tmp_path / "out.npy")
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(MissingDependencyError, match=r"encoding on a cluster needs ray.*cs336\[ray\]"):
        encode_files_on_ray(tokenizer, tmp_path / "00.txt", tmp_path / "out.npy")


@needs_ray
@pytest.mark.slow
def test_a_cluster_stopped_by_force_goes_on(tokenizer: Tokenizer, tmp_path: Path) -> None:
    paths = sorted(tmp_path.glob("[0-9]*.*"))
    whole = cs336.encode_files(tokenizer, paths, tmp_path / "whole.npy")
    run = on_ray(tmp_path)
    record = tmp_path / "out.npy.partial.json"
    until = time.monotonic() + 100
    while run.poll() is None and not (record.exists() and json.loads(record.read_text())["done"]):
        assert time.monotonic() < until
        time.sleep(0.01)
    os.kill(run.pid, signal.SIGKILL)
    run.communicate()
    assert record.exists(), "it was done before"
    output, errors = (again := on_ray(tmp_path)).communicate(timeout=200)
    assert again.returncode == 0, errors
    stats = json.loads(output)
    assert 0 < stats["resumed_at"] < stats["tokens"] == whole.tokens
    assert (stats["documents"], stats["bytes"], stats["separators"]) == (whole.documents, whole.bytes, whole.separators)
    assert shards(tmp_path) == np.load(tmp_path / "whole.npy").tolist()
    assert not list(tmp_path.glob("*.partial*"))
    output, errors = (third := on_ray(tmp_path)).communicate(timeout=200)
    assert third.returncode == 1
    assert "there are files of that name already" in errors
    output, errors = (fourth := on_ray(tmp_path, "--restart", "--shard-tokens", "5000")).communicate(timeout=200)
    assert fourth.returncode == 0, errors
    assert shards(tmp_path, "out-*-*.npy") == np.load(tmp_path / "whole.npy").tolist()
    assert not [path for path in tmp_path.glob("out-*.npy") if path.stem.count("-") == 1]
