"""The `labelfix` command: each command parses, calls one library function, and prints."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["main"]


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Parameters
    ----------
    argv
        Arguments without the program's name; None for those of the process.

    Returns
    -------
    int
        0 done; 1 more findings than `--fail-above` allows; 2 bad input or options; 130 interrupted;
        70 a fault in labelfix, with its traceback.

    Examples
    --------
    >>> main(["show", "no-such-run"])
    2
    """
    from labelfix.cli.app import run

    return run(sys.argv[1:] if argv is None else argv)
