"""The same documents give the same tokenizer through every kind of input, and what is wrong with one is said."""

from __future__ import annotations

import errno
import gzip
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest

from cs336.errors import CorpusError, FormatError, MissingDependencyError, TextEncodingError
from cs336.inputs import _buffers, expand, parquet_documents
from cs336.tokenizer import Tokenizer, train_bpe, train_bpe_from_iterator, train_bpe_with_report

END = "<|endoftext|>"
DOCUMENTS = [
    "low lower lowest\r\n",
    "newest widest",
    f'Ein Mädchen{END}sah 🐈 "sah"\\\n',
    "",
    "   \t it's  ab",
    "cd",
] * 7
SIZE = 300


def trained(paths: object, **options: object) -> Tokenizer:
    return train_bpe(paths, SIZE, [END], **options)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def expected() -> Tokenizer:
    tokenizer = train_bpe_from_iterator(DOCUMENTS, SIZE, [END])
    assert tokenizer.vocab_size == SIZE
    # Run into each other, the documents make another one; so the tests below would see it.
    assert train_bpe_from_iterator(["".join(DOCUMENTS)], SIZE, [END]) != tokenizer
    return tokenizer


def as_lines(texts: list[str | None], column: str = "text") -> bytes:
    rows = ({"id": number, column: text} for number, text in enumerate(texts))
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def as_parquet(path: Path, texts: list[str | None], kind: object = None, **options: object) -> Path:
    table = pyarrow.table({"id": list(range(len(texts))), "text": pyarrow.array(texts, kind or pyarrow.string())})
    pyarrow.parquet.write_table(table, path, **options)
    return path


def as_files(folder: Path) -> list[Path]:
    folder.mkdir()
    paths = [folder / f"{number:02}.txt" for number in range(len(DOCUMENTS))]
    for path, text in zip(paths, DOCUMENTS, strict=True):
        path.write_bytes(text.encode())
    return paths


def test_files_in_any_order_and_patterns(tmp_path: Path, expected: Tokenizer) -> None:
    paths = as_files(tmp_path / "many")
    assert trained(paths) == expected
    assert trained(paths[::-1], threads=1) == expected
    assert trained(str(tmp_path / "many" / "*.txt")) == expected
    assert trained([tmp_path / "many" / "0*.txt", tmp_path / "**" / "[1-9]*.txt"]) == expected


def test_a_pattern_gives_files_in_order_and_no_folders(tmp_path: Path) -> None:
    (tmp_path / "folder.txt").mkdir()
    for name in ("b.txt", "a.txt", "[c].txt"):
        (tmp_path / name).write_text(name)
    assert expand(str(tmp_path / "*.txt")) == [str(tmp_path / name) for name in ("[c].txt", "a.txt", "b.txt")]
    assert expand(tmp_path / "[c].txt") == [str(tmp_path / "[c].txt")]  # it is there, so it is no pattern
    assert expand(["-", tmp_path / "a.txt"]) == ["-", str(tmp_path / "a.txt")]


def test_a_pattern_that_matches_nothing(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no file matches this pattern; check .*none-\*\.txt") as refused:
        trained([tmp_path / "none-*.txt"])
    assert refused.value.errno == errno.ENOENT


def test_json_lines(tmp_path: Path, expected: Tokenizer) -> None:
    lines = as_lines([*DOCUMENTS, None])
    (tmp_path / "a.jsonl").write_bytes(lines)
    (tmp_path / "b.jsonl.gz").write_bytes(gzip.compress(lines[:99]) + gzip.compress(lines[99:]))
    (tmp_path / "c.data").write_bytes(as_lines([*DOCUMENTS], "body").replace(b"\n", b"\r\n"))
    assert trained(tmp_path / "a.jsonl") == expected
    assert trained(tmp_path / "b.jsonl.gz") == expected
    assert trained(tmp_path / "c.data", input_format="jsonl", text_column="body") == expected


@pytest.mark.parametrize("kind", ["string", "large_string", "string_view", "dictionary"])
@pytest.mark.parametrize("row_group", [1, 5, 1000])
def test_parquet(
    tmp_path: Path, expected: Tokenizer, kind: str, row_group: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cs336.inputs._ROWS", 3)
    arrow = pyarrow.dictionary(pyarrow.int32(), pyarrow.string()) if kind == "dictionary" else getattr(pyarrow, kind)()
    texts = [None, *DOCUMENTS[:9], None, None, *DOCUMENTS[9:], None]
    path = as_parquet(tmp_path / "a.parquet", texts, arrow, row_group_size=row_group)
    tokenizer, report = train_bpe_with_report(path, SIZE, [END])
    assert tokenizer == expected
    assert report.documents == len(DOCUMENTS)
    assert sum(read for *_, read in parquet_documents([str(path)], "text")) == path.stat().st_size
    path.rename(tmp_path / "a.data")
    assert trained(tmp_path / "a.data", input_format="parquet") == expected


def test_a_part_of_an_array_is_no_more_than_that() -> None:
    texts = pyarrow.array(["ab", "", "cdé", "x"], pyarrow.large_string()).slice(1, 2)
    data, borders = _buffers(texts)
    assert (bytes(data), [border - borders[0] for border in borders]) == ("cdé".encode(), [0, 0, 4])


def test_kinds_may_be_mixed(tmp_path: Path, expected: Tokenizer) -> None:
    (tmp_path / "a.jsonl").write_bytes(as_lines([*DOCUMENTS[:10]]))
    as_parquet(tmp_path / "b.parquet", [*DOCUMENTS[10:20]])
    rest = as_files(tmp_path / "many")[20:]
    compressed = tmp_path / "last.txt.gz"
    compressed.write_bytes(gzip.compress(DOCUMENTS[-1].encode()))
    progress: list[tuple[str, int, int | None]] = []
    paths = [tmp_path / "*.*", *rest[:-1]]
    tokenizer, report = train_bpe_with_report(paths, SIZE, [END], progress=lambda *now: progress.append(now))
    assert tokenizer == expected
    assert report.documents == len(DOCUMENTS)
    assert report.corpus_bytes == sum(len(text.encode()) for text in DOCUMENTS)
    assert progress[-1] == ("merge", report.merges, report.merges)


def test_the_same_file_twice_counts_twice(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("low lower")
    assert train_bpe_with_report([path, path], 258)[1].pretokens == 4


@pytest.mark.parametrize("size", [3, 1 << 20])
def test_standard_input(tmp_path: Path, size: int) -> None:
    text = ("low lower lowest\n" * (size // 17 + 1)).encode()
    (tmp_path / "a.txt").write_bytes(text)
    (tmp_path / "a.jsonl").write_bytes(as_lines([text.decode()]))
    code = (
        "import sys; from cs336.tokenizer import train_bpe_with_report as t\n"
        "tokenizer, report = t('-', 262, input_format=sys.argv[1])\n"
        "print(tokenizer.hash, report.corpus_bytes)"
    )
    expected = f"{train_bpe(tmp_path / 'a.txt', 262).hash} {len(text)}"
    for name, kind in (("a.txt", "text"), ("a.jsonl", "jsonl")):
        content = (tmp_path / name).read_bytes()
        command = [sys.executable, "-c", code, kind]
        piped = subprocess.run(command, input=content, capture_output=True, check=True)
        packed = subprocess.run(command, input=gzip.compress(content), capture_output=True, check=True)
        with (tmp_path / name).open("rb") as file:
            redirected = subprocess.run(command, stdin=file, capture_output=True, check=True)
        assert {piped.stdout, packed.stdout, redirected.stdout} == {expected.encode() + os.linesep.encode()}


def test_standard_input_twice() -> None:
    with pytest.raises(CorpusError, match=r"standard input \(-\) can be read only once; give it once"):
        trained(["-", "-"])


def broken_lines(path: Path) -> Path:
    path.write_bytes(as_lines(["good"] * 3) + b'{"text": "bad"\n')
    return path


def cut_gzip(path: Path) -> Path:
    path.write_bytes(gzip.compress(os.urandom(5000))[:3000])
    return path


def cut_parquet(path: Path) -> Path:
    whole = as_parquet(path, ["some text"] * 1000).read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    return path


def damaged_parquet(path: Path) -> Path:
    texts = [f"{number**9:x}" for number in range(1000)]
    as_parquet(path, texts, write_page_checksum=True, compression="none", use_dictionary=False)
    # It stays a table of texts: nothing but the checksum tells.
    path.write_bytes(path.read_bytes().replace(texts[777].encode(), b"z" * len(texts[777])))
    return path


def parquet_without_the_column(path: Path) -> Path:
    pyarrow.parquet.write_table(pyarrow.table({"id": [1], "body": ["x"]}), path)
    return path


def parquet_of_numbers(path: Path) -> Path:
    return as_parquet(path, [1, 2], pyarrow.int64())  # type: ignore[list-item]


def parquet_with_the_column_twice(path: Path) -> Path:
    texts = pyarrow.array(["x"])
    pyarrow.parquet.write_table(pyarrow.table([texts, texts], names=["text", "text"]), path)
    return path


def lines_without_the_column(path: Path) -> Path:
    path.write_bytes(as_lines(["good"]) + as_lines(["bad"], "body"))
    return path


BAD: list[tuple[str, Callable[[Path], Path], str]] = [
    ("a.jsonl", broken_lines, "line 4: EOF while parsing an object"),
    ("b.jsonl", lines_without_the_column, 'line 2: there is no column "text"; the columns are: "body", "id"'),
    ("c.gz", cut_gzip, "cut short: it ends after 3000 bytes"),
    ("d.parquet", cut_parquet, "not a valid Parquet file"),
    ("e.parquet", damaged_parquet, "not a valid Parquet file"),
    ("f.parquet", parquet_without_the_column, "no column 'text'; name another: the columns are 'id', 'body'"),
    ("g.parquet", parquet_of_numbers, "the column 'text' holds int64, not strings; name a column of text"),
    ("h.parquet", parquet_with_the_column_twice, "several columns are called 'text'; rename all but one"),
]


@pytest.mark.parametrize(("name", "make", "said"), BAD, ids=[name for name, _, _ in BAD])
def test_damaged_inputs_say_where(tmp_path: Path, name: str, make: Callable[[Path], Path], said: str) -> None:
    with pytest.raises(FormatError) as refused:
        trained(make(tmp_path / name))
    message = str(refused.value)
    assert message.startswith(str(tmp_path / name))
    assert said in message
    assert "\n" not in message
    assert "; " in message


def test_a_column_with_the_name_of_a_field(tmp_path: Path) -> None:
    columns = {"a": pyarrow.array([{"b": "field"}]), "a.b": pyarrow.array(["column"])}
    pyarrow.parquet.write_table(pyarrow.table(columns), tmp_path / "a.parquet")
    ((data, _, _),) = parquet_documents([str(tmp_path / "a.parquet")], "a.b")
    assert bytes(data) == b"column"


def test_no_text_at_all(tmp_path: Path) -> None:
    as_parquet(tmp_path / "a.parquet", [None, ""])
    (tmp_path / "b.jsonl").write_bytes(b"\n\n")
    (tmp_path / "c.gz").write_bytes(gzip.compress(b""))
    for name in ("a.parquet", "b.jsonl", "c.gz"):
        with pytest.raises(CorpusError, match=rf"{name} holds no text; give"):
            trained(tmp_path / name)


def test_parquet_needs_its_file_and_pyarrow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(FileNotFoundError, match=r"missing\.parquet"):
        trained(tmp_path / "missing.parquet")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(MissingDependencyError, match=r"pyarrow.*pip install 'cs336\[parquet\]'"):
        trained(tmp_path / "missing.parquet")


def test_an_iterable_is_counted_while_it_is_read() -> None:
    def texts() -> Iterator[str]:
        for number in range(3000):
            yield f"word{number} " * 300

    seen: list[tuple[str, int, int | None]] = []
    tokenizer = train_bpe_from_iterator(texts(), 300, progress=lambda *now: seen.append(now))
    assert tokenizer == train_bpe_from_iterator(list(texts()), 300, threads=1)
    assert all(total is None for stage, _, total in seen if stage == "count")


def test_what_an_iterable_raises_comes_out() -> None:
    def texts() -> Iterator[str]:
        yield "some text"
        raise RuntimeError("the source is dry")

    with pytest.raises(RuntimeError, match="the source is dry"):
        train_bpe_from_iterator(texts(), 300)
    with pytest.raises(TypeError, match="must be str, not int"):
        train_bpe_from_iterator(["text", 5], 300)  # type: ignore[list-item]
    with pytest.raises(TextEncodingError, match="lone surrogates"):
        train_bpe_from_iterator(["text", "\ud800"], 300)


def test_the_report_adds_up(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("low lower lowest " * 20_000)
    _, report = train_bpe_with_report(tmp_path / "a.txt", 1000)
    assert (report.pretokens, report.distinct_pretokens) == (60_001, 5)
    assert report.ran_out_of_pairs
    assert report.merges == 7  # lo, low, ' low', ' lowe', ' lower', st, ' lowest'
    assert [stage.stage for stage in report.stages] == ["counting", "merging"]
    assert all(stage.seconds > 0 for stage in report.stages)
    if sys.platform == "linux":
        assert all((stage.peak_memory or 0) > 1 << 20 for stage in report.stages)
    assert min(report.steps[step] for step in ("reading", "counting", "merges")) > 0
    assert sum(report.thread_seconds) == pytest.approx(report.steps["counting"], rel=1e-6)


WAITING = """
import sys, threading, time
from cs336.tokenizer import train_bpe, train_bpe_from_iterator
def forever():
    while True:
        yield "some words " * 1000
def report(stage, done, total):
    if stage == sys.argv[2]:
        print(stage, flush=True)
if sys.argv[1] == "iterator":
    train_bpe_from_iterator(forever(), 300, progress=report)
else:
    train_bpe(sys.argv[1], 10**6, progress=report)
"""


@pytest.mark.skipif(os.name == "nt", reason="Windows sends no SIGINT to a child")
@pytest.mark.parametrize("where", ["pipe", "iterator", "lines", "gzip", "merge"])
def test_ctrl_c_is_answered_at_once(tmp_path: Path, where: str) -> None:
    words = " ".join(f"{number:x}{number * number:x}" for number in range(700_000))
    argument = {"pipe": "-", "iterator": "iterator"}.get(where, str(tmp_path / where))
    if where == "lines":
        argument = str(tmp_path / "a.jsonl")
        Path(argument).write_bytes(as_lines([words]) * 30)
    elif where == "gzip":
        (tmp_path / where).write_bytes(gzip.compress(words.encode(), 1) * 30)
    elif where == "merge":
        (tmp_path / where).write_text(words)
    stage = "merge" if where == "merge" else "count"
    command = [sys.executable, "-c", WAITING, argument, stage]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as child:
        assert child.stdout is not None
        assert child.stderr is not None
        assert child.stdout.readline().split() == [stage.encode()]
        began = time.monotonic()
        child.send_signal(signal.SIGINT)
        said = child.stderr.read()
        child.wait(timeout=20)
        took = time.monotonic() - began
    assert b"KeyboardInterrupt" in said
    assert took < 1, took  # 0.2 s and what a busy machine and the end of the interpreter add
