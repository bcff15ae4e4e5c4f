"""`python -m coordination`, and the console script."""

import sys

from coordination.cli import main as _main
from coordination.cli import preload

__all__ = ["main", "preload"]


def main(argv: list[str] | None = None) -> int:
    """Parse, run, give the exit code; may be called in a forked child."""
    return _main(argv)


if __name__ == "__main__":
    sys.exit(main())
