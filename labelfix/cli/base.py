"""The application that commands hang on, and what they share: options, bars, errors, exit codes."""

from __future__ import annotations

import contextlib
import functools
import inspect
import os
import shlex
import sys
import warnings
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ParamSpec, TypeVar

import typer

from labelfix._version import __version__
from labelfix.cli.names import FORMATS
from labelfix.cli.output import Format, print_lines, print_queue
from labelfix.cli.progress import Bars
from labelfix.cli.words import about_run, where_next
from labelfix.errors import LabelfixError, LabelfixWarning

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from labelfix.run import Run

__all__ = [
    "FINDINGS",
    "READING",
    "TOP_OF_FIND",
    "TOP_OF_SHOW",
    "ClassNames",
    "DatasetFormat",
    "Features",
    "FormatOption",
    "Groups",
    "Id",
    "Image",
    "Images",
    "Label",
    "Quiet",
    "SkipBad",
    "Top",
    "VocPixels",
    "VocPixelsOption",
    "app",
    "at_work",
    "gathered",
    "guarded",
    "optional",
    "print_found",
    "reading_options",
    "telling",
    "text_of",
    "to_read",
    "warn_again",
]

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


READING = "What to read"


class VocPixels(StrEnum):
    """How VOC files count; see `labelfix.read`."""

    inclusive = "inclusive"
    continuous = "continuous"


def optional(
    text: str, *names: str, metavar: str | None = None, panel: str | None = None
) -> Any:  # what typer.Option gives
    """Make an option that is off unless given."""
    return typer.Option(
        *names, metavar=metavar, help=text, show_default=False, rich_help_panel=panel
    )


to_read = functools.partial(optional, panel=READING)
"""Make one about what to read."""


DatasetFormat = Annotated[
    str | None,
    to_read(f"Format, instead of recognising it: {', '.join(FORMATS)}.", metavar="NAME"),
]
Label = Annotated[str | None, to_read("Column of given labels.", metavar="COLUMN")]
Image = Annotated[str | None, to_read("Column of image paths.", metavar="COLUMN")]
Id = Annotated[
    str | None,
    to_read("Column of item ids; tables are joined on it.", "--id", metavar="COLUMN"),
]
Groups = Annotated[
    str | None,
    to_read("Items with the same value here are held out together.", metavar="COLUMN"),
]
Features = Annotated[
    list[str] | None,
    to_read(
        "Column that a model may learn from; repeat for more. Default: all that are left.",
        metavar="COLUMN",
    ),
]
Images = Annotated[
    Path | None,
    to_read("The folder that paths of images start from, where it is not found.", metavar="FOLDER"),
]
ClassNames = Annotated[
    list[str] | None,
    to_read(
        "A class; repeat for all, in order: of boxes in VOC files (default: those found), or of "
        "the columns of --pred-probs.",
        metavar="NAME",
    ),
]
VocPixelsOption = Annotated[
    VocPixels,
    typer.Option(
        "--voc-pixels",
        help="Whether VOC files count pixels from 1, the last one inside, or measure from 0.",
        rich_help_panel=READING,
    ),
]
SkipBad = Annotated[
    bool,
    typer.Option("--skip-bad", help="Leave out what cannot be read.", rich_help_panel=READING),
]


def gathered(
    gather: Callable[..., Any], into: str, *without: str
) -> Callable[[Callable[..., R]], Callable[..., R]]:
    """Let commands share options: those of `gather`, but those named, stand for one parameter.

    A command that has the parameter `into` is given the options in its place, and gets there what
    `gather` makes of them.
    """

    def extend(command: Callable[..., R]) -> Callable[..., R]:
        own = inspect.signature(command, eval_str=True)
        options = inspect.signature(gather, eval_str=True).parameters
        added = [one for name, one in options.items() if name not in without]

        @functools.wraps(command)
        def extended(**given: Any) -> R:
            made = gather(**{one.name: given.pop(one.name) for one in added})
            return command(**{into: made}, **given)

        each = [added if name == into else [one] for name, one in own.parameters.items()]
        parameters = [one.replace(kind=one.KEYWORD_ONLY) for ones in each for one in ones]
        vars(extended)["__signature__"] = own.replace(parameters=parameters)  # which typer reads
        extended.__annotations__ = {}
        return extended

    return extend


def reading_options(
    *,
    dataset_format: DatasetFormat = None,
    label: Label = None,
    image: Image = None,
    id_column: Id = None,
    groups: Groups = None,
    features: Features = None,
    images: Images = None,
    class_names: ClassNames = None,
    voc_pixels: VocPixelsOption = VocPixels.inclusive,
    skip_bad: SkipBad = False,
) -> Any:  # Reading, which is dear to import
    """Gather the options of how a dataset is read."""
    from labelfix.run.record import Reading

    return Reading(
        dataset_format=dataset_format,
        label=label,
        image=image,
        id=id_column,
        groups=groups,
        features=None if features is None else tuple(features),
        images=text_of(images),
        class_names=None if class_names is None else tuple(class_names),
        voc_pixels=voc_pixels.value,
        skip_bad=skip_bad,
    )


def text_of(path: Path | None) -> str | None:
    """Give a path as records keep it."""
    return None if path is None else str(path)


ClassMap = Annotated[
    list[str] | None,
    to_read(
        "The dataset's class for each class of the predictions, where they differ: JSON, YAML, "
        "CSV, or NAME=NAME; NAME= leaves a class out. Repeat for more.",
        metavar="FILE",
    ),
]

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
        help="List this many, from the top. Default: a few as a table, else all.",
        show_default=False,
    ),
]


@contextlib.contextmanager
def at_work(out: Path, *, quiet: bool) -> Iterator[Bars]:
    """As `telling`; whoever interrupts is told that what is done stays."""
    try:
        with telling(quiet=quiet) as bars:
            yield bars
    except KeyboardInterrupt:
        from labelfix.run import is_unfinished
        from labelfix.run.gain import STORE

        if is_unfinished(out) or (out / STORE).is_dir():
            print_lines(f"{out} keeps what is done; the same command goes on there.", to=sys.stderr)
        raise


@contextlib.contextmanager
def telling(*, quiet: bool = False) -> Iterator[Bars]:
    """Draw bars, and say labelfix's warnings when they are gone, each once, come what may.

    Those of others come out at once, and as they are.
    """
    told: dict[str, None] = {}
    seen = set()
    with warnings.catch_warnings():
        warnings.simplefilter("always", LabelfixWarning)
        others = warnings.showwarning

        def show(message: Any, category: type[Warning], *rest: Any, **more: Any) -> None:
            if issubclass(category, LabelfixWarning):
                told[str(message)] = None
            elif not quiet and (what := (str(message), category, *rest[:2])) not in seen:
                seen.add(what)
                others(message, category, *rest, **more)

        warnings.showwarning = show
        try:
            with Bars(quiet=quiet) as bars:
                yield bars
        finally:
            if not quiet:
                print_lines(*(f"Warning: {text}" for text in told), to=sys.stderr)


def warn_again(texts: Iterable[str]) -> None:
    """Say what the record of a result has to say, if it was not said on the way."""
    for text in texts:
        warnings.warn(text, LabelfixWarning, stacklevel=2)


def print_found(run: Run, top: int | None, form: Format, *, quiet: bool) -> None:
    """Say what was found and list the top of it; in other formats than a table, list alone."""
    if form is not Format.table:
        print_queue(run.issues if top is None else run.issues.head(top), form)
    elif not quiet:
        shown = run.issues.head(TOP_OF_FIND if top is None else top)
        left = run.issues.height - shown.height
        print_lines(*about_run(run))
        print_queue(shown, form)
        print_lines(*where_next(run, left, f"labelfix show {shlex.quote(str(run.path))}"))
