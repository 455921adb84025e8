"""The command ``cs336``, also as ``python -m cs336``."""

from __future__ import annotations

import sys

__all__ = ["main"]


def main() -> None:
    """Runs the command. Ctrl-C ends it quietly also while what it needs is imported."""
    try:
        from cs336.cli import main as run
    except KeyboardInterrupt:
        print("error: interrupted", file=sys.stderr)
        sys.exit(130)
    run()


if __name__ == "__main__":
    main()
