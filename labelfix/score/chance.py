"""Whether predictions know more of the labels than how frequent classes are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from labelfix.score.blocks import Blocks, read_rows

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Knowledge", "knowledge_of"]

ROUNDING = 1e-6
"""What rows that are all alike may seem to know."""


class Knowledge(NamedTuple):
    """What the given labels get of the probability.

    Parameters
    ----------
    given
        Mean probability of the given label, in [0, 1].
    chance
        The same if each row were that of any item.
    is_more
        Whether `given` is above `chance` by more than twice the standard deviation over all ways
        to deal the labels out.
    """

    given: float
    chance: float
    is_more: bool


def knowledge_of(labels: NDArray[np.integer], pred_probs: NDArray[Any]) -> Knowledge:
    """Hold the probability of the given labels against that of labels dealt out anew.

    Parameters
    ----------
    labels
        In 0..K-1, shape (n,).
    pred_probs
        Shape (n, K).

    Examples
    --------
    >>> labels = np.arange(40) % 2
    >>> known = np.eye(2)[labels] * 0.6 + 0.2
    >>> knowledge_of(labels, known).is_more, knowledge_of(labels // 2 % 2, known).is_more
    (True, False)
    """
    n, classes = pred_probs.shape
    shares = np.bincount(labels, minlength=classes) / n
    means, given, squares = np.zeros(classes), 0.0, 0.0
    for start, stop in Blocks().spans(n, 8 * classes):
        rows = read_rows(pred_probs, start, stop).astype(np.float64)
        means += rows.sum(axis=0)
        given += float(rows[np.arange(len(rows)), labels[start:stop]].sum())
        squares += float(((rows**2) @ shares - (rows @ shares) ** 2).sum())
    means, given, squares = means / n, given / n, squares / n
    chance = float(means @ shares)
    spread = squares - float(means**2 @ shares) + chance**2
    error = np.sqrt(max(spread, 0) / max(n - 1, 1))
    return Knowledge(given, chance, bool(given - chance > max(2 * error, ROUNDING)))
