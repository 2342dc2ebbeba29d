"""`labelfix evaluate`."""

from __future__ import annotations

import sys
import warnings
from pathlib import Path  # noqa: TC003 # typer reads annotations
from typing import Annotated

import typer

from labelfix.cli.base import FormatOption, Quiet  # noqa: TC001 # typer reads annotations
from labelfix.cli.output import Format, print_lines, print_rows
from labelfix.cli.progress import Bars
from labelfix.errors import InputError, LabelfixWarning, Problem

__all__ = ["evaluate"]

READING, TRAINING, SPLITTING = "What to read", "Training", "The split"

_CELLS = {
    "metric": "metric",
    "trained_on": "trained on",
    "tested_on": "tested on",
    "items": "items",
    "value": "share",
    "low": "from",
    "high": "to",
}


def evaluate(
    context: typer.Context,
    run: Annotated[
        Path | None,
        typer.Argument(
            metavar="RUN",
            help="A run with decisions: they make the corrected version.",
            show_default=False,
        ),
    ] = None,
    *,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder to write to.", metavar="FOLDER")],
    original: Annotated[
        Path | None,
        typer.Option(
            metavar="PATH",
            help="Dataset before correction, with --corrected in place of RUN.",
            show_default=False,
            rich_help_panel=READING,
        ),
    ] = None,
    corrected: Annotated[
        Path | None,
        typer.Option(
            metavar="PATH",
            help="The same items after correction.",
            show_default=False,
            rich_help_panel=READING,
        ),
    ] = None,
    allow_removed: Annotated[
        bool,
        typer.Option(
            "--allow-removed",
            help="What the corrected version lacks was removed on purpose.",
            rich_help_panel=READING,
        ),
    ] = False,
    prefer: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="Reviewer whose word counts where they disagree; repeat for more.",
            show_default=False,
            rich_help_panel=READING,
        ),
    ] = None,
    dataset_format: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", help="Format of both.", show_default=False, rich_help_panel=READING
        ),
    ] = None,
    label: Annotated[
        str | None,
        typer.Option(
            metavar="COLUMN", help="Column of labels.", show_default=False, rich_help_panel=READING
        ),
    ] = None,
    image: Annotated[
        str | None,
        typer.Option(
            metavar="COLUMN",
            help="Column of image paths.",
            show_default=False,
            rich_help_panel=READING,
        ),
    ] = None,
    id_column: Annotated[
        str | None,
        typer.Option(
            "--id",
            metavar="COLUMN",
            help="Column of item ids.",
            show_default=False,
            rich_help_panel=READING,
        ),
    ] = None,
    features: Annotated[
        list[str] | None,
        typer.Option(
            metavar="COLUMN",
            help="Column to learn from; repeat for more.",
            show_default=False,
            rich_help_panel=READING,
        ),
    ] = None,
    model: Annotated[
        str,
        typer.Option(metavar="NAME", help="As for find.", rich_help_panel=TRAINING),
    ] = "auto",
    seeds: Annotated[
        int,
        typer.Option(min=1, help="Models trained on each version.", rich_help_panel=TRAINING),
    ] = 5,
    jobs: Annotated[
        int | None,
        typer.Option(
            help="Trainings at once; -1: one a core.", show_default=False, rich_help_panel=TRAINING
        ),
    ] = None,
    parts: Annotated[
        str,
        typer.Option(
            metavar="A:B:C", help="Training, validation, test.", rich_help_panel=SPLITTING
        ),
    ] = "8:1:1",
    groups: Annotated[
        str | None,
        typer.Option(
            metavar="COLUMN",
            help="Items that stay together.",
            show_default=False,
            rich_help_panel=SPLITTING,
        ),
    ] = None,
    sources: Annotated[
        str | None,
        typer.Option(
            metavar="COLUMN",
            help="Where items come from: each source is split apart.",
            show_default=False,
            rich_help_panel=SPLITTING,
        ),
    ] = None,
    split: Annotated[
        str | None,
        typer.Option(
            metavar="COLUMN",
            help="Column that says train, val or test already.",
            show_default=False,
            rich_help_panel=SPLITTING,
        ),
    ] = None,
    resplit: Annotated[
        bool,
        typer.Option(
            "--resplit",
            help="A split for each seed, and how much it moves.",
            rich_help_panel=SPLITTING,
        ),
    ] = False,
    duplicates: Annotated[
        int,
        typer.Option(
            min=-1,
            max=19,
            help="As for find: copies stay together; -1: do not look.",
            rich_help_panel=SPLITTING,
        ),
    ] = 10,
    force: Annotated[
        bool,
        typer.Option(
            "--force",
            help="Go on although test items have copies in training.",
            rich_help_panel=SPLITTING,
        ),
    ] = False,
    seed: Annotated[
        int, typer.Option(min=0, help="Of the split and the models.", rich_help_panel=SPLITTING)
    ] = 0,
    draws: Annotated[int, typer.Option(min=1, help="Bootstrap draws.")] = 1000,
    level: Annotated[float, typer.Option(help="Of the intervals.")] = 0.95,
    form: FormatOption = Format.table,
    quiet: Quiet = False,
) -> None:
    """Train and test on original and corrected labels, and split the gain."""
    from labelfix.report.gain import gain_findings
    from labelfix.run.gain import GainOptions
    from labelfix.run.gain import evaluate as measure

    options = GainOptions(
        run=_text(run),
        original=_text(original),
        corrected=_text(corrected),
        prefer=tuple(prefer or ()),
        dataset_format=dataset_format,
        label=label,
        image=image,
        id=id_column,
        features=None if features is None else tuple(features),
        model=model,
        seeds=seeds,
        resplit=resplit,
        allow_removed=allow_removed,
        draws=draws,
        level=level,
        jobs=jobs,
        parts=_parts(parts),
        groups=groups,
        sources=sources,
        given=split,
        duplicates=None if duplicates < 0 else duplicates,
        force=force,
        seed=seed,
    )
    with Bars(quiet=quiet) as bars, warnings.catch_warnings():
        warnings.simplefilter("ignore", LabelfixWarning)
        gain = measure(options, out, command=context.obj, progress=bars)
    if not quiet:
        print_lines(*(f"Warning: {text}" for text in gain.warnings), to=sys.stderr)
    if form is not Format.table:
        print_rows(gain.effects, form)
    elif not quiet:
        print_rows(gain.cells, form, _CELLS)
        print_lines(*gain_findings(gain), f"All of it: {out / 'gain.md'}")


def _parts(text: str) -> tuple[int, int, int]:
    """Read 8:1:1.

    Examples
    --------
    >>> _parts("8:1:1")
    (8, 1, 1)
    """
    try:
        train, validation, test = (int(one) for one in text.split(":"))
    except ValueError as error:
        expected = "three whole numbers, as 8:1:1"
        raise InputError(Problem("--parts", repr(text), expected)) from error
    return train, validation, test


def _text(path: Path | None) -> str | None:
    return None if path is None else str(path)
