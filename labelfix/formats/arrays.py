"""Labels and ready-made probabilities from files: .npy and .npz arrays, or tables.

Rows are joined on ids where both sides have them, else they follow each other. Files that hold
pickled objects are refused: to load one is to run whatever its author put there.
"""

from __future__ import annotations

import zipfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from labelfix.errors import InputError, Problem, name_rows
from labelfix.formats.table import ID_NAMES, LABEL_NAMES, class_names_of, label_candidates
from labelfix.formats.tablefile import TableFile, is_table, open_table
from labelfix.schema import Dataset, Predictions
from labelfix.score.inputs import check_labels_and_pred_probs

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

__all__ = [
    "Rows",
    "arrays_dataset",
    "read_arrays",
    "read_labels",
    "read_pred_probs",
    "read_predictions",
]


@dataclass(frozen=True)
class Rows:
    """What a file holds, row by row.

    Parameters
    ----------
    path
        The file.
    values
        Labels, shape (n,), or probabilities, shape (n, K): an array, or from a table a column or
        columns that are named like the classes.
    ids
        What names the rows, as text, shape (n,); None if nothing does.
    """

    path: Path
    values: NDArray[Any] | pl.Series | pl.DataFrame
    ids: pl.Series | None = None


def read_arrays(
    labels: str | Path,
    pred_probs: Sequence[str | Path],
    *,
    ids: str | None = None,
    label: str | None = None,
    class_names: Sequence[str] | None = None,
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
        Column of the tables that names their rows. None: item_id or id, where the labels have it,
        and the column that holds most of their ids in the other tables. Other ids and text beside
        it are left out, unless a class is called so.
    label
        Column of labels; None for the only one, or one of a usual name.
    class_names
        What the columns of the probabilities stand for, in order. None: as their table calls them;
        in arrays the distinct labels, sorted, or class numbers.

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
    given = read_labels(labels, label=label, id=ids)
    models = [_read_probs(path, ids, _known(given, class_names)) for path in pred_probs]
    if not models:
        raise InputError(Problem("pred_probs", "no file", "at least one"))
    codes, predictions = _checked(given, models, class_names)
    named = next((rows.ids for rows in (given, *models) if rows.ids is not None), None)
    dataset = arrays_dataset(codes, predictions[0].class_names, named)
    return replace(dataset, root=given.path.parent.resolve()), predictions


def read_predictions(
    dataset: Dataset,
    pred_probs: Sequence[str | Path],
    *,
    ids: str | None = None,
    class_names: Sequence[str] | None = None,
) -> list[Predictions]:
    """Read what one or several models say of the items of a dataset.

    Parameters
    ----------
    dataset
        With one label an item.
    pred_probs
        One file a model, as for `read_arrays`. Rows of a table are joined on their ids with
        `item_id`; without ids, and in arrays, they follow the order of the items.
    ids
        Column of the tables that names their rows; where the dataset is a table, its own column,
        which they need not have. None: the column that holds most of the ids, of equals item_id or
        id. Other ids and text beside it are left out, unless a class is called so.
    class_names
        What the columns of arrays stand for, in order; None: the dataset's classes in their order.

    Returns
    -------
    list of Predictions
        One a model, rows in item order, columns in the order of `Dataset.class_names`.

    Raises
    ------
    InputError
        Naming all that is wrong: files, columns, ids that do not join, classes, probabilities.
    """
    items = dataset.items["item_id"]
    source = (dataset.root or Path()) / str(dataset.source.get("file", ""))
    given = Rows(source, dataset.annotations["label"], items)
    columns = tuple(class_names or dataset.class_names)
    known = _Known(items, columns, own_key=dataset.format == "table")
    models = [_read_probs(path, ids, known) for path in pred_probs]
    called = {"class_names": columns}
    if class_names is None:
        tables = {str(model.path): model.values for model in models}
        called = {
            path: tuple(table.columns)
            for path, table in tables.items()
            if isinstance(table, pl.DataFrame)
        }
    expected = "the classes of the dataset: " + ", ".join(dataset.class_names)
    problems = [
        Problem(where, "columns called " + ", ".join(names), expected)
        for where, names in called.items()
        if sorted(names) != sorted(dataset.class_names)
    ]
    if problems:
        raise InputError(problems)
    _, predictions = _checked(given, models, columns)
    if columns == dataset.class_names:
        return predictions
    order = [columns.index(name) for name in dataset.class_names]
    return [
        replace(one, pred_probs=one.pred_probs[:, order], class_names=dataset.class_names)
        for one in predictions
    ]


def _checked(
    given: Rows, models: Sequence[Rows], class_names: Sequence[str] | None
) -> tuple[NDArray[np.int64], list[Predictions]]:
    """Join the models to the labels, and check them; the problems of all models are told."""
    matrices = [_aligned(given, model) for model in models]
    column = _as_codes_or_names(given.values, matrices[0], class_names)
    codes = np.empty(0, np.int64)
    predictions: list[Predictions] = []
    problems: list[Problem] = []
    for model, matrix in zip(models, matrices, strict=True):
        try:
            codes, checked, class_names = check_labels_and_pred_probs(column, matrix, class_names)
        except InputError as error:
            problems += [_in_file(one, model.path) for one in error.problems]
            continue
        details = {"file": str(model.path)}
        predictions.append(
            Predictions(checked, class_names, model=model.path.name, details=details)
        )
    if problems:
        raise InputError(dict.fromkeys(problems))
    return codes, predictions


def _in_file(problem: Problem, path: Path) -> Problem:
    """Say which model's file a problem of probabilities is in."""
    if problem.where != "pred_probs":
        return problem
    return replace(problem, where=f"{path}, pred_probs")


def read_labels(
    path: str | Path,
    *,
    label: str | None = None,
    id: str | None = None,  # noqa: A002 # the word that users look for
) -> Rows:
    """Read given labels, and ids if a table has them.

    Parameters
    ----------
    path
        .npy, .npz (one array, or one called labels), or a CSV, TSV, Parquet or Arrow table.
    label
        Column of labels; None for the only one beside ids, or one of a usual name.
    id
        Column of ids; None for item_id or id, if there is one.

    Raises
    ------
    InputError
        Naming every row without a label or an id of its own; pickled objects; other files.
    """
    path = Path(path)
    file = _table(path, id)
    if file is None:
        return Rows(path, _load_array(path, "labels", mmap=False))
    ids, rest = _split_ids(file, id)
    column = rest[_label_column(file, rest.columns, label)]
    missing = (column.is_null() | (column.cast(pl.String, strict=False) == "")).arg_true()
    if len(missing):
        raise InputError(file.problem(row, "no label", "a label") for row in missing)
    return Rows(path, column, ids)


def read_pred_probs(
    path: str | Path,
    *,
    id: str | None = None,  # noqa: A002 # as above
    mmap: bool = True,
) -> Rows:
    r"""Read a matrix of class probabilities, and ids if a table has them.

    Parameters
    ----------
    path
        .npy, .npz (one array, or one called pred_probs), or a CSV, TSV, Parquet or Arrow table with
        a column of numbers for each class.
    id
        Column of ids; None for item_id or id, if there is one.
    mmap
        Map a .npy file into memory instead of reading it.

    Returns
    -------
    Rows
        Values keep their dtype: float16, 32 or 64.

    Raises
    ------
    InputError
        Naming every row without an id of its own and column that is no number; pickled objects.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     file = Path(folder, "probs.csv")
    ...     _ = file.write_text("id,cat,dog\na.png,0.9,0.1\n")
    ...     rows = read_pred_probs(file)
    >>> rows.values.columns, rows.ids.to_list()
    (['cat', 'dog'], ['a.png'])
    """
    return _read_probs(path, id, mmap=mmap)


@dataclass(frozen=True)
class _Known:
    """What a dataset tells of the files of probabilities for it.

    Parameters
    ----------
    items
        Ids that rows may have.
    classes
        Names of columns that hold no ids.
    own_key
        Whether the key that the user named may be a column of the dataset alone.
    """

    items: pl.Series
    classes: tuple[str, ...]
    own_key: bool


def _known(given: Rows, class_names: Sequence[str] | None) -> _Known:
    """Tell what labels say of the files of probabilities for them."""
    values = given.values if isinstance(given.values, pl.Series) else np.unique(given.values)
    classes = pl.Series(values).cast(pl.String, strict=False).unique().drop_nulls()
    ids = pl.Series([], dtype=pl.String) if given.ids is None else given.ids
    return _Known(ids, (*classes, *(class_names or ())), own_key=False)


def _read_probs(
    path: str | Path, key: str | None, known: _Known | None = None, *, mmap: bool = True
) -> Rows:
    """Do what `read_pred_probs` does, for a known dataset if there is one."""
    path = Path(path)
    file = _table(path, None if known and known.own_key else key)
    if file is None:
        return Rows(path, _load_array(path, "pred_probs", mmap=mmap))
    if known and known.own_key and key not in file.table.columns:
        key = None
    ids, rest = _split_ids(file, key, known)
    numbers = rest.with_columns(pl.col(pl.String).cast(pl.Float64, strict=False))
    text = [name for name in rest.columns if rest[name].count() and not numbers[name].count()]
    fix = "if it names the rows, say so (ids=, --id)"
    problems = (
        [
            Problem(
                f"{path}, column {name!r}",
                f"text in every row, such as {rest[name].drop_nulls()[0]!r}",
                "probabilities of a class",
                fix,
            )
            for name in text
        ]
        + [
            file.problem(row, f"{rest[name][row]!r} in column {name!r}", "a probability")
            for name in numbers.columns
            if name not in text
            for row in (numbers[name].is_null() & rest[name].is_not_null()).arg_true()
        ]
        + [
            Problem(f"{path}, column {name!r}", f"cells of type {kind}", "probabilities of a class")
            for name, kind in numbers.schema.items()
            if not kind.is_numeric()
        ]
    )
    if problems:
        raise InputError(problems)
    return Rows(path, numbers, ids)


def arrays_dataset(
    labels: Any,  # anything that NumPy makes an array of
    class_names: Sequence[str] | None = None,
    ids: Any = None,  # as above
) -> Dataset:
    """Make a dataset of labels that are nowhere on disk.

    Parameters
    ----------
    labels
        Given class of each item, shape (n,): with `class_names` an index into them, or one of them;
        without, any names, integers or booleans.
    class_names
        K names; None for the distinct labels, whole numbers by value, else sorted by text.
    ids
        What names the items, shape (n,); None for row numbers from 0.

    Returns
    -------
    Dataset
        Of format "arrays", without a root.

    Raises
    ------
    InputError
        Naming the rows of labels that are missing, floating-point or out of range, and ids that are
        missing, given twice, or not as many as the labels.

    Examples
    --------
    >>> arrays_dataset(np.array([1, 0]), ["cat", "dog"]).annotations.rows()
    [('0', '0', 'dog'), ('1', '1', 'cat')]
    >>> arrays_dataset([10, 9, 10], ids=["a", "b", "c"]).class_names
    ('9', '10')
    """
    names = _label_names(pl.Series("label", labels), class_names)
    item_id = _item_ids(ids, len(names))
    return Dataset(
        items=pl.DataFrame([item_id]),
        annotations=pl.DataFrame([item_id.alias("annotation_id"), item_id, names]),
        class_names=class_names_of(names) if class_names is None else tuple(class_names),
        format="arrays",
    )


def _label_names(labels: pl.Series, class_names: Sequence[str] | None) -> pl.Series:
    """Give each label's class name."""
    kind = labels.dtype
    wrong = labels.is_null().arg_true()
    if kind.is_float() or kind.is_nested():
        raise InputError(Problem("labels", f"labels of type {kind}", "integers or class names"))
    if len(wrong):
        raise InputError(Problem("labels", f"no label in {name_rows(wrong.to_list())}", "a label"))
    if class_names is None:
        return labels.cast(pl.String)
    known = pl.Series("label", class_names, pl.String)
    is_code = kind.is_integer()
    fits = labels.is_between(0, len(known) - 1) if is_code else labels.is_in(known)
    if len(wrong := (~fits).arg_true()):
        expected = f"0 to {len(known) - 1}" if is_code else "one of class_names"
        found = f"labels out of range in {name_rows(wrong.to_list())}"
        raise InputError(Problem("labels", found, expected))
    return known.gather(labels) if is_code else labels


def _item_ids(ids: Any, n: int) -> pl.Series:
    if ids is None:
        return pl.Series("item_id", range(n), pl.Int64).cast(pl.String)
    item_id = pl.Series("item_id", ids).cast(pl.String)
    if len(item_id) != n:
        raise InputError(Problem("ids", f"{len(item_id)} ids", f"{n}, one a label"))
    wrong = (item_id.is_null() | item_id.is_duplicated()).arg_true()
    if len(wrong):
        found = f"missing or repeated ids in {name_rows(wrong.to_list())}"
        raise InputError(Problem("ids", found, "ids that differ"))
    return item_id


def _table(path: Path, key: str | None) -> TableFile | None:
    """Open a table whose rows are all of one length; None for an array."""
    if not path.is_file():
        found = "a folder" if path.is_dir() else "no such file"
        raise InputError(Problem(str(path), found, "a file of labels or probabilities"))
    if is_table(path):
        file = open_table(path)
        if file.bad:
            raise InputError(file.bad.values())
        return file
    if key is not None:
        fix = "leave the ids away to join by the order of rows"
        raise InputError(Problem(str(path), "an array", f"a table with a column {key!r}", fix))
    return None


def _split_ids(
    file: TableFile, key: str | None, known: _Known | None = None
) -> tuple[pl.Series | None, pl.DataFrame]:
    """Take the column of ids off a table, and what else says nothing of a known dataset."""
    columns = file.table.columns
    if key is not None and key not in columns:
        raise InputError(Problem(str(file.path), f"no column {key!r}", ", ".join(columns)))
    if known is None:
        likely: list[str] = []
        name = key or next((name for name in ID_NAMES if name in columns), None)
    else:
        likely = [*_named_like_ids(file.table, known), *_texts(file.table, known)]
        name = key or _column_of_ids(file.table, likely, known)
    if name is None:
        return None, file.table
    ids = file.table[name].cast(pl.String)
    problems = [file.problem(row, f"no id in column {name!r}") for row in ids.is_null().arg_true()]
    problems += [
        file.problem(row, f"id {ids[row]!r} more than once", "ids that differ")
        for row in (ids.is_duplicated() & ids.is_not_null()).arg_true()
    ]
    if problems:
        raise InputError(problems)
    return ids, file.table.drop(name, *(one for one in likely if one != name))


def _column_of_ids(table: pl.DataFrame, likely: list[str], known: _Known) -> str | None:
    """Find the column that holds most of the ids; failing that one which looks like ids, if any."""
    others = [name for name in table.columns if name not in {*likely, *known.classes}]
    held = {
        name: known.items.is_in(table[name].cast(pl.String).implode()).sum()
        for name in (*likely, *others)
        if table[name].dtype.is_integer()
        or table[name].dtype in (pl.String, pl.Categorical, pl.Enum)
    }
    # numbers may happen to be some of the ids, and still be probabilities
    held |= {name: 0 for name in others if held.get(name, 0) < len(known.items)}
    found = max(held, key=lambda name: held[name], default=None)
    if found and held[found]:
        return found
    return next(
        (name for name in likely if name in ID_NAMES or table[name].is_unique().all()), None
    )


def _named_like_ids(table: pl.DataFrame, known: _Known) -> list[str]:
    return [name for name in ID_NAMES if name in table.columns and name not in known.classes]


def _texts(table: pl.DataFrame, known: _Known) -> list[str]:
    """Give the columns of text that is no number anywhere, classes apart."""
    return [
        text.name
        for text in table.select(pl.col(pl.String))
        if text.name not in (*known.classes, *ID_NAMES)
        and not text.cast(pl.Float64, strict=False).count()
    ]


def _label_column(file: TableFile, columns: list[str], label: str | None) -> str:
    usual = columns if len(columns) == 1 else label_candidates(columns)
    found = [label] if label in columns else [] if label else usual
    if len(found) == 1:
        return str(found[0])
    raise InputError(
        Problem(
            str(file.path),
            "the columns " + ", ".join(map(repr, columns)),
            f"a column {label!r}" if label else "one called " + ", ".join(LABEL_NAMES),
            "name the column of given labels (label=, --label)",
        )
    )


def _load_array(path: Path, name: str, *, mmap: bool) -> NDArray[Any]:
    start = b""
    try:
        with path.open("rb") as file:
            start = file.read(2)
            if start == b"PK":
                file.seek(0)
                return _from_archive(path, np.load(file, allow_pickle=False), name)
        loaded: NDArray[Any] = np.load(path, mmap_mode="r" if mmap else None, allow_pickle=False)
    except InputError:
        raise
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        if start and start not in (b"\x93N", b"PK") and start[:1] != b"\x80":
            expected = "an array (.npy, .npz) or a table (.csv, .tsv, .parquet, .arrow)"
            raise InputError(Problem(str(path), "neither", expected)) from error
        raise InputError(_unreadable(path, error)) from error
    return loaded


def _from_archive(path: Path, arrays: Mapping[str, NDArray[Any]], name: str) -> NDArray[Any]:
    """Take the one array, or the one of that name."""
    if name in arrays or len(arrays) == 1:
        return arrays[name if name in arrays else next(iter(arrays))]
    found = "the arrays " + ", ".join(arrays) if arrays else "no array"
    raise InputError(Problem(str(path), found, f"one array, or one called {name!r}"))


def _unreadable(path: Path, error: Exception) -> Problem:
    """Tell pickles, which NumPy reports in several ways, from files that are no arrays at all."""
    expected = "a plain NumPy array (.npy, .npz) or a table (.csv, .tsv, .parquet, .arrow)"
    if any(word in str(error).lower() for word in ("pickle", "object")):
        fix = "save it as an array of numbers, or of text: array.astype(str)"
        return Problem(str(path), "pickled objects, which are never loaded", expected, fix)
    return Problem(str(path), f"a file that does not read ({error})", expected)


def _aligned(given: Rows, model: Rows) -> Any:  # an array or a table
    """Put the rows of a model into the order of the labels; as they are where ids agree already."""
    if given.ids is None or model.ids is None or given.ids.equals(model.ids):
        return model.values
    where = pl.DataFrame({"id": model.ids}).with_row_index("row")
    rows = pl.DataFrame({"id": given.ids}).join(
        where, on="id", how="full", maintain_order="left_right"
    )
    problems = [
        Problem(str(model.path), f"no row with id {value!r}", f"one, as {given.path} has it")
        for value in rows.filter(pl.col("row").is_null())["id"]
    ] + [
        Problem(str(model.path), f"id {value!r}", f"an id that {given.path} has")
        for value in rows.filter(pl.col("id").is_null())["id_right"]
    ]
    if problems and not given.ids.is_in(model.ids.implode()).any():
        problems = [_no_id_in_common(given.ids, model.path, model.ids)]
    if problems:
        raise InputError(problems)
    return model.values[rows["row"].to_numpy()]


def _no_id_in_common(ids: pl.Series, path: Path, others: pl.Series) -> Problem:
    return Problem(
        f"{path}, column {others.name!r}",
        f"ids such as {others[0]!r}, none of which an item has",
        f"ids such as {ids[0]!r}",
        "name the column that has them (ids=, --id); without any, rows are taken in item order",
    )


def _as_codes_or_names(labels: Any, matrix: Any, class_names: Sequence[str] | None) -> Any:
    """Read text that is whole numbers throughout as class numbers, unless classes are called so."""
    if not isinstance(labels, pl.Series) or labels.dtype != pl.String:
        return labels
    if class_names is not None and labels.is_in([*class_names]).all():
        return labels
    if isinstance(matrix, pl.DataFrame) and labels.is_in(matrix.columns).all():
        return labels
    numbers = labels.cast(pl.Int64, strict=False)
    same = (numbers.cast(pl.String) == labels).fill_null(value=False).all()
    return numbers if same else labels
