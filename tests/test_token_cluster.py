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
from cs336.errors import ConfigError, CorpusError, FormatError, MissingDependencyError
from cs336.token_cluster import _Plan, encode_files_on_ray
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


OWN = (
    "-00000",
    "-00003",
    "-00003{}.json",
    "-00004{}.partial",
    "-00004{}.partial.lock",
    "-00001-00002",
    "-00001-00002{}.json",
)
OTHER = (
    "",
    "{}.json",
    "-2019",
    "-2019{}.json",
    "-2020{}.notes.md",
    "-000001",
    "-20190101",
    "-00001-1",
    "-00000x",
    "x-00000",
)


@pytest.mark.parametrize("ending", [".npy", ""])
def test_only_files_of_its_own_make_room(tmp_path: Path, ending: str) -> None:
    def written(*names: str) -> set[Path]:
        paths = {tmp_path / f"web{name.format(ending) if '{}' in name else name + ending}" for name in names}
        for path in paths:
            path.touch()
        return paths

    others, target = written(*OTHER), tmp_path / f"web{ending}"
    plan = _Plan(target, {}, restart=False)
    assert plan.path(7) == tmp_path / f"web-00007{ending}"
    own = written(*OWN)
    with pytest.raises(ConfigError, match=rf"web-00000{ending}: there are files of that name already; remove them"):
        _Plan(target, {}, restart=False)
    assert set(tmp_path.iterdir()) == own | others
    _Plan(target, {}, restart=True)
    assert set(tmp_path.iterdir()) == others


def test_what_is_wrong_with_a_record_is_said(tmp_path: Path) -> None:
    target, job = tmp_path / "web.npy", {"special": "token", "separator": END, "inputs": [["a.txt", 1, 1]]}
    _Plan(target, job, restart=False).begin([["a.txt"]])
    assert _Plan(target, job, restart=False).tasks == [["a.txt"]]
    with pytest.raises(ConfigError, match=r"other inputs or options \(separator, inputs\) was stopped there"):
        _Plan(target, job | {"separator": None, "inputs": []}, restart=False)
    record = tmp_path / "web.npy.partial.json"
    whole = json.loads(record.read_text())
    for damaged in ("{", "[]", json.dumps(whole | {"format": "other"}), json.dumps(whole | {"job": 1}), "{}"):
        record.write_text(damaged)
        with pytest.raises(FormatError, match=r"web\.npy\.partial\.json: no whole record .*; begin anew, with restart"):
            _Plan(target, job, restart=False)
        assert record.read_text() == damaged
    assert _Plan(target, job, restart=True).tasks == []


def test_what_a_task_may_write_is_no_source(tokenizer: Tokenizer, tmp_path: Path) -> None:
    for name in ("out-00003.npy", "out-00000-00001.npy.json", "out.npy.partial.json"):
        (tmp_path / name).write_text("low lower lowest")
        with pytest.raises(ConfigError, match="would overwrite the source; give"):
            encode_files_on_ray(tokenizer, tmp_path / name, tmp_path / "out.npy", restart=True)
        assert (tmp_path / name).read_text() == "low lower lowest"


@needs_ray
@pytest.mark.slow
def test_an_output_may_have_no_ending_and_be_a_link(tokenizer: Tokenizer, tmp_path: Path) -> None:
    paths = sorted(tmp_path.glob("[0-9]*.*"))
    cs336.encode_files(tokenizer, paths, tmp_path / "whole.npy")
    (tmp_path / "far").mkdir()
    (tmp_path / "out").symlink_to("far/real")
    stats = encode_files_on_ray(tokenizer, paths, tmp_path / "out", address="local", progress=False)
    assert sorted(stats.files)[0] == tmp_path / "far" / "real-00000"
    assert shards(tmp_path / "far", "real-?????") == np.load(tmp_path / "whole.npy").tolist()
    assert not list((tmp_path / "far").glob("*.partial*"))


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
