"""``python -m cs336`` is the command ``cs336``."""

from cs336.cli import main

if __name__ == "__main__":
    main()
