from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.lib.format import MAGIC_PREFIX

from cs336.data import check_tokens, get_batch, open_tokens, sequential_batches
from cs336.errors import DataError
from cs336.token_files import encode_files
from cs336.tokenizer import Tokenizer, train_bpe_from_iterator

SIDECAR = {
    "format": "cs336-tokens",
    "version": 1,
    "dtype": "uint16",
    "tokens": 10,
    "vocab_size": 300,
    "vocabulary_hash": "00",
    "documents": 2,
    "source": [{"name": "a.txt", "bytes": 40}],
    "special_tokens": {"<|endoftext|>": 0},
}


def by_encode_file(tokenizer: Tokenizer, source: Path, target: Path) -> None:
    tokenizer.encode_file(source, target)


def by_encode_files(tokenizer: Tokenizer, source: Path, target: Path) -> None:
    encode_files(tokenizer, source, target)


@pytest.mark.parametrize("encode", [by_encode_file, by_encode_files])
def test_a_sidecar_is_found_by_every_name_of_its_file(
    encode: Callable[[Tokenizer, Path, Path], None], tmp_path: Path
) -> None:
    tokenizer = train_bpe_from_iterator(["low lower lowest"], 260, ["<|endoftext|>"])
    (source := tmp_path / "s.txt").write_text("low lower")
    (tmp_path / "far").mkdir()
    (tmp_path / "far" / "link.npy").symlink_to("real.npy")
    (tmp_path / "link.npy").symlink_to("far/link.npy")
    for _ in range(2):  # where the link leads to nothing yet, and to a file
        encode(tokenizer, source, tmp_path / "link.npy")
        assert {path.name for path in tmp_path.iterdir()} == {"s.txt", "far", "link.npy"}
        assert {path.name for path in (tmp_path / "far").iterdir()} == {"link.npy", "real.npy", "real.npy.json"}
        for name in ("link.npy", "far/link.npy", "far/real.npy"):
            info = open_tokens(tmp_path / name).info
            assert info is not None
            assert info.vocabulary_hash == tokenizer.hash


def test_a_sidecar_beside_a_link_is_one_where_the_file_has_none(token_file: Path, tmp_path: Path) -> None:
    (tmp_path / "link.npy").symlink_to("a.npy")
    token_file.with_name("a.npy.json").rename(tmp_path / "link.npy.json")
    assert open_tokens(token_file).info is None
    info = open_tokens(tmp_path / "link.npy").info
    assert info is not None
    assert info.documents == 2


@pytest.fixture
def token_file(tmp_path: Path) -> Path:
    path = tmp_path / "a.npy"
    np.save(path, np.arange(10, dtype=np.uint16))
    (tmp_path / "a.npy.json").write_text(json.dumps(SIDECAR))
    return path


def test_a_token_file_with_its_sidecar(token_file: Path) -> None:
    opened = open_tokens(token_file)
    assert opened.tokens.tolist() == list(range(10))
    assert opened.info is not None
    assert (opened.info.documents, opened.info.source_bytes) == (2, 40)
    token_file.with_name("a.npy.json").unlink()
    assert open_tokens(token_file).info is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"tokens": 11}, "sidecar a.npy.json says 11"),
        ({"dtype": "uint32"}, "of uint32"),
        ({"dtype": "nonsense"}, "no valid sidecar"),
        ({"version": 2}, "version 2"),
        ({"source": 3}, "no valid sidecar"),
        ({"tokens": float("inf")}, "no valid sidecar"),
    ],
)
def test_a_sidecar_that_disagrees(token_file: Path, change: dict, message: str) -> None:
    token_file.with_name("a.npy.json").write_text(json.dumps(SIDECAR | change))
    with pytest.raises(DataError, match=message):
        open_tokens(token_file)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("{", "it is not JSON (Expecting property name"),
        ("[" * 100_000, "it is not JSON ("),
        ("\xff", "it is not JSON ('utf-8' codec"),
        ("{}", "it has no key 'format'"),
        ("[]", "a key has a value of the wrong kind"),
        (json.dumps(SIDECAR | {"source": [{}]}), "it has no key 'bytes'"),
        (json.dumps(SIDECAR | {"tokens": "ten"}), "a key has a value of the wrong kind"),
    ],
)
def test_a_sidecar_that_is_none(token_file: Path, text: str, reason: str) -> None:
    token_file.with_name("a.npy.json").write_text(text, "latin-1")
    with pytest.raises(DataError) as refused:
        open_tokens(token_file)
    assert f"a.npy.json is no valid sidecar of a token file: {reason}" in str(refused.value)


@pytest.mark.parametrize(
    "header",
    [
        "{'descr': '<u2', 'fortran_order': False, 'shape': (10,",
        "{'descr': '<u2', 'fortran_order': False, 'shape': (10,), }}",
        "{'descr': '<u2', 'fortran_order': False, 'shape': (99999999999999999999999999,), }",
        "{'descr': '<u2', 'fortran_order': False, 'shape': (-10,), }",
        "{'descr': None, 'fortran_order': False, 'shape': (10,), }",
        "{'descr': ('<u2', 3, 4), 'fortran_order': False, 'shape': (10,), }",
        "{'descr': '<u2', 'fortran_order': False, 'shape': ('10',), }",
        "{[]: 1}",
        "(" * 5000,
        "-" * 9000 + "1",
        "'",
        " ",
    ],
)
def test_a_damaged_header(tmp_path: Path, header: str) -> None:
    path, text = tmp_path / "a.npy", header.encode()
    path.write_bytes(MAGIC_PREFIX + bytes([1, 0]) + len(text).to_bytes(2, "little") + text + bytes(20))
    with pytest.raises(DataError, match=r"a\.npy is not a whole \.npy file.*; encode the text again"):
        open_tokens(path)


def test_damaged_files(token_file: Path, tmp_path: Path) -> None:
    token_file.write_bytes(token_file.read_bytes()[:-3])
    with pytest.raises(DataError, match="not a whole"):
        open_tokens(token_file)
    with pytest.raises(FileNotFoundError, match=r"encode the text first.*none\.npy"):
        open_tokens(tmp_path / "none.npy")
    with pytest.raises(IsADirectoryError, match="this is a folder"):
        open_tokens(tmp_path)
    np.save(tmp_path / "floats.npy", np.zeros(3))
    with pytest.raises(DataError, match="integers"):
        open_tokens(tmp_path / "floats.npy")


def test_files_that_are_no_npy(tmp_path: Path) -> None:
    with (tmp_path / "archive.npy").open("wb") as file:
        np.savez(file, a=np.arange(3))
    (tmp_path / "text.npy").write_text("once upon a time")
    (tmp_path / "empty.npy").touch()
    for path in tmp_path.iterdir():
        with pytest.raises(DataError, match=r"is not a \.npy file"):
            open_tokens(path)
    np.save(tmp_path / "table.npy", np.zeros((2, 3), dtype=np.uint16))
    with pytest.raises(DataError, match="one dimension"):
        open_tokens(tmp_path / "table.npy")


def test_token_files_do_not_need_torch() -> None:
    code = "import sys; from cs336.data import open_tokens; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_mapped_tokens_are_read_only(token_file: Path) -> None:
    tokens = open_tokens(token_file).tokens
    assert isinstance(tokens, np.memmap)
    assert not tokens.flags.writeable


def test_ids_outside_the_vocabulary_are_named() -> None:
    tokens = np.array([1, 2, 7, 3], dtype=np.uint16)
    check_tokens(tokens, 8)
    with pytest.raises(DataError, match="token 7 at position 2"):
        check_tokens(tokens, 7, block=2)
    with pytest.raises(DataError, match="token -1 at position 0"):
        check_tokens(np.array([-1]), 7)


def test_random_batches() -> None:
    tokens = np.arange(100, dtype=np.uint16)
    inputs, targets = get_batch(tokens, 4000, 7, "cpu", rng=np.random.default_rng(0))
    assert inputs.dtype == torch.int64
    assert torch.equal(inputs + 1, targets)
    assert set(inputs[:, 0].tolist()) == set(range(93))
    again, _ = get_batch(tokens, 4000, 7, "cpu", rng=np.random.default_rng(0))
    assert torch.equal(inputs, again)
    with pytest.raises(DataError, match="at least 101"):
        get_batch(tokens, 1, 100, "cpu")


@given(st.integers(2, 60), st.integers(1, 5), st.integers(1, 9))
def test_every_target_comes_exactly_once(size: int, batch_size: int, context_length: int) -> None:
    tokens = np.arange(size, dtype=np.uint16)
    targets = []
    for inputs, outputs in sequential_batches(tokens, batch_size, context_length, "cpu"):
        assert torch.equal(inputs + 1, outputs)
        assert inputs.shape[0] <= batch_size
        assert inputs.shape[1] <= context_length
        targets += outputs.flatten().tolist()
    assert targets == list(range(1, size))


@pytest.mark.parametrize(("batch_size", "context_length", "name"), [(0, 4, "batch_size"), (2, 0, "context_length")])
def test_empty_batches_are_refused(batch_size: int, context_length: int, name: str) -> None:
    tokens = np.arange(50)
    with pytest.raises(DataError, match=f"{name} is 0"):
        get_batch(tokens, batch_size, context_length, "cpu")
    with pytest.raises(DataError, match=f"{name} is 0"):
        next(sequential_batches(tokens, batch_size, context_length, "cpu"))


def test_one_token_predicts_nothing() -> None:
    with pytest.raises(DataError, match="at least 2"):
        next(sequential_batches(np.arange(1), 2, 4, "cpu"))


def test_a_wrong_device_is_named_by_torch() -> None:
    with pytest.raises(RuntimeError, match="device"):
        get_batch(np.arange(50), 2, 4, "abacus")
