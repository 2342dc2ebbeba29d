"""What the other boxes of an image say of a box: errors come in company.

Whoever drew the boxes of an image may have been careless with all of them. Let the log odds of an
error differ from image to image by a normal number. How much they differ is what makes the
evidence on all boxes likeliest (empirical Bayes: Efron and Morris 1973, JASA 68: 117); where errors
do not keep company that is not at all, and every box is judged by itself. Where they do, doubtful
boxes beside clear errors become likelier errors, and those in images without any less likely.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

__all__ = ["carelessness_of", "shifts"]

NODES = np.linspace(-4, 4, 33)
"""Where the normal density is summed up, in standard deviations."""
LOG_SHARES = -(NODES**2) / 2 - np.log(np.exp(-(NODES**2) / 2).sum())


def carelessness_of(
    odds: Floats,
    first: NDArray[np.int64],
    prior: float,
    choices: Sequence[float],
    least_gain: float = 0.0,
) -> float:
    """Choose how much images differ: of some standard deviations the likeliest, or least.

    Parameters
    ----------
    odds
        Log odds of each box for an error of any kind, sorted by image, shape (n,).
    first
        Where the boxes of each image begin, and the last end, shape (images + 1,).
    prior
        Log odds before anything is seen.
    choices
        Standard deviations to choose from.
    least_gain
        By how much another one must have a higher log likelihood than 0.
    """
    order = sorted(choices)
    total = [
        _most(_by_image(odds, first, prior, one)).sum() - least_gain * (one > 0) for one in order
    ]
    return float(order[int(np.argmax(total))])


def shifts(odds: Floats, first: NDArray[np.int64], prior: float, carelessness: float) -> Floats:
    """Tell what to add to the log odds of every kind for what else is in the image, shape (n,).

    Parameters are those of `carelessness_of`.
    """
    if carelessness == 0:
        return np.zeros(len(odds))
    step = carelessness * NODES
    known = _by_image(odds, first, prior, carelessness)
    known -= _most(known)[:, None]
    others = np.repeat(known, np.diff(first), axis=0) - np.logaddexp(0, odds[:, None] + step)
    return _most(others + step) - _most(others)


def _by_image(odds: Floats, first: NDArray[np.int64], prior: float, carelessness: float) -> Floats:
    """Log of how likely the boxes of each image are at each node, shape (images, nodes)."""
    step = carelessness * NODES
    each = np.logaddexp(0, odds[:, None] + step) - np.logaddexp(0, prior + step)
    known = np.tile(LOG_SHARES, (len(first) - 1, 1))
    filled = np.flatnonzero(np.diff(first))
    if len(filled):
        known[filled] += np.add.reduceat(each, first[filled], axis=0)
    return known


def _most(values: Floats) -> Floats:
    """Log of the sum of exponentials of each row."""
    top = values.max(axis=1)
    return np.asarray(top + np.log(np.exp(values - top[:, None]).sum(axis=1)))
