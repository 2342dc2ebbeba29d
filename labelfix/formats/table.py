"""Datasets in tables: a label column, and either columns of features or one of image paths.

Class names are the text of the labels. In text files a label `01` stays `01` and a label `NA` is a
label; a column of features becomes numbers if every cell of it is one.
"""

from __future__ import annotations

import mmap
import os
import re
import unicodedata
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path, PurePath, PurePosixPath
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from labelfix.errors import InputError, Problem, warn_caller
from labelfix.formats.edits import plan_labels
from labelfix.formats.files import digest, patch_files
from labelfix.formats.tableedit import TableChange, rewrite
from labelfix.formats.tablefile import TableFile, is_table, open_table
from labelfix.images import has_image_name, probe
from labelfix.schema import Dataset

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from numpy.typing import NDArray

    from labelfix.formats import ReadOptions
    from labelfix.formats.edits import Segmentation

__all__ = [
    "ID_NAMES",
    "LABEL_NAMES",
    "class_names_of",
    "label_candidates",
    "patched",
    "read",
    "recognises",
]

LABEL_NAMES = ("label", "labels", "given_label", "class", "target", "category", "y")
IMAGE_NAMES = ("image", "image_path", "path", "filepath", "file", "file_name", "filename")
ID_NAMES = ("item_id", "id")

MISSING_NUMBERS = ("NA", "N/A", "NaN", "nan", "null", "NULL", "None", "?")
"""Text in a column of numbers that says that there is none. As a label it is a class name."""


def recognises(path: Path) -> bool:
    """Whether `path` is a file with a table's suffix."""
    return path.is_file() and is_table(path)


def read(path: Path, options: ReadOptions) -> Dataset:
    """Read a table.

    Raises
    ------
    InputError
        Naming every column and row that is wrong, with its line in a text file.
    """
    file = open_table(path)
    roles = _roles(file, options)
    bad = _BadRows(file)
    root = _root(path, options.images)
    known = _known_columns(file, roles, bad)
    if roles.image is not None:
        known = known.hstack(_images(file, roles.image, bad, options))
    good = bad.others()
    labels = known["label"][good]
    names = class_names_of(labels)
    few = [] if len(names) > 1 else [_too_few(path, roles, names, len(bad.problems))]
    if few or (bad.problems and not options.skip_bad):
        raise InputError(few + ([] if options.skip_bad else bad.listed()))
    _warn_of_like_names(path, names)
    kept = file.table[good].select(roles.rest)
    rest = kept.with_columns(map(_typed, kept)) if file.is_text else kept
    features = _features(path, rest, labels, roles, options)
    item_id = _item_ids(known, good).alias("item_id")
    items = known[good].drop("label", "id", strict=False)
    return Dataset(
        items=pl.DataFrame([item_id]).hstack(items).hstack(rest),
        annotations=pl.DataFrame([item_id.alias("annotation_id"), item_id, labels]),
        class_names=names,
        format="table",
        root=root,
        feature_columns=features,
        skipped=tuple(bad.listed()),
        source={
            "file": (path.parent.resolve() / path.name).relative_to(root).as_posix(),
            "label": roles.label,
            "digest": _digest(path),
            "rows": good,
            "height": file.table.height,
            "images": known["path"].drop_nulls().unique(maintain_order=True).to_list()
            if roles.image is not None
            else [],
        },
    )


def _digest(path: Path) -> str:
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        return digest(memoryview(data))


def patched(
    dataset: Dataset,
    corrections: pl.DataFrame,
    *,
    segmentation: Segmentation = "keep",  # noqa: ARG001 # other formats have some
    column: tuple[str, Mapping[str, str]] | None = None,
) -> Iterator[tuple[PurePosixPath, bytes]]:
    """Give the file as it must be after the corrections: the same but for the label column.

    In CSV and TSV files every other byte stays: quotes, line ends, encoding and byte order mark.
    Parquet and Arrow files are written again by pyarrow with the types, metadata, compression and
    row groups that they have.

    Parameters
    ----------
    dataset
        As `read` gave it.
    corrections
        Table with the columns of `labelfix.schema.CORRECTIONS`; `delete` leaves a row out.
    segmentation
        Without meaning here.
    column
        Name of a column to add at the end, and its values by item_id; empty for all others.

    Returns
    -------
    iterator of tuple
        Path relative to the dataset's root, and content: one file.

    Raises
    ------
    InputError
        If a correction cannot be carried out or the file changed since it was read.
    """
    source = dataset.source
    rows = dict(zip(dataset.items["item_id"], source["rows"].tolist(), strict=True))
    plans = plan_labels(dataset, corrections)
    wanted = [(rows[item], given, new) for item, given, new in plans.iter_rows()]
    change = TableChange(
        label=source["label"],
        rows=source["height"],
        given={row: given for row, given, _ in wanted},
        new={row: new for row, _, new in wanted if new is not None},
        gone=frozenset(row for row, _, new in wanted if new is None),
        column=column and (column[0], {rows[item]: text for item, text in column[1].items()}),
    )
    path = source["file"]
    return patch_files(
        dataset.root or Path(),  # a dataset that was read has a root
        [(path, source["digest"])],
        [path] if change else [],
        lambda _, data: rewrite(PurePosixPath(path), data or b"", change),
    )


@dataclass(frozen=True)
class _Roles:
    """Which column is what."""

    label: str
    image: str | None
    id: str | None
    group: str | None
    split: str | None
    rest: tuple[str, ...]


class _BadRows:
    """Every problem of every row."""

    def __init__(self, file: TableFile) -> None:
        self.file = file
        self.problems: dict[int, list[Problem]] = defaultdict(list)
        for row, problem in file.bad.items():
            self.problems[row].append(problem)

    def add(self, row: int, found: str, expected: str = "", fix: str = "") -> None:
        """Add a problem, unless the row's cells are not where they belong anyway."""
        if row not in self.file.bad:
            self.problems[row].append(self.file.problem(row, found, expected, fix))

    def add_missing(self, cells: pl.Series, found: str, expected: str) -> None:
        """Add the rows whose cell is empty."""
        for row in cells.is_null().arg_true():
            self.add(row, found, expected, "fill it in, or remove the row")

    def others(self) -> NDArray[np.int64]:
        """Give the rows without a problem."""
        return np.setdiff1d(np.arange(self.file.table.height), [*self.problems])

    def listed(self) -> list[Problem]:
        """Give all problems in the order of rows."""
        return [problem for row in sorted(self.problems) for problem in self.problems[row]]


def _roles(file: TableFile, options: ReadOptions) -> _Roles:
    """Find the columns, as asked for or by their usual names."""
    table, path = file.table, file.path
    asked = [options.label, options.image, options.id, options.group, *(options.features or ())]
    unknown = [name for name in asked if name is not None and name not in table.columns]
    if unknown:
        columns = "one of " + ", ".join(map(repr, table.columns))
        raise InputError(Problem(str(path), f"no column {name!r}", columns) for name in unknown)
    label = options.label or _only_label(file)
    _refuse_twice(path, label, options)
    others = [name for name in table.columns if name != label]
    image = options.image or _image_column(table.select(others))
    if image is None and options.images is not None:
        fix = "name it (image=, --image), or leave images away"
        raise InputError(Problem(str(path), "images, and no column of their paths", fix=fix))
    ids = options.id or next(iter(_called(others, ID_NAMES)), None)
    group = options.group or next(iter(_called(others, ("group",))), None)
    split = next(iter(_called(others, ("split",))), None)
    named = {label, image, ids, group, split}
    used = named | ({"width", "height"} if image else {"path"})
    if image is None and "path" in set(table.columns) - named:
        warn_caller(
            f"{path}: column 'path' is left out: labelfix calls images so, and few of these are "
            "named like some; if they are, say so (image=, --image)"
        )
    rest = tuple(name for name in table.columns if name not in used)
    known = {"item_id": True, "path": image, "group": group, "split": split}
    if clash := [name for name in rest if known.get(name)]:
        fix = "rename it, or name it as what it is"
        raise InputError(
            Problem(f"{path}, column {name!r}", "a name that labelfix uses itself", fix=fix)
            for name in clash
        )
    return _Roles(label, image, ids, group, split, rest)


def _refuse_twice(path: Path, label: str, options: ReadOptions) -> None:
    """Refuse a column that is named for two things, or twice."""
    features = options.features or ()
    named = {"image": options.image, "id": options.id, "group": options.group}
    found = [f"both label and {role}" for role, name in named.items() if name == label]
    problems = [Problem(f"{path}, column {label!r}", one, "another column") for one in found]
    problems += [
        Problem(f"{path}, column {name!r}", "a feature twice", "each feature once")
        for name in dict.fromkeys(features)
        if features.count(name) > 1
    ]
    if problems:
        raise InputError(problems)


def _called(columns: Iterable[str], names: tuple[str, ...]) -> list[str]:
    """Give the columns of these names, in any case, by the order of `names`."""
    plain = {name: name.strip().casefold() for name in columns}
    return sorted((c for c in plain if plain[c] in names), key=lambda c: names.index(plain[c]))


def label_candidates(columns: Iterable[str]) -> list[str]:
    """Give the columns that are called like labels; y is one only where no other is.

    Examples
    --------
    >>> label_candidates(["x", "y", "Label"]), label_candidates(["x", "y"])
    (['Label'], ['y'])
    """
    found = _called(columns, LABEL_NAMES)
    return [name for name in found if name.strip().casefold() != "y"] or found


def _only_label(file: TableFile) -> str:
    columns = file.table.columns
    found = label_candidates(columns)
    if len(found) == 1:
        return found[0]
    what = "columns that may all be labels: " if found else "the columns "
    raise InputError(
        Problem(
            str(file.path),
            what + ", ".join(map(repr, found or columns)),
            "one column called " + ", ".join(LABEL_NAMES),
            "name the column of given labels (label=, --label)",
        )
    )


def _image_column(table: pl.DataFrame) -> str | None:
    """Find the column that is called like one of image paths, and holds them for the most part."""
    for name in _called(table.columns, IMAGE_NAMES):
        if table[name].dtype == pl.String:
            paths = table[name].drop_nulls().head(1000)
            if len(paths) and sum(map(has_image_name, paths)) * 2 >= len(paths):
                return name
    return None


def _known_columns(file: TableFile, roles: _Roles, bad: _BadRows) -> pl.DataFrame:
    """Take label, id, group and split as text, and note the rows where one is missing."""
    label = _labels(file, roles.label)
    bad.add_missing(label, f"no label in column {roles.label!r}", "a label")
    columns = [label]
    if roles.id is not None:
        ids = _text(file, roles.id, "id")
        bad.add_missing(ids, f"no id in column {roles.id!r}", "an id")
        for row in (ids.is_duplicated() & ids.is_not_null()).arg_true():
            bad.add(row, f"id {ids[row]!r} more than once", "ids that differ")
        columns.append(ids)
    if roles.group is not None:
        group = _text(file, roles.group, "group")
        bad.add_missing(group, f"no group in column {roles.group!r}", "a group")
        columns.append(group)
    if roles.split is not None:
        columns.append(_text(file, roles.split, "split"))
    return pl.DataFrame(columns)


def _text(file: TableFile, column: str, name: str) -> pl.Series:
    """Take a column of names as text; an empty one is missing."""
    cells = file.table[column]
    kind = cells.dtype
    if kind.is_integer() or kind in (pl.String, pl.Categorical, pl.Enum, pl.Boolean, pl.Null):
        return cells.cast(pl.String).replace("", None).alias(name)
    raise InputError(
        Problem(
            f"{file.path}, column {column!r}",
            "floating-point numbers" if kind.is_float() else f"cells of type {kind}",
            "text, integers or booleans",
            "convert the column, or name another one",
        )
    )


def _labels(file: TableFile, column: str) -> pl.Series:
    """Take the labels as text; numbers with a fraction are a quantity, and no label."""
    labels = _text(file, column, "label")
    numbers = labels.cast(pl.Float64, strict=False)
    fractions = (numbers.floor() != numbers).arg_true()
    if numbers.null_count() == labels.null_count() and len(fractions):
        first = fractions[0]
        found = f"{labels[first]!r} in column {column!r}, one of {len(fractions)} with a fraction"
        fix = "name another column, or write names, such as v1.5"
        raise InputError(file.problem(first, found, "class names, integers or booleans", fix))
    return labels


def _images(file: TableFile, column: str, bad: _BadRows, options: ReadOptions) -> pl.DataFrame:
    """Find each row's image below the table's folder, and its size; note what is no use."""
    given = _text(file, column, "path")
    bad.add_missing(given, f"no image path in column {column!r}", "a path")
    root = _root(file.path, options.images)
    base = (options.images or file.path.parent).resolve()
    paths = _inside(root, base, given.to_list())
    for row, (text, path) in enumerate(zip(given, paths, strict=True)):
        if text is not None and path is None:
            fix = "say which folder the paths start from (images=, --images), or copy it there"
            bad.add(row, f"an image outside of {base}: {text}", "one inside", fix)
    rows = [row for row, path in enumerate(paths) if path is not None]
    files = [root / str(paths[row]) for row in rows]
    if len(files) > 1 and not any(map(os.path.exists, files)):
        found = f"{len(files):,} paths where no file is, such as {files[0]}"
        fix = "say which folder the paths start from (images=, --images)"
        summary = Problem(f"{file.path}, column {column!r}", found, "images", fix)
        raise InputError([summary, *([] if options.skip_bad else bad.listed())])
    sizes, broken = probe(files, max_pixels=options.max_pixels, progress=options.progress)
    for position, problem in broken.items():
        row = rows[position]
        bad.add(row, f"{problem.found}: {paths[row]}", problem.expected, problem.fix)
    size = np.zeros((len(paths), 2), np.int32)
    size[rows] = sizes
    return pl.DataFrame(
        [pl.Series("path", paths, pl.String)]
        + [pl.Series(name, size[:, axis]) for axis, name in enumerate(("width", "height"))]
    )


def _root(path: Path, images: Path | None) -> Path:
    """Give the folder that holds both the table and its images."""
    if images is None:
        return path.parent.resolve()
    return Path(os.path.commonpath([path.parent.resolve(), images.resolve()]))


def _inside(root: Path, base: Path, texts: list[str | None]) -> list[str | None]:
    """Turn paths from `base` into paths from `root`, with slashes.

    None for those that leave the base, through links too.
    """
    real: dict[str, Path] = {}  # a table has many images in few folders

    def below(text: str | None) -> str | None:
        if text is None or "\0" in text:
            return None
        full = os.path.normpath(base / text)
        folder = os.path.dirname(full)  # noqa: PTH120 # 20 times Path's speed
        if folder not in real:
            real[folder] = Path(folder).resolve()
        link = os.path.islink(full)  # noqa: PTH114 # as above
        target = Path(full).resolve() if link else real[folder] / PurePath(full).name
        if not target.is_relative_to(base) or not PurePath(full).is_relative_to(base):
            return None
        return PurePath(full).relative_to(root).as_posix()

    return [below(text) for text in texts]


def _item_ids(known: pl.DataFrame, good: NDArray[np.int64]) -> pl.Series:
    """Name the rows: by id, else by image where each has its own, else by row number."""
    kept = known[good]
    if "id" in known.columns:
        return kept["id"]
    if "path" in known.columns and kept["path"].n_unique() == kept.height:
        return kept["path"]
    return pl.Series(good).cast(pl.String)


def _typed(column: pl.Series) -> pl.Series:
    """Read a text column as whole numbers, numbers or booleans where every cell is one.

    Leading zeros are a code, not a number.
    """
    text = column.replace(MISSING_NUMBERS, [None] * len(MISSING_NUMBERS))
    if text.null_count() == len(text):
        return column
    if not text.str.contains(r"^[+-]?0\d").any():
        for kind in (pl.Int64, pl.Float64):
            numbers = text.cast(kind, strict=False)
            if numbers.null_count() == text.null_count():
                return numbers
    lower = column.str.to_lowercase()
    if lower.drop_nulls().is_in(["true", "false"]).all():
        return lower == "true"
    return column


def _features(
    path: Path, rest: pl.DataFrame, labels: pl.Series, roles: _Roles, options: ReadOptions
) -> tuple[str, ...]:
    """Choose the columns that a model may learn from, and say which were passed over, and why."""
    if options.features is not None:
        _refuse_features(path, rest, options.features)
        return options.features
    if roles.image is not None:
        return ()
    reasons = {column.name: _why_no_feature(column, labels) for column in rest}
    passed = [f"{name!r} {reason}" for name, reason in reasons.items() if reason]
    if passed:
        warn_caller(
            f"{path}: columns that no model learns from: {', '.join(passed)}; "
            "to use them all the same, name the features"
        )
    return tuple(name for name, reason in reasons.items() if not reason)


def _is_feature(kind: pl.DataType) -> bool:
    return kind.is_numeric() or kind in (pl.Boolean, pl.String, pl.Categorical, pl.Enum)


def _refuse_features(path: Path, rest: pl.DataFrame, asked: tuple[str, ...]) -> None:
    problems = []
    for name in asked:
        where = f"{path}, column {name!r}"
        if name not in rest.columns:
            problems.append(Problem(where, "a feature that is already label, id or the like"))
        elif not _is_feature(rest[name].dtype):
            found = f"cells of type {rest[name].dtype}"
            problems.append(Problem(where, found, "numbers, text or booleans"))
    if problems:
        raise InputError(problems)


def _why_no_feature(column: pl.Series, labels: pl.Series) -> str:
    """Say why a model had better not learn from a column; "" if it may."""
    if not column.name.strip() or column.name.startswith("Unnamed: "):
        return "has no name, as a row number has none"
    if not _is_feature(column.dtype):
        return f"holds {column.dtype}"
    values = column.drop_nulls()
    if values.is_empty():
        return "is empty"
    if not column.dtype.is_numeric() and len(column) > 2 and values.n_unique() == len(column):
        return "is another text in every row"
    classes = labels.n_unique()
    told = column.n_unique() == classes and len(column) > 4 * classes
    if told and pl.DataFrame([column.alias("told"), labels]).n_unique() == classes:
        return "says the same as the label"
    return ""


def class_names_of(labels: pl.Series) -> tuple[str, ...]:
    """Give the distinct labels in order: whole numbers by value, else by text.

    Examples
    --------
    >>> class_names_of(pl.Series(["10", "9", "1"])), class_names_of(pl.Series(["b", "a", "10"]))
    (('1', '9', '10'), ('10', 'a', 'b'))
    """
    names: list[str] = labels.drop_nulls().unique().to_list()
    if all(re.fullmatch(r"-?[0-9]{1,18}", name, re.ASCII) for name in names):
        return tuple(sorted(names, key=lambda name: (int(name), name)))
    return tuple(sorted(names))


def _too_few(path: Path, roles: _Roles, names: tuple[str, ...], bad: int) -> Problem:
    where = f"{path}, column {roles.label!r}"
    if not names:
        found = f"no row that can be used; all {bad:,} are bad" if bad else "no label"
        return Problem(where, found, "labels of two classes or more")
    fix = "a label can be wrong only where another would be possible"
    return Problem(where, f"one class only, {names[0]!r}", "two classes or more", fix)


def _warn_of_like_names(path: Path, names: tuple[str, ...]) -> None:
    """Say which classes differ in case, outer spaces or Unicode form only."""
    alike: dict[str, list[str]] = defaultdict(list)
    for name in names:
        alike[unicodedata.normalize("NFC", name).strip().casefold()].append(name)
    twins = [", ".join(map(repr, group)) for group in alike.values() if len(group) > 1]
    if twins:
        warn_caller(
            f"{path}: classes that differ in case, spaces or Unicode form only: " + "; ".join(twins)
        )
