"""Out-of-fold predictions: what a model says of each item that it never learned from."""

from __future__ import annotations

import os
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from labelfix.errors import InputError, Problem, warn_caller
from labelfix.folds import assign_folds, merge_groups
from labelfix.schema import Predictions

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import ArrayLike, NDArray

    from labelfix.predict.models import FoldJob, FoldResult, Model
    from labelfix.progress import Progress
    from labelfix.schema import BoxPredictions, Dataset

__all__ = ["default_cache", "out_of_fold", "out_of_fold_boxes"]


def out_of_fold(
    dataset: Dataset,
    model: Any = "auto",
    folds: int = 5,
    groups: str | ArrayLike | Sequence[Any] | None = None,
    seed: int = 0,
    *,
    duplicates: int | None = 10,
    jobs: int | None = None,
    store: str | Path | None = None,
    cache: str | Path | Literal[False] | None = None,
    progress: Progress | None = None,
) -> Predictions:
    """Predict each item with a model that learned from neither it nor its duplicates.

    Parameters
    ----------
    dataset
        Items with one class label each. For boxes there is `out_of_fold_boxes`.
    model
        "auto": try what is cheap on the first fold and take what has the lowest log loss (see
        `labelfix.predict.auto.Auto`). Or a name, an object with `fit` and `predict_proba`, a
        `labelfix.predict.models.Model`, or a network that is kept frozen, such as
        `labelfix.predict.embed.TorchModule`; see `labelfix.predict.names.resolve`.
    folds
        So many models are trained, each on all folds but one; at least 2.
    groups
        Items that are held out together: a column of `dataset.items`, which the model then does not
        learn from, or an array of shape (n,). Missing values group nothing.
    seed
        Of the folds and the models. Equal seeds give equal predictions, whatever `jobs` is; the
        folds do not depend on the order of the items either.
    duplicates
        Images that differ in so many bits of their perceptual hash at most are held out together
        (see `labelfix.duplicates.duplicate_groups`); None: do not look.
    jobs
        Folds at once, as joblib's `n_jobs`, on the backend that `joblib.parallel_config` names.
        None: what it says, else what suits the model.
    store
        A folder to keep finished folds in. The same call goes on at the fold that it reached.
    cache
        A folder for embeddings that outlives the run; None: `default_cache()`; False: no cache.
    progress
        Called as `progress(what, done, total)`.

    Returns
    -------
    Predictions
        `pred_probs` of shape (n, K), float32, with `fold`, and with `embeddings`,
        `train_pred_probs` and `duplicate_group` where there are any. A class that a fold's t
        training rows had no example of gets a weight of at least 1 / (t + K) there (Laplace's rule
        of succession); nothing is repeated to fill the gap. `details` says what was done, for
        run.json.

    Raises
    ------
    InputError
        If the dataset, the model or the groups will not do; all problems at once.
    MissingExtraError
        If the model needs a package that is not installed.

    Warns
    -----
    LabelfixWarning
        If some classes cannot be learned in the fold that their members are held out in.

    Examples
    --------
    >>> import polars as pl
    >>> from labelfix.schema import Dataset
    >>> names = [f"item{i}" for i in range(40)]
    >>> items = pl.DataFrame({"item_id": names, "x": [i % 2 + i / 100 for i in range(40)]})
    >>> labels = ["even" if i % 2 == 0 else "odd" for i in range(40)]
    >>> annotations = pl.DataFrame({"annotation_id": names, "item_id": names, "label": labels})
    >>> dataset = Dataset(items, annotations, ("even", "odd"), "memory", feature_columns=("x",))
    >>> predictions = out_of_fold(dataset, "logistic")
    >>> predictions.pred_probs.shape
    (40, 2)
    >>> bool((predictions.pred_probs.argmax(axis=1) == dataset.labels).all())
    True
    """
    from labelfix.predict.auto import Auto, as_auto, choose
    from labelfix.predict.jobs import make_jobs, run_jobs
    from labelfix.predict.models import describe

    start = time.perf_counter()
    _check_one_label_each(dataset)
    wanted = as_auto(model) or _ready(model, dataset)
    dataset, given_groups = _take_groups(dataset, groups)
    near = _near_duplicates(dataset, duplicates, progress)
    fold = _folds(dataset, folds, [g for g in (given_groups, near) if g is not None], seed)
    todo = make_jobs(dataset.labels, fold, len(dataset.class_names), seed)
    _warn_of_unseen(dataset, todo)
    folder = _cache_folder(cache)
    stored = None if store is None else Path(store)

    details: dict[str, Any] = {}
    if isinstance(wanted, Auto):
        choice = choose(wanted, dataset, todo[0], cache=folder, store=stored, progress=progress)
        chosen, inputs, done = choice.model, choice.inputs, choice.done
        details["auto"] = choice.details
    else:
        chosen, done = wanted, []
        inputs = chosen.prepare(dataset, cache=folder, progress=progress)
    rest = todo[len(done) :]
    results = run_jobs(chosen, inputs, rest, workers=jobs, store=stored, progress=progress)
    pred_probs, train_pred_probs = _assemble(todo, [*done, *results], len(dataset))
    details |= {
        "parameters": describe(chosen),
        "folds": folds,
        "seed": seed,
        "groups": groups if isinstance(groups, str) else groups is not None,
        "duplicates": duplicates,
        "seconds": time.perf_counter() - start,
    }
    return Predictions(
        pred_probs=pred_probs,
        class_names=dataset.class_names,
        fold=fold,
        train_pred_probs=train_pred_probs,
        embeddings=inputs.embeddings,
        duplicate_group=near,
        model=chosen.name,
        details=details,
    )


def out_of_fold_boxes(
    dataset: Dataset,
    model: Any,
    folds: int = 5,
    groups: str | ArrayLike | Sequence[Any] | None = None,
    seed: int = 0,
    *,
    duplicates: int | None = 10,
    jobs: int | None = None,
    store: str | Path | None = None,
    cache: str | Path | Literal[False] | None = None,
    progress: Progress | None = None,
    no_train: bool = False,
    class_map: Mapping[str, str | None] | None = None,
) -> BoxPredictions:
    """Predict the boxes of each image with a detector that learned from neither it nor its copies.

    Parameters
    ----------
    dataset
        Images with boxes.
    model
        A detector: `yolo11n.yaml`, the name or file of Ultralytics weights (`.pt`),
        `torchvision:CONSTRUCTOR`, or a `labelfix.predict.detect.models.Detector`.
    folds, groups, seed, duplicates, jobs, store, cache, progress
        As for `out_of_fold`. Folds have even counts of each class
        (`labelfix.folds.stratify_by_counts`).
    no_train
        The detector predicts all images as it is. It must never have seen them; folds, groups,
        seed, duplicates and jobs then mean nothing.
    class_map
        Only with `no_train`: from the detector's class names to the dataset's, None to drop a
        class; see `labelfix.predict.detect.predict_untrained`.

    Returns
    -------
    BoxPredictions
        With `fold`, unless `no_train`; with the column `pred_probs` where the detector has class
        vectors. `details` says what was done, for run.json.

    Raises
    ------
    InputError
        If the dataset, the model, the groups or the class map will not do.
    MissingExtraError
        If the model needs a package that is not installed.
    LabelfixError
        If Ultralytics fails, with what it said.

    Warns
    -----
    LabelfixWarning
        If the detector cannot know some classes.
    """
    from labelfix.predict.detect import predict_held_out, predict_untrained

    folder = _cache_folder(cache)
    if no_train:
        return predict_untrained(
            dataset, model, class_map, store=store, cache=folder, progress=progress
        )
    if class_map is not None:
        raise InputError(
            Problem("class_map", "a map for a detector that is trained", "one with no_train")
        )
    dataset, given_groups = _take_groups(dataset, groups)
    near = _near_duplicates(dataset, duplicates, progress)
    together = [g for g in (given_groups, near) if g is not None]
    return predict_held_out(
        dataset,
        model,
        folds,
        seed,
        groups=merge_groups(*together) if together else None,
        jobs=jobs,
        store=store,
        cache=folder,
        progress=progress,
    )


def default_cache() -> Path:
    """Say where embeddings are kept: `$LABELFIX_CACHE`, else `labelfix` in the user's cache folder.

    That is `$XDG_CACHE_HOME`, else `~/.cache`.
    """
    if own := os.environ.get("LABELFIX_CACHE"):
        return Path(own)
    home = os.environ.get("XDG_CACHE_HOME")
    return (Path(home) if home else Path.home() / ".cache") / "labelfix"


def _cache_folder(cache: str | Path | Literal[False] | None) -> Path | None:
    if cache is False:
        return None
    return default_cache() if cache is None else Path(cache)


def _ready(model: Any, dataset: Dataset) -> Model:
    """Find the model, and let it fetch what it needs before long work begins."""
    from labelfix.predict.names import resolve

    found = resolve(model, dataset)
    for part in (found, getattr(found, "features", None)):
        fetch = getattr(part, "fetch", None)
        if fetch is not None:
            fetch()
    return found


def _check_one_label_each(dataset: Dataset) -> None:
    if dataset.has_boxes:
        fix = "use out_of_fold_boxes"
        raise InputError(Problem("dataset", "boxes", "one class label for each item", fix))
    if not dataset.annotations["item_id"].equals(dataset.items["item_id"]):
        found = f"{dataset.annotations.height} annotations for {len(dataset)} items"
        raise InputError(Problem("dataset", found, "one class label for each item, in item order"))
    if len(dataset) > 1 and dataset.annotations["label"].is_unique().all():
        fix = "if it is an id, name another column" if dataset.format == "table" else ""
        found = "a label of its own for each item"
        raise InputError(Problem("dataset", found, "classes of several items", fix))


def _take_groups(
    dataset: Dataset, groups: str | ArrayLike | Sequence[Any] | None
) -> tuple[Dataset, NDArray[np.int64] | None]:
    """Turn `groups` into numbers, and keep the model from learning from their column."""
    if groups is None:
        return dataset, None
    if not isinstance(groups, str):
        given = np.asarray(groups)
        if given.shape != (len(dataset),):
            found, expected = f"shape {given.shape}", f"({len(dataset)},), one group an item"
            raise InputError(Problem("groups", found, expected))
        return dataset, merge_groups(given)
    if groups not in dataset.items.columns:
        columns = ", ".join(dataset.items.columns)
        raise InputError(Problem("groups", f"no column {groups!r}", f"one of {columns}"))
    features = tuple(column for column in dataset.feature_columns if column != groups)
    return replace(dataset, feature_columns=features), merge_groups(dataset.items[groups])


def _near_duplicates(
    dataset: Dataset, threshold: int | None, progress: Progress | None
) -> NDArray[np.int64] | None:
    if threshold is None or dataset.image_paths is None:
        return None
    from labelfix.duplicates import duplicate_groups

    found: NDArray[np.int64] = duplicate_groups(
        dataset.image_paths, threshold=threshold, progress=progress
    )
    return found


def _folds(
    dataset: Dataset, n_folds: int, groupings: list[NDArray[np.int64]], seed: int
) -> NDArray[np.int32]:
    """Assign folds in the order of item ids, so that the order of the rows does not matter."""
    order = dataset.items["item_id"].arg_sort().to_numpy()
    groups = merge_groups(*groupings)[order] if groupings else None
    fold = np.empty(len(order), dtype=np.int32)
    fold[order] = assign_folds(dataset.labels[order], n_folds, groups=groups, seed=seed)
    return fold


def _warn_of_unseen(dataset: Dataset, jobs: Sequence[FoldJob]) -> None:
    """Name the classes whose members are all held out in one fold."""
    unseen = np.zeros(len(dataset.class_names), dtype=bool)
    for job in jobs:
        held_out = np.unique(dataset.labels[job.test])
        unseen[held_out[~np.isin(held_out, job.labels)]] = True
    if unseen.any():
        names = [repr(dataset.class_names[k]) for k in np.flatnonzero(unseen)]
        more = f" and {len(names) - 5} more" if len(names) > 5 else ""
        warn_caller(
            f"{len(names)} class{'es' * (len(names) > 1)} ({', '.join(names[:5])}{more}) "
            "cannot be learned: all members are held out in one fold, being too few or one group; "
            "their low quality says little"
        )


def _assemble(
    jobs: Sequence[FoldJob], results: Sequence[FoldResult], n_items: int
) -> tuple[NDArray[np.float32], NDArray[np.float32] | None]:
    """Put the folds' rows in item order; average what they said of the items they trained on."""
    pred_probs = np.empty((n_items, jobs[0].n_classes), dtype=np.float32)
    for job, result in zip(jobs, results, strict=True):
        pred_probs[job.test] = result.pred_probs
    in_sample = [result.train_pred_probs for result in results]
    if any(probs is None for probs in in_sample):
        return pred_probs, None
    mean = np.zeros_like(pred_probs)
    for job, probs in zip(jobs, in_sample, strict=True):
        mean[job.train] += np.asarray(probs) / (len(jobs) - 1)
    return pred_probs, mean
