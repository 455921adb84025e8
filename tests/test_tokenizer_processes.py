"""One tokenizer in many threads, over a fork, in workers; and Ctrl-C in the middle of long calls."""

from __future__ import annotations

import copy
import os
import pickle
import random
import signal
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import repeat
from pathlib import Path
from typing import Any

import pytest

from cs336.data import stories
from cs336.tokenizer import Tokenizer, train_bpe, train_bpe_from_iterator

END = "<|endoftext|>"
STORIES = [story + END for story in stories(60, seed=5)]
TEXT = "".join(STORIES)


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return train_bpe_from_iterator(STORIES, 600, [END])


# Threads


def test_many_threads_share_one_tokenizer(tokenizer: Tokenizer) -> None:
    ids, one_by_one = tokenizer.encode(TEXT), [tokenizer.encode(story) for story in STORIES]

    def everything(_: int) -> None:
        assert tokenizer.encode(TEXT) == ids
        assert tokenizer.encode_numpy(TEXT).tolist() == ids
        assert tokenizer.encode_batch(STORIES) == one_by_one
        assert list(tokenizer.encode_iterable(STORIES)) == ids
        assert tokenizer.count(TEXT) == len(ids)
        assert tokenizer.decode(ids) == TEXT
        assert pickle.loads(pickle.dumps(tokenizer)) == tokenizer

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(everything, range(32)))


def test_encoding_a_long_text_lets_other_threads_run(tokenizer: Tokenizer) -> None:
    text = TEXT * 1000  # a tenth of a second for the fastest of encoders
    turns = []

    def work() -> None:
        tokenizer.encode_numpy(text)
        turns.append("encoded")

    worker = threading.Thread(target=work)
    worker.start()
    while worker.is_alive():
        turns.append("turn")
        time.sleep(0.001)
    worker.join()
    assert turns.count("turn") > 10
    assert turns.index("encoded") > 5  # the turns came while it worked, not after


def threads_here() -> int:
    return len(list(Path("/proc/self/task").iterdir()))


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="this system does not list a process's threads")
@pytest.mark.parametrize("threads", [1, 2, 5])
def test_a_batch_takes_as_many_threads_as_it_may_and_leaves_none(tokenizer: Tokenizer, threads: int) -> None:
    batch, before, most, done = [TEXT] * 400, threads_here(), 0, threading.Event()
    expected = before + 1 + threads  # the watcher's, and those that work while the caller listens for Ctrl-C

    def watch() -> None:
        nonlocal most
        while not done.wait(0.0005):
            most = max(most, threads_here())

    watcher = threading.Thread(target=watch)
    watcher.start()
    for _ in range(50):  # until all have been seen at once
        tokenizer.encode_batch_numpy(batch, threads=threads)
        if most >= expected:
            break
    done.set()
    watcher.join()
    assert most == expected
    until = time.monotonic() + 10
    while threads_here() > before and time.monotonic() < until:
        time.sleep(0.001)  # a thread that has ended is still listed for a moment
    assert threads_here() == before


# Pickling


class Subclass(Tokenizer):
    pass


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_every_protocol_of_pickle(tokenizer: Tokenizer, protocol: int) -> None:
    twin = pickle.loads(pickle.dumps(tokenizer, protocol))
    assert twin == tokenizer
    assert (twin.hash, twin.pattern, twin.special_tokens) == (tokenizer.hash, tokenizer.pattern, {END: 0})
    assert twin.encode(TEXT) == tokenizer.encode(TEXT)


def test_a_subclass_stays_one(tokenizer: Tokenizer) -> None:
    mine = Subclass(tokenizer.vocab, tokenizer.merges, [END])
    for twin in (pickle.loads(pickle.dumps(mine)), copy.copy(mine), copy.deepcopy([mine])[0]):
        assert type(twin) is Subclass
        assert twin.encode(TEXT) == tokenizer.encode(TEXT)


# Forks


def test_a_child_of_a_process_that_has_used_its_threads(
    tokenizer: Tokenizer, tmp_path: Path, in_child: Callable[[Callable[[], Any]], Any]
) -> None:
    source = tmp_path / "text.txt"
    source.write_text(TEXT, encoding="utf-8")

    def everything() -> list[Any]:
        trained = train_bpe(source, 400, [END], threads=2)
        target = tmp_path / f"{os.getpid()}.npy"
        stats = trained.encode_file(source, target, threads=2)
        return [tokenizer.encode_batch(STORIES), trained.hash, stats.tokens, target.read_bytes()]

    here = everything()
    assert in_child(everything) == here
    assert in_child(lambda: call_twice(everything)) == [here, here]


def call_twice(work: Callable[[], Any]) -> list[Any]:
    return [work(), work()]


def test_a_fork_in_the_middle_of_another_threads_work(
    tokenizer: Tokenizer, in_child: Callable[[Callable[[], Any]], Any]
) -> None:
    batch = STORIES * 10  # enough for threads
    expected = tokenizer.encode_batch(batch)
    stop = threading.Event()

    def work() -> None:
        while not stop.is_set():
            tokenizer.encode_batch(batch, threads=3)
            train_bpe_from_iterator(STORIES, 300, [END], threads=2)

    workers = [threading.Thread(target=work) for _ in range(2)]
    for worker in workers:
        worker.start()
    try:
        for _ in range(15):
            assert in_child(lambda: tokenizer.encode_batch(batch, threads=3)) == expected
    finally:
        stop.set()
        for worker in workers:
            worker.join()


class Encoded:
    """A dataset that encodes in the worker that loads it."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self.tokenizer = tokenizer

    def __len__(self) -> int:
        return len(STORIES)

    def __getitem__(self, index: int) -> list[int]:
        return self.tokenizer.encode_batch([STORIES[index]] * 300, threads=2)[-1]  # enough for threads


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the workers are forked")
def test_workers_of_a_data_loader(tokenizer: Tokenizer) -> None:
    from torch.utils.data import DataLoader

    dataset = Encoded(tokenizer)
    expected = [dataset[index] for index in range(len(dataset))]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # Python's warning of forks beside threads
        loader = DataLoader(dataset, batch_size=None, num_workers=2, multiprocessing_context="fork", timeout=60)  # type: ignore[arg-type]
        for _ in range(2):
            assert list(loader) == expected


# Ctrl-C


@contextmanager
def interrupted(when: threading.Event) -> Iterator[list[float]]:
    """Sends Ctrl-C to this process once something has happened; gives the seconds until it comes out as an error."""
    sent: list[float] = []
    waits: list[float] = []

    def interrupt() -> None:
        when.wait(60)
        sent.append(time.perf_counter())
        os.kill(os.getpid(), signal.SIGINT)

    sender = threading.Thread(target=interrupt)
    sender.start()
    with pytest.raises(KeyboardInterrupt):  # noqa: PT012  what is awaited comes from the block of the caller
        try:
            yield waits
        finally:
            waits.append(time.perf_counter() - sent[0] if sent else -1.0)
            when.set()
            sender.join()


def takes_half_a_second_at_most(attempt: Callable[[], float]) -> None:
    """A busy machine may be slow once, but not three times."""
    waits = [attempt()]
    while waits[-1] > 0.5 and len(waits) < 3:
        waits.append(attempt())
    assert 0 <= waits[-1] <= 0.5, waits


@contextmanager
def endless_text(path: Path) -> Iterator[threading.Event]:
    """A named pipe that never ends, and an event that tells when a good part of it has been read."""
    if not hasattr(os, "mkfifo"):
        pytest.skip("this system has no named pipes")
    read = threading.Event()
    os.mkfifo(path)

    def feed() -> None:
        try:
            with path.open("wb") as pipe:
                for number in range(1 << 40):
                    pipe.write(TEXT.encode())
                    if number == 100:
                        read.set()
        except BrokenPipeError:
            pass

    feeder = threading.Thread(target=feed, daemon=True)
    feeder.start()
    yield read
    if feeder.is_alive():  # Nobody has opened it, or nobody reads on: let it find out.
        os.close(os.open(path, os.O_RDONLY | os.O_NONBLOCK))
    feeder.join(10)
    path.unlink()
    assert not feeder.is_alive()


@pytest.fixture
def endless(tmp_path: Path) -> Iterator[tuple[Path, threading.Event]]:
    path = tmp_path / "endless.txt"
    with endless_text(path) as read:
        yield path, read


def test_ctrl_c_while_counting(endless: tuple[Path, threading.Event], tmp_path: Path) -> None:
    path, read = endless
    with interrupted(read) as waits:
        train_bpe(path, 1000, [END], threads=2)
    assert 0 <= waits[0] <= 1.0
    assert list(tmp_path.iterdir()) == [path]


def test_ctrl_c_while_merging() -> None:
    letters, rng = "abcdefghijklmnopqrstuvwxyz", random.Random(0)
    words = " ".join("".join(rng.choices(letters, k=12)) for _ in range(150_000))  # seconds of merges

    def attempt() -> float:
        merging = threading.Event()

        def progress(stage: str, done: int, total: int | None) -> None:
            if stage == "merge" and done > 0:
                merging.set()

        with interrupted(merging) as waits:
            train_bpe_from_iterator([words], 10_000_000, progress=progress)
        return waits[0]

    takes_half_a_second_at_most(attempt)


def test_ctrl_c_while_documents_come() -> None:
    def attempt() -> float:
        taken = threading.Event()

        def documents() -> Iterator[str]:
            for number, text in enumerate(repeat(TEXT)):
                if number == 300:
                    taken.set()
                yield text

        with interrupted(taken) as waits:
            train_bpe_from_iterator(documents(), 1000, [END])
        return waits[0]

    takes_half_a_second_at_most(attempt)


def test_ctrl_c_while_encoding_a_file(tokenizer: Tokenizer, tmp_path: Path) -> None:
    source = tmp_path / "endless.txt"  # so that it is not over before Ctrl-C comes

    def attempt() -> float:
        with endless_text(source) as read, interrupted(read) as waits:
            tokenizer.encode_file(source, tmp_path / "ids.npy", threads=1)
        return waits[0]

    takes_half_a_second_at_most(attempt)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("method", ["encode", "encode_numpy", "encode_with_offsets", "encode_batch", "count"])
def test_ctrl_c_while_encoding_one_long_text(tokenizer: Tokenizer, method: str) -> None:
    text = TEXT * 2000  # a second or more for each method
    argument: Any = (
        [text[start : start + 10_000] for start in range(0, len(text), 10_000)] if "batch" in method else text
    )

    def attempt() -> float:
        now = threading.Event()
        threading.Timer(0.02, now.set).start()
        with interrupted(now) as waits:
            getattr(tokenizer, method)(argument)
        return waits[0]

    takes_half_a_second_at_most(attempt)


@pytest.mark.parametrize("method", ["encode", "encode_batch", "encode_iterable", "encode_file", "count"])
def test_ctrl_c_while_encoding_one_long_word(method: str, tmp_path: Path) -> None:
    # A token that can be made in two ways needs real merging, a second or more of it.
    tokens = [*(bytes([byte]) for byte in range(256)), b"aa", b"aaa"]
    merges = [(b"a", b"a"), (b"aa", b"a"), (b"a", b"aa")]
    tokenizer = Tokenizer(dict(enumerate(tokens)), merges)
    word = "a" * 10_000_000
    source = tmp_path / "word.txt"
    source.write_text(word)
    work: dict[str, Callable[[], Any]] = {
        "encode": lambda: tokenizer.encode(word),
        "encode_batch": lambda: tokenizer.encode_batch([word]),
        "encode_iterable": lambda: list(tokenizer.encode_iterable([word])),
        "encode_file": lambda: tokenizer.encode_file(source, tmp_path / "ids.npy"),
        "count": lambda: tokenizer.count(word),
    }

    def attempt() -> float:
        now = threading.Event()
        threading.Timer(0.15, now.set).start()
        with interrupted(now) as waits:
            work[method]()
        return waits[0]

    takes_half_a_second_at_most(attempt)
    assert list(tmp_path.iterdir()) == [source]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_the_command(endless: tuple[Path, threading.Event], tmp_path: Path, number: int) -> None:
    path, read = endless
    words = ["tokenizer", "train", path, "--vocab-size", "1000", "--output", "tokenizer.json"]
    process = subprocess.Popen([sys.executable, "-m", "cs336", *words], cwd=tmp_path, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    assert read.wait(60)
    process.send_signal(number)
    assert process.stderr.read().strip() == "error: interrupted"
    process.stderr.close()
    assert process.wait(10) == 130
    assert list(tmp_path.iterdir()) == [path]
