"""What the labels of the nearest items say, on embeddings: cosine similarity, oneself left out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from labelfix.errors import InputError, Problem, name_rows
from labelfix.score.blocks import Blocks
from labelfix.score.combine import head_to_head

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from labelfix.progress import Progress

__all__ = [
    "Neighbors",
    "isolation",
    "nearest_neighbors",
    "neighbor_counts",
    "neighbor_pred_probs",
    "neighbor_quality",
]

QUERY_ROWS, KEY_ROWS = 256, 4096
"""How the matrix product is cut up: 4 MB at a time. Fixed, so that rounding is too."""


class Neighbors(NamedTuple):
    """The nearest other items of each item, nearest first.

    Parameters
    ----------
    rows
        Which they are, shape (n, k), int64.
    similarity
        Cosine similarity to them, shape (n, k), float32, in [-1, 1].
    """

    rows: NDArray[np.int64]
    similarity: NDArray[np.float32]


def nearest_neighbors(
    embeddings: ArrayLike,
    k: int = 10,
    *,
    progress: Progress | None = None,
) -> Neighbors:
    """Find the k nearest other items of each item, exactly, by blocked matrix products.

    Parameters
    ----------
    embeddings
        Shape (n, d), floats. Their length does not matter; a row of zeros is near to nothing.
    k
        How many; n - 1 at most are given.
    progress
        Called as `progress(what, done, total)`.

    Returns
    -------
    Neighbors
        Of equally near items the first come first. Besides the answer and a scaled copy of the
        embeddings, a few megabytes are held.

    Raises
    ------
    InputError
        If the embeddings are no matrix of finite numbers, or k is less than one.

    Examples
    --------
    >>> nearest_neighbors([[1.0, 0.0], [0.9, 0.1], [0.0, 2.0]], k=1).rows.ravel()
    array([1, 0, 1])
    """
    if k < 1:
        raise InputError(Problem("k", str(k), "at least 1"))
    units = _unit_rows(embeddings)
    n = len(units)
    k = min(k, n - 1)
    index = np.zeros((n, k), dtype=np.int64)
    similarity = np.zeros((n, k), dtype=np.float32)

    for start in range(0, n, QUERY_ROWS):
        stop = min(n, start + QUERY_ROWS)
        index[start:stop], similarity[start:stop] = _nearest(units, start, stop, k)
        if progress:
            progress("nearest neighbours", stop, n)
    return Neighbors(index, similarity)


def _unit_rows(embeddings: ArrayLike) -> NDArray[np.float32]:
    matrix: NDArray[Any] = np.asarray(embeddings)
    if matrix.ndim != 2 or matrix.dtype.kind not in "fiu":
        found = f"{matrix.dtype} of shape {matrix.shape}"
        raise InputError(Problem("embeddings", found, "numbers of shape (n, d)"))
    lengths = np.sqrt(np.einsum("ij,ij->i", matrix, matrix, dtype=np.float64))
    if len(bad := np.flatnonzero(~np.isfinite(lengths))):
        raise InputError(
            Problem("embeddings", f"NaN or infinite values in {name_rows(bad)}", "finite numbers")
        )
    scale = np.divide(1, lengths, out=np.zeros_like(lengths), where=lengths > 0)
    units: NDArray[np.float32] = np.multiply(matrix, scale[:, None], dtype=np.float32)
    return units


def _nearest(
    units: NDArray[np.float32], start: int, stop: int, k: int
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Nearest items of rows `start` to `stop`, one block of keys after another."""
    best = np.full((stop - start, k), -np.inf, dtype=np.float32)
    index = np.zeros((stop - start, k), dtype=np.int64)
    for first in range(0, len(units), KEY_ROWS):
        found = units[start:stop] @ units[first : first + KEY_ROWS].T
        own = np.arange(max(start, first), min(stop, first + found.shape[1]))
        found[own - start, own - first] = -np.inf
        floor = best[:, -1:]
        if first == 0 and k < found.shape[1]:  # nothing to beat yet: leave out most at once
            floor = np.nextafter(np.partition(found, -k, axis=1)[:, -k, None], -np.inf)
        rows, columns = np.nonzero(found > floor)
        index, best = _merge(index, best, rows, columns + first, found[rows, columns])
    return index, np.clip(best, -1, 1)


def _merge(
    index: NDArray[np.int64],
    best: NDArray[np.float32],
    rows: NDArray[np.int64],
    keys: NDArray[np.int64],
    values: NDArray[np.float32],
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Keep the k best of what is held, shape (m, k), and of further keys of some rows."""
    m, k = best.shape
    rows = np.concatenate([np.repeat(np.arange(m), k), rows])
    keys = np.concatenate([index.ravel(), keys])
    values = np.concatenate([best.ravel(), values])
    order = np.lexsort((keys, -values, rows))
    sizes = np.bincount(rows, minlength=m)
    kept = order[(sizes.cumsum() - sizes)[:, None] + np.arange(k)]
    return keys[kept], values[kept]


def neighbor_pred_probs(
    labels: NDArray[np.int64],
    neighbors: Neighbors,
    n_classes: int,
    *,
    sharpness: float = 8.0,
    prior_weight: float = 1.0,
) -> NDArray[np.float32]:
    """Class probabilities of each item by the given labels of its neighbours, not its own.

    Each neighbour's vote weighs max(similarity, 0) ** sharpness, and the shares of the classes
    among all labels vote together like `prior_weight` exact copies: no class is impossible.

    Parameters
    ----------
    labels
        Given class of each item, shape (n,).
    neighbors
        Of each item.
    n_classes
        K.
    sharpness
        How much more the nearest count; 0: all the same.
    prior_weight
        At least 0.

    Returns
    -------
    NDArray
        Shape (n, K), float32, rows sum to one.

    Examples
    --------
    >>> neighbors = nearest_neighbors([[1.0, 0.0], [1.0, 0.1], [0.9, 0.0], [0.0, 1.0]], k=2)
    >>> neighbor_pred_probs(np.array([1, 0, 0, 1]), neighbors, 2).round(2)[0]
    array([0.83, 0.17], dtype=float32)
    """
    weights = np.maximum(neighbors.similarity, 0, dtype=np.float32) ** np.float32(sharpness)
    votes = _count(labels, neighbors, weights, n_classes)
    prior = np.bincount(labels, minlength=n_classes) / len(labels)
    votes += (prior_weight * prior).astype(np.float32)
    totals = votes.sum(axis=1, keepdims=True)
    # Without prior and without a similar neighbour there is no vote at all.
    np.divide(votes, totals, out=votes, where=totals > 0)
    votes[totals[:, 0] == 0] = 1 / n_classes
    return votes


def _count(
    labels: NDArray[np.int64], neighbors: Neighbors, weights: NDArray[np.float32], n_classes: int
) -> NDArray[np.float32]:
    """Sum the neighbours' weights by their labels, shape (n, K)."""
    n = len(labels)
    counted = np.empty((n, n_classes), dtype=np.float32)
    for start, stop in Blocks().spans(n, row_bytes=8 * n_classes):
        cells = labels[neighbors.rows[start:stop]]
        cells += np.arange(stop - start)[:, None] * n_classes
        sums = np.bincount(
            cells.ravel(), weights[start:stop].ravel(), minlength=(stop - start) * n_classes
        )
        counted[start:stop] = sums.reshape(-1, n_classes)
    return counted


def neighbor_counts(
    labels: NDArray[np.int64], neighbors: Neighbors, classes: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Count how many neighbours of each item are labelled with the class asked for, shape (n,).

    Examples
    --------
    >>> neighbors = nearest_neighbors([[1.0, 0.0], [1.0, 0.1], [0.9, 0.0]], k=2)
    >>> neighbor_counts(np.array([1, 0, 0]), neighbors, np.array([0, 0, 0]))
    array([2, 1, 1])
    """
    counts: NDArray[np.int64] = (labels[neighbors.rows] == classes[:, None]).sum(axis=1)
    return counts


def neighbor_quality(
    labels: ArrayLike,
    embeddings: ArrayLike,
    k: int = 10,
    *,
    sharpness: float = 8.0,
    prior_weight: float = 1.0,
) -> NDArray[np.float64]:
    """Label quality by the labels of the nearest items: `head_to_head` of `neighbor_pred_probs`.

    Parameters
    ----------
    labels
        Given class of each item, shape (n,), integers from 0.
    embeddings, k
        As for `nearest_neighbors`.
    sharpness, prior_weight
        As for `neighbor_pred_probs`.

    Returns
    -------
    NDArray
        Shape (n,), float64, in [0, 1]: below 0.5 where another class has more of the neighbours'
        votes than the given one.

    Examples
    --------
    >>> embeddings = [[1.0, 0.0], [1.0, 0.1], [0.9, 0.0], [0.0, 1.0], [0.1, 1.0], [0.0, 0.9]]
    >>> neighbor_quality([1, 0, 0, 1, 1, 1], embeddings, k=2).round(2)
    array([0.25, 0.45, 0.44, 0.85, 0.85, 0.85])
    """
    given = np.asarray(labels, dtype=np.int64)
    neighbors = nearest_neighbors(embeddings, k)
    n_classes = int(given.max()) + 1
    pred_probs = neighbor_pred_probs(
        given, neighbors, n_classes, sharpness=sharpness, prior_weight=prior_weight
    )
    return head_to_head(given, pred_probs)


def isolation(neighbors: Neighbors) -> NDArray[np.float64]:
    """Say how far each item is from its neighbours, compared with the others.

    One minus the mean similarity to its neighbours over the median of that among all items: 0 for
    the half of the items that have the nearest neighbours, 1 for what resembles nothing.

    Returns
    -------
    NDArray
        Shape (n,), float64, in [0, 1].

    Examples
    --------
    >>> embeddings = [[1.0, 0.0], [1.0, 0.1], [0.9, 0.0], [0.0, 1.0]]
    >>> isolation(nearest_neighbors(embeddings, k=2)).round(2)
    array([0.  , 0.  , 0.  , 0.95])
    """
    nearness = np.maximum(neighbors.similarity.mean(axis=1, dtype=np.float64), 0)
    usual = np.median(nearness)
    if usual == 0:
        return np.zeros(len(nearness))
    far: NDArray[np.float64] = np.clip(1 - nearness / usual, 0, 1)
    return far
