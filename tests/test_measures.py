"""Offsets, counts with a limit, truncated texts, streams of ids, and thousands of special tokens."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cs336.errors import ConfigError, TokenIdError
from cs336.tokenizer import Tokenizer, train_bpe_from_iterator

END = "<|endoftext|>"
TEXTS = ["low lower  lowest it's 12345 \n\n  Mädchen 🐈🐈 中文字 x" + END] * 3
PATTERNS = ("gpt2", "cl100k", "o200k", r"\w+|\s+")
TOKENIZERS = {pattern: train_bpe_from_iterator(TEXTS, 300, [END], pattern=pattern) for pattern in PATTERNS}
texts = st.text(st.sampled_from("low ers't1 \n\r\tMä🐈中é‍" + "<|>"), max_size=30) | st.text(max_size=20)


def with_end(parts: tuple[str, str]) -> str:
    return END.join(parts)


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(PATTERNS), st.tuples(texts, texts).map(with_end) | texts)
def test_offsets_in_bytes_and_characters(pattern: str, text: str) -> None:
    tokenizer, raw = TOKENIZERS[pattern], text.encode()
    ids, spans = tokenizer.encode_with_offsets(text)
    assert ids == tokenizer.encode(text)
    assert b"".join(raw[start:end] for start, end in spans) == raw
    assert [tokenizer.id_to_token(id) for id in ids] == [raw[start:end] for start, end in spans]
    same, characters = tokenizer.encode_with_offsets(text, unit="characters")
    assert same == ids
    for (start, end), (first, last) in zip(spans, characters, strict=True):
        # The least stretch of whole characters around the bytes.
        assert len(text[:first].encode()) <= start < len(text[: first + 1].encode())
        assert len(text[: last - 1].encode()) < end <= len(text[:last].encode())


def test_offsets_of_bytes_that_are_no_text() -> None:
    ids, spans = TOKENIZERS["gpt2"].encode_with_offsets(b"\xff\xfea\x80", unit="characters")
    assert len(ids) == len(spans)
    assert spans[-1][1] == 3
    with pytest.raises(ValueError, match="unit must be"):
        TOKENIZERS["gpt2"].encode_with_offsets("a", unit="words")  # type: ignore[arg-type]


@settings(max_examples=400, deadline=None)
@given(st.sampled_from(PATTERNS), st.tuples(texts, texts).map(with_end) | texts, st.integers(0, 40))
def test_truncated_texts_fit_and_are_whole(pattern: str, text: str, limit: int) -> None:
    tokenizer = TOKENIZERS[pattern]
    kept = tokenizer.truncate(text, limit)
    assert text.startswith(kept)
    assert tokenizer.count(kept) <= limit
    ids = tokenizer.encode(text)
    if len(ids) <= limit:
        assert kept == text
    elif pattern in ("gpt2", "o200k"):
        # The whole characters of the first ids.
        assert kept == tokenizer.decode_bytes(ids[:limit]).decode("utf-8", "ignore")
    assert tokenizer.truncate(text.encode(), limit) == kept.encode()


def test_truncating_never_cuts_a_character() -> None:
    tokenizer = Tokenizer({id: bytes([id]) for id in range(256)}, [])
    assert [tokenizer.truncate("aé🐈", limit) for limit in range(8)] == ["", "a", "a", "aé", "aé", "aé", "aé", "aé🐈"]
    assert tokenizer.truncate(b"\xf0\x9f\x90", 2) == b"\xf0\x9f"
    with pytest.raises(ConfigError, match="limit must be from 0"):
        tokenizer.truncate("a", -1)


def test_what_follows_can_make_the_beginning_shorter() -> None:
    # At the end of a text, cl100k takes all white space together, and here that makes more tokens than its parts.
    tokens = [bytes([byte]) for byte in range(256)]
    merges = [(b"\n", b" "), (b"\n", b"\n"), (b"\n\n", b"\n\n")]
    vocab = dict(enumerate([*tokens, *(left + right for left, right in merges)]))
    tokenizer = Tokenizer(vocab, merges, pattern="cl100k")
    assert tokenizer.encode("\n\n\n\n  x")[:2] == [258, ord(" ")]
    assert tokenizer.count("\n\n\n\n ") == 3
    assert tokenizer.truncate("\n\n\n\n  x", 2) == "\n\n\n\n"


def test_counting_and_truncating_stop_early() -> None:
    tokenizer, text = TOKENIZERS["gpt2"], "low lower " * 3_000_000
    assert tokenizer.count(text, 100) == 101
    assert tokenizer.count(tokenizer.truncate(text, 100)) == 100


CHARACTER = "🐈".encode()


@pytest.mark.parametrize(("unknown", "expected"), [("skip", "a🐈b"), ("replace", "a\ufffd\ufffd\ufffd\ufffdb")])
def test_a_stream_of_ids_with_unknown_ones(unknown: str, expected: str) -> None:
    tokenizer = Tokenizer({id: bytes([id]) for id in range(256)}, [])
    stream = tokenizer.decode_stream(unknown=unknown)
    ids = [ord("a"), *CHARACTER[:2], 256, *CHARACTER[2:], ord("b")]
    said = [stream.push(id) for id in ids]
    assert said[1:3] == ["", ""]
    assert "".join(said) + stream.finish() == expected
    stream = tokenizer.decode_stream(unknown=unknown)
    assert "".join(map(stream.push, (-1, 2**40))) == ("" if unknown == "skip" else "\ufffd\ufffd")


def test_an_unknown_id_is_an_error_after_which_a_stream_goes_on() -> None:
    stream = TOKENIZERS["gpt2"].decode_stream()
    for id in (5000, -1, 2**70):
        with pytest.raises(TokenIdError, match="not in the vocabulary"):
            stream.push(id)
    assert stream.push(TOKENIZERS["gpt2"].encode("a")[0]) == "a"
    with pytest.raises(ValueError, match="unknown must be"):
        TOKENIZERS["gpt2"].decode_stream(unknown="ignore")
    with pytest.raises(TypeError):
        stream.push("a")  # type: ignore[arg-type]


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=12))
def test_a_stream_gives_what_decoding_the_whole_gives(raw: bytes) -> None:
    tokenizer = Tokenizer({id: bytes([id]) for id in range(256)}, [])
    stream = tokenizer.decode_stream()
    assert "".join(map(stream.push, raw)) + stream.finish() == raw.decode("utf-8", "replace")


def test_thousands_of_special_tokens() -> None:
    few = train_bpe_from_iterator(TEXTS, 300, [END])
    names = [END, *(f"<|special {number}|>" for number in range(5000))]
    many = Tokenizer(few.vocab, few.merges, names)
    text = TEXTS[0] * 100
    assert many.encode(text) == few.encode(text)
    assert many.encode("<|special 7|><|special 77|>") == [few.vocab_size + 7, few.vocab_size + 77]
    assert many.encode("<|special 7|> low", special=names) == [few.vocab_size + 7, *few.encode(" low")]
