"""The commands. Nothing heavy is imported until one of them runs: `labelfix --help` is fast."""

from __future__ import annotations

import functools
import os
import sys
import warnings
from collections.abc import Callable, Sequence  # noqa: TC003 # typer reads annotations
from io import TextIOWrapper
from pathlib import Path  # noqa: TC003 # typer reads annotations
from typing import Annotated, ParamSpec, TypeVar

import typer

from labelfix._version import __version__
from labelfix.cli.names import FORMATS, KINDS, MODELS, RULES, SCORES
from labelfix.cli.output import Format, print_lines, print_rows
from labelfix.cli.progress import Bars
from labelfix.errors import LabelfixError, LabelfixWarning

__all__ = ["app", "run"]

P = ParamSpec("P")
R = TypeVar("R")

FINDINGS, BAD_INPUT, INTERRUPTED, BROKEN_PIPE = 1, 2, 130, 141

app = typer.Typer(
    name="labelfix",
    help="Find label errors in image datasets, fix them, and measure what the fixes were worth.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def run(argv: Sequence[str] | None) -> int:
    """Parse `argv`, run its command, and give the exit code."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # names that a terminal cannot spell
    try:
        app(args=None if argv is None else list(argv), prog_name="labelfix")
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 0
    return 0


def guarded(command: Callable[P, R]) -> Callable[P, R]:
    """Turn what is wrong with the input into a message and an exit code, without a traceback."""

    @functools.wraps(command)
    def guard(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            done = command(*args, **kwargs)
            sys.stdout.flush()
        except BrokenPipeError as error:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise typer.Exit(BROKEN_PIPE) from error
        except (LabelfixError, OSError) as error:
            print_lines(f"Error: {error}", to=sys.stderr)
            raise typer.Exit(BAD_INPUT) from error
        except KeyboardInterrupt as error:
            print_lines("Interrupted.", to=sys.stderr)
            raise typer.Exit(INTERRUPTED) from error
        return done

    return guard


def _print_version(wanted: bool) -> None:  # noqa: FBT001 # typer calls it so
    if wanted:
        print_lines(f"labelfix {__version__}")
        raise typer.Exit


@app.callback()
def labelfix(
    *,
    version: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="Say which."),
    ] = False,
) -> None:
    """Find label errors in image datasets, fix them, and measure what the fixes were worth."""
