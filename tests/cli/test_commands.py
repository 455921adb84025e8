"""The commands, from stories to text, and what bad input gets."""

from __future__ import annotations

import dataclasses
import json
import os
from pathlib import Path

import numpy as np
import pytest

from cs336.cli.quickstart import first_words, split_text
from cs336.cli.show import show
from cs336.cli.train import parse_overrides

END = "<|endoftext|>"


def test_quickstart_leaves_a_whole_run(workshop):
    run = workshop / "run"
    for name in ("config.toml", "metrics.jsonl", "loss.png", "samples.txt", "tokenizer.json"):
        assert (run / name).stat().st_size > 0, name
    assert list((run / "checkpoints").iterdir())
    printed = (workshop / "printed.txt").read_text(encoding="utf-8")
    for words in ("validation loss", "bits per byte", "cs336 generate run", "cs336 eval run", "cs336 train --config"):
        assert words in printed


def test_quickstart_never_overwrites(workshop, one_line_error):
    assert "not an empty folder" in one_line_error("quickstart", "--run", workshop / "run")


def test_eval_and_generate_work_on_the_run(workshop, cs336):
    run = workshop / "run"
    part, whole = (json.loads(cs336("eval", run, "--json", *more).stdout) for more in ([], ["--whole"]))
    assert part["loss"] > 0
    assert whole["tokens"] == len(np.load(workshop / "run-data" / "valid.npy")) - 1
    words = ["generate", run, "--prompt", "One day", "--max-new-tokens", "8", "--seed", "1"]
    cached, plain = cs336(*words), cs336(*words, "--no-cache")
    assert cached.returncode == 0, cached.stderr
    assert cached.stdout.startswith("One day")
    assert cached.stdout == plain.stdout


def test_train_takes_the_configuration_of_a_run_with_changes(workshop, cs336, tmp_path):
    config = workshop / "run" / "config.toml"
    done = cs336("train", "--config", config, "--run", "again", "--training.steps=2", "--optimizer.warmup-steps", "0",
                 "--training.eval-batches", "1", "--json")  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["step"] == 2
    resumed = cs336("train", "--resume", "again", "--json")
    assert json.loads(resumed.stdout)["valid_loss"] == json.loads(done.stdout)["valid_loss"]
    shown = cs336("train", "--resume", "again").stdout
    assert shown.startswith((tmp_path / "again/config.toml").read_text("utf-8"))


@pytest.fixture
def tokenizer(workshop) -> Path:
    return workshop / "run" / "tokenizer.json"


def test_encode_and_decode_give_the_text_back(cs336, tmp_path, tokenizer):
    text = f"Ein Mädchen sah 🐈.\n{END}\n" * 20
    (tmp_path / "text.txt").write_text(text, encoding="utf-8")
    done = cs336("tokenizer", "encode", "text.txt", "text.npy", "--tokenizer", tokenizer, "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["tokens"] == len(np.load(tmp_path / "text.npy"))
    assert cs336("tokenizer", "decode", "text.npy", "--tokenizer", tokenizer).stdout == text
    cs336("tokenizer", "decode", "text.npy", "--tokenizer", tokenizer, "--output", "back.txt")
    assert (tmp_path / "back.txt").read_text(encoding="utf-8") == text
    ids = cs336("tokenizer", "encode", "--text", "the cat", "--tokenizer", tokenizer).stdout
    assert cs336("tokenizer", "decode", "--ids", ids, "--tokenizer", tokenizer).stdout == "the cat"


def test_train_and_inspect_a_tokenizer(cs336, tmp_path):
    (tmp_path / "text.txt").write_text("low lower widest newest " * 50, encoding="utf-8")
    done = cs336("tokenizer", "train", "text.txt", "--vocab-size", "270", "--output", "t.json", "--json")
    assert done.returncode == 0, done.stderr
    summary = json.loads(done.stdout)
    assert summary["vocab_size"] <= 270
    described = json.loads(cs336("tokenizer", "inspect", "t.json", "text.txt", "--json").stdout)
    assert described["vocab_size"] == summary["vocab_size"]
    assert described["bytes_per_token"] > 1
    assert "bytes per token" in cs336("tokenizer", "inspect", "t.json", "text.txt").stdout


def test_stories_are_the_same_on_the_screen_and_in_a_file(cs336, tmp_path):
    for amount in (["--count", "4"], ["--size", "5kB"]):
        screen = cs336("stories", *amount, "--seed", "3").stdout
        done = cs336("stories", *amount, "--seed", "3", "--output", "s.txt", "--json")
        assert (tmp_path / "s.txt").read_text(encoding="utf-8") == screen
        assert json.loads(done.stdout)["stories"] == screen.count(END)
    assert len(screen.encode()) >= 5000


BAD_TRAINING = {
    "missing file": (["none.txt"], "none.txt"),
    "empty file": (["empty.txt"], "no text"),
    "folder": (["folder"], "folder"),
    "not UTF-8": (["latin1.txt"], "UTF-8"),
    "small vocabulary": (["text.txt", "--vocab-size", "256"], "257"),
    "empty special token": (["text.txt", "--special-token", ""], "special token"),
    "repeated special token": (
        ["text.txt", "--special-token", "<e>", "--special-token", "<e>"],
        "is given twice; give",
    ),
    "bad pattern": (["text.txt", "--pattern", "(a"], "pattern"),
    "unknown pattern": (["text.txt", "--pattern", "gtp2"], "pattern"),
    "negative vocabulary": (["text.txt", "--vocab-size", "-1"], "vocab_size must not be negative"),
    "negative frequency": (["text.txt", "--min-frequency", "-1"], "min_frequency must not be negative"),
    "special token that is no text": (["text.txt", "--special-token", "\udcff"], "special token"),
    "column that is no text": (["text.txt", "--text-column", "\udcff"], "column"),
    "no folder for the output": (["text.txt", "--output", "nowhere/t.json"], "nowhere"),
}


@pytest.mark.parametrize("name", BAD_TRAINING)
def test_bad_input_of_tokenizer_training(name, one_line_error, tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "empty.txt").touch()
    (tmp_path / "text.txt").write_text("some text", encoding="utf-8")
    (tmp_path / "latin1.txt").write_bytes("Mädchen".encode("latin-1"))
    words, expected = BAD_TRAINING[name]
    before = sorted(tmp_path.iterdir())
    line = one_line_error("tokenizer", "train", "--vocab-size", "300", "--output", "t.json", *words)
    assert expected in line
    assert sorted(tmp_path.iterdir()) == before


def test_bad_words_of_the_tokenizers_other_commands(one_line_error, tmp_path, tokenizer):
    (tmp_path / "text.txt").write_text("some text", encoding="utf-8")
    (tmp_path / "empty.txt").touch()
    at = ("--tokenizer", tokenizer)
    assert "would overwrite the source" in one_line_error("tokenizer", "encode", "text.txt", "text.txt", *at)
    assert "whole numbers, and 'x' is none" in one_line_error("tokenizer", "decode", "--ids", "1 x", *at)
    assert "empty.txt holds no text" in one_line_error("tokenizer", "inspect", tokenizer, "empty.txt")


def test_no_permission_is_one_line(cs336, public_path, without_rights):
    (public_path / "closed.txt").write_text("some text", encoding="utf-8")
    (public_path / "closed.txt").chmod(0)
    words = ["tokenizer", "train", "closed.txt", "--vocab-size", "300", "--output", "t.json"]
    status, said = without_rights(lambda: dataclasses.astuple(cs336(*words, cwd=public_path))[::2])
    assert status == 1
    assert said.startswith("error: closed.txt: cannot read: Permission denied; ")
    assert said.count("\n") == 1
    assert [path.name for path in public_path.iterdir()] == ["closed.txt"]


def test_bad_input_of_the_other_tokenizer_commands(one_line_error, tmp_path, tokenizer):
    (tmp_path / "corrupt.json").write_text('{"model": ', encoding="utf-8")
    assert "corrupt.json" in one_line_error("tokenizer", "inspect", "corrupt.json")
    assert "300" in one_line_error("tokenizer", "decode", "--ids", "1 300", "--tokenizer", tokenizer)
    np.save(tmp_path / "bad.npy", np.array([1, 5000], dtype=np.uint16))
    assert "5000" in one_line_error("tokenizer", "decode", "bad.npy", "--tokenizer", tokenizer, "--output", "o.txt")
    assert not [path for path in tmp_path.iterdir() if "o.txt" in path.name]
    assert "INPUT... and OUTPUT" in one_line_error("tokenizer", "encode", "--tokenizer", tokenizer)


def test_bad_input_of_the_laboratory(one_line_error, tmp_path, workshop):
    config = workshop / "run" / "config.toml"
    train = ["train", "--config", config, "--run", "new"]
    assert "d_model" in one_line_error(*train, "--model.d-modle", "64")
    assert "no such option" in one_line_error(*train, "--steps", "3")
    assert "data.train must be a text, not 123; write it in quotes" in one_line_error(*train, "--data.train", "123")
    assert "context" in one_line_error(*train, "--model.context-length", "10000000")
    assert "did you mean 'tinystories'?" in one_line_error("train", "--preset", "tinystory", "--run", "new2")
    assert "the section data is missing" in one_line_error("train", "--preset", "tinystories", "--run", "new2")
    assert "--run" in one_line_error("train", "--config", config)
    assert "no run folder" in one_line_error("train", "--resume", "none")
    assert "no run folder" in one_line_error("eval", "none")
    assert "no run folder" in one_line_error("generate", "none")
    (tmp_path / "short.txt").write_text("too short", encoding="utf-8")
    assert "short.txt" in one_line_error("quickstart", "--data", "short.txt", "--run", "q")
    assert "none.txt" in one_line_error("quickstart", "--data", "none.txt", "--run", "q2")
    assert [path.name for path in tmp_path.iterdir()] == ["short.txt"]


@pytest.mark.parametrize("joint", [f"\n{END}\n", "\n", " ", "", "é"])
def test_split_text_loses_nothing(tmp_path, joint):
    text = joint.join(["wörd" * 10] * 2000)
    train, valid = tmp_path / "train", tmp_path / "valid"
    split_text(text.encode(), train, valid)
    parts = [path.read_text(encoding="utf-8") for path in (train, valid)]
    assert "".join(parts) == text
    assert 0.08 < len(parts[1]) / len(text) < 0.12
    assert (first_words(valid) == "") == (END in joint)


def test_overrides_take_both_spellings():
    assert parse_overrides(["--model.d-model", "64", "--training.steps=5"]) == {
        "model.d-model": "64",
        "training.steps": "5",
    }


def test_tables_show_tokens_that_look_like_markup(capsys):
    show({"token": "[/b] :cat:"}, as_json=False)
    assert "[/b] :cat:" in capsys.readouterr().out


def test_json_has_no_word_for_infinity(capsys):
    show({"loss": float("nan"), "perplexity": float("inf"), "tokens": 3}, as_json=True)
    assert json.loads(capsys.readouterr().out, parse_constant=pytest.fail) == {
        "loss": None,
        "perplexity": None,
        "tokens": 3,
    }


def test_generate_gives_prompt_and_text_to_programs(workshop, cs336):
    words = ["generate", workshop / "run", "--prompt", "One day", "--max-new-tokens", "8", "--seed", "1"]
    parts = json.loads(cs336(*words, "--json").stdout)
    assert parts["prompt"] + parts["text"] + "\n" == cs336(*words).stdout


OUTPUTS = {
    "stories": ["stories", "--output"],
    "train": ["tokenizer", "train", "text.txt", "--vocab-size", "300", "--output"],
    "encode": ["tokenizer", "encode", "text.txt", "--tokenizer", "TOKENIZER"],
    "decode": ["tokenizer", "decode", "--ids", "1 2", "--tokenizer", "TOKENIZER", "--output"],
}


@pytest.mark.parametrize("name", OUTPUTS)
def test_no_output_takes_the_place_of_a_device(name, one_line_error, tmp_path, tokenizer):
    (tmp_path / "text.txt").write_text("some text", encoding="utf-8")
    device = tmp_path / "device"
    os.mkfifo(device)
    words = [str(tokenizer) if word == "TOKENIZER" else word for word in OUTPUTS[name]]
    assert "device" in one_line_error(*words, device)
    assert device.is_fifo()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["device", "text.txt"]
    assert "make it first" in one_line_error(*words, "nowhere/file")


def test_an_output_goes_where_a_link_leads(cs336, tmp_path):
    (tmp_path / "link").symlink_to("file")
    assert cs336("stories", "--count", "1", "--output", "link").returncode == 0
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "file").read_text(encoding="utf-8").count(END) == 1


@pytest.mark.parametrize("text", ["a" * 30_000, "\0" * 30_000, " \n" * 15_000])
def test_a_text_of_too_few_tokens_leaves_nothing(text, one_line_error, tmp_path):
    (tmp_path / "data.txt").write_text(text, encoding="utf-8", newline="")
    (tmp_path / "run-data").mkdir()
    line = one_line_error("quickstart", "--data", "data.txt", "--run", "run")
    assert "data.txt makes" in line
    assert "; give a text that is longer, or repeats itself less" in line
    assert [path.name for path in tmp_path.iterdir()] == ["data.txt"]


@pytest.mark.parametrize("name", [".", "..", "/", "new/.."])
def test_a_run_needs_a_name(name, one_line_error, tmp_path):
    assert "is no name for the folder of a run; name a new folder" in one_line_error("quickstart", "--run", name)
    assert list(tmp_path.iterdir()) == []


def test_numbers_past_64_bits(one_line_error, tmp_path, tokenizer):
    (tmp_path / "text.txt").write_text("some text", encoding="utf-8")
    huge = str(10**30)
    assert huge in one_line_error("quickstart", "--run", "run", "--seed", huge)
    train = ["tokenizer", "train", "text.txt", "--vocab-size", "300", "--output", "t.json"]
    for option in ("--vocab-size", "--min-frequency", "--max-token-length", "--threads"):
        assert huge in one_line_error(*train, option, huge)
    assert "at most 1,024" in one_line_error(*train, "--threads", "20000")
    encode = ["tokenizer", "encode", "text.txt", "ids.npy", "--tokenizer", tokenizer]
    assert "at most 1,024" in one_line_error(*encode, "--threads", "20000")
    assert "at most 1,024" in one_line_error("tokenizer", "count", "text.txt", "--output", "c", "--threads", "20000")
    assert [path.name for path in tmp_path.iterdir()] == ["text.txt"]


def test_only_a_text_can_be_inspected(one_line_error, tmp_path, tokenizer):
    (tmp_path / "latin1.txt").write_bytes("Das Mädchen".encode("latin-1"))
    line = one_line_error("tokenizer", "inspect", tokenizer, "latin1.txt")
    assert "latin1.txt is not UTF-8: invalid byte 0xe4 at byte offset 5; convert" in line
