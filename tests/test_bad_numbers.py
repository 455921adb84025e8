"""Numbers that nothing can do anything with: errors of our own, never those of a conversion."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cs336 import count_pretokens, encode_files, merge_counts, train_bpe, train_bpe_from_counts, train_bpe_from_iterator
from cs336.errors import ConfigError, CountOverflowError, Cs336Error, TokenIdError

HUGE = 10**30
TOKENIZER = train_bpe_from_iterator(["low lower lowest"], 260, ["<e>"])


@pytest.mark.parametrize("value", [-1, 2**32, 2**64, HUGE])
def test_ids_that_are_none(value: int) -> None:
    with pytest.raises(TokenIdError, match=f"token id {value} .*is not in the vocabulary"):
        TOKENIZER.decode_stream().push(value)
    with pytest.raises(TokenIdError, match=f"token id {value} .*is not in the vocabulary"):
        TOKENIZER.decode([value])
    with pytest.raises(TypeError, match="a token id must be int, not str"):
        TOKENIZER.decode_stream().push("1")  # type: ignore[arg-type]  # what is tested


@pytest.mark.parametrize("value", [-1, 2**64, HUGE])
def test_limits_that_are_none(value: int) -> None:
    for call in (TOKENIZER.count, TOKENIZER.truncate):
        with pytest.raises(ConfigError, match=f"limit must be from 0 .*but is {value}"):
            call("low", value)
    assert TOKENIZER.count("low", 2**64 - 1) == TOKENIZER.count("low")
    assert TOKENIZER.truncate("low", 2**64 - 1) == "low"


@pytest.mark.parametrize("value", [0, 2**64, HUGE])
def test_shards_of_no_size(value: int, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("low")
    with pytest.raises(ConfigError, match=f"shard_tokens must be from 1 .*not {value}"):
        encode_files(TOKENIZER, tmp_path / "a.txt", tmp_path / "a.npy", separator=None, shard_tokens=value)
    encode_files(TOKENIZER, tmp_path / "a.txt", tmp_path / "a.npy", separator=None, shard_tokens=2**64 - 1)


def test_special_is_a_known_word() -> None:
    for call in (TOKENIZER.encode, TOKENIZER.count, TOKENIZER.encode_with_offsets):
        with pytest.raises(ConfigError, match='special must be "token", "text", "error" or a set'):
            call("low", special="nonsense")  # type: ignore[operator]  # the signatures have only that in common


@pytest.mark.parametrize("value", [-1, HUGE])
@pytest.mark.parametrize("name", ["vocab_size", "min_frequency", "max_token_length", "threads", "max_memory"])
def test_options_of_training(name: str, value: int, tmp_path: Path) -> None:
    text, counts = tmp_path / "text.txt", tmp_path / "text.counts"
    text.write_text("low lower lowest", encoding="utf-8")
    count_pretokens(text, counts)
    options: dict[str, Any] = {"vocab_size": 300, name: value}
    calls: list[Callable[[], object]] = [
        lambda: train_bpe(text, **options),
        lambda: train_bpe_from_iterator(["low"], **options),
        lambda: train_bpe_from_counts(counts, **options),
    ]
    if name in ("threads", "max_memory"):
        calls.append(lambda: count_pretokens(text, counts, **{name: value}))
    if name == "threads":
        calls.append(lambda: TOKENIZER.encode_file(text, tmp_path / "ids.npy", threads=value))
        calls.append(lambda: TOKENIZER.encode_batch(["low"], threads=value))
        calls.append(lambda: TOKENIZER.encode_batch_numpy(["low"], threads=value))
    for call in calls:
        with pytest.raises(ConfigError, match=f"{name} .*{value}"):
            call()


def test_the_largest_numbers_there_are() -> None:
    trained = train_bpe_from_iterator(["low lower"], 2**32, max_token_length=2**63 - 1, threads=1024)
    assert trained == train_bpe_from_iterator(["low lower"], 300)
    assert train_bpe_from_iterator(["low"], 300, min_frequency=2**64 - 1).vocab_size == 256
    with pytest.raises(ConfigError, match="threads must be at most 1,024, not 1025"):
        train_bpe_from_iterator(["low"], 300, threads=1025)
    assert TOKENIZER.encode_batch(["low"], threads=1024) == [TOKENIZER.encode("low")]
    with pytest.raises(ConfigError, match="threads must be from 1 to 1,024, not 1025"):
        TOKENIZER.encode_batch(["low"], threads=1025)


def test_a_count_past_64_bits(tmp_path: Path) -> None:
    """Counts files are added to themselves until a count is too large."""
    text, one, other = tmp_path / "text.txt", tmp_path / "one", tmp_path / "other"
    text.write_text("low", encoding="utf-8")
    count_pretokens(text, one)

    def double(times: int) -> None:
        files = [one, other]
        for _ in range(times):
            merge_counts([files[0], files[0]], files[1])
            files.reverse()

    double(60)
    with pytest.raises(CountOverflowError, match=r"greater than 2\^64 - 1; give less text"):
        double(64)
    assert issubclass(CountOverflowError, Cs336Error)


@pytest.mark.parametrize("dtype", ["float32", "bool", "S4"])
def test_ids_are_integers(dtype: str) -> None:
    with pytest.raises(TokenIdError, match="can't hold ids, which are integers; use uint32"):
        TOKENIZER.encode_numpy("low", dtype=dtype)
