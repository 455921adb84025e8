"""The accounting of a model as tables."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass

from cs336.accounting.activations import COUNTINGS
from cs336.accounting.checks import at_least_one
from cs336.accounting.devices import DEVICES, Device
from cs336.accounting.flops import flops_by_component, forward_flops, matrix_products, step_flops
from cs336.accounting.formula import as_formula, sizes
from cs336.accounting.inference import KV_CACHE, generation
from cs336.accounting.memory import TrainingMemory, training_memory
from cs336.accounting.optimizers import ADAMW_FLOPS
from cs336.accounting.parameters import num_parameters, parameter_formulas, parameters, with_head
from cs336.accounting.precision import narrow_bytes
from cs336.accounting.table import Column, Table, readable
from cs336.accounting.time import training_time
from cs336.accounting.writeup_tables import answers, memory, operations, shares
from cs336.config import PRESETS, ModelConfig

__all__ = ["TABLES", "USUAL", "WRITEUP", "Question", "describe"]

COMPONENTS = {"projections": "proj.", "scores": "scores", "feed-forward": "ffn", "output head": "head"}
"""The components of a forward pass, and what they are called where there is little room."""
LONG_CONTEXT = 16_384


@dataclass(frozen=True, kw_only=True)
class Question:
    """What is asked about: a model, and how and where it is trained."""

    config: ModelConfig
    name: str = "model"
    batch_size: int | None = None
    """Sequences a step on all devices; None: one for memory, and the course's 1,024 for time."""
    grad_accumulation: int = 1
    """Parts that a batch is computed in: only one of them is in memory."""
    steps: int = 400_000
    dtype: str = "float32"
    optimizer: str = "adamw"
    counting: str = "course"
    attention: str | None = None
    loss: str = "whole"
    checkpointing: bool = False
    devices: int = 1
    device: Device = DEVICES["a100"]
    device_memory: int | None = None
    """Bytes; None: the device's own."""
    mfu: float = 0.5

    def __post_init__(self) -> None:
        for name in ("steps", "devices", "grad_accumulation"):
            at_least_one(name, getattr(self, name))
        if self.batch_size is not None:
            at_least_one("batch_size", self.batch_size)

    @property
    def memory_limit(self) -> int:
        """Bytes of one device."""
        return self.device.memory if self.device_memory is None else self.device_memory

    @property
    def device_batch(self) -> int:
        """Sequences on one device at a time."""
        parts = self.devices * self.grad_accumulation
        return -(-(self.batch_size or parts) // parts)


def describe(config: ModelConfig) -> str:
    """A model in a line."""
    positions = {"learned": "learned positions", "rope": "RoPE", "none": "no positions"}[config.positions]
    head = "tied" if config.tie_embeddings else "untied"
    norm = "" if config.norm_placement == "none" else f", {config.norm} norm ({config.norm_placement})"
    return (
        f"N = {config.num_layers} layers, d = {config.d_model:,}, H = {config.num_heads} heads of k = "
        f"{config.head_dim}, f = {config.hidden_size:,} ({config.ffn}), V = {config.vocab_size:,}, "
        f"L = {config.context_length:,}; {positions}{norm}, {head} head"
    )


def parameter_table(question: Question) -> Table:
    """Parameters by component, with the head as it is and the other way."""
    config = question.config
    formulas, counts = parameter_formulas(config), parameters(config)
    total = sum(counts.values())
    rows = [(name, str(formulas[name]), counts[name], counts[name] / total, 4 * counts[name]) for name in counts]
    rows.append(("total", "", total, 1.0, 4 * total))
    for tied, words in ((False, "with a head of its own"), (True, "with a tied head")):
        other = num_parameters(with_head(config, tied=tied))
        rows.append((words, "", other, other / total, 4 * other))
    columns = (
        Column("component"), Column("in symbols"), Column("parameters", "count"), Column("share", "share"),
        Column("float32", "bytes"),
    )  # fmt: skip
    return Table("parameters", "Parameters", columns, rows, totals=3)


def flops_table(question: Question) -> Table:
    """The matrix products of a forward pass."""
    products = matrix_products(question.config)
    total = sum(product.flops for product in products)
    rows: list[tuple[object, ...]] = [
        (p.name, f"{_shape(p.left)}, {_shape(p.right)}", p.copies, str(p.formula), p.flops, p.flops / total)
        for p in products
    ]
    rows.append(("total", "", None, "", total, 1.0))
    columns = (
        Column("product"), Column("shapes"), Column("times", "count"), Column("in symbols"), Column("FLOP", "flop"),
        Column("share", "share"),
    )  # fmt: skip
    shares = {name: flops / total for name, flops in flops_by_component(question.config).items()}
    leader = max(shares, key=shares.__getitem__)
    notes = [
        "By component: " + ", ".join(f"{name} {readable(share, 'share')}" for name, share in shares.items()) + ".",
        f"Most goes into: {leader}.",
    ]
    title = f"Forward pass of one sequence of {question.config.context_length:,} tokens, 2 m k n a product"
    return Table("flops", title, columns, rows, totals=1, notes=notes)


def _shape(shape: tuple[int, int]) -> str:
    return f"{shape[0]}×{shape[1]}"


def training_table(question: Question) -> Table:
    """The operations of a training step, and of all."""
    batch = question.batch_size or 1
    step = step_flops(
        question.config, batch, attention=question.attention, checkpointing=question.checkpointing,
        optimizer=question.optimizer,
    )  # fmt: skip
    rows = [
        ("forward", step.forward, step.forward / step.total),
        ("backward: twice the forward", step.backward, step.backward / step.total),
        ("computed again", step.recomputed, step.recomputed / step.total),
        (f"optimizer ({question.optimizer})", step.optimizer, step.optimizer / step.total),
        ("a step", step.total, 1.0),
        (f"{question.steps:,} steps", question.steps * step.total, None),
    ]
    tokens = batch * question.config.context_length
    rule = 6 * num_parameters(question.config) * tokens
    notes = [
        f"The rule of 6 operations a parameter and token (Kaplan et al. 2020) says {readable(rule, 'flop')} a step, "
        f"{rule / step.model:.2f} times forward and backward."
    ]
    if question.optimizer == "adamw":
        notes.append(f"AdamW: {sum(ADAMW_FLOPS.values())} operations a parameter.")
    columns = (Column("part"), Column("FLOP", "flop"), Column("of a step", "share"))
    title = f"Training step of {batch:,} x {question.config.context_length:,} tokens"
    return Table("training", title, columns, [row for row in rows if row[1]], totals=2, notes=notes)


def memory_table(question: Question) -> Table:
    """Everything that training keeps on one device."""
    memory, batch = _memory(question), question.device_batch
    total = memory.total(batch)
    rows = []
    for item in memory.items:
        size = item.bytes(batch)
        rows.append((item.name, item.kind, str(item.formula), size, size / total))
    rows.append(("total", "", "", total, 1.0))
    columns = (
        Column("what"), Column("kind", "machine"), Column("bytes in symbols"), Column("bytes", "bytes"),
        Column("share", "share"),
    )  # fmt: skip
    per_device = f", each of {question.devices} devices" if question.devices > 1 else ""
    fits = memory.largest_batch(question.memory_limit)
    scores = any(item.name in ("softmax", "probabilities") for item in memory.items)
    notes = [
        "Attention is written out: its scores are in memory." if scores else "Attention is fused: no scores in memory.",
        f"{readable(memory.a, 'bytes')} * batch + {readable(memory.b, 'bytes')}{per_device}",
        f"a = {memory.a_formula} bytes",
        f"b = {memory.b_formula} bytes, P = {sum(parameter_formulas(question.config).values(), start=as_formula(0))}"
        + (f", of which a device has 1/{question.devices} where it is shared" if per_device else ""),
        f"Largest batch for {readable(question.memory_limit, 'limit')}{per_device}: "
        + (f"{fits:,}" if fits else "none, not even one sequence fits"),
    ]
    whose = {"course": "as the course counts", "autograd": "as PyTorch keeps them"}[question.counting]
    title = f"Training memory at batch {batch:,}, {question.dtype}, activations {whose}"
    return Table("memory", title, columns, rows, totals=1, notes=notes)


def _memory(question: Question, **changes: object) -> TrainingMemory:
    settings = {
        name: getattr(question, name)
        for name in ("counting", "attention", "dtype", "optimizer", "loss", "checkpointing", "devices")
    }
    return training_memory(question.config, **(settings | changes))


def batch_table(question: Question) -> Table:
    """The largest batch under each way of saving memory, one after the other, by both ways of counting."""
    mixed = question.dtype if narrow_bytes(question.dtype) == 2 else "bfloat16"
    shards = question.devices if question.devices > 1 else 8
    steps: list[tuple[str, dict[str, object]]] = [
        ("float32, scores kept", {"attention": "reference"}),
        ("+ fused attention", {"attention": "sdpa"}),
        (f"+ {mixed}", {"dtype": mixed}),
        ("+ checkpointing", {"checkpointing": True}),
        (f"+ FSDP over {shards}", {"devices": shards}),
    ]
    rows = []
    settings: dict[str, object] = {"dtype": "float32", "checkpointing": False, "devices": 1}
    for words, change in steps:
        settings |= change
        both = [_memory(question, counting=counting, **settings) for counting in COUNTINGS]
        rows.append((words, *(value for m in both for value in (m.a, m.b, m.largest_batch(question.memory_limit)))))
    columns = [Column("training in")]
    for whose in ("course", "PyTorch"):
        columns += [Column(f"{whose} a", "GB"), Column(f"{whose} b", "GB", "b")]
        columns.append(Column(f"{whose} batch", "count", "batch"))
    title = f"a * batch + b in GB, and the largest batch a device, for {readable(question.memory_limit, 'limit')}"
    notes = ["Each row adds to those above. course: the course's list of activations; PyTorch: what autograd keeps."]
    return Table("batch", title, tuple(columns), rows, notes=notes)


def time_table(question: Question) -> Table:
    """How long training takes in each type that the device has."""
    batch = question.batch_size or 1024
    rows = []
    for dtype, peak in question.device.peak_flops.items():
        time = training_time(
            question.config, steps=question.steps, batch_size=batch, peak_flops=peak, mfu=question.mfu,
            devices=question.devices,
        )  # fmt: skip
        rows.append((dtype, peak, time.seconds_per_step, time.tokens_per_second, time.days))
    columns = (
        Column("type"), Column("peak FLOP", "per second"), Column("a step", "seconds"),
        Column("tokens", "per second"), Column("days", "days"),
    )  # fmt: skip
    where = f"{question.devices} x {question.device.name} at {100 * question.mfu:.3g}% MFU"
    title = f"{question.steps:,} steps of {batch:,} sequences on {where}"
    return Table("time", title, columns, rows)


def inference_table(question: Question) -> Table:
    """What generating takes at the end of a full context."""
    batch = question.batch_size or 1
    dtype = question.dtype
    found = generation(question.config, batch_size=batch, dtype=dtype, device=question.device)
    width = narrow_bytes(dtype)
    one_token = width * KV_CACHE.slope("B").slope("L")
    rows = [
        ("weights", f"{width} P", found.weight_bytes, "bytes"),
        ("key/value cache", str(width * KV_CACHE), found.cache_bytes, "bytes"),
        ("cache of a token", str(one_token), one_token.value(sizes(question.config)), "bytes"),
        ("reading the whole context", "", found.prefill_flops, "flop"),
        ("one more token", "", found.token_flops, "flop"),
        ("time to read the context, at least", "", found.prefill_seconds, "seconds"),
        ("time of a token, at least", "", found.token_seconds, "seconds"),
    ]
    columns = (Column("what"), Column("in symbols"), Column("value", "measure"), Column("unit", "machine"))
    title = (
        f"Generating with {batch:,} x {question.config.context_length:,} tokens in {dtype} on {question.device.name}"
    )
    return Table("inference", title, columns, rows, notes=[f"A token waits for: {found.bound}."])


def sizes_table(question: Question) -> Table:
    """How the shares of operations move with the size of the model and with the context."""
    columns = (
        Column("model"), Column("context", "count"), Column("parameters", "flop", "params"), Column("FLOP", "flop"),
        *(Column(name, "share", short) for name, short in COMPONENTS.items()),
    )  # fmt: skip
    rows: list[tuple[object, ...]] = []
    models = family(question)
    contexts = {question.config.context_length, LONG_CONTEXT, *(config.context_length for config in models.values())}
    for context in sorted(contexts):
        for name, config in models.items():
            longer = dataclasses.replace(config, context_length=context)
            total = forward_flops(longer)
            by_component = flops_by_component(longer)
            rows.append((name, context, num_parameters(longer), total, *(by_component[c] / total for c in COMPONENTS)))
    return Table("sizes", "Shares of a forward pass, by size and context", columns, rows)


def family(question: Question) -> dict[str, ModelConfig]:
    """The sizes of GPT-2, in the course's shape or in OpenAI's, and the model if it is none of them."""
    prefix = "openai-gpt2-" if question.name.startswith("openai-") else "gpt2-"
    models = {name: config for name, config in PRESETS.items() if name.startswith(prefix)}
    # Its context makes no other model of it: the table has a row for each context.
    own = question.config
    known = any(dataclasses.replace(config, context_length=own.context_length) == own for config in models.values())
    return models if known else {question.name: own, **models}


TABLES: dict[str, Callable[[Question], Table]] = {
    "parameters": parameter_table,
    "flops": flops_table,
    "training": training_table,
    "memory": memory_table,
    "batch": batch_table,
    "time": time_table,
    "inference": inference_table,
    "sizes": sizes_table,
    "writeup-answers": lambda question: answers(),
    "writeup-flops": lambda question: operations(),
    "writeup-shares": lambda question: shares(),
    "writeup-memory": lambda question: memory(question.memory_limit),
}
"""Every table, by the name that it is asked for."""

USUAL = ("parameters", "flops", "training", "memory", "batch", "time", "inference")
WRITEUP = tuple(name for name in TABLES if name.startswith("writeup"))
