"""Every number that decides a box score, by name."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from labelfix.errors import InputError, Problem

__all__ = ["BoxParams"]


@dataclass(frozen=True)
class BoxParams:
    """Parameters of the box scores; all of them go into run.json.

    Parameters
    ----------
    missing, spurious, wrong_class, bad_location, duplicate, group
        How many errors of each kind to expect for each given box, before anything is seen: the
        prior. They set the scale of quality and weigh the kinds against each other; the order
        within a kind does not depend on them.
    least_iou
        Boxes that overlap no more have nothing to do with each other.
    match_iou
        From this overlap on a prediction can be *the* prediction of a box, and of two predictions
        of one class only the likelier to be missing is proposed.
    beside_iou
        From this overlap on a surer prediction speaks against proposing another beside it.
    inside
        Share of a box that lies within another, from which it can be a piece of that one.
    whole_iou
        Above this overlap a box is no piece of another but the same; of two such predictions only
        the likelier is proposed, whatever their classes.
    apart_iou
        Two pieces are two objects if they overlap less.
    crowd_share
        A prediction of which a larger share lies in a crowd region is not proposed.
    least_confidence
        Stands for "no evidence" in logarithms; below any confidence worth telling apart.
    quantiles
        How finely the detector's confidences are described.
    class_weight
        Right detections after which a class's own quantiles count as much as those of all classes.
    calibration_boxes
        Given boxes to learn from, drawn image by image; more change little.
    calibration_predictions
        Predictions to learn from, drawn from the same images.
    planted_shift
        IoU of the badly placed boxes that the calibration plants, lowest and highest.
    planted_duplicate
        IoU of the duplicates that it plants with the boxes they double.
    planted_group_area
        It merges two boxes if the hull is at most so many times as large as both together.
    ridge
        Pull of the weights towards their starting point: as much as so many boxes.
    carelessness
        How much images may differ in how many errors they have: standard deviations of their log
        odds, of which the calibration takes the likeliest. With 0 alone a box's chance hangs on no
        other box of its image.
    least_gain
        By how much the log likelihood must rise for images to be told apart at all; by chance 3 is
        reached once in a hundred times.
    propose_above
        Missing boxes are listed if they are at least this probable.
    flag_above
        Issues that are at least this probable are flagged.
    training
        Weight of the losses of a training beside predictions, in [0, 1], where both are known.
    seed
        Of the calibration's draws.
    """

    name: ClassVar[str] = "error_probability"
    missing: float = 0.02
    spurious: float = 0.02
    wrong_class: float = 0.02
    bad_location: float = 0.02
    duplicate: float = 0.02
    group: float = 0.02
    least_iou: float = 0.1
    match_iou: float = 0.5
    beside_iou: float = 0.3
    inside: float = 0.7
    whole_iou: float = 0.8
    apart_iou: float = 0.2
    crowd_share: float = 0.5
    least_confidence: float = 1e-4
    quantiles: int = 17
    class_weight: float = 1000.0
    calibration_boxes: int = 3000
    calibration_predictions: int = 15000
    planted_shift: tuple[float, float] = (0.3, 0.8)
    planted_duplicate: tuple[float, float] = (0.6, 0.99)
    planted_group_area: float = 2.0
    ridge: float = 0.6
    carelessness: tuple[float, ...] = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0)
    least_gain: float = 3.0
    propose_above: float = 0.01
    flag_above: float = 0.2
    training: float = 0.25
    seed: int = 0

    def __post_init__(self) -> None:
        problems = [
            Problem(f"BoxParams.{name}", str(getattr(self, name)), expected)
            for names, low, high, expected in _RANGES
            for name in names
            if not low <= getattr(self, name) < high
        ]
        for name in ("planted_shift", "planted_duplicate"):
            low, high = getattr(self, name)
            if not 0 < low <= high < 1:
                problems.append(
                    Problem(f"BoxParams.{name}", f"{low}, {high}", "0 < low <= high < 1")
                )
        if not self.carelessness or not all(0 <= one < float("inf") for one in self.carelessness):
            found = ", ".join(map(str, self.carelessness)) or "none"
            problems.append(Problem("BoxParams.carelessness", found, "one number >= 0 or more"))
        if problems:
            raise InputError(problems)


_SMALLEST = 1e-12
_RANGES = (
    (
        ("missing", "spurious", "wrong_class", "bad_location", "duplicate", "group"),
        _SMALLEST,
        1,
        "a rate above 0 and below 1",
    ),
    (
        ("least_iou", "match_iou", "beside_iou", "apart_iou", "propose_above", "flag_above"),
        0,
        1,
        "a number in [0, 1)",
    ),
    (("training",), 0, 1 + _SMALLEST, "a number in [0, 1]"),
    (
        ("inside", "whole_iou", "crowd_share", "least_confidence"),
        _SMALLEST,
        1 + _SMALLEST,
        "a number above 0, at most 1",
    ),
    (("class_weight", "ridge"), _SMALLEST, float("inf"), "a number above 0"),
    (("planted_group_area",), 1, float("inf"), "1 or more"),
    (("quantiles",), 2, float("inf"), "2 or more"),
    (("calibration_boxes", "calibration_predictions"), 1, float("inf"), "1 or more"),
    (("least_gain",), 0, float("inf"), "a number of 0 or more"),
)
