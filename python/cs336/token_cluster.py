"""Token files by a Ray cluster: each task encodes some of the inputs, in order, to files of its own.

A task is a run of ``encode_files``, so that one whose worker was lost goes on where it was, by whichever worker takes
it next. All machines have to share the inputs and the folder of the target.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cs336 import _bpe
from cs336.cluster import check_threads, cluster, result_of, shards_of, size_of
from cs336.errors import ClusterError, ConfigError, CorpusError, FormatError
from cs336.files import check_target, explained, followed, whole_file
from cs336.inputs import expand
from cs336.progress import reporting
from cs336.token_files import SEPARATOR, TokenFilesStats, encode_files, record_path
from cs336.tokenizer import Tokenizer, check_options

if TYPE_CHECKING:
    from numpy.typing import DTypeLike

    from cs336.inputs import InputFormat, StrPath
    from cs336.tokenizer import Progress, Special

__all__ = ["encode_files_on_ray"]

_TASKS = 4  # for each CPU, so that none waits long for the last ones
_NUMBERS = 2  # in the name of a token file, at most: of the task, and of the shard
_FORMAT = "cs336-tokens-on-ray"


@dataclass(frozen=True)
class _Task:
    """How to encode some of the inputs."""

    version: str
    tokenizer: Tokenizer
    options: dict[str, Any]

    def encode(self, files: Sequence[str], target: str) -> dict[str, Any]:
        """On a worker: what was written."""
        if _bpe.__version__ != self.version:
            versions = f"a worker has cs336 {_bpe.__version__}, and the caller {self.version}"
            raise ClusterError(f"{versions}; install the same version on all machines of the cluster")
        # Without a record, what stands there is of a task that was done, but whose end nobody heard of any more.
        anew = not record_path(Path(target)).exists()
        try:
            stats = encode_files(self.tokenizer, files, target, restart=anew, progress=False, **self.options)
        except CorpusError:  # a task's inputs may hold no text where the others do
            return dataclasses.asdict(TokenFilesStats(0, 0, 0, 0, "", (), 0))
        return dataclasses.asdict(stats) | {"files": [str(file) for file in stats.files]}


def encode_files_on_ray(
    tokenizer: Tokenizer,
    paths: StrPath | Sequence[StrPath],
    target: StrPath,
    *,
    special: Special = "token",
    separator: str | None = SEPARATOR,
    dtype: DTypeLike | None = None,
    shard_tokens: int | None = None,
    input_format: InputFormat | None = None,
    text_column: str = "text",
    threads: int = 1,
    restart: bool = False,
    address: str | None = None,
    progress: Progress = None,
) -> TokenFilesStats:
    """Encode inputs to token files on a Ray cluster.

    The files are ``name-00000.npy`` and so on, one for each task; with ``shard_tokens`` each of these is sharded in
    turn. One behind the other they hold the ids that ``encode_files`` writes. Every machine must find inputs and target
    under the same paths. ``threads`` are those of a task. ``address`` is that of ``count_pretokens_on_ray``. A run that
    was stopped goes on when it is called again.
    """
    check_options(threads=threads)
    files = expand(paths)
    if "-" in files:
        raise CorpusError("a cluster can't read standard input (-); write it to a file that all machines can read")
    sizes = [size_of(file) for file in files]
    special = special if isinstance(special, str) else sorted(special)
    options = {
        "special": special,
        "separator": separator,
        "dtype": None if dtype is None else tokenizer.file_dtype(dtype).name,
        "shard_tokens": shard_tokens,
        "input_format": input_format,
        "text_column": text_column,
    }
    check_target(Path(target))
    target = followed(Path(target).absolute())
    _bpe.check_token_sources(target, _NUMBERS, files)
    with cluster(address, "encoding on a cluster") as ray:
        check_threads(ray, threads)
        cpus = int(ray.cluster_resources().get("CPU", 1))
        job = {"tokenizer": tokenizer.hash, **options, "inputs": [_identity(file) for file in files]}
        plan = _Plan(target, job, restart)
        if not plan.tasks:
            # Workers have another working folder.
            shards = shards_of([str(Path(file).absolute()) for file in files], sizes, _TASKS * cpus)
            plan.begin([shard for shard, _ in shards])
        task = _Task(_bpe.__version__, tokenizer, options | {"threads": threads})
        _run(ray, task, threads, plan, progress)
    return plan.finish()


class _Plan:
    """Which task encodes what, and what those that are done have written; on the disk, beside the target."""

    def __init__(self, target: Path, job: dict[str, Any], restart: bool) -> None:
        self.target = target
        self.record = record_path(target)
        self.job: dict[str, Any] = json.loads(json.dumps(job))
        self.tasks: list[list[str]] = []
        self.done: dict[str, dict[str, Any]] = {}
        if self.record.exists() and not restart:
            self._go_on()
        if not self.tasks:
            self._make_room(restart)
        self.resumed_at = sum(stats["tokens"] for stats in self.done.values())

    def _go_on(self) -> None:
        """Takes up what a run left that had the same to do."""
        try:
            left = json.loads(self.record.read_bytes())
            if (left["format"], left["version"]) != (_FORMAT, 1):
                raise ValueError(f"it is of format {left['format']!r}, version {left['version']!r}")
            tasks, done, job = left["tasks"], left["done"], dict(left["job"])
        except (ValueError, LookupError, TypeError) as error:
            message = f"no whole record of a run on a cluster that was stopped: {error!r}; begin anew, with restart"
            raise FormatError(f"{self.record}: {message}") from error
        if differing := [name for name in self.job if job.get(name) != self.job[name]]:
            message = f"a run with other inputs or options ({', '.join(differing)}) was stopped there"
            raise ConfigError(f"{self.target}: {message}; run it as before to go on, or begin anew, with restart")
        self.tasks, self.done = tasks, done

    def _make_room(self, restart: bool) -> None:
        """Files of another run do not stay among those of this one."""
        there = _bpe.token_files_left(self.target, _NUMBERS)
        if there and not restart:
            message = "there are files of that name already; remove them, or begin anew, with restart"
            raise ConfigError(f"{there[0]}: {message}")
        for file in (self.record, *there):  # the record first, for it tells of the others
            with explained(file):
                file.unlink(missing_ok=True)

    def path(self, number: int) -> Path:
        """The target of a task."""
        return _bpe.token_shard(self.target, number)

    def begin(self, tasks: list[list[str]]) -> None:
        """Puts on record who does what."""
        self.tasks = tasks
        self._write()

    def end(self, number: int, stats: dict[str, Any]) -> None:
        """Puts on record that a task is done."""
        self.done[str(number)] = stats
        self._write()

    def finish(self) -> TokenFilesStats:
        """The sums of all tasks."""
        done = [self.done[str(number)] for number in range(len(self.tasks))]
        self.record.unlink()
        if not any(stats["tokens"] for stats in done):
            raise CorpusError("the inputs hold no text; give files with text")
        tokens, size, documents, separators = (
            sum(stats[name] for stats in done) for name in ("tokens", "bytes", "documents", "separators")
        )
        files = tuple(Path(file) for stats in done for file in stats["files"])
        kind = next(stats["dtype"] for stats in done if stats["dtype"])
        return TokenFilesStats(tokens, size, documents, separators, kind, files, self.resumed_at)

    def _write(self) -> None:
        content = {"format": _FORMAT, "version": 1, "job": self.job, "tasks": self.tasks, "done": self.done}
        with whole_file(self.record) as aside:
            aside.write_text(json.dumps(content), "utf-8")


def _run(ray: Any, task: _Task, threads: int, plan: _Plan, progress: Progress) -> None:
    encode = ray.remote(num_cpus=threads)(_Task.encode)
    shared = ray.put(task)
    sizes = [sum(size_of(file) for file in files) for files in plan.tasks]
    total = sum(sizes)
    done = sum(sizes[int(number)] for number in plan.done)
    left = [number for number in range(len(plan.tasks)) if str(number) not in plan.done]
    pending = {encode.remote(shared, plan.tasks[number], str(plan.path(number))): number for number in left}
    try:
        with reporting(progress) as report:
            while pending:
                (ready, *_), _ = ray.wait(list(pending))
                number = pending.pop(ready)
                plan.end(number, result_of(ray, ready))
                done += sizes[number]
                if report is not None:
                    report("encode", done, total)
    except BaseException:
        for task_left in pending:  # on a cluster that goes on, so would they
            ray.cancel(task_left)
        raise


def _identity(file: str) -> list[Any]:
    """What tells whether a file is still the same, without reading it."""
    status = Path(file).stat()
    return [file, status.st_size, status.st_mtime_ns]
