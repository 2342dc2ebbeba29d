"""Out-of-fold boxes: what a detector sees in each image that it never learned from."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from labelfix.errors import InputError, Problem, warn_caller
from labelfix.folds import stratify_by_counts
from labelfix.predict.detect.models import DetectJob, FoundBoxes
from labelfix.predict.detect.names import resolve
from labelfix.predict.jobs import run_jobs
from labelfix.predict.models import describe
from labelfix.schema import BOX, FOLDS, BoxPredictions

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import ArrayLike, NDArray

    from labelfix.predict.detect.models import Scenes
    from labelfix.progress import Progress
    from labelfix.schema import Dataset

__all__ = ["predict_held_out", "predict_untrained"]


def predict_held_out(
    dataset: Dataset,
    detector: Any,
    folds: int = 5,
    seed: int = 0,
    *,
    groups: ArrayLike | None = None,
    jobs: int | None = None,
    store: str | Path | None = None,
    cache: Path | None = None,
    progress: Progress | None = None,
) -> BoxPredictions:
    """Train a detector for each fold and let it predict the images of that fold.

    Parameters
    ----------
    dataset
        Images with boxes.
    detector
        A name or a `Detector`; see `labelfix.predict.detect.names.resolve`.
    folds
        So many detectors are trained, each on all folds but one; at least 2. Folds have even counts
        of each class (`labelfix.folds.stratify_by_counts`).
    seed
        Of the folds and the detectors.
    groups
        Images that are held out together share a number, shape (n,).
    jobs
        Folds at once, as joblib's `n_jobs`; None: one after the other.
    store
        A folder to keep finished folds in: the same call goes on at the fold that it reached.
    cache
        A folder for weights that have to be fetched.
    progress
        Called as `progress(what, done, total)`.

    Raises
    ------
    InputError
        If the dataset or the detector will not do.
    MissingExtraError
        If the detector needs a package that is not installed.

    Warns
    -----
    LabelfixWarning
        If some classes cannot be learned in the fold that their images are held out in.
    """
    start = time.perf_counter()
    chosen = resolve(detector)
    inputs = chosen.prepare(dataset, cache=cache, progress=progress)
    fold = _folds(dataset, inputs.data, folds, groups, seed)
    todo = _jobs(fold, seed)
    _check_boxes(inputs.data, fold)
    _warn_of_unseen(inputs.data, fold)
    results = run_jobs(
        chosen,
        inputs,
        todo,
        FoundBoxes(),
        workers=jobs,
        store=None if store is None else Path(store),
        progress=progress,
    )
    return BoxPredictions(
        boxes=_as_table(dataset, [one.boxes for one in results], fold),
        class_names=dataset.class_names,
        fold=pl.DataFrame(
            {"item_id": dataset.items["item_id"], "fold": fold}, schema_overrides=FOLDS
        ),
        model=chosen.name,
        details={
            "parameters": describe(chosen),
            "folds": folds,
            "seed": seed,
            "boxes_not_learned_from": dataset.annotations.height - len(inputs.data.item),
            "seconds": time.perf_counter() - start,
        },
    )


def predict_untrained(
    dataset: Dataset,
    detector: Any,
    class_map: Mapping[str, str | None] | None = None,
    *,
    store: str | Path | None = None,
    cache: Path | None = None,
    progress: Progress | None = None,
) -> BoxPredictions:
    """Let a ready-made detector, which must never have seen the images, predict them all.

    Parameters
    ----------
    dataset
        Images with boxes.
    detector
        As for `predict_held_out`, with weights.
    class_map
        From the detector's class names to the dataset's; None drops a class. Classes that are not
        named go to the class of the same name, or are dropped where there is none. Where several
        go to one class, its entry of `pred_probs` is the largest of theirs.
    store, cache, progress
        As for `predict_held_out`.

    Raises
    ------
    InputError
        If the map names what there is not, or leaves nothing; all problems at once.

    Warns
    -----
    LabelfixWarning
        If classes of the dataset are left that the detector cannot see.
    """
    start = time.perf_counter()
    chosen = resolve(detector)
    inputs = chosen.prepare(dataset, cache=cache, progress=progress)
    everything = np.arange(len(dataset))
    job = DetectJob(everything[:0], everything, seed=0)
    (result,) = run_jobs(
        chosen,
        inputs,
        [job],
        FoundBoxes(),
        workers=1,
        store=None if store is None else Path(store),
        progress=progress,
    )
    found = result.boxes
    names = tuple(found["label"].dtype.categories)
    target = _targets(names, dataset.class_names, dict(class_map or {}))
    _warn_of_unknown(target, dataset)
    return BoxPredictions(
        boxes=_as_table(dataset, [_translated(found, target, dataset.class_names)], None),
        class_names=dataset.class_names,
        model=chosen.name,
        details={
            "parameters": describe(chosen),
            "trained": False,
            "class_map": {
                name: None if code < 0 else dataset.class_names[code]
                for name, code in zip(names, target.tolist(), strict=True)
            },
            "seconds": time.perf_counter() - start,
        },
    )


def _folds(
    dataset: Dataset, data: Scenes, n_folds: int, groups: ArrayLike | None, seed: int
) -> NDArray[np.int32]:
    """Assign folds in the order of item ids, so that the order of the rows does not matter."""
    counts = np.zeros((len(dataset), len(dataset.class_names)), dtype=np.int64)
    np.add.at(counts, (data.item, data.label), 1)
    order = dataset.items["item_id"].arg_sort().to_numpy()
    together = None if groups is None else np.asarray(groups)[order]
    fold = np.empty(len(order), dtype=np.int32)
    fold[order] = stratify_by_counts(counts[order], n_folds, groups=together, seed=seed)
    return fold


def _jobs(fold: NDArray[np.int32], seed: int) -> list[DetectJob]:
    n_folds = int(fold.max()) + 1
    seeds = np.random.SeedSequence(seed).generate_state(n_folds)
    return [
        DetectJob(np.flatnonzero(fold != k), np.flatnonzero(fold == k), int(seeds[k]))
        for k in range(n_folds)
    ]


def _check_boxes(data: Scenes, fold: NDArray[np.int32]) -> None:
    """Refuse a fold whose detector would learn from no box."""
    holding = len(np.unique(fold[data.item]))
    if holding < 2:
        found = "boxes in the images of one fold only" if holding else "no boxes to learn from"
        fix = "draw some, bring predictions, or use a ready-made detector without training"
        raise InputError(Problem("dataset", found, "boxes that each detector can learn from", fix))


def _warn_of_unseen(data: Scenes, fold: NDArray[np.int32]) -> None:
    """Name the classes whose boxes are all held out in one fold."""
    held = np.zeros((len(data.class_names), int(fold.max()) + 1), dtype=bool)
    held[data.label, fold[data.item]] = True
    _warn_of(
        [data.class_names[k] for k in np.flatnonzero(held.sum(axis=1) == 1)],
        "cannot be learned: all their boxes are held out in one fold, being too few or one group; "
        "what is said of them says little",
    )


def _warn_of_unknown(target: NDArray[np.int64], dataset: Dataset) -> None:
    """Name the classes of boxes that the detector cannot see."""
    unknown = np.setdiff1d(dataset.labels, target)
    _warn_of(
        [dataset.class_names[k] for k in unknown],
        "are unknown to the detector: it says nothing of their boxes, which will look spurious; "
        "map its classes to them, or leave these classes out",
    )


def _warn_of(names: list[str], what: str) -> None:
    if names:
        more = f" and {len(names) - 5} more" if len(names) > 5 else ""
        listed = ", ".join(map(repr, names[:5]))
        warn_caller(f"classes {listed}{more} {what}")


def _targets(
    names: tuple[str, ...], class_names: tuple[str, ...], class_map: dict[str, str | None]
) -> NDArray[np.int64]:
    """Class of the dataset that each class of the detector goes to; -1 for none."""
    code: dict[str | None, int] = {name: k for k, name in enumerate(class_names)}
    problems = [
        Problem("class map", f"{name!r}, no class of the detector", _listed(names))
        for name in class_map
        if name not in names
    ]
    problems += [
        Problem("class map", f"{name!r}, no class of the dataset", _listed(class_names))
        for name in class_map.values()
        if name is not None and name not in code
    ]
    target = np.array([code.get(class_map.get(name, name), -1) for name in names], dtype=np.int64)
    if not problems and not (target >= 0).any():
        fix = "say which class is which, as {'person': 'pedestrian'}"
        found = f"no class of the detector ({_listed(names)}) among the dataset's"
        problems = [Problem("class map", found, _listed(class_names), fix)]
    if problems:
        raise InputError(problems)
    return target


def _listed(names: tuple[str, ...]) -> str:
    more = f" and {len(names) - 8} more" if len(names) > 8 else ""
    return "one of " + ", ".join(names[:8]) + more


def _translated(
    found: pl.DataFrame, target: NDArray[np.int64], class_names: tuple[str, ...]
) -> pl.DataFrame:
    """Put the dataset's classes for the detector's."""
    code = target[found["label"].to_physical().to_numpy().astype(np.int64)]
    names = pl.Series(class_names, dtype=pl.Enum(class_names))
    kept = found.filter(pl.Series(code >= 0)).with_columns(
        label=names.gather(pl.Series(code[code >= 0], dtype=pl.UInt32))
    )
    if "pred_probs" not in found.columns:
        return kept
    own = kept["pred_probs"].to_numpy().reshape(kept.height, len(target))
    probs = np.zeros((kept.height, len(class_names)), dtype=np.float32)
    known = np.flatnonzero(target >= 0)
    np.maximum.at(probs.T, target[known], own.T[known])
    return kept.with_columns(
        pl.Series("pred_probs", probs, dtype=pl.Array(pl.Float32, len(class_names)))
    )


def _as_table(
    dataset: Dataset, found: list[pl.DataFrame], fold: NDArray[np.int32] | None
) -> pl.DataFrame:
    """One table of all folds, in item order, of each item the surest first."""
    boxes = pl.concat(found).sort("item", "score", descending=[False, True], maintain_order=True)
    columns: dict[str, Any] = {
        "item_id": dataset.items["item_id"].gather(boxes["item"]),
        "label": boxes["label"].cast(pl.String),
        **{name: boxes[name] for name in ("score", *BOX)},
    }
    if "pred_probs" in boxes.columns:
        columns["pred_probs"] = boxes["pred_probs"]
    if fold is not None:
        columns["fold"] = pl.Series(fold[boxes["item"].to_numpy()], dtype=pl.Int32)
    return pl.DataFrame(columns)
