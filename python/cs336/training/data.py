"""What a run reads: its token files and its tokenizer, opened and checked before anything is written."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cs336.config import ModelConfig
from cs336.data.batches import check_length
from cs336.data.token_file import TokenFile, check_tokens, fingerprint, open_tokens
from cs336.errors import ConfigError, DataError
from cs336.training.config import DataConfig, RunConfig
from cs336.training.run import load_tokenizer

if TYPE_CHECKING:  # A run without a tokenizer needs no compiled one.
    from cs336.tokenizer import Tokenizer


class RunData:
    """The token files of a run, and the tokenizer that made them."""

    def __init__(self, data: DataConfig, tokenizer: str | Path | None) -> None:
        """``tokenizer`` is where the run's own stands, or will come from."""
        if not data.train_files:
            raise ConfigError("data.train names no file to train on; give one: --data.train train.npy")
        self.tokenizer_path = None if data.tokenizer is None else tokenizer
        self.tokenizer = None if self.tokenizer_path is None else load_tokenizer(self.tokenizer_path)
        self.train = [open_tokens(path) for path in data.train_files]
        self.valid = None if data.valid is None else open_tokens(data.valid)

    def check(self, config: RunConfig) -> None:
        """Refuses token files that can't belong to the model, or to each other, or that are too short. Reads them."""
        files = [*self.train, *([self.valid] if self.valid else [])]
        self._check_hashes(files)
        for file in files:
            check_ids(file, config.model, self.tokenizer)
        for file in self.train:
            check_length(file.tokens, config.model.context_length, file.path)
        if self.valid is not None:
            context = config.training.eval_context_length or config.model.context_length
            check_length(self.valid.tokens, context, self.valid.path)

    def _check_hashes(self, files: list[TokenFile]) -> None:
        hashes = {file.path: file.info.vocabulary_hash for file in files if file.info is not None}
        if self.tokenizer is not None:
            wanted, by = self.tokenizer.hash, str(self.tokenizer_path)
        else:
            by, wanted = next(((str(path), found) for path, found in hashes.items()), ("", ""))
        for path, found in hashes.items():
            if found != wanted:
                raise DataError(
                    f"{path} was encoded with another tokenizer than {by}: their hashes are {found[:12]}... and "
                    f"{wanted[:12]}...; encode the text with one tokenizer"
                )

    def fingerprints(self) -> dict[str, Any]:
        """What a checkpoint says of the files, so that other ones under their names are noticed."""
        return {
            "data": [fingerprint(file) for file in self.train],
            "valid": None if self.valid is None else fingerprint(self.valid),
        }

    def check_unchanged(self, state: Mapping[str, Any], checkpoint: Path, accepted: Collection[str]) -> None:
        """Refuses files that are not those of a checkpoint, but where the keys that name them were accepted since."""
        now = self.fingerprints()
        if state["data"] and "data.train" not in accepted:
            if len(state["data"]) != len(self.train):
                raise DataError(
                    f"{checkpoint} was trained on {len(state['data'])} token files, and data.train names "
                    f"{len(self.train)}; name the same ones, or go on with others by --accept-changes"
                )
            for file, old, new in zip(self.train, state["data"], now["data"], strict=True):
                _check_same(file, old, new, f"{checkpoint} was trained on")
        if self.valid is not None and state.get("valid") and "data.valid" not in accepted:
            _check_same(self.valid, state["valid"], now["valid"], f"{checkpoint} was evaluated on")


def _check_same(file: TokenFile, old: str, new: str, what: str) -> None:
    if old != new:
        raise DataError(
            f"{file.path} is not the file that {what}: it has changed; put the old one back, or start a new run"
        )


def check_ids(file: TokenFile, model: ModelConfig, tokenizer: Tokenizer | None) -> None:
    """Raises DataError where a token file has ids that the model, or the tokenizer, does not know. Reads all of it."""
    known = model.vocab_size if tokenizer is None else min(model.vocab_size, tokenizer.vocab_size)
    check_tokens(file.tokens, known, file.path)
