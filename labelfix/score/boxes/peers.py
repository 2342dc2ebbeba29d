"""Other tools' box scores as a queue, for those who move over and for comparisons.

Each score keeps its own scale, turned so that low is suspicious; kinds that a tool does not know
are not in its queue. What it calls an error is not scored on one scale over kinds, so the lowest
score of a box names its kind.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import polars as pl

from labelfix.errors import InputError, Problem
from labelfix.schema import BOX, BOX_ISSUES
from labelfix.score.boxes.fiftyone import FiftyOne, fiftyone_scores
from labelfix.score.boxes.objectlab import ObjectLab, objectlab_scores
from labelfix.score.boxes.ranking import cut_suggestions

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from numpy.typing import NDArray

    from labelfix.schema import BoxKind
    from labelfix.score.boxes.matching import Match

__all__ = ["rank_peer"]


class _Qualities(NamedTuple):
    """Quality in [0, 1] by kind; NaN where a score says nothing."""

    given: Mapping[str, NDArray[np.float64]]
    """Of given boxes, by row of the annotations."""
    missing: NDArray[np.float64]
    """Of predicted boxes, by row of the predictions."""


def rank_peer(
    match: Match,
    annotations: pl.DataFrame,
    predictions: pl.DataFrame,
    params: ObjectLab | FiftyOne,
    kinds: Collection[BoxKind],
) -> pl.DataFrame:
    """Put boxes into one queue by another tool's scores.

    ObjectLab has `wrong_class` (its swap score), `bad_location` and `missing` (overlooked).
    FiftyOne has `wrong_class`, `bad_location`, `missing` (one minus the confidence of an unmatched
    prediction), and `spurious` without a score: every box that no prediction matches has quality 0.

    Parameters
    ----------
    match
        From `match_boxes`.
    annotations, predictions
        The tables that the match was made of.
    params
        Which tool's scores, with their parameters. `flag_below` decides what is flagged.
    kinds
        Only these.

    Returns
    -------
    pl.DataFrame
        Columns of `BOX_ISSUES`, lowest quality first.

    Raises
    ------
    InputError
        If the tool knows none of the kinds.
    """
    scores = (
        _objectlab(match, params) if isinstance(params, ObjectLab) else _fiftyone(match, params)
    )
    known = (*scores.given, "missing")
    if not set(known) & set(kinds):
        raise InputError(
            Problem("kinds", ", ".join(kinds), f"of {params.name}: {', '.join(known)}")
        )
    tables = [pl.DataFrame(schema=BOX_ISSUES)]
    if wanted := [kind for kind in scores.given if kind in kinds]:
        tables.append(_given(match, annotations, predictions, scores, params.name, wanted))
    if "missing" in kinds:
        tables.append(_missing(predictions, scores.missing, annotations.height, params.name))
    items = pl.DataFrame({"item_id": match.item_ids, "item": range(len(match))})
    issues = pl.concat(tables, how="diagonal").join(items, on="item_id", how="left")
    issues = cut_suggestions(issues.sort("quality", "item", "order"), match).with_columns(
        rank=pl.int_range(1, pl.len() + 1), flagged=pl.col("quality") < params.flag_below
    )
    return issues.select(pl.col(name).cast(dtype) for name, dtype in BOX_ISSUES.items())


def _objectlab(match: Match, params: ObjectLab) -> _Qualities:
    scores = objectlab_scores(match, params)
    return _Qualities(
        {"wrong_class": scores.swap, "bad_location": scores.badloc}, scores.overlooked
    )


def _fiftyone(match: Match, params: FiftyOne) -> _Qualities:
    scores = fiftyone_scores(match, params)
    given = {
        "spurious": np.where(scores.spurious, 0.0, np.nan),
        "wrong_class": 1 - scores.mistakenness,
        "bad_location": 1 - scores.location,
    }
    return _Qualities(given, 1 - scores.missing)


def _given(
    match: Match,
    annotations: pl.DataFrame,
    predictions: pl.DataFrame,
    scores: _Qualities,
    tool: str,
    kinds: Sequence[str],
) -> pl.DataFrame:
    """Rows of the given boxes for which one of `kinds` has a score; crowd regions have none."""
    is_box = np.zeros(annotations.height, bool)
    is_box[match.given.row] = True
    quality = np.array([scores.given[kind] for kind in kinds])
    rows = np.flatnonzero(is_box & ~np.isnan(quality).all(axis=0))
    quality = np.nan_to_num(quality[:, rows], nan=1.0)
    doubt = 1 - quality
    same, other = (_best(match, same_class=same_class) for same_class in (True, False))
    box = annotations[rows]
    table = pl.DataFrame(
        {
            "order": rows,
            "item_id": box["item_id"],
            "annotation_id": box["annotation_id"],
            "kind": pl.Series(kinds, dtype=pl.String).gather(quality.argmin(axis=0)),
            "quality": quality.min(axis=0),
            "kind_score": np.divide(
                doubt.max(axis=0),
                doubt.sum(axis=0),
                out=np.ones(len(rows)),
                where=doubt.sum(axis=0) > 0,
            ),
            "given_label": box["label"],
            **{f"given_{edge}": box[edge] for edge in BOX},
            "other": predictions["label"].gather(other.gather(rows)),
            **{edge: predictions[edge].gather(same.gather(rows)) for edge in BOX},
        }
    )
    is_class, is_place = pl.col("kind") == "wrong_class", pl.col("kind") == "bad_location"
    return table.select(
        pl.exclude("other", *BOX),
        evidence=pl.format(f"{tool}'s score of {{}} is {{}}", "kind", pl.col("quality").round(3)),
        suggested_label=pl.when(is_class).then("other").when(is_place).then("given_label"),
        **{
            f"suggested_{edge}": pl.when(is_class).then(f"given_{edge}").when(is_place).then(edge)
            for edge in BOX
        },
    )


def _missing(
    predictions: pl.DataFrame, quality: NDArray[np.float64], after: int, tool: str
) -> pl.DataFrame:
    rows = np.flatnonzero(~np.isnan(quality))
    box = predictions[rows]
    return pl.DataFrame(
        {
            "order": rows + after,
            "item_id": box["item_id"],
            "kind": pl.repeat("missing", len(rows), eager=True, dtype=pl.String),
            "quality": quality[rows],
            "kind_score": np.ones(len(rows)),
            "suggested_label": box["label"],
            **{f"suggested_{edge}": box[edge] for edge in BOX},
            "evidence": pl.select(
                pl.format(f"{tool}'s score of missing is {{}}", pl.Series(quality[rows]).round(3))
            ).to_series(),
        }
    )


def _best(match: Match, *, same_class: bool) -> pl.Series:
    """Row of the prediction that overlaps each given box most, by row of the annotations."""
    given, predicted, pairs = match.given, match.predicted, match.pairs
    pairs = pairs.keep((given.label[pairs.left] == predicted.label[pairs.right]) == same_class)
    order = np.lexsort((-pairs.iou, pairs.left))
    left, first = np.unique(pairs.left[order], return_index=True)
    best = np.full(given.height, -1)
    best[given.row[left]] = predicted.row[pairs.right[order[first]]]
    return pl.Series(best, dtype=pl.Int64).replace(-1, None)
