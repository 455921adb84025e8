"""What every formula asks of its arguments."""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable

from cs336.errors import ConfigError

__all__ = ["above_zero", "at_least_one", "one_of", "whole"]


def whole(name: str, value: int, least: int = 0) -> int:
    """The value, if it is a whole number and large enough."""
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise ConfigError(f"{name} must be a whole number of at least {least}, not {value!r}")
    return value


def at_least_one(name: str, value: int) -> int:
    """The value, if it is a whole number of at least 1."""
    return whole(name, value, 1)


def above_zero(name: str, value: float, most: float = math.inf) -> float:
    """The value, if it is a finite number above 0, and not above the most it may be."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or not 0 < value <= most or value == math.inf:
        limit = "" if most == math.inf else f", at most {most:g}"
        raise ConfigError(f"{name} must be a finite number above 0{limit}, not {value!r}")
    return value


def one_of(what: str, value: str, known: Iterable[str]) -> str:
    """The value, if it is known; otherwise the error names the nearest that is, or all."""
    known = list(known)
    if value in known:
        return value
    near = difflib.get_close_matches(str(value), known, n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(known)}"
    raise ConfigError(f"no {what} is called {value!r}; {hint}")
