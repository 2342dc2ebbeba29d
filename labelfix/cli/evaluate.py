"""`labelfix evaluate`, `labelfix stages` and `labelfix simulate`."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from labelfix.cli.base import (
    READING,
    FormatOption,
    Quiet,
    at_work,
    gathered,
    optional,
    reading_options,
    text_of,
    to_read,
    warn_again,
)
from labelfix.cli.output import Format, print_lines, print_rows
from labelfix.errors import InputError, Problem

if TYPE_CHECKING:
    from labelfix.evaluate.curves import Stages

__all__ = ["evaluate", "simulate", "stages"]

_Number = TypeVar("_Number", int, float)

TRAINING, SPLITTING, SIZES = "Training", "The split", "Models and sizes"

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
    "value": "{metric}",
    "low": "from",
    "high": "to",
    "gain_per_100": "gain per 100",
    "fluctuation": "loss fluctuates",
}


_column = functools.partial(optional, metavar="COLUMN", panel=SPLITTING)

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
    Path | None, to_read("Dataset before correction, with --corrected.", metavar="PATH")
]
Corrected = Annotated[Path | None, to_read("The same items after correction.", metavar="PATH")]
AllowRemoved = Annotated[
    bool,
    typer.Option(
        "--allow-removed",
        help="What the corrected version lacks was removed on purpose.",
        rich_help_panel=READING,
    ),
]
Prefer = Annotated[
    list[str] | None,
    to_read("Reviewer whose word counts where they disagree; repeat for more.", metavar="NAME"),
]
Model = Annotated[str, typer.Option(metavar="NAME", help="As for find.", rich_help_panel=TRAINING)]
Seeds = Annotated[
    int, typer.Option(min=1, help="Models trained on each version.", rich_help_panel=TRAINING)
]
Jobs = Annotated[
    int | None,
    optional("Trainings at once; -1: one a core.", panel=TRAINING),
]
Parts = Annotated[
    str,
    typer.Option(metavar="A:B:C", help="Training, validation, test.", rich_help_panel=SPLITTING),
]
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


@gathered(reading_options, "reading")
def _options(
    *,
    run: Run = None,
    original: Original = None,
    corrected: Corrected = None,
    allow_removed: AllowRemoved = False,
    prefer: Prefer = None,
    reading: Any,  # Reading
    model: Model = "auto",
    seeds: Seeds = 5,
    jobs: Jobs = None,
    parts: Parts = "8:1:1",
    sources: Sources = None,
    split: Given = None,
    resplit: Resplit = False,
    duplicates: Duplicates = 10,
    force: Force = False,
    seed: Seed = 0,
    draws: Draws = 1000,
    level: Level = 0.95,
) -> Any:  # GainOptions, as below
    """Gather the options that the commands here share."""
    import msgspec

    from labelfix.run.gain import GainOptions

    return GainOptions(
        **msgspec.structs.asdict(reading),
        run=text_of(run),
        original=text_of(original),
        corrected=text_of(corrected),
        allow_removed=allow_removed,
        prefer=tuple(prefer or ()),
        model=model,
        seeds=seeds,
        jobs=jobs,
        parts=_parts(parts),
        sources=sources,
        given=split,
        resplit=resplit,
        duplicates=None if duplicates < 0 else duplicates,
        force=force,
        seed=seed,
        draws=draws,
        level=level,
    )


@gathered(_options, "options")
def evaluate(
    context: typer.Context,
    *,
    options: Any,  # GainOptions, which is dear to import
    out: Out,
    models: Annotated[
        str | None,
        optional(
            "Several models, and the time each takes for an image.",
            metavar="NAME,NAME,…",
            panel=SIZES,
        ),
    ] = None,
    sizes: Annotated[
        str | None,
        optional("Sides of the images in pixels, for each model.", metavar="N,N,…", panel=SIZES),
    ] = None,
    timed: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Test images that are timed. Default: 50.",
            rich_help_panel=SIZES,
            show_default=False,
        ),
    ] = None,
    form: FormatOption = Format.table,
    quiet: Quiet = False,
) -> None:
    """Train and test on original and corrected labels, and split the gain."""
    from labelfix.report.gain import gain_findings
    from labelfix.run.gain import evaluate as measure

    if models is not None or sizes is not None:
        _evaluate_sizes(context.obj, options, models, sizes, timed, out, form, quiet=quiet)
        return
    if timed is not None:
        expected = "--models or --sizes with it: nothing else takes times"
        raise InputError(Problem("--timed", "alone", expected))
    with at_work(out, quiet=quiet) as bars:
        gain = measure(options, out, command=context.obj, progress=bars)
        warn_again(gain.warnings)
    if form is not Format.table:
        print_rows(gain.effects, form)
    elif not quiet:
        for metric in gain.metrics[:2]:  # all of them are in cells.csv
            print_rows(gain.cells.filter(metric=metric), form, _CELLS)
        print_lines(*gain_findings(gain), f"All of it: {out / 'gain.md'}")


def _evaluate_sizes(
    command: tuple[str, ...],
    options: Any,
    models: str | None,
    sizes: str | None,
    timed: int | None,
    out: Path,
    form: Format,
    *,
    quiet: bool,
) -> None:
    """Do what `evaluate` does, for each model and size."""
    import msgspec
    import polars as pl

    from labelfix.evaluate.sizes import models_named
    from labelfix.report.sizes import size_findings, size_rows
    from labelfix.run.sizes import SizeOptions, evaluate_sizes

    given: dict[str, Any] = msgspec.structs.asdict(options)
    if timed is not None:
        given["timed"] = timed
    wanted = SizeOptions(
        **given,
        models=tuple(models_named(models)) if models else (),
        sizes=tuple(_numbers(sizes, "--sizes", int)) if sizes else (),
    )
    with at_work(out, quiet=quiet) as bars:
        found = evaluate_sizes(wanted, out, command=command, progress=bars)
        warn_again(found.warnings)
    marks = found.marks()
    if form is not Format.table:
        print_rows(marks, form)
    elif not quiet:
        head, rows = size_rows(marks)
        print_rows(pl.DataFrame(rows, schema=head, orient="row"), form, {one: one for one in head})
        print_lines(*size_findings(marks, found.details), f"All of it: {out / 'sizes.md'}")


@gathered(_options, "options")
def stages(
    context: typer.Context,
    *,
    options: Any,  # GainOptions, which is dear to import
    out: Out,
    at: Annotated[
        str,
        typer.Option(metavar="P,P,…", help="Per cent of the items (or images) that are cleaned."),
    ] = "0,25,50,65,75,85,90,100",
    form: FormatOption = Format.table,
    quiet: Quiet = False,
) -> None:
    """Train and test while a growing share is cleaned: by queue, as reviewed, and by chance."""
    from labelfix.run.stages import stages as measure

    with at_work(out, quiet=quiet) as bars:
        shares = [one / 100 for one in _numbers(at, "--at", float)]
        found = measure(options, shares, out, command=context.obj, progress=bars)
        warn_again(found.warnings)
    _print(found, form, out / "stages.md", quiet=quiet)


@gathered(_options, "options", "run", "prefer", "resplit")
def simulate(
    context: typer.Context,
    *,
    options: Any,  # GainOptions, which is dear to import
    out: Out,
    decisions: Annotated[
        str, typer.Option(metavar="N,N,…", help="Labels (or rows of the queue) to look at.")
    ] = "100,200,300",
    error_rate: Annotated[
        float, typer.Option(min=0, max=1, help="Share of them on which the reviewer errs.")
    ] = 0.0,
    queue_model: Annotated[
        str | None,
        optional(
            "Predicts for the queues. Default: the same as --model.", metavar="NAME", panel=TRAINING
        ),
    ] = None,
    form: FormatOption = Format.table,
    quiet: Quiet = False,
) -> None:
    """Play a reviewer against known truth: our queue beside a peer's and chance."""
    from labelfix.run.stages import simulate as play

    with at_work(out, quiet=quiet) as bars:
        found = play(
            options,
            _numbers(decisions, "--decisions", int),
            out,
            error_rate=error_rate,
            queue_model=queue_model,
            command=context.obj,
            progress=bars,
        )
        warn_again(found.warnings)
    _print(found, form, out / "simulation.md", quiet=quiet)


def _print(found: Stages, form: Format, page: Path, *, quiet: bool) -> None:
    if form is not Format.table:
        print_rows(found.curve, form)
    elif not quiet:
        stage = ["order", "decisions"]
        rows = (
            found.curve.filter(metric=found.metric, tested_on="corrected")
            .join(found.counts.drop("share"), on=stage, maintain_order="left")
            .join(found.fluctuations.drop("share"), on=stage, how="left", maintain_order="left")
        )
        columns = {name: title.format(metric=found.metric) for name, title in _CURVE.items()}
        if found.fluctuations.is_empty():
            del columns["fluctuation"]
        print_rows(rows, form, columns)
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


def _numbers(text: str, option: str, kind: type[_Number]) -> list[_Number]:
    """Read 0,25,100.

    Examples
    --------
    >>> _numbers("0,25,100", "--sizes", int), _numbers("0,2.5", "--at", float)
    ([0, 25, 100], [0.0, 2.5])
    """
    try:
        return [kind(one) for one in text.split(",")]
    except ValueError as error:
        whole = "whole " if kind is int else ""
        raise InputError(
            Problem(option, repr(text), f"{whole}numbers with commas between")
        ) from error
