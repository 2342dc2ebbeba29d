"""How much each clue weighs, learnt from the dataset itself.

Most given boxes are right. So the calibration takes given boxes as they are, and the same boxes
with one error planted in each; what tells the two apart is what tells such an error. A logistic
regression for each kind gives the log of how much likelier the clues are under an error than under
a given box, the density ratio of the two samples (Qin 1998, Biometrika 85: 619). With the prior of
`BoxParams` it becomes the probability of an error, on one scale for all kinds.

Some given boxes are wrong, so the ratio comes out low, and the lower the more of them there are:
the probabilities are careful ones. The order within a kind hardly changes.

A calibration is fitted once, on a sample of a run's images; with it every image is scored by
itself. What it draws hangs on names and places, not on the order of rows.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from labelfix.errors import warn_caller
from labelfix.score.boxes.clues import CLUES, MISSING, PULL, START
from labelfix.score.boxes.company import carelessness_of
from labelfix.score.boxes.evidence import Confidence, Evidence, Scene, best_of_groups
from labelfix.score.boxes.matching import Boxes, overlaps
from labelfix.score.boxes.params import BoxParams
from labelfix.score.boxes.planting import halves, hull, neighbours, pushed

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from labelfix.score.boxes.clues import Clues
    from labelfix.score.boxes.matching import Match

__all__ = ["Calibration", "Weights"]

ENOUGH = 20
"""Fewer boxes of a sort are nothing to learn from."""
WANTED = 2000
"""Errors of each kind to plant; where there are fewer boxes, several in each."""
NEED_ROOM = ("wrong_class", "merged")
UNHEARD_OF = -20.0
"""Errors that some datasets have no room for: another class where there is one only, boxes drawn
as one where no two of a class are neighbours; and their log likelihood ratio then."""
DIGITS = 6
"""Decimals of a weight: rounding hides what differs between machines' arithmetic."""


KINDS: Mapping[str, tuple[str, ...]] = {
    "spurious": ("spurious",),
    "wrong_class": ("wrong_class",),
    "bad_location": ("bad_location",),
    "duplicate": ("duplicate",),
    "group": ("merged", "split"),
}
"""Kinds of error in a given box, and the weights that speak of them."""


class Odds(NamedTuple):
    """What is said of n given boxes."""

    kinds: Mapping[str, NDArray[np.float64]]
    """Log odds of every kind of error, shape (n,) each."""
    is_merged: NDArray[np.bool_]
    """Whether a group is rather one box over several objects than several over one."""

    def of_any(self) -> NDArray[np.float64]:
        """Log odds of an error of any kind, shape (n,)."""
        return np.asarray(np.logaddexp.reduce(list(self.kinds.values())))


@dataclass(frozen=True)
class Weights:
    """A linear model of a log likelihood ratio.

    Parameters
    ----------
    intercept
        Added to the sum.
    weights
        Of each clue, by name.
    planted
        How many errors they were learnt from; 0 where the starting point is all there is.
    """

    intercept: float
    weights: Mapping[str, float]
    planted: int

    def log_ratio(self, clues: Clues) -> NDArray[np.float64]:
        """Log of how much likelier the clues are under an error than without, shape (n,)."""
        total = np.full(len(next(iter(clues.values()))), self.intercept)
        for name, weight in self.weights.items():
            total += weight * clues[name]
        return total


@dataclass(frozen=True)
class Calibration:
    """What `score_boxes` knows of a detector and a dataset, learnt once, frozen.

    Parameters
    ----------
    params
        What it was fitted with.
    class_names
        Of the dataset.
    scale
        Confidences of the classes on one scale.
    weights
        Of the clues for each kind; a group is `merged` or `split`.
    boxes_per_prediction
        Given boxes for each predicted one, at least one an image: turns the prior of missing boxes
        into one a prediction.
    carelessness
        How much images differ in their log odds of an error, as a standard deviation.
    """

    params: BoxParams
    class_names: tuple[str, ...]
    scale: Confidence
    weights: Mapping[str, Weights]
    boxes_per_prediction: float
    carelessness: float = 0.0

    @classmethod
    def fit(cls, match: Match, params: BoxParams | None = None) -> Calibration:
        """Learn from a sample of the images.

        Parameters
        ----------
        match
            From `match_boxes`.
        params
            Parameters of the scores.

        Warns
        -----
        LabelfixWarning
            Where there are too few boxes to learn from, and scores rest on a starting point.
        """
        params = params or BoxParams()
        rng = np.random.default_rng(params.seed)
        sample = match.of_items(_sample(match, params, rng)).in_fixed_order()
        scene = Scene(sample, _scale(sample, params), params)
        floor, ridge = params.least_confidence, params.ridge
        weights = {}
        for kind, clues in CLUES.items():
            planted, kept = PLANT[kind](scene, rng)
            columns = {name: column[kept] for name, column in clues(planted, floor).items()}
            weights[kind] = _learn(kind, columns, clues(scene.given, floor), ridge)
        dropped = MISSING(scene.dropped(), floor)
        rows = np.flatnonzero(~scene.in_crowd)
        rows = np.sort(rng.permutation(rows)[: params.calibration_predictions])
        proposed = MISSING(scene.proposals(rows), floor)
        weights["missing"] = _learn("missing", dropped, proposed, ridge)
        if min(len(sample.given), len(sample.predicted)) < ENOUGH:
            warn_caller(
                f"{len(sample.given)} given and {len(sample.predicted)} predicted boxes are too "
                "few to learn from: the order of issues rests on a starting point, and their "
                "probabilities mean little"
            )
        alone = cls(
            params,
            match.class_names,
            scene.scale,
            weights,
            max(len(match.given), len(match), 1) / max(len(match.predicted), 1),
        )
        likeliest = carelessness_of(
            alone.odds(scene.given).of_any(),
            sample.given.first,
            alone.prior,
            params.carelessness,
            params.least_gain,
        )
        return replace(alone, carelessness=likeliest)

    @property
    def prior(self) -> float:
        """Log odds of an error of any kind in a given box, before anything is seen."""
        possible = [kind for kind, made_of in KINDS.items() if any(self._knows(p) for p in made_of)]
        shares = np.array([getattr(self.params, kind) for kind in possible])
        return float(np.log((shares / (1 - shares)).sum()))

    def _knows(self, part: str) -> bool:
        return self.weights[part].intercept != UNHEARD_OF

    def odds(self, evidence: Evidence) -> Odds:
        """Log odds of every kind of error in the given boxes, each looked at by itself."""
        params = self.params
        ratio = {
            kind: self.weights[kind].log_ratio(clues(evidence, params.least_confidence))
            for kind, clues in CLUES.items()
        }
        is_merged, ratio["group"] = _group(ratio["merged"], ratio["split"], evidence)
        spoken_of = {
            "spurious": np.ones(len(is_merged), bool),
            "wrong_class": evidence.support.other_row >= 0,
            "bad_location": evidence.fit.row >= 0,
            "duplicate": evidence.twin.row >= 0,
            "group": (evidence.whole.row >= 0) | (evidence.pieces.second_row >= 0),
        }
        kinds = {}
        for kind, spoken in spoken_of.items():
            share = getattr(params, kind)
            # what nothing speaks of, the weights only extrapolate to: it gets no likelier
            most = np.where(spoken, np.inf, 0.0)
            kinds[kind] = np.minimum(ratio[kind], most) + float(np.log(share / (1 - share)))
        return Odds(kinds, is_merged)

    def to_json(self) -> dict[str, Any]:
        """Plain numbers, strings, lists and dicts, for run.json."""
        return {
            "params": asdict(self.params),
            "class_names": list(self.class_names),
            "class_quantiles": self.scale.classes.tolist(),
            "quantiles": self.scale.overall.tolist(),
            "weights": {kind: asdict(learnt) for kind, learnt in self.weights.items()},
            "boxes_per_prediction": self.boxes_per_prediction,
            "carelessness": self.carelessness,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Calibration:
        """Restore what `to_json` gave, or the same read back from a file."""
        params: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value
            for name, value in data["params"].items()
        }
        return cls(
            BoxParams(**params),
            tuple(data["class_names"]),
            Confidence(np.array(data["class_quantiles"]), np.array(data["quantiles"])),
            {kind: Weights(**learnt) for kind, learnt in data["weights"].items()},
            data["boxes_per_prediction"],
            data["carelessness"],
        )


def _group(
    merged: NDArray[np.float64], split: NDArray[np.float64], evidence: Evidence
) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    """Whether a group is rather a merged than a split box, and the log ratio of either.

    The two are taken as equally frequent. Where predictions speak of one only, the other has none.
    """
    pieces, whole = evidence.pieces.second_row >= 0, evidence.whole.row >= 0
    merged = np.where(pieces | ~whole, merged, -np.inf)
    split = np.where(whole | ~pieces, split, -np.inf)
    return merged > split, np.logaddexp(merged, split) - np.log(2)


def _sample(match: Match, params: BoxParams, rng: np.random.Generator) -> NDArray[np.int64]:
    """Images drawn until they hold enough boxes, by name: their order says nothing."""
    by_name = match.item_ids.arg_sort().to_numpy()
    order = rng.permutation(len(match))
    boxes = np.cumsum(np.diff(match.given.first)[by_name[order]])
    enough = int(np.searchsorted(boxes, params.calibration_boxes)) + 1
    return np.asarray(by_name[np.sort(order[:enough])], np.int64)


def _scale(match: Match, params: BoxParams) -> Confidence:
    """Quantiles of the confidence of right detections: the surest of its class on a given box."""
    given, predicted, pairs = match.given, match.predicted, match.pairs
    right = pairs.keep(
        (pairs.iou >= params.match_iou) & (given.label[pairs.left] == predicted.label[pairs.right])
    )
    best = best_of_groups(right.left, predicted.confidence[right.right], len(given))
    row = right.right[best[best >= 0]]
    return Confidence.fit(
        predicted.confidence[row],
        predicted.label[row],
        len(match.class_names),
        params.quantiles,
        params.class_weight,
    )


Planted = tuple[Evidence, "NDArray[np.int64]"]
"""Evidence on boxes with a planted error, and which of them to learn from."""


def _rows(scene: Scene) -> NDArray[np.int64]:
    """Given boxes to plant errors in, each as often as it takes to have enough."""
    sound = np.flatnonzero(scene.match.given.area > 0)
    n = len(sound)
    return np.repeat(sound, -(-WANTED // max(n, 1)) if n < WANTED else 1)


def _put(
    scene: Scene,
    item: NDArray[np.int32],
    label: NDArray[np.int32],
    corners: NDArray[np.float64],
    source: NDArray[np.int64],
) -> tuple[Boxes, NDArray[np.int64]]:
    """Boxes sorted by image, and the given box that each of them replaces."""
    order = np.argsort(item, kind="stable")
    boxes = Boxes.new(item[order], label[order], corners[order], len(scene.match))
    return boxes, source[order]


def _plant_spurious(scene: Scene, rng: np.random.Generator) -> Planted:
    """Boxes of the usual classes and sizes, anywhere that no given box is."""
    match, rows = scene.match, _rows(scene)
    given = match.given
    item = rng.integers(0, len(match), len(rows)).astype(np.int32)
    corners = given.corners[rows]
    size = corners[:, 2:] - corners[:, :2]
    size *= (match.side[item] / match.side[given.item[rows]])[:, None]
    low = rng.random((len(rows), 2)) * np.maximum(match.size[item] - size, 0)
    boxes, source = _put(
        scene,
        item,
        given.label[rows],
        np.concatenate([low, low + size], axis=1),
        np.full(len(rows), -1),
    )
    alone = np.ones(len(boxes), bool)
    for others in (given, match.crowd):
        alone[overlaps(boxes, others, match.least_iou).left] = False
    return Evidence(scene, boxes, source), np.flatnonzero(alone)


def _plant_wrong_class(scene: Scene, rng: np.random.Generator) -> Planted:
    given, rows, K = scene.match.given, _rows(scene), len(scene.match.class_names)
    if K < 2:
        rows = rows[:0]
    step = rng.integers(1, max(K, 2), len(rows))
    label = ((given.label[rows] + step) % K).astype(np.int32)
    boxes, source = _put(scene, given.item[rows], label, given.corners[rows], rows)
    return Evidence(scene, boxes, source), np.arange(len(boxes))


def _plant_bad_location(scene: Scene, rng: np.random.Generator) -> Planted:
    given, rows = scene.match.given, _rows(scene)
    corners = pushed(given.corners[rows], scene.params.planted_shift, rng)
    boxes, source = _put(scene, given.item[rows], given.label[rows], corners, rows)
    return Evidence(scene, boxes, source), np.arange(len(boxes))


def _plant_duplicate(scene: Scene, rng: np.random.Generator) -> Planted:
    """Copy boxes, and keep copies that are worse: of two, only the worse is a duplicate."""
    given, rows = scene.match.given, _rows(scene)
    corners = pushed(given.corners[rows], scene.params.planted_duplicate, rng)
    new = np.full(len(rows), -1)
    boxes, source = _put(scene, given.item[rows], given.label[rows], corners, new)
    evidence = Evidence(scene, boxes, source)
    return evidence, np.flatnonzero(evidence.twin.iou > 0)


def _plant_merged(scene: Scene, rng: np.random.Generator) -> Planted:
    given, params = scene.match.given, scene.params
    rows = rng.permutation(len(given))
    a, b = neighbours(
        given.item, given.label, given.corners, rows, params.planted_group_area, params.whole_iou
    )
    around = hull(given.corners[a], given.corners[b])
    boxes, source = _put(scene, given.item[a], given.label[a], around, a)
    return Evidence(scene, boxes, source), np.arange(len(boxes))


def _plant_split(scene: Scene, rng: np.random.Generator) -> Planted:  # noqa: ARG001 # as the others
    given = scene.match.given
    rows = np.arange(len(given))
    both = np.concatenate(halves(given.corners))
    boxes, source = _put(
        scene, np.tile(given.item, 2), np.tile(given.label, 2), both, np.tile(rows, 2)
    )
    return Evidence(scene, boxes, source, bundled=True), np.arange(len(boxes))


PLANT = {
    "spurious": _plant_spurious,
    "wrong_class": _plant_wrong_class,
    "bad_location": _plant_bad_location,
    "duplicate": _plant_duplicate,
    "merged": _plant_merged,
    "split": _plant_split,
}


def _learn(kind: str, planted: Clues, given: Clues, ridge: float) -> Weights:
    """Fit the log of the ratio between the densities of planted and of given clues.

    The ridge pulls as so many planted errors would. Of missing boxes and groups there are as many
    as boxes that allow them, so the fewer there are, the more it pulls; of other kinds mostly
    `WANTED` or more, several planted in each box where boxes are few: it pulls as on large sets.
    """
    names = list(given)
    X1, X0 = (
        np.column_stack([np.asarray(clues[n], float) for n in names]) for clues in (planted, given)
    )
    start, pull = (
        np.array([weights[kind].get(name, 0.0) for name in names]) for weights in (START, PULL)
    )
    if len(X0) >= ENOUGH > len(X1) and kind in NEED_ROOM:
        return Weights(UNHEARD_OF, {}, 0)
    if min(len(X0), len(X1)) < ENOUGH:
        centre = float((X0 @ start).mean()) if len(X0) else 0.0
        return Weights(-centre, dict(zip(names, start.tolist(), strict=True)), 0)
    intercept, weights = _logistic(X1, X0, pull, ridge / len(X1))
    return Weights(
        round(intercept, DIGITS),
        {name: round(weight, DIGITS) for name, weight in zip(names, weights.tolist(), strict=True)},
        len(X1),
    )


def _logistic(
    X1: NDArray[np.float64], X0: NDArray[np.float64], start: NDArray[np.float64], ridge: float
) -> tuple[float, NDArray[np.float64]]:
    """Logistic regression by Newton's method, both samples weighing alike.

    The ridge pulls weights of columns of unit variance towards `start`.
    """
    X = np.concatenate([X0, X1])
    y = np.repeat([0.0, 1.0], [len(X0), len(X1)])
    share = np.repeat([0.5 / len(X0), 0.5 / len(X1)], [len(X0), len(X1)])
    centre, spread = X.mean(axis=0), X.std(axis=0)
    spread[spread == 0] = 1.0
    Z = np.column_stack([np.ones(len(X)), (X - centre) / spread])
    goal = np.concatenate([[0.0], start * spread])
    pull = ridge * (np.arange(len(goal)) > 0)

    def loss(beta: NDArray[np.float64]) -> float:
        eta = Z @ beta
        likelihood = share @ (np.logaddexp(0, eta) - y * eta)
        return float(likelihood + pull @ (beta - goal) ** 2 / 2)

    beta, at = goal, loss(goal)
    for _ in range(100):
        p = 1 / (1 + np.exp(-np.clip(Z @ beta, -30, 30)))
        slope = Z.T @ (share * (p - y)) + pull * (beta - goal)
        curve = (Z * (share * p * (1 - p))[:, None]).T @ Z + np.diag(pull + 1e-12)
        step = np.linalg.solve(curve, slope)
        size = 1.0
        while (there := loss(beta - size * step)) > at and size > 1e-6:
            size /= 2
        beta, gained, at = beta - size * step, at - there, there
        if gained < 1e-10:
            break
    weights = beta[1:] / spread
    return float(beta[0] - weights @ centre), weights
