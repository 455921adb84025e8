"""Downloads from a hub on the loopback: whole and checked, or not there; begun ones go on."""

from __future__ import annotations

import errno
import hashlib
import os
import socket
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import huggingface_hub
import pytest
from filelock import FileLock
from huggingface_hub import constants
from loopback import REPO, TEXT, TRAIN, VALID, Hub

from cs336.data.download import SUMS, download_corpus
from cs336.errors import (
    ChecksumError,
    CorpusError,
    DownloadError,
    MissingDependencyError,
    NetworkError,
    OfflineError,
)


def bring(hub: Hub, folder: Path, *parts: str, **options: Any) -> list[Any]:
    return download_corpus("tinystories", folder, parts=parts or ["train"], endpoint=hub.endpoint, **options)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_files_come_whole_with_their_checksums(hub: Hub, tmp_path: Path) -> None:
    train, valid = bring(hub, tmp_path / "new" / "data", "train", "valid")
    assert (train.path, train.size, train.source) == (tmp_path / "new" / "data" / TRAIN, len(TEXT), "hub")
    assert train.path.read_bytes() == TEXT
    assert valid.path.read_bytes() == b"The end.\n"
    assert names(train.path.parent) == [SUMS, TRAIN, VALID]
    sums = {TRAIN: hashlib.sha256(TEXT).hexdigest(), VALID: hashlib.sha256(b"The end.\n").hexdigest()}
    assert (train.path.parent / SUMS).read_text("utf-8") == "".join(f"{sha}  {name}\n" for name, sha in sums.items())
    assert {file.path.name: file.sha256 for file in (train, valid)} == sums


def test_nothing_is_asked_but_for_the_file_and_nothing_is_told_but_what_asks(hub: Hub, tmp_path: Path) -> None:
    bring(hub, tmp_path / "data")
    page = f"/datasets/{REPO}/resolve/main/{TRAIN}"
    asked = [(request.method, request.path) for request in hub.requests]
    assert asked == [("HEAD", page), ("GET", page), ("GET", f"/bytes/{REPO}/{TRAIN}")]
    for request in hub.requests:
        told = {name.lower(): value for name, value in request.headers.items()}["user-agent"]
        assert "torch" not in told
        assert "agent/" not in told


def test_a_file_that_is_here_is_checked_and_not_fetched_again(hub: Hub, tmp_path: Path) -> None:
    bring(hub, tmp_path)
    hub.requests.clear()
    (again,) = bring(hub, tmp_path)
    assert again.source == "folder"
    assert hub.asked("GET") == []


def test_a_file_that_is_here_and_differs_is_left_alone(hub: Hub, tmp_path: Path) -> None:
    (tmp_path / TRAIN).write_bytes(b"mine")
    with pytest.raises(ChecksumError, match="damaged or another version"):
        bring(hub, tmp_path)
    assert (tmp_path / TRAIN).read_bytes() == b"mine"


def test_a_cut_connection_is_taken_up_where_it_broke(hub: Hub, tmp_path: Path) -> None:
    hub.cuts = [2500]
    (train,) = bring(hub, tmp_path)
    assert train.path.read_bytes() == TEXT
    assert [request.headers.get("Range") for request in hub.asked("GET")[-2:]] == ["bytes=2000-"] * 2


def test_what_was_begun_goes_on_in_another_call(hub: Hub, tmp_path: Path) -> None:
    hub.cuts = [2500] + [0] * 6  # until the library gives up
    with pytest.raises(NetworkError, match=r"the connection failed: .*start again: what is here already is kept"):
        bring(hub, tmp_path)
    assert TRAIN not in names(tmp_path)
    hub.requests.clear()
    told: list[tuple[str, int, int | None]] = []
    (train,) = bring(hub, tmp_path, progress=lambda *stage: told.append(stage))
    assert train.path.read_bytes() == TEXT
    assert {request.headers.get("Range") for request in hub.asked("GET")} == {"bytes=2000-"}
    assert names(tmp_path) == [SUMS, TRAIN]
    downloading = [stage for stage in told if stage[0] == TRAIN]
    assert downloading[0] == (TRAIN, 2000, len(TEXT))
    assert downloading[-1] == (TRAIN, len(TEXT), len(TEXT))
    assert told[-1] == (f"checking {TRAIN}", len(TEXT), len(TEXT))


def test_an_interrupt_keeps_what_is_here(hub: Hub, tmp_path: Path) -> None:
    def interrupt(stage: str, done: int, total: int | None) -> None:
        if done >= 3000:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        bring(hub, tmp_path, progress=interrupt)
    assert bring(hub, tmp_path)[0].path.read_bytes() == TEXT
    assert hub.asked("GET")[-1].headers["Range"] == "bytes=3000-"


def test_a_server_without_ranges_begins_anew(hub: Hub, tmp_path: Path) -> None:
    hub.cuts, hub.ranges = [2500], False
    assert bring(hub, tmp_path)[0].path.read_bytes() == TEXT


def test_a_wrong_checksum_leaves_nothing(hub: Hub, tmp_path: Path) -> None:
    hub.stated[f"{REPO}/{TRAIN}"] = "ab" * 32
    with pytest.raises(ChecksumError, match=f"came with the SHA-256 {hashlib.sha256(TEXT).hexdigest()}, but .* abab"):
        bring(hub, tmp_path)
    assert names(tmp_path) == []


def test_a_damaged_part_is_noticed_and_fetched_anew(hub: Hub, tmp_path: Path) -> None:
    hub.cuts = [2500] + [0] * 6
    with pytest.raises(NetworkError):
        bring(hub, tmp_path)
    (partial,) = tmp_path.glob(".*.part")
    partial.write_bytes(b"x" + partial.read_bytes()[1:])
    with pytest.raises(ChecksumError):
        bring(hub, tmp_path)
    assert bring(hub, tmp_path)[0].path.read_bytes() == TEXT


def test_a_hub_that_states_no_checksum_is_refused(hub: Hub, tmp_path: Path) -> None:
    hub.stated[f"{REPO}/{TRAIN}"] = "W/123"
    with pytest.raises(ChecksumError, match="SHA-256 are not stated"):
        bring(hub, tmp_path)


def test_what_the_hub_lacks_or_refuses(hub: Hub, tmp_path: Path) -> None:
    hub.files.clear()
    with pytest.raises(DownloadError, match=r"there is no such file \(status 404\); check --revision"):
        bring(hub, tmp_path)
    for status, error, message in [(401, DownloadError, "HF_TOKEN"), (503, NetworkError, "try again later")]:
        hub.status = status
        with pytest.raises(error, match=message):
            bring(hub, tmp_path)
    assert names(tmp_path) == []


def test_no_network(hub: Hub, tmp_path: Path) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))  # and does not listen
        hub.endpoint = f"http://127.0.0.1:{nobody.getsockname()[1]}"
        with pytest.raises(NetworkError, match="check the network and HF_ENDPOINT"):
            bring(hub, tmp_path)


def test_offline(hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bring(hub, tmp_path / "data")
    (tmp_path / "data" / VALID).write_bytes(b"from somewhere")
    hub.requests.clear()
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert bring(hub, tmp_path / "data")[0].source == "folder"
    with pytest.raises(OfflineError, match="can't be checked"):
        bring(hub, tmp_path / "data", "valid")
    with pytest.raises(OfflineError, match="is not here and not in the hub's cache"):
        bring(hub, tmp_path / "other")
    (tmp_path / "data" / TRAIN).write_bytes(TEXT[:-1])
    with pytest.raises(ChecksumError, match="SHA256SUMS says"):
        bring(hub, tmp_path / "data")
    assert hub.requests == []


def test_the_cache_of_the_hubs_library_is_used(hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cached = huggingface_hub.hf_hub_download(REPO, TRAIN, repo_type="dataset", endpoint=hub.endpoint)
    hub.requests.clear()
    assert bring(hub, tmp_path / "online")[0].source == "cache"
    assert hub.asked("GET") == []
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    (train,) = bring(hub, tmp_path / "offline")
    assert (train.source, train.path.read_bytes(), train.path.is_symlink()) == ("cache", TEXT, False)
    Path(cached).write_bytes(b"damaged")
    with pytest.raises(ChecksumError, match="remove it there"):
        bring(hub, tmp_path / "damaged")
    assert names(tmp_path / "damaged") == []


def test_unknown_names() -> None:
    with pytest.raises(CorpusError, match=r"no corpus is called 'tinystory'; did you mean 'tinystories'\?"):
        download_corpus("tinystory")
    with pytest.raises(CorpusError, match="has no part 'test'; there are train, valid"):
        download_corpus("openwebtext", parts=["test"])


def test_a_full_disk_keeps_what_fits(hub: Hub, tmp_path: Path, on_a_full_disk) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(OSError, match=r"; raise the limit .*another disk: '.*train\.txt'") as full:
        on_a_full_disk(lambda: bring(hub, tmp_path))
    assert full.value.errno == errno.EFBIG
    assert TRAIN not in names(tmp_path)
    assert bring(hub, tmp_path)[0].path.read_bytes() == TEXT
    assert hub.asked("GET")[-1].headers["Range"] == "bytes=2000-"


def test_too_little_space_is_said_before_anything_comes(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda path: SimpleNamespace(free=100))
    with pytest.raises(OSError, match=r"are needed and 0\.00 GB free; free some space") as full:
        bring(hub, tmp_path)
    assert full.value.errno == errno.ENOSPC
    assert hub.asked("GET") == []


def test_two_at_once(hub: Hub, tmp_path: Path) -> None:
    lock = tmp_path / f".{hashlib.sha256(TEXT).hexdigest()[:16]}-{TRAIN}.lock"
    with FileLock(lock), pytest.raises(DownloadError, match="another process is downloading"):
        bring(hub, tmp_path)


def test_without_the_hubs_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "cs336.data.hub", raising=False)
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'cs336\[hub\]'"):
        download_corpus("tinystories", tmp_path / "data")
    assert not (tmp_path / "data").exists()


def test_the_command_and_its_environment(hub: Hub, tmp_path: Path) -> None:
    def run(*words: str, **variables: str) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "HF_ENDPOINT": hub.endpoint, "HF_HOME": str(tmp_path / "home"), **variables}
        command = [sys.executable, "-m", "cs336", "data", "download", "tinystories", "--part", "valid", *words]
        return subprocess.run(command, capture_output=True, text=True, check=False, env=environment, cwd=tmp_path)

    missing = run(HF_HUB_OFFLINE="1")
    assert missing.returncode == 1
    assert missing.stderr.startswith(f"error: data/{VALID} is not here")
    assert missing.stderr.count("\n") == 1
    assert hub.requests == []
    assert run("--json", "--folder", "corpus").stdout.count('"source": "hub"') == 1
    assert (tmp_path / "corpus" / VALID).read_bytes() == b"The end.\n"
