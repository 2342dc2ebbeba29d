"""From evidence to a queue: probabilities, one ranking over kinds, a sentence for each issue."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import polars as pl

from labelfix.errors import InputError, Problem
from labelfix.schema import BOX, BOX_ISSUES, BOX_KINDS
from labelfix.score.boxes.calibration import Calibration
from labelfix.score.boxes.clues import MISSING
from labelfix.score.boxes.company import shifts
from labelfix.score.boxes.evidence import Scene
from labelfix.score.boxes.matching import LARGEST_AREA, match_boxes, overlaps
from labelfix.score.boxes.params import BoxParams

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from numpy.typing import NDArray

    from labelfix.progress import Progress
    from labelfix.schema import BoxKind, Dataset
    from labelfix.score.boxes.calibration import Odds
    from labelfix.score.boxes.matching import Boxes, Match

__all__ = ["BoxScores", "find_box_issues", "image_quality", "rank_boxes", "score_boxes"]

BLOCK_BOXES = 1 << 17
"""Boxes scored at a time. Decides memory and speed, and no result."""

LARGEST = 700.0
"""Log odds above are cut: their exponential is no number."""

BESIDE_ERRORS = np.log(2)
"""Sentences say so where the other boxes of an image make odds at least twice as high."""

COLUMNS = ["order", *(name for name in BOX_ISSUES if name not in {"rank", "flagged"})]

SPOKEN_OF = {
    "spurious": pl.lit(value=True),
    "wrong_class": pl.col("other_row").is_not_null(),
    "bad_location": pl.col("fit_row").is_not_null(),
    "duplicate": pl.col("twin_row").is_not_null(),
    "group": pl.col("whole_row").is_not_null() | pl.col("second_row").is_not_null(),
}
"""Where there is something to say of a kind, by the columns of `BoxScores.given`."""

AXES = (("x1", "x2", "width"), ("y1", "y2", "height"))
FLAWS: tuple[tuple[pl.Expr, *tuple[str, ...]], ...] = (
    *((~pl.col(edge).is_finite().fill_null(value=False), f"{edge} is {{}}", edge) for edge in BOX),
    *((pl.col(b) < pl.col(a), f"inverted: {b} = {{}} < {a} = {{}}", b, a) for a, b, _ in AXES),
    *((pl.col(b) == pl.col(a), f"no area: {a} = {b} = {{}}", a) for a, b, _ in AXES),
    *((pl.col(b) <= 0, f"outside the image: {b} = {{}}", b) for _, b, _ in AXES),
    *(
        (pl.col(a) >= pl.col(side), f"outside the image: {a} = {{}}, {side} {{}}", a, side)
        for a, _, side in AXES
    ),
    (
        (pl.col("x2") - pl.col("x1")) * (pl.col("y2") - pl.col("y1")) >= LARGEST_AREA,
        "too large: x2 = {}, y2 = {}",
        "x2",
        "y2",
    ),
)
"""What no box can be, how to say so, and the columns to name; `width` and `height` are the image's.
The first that holds counts."""

GIVEN_KINDS = tuple(kind for kind in BOX_KINDS if kind != "missing")


class BoxScores(NamedTuple):
    """Log odds of every kind of error, and what they rest on."""

    given: pl.DataFrame
    """One row a given box, in item order, those of an image by place. `row`: its row in the
    annotations. `spurious` … `group`: log odds of an error of that kind, at most the prior's where
    nothing speaks of it. `merged`: whether a group is rather one box over several objects than
    several over one. `company`: what the other boxes of the image add to all of these log odds,
    against an image that has no others. Then rows of the predictions (of the annotations in
    `twin_row`) that speak of it, null where there is none, with overlaps and confidences: `any_`
    the best of any class, `fit_` the best of the given class, `other_` the best of another class,
    `twin_` a given box at the same place, `first_`, `second_` pieces of the box, `whole_` what the
    box is a piece of."""
    missing: pl.DataFrame
    """One row a predicted box that is probable enough to be missing, in item order. `row`: its row
    in the predictions. `missing`: log odds. `near_row`, `near_iou`: the given box that overlaps it
    most, and how much."""


def find_box_issues(
    dataset: Dataset,
    predictions: pl.DataFrame,
    params: BoxParams | None = None,
    *,
    calibration: Calibration | None = None,
    kinds: Collection[BoxKind] = BOX_KINDS,
    progress: Progress | None = None,
) -> pl.DataFrame:
    """Rank the boxes of a dataset, and those it misses, by how likely each is an error.

    Parameters
    ----------
    dataset
        With boxes. `width` and `height` of its items are used where they are known.
    predictions
        Columns of `BOX_PREDICTIONS`, from a detector that did not learn from the images it
        predicts. The lower its confidence floor, the more it can say: .01 is good, .25 hides much.
    params
        Parameters of the scores.
    calibration
        One fitted before; None fits it on this dataset.
    kinds
        Kinds of error to look for; one alone gives its own ranking.
    progress
        Told (what, done, total) now and then.

    Returns
    -------
    pl.DataFrame
        Columns of `BOX_ISSUES`, most suspicious first: a row for each given box that is no crowd
        region, and for each box that may be missing. `quality` is one minus the probability of an
        error; `kind_score` the share of the named kind in it.

    Raises
    ------
    InputError
        As `match_boxes`; listing all problems.

    Examples
    --------
    >>> from labelfix.schema import Dataset
    >>> n = 40
    >>> names = [f"{i}.jpg" for i in range(n)]
    >>> box = {"x1": [10.0] * n, "y1": [10.0] * n, "x2": [40.0] * n, "y2": [50.0] * n}
    >>> given = pl.DataFrame({"annotation_id": names, "item_id": names, "label": ["cat"] * n, **box,
    ...                       "crowd": [False] * n})
    >>> predicted = pl.DataFrame({"item_id": names, "label": ["dog"] + ["cat"] * (n - 1),
    ...                           "score": [0.8] * n, **box})
    >>> items = pl.DataFrame({"item_id": names, "width": [100] * n, "height": [100] * n})
    >>> issues = find_box_issues(Dataset(items, given, ("cat", "dog"), "table"), predicted)
    >>> issues.select("item_id", "kind", "suggested_label").row(0)
    ('0.jpg', 'wrong_class', 'dog')
    >>> issues["evidence"][0]
    'predicted as dog with confidence 0.8 at IoU 1.0'
    """
    params = calibration.params if calibration else params or BoxParams()
    match = match_boxes(
        dataset.annotations, predictions, dataset.class_names, dataset.items, params.least_iou
    )
    calibration = calibration or Calibration.fit(match, params)
    scores = score_boxes(match, calibration, progress)
    return rank_boxes(match, scores, dataset.annotations, predictions, params, kinds)


def score_boxes(
    match: Match,
    calibration: Calibration,
    progress: Progress | None = None,
    block: int = BLOCK_BOXES,
) -> BoxScores:
    """Score all boxes for all kinds of error, every image by itself.

    With the same calibration a box gets the same scores whatever other images there are, in
    whatever order rows come, in whatever unit, and if its image is resized with the boxes in it.
    Size is a clue, taken relative to the image: one that is padded makes its boxes smaller, and
    their scores others.

    Parameters
    ----------
    match
        From `match_boxes`, with the calibration's classes.
    calibration
        From `Calibration.fit`, on this or another run of the same detector and classes.
    progress
        Told ("boxes", images done, images) after each block.
    block
        Boxes in memory at a time; decides memory and speed, not the result.

    Raises
    ------
    InputError
        If the calibration speaks of other classes.
    """
    if match.class_names != calibration.class_names:
        found = f"{len(match.class_names)} classes {match.class_names[:3]} …"
        expected = f"the {len(calibration.class_names)} classes {calibration.class_names[:3]} …"
        raise InputError(Problem("calibration", found, expected, "fit it on these classes"))
    given, missing, done = [], [], 0
    how = calibration.prior, calibration.carelessness
    alone = shifts(np.zeros(1), np.array([0, 1]), *how)
    for part in match.parts(block):
        scene = Scene(part.in_fixed_order(), calibration.scale, calibration.params)
        odds = calibration.odds(scene.given)
        shift = shifts(odds.of_any(), part.given.first, *how)
        given.append(_score_given(scene, odds, shift, shift - alone))
        missing.append(_score_missing(scene, calibration))
        done += len(part)
        if progress:
            progress("boxes", done, len(match))
    return BoxScores(pl.concat(given), pl.concat(missing))


def _score_given(
    scene: Scene, odds: Odds, shift: NDArray[np.float64], company: NDArray[np.float64]
) -> pl.DataFrame:
    evidence, given, predicted = scene.given, scene.match.given, scene.match.predicted
    support, stands = evidence.support, scene.stands
    return pl.DataFrame(
        {
            "row": given.row,
            **{kind: own + shift for kind, own in odds.kinds.items()},
            "merged": odds.is_merged,
            "company": company,
            "any_row": _rows(predicted, stands.row),
            "any_iou": stands.iou,
            "fit_row": _rows(predicted, evidence.fit.row),
            "fit_iou": evidence.fit.iou,
            "other_row": _rows(predicted, support.other_row),
            "other_label": _or_null(support.other_label),
            "other_iou": support.other_iou,
            "other_confidence": _confidence(predicted, support.other_row, support.other_label),
            "given_confidence": _confidence(predicted, support.other_row, given.label),
            "twin_row": _rows(given, evidence.twin.row),
            "twin_iou": evidence.twin.iou,
            "first_row": _rows(predicted, evidence.pieces.first_row),
            "second_row": _rows(predicted, evidence.pieces.second_row),
            "whole_row": _rows(predicted, evidence.whole.row),
        }
    )


def _score_missing(scene: Scene, calibration: Calibration) -> pl.DataFrame:
    params, match, predicted = calibration.params, scene.match, scene.match.predicted
    share = min(params.missing * calibration.boxes_per_prediction, 0.5)
    rows = np.flatnonzero(~scene.in_crowd & ~match.outside(predicted))
    proposals = scene.proposals(rows)
    odds = calibration.weights["missing"].log_ratio(MISSING(proposals, params.least_confidence))
    odds += np.log(share / (1 - share))
    probable = 1 / (1 + np.exp(-odds)) >= params.propose_above
    probable[probable] = _likeliest(predicted, rows[probable], odds[probable], params)
    return pl.DataFrame(
        {
            "row": predicted.row[rows[probable]],
            "missing": odds[probable],
            "near_row": _rows(match.given, proposals.nearest[probable]),
            "near_iou": proposals.iou[probable],
        }
    )


def _likeliest(
    predicted: Boxes, rows: NDArray[np.intp], odds: NDArray[np.float64], params: BoxParams
) -> NDArray[np.bool_]:
    """Which of some predictions have no likelier one at their place; of equals the earlier stays.

    Another class at nearly the same box is the same object, and at a lower overlap another one.
    """
    wanted = np.zeros(len(predicted), bool)
    wanted[rows] = True
    chosen = predicted.where(wanted)
    pairs = overlaps(chosen, chosen, min(params.match_iou, params.whole_iou))
    alike = chosen.label[pairs.left] == chosen.label[pairs.right]
    pairs = pairs.keep(pairs.iou > np.where(alike, params.match_iou, params.whole_iou))
    stays = np.ones(len(rows), bool)
    stays[np.where(odds[pairs.left] >= odds[pairs.right], pairs.right, pairs.left)] = False
    return stays


def _rows(boxes: Boxes, place: NDArray[np.integer[Any]]) -> pl.Series:
    """Table rows of boxes; null where there is none."""
    if len(boxes) == 0:
        return pl.Series([None] * len(place), dtype=pl.Int64)
    return _or_null(np.where(place >= 0, boxes.row[place], -1))


def _or_null(number: NDArray[np.integer[Any]]) -> pl.Series:
    series = pl.Series(np.asarray(number, np.int64))
    return series.set(series < 0, None)


def _confidence(
    predicted: Boxes, place: NDArray[np.integer[Any]], label: NDArray[np.integer[Any]]
) -> pl.Series:
    """Confidence of predictions in a class as they gave it; null where they do not."""
    known = (place >= 0) & (label >= 0)
    value = np.full(len(place), np.nan)
    at, of = place[known], label[known]
    if predicted.pred_probs is not None:
        value[known] = predicted.pred_probs[predicted.row[at], of]
    else:
        value[known] = np.where(predicted.label[at] == of, predicted.confidence[at], np.nan)
    return pl.Series(value).fill_nan(None)


def rank_boxes(
    match: Match,
    scores: BoxScores,
    annotations: pl.DataFrame,
    predictions: pl.DataFrame,
    params: BoxParams | None = None,
    kinds: Collection[BoxKind] = BOX_KINDS,
) -> pl.DataFrame:
    """Put all boxes into one queue, most probable errors first.

    The probability that a box is an error at all comes from its odds for every kind together that
    something speaks of; its row names the likeliest of them. What cannot be a
    box is spurious for certain: it has no numbers or no area, is inverted, or lies wholly outside
    its image.

    Parameters
    ----------
    match, scores
        From `match_boxes` and `score_boxes`.
    annotations, predictions
        The tables that the match was made of.
    params
        Decides what is flagged.
    kinds
        Only these are looked for; one alone gives the ranking of that kind.

    Returns
    -------
    pl.DataFrame
        Columns of `BOX_ISSUES`. Each given box has one row, crowd regions apart, and each missing
        box that was proposed. Equal qualities keep the order of items, and
        within an image go by place. Suggested boxes are cut to
        the image where its size is known; given ones are not.
    """
    params = params or BoxParams()
    unknown = sorted(set(kinds) - set(BOX_KINDS))
    if unknown:
        raise InputError(Problem("kinds", ", ".join(unknown), ", ".join(BOX_KINDS)))
    tables = []
    given_kinds = [kind for kind in GIVEN_KINDS if kind in kinds]
    if given_kinds:
        tables.append(_given_issues(match, scores.given, annotations, predictions, given_kinds))
    if "missing" in kinds:
        tables.append(_missing_issues(scores.missing, annotations, predictions))
    item = pl.DataFrame({"item_id": match.item_ids, "item": range(len(match))})
    issues = pl.concat(tables).join(item, on="item_id", how="left")
    issues = issues.sort("quality", "item", "order", nulls_last=True)
    return (
        cut_suggestions(issues, match)
        .with_columns(
            rank=pl.int_range(1, pl.len() + 1), flagged=pl.col("quality") <= 1 - params.flag_above
        )
        .select(pl.col(name).cast(dtype) for name, dtype in BOX_ISSUES.items())
    )


def cut_suggestions(issues: pl.DataFrame, match: Match) -> pl.DataFrame:
    """Cut suggested boxes to their image.

    Detectors predict beyond its edges, and no label should. Only predicted boxes are cut: where
    a class is suggested, the box is the given one. One that lies wholly outside stays as it is.

    Parameters
    ----------
    issues
        With columns item (its number in `match`), kind and suggested_x1 … suggested_y2.
    match
        Knows the sizes; an image without one reaches as far as its boxes do.
    """
    item = issues["item"].to_numpy()
    names = {edge: f"suggested_{edge}" for edge in BOX}
    cut = {
        edge: issues[name].clip(0.0, pl.Series(match.size[item, axis % 2]))
        for axis, (edge, name) in enumerate(names.items())
    }
    inside = (cut["x2"] > cut["x1"]) & (cut["y2"] > cut["y1"]) & (issues["kind"] != "wrong_class")
    return issues.with_columns(
        pl.when(inside).then(cut[edge]).otherwise(name).alias(name) for edge, name in names.items()
    )


def image_quality(issues: pl.DataFrame, item_ids: pl.Series) -> pl.DataFrame:
    """Probability that nothing is wrong in an image: for those who review image by image.

    Parameters
    ----------
    issues
        From `find_box_issues` or `rank_boxes`.
    item_ids
        All images.

    Returns
    -------
    pl.DataFrame
        Columns item_id and quality in [0, 1], low = suspicious, as if the boxes of an image were
        right or wrong independently: the product of their qualities. Most suspicious first.
    """
    quality = issues.group_by("item_id").agg(pl.col("quality").product())
    table = pl.DataFrame({"item_id": item_ids}).join(
        quality, on="item_id", how="left", maintain_order="left"
    )
    return table.with_columns(pl.col("quality").fill_null(1.0)).sort("quality", maintain_order=True)


def _given_issues(
    match: Match,
    given: pl.DataFrame,
    annotations: pl.DataFrame,
    predictions: pl.DataFrame,
    kinds: Sequence[str],
) -> pl.DataFrame:
    box = annotations[given["row"]]
    flaw = _flaws(box, match)
    odds = given.select(kinds).to_numpy()
    # a kind that nothing speaks of gives no advice: it counts only where there is no other
    spoken_of = given.select(SPOKEN_OF[kind].alias(kind) for kind in kinds).to_numpy()
    odds = np.where(spoken_of | ~spoken_of.any(axis=1, keepdims=True), odds, -np.inf)
    if "spurious" in kinds:
        odds[flaw.is_not_null().to_numpy(), kinds.index("spurious")] = LARGEST
    kind = odds.argmax(axis=1)
    most = odds.max(axis=1)
    share = np.exp(odds - most[:, None]).sum(axis=1)
    names = pl.Series(match.class_names, dtype=pl.String)
    facts = given.with_columns(
        order=pl.int_range(pl.len()),
        item_id=box["item_id"],
        annotation_id=box["annotation_id"],
        kind=pl.Series(kinds, dtype=pl.String).gather(kind),
        quality=1 / (1 + np.exp(np.minimum(most + np.log(share), LARGEST))),
        kind_score=np.exp(odds[np.arange(len(kind)), kind] - most) / share,
        given_label=box["label"],
        other=names.gather(given["other_label"]),
        flaw=flaw,
        **{f"given_{edge}": box[edge] for edge in BOX},
    )
    return pl.concat(
        [
            say(facts.filter(pl.col("kind") == kind), annotations, predictions)
            for kind, say in _SAY.items()
        ]
    )


def _flaws(box: pl.DataFrame, match: Match) -> pl.Series:
    """Say of each given box why it cannot be one; null where it can."""
    width, height = match.size[match.given.item].T
    sentences = [pl.when(wrong).then(pl.format(*words)) for wrong, *words in FLAWS]
    table = box.select(pl.col(BOX).cast(pl.Float64)).with_columns(width=width, height=height)
    return table.select(pl.coalesce(sentences)).to_series()


def _missing_issues(
    missing: pl.DataFrame, annotations: pl.DataFrame, predictions: pl.DataFrame
) -> pl.DataFrame:
    box = predictions[missing["row"]]
    near = annotations["label"].gather(missing["near_row"])
    facts = missing.with_columns(
        order=pl.int_range(pl.len()) + annotations.height,
        item_id=box["item_id"],
        annotation_id=pl.lit(None, pl.String),
        kind=pl.lit("missing"),
        quality=1 / (1 + pl.col("missing").clip(upper_bound=LARGEST).exp()),
        kind_score=pl.lit(1.0),
        given_label=pl.lit(None, pl.String),
        score=box["score"],
        near=near,
        **{f"given_{edge}": pl.lit(None, pl.Float64) for edge in BOX},
        **{f"suggested_{edge}": box[edge] for edge in BOX},
        suggested_label=box["label"],
    )
    seen = _words("{} predicted with confidence {}", "suggested_label", "score")
    beside = _words("; the given {} nearest to it overlaps it by IoU {}", "near", "near_iou")
    return facts.with_columns(
        evidence=seen + pl.coalesce(beside, pl.lit("; no given box overlaps it"))
    ).select(COLUMNS)


def _say_spurious(
    facts: pl.DataFrame, annotations: pl.DataFrame, predictions: pl.DataFrame
) -> pl.DataFrame:
    del annotations
    best = _look_up(predictions, facts["any_row"])
    words = _words(
        "at best a {} predicted with confidence {} at IoU {} supports it",
        "label",
        "score",
        "any_iou",
    )
    return _finish(
        facts.hstack(best), pl.coalesce("flaw", words), "no prediction supports it", _delete()
    )


def _say_wrong_class(
    facts: pl.DataFrame, annotations: pl.DataFrame, predictions: pl.DataFrame
) -> pl.DataFrame:
    del annotations, predictions
    words = _words(
        "predicted as {} with confidence {} at IoU {}", "other", "other_confidence", "other_iou"
    )
    beside = _words("; as {} with {}", "given_label", "given_confidence")
    suggestion = {"suggested_label": pl.col("other"), **_given_box()}
    words += pl.coalesce(beside, pl.lit(""))
    return _finish(facts, words, "no other class is predicted there", suggestion)


def _say_bad_location(
    facts: pl.DataFrame, annotations: pl.DataFrame, predictions: pl.DataFrame
) -> pl.DataFrame:
    del annotations
    best = _look_up(predictions, facts["fit_row"])
    words = _words(
        "the {} predicted there with confidence {} overlaps it by IoU {}",
        "label",
        "score",
        "fit_iou",
    )
    return _finish(facts.hstack(best), words, "no prediction stands for it", _box_of(best))


def _say_duplicate(
    facts: pl.DataFrame, annotations: pl.DataFrame, predictions: pl.DataFrame
) -> pl.DataFrame:
    del predictions
    twin = annotations["annotation_id"].gather(facts["twin_row"])
    words = _words(
        "the given {} {} overlaps it by IoU {} and fits the predictions better",
        "given_label",
        "twin",
        "twin_iou",
    )
    facts = facts.with_columns(twin=twin)
    return _finish(facts, words, "no given box of its class overlaps it", _delete())


def _say_group(
    facts: pl.DataFrame, annotations: pl.DataFrame, predictions: pl.DataFrame
) -> pl.DataFrame:
    del annotations
    first, second = (_look_up(predictions, facts[f"{name}_row"]) for name in ("first", "second"))
    whole = _look_up(predictions, facts["whole_row"])
    facts = facts.with_columns(
        first_score=first["score"], second_score=second["score"], whole_score=whole["score"]
    )
    covers = _words(
        "covers {} predicted with confidence {} and another with {}",
        "given_label",
        "first_score",
        "second_score",
    )
    within = _words(
        "one of several boxes within one {} predicted with confidence {}",
        "given_label",
        "whole_score",
    )
    words = pl.when("merged").then(covers).otherwise(within)
    suggestion = {
        name: pl.when("merged").then(first[name.removeprefix("suggested_")]).otherwise(column)
        for name, column in _box_of(whole).items()
        if name != "suggested_label"
    }
    suggestion["suggested_label"] = pl.col("given_label")
    return _finish(facts, words, "no prediction speaks of a group", suggestion)


_SAY = {
    "spurious": _say_spurious,
    "wrong_class": _say_wrong_class,
    "bad_location": _say_bad_location,
    "duplicate": _say_duplicate,
    "group": _say_group,
}


def _finish(
    facts: pl.DataFrame, words: pl.Expr, otherwise: str, suggestion: dict[str, pl.Expr]
) -> pl.DataFrame:
    beside = (pl.col("company") >= BESIDE_ERRORS) & pl.col("flaw").is_null()
    evidence = pl.coalesce(words, pl.lit(otherwise)) + pl.when(beside).then(
        pl.lit("; other boxes of its image seem wrong too")
    ).otherwise(pl.lit(""))
    return facts.with_columns(evidence=evidence, **suggestion).select(COLUMNS)


def _look_up(table: pl.DataFrame, rows: pl.Series) -> pl.DataFrame:
    """Label, score and box of rows; null where the row is."""
    return table.select(pl.col("label", "score", *BOX).gather(rows))


def _words(sentence: str, *columns: str) -> pl.Expr:
    """Write a sentence with columns in it, numbers to two decimals; null where a column is."""
    numbers = {name for name in columns if name.endswith(("score", "iou", "confidence"))}
    shown = [pl.col(name).round(2) if name in numbers else pl.col(name) for name in columns]
    return pl.format(sentence, *shown)


def _delete() -> dict[str, pl.Expr]:
    nothing: dict[str, pl.Expr] = {"suggested_label": pl.lit(None, pl.String)}
    return nothing | {f"suggested_{edge}": pl.lit(None, pl.Float64) for edge in BOX}


def _given_box() -> dict[str, pl.Expr]:
    return {f"suggested_{edge}": pl.col(f"given_{edge}") for edge in BOX}


def _box_of(predicted: pl.DataFrame) -> dict[str, pl.Expr]:
    box = {f"suggested_{edge}": pl.lit(predicted[edge]) for edge in BOX}
    return {"suggested_label": pl.col("given_label"), **box}
