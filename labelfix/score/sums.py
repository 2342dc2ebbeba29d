"""Sums by class in one pass, to the last bit what NumPy gives for each class's values together."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from labelfix.score.blocks import working_dtype

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from labelfix.score.blocks import Blocks

__all__ = [
    "OwnProbability",
    "PairwiseSum",
    "class_sums",
    "count_labels",
    "given_values",
    "keep_own",
    "values_at",
]

OwnProbability = Callable[[int, int], "NDArray[Any]"]
"""Gives the probability of the given class in rows start to stop."""

LEAF = 2048
"""Values that a `PairwiseSum` keeps at most; below it NumPy sums as one. Decides no result."""


def count_labels(labels: NDArray[Any], classes: int, blocks: Blocks) -> NDArray[np.int64]:
    """Count the items of each class, shape (K,)."""
    spans = blocks.spans(len(labels), row_bytes=8)
    return sum(
        blocks.each(lambda start, stop: np.bincount(labels[start:stop], minlength=classes), spans),
        start=np.zeros(classes, dtype=np.int64),
    )


def values_at(
    pred_probs: NDArray[Any], rows: NDArray[np.intp], classes: NDArray[Any]
) -> NDArray[Any]:
    """Probability of a class in each of some rows, in the working precision.

    Examples
    --------
    >>> values_at(np.array([[0.75, 0.25], [0.5, 0.5]]), np.array([1, 0, 0]), np.array([0, 0, 1]))
    array([0.5 , 0.75, 0.25])
    """
    if pred_probs.flags.c_contiguous:  # one flat index is faster than two
        places = rows * pred_probs.shape[1]
        places += classes.astype(np.intp, copy=False)
        values = pred_probs.reshape(-1).take(places)
    else:
        values = pred_probs[rows, classes]
    exact: NDArray[Any] = values.astype(working_dtype(pred_probs), copy=False)
    return exact


def given_values(
    labels: NDArray[Any], pred_probs: NDArray[Any], start: int, stop: int
) -> NDArray[Any]:
    """Probability of the given class in rows `start` to `stop`, in the working precision."""
    return values_at(pred_probs, np.arange(start, stop), labels[start:stop])


def keep_own(labels: NDArray[Any], pred_probs: NDArray[Any], blocks: Blocks) -> OwnProbability:
    """Give `given_values` of a matrix, looked up once if they are a fortieth of it or less."""
    dtype = working_dtype(pred_probs)
    if 40 * dtype.itemsize * len(labels) > pred_probs.nbytes:
        return partial(given_values, labels, pred_probs)
    kept = np.empty(len(labels), dtype=dtype)

    def task(start: int, stop: int) -> None:
        kept[start:stop] = given_values(labels, pred_probs, start, stop)

    blocks.run(task, blocks.spans(len(labels), row_bytes=24))
    return lambda start, stop: kept[start:stop]


def class_sums(
    labels: NDArray[Any],
    own: OwnProbability,
    counts: NDArray[np.int64],
    dtype: np.dtype[Any],
    blocks: Blocks,
) -> NDArray[Any]:
    """Sum the given class's probability over the items of each class.

    A float32 sum depends on the order of its additions. This one adds as `np.sum` does over the
    values of a class in item order, so that thresholds equal cleanlab's, but holds only a few
    thousand values of a class at a time.

    Parameters
    ----------
    labels
        Shape (n,).
    own
        Probability of the given class.
    counts
        Items of each class, shape (K,).
    dtype
        Of the probabilities: float32 or float64.
    blocks
        How to cut up the rows.

    Returns
    -------
    NDArray
        Shape (K,), of that dtype.
    """
    narrow = np.min_scalar_type(len(counts))  # 16 bits or fewer are sorted by radix, in linear time

    def by_class(start: int, stop: int) -> tuple[NDArray[Any], NDArray[np.int64]]:
        here = labels[start:stop].astype(narrow)
        order = np.argsort(here, kind="stable")
        return own(start, stop)[order], np.bincount(here)

    # Each class of each block costs a call: the more classes, the more rows to a block.
    spans = blocks.spans(len(labels), row_bytes=max(1, min(24, 400 // len(counts))))
    sums = np.zeros(len(counts), dtype=dtype)
    begun: dict[int, PairwiseSum] = {}
    for values, sizes in blocks.each(by_class, spans):
        ends = np.cumsum(sizes)
        for k in np.flatnonzero(sizes).tolist():  # the classes of this block
            here = values[ends[k] - sizes[k] : ends[k]]
            if len(here) == counts[k]:
                sums[k] = np.add.reduce(here)
                continue
            if k not in begun:
                begun[k] = PairwiseSum(int(counts[k]), dtype)
            begun[k].add(here)
    for k, total in begun.items():
        sums[k] = total.result()
    return sums


class PairwiseSum:
    """`np.sum` of a vector that comes in pieces, to the last bit.

    NumPy halves a vector at a multiple of eight until the parts are short, and adds the parts'
    sums. So the parts are known from the length alone, and each is summed as soon as it is there.

    Parameters
    ----------
    length
        Values to come.
    dtype
        float32 or float64.

    Examples
    --------
    >>> values = np.linspace(0, 1, 10_000, dtype=np.float32)
    >>> total = PairwiseSum(len(values), values.dtype)
    >>> for start in range(0, len(values), 700):
    ...     total.add(values[start : start + 700])
    >>> bool(total.result() == values.sum())
    True
    """

    __slots__ = ("_held", "_leaves", "_length", "_parts", "_waiting")

    def __init__(self, length: int, dtype: np.dtype[Any]) -> None:
        self._length = length
        self._leaves = _leaves(length)[::-1]
        self._parts: list[Any] = []  # NumPy scalars: Python floats would be added in float64
        self._held: NDArray[Any] = np.empty(min(length, LEAF), dtype)
        self._waiting = 0

    def add(self, values: NDArray[Any]) -> None:
        """Take the next values."""
        while len(values):
            taken = min(self._leaves[-1] - self._waiting, len(values))
            self._held[self._waiting : self._waiting + taken] = values[:taken]
            self._waiting += taken
            values = values[taken:]
            if self._waiting == self._leaves[-1]:
                self._parts.append(np.add.reduce(self._held[: self._waiting]))
                self._leaves.pop()
                self._waiting = 0

    def result(self) -> Any:  # a scalar of the dtype
        """Sum of all values, which must have come."""
        return _add_up(self._length, iter(self._parts))


def _halves(length: int) -> tuple[int, int]:
    half = length // 2
    half -= half % 8
    return half, length - half


def _leaves(length: int) -> list[int]:
    if length <= LEAF:
        return [length]
    left, right = _halves(length)
    return _leaves(left) + _leaves(right)


def _add_up(length: int, parts: Iterator[Any]) -> Any:  # a scalar of the parts' dtype
    if length <= LEAF:
        return next(parts, 0.0)
    left, right = _halves(length)
    return _add_up(left, parts) + _add_up(right, parts)
