"""The commands of "TinyStories in full", from docs/training.md, on a small corpus and with a tiny model."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from click.testing import CliRunner
from huggingface_hub import constants
from loopback import REPO, TRAIN, VALID, Hub

from cs336.cli import cli
from cs336.data import stories
from cs336.training.metrics import read_rows

DOCUMENT = Path(__file__).parents[2] / "docs" / "training.md"
TINY = "--model.d-model 16 --model.d-ff 32 --model.num-heads 2 --model.num-layers 1 --model.context-length 16"
SHORT = "--training.steps 3 --training.batch-size 2 --optimizer.warmup-steps 1 --training.device cpu"


def commands() -> list[list[str]]:
    section = DOCUMENT.read_text("utf-8").split("## TinyStories in full")[1].split("\n## ")[0]
    block = "".join(line[4:] + "\n" for line in section.splitlines() if line.startswith("    "))
    lines = re.sub(r"\\\n\s*", "", block).splitlines()
    return [shlex.split(line)[1:] for line in lines if line.startswith("cs336 ")]


def test_the_walk_through(hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, seed in ((TRAIN, 0), (VALID, 1)):
        hub.files[f"{REPO}/{name}"] = "".join(f"{text}\n<|endoftext|>\n" for text in stories(60, seed)).encode()
    template = constants.HUGGINGFACE_CO_URL_TEMPLATE
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template.replace(constants.ENDPOINT, hub.endpoint))
    monkeypatch.setattr(constants, "ENDPOINT", hub.endpoint)
    monkeypatch.chdir(tmp_path)
    done = []
    for words in commands():
        small = shlex.split(f"{TINY} {SHORT}") if words[0] == "train" else []
        result = CliRunner().invoke(cli, [*words, *small], prog_name="cs336", catch_exceptions=False)
        assert result.exit_code == 0, result.output
        done.append((words[0], result.output))
    names = "data tokenizer tokenizer tokenizer train train eval generate"
    assert [name for name, _ in done] == names.split()
    assert "time expected" in done[4][1]
    assert "perplexity" in done[6][1]
    assert "Once upon a time" in done[7][1]
    assert [row["step"] for row in read_rows(tmp_path / "runs" / "tinystories" / "metrics.jsonl")] == [1, 2, 3, 3]
