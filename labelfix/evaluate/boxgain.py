"""What corrected boxes bought: the four cells of `labelfix.evaluate.gain` for detectors.

The same detector is trained on original and on corrected boxes, and its detections are held against
original and corrected boxes of the test images: COCO's twelve numbers, and each class's AP.
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import polars as pl

from labelfix.errors import LabelfixWarning
from labelfix.evaluate.boximages import image_tables
from labelfix.evaluate.boxpairing import pair_boxes
from labelfix.evaluate.boxscoring import BoxScores, check_test_boxes, train_detectors
from labelfix.evaluate.detection import TWELVE
from labelfix.evaluate.gain import draw_parts, seeds_of
from labelfix.evaluate.pairing import flattering
from labelfix.evaluate.statistics import redraw
from labelfix.evaluate.tables import BEFORE, Gain, Layout, gain_tables, movement_table, time_table
from labelfix.splits import PARTS, TEST

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from labelfix.evaluate.boxpairing import BoxPair
    from labelfix.progress import Progress
    from labelfix.schema import Dataset
    from labelfix.splits import Split

__all__ = ["box_warnings", "measure_box_gain"]


def measure_box_gain(
    original: Dataset,
    corrected: Dataset,
    detector: Any,
    seeds: int,
    split: Split,
    *,
    resplit: bool,
    allow_removed: bool,
    suggested_by: Sequence[str],
    draws: int,
    level: float,
    timed: int,
    jobs: int | None,
    store: Path | None,
    cache: Path | Literal[False] | None,
    progress: Progress | None,
) -> Gain:
    """Do what `labelfix.measure_gain` does, for boxes; parameters and errors as there."""
    from labelfix.predict import default_cache
    from labelfix.predict.detect.names import resolve
    from labelfix.predict.models import describe

    pair = pair_boxes(original, corrected, allow_removed=allow_removed)
    chosen = resolve(detector)
    units, parts = draw_parts(pair.original, split, seeds, resplit=resplit, progress=progress)
    versions = pair.versions()
    check_test_boxes(versions, parts)
    said = box_warnings(pair, parts, chosen.name, suggested_by)
    for text in said:
        warnings.warn(text, LabelfixWarning, stacklevel=3)
    folder = None if cache is False else (cache or default_cache())
    options: dict[str, Any] = {"jobs": jobs, "store": store, "cache": folder, "progress": progress}
    options["timed"] = timed
    seeds_used = seeds_of(split, seeds)
    found = train_detectors(versions, chosen, parts, seeds_used, **options)
    scores = BoxScores.of(found, versions, parts, units)
    drawn = redraw(
        scores.redrawn,
        scores.n_units,
        scores.n_seeds,
        draws=draws,
        seed=split.seed,
        progress=progress,
    )
    by_seed = scores.by_seed(np.ones((1, scores.n_units)))[0]
    point = scores.redrawn(np.ones((1, scores.n_units)), np.ones((1, seeds)))
    layout = _layout(pair, scores)
    movement = None
    if resplit:
        first = np.repeat(parts[:1], seeds, axis=0)
        before = {BEFORE: versions[BEFORE]}
        again = train_detectors(before, chosen, first, seeds_used, **options)
        alone = BoxScores.of(again, before, first, units).by_seed(np.ones((1, scores.n_units)))[0]
        ends = alone[0, 0, :, 0], by_seed[0, 0, :, 0], by_seed[1, 1, :, 0]
        movement = movement_table(*ends, level)
    seen = {name: [one.boxes for one in trained] for name, trained in found.items()}
    images, detections = image_tables(pair.corrected, seen, scores.tested["corrected"])
    return Gain(
        **gain_tables(layout, scores.as_cells(point)[0], scores.as_cells(drawn), by_seed, level),
        mcnemar=None,
        changes=changes_of(pair, parts[0]),
        movement=movement,
        answers=None,
        images=images,
        detections=detections,
        times=time_table({k: [one.seconds for one in trained] for k, trained in found.items()}),
        details={
            "model": chosen.name,
            "parameters": describe(chosen),
            "seeds": seeds,
            "split": describe(split),
            "resplit": resplit,
            "items": len(pair.original),
            "units": scores.n_units,
            "tested": int(scores.tested["original"].any(axis=0).sum()),
            "seeds_differ": bool((by_seed != by_seed[:, :, :1]).any()),
            "class_names": list(pair.original.class_names),
            "fingerprint": pair.original.fingerprint,
            "draws": draws,
            "level": level,
        },
        warnings=said,
    )


def box_warnings(
    pair: BoxPair, parts: NDArray[np.int8], name: str, suggested_by: Sequence[str]
) -> tuple[str, ...]:
    """Say what makes a result on two versions of the boxes weaker than it looks."""
    said = []
    if not pair.changed[(parts == TEST).any(axis=0)].any():
        said.append("no test image was corrected: nothing can be said of the test boxes")
    if name in suggested_by:
        said.append(flattering(name, "boxes"))
    return tuple(said)


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
