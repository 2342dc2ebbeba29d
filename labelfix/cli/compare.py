"""`labelfix compare`."""

from __future__ import annotations

from pathlib import Path  # noqa: TC003 # typer reads annotations
from typing import Annotated, Any

import typer

from labelfix.cli.base import FormatOption, Quiet, optional, telling
from labelfix.cli.output import Format, print_lines, print_rows
from labelfix.errors import InputError, Problem

__all__ = ["compare"]

_SHOWN = {
    "model": "model",
    "accuracy": "accuracy",
    "low": "from",
    "high": "to",
    "rank": "rank",
    "rank_low": "from",
    "rank_high": "to",
    "rank_change": "change",
    "beyond_noise": "beyond noise",
}


def compare(
    context: typer.Context,
    *,
    predictions: Annotated[
        list[str] | None,
        optional(
            "Predictions (.npy, .npz, .csv, .parquet), or a quoted pattern; repeat for more.",
            metavar="FILES",
        ),
    ] = None,
    labels: Annotated[
        list[str] | None,
        optional(
            "A version of the labels; the first is the original. Repeat for more.",
            metavar="NAME=FILE",
        ),
    ] = None,
    corrections: Annotated[
        list[str] | None,
        optional(
            "A version that is the original but for the items in this list.", metavar="NAME=FILE"
        ),
    ] = None,
    images: Annotated[
        Path | None,
        optional(
            "Dataset of images whose labels are the original, for --model to classify.",
            metavar="FOLDER",
        ),
    ] = None,
    model: Annotated[
        list[str] | None,
        optional(
            "Also run torchvision:ARCHITECTURE, or torchvision:ARCHITECTURE=CHECKPOINT.",
            metavar="NAME",
        ),
    ] = None,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder to write to.", metavar="FOLDER")],
    drop: Annotated[
        list[str] | None,
        optional(
            "Also score without these items: mislabeled, multi_label, none_of_the_classes, "
            "all. Repeat for more. Default: mislabeled, and all.",
            metavar="KIND",
        ),
    ] = None,
    classes: Annotated[
        Path | None,
        optional("Class names, one a line, in the order of the class numbers.", metavar="FILE"),
    ] = None,
    id_column: Annotated[
        str | None,
        optional("Column of ids of the tables.", "--id", metavar="COLUMN"),
    ] = None,
    draws: Annotated[int, typer.Option(min=0, help="Bootstrap draws; 0: no intervals.")] = 1000,
    level: Annotated[float, typer.Option(help="Of the intervals.")] = 0.95,
    seed: Annotated[int, typer.Option(min=0, help="Of the draws.")] = 0,
    any_class_order: Annotated[
        bool,
        typer.Option(
            "--any-class-order", help="Accept models that fit far better with classes renamed."
        ),
    ] = False,
    form: FormatOption = Format.table,
    quiet: Quiet = False,
) -> None:
    """Score many models under several versions of the labels: accuracy, rank, and what is noise."""
    from labelfix.report.comparison import comparison_findings
    from labelfix.run.comparison import DROP
    from labelfix.run.comparison import compare as compare_files

    with telling(quiet=quiet) as bars:
        found = compare_files(
            predictions or [],
            _named(labels or [], "labels"),
            _named(corrections or [], "corrections"),
            images=images,
            models=model or [],
            out=out,
            class_names=None if classes is None else _lines(classes),
            id=id_column,
            drop=drop or DROP,  # type: ignore[arg-type] # the library checks the names
            draws=draws,
            level=level,
            seed=seed,
            any_class_order=any_class_order,
            command=context.obj,
            progress=bars,
        )
    if form is not Format.table:
        print_rows(found.accuracy, form)
    elif not quiet:
        for (name, top), rows in found.accuracy.group_by("variant", "top", maintain_order=True):
            print_lines(f"{name}, top-{top}: {rows['items'][0]:,} items")
            shown = {one: header for one, header in _SHOWN.items() if not rows[one].null_count()}
            print_rows(rows, form, shown)
        print_lines(*(line.replace("**", "") for line in comparison_findings(found)))
        print_lines(f"All of it: {out / 'comparison.md'}")


def _lines(path: Path) -> list[str]:
    """Read one class name a line."""
    try:
        return path.read_text("utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        found = f"bytes that are no UTF-8 ({error.object[error.start : error.end]!r})"
        raise InputError(Problem(str(path), found, "class names, one a line")) from error


def _named(given: list[str], option: str) -> dict[str, Any]:
    """Split NAME=FILE; all that cannot be split are told at once."""
    pairs = [one.partition("=") for one in given]
    names = [name for name, _, _ in pairs]
    problems = [
        Problem(f"--{option}", repr(text), "NAME=FILE")
        for text, (name, _, path) in zip(given, pairs, strict=True)
        if not (name and path)
    ] + [
        Problem(f"--{option}", f"the name {name!r} twice", "names that differ")
        for name in sorted({name for name in names if names.count(name) > 1})
    ]
    if problems:
        raise InputError(problems)
    return {name: path for name, _, path in pairs}
