"""COCO's twelve numbers for detections, through hotcoco.

They are those of COCO's own evaluator, pycocotools, to ten digits; a test holds them to it. They
are not those that ultralytics prints while it trains, which come from another way of matching and
averaging.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from labelfix.errors import InputError, Problem
from labelfix.score.boxes import match_boxes

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from labelfix.score.boxes import Boxes, Match

__all__ = ["TWELVE", "CocoMetrics", "coco_metrics", "evaluated"]


@dataclass(frozen=True, eq=False)
class CocoMetrics:
    """COCO's twelve numbers, in [0, 1]; NaN where there is no given box to find.

    Parameters
    ----------
    ap
        Average precision, mean over IoU .50, .55, …, .95 and over classes.
    ap50, ap75
        The same at one IoU.
    ap_small, ap_medium, ap_large
        Of objects below 32², from there to 96², and above, in square pixels.
    ar_first, ar_second, ar
        Average recall with at most so many detections an image as `max_dets` says: 1, 10 and 100.
    ar_small, ar_medium, ar_large
        By area, with as many detections as `ar`.
    per_class
        Columns label, ap, ap50, ap75, ar and given (boxes that count), a row a class, in class
        order.
    max_dets
        Detections an image that were looked at.
    """

    ap: float
    ap50: float
    ap75: float
    ap_small: float
    ap_medium: float
    ap_large: float
    ar_first: float
    ar_second: float
    ar: float
    ar_small: float
    ar_medium: float
    ar_large: float
    per_class: pl.DataFrame
    max_dets: tuple[int, int, int] = (1, 10, 100)

    def numbers(self) -> dict[str, float]:
        """Give the twelve by name, in COCO's order."""
        return {name: getattr(self, name) for name in TWELVE}


TWELVE = tuple(name for name, kind in CocoMetrics.__annotations__.items() if kind == "float")
"""Names of COCO's numbers, in its order."""


def coco_metrics(
    annotations: pl.DataFrame,
    predictions: pl.DataFrame,
    class_names: Sequence[str],
    items: pl.DataFrame | None = None,
    max_dets: tuple[int, int, int] = (1, 10, 100),
) -> CocoMetrics:
    """Evaluate detections as COCO does.

    Parameters
    ----------
    annotations
        Columns of `BOX_ANNOTATIONS`: the truth. Crowd regions are regions that detections may lie
        in. `area`, if it is there and not null, is what the area ranges go by, as COCO goes by the
        area of the mask; else it is the box's. An `ignore` column has no effect, as in COCO's
        evaluator, which overwrites it by `iscrowd`: mark such boxes as crowd.
    predictions
        Columns of `BOX_PREDICTIONS`.
    class_names
        All classes.
    items
        Columns of `ITEMS`: which images there are. None takes those that the tables name; images
        without a box of either sort change nothing. Of equally sure detections the earlier item's
        comes first; COCO's evaluator has items in the order of their ids.
    max_dets
        Most detections an image and class for `ar_first`, `ar_second` and all other numbers,
        surest first.

    Raises
    ------
    InputError
        All at once: labels that are no class, boxes of unknown items, scores that are not in
        [0, 1], boxes that are no boxes.

    Examples
    --------
    >>> given = pl.DataFrame({
    ...     "annotation_id": ["0"], "item_id": ["a"], "label": ["cat"],
    ...     "x1": [0.0], "y1": [0.0], "x2": [10.0], "y2": [10.0], "crowd": [False]})
    >>> predicted = pl.DataFrame({
    ...     "item_id": ["a"], "label": ["cat"], "score": [0.9],
    ...     "x1": [0.0], "y1": [0.0], "x2": [10.0], "y2": [8.0]})
    >>> metrics = coco_metrics(given, predicted, ["cat"])
    >>> round(metrics.ap, 3), round(metrics.ap75, 3)
    (0.7, 1.0)
    """
    evaluation, match = evaluated(annotations, predictions, class_names, items, max_dets)
    evaluation.accumulate()
    return _summary(evaluation.eval or {}, match, max_dets)


def evaluated(
    annotations: pl.DataFrame,
    predictions: pl.DataFrame,
    class_names: Sequence[str],
    items: pl.DataFrame | None,
    max_dets: tuple[int, int, int],
) -> tuple[Any, Match]:
    """Give COCO's evaluator with its matches made; images and classes count from 1 in it.

    Parameters and errors as for `coco_metrics`.
    """
    import hotcoco  # when used: `import labelfix` and most commands need not wait for it

    if len(max_dets) != 3 or not 1 <= max_dets[0] <= max_dets[1] <= max_dets[2]:
        raise InputError(Problem("max_dets", str(max_dets), "three numbers from 1 on, rising"))
    match = match_boxes(annotations.drop("ignore", strict=False), predictions, class_names, items)
    _refuse_broken(match, annotations)
    images = [{"id": number} for number in range(1, len(match) + 1)]
    categories = [{"id": k, "name": name} for k, name in enumerate(class_names, start=1)]
    given = hotcoco.COCO.from_arrays(
        images,
        categories,
        *_columns(match.given, match.crowd),
        area=_areas(match, annotations),
        iscrowd=np.repeat([False, True], [len(match.given), len(match.crowd)]),
    )
    item, label, box = _columns(match.predicted)
    rows = np.column_stack([item, box, match.predicted.confidence, label])
    evaluation = hotcoco.COCOeval(given, given.load_res(rows), "bbox")
    evaluation.params.max_dets = list(max_dets)
    evaluation.evaluate()
    return evaluation, match


def _refuse_broken(match: Match, annotations: pl.DataFrame) -> None:
    rows = np.concatenate([match.given.row, match.crowd.row])
    broken = rows[np.isnan(np.concatenate([match.given.x1, match.crowd.x1]))]
    if len(broken):
        ids = annotations["annotation_id"][np.sort(broken)]
        raise InputError(
            [
                Problem(
                    f"annotation {name}",
                    "an inverted box, or one that is no numbers",
                    fix="mend or delete it",
                )
                for name in ids
            ]
        )


def _columns(*sets: Boxes) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    """Image and category from 1 on, and COCO's x, y, width, height."""
    item = np.concatenate([boxes.item for boxes in sets]).astype(np.int64)
    label = np.concatenate([boxes.label for boxes in sets]).astype(np.int64)
    # a predicted box that is no box is one of no size: it finds nothing, and counts
    box = np.nan_to_num(np.concatenate([boxes.corners for boxes in sets]))
    box[:, 2:] -= box[:, :2]
    return item + 1, label + 1, box


def _areas(match: Match, annotations: pl.DataFrame) -> NDArray[np.float64]:
    """Area of each given box: what the annotations say of the object, or the box's own."""
    area = np.concatenate([match.given.area, match.crowd.area])
    if "area" not in annotations.columns:
        return area
    rows = np.concatenate([match.given.row, match.crowd.row])
    told = annotations["area"].cast(pl.Float64).to_numpy()[rows]
    return np.where(np.isnan(told), area, told)


def _summary(curves: dict[str, Any], match: Match, max_dets: tuple[int, int, int]) -> CocoMetrics:
    # axes: IoU, recall (not in the second), class, area, detections; -1 where there is none
    precision = np.where(curves["precision"] < 0, np.nan, curves["precision"])
    recall = np.where(curves["recall"] < 0, np.nan, curves["recall"])
    ALL, SMALL, MEDIUM, LARGE = range(4)
    IOU_50, IOU_75 = 0, 5

    def ap(area: int, at: slice | int = slice(None)) -> float:
        return _mean(precision[at, ..., area, -1])

    def ar(area: int, most: int) -> float:
        return _mean(recall[..., area, most])

    classes = range(len(match.class_names))
    per_class = pl.DataFrame(
        {
            "label": pl.Series(match.class_names, dtype=pl.String),
            "ap": [_mean(precision[:, :, k, ALL, -1]) for k in classes],
            "ap50": [_mean(precision[IOU_50, :, k, ALL, -1]) for k in classes],
            "ap75": [_mean(precision[IOU_75, :, k, ALL, -1]) for k in classes],
            "ar": [_mean(recall[:, k, ALL, -1]) for k in classes],
            "given": np.bincount(match.given.label, minlength=len(classes)),
        }
    )
    return CocoMetrics(
        *(ap(ALL), ap(ALL, IOU_50), ap(ALL, IOU_75), ap(SMALL), ap(MEDIUM), ap(LARGE)),
        *(ar(ALL, 0), ar(ALL, 1), ar(ALL, 2), ar(SMALL, 2), ar(MEDIUM, 2), ar(LARGE, 2)),
        per_class=per_class,
        max_dets=max_dets,
    )


def _mean(values: NDArray[np.float64]) -> float:
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else float("nan")
