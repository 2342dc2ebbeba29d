"""What a detector found hard to learn of the given boxes, alone or beside one that never saw them.

A detector that learned from a box has two losses on it (`labelfix.schema.BOX_LOSSES`). With p, the
probability that it gives the box's class, and u, the overlap of what it predicts with the box, both
as means over the training, a box is right with p u, of a wrong class with (1 - p) u, badly placed
with p (1 - u) and spurious with (1 - p)(1 - u): as if class and place were wrong independently.
Detectors are seldom as sure as they are right, so only the order of these counts.

Beside predictions, which know whether anything is there, the class loss speaks of wrong classes and
of spurious boxes, and the location loss of bad locations (docs/benchmarks/box-losses.md).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from labelfix.errors import InputError, Problem
from labelfix.schema import BOX, BOX_ISSUES, BOX_LOSSES, check

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from numpy.typing import NDArray

    from labelfix.schema import BoxKind
    from labelfix.score.boxes.matching import Match
    from labelfix.score.boxes.params import BoxParams
    from labelfix.score.boxes.ranking import BoxScores

__all__ = ["LOSS_KINDS", "learnt_share", "rank_losses", "with_evidence", "with_losses"]

LOSS_KINDS: tuple[BoxKind, ...] = ("spurious", "wrong_class", "bad_location")
"""The kinds of error that losses speak of."""

LEAST = 1e-6
"""Probabilities and overlaps are kept this far from 0 and 1, so that odds stay finite."""


def with_losses(
    scores: BoxScores, annotations: pl.DataFrame, losses: pl.DataFrame, params: BoxParams
) -> BoxScores:
    """Weigh the losses of a training into the odds of predictions that never saw the boxes.

    Of each kind that losses speak of, the boxes' odds by their losses are put onto the scale of
    those by the predictions, rank by rank, and the two are averaged with `params.training`.

    Parameters
    ----------
    scores
        From `score_boxes`.
    annotations
        The table that the match was made of.
    losses
        Columns of `BOX_LOSSES`. Boxes that it does not know, or without a loss, keep their odds.
    params
        `training` is the weight of the losses.
    """
    from scipy.stats import rankdata

    learnt = _odds(annotations["annotation_id"].gather(scores.given["row"]), losses)
    columns = {}
    for kind, own in learnt.items():
        odds = scores.given[kind].to_numpy().copy()
        known = np.flatnonzero(~np.isnan(own))
        if not len(known):
            continue
        place = rankdata(own[known]) - 1
        same_scale = np.interp(place, np.arange(len(known)), np.sort(odds[known]))
        odds[known] += params.training * (same_scale - odds[known])
        columns[kind] = odds
    return scores._replace(given=scores.given.with_columns(**columns))


def rank_losses(
    match: Match,
    annotations: pl.DataFrame,
    losses: pl.DataFrame,
    params: BoxParams,
    kinds: Collection[BoxKind],
) -> pl.DataFrame:
    """Put the given boxes into one queue by their losses alone.

    `quality` is p u, or what is left of it by the kinds that are looked for; it is the order that
    counts. As many are flagged as `params` expects errors of these kinds. There is nothing to
    suggest but to delete: other kinds name the given box as it is, to be looked at.

    Parameters
    ----------
    match
        From `match_boxes`, with no prediction.
    annotations
        The table that it was made of.
    losses
        Columns of `BOX_LOSSES`. Boxes without are not in the queue.
    params
        Its priors decide what is flagged.
    kinds
        Only these, of spurious, wrong_class and bad_location.

    Returns
    -------
    pl.DataFrame
        Columns of `BOX_ISSUES`, lowest quality first.

    Raises
    ------
    InputError
        If losses speak of none of the kinds.
    """
    wanted = [kind for kind in LOSS_KINDS if kind in kinds]
    if not wanted:
        expected = f"{', '.join(LOSS_KINDS)}, without predictions"
        raise InputError(Problem("kinds", ", ".join(kinds), expected))
    box = annotations[np.sort(match.given.row)]
    p, u = _chances(box["annotation_id"], losses)
    seen = ~np.isnan(p + u)
    box, p, u = box.filter(seen), p[seen], u[seen]
    chance = {
        "spurious": (1 - p) * (1 - u),
        "wrong_class": (1 - p) * u,
        "bad_location": p * (1 - u),
    }
    doubt = np.column_stack([chance[kind] for kind in wanted])
    total = doubt.sum(axis=1)
    kind = pl.Series(wanted, dtype=pl.String).gather(doubt.argmax(axis=1))
    deleted = kind == "spurious"
    expected_errors = sum(getattr(params, name) for name in wanted) * len(total)
    table = box.select(
        "item_id",
        "annotation_id",
        kind=kind,
        quality=pl.Series(p * u / (p * u + total)),
        given_label="label",
        suggested_label=pl.when(~deleted).then("label"),
        kind_score=pl.Series(doubt.max(axis=1) / total),
        evidence=_sentence(p, u),
        **{f"given_{edge}": pl.col(edge) for edge in BOX},
        **{f"suggested_{edge}": pl.when(~deleted).then(edge) for edge in BOX},
    )
    table = table.sort("quality", maintain_order=True).with_columns(
        rank=pl.int_range(1, pl.len() + 1), flagged=pl.int_range(pl.len()) < expected_errors
    )
    return table.select(pl.col(name).cast(dtype) for name, dtype in BOX_ISSUES.items())


def with_evidence(issues: pl.DataFrame, losses: pl.DataFrame) -> pl.DataFrame:
    """Say of the kinds that losses speak of what they said."""
    p, u = _chances(issues["annotation_id"], losses)
    more = pl.when(pl.col("kind").is_in(LOSS_KINDS)).then(pl.lit("; ") + _sentence(p, u))
    return issues.with_columns(evidence=pl.col("evidence") + pl.coalesce(more, pl.lit("")))


def learnt_share(losses: pl.DataFrame) -> float:
    """Share of the boxes that were seen in training which were overlapped by half or more."""
    found = (losses["location_loss"] <= 0.5).mean()
    return float(found) if isinstance(found, float) else 0.0


def _sentence(p: NDArray[np.float64], u: NDArray[np.float64]) -> pl.Expr:
    values = [pl.lit(pl.Series(one).fill_nan(None).round(2)) for one in (p, u)]
    return pl.format("in training its class had probability {} and its place IoU {}", *values)


def _odds(ids: pl.Series, losses: pl.DataFrame) -> Mapping[str, NDArray[np.float64]]:
    """Log odds of each kind against a right box, NaN where a loss is unknown."""
    p, u = _chances(ids, losses)
    wrong = np.log((1 - p) / p)
    return {"spurious": wrong, "wrong_class": wrong, "bad_location": np.log((1 - u) / u)}


def _chances(ids: pl.Series, losses: pl.DataFrame) -> tuple[Any, Any]:
    """Chance that the class is right, and the place, of each box; NaN where it is unknown."""
    known = pl.DataFrame({"annotation_id": ids}).join(
        check(losses, BOX_LOSSES, "losses"), on="annotation_id", how="left", maintain_order="left"
    )
    p = np.exp(-known["class_loss"].fill_null(float("nan")).to_numpy())
    u = 1 - known["location_loss"].fill_null(float("nan")).to_numpy()
    return p.clip(LEAST, 1 - LEAST), u.clip(LEAST, 1 - LEAST)
