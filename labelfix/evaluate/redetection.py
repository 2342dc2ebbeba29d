"""COCO's numbers of redrawn images: matched once, counted anew for every draw.

What a detection matches does not depend on the other images, so a draw only weighs: an image that
is drawn twice counts twice. Average precision is then read off weighted curves in the way that
COCO's evaluator reads it off the curve of the redrawn set; a test holds it to that set, written out
and evaluated. Of detections that are equally sure, the copies of one come together.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from labelfix.errors import InputError, Problem
from labelfix.evaluate.detection import TWELVE, evaluated
from labelfix.evaluate.statistics import interval, redraw

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from labelfix.progress import Progress

    Floats = NDArray[np.float64]
    Integers = NDArray[np.int64]

__all__ = ["MatchedBoxes", "redraw_map"]

_RECALL = np.linspace(0, 1, 101)  # COCO's points on the recall axis
_N_IOU = 10
_IOU_50, _IOU_75 = 0, 5
_ALL, _SMALL, _MEDIUM, _LARGE = range(4)
_N_AREAS = 4
_TINY = np.spacing(1)  # as COCO's evaluator guards its division


@dataclass(frozen=True, eq=False)
class _Curves:
    """Curves of precision over recall: one for each IoU, area and class that has any hit.

    At every hit a curve asks how many detections that count are as sure or surer. Which count
    differs little between IoUs, so they are counted once for all (`base`), and what an IoU adds or
    leaves out beside (`shift`): a tenth of the work.

    Parameters
    ----------
    base_image
        Image of each detection that counts at the highest IoU, by cell, surest first.
    shift_image, shift_sign
        Image of each detection that counts at another IoU and not there (1), or the other way
        round (-1), by IoU and then as above.
    hit_image, curve, place
        Image and curve of each hit, the latter rising, and how many detections of its image and
        class are surer; shape (hits,).
    base, shift
        How many of `base_image` and `shift_image` come before the hit's curve, and up to the hit
        itself; shape (2, hits).
    iou, cell
        IoU of each curve, and its area and class as area * K + class; shape (curves,).
    """

    base_image: Integers
    shift_image: Integers
    shift_sign: Integers
    hit_image: Integers
    curve: Integers
    place: Integers
    base: Integers
    shift: Integers
    iou: Integers
    cell: Integers

    def weigh(self, weight: Integers) -> tuple[Integers, Integers, Integers]:
        """Weigh each hit, and say how many hits and detections its curve has up to there."""
        base = np.concatenate([[0], np.cumsum(weight[self.base_image])])
        shift = np.concatenate([[0], np.cumsum(weight[self.shift_image] * self.shift_sign)])
        seen = base[self.base[1]] - base[self.base[0]] + shift[self.shift[1]] - shift[self.shift[0]]
        hits = weight[self.hit_image]
        found = np.cumsum(hits)
        first = np.searchsorted(self.curve, np.arange(len(self.cell)))
        return hits, found - (found[first] - hits[first])[self.curve], seen


@dataclass(frozen=True, eq=False)
class MatchedBoxes:
    """Detections held against given boxes, for any number of redrawn sets of images.

    Parameters
    ----------
    n_images
        Images, in the order of the items.
    class_names
        All classes.
    max_dets
        As for `labelfix.evaluate.detection.coco_metrics`.
    given
        How many given boxes of each cell (area * K + class) each image has: sparse, shape
        (4 * K, images).
    curves
        What is left to weigh.
    """

    n_images: int
    class_names: tuple[str, ...]
    max_dets: tuple[int, int, int]
    given: Any
    curves: _Curves

    @classmethod
    def of(
        cls,
        annotations: pl.DataFrame,
        predictions: pl.DataFrame,
        class_names: Sequence[str],
        items: pl.DataFrame | None = None,
        max_dets: tuple[int, int, int] = (1, 10, 100),
    ) -> MatchedBoxes:
        """Match; parameters and errors as for `labelfix.evaluate.detection.coco_metrics`."""
        evaluation, match = evaluated(annotations, predictions, class_names, items, max_dets)
        given, curves = _collect(evaluation, len(match), len(class_names))
        return cls(len(match), tuple(class_names), max_dets, given, curves)

    def count(self, weights: NDArray[Any]) -> Floats:
        """Count draws.

        Parameters
        ----------
        weights
            How often each image is drawn, whole numbers, shape (b, images).

        Returns
        -------
        Shape (b, 12 + K): COCO's twelve numbers and the AP of each class, in [0, 1]; NaN where no
        given box is drawn.

        Examples
        --------
        >>> box = {"x1": [0.0, 0.0], "y1": [0.0, 0.0], "x2": [10.0, 10.0], "y2": [10.0, 10.0]}
        >>> given = pl.DataFrame({"annotation_id": ["0", "1"], "item_id": ["a", "b"],
        ...                       "label": ["cat", "cat"], **box, "crowd": [False, False]})
        >>> found = pl.DataFrame({"item_id": ["a"], "label": ["cat"], "score": [0.9],
        ...                       **{edge: value[:1] for edge, value in box.items()}})
        >>> matched = MatchedBoxes.of(given, found, ["cat"])
        >>> matched.count(np.array([[1, 1], [2, 0], [0, 2]]))[:, 0].round(3).tolist()
        [0.505, 1.0, 0.0]
        """
        rows = [self._twelve(one) for one in np.asarray(weights, np.int64)]
        return np.stack(rows)

    def _twelve(self, weight: Integers) -> Floats:
        precision, recall = self._curves_of(weight)

        def ap(area: int, at: slice = slice(None)) -> float:
            return _mean(precision[at, area])

        def ar(area: int, most: int) -> float:
            return _mean(recall[:, area, :, most])

        numbers = [
            *(ap(_ALL), ap(_ALL, _only(_IOU_50)), ap(_ALL, _only(_IOU_75))),
            *(ap(_SMALL), ap(_MEDIUM), ap(_LARGE)),
            *(ar(_ALL, 0), ar(_ALL, 1), ar(_ALL, 2), ar(_SMALL, 2), ar(_MEDIUM, 2), ar(_LARGE, 2)),
        ]
        return np.concatenate([numbers, precision[:, _ALL].mean(axis=0)])

    def _curves_of(self, weight: Integers) -> tuple[Floats, Floats]:
        """Mean precision (IoU, area, class) and recall (…, most detections); NaN without truth."""
        curves, n_classes = self.curves, len(self.class_names)
        truth = (self.given @ weight).astype(np.float64)
        shape = (_N_IOU, _N_AREAS, n_classes)
        precision, recall = np.zeros(shape), np.zeros((*shape, 3))
        if len(curves.cell):
            hits, right, seen = curves.weigh(weight)
            in_cell = np.maximum(truth[curves.cell], 1)
            at = right / in_cell[curves.curve]
            where = (curves.iou, *np.divmod(curves.cell, n_classes))
            precision[where] = _mean_precision(
                curves.curve, at, right / (seen + _TINY), len(curves.cell)
            )
            for most, limit in enumerate(self.max_dets):
                counted = np.where(curves.place < limit, hits, 0)
                found = np.bincount(curves.curve, counted, len(curves.cell))
                recall[(*where, most)] = found / in_cell
        nothing = (truth == 0).reshape(_N_AREAS, n_classes)
        precision[:, nothing] = np.nan
        recall[:, nothing] = np.nan
        return precision, recall


def redraw_map(
    annotations: pl.DataFrame,
    predictions: pl.DataFrame,
    class_names: Sequence[str],
    items: pl.DataFrame | None = None,
    *,
    max_dets: tuple[int, int, int] = (1, 10, 100),
    draws: int = 1000,
    level: float = 0.95,
    seed: int = 0,
    progress: Progress | None = None,
) -> pl.DataFrame:
    """Give COCO's twelve numbers and each class's AP with intervals over images.

    Parameters
    ----------
    annotations, predictions, class_names, items, max_dets
        As for `labelfix.evaluate.detection.coco_metrics`. Images are redrawn with replacement, so
        name those without any box as well.
    draws, level, seed
        Of the percentile intervals.
    progress
        Called as `progress(what, done, total)`.

    Returns
    -------
    polars.DataFrame
        Columns metric, label (null but for `ap` of one class), value, low, high; null where there
        is nothing to find.

    Raises
    ------
    InputError
        As `coco_metrics`; without images.
    """
    matched = MatchedBoxes.of(annotations, predictions, class_names, items, max_dets)
    if not matched.n_images:
        raise InputError(Problem("items", "no images", "at least one"))
    drawn = redraw(
        lambda images, _: matched.count(images),
        matched.n_images,
        1,
        draws=draws,
        seed=seed,
        progress=progress,
    )
    low, high = interval(drawn, level)
    names = [*TWELVE, *["ap"] * len(class_names)]
    return pl.DataFrame(
        {
            "metric": names,
            "label": pl.Series([None] * len(TWELVE) + list(class_names), dtype=pl.String),
            "value": matched.count(np.ones((1, matched.n_images)))[0],
            "low": low,
            "high": high,
        }
    ).fill_nan(None)


def _only(iou: int) -> slice:
    return slice(iou, iou + 1)


def _mean(values: Floats) -> float:
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else float("nan")


def _mean_precision(curve: Integers, at: Floats, sure: Floats, n_curves: int) -> Floats:
    """Average the best precision at or beyond each point of recall, for each curve.

    `at` and `sure` are recall and precision at each hit.
    """
    point = (at * 100).astype(np.int64)  # the last point of recall that a hit reaches, nearly
    point += _RECALL[np.minimum(point + 1, 100)] <= at
    np.minimum(point, 100, out=point)
    point -= _RECALL[point] > at
    key = curve * len(_RECALL) + point
    first = np.flatnonzero(np.diff(key, prepend=-1))
    best = np.zeros(n_curves * len(_RECALL))
    best[key[first]] = np.maximum.reduceat(sure, first)
    curves = best.reshape(n_curves, len(_RECALL))
    beyond = np.maximum.accumulate(curves[:, ::-1], axis=1)
    means: Floats = beyond.mean(axis=1)
    return means


def _collect(evaluation: Any, n_images: int, n_classes: int) -> tuple[Any, _Curves]:
    """Turn what COCO's evaluator says of each image, class and area into columns."""
    from scipy.sparse import csr_array

    areas = {tuple(area): k for k, area in enumerate(evaluation.params.areaRng)}
    kept = [one for one in evaluation.eval_imgs if one is not None]
    image = np.array([one["image_id"] - 1 for one in kept], np.int64)
    cell = np.array(
        [areas[tuple(one["aRng"])] * n_classes + one["category_id"] - 1 for one in kept], np.int64
    )
    given = np.array([one["gtIgnore"].count(False) for one in kept], np.int64)
    truth = csr_array((given, (cell, image)), shape=(_N_AREAS * n_classes, n_images))
    size = np.array([len(one["dtScores"]) for one in kept], np.int64)
    score = np.array([x for one in kept for x in one["dtScores"]], np.float64)
    place = np.arange(size.sum()) - np.repeat(np.cumsum(size) - size, size)
    cell, image = np.repeat(cell, size), np.repeat(image, size)
    if not size.sum():
        return truth, _curves(image, cell, place, *np.zeros((2, _N_IOU, 0), bool))
    flags = [
        np.concatenate([np.array(one[name], bool).reshape(_N_IOU, -1) for one in kept], axis=1)
        for name in ("dtMatched", "dtIgnore")
    ]
    order = np.lexsort((place, image, -score, cell))
    order = order[(truth.sum(axis=1) > 0)[cell[order]]]
    return truth, _curves(image[order], cell[order], place[order], *(f[:, order] for f in flags))


def _curves(
    image: Integers,
    cell: Integers,
    place: Integers,
    matched: NDArray[np.bool_],
    ignored: NDArray[np.bool_],
) -> _Curves:
    """Make the curves; rows come by cell, the surest first, flags have shape (IoU, rows)."""
    iou, row = np.nonzero(matched & ~ignored)
    n_cells, n_rows = int(cell.max(initial=0)) + 1, len(cell)
    known, curve = np.unique(iou * n_cells + cell[row], return_inverse=True)  # rising
    begin = np.searchsorted(cell, cell[row])  # where the cell of each hit begins
    base = ~ignored[-1]
    shift = (~ignored).astype(np.int64) - base
    base_until = np.concatenate([[0], np.cumsum(base)])
    shift_until = np.concatenate([[0], np.cumsum(shift.ravel() != 0)])
    at_iou = iou * n_rows
    return _Curves(
        base_image=image[base],
        shift_image=np.broadcast_to(image, shift.shape)[shift != 0],
        shift_sign=shift[shift != 0],
        hit_image=image[row],
        curve=curve,
        place=place[row],
        base=np.stack([base_until[begin], base_until[row + 1]]),
        shift=np.stack([shift_until[at_iou + begin], shift_until[at_iou + row + 1]]),
        iou=known // n_cells,
        cell=known % n_cells,
    )
