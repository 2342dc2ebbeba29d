"""`labelfix evaluate`, `labelfix stages` and `labelfix simulate`."""

from __future__ import annotations

import contextlib
import sys
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from labelfix.cli.base import FormatOption, Quiet  # noqa: TC001 # typer reads annotations
from labelfix.cli.output import Format, print_lines, print_rows
from labelfix.cli.progress import Bars
from labelfix.errors import InputError, LabelfixWarning, Problem

if TYPE_CHECKING:
    from collections.abc import Iterator

    from labelfix.evaluate.stages import Stages

__all__ = ["evaluate", "simulate", "stages"]

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

_CURVE = {
    "order": "order",
    "decisions": "looked at",
    "mended": "mended",
    "left": "left",
    "spoilt": "spoilt",
    "found_per_100": "found per 100",
    "value": "accuracy",
    "low": "from",
    "high": "to",
    "gain_per_100": "gain per 100",
}


def _read(text: str, *names: str, metavar: str | None = None) -> Any:  # what typer.Option gives
    """Make an option about what to read, which is off unless given."""
    return typer.Option(
        *names, metavar=metavar, help=text, show_default=False, rich_help_panel=READING
    )


def _column(text: str, *names: str, panel: str = SPLITTING) -> Any:  # what typer.Option gives
    return typer.Option(
        *names, metavar="COLUMN", help=text, show_default=False, rich_help_panel=panel
    )


Run = Annotated[
    Path | None,
    typer.Argument(
        metavar="RUN",
        help="A run with decisions: they make the corrected version.",
        show_default=False,
    ),
]
Out = Annotated[Path, typer.Option("--out", "-o", help="Folder to write to.", metavar="FOLDER")]
Original = Annotated[
    Path | None, _read("Dataset before correction, with --corrected.", metavar="PATH")
]
Corrected = Annotated[Path | None, _read("The same items after correction.", metavar="PATH")]
AllowRemoved = Annotated[
    bool, _read("What the corrected version lacks was removed on purpose.", "--allow-removed")
]
Prefer = Annotated[
    list[str] | None,
    _read("Reviewer whose word counts where they disagree; repeat for more.", metavar="NAME"),
]
DatasetFormat = Annotated[str | None, _read("Format of both.", metavar="NAME")]
Images = Annotated[
    Path | None,
    _read("Folder of the images, if boxes or a table do not say where.", metavar="FOLDER"),
]
Label = Annotated[str | None, _column("Column of labels.", panel=READING)]
Image = Annotated[str | None, _column("Column of image paths.", panel=READING)]
Id = Annotated[str | None, _column("Column of item ids.", "--id", panel=READING)]
Features = Annotated[
    list[str] | None, _column("Column to learn from; repeat for more.", panel=READING)
]
Model = Annotated[str, typer.Option(metavar="NAME", help="As for find.", rich_help_panel=TRAINING)]
Seeds = Annotated[
    int, typer.Option(min=1, help="Models trained on each version.", rich_help_panel=TRAINING)
]
Jobs = Annotated[
    int | None,
    typer.Option(
        help="Trainings at once; -1: one a core.", show_default=False, rich_help_panel=TRAINING
    ),
]
Parts = Annotated[
    str,
    typer.Option(metavar="A:B:C", help="Training, validation, test.", rich_help_panel=SPLITTING),
]
Groups = Annotated[str | None, _column("Items that stay together.")]
Sources = Annotated[str | None, _column("Where items come from: each source is split apart.")]
Given = Annotated[str | None, _column("Column that says train, val or test already.", "--split")]
Resplit = Annotated[
    bool,
    typer.Option(
        "--resplit", help="A split for each seed, and how much it moves.", rich_help_panel=SPLITTING
    ),
]
Duplicates = Annotated[
    int,
    typer.Option(
        min=-1,
        max=19,
        help="As for find: copies stay together; -1: do not look.",
        rich_help_panel=SPLITTING,
    ),
]
Force = Annotated[
    bool,
    typer.Option(
        "--force",
        help="Go on although test items have copies in training.",
        rich_help_panel=SPLITTING,
    ),
]
Seed = Annotated[
    int,
    typer.Option(min=0, help="Of the split, the models and the draws.", rich_help_panel=SPLITTING),
]
Draws = Annotated[int, typer.Option(min=1, help="Bootstrap draws.")]
Level = Annotated[float, typer.Option(help="Of the intervals.")]


def evaluate(
    context: typer.Context,
    run: Run = None,
    *,
    out: Out,
    original: Original = None,
    corrected: Corrected = None,
    allow_removed: AllowRemoved = False,
    prefer: Prefer = None,
    dataset_format: DatasetFormat = None,
    images: Images = None,
    label: Label = None,
    image: Image = None,
    id_column: Id = None,
    features: Features = None,
    model: Model = "auto",
    seeds: Seeds = 5,
    jobs: Jobs = None,
    parts: Parts = "8:1:1",
    groups: Groups = None,
    sources: Sources = None,
    split: Given = None,
    resplit: Resplit = False,
    duplicates: Duplicates = 10,
    force: Force = False,
    seed: Seed = 0,
    draws: Draws = 1000,
    level: Level = 0.95,
    form: FormatOption = Format.table,
    quiet: Quiet = False,
) -> None:
    """Train and test on original and corrected labels, and split the gain."""
    from labelfix.report.gain import gain_findings
    from labelfix.run.gain import evaluate as measure

    options = _options(**_without(locals(), "context", "out", "form", "quiet"))
    with _at_work(quiet=quiet) as bars:
        gain = measure(options, out, command=context.obj, progress=bars)
    if not quiet:
        print_lines(*(f"Warning: {text}" for text in gain.warnings), to=sys.stderr)
    if form is not Format.table:
        print_rows(gain.effects, form)
    elif not quiet:
        for metric in gain.metrics[:2]:  # all of them are in cells.csv
            print_rows(gain.cells.filter(metric=metric), form, _CELLS)
        print_lines(*gain_findings(gain), f"All of it: {out / 'gain.md'}")


def stages(
    context: typer.Context,
    run: Run = None,
    *,
    out: Out,
    at: Annotated[
        str, typer.Option(metavar="P,P,…", help="Per cent of the items that are cleaned.")
    ] = "0,25,50,65,75,85,90,100",
    original: Original = None,
    corrected: Corrected = None,
    allow_removed: AllowRemoved = False,
    prefer: Prefer = None,
    dataset_format: DatasetFormat = None,
    images: Images = None,
    label: Label = None,
    image: Image = None,
    id_column: Id = None,
    features: Features = None,
    model: Model = "auto",
    seeds: Seeds = 5,
    jobs: Jobs = None,
    parts: Parts = "8:1:1",
    groups: Groups = None,
    sources: Sources = None,
    split: Given = None,
    resplit: Resplit = False,
    duplicates: Duplicates = 10,
    force: Force = False,
    seed: Seed = 0,
    draws: Draws = 1000,
    level: Level = 0.95,
    form: FormatOption = Format.table,
    quiet: Quiet = False,
) -> None:
    """Train and test while a growing share is cleaned: by queue, as reviewed, and by chance."""
    from labelfix.run.stages import stages as measure

    options = _options(**_without(locals(), "context", "out", "at", "form", "quiet"))
    with _at_work(quiet=quiet) as bars:
        shares = [one / 100 for one in _numbers(at, "--at")]
        found = measure(options, shares, out, command=context.obj, progress=bars)
    _print(found, form, out / "stages.md", quiet=quiet)


def simulate(
    context: typer.Context,
    *,
    out: Out,
    original: Original = None,
    corrected: Corrected = None,
    decisions: Annotated[
        str, typer.Option(metavar="N,N,…", help="Labels that the reviewer looks at.")
    ] = "100,200,300",
    error_rate: Annotated[
        float, typer.Option(min=0, max=1, help="Share of them on which the reviewer errs.")
    ] = 0.0,
    queue_model: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Predicts for the queues. Default: the same as --model.",
            show_default=False,
            rich_help_panel=TRAINING,
        ),
    ] = None,
    allow_removed: AllowRemoved = False,
    dataset_format: DatasetFormat = None,
    images: Images = None,
    label: Label = None,
    image: Image = None,
    id_column: Id = None,
    features: Features = None,
    model: Model = "auto",
    seeds: Seeds = 5,
    jobs: Jobs = None,
    parts: Parts = "8:1:1",
    groups: Groups = None,
    sources: Sources = None,
    split: Given = None,
    duplicates: Duplicates = 10,
    force: Force = False,
    seed: Seed = 0,
    draws: Draws = 1000,
    level: Level = 0.95,
    form: FormatOption = Format.table,
    quiet: Quiet = False,
) -> None:
    """Play a reviewer against known truth: our queue beside cleanlab's and chance."""
    from labelfix.run.stages import simulate as play

    others = ("context", "out", "decisions", "error_rate", "queue_model", "form", "quiet")
    options = _options(**_without(locals(), *others))
    with _at_work(quiet=quiet) as bars:
        found = play(
            options,
            [round(one) for one in _numbers(decisions, "--decisions")],
            out,
            error_rate=error_rate,
            queue_model=queue_model,
            command=context.obj,
            progress=bars,
        )
    _print(found, form, out / "simulation.md", quiet=quiet)


def _without(names: dict[str, Any], *others: str) -> dict[str, Any]:
    """Give the arguments of a command that are options of what to measure."""
    imported = {"gain_findings", "measure", "play", "others"}
    return {name: one for name, one in names.items() if name not in {*others, *imported}}


def _options(**given: Any) -> Any:  # GainOptions, which is dear to import
    from labelfix.run.gain import GainOptions

    for name in ("run", "original", "corrected", "images"):
        given[name] = None if given.get(name) is None else str(given[name])
    given["prefer"] = tuple(given.get("prefer") or ())
    given["features"] = None if given["features"] is None else tuple(given["features"])
    given["parts"] = _parts(given["parts"])
    given["duplicates"] = None if given["duplicates"] < 0 else given["duplicates"]
    given["id"], given["given"] = given.pop("id_column"), given.pop("split")
    return GainOptions(**given)


@contextlib.contextmanager
def _at_work(*, quiet: bool) -> Iterator[Bars]:
    """Draw bars, and keep warnings for later: the result has them."""
    with Bars(quiet=quiet) as bars, warnings.catch_warnings():
        warnings.simplefilter("ignore", LabelfixWarning)
        yield bars


def _print(found: Stages, form: Format, page: Path, *, quiet: bool) -> None:
    if not quiet:
        print_lines(*(f"Warning: {text}" for text in found.warnings), to=sys.stderr)
    if form is not Format.table:
        print_rows(found.curve, form)
    elif not quiet:
        accuracy = found.curve.filter(metric="accuracy", tested_on="corrected")
        rows = accuracy.join(found.counts.drop("share"), on=["order", "decisions"])
        print_rows(rows, form, _CURVE)
        print_lines(f"Tested on corrected labels. All of it: {page}")


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


def _numbers(text: str, option: str) -> list[float]:
    """Read 0,25,100.

    Examples
    --------
    >>> _numbers("0,25,100", "--at")
    [0.0, 25.0, 100.0]
    """
    try:
        return [float(one) for one in text.split(",")]
    except ValueError as error:
        raise InputError(Problem(option, repr(text), "numbers with commas between")) from error
