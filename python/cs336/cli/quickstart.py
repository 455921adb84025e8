"""cs336 quickstart"""

from __future__ import annotations

import shlex
import shutil
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import click

from cs336.cli.options import PATH
from cs336.cli.show import show
from cs336.cli.train import next_step, train_with_progress
from cs336.data import END_OF_TEXT, stories, write_stories
from cs336.errors import ConfigError, DataError
from cs336.files import whole_file, whole_folder
from cs336.generation import generate_stream
from cs336.inputs import read_utf8
from cs336.tokenizer import Tokenizer, train_bpe
from cs336.training import RunConfig, load_run, make_config

SAMPLES = 3
VALIDATION_SHARE = 0.1
LEAST_TEXT = 20_000
CONTEXT = 128
MOST_SEED = 2**63 - 1  # PyTorch takes 64 bits, and each sample has a seed of its own


@dataclass
class Stopwatch:
    """Seconds by stage."""

    stages: dict[str, float] = field(default_factory=dict)
    _since: float = field(default_factory=time.perf_counter)

    def lap(self, stage: str) -> None:
        """Ends a stage."""
        now = time.perf_counter()
        self.stages[stage] = now - self._since
        self._since = now


@click.command()
@click.option("--data", type=PATH, help="Your own text file; without it, built-in stories.")
@click.option("--run", "run_dir", type=PATH, help="The run folder; default: runs/quickstart-N.")
@click.option(
    "--stories",
    "story_count",
    type=click.IntRange(min=20),
    default=20_000,
    show_default=True,
    help="Built-in stories to train on.",
)
@click.option(
    "--vocab-size", type=click.IntRange(min=257), default=1024, show_default=True, help="Entries of the tokenizer."
)
@click.option("--steps", type=click.IntRange(min=1), default=1000, show_default=True, help="Training steps.")
@click.option(
    "--seed", type=click.IntRange(0, MOST_SEED), default=0, show_default=True, help="Another seed, another run."
)
@click.pass_context
def command(
    ctx: click.Context,
    data: Path | None,
    run_dir: Path | None,
    story_count: int,
    vocab_size: int,
    steps: int,
    seed: int,
) -> None:
    """From raw text to sample stories: tokenizer, token files, model, loss curve, in a few minutes on a laptop.

    \b
    Example: cs336 quickstart
             cs336 quickstart --data book.txt --steps 1000
    """
    folder = run_dir or _free_folder()
    watch = Stopwatch()
    work = _data_folder(folder)
    text = None if data is None else read_enough(data)
    for place in (folder, work):
        if place.exists() and not (place.is_dir() and next(place.iterdir(), None) is None):
            raise ConfigError(f"{place} exists and is not an empty folder; name another with --run")
    if work.exists():
        work.rmdir()
    work.parent.mkdir(parents=True, exist_ok=True)
    with whole_folder(work) as aside:  # so that a text that makes no run leaves nothing in the way of the next
        tokenizer = prepare(text, data, aside, story_count, vocab_size, seed, watch)
    prompt = first_words(work / "valid.txt")

    _title("4. Model")
    config = quickstart_config(work, tokenizer, steps, seed)
    length = "1 step" if steps == 1 else f"{steps:,} steps"
    click.echo(f"{config.model.num_parameters():,} parameters, {length} of {config.training.batch_size} sequences")
    result = train_with_progress(config, folder)
    watch.lap("training")
    if result.interrupted:
        click.echo(next_step(result))
        ctx.exit(130)

    _title("5. Samples")
    samples = write_samples(folder, seed, prompt)
    watch.lap("samples")
    with whole_file(folder / "samples.txt") as aside:
        aside.write_text(samples, encoding="utf-8")

    _title("Done")
    show(
        {f"{stage} (seconds)": seconds for stage, seconds in watch.stages.items()}
        | {
            "validation loss": result.valid_loss,
            "bits per byte": result.bits_per_byte,
            "loss curve": f"{folder}/loss.png",
        },
        as_json=False,
    )
    run, longer = shlex.quote(str(folder)), shlex.quote(f"{folder}-longer")
    config_file = shlex.quote(str(folder / "config.toml"))
    click.echo(
        f"Next:\n"
        f"  cs336 generate {run} --prompt {shlex.quote(prompt or 'Once upon a time')}\n"
        f"  cs336 eval {run} --whole\n"
        f"  cs336 train --config {config_file} --training.steps {steps * 4} --run {longer}"
    )


def prepare(
    text: bytes | None, data: Path | None, work: Path, story_count: int, vocab_size: int, seed: int, watch: Stopwatch
) -> Tokenizer:
    """Writes what a run learns from to a folder: texts, their tokenizer, their token files."""
    train_text, valid_text = work / "train.txt", work / "valid.txt"
    _title("1. Text")
    if text is None:
        write_stories(train_text, count=story_count, seed=seed)
        write_stories(valid_text, count=max(story_count // 20, 20), seed=seed + 1)
        click.echo(f"{story_count:,} built-in stories, one of them:\n\n{next(iter(stories(1, seed)))}")
    else:
        split_text(text, train_text, valid_text)
        click.echo(f"{data}: the last {VALIDATION_SHARE:.0%} of it for validation")
    watch.lap("text")

    _title("2. Tokenizer")
    tokenizer = train_bpe(train_text, vocab_size, [END_OF_TEXT])
    tokenizer.save(work / "tokenizer.json")
    click.echo(f"byte-level BPE with {tokenizer.vocab_size:,} entries")
    watch.lap("tokenizer")

    _title("3. Token files")
    train_stats = tokenizer.encode_file(train_text, work / "train.npy")
    valid_stats = tokenizer.encode_file(valid_text, work / "valid.npy")
    click.echo(f"{train_stats.tokens:,} tokens, {train_stats.bytes_per_token:.2f} bytes each")
    for part, stats in (("training", train_stats), ("validation", valid_stats)):
        if stats.tokens <= CONTEXT:
            raise DataError(
                f"{data} makes {stats.tokens:,} tokens for {part}, and the model sees {CONTEXT} at a time; "
                "give a text that is longer, or repeats itself less"
            )
    watch.lap("token files")
    return tokenizer


def quickstart_config(work: Path, tokenizer: Tokenizer, steps: int, seed: int) -> RunConfig:
    """A model of under a million parameters that two cores train in two to three minutes."""
    return make_config(
        {
            "model": {
                "vocab_size": tokenizer.vocab_size,
                "context_length": CONTEXT,
                "d_model": 128,
                "num_layers": 3,
                "num_heads": 4,
                "value_residual": True,  # keeps names: 2 stories in 40 have one too many, not 13
            },
            "data": {
                "train": str(work.resolve() / "train.npy"),
                "valid": str(work.resolve() / "valid.npy"),
                "tokenizer": str(work.resolve() / "tokenizer.json"),
            },
            "optimizer": {"name": "muon", "lr": 0.01, "muon_lr": 0.015, "warmup_steps": min(30, steps // 5)},
            "training": {
                "steps": steps,
                "batch_size": 8,
                "eval_every": max(steps // 6, 1),
                "checkpoint_every": max(steps // 3, 1),
                "seed": seed,
            },
        }
    )


def read_enough(source: Path) -> bytes:
    """A text that the quickstart can learn from; raises where it is none, before anything is written."""
    text = read_utf8(source)
    if len(text) < LEAST_TEXT:
        raise DataError(
            f"{source} holds {len(text):,} bytes, and the quickstart needs {LEAST_TEXT:,} to learn anything; "
            "give a longer text"
        )
    return text


def split_text(text: bytes, train: Path, valid: Path) -> None:
    """Cuts a text in two: at a document's end near the place, else at a line's end."""
    wanted = int(len(text) * (1 - VALIDATION_SHARE))
    for mark in (END_OF_TEXT.encode() + b"\n", b"\n", b" "):
        cut = text.rfind(mark, 0, wanted)
        if cut > wanted // 2:
            break
    else:
        while text[wanted] & 0xC0 == 0x80:  # never inside a character
            wanted -= 1
        mark, cut = b"", wanted
    for target, part in ((train, text[: cut + len(mark)]), (valid, text[cut + len(mark) :])):
        with whole_file(target) as aside:
            aside.write_bytes(part)


def first_words(text: Path, count: int = 4) -> str:
    """What to begin a sample with: the first words of a text that has no documents, else nothing."""
    start = text.read_bytes().decode("utf-8")
    return "" if END_OF_TEXT in start else " ".join(start[:1000].split()[:count])


def write_samples(folder: Path, seed: int, prompt: str) -> str:
    """Shows samples on the screen as they are written, and returns them."""
    model, tokenizer, _ = load_run(folder)
    assert tokenizer is not None
    texts = []
    for number in range(SAMPLES):
        text = prompt
        click.echo(prompt, nl=False)
        pieces = generate_stream(
            model, tokenizer, prompt, max_new_tokens=220, temperature=0.7, top_p=0.95, seed=seed + number
        )
        for piece in pieces:
            click.echo(piece, nl=False)
            text += piece
        click.echo("\n" + "-" * 20)
        texts.append(text)
    return f"\n{END_OF_TEXT}\n".join(texts)


def _data_folder(run: Path) -> Path:
    """Where the texts and token files of a run stand: beside it, because a run can be deleted without them."""
    if run.name in ("", ".."):
        raise ConfigError(f"{run} is no name for the folder of a run; name a new folder with --run")
    return run.with_name(run.name + "-data")


def _free_folder() -> Path:
    number = 1
    while (folder := Path("runs") / f"quickstart-{number}").exists() or _data_folder(folder).exists():
        number += 1
    return folder


def _title(text: str) -> None:
    click.secho(f"\n{text}", bold=True)
    width = shutil.get_terminal_size().columns
    try:
        line = "─".encode(sys.stdout.encoding).decode(sys.stdout.encoding)
    except UnicodeEncodeError:
        line = "-"
    click.echo(line * min(width, 40))
