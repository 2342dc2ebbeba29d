"""`labelfix filter` and `labelfix slice`."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from labelfix.cli.base import (
    TOP_OF_FIND,
    TOP_OF_SHOW,
    ClassMap,
    FormatOption,
    Quiet,
    Top,
    gathered,
    optional,
    reading_options,
    telling,
)
from labelfix.cli.output import Format, print_lines, print_rows
from labelfix.errors import InputError, Problem
from labelfix.text import count

if TYPE_CHECKING:
    import polars as pl

__all__ = ["filter", "slice"]

FACTS = "Facts"


class Target(StrEnum):
    """What to write."""

    list = "list"
    table = "table"
    folder = "folder"


Template = Annotated[
    str | None,
    optional(
        "Facts in paths, such as '{split}/{label}/{camera}_{}.png'.", metavar="TEXT", panel=FACTS
    ),
]
Join = Annotated[
    list[Path] | None,
    optional(
        "Table of facts (CSV, TSV, JSON, Parquet, Arrow, Excel); repeat for more.",
        metavar="FILE",
        panel=FACTS,
    ),
]
On = Annotated[
    list[str] | None,
    optional(
        "Column of the table with the keys; one for all tables, or one each.",
        metavar="COLUMN",
        panel=FACTS,
    ),
]
Key = Annotated[
    str | None,
    optional(
        "Column of the items with the keys. Default: in item ids, whole or as a part.",
        metavar="COLUMN",
        panel=FACTS,
    ),
]
ImageFacts = Annotated[
    bool,
    typer.Option(
        "--image-facts",
        help="Measure size, aspect, brightness, contrast and sharpness.",
        rich_help_panel=FACTS,
    ),
]
Where = Annotated[
    str | None,
    optional("Only items like \"condition == 'blur' and width > 300\".", metavar="CONDITION"),
]


@gathered(reading_options, "reading", "groups", "features")
def filter(  # noqa: A001 # the command's name
    path: Annotated[Path, typer.Argument(metavar="PATH", help="The dataset.")],
    *,
    reading: Any,  # Reading
    template: Template = None,
    join: Join = None,
    on: On = None,
    key: Key = None,
    image_facts: ImageFacts = False,
    where: Where = None,
    to: Annotated[
        Target | None,
        optional("Write a list, a table or a folder to --out."),
    ] = None,
    out: Annotated[
        Path | None,
        optional("The file or folder to write.", "--out", "-o"),
    ] = None,
    copy: Annotated[
        bool, typer.Option("--copy", help="Copy images in place of hard links.")
    ] = False,
    top: Top = None,
    form: FormatOption = Format.table,
    quiet: Quiet = False,
) -> None:
    """Join facts to the items of a dataset, keep those that fit, and write them out."""
    from labelfix.metadata import export, gather
    from labelfix.run.dataset import read_as

    _refuse_incomplete(to=to, out=out, copy=copy, key=key, join=join)
    with telling(quiet=quiet) as bars:
        kept = gather(
            read_as(path, reading, bars),
            template=template,
            joins=_joins(join, on),
            to=key,
            image_facts=image_facts,
            condition=where,
            progress=bars,
        )
        if to is not None and out is not None:
            export(kept, to.value, out, copy=copy)
    if form is not Format.table:
        print_rows(kept.facts if top is None else kept.facts.head(top), form)
    elif not quiet:
        shown = kept.facts.head(TOP_OF_FIND if top is None else top)
        print_rows(shown, form, {name: name for name in shown.columns})
        written = f", written to {out}" if out else ""
        print_lines(f"{count(len(kept), 'item')}{written}.")


@gathered(reading_options, "reading", "groups", "features")
def slice(  # noqa: A001 # the command's name
    path: Annotated[
        Path, typer.Argument(metavar="PATH", help="A run; or a dataset, with --predictions.")
    ],
    *,
    predictions: Annotated[
        Path | None,
        optional("One model's predictions for the dataset, of classes or boxes.", metavar="FILE"),
    ] = None,
    class_map: ClassMap = None,
    reviewed: Annotated[
        bool,
        typer.Option(
            "--reviewed", help="Of a run: what reviewers found wrong, not what is flagged."
        ),
    ] = False,
    reading: Any,  # Reading
    template: Template = None,
    join: Join = None,
    on: On = None,
    key: Key = None,
    image_facts: ImageFacts = False,
    where: Where = None,
    by: Annotated[
        list[str] | None,
        optional("Fact to slice by; repeat for more. Default: all that can be.", metavar="COLUMN"),
    ] = None,
    bins: Annotated[int, typer.Option(min=2, help="Slices of a fact that is a number.")] = 4,
    most: Annotated[
        int, typer.Option(min=2, help="Without --by: leave out facts of more values than this.")
    ] = 50,
    level: Annotated[float, typer.Option(help="Of the intervals.")] = 0.95,
    draws: Annotated[
        int, typer.Option(min=0, help="Of boxes: bootstrap draws for intervals; 0: none.")
    ] = 200,
    seed: Annotated[int, typer.Option(min=0, help="Of the draws.")] = 0,
    top: Top = None,
    form: FormatOption = Format.table,
    quiet: Quiet = False,
) -> None:
    """Count errors for each value of each fact, worst first."""
    from labelfix.run.slices import slice_errors

    _refuse_incomplete(key=key, join=join)
    with telling(quiet=quiet) as bars:
        table = slice_errors(
            path,
            reading,
            predictions=predictions,
            class_map=class_map,
            reviewed=reviewed,
            template=template,
            joins=_joins(join, on),
            to=key,
            image_facts=image_facts,
            condition=where,
            by=by,
            bins=bins,
            most=most,
            level=level,
            draws=draws,
            seed=seed,
            progress=bars,
        )
    if form is not Format.table:
        print_rows(table if top is None else table.head(top), form)
    elif not quiet:
        shown = table.head(TOP_OF_SHOW if top is None else top)
        print_rows(shown, form, {name: _HEADERS.get(name, name) for name in shown.columns})
        print_lines(*_about_slices(table, shown.height))


_HEADERS = {
    "error_rate": "error rate",
    "low": "from",
    "high": "to",
    "rest": "all others",
    "p_adjusted": "p, adjusted",
}


def _about_slices(table: pl.DataFrame, shown: int) -> list[str]:
    slices, is_rate = table.height, "p_adjusted" in table.columns
    left = slices - shown
    more = [f"And {left:,} more: --top N shows N of them."] if left > 0 else []
    test = f"p compares a slice with all other items, adjusted for {slices} comparisons (Holm). "
    note = "The intervals are not adjusted for how many there are: of twenty, one misses by chance."
    return [*more, test * is_rate + note]


def _refuse_incomplete(
    *,
    key: str | None,
    join: list[Path] | None,
    to: Target | None = None,
    out: Path | None = None,
    copy: bool = False,
) -> None:
    """Refuse options that do nothing without others."""
    problems = []
    if (to is None) != (out is None):
        problems.append(Problem("--to and --out", "one without the other", "both, or neither"))
    if copy and to is not Target.folder:
        problems.append(Problem("--copy", "no folder to copy into", "--to folder with it"))
    if key is not None and not join:
        problems.append(Problem("--key", "no table to join", "--join with it"))
    if problems:
        raise InputError(problems)


def _joins(files: list[Path] | None, on: list[str] | None) -> list[tuple[str | Path, str]]:
    """Pair tables with their key columns."""
    paths, columns = files or [], on or []
    if len(columns) == 1:
        columns *= len(paths) or 1
    if len(columns) != len(paths):
        found = f"{count(len(paths), 'table')} to join and {count(len(columns), 'key column')}"
        raise InputError(Problem("--join and --on", found, "one --on for all, or one each"))
    return [(path, column) for path, column in zip(paths, columns, strict=True)]
