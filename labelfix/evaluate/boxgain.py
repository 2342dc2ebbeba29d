"""What corrected boxes bought: the four cells of `labelfix.evaluate.gain` for detectors.

The same detector is trained on original and on corrected boxes, and its detections are held against
original and corrected boxes of the test images: COCO's twelve numbers, and each class's AP.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import polars as pl

from labelfix.errors import InputError, LabelfixWarning, Problem
from labelfix.evaluate.detection import TWELVE
from labelfix.evaluate.gain import draw_parts, seeds_of
from labelfix.evaluate.pairing import lacking
from labelfix.evaluate.redetection import MatchedBoxes
from labelfix.evaluate.statistics import mean_over_seeds, redraw
from labelfix.evaluate.tables import (
    AFTER,
    BEFORE,
    Gain,
    Layout,
    cell_table,
    class_table,
    effect_table,
    movement_table,
    seed_table,
)
from labelfix.schema import BOX
from labelfix.splits import PARTS, TEST, TRAIN

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from labelfix.progress import Progress
    from labelfix.schema import Dataset
    from labelfix.splits import Split

    Floats = NDArray[np.float64]
    Progress = Progress

__all__ = ["BoxPair", "BoxScores", "measure_box_gain", "pair_boxes", "train_detectors"]


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
    said = _warnings(pair, parts, chosen.name, suggested_by)
    for text in said:
        warnings.warn(text, LabelfixWarning, stacklevel=3)
    folder = None if cache is False else (cache or default_cache())
    options: dict[str, Any] = {"jobs": jobs, "store": store, "cache": folder, "progress": progress}
    seeds_used = seeds_of(split, seeds)
    found = train_detectors(pair, chosen, parts, seeds_used, **options)
    scores = BoxScores.of(pair, found, parts, units)
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
        again = train_detectors(pair, chosen, first, seeds_used, only=("original",), **options)
        alone = BoxScores.of(pair, again, first, units).by_seed(np.ones((1, scores.n_units)))[0]
        movement = movement_table(alone[0, 0, :, 0], by_seed[0, 0, :, 0], by_seed[1, 1, :, 0])
    return Gain(
        cells=cell_table(layout, scores.as_cells(point)[0], scores.as_cells(drawn), level),
        effects=effect_table(layout, scores.as_cells(point)[0], scores.as_cells(drawn), level),
        per_class=class_table(layout, scores.as_cells(point)[0], scores.as_cells(drawn), level),
        by_seed=seed_table(layout, by_seed),
        mcnemar=None,
        changes=changes_of(pair, parts[0]),
        movement=movement,
        answers=None,
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


def _warnings(
    pair: BoxPair, parts: NDArray[np.int8], name: str, suggested_by: Sequence[str]
) -> tuple[str, ...]:
    said = []
    if not pair.changed[(parts == TEST).any(axis=0)].any():
        said.append("no test image was corrected: nothing can be said of the test boxes")
    if name in suggested_by:
        said.append(
            f"{name} suggested the corrections and is the model under test: boxes that follow its "
            "suggestions flatter it; test another model as well"
        )
    return tuple(said)


def _layout(pair: BoxPair, scores: BoxScores) -> Layout:
    rows = {name: here.any(axis=0) for name, here in scores.tested.items()}
    ids = pair.original.items["item_id"]
    boxes = {
        name: np.bincount(
            version.labels[
                version.annotations["item_id"]
                .is_in(ids.filter(pl.Series(rows[name])).implode())
                .to_numpy()
            ],
            minlength=scores.n_classes,
        )
        for name, version in pair.versions().items()
    }
    items = {name: int(here.sum()) for name, here in rows.items()}
    return Layout(TWELVE, (BEFORE, AFTER), items, pair.original.class_names, boxes)


@dataclass(frozen=True, eq=False)
class BoxPair:
    """Two versions of the boxes of the same images.

    Parameters
    ----------
    original, corrected
        The same items in the order of their ids, and the same class names. Images that the
        corrected version leaves out have no boxes in it.
    removed
        Which images those are, shape (n,).
    """

    original: Dataset
    corrected: Dataset
    removed: NDArray[np.bool_]

    def versions(self) -> dict[str, Dataset]:
        """Give both by name."""
        return {"original": self.original, "corrected": self.corrected}

    @property
    def changed(self) -> NDArray[np.bool_]:
        """Which images have other boxes, or are left out, shape (n,)."""
        ids = self.original.items["item_id"]
        columns = ("item_id", "label", *BOX, "crowd")
        before, after = (
            one.annotations.select(columns).group_by("item_id").agg(pl.struct(columns[1:]).sort())
            for one in (self.original, self.corrected)
        )
        both = (
            pl.DataFrame({"item_id": ids})
            .join(before, on="item_id", how="left", maintain_order="left")
            .join(after, on="item_id", how="left", maintain_order="left", suffix="_after")
        )
        same = both[columns[1]].eq_missing(both[f"{columns[1]}_after"])
        return ~same.to_numpy() | self.removed


def pair_boxes(original: Dataset, corrected: Dataset, *, allow_removed: bool = False) -> BoxPair:
    """Match the images of two versions by their ids.

    Raises
    ------
    InputError
        Naming the images that one version lacks (with `allow_removed`: that only the corrected one
        has).
    """
    items = original.items.sort("item_id")
    there = items["item_id"].is_in(corrected.items["item_id"].implode())
    extra = corrected.items["item_id"].filter(
        ~corrected.items["item_id"].is_in(items["item_id"].implode())
    )
    problems = []
    if len(extra):
        problems.append(lacking("original", extra))
    if not there.all() and (not allow_removed or not there.any()):
        problems.append(lacking("corrected", items["item_id"].filter(~there)))
    if problems:
        raise InputError(problems)
    names = tuple(dict.fromkeys([*original.class_names, *corrected.class_names]))
    first, second = (
        replace(
            original,
            items=items,
            annotations=_in_order(one.annotations, items["item_id"]),
            class_names=names,
        )
        for one in (original, corrected)
    )
    return BoxPair(first, second, ~there.to_numpy())


def _in_order(annotations: pl.DataFrame, ids: pl.Series) -> pl.DataFrame:
    place = pl.DataFrame({"item_id": ids}).with_row_index("place")
    joined = annotations.join(place, on="item_id", how="left", maintain_order="left")
    return joined.sort("place", maintain_order=True).drop("place")


def train_detectors(
    pair: BoxPair,
    detector: Any,
    parts: NDArray[np.int8],
    model_seeds: Sequence[int],
    *,
    only: Sequence[str] = (BEFORE, AFTER),
    jobs: int | None,
    store: Path | None,
    cache: Path | None,
    progress: Progress | None,
) -> dict[str, list[pl.DataFrame]]:
    """Train on each version with each seed; give the detections in its test images.

    Returns
    -------
    By version, for each seed a table with the columns of `BOX_PREDICTIONS`.
    """
    from labelfix.predict.detect.models import DetectJob, FoundBoxes
    from labelfix.predict.jobs import run_jobs

    found = {}
    for name in only:
        version = pair.versions()[name]
        left_out = pair.removed if name == "corrected" else np.zeros_like(pair.removed)
        todo = [
            DetectJob(
                np.flatnonzero((part == TRAIN) & ~left_out), np.flatnonzero(part == TEST), seed
            )
            for part, seed in zip(parts, model_seeds, strict=True)
        ]
        inputs = detector.prepare(version, cache=cache, progress=progress)
        results = run_jobs(
            detector, inputs, todo, FoundBoxes(), workers=jobs, store=store, progress=progress
        )
        ids = version.items["item_id"]
        found[name] = [
            one.select(
                pl.Series("item_id", ids.gather(one["item"])),
                pl.col("label").cast(pl.String),
                "score",
                *BOX,
            )
            for one in results
        ]
    return found


@dataclass(frozen=True, eq=False)
class BoxScores:
    """Detections of every training held against both versions of the boxes.

    Parameters
    ----------
    matched
        By version trained on and version tested on, one for each seed.
    tested
        Which images each seed tests on, by version, shape (seeds, n).
    units
        Images that are redrawn together share a number, shape (n,).
    n_classes
        K.
    """

    matched: Mapping[tuple[str, str], Sequence[MatchedBoxes]]
    tested: Mapping[str, NDArray[np.bool_]]
    units: NDArray[np.int64]
    n_classes: int

    @classmethod
    def of(
        cls,
        pair: BoxPair,
        found: Mapping[str, Sequence[pl.DataFrame]],
        parts: NDArray[np.int8],
        units: NDArray[np.int64],
    ) -> BoxScores:
        """Match everything once.

        Raises
        ------
        InputError
            If the test images of a version have no boxes.
        """
        tested = {
            "original": parts == TEST,
            "corrected": (parts == TEST) & ~pair.removed,
        }
        ids = pair.original.items["item_id"]
        matched = {}
        for test in found:
            version = pair.versions()[test]
            for train, tables in found.items():
                matched[train, test] = [
                    _match(version, table, ids.filter(pl.Series(rows)), test)
                    for table, rows in zip(tables, tested[test], strict=True)
                ]
        return cls(matched, tested, units, len(pair.original.class_names))

    @property
    def n_units(self) -> int:
        """How many units there are."""
        return int(self.units.max()) + 1

    @property
    def n_seeds(self) -> int:
        """How many seeds there are."""
        return len(self.tested["original"])

    def by_seed(self, units: Floats) -> Floats:
        """Count draws: shape (b, train, test, seeds, 12 + K)."""
        images = units[:, self.units]
        versions = list(dict.fromkeys(a for a, _ in self.matched))
        cells = [
            [
                np.stack(
                    [
                        one.count(images[:, rows])
                        for one, rows in zip(self.matched[a, b], self.tested[b], strict=True)
                    ],
                    axis=1,
                )
                for b in versions
            ]
            for a in versions
        ]
        return np.moveaxis(np.array(cells), 2, 0)

    def redrawn(self, units: Floats, seeds: Floats) -> Floats:
        """Count draws, the mean over seeds: flat, as `as_cells` undoes."""
        return mean_over_seeds(self.by_seed(units), seeds).reshape(len(units), -1)

    def as_cells(self, scores: Floats) -> Floats:
        """Undo the flattening of `redrawn`: shape (b, train, test, 12 + K)."""
        return scores.reshape(-1, 2, 2, len(TWELVE) + self.n_classes)


def _match(version: Dataset, found: pl.DataFrame, ids: pl.Series, name: str) -> MatchedBoxes:
    wanted = pl.DataFrame({"item_id": ids})
    given = version.annotations.join(wanted, on="item_id", how="semi", maintain_order="left")
    if given.is_empty():
        found_none = Problem(f"test part, {name} boxes", "no boxes", "some to find")
        raise InputError(found_none)
    seen = found.join(wanted, on="item_id", how="semi", maintain_order="left")
    return MatchedBoxes.of(given, seen, version.class_names, wanted)


def changes_of(pair: BoxPair, part: NDArray[np.int8]) -> pl.DataFrame:
    """Count, for each part, images that changed and boxes before and after."""
    ids = pair.original.items["item_id"]
    rows = []
    for number, name in enumerate(PARTS):
        here = ids.filter(pl.Series(part == number)).implode()
        boxes = {
            f"boxes_{version}": int(one.annotations["item_id"].is_in(here).sum())
            for version, one in pair.versions().items()
        }
        changed = int((pair.changed & ~pair.removed)[part == number].sum())
        removed = int(pair.removed[part == number].sum())
        unchanged = int((part == number).sum()) - changed - removed
        rows.append(
            {"part": name, "unchanged": unchanged, "changed": changed, "removed": removed} | boxes
        )
    return pl.DataFrame(rows)
