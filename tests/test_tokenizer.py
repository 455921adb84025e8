import copy
import json
import pickle
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import tiktoken
from hypothesis import given, settings
from hypothesis import strategies as st

from cs336 import reference
from cs336.counts import count_pretokens
from cs336.errors import (
    DisallowedSpecialTokenError,
    FormatError,
    PatternError,
    SpecialTokenError,
    TextEncodingError,
    TokenIdError,
    VocabularyError,
)
from cs336.tokenizer import Tokenizer, train_bpe, train_bpe_from_iterator

END = "<|endoftext|>"
TEXT = "Anna's lamp was lower. 1234 apples,   twice!\n\nSo 'twas: d\u00e9j\u00e0 vu, \u4f60\u597d \U0001f600" + END
BYTES = {i: bytes([i]) for i in range(256)}


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return train_bpe_from_iterator([TEXT * 3, "low lower lowest newer " * 9], 400, [END])


@pytest.mark.parametrize("name", ["r50k", "cl100k", "o200k"])
def test_ids_equal_tiktokens(name: str, shared: Path) -> None:
    folder = shared / "encodings"
    meta = json.loads((folder / f"{name}_base.meta.json").read_text())
    special = meta["special"]
    pattern = "gpt2" if name == "r50k" else name
    ours = Tokenizer.from_tiktoken(folder / f"{name}_base.tiktoken", pattern=pattern, special_tokens=special)
    ranks = {token: id for id, token in ours.vocab.items() if id not in special.values()}
    theirs = tiktoken.Encoding(name, pat_str=meta["pat"], mergeable_ranks=ranks, special_tokens=special)
    for corpus in sorted(shared.glob("*.txt")):
        text = corpus.read_bytes()[:60_000].decode("utf-8", "ignore")
        assert ours.encode(text) == theirs.encode(text, allowed_special="all"), corpus.name
    for text in [
        "",
        " ",
        "\n \n  x",
        "a" * 500,
        "\u017fS'LL 1234567 \u2028\u00a0 !!\n\n",
        "e\u0301\U0001f468\u200d\U0001f469",
    ]:
        assert ours.encode(text) == theirs.encode(text, allowed_special="all"), text


@settings(max_examples=60, deadline=None)
@given(text=st.text(max_size=40), cut=st.integers(0, 40))
def test_pieces_equal_the_whole_and_the_twin(tokenizer: Tokenizer, text: str, cut: int) -> None:
    text = text + END + text[::-1]
    ids = tokenizer.encode(text)
    assert ids == list(tokenizer.encode_iterable([text[:cut], text[cut:]]))
    assert ids == list(tokenizer.encode_iterable(text))
    assert ids == tokenizer.encode_numpy(text).tolist()
    assert tokenizer.decode(ids) == text
    assert tokenizer.count(text) == len(ids)
    assert ids == reference.encode(text, tokenizer.vocab, tokenizer.merges, [END])


def test_hugging_face_reads_what_we_save(tokenizer: Tokenizer, tmp_path: Path) -> None:
    import tokenizers

    path = tmp_path / "tokenizer.json"
    tokenizer.save(path)
    assert tokenizers.Tokenizer.from_file(str(path)).encode(TEXT).ids == tokenizer.encode(TEXT)
    assert Tokenizer.load(path) == tokenizer
    assert list(tmp_path.iterdir()) == [path]


def test_gpt2_files_round_trip(tokenizer: Tokenizer, tmp_path: Path) -> None:
    files = tmp_path / "vocab.json", tmp_path / "merges.txt"
    tokenizer.to_files(*files)
    assert Tokenizer.from_files(*files, [END]) == tokenizer


def test_pickle_copy_equality_and_batches(tokenizer: Tokenizer) -> None:
    for twin in (pickle.loads(pickle.dumps(tokenizer)), copy.copy(tokenizer), copy.deepcopy(tokenizer)):
        assert twin == tokenizer
        assert hash(twin) == hash(tokenizer)
        assert isinstance(twin, Tokenizer)
    texts = [TEXT, "", "low"]
    flat, offsets = tokenizer.encode_batch_numpy(texts)
    assert flat.tolist() == [id for ids in tokenizer.encode_batch(texts) for id in ids]
    assert offsets.tolist() == np.cumsum([0, *map(len, tokenizer.encode_batch(texts))]).tolist()
    with ThreadPoolExecutor(4) as pool:
        assert all(ids == tokenizer.encode(TEXT) for ids in pool.map(tokenizer.encode, [TEXT] * 20))


def test_encode_file_writes_ids_and_sidecar(tokenizer: Tokenizer, tmp_path: Path) -> None:
    source, target = tmp_path / "text.txt", tmp_path / "ids.npy"
    source.write_text(TEXT + "low\n" + END + "\n", encoding="utf-8")
    stats = tokenizer.encode_file(source, target, progress=False)
    ids = np.load(target, mmap_mode="r")
    assert ids.dtype == np.uint16
    assert ids.tolist() == tokenizer.encode(source.read_text(encoding="utf-8"))
    sidecar = json.loads((tmp_path / "ids.npy.json").read_text())
    assert sidecar["tokens"] == stats.tokens == len(ids)
    assert sidecar["documents"] == stats.documents == 2
    assert sidecar["vocabulary_hash"] == tokenizer.hash


def test_bad_files_leave_nothing_behind(tokenizer: Tokenizer, tmp_path: Path) -> None:
    bad = tmp_path / "bad.txt"
    bad.write_bytes(b"abc\xff")
    with pytest.raises(TextEncodingError, match="0xff at byte offset 3"):
        tokenizer.encode_file(bad, tmp_path / "ids.npy", progress=False)
    with pytest.raises(FileNotFoundError, match="missing"):
        tokenizer.encode_file(tmp_path / "missing", tmp_path / "ids.npy", progress=False)
    with pytest.raises(FormatError, match=r"bad\.txt: not a valid"):
        Tokenizer.load(bad)
    assert list(tmp_path.iterdir()) == [bad]


def test_bad_input_is_a_typed_error(tokenizer: Tokenizer) -> None:
    with pytest.raises(TokenIdError, match="position 1"):
        tokenizer.decode([0, 400])
    with pytest.raises(TokenIdError, match="position 0"):
        tokenizer.decode([-1])
    with pytest.raises(TypeError, match="must be int"):
        tokenizer.decode([1.5])
    with pytest.raises(TextEncodingError, match="surrogate"):
        tokenizer.encode("\ud800")
    with pytest.raises(DisallowedSpecialTokenError, match="character 1 "):
        tokenizer.encode("a" + END, special="error")
    with pytest.raises(SpecialTokenError, match="is empty"):
        Tokenizer(BYTES, [], [""])
    with pytest.raises(SpecialTokenError, match="given twice"):
        Tokenizer(BYTES, [], [END, END])
    with pytest.raises(VocabularyError, match="not in the vocabulary"):
        Tokenizer(BYTES, [(b"a", b"bc")])
    with pytest.raises(TypeError, match="single str"):
        Tokenizer(BYTES, [], END)
    for id in (-1, 2**32):
        with pytest.raises(VocabularyError, match=f"the id {id} is out of range; number"):
            Tokenizer(BYTES | {id: b"ab"}, [])
    with pytest.raises(TypeError, match=r"id 97 must be bytes, not str"):
        Tokenizer(BYTES | {97: "a"}, [])  # type: ignore[dict-item]
    with pytest.raises(TypeError, match="dict from ids to bytes, not list"):
        Tokenizer([], [])  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="str or bytes, not int"):
        list(tokenizer.encode_iterable([5]))  # type: ignore[list-item]
    with pytest.raises(TypeError, match="texts must be an iterable of str or bytes, such as a list"):
        tokenizer.encode_iterable(b"abc")  # type: ignore[arg-type]  # what is tested


def test_a_lone_surrogate_is_an_error_of_what_it_stands_in(tokenizer: Tokenizer, tmp_path: Path) -> None:
    text, lone = tmp_path / "text.txt", "a\ud800"
    vocab, merges, ranks = (tmp_path / name for name in ("vocab.json", "merges.txt", "ranks.tiktoken"))
    text.write_text(TEXT, encoding="utf-8")
    plain = Tokenizer(BYTES, [])
    plain.to_files(vocab, merges)
    plain.to_tiktoken(ranks)
    for work in (
        lambda: train_bpe(text, 300, [END, lone]),
        lambda: count_pretokens(text, tmp_path / "text.counts", [END, lone]),
        lambda: train_bpe_from_iterator([TEXT], 300, [lone]),
        lambda: Tokenizer(BYTES, [], [lone]),
        lambda: Tokenizer.from_files(vocab, merges, [lone]),
        lambda: Tokenizer.from_tiktoken(ranks, special_tokens={lone: 300}),
        lambda: tokenizer.encode(TEXT, special={lone}),
        lambda: tokenizer.encode_file(text, tmp_path / "ids.npy", special={lone}),
    ):
        with pytest.raises(SpecialTokenError, match=r"special token 'a\\ud800' has no UTF-8 form: .*; replace lone"):
            work()
    for work in (
        lambda: train_bpe(text, 300, pattern=lone),
        lambda: count_pretokens(text, tmp_path / "text.counts", pattern=lone),
        lambda: train_bpe_from_iterator([TEXT], 300, pattern=lone),
        lambda: Tokenizer(BYTES, [], pattern=lone),
        lambda: Tokenizer.from_files(vocab, merges, pattern=lone),
        lambda: Tokenizer.from_tiktoken(ranks, pattern=lone),
    ):
        with pytest.raises(PatternError, match=r"pattern 'a\\ud800' has no UTF-8 form: .*; replace lone"):
            work()


@pytest.mark.parametrize("character", ["é", "”", "猫", "🐈"])  # of one, two, two and four bytes in memory
@pytest.mark.parametrize("length", [8190, 8191, 8192, 30_000])
def test_a_long_text_of_any_characters_is_its_utf8(tokenizer: Tokenizer, character: str, length: int) -> None:
    for text in (character * length, f"{character}{'low ' * length}{character}", "low\0" * length + character):
        memory = sys.getsizeof(text)
        ids = tokenizer.encode(text)
        assert ids == tokenizer.encode(text.encode()) == tokenizer.encode_batch([text])[0]
        assert tokenizer.decode(ids) == text
        if len(text) > 8192:
            assert sys.getsizeof(text) == memory  # Python keeps no UTF-8 beside it
    text = "low" * length + "\ud800" + character * length
    with pytest.raises(TextEncodingError, match=rf"the text has no UTF-8.* in position {3 * length}: surrogates"):
        tokenizer.encode(text)


@pytest.mark.parametrize("pattern", ["gpt2", "cl100k", "o200k", r"\w+|\W"])
def test_a_long_text_in_pieces_is_its_bytes(pattern: str) -> None:
    """A str that is not ASCII goes through in pieces of some 250 kB, which may end anywhere."""
    tokenizer = train_bpe_from_iterator([TEXT * 3], 300, [END], pattern=pattern)
    for step in range(7):
        filler = "d\u00e9j\u00e0 'll\n \n" * 12_000 + "x" * step
        text = filler + TEXT * 2000 + " " * 9000 + "\u4f60" * 100_000 + END + filler
        assert tokenizer.encode(text) == tokenizer.encode(text.encode())
        assert np.array_equal(tokenizer.encode_numpy(text), tokenizer.encode_numpy(text.encode()))
    with pytest.raises(DisallowedSpecialTokenError) as in_pieces:
        tokenizer.encode(filler * 3 + END, special="error")
    with pytest.raises(DisallowedSpecialTokenError) as whole:
        tokenizer.encode((filler * 3 + END).encode(), special="error")
    assert str(in_pieces.value) == str(whole.value)


def test_the_ids_of_special_tokens_are_ids(tmp_path: Path) -> None:
    ranks = tmp_path / "ranks.tiktoken"
    Tokenizer(BYTES, []).to_tiktoken(ranks)
    with pytest.raises(VocabularyError, match="the id -1 is out of range; number"):
        Tokenizer.from_tiktoken(ranks, special_tokens={END: -1})
    with pytest.raises(TypeError, match="id of a vocabulary must be int, not str"):
        Tokenizer.from_tiktoken(ranks, special_tokens={END: "256"})  # type: ignore[dict-item]
    with pytest.raises(TypeError, match="special token must be str, not bytes"):
        Tokenizer.from_tiktoken(ranks, special_tokens={b"x": 256})  # type: ignore[dict-item]


def test_decode_stream_gives_whole_characters(tokenizer: Tokenizer) -> None:
    stream = tokenizer.decode_stream()
    text = "".join(stream.push(id) for id in tokenizer.encode("\U0001f680 x"))
    assert text + stream.finish() == "\U0001f680 x"


def test_training_imports_next_to_nothing(tmp_path: Path) -> None:
    """Half of the standard library takes longer to import than a small text to train on."""
    text = tmp_path / "text.txt"
    text.write_text("low lower lowest " * 100)
    heavy = {"torch", "numpy", "rich", "typing", "pathlib", "dataclasses", "re", "contextlib", "shutil", "urllib"}
    code = (
        "import sys; before = set(sys.modules)\n"  # a site may have imported much
        "import cs336; cs336.train_bpe(sys.argv[1], 300).save(sys.argv[2])\n"
        f"assert not {heavy} & (set(sys.modules) - before), set(sys.modules) - before"
    )
    subprocess.run([sys.executable, "-c", code, text, tmp_path / "tokenizer.json"], check=True)


@pytest.mark.parametrize("threads", [1, 2])
def test_errors_of_a_batch_name_the_text(tokenizer: Tokenizer, threads: int) -> None:
    many = ["low lower " * 100] * 400
    for texts, where in ((["a", "b", f"c{END}"], 2), ([*many, END, "a"], 400)):
        with pytest.raises(
            DisallowedSpecialTokenError, match=rf"^texts\[{where}\]: the text contains the special token"
        ):
            tokenizer.encode_batch(texts, special="error", threads=threads)
        with pytest.raises(DisallowedSpecialTokenError, match=rf"^texts\[{where}\]: "):
            tokenizer.encode_batch_numpy(texts, special="error", threads=threads)
    with pytest.raises(TextEncodingError, match=r"^texts\[1\]: the text has no UTF-8 form"):
        tokenizer.encode_batch(["a", "\ud800"], threads=threads)
    with pytest.raises(TypeError, match=r"^texts\[1\]: a text must be str or bytes, not int"):
        tokenizer.encode_batch(["a", 3], threads=threads)  # type: ignore[list-item]  # what is tested
    with pytest.raises(TypeError, match="a list of texts, not a single bytes"):
        tokenizer.encode_batch(b"abc", threads=threads)  # type: ignore[arg-type]  # what is tested


@pytest.mark.parametrize("threads", [1, 2, 5, None])
def test_batches_do_not_depend_on_threads(threads: int | None) -> None:
    tokenizer = train_bpe_from_iterator(["the cat sat on the mat, the cat's hat " * 20], 300)
    texts = ["the cat sat " * (number % 40) + str(number) for number in range(2000)]
    one_by_one = [tokenizer.encode(text) for text in texts]
    assert tokenizer.encode_batch(texts, threads=threads) == one_by_one
    ids, offsets = tokenizer.encode_batch_numpy(texts, threads=threads)
    assert ids.dtype == np.uint16
    assert [ids[start:end].tolist() for start, end in pairwise(offsets)] == one_by_one


def test_arrays_have_the_smallest_type_that_holds_all_ids() -> None:
    tokens = {number: bytes([number]) for number in range(256)}
    assert Tokenizer(tokens | {65535: b"ab"}, [(b"a", b"b")]).encode_numpy("ab").tolist() == [65535]
    assert Tokenizer(tokens | {65535: b"ab"}, [(b"a", b"b")]).encode_numpy("ab").dtype == np.uint16
    wide = Tokenizer(tokens | {65536: b"ab"}, [(b"a", b"b")])
    for text in ("ab", "ab" * 5000):
        assert wide.encode_numpy(text).dtype == np.uint32
        assert wide.encode_numpy(text).tolist() == wide.encode(text) == [65536] * (len(text) // 2)
        assert wide.decode(wide.encode_numpy(text)) == text
    strided = np.repeat(wide.encode_numpy("abba"), 2)[::2]
    assert wide.decode(strided) == "abba"
