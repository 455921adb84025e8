"""cs336 generate"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from cs336.cli.options import PATH
from cs336.cli.show import device_option, json_option, show, which_option
from cs336.errors import ConfigError
from cs336.generation import generate_stream
from cs336.training import load_run


@click.command()
@click.argument("run", type=PATH)
@click.option("--prompt", default="", help="The text to go on from; without it, a new document.")
@click.option("--max-new-tokens", default=256, show_default=True, help="The most tokens to add.")
@click.option("--temperature", default=0.8, show_default=True, help="0 always takes the likeliest token.")
@click.option("--top-k", type=int, help="Sample among the k likeliest tokens only.")
@click.option("--top-p", type=float, help="Sample among the likeliest tokens that hold this probability together.")
@click.option("--seed", type=int, help="The same seed gives the same text.")
@which_option
@click.option("--no-cache", is_flag=True, help="Compute everything anew for each token; slow, the same text.")
@device_option
@json_option
def command(
    run: Path,
    prompt: str,
    which: str,
    no_cache: bool,
    device: str,
    as_json: bool,
    **sampling: Any,
) -> None:
    """Let a run's model write text, shown as it comes.

    RUN is the folder of a run, from `cs336 train` or `cs336 quickstart`.

    \b
    Example: cs336 generate runs/quickstart-1 --prompt "Once upon a time" --temperature 0.7
    """
    model, tokenizer, _ = load_run(run, which=which, device=device)
    if tokenizer is None:
        raise ConfigError(f"{run} has no tokenizer; train it with --data.tokenizer")
    pieces = generate_stream(model, tokenizer, prompt, use_cache=not no_cache, **sampling)
    if as_json:
        show({"prompt": prompt, "text": "".join(pieces)}, as_json=True)
        return
    click.echo(prompt, nl=False)
    for piece in pieces:
        click.echo(piece, nl=False)
    click.echo()
