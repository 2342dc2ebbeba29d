"""What corrected boxes bought: the four cells of `labelfix.evaluate.gain` for detectors.

The same detector is trained on original and on corrected boxes, and its detections are held against
original and corrected boxes of the test images: COCO's twelve numbers, and each class's AP.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from labelfix.errors import warn_caller
from labelfix.evaluate.boximages import image_tables
from labelfix.evaluate.boxplan import make_box_plan
from labelfix.evaluate.boxscoring import BoxScores, check_test_boxes
from labelfix.evaluate.detection import TWELVE
from labelfix.evaluate.statistics import redraw
from labelfix.evaluate.tables import BEFORE, Gain, Layout, gain_tables, movement_table, time_table
from labelfix.splits import PARTS

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from labelfix.evaluate.boxpairing import BoxPair
    from labelfix.evaluate.parts import Terms

__all__ = ["measure_box_gain"]


def measure_box_gain(pair: BoxPair, detector: Any, terms: Terms) -> Gain:
    """Do what `labelfix.measure_gain` does, for boxes; errors as there."""
    plan = make_box_plan(pair, detector, terms)
    versions, units, parts = pair.versions(), plan.units, plan.parts
    check_test_boxes(versions, parts)
    said = plan.warnings()
    for text in said:
        warn_caller(text)
    found = plan.train(versions)
    scores = BoxScores.of(found, versions, parts, units)
    drawn = redraw(
        scores.redrawn,
        scores.n_units,
        scores.n_seeds,
        draws=terms.draws,
        seed=terms.split.seed,
        progress=terms.progress,
    )
    by_seed = scores.by_seed(np.ones((1, scores.n_units)))[0]
    point = scores.redrawn(np.ones((1, scores.n_units)), np.ones((1, terms.seeds)))
    layout = _layout(pair, scores)
    movement = None
    if terms.resplit:
        first = np.repeat(parts[:1], terms.seeds, axis=0)
        before = {BEFORE: versions[BEFORE]}
        again = replace(plan, parts=first).train(before)
        alone = BoxScores.of(again, before, first, units).by_seed(np.ones((1, scores.n_units)))[0]
        ends = alone[0, 0, :, 0], by_seed[0, 0, :, 0], by_seed[1, 1, :, 0]
        movement = movement_table(*ends, terms.level)
    seen = {name: [one.boxes for one in trained] for name, trained in found.items()}
    images, detections = image_tables(pair.corrected, seen, scores.tested["corrected"])
    return Gain(
        **gain_tables(
            layout, scores.as_cells(point)[0], scores.as_cells(drawn), by_seed, terms.level
        ),
        mcnemar=None,
        changes=changes_of(pair, parts[0]),
        movement=movement,
        answers=None,
        images=images,
        detections=detections,
        drawn=scores.as_cells(drawn)[..., 0],
        times=time_table({k: [one.seconds for one in trained] for k, trained in found.items()}),
        details={
            **plan.details,
            "tested": int(scores.tested["original"].any(axis=0).sum()),
            "seeds_differ": bool((by_seed != by_seed[:, :, :1]).any()),
            "draws": terms.draws,
            "level": terms.level,
        },
        warnings=said,
    )


def _layout(pair: BoxPair, scores: BoxScores) -> Layout:
    rows = {name: here.any(axis=0) for name, here in scores.tested.items()}
    ids = pair.original.items["item_id"]
    boxes = {
        name: np.bincount(
            version.dataset.labels[
                version.dataset.annotations["item_id"]
                .is_in(ids.filter(pl.Series(rows[name])).implode())
                .to_numpy()
            ],
            minlength=scores.n_classes,
        )
        for name, version in pair.versions().items()
    }
    items = {name: int(here.sum()) for name, here in rows.items()}
    return Layout(TWELVE, tuple(rows), items, pair.original.class_names, boxes)


def changes_of(pair: BoxPair, part: NDArray[np.int8]) -> pl.DataFrame:
    """Count, for each part, images that changed and boxes before and after."""
    ids = pair.original.items["item_id"]
    rows = []
    for number, name in enumerate(PARTS):
        here = ids.filter(pl.Series(part == number)).implode()
        boxes = {
            f"boxes_{version}": int(one.dataset.annotations["item_id"].is_in(here).sum())
            for version, one in pair.versions().items()
        }
        changed = int((pair.changed & ~pair.removed)[part == number].sum())
        removed = int(pair.removed[part == number].sum())
        unchanged = int((part == number).sum()) - changed - removed
        rows.append(
            {"part": name, "unchanged": unchanged, "changed": changed, "removed": removed} | boxes
        )
    return pl.DataFrame(rows)
