"""What kind of error a wrong label would be: each kind with its own score."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from labelfix.score.combine import rivals

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from labelfix.score.blocks import Blocks

__all__ = ["kind_scores", "likeliest_kind"]


def kind_scores(
    labels: NDArray[np.int64],
    pred_probs: NDArray[Any],
    isolation: NDArray[np.float64] | None = None,
    *,
    blocks: Blocks | None = None,
) -> NDArray[np.float64]:
    """Score the three kinds of errors for each item, should its label be wrong.

    With a the probability of the given class, and b that of the likeliest other one:

    - mislabeled: b (1 - a), one other class and not the given one;
    - multi_label: 4 a b, both: 1 if they share all the probability equally, since 2 a b is the
      chance that of two independent guesses one is the given class and one the other;
    - none_of_the_classes: 1 - max(a, b) (1 - isolation), neither is likely, or the item is far from
      all others.

    Parameters
    ----------
    labels
        Given class of each item, shape (n,).
    pred_probs
        Shape (n, K), rows sum to one; shares of votes will do.
    isolation
        As `labelfix.score.neighbors.isolation` gives, shape (n,), in [0, 1]; None for 0.
    blocks
        How to cut up the rows.

    Returns
    -------
    NDArray
        Shape (n, 3), float64, each in [0, 1], columns as in `labelfix.schema.CLASS_KINDS`.

    Examples
    --------
    >>> pred_probs = np.array([[0.1, 0.9, 0.0], [0.5, 0.5, 0.0], [0.2, 0.3, 0.5]])
    >>> kind_scores(np.array([0, 0, 0]), pred_probs).round(2)
    array([[0.81, 0.36, 0.1 ],
           [0.25, 1.  , 0.5 ],
           [0.4 , 0.4 , 0.5 ]])
    """
    found = rivals(labels, pred_probs, blocks)
    return _scores(found.given, found.rival_prob, isolation)


def _scores(
    given: NDArray[Any], rival_prob: NDArray[Any], isolation: NDArray[np.float64] | None
) -> NDArray[np.float64]:
    a, b = given.astype(np.float64), rival_prob.astype(np.float64)
    top = np.maximum(a, b) if isolation is None else np.maximum(a, b) * (1 - isolation)
    return np.clip(np.stack([b * (1 - a), 4 * a * b, 1 - top], axis=1), 0, 1)


def likeliest_kind(scores: NDArray[np.float64]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Pick the kind with the highest score, the first of equals.

    Returns
    -------
    kind
        Index into `labelfix.schema.CLASS_KINDS`, shape (n,).
    score
        Its score, shape (n,).

    Examples
    --------
    >>> from labelfix.schema import CLASS_KINDS
    >>> kind, score = likeliest_kind(np.array([[0.81, 0.36, 0.1], [0.25, 1.0, 0.5]]))
    >>> [CLASS_KINDS[k] for k in kind], score
    (['mislabeled', 'multi_label'], array([0.81, 1.  ]))
    """
    kind = scores.argmax(axis=1)
    return kind, scores[np.arange(len(scores)), kind]
