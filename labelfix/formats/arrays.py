"""Labels and ready-made probabilities from files: .npy and .npz arrays, or tables.

Arrays are in row order. Where the tables have an id column, rows are joined on it. Files that hold
pickled objects are refused: to load one is to run whatever its author put there.
"""

from __future__ import annotations

import zipfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from labelfix.errors import InputError, Problem
from labelfix.formats.table import ID_NAMES, LABEL_NAMES, load_table
from labelfix.formats.table import recognises as is_table
from labelfix.schema import Dataset, Predictions
from labelfix.score.inputs import check_labels_and_pred_probs

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

__all__ = ["arrays_dataset", "read_arrays"]


def read_arrays(
    labels: str | Path,
    pred_probs: Sequence[str | Path],
    *,
    ids: str | None = None,
    label: str | None = None,
) -> tuple[Dataset, list[Predictions]]:
    """Read given labels and the predictions of one or several models.

    Parameters
    ----------
    labels
        .npy, .npz (one array, or one called labels), or a CSV, TSV, Parquet or Arrow table.
    pred_probs
        One file a model: .npy (mapped into memory, not read), .npz (one array, or one called
        pred_probs), or a table with a column for each class.
    ids
        Column of the tables that names their rows. None: item_id or id where all tables have it,
        else row order.
    label
        Column of labels; None for the only one, or one of a usual name.

    Returns
    -------
    Dataset
        One item a label; without ids, `item_id` is the row number, from 0.
    list of Predictions
        One a model, rows in item order, columns in the order of `Dataset.class_names`.

    Raises
    ------
    InputError
        Naming all that is wrong: files, columns, ids that do not join, labels and probabilities.
    """
    key = ids or _common_id([Path(labels), *map(Path, pred_probs)])
    given = _read(Path(labels), key, "labels")
    column = _label_column(given, label)
    dataset: Dataset | None = None
    predictions = []
    for path in map(Path, pred_probs):
        probabilities = _aligned(given, _read(path, key, "pred_probs"))
        names = None if dataset is None else dataset.class_names
        codes, matrix, class_names = check_labels_and_pred_probs(column, probabilities, names)
        if dataset is None:
            dataset = arrays_dataset(codes, class_names, given.ids)
            dataset = replace(dataset, root=given.path.parent)
        predictions.append(
            Predictions(matrix, class_names, model=path.name, details={"file": str(path)})
        )
    if dataset is None:
        raise InputError(Problem("pred_probs", "no file", "at least one"))
    return dataset, predictions


def arrays_dataset(
    labels: NDArray[np.int64], class_names: Sequence[str], ids: pl.Series | None = None
) -> Dataset:
    """Make a dataset of labels that are nowhere on disk.

    Parameters
    ----------
    labels
        Class of each item as an index into `class_names`, shape (n,).
    class_names
        K names.
    ids
        What names the items; None for row numbers from 0.

    Examples
    --------
    >>> arrays_dataset(np.array([1, 0]), ["cat", "dog"]).annotations.rows()
    [('0', '0', 'dog'), ('1', '1', 'cat')]
    """
    keys = pl.Series("item_id", range(len(labels))) if ids is None else ids.alias("item_id")
    item_id = keys.cast(pl.String)
    names = pl.Series("label", list(class_names), dtype=pl.String)[labels]
    return Dataset(
        items=pl.DataFrame([item_id]),
        annotations=pl.DataFrame([item_id.alias("annotation_id"), item_id, names]),
        class_names=tuple(class_names),
        format="arrays",
    )


@dataclass(frozen=True)
class _File:
    """A file's content without its ids, and its ids if rows are joined on them."""

    path: Path
    content: NDArray[Any] | pl.DataFrame
    ids: pl.Series | None = None


def _common_id(paths: list[Path]) -> str | None:
    """Find the id column that all of the files have."""
    if not all(is_table(path) for path in paths):
        return None
    headers = [load_table(path).columns for path in paths]
    return next((name for name in ID_NAMES if all(name in header for header in headers)), None)


def _read(path: Path, key: str | None, what: str) -> _File:
    if not path.is_file():
        raise InputError(Problem(str(path), "no such file", f"the file of {what}"))
    if not is_table(path):
        if key is not None:
            raise InputError(
                Problem(str(path), "an array", f"a table with a column {key!r}", "join by rows")
            )
        return _File(path, _load_array(path, what))
    table = load_table(path)
    if key is None:
        return _File(path, table)
    if key not in table.columns:
        raise InputError(Problem(str(path), f"no column {key!r}", ", ".join(table.columns)))
    return _File(path, table.drop(key), _ids(path, table[key]))


def _ids(path: Path, ids: pl.Series) -> pl.Series:
    text = ids.cast(pl.String)
    missing, twice = int(text.null_count()), text.filter(text.is_duplicated()).unique().sort()
    problems = [Problem(f"{path}, column {ids.name!r}", f"{missing} rows without an id", "ids")]
    problems = problems if missing else []
    problems += [
        Problem(f"{path}, column {ids.name!r}", f"id {value!r} more than once", "ids that differ")
        for value in twice.drop_nulls()
    ]
    if problems:
        raise InputError(problems)
    return text


def _load_array(path: Path, name: str) -> NDArray[Any]:
    try:
        loaded = np.load(path, mmap_mode="r", allow_pickle=False)
        if isinstance(loaded, np.lib.npyio.NpzFile):
            with loaded:
                wanted = name if name in loaded.files else _only(path, loaded.files, name)
                return np.asarray(loaded[wanted])
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        pickled = "pickle" in str(error).lower() or "python objects" in str(error).lower()
        found = "pickled objects" if pickled else f"a file that does not read ({error})"
        raise InputError(
            Problem(
                str(path),
                found,
                "a plain NumPy array (.npy, .npz) or a table (.csv, .tsv, .parquet, .arrow)",
                "save it again as an array of numbers or of fixed-width text" if pickled else "",
            )
        ) from error
    return loaded  # type: ignore[no-any-return] # numpy types load as Any


def _only(path: Path, names: list[str], wanted: str) -> str:
    if len(names) != 1:
        found = "the arrays " + ", ".join(names) if names else "no array"
        raise InputError(Problem(str(path), found, f"one array, or one called {wanted!r}"))
    return names[0]


def _label_column(given: _File, label: str | None) -> Any:  # an array or a series
    """Take the labels out of what was read."""
    if not isinstance(given.content, pl.DataFrame):
        return given.content
    columns = given.content.columns
    wanted = [label] if label else columns if len(columns) == 1 else LABEL_NAMES
    found = next((name for name in wanted if name in columns), None)
    if found is None:
        raise InputError(
            Problem(
                str(given.path),
                "the columns " + ", ".join(columns),
                f"a column {label!r}" if label else "one called " + " or ".join(LABEL_NAMES),
                "name the column of given labels (--label COLUMN)",
            )
        )
    return _whole_numbers(given.content[found])


def _whole_numbers(column: pl.Series) -> pl.Series:
    """Read text that is whole numbers throughout, as a CSV has it, as the numbers."""
    if column.dtype != pl.String:
        return column
    numbers = column.cast(pl.Int64, strict=False)
    same = (numbers.cast(pl.String) == column).fill_null(value=False).all()
    return numbers if same else column


def _aligned(given: _File, file: _File) -> Any:  # an array or a table
    """Put the rows of `file` into the order of the labels."""
    content = _as_numbers(file)
    if given.ids is None or file.ids is None:
        return content
    where = pl.DataFrame({"id": file.ids}).with_row_index("row")
    rows = pl.DataFrame({"id": given.ids}).join(
        where, on="id", how="full", maintain_order="left_right"
    )
    problems = [
        Problem(str(file.path), f"no row with id {value!r}", f"one, as {given.path} has it")
        for value in rows.filter(pl.col("row").is_null())["id"]
    ] + [
        Problem(str(file.path), f"id {value!r}", f"an id that {given.path} has")
        for value in rows.filter(pl.col("id").is_null())["id_right"]
    ]
    if problems:
        raise InputError(problems)
    return content[rows["row"].to_numpy()]


def _as_numbers(file: _File) -> Any:  # an array or a table
    """Turn a table's text cells into numbers."""
    if not isinstance(file.content, pl.DataFrame):
        return file.content
    numbers = file.content.with_columns(pl.col(pl.String).cast(pl.Float64, strict=False))
    lost = [
        name
        for name in numbers.columns
        if numbers[name].null_count() > file.content[name].null_count()
        or not numbers[name].dtype.is_numeric()
    ]
    if lost:
        raise InputError(
            Problem(
                f"{file.path}, column {name!r}",
                "cells that are no numbers",
                "a column of probabilities for each class, named like the class",
                "name the column of ids with --ids" if len(lost) == 1 else "",
            )
            for name in lost
        )
    return numbers
