"""Files of tokenizers and of tokens: what is bad is refused with a typed error, and nothing is left half written."""

import json
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from cs336.data import open_tokens
from cs336.errors import (
    CorpusError,
    Cs336Error,
    DisallowedSpecialTokenError,
    FormatError,
    SpecialTokenError,
    TextEncodingError,
    TokenIdError,
    UnrepresentableError,
)
from cs336.tokenizer import Tokenizer, train_bpe_from_iterator

END = "<|endoftext|>"
LINE = f"The  apples weren't low,\n\n naïve 12345 你好!{END}\n"

Load = Callable[[Path], object]


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return train_bpe_from_iterator([LINE * 3, "low lower lowest newer " * 9], 400, [END, "<|pad|>"])


@pytest.fixture
def files(tokenizer: Tokenizer, tmp_path: Path) -> Path:
    """A folder with the tokenizer in every format."""
    tokenizer.save(tmp_path / "tokenizer.json")
    tokenizer.to_files(tmp_path / "vocab.json", tmp_path / "merges.txt")
    tokenizer.to_tiktoken(tmp_path / "ranks.tiktoken")
    return tmp_path


def load(folder: Path, changed: str = "") -> Tokenizer:
    """The tokenizer in the format of the file that was changed."""
    special = [END, "<|pad|>"]
    if changed.startswith(("vocab", "merges")):
        return Tokenizer.from_files(folder / "vocab.json", folder / "merges.txt", special)
    if changed.startswith("ranks"):
        return Tokenizer.from_tiktoken(folder / "ranks.tiktoken", special_tokens={END: 0, "<|pad|>": 1})
    if changed.startswith("theirs"):
        return Tokenizer.from_huggingface(folder / "tokenizer.json")
    return Tokenizer.load(folder / "tokenizer.json")


FORMATS = ["tokenizer.json", "theirs/tokenizer.json", "vocab.json", "merges.txt", "ranks.tiktoken"]


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_comes_back(name: str, files: Path, tokenizer: Tokenizer) -> None:
    twin = load(files, name)
    assert twin == tokenizer
    assert twin.encode(LINE) == tokenizer.encode(LINE)
    assert type(twin) is Tokenizer


@pytest.mark.parametrize("name", FORMATS)
def test_files_that_cannot_be_read(name: str, files: Path) -> None:
    path = files / Path(name).name
    content = path.read_bytes()
    path.write_bytes(content[:20] + b"\xff" + content[20:])
    with pytest.raises(FormatError, match=r"not UTF-8 text \(at byte 20\)"):
        load(files, name)
    path.write_bytes(content[: content.rindex(b" " if b" " in content else b":")])
    with pytest.raises(FormatError, match="not a valid"):
        load(files, name)
    path.write_bytes(b"")
    with pytest.raises(FormatError, match="not a valid"):
        load(files, name)
    path.unlink()
    with pytest.raises(FileNotFoundError) as missing:
        load(files, name)
    assert missing.value.filename == str(path)
    path.mkdir()
    with pytest.raises(IsADirectoryError, match="cannot read"):
        load(files, name)


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads and writes everything")
@pytest.mark.parametrize("name", FORMATS)
def test_files_without_permission(name: str, files: Path, tokenizer: Tokenizer) -> None:
    (files / Path(name).name).chmod(0)
    with pytest.raises(PermissionError):
        load(files, name)
    files.chmod(0o500)
    with pytest.raises(PermissionError):
        tokenizer.save(files / "other.json")


def broken_native(change: Callable[[dict, dict], object]) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        path = folder / "tokenizer.json"
        content = json.loads(path.read_text(encoding="utf-8"))
        change(content, content["model"]["cs336"])
        path.write_text(json.dumps(content), encoding="utf-8")

    return write


def broken_vocab(**change: object) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        path = folder / "vocab.json"
        path.write_text(json.dumps(json.loads(path.read_text(encoding="utf-8")) | change), encoding="utf-8")

    return write


def broken_text(name: str, old: str, new: str) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        text = (folder / name).read_text(encoding="utf-8")
        assert old in text
        (folder / name).write_text(text.replace(old, new, 1), encoding="utf-8")

    return write


@pytest.mark.parametrize(
    ("name", "reason", "damage"),
    [
        ("tokenizer.json", "line 1 column 2", broken_text("tokenizer.json", "{", "{,")),
        ("tokenizer.json", "missing field `model`", broken_native(lambda it, _: it.pop("model"))),
        ("tokenizer.json", "not written by cs336", broken_native(lambda it, _: it["model"].pop("cs336"))),
        ("tokenizer.json", "update cs336", broken_native(lambda _, ours: ours.update(version=2))),
        ("tokenizer.json", "invalid type: integer `3`", broken_native(lambda _, ours: ours.update(pattern=3))),
        ("tokenizer.json", "names no known pattern", broken_native(lambda _, ours: ours.update(pattern="x"))),
        ("tokenizer.json", "not match its hash", broken_native(lambda _, ours: ours.update(hash=""))),
        ("tokenizer.json", "not match its hash", broken_native(lambda _, ours: ours.update(pattern="o200k"))),
        ("tokenizer.json", "not match its hash", broken_native(lambda it, _: it["model"].update(ignore_merges=True))),
        ("tokenizer.json", "not match its hash", broken_native(lambda it, _: it["model"]["merges"].pop())),
        ("tokenizer.json", "not match its hash", broken_native(lambda it, _: it["model"]["merges"].reverse())),
        ("tokenizer.json", "given twice", broken_native(lambda _, ours: ours["special_tokens"].append([END, 9]))),
        ("tokenizer.json", "there twice", broken_native(lambda it, _: it["model"]["merges"].append(["l", "o"]))),
        ("tokenizer.json", 'needs "xy"', broken_native(lambda it, _: it["model"]["merges"].append(["xy", "z"]))),
        ("tokenizer.json", "-1", broken_native(lambda it, _: it["model"]["vocab"].update(a=-1))),
        ("tokenizer.json", "4294967296", broken_native(lambda it, _: it["model"]["vocab"].update(a=1 << 32))),
        ("tokenizer.json", "is too great", broken_native(lambda it, _: it["model"]["vocab"].update(xyz=(1 << 32) - 1))),
        ("tokenizer.json", "id 5 stands for two", broken_native(lambda it, _: it["model"]["vocab"].update(a=5))),
        ("vocab.json", "expected u32", broken_vocab(a="1")),
        ("vocab.json", "expected u32", broken_vocab(a=-1)),
        ("vocab.json", "expected u32", broken_vocab(a=1 << 32)),
        ("vocab.json", "expected u32", broken_vocab(a=None)),
        ("vocab.json", "id 67108864 is too great", broken_vocab(xyz=1 << 26)),
        ("vocab.json", "id 5 stands for two tokens", broken_vocab(a=5)),
        ("vocab.json", "the token \"a\" stands at two ids", broken_text("vocab.json", "{", '{"a": 999, ')),
        ("vocab.json", "expected an object", broken_text("vocab.json", "{", '[{')),
        ("vocab.json", "needs \"xy\", which is no token", broken_text("merges.txt", "\n", "\nx y\n")),
        ("merges.txt", r"line 2 is not two tokens .*\"xy\"", broken_text("merges.txt", "\n", "\nxy\n")),
        ("merges.txt", r"line 2 is not two tokens .*\"x y z\"", broken_text("merges.txt", "\n", "\nx y z\n")),
        ("ranks.tiktoken", r"line 1 is not base64.*\"!\"", broken_text("ranks.tiktoken", "", "!\n")),
        ("ranks.tiktoken", "line 1 is not base64", broken_text("ranks.tiktoken", "", "YQ== 1 2\n")),
        ("ranks.tiktoken", "line 1 is not base64", broken_text("ranks.tiktoken", "", "YQ== -1\n")),
        ("ranks.tiktoken", "line 1 is not base64", broken_text("ranks.tiktoken", "", "YQ== 4294967296\n")),
        ("ranks.tiktoken", "line 1 is not base64", broken_text("ranks.tiktoken", "", "YQ 1000\n")),
        ("ranks.tiktoken", "stands at two ids", broken_text("ranks.tiktoken", "", "YQ== 1000\n")),
        ("ranks.tiktoken", "id 1000 stands for two", broken_text("ranks.tiktoken", "", "eHl6 1000\neHp5 1000\n")),
        ("ranks.tiktoken", "is too great", broken_text("ranks.tiktoken", "", "eHl6 67108864\n")),
        ("ranks.tiktoken", "id 0 stands for two", broken_text("ranks.tiktoken", "", "eHl6 0\n")),
        ("ranks.tiktoken", "the byte 0x61 has no token", broken_text("ranks.tiktoken", "YQ== ", "eHl6 ")),
    ],
)  # fmt: skip
def test_damage_is_named(name: str, reason: str, damage: Callable[[Path], None], files: Path) -> None:
    damage(files)
    with pytest.raises(FormatError, match=rf"{name}: not a valid .*{reason}"):
        load(files, name)


def test_a_special_token_that_cannot_be_one_is_an_error(files: Path) -> None:
    with pytest.raises(FormatError, match="is empty"):
        Tokenizer.from_files(files / "vocab.json", files / "merges.txt", [""])
    with pytest.raises(FormatError, match="id 2 stands for two tokens"):
        Tokenizer.from_tiktoken(files / "ranks.tiktoken", special_tokens={END: 2})


def test_nothing_is_written_where_it_cannot_be(tokenizer: Tokenizer, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    for write in (tokenizer.save, tokenizer.to_huggingface, tokenizer.to_tiktoken):
        with pytest.raises(IsADirectoryError):
            write(tmp_path / "folder")
        with pytest.raises(FileNotFoundError):
            write(tmp_path / "none" / "file")
    vocab = tmp_path / "vocab.json"
    vocab.write_text("before")
    for merges in (tmp_path / "folder", tmp_path / "none" / "merges.txt"):
        with pytest.raises(OSError, match="cannot"):
            tokenizer.to_files(vocab, merges)
    with pytest.raises(ValueError, match="name two files"):
        tokenizer.to_files(vocab, vocab)
    assert vocab.read_text() == "before"
    assert {path.name for path in tmp_path.iterdir()} == {"folder", "vocab.json"}


def test_what_a_format_cannot_hold_is_refused(tmp_path: Path) -> None:
    vocab = {id: bytes([id]) for id in range(256)}
    like_a_byte = Tokenizer(vocab, [], ["\u0120"])
    with pytest.raises(UnrepresentableError, match="is spelled like an ordinary one"):
        like_a_byte.to_files(tmp_path / "vocab.json", tmp_path / "merges.txt")
    late = Tokenizer(vocab | {256: b"abc", 257: b"ab"}, [(b"a", b"b"), (b"ab", b"c")])
    with pytest.raises(UnrepresentableError, match="ids as ranks would merge otherwise"):
        late.to_tiktoken(tmp_path / "ranks.tiktoken")
    assert not list(tmp_path.iterdir())


def test_what_reads_a_file_keeps_its_mode_and_replaces_it_whole(tokenizer: Tokenizer, tmp_path: Path) -> None:
    path = tmp_path / "tokenizer.json"
    path.write_text("before")
    tokenizer.save(path)
    mask = os.umask(0)
    os.umask(mask)
    assert path.stat().st_mode & 0o777 == 0o666 & ~mask
    assert list(tmp_path.iterdir()) == [path]


# Files of tokens.


def big_text(path: Path, size: int) -> bytes:
    content = LINE.encode() * (size // len(LINE.encode()) + 1)
    path.write_bytes(content)
    return content


@pytest.mark.parametrize("special", ["token", "text", {END, "<|pad|>"}, [END]])
@pytest.mark.parametrize("threads", [1, 3])
def test_a_file_is_its_text(tokenizer: Tokenizer, tmp_path: Path, special: str | set[str], threads: int) -> None:
    source, target = tmp_path / "text.txt", tmp_path / "ids.npy"
    content = big_text(source, 5 << 20)
    calls: list[tuple[str, int, int | None]] = []
    stats = tokenizer.encode_file(
        source, target, special=special, threads=threads, progress=lambda *call: calls.append(call)
    )
    assert calls[-1] == ("encode", len(content), len(content))
    opened = open_tokens(target)
    assert np.array_equal(opened.tokens, tokenizer.encode_numpy(content, special=special))
    assert opened.info is not None
    assert json.loads((tmp_path / "ids.npy.json").read_text(encoding="utf-8")) == {
        "format": "cs336-tokens",
        "version": 1,
        "dtype": "uint16",
        "tokens": stats.tokens,
        "vocab_size": tokenizer.vocab_size,
        "vocabulary_hash": tokenizer.hash,
        "tokenizer": {"pattern": "gpt2", "merges": len(tokenizer.merges)},
        "documents": 1 if special == "text" else len(content) // len(LINE.encode()),
        "source": [{"name": "text.txt", "bytes": len(content)}],
        "special_tokens": {END: 0, "<|pad|>": 1},
    }
    assert {path.name for path in tmp_path.iterdir()} == {"text.txt", "ids.npy", "ids.npy.json"}


def test_integer_types(tokenizer: Tokenizer, tmp_path: Path) -> None:
    source, target = tmp_path / "text.txt", tmp_path / "ids.npy"
    source.write_text(LINE, encoding="utf-8")
    for dtype in (np.uint32, "uint32", np.dtype("u4"), "uint16", np.uint16):
        assert tokenizer.encode_file(source, target, dtype=dtype, progress=False).dtype == np.dtype(dtype).name
        assert np.load(target).dtype == dtype
        assert np.load(target).tolist() == tokenizer.encode(LINE)
    for wrong in (np.int64, "int32", "uint64", ">u4"):
        with pytest.raises(UnrepresentableError, match=r"uint16 or uint32, not .*leave dtype out"):
            tokenizer.encode_file(source, target, dtype=wrong, progress=False)
    for wrong in ("uint8", float, bool):
        with pytest.raises(TokenIdError, match="use uint32"):
            tokenizer.encode_file(source, target, dtype=wrong, progress=False)
    wide = Tokenizer({id: bytes([id]) for id in range(256)} | {70_000: END.encode()}, [], [END])
    with pytest.raises(TokenIdError, match="can't hold ids up to 70000; use uint32"):
        wide.encode_file(source, target, dtype="uint16", progress=False)
    assert wide.encode_file(source, target, progress=False).dtype == "uint32"
    assert np.load(target).max() == 70_000


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("offset", [0, 1, 3 << 20, (4 << 20) - 1, (4 << 20) + 1])
def test_the_first_invalid_byte_is_named(tokenizer: Tokenizer, tmp_path: Path, offset: int, threads: int) -> None:
    source = tmp_path / "text.txt"
    content = b"a low lamp.\n" * (5 << 17)
    source.write_bytes(content[:offset] + b"\xe2\x82" + content[offset:])
    with pytest.raises(TextEncodingError, match=rf"text\.txt is not UTF-8: invalid byte 0xe2 at byte offset {offset};"):
        tokenizer.encode_file(source, tmp_path / "ids.npy", threads=threads, progress=False)
    assert list(tmp_path.iterdir()) == [source]


def test_special_text_that_is_not_allowed_is_placed_in_the_file(tokenizer: Tokenizer, tmp_path: Path) -> None:
    source = tmp_path / "text.txt"
    before = "é low.\n" * 700_000
    source.write_text(before + "<|pad|>", encoding="utf-8")
    place = f"at character {len(before)} \\(byte {len(before.encode())}\\)"
    for special in ("error", {END}, []):
        with pytest.raises(DisallowedSpecialTokenError, match=place):
            tokenizer.encode_file(source, tmp_path / "ids.npy", special=special, threads=2, progress=False)
    with pytest.raises(SpecialTokenError, match="can't be allowed"):
        tokenizer.encode_file(source, tmp_path / "ids.npy", special={"<|x|>"}, progress=False)
    with pytest.raises(ValueError, match="special must be"):
        tokenizer.encode_file(source, tmp_path / "ids.npy", special="tokens", progress=False)
    assert list(tmp_path.iterdir()) == [source]


def test_sources_and_targets_that_cannot_be(tokenizer: Tokenizer, tmp_path: Path) -> None:
    source, folder = tmp_path / "text.txt", tmp_path / "folder"
    source.write_text(LINE, encoding="utf-8")
    folder.mkdir()
    empty = tmp_path / "empty.txt"
    empty.touch()
    before = sorted(tmp_path.rglob("*"))

    def refused(error: type[Exception], match: str, source: Path, target: Path) -> None:
        with pytest.raises(error, match=match):
            tokenizer.encode_file(source, target, progress=False)
        assert sorted(tmp_path.rglob("*")) == before

    refused(CorpusError, "holds no text", empty, tmp_path / "ids.npy")
    refused(IsADirectoryError, "cannot read", folder, tmp_path / "ids.npy")
    refused(FileNotFoundError, "cannot read.*missing", tmp_path / "missing", tmp_path / "ids.npy")
    refused(FileNotFoundError, r"cannot create.*ids\.npy", source, tmp_path / "none" / "ids.npy")
    refused(IsADirectoryError, "folder", source, folder)
    refused(ValueError, "would overwrite the source", source, source)
    refused(ValueError, "would overwrite the source", source, tmp_path / "folder" / ".." / "text.txt")
    with pytest.raises(ValueError, match="threads must be at least 1"):
        tokenizer.encode_file(source, tmp_path / "ids.npy", threads=0)
    beside = tmp_path / "ids.npy.json"
    beside.write_text(LINE, encoding="utf-8")
    with pytest.raises(ValueError, match=r"ids\.npy\.json would be written"):
        tokenizer.encode_file(beside, tmp_path / "ids.npy", progress=False)
    beside.unlink()
    beside.mkdir()
    with pytest.raises(IsADirectoryError, match=r"ids\.npy\.json"):
        tokenizer.encode_file(source, tmp_path / "ids.npy", progress=False)
    assert not (tmp_path / "ids.npy").exists()


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads and writes everything")
def test_encoding_without_permission(tokenizer: Tokenizer, tmp_path: Path) -> None:
    source = tmp_path / "text.txt"
    source.write_text(LINE, encoding="utf-8")
    tmp_path.chmod(0o500)
    with pytest.raises(PermissionError):
        tokenizer.encode_file(source, tmp_path / "ids.npy", progress=False)
    source.chmod(0)
    with pytest.raises(PermissionError):
        tokenizer.encode_file(source, tmp_path / "ids.npy", progress=False)


def full_disk() -> None:
    """Lets no file grow beyond a megabyte, with the error that a full disk gives too."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))


def test_a_full_disk_leaves_nothing(tokenizer: Tokenizer, tmp_path: Path) -> None:
    tokenizer.save(tmp_path / "tokenizer.json")
    big_text(tmp_path / "text.txt", 8 << 20)
    (tmp_path / "ids.npy").write_text("before")
    code = """if True:
        from cs336.tokenizer import Tokenizer
        tokenizer = Tokenizer.load("tokenizer.json")
        vocab = {id: bytes([id]) for id in range(256)}
        large = Tokenizer(vocab | {256 + id: b"%020d" % id for id in range(40_000)})
        for write in (
            lambda: tokenizer.encode_file("text.txt", "ids.npy", progress=False),
            lambda: large.save("large.json"),
            lambda: large.to_files("vocab.json", "merges.txt"),
        ):
            try:
                write()
            except OSError as error:
                print(error.errno, error.filename)
    """
    run = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, preexec_fn=full_disk, capture_output=True, text=True, check=True
    )
    assert [line.split()[1] for line in run.stdout.splitlines()] == ["ids.npy", "large.json", "vocab.json"]
    assert (tmp_path / "ids.npy").read_text() == "before"
    assert {path.name for path in tmp_path.iterdir()} == {"tokenizer.json", "text.txt", "ids.npy"}


def test_ctrl_c_stops_encoding_and_leaves_nothing(tokenizer: Tokenizer, tmp_path: Path) -> None:
    tokenizer.save(tmp_path / "tokenizer.json")
    big_text(tmp_path / "text.txt", 96 << 20)
    code = """if True:
        import sys
        from cs336.tokenizer import Tokenizer
        tokenizer = Tokenizer.load("tokenizer.json")
        print("go", flush=True)
        try:
            while True:
                tokenizer.encode_file("text.txt", "ids.npy", threads=1, progress=lambda *_: print("on", flush=True))
                print("finished", flush=True)
        except KeyboardInterrupt:
            print("stopped", flush=True)
    """
    with subprocess.Popen([sys.executable, "-c", code], cwd=tmp_path, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert [process.stdout.readline() for _ in range(2)] == ["go\n", "on\n"]
        assert len(list(tmp_path.glob(".cs336-*"))) == 2
        started = time.monotonic()
        process.send_signal(signal.SIGINT)
        rest = process.stdout.read().splitlines()
        assert process.wait() == 0
    assert rest[-1] == "stopped"
    assert "finished" not in rest
    assert time.monotonic() - started < 5
    assert {path.name for path in tmp_path.iterdir()} == {"tokenizer.json", "text.txt"}


def test_what_progress_raises_stops_encoding(tokenizer: Tokenizer, tmp_path: Path) -> None:
    big_text(tmp_path / "text.txt", 24 << 20)

    def stop(*_: object) -> None:
        raise Cs336Error("enough")

    with pytest.raises(Cs336Error, match="enough"):
        tokenizer.encode_file(tmp_path / "text.txt", tmp_path / "ids.npy", threads=1, progress=stop)
    assert [path.name for path in tmp_path.iterdir()] == ["text.txt"]


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads the peak where Linux tells it")
def test_a_large_vocabulary_leaves_memory_for_the_text(shared: Path, tmp_path: Path) -> None:
    """o200k on two threads and text in forty languages: what peaks highest of all."""
    code = """if True:
        import sys
        from pathlib import Path
        from cs336.tokenizer import Tokenizer
        ranks, source = sys.argv[1:]
        tokenizer = Tokenizer.from_tiktoken(ranks, pattern="o200k", special_tokens={"<|endoftext|>": 199999})
        tokenizer.encode_file(source, "ids.npy", threads=2, progress=False)
        print(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0])
    """
    words = [str(shared / "encodings" / "o200k_base.tiktoken"), str(shared / "multilingual.txt")]
    peak = subprocess.check_output([sys.executable, "-c", code, *words], cwd=tmp_path, text=True)
    assert int(peak) * 1024 < 150e6
