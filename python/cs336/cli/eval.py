"""cs336 eval"""

from __future__ import annotations

import dataclasses
from pathlib import Path

import click

from cs336.cli.options import PATH
from cs336.cli.show import device_option, json_option, show, which_option
from cs336.data import open_tokens
from cs336.errors import ConfigError, DataError
from cs336.training import evaluate, load_run
from cs336.training.data import check_ids
from cs336.training.run import choose_device, find_document_end


@click.command()
@click.argument("run", type=PATH)
@click.option("--tokens", "tokens_path", type=PATH, help="A token file; default: the run's own.")
@click.option("--whole", is_flag=True, help="All of the file, not the fixed part that training evaluates on.")
@click.option("--context-length", type=click.IntRange(min=1), help="The most context; default: as in training.")
@which_option
@device_option
@json_option
def command(
    run: Path, tokens_path: Path | None, whole: bool, context_length: int | None, which: str, device: str, as_json: bool
) -> None:
    """Measure how well a run's model predicts text: loss, perplexity, bits per byte.

    RUN is the folder of a run, from `cs336 train` or `cs336 quickstart`.

    \b
    Example: cs336 eval runs/quickstart-1 --whole
    """
    model, tokenizer, config = load_run(run, which=which, device=device)
    path = tokens_path or config.data.valid
    if path is None:
        raise DataError(f"{run} has no validation tokens of its own; name a token file with --tokens")
    file = open_tokens(path)
    if file.info is not None and tokenizer is not None and file.info.vocabulary_hash != tokenizer.hash:
        raise DataError(f"{path} was encoded with another tokenizer than that of {run}; encode the text with that one")
    check_ids(file, config.model, tokenizer)
    trained_at = config.training.eval_context_length or config.model.context_length
    if (context_length or 1) > config.model.context_length:
        raise ConfigError(
            f"--context-length {context_length} is more than the model sees: {config.model.context_length}"
        )
    parts = config.training.grad_accumulation  # as in training
    result = evaluate(
        model,
        file.tokens,
        context_length=context_length or trained_at,
        batch_size=config.training.batch_size // parts,
        batches=None if whole else config.training.eval_batches * parts,
        tokenizer=tokenizer,
        device=choose_device(device),
        document_end=find_document_end(config.data, tokenizer, [file]),
    )
    show(dataclasses.asdict(result), as_json=as_json)
