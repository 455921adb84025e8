"""cs336 account: what it prints for people and for machines, and what it refuses."""

from __future__ import annotations

import csv
import io
import json
import subprocess
import sys
from pathlib import Path

import pytest

from cs336.accounting import find_device, forward_flops, kv_cache_bytes, training_memory, training_time
from cs336.accounting.tables import TABLES, USUAL
from cs336.config import PRESETS, preset
from cs336.training import load_config

COUNT_CONFIG = """
[model]
preset = "gpt2-small"
num_layers = 3

[data]
train = "train.npy"

[optimizer]
name = "sgd"

[training]
steps = 70
batch_size = 24
grad_accumulation = 2
dtype = "bfloat16"
"""


def test_json_holds_every_usual_table_in_exact_numbers(cs336):
    done = cs336("account", "--json")
    told = json.loads(done.stdout)
    assert list(told) == ["model", "config", *USUAL]
    assert told["model"] == "gpt2-xl"
    assert told["config"]["num_layers"] == 48
    parameters = {row["component"]: row["parameters"] for row in told["parameters"]["rows"]}
    assert parameters["total"] == 1_637_176_000
    assert parameters["with a tied head"] == 1_556_764_800
    assert told["flops"]["rows"][-1]["FLOP"] == 3_506_703_564_800
    first = told["batch"]["rows"][0]
    assert (first["course_a"], first["course_b"], first["course_batch"]) == (15_311_904_768, 26_194_816_000, 3)
    days = {row["type"]: row["days"] for row in told["time"]["rows"]}
    assert days == pytest.approx({"float32": 5115.19, "tf32": 639.40, "bfloat16": 319.70, "float16": 319.70}, abs=0.01)


@pytest.mark.parametrize("name", TABLES)
def test_each_table_in_each_format(cs336, name):
    as_json = json.loads(cs336("account", name, "--json").stdout)[name]
    rows = list(csv.DictReader(io.StringIO(cs336("account", name, "--format", "csv").stdout)))
    assert len(rows) == len(as_json["rows"])
    for row, same in zip(rows, as_json["rows"], strict=True):
        assert list(row.values()) == ["" if value is None else str(value) for value in same.values()]
    markdown = cs336("account", name, "--format", "markdown").stdout
    assert f"### {as_json['title']}\n" in markdown
    widths = {line.count("|") for line in markdown.splitlines() if line.startswith("|")}
    assert len(widths) == 1
    table = cs336("account", name).stdout
    assert as_json["title"] in table
    for row in as_json["rows"]:
        assert str(next(iter(row.values()))).split()[0] in table


ALL_SAVINGS = ["--checkpointing", "--dtype", "bfloat16", "--devices", "8", "--optimizer", "muon"]


@pytest.mark.parametrize(
    "words",
    [["--preset", name] for name in PRESETS]
    + [["--counting", "autograd", *ALL_SAVINGS], ALL_SAVINGS, ["--context-length", "131072"], ["writeup"]],
)
def test_tables_fit_a_narrow_terminal(cs336, terminal, words):
    def printed(width):
        with terminal(width):
            done = cs336("account", *USUAL, "sizes", *words)
        assert done.returncode == 0, done.stderr
        return done.stdout

    wide, narrow = printed(400), printed(80)
    assert max(map(len, narrow.splitlines())) <= 80
    # Nothing is cut: what stands in a line of its own in wide tables stands there still, but broken.
    assert sorted(narrow.replace("─", "").split()) == sorted(wide.replace("─", "").split())


def test_a_configuration_file_gives_model_batch_and_type(cs336, tmp_path):
    (tmp_path / "run.toml").write_text(COUNT_CONFIG, encoding="utf-8")
    config = load_config(tmp_path / "run.toml").model
    told = json.loads(cs336("account", "memory", "training", "time", "--config", "run.toml", "--json").stdout)
    memory = training_memory(config, dtype="bfloat16", optimizer="sgd")
    assert told["memory"]["rows"][-1]["bytes"] == memory.total(12)  # half of the batch at a time
    assert told["training"]["rows"][0]["FLOP"] == 24 * forward_flops(config)
    peak = find_device("a100").peak("bfloat16")
    time = training_time(config, steps=70, batch_size=24, peak_flops=peak)
    assert {row["type"]: row["days"] for row in told["time"]["rows"]}["bfloat16"] == time.days


def test_options_outweigh_the_file(cs336, tmp_path):
    (tmp_path / "run.toml").write_text(COUNT_CONFIG, encoding="utf-8")
    words = ["--config", "run.toml", "--batch-size", "2", "--model.num-layers=5", "--context-length", "64", "--json"]
    told = json.loads(cs336("account", *words, "--grad-accumulation", "1", "training").stdout)
    assert (told["config"]["num_layers"], told["config"]["context_length"]) == (5, 64)
    config = preset("gpt2-small", num_layers=5, context_length=64)
    assert told["training"]["rows"][0]["FLOP"] == 2 * forward_flops(config)


def test_the_configuration_of_a_real_run(cs336, workshop):
    told = json.loads(cs336("account", "parameters", "--config", workshop / "run" / "config.toml", "--json").stdout)
    assert (
        told["parameters"]["rows"][-3]["parameters"]
        == load_config(workshop / "run" / "config.toml").model.num_parameters()
    )


def test_memory_of_one_device_among_several(cs336):
    words = ["account", "memory", "--batch-size", "20", "--devices", "8", "--device-memory", "40GB", "--json"]
    told = json.loads(cs336(*words).stdout)["memory"]
    memory = training_memory(preset("gpt2-xl"), devices=8)
    assert told["rows"][-1]["bytes"] == memory.total(3)  # 20 among 8
    assert told["notes"][-1] == f"Largest batch for 40 GB, each of 8 devices: {memory.largest_batch(40 * 10**9)}"


def test_the_loss_in_chunks(cs336, tmp_path):
    """A run's file has it unless it says otherwise, and an option outweighs both."""
    (tmp_path / "run.toml").write_text(COUNT_CONFIG, encoding="utf-8")
    run = ["--config", "run.toml"]
    for words, loss in (
        ([], "whole"),
        (["--loss", "chunked"], "chunked"),
        (run, "chunked"),
        ([*run, "--loss", "whole"], "whole"),
    ):
        told = json.loads(cs336("account", "memory", "--counting", "autograd", *words, "--json").stdout)["memory"]
        items = [row["what"] for row in told["rows"]]
        assert ("gradient of the output head" in items) == (loss == "chunked"), words


def test_what_does_not_fit_is_said(cs336):
    assert (
        "Largest batch for 1 GB: none, not even one sequence fits"
        in cs336("account", "memory", "--device-memory", "1GB").stdout
    )


@pytest.mark.parametrize(
    ("words", "status", "message"),
    [
        (["nothing"], 2, "no such table: nothing; there are parameters, flops"),
        (["--preset", "gpt2-xll"], 1, "did you mean 'gpt2-xl'"),
        (["--device", "h1000"], 1, "no device is called 'h1000'; did you mean 'h100'?"),
        (["--device", "t4", "--dtype", "bfloat16"], 1, "t4 has no bfloat16; it has float32, float16"),
        (["--dtype", "bf16"], 2, "'bf16' is not one of"),
        (["--loss", "chunks"], 2, "'chunks' is not one of 'whole', 'chunked'"),
        (["--context-length", "0"], 1, "context_length must be a whole number of at least 1, not 0"),
        (["--batch-size", "-3"], 1, "batch_size must be a whole number of at least 1, not -3"),
        (["--grad-accumulation", "0"], 1, "grad_accumulation must be a whole number of at least 1, not 0"),
        (["--steps", "0"], 1, "steps must be a whole number of at least 1, not 0"),
        (["--devices", "0"], 1, "devices must be a whole number of at least 1, not 0"),
        (["--mfu", "2"], 1, "mfu must be a finite number above 0, at most 1, not 2.0"),
        (["--device-memory", "much"], 2, "'much' is no size"),
        (["--device-memory", "0"], 1, "device_memory must be a whole number of at least 1, not 0"),
        (["--model.d-modl", "5"], 1, "a model has no setting 'd_modl' (did you mean 'd_model'?)"),
        (["--model.num-heads", "7"], 1, "num_heads must divide d_model: 1600 is not a multiple of 7"),
        (["--training.steps", "5"], 2, "no such option: --training.steps; settings of the model are --model.KEY VALUE"),
        (["--nonsense"], 2, "no such option: --nonsense"),
        (["--config", "none.toml"], 1, "none.toml: No such file or directory; check the path"),
        (["--config", "none.toml", "--preset", "gpt2-xl"], 2, "give either --preset or --config"),
        (["flops", "batch", "--format", "csv"], 2, "CSV holds one table; name it: flops, batch"),
        (["--chart", "shares.bmp"], 1, "no format of a picture is called 'bmp'; known: png, svg, pdf"),
        (["--chart", "none/shares.png"], 1, "none: no such folder; make it first"),
    ],
)
def test_nonsense_gets_one_clear_line(cs336, tmp_path, words, status, message):
    done = cs336("account", *words)
    assert (done.returncode, done.stdout) == (status, "")
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1
    assert message in done.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("model = 5\n", "run.toml: model must be a section, not 5"),
        ("[data]\n", "run.toml has no section [model]"),
        ("[model\n", "run.toml is not valid TOML"),
        ("[model]\nd_model = 8\n", "run.toml: a model needs vocab_size, context_length, num_layers, num_heads, too"),
        ("[model]\nd_modl = 8\n", "run.toml: no setting of a model is called 'd_modl'; did you mean 'd_model'?"),
        ('[model]\npreset = "gpt3"\n', "run.toml: no preset is called 'gpt3'"),
        ('[model]\npreset = "gpt2-xl"\n[training]\nbatch_size = 1.5\n', "batch_size must be a whole number"),
        ('[model]\npreset = "gpt2-xl"\n[training]\ndtype = "int8"\n', "no dtype is called 'int8'"),
        ('[model]\npreset = "gpt2-xl"\n[optimizer]\nname = "adam"\n', "no optimizer is called 'adam'"),
    ],
)
def test_a_bad_configuration_file_is_named(cs336, tmp_path, text, message):
    (tmp_path / "run.toml").write_text(text, encoding="utf-8")
    done = cs336("account", "--config", "run.toml")
    assert (done.returncode, done.stdout) == (1, "")
    assert message in done.stderr


@pytest.mark.parametrize("kind", ["png", "svg", "pdf"])
def test_the_chart_is_a_picture_of_its_kind(cs336, tmp_path, kind):
    done = cs336("account", "sizes", "--chart", f"shares.{kind}")
    assert done.returncode == 0, done.stderr
    first = {"png": b"\x89PNG", "svg": b"<?xml", "pdf": b"%PDF"}[kind]
    assert (tmp_path / f"shares.{kind}").read_bytes().startswith(first)
    assert [path.name for path in tmp_path.iterdir()] == [f"shares.{kind}"]


def without(packages: str, *words: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    code = (
        "import sys\n"
        "class Absent:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        f"        if name.partition('.')[0] in {packages.split()!r}:\n"
        "            raise ModuleNotFoundError(f'No module named {name!r}', name=name)\n"
        "sys.meta_path.insert(0, Absent())\n"
        f"sys.argv = ['cs336', 'account', *{words!r}]\n"
        "from cs336.cli import main; main()\n"
    )
    return subprocess.run([sys.executable, "-c", code], cwd=cwd, capture_output=True, encoding="utf-8", check=False)


def test_it_needs_nothing_of_the_laboratory(tmp_path):
    (tmp_path / "run.toml").write_text(COUNT_CONFIG, encoding="utf-8")
    extra = "torch pydantic matplotlib safetensors tomli_w numpy"
    done = without(extra, *TABLES, "--config", "run.toml", "--model.d-ff", "100", "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["config"]["d_ff"] == 100


def test_the_chart_says_what_it_lacks(tmp_path):
    done = without("matplotlib", "--chart", "shares.png", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (1, "")
    install = "pip install 'cs336[torch]'"
    assert done.stderr == f"error: the chart needs matplotlib, which is not installed; get it with: {install}\n"
    assert list(tmp_path.iterdir()) == []


def test_the_cache_of_a_batch(cs336):
    told = json.loads(cs336("account", "inference", "--dtype", "bfloat16", "--batch-size", "3", "--json").stdout)
    values = {row["what"]: row["value"] for row in told["inference"]["rows"]}
    assert values["key/value cache"] == kv_cache_bytes(preset("gpt2-xl"), batch_size=3, dtype="bfloat16")
    assert values["cache of a token"] == 2 * 2 * 48 * 1600


def test_a_run_by_name_brings_its_batch_and_steps(cs336, tmp_path):
    (tmp_path / "run.toml").write_text('preset = "tinystories"\n[training]\nsteps = 20000\n', encoding="utf-8")
    by_name = json.loads(cs336("account", "time", "--preset", "tinystories", "--json").stdout)
    in_a_file = json.loads(cs336("account", "time", "--config", "run.toml", "--json").stdout)
    assert by_name["config"] == in_a_file["config"]
    assert by_name["model"] == "tinystories"
    titles = [told["time"]["title"] for told in (by_name, in_a_file)]
    assert [title.partition(" on ")[0] for title in titles] == [
        f"{steps} steps of 128 sequences" for steps in ("10,000", "20,000")
    ]
