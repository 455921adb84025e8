"""The write-up's numbers beside the right ones, as tables. Every answer here follows from numbers of now."""

from __future__ import annotations

from itertools import pairwise

from cs336.accounting.flops import flops_by_component, forward_flops
from cs336.accounting.formula import sizes
from cs336.accounting.memory import training_memory
from cs336.accounting.parameters import num_parameters
from cs336.accounting.table import Column, Table, readable
from cs336.accounting.writeup import (
    WRITTEN_FLOPS,
    WRITTEN_PARAMETERS,
    MemoryCorrection,
    flops_corrections,
    memory_corrections,
)
from cs336.config import ModelConfig, preset

__all__ = ["answers", "memory", "operations", "shares"]

LONG_CONTEXT = 16_384

GROUPS = {"head": ("output head",), "feed-forward": ("feed-forward",), "attention": ("projections", "scores")}
"""The write-up's components, and ours: what it calls embedding is the head."""


def _model(name: str, context: int) -> ModelConfig:
    return preset(name, context_length=context)


def right_flops(name: str, context: int) -> dict[str, int]:
    """Operations of a forward pass in the write-up's three components."""
    found = flops_by_component(_model(name, context))
    return {group: sum(found[part] for part in parts) for group, parts in GROUPS.items()}


def operations() -> Table:
    """Each written total, the corrections in numbers, and the right total."""
    corrections = flops_corrections()
    rows = []
    for name, context in WRITTEN_FLOPS:
        numbers = sizes(_model(name, context))
        changes = [correction.change.value(numbers) for correction in corrections[1:]]
        written = corrections[0].result.value(numbers)
        right = corrections[-1].result.value(numbers)
        rows.append((name, context, written, *changes, right, right / written))
    columns = (
        Column("model"),
        Column("context", "count"),
        Column("written", "tera"),
        Column("output projection", "tera", "+ out"),
        Column("feed-forward", "tera", "+ ffn"),
        Column("projections", "tera", "+ proj."),
        Column("scores", "tera", "+ scores"),
        Column("right", "tera"),
        Column("ratio", "ratio"),
    )
    first, *rest = corrections
    notes = [f"Written: {first.result}.", *(f"+ {c.change}: {c.why}." for c in rest), f"Right: {rest[-1].result}."]
    return Table("writeup-flops", "Forward pass in TFLOP: as written, corrections, right", columns, rows, notes=notes)


def shares() -> Table:
    """The shares of operations, as written and right."""
    rows = []
    for (name, context), written in WRITTEN_FLOPS.items():
        right = right_flops(name, context)
        pairs = [(written[group] / sum(written.values()), right[group] / sum(right.values())) for group in GROUPS]
        rows.append((name, context, *(share for pair in pairs for share in pair)))
    columns = [Column("model"), Column("context", "count")]
    for group, short in zip(GROUPS, ("head", "ffn", "attn"), strict=True):
        columns += [Column(f"{group} written", "share", short), Column(f"{group} right", "share", "right")]
    return Table("writeup-shares", "Shares of a forward pass: as written and right", tuple(columns), rows)


def memory(device_memory: int) -> Table:
    """From the written code to the right memory, a row for each correction."""
    rows = [
        (step.why, _change(step), step.a, step.b, step.largest_batch)
        for step in memory_corrections(device_memory=device_memory)
    ]
    columns = (
        Column("correction"),
        Column("change"),
        Column("a", "GB"),
        Column("b", "GB"),
        Column("batch", "count"),
    )
    limit = readable(device_memory, "limit")
    title = f"AdamW's memory for GPT-2 XL: a * batch + b in GB, largest batch for {limit}"
    notes = ["Changes in numbers of 4 bytes; a and b with all corrections down to the row."]
    return Table("writeup-memory", title, columns, rows, notes=notes)


def _change(step: MemoryCorrection) -> str:
    """What a correction adds to a and b: `a - 3 N L d; b + 2 N d²`."""
    changes = {"a": step.a_change, "b": step.b_change}
    texts = {name: str(change) for name, change in changes.items() if change != 0}
    return "; ".join(f"{name} {text if text.startswith('- ') else '+ ' + text}" for name, text in texts.items())


def answers() -> Table:
    """The write-up's answers beside those that the formulas give."""
    xl = preset("gpt2-xl")
    right_memory = training_memory(xl)
    steps = memory_corrections()
    columns = (Column("question"), Column("written"), Column("right"))
    written_flops = {context: sum(WRITTEN_FLOPS["gpt2-xl", context].values()) for context in (1024, LONG_CONTEXT)}
    own_formula = steps[3].largest_batch
    rows = [
        ("parameters of GPT-2 XL", f"{WRITTEN_PARAMETERS['gpt2-xl']:,}", f"{num_parameters(xl):,}"),
        ("their memory in float32", "6.5 GB", readable(4 * num_parameters(xl), "bytes")),
        ("FLOP of a forward pass", readable(written_flops[1024], "flop"), readable(forward_flops(xl), "flop")),
        ("what takes most of them", "the embedding layer", _leaders()),
        ("whose share grows with size", "MLP", _growing()),
        ("at 16,384 tokens", "attention takes more than feed-forward", _long_context()),
        (
            "FLOP at 16,384 tokens",
            readable(written_flops[LONG_CONTEXT], "flop"),
            readable(forward_flops(_model("gpt2-xl", LONG_CONTEXT)), "flop"),
        ),
        ("AdamW's memory, a", readable(steps[0].a, "bytes"), readable(right_memory.a, "bytes")),
        ("AdamW's memory, b", readable(steps[0].b, "bytes"), readable(right_memory.b, "bytes")),
        (
            "largest batch for 80 GB",
            f"{steps[0].largest_batch} (its own formula: {own_formula})",
            str(right_memory.largest_batch(80 * 10**9)),
        ),
    ]
    return Table("writeup-answers", "The write-up's answers", columns, rows)


def _share(name: str, context: int, group: str) -> float:
    found = right_flops(name, context)
    return found[group] / sum(found.values())


def _leaders() -> str:
    """Which component leads in each size."""
    found = {name: right_flops(name, 1024) for name in WRITTEN_PARAMETERS}
    leaders = {name: max(flops, key=flops.__getitem__) for name, flops in found.items()}
    if len(set(leaders.values())) == 1:
        leader = leaders["gpt2-xl"]
        return f"{leader}, in all sizes: {', '.join(readable(_share(name, 1024, leader), 'share') for name in leaders)}"
    return ", ".join(f"{name}: {leader}" for name, leader in leaders.items())


def _growing() -> str:
    """The components whose share grows from each size to the next, the fastest first."""
    names = list(WRITTEN_PARAMETERS)
    gains = {group: _share(names[-1], 1024, group) - _share(names[0], 1024, group) for group in GROUPS}
    growing = [
        group
        for group in sorted(gains, key=gains.__getitem__, reverse=True)
        if all(_share(small, 1024, group) < _share(large, 1024, group) for small, large in pairwise(names))
    ]
    return ", ".join(
        f"{group} from {readable(_share(names[0], 1024, group), 'share')} to "
        f"{readable(_share(names[-1], 1024, group), 'share')}"
        for group in growing
    )


def _long_context() -> str:
    """The components at a context of 16,384, the largest first."""
    found = {group: _share("gpt2-xl", LONG_CONTEXT, group) for group in GROUPS}
    ordered = sorted(found, key=found.__getitem__, reverse=True)
    return ", ".join(f"{group} {readable(found[group], 'share')}" for group in ordered)
