"""Given boxes and a detector's predictions become the issues table."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import polars as pl

from labelfix.errors import InputError, Problem, warn_caller
from labelfix.schema import (
    BOX_ISSUES,
    BOX_KINDS,
    BOX_PREDICTIONS,
    BoxPredictions,
    Dataset,
    check,
)
from labelfix.score.boxes import (
    BoxParams,
    Calibration,
    FiftyOne,
    ObjectLab,
    image_quality,
    learnt_share,
    match_boxes,
    rank_boxes,
    rank_losses,
    rank_peer,
    score_boxes,
    with_evidence,
    with_losses,
)
from labelfix.score.registry import make
from labelfix.text import count

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from labelfix.progress import Progress
    from labelfix.schema import BoxKind
    from labelfix.score.boxes import Match, Weights

__all__ = ["SCORES", "BoxAssessment", "BoxScore", "BoxSummary", "assess_boxes"]

BoxScore = BoxParams | ObjectLab | FiftyOne

SCORES: Mapping[str, type[BoxScore]] = {
    score.name: score for score in (BoxParams, ObjectLab, FiftyOne)
}
"""Scores of boxes by name, the default first."""

FLOOR = 0.1
"""Where no prediction is less confident, the detector was cut off: a warning says so."""


@dataclass(frozen=True, eq=False)
class BoxSummary:
    """What was found, in numbers.

    How many errors there are is not among them. The probabilities are learnt against the given
    boxes, errors and all, so their sum hardly follows the number of errors: on coco128 with 0, 36,
    72 and 180 errors planted it was 58, 62, 64 and 68. Reviewing a random sample tells.

    Parameters
    ----------
    found
        Share of given boxes that a prediction of their class overlaps by half or more, in [0, 1].
        Of losses alone: of the boxes seen in training, those whose mean location loss is half or
        less.
    kinds
        One row a kind: kind, listed, flagged.
    classes
        One row a class: class_name, given (boxes, crowd regions apart), flagged, and a column of
        flagged ones for each kind. A missing box counts for the class that is suggested.
    images
        One row an image, most suspicious first: item_id, quality (see `image_quality`), boxes
        (in the queue), flagged.
    """

    found: float
    kinds: pl.DataFrame
    classes: pl.DataFrame
    images: pl.DataFrame


@dataclass(frozen=True, eq=False)
class BoxAssessment:
    """All that is concluded from boxes and their predictions.

    Parameters
    ----------
    issues
        As `labelfix.find_issues` gives.
    summary
        What was found, in numbers.
    strategies
        What decided it, with all parameters: `score`, and `calibration` where there is one.
    """

    issues: pl.DataFrame
    summary: BoxSummary
    strategies: Mapping[str, Any]


def assess_boxes(
    dataset: Dataset,
    predictions: BoxPredictions | pl.DataFrame,
    *,
    score: str | BoxScore = "default",
    kinds: Collection[BoxKind] | None = None,
    progress: Progress | None = None,
) -> BoxAssessment:
    """Find suspicious and missing boxes, and sum them up.

    Parameters and errors are those of `labelfix.find_issues`.

    Warns
    -----
    LabelfixWarning
        Where the predictions can say less than they seem to: a split without any, which is left
        out; images without any; no confidence below a tenth; too few boxes to learn from; no box
        at all beside losses of a training, which then rank alone.

    Examples
    --------
    >>> box = {"x1": [0.0], "y1": [0.0], "x2": [9.0], "y2": [9.0]}
    >>> given = pl.DataFrame({"annotation_id": ["0"], "item_id": ["a"], "label": ["cat"], **box,
    ...                       "crowd": [False]})
    >>> dataset = Dataset(pl.DataFrame({"item_id": ["a"]}), given, ("cat", "dog"), "memory")
    >>> predicted = pl.DataFrame({"item_id": ["a"], "label": ["dog"], "score": [0.05], **box})
    >>> assess_boxes(dataset, predicted, score="fiftyone").summary.found
    0.0
    """
    scorer = make(SCORES, "score", "error_probability" if score == "default" else score, {})
    if not isinstance(scorer, BoxScore):
        raise InputError(Problem("score", repr(scorer), f"one for boxes: {', '.join(SCORES)}"))
    wanted = BOX_KINDS if kinds is None else tuple(kinds)
    if unknown := sorted(set(wanted) - set(BOX_KINDS)):
        raise InputError(Problem("kinds", ", ".join(unknown), ", ".join(BOX_KINDS)))
    losses = predictions.losses if isinstance(predictions, BoxPredictions) else None
    boxes = predictions.boxes if isinstance(predictions, BoxPredictions) else predictions
    if losses is not None:
        if not isinstance(scorer, BoxParams):
            found, fix = f"{scorer.name} beside losses of a training", "leave one of them away"
            raise InputError(Problem("score", found, "error_probability", fix))
        if boxes.is_empty():
            _warn_of_blindness(predictions)
            return _by_losses_alone(dataset, losses, scorer, wanted)
    dataset = _predicted_part(dataset, boxes)
    _warn_of_silence(dataset, boxes)
    annotations = dataset.annotations
    least_iou = scorer.least_iou if isinstance(scorer, BoxParams) else 0.0
    match = match_boxes(annotations, boxes, dataset.class_names, dataset.items, least_iou)
    strategies: dict[str, Any] = {"score": scorer}
    if isinstance(scorer, BoxParams):
        calibration = Calibration.fit(match, scorer)
        strategies["calibration"] = _Learnt(
            calibration.weights, calibration.boxes_per_prediction, calibration.carelessness
        )
        scores = score_boxes(match, calibration, progress)
        if losses is not None:
            scores = with_losses(scores, annotations, losses, scorer)
        issues = rank_boxes(match, scores, annotations, boxes, scorer, wanted)
        if losses is not None:
            issues = with_evidence(issues, losses)
    else:
        issues = rank_peer(match, annotations, boxes, scorer, wanted)
    issues = check(issues, BOX_ISSUES, "issues")
    return BoxAssessment(issues, _summary(issues, match, _found(match)), strategies)


def _warn_of_blindness(predictions: BoxPredictions | pl.DataFrame) -> None:
    """Say where there was a detector, and nothing that it saw."""
    if isinstance(predictions, BoxPredictions) and predictions.model != "training":
        warn_caller(
            "the detector predicts no box in any image: ranked by the losses of a training alone"
        )


def _by_losses_alone(
    dataset: Dataset, losses: pl.DataFrame, params: BoxParams, kinds: Collection[BoxKind]
) -> BoxAssessment:
    """Judge the given boxes where there are no predictions that never saw them."""
    annotations, nothing = dataset.annotations, pl.DataFrame(schema=BOX_PREDICTIONS)
    match = match_boxes(annotations, nothing, dataset.class_names, dataset.items, params.least_iou)
    issues = rank_losses(match, annotations, losses, params, kinds)
    issues = check(issues, BOX_ISSUES, "issues")
    summary = _summary(issues, match, learnt_share(losses))
    return BoxAssessment(issues, summary, {"score": params})


@dataclass(frozen=True)
class _Learnt:
    """What of a `Calibration` goes into the record of a run."""

    name: ClassVar[str] = "planted_errors"
    weights: Mapping[str, Weights]
    boxes_per_prediction: float
    carelessness: float


def _predicted_part(dataset: Dataset, boxes: pl.DataFrame) -> Dataset:
    """Leave out the splits for which there is no prediction at all: nobody looked at them."""
    if "split" not in dataset.items.columns:
        return dataset
    predicted = dataset.items["item_id"].is_in(boxes["item_id"].unique().implode())
    splits = (
        dataset.items.select("split", predicted=predicted).group_by("split").agg(pl.all().any())
    )
    silent = splits.filter(~pl.col("predicted"))["split"].sort()
    if silent.is_empty() or len(silent) == splits.height:
        return dataset
    names = ", ".join(str(name) for name in silent)
    items = dataset.items.filter(~pl.col("split").is_in(silent.implode(), nulls_equal=True))
    left_out = count(len(dataset) - items.height, "image")
    warn_caller(f"no prediction for any image of split {names}: {left_out} left out")
    kept = pl.col("item_id").is_in(items["item_id"].implode())
    return replace(dataset, items=items, annotations=dataset.annotations.filter(kept))


def _warn_of_silence(dataset: Dataset, boxes: pl.DataFrame) -> None:
    """Say where predictions hide what they could tell."""
    silent = dataset.items.join(boxes, on="item_id", how="anti")
    if silent.height:
        warn_caller(
            f"no prediction for {silent.height:,} of {count(len(dataset), 'image')}: "
            "judged as if the detector had seen nothing there"
        )
    floor = boxes["score"].min()
    if isinstance(floor, float) and floor > FLOOR:
        warn_caller(
            f"no prediction has a confidence below {floor:.2g}, which hides evidence; "
            "predict with a floor of .01 for a better ranking"
        )


def _summary(issues: pl.DataFrame, match: Match, found: float) -> BoxSummary:
    flagged = issues.filter("flagged")
    kinds = pl.DataFrame({"kind": BOX_KINDS}).join(
        issues.group_by("kind").agg(listed=pl.len(), flagged=pl.col("flagged").sum()),
        on="kind",
        how="left",
        maintain_order="left",
    )
    quality = image_quality(issues, match.item_ids)
    boxes = issues.group_by("item_id").agg(boxes=pl.len(), flagged=pl.col("flagged").sum())
    images = quality.join(boxes, on="item_id", how="left", maintain_order="left")
    return BoxSummary(
        found=found,
        kinds=kinds.with_columns(pl.col("listed", "flagged").fill_null(0).cast(pl.Int64)),
        classes=_by_class(flagged, match),
        images=images.with_columns(pl.col("boxes", "flagged").fill_null(0).cast(pl.Int64)),
    )


def _by_class(flagged: pl.DataFrame, match: Match) -> pl.DataFrame:
    given = np.bincount(match.given.label, minlength=len(match.class_names))
    class_name = pl.coalesce("given_label", "suggested_label")
    counts = flagged.group_by(class_name=class_name).agg(
        flagged=pl.len(), **{kind: (pl.col("kind") == kind).sum() for kind in BOX_KINDS}
    )
    return (
        pl.DataFrame({"class_name": match.class_names, "given": given})
        .join(counts, on="class_name", how="left", maintain_order="left")
        .with_columns(pl.exclude("class_name").fill_null(0).cast(pl.Int64))
    )


def _found(match: Match, least_iou: float = 0.5) -> float:
    """Share of given boxes that a prediction of their class stands for."""
    given, pairs = match.given, match.pairs
    same = given.label[pairs.left] == match.predicted.label[pairs.right]
    seen = np.zeros(len(given), bool)
    seen[pairs.left[same & (pairs.iou >= least_iou)]] = True
    return float(seen.mean()) if len(given) else 0.0
