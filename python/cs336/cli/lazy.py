"""Groups of commands; the lazy one imports a command when it is called, so that ``--help`` answers at once."""

from __future__ import annotations

import difflib
import importlib
from typing import Any

import click

from cs336.extra import needs_extra


class GroupInOrder(click.Group):
    """Lists its commands in the order of their use, in which they were added."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The names."""
        return list(self.commands)


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
        with needs_extra(f"{ctx.command_path} {cmd_name}"):
            command: click.Command = importlib.import_module(module).command
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Finds the command; of a name that is none, says what was meant."""
        if not args[0].startswith("-") and self.get_command(ctx, args[0]) is None:
            near = difflib.get_close_matches(args[0], self.commands_at, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else f"; there are {', '.join(self.commands_at)}"
            ctx.fail(f"no such command: {args[0]}{hint}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Writes the list of commands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in self.commands_at.items()])
