"""Folders of tokenizers as ``transformers`` loads them."""

from __future__ import annotations

import json
from pathlib import Path

from cs336 import _bpe
from cs336.files import explained, whole_file

_END = "<|endoftext|>"


def save_folder(tokenizer: _bpe.Tokenizer, folder: Path) -> None:
    """Write ``tokenizer.json``, and the configuration that says which class reads it."""
    # Cleaning up would take spaces out of what is decoded.
    config: dict[str, object] = {"tokenizer_class": "PreTrainedTokenizerFast", "clean_up_tokenization_spaces": False}
    if _END in tokenizer.special_tokens:
        config |= {"bos_token": _END, "eos_token": _END}
    with explained(folder):
        folder.mkdir(parents=True, exist_ok=True)
    _bpe.save_huggingface(tokenizer, folder / "tokenizer.json")
    with whole_file(folder / "tokenizer_config.json") as aside:
        aside.write_text(json.dumps(config, indent=2) + "\n", "utf-8")
