"""What detectors trained on either version of the boxes see in each test image.

For looking, beside the numbers: how well each image is read by the corrected boxes, and the boxes
that both detectors draw where that changed most. At one confidence for a training: the one at which
it has the best F1 over all its test images.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from labelfix.evaluate.detection import evaluated
from labelfix.schema import BOX

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from labelfix.schema import Dataset

    Floats = NDArray[np.float64]

__all__ = ["DETECTIONS", "image_tables"]

DETECTIONS = {
    "item_id": pl.String,
    "source": pl.String,
    "label": pl.String,
    "score": pl.Float64,
    **dict.fromkeys(BOX, pl.Float64),
    "right": pl.Boolean,
}
"""Columns of the second table of `image_tables`."""


def image_tables(
    truth: Dataset,
    found: Mapping[str, Sequence[pl.DataFrame]],
    tested: NDArray[np.bool_],
    *,
    most: int = 100,
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Say how each test image is read after training on either version, and what is seen there.

    Parameters
    ----------
    truth
        The corrected version.
    found
        By version trained on, for each seed a table with the columns of `BOX_PREDICTIONS`.
    tested
        Which images each seed is tested on, shape (seeds, n), in the order of the items.
    most
        Images whose boxes are given, those first that changed most.

    Returns
    -------
    images
        A row a test image: item_id; for each version trained on `f1_VERSION`, F1 at IoU .5 by the
        corrected boxes, the mean over the seeds that test the image (1 where there is nothing and
        nothing is seen); and the number of those `seeds`. Those first that changed most.
    detections
        Of the first images: the boxes seen by the first seed that tests them (`source` is
        trained_on_VERSION, `right` says whether it finds a corrected box), and the corrected boxes
        (`source` is corrected_labels, `score` and `right` are null).
    """
    ids = truth.items["item_id"]
    f1 = {name: np.full(tested.shape, np.nan) for name in found}
    seen: dict[str, list[pl.DataFrame]] = {name: [] for name in found}
    for name, tables in found.items():
        for seed, table in enumerate(tables):
            rows = np.flatnonzero(tested[seed])
            f1[name][seed, rows], drawn = _read(truth, table, ids.gather(rows))
            seen[name].append(drawn)
    rows = np.flatnonzero(tested.any(axis=0))
    means = {f"f1_{name}": np.nanmean(one[:, rows], axis=0) for name, one in f1.items()}
    change = np.ptp(np.stack([*means.values()]), axis=0)
    images = pl.DataFrame(
        {"item_id": ids.gather(rows), **means, "seeds": tested[:, rows].sum(axis=0)}
    )
    images = images[np.lexsort((rows, -change))]
    shown = images.head(most).select("item_id")
    seed_of = dict(zip(ids, tested.argmax(axis=0), strict=True))
    return images, _boxes(truth, seen, shown, seed_of)


def _read(truth: Dataset, table: pl.DataFrame, ids: pl.Series) -> tuple[Floats, pl.DataFrame]:
    """F1 of each image, shape (images,), and the boxes that count, with `right`."""
    wanted = pl.DataFrame({"item_id": ids})
    given = truth.annotations.join(wanted, on="item_id", how="semi", maintain_order="left")
    table = table.join(wanted, on="item_id", how="semi", maintain_order="left")
    evaluation, match = evaluated(given, table, truth.class_names, wanted, (1, 10, 100))
    row, image, score, right = _matches(evaluation, match.predicted.row)
    n_given = np.bincount(match.given.item, minlength=len(ids))
    kept = score >= _best_threshold(score, right, int(n_given.sum()))
    image, row, right = image[kept], row[kept], right[kept]
    hits = np.bincount(image[right], minlength=len(ids))
    both = np.bincount(image, minlength=len(ids)) + n_given
    f1 = np.divide(2 * hits, both, out=np.ones(len(ids)), where=both > 0)
    return f1, table[row].with_columns(right=pl.Series(right, dtype=pl.Boolean))


def _matches(evaluation: Any, rows: NDArray[np.int64]) -> tuple[NDArray[Any], ...]:
    """Row, image, score and rightness at IoU .5 of each detection that counts."""
    everywhere = tuple(evaluation.params.areaRng[0])
    kept = [one for one in evaluation.eval_imgs if one and tuple(one["aRng"]) == everywhere]
    columns = [
        (number, one["image_id"] - 1, score, right)
        for one in kept
        for number, score, right, aside in zip(
            one["dtIds"], one["dtScores"], one["dtMatched"][0], one["dtIgnore"][0], strict=True
        )
        if not aside
    ]
    number, image, score, right = np.array(columns, np.float64).reshape(-1, 4).T
    return rows[number.astype(np.int64) - 1], image.astype(np.int64), score, right.astype(bool)


def _best_threshold(score: Floats, right: NDArray[np.bool_], n_given: int) -> float:
    """Give the confidence from which on F1 is best; infinity where nothing is seen.

    Examples
    --------
    >>> _best_threshold(np.array([0.2, 0.9, 0.5]), np.array([False, True, True]), 3)
    0.5
    """
    if not len(score):
        return float("inf")
    order = np.argsort(-score, kind="stable")
    f1 = 2 * np.cumsum(right[order]) / (np.arange(1, len(order) + 1) + n_given)
    return float(score[order][f1.argmax()])


def _boxes(
    truth: Dataset,
    seen: Mapping[str, Sequence[pl.DataFrame]],
    shown: pl.DataFrame,
    seed_of: Mapping[str, int],
) -> pl.DataFrame:
    """Gather the boxes of the images that are shown."""
    place = shown.with_row_index("place").with_columns(
        seed=pl.col("item_id").replace_strict(seed_of, return_dtype=pl.Int64)
    )
    parts = [
        table.join(
            place.filter(seed=seed), on="item_id", how="inner", maintain_order="left"
        ).with_columns(source=pl.lit(f"trained_on_{name}"))
        for name, tables in seen.items()
        for seed, table in enumerate(tables)
    ]
    labels = truth.annotations.filter(~pl.col("crowd"))
    labels = labels.join(place, on="item_id", how="inner", maintain_order="left")
    parts.append(labels.with_columns(source=pl.lit("corrected_labels")))
    together = pl.concat(parts, how="diagonal_relaxed").sort("place", maintain_order=True)
    return together.select(pl.col(name).cast(kind) for name, kind in DETECTIONS.items())
