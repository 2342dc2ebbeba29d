"""`labelfix demo`."""

from __future__ import annotations

import warnings
from pathlib import Path  # typer reads annotations
from typing import Annotated

import typer

from labelfix.cli.base import FormatOption, Quiet, at_work, print_found
from labelfix.cli.output import Format, print_lines
from labelfix.cli.words import about_demo
from labelfix.errors import LabelfixWarning

__all__ = ["demo"]


def demo(
    context: typer.Context,
    *,
    out: Annotated[
        Path, typer.Option("--out", "-o", help="Directory for the images and the run.")
    ] = Path("labelfix-demo"),
    seed: Annotated[
        int, typer.Option(min=0, help="Decides which labels are replaced, and the folds.")
    ] = 0,
    form: FormatOption = Format.table,
    quiet: Quiet = False,
) -> None:
    """Plant errors in handwritten digits, find and correct them, and say what that was worth."""
    from labelfix.demo import run_demo

    with at_work(out, quiet=quiet) as bars, warnings.catch_warnings():
        # that a model suggested the corrections: this reviewer goes by the truth
        warnings.filterwarnings("ignore", ".* suggested the corrections", LabelfixWarning)
        done = run_demo(out, seed=seed, command=context.obj, progress=bars)
    if form is Format.table and not quiet:
        print_lines(*about_demo(done))
    print_found(done.run, None, form, quiet=quiet)
