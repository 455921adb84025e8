"""cs336 experiment: what it prints for people and for machines, and what it refuses."""

from __future__ import annotations

import csv
import io
import json
import subprocess
import sys

import pytest

FEW = ["experiment", "sgd-lr", "--later-steps", "20"]


def test_sgd_in_json(cs336):
    told = json.loads(cs336("experiment", "sgd-lr", "--json").stdout)
    assert list(told) == ["seed", "steps", "weights", "rates", "later", "curve"]
    assert {row["rate"]: row["verdict"] for row in told["rates"]["rows"]} == {
        1.0: "decays",
        10.0: "decays",
        100.0: "decays",
        1000.0: "diverges",
    }
    assert [row["rate"] for row in told["later"]["rows"]] == [1000.0]


def test_sgd_of_other_rates_steps_and_seeds(cs336):
    words = [*FEW, "--rate", "5", "--rate", "2", "--steps", "4", "--table", "curve", "--format", "csv"]
    done = cs336(*words)
    rows = list(csv.DictReader(io.StringIO(done.stdout)))
    assert [list(row) for row in rows] == [["step", "5", "2"]] * 5
    assert cs336(*words).stdout == done.stdout
    assert cs336(*words, "--seed", "1").stdout != done.stdout


def test_an_infinite_loss_is_null_in_json(cs336):
    told = json.loads(cs336(*FEW, "--rate", "1e40", "--json").stdout)
    assert told["rates"]["rows"][0]["after_step_10"] is None
    assert told["rates"]["rows"][0]["verdict"] == "overflows"


@pytest.mark.parametrize("kind", ["png", "svg", "pdf"])
def test_the_chart_is_a_picture_of_its_kind(cs336, tmp_path, kind):
    done = cs336(*FEW, "--chart", f"losses.{kind}")
    assert done.returncode == 0, done.stderr
    first = {"png": b"\x89PNG", "svg": b"<?xml", "pdf": b"%PDF"}[kind]
    assert (tmp_path / f"losses.{kind}").read_bytes().startswith(first)
    assert [path.name for path in tmp_path.iterdir()] == [f"losses.{kind}"]


@pytest.mark.parametrize(
    ("words", "status", "message"),
    [
        (["--rate", "-1"], 2, "--rate"),
        (["--steps", "0"], 2, "--steps"),
        (["--format", "csv"], 2, "CSV holds one table; name it: rates, later, curve"),
        (["--chart", "losses.bmp"], 1, "no format of a picture is called 'bmp'; known: png, svg, pdf"),
        (["--chart", "none/losses.png"], 1, "none: no such folder; make it first"),
    ],
)
def test_what_sgd_refuses(cs336, tmp_path, words, status, message):
    done = cs336(*FEW, *words)
    assert (done.returncode, done.stdout) == (status, "")
    assert message in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_what_is_missing_is_said():
    code = (
        "import sys; sys.modules['torch'] = None; sys.argv = ['cs336', 'experiment', 'sgd-lr']\n"
        "from cs336.cli import main; main()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    install = "pip install 'cs336[torch]'"
    assert done.stderr == (
        f"error: cs336 experiment sgd-lr needs torch, which is not installed; get it with: {install}\n"
    )
