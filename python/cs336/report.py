"""What training and encoding tell about themselves: how much there was, and where time and memory went."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from cs336 import _bpe


@dataclass(frozen=True)
class StageReport:
    """A stage: its seconds, and the most memory the process had resident during it (None where no system tells)."""

    stage: str
    seconds: float
    peak_memory: int | None


@dataclass(frozen=True)
class TrainReport:
    """What ``train_bpe_with_report`` gives beside the tokenizer.

    ``corpus_bytes`` is text, decompressed. ``steps`` are parts of the stages in seconds; reading and counting are the
    sums over all threads. ``thread_seconds`` is how long each thread counted. ``ran_out_of_pairs`` tells that the
    vocabulary stayed smaller than it was to be.
    """

    corpus_bytes: int
    documents: int
    pretokens: int
    distinct_pretokens: int
    merges: int
    ran_out_of_pairs: bool
    stages: tuple[StageReport, ...]
    steps: dict[str, float]
    thread_seconds: tuple[float, ...]


@dataclass(frozen=True)
class EncodeFileStats:
    """What ``encode_file`` wrote: tokens, bytes of text, documents, and the bytes of text a token stands for."""

    tokens: int
    bytes: int
    documents: int
    dtype: str

    @property
    def bytes_per_token(self) -> float:
        """The compression ratio; 0 where there are no tokens."""
        return self.bytes / self.tokens if self.tokens else 0.0


@contextmanager
def stage(name: str, stages: list[StageReport]) -> Iterator[None]:
    """Times what stands in it as a further stage."""
    before, peak_before = _bpe.memory()
    began = time.perf_counter()
    yield
    seconds = time.perf_counter() - began
    now, peak = _bpe.memory()
    # The system keeps one peak for the process. Where this stage did not raise it, what was seen has to do.
    if peak is not None and peak_before is not None and peak <= peak_before:
        peak = max(now or 0, before or 0)
    stages.append(StageReport(name, seconds, peak))
