"""Counts files, and counting in little memory: what becomes of files, temporary ones too."""

from __future__ import annotations

import errno
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import cs336
from cs336.counts import CountsInfo, default_max_memory, read_info
from cs336.errors import (
    ConfigError,
    CorpusError,
    CountsMismatchError,
    FormatError,
    MemoryLimitError,
    PatternError,
    VocabularyError,
)

Call = Callable[[Callable[[], Any]], Any]

END = "<|endoftext|>"


def write_words(path: Path, words: int, seed: int = 0) -> Path:
    """Text with as many words that occur once, and a few that occur in every line."""
    letters = str.maketrans("0123456789", "abcdefghij")
    choose = random.Random(seed)
    rare = (str(choose.getrandbits(50)).translate(letters) for _ in range(words))
    path.write_text("".join(f"{word} the low lower lowest{END}\n" for word in rare), "utf-8")
    return path


ENOUGH = 1_200_000
"""Bytes that merging the words of three such texts takes, and a little more."""


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder that temporary files go to."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    return folder


def test_counted_apart_and_merged_is_counted_at_once(tmp_path: Path) -> None:
    texts = [write_words(tmp_path / f"{seed}.txt", 2000, seed) for seed in range(3)]
    whole = cs336.count_pretokens(texts, tmp_path / "whole.counts", [END])
    assert whole.spilled_runs == 0
    parts = [tmp_path / f"{seed}.counts" for seed in range(3)]
    limits = [0, None, 100_000]
    infos = [
        cs336.count_pretokens(text, part, [END], threads=seed + 1, max_memory=limits[seed])
        for seed, (text, part) in enumerate(zip(texts, parts, strict=True))
    ]
    assert [info.spilled_runs > 0 for info in infos] == [True, False, True]
    merged = cs336.merge_counts(reversed(parts), tmp_path / "merged.counts")
    assert (tmp_path / "merged.counts").read_bytes() == (tmp_path / "whole.counts").read_bytes()
    assert merged == whole == read_info(tmp_path / "whole.counts")
    assert merged == CountsInfo("gpt2", (END,), sum(text.stat().st_size for text in texts), 3 * 2000 * 6, 6005)
    trained = cs336.train_bpe_from_counts(tmp_path / "merged.counts", 400)
    assert trained == cs336.train_bpe(texts, 400, [END]) == cs336.train_bpe(texts, 400, [END], max_memory=ENOUGH)
    frequent = cs336.train_bpe_from_counts(tmp_path / "merged.counts", 400, min_frequency=500)
    assert frequent == cs336.train_bpe(texts, 400, [END], min_frequency=500) != trained


def test_an_iterable_in_little_memory(tmp_path: Path) -> None:
    texts = [write_words(tmp_path / "text.txt", 2000, seed).read_text("utf-8") for seed in range(3)]
    expected = cs336.train_bpe_from_iterator(texts, 400, [END])
    assert cs336.train_bpe_from_iterator(texts, 400, [END], max_memory=ENOUGH, threads=2) == expected
    with pytest.raises(MemoryLimitError, match=r"merging so many distinct pre-tokens needs [0-9]+ bytes"):
        cs336.train_bpe_from_iterator(texts, 400, [END], max_memory=0)


def test_a_counts_file_says_pattern_and_special_tokens(tmp_path: Path) -> None:
    text = write_words(tmp_path / "text.txt", 100)
    for pattern, special in [("o200k", ["the", END]), (r"\S+", []), ("gpt2", ["\u00e9\n"])]:
        cs336.count_pretokens(text, tmp_path / "counts", special, pattern=pattern)
        trained = cs336.train_bpe_from_counts(tmp_path / "counts", 300)
        assert trained == cs336.train_bpe(text, 300, special, pattern=pattern)
    first_line = (tmp_path / "counts").read_bytes().split(b"\n")[0]
    assert json.loads(first_line)["special_tokens"] == ["\u00e9\n"]


def test_bad_options_and_files(tmp_path: Path) -> None:
    text = write_words(tmp_path / "text.txt", 10)
    output = tmp_path / "counts"
    with pytest.raises(ConfigError, match="max_memory is a number of bytes, not -1"):
        cs336.count_pretokens(text, output, max_memory=-1)
    with pytest.raises(ConfigError, match="max_memory"):
        cs336.train_bpe(text, 300, max_memory=1 << 64)
    with pytest.raises(ConfigError, match="threads"):
        cs336.count_pretokens(text, output, threads=0)
    with pytest.raises(PatternError):
        cs336.count_pretokens(text, output, pattern="gpt9")
    with pytest.raises(FileNotFoundError, match=r"missing\.txt"):
        cs336.count_pretokens(tmp_path / "missing.txt", output)
    with pytest.raises(ConfigError, match="at least one counts file"):
        cs336.merge_counts([], output)
    (tmp_path / "empty.txt").touch()
    with pytest.raises(CorpusError):
        cs336.count_pretokens(tmp_path / "empty.txt", output)
    with pytest.raises(FormatError, match="cs336 tokenizer count"):
        cs336.train_bpe_from_counts(text, 300)
    assert not output.exists()
    cs336.count_pretokens(text, output, [END])
    with pytest.raises(VocabularyError, match="at least 257"):
        cs336.train_bpe_from_counts(output, 256)
    cs336.count_pretokens(text, tmp_path / "other", [END], pattern="cl100k")
    with pytest.raises(CountsMismatchError, match=r'counts and .*other .*"gpt2", of the other "cl100k"'):
        cs336.merge_counts([output, tmp_path / "other"], tmp_path / "both")
    assert not (tmp_path / "both").exists()


def test_the_default_is_said(tmp_path: Path) -> None:
    assert default_max_memory() >= 64 << 20


@pytest.mark.skipif(sys.platform != "linux", reason="looks at the open files of a process")
def test_nothing_is_seen_of_temporary_files(tmp_path: Path, temporary: Path, in_child: Call) -> None:
    pipe = tmp_path / "words.txt"
    os.mkfifo(pipe)

    def count() -> tuple[list[str], int, list[str]]:
        names: set[str] = set()
        unnamed: set[str] = set()

        def look() -> None:
            names.update(path.name for path in temporary.iterdir())
            for link in Path("/proc/self/fd").iterdir():
                try:
                    target = str(link.readlink())
                except FileNotFoundError:
                    continue  # closed meanwhile
                if target.startswith(str(temporary)):
                    unnamed.add(target)

        def feed() -> None:
            # The text ends once a file has been seen, so that counting can't be over before anybody has looked.
            with pipe.open("w") as words:
                for number in range(10_000_000):
                    words.write(f"word{number} ")
                    if number % 1000 == 0:
                        look()
                        if unnamed and number >= 100_000:
                            return

        feeder = threading.Thread(target=feed)
        feeder.start()
        runs = cs336.count_pretokens(pipe, tmp_path / "counts", [END], max_memory=0).spilled_runs
        feeder.join()
        look()
        return sorted(names), runs, sorted(unnamed)

    names, runs, unnamed = in_child(count)
    assert runs > 100
    assert names == []
    assert unnamed, "the runs were written somewhere else"


def test_a_full_disk_for_temporary_files(tmp_path: Path, temporary: Path, on_a_full_disk: Call) -> None:
    text = write_words(tmp_path / "text.txt", 2000)
    before = sorted(tmp_path.iterdir())
    for work in (
        lambda: cs336.count_pretokens(text, tmp_path / "counts", [END], max_memory=0),
        lambda: cs336.train_bpe(text, 300, [END], max_memory=0),
    ):
        with pytest.raises(OSError, match="File too large") as refused:
            on_a_full_disk(work)
        assert refused.value.errno == errno.EFBIG
        message = str(refused.value)
        for part in ("temporary file", "TMPDIR", "max_memory", str(temporary)):
            assert part in message
    assert sorted(tmp_path.iterdir()) == before
    assert list(temporary.iterdir()) == []


def test_no_folder_for_temporary_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = write_words(tmp_path / "text.txt", 2000)
    monkeypatch.setenv("TMPDIR", str(tmp_path / "nowhere"))
    with pytest.raises(FileNotFoundError, match="nowhere") as refused:
        cs336.train_bpe(text, 300, [END], max_memory=0)
    assert "TMPDIR" in str(refused.value)


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such signal")
@pytest.mark.parametrize("limit", ["None", "1"])
def test_ctrl_c_leaves_nothing_behind(limit: str, tmp_path: Path, temporary: Path) -> None:
    text = write_words(tmp_path / "text.txt", 300_000)
    before = sorted(tmp_path.iterdir())
    code = (
        "import cs336\n"
        "def tell(stage, done, total):\n"
        "    if done > 0: print('counting', flush=True)\n"
        f"while True: cs336.count_pretokens({[str(text)] * 20}, 'counts', max_memory={limit}, progress=tell)\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code], cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "counting\n"
    asked = time.monotonic()
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=30)
    assert time.monotonic() - asked < 5
    assert "KeyboardInterrupt" in said
    assert sorted(path for path in tmp_path.iterdir() if path.name != "counts") == before
    assert list(temporary.iterdir()) == []


@pytest.mark.slow
def test_millions_of_words_in_little_memory(tmp_path: Path, temporary: Path) -> None:
    text = write_words(tmp_path / "text.txt", 6_000_000)
    assert text.stat().st_size > 250 << 20
    code = (
        "import cs336, json\n"
        "from pathlib import Path\n"
        "peak = lambda: int(Path('/proc/self/status').read_text().split('VmHWM:')[1].split()[0]) * 1024\n"
        "before = peak()\n"
        f"info = cs336.count_pretokens('text.txt', 'little.counts', ['{END}'], max_memory=100 << 20)\n"
        "print(json.dumps([info.spilled_runs, info.distinct, peak() - before]))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    runs, distinct, memory = json.loads(done.stdout)
    assert runs > 4
    assert distinct > 5_900_000
    assert memory < 110 << 20
    cs336.count_pretokens(text, tmp_path / "much.counts", [END])
    assert (tmp_path / "little.counts").read_bytes() == (tmp_path / "much.counts").read_bytes()
    trained = cs336.train_bpe_from_counts(tmp_path / "little.counts", 500)
    assert trained == cs336.train_bpe(text, 500, [END])
