"""Counting on a Ray cluster: what it gives is what this machine gives, whatever happens to the workers.

Each test that needs Ray uses a process of its own, whose threads and signal handlers end with it.
"""

from __future__ import annotations

import gzip
import importlib.util
import json
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import cs336
from cs336.cluster import shards_of
from cs336.errors import CorpusError, MissingDependencyError

END = "<|endoftext|>"
WORDS = "low lower lowest newer widest "

needs_ray = pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="needs cs336[ray]")


def count_on_ray(folder: Path, *words: str, **variables: str) -> subprocess.Popen[str]:
    """``cs336 tokenizer count`` on a cluster of two workers, under way."""
    command = [sys.executable, "-c", "from cs336.cli import main; main()", "tokenizer", "count"]
    command += ["--engine", "ray", "--ray-address", "local", "--output", "ray.counts", *words]
    environment = os.environ | variables
    return subprocess.Popen(
        command, cwd=folder, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )


def end_of(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    """Exit status, output, and errors, where Ray tells of lost workers, too."""
    try:
        return process.wait(timeout=120), *process.communicate()
    finally:
        process.kill()
        process.communicate()


def test_shards_are_of_a_size() -> None:
    def sizes(*files: int, tasks: int) -> list[int]:
        return [size for _, size in shards_of([str(size) for size in files], files, tasks)]

    assert sizes(1, 1, 1, 5, 1, 1, 3, tasks=4) == [3, 5, 5]
    assert sizes(1, 1, tasks=10) == [1, 1]
    assert sizes(*[200 << 20] * 5, tasks=1) == [400 << 20, 400 << 20, 200 << 20]
    assert list(shards_of(["a", "b", "c"], [3, 0, 0], 1)) == [(["a"], 3), (["b", "c"], 0)]


def test_without_ray_the_error_says_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    (tmp_path / "text.txt").write_text(WORDS)
    with pytest.raises(MissingDependencyError, match=r"needs ray, .*pip install 'cs336\[ray\]'"):
        cs336.count_pretokens_on_ray(tmp_path / "text.txt", tmp_path / "text.counts")
    assert [path.name for path in tmp_path.iterdir()] == ["text.txt"]


def test_what_no_cluster_can_read_is_refused_at_once(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="standard input"):
        cs336.count_pretokens_on_ray("-", tmp_path / "text.counts")
    with pytest.raises(FileNotFoundError, match="check the path"):
        cs336.count_pretokens_on_ray(tmp_path / "none.txt", tmp_path / "text.counts")


@needs_ray
@pytest.mark.slow
def test_several_machines_count_what_one_does(tmp_path: Path) -> None:
    """Two of Ray's nodes of three CPUs each; more parts than are added up at a time; shards without any text."""
    letters = str.maketrans("0123456789", "ghijklmnop")
    for number in range(20):
        rare = " ".join(f"{at:05x}" for at in range(number * 1000, number * 1000 + 3000)).translate(letters)
        (tmp_path / f"{number:02}.txt").write_text(f"{WORDS} {rare}{END}{number} \u00e9\u4f60")
    (tmp_path / "empty.txt").touch()
    (tmp_path / "token.txt").write_text(END)
    (tmp_path / "rows.jsonl").write_text('{"text": "low rows"}\n')
    (tmp_path / "more.txt.gz").write_bytes(gzip.compress(WORDS.encode()))
    script = """
        from ray.cluster_utils import Cluster
        import cs336
        cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 3})
        cluster.add_node(num_cpus=3)
        seen = []
        options = {"special_tokens": ["<|endoftext|>"], "address": cluster.address}
        progress = lambda stage, done, total: seen.append((stage, done, total))
        info = cs336.count_pretokens_on_ray("*.*[txlz]", "ray.counts", progress=progress, max_memory=0, **options)
        assert info.spilled_runs > 0
        assert len(seen) > 16 and seen[-1][1] == seen[-1][2] > 0, seen
        for paths, more, error in [
            (["empty.txt", "token.txt"], {}, "CorpusError: the inputs hold no text"),
            ("00.txt", {"pattern": "(a"}, "PatternError: "),
            ("latin1", {}, "TextEncodingError: "),
            ("00.txt", {"threads": 4}, "ClusterError: no machine of the cluster has 4 CPUs"),
        ]:
            try:
                cs336.count_pretokens_on_ray(paths, "bad.counts", **options, **more)
            except Exception as raised:
                assert f"{type(raised).__name__}: {raised}".startswith(error), raised
            else:
                raise AssertionError(error)
        cluster.shutdown()
    """
    (tmp_path / "latin1").write_bytes("M\u00e4dchen".encode("latin-1"))
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)],
        check=False,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert done.returncode == 0, done.stderr
    texts = [path for path in tmp_path.iterdir() if path.suffix in (".txt", ".jsonl", ".gz")]
    assert len(texts) == 24
    cs336.count_pretokens(texts, tmp_path / "local.counts", [END])
    assert (tmp_path / "ray.counts").read_bytes() == (tmp_path / "local.counts").read_bytes()
    assert not list(tmp_path.glob("*bad.counts"))


class Pipe:
    """A named pipe among the inputs, which shows what a worker does: it is in the middle of what it reads here."""

    def __init__(self, path: Path) -> None:
        if not Path("/proc/self/fd").is_dir():
            pytest.skip("needs to see which process reads a pipe")
        self.path = path
        os.mkfifo(path)

    def write_and_kill(self, text: str) -> None:
        """Writes to a worker until it has surely begun, and kills it."""
        with self.path.open("wb", buffering=0) as pipe:
            for _ in range(1 + (1 << 20) // len(text)):  # much more than a pipe holds
                pipe.write(text.encode())
            worker = self._reader()
            os.kill(worker, signal.SIGKILL)
            while Path(f"/proc/{worker}").exists():
                time.sleep(0.01)

    def _reader(self) -> int:
        for folder in Path("/proc").glob("[0-9]*/fd"):
            if int(folder.parent.name) != os.getpid():
                try:
                    if any(file.samefile(self.path) for file in folder.iterdir() if file.exists()):
                        return int(folder.parent.name)
                except OSError:  # it has ended
                    continue
        raise AssertionError("no process reads the pipe")


def in_background(work: Callable[[], Any]) -> threading.Thread:
    """Opening a pipe waits until somebody reads it: the main thread must stay able to fail."""
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    return thread


@needs_ray
@pytest.mark.slow
def test_a_worker_killed_in_the_middle_changes_nothing(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text(WORDS * 1000)
    text = f"{WORDS}of the pipe{END}" * 1000
    pipe = Pipe(tmp_path / "pipe")
    killed: list[bool] = []

    def work() -> None:
        pipe.write_and_kill(text)
        killed.append(True)
        pipe.path.write_text(text)

    process = count_on_ray(tmp_path, "a.txt", "pipe", "--json")
    in_background(work)
    status, output, errors = end_of(process)
    assert killed == [True]
    assert status == 0, errors
    assert json.loads(output)["pre_tokens"] > 1000
    (tmp_path / "b.txt").write_text(text)
    cs336.count_pretokens([tmp_path / "a.txt", tmp_path / "b.txt"], tmp_path / "local.counts", [END])
    assert (tmp_path / "ray.counts").read_bytes() == (tmp_path / "local.counts").read_bytes()


@needs_ray
@pytest.mark.slow
def test_a_cluster_that_gives_up_is_an_error_of_one_line(tmp_path: Path) -> None:
    pipe = Pipe(tmp_path / "pipe")
    process = count_on_ray(tmp_path, "pipe", RAY_TASK_MAX_RETRIES="0")
    in_background(lambda: pipe.write_and_kill(WORDS))
    status, output, errors = end_of(process)
    assert (status, output) == (1, "")
    assert errors.splitlines()[-1].startswith("error: the cluster gave up on a task: ")
    assert "Traceback" not in errors
    assert [path.name for path in tmp_path.iterdir()] == ["pipe"]


@needs_ray
@pytest.mark.slow
def test_ctrl_c_leaves_nothing(tmp_path: Path) -> None:
    pipe = Pipe(tmp_path / "pipe")
    process = count_on_ray(tmp_path, "pipe")
    held = []
    in_background(lambda: held.append(pipe.path.open("wb"))).join(timeout=60)
    process.send_signal(signal.SIGINT)
    status, _, errors = end_of(process)
    held[0].close()
    assert status != 0
    assert "Traceback" not in errors
    assert [path.name for path in tmp_path.iterdir()] == ["pipe"]


@needs_ray
@pytest.mark.slow
@pytest.mark.parametrize("address", ["nowhere", "127.0.0.1:1", "ray://[::1]:1", "127.0.0.1:100000"])
def test_no_cluster_at_the_address(address: str, tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text(WORDS)
    status, output, errors = end_of(count_on_ray(tmp_path, "text.txt", "--ray-address", address))
    assert (status, output) == (1, "")
    assert errors.startswith(f"error: there is no Ray cluster at {address}: ")
    assert errors.count("\n") == 1
