"""Token files from many inputs: ids, separators, shards, sidecars; and runs that are stopped and go on."""

from __future__ import annotations

import fcntl
import gzip
import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest

from cs336.data import open_tokens, stories
from cs336.errors import (
    ConfigError,
    CorpusError,
    DisallowedSpecialTokenError,
    FormatError,
    SpecialTokenError,
    TextEncodingError,
)
from cs336.token_files import encode_files
from cs336.tokenizer import Tokenizer, train_bpe_from_iterator

END = "<|endoftext|>"
TEXT = f"Ein Mädchen\nsah 🐈.\n{END}\nlow lower  lowest {END} it's\n" * 30
ROWS = ["low lower", "", f"newest{END}", f"wid{END}est", "  ", f"ab {END} \n", "end"]


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return train_bpe_from_iterator([TEXT, *ROWS], 320, [END, "<|pad|>"])


def write(path: Path, texts: list[str]) -> Path:
    lines = "".join(json.dumps({"id": 1, "text": text}) + "\n" for text in texts).encode()
    if path.suffix == ".parquet":
        pyarrow.parquet.write_table(pyarrow.table({"text": texts}), path)
    elif path.name.endswith(".jsonl.gz"):
        path.write_bytes(gzip.compress(lines))
    elif path.suffix == ".jsonl":
        path.write_bytes(lines)
    elif path.suffix == ".gz":
        path.write_bytes(gzip.compress("".join(texts).encode()))
    else:
        path.write_bytes("".join(texts).encode())
    return path


def expected(tokenizer: Tokenizer, documents: list[str], separator: str | None = END) -> list[int]:
    """The slow way: the ids of each document, and what has to follow them."""
    out: list[int] = []
    for document in filter(None, documents):
        out += tokenizer.encode(document)
        if separator is not None and not document.rstrip().endswith(separator):
            out += tokenizer.encode(separator)
    return out


def saved(path: Path) -> list[int]:
    return np.load(path).tolist()


def test_encode_file_reads_what_is_compressed_and_what_can_be_read_only_once(
    tokenizer: Tokenizer, tmp_path: Path
) -> None:
    packed, pipe = write(tmp_path / "a.txt.gz", [TEXT]), tmp_path / "pipe"
    os.mkfifo(pipe)
    with subprocess.Popen([sys.executable, "-c", f"open({str(pipe)!r}, 'w', encoding='utf-8').write({TEXT!r})"]):
        for source in (packed, pipe):
            stats = tokenizer.encode_file(source, tmp_path / "out.npy")
            assert saved(tmp_path / "out.npy") == tokenizer.encode(TEXT)
            assert stats.bytes == len(TEXT.encode())


def test_all_kinds_of_inputs_keep_their_order(tokenizer: Tokenizer, tmp_path: Path) -> None:
    kinds = ["a.parquet", "b.txt", "c.jsonl", "d.txt.gz", "e.parquet", "f.jsonl.gz"]
    paths = [write(tmp_path / kind, [TEXT] if "txt" in kind else ROWS) for kind in kinds]
    documents = [text for kind in kinds for text in ([TEXT] if "txt" in kind else ROWS)]
    for threads in (1, 2, 5):
        stats = encode_files(tokenizer, paths, tmp_path / "out.npy", threads=threads)
        assert saved(tmp_path / "out.npy") == expected(tokenizer, documents)
        assert stats.tokens == len(saved(tmp_path / "out.npy"))
        assert stats.bytes == sum(len(document.encode()) for document in documents)
    encode_files(tokenizer, paths, tmp_path / "out.npy", separator=None)
    assert saved(tmp_path / "out.npy") == expected(tokenizer, documents, None)
    encode_files(tokenizer, paths, tmp_path / "out.npy", separator="<|pad|>")
    assert saved(tmp_path / "out.npy") == expected(tokenizer, documents, "<|pad|>")
    assert {path.name for path in tmp_path.iterdir()} == {*kinds, "out.npy", "out.npy.json"}


@pytest.mark.parametrize(
    ("text", "added"),
    [
        ("a", 1),
        (f"a{END}", 0),
        (f"a{END}\n \n", 0),
        (f"a{END}\u2028 \u3000", 0),  # of which the tokenizer has no token
        (f"a{END}\u3000\u6f22", 1),
        (f"a{END}b", 1),
        ("a\n", 1),
        (" ", 1),
        (f"{END}", 0),
        (f"{END} ", 0),
    ],
)
def test_a_separator_is_put_in_where_none_stands(tokenizer: Tokenizer, tmp_path: Path, text: str, added: int) -> None:
    for name, documents in (("text.txt", [text]), ("rows.jsonl", [text, text])):
        stats = encode_files(tokenizer, write(tmp_path / name, documents), tmp_path / "out.npy")
        assert stats.separators == added * len(documents)
        assert saved(tmp_path / "out.npy") == (tokenizer.encode(text) + tokenizer.encode(END) * added) * len(documents)


def test_what_ends_a_text_may_stand_in_an_earlier_part(tokenizer: Tokenizer, tmp_path: Path) -> None:
    # Parts are about a megabyte. White space of 2 MB that can be cut follows the separator.
    text = f"low{END}" + " \n\n a"[:-1] * 600_000
    for tail, added in (("", 0), ("x", 1)):
        stats = encode_files(tokenizer, write(tmp_path / "long.txt", [text + tail]), tmp_path / "out.npy")
        assert stats.separators == added
        assert saved(tmp_path / "out.npy") == tokenizer.encode(text + tail) + tokenizer.encode(END) * added


def test_plain_text_is_no_separator(tokenizer: Tokenizer, tmp_path: Path) -> None:
    path = write(tmp_path / "a.txt", [f"a{END}"])
    encode_files(tokenizer, path, tmp_path / "out.npy", special="text")
    assert saved(tmp_path / "out.npy") == [*tokenizer.encode(f"a{END}", special="text"), *tokenizer.encode(END)]


@pytest.mark.parametrize("shard_tokens", [1, 7, 100, 10**6])
def test_shards_are_the_whole_in_pieces(tokenizer: Tokenizer, tmp_path: Path, shard_tokens: int) -> None:
    paths = [write(tmp_path / name, [TEXT[:400]] if "txt" in name else ROWS) for name in ("a.txt", "b.jsonl", "c.txt")]
    whole = encode_files(tokenizer, paths, tmp_path / "whole.npy")
    stats = encode_files(tokenizer, paths, tmp_path / "part.v1.npy", shard_tokens=shard_tokens)
    assert stats.files[0].name == "part.v1-00000.npy"
    shards = [open_tokens(path) for path in stats.files]
    assert [token for shard in shards for token in shard.tokens.tolist()] == saved(tmp_path / "whole.npy")
    assert {len(shard.tokens) for shard in shards[:-1]} <= {shard_tokens}
    assert 0 < len(shards[-1].tokens) <= shard_tokens
    assert sum(shard.info.documents for shard in shards if shard.info) == stats.documents == whole.documents
    assert sum(shard.info.source_bytes for shard in shards if shard.info) == stats.bytes


def test_the_sidecar_says_where_the_ids_come_from(tokenizer: Tokenizer, tmp_path: Path) -> None:
    paths = [write(tmp_path / "a.txt", [TEXT]), write(tmp_path / "b.jsonl", ROWS)]
    files = encode_files(tokenizer, paths, tmp_path / "out.npy", shard_tokens=500).files
    texts = {"a.txt": TEXT.encode(), "b.jsonl": "".join(ROWS).encode()}
    seen = dict.fromkeys(texts, 0)
    for number, file in enumerate(files):
        info = json.loads(Path(f"{file}.json").read_text("utf-8"))
        assert info["shard"] == number
        assert info["separator"] == END
        assert info["vocabulary_hash"] == tokenizer.hash
        assert info["tokenizer"] == {"pattern": tokenizer.pattern, "merges": len(tokenizer.merges)}
        for source in info["source"]:
            assert source["begin"] == seen[source["name"]]
            seen[source["name"]] += source["bytes"]
            read = texts[source["name"]][: seen[source["name"]]]
            assert source["sha256"] == hashlib.sha256(read).hexdigest()
    assert seen == {name: len(text) for name, text in texts.items()}


def test_documents_are_stretches_that_are_not_blank(tokenizer: Tokenizer, tmp_path: Path) -> None:
    text = f"one{END} \n{END}two{END}\n"
    assert encode_files(tokenizer, write(tmp_path / "a.txt", [text]), tmp_path / "o.npy").documents == 2
    rows = ["", "one", " ", f"two{END}three", "\u3000"]
    assert encode_files(tokenizer, write(tmp_path / "a.jsonl", rows), tmp_path / "o.npy").documents == 3


BAD: dict[str, tuple[str, dict[str, object], type[Exception], str]] = {
    "not UTF-8": ("latin.txt", {}, TextEncodingError, "latin.txt is not UTF-8.* byte offset 3"),
    "no text": ("empty.txt", {}, CorpusError, "empty.txt holds no text"),
    "no such separator": ("a.txt", {"separator": "<x>"}, SpecialTokenError, "'<x>'|\"<x>\""),
    "special text": ("a.txt", {"special": "error"}, DisallowedSpecialTokenError, "a.txt: .* at character 19 .byte 23"),
    "special row": ("r.jsonl", {"special": "error"}, DisallowedSpecialTokenError, "r.jsonl, document 3: .*character 6"),
    "damage": ("bad.jsonl", {}, FormatError, "bad.jsonl.*line 2"),
    "Parquet without the column": ("p.parquet", {"text_column": "no"}, FormatError, "no column 'no'"),
    "no file": ("none.txt", {}, FileNotFoundError, "none.txt"),
    "no tokens in a shard": ("a.txt", {"shard_tokens": 0}, ConfigError, "shard_tokens"),
    "a clock that goes back": ("a.txt", {"record_seconds": -1.0}, ConfigError, "record_seconds"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_is_wrong_is_said_and_nothing_stays(name: str, tokenizer: Tokenizer, tmp_path: Path) -> None:
    write(tmp_path / "a.txt", [TEXT])
    write(tmp_path / "r.jsonl", ROWS)
    write(tmp_path / "p.parquet", ROWS)
    (tmp_path / "latin.txt").write_bytes(b"abc\xff")
    (tmp_path / "bad.jsonl").write_text('{"text": "a"}\n{"text": 3}\n')
    (tmp_path / "empty.txt").touch()
    (tmp_path / "out.npy").write_text("stood here")
    before = sorted(tmp_path.iterdir())
    source, options, error, message = BAD[name]
    with pytest.raises(error, match=message):
        encode_files(tokenizer, tmp_path / source, tmp_path / "out.npy", **options)  # type: ignore[arg-type]
    assert sorted(tmp_path.iterdir()) == before
    assert (tmp_path / "out.npy").read_text() == "stood here"


def test_shards_of_two_runs_do_not_mix(tokenizer: Tokenizer, tmp_path: Path) -> None:
    path = write(tmp_path / "a.txt", [TEXT])
    many = encode_files(tokenizer, path, tmp_path / "o.npy", shard_tokens=100).files
    with pytest.raises(ConfigError, match="there are token files of that name already"):
        encode_files(tokenizer, path, tmp_path / "o.npy", shard_tokens=1000)
    few = encode_files(tokenizer, path, tmp_path / "o.npy", shard_tokens=1000, restart=True).files
    assert len(few) < len(many)
    assert sorted(tmp_path.glob("*.npy")) == sorted(few)


def test_shards_behind_a_gap_and_what_was_under_way_do_not_stay(tokenizer: Tokenizer, tmp_path: Path) -> None:
    path = write(tmp_path / "a.txt", [TEXT])
    left = encode_files(tokenizer, path, tmp_path / "o.npy", shard_tokens=100).files
    left[0].unlink()
    (tmp_path / "o-00100.npy.partial").touch()
    with pytest.raises(ConfigError, match=r"o-00001\.npy: there are token files of that name already"):
        encode_files(tokenizer, path, tmp_path / "o.npy", shard_tokens=1000)
    files = encode_files(tokenizer, path, tmp_path / "o.npy", shard_tokens=1000, restart=True).files
    kept = {path.name, *(file.name for file in files), *(f"{file.name}.json" for file in files)}
    assert {file.name for file in tmp_path.iterdir()} == kept


# Stopping and going on.

RUN = """
import sys
from cs336.token_files import encode_files
from cs336.tokenizer import Tokenizer
tokenizer, target, shard, threads, *paths = sys.argv[1:]
stats = encode_files(
    Tokenizer.load(tokenizer), paths, target, shard_tokens=int(shard) or None, threads=int(threads), record_seconds=0
)
print(stats.resumed_at, stats.tokens)
"""


@pytest.fixture(scope="module")
def corpus(tokenizer: Tokenizer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Some megabytes of all kinds of inputs: so many parts that a busy machine does not get through them unseen."""
    folder = tmp_path_factory.mktemp("corpus")
    tokenizer.save(folder / "tokenizer.json")
    told = list(stories(3000, seed=1))
    write(folder / "a.txt", [f"{story}\n{END}\n" for story in told * 4])
    write(folder / "b.jsonl.gz", told[:1500])
    write(folder / "c.parquet", told[:1100])
    write(folder / "d.txt.gz", ["".join(told)])
    return folder


def start(corpus: Path, target: Path, shard_tokens: int, threads: int = 2) -> subprocess.Popen[str]:
    inputs = [str(corpus / name) for name in ("a.txt", "b.jsonl.gz", "c.parquet", "d.txt.gz")]
    words = [str(corpus / "tokenizer.json"), str(target), str(shard_tokens), str(threads), *inputs]
    return subprocess.Popen(
        [sys.executable, "-c", RUN, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def outputs(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


@pytest.mark.parametrize("shard_tokens", [pytest.param(0, marks=pytest.mark.slow), 300_000])
def test_kill_9_at_random_moments_loses_and_repeats_nothing(corpus: Path, tmp_path: Path, shard_tokens: int) -> None:
    (tmp_path / "whole").mkdir()
    (tmp_path / "killed").mkdir()
    output, errors = start(corpus, tmp_path / "whole" / "o.npy", shard_tokens).communicate()
    assert output.split()[:1] == ["0"], errors
    seed = random.SystemRandom().randrange(1 << 32)
    print("seed of the moments:", seed)  # pytest shows it where the test fails
    rng = random.Random(seed)
    target = tmp_path / "killed" / "o.npy"
    places = [0]
    while True:
        may_end = len(places) == 10
        run = start(corpus, target, shard_tokens, threads=rng.choice([1, 2, 3]))
        # Once it has got on, at any moment.
        while not may_end and recorded(target) == places[-1] and run.poll() is None:
            time.sleep(0.001)
        if not may_end:
            time.sleep(rng.uniform(0, 0.008))
            run.send_signal(signal.SIGKILL)
        output, errors = run.communicate()
        for path in target.parent.glob("o*.npy"):
            open_tokens(path)  # whole, whenever it is there
        if run.returncode != -signal.SIGKILL or not Path(f"{target}.partial.json").exists():
            break  # it was done
        assert recorded(target) >= places[-1]
        places.append(recorded(target))
    assert run.returncode in (0, -signal.SIGKILL), errors
    assert output.split()[:1] in ([], [str(places[-1])])
    print("tokens on record:", places)
    assert len(places) > 3, "the kills did not hit different moments"
    assert outputs(tmp_path / "killed") == outputs(tmp_path / "whole")


def recorded(target: Path) -> int:
    """How many tokens a run has on record."""
    try:
        record = json.loads(Path(f"{target}.partial.json").read_text())
    except FileNotFoundError:
        return 0
    tokens: int = record["totals"]["tokens"]
    return tokens


def place(target: Path) -> tuple[int, int]:
    """The input that a run is in by its record, and how many bytes of it are done."""
    record = Path(f"{target}.partial.json")
    position = json.loads(record.read_text())["position"] if record.exists() else {"source": 0, "bytes": 0}
    return position["source"], position["bytes"]


@pytest.fixture
def stopped(tokenizer: Tokenizer, corpus: Path, tmp_path: Path) -> tuple[list[Path], Path]:
    """A run over two files that stopped in the second of them, because of a byte that is mended since."""
    first = write(tmp_path / "first.txt", [TEXT])
    second = tmp_path / "second.txt"
    content = (corpus / "a.txt").read_bytes() * 3
    second.write_bytes(content + b"\xff")
    target = tmp_path / "o.npy"
    with pytest.raises(TextEncodingError, match=rf"second\.txt is not UTF-8.* byte offset {len(content)};"):
        encode_files(tokenizer, [first, second], target, record_seconds=0)
    second.write_bytes(content + b"\n")
    assert (1, 0) < place(target) < (1, len(content))
    assert not target.exists()
    return [first, second], target


def test_what_stopped_goes_on(tokenizer: Tokenizer, stopped: tuple[list[Path], Path], tmp_path: Path) -> None:
    paths, target = stopped
    with target.with_name("o.npy.partial").open("ab") as file:  # what came after the last record
        file.write(b"more" * 1000)
    assert encode_files(tokenizer, paths, target).resumed_at > 0
    assert encode_files(tokenizer, paths, tmp_path / "whole.npy").resumed_at == 0
    assert target.read_bytes() == (tmp_path / "whole.npy").read_bytes()
    assert Path(f"{target}.json").read_bytes() == (tmp_path / "whole.npy.json").read_bytes()
    assert not list(tmp_path.glob("*.partial*"))


def test_what_has_changed_is_noticed(tokenizer: Tokenizer, stopped: tuple[list[Path], Path]) -> None:
    paths, target = stopped
    with pytest.raises(ConfigError, match=r"a run with other options \(separator\) was stopped there"):
        encode_files(tokenizer, paths, target, separator=None)
    other = train_bpe_from_iterator([TEXT], 300, [END])
    differing = r"\(dtype, input_format, shard_tokens, special, text_column, tokenizer\)"
    with pytest.raises(ConfigError, match=f"a run with other options {differing} was stopped there"):
        encode_files(
            other,
            paths,
            target,
            dtype="uint32",
            input_format="text",
            shard_tokens=9,
            special="text",
            text_column="t",
            separator=END,
        )
    with pytest.raises(ConfigError, match="a run with other inputs was stopped there"):
        encode_files(tokenizer, [paths[1], paths[0]], target)
    content = paths[1].read_bytes()
    paths[1].write_bytes(b"X" + content[1:])
    with pytest.raises(ConfigError, match=r"second\.txt is not any more what was encoded of it"):
        encode_files(tokenizer, paths, target)
    paths[1].write_bytes(content)
    os.utime(paths[0], (1, 1))
    with pytest.raises(ConfigError, match="a run with other inputs was stopped there"):
        encode_files(tokenizer, paths, target)
    partial = target.with_name("o.npy.partial")
    os.truncate(partial, 1000)
    os.utime(paths[0], (1, 1))
    assert encode_files(tokenizer, paths, target, restart=True).resumed_at == 0


def test_more_inputs_behind_the_place_are_taken_in(tokenizer: Tokenizer, stopped: tuple[list[Path], Path]) -> None:
    paths, target = stopped
    paths.append(write(target.with_name("third.jsonl"), ROWS))
    assert encode_files(tokenizer, paths, target).resumed_at > 0
    assert saved(target)[-3:] == expected(tokenizer, ROWS)[-3:]


def test_a_short_file_under_way_is_noticed(tokenizer: Tokenizer, stopped: tuple[list[Path], Path]) -> None:
    paths, target = stopped
    os.truncate(target.with_name("o.npy.partial"), 1000)
    with pytest.raises(ConfigError, match="holds less than was written to it"):
        encode_files(tokenizer, paths, target)


def test_a_damaged_record_is_an_error(tokenizer: Tokenizer, stopped: tuple[list[Path], Path]) -> None:
    paths, target = stopped
    record = target.with_name("o.npy.partial.json")
    record.write_text("{")
    for left in ("ids and their record", "the record alone"):
        with pytest.raises(FormatError, match=r"o\.npy\.partial\.json: no whole record .*; begin anew, with restart"):
            encode_files(tokenizer, paths, target)
        assert not target.with_name("o.npy.partial.lock").exists(), left
        assert record.read_text() == "{"
        target.with_name("o.npy.partial").unlink(missing_ok=True)
    assert encode_files(tokenizer, paths, target, restart=True).resumed_at == 0
    assert not list(target.parent.glob("*.partial*"))


def test_two_runs_do_not_write_one_file(tokenizer: Tokenizer, tmp_path: Path) -> None:
    path = write(tmp_path / "a.txt", [TEXT])
    with (tmp_path / "o.npy.partial.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(ConfigError, match="another process is writing it"):
            encode_files(tokenizer, path, tmp_path / "o.npy")


def test_standard_input_goes_on_when_it_comes_again(corpus: Path, tmp_path: Path) -> None:
    text = (corpus / "a.txt").read_bytes() * 4
    code = RUN.replace("record_seconds=0", "record_seconds=0")
    words = [sys.executable, "-c", code, str(corpus / "tokenizer.json"), str(tmp_path / "o.npy"), "0", "2", "-"]
    run = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert run.stdin is not None
    run.stdin.write(text[: len(text) // 2])
    run.stdin.flush()
    until = time.monotonic() + 30
    while not (tmp_path / "o.npy.partial.json").exists() and time.monotonic() < until:
        time.sleep(0.01)
    run.kill()
    run.wait()
    run.stdin.close()
    assert run.stdout is not None
    run.stdout.close()
    done = subprocess.run(words, input=text, capture_output=True, check=True)
    assert int(done.stdout.split()[0]) > 0
    tokenizer = Tokenizer.load(corpus / "tokenizer.json")
    assert np.array_equal(np.load(tmp_path / "o.npy"), tokenizer.encode_numpy(text))
