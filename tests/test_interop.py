"""Objects of tiktoken and folders of transformers: the same ids, or a reason."""

from __future__ import annotations

import json
import random
import sys
from pathlib import Path

import pytest
import tiktoken

from cs336.errors import ConfigError, MissingDependencyError, UnrepresentableError
from cs336.tokenizer import Tokenizer, train_bpe_from_iterator

END = "<|endoftext|>"
ALPHABET = "low ers'tTS1234 \n\r\t\x00Mä🐈中éſK—!?/\u3000\u0301"


def nasty(seed: int, count: int) -> list[str]:
    rng = random.Random(seed)
    return ["".join(rng.choices(ALPHABET, k=rng.randrange(40))) for _ in range(count)]


@pytest.mark.parametrize("pattern", ["gpt2", "cl100k", "o200k"])
def test_an_encoding_there_and_back(pattern: str) -> None:
    ours = train_bpe_from_iterator(nasty(1, 300), 400, [END, "<|pad|>"], pattern=pattern)
    theirs = ours.to_tiktoken_encoding("mine")
    assert theirs.name == "mine"
    assert theirs.n_vocab == ours.vocab_size
    for text in [*nasty(2, 2000), END.join(nasty(3, 5))]:
        assert theirs.encode(text, allowed_special="all") == ours.encode(text)
    back = Tokenizer.from_tiktoken(theirs)
    assert back == ours
    assert back.special_tokens == ours.special_tokens


@pytest.mark.parametrize("name", ["r50k", "cl100k", "o200k"])
def test_real_encodings(name: str, shared: Path) -> None:
    meta = json.loads((shared / "encodings" / f"{name}_base.meta.json").read_text("utf-8"))
    ours = Tokenizer.from_tiktoken(
        shared / "encodings" / f"{name}_base.tiktoken",
        pattern="gpt2" if name == "r50k" else name,
        special_tokens=meta["special"],
    )
    theirs = tiktoken.Encoding(
        name, pat_str=meta["pat"], mergeable_ranks=dict(_ranks(ours)), special_tokens=meta["special"]
    )
    assert Tokenizer.from_tiktoken(theirs) == ours
    for text in nasty(4, 300):
        assert theirs.encode(text) == ours.encode(text)


def _ranks(tokenizer: Tokenizer) -> list[tuple[bytes, int]]:
    special = set(tokenizer.special_tokens.values())
    return [(token, id) for id, token in tokenizer.vocab.items() if id not in special]


LLAMA = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
    r"|\s+(?!\S)|\s+"
)


def test_other_patterns_of_encodings() -> None:
    ranks = {bytes([byte]): byte for byte in range(256)} | {b"lo": 256, b"low": 257, b"\n ": 258}
    theirs = tiktoken.Encoding("x", pat_str=LLAMA, mergeable_ranks=ranks, special_tokens={END: 300})
    ours = Tokenizer.from_tiktoken(theirs)
    assert ours.pattern == LLAMA
    for text in nasty(5, 2000):
        assert theirs.encode(text) == ours.encode(text)
    braces = LLAMA.replace("(?i:'s|'t|'re|'ve|'m|'ll|'d)", "'(?i:[sdmt]|ll|ve|re)")
    theirs = tiktoken.Encoding("x", pat_str=braces, mergeable_ranks=ranks, special_tokens={})
    ours = Tokenizer.from_tiktoken(theirs)
    for text in ["it'S we'LL 'ſ 'K", *nasty(6, 500)]:
        assert theirs.encode(text) == ours.encode(text)
    # The engines don't agree on what is an i, nor on what a class is, whatever the case.
    cases = (r"(?i)[a-z]+|[^a-z]+", r"(?i:[a-z]+)|\s+|[^\sa-z]", r"(?i)\p{Lu}+|\P{Lu}+", r"(?i:'i)|[\s\S]")
    for pattern in (*cases, r"\s+$|\S+|\s", r"^a|[\s\S]", r"\bx|[\s\S]", r"(?m:x)|[\s\S]"):
        theirs = tiktoken.Encoding("x", pat_str=pattern, mergeable_ranks=ranks, special_tokens={})
        with pytest.raises(UnrepresentableError, match="may read otherwise"):
            Tokenizer.from_tiktoken(theirs)
    old = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
    theirs = tiktoken.Encoding("x", pat_str=old, mergeable_ranks=ranks, special_tokens={})
    assert Tokenizer.from_tiktoken(theirs).pattern == "gpt2"


def test_what_an_encoding_cannot_be_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    custom = train_bpe_from_iterator(["a b"], 257, pattern=r"\w+")
    with pytest.raises(UnrepresentableError, match="tiktoken drops the text"):
        custom.to_tiktoken_encoding()
    vocab = {id: bytes([id]) for id in range(256)} | {256: b"abc", 257: b"ab"}
    with pytest.raises(UnrepresentableError, match="ids as ranks would merge otherwise"):
        Tokenizer(vocab, [(b"a", b"b"), (b"ab", b"c")]).to_tiktoken_encoding()
    ours = train_bpe_from_iterator(["a b"], 257)
    with pytest.raises(ConfigError, match="its own pattern"):
        Tokenizer.from_tiktoken(ours.to_tiktoken_encoding(), pattern="gpt2")
    monkeypatch.setitem(sys.modules, "tiktoken", None)
    with pytest.raises(MissingDependencyError, match="pip install tiktoken"):
        ours.to_tiktoken_encoding()


@pytest.mark.parametrize("pattern", ["gpt2", "cl100k", "o200k"])
def test_a_folder_for_transformers(pattern: str, tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    ours = train_bpe_from_iterator(nasty(1, 300), 400, [END, "<|pad|>"], pattern=pattern)
    ours.save_pretrained(tmp_path / "new" / "folder")
    theirs = AutoTokenizer.from_pretrained(tmp_path / "new" / "folder")
    assert theirs.eos_token == END
    for text in [*nasty(6, 300), f"low . it 's , {END}<|pad|>x"]:
        assert theirs(text).input_ids == ours.encode(text)
        assert theirs.decode(ours.encode(text)) == text
    assert Tokenizer.from_huggingface(tmp_path / "new" / "folder" / "tokenizer.json") == ours
    theirs.save_pretrained(tmp_path / "theirs")
    assert Tokenizer.from_huggingface(tmp_path / "theirs" / "tokenizer.json") == ours
