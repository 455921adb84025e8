from __future__ import annotations

import os
import pickle
import select
import signal
import tempfile
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

# Before torch is imported: the models of the tests are so small that a second thread only waits for the first, and a
# busy machine makes it wait for long.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# A shell that starts the suite in its background lets it ignore Ctrl-C, and the processes that tests start would too.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

NOBODY = 65534


@pytest.fixture(scope="session")
def shared() -> Path:
    """The shared corpora and rank files, where a checkout has them."""
    here = Path(__file__).resolve().parents[1]
    for folder in (here.parent / "shared" / "data", here / "shared" / "data"):
        if folder.is_dir():
            return folder
    pytest.skip("needs the folder shared/data beside the checkout")


@pytest.fixture
def in_child() -> Callable[[Callable[[], Any]], Any]:
    """Calls a function in a forked child, within a minute; gives what it returns, or raises what it raises."""
    if not hasattr(os, "fork"):
        pytest.skip("this system cannot fork")
    return call_in_child


def call_in_child(work: Callable[[], Any], seconds: float = 60) -> Any:
    reader, writer = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # Python's warning of forks beside threads
        pid = os.fork()
    if pid == 0:
        try:
            with open(writer, "wb") as pipe:  # noqa: PTH123  a descriptor
                pipe.write(pickled_outcome(work))
        finally:
            os._exit(0)  # never back into the tests
    os.close(writer)
    try:
        ready, _, _ = select.select([reader], [], [], seconds)
        assert ready, f"the child hangs: nothing came back in {seconds} seconds"
        with open(reader, "rb", closefd=False) as pipe:
            value, error = pickle.loads(pipe.read())
    finally:
        os.close(reader)
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    if error is not None:
        raise error
    return value


def pickled_outcome(work: Callable[[], Any]) -> bytes:
    try:
        return pickle.dumps((work(), None))
    except BaseException as error:
        try:
            return pickle.dumps((None, error))
        except Exception:  # pickle lets through whatever an object of any class raises
            return pickle.dumps((None, RuntimeError(repr(error))))


@pytest.fixture
def public_path() -> Iterator[Path]:
    """A folder that every user may enter and write to, unlike `tmp_path`."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o777)
        yield Path(folder)


@pytest.fixture
def without_rights(in_child: Callable[[Callable[[], Any]], Any]) -> Callable[[Callable[[], Any]], Any]:
    """Like `in_child`, and as a user whom permissions stop: root becomes nobody."""

    def call(work: Callable[[], Any]) -> Any:
        def as_nobody() -> Any:
            if os.geteuid() == 0:
                os.setgid(NOBODY)
                os.setuid(NOBODY)
            return work()

        return in_child(as_nobody)

    return call


@pytest.fixture
def on_a_full_disk(in_child: Callable[[Callable[[], Any]], Any]) -> Callable[[Callable[[], Any]], Any]:
    """Like `in_child`, where no file can grow beyond 2 kB: the nearest to a full disk that needs no disk."""
    resource = pytest.importorskip("resource")

    def call(work: Callable[[], Any]) -> Any:
        def limited() -> Any:
            resource.setrlimit(resource.RLIMIT_FSIZE, (2000, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))
            return work()

        return in_child(limited)

    return call
