"""Detectors trained on versions of the boxes, and what they find held against versions of them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import joblib
import numpy as np
import polars as pl

from labelfix.errors import InputError, Problem
from labelfix.evaluate.detection import TWELVE
from labelfix.evaluate.redetection import MatchedBoxes
from labelfix.evaluate.statistics import mean_over_seeds
from labelfix.schema import BOX
from labelfix.splits import TEST, TRAIN

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from labelfix.evaluate.boxpairing import BoxVersion
    from labelfix.predict.detect.models import DetectResult
    from labelfix.progress import Progress

    Floats = NDArray[np.float64]

__all__ = ["BoxScores", "Trained", "boxes_in", "check_test_boxes", "train_detectors"]


@dataclass(frozen=True, eq=False)
class Trained:
    """One training of a detector.

    Parameters
    ----------
    boxes
        What it sees in its test images, columns of `BOX_PREDICTIONS`.
    losses
        Mean training loss of each epoch, shape (epochs,); None if it does not say.
    seconds
        Of each image that was timed; None if it does not say.
    """

    boxes: pl.DataFrame
    losses: Floats | None
    seconds: Floats | None = None


def train_detectors(
    versions: Mapping[str, BoxVersion],
    detector: Any,
    parts: NDArray[np.int8],
    model_seeds: Sequence[int],
    *,
    jobs: int | None,
    timed: int = 0,
    store: Path | None,
    cache: Path | None,
    progress: Progress | None,
) -> dict[str, list[Trained]]:
    """Train on each version with each seed, and predict the seed's test images.

    Equal trainings are done once: a version that does not differ where it trains gives the same.

    Parameters
    ----------
    versions
        By name.
    detector
        As `labelfix.predict.detect.models.Detector`.
    parts
        Part of each image for each seed, shape (seeds, n).
    model_seeds
        Seed of each training.
    timed
        As for `labelfix.measure_gain`.
    jobs, store, cache, progress
        As for `labelfix.out_of_fold`.

    Returns
    -------
    By version, one for each seed.
    """
    from labelfix.predict.detect.models import DetectJob, FoundBoxes
    from labelfix.predict.jobs import run_jobs

    splits, split_of = np.unique(parts, axis=0, return_inverse=True)
    done: dict[str, DetectResult] = {}
    keys: dict[str, list[str]] = {name: [""] * len(parts) for name in versions}
    for name, version in versions.items():
        for number, part in enumerate(splits):
            seeds = np.flatnonzero(split_of == number).tolist()
            learns = (part == TRAIN) & ~version.removed
            inputs = detector.prepare(_only(version, learns), cache=cache, progress=progress)
            base = joblib.hash(inputs.data)
            todo: dict[str, DetectJob] = {}
            for seed in seeds:
                test = np.flatnonzero(part == TEST)
                job = DetectJob(np.flatnonzero(learns), test, model_seeds[seed], timed)
                key = keys[name][seed] = joblib.hash((base, job))
                if key not in done:
                    todo[key] = job
            results = run_jobs(
                detector,
                inputs,
                list(todo.values()),
                FoundBoxes(),
                workers=jobs,
                store=store,
                progress=progress,
            )
            done |= dict(zip(todo, results, strict=True))
    ids = next(iter(versions.values())).dataset.items["item_id"]
    return {name: [_named(done[key], ids) for key in own] for name, own in keys.items()}


def _only(version: BoxVersion, rows: NDArray[np.bool_]) -> Any:
    """Give all images, with the boxes of some: what a training is told apart by."""
    dataset = version.dataset
    ids = dataset.items["item_id"].filter(pl.Series(rows))
    kept = pl.col("item_id").is_in(ids.implode())
    return replace(dataset, annotations=dataset.annotations.filter(kept))


def _named(result: DetectResult, ids: pl.Series) -> Trained:
    boxes = result.boxes.select(
        pl.Series("item_id", ids.gather(result.boxes["item"])),
        pl.col("label").cast(pl.String),
        "score",
        *BOX,
    )
    return Trained(boxes, result.losses, result.seconds)


def check_test_boxes(versions: Mapping[str, BoxVersion], parts: NDArray[np.int8]) -> None:
    """Refuse versions in which a seed has no box to find.

    Raises
    ------
    InputError
        Naming each.
    """
    problems = [
        Problem(f"test part, {name} boxes", "no boxes", "some to find")
        for name, version in versions.items()
        if min(boxes_in(version, part == TEST) for part in parts) == 0
    ]
    if problems:
        raise InputError(problems)


def boxes_in(version: BoxVersion, rows: NDArray[np.bool_]) -> int:
    """Count the boxes of some images that a version does not leave out."""
    return int(_only(version, rows & ~version.removed).annotations.height)


@dataclass(frozen=True, eq=False)
class BoxScores:
    """Detections of every training held against versions of the boxes.

    Parameters
    ----------
    matched
        By version trained on and version tested on, one for each seed.
    tested
        Which images each seed tests on, by version tested on, shape (seeds, n).
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
        found: Mapping[str, Sequence[Trained]],
        versions: Mapping[str, BoxVersion],
        parts: NDArray[np.int8],
        units: NDArray[np.int64],
    ) -> BoxScores:
        """Match everything once.

        Parameters
        ----------
        found
            What detectors see, by version trained on, one for each seed.
        versions
            To test on, by name.
        parts, units
            As for `train_detectors`, and as above.
        """
        tested = {name: (parts == TEST) & ~one.removed for name, one in versions.items()}
        matched = {
            (train, test): [
                _match(version, one.boxes, rows)
                for one, rows in zip(trained, tested[test], strict=True)
            ]
            for test, version in versions.items()
            for train, trained in found.items()
        }
        first = next(iter(versions.values()))
        return cls(matched, tested, units, len(first.dataset.class_names))

    @property
    def n_units(self) -> int:
        """How many units there are."""
        return int(self.units.max()) + 1

    @property
    def n_seeds(self) -> int:
        """How many seeds there are."""
        return len(next(iter(self.tested.values())))

    @property
    def _trained(self) -> list[str]:
        return list(dict.fromkeys(train for train, _ in self.matched))

    def by_seed(self, units: Floats) -> Floats:
        """Count draws: shape (b, train, test, seeds, 12 + K)."""
        images = units[:, self.units]
        cells = [
            [
                np.stack(
                    [
                        one.count(images[:, rows])
                        for one, rows in zip(self.matched[a, b], self.tested[b], strict=True)
                    ],
                    axis=1,
                )
                for b in self.tested
            ]
            for a in self._trained
        ]
        return np.moveaxis(np.array(cells), 2, 0)

    def redrawn(self, units: Floats, seeds: Floats) -> Floats:
        """Count draws, the mean over seeds: flat, as `as_cells` undoes."""
        return mean_over_seeds(self.by_seed(units), seeds).reshape(len(units), -1)

    def as_cells(self, scores: Floats) -> Floats:
        """Undo the flattening of `redrawn`: shape (b, train, test, 12 + K)."""
        shape = (len(self._trained), len(self.tested), len(TWELVE) + self.n_classes)
        return scores.reshape(-1, *shape)


def _match(version: BoxVersion, found: pl.DataFrame, rows: NDArray[np.bool_]) -> MatchedBoxes:
    dataset = version.dataset
    wanted = dataset.items.filter(pl.Series(rows)).select("item_id")
    given = dataset.annotations.join(wanted, on="item_id", how="semi", maintain_order="left")
    seen = found.join(wanted, on="item_id", how="semi", maintain_order="left")
    return MatchedBoxes.of(given, seen, dataset.class_names, wanted)
