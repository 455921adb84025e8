"""A group that imports a command when it is called, so that ``--help`` answers at once."""

from __future__ import annotations

import importlib
from typing import Any

import click

from cs336.extra import needs_extra


class LazyGroup(click.Group):
    """Knows of each command its module and one line of help; the module has it under the name ``command``."""

    def __init__(self, *args: Any, commands_at: dict[str, tuple[str, str]], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.commands_at = commands_at

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The names, in the order of use."""
        return list(self.commands_at)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Imports a command."""
        if cmd_name not in self.commands_at:
            return None
        module, _ = self.commands_at[cmd_name]
        with needs_extra(f"cs336 {cmd_name}"):
            command: click.Command = importlib.import_module(module).command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Writes the list of commands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in self.commands_at.items()])
