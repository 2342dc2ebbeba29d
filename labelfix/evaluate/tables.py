"""The tables of a gain, made alike for class labels and for boxes."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from labelfix.evaluate.statistics import (
    EFFECTS,
    interval,
    sd_interval,
    share_of_pairs,
    share_of_variance,
    split_gain,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

__all__ = [
    "AFTER",
    "BEFORE",
    "Gain",
    "Layout",
    "gain_tables",
    "movement_table",
    "time_table",
]

_MORE = ("answers", "images", "detections", "times")
"""Tables of `Gain` that not every one has."""

BEFORE, BETWEEN, AFTER = "original", "relabelled", "corrected"

_STEPS = {"all": (BEFORE, AFTER), "relabelled": (BEFORE, BETWEEN), "removed": (BETWEEN, AFTER)}
"""Which version becomes which."""


@dataclass(frozen=True, eq=False)
class Gain:
    """What `measure_gain` finds. Scores are in [0, 1]; `low` and `high` enclose `level`.

    Parameters
    ----------
    cells
        A row a metric (`accuracy`, `balanced_accuracy`; for boxes COCO's twelve), version trained
        on and version tested on: test items that count, and the mean over the seeds with interval.
    effects
        A row a step, metric and effect. The step `all` goes from the original to the corrected
        version; where some items were relabelled and others removed, `relabelled` and `removed` are
        the two halves of the way. Effects are those of `labelfix.evaluate.statistics.EFFECTS`.
    per_class
        A row a class: test items (boxes) by the original and the corrected labels, the share of
        them that is right (the AP) in the first and the last cell, and the effects with intervals.
    by_seed
        A row a seed, version trained on and version tested on.
    mcnemar
        A row a seed and version tested on: on how many items only the model trained on original
        labels is right, on how many only the one trained on corrected ones, and McNemar's p-value,
        exact and mid-p. None for boxes.
    changes
        Items of each part of the first split: unchanged, relabelled, removed.
    movement
        Where each seed drew its own split: how far the main metric and the gain move from training
        to training, and how much of that is the split, with intervals; else None.
    answers
        A row a test item: its labels, what the models trained on either version answer most often,
        and the share of the seeds in which they do. None for boxes.
    details
        The recipe, for the record.
    warnings
        What makes the result weaker than it looks.
    images, detections
        Of boxes: how well each test image is read after training on either version, and what is
        seen in those that changed most, as `labelfix.evaluate.boximages.image_tables` gives them.
        None for class labels.
    times
        Where images were timed: a row a seed and version trained on, with the median and the
        quartiles of the milliseconds an image takes, and how many images that is. None elsewhere.
    drawn
        The main metric in each draw, shape (draws, trained on, tested on): two measures with the
        same split, seeds and draws are paired in it.
    """

    cells: pl.DataFrame
    effects: pl.DataFrame
    per_class: pl.DataFrame
    by_seed: pl.DataFrame
    mcnemar: pl.DataFrame | None
    changes: pl.DataFrame
    movement: pl.DataFrame | None
    answers: pl.DataFrame | None
    details: Mapping[str, Any] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    images: pl.DataFrame | None = None
    detections: pl.DataFrame | None = None
    times: pl.DataFrame | None = None
    drawn: Floats | None = None

    def tables(self) -> dict[str, pl.DataFrame]:
        """Give all tables by name."""
        names = ("cells", "effects", "per_class", "by_seed", "mcnemar", "changes", "movement")
        found = {name: getattr(self, name) for name in (*names, *_MORE)}
        return {name: table for name, table in found.items() if table is not None}

    @property
    def metrics(self) -> tuple[str, ...]:
        """Names of the metrics, the main one first."""
        return tuple(self.cells["metric"].unique(maintain_order=True))

    def effect(
        self, name: str, *, metric: str | None = None, step: str = "all"
    ) -> dict[str, float]:
        """Give value, low and high of one effect; of the main metric unless another is named."""
        rows = self.effects.filter(step=step, metric=metric or self.metrics[0], effect=name)
        found: dict[str, float] = rows.select("value", "low", "high").row(0, named=True)
        return found


@dataclass(frozen=True, eq=False)
class Layout:
    """What the axes of the numbers mean: (…, trained on, tested on, metrics then classes).

    Parameters
    ----------
    metrics
        Names of the metrics.
    versions
        Names of the versions, trained on and tested on alike.
    items
        By version, test items that count.
    class_names
        The K classes, whose numbers come after the metrics.
    class_items
        By version, test items (or boxes) of each class, shape (K,).
    """

    metrics: tuple[str, ...]
    versions: tuple[str, ...]
    items: Mapping[str, int]
    class_names: tuple[str, ...]
    class_items: Mapping[str, NDArray[np.int64]]

    def corner(self, cells: Floats, step: str) -> Floats:
        """Take the two by two cells of a step: shape (…, numbers, 2, 2)."""
        at = [self.versions.index(name) for name in _STEPS[step]]
        return np.moveaxis(cells[..., at, :, :][..., at, :], -1, -3)


def _ends(drawn: Floats, level: float) -> Floats:
    """Interval of each of the last axes, shape (2, …)."""
    return interval(drawn.reshape(len(drawn), -1), level).reshape(2, *drawn.shape[1:])


def gain_tables(
    layout: Layout, point: Floats, drawn: Floats, by_seed: Floats, level: float
) -> dict[str, pl.DataFrame]:
    """Make the tables of a `Gain` that classes and boxes share.

    Parameters
    ----------
    layout
        What the axes mean.
    point
        Numbers of the means over seeds, shape (trained on, tested on, numbers).
    drawn
        The same of each draw, shape (draws, trained on, tested on, numbers).
    by_seed
        Of each seed, shape (trained on, tested on, seeds, numbers).
    level
        Of the intervals.
    """
    return {
        "cells": _cell_table(layout, point, drawn, level),
        "effects": _effect_table(layout, point, drawn, level),
        "per_class": _class_table(layout, point, drawn, level),
        "by_seed": _seed_table(layout, by_seed),
    }


def _cell_table(layout: Layout, point: Floats, drawn: Floats, level: float) -> pl.DataFrame:
    """Make `Gain.cells`."""
    low, high = _ends(drawn[..., : len(layout.metrics)], level)
    rows = [
        {
            "metric": metric,
            "trained_on": train,
            "tested_on": test,
            "items": layout.items[test],
            "value": point[i, j, m],
            "low": low[i, j, m],
            "high": high[i, j, m],
        }
        for m, metric in enumerate(layout.metrics)
        for i, train in enumerate(layout.versions)
        for j, test in enumerate(layout.versions)
    ]
    return pl.DataFrame(rows).fill_nan(None)


def _effect_table(layout: Layout, point: Floats, drawn: Floats, level: float) -> pl.DataFrame:
    """Make `Gain.effects`."""
    rows = []
    whole = slice(len(layout.metrics))
    for step in _STEPS if BETWEEN in layout.versions else ("all",):
        value = split_gain(layout.corner(point[..., whole], step))
        low, high = _ends(split_gain(layout.corner(drawn[..., whole], step)), level)
        rows += [
            {
                "step": step,
                "metric": metric,
                "effect": effect,
                "value": value[m, e],
                "low": low[m, e],
                "high": high[m, e],
            }
            for m, metric in enumerate(layout.metrics)
            for e, effect in enumerate(EFFECTS)
        ]
    return pl.DataFrame(rows).fill_nan(None)


def _class_table(layout: Layout, point: Floats, drawn: Floats, level: float) -> pl.DataFrame:
    """Make `Gain.per_class`."""
    classes = slice(len(layout.metrics), None)
    now = layout.corner(point[..., classes], "all")
    value = split_gain(now)
    low, high = _ends(split_gain(layout.corner(drawn[..., classes], "all")), level)
    columns: dict[str, Any] = {"label": pl.Series(layout.class_names, dtype=pl.String)}
    columns |= {f"items_{name}": layout.class_items[name] for name in (BEFORE, AFTER)}
    columns |= {BEFORE: now[:, 0, 0], AFTER: now[:, 1, 1]}
    for e, effect in enumerate(EFFECTS):
        columns |= {effect: value[:, e], f"{effect}_low": low[:, e], f"{effect}_high": high[:, e]}
    return pl.DataFrame(columns).fill_nan(None)


def _seed_table(layout: Layout, by_seed: Floats) -> pl.DataFrame:
    """Make `Gain.by_seed` from numbers of shape (trained on, tested on, seeds, numbers)."""
    rows = [
        {"seed": s, "trained_on": train, "tested_on": test}
        | {metric: by_seed[i, j, s, m] for m, metric in enumerate(layout.metrics)}
        for s in range(by_seed.shape[2])
        for i, train in enumerate(layout.versions)
        for j, test in enumerate(layout.versions)
    ]
    return pl.DataFrame(rows).fill_nan(None)


def time_table(seconds: Mapping[str, Sequence[Floats | None]]) -> pl.DataFrame | None:
    """Make `Gain.times` from the seconds of each image, by version trained on, for each seed."""
    rows = [
        {"trained_on": name, "seed": seed}
        | dict(zip(("ms", "ms_low", "ms_high"), _quartiles(1000 * taken), strict=True))
        | {"images": len(taken)}
        for name, by_seed in seconds.items()
        for seed, taken in enumerate(by_seed)
        if taken is not None
    ]
    return pl.DataFrame(rows) if rows else None


def _quartiles(values: Floats) -> list[float]:
    """Give the median, and the quartiles around it."""
    return np.quantile(values, (0.5, 0.25, 0.75)).tolist()  # type: ignore[no-any-return] # floats


MOVEMENT = {
    "what": pl.String,
    **dict.fromkeys(("sd", "sd_low", "sd_high"), pl.Float64),
    **dict.fromkeys(("split_share", "split_share_low", "split_share_high"), pl.Float64),
}
"""Columns of `Gain.movement`."""


def movement_table(
    same_split: Floats, own_split: Floats, last: Floats, level: float
) -> pl.DataFrame:
    """Make `Gain.movement`: how far the main metric moves from training to training, and why.

    Parameters
    ----------
    same_split
        Original labels throughout, each seed on the first split, shape (seeds,).
    own_split
        The same, each seed on its own split.
    last
        Corrected labels throughout, each seed on its own split.
    level
        Of the intervals.

    Returns
    -------
    polars.DataFrame
        Columns of `MOVEMENT`, four rows: the standard deviation of the metric on one split and on
        several, and of the gain with both versions on the same split and each on one of its own;
        `split_share` is the part of the variance that the split makes; without ends where nothing
        else moves. Without rows for one seed.
    """
    n = len(own_split)
    if n < 2:
        return pl.DataFrame(schema=MOVEMENT)
    fixed, free, after = (one.var(ddof=1) for one in (same_split, own_split, last))
    apart = free + after
    # Satterthwaite's degrees of freedom of a sum of two variances
    freedom = (n - 1) * apart**2 / (free**2 + after**2) if apart else n - 1
    metric = share_of_variance(same_split, own_split, level)
    gain = share_of_pairs(own_split, last, level)
    nothing = (None, None, None)
    rows = [
        ("original labels, one split, other seeds", fixed, n - 1, nothing),
        ("original labels, other splits and seeds", free, n - 1, metric),
        ("gain, both versions on the same split", (last - own_split).var(ddof=1), n - 1, nothing),
        ("gain, each version on a split of its own", apart, freedom, gain),
    ]
    table = [
        (what, np.sqrt(variance), *sd_interval(variance, degrees, level), *share)
        for what, variance, degrees, share in rows
    ]
    return pl.DataFrame(table, schema=MOVEMENT, orient="row").fill_nan(None)
