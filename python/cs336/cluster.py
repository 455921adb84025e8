"""Counting on a Ray cluster: its machines count shards of the inputs, and add the counts up.

Ray decides where a task runs, and runs it again where a worker or a machine was lost. Counts travel through Ray's store
of objects, so that all the machines have to share is the inputs and cs336.
"""

from __future__ import annotations

import dataclasses
import logging
import os
import socket
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from cs336 import _bpe
from cs336.counts import CountsInfo, default_max_memory, read_info
from cs336.errors import ClusterError, CorpusError, Cs336Error
from cs336.extra import needs_extra
from cs336.files import explained, whole_file
from cs336.inputs import corpus_of, expand
from cs336.progress import reporting
from cs336.tokenizer import check_options

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from cs336.inputs import InputFormat, StrPath
    from cs336.tokenizer import Progress

    # The bytes of a counts file, as Ray passes them on without copying.
    Part: TypeAlias = NDArray[np.uint8]

__all__ = ["count_pretokens_on_ray"]

_SHARD = 256 << 20  # bytes of small files that are worth a task
_TASKS = 4  # for each CPU, so that none waits long for the last ones
_SECONDS_TO_ANSWER = 10.0
_FAN_IN = 16  # parts that are added up at a time


@dataclass(frozen=True)
class _Task:
    """How to count a shard."""

    version: str
    special_tokens: Sequence[str]
    pattern: str
    input_format: InputFormat | None
    text_column: str
    threads: int
    max_memory: int | None

    def count(self, files: Sequence[str]) -> tuple[int, Part]:
        """On a worker: how often memory did not do, and the counts."""
        import numpy as np

        if _bpe.__version__ != self.version:
            versions = f"a worker has cs336 {_bpe.__version__}, and the caller {self.version}"
            raise ClusterError(f"{versions}; install the same version on all machines of the cluster")
        corpus = corpus_of(files, self.input_format, self.text_column)
        max_memory = _memory_of(self.threads) if self.max_memory is None else self.max_memory
        with tempfile.TemporaryDirectory() as folder:
            output = Path(folder) / "part.counts"
            options = (self.special_tokens, self.pattern, self.threads, max_memory)
            # A shard may hold no text where the others do.
            *_, spilled = _bpe.count_corpus(*corpus, output, *options, True, None)
            return spilled, np.fromfile(output, np.uint8)


def count_pretokens_on_ray(
    paths: StrPath | Sequence[StrPath],
    output: StrPath,
    special_tokens: Iterable[str] = (),
    *,
    pattern: str = "gpt2",
    input_format: InputFormat | None = None,
    text_column: str = "text",
    threads: int = 1,
    max_memory: int | None = None,
    address: str | None = None,
    progress: Progress = None,
) -> CountsInfo:
    """Write the counts file that ``count_pretokens`` writes, counted by a Ray cluster.

    Every machine must find the inputs under the same paths. ``threads`` and ``max_memory`` are those of a task;
    without the latter, each gets its part of what its machine has available. ``address`` is that of ``ray.init``:
    without it, the cluster that RAY_ADDRESS names or that runs on this machine, else one for this call. Where Ray is
    initialized already, that cluster is taken. ClusterError where a cluster is not to be had, or gives up.
    """
    check_options(threads=threads, max_memory=max_memory)
    # A single str is refused by the core, which must see it.
    special = special_tokens if isinstance(special_tokens, str) else list(special_tokens)
    files = expand(paths)
    if "-" in files:
        raise CorpusError("a cluster can't read standard input (-); write it to a file that all machines can read")
    sizes = [size_of(file) for file in files]
    task = _Task(_bpe.__version__, special, pattern, input_format, text_column, threads, max_memory)
    with whole_file(Path(output), files) as aside, cluster(address, "counting on a cluster") as ray:
        check_threads(ray, threads)
        cpus = int(ray.cluster_resources().get("CPU", 1))
        # Workers have another working folder.
        shards = list(shards_of([str(Path(file).absolute()) for file in files], sizes, _TASKS * cpus))
        spilled, part = _count(ray, task, shards, progress)
        part.tofile(aside)
        info = read_info(aside)
        if not info.pre_tokens:
            raise CorpusError("the inputs hold no text; give files with text")
    return dataclasses.replace(info, spilled_runs=spilled)


def shards_of(files: Sequence[str], sizes: Sequence[int], tasks: int) -> Iterator[tuple[list[str], int]]:
    """Files that are counted together, and their size: so much for each of about as many tasks, but not too much."""
    least = min(_SHARD, sum(sizes) // tasks)
    shard: list[str] = []
    held = 0
    for file, size in zip(files, sizes, strict=True):
        shard.append(file)
        held += size
        if held >= least:
            yield shard, held
            shard, held = [], 0
    if shard:
        yield shard, held


def _count(ray: Any, task: _Task, shards: Sequence[tuple[list[str], int]], progress: Progress) -> tuple[int, Part]:
    """How often memory did not do, and the counts of all shards."""
    count = ray.remote(num_cpus=task.threads, num_returns=2)(_Task.count)
    merge = ray.remote(num_cpus=1)(_merge)
    # Of a result that is small, so that the driver may wait for it, to the size of the shard.
    pending: dict[Any, int] = {}
    parts = []
    total, done, spilled = sum(size for _, size in shards), 0, 0
    try:
        with reporting(progress) as report:
            for files, size in shards:
                counted, part = count.remote(task, files)
                pending[counted] = size
                parts.append(part)
            while pending:
                (ready, *_), _ = ray.wait(list(pending))
                done += pending.pop(ready)
                spilled += result_of(ray, ready)
                if report is not None:
                    report("count", done, total)
        while len(parts) > 1:
            parts = [merge.remote(*parts[at : at + _FAN_IN]) for at in range(0, len(parts), _FAN_IN)]
        return spilled, result_of(ray, parts[0])
    except BaseException:
        for task_left in pending:  # on a cluster that goes on, so would they
            ray.cancel(task_left)
        raise


def _merge(*parts: Part) -> Part:
    """On a worker: the counts of several parts."""
    import numpy as np

    with tempfile.TemporaryDirectory() as folder:
        files = [Path(folder) / f"{number}.counts" for number in range(len(parts))]
        for file, part in zip(files, parts, strict=True):
            part.tofile(file)
        output = Path(folder) / "sum.counts"
        _bpe.merge_counts(files, output)
        return np.fromfile(output, np.uint8)


@contextmanager
def cluster(address: str | None, what: str) -> Iterator[Any]:
    """Ray, connected to a cluster; ``what`` is what needs it."""
    # Nobody who counts words or encodes texts expects that to be told to the makers of a library.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    with needs_extra(what, extra="ray"):
        import ray
    if ray.is_initialized():
        yield ray
        return
    address = address or os.environ.get("RAY_ADDRESS")
    try:
        _knock(address or "")
        ray.init(address=address, logging_level=logging.ERROR, log_to_driver=False)
    except (OSError, OverflowError, RuntimeError, ValueError) as error:
        where = "Ray does not start" if address is None else f"there is no Ray cluster at {address}"
        raise ClusterError(f"{where}: {_line(error)}; check the address, and that the cluster runs") from error
    try:
        yield ray
    finally:
        ray.shutdown()


def _knock(address: str) -> None:
    """Raises where nobody listens at HOST:PORT: Ray would try for many minutes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if host and port.isdigit():
        socket.create_connection((host.strip("[]"), int(port)), timeout=_SECONDS_TO_ANSWER).close()


def result_of(ray: Any, reference: Any) -> Any:
    """What a task gave, or what it raised."""
    try:
        return ray.get(reference)
    except ray.exceptions.RayTaskError as error:
        cause = error.cause
        # Other than these, what comes from Ray or from a worker that lacks something.
        if isinstance(cause, Cs336Error) or not isinstance(cause, ImportError | RuntimeError):
            raise cause from None
        advice = "install the same cs336 on all machines of the cluster"
        raise ClusterError(f"a worker of the cluster failed: {_line(cause)}; {advice}") from error
    except ray.exceptions.RayError as error:
        message = f"the cluster gave up on a task: {_line(error)}"
        raise ClusterError(f"{message}; see Ray's log, give tasks less to do at a time, or try again") from error


def _line(error: BaseException) -> str:
    """The first sentence of a message, which may fill a screen."""
    return str(error).strip().partition("\n")[0].partition(". ")[0]


def check_threads(ray: Any, threads: int) -> None:
    """Ray waits without end for a machine that can run a task."""
    most = max((int(node["Resources"].get("CPU", 0)) for node in ray.nodes() if node["Alive"]), default=0)
    if threads > max(most, 1):
        raise ClusterError(f"no machine of the cluster has {threads} CPUs for a task; give at most {most} threads")


def _memory_of(threads: int) -> int:
    """On a worker: what a task with so many threads may take of its machine's memory."""
    import ray

    here = ray.get_runtime_context().get_node_id()
    cpus = next((node["Resources"].get("CPU", 1) for node in ray.nodes() if node["NodeID"] == here), 1)
    return int(default_max_memory() * min(1, threads / cpus))


def size_of(file: str) -> int:
    """In bytes; raises where the file is not there, before anything begins."""
    with explained(file):
        return Path(file).stat().st_size
