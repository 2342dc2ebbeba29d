"""The commands. Nothing heavy is imported until one of them runs: `labelfix --help` is fast."""

from __future__ import annotations

import contextlib
import functools
import os
import shlex
import sys
import warnings
from collections.abc import Callable, Sequence  # noqa: TC003 # typer reads annotations
from io import TextIOWrapper
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ParamSpec, TypeVar

import typer

from labelfix._version import __version__
from labelfix.cli.names import CLASSIFIERS, ENGINES, FEATURES, FORMATS, KINDS, RULES, SCORES
from labelfix.cli.output import Format, print_lines, print_rows
from labelfix.cli.progress import Bars
from labelfix.cli.words import about_demo, about_run, where_next
from labelfix.errors import LabelfixError, LabelfixWarning

if TYPE_CHECKING:
    from collections.abc import Iterator

    from labelfix.run import Run

__all__ = ["app", "run"]

P = ParamSpec("P")
R = TypeVar("R")

FINDINGS, BAD_INPUT, INTERRUPTED, BROKEN_PIPE = 1, 2, 130, 141
TOP_OF_FIND, TOP_OF_SHOW = 10, 20

app = typer.Typer(
    name="labelfix",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def run(argv: Sequence[str]) -> int:
    """Parse `argv`, run its command, and give the exit code."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # names that a terminal cannot spell
    try:
        app(args=list(argv), prog_name="labelfix", obj=("labelfix", *argv))
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


def _print_version(wanted: bool) -> None:
    if wanted:
        print_lines(f"labelfix {__version__}")
        raise typer.Exit


@app.callback(epilog="Start with: labelfix demo")
def labelfix(
    *,
    version: Annotated[  # its callback does the work
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version."
        ),
    ] = False,
) -> None:
    """Find label errors in image datasets, fix them, and measure what the fixes were worth."""


FormatOption = Annotated[
    Format, typer.Option("--format", help="How to list things on standard output.")
]
Quiet = Annotated[
    bool, typer.Option("--quiet", "-q", help="Nothing but errors, and what --format asks for.")
]
Top = Annotated[
    int | None,
    typer.Option(
        min=0,
        help="List this many, most suspicious first. Default: a few as a table, else all.",
        show_default=False,
    ),
]
READING = "What to read"
PREDICTING = "Predictions"
SCORING = "Scoring"


@app.command()
@guarded
def find(
    context: typer.Context,
    path: Annotated[
        Path | None,
        typer.Argument(
            metavar="PATH",
            help="Image folder, or table (CSV, TSV, Parquet, Arrow) with a label column.",
            show_default=False,
        ),
    ] = None,
    *,
    out: Annotated[
        Path, typer.Option("--out", "-o", help="Directory to write the run to.", metavar="RUN")
    ],
    labels: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Given labels (.npy, .csv, .parquet), with --pred-probs in place of PATH.",
            show_default=False,
            rich_help_panel=READING,
        ),
    ] = None,
    pred_probs: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="FILE",
            help="Out-of-fold probabilities (.npy, .npz, .csv, .parquet). Repeat for an ensemble.",
            show_default=False,
            rich_help_panel=READING,
        ),
    ] = None,
    dataset_format: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help=f"Format of PATH, instead of recognising it: {', '.join(FORMATS)}.",
            show_default=False,
            rich_help_panel=READING,
        ),
    ] = None,
    label: Annotated[
        str | None,
        typer.Option(
            metavar="COLUMN",
            help="Column of given labels.",
            show_default=False,
            rich_help_panel=READING,
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
            help="Column of item ids; labels and predictions are joined on it.",
            show_default=False,
            rich_help_panel=READING,
        ),
    ] = None,
    groups: Annotated[
        str | None,
        typer.Option(
            metavar="COLUMN",
            help="Items with the same value here are held out together.",
            show_default=False,
            rich_help_panel=READING,
        ),
    ] = None,
    features: Annotated[
        list[str] | None,
        typer.Option(
            metavar="COLUMN",
            help="Column that a model may learn from; repeat for more. Default: all that are left.",
            show_default=False,
            rich_help_panel=READING,
        ),
    ] = None,
    skip_bad: Annotated[
        bool,
        typer.Option("--skip-bad", help="Leave out what cannot be read.", rich_help_panel=READING),
    ] = False,
    model: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            help=f"auto, small-cnn, finetune:ARCHITECTURE, or [FEATURES+]CLASSIFIER with one of "
            f"{', '.join(CLASSIFIERS)}, package.module:factory, "
            f"looking through {', '.join(FEATURES)}.",
            rich_help_panel=PREDICTING,
        ),
    ] = "auto",
    folds: Annotated[
        int, typer.Option(min=2, help="Models trained.", rich_help_panel=PREDICTING)
    ] = 5,
    duplicates: Annotated[
        int,
        typer.Option(
            min=-1,
            max=19,
            help="Images that differ in so many bits of their hash are held out together; "
            "-1: do not look.",
            rich_help_panel=PREDICTING,
        ),
    ] = 10,
    seed: Annotated[
        int, typer.Option(min=0, help="Of the folds and the models.", rich_help_panel=PREDICTING)
    ] = 0,
    jobs: Annotated[
        int | None,
        typer.Option(
            help="Folds at once; -1: one a core.", show_default=False, rich_help_panel=PREDICTING
        ),
    ] = None,
    score: Annotated[
        str,
        typer.Option(
            metavar="NAME", help=f"Label quality: {', '.join(SCORES)}.", rich_help_panel=SCORING
        ),
    ] = "default",
    select: Annotated[
        str,
        typer.Option(
            metavar="NAME", help=f"What to flag: {', '.join(RULES)}.", rich_help_panel=SCORING
        ),
    ] = "default",
    engine: Annotated[
        str, typer.Option(metavar="NAME", help=f"{', '.join(ENGINES)}.", rich_help_panel=SCORING)
    ] = "labelfix",
    fail_above: Annotated[
        int | None,
        typer.Option(
            min=0, metavar="N", help="Exit with 1 if more than N are flagged.", show_default=False
        ),
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace a run on other data.")
    ] = False,
    top: Top = None,
    form: FormatOption = Format.table,
    quiet: Quiet = False,
) -> None:
    """Find label errors, and write a run directory: a ranked queue, and a page to look at."""
    from labelfix.run import FindOptions
    from labelfix.run import find as find_errors

    options = FindOptions(
        path=_text(path),
        labels=_text(labels),
        pred_probs=tuple(str(one) for one in pred_probs or ()),
        dataset_format=dataset_format,
        label=label,
        image=image,
        id=id_column,
        groups=groups,
        features=None if features is None else tuple(features),
        skip_bad=skip_bad,
        model=model,
        folds=folds,
        duplicates=None if duplicates < 0 else duplicates,
        seed=seed,
        jobs=jobs,
        score=score,
        select=select,
        engine=engine,
    )
    with _at_work(out, quiet=quiet) as bars:
        done = find_errors(options, out, overwrite=overwrite, command=context.obj, progress=bars)
    if not quiet:
        print_lines(*(f"Warning: {text}" for text in done.info.warnings), to=sys.stderr)
    _print_found(done, top, form, quiet=quiet)
    if fail_above is not None and done.info.findings.flagged > fail_above:
        raise typer.Exit(FINDINGS)


@app.command()
@guarded
def show(
    run: Annotated[
        Path, typer.Argument(metavar="RUN", help="Directory that `labelfix find` wrote.")
    ],
    *,
    top: Top = None,
    kind: Annotated[
        str | None,
        typer.Option(
            metavar="KIND", help=f"Only this kind: {', '.join(KINDS)}.", show_default=False
        ),
    ] = None,
    given_label: Annotated[
        str | None,
        typer.Option(
            "--class", metavar="NAME", help="Only items with this label.", show_default=False
        ),
    ] = None,
    flagged: Annotated[bool, typer.Option("--flagged", help="Only the recommended set.")] = False,
    form: FormatOption = Format.table,
) -> None:
    """List the queue of a run, most suspicious first."""
    from labelfix.run import open_run

    opened = open_run(run)
    rows = opened.queue(kind=kind, given_label=given_label, flagged=flagged)
    if form is not Format.table:
        print_rows(rows if top is None else rows.head(top), form)
        return
    shown = rows.head(TOP_OF_SHOW if top is None else top)
    print_lines(*about_run(opened))
    print_rows(shown, form)
    print_lines(*where_next(opened, rows.height - shown.height, "--top N shows N of them"))


@app.command()
@guarded
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
    """Plant errors in a folder of handwritten digits, find them, and say how many were found."""
    from labelfix.demo import run_demo

    with _at_work(out, quiet=quiet) as bars:
        done = run_demo(out, seed=seed, command=context.obj, progress=bars)
    if form is Format.table and not quiet:
        print_lines(*about_demo(done))
    _print_found(done.run, None, form, quiet=quiet)


@contextlib.contextmanager
def _at_work(out: Path, *, quiet: bool) -> Iterator[Bars]:
    """Draw bars, and keep labelfix's warnings for later: the record of a run has them."""
    from labelfix.run import is_unfinished

    try:
        with Bars(quiet=quiet) as bars, warnings.catch_warnings():
            warnings.simplefilter("ignore", LabelfixWarning)
            yield bars
    except KeyboardInterrupt:
        if is_unfinished(out):
            print_lines(f"{out} keeps what is done; the same command goes on there.", to=sys.stderr)
        raise


def _print_found(run: Run, top: int | None, form: Format, *, quiet: bool) -> None:
    """Say what was found and list the top of it; in other formats than a table, list alone."""
    if form is not Format.table:
        print_rows(run.issues if top is None else run.issues.head(top), form)
    elif not quiet:
        shown = run.issues.head(TOP_OF_FIND if top is None else top)
        left = run.issues.height - shown.height
        print_lines(*about_run(run))
        print_rows(shown, form)
        print_lines(*where_next(run, left, f"labelfix show {shlex.quote(str(run.path))}"))


def _text(path: Path | None) -> str | None:
    return None if path is None else str(path)
