"""What a command tells at its end about training a tokenizer."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

from cs336.report import StageReport, TrainReport
from cs336.tokenizer import Tokenizer
from cs336.wording import plural


def summary_of(report: TrainReport, seconds: float, *, as_json: bool) -> dict[str, Any]:
    """How much there was, and time and memory by stage."""
    values: dict[str, Any] = {
        "corpus_bytes": report.corpus_bytes,
        "documents": report.documents,
        "pretokens": report.pretokens,
        "distinct_pretokens": report.distinct_pretokens,
        "merges": report.merges,
        "ran_out_of_pairs": report.ran_out_of_pairs,
        "seconds": seconds,
    }
    return values | stages_of(report.stages, as_json=as_json)


def stages_of(stages: Sequence[StageReport], *, as_json: bool) -> dict[str, Any]:
    """Time and memory by stage."""
    if as_json:
        return {"stages": [dataclasses.asdict(stage) for stage in stages]}
    return {stage.stage: _stage(stage) for stage in stages}


def profile_of(report: TrainReport, *, as_json: bool) -> dict[str, Any]:
    """The steps of the stages, and how fast they went."""
    seconds = {stage.stage: stage.seconds for stage in report.stages}
    busiest = max(report.thread_seconds, default=0.0)
    speeds = {
        "counting_mb_per_second": _ratio(report.corpus_bytes / 1e6, seconds.get("counting", 0.0)),
        "pretokens_per_second": _ratio(report.pretokens, seconds.get("counting", 0.0)),
        "merges_per_second": _ratio(report.merges, report.steps["merges"]),
    }
    if as_json:
        steps = [{"step": step, "seconds": time} for step, time in report.steps.items()]
        return {"profile": {"steps": steps, "thread_seconds": report.thread_seconds, **speeds}}
    values: dict[str, Any] = {f"step: {step}": f"{time:,.3f} s" for step, time in report.steps.items()}
    shares = [f"{time:,.3f} s ({100 * _ratio(time, busiest):.0f}%)" for time in report.thread_seconds]
    return values | {"counting by thread": shares} | {name: round(speed) for name, speed in speeds.items()}


def warnings_of(
    tokenizer: Tokenizer, vocab_size: int, min_frequency: int, max_token_length: int | None
) -> Iterator[str]:
    """What the user may not have meant."""
    if tokenizer.vocab_size >= vocab_size:
        return
    limits, advice = [], ["give more text"]
    if min_frequency > 1:
        limits.append(f"occurs {plural(min_frequency, 'time')}")
        advice.append("a smaller --min-frequency")
    if max_token_length is not None:
        limits.append(f"makes a token of at most {plural(max_token_length, 'byte')}")
        advice.append("a greater --max-token-length")
    reason = f"no pair is left that {' and '.join(limits)}" if limits else "the corpus ran out of pairs"
    merges = plural(len(tokenizer.merges), "merge")
    yield f"{reason} after {merges}, so the vocabulary is smaller than {vocab_size:,}; {', or '.join(advice)}"


def _stage(stage: StageReport) -> str:
    memory = "" if stage.peak_memory is None else f", at most {stage.peak_memory / 1e6:,.0f} MB in memory"
    return f"{stage.seconds:,.3f} s{memory}"


def _ratio(amount: float, seconds: float) -> float:
    return amount / seconds if seconds else 0.0
