"""How long intervals of mAP take: 1,000 draws on 2,000 images with 120,000 detections.

    python benchmarks/redraws.py

Prints, for few and many classes, the time of one evaluation, of matching once, and of all draws;
and what evaluating every redrawn set anew would take.
"""

from __future__ import annotations

import argparse
import time

import numpy as np
import polars as pl

from labelfix.evaluate.detection import coco_metrics
from labelfix.evaluate.redetection import MatchedBoxes
from labelfix.evaluate.statistics import redraw

IMAGES, GIVEN, FOUND = 2_000, 20_000, 120_000


def main() -> None:
    """Time it."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--draws", type=int, default=1000)
    parser.add_argument("--classes", type=int, nargs="*", default=[3, 80])
    options = parser.parse_args()
    print("| classes | one evaluation, s | matching once, s | draws | all draws, s | anew, s |")
    print("|---|---|---|---|---|---|")
    for n_classes in options.classes:
        given, found, items = scene(n_classes)
        names = sorted({*given["label"], *found["label"]})
        start = time.process_time()
        coco_metrics(given, found, names, items)
        once = time.process_time() - start
        start = time.process_time()
        matched = MatchedBoxes.of(given, found, names, items)
        matching = time.process_time() - start
        start = time.process_time()
        redraw(lambda images, _, m=matched: m.count(images), IMAGES, 1, draws=options.draws)  # type: ignore[misc] # a loop's variable is bound by a default
        drawing = time.process_time() - start
        print(
            f"| {n_classes} | {once:.2f} | {matching:.1f} | {options.draws:,} | {drawing:.1f} "
            f"| {once * options.draws:.0f} |"
        )


def scene(n_classes: int) -> tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame]:
    """Draw given boxes of all sizes, and detections near them."""
    rng = np.random.default_rng(0)
    ids = np.array([f"i{n:04d}" for n in range(IMAGES)])
    image, label = rng.integers(0, IMAGES, GIVEN), rng.integers(0, n_classes, GIVEN)
    corner, size = rng.uniform(0, 300, (GIVEN, 2)), rng.lognormal(3.6, 1.0, (GIVEN, 2))
    source = rng.integers(0, GIVEN, FOUND)
    moved = corner[source] + rng.normal(0, 0.1, (FOUND, 2)) * size[source]
    grown = size[source] * rng.lognormal(0, 0.15, (FOUND, 2))
    given = table(ids[image], label, corner, corner + size).with_columns(
        annotation_id=pl.int_range(pl.len()).cast(pl.String), crowd=pl.lit(value=False)
    )
    found = table(ids[image[source]], label[source], moved, moved + grown)
    return given, found.with_columns(score=rng.random(FOUND)), pl.DataFrame({"item_id": ids})


def table(ids: np.ndarray, label: np.ndarray, start: np.ndarray, end: np.ndarray) -> pl.DataFrame:
    """Put boxes into a table."""
    edges = dict(zip(("x1", "y1", "x2", "y2"), (*start.T, *end.T), strict=True))
    return pl.DataFrame({"item_id": ids, "label": [f"{k:02d}" for k in label], **edges})


if __name__ == "__main__":
    main()
