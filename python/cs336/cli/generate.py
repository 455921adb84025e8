"""cs336 generate"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from cs336.cli.options import PATH
from cs336.cli.show import device_option, json_option, show, which_option
from cs336.errors import ConfigError
from cs336.generation import generate_batch, generate_stream
from cs336.inputs import read_utf8
from cs336.training import load_run


@click.command()
@click.argument("run", type=PATH)
@click.option("--prompt", "prompts", multiple=True, help="The text to go on from; may be given several times.")
@click.option("--prompts-file", type=PATH, help="A UTF-8 text file with a prompt a line.")
@click.option("--batch-size", default=32, show_default=True, help="The most prompts at a time.")
@click.option("--max-new-tokens", default=256, show_default=True, help="The most tokens to add.")
@click.option("--temperature", default=0.8, show_default=True, help="0 always takes the likeliest token.")
@click.option("--top-k", type=int, help="Sample among the k likeliest tokens only.")
@click.option("--top-p", type=float, help="Sample among the likeliest tokens that hold this probability together.")
@click.option("--seed", type=int, help="The same seed gives the same text; prompt number i of several has seed + i.")
@which_option
@click.option("--no-cache", is_flag=True, help="Compute everything anew for each token; slow, the same text.")
@device_option
@json_option
def command(
    run: Path,
    prompts: tuple[str, ...],
    prompts_file: Path | None,
    batch_size: int,
    which: str,
    no_cache: bool,
    device: str,
    as_json: bool,
    **sampling: Any,
) -> None:
    """Let a run's model write text: after one prompt, shown as it comes, or after several at once.

    RUN is the folder of a run, from `cs336 train`, `cs336 quickstart` or `cs336 import`. Without a prompt, the text is
    a new document. With several, each text is followed by an empty line.

    \b
    Example: cs336 generate runs/quickstart-1 --prompt "Once upon a time" --temperature 0.7
             cs336 generate runs/quickstart-1 --prompt "One day" --prompt "A cat" --json
    """
    if prompts_file is not None:
        text = read_utf8(prompts_file).decode("utf-8").replace("\r\n", "\n").removesuffix("\n")
        if not text:
            raise ConfigError(f"{prompts_file} is empty; write a prompt a line")
        prompts += tuple(text.split("\n"))  # not splitlines, which knows ends of lines that a prompt may have inside
    model, tokenizer, _ = load_run(run, which=which, device=device)
    if tokenizer is None:
        raise ConfigError(f"{run} has no tokenizer; train it with --data.tokenizer")
    sampling["use_cache"] = not no_cache
    if len(prompts) < 2 and prompts_file is None:
        prompt = "".join(prompts)
        pieces = generate_stream(model, tokenizer, prompt, **sampling)
        if as_json:
            show({"prompt": prompt, "text": "".join(pieces)}, as_json=True)
            return
        click.echo(prompt, nl=False)
        for piece in pieces:
            click.echo(piece, nl=False)
        click.echo()
        return
    texts = generate_batch(model, tokenizer, prompts, batch_size=batch_size, **sampling)
    if as_json:
        pairs = zip(prompts, texts, strict=True)
        show({"texts": [{"prompt": prompt, "text": text} for prompt, text in pairs]}, as_json=True)
        return
    for prompt, text in zip(prompts, texts, strict=True):
        click.echo(f"{prompt}{text}\n")
