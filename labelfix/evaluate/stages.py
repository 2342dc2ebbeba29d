"""Curves: the metric while a dataset is cleaned, and which order of work gets there first.

`measure_stages` cleans a growing share of a dataset in given orders. `simulate` plays a reviewer
who looks at so many labels in the order of a queue, and errs now and then. Both train on each stage
and test by the corrected labels, which is what the model gains, and by the labels of the stage
itself, which is what one would see who has nothing better.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from labelfix.errors import InputError, Problem
from labelfix.evaluate.boxpairing import Same, pair_boxes
from labelfix.evaluate.curves import (
    YARDSTICKS,
    Stage,
    Stages,
    budgets,
    check_review,
    distinct,
    first,
    measured,
    random_order,
    rows_in_order,
)
from labelfix.evaluate.gain import make_plan, scores_of, train
from labelfix.evaluate.pairing import pair_versions
from labelfix.evaluate.parts import Terms, check_classes
from labelfix.evaluate.scoring import METRICS
from labelfix.splits import Split

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    import polars as pl
    from numpy.typing import NDArray

    from labelfix.evaluate.gain import Plan
    from labelfix.progress import Progress
    from labelfix.schema import Dataset


__all__ = ["AT", "Stages", "measure_stages", "play_reviewer", "simulate"]

AT = (0.0, 0.25, 0.5, 0.65, 0.75, 0.85, 0.9, 1.0)
"""Shares that are cleaned at each stage, unless told otherwise."""


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
    suggested_by: Sequence[str] = (),
    same: Same | None = None,
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
    original, corrected, model, seeds, split, resplit, allow_removed, suggested_by
        As for `labelfix.measure_gain`.
    orders
        By name, item ids in the order of work; items that are not named come last. An order by
        chance, `random`, is always added.
    at
        Shares of all items that are cleaned, in [0, 1].
    same
        With boxes: what counts as an error; None: `Same()`.
    draws, level, jobs, store, cache, progress
        As for `labelfix.measure_gain`.

    Raises
    ------
    InputError
        As `labelfix.measure_gain`, naming the stage; for shares out of range and ids of no item; if
        a stage has no boxes to learn from.

    Warns
    -----
    LabelfixWarning
        As `labelfix.measure_gain`; if a stage has no boxes in the test images, by whose labels it
        is then not tested.

    Examples
    --------
    >>> import polars as pl
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
    terms = Terms(
        seeds=seeds,
        split=split or Split(),
        resplit=resplit,
        suggested_by=suggested_by,
        draws=draws,
        level=level,
        jobs=jobs,
        store=store,
        cache=cache,
        progress=progress,
    )
    if not len(at) or not all(0 <= one <= 1 for one in at):
        raise InputError(Problem("at", str(list(at)), "shares from 0 to 1"))
    if original.has_boxes and corrected.has_boxes:
        from labelfix.evaluate.boxstages import measure_box_stages

        boxes = pair_boxes(original, corrected, allow_removed=allow_removed)
        return measure_box_stages(boxes, orders or {}, at, model, same or Same(), terms)
    pair = pair_versions(original, corrected, allow_removed=allow_removed)
    ids = pair.dataset.items["item_id"]
    rows = {name: rows_in_order(ids, listed, name) for name, listed in (orders or {}).items()}
    rows["random"] = random_order(len(ids), terms.split.seed)
    plan, said = make_plan(pair, model, terms)
    stages = _stages(plan, rows, budgets(at, len(ids)), plan.pair.corrected)
    return _measured(plan, stages, said, {"at": sorted(set(at))})


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

    Examples
    --------
    >>> import polars as pl
    >>> from labelfix.schema import Dataset
    >>> def version(labels):
    ...     names = [f"i{n:03d}" for n in range(len(labels))]
    ...     items = pl.DataFrame({"item_id": names, "x": [n % 2 for n in range(len(names))]})
    ...     rows = pl.DataFrame({"annotation_id": names, "item_id": names, "label": labels})
    ...     return Dataset(items, rows, ("even", "odd"), "memory", feature_columns=("x",))
    >>> truth = ["even", "odd"] * 100
    >>> noisy = ["odd" if n % 5 == 0 else label for n, label in enumerate(truth)]
    >>> queue = [f"i{n:03d}" for n in range(0, 200, 5)]  # every second one is wrong
    >>> played = simulate(version(noisy), version(truth), {"queue": queue}, [20], model="knn",
    ...                   seeds=1, split=Split(duplicates=None))
    >>> played.counts.select("order", "decisions", "mended", "left").rows()[:2]
    [('queue', 0, 0, 20), ('queue', 20, 10, 10)]
    """
    terms = Terms(
        seeds=seeds,
        split=split or Split(),
        draws=draws,
        level=level,
        jobs=jobs,
        store=store,
        cache=cache,
        progress=progress,
    )
    pair = pair_versions(original, truth, allow_removed=allow_removed)
    ids = pair.dataset.items["item_id"]
    problems = check_review(decisions, error_rate, len(ids), "the number of items")
    if problems:
        raise InputError(problems)
    rows = {name: rows_in_order(ids, listed, name) for name, listed in orders.items()}
    rows["random"] = random_order(len(ids), terms.split.seed)
    reviewed = play_reviewer(
        pair.original,
        pair.corrected,
        _suggestions(ids, suggested or {}, pair.class_names, pair.original),
        error_rate,
        terms.split.seed,
    )
    plan, said = make_plan(pair, model, terms)
    stages = _stages(plan, rows, sorted({0, *decisions}), reviewed)
    return _measured(plan, stages, said, {"error_rate": error_rate})


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


def _stages(
    plan: Plan,
    orders: Mapping[str, NDArray[np.int64]],
    numbers: Sequence[int],
    reviewed: NDArray[np.int64],
) -> list[Stage]:
    """Give the labels after so many items of each order, if all that are seen become `reviewed`."""
    truth, given = plan.pair.corrected, plan.pair.original
    wrong = given != truth
    stages = []
    for name, order in orders.items():
        for number in numbers:
            labels = np.where(first(order, number), reviewed, given)
            mended = int((wrong & (labels == truth)).sum())
            left, spoilt = int(wrong.sum()) - mended, int((~wrong & (labels != truth)).sum())
            share = number / len(truth)
            key = labels.tobytes()
            stages.append(Stage(name, number, share, mended, left, spoilt, labels, key))
    return stages


def _measured(
    plan: Plan,
    stages: Sequence[Stage],
    said: tuple[str, ...],
    details: Mapping[str, Any],
) -> Stages:
    """Train on every stage, and score it."""
    different = distinct(stages)
    check_classes(
        {str(one): one.labels for one in different.values()}, np.unique(plan.parts, axis=0)
    )
    labels = [one.labels for one in different.values()]
    trained = train(plan, labels)
    scores = {
        key: scores_of(
            plan,
            {stage.order: one.answers},
            dict(zip(YARDSTICKS, (plan.pair.corrected, stage.labels), strict=True)),
        )
        for (key, stage), one in zip(different.items(), trained, strict=True)
    }
    return measured(
        stages,
        scores,
        {key: one.losses for key, one in zip(different, trained, strict=True)},
        METRICS,
        {**plan.details, **details},
        said,
        plan.terms,
    )


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
