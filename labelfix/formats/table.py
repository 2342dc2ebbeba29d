"""Tables: CSV, TSV, Parquet and Arrow files with a label column, and features or image paths.

Text files are read as text, so that a label `01` stays `01` and a label `NA` is a label: only an
empty cell is a missing one. A column becomes a feature as numbers if every cell of it is one, else
as a category.
"""

from __future__ import annotations

import csv
import re
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING

import polars as pl

from labelfix.errors import InputError, LabelfixWarning, Problem
from labelfix.images import has_image_name, probe
from labelfix.schema import Dataset

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from labelfix.formats import ReadOptions

__all__ = ["load_table", "read", "recognises", "sort_class_names"]

DELIMITERS = {".csv": ",", ".tsv": "\t", ".tab": "\t"}
PARQUET = frozenset({".parquet", ".pq"})
ARROW = frozenset({".arrow", ".feather", ".ipc"})

LABEL_NAMES = ("label", "labels", "given_label", "class", "target", "category", "y")
IMAGE_NAMES = ("image", "image_path", "path", "file", "filename", "file_name", "filepath")
ID_NAMES = ("item_id", "id")
GROUP_NAMES = ("group", "group_id")
SPLIT_NAMES = ("split", "subset")


def recognises(path: Path) -> bool:
    """Whether `path` is a file with a table's suffix."""
    return path.is_file() and path.suffix.lower() in DELIMITERS.keys() | PARQUET | ARROW


def read(path: Path, options: ReadOptions) -> Dataset:
    """Read a table.

    Raises
    ------
    InputError
        Naming every column and row that is wrong, with its line in a text file.
    """
    table = load_table(path)
    roles = _roles(path, table, options)
    if table[roles.label].dtype.is_float():
        raise InputError(
            Problem(
                f"{path}, column {roles.label!r}",
                "labels that are floating-point numbers",
                "class names, integers or booleans",
                "convert the column, or name another one (--label COLUMN)",
            )
        )
    rows = table.with_row_index("row")
    problems, bad = _bad_rows(path, rows, roles)
    good = rows.filter(~pl.col("row").is_in(bad))
    if roles.image is not None:
        good, broken = _check_images(path, good, roles.image, options)
        problems += broken
    problems.sort(key=lambda problem: problem.line or 0)
    if problems and not options.skip_bad:
        raise InputError(problems)
    return _dataset(path, good, roles, options, tuple(problems))


def load_table(path: Path) -> pl.DataFrame:
    """Load a table file as it is: text cells of CSV and TSV as text.

    Raises
    ------
    InputError
        If it cannot be read, has no rows, or names a column twice.
    """
    suffix = path.suffix.lower()
    try:
        if suffix in DELIMITERS:
            _refuse_bad_header(path, DELIMITERS[suffix])
            table = pl.read_csv(
                path, separator=DELIMITERS[suffix], infer_schema=False, encoding="utf8"
            )
        elif suffix in PARQUET:
            table = pl.read_parquet(path, hive_partitioning=False, glob=False)
        else:
            table = pl.read_ipc(path)
    except (OSError, pl.exceptions.PolarsError, UnicodeDecodeError) as error:
        what = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise InputError(
            Problem(str(path), f"a file that does not read ({what})", f"a {suffix[1:]} table")
        ) from error
    if table.is_empty():
        raise InputError(Problem(str(path), "no rows", "a table with a header and rows"))
    return table


def _refuse_bad_header(path: Path, delimiter: str) -> None:
    with path.open(encoding="utf-8-sig", newline="") as file:
        header = next(csv.reader(file, delimiter=delimiter), [])
    twice = sorted({name for name in header if header.count(name) > 1})
    if twice or not header:
        found = "columns of the same name: " + ", ".join(map(repr, twice)) if twice else "no header"
        raise InputError(Problem(str(path), found, "a header that names each column", line=1))


@dataclass(frozen=True)
class _Roles:
    """Which column is what."""

    label: str
    id: str | None
    image: str | None
    group: str | None
    split: str | None


def _roles(path: Path, table: pl.DataFrame, options: ReadOptions) -> _Roles:
    """Find the columns, as asked for or by their usual names."""
    asked = [options.label, options.image, options.id, options.group, *(options.features or ())]
    unknown = [name for name in asked if name is not None and name not in table.columns]
    if unknown:
        raise InputError(
            Problem(str(path), f"no column {name!r}", "one of " + ", ".join(table.columns))
            for name in unknown
        )
    label = options.label or _usual(table, LABEL_NAMES)
    if label is None:
        raise InputError(
            Problem(
                str(path),
                "the columns " + ", ".join(table.columns),
                "one called " + " or ".join(LABEL_NAMES),
                "name the column of given labels (--label COLUMN)",
            )
        )
    rest = table.drop(label)
    image = options.image or _image_column(rest)
    return _Roles(
        label=label,
        id=options.id or _usual(rest, ID_NAMES),
        image=image,
        group=options.group or _usual(rest, GROUP_NAMES),
        split=_usual(rest.select(pl.col(pl.String)), SPLIT_NAMES),
    )


def _usual(table: pl.DataFrame, names: Iterable[str]) -> str | None:
    by_name = {column.lower(): column for column in reversed(table.columns)}
    return next((by_name[name] for name in names if name in by_name), None)


def _image_column(table: pl.DataFrame) -> str | None:
    """Find the column that is called like one of image paths, and holds some."""
    text = table.select(pl.col(pl.String))
    for name in IMAGE_NAMES:
        column = _usual(text, [name])
        if column is not None:
            paths = text[column].drop_nulls().head(100)
            if any(has_image_name(value) for value in paths):
                return column
    return None


def _bad_rows(path: Path, rows: pl.DataFrame, roles: _Roles) -> tuple[list[Problem], list[int]]:
    """Name the rows without a label, an id of their own or an image path."""
    label = rows[roles.label]
    tests = [(label.is_null() | (label.cast(pl.String) == ""), "no label", "one")]
    if roles.id is not None:
        ids = rows[roles.id]
        twice = ids.is_not_null() & ~ids.is_first_distinct()
        tests.append((ids.is_null(), f"no value in column {roles.id!r}", "an id"))
        tests.append((twice, f"an id in column {roles.id!r} that an earlier row has", "its own"))
    if roles.image is not None:
        tests.append((rows[roles.image].is_null(), "no image path", "one"))
    if not any(test.any() for test, _, _ in tests):
        return [], []
    lines = _lines(path)
    problems = [
        _row_problem(path, row, lines, found, expected)
        for test, found, expected in tests
        for row in test.arg_true()
    ]
    return problems, sorted({row for test, _, _ in tests for row in test.arg_true()})


def _row_problem(
    path: Path, row: int, lines: list[int] | None, found: str, expected: str
) -> Problem:
    if lines is None:
        return Problem(f"{path}, row {row}", found, expected)
    return Problem(str(path), found, expected, line=lines[row])


def _lines(path: Path) -> list[int] | None:
    """Line in the file on which each row of a text table starts; None for other files."""
    delimiter = DELIMITERS.get(path.suffix.lower())
    if delimiter is None:
        return None
    starts = []
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.reader(file, delimiter=delimiter)
        before = 0
        for _ in reader:
            starts.append(before + 1)
            before = reader.line_num
    return starts[1:]


def _check_images(
    path: Path, rows: pl.DataFrame, column: str, options: ReadOptions
) -> tuple[pl.DataFrame, list[Problem]]:
    """Add the size of each row's image; leave out, and name, the rows whose image is no use."""
    root = path.parent.resolve()
    files = [root / value for value in rows[column]]
    outside = [row for row, file in enumerate(files) if not file.resolve().is_relative_to(root)]
    sizes, broken = probe(files, progress=options.progress)
    reasons = {row: problem.found for row, problem in broken.items()}
    reasons |= dict.fromkeys(outside, "a path that leaves the table's folder")
    lines = _lines(path) if reasons else None
    at = rows["row"]
    problems = [
        _row_problem(path, at[row], lines, f"{reason}: {files[row]}", "an image")
        for row, reason in sorted(reasons.items())
    ]
    sized = rows.with_columns(width=pl.Series(sizes[:, 0]), height=pl.Series(sizes[:, 1]))
    return sized.filter(~pl.int_range(pl.len()).is_in(list(reasons))), problems


def _dataset(
    path: Path,
    rows: pl.DataFrame,
    roles: _Roles,
    options: ReadOptions,
    skipped: tuple[Problem, ...],
) -> Dataset:
    labels = rows[roles.label].cast(pl.String)
    class_names = sort_class_names(labels.unique().to_list())
    if len(class_names) < 2:
        raise InputError(
            Problem(
                f"{path}, column {roles.label!r}",
                f"one class only, {class_names[0]!r}" if class_names else "no label",
                "at least two",
                "a label can be wrong only where another would be possible",
            )
        )
    named = [*(name for name in (roles.id, roles.group, roles.split) if name), roles.label]
    if roles.image is not None:
        named.append(roles.image)
    rest = rows.drop("row", *named)
    metadata = rest.drop("width", "height") if roles.image is not None else rest
    features = _features(path, metadata, options) if roles.image is None else rest.clear()
    items = _items(rows, roles).hstack(rest.with_columns(features.get_columns()))
    item_id = items["item_id"]
    return Dataset(
        items=items,
        annotations=pl.DataFrame({"annotation_id": item_id, "item_id": item_id, "label": labels}),
        class_names=class_names,
        format="table",
        root=path.parent,
        feature_columns=tuple(features.columns),
        skipped=skipped,
        source={"file": path.name, "label": roles.label},
    )


def _items(rows: pl.DataFrame, roles: _Roles) -> pl.DataFrame:
    """Name the rows: by id, else by image where each has its own, else by row number."""
    if roles.id is not None:
        key = rows[roles.id]
    elif roles.image is not None and rows[roles.image].is_unique().all():
        key = rows[roles.image]
    else:
        key = rows["row"]
    columns = [key.cast(pl.String).alias("item_id")]
    for name, column in (("path", roles.image), ("group", roles.group), ("split", roles.split)):
        if column is not None:
            columns.append(rows[column].cast(pl.String).alias(name))
    return pl.DataFrame(columns)


def _features(path: Path, table: pl.DataFrame, options: ReadOptions) -> pl.DataFrame:
    """Take the columns a model may learn from: as numbers where all cells are, else as text."""
    wanted = table.select(options.features) if options.features is not None else table
    features, passed = [], []
    for column in wanted:
        feature = _feature(column, keep=options.features is not None)
        if feature is None:
            passed.append(column.name)
        else:
            features.append(feature)
    if passed:
        warnings.warn(
            f"{path}: not used as features, since nearly every row has a value of its own or they "
            f"are no numbers or categories: {', '.join(passed)}",
            LabelfixWarning,
            stacklevel=5,
        )
    return pl.DataFrame(features)


def _feature(column: pl.Series, *, keep: bool) -> pl.Series | None:
    if column.dtype.is_numeric() or column.dtype == pl.Boolean:
        return column
    if column.dtype not in {pl.String, pl.Categorical, pl.Enum}:
        return None
    text = column.cast(pl.String)
    numbers = text.cast(pl.Float64, strict=False)
    if numbers.null_count() == text.null_count():
        return numbers
    return text if keep or text.n_unique() <= max(2, len(text) // 2) else None


def sort_class_names(names: list[str]) -> tuple[str, ...]:
    """Sort class names: whole numbers by value, else by text.

    Examples
    --------
    >>> sort_class_names(["10", "9", "1"]), sort_class_names(["b", "a", "10"])
    (('1', '9', '10'), ('10', 'a', 'b'))
    """
    kept = [name for name in names if name is not None]
    if all(re.fullmatch(r"-?[0-9]{1,18}", name) for name in kept):
        return tuple(sorted(kept, key=lambda name: (int(name), name)))
    return tuple(sorted(kept))
