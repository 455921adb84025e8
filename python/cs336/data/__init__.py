"""Token files, batches, the built-in stories, and downloads."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from cs336.extra import needs_extra

if TYPE_CHECKING:
    from cs336.data.batches import document_mask, get_batch, sequential_batches
    from cs336.data.download import download_corpus
    from cs336.data.sampler import Sampler
    from cs336.data.storyteller import stories, write_stories
    from cs336.data.token_file import TokenFile, TokenFileInfo, check_tokens, open_tokens

__all__ = [
    "END_OF_TEXT",
    "Sampler",
    "TokenFile",
    "TokenFileInfo",
    "check_tokens",
    "document_mask",
    "download_corpus",
    "get_batch",
    "open_tokens",
    "sequential_batches",
    "stories",
    "write_stories",
]

END_OF_TEXT = "<|endoftext|>"
"""The special token between two documents: where a text ends, and what an empty prompt starts from."""

# Stories need neither NumPy nor torch, token files no torch: each name is imported when it is used.
_HOME = {
    "Sampler": "sampler",
    "TokenFile": "token_file",
    "TokenFileInfo": "token_file",
    "check_tokens": "token_file",
    "document_mask": "batches",
    "download_corpus": "download",
    "get_batch": "batches",
    "open_tokens": "token_file",
    "sequential_batches": "batches",
    "stories": "storyteller",
    "write_stories": "storyteller",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'cs336.data' has no attribute {name!r}")
    with needs_extra(f"cs336.data.{name}"):
        return getattr(importlib.import_module(f"cs336.data.{_HOME[name]}"), name)
