"""What bad input gets: all that reads or writes a file meets everything that can be wrong with one.

Each is an error of a type that says what is wrong, with a message of one line that names the file and says what to do,
and leaves no file half written. What else can be bad (options, ids, configurations) stands beside the tests of what
takes it.
"""

from __future__ import annotations

import base64
import errno
import json
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from cs336 import count_pretokens, merge_counts, train_bpe_from_counts
from cs336.data import open_tokens, write_stories
from cs336.errors import (
    CheckpointError,
    ConfigError,
    CorpusError,
    DataError,
    FormatError,
    MemoryLimitError,
    TextEncodingError,
    UnrepresentableError,
)
from cs336.optim import AdamW
from cs336.tokenizer import Tokenizer, train_bpe, train_bpe_from_iterator
from cs336.training import load_checkpoint, load_config, load_run, make_config, save_checkpoint, train

Work = Callable[[], Any]
Call = Callable[[Work], Any]
Error = type[BaseException]

GOOD = Path(__file__)
COUNTS = Path(tempfile.gettempdir()) / f"good-{os.getpid()}.counts"
TOKENIZER = train_bpe_from_iterator([GOOD.read_text("utf-8")], 400, ["<|endoftext|>"])


def model_and_optimizer() -> tuple[torch.nn.Module, AdamW]:
    net = torch.nn.Linear(40, 40)  # more than fits on the full disk
    return net, AdamW(net.parameters())


def begin_a_run(path: Path) -> None:
    model = {"vocab_size": 16, "context_length": 8, "d_model": 16, "num_layers": 1, "num_heads": 2}
    tokens = path.with_name("tokens.npy")
    training = {"steps": 1, "device": "cpu"}
    train(make_config({"model": model, "data": {"train": str(tokens)}, "training": training}), path)


READERS: dict[str, Callable[[Path], Any]] = {
    "train_bpe": lambda path: train_bpe(path, 300),
    "train_bpe of several": lambda path: train_bpe([GOOD, path], 300),
    "count_pretokens": lambda path: count_pretokens(path, Path(tempfile.gettempdir()) / "new.counts"),
    "merge_counts": lambda path: merge_counts(path, path.with_name("new.counts")),
    "train_bpe_from_counts": lambda path: train_bpe_from_counts(path, 300),
    "open_tokens": open_tokens,
    "load_config": load_config,
    "load_checkpoint": lambda path: load_checkpoint(path, *model_and_optimizer()),
    "load_run": load_run,
    "encode_file": lambda path: TOKENIZER.encode_file(path, path.with_name("ids.npy")),
    "Tokenizer.load": Tokenizer.load,
    "Tokenizer.from_files": lambda path: Tokenizer.from_files(path, path),
    "Tokenizer.from_tiktoken": Tokenizer.from_tiktoken,
    "Tokenizer.from_huggingface": Tokenizer.from_huggingface,
}
WRITERS: dict[str, Callable[[Path], Any]] = {
    "save_checkpoint": lambda path: save_checkpoint(path, *model_and_optimizer(), 1),
    "write_stories": lambda path: write_stories(path, count=20),
    "train": begin_a_run,
    "encode_file": lambda path: TOKENIZER.encode_file(GOOD, path),
    "count_pretokens": lambda path: count_pretokens(GOOD, path),
    "merge_counts": lambda path: merge_counts(COUNTS, path),
    "Tokenizer.save": TOKENIZER.save,
    "Tokenizer.to_files": lambda path: TOKENIZER.to_files(path, path.with_name("merges.txt")),
    "Tokenizer.to_tiktoken": TOKENIZER.to_tiktoken,
    "Tokenizer.to_huggingface": TOKENIZER.to_huggingface,
}


@pytest.fixture(autouse=True, scope="module")
def counts() -> Iterator[None]:
    """Writes COUNTS, where every user may read it."""
    count_pretokens(GOOD, COUNTS)
    yield
    COUNTS.unlink()


def assert_helpful(error: BaseException, name: str) -> None:
    """The message is a line that names the file and, after a semicolon, says what to do."""
    message = str(error)
    assert "\n" not in message
    assert len(message) < 400, message
    assert name in message
    assert "; " in message, message


def folder_of(path: Path) -> dict[str, bytes | None]:
    return {str(p.relative_to(path)): p.read_bytes() if p.is_file() else None for p in path.rglob("*")}


@pytest.mark.parametrize("reader", READERS)
def test_a_missing_file(reader: str, tmp_path: Path) -> None:
    expected: Error = CheckpointError if reader == "load_run" else FileNotFoundError
    with pytest.raises(expected) as refused:
        READERS[reader](tmp_path / "missing.txt")
    assert_helpful(refused.value, "missing.txt")
    assert folder_of(tmp_path) == {}


@pytest.mark.parametrize("reader", READERS)
def test_a_folder_for_a_file(reader: str, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    expected: Error = CheckpointError if reader == "load_run" else IsADirectoryError
    with pytest.raises(expected) as refused:
        READERS[reader](tmp_path / "folder")
    assert_helpful(refused.value, "folder")
    assert folder_of(tmp_path) == {"folder": None}


@pytest.mark.parametrize("reader", READERS)
def test_a_file_for_a_folder(reader: str, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    expected: Error = CheckpointError if reader == "load_run" else NotADirectoryError
    with pytest.raises(expected) as refused:
        READERS[reader](tmp_path / "file" / "text.txt")
    assert_helpful(refused.value, "text.txt")


@pytest.mark.parametrize("name", ["\ud800", "a\0b"])
@pytest.mark.parametrize("worker", [*READERS.values(), *WRITERS.values()], ids=[*READERS, *WRITERS])
def test_a_name_that_no_file_can_have(worker: Callable[[Path], Any], name: str, tmp_path: Path) -> None:
    with pytest.raises(OSError, match="no file can have this name; check the path") as refused:
        worker(tmp_path / name)
    assert refused.value.errno == errno.EINVAL
    assert_helpful(refused.value, repr(name)[1:-1])
    assert folder_of(tmp_path) == {}


EMPTY: dict[str, Error] = {
    "train_bpe": CorpusError,
    "count_pretokens": CorpusError,
    "merge_counts": FormatError,
    "train_bpe_from_counts": FormatError,
    "open_tokens": DataError,
    "load_config": ConfigError,
    "load_checkpoint": CheckpointError,
    "load_run": CheckpointError,
    "Tokenizer.load": FormatError,
    "Tokenizer.from_files": FormatError,
    "Tokenizer.from_tiktoken": FormatError,
    "Tokenizer.from_huggingface": FormatError,
    "encode_file": CorpusError,
}
NOT_UTF8: dict[str, Error] = EMPTY | {
    "train_bpe": TextEncodingError,
    "train_bpe of several": TextEncodingError,
    "count_pretokens": TextEncodingError,
    "encode_file": TextEncodingError,
}


@pytest.mark.parametrize("reader", EMPTY)
def test_an_empty_file(reader: str, tmp_path: Path) -> None:
    (tmp_path / "empty.txt").touch()
    with pytest.raises(EMPTY[reader]) as refused:
        READERS[reader](tmp_path / "empty.txt")
    assert_helpful(refused.value, "empty.txt")
    assert folder_of(tmp_path) == {"empty.txt": b""}


@pytest.mark.parametrize("reader", NOT_UTF8)
def test_a_file_that_is_not_utf8(reader: str, tmp_path: Path) -> None:
    text = "Das Mädchen".encode("latin-1")
    (tmp_path / "latin1.txt").write_bytes(text)
    with pytest.raises(NOT_UTF8[reader]) as refused:
        READERS[reader](tmp_path / "latin1.txt")
    assert_helpful(refused.value, "latin1.txt")
    assert folder_of(tmp_path) == {"latin1.txt": text}


@pytest.mark.parametrize("reader", READERS)
def test_no_permission_to_read(reader: str, public_path: Path, without_rights: Call) -> None:
    closed = public_path / "closed.txt"
    closed.mkdir(mode=0o700) if reader == "load_run" else closed.write_text("some text")
    closed.chmod(0)
    with pytest.raises(PermissionError) as refused:
        without_rights(lambda: READERS[reader](closed))
    assert_helpful(refused.value, "closed.txt")
    assert [path.name for path in public_path.iterdir()] == ["closed.txt"]


@pytest.mark.parametrize("reader", READERS)
def test_no_permission_to_enter_the_folder(reader: str, public_path: Path, without_rights: Call) -> None:
    (public_path / "closed").mkdir(mode=0o700)
    (public_path / "closed" / "a.txt").write_text("some text")
    (public_path / "closed").chmod(0)
    try:
        with pytest.raises(PermissionError) as refused:
            without_rights(lambda: READERS[reader](public_path / "closed" / "a.txt"))
    finally:
        (public_path / "closed").chmod(0o700)
    assert_helpful(refused.value, "a.txt")


@pytest.fixture
def tokens(public_path: Path) -> Path:
    """A folder with what a run needs."""
    np.save(public_path / "tokens.npy", np.arange(100) % 16)
    return public_path


@pytest.mark.parametrize("writer", WRITERS)
def test_no_permission_to_write(writer: str, tokens: Path, without_rights: Call) -> None:
    tokens.chmod(0o555)
    before = folder_of(tokens)
    with pytest.raises(PermissionError) as refused:
        without_rights(lambda: WRITERS[writer](tokens / "new"))
    assert_helpful(refused.value, "new")
    assert folder_of(tokens) == before


@pytest.mark.parametrize("writer", [name for name in WRITERS if name != "train"])
def test_a_folder_stands_where_a_file_should_be_written(writer: str, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(IsADirectoryError) as refused:
        WRITERS[writer](tmp_path / "folder")
    assert_helpful(refused.value, "folder")
    assert folder_of(tmp_path) == {"folder": None}


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
@pytest.mark.parametrize("linked", [False, True])
@pytest.mark.parametrize("writer", [name for name in WRITERS if name != "train"])
def test_no_file_takes_the_place_of_a_device(writer: str, linked: bool, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to("pipe")
    before = folder_of(tmp_path)
    name = "link" if linked else "pipe"
    with pytest.raises(FileExistsError) as refused:
        WRITERS[writer](tmp_path / name)
    assert_helpful(refused.value, name)
    assert folder_of(tmp_path) == before
    assert (tmp_path / "pipe").is_fifo()


@pytest.mark.parametrize("target", ["old", "new"])
@pytest.mark.parametrize("writer", [name for name in WRITERS if name != "train"])
def test_a_link_is_written_through(writer: str, target: str, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "old").write_text("old content")
    (tmp_path / "link").symlink_to(Path("elsewhere") / target)
    WRITERS[writer](tmp_path / "link")
    assert (tmp_path / "link").is_symlink()
    assert len((tmp_path / "elsewhere" / target).read_bytes()) > 100
    sidecars = {f"{target}.json"} if writer == "encode_file" else set()
    assert {path.name for path in (tmp_path / "elsewhere").iterdir()} == {"old", target} | sidecars


@pytest.mark.parametrize("writer", [name for name in WRITERS if name != "train"])
def test_a_link_in_a_circle(writer: str, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("link")
    with pytest.raises(OSError, match=r"link") as refused:
        WRITERS[writer](tmp_path / "link")
    assert refused.value.errno == errno.ELOOP
    assert_helpful(refused.value, "link")
    assert [path.is_symlink() for path in tmp_path.iterdir()] == [True]


@pytest.mark.parametrize("writer", [name for name in WRITERS if name != "train"])
def test_no_folder_to_write_to(writer: str, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError) as refused:
        WRITERS[writer](tmp_path / "nowhere" / "new")
    assert_helpful(refused.value, "nowhere")
    assert folder_of(tmp_path) == {}


@pytest.mark.parametrize("writer", [name for name in WRITERS if name != "train"])
def test_a_full_disk_leaves_what_stood_there(writer: str, tmp_path: Path, on_a_full_disk: Call) -> None:
    (tmp_path / "new").write_text("old content")
    with pytest.raises(OSError, match="File too large") as refused:
        on_a_full_disk(lambda: WRITERS[writer](tmp_path / "new"))
    assert refused.value.errno == errno.EFBIG
    # Merging needs a temporary file before it writes anything.
    assert_helpful(refused.value, tempfile.gettempdir() if writer == "merge_counts" else "new")
    assert folder_of(tmp_path) == {"new": b"old content"}


def test_a_full_disk_for_a_sidecar(tmp_path: Path, on_a_full_disk: Call) -> None:
    """Which is longer than the ids of a short text if there are many special tokens."""
    tokenizer = train_bpe_from_iterator(["low lower"], 500, [f"<special token {number}>" for number in range(100)])
    (tmp_path / "text.txt").write_text("low lower lowest", encoding="utf-8")
    for name in ("new", "new.json"):
        (tmp_path / name).write_text("old content")
    before = folder_of(tmp_path)
    with pytest.raises(OSError, match="File too large") as refused:
        on_a_full_disk(lambda: tokenizer.encode_file(tmp_path / "text.txt", tmp_path / "new"))
    assert refused.value.errno == errno.EFBIG
    assert_helpful(refused.value, "new.json")
    assert folder_of(tmp_path) == before


def test_a_full_disk_stops_a_run_that_can_go_on(tokens: Path, on_a_full_disk: Call) -> None:
    with pytest.raises(OSError, match="File too large") as refused:
        on_a_full_disk(lambda: begin_a_run(tokens / "new"))
    assert_helpful(refused.value, "step-00000001")
    left = {path.relative_to(tokens / "new").as_posix() for path in (tokens / "new").rglob("*")}
    assert left == {"config.toml", "metrics.jsonl", "checkpoints", "run.lock"}
    assert train(load_config(tokens / "new/config.toml"), tokens / "new", resume=True).step == 1


def test_a_checkpoint_with_a_flipped_bit(tmp_path: Path) -> None:
    net, optimizer = model_and_optimizer()
    path = tmp_path / "model.pt"
    save_checkpoint(path, net, optimizer, 3)
    whole = path.read_bytes()
    assert load_checkpoint(path, net, optimizer) == 3
    weights = whole.index(next(net.parameters()).detach().numpy().tobytes())
    path.write_bytes(whole[:weights] + bytes([whole[weights] ^ 1]) + whole[weights + 1 :])
    with pytest.raises(CheckpointError, match="damaged"):
        load_checkpoint(path, net, optimizer)


@pytest.mark.parametrize("part", [0.0, 0.3, 0.7, 0.999])
def test_a_checkpoint_cut_short(part: float, tmp_path: Path) -> None:
    path = tmp_path / "model.pt"
    save_checkpoint(path, *model_and_optimizer(), 1)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * part)])
    net, optimizer = model_and_optimizer()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    with pytest.raises(CheckpointError) as refused:
        load_checkpoint(path, net, optimizer)
    assert_helpful(refused.value, "model.pt")
    torch.testing.assert_close(net.state_dict(), before, rtol=0, atol=0)


def test_a_checkpoint_that_would_execute_code(tmp_path: Path) -> None:
    torch.save({"model": {}, "optimizer": {}, "step": Path(tmp_path)}, tmp_path / "code.pt")
    with pytest.raises(CheckpointError) as refused:
        load_checkpoint(tmp_path / "code.pt", *model_and_optimizer())
    assert_helpful(refused.value, "code.pt")
    assert "weights_only" not in str(refused.value)  # torch's advice, which is to execute it


@pytest.mark.parametrize("damage", [b"", b"{", b"[]", b'{"model": {}}', json.dumps({"version": "1.0"}).encode()])
def test_a_corrupt_tokenizer_file(damage: bytes, tmp_path: Path) -> None:
    path = tmp_path / "tokenizer.json"
    path.write_bytes(damage)
    with pytest.raises(FormatError, match=r"tokenizer\.json"):
        Tokenizer.load(path)


def test_what_a_format_cannot_hold(tmp_path: Path) -> None:
    ranks = [base64.b64encode(bytes([byte])).decode() for byte in range(256)]
    (tmp_path / "ranks").write_text("".join(f"{token} {rank}\n" for rank, token in enumerate(ranks)), encoding="utf-8")
    tokenizer = Tokenizer.from_tiktoken(tmp_path / "ranks", special_tokens={"a": 256})  # and there is another "a"
    before = folder_of(tmp_path)
    for write in (tokenizer.to_huggingface, lambda path: tokenizer.to_files(path, tmp_path / "merges")):
        with pytest.raises(UnrepresentableError, match="spelled like an ordinary one") as refused:
            write(tmp_path / "new")
        assert_helpful(refused.value, '"a"')
    assert folder_of(tmp_path) == before


def test_more_text_than_memory() -> None:
    words = [" ".join(f"word{number}" for number in range(100_000))]
    with pytest.raises(MemoryLimitError, match="merging so many distinct pre-tokens needs") as refused:
        train_bpe_from_iterator(words, 300, max_memory=1000)
    assert_helpful(refused.value, "; raise max_memory")
