"""Predictions in a table: Parquet, Arrow, CSV, TSV, or a Polars table.

One row a box, with the columns of `labelfix.schema.BOX_PREDICTIONS`: item_id, label, score, x1, y1,
x2, y2 in pixels; `fold` and `pred_probs` (lists of one number a class) if there are any. A few
other usual names of columns are known.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl

from labelfix.errors import InputError, Problem
from labelfix.formats.detections.found import Found, Images
from labelfix.formats.tablefile import open_table
from labelfix.schema import BOX

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from labelfix.formats.detections.found import Place
    from labelfix.schema import Dataset

__all__ = ["read", "read_frame"]

COLUMNS: Mapping[str, tuple[str, ...]] = {
    "item_id": ("item_id", "image", "file_name", "filename", "path"),
    "label": ("label", "class_name", "class", "category"),
    "score": ("score", "confidence", "conf"),
    "x1": ("x1", "xmin"),
    "y1": ("y1", "ymin"),
    "x2": ("x2", "xmax"),
    "y2": ("y2", "ymax"),
}
"""What each column may be called."""


def read(path: Path, dataset: Dataset) -> Found:
    """Read a table file.

    Raises
    ------
    InputError
        If it is no table, or lacks a column.
    """
    file = open_table(path)
    found = read_frame(file.table, dataset, str(path), file.problem)
    found.problems.extend(file.bad.values())
    return found


def read_frame(
    table: pl.DataFrame, dataset: Dataset, where: str = "predictions", place: Place | None = None
) -> Found:
    """Take predictions from a table.

    Raises
    ------
    InputError
        If it lacks a column.
    """
    named = {
        column: next((name for name in names if name in table.columns), None)
        for column, names in COLUMNS.items()
    }
    problems = [
        Problem(where, f"no column {column!r}", " or ".join(COLUMNS[column]))
        for column, name in named.items()
        if name is None
    ]
    if problems:
        raise InputError(problems)

    def row_place(row: int, found: str, expected: str = "", fix: str = "") -> Problem:
        return Problem(f"{where}, row {row}", found, expected, fix)

    numbers = ["score", *BOX]
    given = table.select(**{column: pl.col(name) for column, name in named.items() if name})
    boxes = given.select(
        image=pl.col("item_id").cast(pl.String),
        key=pl.col("label").cast(pl.String),
        name=pl.col("label").cast(pl.String),
        **{name: pl.col(name).cast(pl.Float64, strict=False) for name in numbers},
    )
    place = place or row_place
    problems = [
        place(row, f"{given[name][row]!r} in column {name!r}", "a number")
        for name in numbers
        for row in (boxes[name].is_null() & given[name].is_not_null()).arg_true()
    ]
    boxes = boxes.with_columns(item=Images(dataset.items["item_id"]).rows(boxes["image"]))
    if "fold" in table.columns:
        boxes = boxes.with_columns(fold=table["fold"].cast(pl.Int32))
    if "pred_probs" in table.columns:
        boxes = boxes.with_columns(
            pred_probs=_vectors(table["pred_probs"], len(dataset.class_names))
        )
    return Found(boxes, place, problems=problems)


def _vectors(column: pl.Series, n_classes: int) -> pl.Series:
    """Turn lists of one number a class into arrays; what they are not stays, to be refused."""
    if isinstance(column.dtype, pl.List) and (column.list.len() == n_classes).all():
        column = column.list.to_array(n_classes)
    if isinstance(column.dtype, pl.Array) and column.dtype.shape == (n_classes,):
        column = column.cast(pl.Array(pl.Float32, n_classes))
    return column
