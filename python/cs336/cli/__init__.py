"""The command ``cs336``: one module a command, imported when it is called."""

from __future__ import annotations

import io
import os
import signal
import sys

import click

from cs336.cli.lazy import LazyGroup
from cs336.errors import Cs336Error
from cs336.files import advise

__all__ = ["cli", "main"]

_COMMANDS = {
    "quickstart": ("cs336.cli.quickstart", "From raw text to sample stories, in a few minutes."),
    "data": ("cs336.cli.data", "Download the course's data."),
    "stories": ("cs336.cli.stories", "Write built-in stories."),
    "tokenizer": ("cs336.cli.tokenizer", "Train and use byte-level BPE tokenizers."),
    "text": ("cs336.cli.text", "Look at a text: characters, bytes, pre-tokens, tokens."),
    "account": ("cs336.cli.account", "Count parameters, FLOPs, memory and time of a model."),
    "experiment": ("cs336.cli.experiment", "Repeat the experiments of the write-up, measured."),
    "report": ("cs336.cli.report", "Run every experiment, and bind the answers into a page."),
    "train": ("cs336.cli.train", "Train a language model, or go on with a run."),
    "config": ("cs336.cli.config", "List every key of a run's configuration."),
    "plot": ("cs336.cli.plot", "Draw the losses of runs into one picture."),
    "eval": ("cs336.cli.eval", "Measure how well a run's model predicts text."),
    "generate": ("cs336.cli.generate", "Let a run's model write text."),
    "export": ("cs336.cli.export", "Write a run's model as transformers reads it."),
    "import": ("cs336.cli.import_", "Make a run of a model that transformers has written."),
}

_WORDS = {  # the library's for its arguments in advice, and the command's
    "begin anew, with restart": "begin anew, with --restart",
    'special="token"': "--special token",
    'special="text"': "--special text",
    "raise max_memory": "raise --max-memory",
    "try Tokenizer.from_huggingface": "read it in Python with Tokenizer.from_huggingface, and save it",
}


@click.group(cls=LazyGroup, commands_at=_COMMANDS, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
@click.version_option(package_name="cs336")
def cli(debug: bool) -> None:
    """From raw text to a small language model: tokenizer, training, text.

    Begin with: cs336 quickstart
    """


def main() -> None:
    """Runs the command; every error is one line on standard error and a non-zero exit status."""
    ready_streams()
    stop_on_sigterm()
    if "--debug" in sys.argv:
        # Anywhere on the line, so that it can be added at the end of a command that failed.
        sys.argv = [sys.argv[0], "--debug", *(word for word in sys.argv[1:] if word != "--debug")]
        cli.main(prog_name="cs336", standalone_mode=True)
        return
    try:
        status = cli.main(prog_name="cs336", standalone_mode=False)
        sys.stdout.flush()  # here, so that a reader who has left is noticed here too
        sys.exit(status if isinstance(status, int) else 0)
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        sys.exit(error.exit_code)
    except click.UsageError as error:
        hint = f" (see: {error.ctx.command_path} --help)" if error.ctx is not None else ""
        _fail(error.format_message().rstrip(".") + hint, error.exit_code)
    except click.ClickException as error:
        _fail(error.format_message(), error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        _fail("interrupted", 130)
    except BrokenPipeError:
        # Who read our output has left; nothing more can be said, not even by the interpreter at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except OSError as error:
        _fail(explain(error), 1)
    except (Cs336Error, MemoryError) as error:
        _fail(str(error) or type(error).__name__, 1)
    except Exception as error:
        _fail(f"{type(error).__name__}: {error}; --debug shows where it happened", 1)


def ready_streams() -> None:
    """What closed standard streams are told goes nowhere, and what they can't encode becomes a question mark."""
    while (handle := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass  # it has the number of a closed stream, which the next file would get, and with it what is printed
    os.close(handle)
    for name, number in (("stdout", 1), ("stderr", 2)):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, os.fdopen(number, "w", encoding="utf-8", closefd=False))
        elif isinstance(stream, io.TextIOWrapper) and stream.errors in ("strict", "surrogateescape"):
            stream.reconfigure(errors="replace")


def stop_on_sigterm() -> None:
    """Lets SIGTERM end a command as Ctrl-C does, with all that cleans up on the way; unless it is ignored."""
    if signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
        signal.signal(signal.SIGTERM, signal.default_int_handler)


def explain(error: OSError) -> str:
    """The system's reason with the file it is about and what to do, without Python's numbers and quotes."""
    reason = advise(error)
    if error.filename is None or f" {error.filename}:" in reason:
        return reason
    return f"{error.filename}: {reason}"


def _fail(message: str, status: int) -> None:
    for library, command in _WORDS.items():
        message = message.replace(library, command)
    click.echo(f"error: {' '.join(message.split())}", err=True)
    sys.exit(status)
