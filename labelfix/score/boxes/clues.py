"""Which numbers of the evidence speak of which kind of error: columns of linear models."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from labelfix.score.boxes.evidence import Evidence, Fit, Proposals

__all__ = ["CLUES", "MISSING", "PULL", "START", "Clues"]

Clues = Mapping[str, Any]
"""Named columns, shape (n,) each."""

COVERED = 1e-3
"""What counts as free of a prediction that a given box covers: keeps the logarithm finite."""

START: Mapping[str, Mapping[str, float]] = {
    "missing": {"confidence": 1.0, "overlap": -5.0},
    "spurious": {"support": -1.0},
    "wrong_class": {"other": 1.0, "same": -1.0},
    "bad_location": {"overlap above 0.6": -5.0},
    "duplicate": {"overlap": 5.0},
    "merged": {"second": 1.0},
    "split": {"whole": 1.0},
}
"""The weights where there is nothing to learn from."""
PULL: Mapping[str, Mapping[str, float]] = {**START, "missing": {"confidence": 1.0, "free": 1.0}}
"""Where learnt weights are pulled to, the more the less there is to learn from: for missing boxes
to the product of confidence and what is free, which needs a scale that only learning gives."""


def missing(proposals: Proposals, floor: float) -> Clues:
    """Tell whether a prediction is sure, no given box is there, and no better one beside it."""
    confidence, size = _log(proposals.confidence, floor), np.log(proposals.size)
    overlap, beside = proposals.iou, proposals.beside
    return {
        "confidence": confidence,
        "confidence squared": confidence**2,
        **_bent("overlap", overlap, 0.3, 0.5, 0.7),
        "overlap x confidence": overlap * confidence,
        "overlap above 0.5 x confidence": np.maximum(overlap - 0.5, 0) * confidence,
        "free": np.log(1 + COVERED - overlap),
        "class of the box": proposals.same,
        "class of the box x overlap": proposals.same * overlap,
        "size": size,
        "size x confidence": size * confidence,
        **_bent("beside", beside, 0.5),
    }


def spurious(evidence: Evidence, floor: float) -> Clues:
    """Tell how little predictions support the box; the smaller it is, the less that says."""
    return {
        "support": _log(evidence.support.any, floor),
        "class support": _log(evidence.support.same, floor),
        "size": np.log(evidence.size),
    }


def wrong_class(evidence: Evidence, floor: float) -> Clues:
    """Tell whether another class is better supported than the given one."""
    same, other = _log(evidence.support.same, floor), _log(evidence.support.other, floor)
    size = np.log(evidence.size)
    return {
        "same": same,
        "other": other,
        "same x other": same * other,
        "same squared": same**2,
        "other squared": other**2,
        "size": size,
        "size x same": size * same,
    }


def bad_location(evidence: Evidence, floor: float) -> Clues:
    """Tell whether the prediction that stands for the box is sure, and fits it badly."""
    return {
        "size": np.log(evidence.size),
        **_fit(evidence.fit, evidence.size, "", floor),
        **_fit(evidence.own_fit, evidence.size, "own ", floor),
    }


def duplicate(evidence: Evidence, floor: float) -> Clues:
    """Tell whether another given box is at the place, and predictions are for that one.

    A straight line over the overlap: a dataset has few pairs of right boxes that overlap much, too
    few to learn a bend from, and where it has duplicates those would bend it the wrong way.
    """
    overlap, own = evidence.twin.iou, _log(evidence.own_support, floor)
    return {"overlap": overlap, "own support of an overlapping box": own * (overlap > 0)}


def merged(evidence: Evidence, floor: float) -> Clues:
    """Tell whether several pieces of the box are predicted, and the whole is not.

    The line over the overlap bends: two objects drawn as one each fit the box by half, so one that
    nothing fits is no surer group than those.
    """
    pieces, second = evidence.pieces, _log(evidence.pieces.second, floor)
    return {
        "first": _log(pieces.first, floor),
        "second": second,
        "two": pieces.second > 0,
        "coverage": pieces.coverage,
        "coverage x second": pieces.coverage * second,
        "support": _log(evidence.support.any, floor),
        "class support": _log(evidence.support.same, floor),
        "own support": _log(evidence.own_support, floor),
        **_bent("overlap", evidence.fit.iou, 0.4, 0.6),
        "own overlap": evidence.own_fit.iou,
    }


def split(evidence: Evidence, floor: float) -> Clues:
    """Tell whether the box and others make up a predicted box that no given box fits.

    The lines over the overlaps bend: halves are fitted by half, neither better nor worse.
    """
    whole, confidence = evidence.whole, _log(evidence.whole.confidence, floor)
    return {
        "whole": confidence,
        "shared": whole.shared,
        "shared x whole": whole.shared * confidence,
        **_bent("best overlap with the whole", whole.most, 0.4, 0.6),
        "class support": _log(evidence.support.same, floor),
        "own support": _log(evidence.own_support, floor),
        **_bent("overlap", evidence.fit.iou, 0.4, 0.6),
    }


CLUES: Mapping[str, Callable[[Evidence, float], Clues]] = {
    "spurious": spurious,
    "wrong_class": wrong_class,
    "bad_location": bad_location,
    "duplicate": duplicate,
    "merged": merged,
    "split": split,
}
"""What speaks of each kind of error in a given box; a group is a merged or a split one."""
MISSING = missing


def _log(value: NDArray[np.float64], floor: float) -> NDArray[np.float64]:
    return np.log(value + floor)


def _bent(name: str, value: NDArray[np.float64], *knots: float) -> dict[str, Any]:
    """Columns of a line that bends at the knots, and starts anew above zero."""
    columns: dict[str, Any] = {f"any {name}": value > 0, name: value}
    columns.update({f"{name} above {knot}": np.maximum(value - knot, 0) for knot in knots})
    return columns


def _fit(fit: Fit, size: NDArray[np.float64], name: str, floor: float) -> dict[str, Any]:
    confidence, size = _log(fit.confidence, floor), np.log(size)
    good = np.maximum(fit.iou - 0.6, 0)
    return {
        **_bent(f"{name}overlap", fit.iou, 0.4, 0.6, 0.8),
        f"{name}confidence": confidence,
        f"{name}overlap x confidence": fit.iou * confidence,
        f"{name}overlap above 0.6 x confidence": good * confidence,
        f"{name}overlap x size": fit.iou * size,
        f"{name}overlap above 0.6 x size": good * size,
        f"{name}rival": fit.rival,
        f"{name}rival fits better": fit.rival > fit.iou,
        f"{name}overlap, rival fits better": fit.iou * (fit.rival > fit.iou),
    }
