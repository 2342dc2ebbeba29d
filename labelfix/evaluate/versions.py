"""Files of predictions and of labels, read, joined by id, and numbered alike.

Several models and several versions of the labels rarely come in one shape. Here all of them become
what `compare_models` takes, or one error that lists everything that does not fit.
"""

from __future__ import annotations

import glob
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import polars as pl

from labelfix.errors import MOST_LINES, InputError, Problem, warn_caller
from labelfix.evaluate.compare import LabelSets
from labelfix.formats.table import ID_NAMES, label_candidates
from labelfix.formats.tablefile import is_table, open_table
from labelfix.metadata import match_keys
from labelfix.text import count

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray

    from labelfix.schema import Dataset

__all__ = ["Answers", "Material", "answers_for", "read_answers", "read_material"]

CORRECTION_NAMES = ("correction", "corrections", "corrected_label", "corrected_labels", "corrected")
_ANSWER_NAMES = ("prediction", "predicted", "predicted_label", "answer", "top1", "top_1", "argmax")
_SEVERAL_NUMBERS = r"^-?\d+(?:[,;|\s]+-?\d+)+$"
_BLOCK, _TOP, _SHOWN = 4096, 5, 3


@dataclass(frozen=True, eq=False)
class Answers:
    """What one model answers.

    Parameters
    ----------
    name
        Of the model.
    top
        Answers, best first, shape (n, k): class numbers, or class names as text.
    ids
        What names the rows; None if they are in the order of the labels.
    class_names
        Of the numbers, if the file tells.
    scored
        How many classes have scores; None where the file has answers.
    """

    name: str
    top: NDArray[Any]
    ids: pl.Series | None = None
    class_names: tuple[str, ...] | None = None
    scored: int | None = None


@dataclass(frozen=True, eq=False)
class _Version:
    """One version of the labels as its file has it: a list of texts a row."""

    where: str
    labels: pl.Series
    ids: pl.Series | None


@dataclass(frozen=True, eq=False)
class Material:
    """What `compare_models` needs, rows in the order of the first version.

    Parameters
    ----------
    answers
        Class numbers by model, best first, shape (n, k).
    versions
        By name, the first is the original.
    class_names
        Of the numbers; None if labels are numbers themselves.
    ids
        Of the items; None if no file names its rows.
    """

    answers: dict[str, NDArray[np.int64]]
    versions: dict[str, LabelSets]
    class_names: tuple[str, ...] | None
    ids: pl.Series | None


def read_material(
    predictions: Sequence[str | Path],
    labels: Mapping[str, str | Path],
    corrections: Mapping[str, str | Path] | None = None,
    *,
    class_names: Sequence[str] | None = None,
    id: str | None = None,  # noqa: A002 # the word that users look for
    dataset: Dataset | None = None,
    more: Sequence[Answers] = (),
) -> Material:
    """Read models' predictions and versions of the labels.

    Parameters
    ----------
    predictions
        Files, or patterns such as `preds/*.npy`: see `read_answers`.
    labels
        By name, a file that has every item: .npy or .npz with class numbers (below 0: none) or
        names; JSON, a list with a label or a list of labels an item, or an object of such by id; or
        a table with a column of labels, in which several are separated by `|` (class numbers also
        by commas), and none is an empty cell or -1.
    corrections
        By name, a table or JSON object that has the items which change, by id, which may also be
        the file name of a longer id, or its stem: all others keep their original label.
    class_names
        In the order of the class numbers; None: as the predictions' columns are called, or sorted.
    id
        Column of ids of the tables; None for item_id or id.
    dataset
        Whose given labels are the first version, called `original`.
    more
        Models whose answers are at hand.

    Raises
    ------
    InputError
        All at once: files that do not read, items that a file misses or has too many, labels that
        are no class, models with other classes.
    """
    told = _Told()
    read = _read_files(told, predictions, labels, corrections or {}, id, dataset, more)
    told.refuse()
    named_rows = [*(one.ids for one in read.versions.values()), *(one.ids for one in read.models)]
    base = next((ids for ids in named_rows if ids is not None), None)
    n = len(next(iter(read.versions.values())).labels) if base is None else len(base)
    models = [told.each(_ordered_answers, one, base, n) for one in read.models]
    versions = {
        name: told.each(_ordered_version, one, base, n) for name, one in read.versions.items()
    }
    told.refuse()
    _warn_of_order(next(iter(read.versions.values())), base)
    original = next(iter(versions.values()))
    versions |= {
        name: told.each(_changed, original, one, base) for name, one in read.changes.items()
    }
    told.refuse()
    named = None if dataset is None else dataset.class_names
    known = _class_names(models, [*versions.values()], class_names, named)
    numbered = {one.name: told.each(_numbered_answers, one, known) for one in models}
    sets = {name: told.each(_label_sets, one, known) for name, one in versions.items()}
    told.refuse()
    told.problems += _too_few_classes(models, sets, known)
    told.refuse()
    return Material(numbered, sets, known, base)


class _Told:
    """Collects what is wrong, so that all of a step is told at once."""

    def __init__(self) -> None:
        self.problems: list[Problem] = []

    def each(self, read: Callable[..., Any], *given: Any) -> Any:
        """Call `read`; None where it finds problems, which are kept."""
        try:
            return read(*given)
        except InputError as error:
            self.problems.extend(error.problems)
            return None

    def refuse(self) -> None:
        """Raise what was collected, if anything was."""
        if self.problems:
            raise InputError(self.problems)


@dataclass(frozen=True, eq=False)
class _Files:
    """What the files hold, not joined yet."""

    versions: dict[str, _Version]
    changes: dict[str, _Version]
    models: list[Answers]


def _read_files(
    told: _Told,
    predictions: Sequence[str | Path],
    labels: Mapping[str, str | Path],
    corrections: Mapping[str, str | Path],
    id: str | None,  # noqa: A002 # as in `read_material`
    dataset: Dataset | None,
    more: Sequence[Answers],
) -> _Files:
    own = {} if dataset is None else {"original": _version_of(dataset)}
    given = {name: told.each(_read_version, Path(path), id, False) for name, path in labels.items()}
    changes = {
        name: told.each(_read_version, Path(path), id, True) for name, path in corrections.items()
    }
    files = told.each(_expand, predictions) or []
    models = [one for path in files for one in told.each(read_answers, path, id) or []]
    models += more
    names = [model.name for model in models]
    told.problems += [
        Problem(f"predictions {name}", "two models of this name", "names that differ")
        for name in sorted({name for name in names if names.count(name) > 1})
    ] + [
        Problem(f"labels {name}", "two versions of this name", "names that differ")
        for name in sorted((own.keys() & given) | (changes.keys() & (own.keys() | given)))
    ]
    versions = own | given
    if not versions:
        told.problems.append(Problem("labels", "no version", "at least the original"))
    if not models and not told.problems:
        told.problems.append(Problem("predictions", "no model", "at least one"))
    return _Files(versions, changes, models)


def _warn_of_order(original: _Version, base: pl.Series | None) -> None:
    if original.ids is None and base is not None:
        text = f"{original.where} names no items: its rows are taken in the order of other files"
        warn_caller(text)


def read_answers(path: str | Path, id: str | None = None) -> list[Answers]:  # noqa: A002 # as above
    """Read the answers of one model, or of several from one file.

    Parameters
    ----------
    path
        .npy or .npz with fractions of shape (n, K): scores of each class; or whole numbers or text
        of shape (n,) or (n, k): answers, best first. An .npz with `models` holds several models in
        `top1` (models, n), `top5` or `top` (models, n, k), or `pred_probs` (models, n, K). A table
        has a column of answers (`prediction`, or `top1`, `top2`, …), or one of scores a class.
    id
        Column of ids; None for item_id or id.

    Raises
    ------
    InputError
        If it does not read, or holds nothing of the kind.
    """
    path = Path(path)
    if is_table(path):
        return [_answers_of_table(path, id)]
    if path.suffix.lower() not in {".npy", ".npz"}:
        expected = "a name that ends in .npy, .npz, .csv, .tsv, .parquet or .arrow"
        raise InputError(Problem(str(path), "no file of predictions", expected))
    arrays = _load(path)
    place = next((k for k in ("pred_probs", "top5", "top", "top1") if k in arrays), None)
    values = arrays[place] if place else next(iter(arrays.values()))
    if "models" not in arrays:
        return [Answers(path.stem, _top(values, str(path)), scored=_scored(values))]
    names = [str(name) for name in arrays["models"]]
    if place is None or len(values) != len(names):
        found = f"{len(names)} models and an array of shape {values.shape}"
        raise InputError(Problem(str(path), found, "top1, top5, top or pred_probs, by model"))
    return [
        Answers(name, _top(one, f"{path}, {name}"), scored=_scored(one))
        for name, one in zip(names, values, strict=True)
    ]


def answers_for(dataset: Dataset, path: str | Path, id: str | None = None) -> NDArray[np.int64]:  # noqa: A002 # as above
    """Read one model's answers for the items of a dataset.

    Parameters
    ----------
    dataset
        With class labels.
    path, id
        As in `read_answers`. Rows are joined by id, or taken in item order where they have none.

    Returns
    -------
    NDArray
        Numbers of `dataset.class_names`, best first, shape (n, k).

    Raises
    ------
    InputError
        If the file holds several models, misses items, or has other classes.
    """
    models = read_answers(path, id)
    if len(models) > 1:
        raise InputError(Problem(str(path), f"{len(models)} models", "one"))
    ids = dataset.items["item_id"]
    return _numbered_answers(_ordered_answers(models[0], ids, len(ids)), dataset.class_names)


def _expand(patterns: Sequence[str | Path]) -> list[Path]:
    problems, found = [], []
    for pattern in patterns:
        here = [str(pattern)] if Path(pattern).exists() else sorted(glob.glob(str(pattern)))  # noqa: PTH207 # patterns may be absolute
        if not here:
            problems.append(Problem(str(pattern), "no such file", "files of predictions"))
        found += [Path(one) for one in here]
    if problems:
        raise InputError(problems)
    return list(dict.fromkeys(found))


def _load(path: Path) -> dict[str, NDArray[Any]]:
    try:
        with path.open("rb") as file:
            loaded = np.load(file, allow_pickle=False)
            return dict(loaded) if isinstance(loaded, np.lib.npyio.NpzFile) else {"": loaded}
    except (OSError, ValueError, EOFError) as error:
        found = f"a file that does not read ({error})"
        raise InputError(Problem(str(path), found, "an array of numbers or text")) from error


def _top(values: NDArray[Any], where: str) -> NDArray[Any]:
    """Take answers, best first, from scores or from answers themselves."""
    if values.ndim not in {1, 2} or not values.size:
        expected = "(items,), (items, answers) or (items, classes)"
        raise InputError(Problem(where, f"an array of shape {values.shape}", expected))
    if values.dtype.kind == "f" and values.ndim == 2:
        return _best(values, where)
    if values.dtype.kind not in "iuU":
        found = f"an array of {values.dtype} with {values.ndim} axes"
        raise InputError(Problem(where, found, "scores of each class, or answers"))
    return values.reshape(len(values), -1)


def _scored(values: NDArray[Any]) -> int | None:
    return values.shape[1] if values.dtype.kind == "f" and values.ndim == 2 else None


def _best(scores: NDArray[Any], where: str) -> NDArray[np.int64]:
    """Find the classes of the highest scores, the first of equal ones first."""
    top = np.empty((len(scores), min(_TOP, scores.shape[1])), np.int64)
    for start in range(0, len(scores), _BLOCK):
        block = scores[start : start + _BLOCK].astype(np.float64)
        if np.isnan(block).any():
            row = start + int(np.isnan(block).any(axis=1).argmax())
            raise InputError(Problem(f"{where}, row {row}", "a score that is no number"))
        rows = np.arange(len(block))
        for place in range(top.shape[1]):
            best = block.argmax(axis=1)
            top[start : start + _BLOCK, place] = best
            block[rows, best] = -np.inf
    return top


def _answers_of_table(path: Path, id: str | None) -> Answers:  # noqa: A002 # as above
    ids, table = _split(path, id)
    plain = {name: name.strip().casefold() for name in table.columns}
    ranked = [
        name for k in range(1, 100) for name in plain if plain[name] in {f"top{k}", f"top_{k}"}
    ]
    one = [name for name in plain if plain[name] in _ANSWER_NAMES]
    chosen = ranked or one or (table.columns if table.width == 1 else [])
    if chosen:
        top = np.column_stack([_plain(table[name]) for name in chosen])
        return Answers(path.stem, top, ids)
    numbers = table.with_columns(pl.col(pl.String).cast(pl.Float64, strict=False))
    fix = "if it names the rows, say so (id=, --id)"
    odd = [
        Problem(f"{path}, column {name!r}", "cells that are no numbers", "a score of a class", fix)
        for name, kind in numbers.schema.items()
        if not kind.is_numeric() or numbers[name].null_count()
    ]
    if odd:
        raise InputError(odd)
    return Answers(path.stem, _best(numbers.to_numpy(), str(path)), ids, tuple(numbers.columns))


def _plain(column: pl.Series) -> NDArray[Any]:
    """Whole numbers as such, all else as text."""
    numbers = column.cast(pl.Int64, strict=False)
    if numbers.null_count() == 0:
        return numbers.to_numpy()
    return column.cast(pl.String).fill_null("").to_numpy().astype(str)


def _split(path: Path, id: str | None) -> tuple[pl.Series | None, pl.DataFrame]:  # noqa: A002 # as above
    """Take the ids off a table."""
    file = open_table(path)
    if file.bad:
        raise InputError(file.bad.values())
    table = file.table
    name = id or next((one for one in ID_NAMES if one in table.columns), None)
    if name is None:
        return None, table
    if name not in table.columns:
        raise InputError(Problem(str(path), f"no column {name!r}", ", ".join(table.columns)))
    ids = table[name].cast(pl.String)
    odd = (ids.is_null() | ids.is_duplicated()).arg_true()
    if len(odd):
        found = f"{len(odd):,} rows without an id of their own, such as {ids[odd[0]]!r}"
        raise InputError(Problem(f"{path}, column {name!r}", found, "ids that differ"))
    return ids, table.drop(name)


def _read_version(path: Path, id: str | None, is_change: bool) -> _Version:  # noqa: A002 # as above
    where = str(path)
    if not path.is_file():
        raise InputError(Problem(where, "no such file", "labels"))
    ids: pl.Series | None = None
    if path.suffix.lower() == ".json":
        ids, values = _from_json(path)
    elif is_table(path):
        ids, table = _split(path, id)
        values = table[_label_column(path, table.columns, is_change)]
    else:
        arrays = _load(path)
        values = pl.Series(arrays.get("labels", next(iter(arrays.values()))))
    if is_change and ids is None:
        raise InputError(Problem(where, "no ids", "the ids of the items that change"))
    return _Version(where, _as_lists(values, where), ids)


def _version_of(dataset: Dataset) -> _Version:
    labels = dataset.annotations["label"].reshape((-1, 1)).arr.to_list()
    return _Version("the dataset", labels, dataset.items["item_id"])


def _from_json(path: Path) -> tuple[pl.Series | None, pl.Series]:
    try:
        content = msgspec.json.decode(path.read_bytes())
    except msgspec.DecodeError as error:
        raise InputError(Problem(str(path), f"no JSON ({error})")) from error
    if not isinstance(content, list | dict) or not content:
        expected = "a list with the labels of each item, or an object of such by id"
        raise InputError(Problem(str(path), "JSON of another shape", expected))
    cells = [*content.values()] if isinstance(content, dict) else content
    lists = [one if isinstance(one, list) else [] if one is None else [one] for one in cells]
    texts = pl.Series([[str(x) for x in one] for one in lists], dtype=pl.List(pl.String))
    return (pl.Series([*content]) if isinstance(content, dict) else None), texts


def _label_column(path: Path, columns: list[str], is_change: bool) -> str:
    changes = [name for name in columns if name.strip().casefold() in CORRECTION_NAMES]
    found = (changes or label_candidates(columns)) if is_change else label_candidates(columns)
    found = found or changes or (columns if len(columns) == 1 else [])
    if len(found) == 1:
        return found[0]
    what = ", ".join(map(repr, columns))
    fix = "rename the column of labels, or remove the others"
    raise InputError(Problem(str(path), f"the columns {what}", "one called 'label'", fix))


def _as_lists(values: pl.Series, where: str) -> pl.Series:
    """Make a list of texts of each cell."""
    if isinstance(values.dtype, pl.List):
        return values.list.eval(pl.element().cast(pl.String))
    if values.dtype.is_float() or values.dtype.is_nested():
        raise InputError(Problem(where, f"labels of type {values.dtype}", "class numbers or names"))
    text = values.cast(pl.String).str.strip_chars()
    table = pl.DataFrame({"text": text}).select(
        pl.when(pl.col("text").is_null() | pl.col("text").is_in(["", "-1"]))
        .then(pl.lit([], dtype=pl.List(pl.String)))
        .when(pl.col("text").str.contains(_SEVERAL_NUMBERS))
        .then(pl.col("text").str.extract_all(r"-?\d+"))
        .otherwise(pl.col("text").str.split("|"))
        .alias("labels")
    )
    return table["labels"]


def _places(mine: pl.Series | None, base: pl.Series | None, rows: int, n: int, where: str) -> Any:
    """Find the row of each item, or say which items are missing and which are too many."""
    if mine is None or base is None:
        if rows != n:
            fix = "name the rows, with a column item_id"
            raise InputError(Problem(where, f"{rows:,} rows", f"{n:,}, one an item", fix))
        return slice(None)
    row = pl.Series(range(rows), dtype=pl.Int64)
    found = base.replace_strict(mine, row, default=None, return_dtype=pl.Int64)
    missing = base.filter(found.is_null())
    foreign = mine.filter(~mine.is_in(base.implode()))
    problems = [
        Problem(
            where,
            f"{what} {count(len(ids), name)}: {_some(ids, MOST_LINES)}",
            f"the {n:,} items of the labels",
        )
        for what, name, ids in (("no row for", "id", missing), ("rows for", "unknown id", foreign))
        if len(ids)
    ]
    if problems:
        raise InputError(problems)
    return found.to_numpy()


def _some(ids: pl.Series, most: int = _SHOWN) -> str:
    shown = ", ".join(repr(one) for one in ids[:most])
    return shown + (f" and {len(ids) - most:,} more" if len(ids) > most else "")


def _ordered_version(version: _Version, base: pl.Series | None, n: int) -> _Version:
    rows = _places(version.ids, base, len(version.labels), n, version.where)
    return replace(version, labels=version.labels[rows])


def _ordered_answers(model: Answers, base: pl.Series | None, n: int) -> Answers:
    rows = _places(model.ids, base, len(model.top), n, f"predictions {model.name}")
    return replace(model, top=model.top[rows])


def _changed(original: _Version, change: _Version, base: pl.Series | None) -> _Version:
    """Put the labels of a list of corrections in place of the original ones."""
    if base is None or change.ids is None:
        raise InputError(Problem(change.where, "ids", "labels with ids to join them to"))
    rows = match_keys(base, change.ids)
    unused = len(change.ids) - rows.drop_nulls().n_unique()
    if unused == len(change.ids):
        expected = f"ids such as {_some(base)}"
        raise InputError(Problem(change.where, f"ids such as {_some(change.ids)}", expected))
    if unused:
        text = f"{change.where}: {unused:,} of {len(change.ids):,} ids are those of no item"
        warn_caller(text)
    both = pl.DataFrame({"new": change.labels[rows], "old": original.labels, "row": rows})
    chosen = both.select(pl.when(pl.col("row").is_null()).then("old").otherwise("new"))
    return _Version(change.where, chosen.to_series(), base)


def _class_names(
    models: Sequence[Answers],
    versions: Sequence[_Version],
    given: Sequence[str] | None,
    otherwise: tuple[str, ...] | None,
) -> tuple[str, ...] | None:
    """Agree on what class numbers stand for."""
    if given is not None:
        return tuple(given)
    told = next((model.class_names for model in models if model.class_names), None)
    if told is not None or otherwise is not None:
        return told or otherwise
    texts = pl.concat([one.labels.explode().drop_nulls() for one in versions])
    answered = [pl.Series(one.top.ravel()) for one in models if one.top.dtype.kind == "U"]
    if not answered and texts.cast(pl.Int64, strict=False).null_count() == 0:
        return None
    return tuple(pl.concat([texts, *answered]).unique().sort())


def _numbered_answers(model: Answers, known: tuple[str, ...] | None) -> NDArray[np.int64]:
    where = f"predictions {model.name}"
    if known is None:
        return model.top.astype(np.int64)
    if model.class_names is not None and model.class_names != known:
        _refuse_other_classes(where, model.class_names, known)
        place = {name: number for number, name in enumerate(known)}
        numbers = np.array([place[name] for name in model.class_names], np.int64)
        return numbers[model.top.astype(np.int64)]
    if model.top.dtype.kind != "U":
        if (model.top >= len(known)).any():
            found = f"class number {model.top.max()}"
            raise InputError(Problem(where, found, f"0 to {len(known) - 1}"))
        return model.top.astype(np.int64)
    return _codes(pl.Series(model.top.ravel()), known, where).reshape(model.top.shape)


def _refuse_other_classes(where: str, mine: tuple[str, ...], known: tuple[str, ...]) -> None:
    problems = [
        Problem(where, f"{what} {_some(pl.Series(sorted(names)))}", "the classes of the labels")
        for what, names in (
            ("unknown classes", set(mine) - set(known)),
            ("no column for the classes", set(known) - set(mine)),
        )
        if names
    ]
    if problems:
        raise InputError(problems)


def _too_few_classes(
    models: Sequence[Answers], sets: Mapping[str, LabelSets], known: tuple[str, ...] | None
) -> list[Problem]:
    """Tell of models that score fewer classes than there are: they are models of other classes."""
    highest = max((int(one.label.max()) for one in sets.values() if len(one.label)), default=-1)
    classes = highest + 1 if known is None else len(known)
    return [
        Problem(
            f"predictions {one.name}",
            f"scores for {count(one.scored, 'class', 'classes')}",
            f"{classes:,}",
        )
        for one in models
        if one.scored is not None and one.scored < classes
    ]


def _label_sets(version: _Version, known: tuple[str, ...] | None) -> LabelSets:
    pairs = pl.DataFrame({"label": version.labels}).with_row_index("item").explode("label")
    pairs = pairs.filter(pl.col("label") != "-1").unique(maintain_order=True)
    if known is None:
        label = pairs["label"].cast(pl.Int64).to_numpy()
    else:
        label = _codes(pairs["label"], known, version.where)
    return LabelSets(pairs["item"].cast(pl.Int64).to_numpy(), label, len(version.labels))


def _codes(names: pl.Series, known: tuple[str, ...], where: str) -> NDArray[np.int64]:
    codes = pl.Series(range(len(known)), dtype=pl.Int64)
    found = names.replace_strict(pl.Series(known), codes, default=None, return_dtype=pl.Int64)
    if found.null_count():
        found = names.cast(pl.Int64, strict=False)
        if found.null_count() or not found.is_between(0, len(known) - 1).all():
            odd = names.filter(~names.is_in(known)).unique().sort()
            expected = f"one of the {len(known):,} classes"
            raise InputError(Problem(where, f"labels that are no class: {_some(odd)}", expected))
    numbers: NDArray[np.int64] = found.to_numpy()
    return numbers
