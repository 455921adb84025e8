"""What needs a package of an extra, as ``cs336[torch]``, and lacks it says so, with the command to get it."""

from __future__ import annotations

from cs336.errors import MissingDependencyError


class needs_extra:  # noqa: N801  reads as contextlib's, which `import cs336` does without
    """Around imports: where one lacks a package, the error names ``what`` asked for it and how to install it.

    Nested, the outermost name is told, which is the one that the user wrote.
    """

    def __init__(self, what: str, extra: str = "torch") -> None:
        self.what, self.extra = what, extra

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        if not isinstance(error, ModuleNotFoundError | MissingDependencyError):
            return
        if not error.name or error.name.partition(".")[0] == "cs336":
            return  # a mistake of our own
        install = f"pip install 'cs336[{self.extra}]'"
        message = f"{self.what} needs {error.name}, which is not installed; get it with: {install}"
        raise MissingDependencyError(message, name=error.name) from error
