"""Pictures: drawn without a display, and whole or not there."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from cs336.accounting.checks import one_of
from cs336.extra import needs_extra
from cs336.files import check_target, whole_file

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["FORMATS", "check_picture", "save_picture"]

FORMATS = ("png", "svg", "pdf")


def check_picture(path: Path) -> str:
    """The format that the path's ending asks for. Called before work whose result is drawn."""
    kind = one_of("format of a picture", path.suffix.removeprefix(".").lower(), FORMATS)
    check_target(path)
    with needs_extra("the chart"):
        import matplotlib.figure  # noqa: F401
    return kind


@contextmanager
def save_picture(path: Path, *, width: float, height: float) -> Iterator[Figure]:
    """Gives a figure to draw into, in inches, and saves it."""
    kind = check_picture(path)
    from matplotlib.figure import Figure

    # The object interface needs no display and changes no global state.
    figure = Figure(figsize=(width, height), dpi=150, layout="constrained")
    yield figure
    with whole_file(path) as aside:
        figure.savefig(aside, format=kind)
