"""The group: help that answers at once, and errors of one line."""

from __future__ import annotations

import errno
import json
import subprocess
import sys

import click
import pytest
from click.testing import CliRunner

import cs336.cli
from cs336.cli import cli, explain, main
from cs336.errors import DataError

COMMANDS = ["quickstart", "data", "stories", "tokenizer", "text", "account"]
COMMANDS += ["experiment", "report", "train", "config", "plot", "eval", "generate", "export", "import"]


@pytest.mark.parametrize("words", [[], ["tokenizer"], ["experiment"]])
def test_help_imports_nothing_heavy(words):
    code = (
        "import sys; from cs336.cli import cli\n"
        f"cli.main({[*words, '--help']!r}, prog_name='cs336', standalone_mode=False)\n"
        "heavy = {'torch', 'numpy', 'rich', 'pydantic', 'matplotlib'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_tokenizer_imports_no_torch():
    code = "import sys, cs336, cs336.tokenizer; assert 'torch' not in sys.modules"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_help_names_every_command():
    result = CliRunner().invoke(cli, ["--help"], prog_name="cs336")
    assert result.exit_code == 0
    listed = [line.split()[0] for line in result.output.split("Commands:")[1].splitlines() if line.strip()]
    assert listed == COMMANDS


@pytest.mark.parametrize(
    "words",
    [[name] for name in COMMANDS if name not in ("data", "tokenizer", "experiment")]
    + [["data", "download"]]
    + [["tokenizer", name] for name in ("train", "count", "merge-counts", "encode", "decode", "inspect", "compare")]
    + [["experiment", name] for name in ("tokenizer", "sgd-lr")],
)
def test_help_of_every_command_has_an_example(words):
    result = CliRunner().invoke(cli, [*words, "--help"], prog_name="cs336")
    assert result.exit_code == 0
    assert f"Example: cs336 {' '.join(words)}" in result.output
    assert max(map(len, result.output.splitlines())) <= 100


def run_main(monkeypatch, capsys, raising, *words):
    @click.command()
    def broken():
        raise raising

    monkeypatch.setattr(sys, "argv", ["cs336", *words])
    monkeypatch.setattr(cs336.cli.cli, "get_command", lambda ctx, name: broken)
    with pytest.raises(SystemExit) as stopped:
        main()
    return stopped.value.code, capsys.readouterr().err.removeprefix("\n")  # click ends the line that shows ^C


@pytest.mark.parametrize(
    ("raising", "status", "message"),
    [
        (DataError("the file\nis broken"), 1, "error: the file is broken\n"),
        (
            OSError(errno.ENOSPC, "No space left on device", "out.npy"),
            1,
            "error: out.npy: No space left on device; free some space, or choose another disk\n",
        ),
        (KeyboardInterrupt(), 130, "error: interrupted\n"),
        (RuntimeError("odd"), 1, "error: RuntimeError: odd; --debug shows where it happened\n"),
        (click.UsageError("give a file"), 2, "error: give a file (see: cs336 any --help)\n"),
    ],
)
def test_errors_are_one_line(monkeypatch, capsys, raising, status, message):
    assert run_main(monkeypatch, capsys, raising, "any") == (status, message)


def test_advice_names_options(cs336, one_line_error, tmp_path):
    (tmp_path / "a.txt").write_text("low lower lowest <|endoftext|>", encoding="utf-8")
    tokenizer = ["--tokenizer", "t.json"]
    assert cs336("tokenizer", "train", "a.txt", "--vocab-size", "260", "--output", "t.json").returncode == 0
    assert cs336("tokenizer", "count", "a.txt", "--output", "a.counts").returncode == 0
    assert cs336("tokenizer", "encode", "a.txt", "a.npy", "--shard-tokens", "5", *tokenizer).returncode == 0

    special = one_line_error("tokenizer", "encode", "a.txt", "b.npy", "--special", "error", *tokenizer)
    assert "allow it with --special token, or take it as plain text with --special text" in special
    restart = one_line_error("tokenizer", "encode", "a.txt", "a.npy", "--shard-tokens", "5", *tokenizer)
    assert "begin anew, with --restart" in restart
    counts = ["--from-counts", "a.counts", "--vocab-size", "300", "--output", "u.json"]
    assert "raise --max-memory" in one_line_error("tokenizer", "train", *counts, "--max-memory", "1")
    document = json.loads((tmp_path / "t.json").read_text(encoding="utf-8"))
    del document["model"]["cs336"]
    (tmp_path / "theirs.json").write_text(json.dumps(document), encoding="utf-8")
    assert "in Python with Tokenizer.from_huggingface" in one_line_error("tokenizer", "inspect", "theirs.json")


def test_debug_shows_the_traceback_wherever_it_stands(tmp_path):
    for words in (["--debug", "tokenizer", "inspect", "none.json"], ["tokenizer", "inspect", "none.json", "--debug"]):
        line = [sys.executable, "-m", "cs336", *words]
        done = subprocess.run(line, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode != 0
        assert "Traceback" in done.stderr


def test_a_reader_who_leaves_is_no_error(tmp_path):
    process = subprocess.Popen(
        [sys.executable, "-m", "cs336", "stories", "--count", "5000"],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.readline()
    process.stdout.close()
    assert process.stderr.read() == b""
    process.stderr.close()
    assert process.wait(timeout=30) == 1


def test_an_interrupt_while_importing_is_one(tmp_path):
    (tmp_path / "click.py").write_text("raise KeyboardInterrupt", encoding="utf-8")
    done = subprocess.run([sys.executable, "-m", "cs336"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (130, "error: interrupted\n")


def test_explain_names_the_file_once_and_says_what_to_do():
    reason = "Permission denied; change its permissions, or choose another place"
    assert explain(OSError(errno.EACCES, "Permission denied", "a.txt")) == f"a.txt: {reason}"
    assert (
        explain(OSError(errno.EACCES, "cannot read a.txt: Permission denied", "a.txt"))
        == f"cannot read a.txt: {reason}"
    )
    said = OSError(errno.EISDIR, "this is a folder; name a file in it", "folder")
    assert explain(said) == "folder: this is a folder; name a file in it"
    assert explain(OSError("plain")) == "plain"


def test_without_torch_a_command_says_what_to_install(tmp_path):
    code = (
        "import sys; sys.modules['torch'] = None\n"
        "sys.argv = ['cs336', 'generate', 'run']\n"
        "from cs336.cli import main; main()\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith("error: ")
    assert "pip install 'cs336[torch]'" in done.stderr


@pytest.mark.parametrize(
    ("word", "hint"), [("tokeniser", "did you mean 'tokenizer'?"), ("xyz", "there are quickstart")]
)
def test_a_wrong_command_gets_a_hint(cs336, word, hint):
    done = cs336(word)
    assert (done.returncode, done.stdout) == (2, "")
    assert hint in done.stderr
