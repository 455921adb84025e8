"""Where a pattern cuts a text."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import groupby

from cs336.experiments.utf8 import sequences
from cs336.tokenizer import train_bpe_from_iterator

__all__ = ["pretokens"]


def pretokens(data: bytes, pattern: str = "gpt2", special_tokens: Iterable[str] = ()) -> list[bytes]:
    """The pre-tokens of a text, special tokens among them.

    A tokenizer that is trained on the text until no pair is left has merged every pre-token into one token, and nothing
    across two of them: its tokens are the pre-tokens, cut by the code that all tokenizers use.
    """
    special_tokens = list(special_tokens)
    # Bytes that are not UTF-8 are pre-tokens of their own, as the tokenizer has it.
    runs = groupby(sequences(data), key=lambda sequence: sequence.reason is None)
    stretches = [(is_text, b"".join(sequence.data for sequence in run)) for is_text, run in runs]
    texts = [stretch.decode("utf-8") for is_text, stretch in stretches if is_text]
    texts.append(".")  # which has no pairs, for a text with nothing to train on is refused
    enough = 257 + len(special_tokens) + len(data)  # each merge makes a text shorter by a token at least
    whole = train_bpe_from_iterator(texts, enough, special_tokens, pattern=pattern, threads=1, progress=False)
    found: list[bytes] = []
    for is_text, stretch in stretches:
        found += map(whole.id_to_token, whole.encode(stretch)) if is_text else [stretch]
    return found
