"""The parts of the report, in the write-up's order. A further part is a file, and a line here."""

from __future__ import annotations

from cs336.experiments.report.part import Part
from cs336.experiments.report.parts import (
    ablation,
    accounting,
    adamw,
    encodings,
    learning_rates,
    lr_sweep,
    tokenizers,
    training_bpe,
    training_run,
    unicode,
    vocabularies,
)

__all__ = ["PARTS"]

PARTS: tuple[Part, ...] = (
    unicode.PART,
    encodings.PART,
    training_bpe.PART,
    vocabularies.PART,
    tokenizers.PART,
    accounting.PART,
    learning_rates.PART,
    adamw.PART,
    training_run.PART,
    lr_sweep.PART,
    ablation.PART,
)
