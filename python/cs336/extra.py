"""What needs a package of an extra, as ``cs336[torch]``, and lacks it says so, with the command to get it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from cs336.errors import MissingDependencyError


@contextmanager
def needs_extra(what: str, extra: str = "torch") -> Iterator[None]:
    """Around imports: where one lacks a package, the error names ``what`` asked for it and how to install it.

    Nested, the outermost name is told, which is the one that the user wrote.
    """
    try:
        yield
    except (ModuleNotFoundError, MissingDependencyError) as error:
        if not error.name or error.name.partition(".")[0] == "cs336":
            raise  # a mistake of our own
        message = f"{what} needs {error.name}, which is not installed; get it with: pip install 'cs336[{extra}]'"
        raise MissingDependencyError(message, name=error.name) from error
