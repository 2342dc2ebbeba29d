"""What curves over stages of cleaning have in common, for class labels and for boxes."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import polars as pl

from labelfix.errors import InputError, Problem
from labelfix.evaluate.statistics import interval, redraw

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable, Mapping, Sequence

    from numpy.typing import NDArray

    from labelfix.evaluate.parts import Terms

    Floats = NDArray[np.float64]

__all__ = [
    "YARDSTICKS",
    "Stage",
    "Stages",
    "budgets",
    "check_review",
    "count_table",
    "distinct",
    "first",
    "fluctuation",
    "fluctuations",
    "measured",
    "random_order",
    "rows_in_order",
]

YARDSTICKS = ("corrected", "stage")
"""Versions of the test labels: the corrected ones, and those of the stage itself."""

FLUCTUATION = (
    "Standard deviation of the mean training loss around its smooth course (from second "
    "differences), over the second half of the epochs, as a share of the first epoch's loss."
)

LEAST_EPOCHS = 6
"""Fewer say nothing of a course: two second differences in the second half."""


@dataclass(frozen=True, eq=False)
class Stages:
    """What `measure_stages` and `simulate` find.

    Parameters
    ----------
    counts
        A row an order and stage: `share` of the items (of a played review of boxes: of the
        longest queue) looked at, how many those are (`decisions`), how many errors are mended
        (`mended`), left (`left`) and added by the reviewer (`spoilt`), and `found_per_100`, errors
        mended per 100 decisions so far. With boxes an error is a box that is moved, relabelled,
        removed or added in the corrected version, or an image that it leaves out.
    curve
        A row an order, stage, metric and yardstick: `corrected` tests by the corrected labels,
        `stage` by the labels of the stage. `value` is the mean over the seeds, with interval;
        `gain` is what it is above the order's first stage, paired, with interval; `gain_per_100`
        is the gain per 100 decisions since then. Null where there is nothing to test on.
    losses
        A row an order, stage and seed: `epochs` learnt, the `last` epoch's mean training loss, and
        the curve's `fluctuation` (the function of that name). Without rows for models that do not
        learn in epochs: `details["losses"]` then says so.
    details
        The recipe, for the record.
    warnings
        What makes the result weaker than it looks.
    """

    counts: pl.DataFrame
    curve: pl.DataFrame
    losses: pl.DataFrame
    details: Mapping[str, Any] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()

    def tables(self) -> dict[str, pl.DataFrame]:
        """Give all tables by name."""
        return {"counts": self.counts, "curve": self.curve, "losses": self.losses}

    @property
    def metric(self) -> str:
        """Name of the main metric."""
        return str(self.curve["metric"][0])

    @property
    def fluctuations(self) -> pl.DataFrame:
        """As `fluctuations` gives."""
        return fluctuations(self.losses)


@dataclass(frozen=True, eq=False)
class Stage:
    """The labels after so many decisions in an order.

    Parameters
    ----------
    order, decisions, share, mended, left, spoilt
        As in `Stages.counts`.
    labels
        What is learned from, and tested on as the yardstick `stage`.
    key
        Equal for stages of equal labels: they are trained and scored once.
    """

    order: str
    decisions: int
    share: float
    mended: int
    left: int
    spoilt: int
    labels: Any
    key: Hashable

    def __str__(self) -> str:
        """Say which one it is."""
        return f"stage of order {self.order}, {self.decisions:,} looked at"


class Scores(Protocol):
    """What is asked of `ClassScores` and `BoxScores`."""

    @property
    def n_units(self) -> int:
        """How many units are redrawn."""
        ...

    @property
    def n_seeds(self) -> int:
        """How many seeds there are."""
        ...

    def redrawn(self, units: Floats, seeds: Floats) -> Floats:
        """Score draws: flat."""
        ...

    def as_cells(self, scores: Floats) -> Floats:
        """Undo the flattening: shape (b, train, test, numbers), the metrics first."""
        ...


def distinct(stages: Sequence[Stage]) -> dict[Hashable, Stage]:
    """Give a stage for each key, in order."""
    found: dict[Hashable, Stage] = {}
    for one in stages:
        found.setdefault(one.key, one)
    return found


def random_order(n: int, seed: int) -> NDArray[np.int64]:
    """Give an order by chance, the same for the same seed."""
    return np.random.default_rng([seed, 1]).permutation(n)


def rows_in_order(ids: pl.Series, listed: Iterable[str], name: str) -> NDArray[np.int64]:
    """Give the rows of items in an order of work; each once, those not listed last.

    Raises
    ------
    InputError
        Naming ids of no item.
    """
    places = pl.DataFrame({"item_id": ids}).with_row_index("row")
    wanted = pl.DataFrame({"item_id": list(listed)}, schema={"item_id": pl.String}).unique(
        maintain_order=True
    )
    found = wanted.join(places, on="item_id", how="left", maintain_order="left")
    unknown = found.filter(pl.col("row").is_null())["item_id"]
    if len(unknown):
        shown = ", ".join(unknown[:5])
        raise InputError(Problem(f"order {name}", f"no item {shown}", "ids of the dataset"))
    rows = found["row"].cast(pl.Int64).to_numpy()
    return np.concatenate([rows, np.setdiff1d(np.arange(len(ids)), rows)])


def budgets(at: Sequence[float], n: int) -> list[int]:
    """How many of n items each share is, ascending; shares of as many once.

    Examples
    --------
    >>> budgets((1, 0, 0.5, 0.51), 10)
    [0, 5, 10]
    """
    return sorted({round(share * n) for share in at})


def check_review(
    decisions: Sequence[int], error_rate: float, most: int | None, of: str = ""
) -> list[Problem]:
    """Say what makes no sense for a played reviewer.

    Parameters
    ----------
    decisions, error_rate
        As `labelfix.evaluate.stages.simulate` takes them.
    most
        So many decisions there are to make; None: not known yet.
    of
        What that number is, in words.

    Examples
    --------
    >>> for problem in check_review([10, 30], 1.5, 20, "the number of items"):
    ...     print(problem)
    decisions: found 30; expected 0 to 20, the number of items
    error_rate: found 1.5; expected 0 to 1
    """
    expected = "0 or more" if most is None else f"0 to {most:,}, {of}"
    problems = [
        Problem("decisions", str(one), expected)
        for one in decisions
        if one < 0 or (most is not None and one > most)
    ]
    if not 0 <= error_rate <= 1:
        problems.append(Problem("error_rate", str(error_rate), "0 to 1"))
    return problems


def first(order: NDArray[np.int64], number: int) -> NDArray[np.bool_]:
    """Mark the first so many of an order, shape (n,)."""
    chosen = np.zeros(len(order), dtype=bool)
    chosen[order[:number]] = True
    return chosen


def fluctuation(losses: NDArray[np.floating[Any]]) -> float:
    """Say how far a training loss strays from its own smooth course.

    The standard deviation around it, as second differences estimate it (Gasser, Sroka and
    Jennen-Steinmetz 1986), over the second half of the epochs, as a share of the first epoch's
    loss. A loss that falls along a straight line has none. Steps themselves, or their ratios, would
    not do: they differ where the loss levels off. The idea is from a talk on re-annotating a
    hand-detection set stage by stage, which saw smoother curves with cleaner labels; the definition
    is ours.

    Parameters
    ----------
    losses
        Mean training loss of each epoch, shape (epochs,).

    Returns
    -------
    NaN for fewer than 6 epochs, where a loss is no number, and where the first one is not above 0.

    Examples
    --------
    >>> fluctuation(np.array([8.0, 7.0, 6.0, 5.0, 4.0, 3.0]))
    0.0
    >>> round(fluctuation(np.array([8.0, 7.0, 6.0, 5.0, 4.4, 3.0])), 3)
    0.032
    """
    values = np.asarray(losses, np.float64)
    if len(values) < LEAST_EPOCHS or not np.isfinite(values).all() or not values[0] > 0:
        return float("nan")
    residual = np.diff(values[len(values) // 2 - 1 :], 2) / np.sqrt(6)
    return float(np.sqrt(np.mean(residual**2)) / values[0])


def fluctuations(losses: pl.DataFrame) -> pl.DataFrame:
    """Sum up `Stages.losses` over the seeds.

    Returns
    -------
    pl.DataFrame
        Columns order, share, decisions, fluctuation (the mean) and sd, the standard deviation; no
        rows where nothing is known.
    """
    known = losses.drop_nulls("fluctuation")
    return known.group_by("order", "share", "decisions", maintain_order=True).agg(
        pl.col("fluctuation").mean(), sd=pl.col("fluctuation").std()
    )


def measured(
    stages: Sequence[Stage],
    scores: Mapping[Hashable, Scores],
    losses: Mapping[Hashable, Sequence[Floats | None]],
    metrics: Sequence[str],
    details: Mapping[str, Any],
    said: Sequence[str],
    terms: Terms,
) -> Stages:
    """Make the tables.

    Parameters
    ----------
    stages
        Of each order from the first on, orders one after the other.
    scores, losses
        By the keys of stages: scores of one training version and both `YARDSTICKS`, and the losses
        of each seed's training.
    metrics
        Names of the first numbers of the scores.
    details, said
        For `Stages`.
    terms
        Of the intervals.
    """
    numbers: dict[Hashable, tuple[Floats, Floats]] = {}
    for done, (key, one) in enumerate(scores.items(), start=1):
        once = np.ones((1, one.n_units)), np.ones((1, one.n_seeds))
        drawn = redraw(
            one.redrawn, one.n_units, one.n_seeds, draws=terms.draws, seed=terms.split.seed
        )
        numbers[key] = (
            _numbers(one.as_cells(one.redrawn(*once)), len(metrics)),
            _numbers(one.as_cells(drawn), len(metrics)),
        )
        if terms.progress is not None:
            terms.progress("scoring stages", done, len(scores))
    start: dict[str, Stage] = {}
    curve = [
        _curve(one, start.setdefault(one.order, one), metrics, numbers, terms.level)
        for one in stages
    ]
    table = pl.concat([_losses(one, losses[one.key]) for one in stages])
    return Stages(
        counts=count_table(stages),
        curve=pl.concat(curve),
        losses=table,
        details={
            **details,
            "draws": terms.draws,
            "level": terms.level,
            "losses": _about(table, details),
        },
        warnings=tuple(said),
    )


def _numbers(cells: Floats, n_metrics: int) -> Floats:
    """Metrics under both yardsticks, shape (b, yardsticks * metrics)."""
    return cells[:, 0, :, :n_metrics].reshape(len(cells), -1)


def _curve(
    stage: Stage,
    start: Stage,
    metrics: Sequence[str],
    numbers: Mapping[Hashable, tuple[Floats, Floats]],
    level: float,
) -> pl.DataFrame:
    (point, drawn), (first_point, first_drawn) = numbers[stage.key], numbers[start.key]
    low, high = interval(drawn, level)
    gain_low, gain_high = interval(drawn - first_drawn, level)
    gain = (point - first_point)[0]
    since = stage.decisions - start.decisions
    per_100 = 100 / since if since else float("nan")
    return pl.DataFrame(
        {
            "order": stage.order,
            "share": stage.share,
            "decisions": stage.decisions,
            "metric": list(metrics) * len(YARDSTICKS),
            "tested_on": np.repeat(YARDSTICKS, len(metrics)).tolist(),
            "value": point[0],
            "low": low,
            "high": high,
            "gain": gain,
            "gain_low": gain_low,
            "gain_high": gain_high,
            "gain_per_100": gain * per_100,
        },
        schema_overrides={"decisions": pl.Int64},
    ).fill_nan(None)


def count_table(stages: Sequence[Stage]) -> pl.DataFrame:
    """Make `Stages.counts`."""
    rows = [
        {
            "order": one.order,
            "share": one.share,
            "decisions": one.decisions,
            "mended": one.mended,
            "left": one.left,
            "spoilt": one.spoilt,
            "found_per_100": 100 * one.mended / one.decisions if one.decisions else None,
        }
        for one in stages
    ]
    return pl.DataFrame(rows, schema_overrides={"found_per_100": pl.Float64})


def _losses(stage: Stage, of_seeds: Sequence[Floats | None]) -> pl.DataFrame:
    rows = [
        (stage.order, stage.share, stage.decisions, seed, len(one), one[-1], fluctuation(one))
        for seed, one in enumerate(of_seeds)
        if one is not None and len(one)
    ]
    schema = {
        "order": pl.String,
        "share": pl.Float64,
        "decisions": pl.Int64,
        "seed": pl.Int64,
        "epochs": pl.Int64,
        "last": pl.Float64,
        "fluctuation": pl.Float64,
    }
    return pl.DataFrame(rows, schema=schema, orient="row").fill_nan(None)


def _about(losses: pl.DataFrame, details: Mapping[str, Any]) -> str:
    """Say what the fluctuation is, or why there is none."""
    if losses.is_empty():
        return f"None: {details['model']} does not learn in epochs."
    if losses["fluctuation"].null_count() == losses.height:
        return f"None: {details['model']} learns in fewer than {LEAST_EPOCHS} epochs."
    return FLUCTUATION
