"""Where it goes wrong: error rates for each value of each fact, worst first.

Intervals are Wilson's (1927). Each slice is compared with all other items by Fisher's exact test,
and the p-values are adjusted for the number of slices by Holm's method (1979): where one looks at
fifty slices, the worst of them looks bad by chance alone.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Literal

import numpy as np
import polars as pl

from labelfix.errors import InputError, Problem
from labelfix.evaluate.redetection import MatchedBoxes
from labelfix.evaluate.statistics import interval, redraw

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from labelfix.progress import Progress
    from labelfix.schema import Dataset

__all__ = ["Measure", "box_facts", "slice_map", "slice_rates", "wilson"]

Measure = Literal["error_rate", "accuracy"]
MISSING = "missing"


def wilson(
    hits: NDArray[np.integer], items: NDArray[np.integer], level: float = 0.95
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Wilson's score interval for shares.

    Parameters
    ----------
    hits, items
        So many of so many, shape (m,).
    level
        Of confidence, in (0, 1).

    Returns
    -------
    low, high
        Shape (m,), in [0, 1].

    Examples
    --------
    >>> low, high = wilson(np.array([0]), np.array([10]))
    >>> low.round(3), high.round(3)
    (array([0.]), array([0.278]))
    """
    from scipy.special import ndtri

    z = ndtri((1 + level) / 2)
    share = hits / items
    middle = (share + z**2 / (2 * items)) / (1 + z**2 / items)
    half = z * np.sqrt(share * (1 - share) / items + z**2 / (4 * items**2)) / (1 + z**2 / items)
    # at the ends the formula gives 0 and 1 but for rounding
    low = np.where(hits == 0, 0, np.clip(middle - half, 0, 1))
    return low, np.where(hits == items, 1, np.clip(middle + half, 0, 1))


def slice_rates(
    facts: pl.DataFrame,
    wrong: NDArray[np.bool_],
    *,
    by: Sequence[str] | None = None,
    bins: int = 4,
    most: int = 50,
    level: float = 0.95,
    measure: Measure = "error_rate",
) -> pl.DataFrame:
    """Count what is wrong for each value of each fact.

    Parameters
    ----------
    facts
        n rows. Numbers of more than `bins` different values are put into that many bins of about
        equal size; missing values are a slice of their own.
    wrong
        Shape (n,).
    by
        Columns; None for all with two to `most` slices. Names of items, which no two share, never
        count.
    bins
        Of numbers.
    most
        Columns of more different texts are left out where `by` is None.
    level
        Of the intervals, each on its own.
    measure
        What the column of that name holds: the share that is wrong, or the share that is right.

    Returns
    -------
    DataFrame
        fact, value, items, wrong, the measure, low, high, rest (the measure of all other items),
        p_adjusted. Worst first: by the end of the interval that is nearer to no error, so that a
        slice of two items does not lead.

    Raises
    ------
    InputError
        Naming columns that are not there; for another number of rows; where nothing can be sliced.

    Examples
    --------
    >>> facts = pl.DataFrame({"light": ["dark"] * 20 + ["bright"] * 20})
    >>> table = slice_rates(facts, np.arange(40) < 15)
    >>> table.select("value", "items", "wrong", "error_rate").rows()
    [('dark', 20, 15, 0.75), ('bright', 20, 0, 0.0)]
    """
    _refuse_odd(facts, wrong, by, bins, level)
    columns = _sliced(facts, by, bins, most)
    table = pl.DataFrame({**columns, "\0wrong": wrong})
    counted = pl.concat(
        table.group_by(pl.col(name).alias("value"), maintain_order=True)
        .agg(pl.len().cast(pl.Int64).alias("items"), pl.col("\0wrong").sum().cast(pl.Int64))
        .select(pl.lit(name).alias("fact"), "value", "items", pl.col("\0wrong").alias("wrong"))
        for name in columns
    )
    return _rated(counted, int(wrong.sum()), len(wrong), level, measure)


def _refuse_odd(
    facts: pl.DataFrame,
    wrong: NDArray[np.bool_],
    by: Sequence[str] | None,
    bins: int,
    level: float,
) -> None:
    problems = [
        Problem("by", f"no column {name!r}", "one of " + ", ".join(map(repr, facts.columns)))
        for name in by or ()
        if name not in facts.columns
    ]
    if len(wrong) != facts.height or not len(wrong):
        problems.append(Problem("wrong", f"{len(wrong)} values", f"{facts.height}, at least one"))
    if bins < 2:
        problems.append(Problem("bins", str(bins), "2 or more"))
    if not 0 < level < 1:
        problems.append(Problem("level", str(level), "a number between 0 and 1"))
    if problems:
        raise InputError(problems)


def _sliced(
    facts: pl.DataFrame, by: Sequence[str] | None, bins: int, most: int
) -> dict[str, pl.Series]:
    """Name the slice of each row, by column."""
    columns = {name: _slices(facts[name], bins) for name in by or facts.columns}
    if by is None:
        most = min(most, facts.height - 1)  # what no two rows share names them, and says nothing
        columns = {
            name: one
            for name, one in columns.items()
            if name != "item_id" and 2 <= one.n_unique() <= most
        }
    if not columns:
        expected = f"columns of 2 to {most} values, which rows share"
        raise InputError(Problem("facts", "no column to slice by", expected, "join some on"))
    return columns


def _slices(column: pl.Series, bins: int) -> pl.Series:
    """Name the slice of each row."""
    if not column.dtype.is_numeric():
        return column.cast(pl.String).fill_null(MISSING)
    if column.n_unique() <= bins:
        return column.cast(pl.String).str.replace(r"\.0$", "").fill_null(MISSING)
    numbers = column.cast(pl.Float64).fill_nan(None)
    known = numbers.drop_nulls().to_numpy()
    edges = np.unique(np.quantile(known, np.linspace(0, 1, bins + 1)[1:-1]))
    place = np.searchsorted(edges, numbers.fill_null(0).to_numpy(), side="left")
    names = pl.Series(_bin_names(edges))
    named = names.gather(pl.Series(place).cast(pl.UInt32))
    return pl.select(pl.when(numbers.is_null()).then(pl.lit(MISSING)).otherwise(named)).to_series()


def _bin_names(edges: NDArray[np.float64]) -> list[str]:
    """Name bins by their ends; each holds its upper end."""
    ends = [f"{end:.4g}" for end in edges]
    first, last = f"to {ends[0]}", f"above {ends[-1]}"
    between = [f"above {low} to {high}" for low, high in itertools.pairwise(ends)]
    return [first, *between, last]


def _rated(
    counted: pl.DataFrame, wrong: int, items: int, level: float, measure: Measure
) -> pl.DataFrame:
    mine, hits = counted["items"].to_numpy(), counted["wrong"].to_numpy()
    low, high = wilson(hits, mine, level)
    rest = np.divide(wrong - hits, items - mine, out=np.full(len(mine), np.nan), where=items > mine)
    table = counted.with_columns(
        error_rate=pl.Series(hits / mine),
        low=pl.Series(low),
        high=pl.Series(high),
        rest=pl.Series(rest).fill_nan(None),
        p_adjusted=pl.Series(_holm(_fisher(hits, mine, wrong, items))),
    ).sort("low", "error_rate", descending=True, maintain_order=True)
    if measure == "error_rate":
        return table
    turned = table.with_columns(
        accuracy=1 - pl.col("error_rate"),
        low=1 - pl.col("high"),
        high=1 - pl.col("low"),
        rest=1 - pl.col("rest"),
    )
    return turned.select("accuracy" if name == "error_rate" else name for name in table.columns)


def _fisher(
    hits: NDArray[np.int64], mine: NDArray[np.int64], wrong: int, items: int
) -> NDArray[np.float64]:
    """Two-sided p of each slice against all other items."""
    from scipy.stats import fisher_exact

    return np.array(
        [
            fisher_exact([[hit, of - hit], [wrong - hit, items - of - wrong + hit]])[1]
            for hit, of in zip(hits.tolist(), mine.tolist(), strict=True)
        ]
    )


def _holm(p: NDArray[np.float64]) -> NDArray[np.float64]:
    """Adjust p-values for how many there are."""
    order = np.argsort(p, kind="stable")
    adjusted = np.empty(len(p))
    adjusted[order] = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1)).clip(max=1)
    return adjusted


def box_facts(dataset: Dataset) -> pl.DataFrame:
    """Give the facts of each box: of its item, its label, and `object_size`.

    Parameters
    ----------
    dataset
        Of boxes.

    Returns
    -------
    DataFrame
        A row an annotation. `object_size` is the square root of the area, in pixels.
    """
    area = (pl.col("x2") - pl.col("x1")) * (pl.col("y2") - pl.col("y1"))
    sized = dataset.annotations.select(
        "annotation_id", "item_id", "label", object_size=area.clip(0).sqrt()
    )
    return sized.join(dataset.items, on="item_id", how="left", maintain_order="left")


def slice_map(
    dataset: Dataset,
    predictions: pl.DataFrame,
    *,
    by: Sequence[str] | None = None,
    bins: int = 4,
    most: int = 50,
    draws: int = 200,
    level: float = 0.95,
    seed: int = 0,
    progress: Progress | None = None,
) -> pl.DataFrame:
    """Count COCO's mean average precision for each value of each fact of the items.

    Parameters
    ----------
    dataset
        Of boxes.
    predictions
        Columns of `BOX_PREDICTIONS`; those for other items are left out.
    by, bins, most
        As in `slice_rates`, of the items.
    draws, level, seed
        Of the bootstrap intervals, over images; 0 draws leave them null.
    progress
        Called as `progress(what, done, total)`.

    Returns
    -------
    DataFrame
        fact, value, items, boxes, ap, low, high (of ap), ap50; lowest ap first, null where there is
        no box to find.

    Raises
    ------
    InputError
        As `slice_rates` and `labelfix.evaluate.detection.coco_metrics`.
    """
    _refuse_odd(dataset.items, np.zeros(len(dataset), bool), by, bins, level)
    found = predictions.join(dataset.items, on="item_id", how="semi", maintain_order="left")
    matched = MatchedBoxes.of(dataset.annotations, found, dataset.class_names, dataset.items)
    boxes = dataset.items.join(
        dataset.annotations.group_by("item_id").len("boxes"),
        on="item_id",
        how="left",
        maintain_order="left",
    )["boxes"].fill_null(0)
    parts = [
        (name, value, (slices == value).to_numpy())
        for name, slices in _sliced(dataset.items, by, bins, most).items()
        for value in slices.unique(maintain_order=True)
    ]
    rows = []
    for done, (name, value, inside) in enumerate(parts, start=1):
        ap, ap50 = matched.count(inside[None])[0, :2]
        low, high = _redrawn_ap(matched, inside, draws, level, seed)
        items, given = int(inside.sum()), int(boxes.filter(pl.Series(inside)).sum())
        rows.append((name, value, items, given, ap, low, high, ap50))
        if progress is not None:
            progress("slices", done, len(parts))
    schema = ["fact", "value", "items", "boxes", "ap", "low", "high", "ap50"]
    kinds = dict.fromkeys(("ap", "low", "high", "ap50"), pl.Float64)
    table = pl.DataFrame(rows, schema=schema, schema_overrides=kinds, orient="row").fill_nan(None)
    return table.sort("ap", nulls_last=True, maintain_order=True)


def _redrawn_ap(
    matched: MatchedBoxes, inside: NDArray[np.bool_], draws: int, level: float, seed: int
) -> tuple[float, float]:
    """Redraw these images: the ends of the interval of their AP; NaN without draws."""
    if not draws:
        return float("nan"), float("nan")
    drawn = redraw(
        lambda times, _: matched.count(times * inside)[:, :1],
        matched.n_images,
        1,
        draws=draws,
        seed=seed,
    )
    low, high = interval(drawn, level)
    return float(low[0]), float(high[0])
