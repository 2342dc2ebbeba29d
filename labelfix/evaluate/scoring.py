"""Accuracies of many models under several versions of the labels, for one draw or a thousand."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from labelfix.evaluate.statistics import mean_over_seeds

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

__all__ = ["METRICS", "UNTESTED", "ClassScores"]

METRICS = ("accuracy", "balanced_accuracy")

UNTESTED = -1
"""Answer on an item that a seed's model was not tested on."""


@dataclass(frozen=True, eq=False)
class ClassScores:
    """What models trained on each version of the labels answer, held against each version.

    Parameters
    ----------
    answers
        By version of the training labels: class numbers, shape (seeds, n); `UNTESTED` elsewhere.
    labels
        By version of the test labels: class numbers, shape (n,); below 0 where there is none.
    units
        Items that are redrawn together share a number, shape (n,).
    n_classes
        K.

    Examples
    --------
    >>> scores = ClassScores({"a": np.array([[0, 1, 1, -1]])}, {"a": np.array([0, 0, 1, 1])},
    ...                      np.arange(4), 2)
    >>> scores.now()[:, :, 0, :2].tolist()  # right on 2 of 3; half and all of the classes
    [[[0.6666666666666666, 0.75]]]
    """

    answers: Mapping[str, NDArray[np.integer]]
    labels: Mapping[str, NDArray[np.int64]]
    units: NDArray[np.int64]
    n_classes: int

    @property
    def n_units(self) -> int:
        """How many units there are."""
        return int(self.units.max()) + 1

    @property
    def n_seeds(self) -> int:
        """How many seeds there are."""
        return len(next(iter(self.answers.values())))

    def now(self) -> Floats:
        """Score each seed on the items as they are: shape (train, test, seeds, 2 + K)."""
        return self._by_seed(np.ones((1, self.n_units)))[..., 0, :, :]

    def redrawn(self, units: Floats, seeds: Floats) -> Floats:
        """Score draws, the mean over seeds: shape (b, train * test * (2 + K)).

        `units` and `seeds` say how often each is drawn, as `statistics.redraw` passes them.
        """
        by_seed = np.moveaxis(self._by_seed(units), 2, 0)
        return mean_over_seeds(by_seed, seeds).reshape(len(units), -1)

    def as_cells(self, scores: Floats) -> Floats:
        """Undo the flattening of `redrawn`: shape (b, train, test, 2 + K)."""
        shape = (len(self.answers), len(self.labels), 2 + self.n_classes)
        return scores.reshape(-1, *shape)

    def right(self, train: str, test: str) -> NDArray[np.bool_]:
        """Say which answers are right, shape (seeds, n)."""
        found: NDArray[np.bool_] = self.answers[train] == self.labels[test]
        return found & self.counted(test)

    def counted(self, test: str) -> NDArray[np.bool_]:
        """Say which answers count, shape (seeds, n)."""
        tested: NDArray[np.bool_] = next(iter(self.answers.values())) != UNTESTED
        return tested & (self.labels[test] >= 0)

    def _by_seed(self, units: Floats) -> Floats:
        """Shape (train, test, b, seeds, 2 + K)."""
        total = {test: self._per_class(self._totals[test], units) for test in self.labels}
        cells = [
            [
                _scores(self._per_class(self._tables[train, test], units), total[test])
                for test in self.labels
            ]
            for train in self.answers
        ]
        return np.stack([np.stack(row) for row in cells])

    def _per_class(self, table: Any, units: Floats) -> Floats:
        """Add up a table (units, seeds * K) over the draws: shape (b, seeds, K)."""
        added: Floats = (table.T @ units.T).T
        return added.reshape(len(units), self.n_seeds, self.n_classes)

    @cached_property
    def _tables(self) -> dict[tuple[str, str], Any]:
        """Right answers by unit, seed and class: sparse."""
        return {
            (train, test): self._table(self.right(train, test), test)
            for train in self.answers
            for test in self.labels
        }

    @cached_property
    def _totals(self) -> dict[str, Any]:
        """All answers that count, as `_tables`."""
        return {test: self._table(self.counted(test), test) for test in self.labels}

    def _table(self, what: NDArray[np.bool_], test: str) -> Any:
        from scipy.sparse import csr_array

        seed, item = np.nonzero(what)
        column = seed * self.n_classes + self.labels[test][item]
        ones = np.ones(len(item))
        shape = (self.n_units, self.n_seeds * self.n_classes)
        return csr_array((ones, (self.units[item], column)), shape=shape)


def _scores(right: Floats, total: Floats) -> Floats:
    """Accuracy, balanced accuracy and the share that is right of each class: (…, 2 + K)."""
    nothing = np.full(total.shape, np.nan)
    per_class = np.divide(right, total, out=nothing, where=total > 0)
    known = (total > 0).sum(axis=-1)
    everything = total.sum(axis=-1)
    empty = np.full(known.shape, np.nan)
    accuracy = np.divide(right.sum(axis=-1), everything, out=empty.copy(), where=everything > 0)
    balanced = np.divide(np.nan_to_num(per_class).sum(axis=-1), known, out=empty, where=known > 0)
    return np.concatenate([accuracy[..., None], balanced[..., None], per_class], axis=-1)
