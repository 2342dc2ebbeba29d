"""`labelfix report`."""

from __future__ import annotations

from pathlib import Path  # noqa: TC003 # typer reads annotations
from typing import Annotated, Any

import typer

from labelfix.cli.base import Quiet, telling
from labelfix.cli.output import print_lines
from labelfix.cli.review import RunArgument  # noqa: TC001 # typer reads annotations

__all__ = ["report"]


def _folder(command: str, default: str) -> Any:  # what typer.Option gives
    return typer.Option(
        metavar="FOLDER",
        help=f"What `labelfix {command}` wrote. Default: {default}, if it is there.",
        show_default=False,
    )


def report(
    run: RunArgument,
    *,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            "-o",
            metavar="FOLDER",
            help="Folder to write to. Default: RUN/report.",
            show_default=False,
        ),
    ] = None,
    gain: Annotated[Path | None, _folder("evaluate", "RUN/gain")] = None,
    sizes: Annotated[Path | None, _folder("evaluate --sizes", "RUN/sizes")] = None,
    stages: Annotated[Path | None, _folder("stages", "RUN/stages")] = None,
    comparison: Annotated[Path | None, _folder("compare", "RUN/comparison")] = None,
    prefer: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="Reviewer whose word counts where they disagree; repeat for more.",
            show_default=False,
        ),
    ] = None,
    root: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR", help="Where the dataset's images are, if they moved.", show_default=False
        ),
    ] = None,
    cards: Annotated[
        int, typer.Option(min=0, help="Corrected items to show, and items where models differ.")
    ] = 24,
    quiet: Quiet = False,
) -> None:
    """Write what was found, reviewed, corrected and gained: one HTML page, and Markdown."""
    from labelfix.review.reporting import MARKDOWN, ReportOptions, make_report

    options = ReportOptions(
        gain=gain,
        sizes=sizes,
        stages=stages,
        comparison=comparison,
        root=root,
        prefer=tuple(prefer or ()),
        cards=cards,
    )
    with telling(quiet=quiet):
        page = make_report(run, out, options)
    if not quiet:
        print_lines(f"The report: {page}", f"To paste: {page.with_name(MARKDOWN)}")
