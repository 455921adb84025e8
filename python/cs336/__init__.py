"""From raw text to a small language model: exact, fast byte-level BPE and a readable Transformer laboratory.

The public names are imported lazily: who uses the tokenizer never pays for torch, nor for half of the standard library,
which takes longer to import than a small text takes to train on.
"""

from __future__ import annotations

import importlib

from cs336.errors import Cs336Error
from cs336.extra import needs_extra

TYPE_CHECKING = False  # type checkers take it for true, as they do that of `typing`, which is not imported for it
if TYPE_CHECKING:
    from typing import Any

    from cs336.cluster import count_pretokens_on_ray
    from cs336.config import ModelConfig
    from cs336.counts import count_pretokens, merge_counts, train_bpe_from_counts
    from cs336.generation import generate, generate_batch, generate_stream
    from cs336.nn import TransformerLM
    from cs336.token_files import encode_files
    from cs336.tokenizer import Tokenizer, train_bpe, train_bpe_from_iterator, train_bpe_with_report
    from cs336.training import train

__all__ = [
    "Cs336Error",
    "ModelConfig",
    "Tokenizer",
    "TransformerLM",
    "__version__",
    "count_pretokens",
    "count_pretokens_on_ray",
    "encode_files",
    "generate",
    "generate_batch",
    "generate_stream",
    "merge_counts",
    "train",
    "train_bpe",
    "train_bpe_from_counts",
    "train_bpe_from_iterator",
    "train_bpe_with_report",
]

_HOME = {
    "ModelConfig": "cs336.config",
    "Tokenizer": "cs336.tokenizer",
    "TransformerLM": "cs336.nn",
    "count_pretokens": "cs336.counts",
    "count_pretokens_on_ray": "cs336.cluster",
    "encode_files": "cs336.token_files",
    "generate": "cs336.generation",
    "generate_batch": "cs336.generation",
    "generate_stream": "cs336.generation",
    "merge_counts": "cs336.counts",
    "train": "cs336.training",
    "train_bpe": "cs336.tokenizer",
    "train_bpe_from_counts": "cs336.counts",
    "train_bpe_from_iterator": "cs336.tokenizer",
    "train_bpe_with_report": "cs336.tokenizer",
}


def __getattr__(name: str) -> Any:
    if name == "__version__":
        return importlib.import_module("cs336._bpe").__version__
    if name not in _HOME:
        raise AttributeError(f"module 'cs336' has no attribute {name!r}")
    with needs_extra(f"cs336.{name}"):
        return getattr(importlib.import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return __all__
