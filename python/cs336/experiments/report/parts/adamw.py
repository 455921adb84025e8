"""Section 8: memory and time of training with AdamW."""

from __future__ import annotations

from pathlib import Path

from cs336.accounting.table import readable
from cs336.accounting.tables import TABLES, Question
from cs336.config import preset
from cs336.experiments.report.part import Bench, Found, Part, Rows
from cs336.experiments.report.plan import Plan

_NAME = "gpt2-xl"
_LIMIT = 80 * 10**9
_MEMORY = ("memory", "batch", "writeup-memory")
_COMPUTE = ("training", "time")


def _measure(bench: Bench) -> Found:
    config = preset(_NAME)
    one = Question(config=config, name=_NAME, device_memory=_LIMIT, attention="reference")
    all_steps = Question(config=config, name=_NAME, batch_size=1024, attention="reference")
    tables = [TABLES[name](one) for name in _MEMORY] + [TABLES[name](all_steps) for name in _COMPUTE]
    return Found(tables)


def _answer(rows: Rows) -> list[str]:
    steps = rows["writeup-memory"]
    written, right = steps[0], steps[-1]
    total = next(row for row in rows["memory"] if row["what"] == "total")
    same = written["batch"] == right["batch"]
    sentences = [
        f"Training GPT-2 XL in float32 takes {right['a'] / 1e9:.3f} GB * batch + {right['b'] / 1e9:.3f} GB, and"
        f" {readable(total['bytes'], 'bytes')} at batch 1; in 80 GB the largest batch is {right['batch']}.",
        f"The write-up's code says {written['a'] / 1e9:.3f} GB * batch + {written['b'] / 1e9:.3f} GB, and"
        f" {written['batch']}{', too' if same else ''}; the corrections below lead from one to the other.",
    ]
    best = max(rows["batch"], key=lambda row: int(row["PyTorch_batch"]))
    sentences.append(
        f"As PyTorch keeps activations, the largest batch of a device is {best['PyTorch_batch']:,}, in the row"
        f" {best['training_in']!r} of what saves memory."
    )
    step = {row["part"]: row for row in rows["training"]}
    update = next(row for name, row in step.items() if name.startswith("optimizer"))
    sentences.append(
        f"A step of 1,024 sequences takes {readable(step['a step']['FLOP'], 'flop')}FLOP, of which AdamW's update"
        f" takes {readable(update['FLOP'], 'flop')}FLOP."
    )
    days = ", ".join(f"{row['days']:,.1f} days in {row['type']}" for row in rows["time"])
    sentences.append(f"400,000 such steps on one A100 at half its peak take {days}.")
    return sentences


def _commands(plan: Plan, folder: Path) -> list[str]:
    return [
        f"cs336 account {' '.join(_MEMORY)} --preset {_NAME} --attention reference --device-memory 80GB",
        f"cs336 account {' '.join(_COMPUTE)} --preset {_NAME} --attention reference --batch-size 1024",
    ]


PART = Part("adamw", "Resource accounting for training with AdamW", _measure, _answer, _commands)
