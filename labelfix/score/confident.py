"""Confident learning: which labels a model confidently contradicts, and how often.

Defined by Northcutt, Jiang & Chuang, "Confident Learning: Estimating Uncertainty in Dataset
Labels", JAIR 70 (2021). In every detail that the paper leaves open (margins of 1e-6, rounding,
classes that nobody has) it follows cleanlab 2.9, so that counts and masks equal cleanlab's.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from labelfix.score.blocks import Blocks, read_rows, working_dtype
from labelfix.score.inputs import TINY, as_arrays, refuse_bad_values
from labelfix.score.sums import PairwiseSum, class_sums, count_labels, keep_own

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from labelfix.score.sums import OwnProbability

__all__ = [
    "ConfidentCounts",
    "NoiseEstimate",
    "calibrate",
    "confident_joint",
    "confident_thresholds",
    "count_confident",
    "estimate_joint",
    "estimated_error_count",
    "noise_matrices",
]

NOBODY = 2.0
"""The threshold of a class that no item is labelled with: no probability reaches it."""

SUSPECT, CONFIDENT = np.uint8(1), np.uint8(2)
"""What `ConfidentCounts.flags` holds of each item.

SUSPECT: another class is the likeliest even if the given one gets 1e-6 more. CONFIDENT: the model
is confident of another class than the given one.
"""


@dataclass(frozen=True, eq=False)
class ConfidentCounts:
    """All that confident learning needs of a matrix, read once. Made by `count_confident`.

    Parameters
    ----------
    labels
        Given class of each item, shape (n,), integers.
    pred_probs
        Shape (n, K).
    own
        Gives the probability of the given class in rows start to stop.
    label_counts
        Items labelled with each class, shape (K,), int64.
    thresholds
        See `confident_thresholds`.
    raw_joint
        Items labelled i that the model is confident are j, shape (K, K), int32; at least one on the
        diagonal.
    likeliest
        Likeliest class of each item, the first of several, shape (n,), unsigned integers.
    flags
        Per item, shape (n,), uint8: `SUSPECT` and `CONFIDENT`.
    error_count
        See `estimated_error_count`.
    blocks
        How the rows were cut up.
    """

    labels: NDArray[Any]
    pred_probs: NDArray[Any]
    own: OwnProbability
    label_counts: NDArray[np.int64]
    thresholds: NDArray[Any]
    raw_joint: NDArray[np.int32]
    likeliest: NDArray[Any]
    flags: NDArray[np.uint8]
    error_count: int
    blocks: Blocks = field(default_factory=Blocks)

    @property
    def confident_errors(self) -> NDArray[np.bool_]:
        """Items that the model is confident belong to another class, shape (n,)."""
        wanted = SUSPECT | CONFIDENT
        both: NDArray[np.bool_] = (self.flags & wanted) == wanted
        return both

    @cached_property
    def joint(self) -> NDArray[np.int32]:
        """The confident joint, calibrated, shape (K, K): see `confident_joint`."""
        return calibrate(self.raw_joint, self.label_counts, self.blocks)


class NoiseEstimate(NamedTuple):
    """How labels came about, as far as the confident joint tells.

    Parameters
    ----------
    prior
        Share of each true class, shape (K,), sums to one.
    noise
        P(given label i | true class j), shape (K, K), columns sum to one.
    inverse_noise
        P(true class i | given label j), shape (K, K), columns sum to one.
    """

    prior: NDArray[np.float64]
    noise: NDArray[np.float64]
    inverse_noise: NDArray[np.float64]


def confident_thresholds(
    labels: ArrayLike, pred_probs: ArrayLike, *, blocks: Blocks | None = None
) -> NDArray[Any]:
    """Mean probability of a class among the items labelled with it.

    Parameters
    ----------
    labels, pred_probs
        As for `labelfix.score.check_labels_and_pred_probs`.
    blocks
        How to cut up the rows.

    Returns
    -------
    NDArray
        Shape (K,), from 2e-6 to 1; 2, which no probability reaches, for a class without items. Of
        the precision of `pred_probs` (float32 for float16); float64 if a class has no items.

    Examples
    --------
    >>> confident_thresholds([0, 0, 1], [[0.75, 0.25], [0.5, 0.5], [0.0, 1.0]])
    array([0.625, 1.   ])
    """
    given, matrix, _ = as_arrays(labels, pred_probs)
    blocks = blocks or Blocks.over(matrix)
    counts = count_labels(given, matrix.shape[1], blocks)
    own = keep_own(given, matrix, blocks)
    return _thresholds(given, own, counts, working_dtype(matrix), blocks)


def confident_joint(
    labels: ArrayLike,
    pred_probs: ArrayLike,
    *,
    calibrated: bool = True,
    blocks: Blocks | None = None,
) -> NDArray[np.int64]:
    """Count the items labelled i that the model is confident are j.

    An item counts if the probability of some class reaches that class's threshold, less 1e-6: as
    that class if it is the only one, else as the likeliest class. The diagonal counts at least one.

    Parameters
    ----------
    labels, pred_probs
        As for `labelfix.score.check_labels_and_pred_probs`.
    calibrated
        Scale the rows to the number of items with each label, rounded so that row sums stay whole.
    blocks
        How to cut up the rows.

    Returns
    -------
    NDArray
        Shape (K, K), int64: given class down, true class across.

    Examples
    --------
    >>> confident_joint([0, 0, 1, 1], [[0.9, 0.1], [0.2, 0.8], [0.3, 0.7], [0.5, 0.5]])
    array([[1, 1],
           [0, 2]])
    """
    counts = count_confident(labels, pred_probs, blocks=blocks)
    return (counts.joint if calibrated else counts.raw_joint).astype(np.int64)


def estimate_joint(
    labels: ArrayLike, pred_probs: ArrayLike, *, blocks: Blocks | None = None
) -> NDArray[np.float64]:
    """Estimate P(given label i, true class j): the calibrated confident joint over its sum.

    Returns
    -------
    NDArray
        Shape (K, K), float64, sums to one; row sums are the shares of the given labels.

    Examples
    --------
    >>> estimate_joint([0, 0, 1, 1], [[0.9, 0.1], [0.2, 0.8], [0.3, 0.7], [0.5, 0.5]])
    array([[0.25, 0.25],
           [0.  , 0.5 ]])
    """
    joint = count_confident(labels, pred_probs, blocks=blocks).joint
    return joint / float(joint.sum())


def noise_matrices(
    labels: ArrayLike, pred_probs: ArrayLike, *, blocks: Blocks | None = None
) -> NoiseEstimate:
    """Estimate how often each true class is given each label, and the other way round.

    As cleanlab's `estimate_latent` with its default options: noise rates are at most 0.9999, and no
    true class has a share under 1e-6.

    Examples
    --------
    >>> estimate = noise_matrices([0, 0, 1, 1], [[0.9, 0.1], [0.2, 0.8], [0.3, 0.7], [0.5, 0.5]])
    >>> estimate.noise.round(2)
    array([[1.  , 0.33],
           [0.  , 0.67]])
    """
    counts = count_confident(labels, pred_probs, blocks=blocks)
    return estimate_noise(counts.joint, counts.label_counts)


def estimated_error_count(
    labels: ArrayLike, pred_probs: ArrayLike, *, blocks: Blocks | None = None
) -> int:
    """Count the items that the model is confident are mislabelled: a low bound on the errors.

    They are the off-diagonal of the uncalibrated confident joint, without those whose given class
    is within 1e-6 of the likeliest. On real human noise this finds about half of the errors.

    Examples
    --------
    >>> estimated_error_count([0, 0, 1, 1], [[0.9, 0.1], [0.2, 0.8], [0.3, 0.7], [0.5, 0.5]])
    1
    """
    return count_confident(labels, pred_probs, blocks=blocks).error_count


def count_confident(
    labels: ArrayLike,
    pred_probs: ArrayLike,
    *,
    thresholds: ArrayLike | None = None,
    blocks: Blocks | None = None,
) -> ConfidentCounts:
    """Read a matrix once for all that confident learning asks of it.

    Parameters
    ----------
    labels, pred_probs
        As for `labelfix.score.check_labels_and_pred_probs`.
    thresholds
        From which probability on the model is confident of each class, shape (K,). None takes
        `confident_thresholds`.
    blocks
        How to cut up the rows.

    Raises
    ------
    InputError
        If labels and probabilities do not fit together, or the given or likeliest class of an item
        has no probability from 0 to 1. The rest is for `labelfix.score.check_labels_and_pred_probs`
        to see.

    Examples
    --------
    >>> counts = count_confident([0, 0, 1], [[0.9, 0.1], [0.2, 0.8], [0.3, 0.7]])
    >>> counts.error_count, counts.thresholds
    (1, array([0.55, 0.7 ]))
    """
    given, matrix, _ = as_arrays(labels, pred_probs)
    blocks = blocks or Blocks.over(matrix)
    label_counts = count_labels(given, matrix.shape[1], blocks)
    own = keep_own(given, matrix, blocks)
    if thresholds is None:
        levels = _thresholds(given, own, label_counts, working_dtype(matrix), blocks)
    else:
        levels = np.asarray(thresholds).reshape(matrix.shape[1]) + 0.0  # whole numbers too
    counter = _Counter(given, matrix, own, levels, blocks)
    errors = sum(blocks.each(counter.count, counter.spans))
    np.fill_diagonal(counter.joint, np.maximum(counter.joint.diagonal(), 1))
    return ConfidentCounts(
        labels=given,
        pred_probs=matrix,
        own=own,
        label_counts=label_counts,
        thresholds=levels,
        raw_joint=counter.joint,
        likeliest=counter.likeliest,
        flags=counter.flags,
        error_count=errors,
        blocks=blocks,
    )


def _thresholds(
    labels: NDArray[Any],
    own: OwnProbability,
    counts: NDArray[np.int64],
    dtype: np.dtype[Any],
    blocks: Blocks,
) -> NDArray[Any]:
    sums = class_sums(labels, own, counts, dtype, blocks)
    with np.errstate(invalid="ignore"):  # classes without items are replaced
        means = (sums / counts).astype(sums.dtype)
    if (counts == 0).any():
        means = np.where(counts == 0, NOBODY, means.astype(np.float64))
    # Above the 1e-6 that is taken off again, so that a probability of zero never is confident.
    thresholds: NDArray[Any] = np.maximum(means, means.dtype.type(2 * TINY))
    return thresholds


class _Counter:
    """The one pass over the whole matrix: by blocks into `joint`, `likeliest` and `flags`."""

    def __init__(
        self,
        labels: NDArray[Any],
        pred_probs: NDArray[Any],
        own: OwnProbability,
        levels: NDArray[Any],
        blocks: Blocks,
    ) -> None:
        rows, classes = pred_probs.shape
        self.labels, self.pred_probs, self.own = labels, pred_probs, own
        self.cuts = _at_least(levels - levels.dtype.type(TINY), working_dtype(pred_probs))
        self.joint = np.zeros((classes, classes), dtype=np.int32)
        self.likeliest = np.empty(rows, dtype=np.min_scalar_type(classes - 1))
        self.flags = np.empty(rows, dtype=np.uint8)
        self.lock = threading.Lock()
        self.spans = blocks.spans(rows, classes * self.cuts.itemsize)

    def count(self, start: int, stop: int) -> int:
        """Count one block; give its number of confident errors."""
        block = read_rows(self.pred_probs, start, stop)
        given = self.labels[start:stop].astype(np.intp, copy=False)
        likeliest = block.argmax(axis=1)  # the first NaN, if there is one
        places = np.arange(0, block.size, block.shape[1])
        places += likeliest
        top = block.take(places)
        own = self.own(start, stop)
        refuse_bad_values(top, self.pred_probs)
        refuse_bad_values(own, self.pred_probs)
        nudged = own + own.dtype.type(TINY)
        # Would the given class be likeliest, and first among equals, with 1e-6 more?
        suspect = (nudged < top) | ((nudged == top) & (likeliest < given))
        guess, known = self._guess(block, likeliest, top)
        confident = known & (guess != given)
        self.likeliest[start:stop] = likeliest
        self.flags[start:stop] = suspect * SUSPECT + confident * CONFIDENT
        pairs = np.multiply(given, block.shape[1], out=places)
        pairs += guess
        with self.lock:  # adding is slow to another dtype
            np.add.at(self.joint.reshape(-1), pairs, known.astype(np.int32))
        return int(np.count_nonzero(suspect & confident))

    def _guess(
        self, block: NDArray[Any], likeliest: NDArray[np.intp], top: NDArray[Any]
    ) -> tuple[NDArray[np.intp], NDArray[np.bool_]]:
        """Class that the model is confident of in each row, if there is one, and whether there is.

        If the likeliest class reaches its cut, it is the guess, alone or not. So the other classes
        need a look in the remaining rows only: a single one of them is the guess, and instead of
        several again the likeliest.
        """
        known = top >= self.cuts.take(likeliest)
        rest = np.flatnonzero(~known & (top >= self.cuts.min()))
        places = np.flatnonzero(block.take(rest, axis=0) >= self.cuts)
        if not len(places):
            return likeliest, known
        rows, classes = np.divmod(places, block.shape[1])
        single = np.bincount(rows, minlength=len(rest))[rows] == 1
        guess = likeliest.copy()
        guess[rest[rows[single]]] = classes[single]
        known[rest[rows]] = True
        return guess, known


def _at_least(cuts: NDArray[Any], dtype: np.dtype[Any]) -> NDArray[Any]:
    """Smallest values of `dtype` that are not below `cuts`: comparing with them gives the same."""
    near = cuts.astype(dtype)
    return np.where(near < cuts, np.nextafter(near, np.inf, dtype=dtype), near).astype(dtype)


def calibrate(
    joint: NDArray[Any], label_counts: NDArray[np.int64], blocks: Blocks | None = None
) -> NDArray[Any]:
    """Scale each row of a confident joint to the items with that label, and round to whole counts.

    Row sums stay exact: what rounding takes from a row or adds to it is given to, or taken from,
    the entries that rounding changed most. Where these are equal, `np.argsort` in its default order
    decides, as in cleanlab; so the last count can differ between processors, as cleanlab's does.

    Parameters
    ----------
    joint
        Shape (K, K), given class down, true class across.
    label_counts
        Items with each label, shape (K,).
    blocks
        Whose threads do the work.

    Returns
    -------
    NDArray
        Shape (K, K), of the dtype of `joint`.

    Examples
    --------
    >>> calibrate(np.array([[2, 1], [0, 1]]), np.array([6, 3]))
    array([[4, 2],
           [0, 3]])
    """
    blocks = blocks or Blocks()
    classes = len(joint)
    sums = joint.sum(axis=1).clip(1)
    spans = Blocks(ROUNDED_AT_ONCE).spans(classes, 8 * classes)
    total = PairwiseSum(classes * classes, np.dtype(np.float64))
    for start, stop in spans:
        # Transposed, as the reference sums it: its last bit can turn a half up or down.
        total.add((joint[:, start:stop].T / sums * label_counts).reshape(-1))
    grand_total = total.result()
    counts = np.empty_like(joint)

    def task(start: int, stop: int) -> None:
        rows = joint[start:stop] / sums[start:stop, None] * label_counts[start:stop, None]
        rows /= grand_total
        rows *= label_counts.sum()
        counts[start:stop] = round_rows(rows)

    blocks.run(task, spans)
    return counts


ROUNDED_AT_ONCE = 1 << 17
"""Bytes of a joint that are rounded together, for flat memory. Decides no result."""


def round_rows(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    """Round to whole numbers so that each row sums to its own rounded sum.

    Examples
    --------
    >>> round_rows(np.array([[1.4, 1.3, 0.3], [0.6, 0.7, 0.7]]))
    array([[2., 1., 0.],
           [0., 1., 1.]])
    """
    rows = np.ascontiguousarray(rows)
    whole = np.rint(rows)
    short = np.rint(rows.sum(axis=1)) - whole.sum(axis=1)
    uneven = np.flatnonzero(short)
    change = short[uneven, None]
    most = int(abs(change).max(initial=0))
    order = np.argsort(rows[uneven] - whole[uneven], axis=1)
    order = np.where(change > 0, order[:, ::-1][:, :most], order[:, :most])
    step = np.sign(change) * (np.arange(order.shape[1]) < abs(change))
    whole[uneven[:, None], order] += step
    return whole


def estimate_noise(joint: NDArray[Any], label_counts: NDArray[np.int64]) -> NoiseEstimate:
    """Turn a confident joint into a prior and noise rates: see `noise_matrices`."""
    given, true = joint.sum(axis=1), joint.sum(axis=0)
    noise = joint / np.maximum(true, NONE_AT_ALL)
    inverse = joint.T / np.maximum(given, NONE_AT_ALL)
    share = label_counts / label_counts.sum()
    prior = inverse.diagonal() / np.maximum(noise.diagonal(), NONE_AT_ALL) * share
    prior = prior.clip(1e-6, 1.0)
    return NoiseEstimate(prior / prior.sum(), _clip_rates(noise), _clip_rates(inverse))


NONE_AT_ALL = 1e-100
"""Stands for zero below a fraction line."""


def _clip_rates(rates: NDArray[np.float64]) -> NDArray[np.float64]:
    clipped = rates.clip(0, 0.9999)
    np.fill_diagonal(clipped, rates.diagonal())
    rescaled: NDArray[np.float64] = clipped / np.maximum(clipped.sum(axis=0), NONE_AT_ALL)
    return rescaled
