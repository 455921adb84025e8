"""Installs a built wheel into empty environments and uses it as a newcomer would, without torch and with it.

Usage: python scripts/check_wheel.py dist/cs336-*.whl [--without-torch-only]
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

TEXT = "the quick brown fox jumps over the lazy dog\nthe end\n<|endoftext|>\n" * 50


def run(command: list[str | Path], *, cwd: Path, fails: bool = False) -> str:
    """Runs a command, echoes it, and returns what it printed; stops the check if it ends otherwise than expected."""
    print("$", *command, flush=True)
    environment = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "VIRTUAL_ENV")}
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False)
    if (done.returncode != 0) != fails:
        sys.exit(f"exit status {done.returncode}, expected {'an error' if fails else '0'}:\n{done.stdout}{done.stderr}")
    return done.stdout + done.stderr


def expect(condition: bool, what: str) -> None:
    """Stops the check unless the condition holds."""
    if not condition:
        sys.exit(f"FAILED: {what}")
    print(f"  ok: {what}")


def the_wheel(path: Path) -> Path:
    """The wheel itself, or the only one in a folder."""
    if not path.is_dir():
        return path
    wheels = list(path.glob("*.whl"))
    expect(len(wheels) == 1, f"{path} holds one wheel")
    return wheels[0]


def programs(folder: Path) -> Path:
    """Where an environment keeps its programs."""
    return folder / ("Scripts" if sys.platform == "win32" else "bin")


def environment(folder: Path, requirement: str) -> Path:
    """Makes an empty virtual environment, installs the requirement, and returns its folder of programs."""
    uv = shutil.which("uv", path=str(Path(sys.executable).parent)) or shutil.which("uv") or "uv"
    run([uv, "venv", "--quiet", "--python", sys.executable, folder], cwd=folder.parent)
    started = time.perf_counter()
    run([uv, "pip", "install", "--quiet", "--python", programs(folder) / "python", requirement], cwd=folder.parent)
    print(f"  installed in {time.perf_counter() - started:.1f} s")
    return programs(folder)


def check_tokenizer(bin_dir: Path, work: Path) -> None:
    """The tokenizer's commands: train, encode, decode, inspect."""
    cs336 = bin_dir / "cs336"
    (work / "text.txt").write_text(TEXT, encoding="utf-8")
    expect("Usage" in run([cs336, "--help"], cwd=work), "cs336 --help answers")
    train = [cs336, "tokenizer", "train", "text.txt", "--vocab-size", "300", "--output", "tokenizer.json"]
    run(train, cwd=work)
    run([cs336, "tokenizer", "encode", "text.txt", "text.npy", "--tokenizer", "tokenizer.json"], cwd=work)
    run(
        [cs336, "tokenizer", "decode", "text.npy", "--tokenizer", "tokenizer.json", "--output", "back.txt"],
        cwd=work,
    )
    expect((work / "back.txt").read_text(encoding="utf-8") == TEXT, "encode and decode round-trip a file")
    run([cs336, "tokenizer", "inspect", "tokenizer.json"], cwd=work)


def check_without_torch(wheel: Path, work: Path) -> None:
    """The plain installation: the tokenizer works, the rest says what to install."""
    bin_dir = environment(work / "plain", str(wheel))
    check_tokenizer(bin_dir, work)
    probe = "import sys, cs336; cs336.Tokenizer; sys.exit('torch' in sys.modules)"
    run([bin_dir / "python", "-c", probe], cwd=work)
    message = run([bin_dir / "cs336", "train", "--run", "nowhere"], cwd=work, fails=True)
    expect("cs336[torch]" in message and "Traceback" not in message, "without torch, train says what to install")


def check_with_torch(wheel: Path, work: Path) -> None:
    """The full installation: every command answers, and a tiny model trains."""
    bin_dir = environment(work / "full", f"{wheel}[torch]")
    tiny = ["--stories", "300", "--steps", "5", "--vocab-size", "300"]
    out = run([bin_dir / "cs336", "quickstart", "--run", "run", *tiny], cwd=work)
    expect("validation loss" in out.lower(), "with torch, the quickstart reaches a validation loss")
    expect((work / "run" / "metrics.jsonl").is_file(), "the run folder holds its metrics")


def main() -> None:
    """Checks one wheel both ways."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("wheel", type=Path, help="a wheel, or a folder that holds exactly one")
    parser.add_argument("--without-torch-only", action="store_true", help="skip the large installation")
    arguments = parser.parse_args()
    wheel = the_wheel(arguments.wheel.resolve())
    expect("abi3" in wheel.name, f"{wheel.name} serves every Python from 3.11 on")
    expect("manylinux" in wheel.name or sys.platform != "linux", "it carries a portable platform tag")
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        check_without_torch(wheel, work)
        if not arguments.without_torch_only:
            check_with_torch(wheel, work)
    print("the wheel works")


if __name__ == "__main__":
    main()
