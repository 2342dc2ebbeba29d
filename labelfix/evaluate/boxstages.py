"""Curves for boxes: AP while the images of a dataset are cleaned."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import polars as pl

from labelfix.errors import InputError, Problem, warn_caller
from labelfix.evaluate.boxpairing import BoxErrors, BoxVersion, in_order
from labelfix.evaluate.boxplan import make_box_plan
from labelfix.evaluate.boxscoring import BoxScores, boxes_in, check_test_boxes
from labelfix.evaluate.curves import (
    YARDSTICKS,
    Stage,
    Stages,
    budgets,
    distinct,
    first,
    measured,
    random_order,
    rows_in_order,
)
from labelfix.evaluate.detection import TWELVE
from labelfix.schema import BOX
from labelfix.splits import TEST, TRAIN

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from labelfix.evaluate.boxpairing import BoxPair, Same
    from labelfix.evaluate.parts import Terms
    from labelfix.schema import Dataset

    Integers = NDArray[np.int64]

__all__ = ["measure_box_stages", "measured_boxes", "with_boxes"]

_COLUMNS = ("item_id", "label", *BOX, "crowd")


def measure_box_stages(
    pair: BoxPair,
    orders: Mapping[str, Iterable[str]],
    at: Sequence[float],
    detector: Any,
    same: Same,
    terms: Terms,
) -> Stages:
    """Do what `labelfix.evaluate.stages.measure_stages` does, for boxes: images are cleaned."""
    ids = pair.original.items["item_id"]
    rows = {name: rows_in_order(ids, listed, name) for name, listed in orders.items()}
    rows["random"] = random_order(len(ids), terms.split.seed)
    errors = BoxErrors(pair, same).by_image
    stages = [
        _cleaned(pair, errors, name, order, number)
        for name, order in rows.items()
        for number in budgets(at, len(ids))
    ]
    return measured_boxes(pair, stages, {"at": sorted(set(at)), "same": same}, detector, terms)


def _cleaned(pair: BoxPair, errors: Integers, name: str, order: Integers, number: int) -> Stage:
    """Correct the first so many images of an order."""
    clean = first(order, number)
    rows = [
        version.annotations.filter(pl.Series(looked_at[pair.item_of(version)]))
        for version, looked_at in ((pair.original, ~clean), (pair.corrected, clean))
    ]
    version = BoxVersion(with_boxes(pair.original, rows), pair.removed & clean)
    mended = int(errors[clean].sum())
    left = int(errors.sum()) - mended
    key = (clean & pair.changed).tobytes()
    return Stage(name, number, number / len(clean), mended, left, 0, version, key)


def with_boxes(dataset: Dataset, parts: Sequence[pl.DataFrame]) -> Dataset:
    """Give a dataset other boxes, in the order of its items."""
    rows = pl.concat([part.select(_COLUMNS) for part in parts])
    named = in_order(rows, dataset.items["item_id"]).with_columns(
        annotation_id=pl.int_range(pl.len()).cast(pl.String)
    )
    return replace(dataset, annotations=named)


def measured_boxes(
    pair: BoxPair,
    stages: Sequence[Stage],
    details: Mapping[str, Any],
    detector: Any,
    terms: Terms,
) -> Stages:
    """Train on every stage, and score it; parameters as for `measure_box_stages`.

    Parameters
    ----------
    stages
        Their labels are of `BoxVersion`.
    details
        For the record; `same` among them.
    """
    from labelfix.predict.models import describe

    plan = make_box_plan(pair, detector, terms)
    parts, corrected = plan.parts, pair.versions()["corrected"]
    versions = {str(one): one for one in distinct(stages).values()}
    check_test_boxes({"corrected": corrected}, parts)
    _check_training_boxes(versions, parts)
    said = [*plan.warnings(), *_untested(versions, parts)]
    for text in said:
        warn_caller(text)
    trained = plan.train({name: one.labels for name, one in versions.items()})
    scores = {
        one.key: BoxScores.of(
            {name: trained[name]},
            dict(zip(YARDSTICKS, (corrected, one.labels), strict=True)),
            parts,
            plan.units,
        )
        for name, one in versions.items()
    }
    return measured(
        stages,
        scores,
        {one.key: [each.losses for each in trained[name]] for name, one in versions.items()},
        TWELVE,
        {**plan.details, **details, "same": describe(details["same"])},
        said,
        terms,
    )


def _check_training_boxes(stages: Mapping[str, Stage], parts: NDArray[np.int8]) -> None:
    """Refuse stages that a detector could learn nothing from."""
    problems = [
        Problem(f"training part, {name}", "no boxes", "some to learn from", "start at more")
        for name, one in stages.items()
        if min(boxes_in(one.labels, part == TRAIN) for part in parts) == 0
    ]
    if problems:
        raise InputError(problems)


def _untested(stages: Mapping[str, Stage], parts: NDArray[np.int8]) -> list[str]:
    """Name stages whose own boxes test nothing."""
    return [
        f"{name}: no boxes in its test images; it is tested by the corrected ones alone"
        for name, one in stages.items()
        if min(boxes_in(one.labels, part == TEST) for part in parts) == 0
    ]
