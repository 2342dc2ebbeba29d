"""Labels and predicted probabilities from whatever they come in, checked: every problem at once."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from labelfix.errors import InputError, Problem, name_rows, warn_caller
from labelfix.score.blocks import Blocks, read_rows, working_dtype

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

__all__ = ["as_arrays", "check_labels_and_pred_probs", "refuse_bad_values"]

TINY = 1e-6
"""How far outside [0, 1] rounding may carry a probability."""

Arrays = tuple["NDArray[Any]", "NDArray[Any]", tuple[str, ...]]


def check_labels_and_pred_probs(
    labels: Any,  # anything array-like, of libraries that are not imported here
    pred_probs: Any,  # as above
    class_names: Sequence[str] | None = None,
    *,
    tolerance: float = 1e-3,
    rounding: float | None = None,
    blocks: Blocks | None = None,
) -> tuple[NDArray[np.int64], NDArray[Any], tuple[str, ...]]:
    """Take labels and probabilities in any usual form; give arrays that every scorer can trust.

    The values are read block by block, once: a memory-mapped file is neither copied nor held.

    Parameters
    ----------
    labels
        Given class of each item, shape (n,): integers from 0 to K - 1, class names, or booleans. A
        NumPy array, torch tensor, pandas or Polars series, or a list.
    pred_probs
        Probability of each class, shape (n, K), rows sum to one: NumPy (float16, 32 or 64;
        memory-mapped too), torch, pandas, Polars or nested lists. The columns of a pandas or Polars
        table are put in the order of `class_names`, or name the classes where nothing else does.
    class_names
        Names of the K columns. None takes the sorted distinct labels where they are K names, and
        "0", "1", … where labels are integers.
    tolerance
        Rows whose sum is further from one than this are refused; nearer ones are divided by their
        sum, in a copy of the matrix, with a warning.
    rounding
        Rows whose sum is within this of one are left as they are. None: 1e-5, or what float16
        cannot help.
    blocks
        How to cut up the rows.

    Returns
    -------
    labels
        Class of each item, shape (n,), int64.
    pred_probs
        The very array that was given, where that was a NumPy array in need of no repair.
    class_names
        K names.

    Raises
    ------
    InputError
        Listing every problem: missing, float or unknown labels, labels out of range, lengths that
        differ, one class only, no rows, object arrays, and rows with NaN, infinite, negative or too
        large values or with a sum that is not one.

    Warns
    -----
    LabelfixWarning
        If rows were divided by their sum.

    Examples
    --------
    >>> labels, _, class_names = check_labels_and_pred_probs(["dog", "cat"], [[0.1, 0.9], [1, 0]])
    >>> labels, class_names
    (array([1, 0]), ('cat', 'dog'))
    >>> check_labels_and_pred_probs([0, 2], [[0.5, 0.5], [0.8, 0.4]])
    Traceback (most recent call last):
    labelfix.errors.InputError: 2 problems
      labels: found labels out of range in row 1; expected 0 to 1, as pred_probs has 2 columns
      pred_probs: found sums up to 0.2 away from one in row 1; expected rows that sum to one; \
divide each row by its sum
    """
    read = _Read.of(labels, pred_probs, class_names)
    checked = read.pred_probs
    blocks = blocks or Blocks.over(checked)
    rounding = _default_rounding(checked) if rounding is None else rounding
    survey = _Survey.of(checked, tolerance, rounding, blocks)
    if problems := [*read.problems, *survey.problems()]:
        raise InputError(problems)
    if "near" in survey.rows:
        checked = _divide_by_sums(checked, survey, blocks)
    return read.labels.astype(np.int64, copy=False), checked, read.class_names


def as_arrays(
    labels: Any, pred_probs: Any, class_names: Sequence[str] | None = None
) -> Arrays:  # as above
    """Do what `check_labels_and_pred_probs` does, but do not read the values of `pred_probs`.

    Integer labels keep their dtype, uint64 excepted.

    Examples
    --------
    >>> as_arrays([True, False], [[0.1, 0.9], [1, 0]])[0]
    array([1, 0])
    """
    read = _Read.of(labels, pred_probs, class_names)
    if read.problems:
        raise InputError(read.problems)
    return read.labels, np.asarray(read.pred_probs), read.class_names


def refuse_bad_values(values: NDArray[Any], pred_probs: NDArray[Any]) -> None:
    """See that values read from a matrix are probabilities; if not, name all rows at fault.

    Parameters
    ----------
    values
        Some values of `pred_probs`, not none.
    pred_probs
        The whole matrix, shape (n, K). Rows may sum to anything.

    Raises
    ------
    InputError
        If a value is NaN, infinite, negative or above one, by more than 1e-6.
    """
    if values.min() >= -TINY and values.max() <= 1 + TINY:  # which NaN is not
        return
    survey = _Survey.of(pred_probs, tolerance=TINY, rounding=np.inf, blocks=Blocks())
    survey.rows.pop("far", None)
    raise InputError(survey.problems())


@dataclass(slots=True)
class _Read:
    """What was given, as arrays (empty where it cannot be), and what is wrong with it."""

    labels: NDArray[Any]
    pred_probs: NDArray[Any]
    class_names: tuple[str, ...]
    problems: list[Problem]

    @classmethod
    def of(cls, labels: Any, pred_probs: Any, class_names: Sequence[str] | None) -> _Read:
        problems: list[Problem] = []
        names = None if class_names is None else tuple(map(str, class_names))
        matrix = _floats(_numpy(pred_probs), problems)
        matrix, names = _columns_by_name(pred_probs, matrix, names)
        vector = _numpy(labels)
        if vector.ndim and matrix.ndim == 2 and len(vector) != len(matrix):
            problems.append(
                Problem("labels", f"{len(vector)} labels", f"{len(matrix)}, the rows of pred_probs")
            )
        problems += _shape_problems(matrix, names)
        classes = matrix.shape[1] if matrix.ndim == 2 else None
        codes, names = _codes(vector, names, classes, problems)
        usable = matrix.ndim == 2 and matrix.shape[1] > 1 and matrix.dtype.kind == "f"
        matrix = matrix if usable else np.empty((0, 2))
        return cls(codes, matrix, names, problems)


def _numpy(values: Any) -> NDArray[Any]:
    """Give a NumPy array of what may come from another library, which is not imported for it."""
    if hasattr(values, "detach"):
        values = values.detach().cpu()
        return np.asarray(values.float() if str(values.dtype) == "torch.bfloat16" else values)
    if isinstance(values, np.ma.MaskedArray):
        floats = values.dtype.kind == "f"
        plain = np.array(values.data, dtype=values.dtype if floats else object)
        plain[np.ma.getmaskarray(values)] = np.nan if floats else None
        return plain
    if isinstance(values, np.memmap):
        return values
    if hasattr(values, "to_numpy"):
        return np.asarray(values.to_numpy())
    try:
        return np.asarray(values)
    except ValueError:  # nested lists of unequal length
        return np.asarray([None, *values], dtype=object)[1:]


def _floats(matrix: NDArray[Any], problems: list[Problem]) -> NDArray[Any]:
    """Leave float16, 32 and 64 as they are; whole numbers and booleans become float64."""
    if matrix.dtype.kind in "iub" or (matrix.dtype.itemsize > 8 and matrix.dtype.kind == "f"):
        return matrix.astype(np.float64)
    if matrix.dtype.kind != "f":
        found = "an array of objects" if matrix.dtype.kind == "O" else f"{matrix.dtype} values"
        fix = "rows of unequal length or missing values make one" if "objects" in found else ""
        problems.append(Problem("pred_probs", found, "float16, float32 or float64", fix))
    return matrix


def _columns_by_name(
    source: Any, matrix: NDArray[Any], names: tuple[str, ...] | None
) -> tuple[NDArray[Any], tuple[str, ...] | None]:
    """Use the column names of a table to name the classes, or to order the columns."""
    columns = tuple(getattr(source, "columns", ()))
    if not columns or not all(isinstance(column, str) for column in columns):
        return matrix, names
    if names is None:
        return matrix, columns
    if columns != names and sorted(columns) == sorted(names):
        return matrix[:, [columns.index(name) for name in names]], names
    return matrix, names


def _shape_problems(matrix: NDArray[Any], names: tuple[str, ...] | None) -> list[Problem]:
    if matrix.ndim != 2:
        fix = "give both classes a column" if matrix.ndim == 1 else ""
        return [Problem("pred_probs", f"shape {matrix.shape}", "shape (n, K)", fix)]
    problems = []
    rows, classes = matrix.shape
    if rows == 0:
        problems.append(Problem("pred_probs", "no rows", "one for each item"))
    if classes < 2:
        problems.append(
            Problem(
                "pred_probs",
                f"{classes} column{'s' * (classes != 1)}",
                "one for each of K ≥ 2 classes",
            )
        )
    if names is not None and len(names) != classes:
        problems.append(
            Problem("class_names", f"{len(names)} names", f"{classes}, the columns of pred_probs")
        )
    if names is not None and len(set(names)) != len(names):
        twice = sorted({name for name in names if names.count(name) > 1})
        problems.append(
            Problem("class_names", f"{', '.join(twice)} more than once", "distinct names")
        )
    return problems


def _codes(
    labels: NDArray[Any],
    names: tuple[str, ...] | None,
    classes: int | None,
    problems: list[Problem],
) -> tuple[NDArray[Any], tuple[str, ...]]:
    """Give each label's class as an integer, and the class names."""
    if labels.ndim != 1:
        fix = "if it is one-hot, labels.argmax(axis=1)" if labels.ndim == 2 else ""
        problems.append(Problem("labels", f"shape {labels.shape}", "shape (n,)", fix))
        return np.empty(0, dtype=np.int64), ()
    if labels.dtype.kind in "OSUT":
        return _codes_of_names(labels, names, classes, problems)
    if labels.dtype.kind == "b":
        return _codes_of_booleans(labels, names, classes, problems)
    if labels.dtype.kind in "iu":
        problems += _range_problems(labels, classes)
        if labels.dtype == np.uint64:  # which NumPy does not add to other integers
            labels = labels.astype(np.int64)
    else:
        problems += _float_problems(labels)
    return labels, names or tuple(map(str, range(classes or 0)))


def _range_problems(labels: NDArray[Any], classes: int | None) -> list[Problem]:
    if classes is None or not len(labels) or (labels.min() >= 0 and labels.max() < classes):
        return []
    rows = np.flatnonzero((labels < 0) | (labels >= classes))
    expected = f"0 to {classes - 1}, as pred_probs has {classes} columns"
    return [Problem("labels", f"labels out of range in {name_rows(rows)}", expected)]


def _float_problems(labels: NDArray[Any]) -> list[Problem]:
    expected = "integers from 0 to K - 1, or class names"
    if labels.dtype.kind != "f":
        return [Problem("labels", f"{labels.dtype} values", expected)]
    missing = np.isnan(labels)
    if missing.any():
        rows = np.flatnonzero(missing)
        return [Problem("labels", f"missing labels in {name_rows(rows)}", expected)]
    if len(rows := np.flatnonzero(np.floor(labels) != labels)):
        found = f"numbers with a fraction, such as {labels[rows[0]]}, in {name_rows(rows)}"
        return [Problem("labels", found, expected)]
    fix = "labels.astype(int), if they are whole numbers"
    return [Problem("labels", f"{labels.dtype} labels", expected, fix)]


def _codes_of_booleans(
    labels: NDArray[Any],
    names: tuple[str, ...] | None,
    classes: int | None,
    problems: list[Problem],
) -> tuple[NDArray[Any], tuple[str, ...]]:
    """Count False as class 0 and True as class 1, unless the class names say the opposite."""
    names = names or ("False", "True")
    if not len(names) == (classes or 2) == 2:
        expected = f"one of {classes or len(names)} classes"
        problems.append(Problem("labels", "booleans", expected))
    swapped = tuple(name.casefold() for name in names) == ("true", "false")
    return (labels != swapped).astype(np.int64), names


def _codes_of_names(
    labels: NDArray[Any],
    names: tuple[str, ...] | None,
    classes: int | None,
    problems: list[Problem],
) -> tuple[NDArray[Any], tuple[str, ...]]:
    if labels.dtype.kind == "O" and (found := _object_problems(labels)):
        problems += found
        return np.empty(0, dtype=np.int64), names or ()
    text = np.strings.decode(labels) if labels.dtype.kind == "S" else labels.astype(str)
    column = pl.Series(text, dtype=pl.String)
    if names is None:
        names = tuple(column.unique().sort())
        if classes is not None and len(names) != classes:
            problems.append(
                Problem(
                    "labels",
                    f"{len(names)} distinct labels",
                    f"{classes}, the columns of pred_probs",
                    "name the columns: class_names, or a table of probabilities with a header",
                )
            )
    codes = column.replace_strict(
        pl.Series(names, dtype=pl.String).unique(maintain_order=True),
        pl.Series(range(len(set(names)))),
        default=None,
        return_dtype=pl.Int64,
    )
    if codes.null_count():
        rows = codes.is_null().arg_true()
        some = ", ".join(repr(name) for name in column[rows].unique().sort().head(5))
        known = ", ".join(map(repr, names[:5])) + (", …" if len(names) > 5 else "")
        what = f"{some}, no class names, in {name_rows(rows)}"
        problems.append(Problem("labels", what, f"one of the classes {known}"))
    return codes.fill_null(0).to_numpy(), names


def _object_problems(labels: NDArray[Any]) -> list[Problem]:
    """Name the rows of an array of objects that hold no class name."""
    is_name = np.fromiter((isinstance(label, str) for label in labels), bool, len(labels))
    others = np.flatnonzero(~is_name)
    if len(others) == len(labels):  # class numbers, of which some are missing
        numbers = [isinstance(label, (int, np.integer)) for label in labels]
        others = np.flatnonzero(~np.array(numbers)) if not all(numbers) else others
    gone = np.fromiter((_is_missing(label) for label in labels[others]), bool, len(others))
    expected = "integers from 0 to K - 1, or class names"
    kinds = {"missing labels": others[gone], "objects that are no class names": others[~gone]}
    return [
        Problem("labels", f"{kind} in {name_rows(rows)}", expected)
        for kind, rows in kinds.items()
        if len(rows)
    ]


def _is_missing(label: object) -> bool:
    return label is None or type(label).__name__ == "NAType" or label != label  # as NaN is


def _default_rounding(pred_probs: NDArray[Any]) -> float:
    """How far rounding alone can take a row's sum from one.

    Rounding to float16 moves a value by up to 2**-12 of itself, and tiny ones by up to 2**-25.
    """
    if pred_probs.dtype.itemsize > 2:
        return 1e-5
    return float(2**-11 + pred_probs.shape[1] * 2**-25)


@dataclass(slots=True)
class _Survey:
    """What one pass over a matrix found: the rows of each fault, and how far off they are."""

    rows: dict[str, list[NDArray[np.int64]]] = field(default_factory=dict)
    furthest: dict[str, float] = field(default_factory=dict)

    @classmethod
    def of(
        cls, pred_probs: NDArray[Any], tolerance: float, rounding: float, blocks: Blocks
    ) -> _Survey:
        def task(start: int, stop: int) -> list[tuple[str, NDArray[np.int64], float]]:
            return list(_faults(read_rows(pred_probs, start, stop), start, tolerance, rounding))

        survey = cls()
        row_bytes = pred_probs.shape[1] * working_dtype(pred_probs).itemsize
        for faults in blocks.each(task, blocks.spans(len(pred_probs), row_bytes)):
            for fault, rows, distance in faults:
                survey.rows.setdefault(fault, []).append(rows)
                survey.furthest[fault] = max(distance, survey.furthest.get(fault, 0.0))
        return survey

    def named(self, fault: str) -> str:
        return name_rows(np.concatenate(self.rows[fault]))

    def problems(self) -> list[Problem]:
        probabilities = "probabilities from 0 to 1"
        logits = "if these are logits, apply softmax first"
        expected = {
            "NaN": (probabilities, "see why the model gave none"),
            "infinite values": (probabilities, "see why the model gave them"),
            "negative values": (probabilities, logits),
            "values above one": (probabilities, logits),
            "far": (
                "rows that sum to one",
                "divide each row by its sum",
            ),
        }
        return [
            Problem("pred_probs", f"{self._found(fault)} in {self.named(fault)}", *expected[fault])
            for fault in expected
            if fault in self.rows
        ]

    def _found(self, fault: str) -> str:
        return f"sums up to {self.furthest[fault]:.3g} away from one" if fault == "far" else fault


def _faults(
    block: NDArray[Any], start: int, tolerance: float, rounding: float
) -> Iterator[tuple[str, NDArray[np.int64], float]]:
    """Yield each fault of a block, its rows, and how far the furthest of their sums is from one."""
    with np.errstate(invalid="ignore", over="ignore"):  # infinite values and NaN are looked for
        distance = abs(block.sum(axis=1) - 1)
        if block.min() >= 0 and block.max() <= 1 + TINY and distance.max() <= rounding:
            return
        low, high = block.min(axis=1), block.max(axis=1)
    left = np.ones(len(block), dtype=bool)
    for fault, faulty in (
        ("NaN", np.isnan(low)),
        ("infinite values", np.isinf(low) | np.isinf(high)),
        ("negative values", low < -TINY),
        ("values above one", high > 1 + tolerance),
        ("far", distance > tolerance),
        ("near", (distance > rounding) | (low < 0)),
    ):
        if (here := faulty & left).any():
            yield fault, start + np.flatnonzero(here), float(distance[here].max())
            left &= ~faulty


def _divide_by_sums(pred_probs: NDArray[Any], survey: _Survey, blocks: Blocks) -> NDArray[Any]:
    """Copy the matrix with the rows that are nearly right made right, and say so."""
    repaired = np.empty(pred_probs.shape, dtype=working_dtype(pred_probs))
    near = np.zeros(len(pred_probs), dtype=bool)
    near[np.concatenate(survey.rows["near"])] = True

    def task(start: int, stop: int) -> None:
        block = np.maximum(read_rows(pred_probs, start, stop), 0, out=repaired[start:stop])
        sums = block.sum(axis=1, dtype=np.float64, where=near[start:stop, None])
        block /= np.where(near[start:stop], sums, 1.0)[:, None].astype(block.dtype)

    row_bytes = pred_probs.shape[1] * repaired.itemsize
    blocks.run(task, blocks.spans(len(pred_probs), row_bytes))
    were = "were divided by their sum" if near.sum() > 1 else "was divided by its sum"
    warn_caller(
        f"pred_probs: {survey.named('near')} missed a sum of one by up to "
        f"{survey.furthest['near']:.2g} and {were}, in a copy of "
        f"{repaired.nbytes / 1e6:.3g} MB"
    )
    return repaired
