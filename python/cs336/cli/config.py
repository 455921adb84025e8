"""cs336 config"""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import click

from cs336.cli.show import json_option, text_of
from cs336.errors import ConfigError
from cs336.presets import RUN_PRESETS
from cs336.training.config import preset_sections, sections_to_toml
from cs336.training.keys import Key, keys


@click.command()
@click.argument("names", nargs=-1)
@click.option("--preset", help=f"Print what a known run sets, as TOML: {', '.join(RUN_PRESETS)}.")
@json_option
def command(names: tuple[str, ...], preset: str | None, as_json: bool) -> None:
    """List every key of a run's configuration: its meaning, default and unit.

    NAMES choose sections or keys; without them, all are listed. In a file a key stands below its [section]; as an
    option it is --SECTION.KEY VALUE.

    \b
    Example: cs336 config
             cs336 config optimizer training.dtype
             cs336 config --preset tinystories > run.toml
    """
    if preset is not None:
        if names:
            raise click.UsageError("give either NAMES or --preset")
        _print_preset(preset, as_json=as_json)
        return
    found = [key for key in keys() if not names or any(_is_meant(key, name) for name in names)]
    for name in names:
        if not any(_is_meant(key, name) for key in found):
            raise ConfigError(f"no section and no key is called {name!r}; `cs336 config` lists them all")
    if as_json:
        click.echo(json.dumps([_as_json(key) for key in found], indent=2))
        return
    for section in dict.fromkeys(key.name.partition(".")[0] for key in found):
        _print_section(section, [key for key in found if key.name.startswith(f"{section}.")])


def _is_meant(key: Key, name: str) -> bool:
    plain = name.removeprefix("--").replace("-", "_")
    return key.name == plain or key.name.startswith(f"{plain}.")


def _as_json(key: Key) -> dict[str, Any]:
    required = key.default is dataclasses.MISSING
    return dataclasses.asdict(key) | {"default": None if required else key.default, "required": required}


def _print_preset(name: str, *, as_json: bool) -> None:
    sections = preset_sections(name)
    if as_json:
        click.echo(json.dumps(sections, indent=2))
        return
    preset = RUN_PRESETS[name]
    target = "" if preset.target_loss is None else f"; the course asks for a loss of {preset.target_loss:.2f} or less"
    click.echo(f"# {name}: {preset.about}{target}.\n# What is missing is the section data.\n")
    click.echo(sections_to_toml(sections), nl=False)


def _print_section(section: str, found: list[Key]) -> None:
    from rich.box import SIMPLE
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table("key", "default", "unit", "meaning", title=f"[{section}]".replace("[", r"\["), box=SIMPLE)
    for key in found:
        default = "must be given" if key.default is dataclasses.MISSING else _default(key.default)
        table.add_row(*map(Text, (key.name.partition(".")[2], default, key.unit or "", key.meaning)))
    Console(highlight=False).print(table)


def _default(value: Any) -> str:
    """As TOML writes it, so that it can be copied."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float | int):
        return f"{value:g}" if isinstance(value, float) else str(value)
    if isinstance(value, tuple):
        return str(list(value))
    return text_of(value)
