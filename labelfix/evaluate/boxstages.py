"""Curves for boxes: AP while a dataset is cleaned, image by image or decision by decision."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import polars as pl

from labelfix.errors import InputError, LabelfixWarning, Problem
from labelfix.evaluate.boxgain import box_warnings
from labelfix.evaluate.boxpairing import BoxVersion, Same, in_order, pair_boxes
from labelfix.evaluate.boxscoring import BoxScores, boxes_in, check_test_boxes, train_detectors
from labelfix.evaluate.curves import (
    YARDSTICKS,
    Stage,
    Stages,
    distinct,
    first,
    measured,
    random_order,
    rows_in_order,
)
from labelfix.evaluate.detection import TWELVE
from labelfix.evaluate.gain import check_numbers, draw_parts, seeds_of
from labelfix.schema import BOX, BOX_ISSUES, check
from labelfix.score.boxes.matching import Boxes, overlaps
from labelfix.splits import TEST, TRAIN, Split

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from labelfix.evaluate.boxpairing import BoxPair
    from labelfix.progress import Progress
    from labelfix.schema import Dataset

    Bools = NDArray[np.bool_]
    Integers = NDArray[np.int64]

__all__ = ["Errors", "measure_box_stages", "simulate_boxes"]

COLUMNS = ("item_id", "label", *BOX, "crowd")


@dataclass(frozen=True, eq=False)
class Errors:
    """Which boxes of the original version are wrong by the corrected one, and what is missing.

    Parameters
    ----------
    pair
        Both versions.
    same
        When two boxes are one.
    """

    pair: BoxPair
    same: Same

    @cached_property
    def _pairing(self) -> tuple[Integers, NDArray[np.float64]]:
        return self.pair.partners(self.same.pair_iou)

    @property
    def partner(self) -> Integers:
        """Row of each given box in the corrected annotations; -1 if it was removed."""
        return self._pairing[0]

    @cached_property
    def wrong(self) -> Bools:
        """Which given boxes were removed, moved, relabelled, or set to be ignored or not."""
        given, right = self.pair.original.annotations, self.pair.corrected.annotations
        wrong: Bools = (self.partner < 0) | (self._pairing[1] < self.same.right_iou)
        if right.is_empty():
            return wrong
        after = right.select("label", "crowd")[self.partner]
        changed = (given["label"] != after["label"]) | (given["crowd"] != after["crowd"])
        wrong |= changed.to_numpy()
        return wrong

    @cached_property
    def missing(self) -> Bools:
        """Which corrected boxes were added."""
        added = np.ones(self.pair.corrected.annotations.height, bool)
        added[self.partner[self.partner >= 0]] = False
        return added

    @cached_property
    def by_image(self) -> Integers:
        """Errors of each image; an image that was removed is one."""
        n = len(self.pair.removed)
        given, right = self.pair.original, self.pair.corrected
        found = np.bincount(self.pair.item_of(given)[self.wrong], minlength=n)
        found += np.bincount(self.pair.item_of(right)[self.missing], minlength=n)
        return np.where(self.pair.removed, 1, found)


def measure_box_stages(
    pair: BoxPair,
    orders: Mapping[str, Iterable[str]],
    at: Sequence[float],
    detector: Any,
    seeds: int,
    split: Split,
    same: Same,
    *,
    resplit: bool,
    suggested_by: Sequence[str],
    draws: int,
    level: float,
    jobs: int | None,
    store: Path | None,
    cache: Path | Literal[False] | None,
    progress: Progress | None,
) -> Stages:
    """Do what `labelfix.evaluate.stages.measure_stages` does, for boxes: images are cleaned."""
    ids = pair.original.items["item_id"]
    rows = {name: rows_in_order(ids, listed, name) for name, listed in orders.items()}
    rows["random"] = random_order(len(ids), split.seed)
    errors = Errors(pair, same).by_image
    stages = [
        _cleaned(pair, errors, name, order, round(share * len(ids)))
        for name, order in rows.items()
        for share in sorted(set(at))
    ]
    return _measured(
        pair,
        stages,
        {"at": sorted(set(at)), "same": same},
        detector,
        seeds,
        split,
        resplit=resplit,
        suggested_by=suggested_by,
        draws=draws,
        level=level,
        jobs=jobs,
        store=store,
        cache=cache,
        progress=progress,
    )


def _cleaned(pair: BoxPair, errors: Integers, name: str, order: Integers, number: int) -> Stage:
    """Correct the first so many images of an order."""
    clean = first(order, number)
    rows = [
        version.annotations.filter(pl.Series(looked_at[pair.item_of(version)]))
        for version, looked_at in ((pair.original, ~clean), (pair.corrected, clean))
    ]
    version = BoxVersion(_with(pair.original, rows), pair.removed & clean)
    mended = int(errors[clean].sum())
    left = int(errors.sum()) - mended
    key = (clean & pair.changed).tobytes()
    return Stage(name, number, number / len(clean), mended, left, 0, version, key)


def _with(dataset: Dataset, parts: Sequence[pl.DataFrame]) -> Dataset:
    """Give a dataset other boxes, in the order of its items."""
    rows = pl.concat([part.select(COLUMNS) for part in parts])
    named = in_order(rows, dataset.items["item_id"]).with_columns(
        annotation_id=pl.int_range(pl.len()).cast(pl.String)
    )
    return replace(dataset, annotations=named)


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
    check_numbers(seeds=seeds, draws=draws, level=level)
    recipe, same = split or Split(), same or Same()
    pair = pair_boxes(original, truth, allow_removed=allow_removed)
    if pair.removed.any():
        kept = pl.col("item_id").is_in(truth.items["item_id"].implode())
        pair = pair_boxes(original.filter(kept), truth)
    longest = _check_queues(pair, queues, decisions, error_rate)
    review = _Review(pair, Errors(pair, same), error_rate, recipe.seed)
    played = {name: review.targets(queue) for name, queue in queues.items()}
    some = next(iter(played.values()))
    played["random"] = some[random_order(some.height, recipe.seed)]
    stages = [
        review.stage(name, rows, budget, longest)
        for name, rows in played.items()
        for budget in sorted({0, *decisions})
    ]
    return _measured(
        pair,
        stages,
        {"error_rate": error_rate, "same": same},
        model,
        seeds,
        recipe,
        resplit=False,
        suggested_by=(),
        draws=draws,
        level=level,
        jobs=jobs,
        store=store,
        cache=cache,
        progress=progress,
    )


def _check_queues(
    pair: BoxPair, queues: Mapping[str, pl.DataFrame], decisions: Sequence[int], error_rate: float
) -> int:
    """Give the length of the longest queue, or name all that is wrong."""
    problems = []
    if not queues:
        problems.append(Problem("queues", "none", "at least one, by name"))
    ids = pair.original.annotations["annotation_id"].implode()
    for name, queue in queues.items():
        rows = check(queue, BOX_ISSUES, f"queue {name}")["annotation_id"].drop_nulls()
        unknown = rows.filter(~rows.is_in(ids))
        if len(unknown):
            shown = ", ".join(unknown[:5])
            problems.append(Problem(f"queue {name}", f"no box {shown}", "boxes of the dataset"))
    longest = max((queue.height for queue in queues.values()), default=0)
    problems += [
        Problem("decisions", str(one), f"0 to {longest:,}, the length of the longest queue")
        for one in decisions
        if not 0 <= one <= longest
    ]
    if not 0 <= error_rate <= 1:
        problems.append(Problem("error_rate", str(error_rate), "0 to 1"))
    if problems:
        raise InputError(problems)
    return longest


@dataclass(frozen=True, eq=False)
class _Review:
    """A reviewer who knows the truth, and errs now and then."""

    pair: BoxPair
    errors: Errors
    error_rate: float
    seed: int

    def targets(self, queue: pl.DataFrame) -> pl.DataFrame:
        """Say what each row of a queue is about, and whether the reviewer errs there.

        Adds the columns `given` (row of the given box) and `added` (row of the truth's box that a
        proposal stands for), null where there is none, and `errs`.
        """
        known = self.pair.original.annotations.select("annotation_id").with_row_index("given")
        here = self.pair.original.items.select("item_id")
        rows = queue.join(here, on="item_id", how="semi", maintain_order="left")
        rows = rows.join(known, on="annotation_id", how="left", maintain_order="left")
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
            BoxVersion(_with(self.pair.original, parts), self.pair.removed),
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
    columns = ("item_id", "annotation_id", "kind", *(f"suggested_{edge}" for edge in BOX))
    return tuple(rows.select(columns).sort(columns).rows())


def _measured(
    pair: BoxPair,
    stages: Sequence[Stage],
    details: Mapping[str, Any],
    detector: Any,
    seeds: int,
    split: Split,
    *,
    resplit: bool,
    suggested_by: Sequence[str],
    draws: int,
    level: float,
    jobs: int | None,
    store: Path | None,
    cache: Path | Literal[False] | None,
    progress: Progress | None,
) -> Stages:
    """Train on every stage, and score it."""
    from labelfix.predict import default_cache
    from labelfix.predict.detect.names import resolve
    from labelfix.predict.models import describe

    chosen = resolve(detector)
    units, parts = draw_parts(pair.original, split, seeds, resplit=resplit, progress=progress)
    versions = {str(one): one for one in distinct(stages).values()}
    corrected = pair.versions()["corrected"]
    check_test_boxes({"corrected": corrected}, parts)
    _check_training_boxes(versions, parts)
    said = [
        *box_warnings(pair, parts, chosen.name, suggested_by),
        *_untested(versions, parts),
    ]
    for text in said:
        warnings.warn(text, LabelfixWarning, stacklevel=4)
    trained = train_detectors(
        {name: one.labels for name, one in versions.items()},
        chosen,
        parts,
        seeds_of(split, seeds),
        jobs=jobs,
        store=store,
        cache=None if cache is False else (cache or default_cache()),
        progress=progress,
    )
    scores = {
        one.key: BoxScores.of(
            {name: trained[name]},
            dict(zip(YARDSTICKS, (corrected, one.labels), strict=True)),
            parts,
            units,
        )
        for name, one in versions.items()
    }
    recipe = {
        "model": chosen.name,
        "parameters": describe(chosen),
        "seeds": seeds,
        "split": describe(split),
        "resplit": resplit,
        "items": len(pair.original),
        "units": int(units.max()) + 1,
        "class_names": list(pair.original.class_names),
        "fingerprint": pair.original.fingerprint,
    }
    return measured(
        stages,
        scores,
        {one.key: [each.losses for each in trained[name]] for name, one in versions.items()},
        TWELVE,
        {**recipe, **details, "same": describe(details["same"])},
        said,
        draws=draws,
        level=level,
        seed=split.seed,
        progress=progress,
    )


def _check_training_boxes(stages: Mapping[str, Stage], parts: NDArray[np.int8]) -> None:
    """Refuse stages that a detector could learn nothing from."""
    problems = [
        Problem(f"training part, {name}", "no boxes", "some to learn from", "start at more")
        for name, one in stages.items()
        if min(boxes_in(one.labels, part == TRAIN) for part in parts) == 0
    ]
    if problems:
        raise InputError(problems)


def _untested(stages: Mapping[str, Stage], parts: NDArray[np.int8]) -> list[str]:
    """Name stages whose own boxes test nothing."""
    return [
        f"{name}: no boxes in its test images; it is tested by the corrected ones alone"
        for name, one in stages.items()
        if min(boxes_in(one.labels, part == TEST) for part in parts) == 0
    ]
