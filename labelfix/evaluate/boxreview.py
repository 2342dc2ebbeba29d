"""A played reviewer of boxes: AP and errors found, decision by decision, in several orders."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import polars as pl

from labelfix.errors import InputError, Problem
from labelfix.evaluate.boxpairing import BoxErrors, BoxVersion, Same, pair_boxes
from labelfix.evaluate.boxstages import measured_boxes, with_boxes
from labelfix.evaluate.curves import Stage, Stages, check_review, count_table, random_order
from labelfix.evaluate.parts import Terms
from labelfix.schema import BOX, BOX_ISSUES, check
from labelfix.score.boxes.matching import Boxes, overlaps
from labelfix.splits import Split

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from labelfix.evaluate.boxpairing import BoxPair
    from labelfix.progress import Progress
    from labelfix.schema import Dataset

    Bools = NDArray[np.bool_]
    Integers = NDArray[np.int64]

__all__ = ["play_boxes", "simulate_boxes"]


def simulate_boxes(
    original: Dataset,
    truth: Dataset,
    queues: Mapping[str, pl.DataFrame],
    decisions: Sequence[int],
    error_rate: float = 0.0,
    model: Any = "yolo11n.yaml",
    seeds: int = 5,
    split: Split | None = None,
    *,
    same: Same | None = None,
    allow_removed: bool = False,
    draws: int = 1000,
    level: float = 0.95,
    jobs: int | None = None,
    store: Path | None = None,
    cache: Path | Literal[False] | None = None,
    progress: Progress | None = None,
) -> Stages:
    """Play a reviewer of boxes with so many decisions to make, in several orders of work.

    A decision is on one row of a queue. Of a given box the reviewer sets what is wrong with it
    right; where a box is said to be missing, the one of the truth that overlaps the proposal most
    is added, if there is one that is missing.

    Parameters
    ----------
    original, truth
        The same images with given and with right boxes. Images that the truth lacks are left out
        (with `allow_removed`).
    queues
        By name, what is looked at, in the order of work: columns of `BOX_ISSUES`. `random` is
        added: the rows of the first one by chance.
    decisions
        Budgets: rows looked at. 0 is always among them.
    error_rate
        Share of the decisions on which the reviewer errs, in [0, 1]: what is wrong is kept, and
        where all is right the suggestion is followed.
    model
        A detector, as `labelfix.predict.detect.names.resolve` takes it.
    same
        What counts as an error, and as the box that is meant; None: `Same()`.
    seeds, split, allow_removed, draws, level, jobs, store, cache, progress
        As for `labelfix.measure_gain`. The reviewer errs on the same boxes in all orders.

    Raises
    ------
    InputError
        As `labelfix.measure_gain`; for budgets below 0 or above the length of a queue; for rows on
        boxes that there are not.
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
    same = same or Same()
    pair, stages = _played(
        original, truth, queues, decisions, error_rate, same, terms.split.seed, allow_removed
    )
    return measured_boxes(pair, stages, {"error_rate": error_rate, "same": same}, model, terms)


def play_boxes(
    original: Dataset,
    truth: Dataset,
    queues: Mapping[str, pl.DataFrame],
    decisions: Sequence[int],
    error_rate: float = 0.0,
    *,
    same: Same | None = None,
    seed: int = 0,
    allow_removed: bool = False,
) -> pl.DataFrame:
    """Count what the reviewer of `simulate_boxes` finds, and train nothing.

    Parameters
    ----------
    original, truth, queues, decisions, error_rate, same, allow_removed
        As there.
    seed
        Of the order by chance, and of who errs where.

    Returns
    -------
    pl.DataFrame
        As `labelfix.evaluate.curves.Stages.counts`.

    Raises
    ------
    InputError
        As `simulate_boxes`.
    """
    _, stages = _played(
        original, truth, queues, decisions, error_rate, same or Same(), seed, allow_removed
    )
    return count_table(stages)


def _played(
    original: Dataset,
    truth: Dataset,
    queues: Mapping[str, pl.DataFrame],
    decisions: Sequence[int],
    error_rate: float,
    same: Same,
    seed: int,
    allow_removed: bool,
) -> tuple[BoxPair, list[Stage]]:
    """Give both versions, and the boxes after each budget in each order."""
    pair = pair_boxes(original, truth, allow_removed=allow_removed)
    if pair.removed.any():
        kept = pl.col("item_id").is_in(truth.items["item_id"].implode())
        pair = pair_boxes(original.filter(kept), truth)
    ids = pair.original.items["item_id"].implode()
    queues = {name: one.filter(pl.col("item_id").is_in(ids)) for name, one in queues.items()}
    _check_queues(pair, queues, decisions, error_rate)
    review = _Review(pair, BoxErrors(pair, same), error_rate, seed)
    rows = {name: review.targets(queue) for name, queue in queues.items()}
    some = next(iter(rows.values()))
    rows["random"] = some[random_order(some.height, seed)]
    longest = max(one.height for one in rows.values())
    stages = [
        review.stage(name, one, budget, longest)
        for name, one in rows.items()
        for budget in sorted({0, *decisions})
    ]
    return pair, stages


def _check_queues(
    pair: BoxPair, queues: Mapping[str, pl.DataFrame], decisions: Sequence[int], error_rate: float
) -> None:
    """Name all that is wrong."""
    problems = []
    if not queues:
        problems.append(Problem("queues", "none", "at least one, by name"))
    ids = pair.original.annotations["annotation_id"].implode()
    for name, queue in queues.items():
        if queue.is_empty():
            problems.append(Problem(f"queue {name}", "no rows", "something to look at"))
        rows = check(queue, BOX_ISSUES, f"queue {name}")["annotation_id"].drop_nulls()
        unknown = rows.filter(~rows.is_in(ids))
        if len(unknown):
            shown = ", ".join(unknown[:5])
            problems.append(Problem(f"queue {name}", f"no box {shown}", "boxes of the dataset"))
    shortest = min((queue.height for queue in queues.values()), default=0)
    problems += check_review(decisions, error_rate, shortest, "the length of the shortest queue")
    if problems:
        raise InputError(problems)


@dataclass(frozen=True, eq=False)
class _Review:
    """A reviewer who knows the truth, and errs now and then."""

    pair: BoxPair
    errors: BoxErrors
    error_rate: float
    seed: int

    def targets(self, queue: pl.DataFrame) -> pl.DataFrame:
        """Say what each row of a queue is about, and whether the reviewer errs there.

        Adds the columns `given` (row of the given box) and `added` (row of the truth's box that a
        proposal stands for), null where there is none, and `errs`.
        """
        known = self.pair.original.annotations.select("annotation_id").with_row_index("given")
        rows = queue.join(known, on="annotation_id", how="left", maintain_order="left")
        added = pl.Series("added", self._stands_for(rows), dtype=pl.Int64)
        rows = rows.with_columns(added.set(added < 0, None))
        of_given = self._errs(0, self.pair.original.annotations.height)
        of_truth = self._errs(1, self.pair.corrected.annotations.height)
        return rows.with_columns(
            errs=pl.when(pl.col("given").is_not_null())
            .then(pl.Series(of_given).gather(rows["given"].fill_null(0)))
            .when(pl.col("added").is_not_null())
            .then(pl.Series(of_truth).gather(rows["added"].fill_null(0)))
            .otherwise(pl.Series(self._errs(2, rows.height)))
        )

    def _errs(self, what: int, n: int) -> Bools:
        found: Bools = np.random.default_rng([self.seed, what]).random(max(n, 1)) < self.error_rate
        return found

    def _stands_for(self, rows: pl.DataFrame) -> Integers:
        """Row of the missing box of the truth that each proposal overlaps most, or -1."""
        found = np.full(rows.height, -1)
        place = np.flatnonzero(rows["given"].is_null().to_numpy())
        ids = self.pair.original.items["item_id"]
        item = rows["item_id"].replace_strict(ids, range(len(ids)), return_dtype=pl.Int64)
        place = place[np.argsort(item.to_numpy()[place], kind="stable")]
        corners = rows.select(f"suggested_{edge}" for edge in BOX).to_numpy()[place]
        missing = np.flatnonzero(self.errors.missing)
        truth = self.pair.corrected
        nothing = np.zeros(0, np.int32)
        proposed = Boxes.new(item.to_numpy()[place].astype(np.int32), nothing, corners, len(ids))
        there = Boxes.new(
            self.pair.item_of(truth)[missing].astype(np.int32),
            nothing,
            truth.annotations.select(BOX).to_numpy()[missing],
            len(ids),
        )
        pairs = overlaps(proposed, there, np.nextafter(self.errors.same.pair_iou, 0))
        order = np.argsort(pairs.iou, kind="stable")  # the best fitting one is written last
        found[place[pairs.left[order]]] = missing[pairs.right[order]]
        return found

    def stage(self, name: str, rows: pl.DataFrame, budget: int, longest: int) -> Stage:
        """Decide on the first rows of a queue."""
        looked = rows.head(budget)
        wrong, partner = self.errors.wrong, self.errors.partner
        given, truth = self.pair.original.annotations, self.pair.corrected.annotations
        of_given = looked.drop_nulls("given").unique("given", keep="first", maintain_order=True)
        on, errs = of_given["given"].to_numpy(), of_given["errs"].to_numpy()
        mended = on[wrong[on] & ~errs]
        followed = of_given.filter(pl.Series(~wrong[on] & errs))
        right = looked.filter(~pl.col("errs"))
        found = right["added"].drop_nulls().unique().sort().to_numpy()
        invented = looked.filter(
            pl.col("errs") & pl.col("given").is_null() & pl.col("added").is_null()
        )
        kept = np.ones(given.height, bool)
        kept[mended] = False
        kept[followed["given"].to_numpy()] = False
        moved = partner[mended]
        parts = [
            given.filter(pl.Series(kept)),
            truth[np.concatenate([moved[moved >= 0], found])],
            _as_suggested(followed, given),
            _proposed(invented),
        ]
        total = int(wrong.sum()) + int(self.errors.missing.sum())
        good = len(mended) + len(found)
        return Stage(
            name,
            budget,
            budget / longest,
            good,
            total - good,
            followed.height + invented.height,
            BoxVersion(with_boxes(self.pair.original, parts), self.pair.removed),
            (tuple(np.sort(mended)), tuple(found), _key(followed), _key(invented)),
        )


def _as_suggested(rows: pl.DataFrame, given: pl.DataFrame) -> pl.DataFrame:
    """Do to right boxes what the queue says; those that it calls too many are gone."""
    kind = pl.col("kind")
    boxes = pl.concat([rows, given[rows["given"]].select("crowd", *BOX)], how="horizontal")
    return (
        boxes.filter(~kind.is_in(["spurious", "duplicate"]))
        .select(
            "item_id",
            label=pl.when(kind == "wrong_class").then("suggested_label").otherwise("given_label"),
            **{
                edge: pl.when(kind == "bad_location")
                .then(pl.coalesce(f"suggested_{edge}", edge))
                .otherwise(edge)
                for edge in BOX
            },
            crowd=pl.col("crowd") | (kind == "group"),
        )
        .drop_nulls("label")
    )


def _proposed(rows: pl.DataFrame) -> pl.DataFrame:
    """Boxes that were said to be missing and are not."""
    return rows.select(
        "item_id",
        label="suggested_label",
        **{edge: f"suggested_{edge}" for edge in BOX},
        crowd=pl.lit(value=False),
    )


def _key(rows: pl.DataFrame) -> tuple[Any, ...]:
    """Tell apart all that is made of such rows."""
    said = ("suggested_label", *(f"suggested_{edge}" for edge in BOX))
    columns = ("item_id", "annotation_id", "kind", *said)
    return tuple(rows.select(columns).sort(columns).rows())
