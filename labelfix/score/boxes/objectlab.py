"""ObjectLab's box scores, as cleanlab 2.9 computes them, over whole columns.

For those who move over, and for benchmarks. Source of the method: Tkachenko, Thyagarajan and
Mueller 2023, "ObjectLab: Automated Diagnosis of Mislabeled Images in Object Detection Data"
(arXiv 2309.00832); of the details: `cleanlab.object_detection.rank` 2.9.0, to which a test holds
these numbers.

Known limits, which come with the method: it wants confidences of .95, similarity depends on the
unit of the boxes, the lowest similarity depends on which images are scored together, and no score
speaks of boxes that should not be there.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, NamedTuple

import numpy as np

from labelfix.errors import InputError, Problem
from labelfix.score.boxes.matching import BLOCK_PAIRS, blocks, spread

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from labelfix.score.boxes.matching import Boxes, Match

__all__ = ["ObjectLab", "ObjectLabScores", "objectlab_scores"]

LEAST_UNION = 1e-6
LEAST_SCORE = 1e-100
"""Added before the logarithm when scores are pooled, so that a score of zero is no infinity."""


@dataclass(frozen=True)
class ObjectLab:
    """Parameters of ObjectLab; the defaults are cleanlab's.

    Parameters
    ----------
    alpha
        Weight of IoU against distance in the similarity of two boxes.
    low_probability_threshold
        Predictions at or below it say nothing of location.
    high_probability_threshold
        Predictions below it say nothing of overlooked or swapped boxes.
    temperature
        Of the soft minimum over the boxes of an image.
    overlooked_weight, badloc_weight, swap_weight
        Of the three scores in the score of an image; sum to one.
    overlapping_label_check
        Whether given boxes that lie on one of another class count as swapped.
    label_overlap_threshold
        IoU from which they do.
    distance_factor
        How fast similarity falls with the distance of two centres, per pixel.
    flag_below
        Issues of a lower score are flagged. Labelfix's own: cleanlab derives thresholds from mAP.
    """

    name: ClassVar[str] = "objectlab"
    alpha: float = 0.9
    low_probability_threshold: float = 0.5
    high_probability_threshold: float = 0.95
    temperature: float = 0.1
    overlooked_weight: float = 1 / 3
    badloc_weight: float = 1 / 3
    swap_weight: float = 1 / 3
    overlapping_label_check: bool = True
    label_overlap_threshold: float = 0.95
    distance_factor: float = 0.1
    flag_below: float = 0.5

    def __post_init__(self) -> None:
        weights = np.array([self.overlooked_weight, self.badloc_weight, self.swap_weight])
        if not np.isclose(weights.sum(), 1) or (weights < 0).any():
            expected = "three weights >= 0 that sum to one"
            raise InputError(Problem("ObjectLab", f"weights {weights.tolist()}", expected))


class ObjectLabScores(NamedTuple):
    """Scores in [0, 1], low = suspicious, in the order of the tables."""

    overlooked: NDArray[np.float64]
    """Of each predicted box; NaN where it cannot be one that was overlooked."""
    badloc: NDArray[np.float64]
    """Of each given box."""
    swap: NDArray[np.float64]
    """Of each given box."""
    image: NDArray[np.float64]
    """Of each image: the weighted geometric mean of the three, each pooled by a soft minimum."""


def objectlab_scores(match: Match, params: ObjectLab | None = None) -> ObjectLabScores:
    """Score overlooked, badly located and swapped boxes as cleanlab 2.9 does.

    Parameters
    ----------
    match
        From `match_boxes`. Crowd regions count as boxes here: cleanlab knows none.
    params
        The defaults are cleanlab's.

    Examples
    --------
    >>> import polars as pl
    >>> from labelfix.score.boxes import match_boxes
    >>> given = pl.DataFrame({
    ...     "annotation_id": ["0"], "item_id": ["a"], "label": ["cat"],
    ...     "x1": [0.0], "y1": [0.0], "x2": [10.0], "y2": [10.0], "crowd": [False]})
    >>> predicted = pl.DataFrame({
    ...     "item_id": ["a", "a"], "label": ["dog", "cat"], "score": [0.99, 0.2],
    ...     "x1": [0.0, 90.0], "y1": [0.0, 90.0], "x2": [10.0, 99.0], "y2": [9.0, 99.0]})
    >>> objectlab_scores(match_boxes(given, predicted, ["cat", "dog"])).swap.round(3).tolist()
    [0.095]
    """
    params = params or ObjectLab()
    given, predicted = match.given, match.predicted
    score = predicted.confidence
    found = _over_all_pairs(match, params)
    overlooked = np.where(
        (score >= params.high_probability_threshold) & ~found.touched,
        np.where(found.nearest_same >= 0, found.nearest_same, found.lowest * (1 - score)),
        np.nan,
    )
    badloc = np.where(found.best_same >= 0, found.best_same, 1.0)
    swap = np.where(found.best_other >= 0, np.maximum(found.lowest, 1 - found.best_other), 1.0)
    if params.overlapping_label_check:
        swap[_lies_on_another_class(match, params)] = found.lowest
    logs = (
        weight * np.log(LEAST_SCORE + _soft_minimum(boxes, values, params.temperature))
        for weight, boxes, values in (
            (params.overlooked_weight, predicted, overlooked),
            (params.badloc_weight, given, badloc),
            (params.swap_weight, given, swap),
        )
    )
    return ObjectLabScores(
        predicted.in_table_order(overlooked),
        given.in_table_order(badloc),
        given.in_table_order(swap),
        np.exp(sum(logs)),
    )


@dataclass
class _Extremes:
    """What the scores need of all pairs, overlapping or not; -1 where no pair qualifies."""

    lowest: float
    """Least similarity above zero over all images."""
    touched: NDArray[np.bool_]
    """Which predictions overlap any given box."""
    nearest_same: NDArray[np.float64]
    """Of each prediction, to the most similar given box of its class."""
    best_same: NDArray[np.float64]
    """Of each given box, to overlapping predictions of its class above the low threshold."""
    best_other: NDArray[np.float64]
    """Of each given box, to predictions of other classes above the high threshold."""


def _over_all_pairs(match: Match, params: ObjectLab) -> _Extremes:
    given, predicted = match.given, match.predicted
    score = predicted.confidence
    n, m = len(given), len(predicted)
    found = _Extremes(1.0, np.zeros(m, bool), np.full(m, -1.0), np.full(n, -1.0), np.full(n, -1.0))
    low = predicted.first[given.item]
    counts = predicted.first[given.item.astype(np.int64) + 1] - low
    for rows in blocks(counts, BLOCK_PAIRS):
        group, place = spread(counts[rows])
        a, b = group + rows.start, place + low[rows][group]
        iou, similarity = _similarity(given, predicted, a, b, params)
        found.lowest = similarity.min(initial=found.lowest, where=similarity > 0)
        overlap, same = iou > 0, given.label[a] == predicted.label[b]
        found.touched[b[overlap]] = True
        sure = score[b] > params.high_probability_threshold
        likely = score[b] > params.low_probability_threshold
        nearly = score[b] >= params.high_probability_threshold
        for best, side, which in (
            (found.nearest_same, b, same & nearly),
            (found.best_same, a, same & likely & overlap),
            (found.best_other, a, ~same & sure),
        ):
            np.fmax.at(best, side[which], similarity[which])
    return found


def _similarity(
    given: Boxes,
    predicted: Boxes,
    a: NDArray[np.int64],
    b: NDArray[np.int64],
    params: ObjectLab,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """IoU and similarity of given boxes `a` with predicted boxes `b`."""
    width = np.minimum(given.x2[a], predicted.x2[b]) - np.maximum(given.x1[a], predicted.x1[b])
    height = np.minimum(given.y2[a], predicted.y2[b]) - np.maximum(given.y1[a], predicted.y1[b])
    inside = np.where((width < 0) | (height < 0), 0.0, width * height)
    iou = inside / np.maximum(given.area[a] + predicted.area[b] - inside, LEAST_UNION)
    x = (given.x1[a] + given.x2[a]) / 2 - (predicted.x1[b] + predicted.x2[b]) / 2
    y = (given.y1[a] + given.y2[a]) / 2 - (predicted.y1[b] + predicted.y2[b]) / 2
    distance = 1 - np.exp(-np.sqrt(x * x + y * y) * params.distance_factor)
    # one minus one minus: the rounding decides which similarities are zero
    return iou, iou * params.alpha + (1 - params.alpha) * (1 - distance)


def _lies_on_another_class(match: Match, params: ObjectLab) -> NDArray[np.bool_]:
    given = match.given
    pairs = match.given_pairs
    pairs = pairs.keep(
        (pairs.iou >= params.label_overlap_threshold)
        & (given.label[pairs.left] != given.label[pairs.right])
    )
    found = np.zeros(len(given), bool)
    found[pairs.left] = found[pairs.right] = True
    return found


def _soft_minimum(
    boxes: Boxes, values: NDArray[np.float64], temperature: float
) -> NDArray[np.float64]:
    """Pool the values of each image's boxes, NaN apart; 1 where there are none."""
    known = ~np.isnan(values)
    item, value = boxes.item[known], values[known]
    least = np.full(len(boxes.first) - 1, np.inf)
    np.minimum.at(least, item, value)
    weight = np.exp((least[item] - value) / temperature)
    total = np.bincount(item, weight, len(least))
    pooled = np.bincount(item, weight * value, len(least))
    return np.divide(pooled, total, out=np.ones(len(least)), where=total > 0)
