"""The command line tool: ``python -m ferrolite``."""

import sys

from . import _ferrolite


def main() -> None:
    """Runs the command line tool on the process's arguments."""
    sys.exit(_ferrolite.cli(["ferrolite", *sys.argv[1:]]))


if __name__ == "__main__":
    main()
