"""FiftyOne's mistakenness of boxes, written from its published formulas.

For those who move over, and for benchmarks. Source: FiftyOne Brain's documentation of
`compute_mistakenness` for detections: predictions are matched to given boxes at IoU .5 whatever
their class; a matched box is as mistaken as its prediction is sure of another class, an unmatched
one may be spurious, an unmatched prediction may be missing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from labelfix.score.boxes.matching import Match, Pairs

__all__ = ["FiftyOne", "FiftyOneScores", "fiftyone_scores", "match_greedily"]


@dataclass(frozen=True)
class FiftyOne:
    """Parameters of FiftyOne's mistakenness.

    Parameters
    ----------
    iou
        Boxes match from this overlap on.
    flag_below
        Issues whose quality, one minus mistakenness, is lower are flagged. Labelfix's own.
    """

    name: ClassVar[str] = "fiftyone"
    iou: float = 0.5
    flag_below: float = 0.5


class FiftyOneScores(NamedTuple):
    """Mistakenness in [0, 1], **high = suspicious** as FiftyOne has it, in table order."""

    mistakenness: NDArray[np.float64]
    """Of each given box's class, `(m·conf + 1)/2` with m = 1 for another class and -1 for the same;
    NaN where no prediction matches."""
    location: NDArray[np.float64]
    """Of each given box's place, `(conf·(2i - 1) + 1)/2` with `i = 2(1 - IoU)`; NaN likewise."""
    spurious: NDArray[np.bool_]
    """Which given boxes no prediction matches."""
    missing: NDArray[np.float64]
    """Confidence of each prediction that matches no given box; NaN for the others."""


def fiftyone_scores(match: Match, params: FiftyOne | None = None) -> FiftyOneScores:
    """Score boxes by FiftyOne's formulas.

    Parameters
    ----------
    match
        From `match_boxes`, with a `least_iou` below `params.iou`.
    params
        The default is FiftyOne's.

    Examples
    --------
    >>> import polars as pl
    >>> from labelfix.score.boxes import match_boxes
    >>> given = pl.DataFrame({
    ...     "annotation_id": ["0"], "item_id": ["a"], "label": ["cat"],
    ...     "x1": [0.0], "y1": [0.0], "x2": [10.0], "y2": [10.0], "crowd": [False]})
    >>> predicted = pl.DataFrame({
    ...     "item_id": ["a", "a"], "label": ["dog", "dog"], "score": [0.8, 0.3],
    ...     "x1": [0.0, 0.0], "y1": [0.0, 0.0], "x2": [10.0, 2.0], "y2": [7.5, 2.0]})
    >>> scores = fiftyone_scores(match_boxes(given, predicted, ["cat", "dog"]))
    >>> scores.mistakenness.tolist(), scores.location.tolist(), scores.missing.tolist()
    ([0.9], [0.5], [nan, 0.3])
    """
    params = params or FiftyOne()
    given, predicted = match.given, match.predicted
    score = predicted.confidence
    partner, overlap = match_greedily(match.pairs, score, len(given), params.iou)
    matched = partner >= 0
    mine, theirs = np.flatnonzero(matched), partner[matched]
    mistaken, location = np.full(len(given), np.nan), np.full(len(given), np.nan)
    sign = np.where(given.label[mine] == predicted.label[theirs], -1, 1)
    mistaken[mine] = (sign * score[theirs] + 1) / 2
    location[mine] = (score[theirs] * (2 * (2 * (1 - overlap[matched])) - 1) + 1) / 2
    missing = score.copy()
    missing[theirs] = np.nan
    return FiftyOneScores(
        given.in_table_order(mistaken),
        given.in_table_order(location),
        given.in_table_order(~matched),
        predicted.in_table_order(missing),
    )


def match_greedily(
    pairs: Pairs, score: NDArray[np.float64], n_left: int, least_iou: float
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Match as COCO does: the surest prediction first, each takes the free box it overlaps most.

    All predictions that nobody surer competes with are settled at once, round after round, so that
    rounds are few however many boxes there are.

    Parameters
    ----------
    pairs
        Given (left) with predicted (right) boxes.
    score
        Confidence of each predicted box.
    n_left
        How many given boxes there are.
    least_iou
        Pairs that overlap less do not match.

    Returns
    -------
    partner, iou
        Row of each given box's prediction, or -1, and their IoU, or 0; shape (n_left,). Ties go to
        the earlier row.
    """
    partner, overlap = np.full(n_left, -1), np.zeros(n_left)
    pairs = pairs.keep(pairs.iou >= least_iou)
    turn = np.empty(len(score), np.int64)
    turn[np.argsort(-score, kind="stable")] = np.arange(len(score))
    taken = np.zeros(len(score), bool)
    while len(pairs):
        # a prediction is next if it comes first for every free box that it could take
        first = np.full(n_left, len(score))
        np.minimum.at(first, pairs.left, turn[pairs.right])
        waits = np.zeros(len(score), bool)
        waits[pairs.right[turn[pairs.right] != first[pairs.left]]] = True
        ready = pairs.keep(~waits[pairs.right])
        order = np.lexsort((ready.left, -ready.iou, ready.right))
        best = order[np.unique(ready.right[order], return_index=True)[1]]
        partner[ready.left[best]] = ready.right[best]
        overlap[ready.left[best]] = ready.iou[best]
        taken[ready.right] = True
        pairs = pairs.keep(~taken[pairs.right] & (partner[pairs.left] < 0))
    return partner, overlap
