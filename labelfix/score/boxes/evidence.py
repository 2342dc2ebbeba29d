"""What the predictions say of each box, as numbers that a calibration can weigh.

One set of columns a box, from the pairs of boxes that overlap: how well any prediction supports it,
how well one of its class or of another, how well the best of them fits, whether a better box claims
the same prediction, whether pieces of it are predicted. All lengths are relative to other boxes or
to the image, so nothing depends on pixel units or on the scale of an image, boxes included; how
large a box is in its image does count. Everything of a box comes from its own image.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from labelfix.boxes import area, iou
from labelfix.score.boxes.matching import overlaps
from labelfix.score.boxes.planting import hull

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from labelfix.score.boxes.matching import Boxes, Match, Pairs
    from labelfix.score.boxes.params import BoxParams

    Floats = NDArray[np.float64]
    Ints = NDArray[np.integer[Any]]

__all__ = ["Confidence", "Evidence", "Proposals", "Scene"]


@dataclass(frozen=True)
class Confidence:
    """Confidences of each class put onto one scale, by quantiles.

    A detector is surer of some classes than of others when it is right. The quantiles of its
    confidence in what it gets right are mapped, class by class, onto those over all classes.

    Parameters
    ----------
    classes
        Shape (K, q): quantiles of the confidence of right detections of each class, from 0 to 1.
    overall
        Shape (q,): the same over all classes.
    """

    classes: NDArray[np.float64]
    overall: NDArray[np.float64]

    @classmethod
    def fit(
        cls,
        score: NDArray[np.float64],
        label: Ints,
        n_classes: int,
        quantiles: int,
        class_weight: float,
    ) -> Confidence:
        """Take quantiles of right detections; classes with few of them lean on all classes.

        Parameters
        ----------
        score, label
            Of the right detections, shape (n,).
        n_classes
            K.
        quantiles
            How many, two or more.
        class_weight
            A class with this many right detections is its own by half.
        """
        levels = np.linspace(0, 1, quantiles)
        overall = np.quantile(score, levels) if len(score) else levels
        order = np.lexsort((score, label))
        counts = np.bincount(label, minlength=n_classes)
        starts = np.cumsum(counts) - counts
        # linear interpolation between the sorted scores of each class, all classes at once
        place = starts[:, None] + levels * np.maximum(counts - 1, 0)[:, None]
        ranked = np.append(score[order], 0.0)
        low = np.minimum(np.floor(place).astype(np.int64), len(score))
        high = np.minimum(np.ceil(place).astype(np.int64), len(score))
        own = ranked[low] + (ranked[high] - ranked[low]) * (place - low)
        share = (counts / (counts + class_weight))[:, None]
        shrunk = share * np.where(counts[:, None] > 0, own, 0.0) + (1 - share) * overall
        return cls(_with_ends(shrunk), _with_ends(overall))

    def __call__(self, score: NDArray[np.float64], label: Ints) -> NDArray[np.float64]:
        """Confidence on the common scale, shape (n,), in [0, 1]."""
        K, q = self.classes.shape
        # all classes in one sorted array: class k holds the interval [2k, 2k + 1]
        flat = (self.classes + 2.0 * np.arange(K)[:, None]).ravel()
        place = np.searchsorted(flat, score + 2.0 * label, side="right") - 1 - label * q
        place = np.clip(place, 0, q - 2)
        low, high = self.classes[label, place], self.classes[label, place + 1]
        part = np.clip((score - low) / np.maximum(high - low, np.finfo(float).tiny), 0, 1)
        step = self.overall[place + 1] - self.overall[place]
        return np.asarray(self.overall[place] + part * step)


def _with_ends(knots: NDArray[np.float64]) -> NDArray[np.float64]:
    """Let the scale begin at 0 and end at 1."""
    edge = np.zeros((*knots.shape[:-1], 1))
    return np.concatenate([edge, knots, edge + 1], axis=-1)


class Support(NamedTuple):
    """How well predictions support a box, whatever place it has exactly; shape (n,) each."""

    any: Floats
    """Best confidence times squared IoU of any prediction."""
    same: Floats
    """The same for the given class."""
    other: Floats
    """The same for the best other class."""
    other_label: Ints
    """That class; -1 where there is none."""
    other_row: Ints
    """The prediction that says so."""
    other_iou: Floats


class Fit(NamedTuple):
    """How well the prediction that stands for a box fits it; 0 and -1 where there is none."""

    iou: Floats
    confidence: Floats
    """On the common scale of `Confidence`."""
    rival: Floats
    """Overlap of that prediction with the given box that fits it best, this one apart."""
    row: Ints
    """The prediction."""


class Twin(NamedTuple):
    """A given box of the same class that is supported better; 0 and -1 where there is none."""

    iou: Floats
    row: Ints
    """The given box."""


class Pieces(NamedTuple):
    """Predictions of the given class that are pieces of a box; 0 and -1 where there are none."""

    first: Floats
    """Confidence in the surest piece."""
    second: Floats
    """Confidence in the surest one apart from the first."""
    coverage: Floats
    """Share of the box within the hull of the two."""
    first_row: Ints
    second_row: Ints


class Whole(NamedTuple):
    """A prediction that a box and others are pieces of; 0 and -1 where there is none."""

    confidence: Floats
    shared: Floats
    """Share of the prediction that the given boxes within it make up."""
    most: Floats
    """Overlap of the given box that fits it best."""
    row: Ints


@dataclass(frozen=True)
class Proposals:
    """What speaks for and against n predictions being boxes that are missing, shape (n,) each."""

    size: NDArray[np.float64]
    """Side as a share of the image's."""
    confidence: NDArray[np.float64]
    iou: NDArray[np.float64]
    """Overlap with the given box that fits best; 0 without."""
    same: NDArray[np.bool_]
    """Whether that given box has the predicted class."""
    beside: NDArray[np.float64]
    """Highest overlap with a surer prediction; 0 without."""
    nearest: NDArray[np.integer[Any]]
    """That given box; -1 without."""


class Scene:
    """Images, with what every evidence on them needs, worked out once and when asked for.

    Parameters
    ----------
    match
        Given and predicted boxes.
    scale
        Brings confidences of all classes onto one scale.
    params
        What counts as overlap, as a piece, and so on.
    """

    def __init__(self, match: Match, scale: Confidence, params: BoxParams) -> None:
        self.match = match
        self.scale = scale
        self.params = params

    @cached_property
    def confidence(self) -> NDArray[np.float64]:
        """Of each prediction, on the common scale."""
        return self.scale(self.match.predicted.confidence, self.match.predicted.label)

    @cached_property
    def given(self) -> Evidence:
        """Evidence on the given boxes as they are."""
        given = self.match.given
        return Evidence(self, given, np.arange(len(given)), self.match.pairs)

    @cached_property
    def best_given(self) -> tuple[Ints, Floats, Ints, Floats]:
        """Of each prediction the two given boxes that fit it best: row, IoU, row, IoU."""
        pairs, n = self.match.pairs, len(self.match.predicted)
        order = np.argsort(pairs.right, kind="stable")
        right, left, overlap = pairs.right[order], pairs.left[order], pairs.iou[order]
        first = best_of_groups(right, overlap, n)
        rest = overlap.copy()
        rest[first[first >= 0]] = 0
        second = best_of_groups(right, rest, n, above=0.0)
        return (
            take(left, first, -1),
            take(overlap, first, 0.0),
            take(left, second, -1),
            take(overlap, second, 0.0),
        )

    @cached_property
    def surest_classes(self) -> tuple[Ints, Floats, Ints, Floats] | None:
        """Of each prediction the two surest classes: class, confidence, class, confidence."""
        predicted = self.match.predicted
        if predicted.pred_probs is None:
            return None
        vectors = predicted.pred_probs[predicted.row]
        rows = np.arange(len(vectors))
        found: list[Any] = []
        for _ in range(2):
            label = np.argmax(vectors, axis=1)
            value = np.maximum(vectors[rows, label], 0).astype(np.float64)
            found += [label, self.scale(value, label)]
            vectors[rows, label] = -1
        return found[0], found[1], found[2], found[3]

    @cached_property
    def stands(self) -> Fit:
        """Of each given box the prediction of any class that stands for it best."""
        pairs = self.match.pairs
        confidence = self.confidence[pairs.right]
        index = best_of_groups(pairs.left, confidence * pairs.iou, len(self.match.given))
        return Fit(
            take(pairs.iou, index, 0.0),
            take(confidence, index, 0.0),
            np.zeros(len(index)),
            take(pairs.right, index, -1),
        )

    @cached_property
    def surer_beside(self) -> NDArray[np.float64]:
        """Of each prediction its highest overlap with a surer one, whatever the class."""
        predicted = self.match.predicted
        both = overlaps(predicted, predicted, self.params.beside_iou)
        surer = self.confidence[both.left] >= self.confidence[both.right]
        beside = np.zeros(len(predicted))
        np.maximum.at(beside, np.where(surer, both.right, both.left), both.iou)
        return beside

    @cached_property
    def in_crowd(self) -> NDArray[np.bool_]:
        """Which predictions lie in a crowd region."""
        crowd, predicted = self.match.crowd, self.match.predicted
        touching = overlaps(crowd, predicted, 0.0)
        share = _shared(touching, crowd, predicted) / predicted.area[touching.right]
        found = np.zeros(len(predicted), bool)
        found[touching.right[share > self.params.crowd_share]] = True
        return found

    def proposals(self, rows: Ints) -> Proposals:
        """Evidence on predictions as boxes that are missing."""
        top, top_iou, _, _ = self.best_given
        return self._proposals(rows, top[rows], top_iou[rows])

    def dropped(self) -> Proposals:
        """Evidence on the best prediction of each given box, were that given box not there."""
        found = np.flatnonzero(self.stands.iou >= self.params.match_iou)
        rows = self.stands.row[found]
        top, top_iou, second, second_iou = (column[rows] for column in self.best_given)
        mine = top == found
        return self._proposals(
            rows, np.where(mine, second, top), np.where(mine, second_iou, top_iou)
        )

    def _proposals(self, rows: Ints, nearest: Ints, overlap: Floats) -> Proposals:
        given, predicted = self.match.given, self.match.predicted
        side = np.sqrt(predicted.area[rows]) / self.match.side[predicted.item[rows]]
        return Proposals(
            size=np.fmax(side, SPECK),
            confidence=self.confidence[rows],
            iou=overlap,
            same=(nearest >= 0) & (take(given.label, nearest, -1) == predicted.label[rows]),
            beside=self.surer_beside[rows],
            nearest=nearest,
        )


class Evidence:
    """What the predictions of a scene say of each of n boxes in it, worked out when asked for.

    Parameters
    ----------
    scene
        Where the boxes are.
    boxes
        The given ones, or ones put in their place; sorted by image.
    source
        The given box that each replaces, -1 for one that is new, shape (n,).
    pairs
        Overlaps with the predictions, if they are known.
    bundled
        Whether boxes that replace the same given box are there together; others are each looked at
        alone.
    """

    def __init__(
        self,
        scene: Scene,
        boxes: Boxes,
        source: Ints,
        pairs: Pairs | None = None,
        *,
        bundled: bool = False,
    ) -> None:
        self.scene = scene
        self.boxes = boxes
        self.source = source
        self.pairs = pairs or overlaps(boxes, scene.match.predicted, scene.params.least_iou)
        self.bundled = bundled

    @cached_property
    def size(self) -> NDArray[np.float64]:
        """Side of each box as a share of its image's; one without a size counts as a speck."""
        side = np.sqrt(np.fmax(self.boxes.area, 0))
        return np.fmax(side / self.scene.match.side[self.boxes.item], SPECK)

    @cached_property
    def support(self) -> Support:
        """How well predictions support each box."""
        pairs, n = self.pairs, len(self.boxes)
        same, other, other_label = self._in_class
        square = pairs.iou**2
        other = other * square
        index = best_of_groups(pairs.left, other, n)
        return Support(
            _most(pairs.left, self._confidence * square, n),
            _most(pairs.left, same * square, n),
            take(other, index, 0.0),
            take(other_label, index, -1),
            take(pairs.right, index, -1),
            take(pairs.iou, index, 0.0),
        )

    @cached_property
    def own_support(self) -> NDArray[np.float64]:
        """As `support.any`, of predictions that no other given box fits better."""
        own = self.pairs.iou > self._rival
        return _most(self.pairs.left, self._confidence * self.pairs.iou**2 * own, len(self.boxes))

    @cached_property
    def fit(self) -> Fit:
        """How well the best prediction in the given class fits."""
        same, _, _ = self._in_class
        return self._fit(best_of_groups(self.pairs.left, same * self.pairs.iou, len(self.boxes)))

    @cached_property
    def own_fit(self) -> Fit:
        """How well the best prediction of any class fits that no other given box fits better."""
        own = self._confidence * self.pairs.iou * (self.pairs.iou > self._rival)
        return self._fit(best_of_groups(self.pairs.left, own, len(self.boxes), above=0.0))

    def _fit(self, index: Ints) -> Fit:
        return Fit(
            take(self.pairs.iou, index, 0.0),
            take(self._confidence, index, 0.0),
            take(self._rival, index, 0.0),
            take(self.pairs.right, index, -1),
        )

    @cached_property
    def _confidence(self) -> Floats:
        return self.scene.confidence[self.pairs.right]

    @cached_property
    def _rival(self) -> Floats:
        """Of each pair, how well the best given box but this one fits the prediction."""
        top, top_iou, _, second_iou = (column[self.pairs.right] for column in self.scene.best_given)
        return np.where(top == self.source[self.pairs.left], second_iou, top_iou)

    @cached_property
    def _in_class(self) -> tuple[Floats, Floats, Ints]:
        """Of each pair, confidence in the given class, in the best other one, and which that is."""
        predicted, pairs = self.scene.match.predicted, self.pairs
        given, guess = self.boxes.label[pairs.left], predicted.label[pairs.right]
        surest = self.scene.surest_classes
        if surest is None or predicted.pred_probs is None:
            agrees = given == guess
            return (
                self._confidence * agrees,
                self._confidence * ~agrees,
                np.where(agrees, -1, guess),
            )
        value = predicted.pred_probs[predicted.row[pairs.right], given].astype(np.float64)
        label, first, second_label, second = (column[pairs.right] for column in surest)
        return (
            self.scene.scale(np.maximum(value, 0), given),
            np.where(label == given, second, first),
            np.where(label == given, second_label, label),
        )

    @cached_property
    def strength(self) -> NDArray[np.float64]:
        """How well predictions of its class stand for each box: tells the better of two."""
        pairs = self.pairs
        agrees = self.boxes.label[pairs.left] == self.scene.match.predicted.label[pairs.right]
        return _most(pairs.left, self._confidence * pairs.iou * agrees, len(self.boxes))

    @cached_property
    def twin(self) -> Twin:
        """A given box of the same class that overlaps and is stronger; of equals, the earlier."""
        given, strength = self.scene.match.given, self.scene.given.strength
        if self.boxes is given:
            both = self.scene.match.given_pairs
            worse = strength[both.left] < strength[both.right]
            loser = np.where(worse, both.left, both.right)
            winner = np.where(worse, both.right, both.left)
            order = np.argsort(loser, kind="stable")
            loser, winner, overlap = loser[order], winner[order], both.iou[order]
            loses = given.label[loser] == given.label[winner]
        else:
            both = overlaps(self.boxes, given, self.scene.params.least_iou)
            loser, winner, overlap = both.left, both.right, both.iou
            loses = self.boxes.label[loser] == given.label[winner]
            loses &= self.source[loser] != winner
            loses &= self.strength[loser] <= strength[winner]
        index = best_of_groups(loser, overlap * loses, len(self.boxes), above=0.0)
        return Twin(take(overlap, index, 0.0), take(winner, index, -1))

    @cached_property
    def pieces(self) -> Pieces:
        """Predictions of the given class that are pieces of each box."""
        params, predicted, n = self.scene.params, self.scene.match.predicted, len(self.boxes)
        pairs, (same, _, _) = self.pairs, self._in_class
        inside = (
            _shared(pairs, self.boxes, predicted) >= params.inside * predicted.area[pairs.right]
        )
        rows = np.flatnonzero(inside & (pairs.iou <= params.whole_iou))
        left, right, sure = pairs.left[rows], pairs.right[rows], same[rows]
        first = best_of_groups(left, sure, n, above=0.0)
        first_row = take(right, first, -1)
        beside = iou(predicted.corners[first_row[left]], predicted.corners[right])
        rows = np.flatnonzero((beside < params.apart_iou) & (first_row[left] >= 0))
        left, right, sure_apart = left[rows], right[rows], sure[rows]
        second = best_of_groups(left, sure_apart, n, above=0.0)
        second_row = take(right, second, -1)
        return Pieces(
            take(sure, first, 0.0),
            take(sure_apart, second, 0.0),
            self._covered(first_row, second_row),
            first_row,
            second_row,
        )

    def _covered(self, first: Ints, second: Ints) -> Floats:
        """Share of each box within the hull of two predictions."""
        corners, covered = self.scene.match.predicted.corners, np.zeros(len(self.boxes))
        two = np.flatnonzero(second >= 0)
        around, box = hull(corners[first[two]], corners[second[two]]), self.boxes.corners[two]
        low = np.maximum(around[:, :2], box[:, :2])
        high = np.minimum(around[:, 2:], box[:, 2:])
        covered[two] = area(np.concatenate([low, high], axis=1)) / self.boxes.area[two]
        return covered

    @cached_property
    def whole(self) -> Whole:
        """A prediction of the given class that each box and others are pieces of."""
        params, predicted, n = self.scene.params, self.scene.match.predicted, len(self.boxes)
        pairs, (same, _, _) = self.pairs, self._in_class
        shared = _shared(pairs, self.boxes, predicted)
        part = shared >= params.inside * self.boxes.area[pairs.left]
        part &= pairs.iou <= params.whole_iou
        part &= self.boxes.label[pairs.left] == predicted.label[pairs.right]
        rows = np.flatnonzero(part)
        left, right, sure = pairs.left[rows], pairs.right[rows], same[rows]
        of, count = self._by_whole(left, right)
        made_up = np.minimum(np.bincount(of, shared[rows] / predicted.area[right], len(count)), 1)
        most = np.zeros(len(count))
        np.maximum.at(most, of, pairs.iou[rows])
        weight = np.where(count[of] > 1, sure * made_up[of], 0.0)
        index = best_of_groups(left, weight, n, above=0.0)
        return Whole(
            take(sure, index, 0.0),
            take(made_up[of], index, 0.0),
            take(most[of], index, 0.0),
            take(right, index, -1),
        )

    def _by_whole(self, left: Ints, right: Ints) -> tuple[Ints, Ints]:
        """Give predictions that have boxes for pieces a number, and count the pieces of each."""
        key = right.astype(np.int64)
        if self.bundled:
            key = key * (len(self.scene.match.given) + 1) + self.source[left]
        _, of, count = np.unique(key, return_inverse=True, return_counts=True)
        return of, count


SPECK = 1e-4
"""Least side of a box as a share of its image's, so that logarithms stay finite."""


def _shared(pairs: Pairs, left: Boxes, right: Boxes) -> Floats:
    """Area that the two boxes of each pair share."""
    both: Floats = left.area[pairs.left] + right.area[pairs.right]
    return both * pairs.iou / (1 + pairs.iou)


def best_of_groups(
    group: Ints,
    value: NDArray[np.float64],
    n: int,
    above: float = -np.inf,
) -> NDArray[np.int64]:
    """Place of the largest value of each of n groups, the earlier of equals.

    Parameters
    ----------
    group, value
        Shape (m,), sorted by group.
    n
        How many groups there are.
    above
        Groups without a larger value have no place: -1, as those without any.
    """
    found = np.full(n, -1)
    if len(group) == 0:
        return found
    start = np.flatnonzero(np.diff(group, prepend=-1))
    most = np.maximum.reduceat(value, start)
    counts = np.diff(np.append(start, len(group)))
    hit = np.flatnonzero((value == np.repeat(most, counts)) & (value > above))
    owner = group[hit]
    first = np.diff(owner, prepend=-1) > 0
    found[owner[first]] = hit[first]
    return found


def _most(group: Ints, value: Floats, n: int) -> Floats:
    """Largest value of each of n groups, sorted by group; 0 for those without any."""
    found = np.zeros(n)
    if len(group):
        start = np.flatnonzero(np.diff(group, prepend=-1))
        found[group[start]] = np.maximum.reduceat(value, start)
    return found


def take(values: NDArray[Any], place: Ints, default: float) -> NDArray[Any]:
    """Values at the places, `default` where the place is -1."""
    if len(values) == 0:
        return np.full(len(place), default, values.dtype)
    return np.where(place >= 0, values[place], np.asarray(default, values.dtype))
