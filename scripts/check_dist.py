"""Looks into a built wheel, installs it into empty environments, and uses it as a newcomer would.

A source distribution beside it is installed and used, too, without torch.

Usage: python scripts/check_dist.py dist [--without-torch-only]

Times are printed, never judged: what is judged is what each start imports.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import sysconfig
import tempfile
import time
import zipfile
from pathlib import Path
from typing import Any

SOURCES = Path(__file__).parents[1] / "python"
OLDEST_GLIBC = (2, 17)
"""Of the platform tag manylinux2014, and the oldest that Rust's standard library runs on."""
HEAVY = {"torch", "numpy", "rich", "click", "pydantic", "matplotlib"}
INSTALL = "pip install 'cs336[torch]'"

FREE_THREADED = bool(sysconfig.get_config_var("Py_GIL_DISABLED"))
"""Whether the Python that runs this, and tries the wheel, can do without the GIL."""


def expect(condition: bool, what: str) -> None:
    """Stops the check unless the condition holds."""
    if not condition:
        sys.exit(f"FAILED: {what}")
    print(f"  ok: {what}", flush=True)


class Environment:
    """A virtual environment with one requirement installed, and a folder outside of the checkout to work in."""

    def __init__(self, folder: Path, requirement: str, *, compile_bytecode: bool) -> None:
        self.work = folder / "work"
        self.work.mkdir(parents=True)
        self.programs = folder / "env" / ("Scripts" if sys.platform == "win32" else "bin")
        uv = Path(shutil.which("uv", path=str(Path(sys.executable).parent)) or shutil.which("uv") or "uv")
        self.run(uv, "venv", "--quiet", "--python", sys.executable, folder / "env")
        started = time.perf_counter()
        # pip compiles what it installs, uv only when told to.
        flags = ["--compile-bytecode"] if compile_bytecode else []
        self.run(uv, "pip", "install", "--quiet", "--python", self.programs / "python", *flags, requirement)
        print(f"  installed in {time.perf_counter() - started:.1f} s", flush=True)

    def run(self, *command: str | Path, status: int = 0) -> subprocess.CompletedProcess[str]:
        """Runs a command and echoes it; stops the check if it ends otherwise than expected."""
        print("$", *(Path(word).name if Path(word).is_absolute() else word for word in command), flush=True)
        hidden = ("PYTHONPATH", "VIRTUAL_ENV", "PYTHONDONTWRITEBYTECODE")
        variables = {name: value for name, value in os.environ.items() if name not in hidden}
        done = subprocess.run(
            command,
            cwd=self.work,
            env=variables | {"PYTHONUTF8": "1"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            check=False,
        )
        if done.returncode != status:
            sys.exit(f"FAILED: exit status {done.returncode}, expected {status}:\n{done.stdout}{done.stderr}")
        return done

    def cs336(self, *words: str, status: int = 0) -> subprocess.CompletedProcess[str]:
        """Calls the installed command."""
        return self.run(self.programs / "cs336", *words, status=status)

    def json(self, *words: str) -> Any:
        """What a command prints with --json: one JSON value, and nothing else."""
        return json.loads(self.cs336(*words, "--json").stdout)

    def python(self, *words: str, status: int = 0) -> subprocess.CompletedProcess[str]:
        """Calls the environment's interpreter, which sees nothing of the checkout."""
        return self.run(self.programs / "python", "-I", *words, status=status)

    def imported(self, *words: str) -> set[str]:
        """The top-level packages that an interpreter imports, as `python -X importtime` lists them."""
        lines = self.python("-X", "importtime", *words).stderr.splitlines()
        return {line.rpartition("|")[2].strip().partition(".")[0] for line in lines if line.startswith("import time:")}


def check_contents(wheel: Path) -> None:
    """The tags, the files, and the oldest system that the compiled part can be loaded on."""
    if FREE_THREADED:
        expect("-cp314-cp314t-" in wheel.name, f"{wheel.name} serves Python 3.14 without the GIL")
    else:
        expect("-cp311-abi3-" in wheel.name, f"{wheel.name} serves every Python from 3.11 on")
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        part = r"cs336/_bpe\.(abi3\.so|pyd|cp(ython-)?314t-[-\w]+\.(so|pyd))"
        compiled = [name for name in names if re.fullmatch(part, name)]
        expect(len(compiled) == 1, f"it holds the compiled part, {compiled[0] if compiled else 'which is missing'}")
        library = archive.read(compiled[0])
    sources = {
        path.relative_to(SOURCES).as_posix()
        for path in SOURCES.rglob("*.*")
        if path.suffix in (".py", ".pyi", ".jinja")
    }
    information = {name for name in names if ".dist-info/" in name}
    expect(names - information - {*compiled, "cs336/py.typed"} == sources, f"all {len(sources)} sources, no stray file")
    expect("cs336/py.typed" in names and "cs336/_bpe.pyi" in names, "the marks of a typed package")
    expect(any(name.endswith("/licenses/LICENSE") for name in information), "the licence")
    expect(wheel.stat().st_size < 10e6, f"it takes {wheel.stat().st_size / 1e6:.1f} MB")
    if sys.platform == "linux":
        expect("manylinux2014" in wheel.name or "manylinux_2_17" in wheel.name, "a portable platform tag")
        # The names of the symbol versions that the dynamic linker will look for stand in the file as plain text.
        versions = {(int(a), int(b)) for a, b in re.findall(rb"GLIBC_(\d+)\.(\d+)", library)}
        expect(bool(versions) and max(versions) <= OLDEST_GLIBC, f"it needs glibc {max(versions)}, no newer one")


def check_imports(env: Environment) -> None:
    """What an import, the help and the use of the tokenizer load; how long they take is for information."""
    nothing = env.imported("-c", "pass")
    expect(not HEAVY & (env.imported("-c", "import cs336") - nothing), f"import cs336 loads none of {sorted(HEAVY)}")
    expect(not (HEAVY - {"click"}) & env.imported("-m", "cs336", "--help"), "cs336 --help loads click only")
    (env.work / "use.py").write_text(
        "import cs336\n"
        "tokenizer = cs336.train_bpe_from_iterator(['the cat, the hat'], 260, ['<|endoftext|>'])\n"
        "assert tokenizer.decode(tokenizer.encode('the bat')) == 'the bat'\n"
        "tokenizer.save('small.json')\n"
        "assert cs336.Tokenizer.load('small.json') == tokenizer\n"
        "assert tokenizer.encode_numpy('the bat').tolist() == tokenizer.encode('the bat')\n",
        encoding="utf-8",
    )
    expect("torch" not in env.imported("use.py"), "using the tokenizer loads no torch")
    python, command = env.programs / "python", env.programs / "cs336"
    empty, loaded = milliseconds(python, "-c", "pass"), milliseconds(python, "-c", "import cs336")
    print(f"  measured: import cs336 {loaded - empty:.0f} ms, above the {empty:.0f} ms that an empty python takes")
    print(f"  measured: cs336 --help {milliseconds(command, '--help'):.0f} ms")


def milliseconds(*command: str | Path) -> float:
    """The median of several runs."""
    times = []
    for _ in range(11):
        started = time.perf_counter()
        subprocess.run(command, capture_output=True, check=True)
        times.append(time.perf_counter() - started)
    return statistics.median(times) * 1000


def check_tokenizer(env: Environment) -> None:
    """The tokenizer's commands: stories, train, encode, decode, inspect."""
    expect("Usage" in env.cs336("--help").stdout, "cs336 --help answers")
    expect("version" in env.cs336("--version").stdout, "cs336 --version answers")
    told = env.json("stories", "--count", "200", "--output", "stories.txt")
    expect(told["stories"] == 200, "it writes stories")
    named = ["--tokenizer", "tokenizer.json"]
    trained = env.json("tokenizer", "train", "stories.txt", "--vocab-size", "500", "--output", "tokenizer.json")
    expect(trained["vocab_size"] == 500, "it trains a tokenizer")
    encoded = env.json("tokenizer", "encode", "stories.txt", "stories.npy", *named)
    env.cs336("tokenizer", "decode", "stories.npy", *named, "--output", "back.txt")
    same = (env.work / "back.txt").read_bytes() == (env.work / "stories.txt").read_bytes()
    expect(same, f"encode and decode give all {encoded['tokens']:,} tokens back as text")
    described = env.json("tokenizer", "inspect", "tokenizer.json", "stories.txt")
    expect(described["text_tokens"] == encoded["tokens"], "inspect counts the same tokens")
    ids = env.json("tokenizer", "encode", "--text", "Once upon a time", *named)
    text = env.cs336("tokenizer", "decode", "--ids", " ".join(map(str, ids)), *named).stdout
    expect(text == "Once upon a time", "a text on the command line goes there and back")


def check_without_torch(distribution: Path, folder: Path) -> None:
    """The plain installation: the tokenizer works, the rest says what to install."""
    env = Environment(folder, str(distribution), compile_bytecode=True)
    if FREE_THREADED:
        env.python("-c", "import sys, cs336; cs336.Tokenizer, cs336.train_bpe; assert not sys._is_gil_enabled()")
    home = env.python("-c", "import cs336; print(cs336.__file__)").stdout
    expect(str(folder) in home, "the package that is used is the installed one")
    check_imports(env)
    check_tokenizer(env)
    counted = env.json("account", "parameters", "batch")
    expect(counted["parameters"]["rows"][-3]["parameters"] == 1_637_176_000, "it counts the parameters of GPT-2 XL")
    expect(counted["batch"]["rows"][0]["course_batch"] == 3, "and the sequences that fit")
    for words in (["quickstart"], ["train", "--run", "none"], ["eval", "none"], ["generate", "none"]):
        said = env.cs336(*words, status=1).stderr
        expect(
            said == f"error: cs336 {words[0]} needs torch, which is not installed; get it with: {INSTALL}\n", said[:-1]
        )
    for name in ("TransformerLM", "generate", "generate_stream", "train"):
        said = env.python("-c", f"import cs336; cs336.{name}", status=1).stderr.splitlines()[-1]
        expect(f"cs336.{name} needs torch" in said and said.endswith(INSTALL), said)


def check_with_torch(wheel: Path, folder: Path) -> None:
    """The full installation: every command of the laboratory runs on a tiny model."""
    env = Environment(folder, f"{wheel}[torch]", compile_bytecode=False)
    said = env.cs336("quickstart", "--run", "run", "--stories", "300", "--steps", "5", "--vocab-size", "300").stdout
    expect("validation loss" in said, "the quickstart reaches a validation loss")
    for name in ("config.toml", "metrics.jsonl", "loss.png", "samples.txt", "tokenizer.json"):
        expect((env.work / "run" / name).stat().st_size > 0, f"the run folder holds {name}")
    expect(env.json("eval", "run", "--whole")["loss"] > 0, "eval measures a loss")
    changed = ["--training.steps", "2", "--optimizer.warmup-steps", "0"]
    expect(env.json("train", "--config", "run/config.toml", "--run", "again", *changed)["step"] == 2, "train trains")
    expect(env.json("train", "--resume", "again")["step"] == 2, "train goes on with a run")
    text = env.cs336("generate", "run", "--prompt", "One day", "--max-new-tokens", "8", "--seed", "0").stdout
    expect(text.startswith("One day"), "generate goes on with a prompt")
    env.python("-c", "import cs336; assert callable(cs336.generate) and callable(cs336.train); cs336.TransformerLM")


def main() -> None:
    """Checks what a folder holds: a wheel both ways, a source distribution without torch."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dist", type=Path, help="the folder of the wheel, the source distribution, or both")
    parser.add_argument("--without-torch-only", action="store_true", help="skip the large installation")
    arguments = parser.parse_args()
    wheels, sources = (list(arguments.dist.resolve().glob(pattern)) for pattern in ("*.whl", "*.tar.gz"))
    expect(len(wheels) <= 1 and len(sources) <= 1 and wheels + sources != [], "one of a kind to check")
    with tempfile.TemporaryDirectory() as folder:
        for wheel in wheels:
            check_contents(wheel)
            check_without_torch(wheel, Path(folder) / "plain")
            if not arguments.without_torch_only:
                check_with_torch(wheel, Path(folder) / "full")
        for source in sources:
            check_without_torch(source, Path(folder) / "source")
    print(*(path.name for path in wheels + sources), "checked: all works")


if __name__ == "__main__":
    main()
