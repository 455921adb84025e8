"""Files of Hugging Face tokenizers: read with the same ids or refused, and written so that it reads them so."""

import json
import pickle
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import tokenizers

from cs336.errors import FormatError, UnrepresentableError
from cs336.tokenizer import Tokenizer, train_bpe_from_iterator

END = "<|endoftext|>"
GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
CL100K = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
CL100K_POSSESSIVE = (
    r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]++[\r\n]*"
    r"|\s*[\r\n]|\s+(?!\S)|\s+"
)
TIKTOKEN_GPT2 = r"'(?:[sdmt]|ll|ve|re)| ?\p{L}++| ?\p{N}++| ?[^\s\p{L}\p{N}]++|\s++$|\s+(?!\S)|\s"
ONE_DIGIT = CL100K.replace("{1,3}", "")
LEVEL = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}
TEMPLATE = {"type": "TemplateProcessing", "single": [{"Sequence": {"id": "A", "type_id": 0}}], "pair": []}

SIGNS = (
    " \t\n\r 'sSdmTlVerRAz123!?/."
    "\u017f\u212a\u00e9\u00b2\u0664\u00a0\u2028\u3000\u0085\u0301\u01c5\u02b0\u4f60\U0001f600"
)

Json = dict[str, Any]
Read = Callable[[Json], tuple[Tokenizer, tokenizers.Tokenizer]]


def alphabet() -> list[str]:
    """GPT-2's characters of the bytes, by byte."""
    others = iter(range(0x100, 0x200))
    printable = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    return [chr(byte if byte in printable else next(others)) for byte in range(256)]


BYTES = alphabet()


def nasty_texts(count: int, seed: int = 0) -> Iterator[str]:
    """White space, line ends, contractions in every case, digits, signs and marks in any order."""
    choose = random.Random(seed)
    for _ in range(count):
        yield "".join(choose.choices(SIGNS, k=choose.randint(0, 30)))


def split(regex: str) -> Json:
    pattern = {"type": "Split", "pattern": {"Regex": regex}, "behavior": "Isolated", "invert": False}
    return {"type": "Sequence", "pretokenizers": [pattern, LEVEL]}


def added(content: str, id: int, **flags: bool) -> Json:
    token = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    return {"id": id, "content": content, **token, **flags}


def document(pre_tokenizer: Json, pairs: list[tuple[str, str]], **model: Any) -> Json:
    """A file with the bytes and these merges."""
    vocab = {text: id for id, text in enumerate(BYTES)}
    for left, right in pairs:
        vocab.setdefault(left + right, len(vocab))
    merges = [list(pair) for pair in pairs]
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [],
        "normalizer": None,
        "pre_tokenizer": pre_tokenizer,
        "post_processor": None,
        "decoder": LEVEL,
        "model": {"type": "BPE", "vocab": vocab, "merges": merges, "ignore_merges": False} | model,
    }


def pairs_of_bytes(count: int, seed: int = 0, *, across_lines: bool = True) -> list[tuple[str, str]]:
    """Merges of any two bytes, so that ids show where pre-tokens end."""
    ends = (BYTES[10], BYTES[13])
    pairs = [(BYTES[a], BYTES[b]) for a in range(256) for b in range(256) if a < 128 or b < 128]
    if not across_lines:
        pairs = [(a, b) for a, b in pairs if a not in ends or b in ends]
    return random.Random(seed).sample(pairs, count)


@pytest.fixture
def read(tmp_path: Path) -> Read:
    def read(content: Json) -> tuple[Tokenizer, tokenizers.Tokenizer]:
        path = tmp_path / "theirs.json"
        path.write_text(json.dumps(content), encoding="utf-8")
        return Tokenizer.from_huggingface(path), tokenizers.Tokenizer.from_file(str(path))

    return read


def assert_same_ids(ours: Tokenizer, theirs: tokenizers.Tokenizer, texts: Iterator[str] | list[str]) -> None:
    for text in texts:
        ids = ours.encode(text)
        assert ids == theirs.encode(text).ids, text
        assert ours.decode(ids) == text


@pytest.mark.parametrize(("name", "pattern"), [("r50k", "gpt2"), ("cl100k", "cl100k"), ("o200k", "o200k")])
def test_real_files_give_their_ids(name: str, pattern: str, shared: Path) -> None:
    folder = shared / "encodings"
    path = folder / f"{name}.tokenizer.json"
    ours, theirs = Tokenizer.from_huggingface(path), tokenizers.Tokenizer.from_file(str(path))
    assert ours.pattern == pattern
    special = json.loads((folder / f"{name}_base.meta.json").read_text())["special"]
    assert ours == Tokenizer.from_tiktoken(folder / f"{name}_base.tiktoken", pattern=pattern, special_tokens=special)
    for corpus in sorted(shared.glob("*.txt")):
        text = corpus.read_bytes()
        for start in range(0, len(text), len(text) // 4):
            assert_same_ids(ours, theirs, [text[start : start + 20_000].decode("utf-8", "ignore")])
    assert_same_ids(ours, theirs, nasty_texts(1000))
    assert_same_ids(ours, theirs, [END, f" {END}\n{END}x", "", " " * 100, "a" * 300, "\n" * 50, "1" * 100, "x\n \n  "])


@pytest.mark.parametrize("across_lines", [True, False])
@pytest.mark.parametrize(
    ("regex", "name"),
    [
        (None, "gpt2"),
        (GPT2, "gpt2"),
        (TIKTOKEN_GPT2, "gpt2"),
        (TIKTOKEN_GPT2.replace("$", r"\z"), "gpt2"),
        (CL100K, "cl100k"),
        (CL100K_POSSESSIVE, "cl100k"),
        (ONE_DIGIT, None),
        (r"\p{L}+(?=!)|[0-9]{2}|(?:\s\S)?[^a-z\s]", None),
        (r"[\s\S]", None),
    ],
)
def test_patterns_cut_as_there(read: Read, regex: str | None, name: str | None, across_lines: bool) -> None:
    pre_tokenizer = LEVEL | {"use_regex": True} if regex is None else split(regex)
    ours, theirs = read(document(pre_tokenizer, pairs_of_bytes(12_000, across_lines=across_lines)))
    # Where a merge runs across a line end, the two readings of cl100k differ, and the pattern stays as it is written.
    assert ours.pattern == (regex if name is None or (name == "cl100k" and across_lines) else name)
    assert_same_ids(ours, theirs, nasty_texts(1500))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["gpt2", "cl100k", "o200k"])
def test_every_code_point_is_of_the_same_class(read: Read, name: str, tmp_path: Path) -> None:
    Tokenizer({id: bytes([id]) for id in range(256)}, [], pattern=name).to_huggingface(tmp_path / "tokenizer.json")
    pre_tokenizer = json.loads((tmp_path / "tokenizer.json").read_text(encoding="utf-8"))["pre_tokenizer"]
    ours, theirs = read(document(pre_tokenizer, pairs_of_bytes(30_000)))
    codes = [code for code in range(0x110000) if not 0xD800 <= code < 0xE000]
    for start in range(0, len(codes), 5000):
        characters = map(chr, codes[start : start + 5000])
        assert_same_ids(ours, theirs, ["".join(f"a{character}a1{character}\n" for character in characters)])


def test_older_spellings_of_a_file(read: Read) -> None:
    content = document({"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True}, pairs_of_bytes(5000))
    model = content["model"]
    model["merges"] = ["#version: 0.2", *(f"{left} {right}" for left, right in model["merges"])]
    del model["type"], model["ignore_merges"]
    model |= {"dropout": None, "continuing_subword_prefix": "", "end_of_word_suffix": "", "fuse_unk": False}
    content["post_processor"] = {"type": "Sequence", "processors": [LEVEL, TEMPLATE | {"special_tokens": {}}]}
    assert_same_ids(*read(content), nasty_texts(500))


def test_added_tokens_of_all_kinds(read: Read) -> None:
    pairs = [("o", "w"), ("l", "ow"), ("<", "x")]
    content = document(split(GPT2), pairs)
    vocab = content["model"]["vocab"]
    vocab |= {"<x": 258, "<y>": 300, "\u2581end": 301}
    tokens = [
        added("low", vocab["low"]),  # an ordinary token too
        added("<x", 258),
        added("<y>", 300, special=False),
        added("\u2581end", 301),
        added("<x>", 261),  # not in the vocabulary: its number of entries
        added("<x><x>", 262, special=False),
        added("<z>", 263, normalized=True),
        added(" \u4f60", 264, special=False, normalized=True),
    ]
    content["added_tokens"] = tokens
    ours, theirs = read(content)
    assert ours.special_tokens == {token["content"]: token["id"] for token in tokens}
    assert ours.vocab_size == 302
    choose = random.Random(1)
    parts = [*ours.special_tokens, "l", "ow", "<", "x", ">", " ", "\u4f60", "\u2581"]
    texts = ["".join(choose.choices(parts, k=choose.randint(0, 12))) for _ in range(2000)]
    for text in texts:
        assert ours.encode(text) == theirs.encode(text).ids, text


def test_tokens_that_stay_whole(read: Read) -> None:
    content = document(split(GPT2), [("a", "b")], ignore_merges=True)
    content["model"]["vocab"] |= {"\u0120abc": 257, "abcd": 258, END: 259}
    content["added_tokens"] = [added(END, 259)]
    ours, theirs = read(content)
    assert_same_ids(ours, theirs, ["abc abc abcd abcde", f"abcd{END} abc"])
    assert ours.encode(" abc") == [257]


@pytest.mark.parametrize(
    ("key", "change"),
    [
        ("version", {"version": "2.0"}),
        ("truncation", {"truncation": {"max_length": 3, "strategy": "LongestFirst", "stride": 0}}),
        ("padding", {"padding": {"strategy": "BatchLongest"}}),
        ("normalizer", {"normalizer": {"type": "NFC"}}),
        ("pre_tokenizer", {"pre_tokenizer": None}),
        ("pre_tokenizer", {"pre_tokenizer": LEVEL}),
        ("pre_tokenizer", {"pre_tokenizer": LEVEL | {"use_regex": True, "add_prefix_space": True}}),
        ("pre_tokenizer", {"pre_tokenizer": {"type": "Whitespace"}}),
        ("pre_tokenizer", {"pre_tokenizer": {"type": "Sequence", "pretokenizers": [{"type": "Digits"}, LEVEL]}}),
        ("pre_tokenizer", {"pre_tokenizer": split(r"\w+|\W")}),
        ("pre_tokenizer", {"pre_tokenizer": split(r"\p{N}{1,3}+|\P{N}+")}),
        ("pre_tokenizer", {"pre_tokenizer": split(r"a?")}),
        ("post_processor", {"post_processor": {"type": "RobertaProcessing", "sep": ["a", 1], "cls": ["b", 2]}}),
        ("post_processor", {"post_processor": TEMPLATE | {"single": [{"SpecialToken": {"id": "a"}}]}}),
        ("decoder", {"decoder": {"type": "WordPiece"}}),
        ("model.type", {"model": {"type": "Unigram", "vocab": [["a", 0.5]]}}),
        ("model.dropout", {"dropout": 0.1}),
        ("model.unk_token", {"unk_token": "a"}),
        ("model.byte_fallback", {"byte_fallback": True}),
        ("model.continuing_subword_prefix", {"continuing_subword_prefix": "##"}),
        ("model.end_of_word_suffix", {"end_of_word_suffix": "</w>"}),
        ("added_tokens", {"added_tokens": [added("<e>", 256, lstrip=True)]}),
        ("added_tokens", {"added_tokens": [added("<e>", 256, rstrip=True)]}),
        ("added_tokens", {"added_tokens": [added("<e>", 256, single_word=True)]}),
        ("added_tokens", {"added_tokens": [added("<e>", 300)]}),
        ("added_tokens", {"added_tokens": [added("<e>", 256, normalized=True), added(">e", 257)]}),
        ("added_tokens", {"added_tokens": [added("<e>", 256, normalized=True), added("x<e>x", 257)]}),
    ],
)
def test_what_is_not_exact_is_refused_by_its_key(read: Read, key: str, change: Json) -> None:
    content = document(split(GPT2), [])
    read(content)
    for name, value in change.items():
        (content if name in content else content["model"])[name] = value
    with pytest.raises(UnrepresentableError, match=rf"theirs\.json exactly: its {key}: .*; "):
        read(content)


@pytest.mark.parametrize(
    ("reason", "change"),
    [
        ("invalid type: string", lambda content: content["model"]["vocab"].update(a="97")),
        ("invalid value: integer `-1`", lambda content: content["model"]["vocab"].update(a=-1)),
        ("id 67108864 is too great", lambda content: content["model"]["vocab"].update(abc=1 << 26)),
        ("id 97 stands for two tokens", lambda content: content["model"]["vocab"].update(abc=97)),
        ("id 97 stands for two tokens", lambda content: content["model"]["vocab"].update(b=97)),
        ("the byte 0x61 has no token", lambda content: content["model"]["vocab"].pop("a")),
        ('needs "xy", which is no token', lambda content: content["model"].update(merges=[["x", "y"]])),
        ('needs "xy", which is no token', lambda content: content["model"].update(merges=["xy z"])),
        ("a merge: two tokens", lambda content: content["model"].update(merges=["x y z"])),
        ("a merge: two tokens", lambda content: content["model"].update(merges=[["x", "y", "z"]])),
        ("a merge: two tokens", lambda content: content["model"].update(merges=[3])),
        ("missing field `merges`", lambda content: content["model"].pop("merges")),
        ("missing field `model`", lambda content: content.pop("model")),
        ("unknown field `mode`", lambda content: content.update(mode=1)),
        ("missing field `single_word`", lambda content: content.update(added_tokens=[{"id": 1, "content": "a"}])),
        ("is empty", lambda content: content.update(added_tokens=[added("", 256)])),
        ("given twice", lambda content: content.update(added_tokens=[added("<e>", 256), added("<e>", 257)])),
        ("the spelling of", lambda content: content.update(added_tokens=[added("\u0120", 32)])),
    ],
)
def test_a_damaged_file_says_what_is_wrong(read: Read, reason: str, change: Callable[[Json], object]) -> None:
    content = document(split(GPT2), [])
    change(content)
    with pytest.raises(FormatError, match=rf"theirs\.json: not a valid .*{reason}"):
        read(content)


@pytest.mark.parametrize("pattern", ["gpt2", "cl100k", "o200k", ONE_DIGIT])
def test_what_we_write_is_read_alike_by_all(pattern: str, tmp_path: Path) -> None:
    texts = [text + END for text in nasty_texts(300)]
    special = [END, "<|end", "\u00e9\u4f60", "all"]
    ours = train_bpe_from_iterator(texts * 2, 600, special, pattern=pattern)
    path = tmp_path / "tokenizer.json"
    for write in (ours.save, ours.to_huggingface):
        write(path)
        theirs = tokenizers.Tokenizer.from_file(str(path))
        assert_same_ids(ours, theirs, nasty_texts(1000, seed=1))
        for text in (END, f"a{END}<|end \u00e9\u4f60", "all al"):
            assert ours.encode(text) == theirs.encode(text).ids
        assert Tokenizer.from_huggingface(path) == ours
        theirs.save(str(path))
        assert Tokenizer.from_huggingface(path) == ours


def test_transformers_loads_a_folder_of_ours(tmp_path: Path) -> None:
    from transformers import AutoTokenizer, PreTrainedTokenizerFast

    text = "low  lower\n 'twas 12345" + END
    ours = train_bpe_from_iterator([text * 5], 300, [END], pattern="cl100k")
    ours.to_huggingface(tmp_path / "tokenizer.json")
    assert AutoTokenizer.from_pretrained(tmp_path)(text).input_ids == ours.encode(text)
    theirs = PreTrainedTokenizerFast(tokenizer_file=str(tmp_path / "tokenizer.json"))
    assert theirs(text).input_ids == ours.encode(text)
    assert theirs.decode(ours.encode(text)) == text


def test_what_they_cannot_hold_is_not_written_for_them(tmp_path: Path) -> None:
    path = tmp_path / "tokenizer.json"
    vocab = {id: bytes([id]) for id in range(256)}
    for ours, reason in [
        (train_bpe_from_iterator(["low"], 258, ["a"]), '"a" is spelled like an ordinary one'),
        (train_bpe_from_iterator(["low low"], 258, [END], pattern=r"\w+|\W"), r"read the pattern otherwise"),
        (Tokenizer(vocab, [], ["\u0120"]), "spelled like an ordinary one"),
    ]:
        ours.save(path)
        with pytest.raises(Exception, match="did not match any variant"):
            tokenizers.Tokenizer.from_file(str(path))
        assert Tokenizer.from_huggingface(path) == Tokenizer.load(path) == pickle.loads(pickle.dumps(ours)) == ours
        path.unlink()
        with pytest.raises(UnrepresentableError, match=reason):
            ours.to_huggingface(path)
        assert not path.exists()


@pytest.mark.parametrize("seed", range(25))
def test_strange_special_tokens_mean_the_same_there_or_are_refused(seed: int, tmp_path: Path) -> None:
    choose = random.Random(seed)
    strange = [END, "<|end", "he", " he", "h", "\u0120he", "\u0120", "\u00e9", "\u00c3\u00a9", "\u2581x", "\n", "ha"]
    vocab = {id: bytes([id]) for id in range(256)}
    vocab |= {300: b"he", 301: b" he", 310: "\u00e9".encode()}
    merges = [(b"h", b"e"), (b" ", b"he"), (b"\xc3", b"\xa9")]
    special = choose.sample(strange, choose.randint(0, 5))
    ours = Tokenizer(vocab, merges, special, pattern=choose.choice(["gpt2", "cl100k", "o200k"]))
    path = tmp_path / "tokenizer.json"
    try:
        ours.to_huggingface(path)
    except UnrepresentableError:
        assert {"\u0120he", "\u0120", "\u00e9", "\u00c3\u00a9"} & set(special)
        return
    theirs = tokenizers.Tokenizer.from_file(str(path))
    for _ in range(300):
        text = "".join(choose.choices([*strange, "y", "!", " "], k=choose.randint(0, 12)))
        assert ours.encode(text) == theirs.encode(text).ids, text
