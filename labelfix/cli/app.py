"""The whole application, and every command there is.

Nothing heavy is imported until a command runs: `labelfix --help` is fast.
"""

from __future__ import annotations

import sys
import traceback
from io import TextIOWrapper
from typing import TYPE_CHECKING

from labelfix.cli.apply import apply, export, import_answers
from labelfix.cli.base import app, guarded
from labelfix.cli.compare import compare
from labelfix.cli.demo import demo
from labelfix.cli.evaluate import evaluate, simulate, stages
from labelfix.cli.find import find, show
from labelfix.cli.metadata import filter, slice  # noqa: A004 # as the commands are called
from labelfix.cli.report import report
from labelfix.cli.review import blame, log, redo, status, undo
from labelfix.cli.serve import review

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["app", "run"]

UNFORESEEN = 70
"""Exit code of a fault in labelfix: EX_SOFTWARE of sysexits.h."""

for command in (
    find,
    show,
    review,
    log,
    undo,
    redo,
    blame,
    status,
    apply,
    export,
    evaluate,
    stages,
    simulate,
    compare,
    report,
    filter,
    slice,
    demo,
):  # in the order in which --help lists them
    app.command()(guarded(command))
app.command("import")(guarded(import_answers))  # a name that no function can have


def run(argv: Sequence[str]) -> int:
    """Parse `argv`, run its command, and give the exit code."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # names that a terminal cannot spell
    try:
        app(args=list(argv), prog_name="labelfix", obj=("labelfix", *argv))
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 0
    except Exception:  # a fault of ours: never to be taken for findings
        traceback.print_exc()
        return UNFORESEEN
    return 0
