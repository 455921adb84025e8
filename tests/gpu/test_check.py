"""The program that checks a GPU, run on the CPU in small: that it works the first time there is one."""

from __future__ import annotations

import json
import math
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import check
import pytest
import torch
from check import Bench, SkippedError, WrongError, run_check

from cs336.config import preset


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench("cpu", tmp_path, small=True, patience=600)


@pytest.mark.parametrize("name", ["CUDA = CPU", "types", "speed 17M", "speed gpt2-small"])
def test_rows_that_need_one_process(bench: Bench, name: str) -> None:
    row = run_check(name, check.CHECKS[name], bench)
    assert row.status == "ok", row.text
    if name.startswith("speed"):
        assert row.figures["tokens_per_second"] > 0
        assert row.figures["mfu"] is None
        assert "MFU unknown" in row.text


@pytest.mark.slow
@pytest.mark.parametrize("name", ["resume", "DDP", "compiled = eager"])
def test_rows_that_need_several_or_a_compiler(bench: Bench, name: str) -> None:
    row = run_check(name, check.CHECKS[name], bench)
    assert row.status == "ok", row.text


@pytest.mark.gpu
@pytest.mark.parametrize("name", check.CHECKS)
def test_rows_on_a_gpu(tmp_path: Path, name: str) -> None:
    if not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")
    row = run_check(name, check.CHECKS[name], Bench("cuda", tmp_path))
    assert row.status == "ok", row.text


@pytest.mark.parametrize(("factor", "status"), [(1.0, "ok"), (1.4, "ok"), (1.6, "FAILED"), (0.6, "FAILED")])
def test_memory_is_judged_against_the_accounting(bench: Bench, factor: float, status: str) -> None:
    from cs336.training.rehearsal import expected_bytes

    def peak(run: object) -> int:
        return round(factor * expected_bytes(run.config, 1, "cpu"))  # type: ignore[attr-defined]

    row = run_check("memory", lambda bench: check.check_memory(bench, peak), bench)
    assert row.status == status, row.text
    if status == "ok":
        assert len(row.figures) == len(check.MEMORY_RUNS)


def test_memory_is_counted_on_cuda_only(bench: Bench) -> None:
    with pytest.raises(SkippedError, match="CUDA only"):
        check.check_memory(bench)


def test_losses_that_differ_are_wrong() -> None:
    assert check.expect_close("a and b", [2.0, 1.001], [2.0, 1.0], 0.01) == pytest.approx(0.001)
    for mine in ([2.0, 1.1], [2.0, math.nan]):
        with pytest.raises(WrongError, match="a and b: losses differ"):
            check.expect_close("a and b", mine, [2.0, 1.0], 0.01)


def test_losses_end_at_a_step_that_float16_leaves_out(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    from cs336.training.step import Stepper

    rows = iter([{"loss": 3.0, "grad_norm": 1.0}, {"loss": 2.0, "grad_norm": None}, {"loss": 9.0, "grad_norm": 1.0}])
    monkeypatch.setattr(Stepper, "step", lambda stepper, step: next(rows))
    config = check.configure(bench, check.model_of(bench, "tinystories-2025"))
    assert check.losses_of(bench, config, 3) == [3.0, 1.0, 2.0]


def test_ends_that_differ_are_wrong(tmp_path: Path) -> None:
    def end(name: str, *, weights: bytes = b"weights", momentum: float = 0.5, loss: float = 2.0) -> Path:
        checkpoint = tmp_path / name / "checkpoints" / "step-00000012"
        checkpoint.mkdir(parents=True)
        (checkpoint / "model.safetensors").write_bytes(weights)
        torch.save({"optimizer": {"m": torch.tensor(momentum)}}, checkpoint / "state.pt")
        row = {"step": 12, "loss": loss, "seconds": len(name)}
        (tmp_path / name / "metrics.jsonl").write_text(json.dumps(row) + "\n", encoding="utf-8")
        return tmp_path / name

    whole = end("whole")
    check.compare_ends(whole, end("another clock"))
    with pytest.raises(WrongError, match="the weights differ"):
        check.compare_ends(whole, end("weights", weights=b"others"))
    with pytest.raises(WrongError, match="optimizer or random states differ"):
        check.compare_ends(whole, end("state", momentum=0.25))
    with pytest.raises(WrongError, match="the logs differ"):
        check.compare_ends(whole, end("log", loss=1.0))


def test_what_is_the_same() -> None:
    state = {"m": torch.ones(2), "random": [1, (2, "x")]}
    assert check.is_same(state, {"m": torch.ones(2), "random": [1, (2, "x")]})
    assert not check.is_same(state, {"m": torch.ones(2).double(), "random": [1, (2, "x")]})
    assert not check.is_same(state, {"m": torch.ones(2), "random": [1, (2, "y")]})
    assert not check.is_same(state, {"m": torch.ones(2)})


def fails(message: str, kind: type[Exception] = WrongError) -> Callable[[Bench], tuple[str, check.Figures]]:
    def row(bench: Bench) -> tuple[str, check.Figures]:
        raise kind(message)

    return row


def test_a_row_that_fails_is_told_and_the_rest_goes_on(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    checks = {
        "wrong": fails("is not so"),
        "broken": fails("out of\nmemory", RuntimeError),
        "not here": fails("no such thing", SkippedError),
        "good": lambda bench: ("as it should be", {"x": 1}),
    }
    monkeypatch.setattr(check, "CHECKS", checks)
    assert check.main(["--device", "cpu", "--json", str(tmp_path / "figures.json")]) == 1
    table = capsys.readouterr().out.split("\n\n")[1].splitlines()
    assert [" ".join(line.split()) for line in table] == [
        "wrong FAILED 0.0 s is not so",
        "broken FAILED 0.0 s RuntimeError: out of memory",
        "not here skipped 0.0 s no such thing",
        "good ok 0.0 s as it should be",
    ]
    rows = json.loads((tmp_path / "figures.json").read_text("utf-8"))["rows"]
    assert rows[-1]["figures"] == {"x": 1}
    monkeypatch.setattr(check, "CHECKS", {"good": checks["good"]})
    assert check.main(["--device", "cpu"]) == 0


def test_rows_are_not_begun_when_the_time_is_up(bench: Bench) -> None:
    rows = check.run_all(bench, budget=-1)
    assert {row.status for row in rows} == {"skipped"}


def test_without_a_gpu_everything_is_skipped(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert check.main([]) == 0
    shown = capsys.readouterr().out
    assert shown.startswith("no CUDA device; torch ")
    assert shown.count("skipped") == len(check.CHECKS)


@pytest.mark.parametrize(("gigabytes", "batch"), [(80, 128), (16, 64)])
def test_the_batch_fits_the_memory(bench: Bench, monkeypatch: pytest.MonkeyPatch, gigabytes: int, batch: int) -> None:
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (gigabytes * 10**9, 80 * 10**9))
    found = check.fitting_batch(bench, preset("gpt2-small"))
    assert found <= batch
    assert found * 1024 <= 131_072
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (10**9, 80 * 10**9))
    with pytest.raises(SkippedError, match="not one sequence fits"):
        check.fitting_batch(bench, preset("gpt2-small"))


def test_the_package_comes_out_of_a_wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a process that finds neither cs336 elsewhere nor what the machine with the GPU lacks."""
    sources = check.ROOT / "python"
    wheel = tmp_path / "cs336-0.0.0-cp311-abi3-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for path in sources.rglob("*.py"):
            archive.write(path, path.relative_to(sources))
    code = f"""
import sys
sys.path = [path for path in sys.path if not path.startswith({str(sources)!r})]
sys.meta_path = [finder for finder in sys.meta_path if "editable" not in repr(finder)]
sys.modules.update(dict.fromkeys(["pydantic", "tomli_w", "regex", "tiktoken", "huggingface_hub"]))
sys.path.insert(0, {str(Path(check.__file__).parent)!r})
import check
check.CHECKS = {{"types": check.check_precisions}}
status = check.main(["--device", "cpu", "--wheel", {str(wheel)!r}])
import cs336
assert "cs336-wheel-" in cs336.__file__, cs336.__file__
sys.exit(status)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "types  ok" in done.stdout
