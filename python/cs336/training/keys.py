"""Every key of a run's configuration with its meaning, read from where it is declared."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import re
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from cs336.training.config import SECTIONS

_UNIT = re.compile(r"^(.*?)(?:\s*\[([a-z ]+)\])?$", re.DOTALL)


@dataclass(frozen=True)
class Key:
    """A key of the configuration."""

    name: str
    """As the command takes it: ``training.batch_size``."""
    kind: str
    """Its type, as Python writes it."""
    default: Any
    """``dataclasses.MISSING`` where it must be given."""
    unit: str | None
    meaning: str


def keys() -> Iterator[Key]:
    """All keys, section by section. Their meanings are the docstrings below the fields, with a unit in brackets."""
    for section, declared in SECTIONS.items():
        meanings = _docstrings(declared)
        for field in dataclasses.fields(declared):
            match = _UNIT.match(" ".join(meanings.get(field.name, "").split()))
            assert match is not None  # It matches everything.
            yield Key(f"{section}.{field.name}", str(field.type), field.default, match[2], match[1])


def _docstrings(declared: type) -> dict[str, str]:
    """The strings that stand below the fields of a class."""
    body = ast.parse(textwrap.dedent(inspect.getsource(declared))).body[0]
    assert isinstance(body, ast.ClassDef)
    return {
        field.target.id: text.value.value
        for field, text in zip(body.body, body.body[1:], strict=False)
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name)
        if isinstance(text, ast.Expr) and isinstance(text.value, ast.Constant) and isinstance(text.value.value, str)
    }
