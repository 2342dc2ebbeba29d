"""Which classes are given for which others: a noise matrix, learnt without knowing the truth."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from labelfix.score.blocks import Blocks, read_rows, working_dtype

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["noise_matrix"]

VALUES = 1 << 18
"""Probabilities added up at a time: always so many, whatever the blocks: sums round alike."""
DIGITS = 9
"""Decimals that are kept: those behind hang on the order of rows."""


def noise_matrix(
    labels: NDArray[np.int64],
    pred_probs: NDArray[Any],
    blocks: Blocks | None = None,
    *,
    trusted: float = 0.9,
    same: float = 10.0,
    passes: int = 2,
) -> NDArray[np.float64]:
    """Estimate how often items of one class are given another.

    What a label's true class may be is weighed by what the model says and by how often that class
    is given this label; how often that is, is counted from those weights. Two such steps of
    expectation maximisation (Dawid & Skene 1979, Applied Statistics 28: 20, for one annotator and
    items that a model describes).

    Parameters
    ----------
    labels
        Given class of each item, shape (n,).
    pred_probs
        Shape (n, K), rows sum to one.
    blocks
        How many threads share the work.
    trusted
        Share of labels taken to be right to begin with, in (0, 1); the rest are spread evenly.
    same
        Items of each class, given as it, that are added to what is counted; and one of each pair.
    passes
        How many steps.

    Returns
    -------
    NDArray
        Shape (K, K), float64: row = class as it is, column = class as given, rows sum to one.

    Examples
    --------
    >>> labels = np.array([0] * 90 + [1] * 110)  # a tenth of class 0 is called 1
    >>> pred_probs = np.repeat([[0.98, 0.02], [0.02, 0.98]], 100, axis=0)
    >>> noise_matrix(labels, pred_probs).round(2)
    array([[0.92, 0.08],
           [0.01, 0.99]])
    """
    K = pred_probs.shape[1]
    blocks = blocks or Blocks.over(pred_probs)
    noise = np.full((K, K), (1 - trusted) / K)
    noise[np.diag_indices(K)] += trusted
    for _ in range(passes):
        noise = _expected(labels, pred_probs, noise, blocks)
        noise += 1
        noise[np.diag_indices(K)] += same
        noise /= noise.sum(axis=1, keepdims=True)
        np.maximum(noise.round(DIGITS, out=noise), 10.0**-DIGITS, out=noise)
    return noise


def _expected(
    labels: NDArray[np.int64],
    pred_probs: NDArray[Any],
    noise: NDArray[np.float64],
    blocks: Blocks,
) -> NDArray[np.float64]:
    """Count the items to expect of each class (row) that were given each class (column)."""
    n, K = pred_probs.shape
    of_given = np.ascontiguousarray(noise.T, dtype=working_dtype(pred_probs))

    def task(start: int, stop: int) -> tuple[NDArray[np.int64], NDArray[Any]]:
        order = np.argsort(labels[start:stop], kind="stable")
        own = labels[start:stop][order]
        chance = read_rows(pred_probs, start, stop)[order]
        chance *= of_given[own]
        chance /= chance.sum(axis=1, keepdims=True)
        given, first = np.unique(own, return_index=True)
        return given, np.add.reduceat(chance, first, axis=0, dtype=np.float64)

    counts = np.zeros((K, K))  # row = class as given, until the end
    rows = max(1, VALUES // K)
    spans = [(start, min(n, start + rows)) for start in range(0, n, rows)]
    for given, sums in blocks.each(task, spans):
        counts[given] += sums
    return counts.T
