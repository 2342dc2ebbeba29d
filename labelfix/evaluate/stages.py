"""Curves: the metric while a dataset is cleaned, and which order of work gets there first.

`measure_stages` cleans a growing share of a dataset in given orders. `simulate` plays a reviewer
who looks at so many labels in the order of a queue, and errs now and then. Both train on each stage
and test by the corrected labels, which is what the model gains, and by the labels of the stage
itself, which is what one would see who has nothing better.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import polars as pl

from labelfix.errors import InputError, Problem
from labelfix.evaluate.gain import check_numbers, make_plan, scores_of, train
from labelfix.evaluate.pairing import pair_versions
from labelfix.evaluate.scoring import METRICS
from labelfix.evaluate.statistics import interval, redraw
from labelfix.splits import Split

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from labelfix.evaluate.gain import Plan
    from labelfix.progress import Progress
    from labelfix.schema import Dataset

    Floats = NDArray[np.float64]
    Progress = Progress

__all__ = ["AT", "Stages", "measure_stages", "play_reviewer", "random_order", "simulate"]

AT = (0.0, 0.25, 0.5, 0.65, 0.75, 0.85, 0.9, 1.0)
"""Shares that are cleaned at each stage, unless told otherwise."""

YARDSTICKS = ("corrected", "stage")


@dataclass(frozen=True, eq=False)
class Stages:
    """What `measure_stages` and `simulate` find.

    Parameters
    ----------
    counts
        A row an order and stage: `share` of the items looked at, how many those are (`decisions`),
        how many labels are right then that were wrong (`mended`), wrong ones that are left
        (`left`), right ones that the reviewer spoilt (`spoilt`), and `found_per_100`, errors mended
        per 100 decisions so far.
    curve
        A row an order, stage, metric and yardstick: `corrected` tests by the corrected labels,
        `stage` by the labels of the stage. `value` is the mean over the seeds, with interval;
        `gain` is what it is above the order's first stage, paired, with interval; `gain_per_100`
        is the gain per 100 decisions.
    details
        The recipe, for the record.
    warnings
        What makes the result weaker than it looks.
    """

    counts: pl.DataFrame
    curve: pl.DataFrame
    details: Mapping[str, Any] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()

    def tables(self) -> dict[str, pl.DataFrame]:
        """Give all tables by name."""
        return {"counts": self.counts, "curve": self.curve}


@dataclass(frozen=True, eq=False)
class _Stage:
    """The labels after so many decisions in an order."""

    order: str
    decisions: int
    labels: NDArray[np.int64]


def measure_stages(
    original: Dataset,
    corrected: Dataset,
    orders: Mapping[str, Iterable[str]] | None = None,
    at: Sequence[float] = AT,
    model: Any = "auto",
    seeds: int = 5,
    split: Split | None = None,
    *,
    resplit: bool = False,
    allow_removed: bool = False,
    draws: int = 1000,
    level: float = 0.95,
    jobs: int | None = None,
    store: Path | None = None,
    cache: Path | Literal[False] | None = None,
    progress: Progress | None = None,
) -> Stages:
    """Measure the metric over the share of the dataset that is cleaned.

    Parameters
    ----------
    original, corrected, model, seeds, split, resplit, allow_removed
        As for `labelfix.measure_gain`.
    orders
        By name, item ids in the order of work; items that are not named come last. An order by
        chance, `random`, is always added.
    at
        Shares of all items that are cleaned, in [0, 1].
    draws, level, jobs, store, cache, progress
        As for `labelfix.measure_gain`.

    Raises
    ------
    InputError
        As `labelfix.measure_gain`; for shares out of range and ids of no item.

    Examples
    --------
    >>> from labelfix.schema import Dataset
    >>> def version(labels):
    ...     names = [f"i{n:03d}" for n in range(len(labels))]
    ...     items = pl.DataFrame({"item_id": names, "x": [n % 2 for n in range(len(names))]})
    ...     rows = pl.DataFrame({"annotation_id": names, "item_id": names, "label": labels})
    ...     return Dataset(items, rows, ("even", "odd"), "memory", feature_columns=("x",))
    >>> truth = ["even", "odd"] * 100
    >>> noisy = ["odd" if n % 5 == 0 else label for n, label in enumerate(truth)]
    >>> stages = measure_stages(version(noisy), version(truth), at=(0, 0.5, 1), model="knn",
    ...                         seeds=1, split=Split(duplicates=None))
    >>> stages.counts.select("order", "share", "mended", "left").rows()
    [('random', 0.0, 0, 20), ('random', 0.5, 9, 11), ('random', 1.0, 20, 0)]
    """
    check_numbers(seeds=seeds, draws=draws, level=level)
    if not len(at) or not all(0 <= one <= 1 for one in at):
        raise InputError(Problem("at", str(list(at)), "shares from 0 to 1"))
    recipe = split or Split()
    pair = pair_versions(original, corrected, allow_removed=allow_removed)
    ids = pair.dataset.items["item_id"]
    rows = {name: _rows(ids, list(listed), name) for name, listed in (orders or {}).items()}
    rows["random"] = random_order(len(ids), recipe.seed)
    plan, said = make_plan(
        pair, model, seeds, recipe, resplit=resplit, store=store, cache=cache, progress=progress
    )
    stages = [
        _Stage(name, round(share * len(ids)), _cleaned(plan, order, round(share * len(ids))))
        for name, order in rows.items()
        for share in sorted(set(at))
    ]
    return _measured(
        plan,
        stages,
        said,
        {"at": sorted(set(at))},
        draws=draws,
        level=level,
        seed=recipe.seed,
        jobs=jobs,
        store=store,
        progress=progress,
    )


def simulate(
    original: Dataset,
    truth: Dataset,
    orders: Mapping[str, Iterable[str]],
    decisions: Sequence[int],
    error_rate: float = 0.0,
    model: Any = "auto",
    seeds: int = 5,
    split: Split | None = None,
    *,
    suggested: Mapping[str, str] | None = None,
    allow_removed: bool = False,
    draws: int = 1000,
    level: float = 0.95,
    jobs: int | None = None,
    store: Path | None = None,
    cache: Path | Literal[False] | None = None,
    progress: Progress | None = None,
) -> Stages:
    """Play a reviewer with so many decisions to make, in several orders of work.

    Parameters
    ----------
    original, truth
        The same items with given and with right labels; items that the truth lacks ought to be
        removed (with `allow_removed`).
    orders
        As for `measure_stages`; `random` is added.
    decisions
        Budgets: labels looked at. 0 is always among them.
    error_rate
        Share of the labels looked at on which the reviewer errs, in [0, 1]: what is wrong is kept,
        and what is right becomes what was suggested.
    suggested
        Label that the queue suggests for an item id; where it suggests nothing else than the given
        one, the class after it is taken.
    model, seeds, split, allow_removed, draws, level, jobs, store, cache, progress
        As for `labelfix.measure_gain`. The reviewer errs on the same items in all orders.

    Raises
    ------
    InputError
        As `measure_stages`; for budgets below 0 or above the number of items.
    """
    check_numbers(seeds=seeds, draws=draws, level=level)
    recipe = split or Split()
    pair = pair_versions(original, truth, allow_removed=allow_removed)
    ids = pair.dataset.items["item_id"]
    problems = [
        Problem("decisions", str(one), f"0 to {len(ids):,}, the number of items")
        for one in decisions
        if not 0 <= one <= len(ids)
    ]
    if not 0 <= error_rate <= 1:
        problems.append(Problem("error_rate", str(error_rate), "0 to 1"))
    if problems:
        raise InputError(problems)
    rows = {name: _rows(ids, list(listed), name) for name, listed in orders.items()}
    rows["random"] = random_order(len(ids), recipe.seed)
    reviewed = play_reviewer(
        pair.original,
        pair.corrected,
        _suggestions(ids, suggested or {}, pair.class_names, pair.original),
        error_rate,
        recipe.seed,
    )
    plan, said = make_plan(pair, model, seeds, recipe, store=store, cache=cache, progress=progress)
    stages = [
        _Stage(name, budget, np.where(_first(order, budget), reviewed, pair.original))
        for name, order in rows.items()
        for budget in sorted({0, *decisions})
    ]
    return _measured(
        plan,
        stages,
        said,
        {"error_rate": error_rate},
        draws=draws,
        level=level,
        seed=recipe.seed,
        jobs=jobs,
        store=store,
        progress=progress,
    )


def play_reviewer(
    given: NDArray[np.int64],
    truth: NDArray[np.int64],
    suggested: NDArray[np.int64],
    error_rate: float,
    seed: int = 0,
) -> NDArray[np.int64]:
    """Give the labels that a reviewer would leave, who looked at all of them.

    Parameters
    ----------
    given, truth, suggested
        Class numbers, shape (n,).
    error_rate
        Share on which the reviewer errs: keeps what is wrong, and takes the suggestion where the
        given label is right.
    seed
        Of who errs where.

    Examples
    --------
    >>> play_reviewer(np.array([0, 0, 1]), np.array([0, 1, 1]), np.array([1, 1, 0]), 0.0).tolist()
    [0, 1, 1]
    >>> play_reviewer(np.array([0, 0, 1]), np.array([0, 1, 1]), np.array([1, 1, 0]), 1.0).tolist()
    [1, 0, 0]
    """
    errs = np.random.default_rng(seed).random(len(given)) < error_rate
    return np.where(errs, np.where(given == truth, suggested, given), truth)


def random_order(n: int, seed: int) -> NDArray[np.int64]:
    """Give an order by chance, the same for the same seed."""
    return np.random.default_rng([seed, 1]).permutation(n)


def _rows(ids: pl.Series, listed: list[str], name: str) -> NDArray[np.int64]:
    """Rows in the order of work; each once, those not listed last."""
    places = pl.DataFrame({"item_id": ids}).with_row_index("row")
    wanted = pl.DataFrame({"item_id": listed}, schema={"item_id": pl.String}).unique(
        maintain_order=True
    )
    found = wanted.join(places, on="item_id", how="left", maintain_order="left")
    unknown = found.filter(pl.col("row").is_null())["item_id"]
    if len(unknown):
        shown = ", ".join(unknown[:5])
        raise InputError(Problem(f"order {name}", f"no item {shown}", "ids of the dataset"))
    first = found["row"].cast(pl.Int64).to_numpy()
    return np.concatenate([first, np.setdiff1d(np.arange(len(ids)), first)])


def _first(order: NDArray[np.int64], number: int) -> NDArray[np.bool_]:
    chosen = np.zeros(len(order), dtype=bool)
    chosen[order[:number]] = True
    return chosen


def _cleaned(plan: Plan, order: NDArray[np.int64], number: int) -> NDArray[np.int64]:
    return np.where(_first(order, number), plan.pair.corrected, plan.pair.original)


def _suggestions(
    ids: pl.Series,
    suggested: Mapping[str, str],
    class_names: Sequence[str],
    given: NDArray[np.int64],
) -> NDArray[np.int64]:
    """Class number suggested for each item; the one after the given where nothing else is."""
    number = {name: k for k, name in enumerate(class_names)}
    found = np.array([number.get(suggested.get(one, ""), -1) for one in ids], np.int64)
    return np.where((found < 0) | (found == given), (given + 1) % len(class_names), found)


def _measured(
    plan: Plan,
    stages: Sequence[_Stage],
    said: tuple[str, ...],
    details: Mapping[str, Any],
    *,
    draws: int,
    level: float,
    seed: int,
    jobs: int | None,
    store: Path | None,
    progress: Progress | None,
) -> Stages:
    """Train on every stage, and score it."""
    answers = train(plan, [one.labels for one in stages], jobs=jobs, store=store, progress=progress)
    tables: list[pl.DataFrame] = []
    before: dict[str, tuple[Floats, Floats]] = {}
    for done, (stage, given) in enumerate(zip(stages, answers, strict=True), start=1):
        versions = dict(zip(YARDSTICKS, (plan.pair.corrected, stage.labels), strict=True))
        scores = scores_of(plan, {stage.order: given}, versions)
        once = np.ones((1, scores.n_units)), np.ones((1, scores.n_seeds))
        point = _numbers(scores.as_cells(scores.redrawn(*once)))
        drawn = _numbers(
            scores.as_cells(
                redraw(scores.redrawn, scores.n_units, scores.n_seeds, draws=draws, seed=seed)
            )
        )
        first, first_drawn = before.setdefault(stage.order, (point, drawn))
        tables.append(_curve(stage, point, drawn, point - first, drawn - first_drawn, level))
        if progress is not None:
            progress("scoring stages", done, len(stages))
    return Stages(
        counts=_counts(plan, stages),
        curve=pl.concat(tables),
        details={**plan.details, **details, "draws": draws, "level": level},
        warnings=said,
    )


def _numbers(cells: Floats) -> Floats:
    """Metrics under both yardsticks, shape (b, yardsticks * metrics)."""
    return cells[:, 0, :, : len(METRICS)].reshape(len(cells), -1)


def _curve(
    stage: _Stage,
    point: Floats,
    drawn: Floats,
    gain: Floats,
    gain_drawn: Floats,
    level: float,
) -> pl.DataFrame:
    low, high = interval(drawn, level)
    gain_low, gain_high = interval(gain_drawn, level)
    per_100 = 100 / stage.decisions if stage.decisions else float("nan")
    return pl.DataFrame(
        {
            "order": stage.order,
            "share": stage.decisions / len(stage.labels),
            "decisions": stage.decisions,
            "metric": list(METRICS) * len(YARDSTICKS),
            "tested_on": np.repeat(YARDSTICKS, len(METRICS)).tolist(),
            "value": point[0],
            "low": low,
            "high": high,
            "gain": gain[0],
            "gain_low": gain_low,
            "gain_high": gain_high,
            "gain_per_100": gain[0] * per_100,
        }
    ).fill_nan(None)


def _counts(plan: Plan, stages: Sequence[_Stage]) -> pl.DataFrame:
    truth, given = plan.pair.corrected, plan.pair.original
    wrong = given != truth
    rows = []
    for stage in stages:
        mended = int((wrong & (stage.labels == truth)).sum())
        rows.append(
            {
                "order": stage.order,
                "share": stage.decisions / len(truth),
                "decisions": stage.decisions,
                "mended": mended,
                "left": int(wrong.sum()) - mended,
                "spoilt": int((~wrong & (stage.labels != truth)).sum()),
                "found_per_100": 100 * mended / stage.decisions if stage.decisions else None,
            }
        )
    return pl.DataFrame(rows, schema_overrides={"found_per_100": pl.Float64})
