"""Models out of a run, and into one."""

from __future__ import annotations

import json

import torch

from cs336.training import load_run

WORDS = ["--prompt", "One day", "--max-new-tokens", "8", "--temperature", "0"]


def test_a_run_goes_out_and_comes_back_and_trains_on(workshop, plain_run, cs336, tmp_path):
    run = plain_run
    done = cs336("export", run, "out", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {
        "folder": "out",
        "architecture": "Llama",
        "parameters": load_run(run, device="cpu")[0].num_parameters(),
        "tokenizer": True,
    }
    done = cs336("import", "out", "runs/back")
    assert done.returncode == 0, done.stderr
    assert "Next: cs336 generate runs/back" in done.stdout
    assert cs336("generate", "runs/back", *WORDS).stdout == cs336("generate", run, *WORDS).stdout
    tokens = workshop / "run-data" / "valid.npy"
    losses = [
        json.loads(cs336("eval", each, "--tokens", tokens, "--whole", "--json").stdout)["loss"]
        for each in ("runs/back", run)
    ]
    assert losses[0] == losses[1]
    resume = ["train", "--resume", "runs/back", "--json"]
    data = ["--accept-changes", "--data.train", workshop / "run-data" / "train.npy", "--training.steps", "2"]
    done = cs336(*resume, *data, "--data.valid", tokens, "--optimizer.lr", "1e-9", "--training.batch-size", "2")
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result["step"] == 2
    assert result["valid_loss"] > 0
    trained, start = (load_run(each, device="cpu")[0].state_dict() for each in (tmp_path / "runs/back", run))
    for name, weight in start.items():  # it began where the other ended
        torch.testing.assert_close(trained[name], weight, rtol=0, atol=1e-6)
    assert json.loads(cs336(*resume).stdout)["step"] == 2


def test_training_an_imported_model_needs_data(plain_run, cs336, one_line_error):
    cs336("export", plain_run, "out")
    cs336("import", "out", "back")
    assert "data.train names no file" in one_line_error("train", "--resume", "back")
    assert "name a token file with --tokens" in one_line_error("eval", "back")


def test_a_checkpoint_or_the_best_weights_go_out(plain_run, cs336, tmp_path):
    run = plain_run
    last = max((run / "checkpoints").iterdir())
    for name, words in {
        "step": [last], "number": [run, "--which", str(int(last.name[5:]))], "best": [run / "best.safetensors"],
        "which": [run, "--which", "best"],
    }.items():  # fmt: skip
        done = cs336("export", words[0], name, *words[1:])
        assert done.returncode == 0, done.stderr
    files = {name: (tmp_path / name / "model.safetensors").read_bytes() for name in ("step", "number", "best", "which")}
    assert files["step"] == files["number"]
    assert files["best"] == files["which"]


def test_what_cannot_go_out_or_in_is_one_line(workshop, plain_run, cs336, one_line_error, tmp_path):
    run = plain_run
    assert "there is no run folder" in one_line_error("export", "nowhere", "out")
    (tmp_path / "full" / "folder").mkdir(parents=True)
    assert "not an empty folder" in one_line_error("export", run, "full")
    assert "there is no folder nowhere" in one_line_error("import", "nowhere", "back")
    assert "not an empty folder" in one_line_error("import", "out", "full")
    config = run / "config.toml"
    shape = ["--model.positions", "learned", "--training.steps=1", "--training.eval-batches=1"]
    assert cs336("train", "--config", config, "--run", "learned", *shape, "--optimizer.warmup-steps=0").returncode == 0
    assert "for Llama, model.positions must be 'rope', not 'learned'" in one_line_error("export", "learned", "out")
    assert "model.value_residual" in one_line_error("export", workshop / "run", "out")
    assert not (tmp_path / "out").exists()


def test_several_prompts_are_what_each_is_alone(workshop, cs336, one_line_error, tmp_path):
    run = workshop / "run"
    settings = ["--max-new-tokens", "12", "--temperature", "0"]
    prompts = ["One day", "", "The cat sat on the mat and"]
    alone = [cs336("generate", run, "--prompt", prompt, *settings).stdout for prompt in prompts]
    (tmp_path / "prompts.txt").write_text("\n".join(prompts[1:]), encoding="utf-8")
    words = ["generate", run, "--prompt", prompts[0], "--prompts-file", "prompts.txt", *settings]
    assert cs336(*words).stdout == "".join(f"{text}\n" for text in alone)
    found = json.loads(cs336(*words, "--batch-size", "2", "--json").stdout)["texts"]
    assert [pair["prompt"] + pair["text"] + "\n" for pair in found] == alone
    (tmp_path / "empty.txt").touch()
    assert "empty.txt is empty" in one_line_error("generate", run, "--prompts-file", "empty.txt")
    assert "batch_size" in one_line_error(*words, "--batch-size", "0")
    assert "no-such" in one_line_error("generate", run, "--prompts-file", "no-such")
