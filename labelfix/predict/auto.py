"""`--model auto`: try what is cheap, take what predicts best, and say which and why."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from labelfix.errors import warn_caller
from labelfix.predict.heads import log_loss
from labelfix.predict.jobs import run_jobs
from labelfix.predict.models import FoldJob, Inputs, Model
from labelfix.predict.names import has_photo_backbone, resolve

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from labelfix.predict.models import FoldResult
    from labelfix.progress import Progress
    from labelfix.schema import Dataset

__all__ = ["Auto", "Choice", "as_auto", "choose"]


@dataclass(frozen=True)
class Auto:
    """Choose among models by their log loss on the first fold's held-out items.

    Parameters
    ----------
    candidates
        Models or their names, in the order to try them; None: those that suit the dataset.
    seconds
        Start no further candidate after so many seconds. None: try them all, which `most_rows`
        bounds too, and which gives the same choice on every machine.
    most_rows
        On larger datasets, try on a random part of so many items; else on the whole first fold,
        which the winner then need not repeat.
    """

    candidates: tuple[Any, ...] | None = None
    seconds: float | None = None
    most_rows: int = 5_000

    name = "auto"


@dataclass(frozen=True)
class Choice:
    """The winner, with what the trial already did of its work."""

    model: Model
    inputs: Inputs
    done: list[FoldResult]
    details: Mapping[str, Any]


@dataclass(frozen=True)
class _Trial:
    model: Model
    inputs: Inputs
    result: FoldResult
    log_loss: float
    seconds: float


def as_auto(model: Any) -> Auto | None:
    """Recognise "auto", and an `Auto` with other settings."""
    if isinstance(model, str) and model == "auto":
        return Auto()
    return model if isinstance(model, Auto) else None


def choose(
    auto: Auto,
    dataset: Dataset,
    job: FoldJob,
    *,
    cache: Path | None,
    store: Path | None,
    progress: Progress | None,
) -> Choice:
    """Try the candidates on `job`, the first fold, or on a part of it.

    Raises
    ------
    InputError
        If the dataset has nothing to learn from.
    """
    names = default_candidates(dataset) if auto.candidates is None else auto.candidates
    models = [resolve(candidate, dataset) for candidate in names]
    whole = len(dataset) <= auto.most_rows
    trial_set, trial_job = (dataset, job) if whole else _part(dataset, job, auto.most_rows)
    trials: list[_Trial] = []
    start = time.perf_counter()
    for model in models:
        if trials and auto.seconds is not None and time.perf_counter() - start > auto.seconds:
            break
        if progress:
            progress("choosing a model", len(trials), len(models))
        trials.append(_try(model, trial_set, trial_job, trials, cache, store, progress))
    if progress:
        progress("choosing a model", len(models), len(models))
    best = min(trials, key=lambda trial: trial.log_loss)
    guess = _loss_of_guessing(trial_set.labels, trial_job)
    learned = best.log_loss < 0.95 * guess
    if not learned:
        warn_caller(
            f"no model learns the labels from the data: the best, {best.model.name}, has a log "
            f"loss of {best.log_loss:.3f}, and the classes' shares alone {guess:.3f}; what it "
            "finds is little better than chance"
        )
    details = _report(trials, best, models[len(trials) :], auto) | {"learned": learned}
    if auto.candidates is None and dataset.image_paths is not None and not has_photo_backbone():
        details["why"] += "; with labelfix[vision] installed, networks would be tried too"
    if whole:
        return Choice(best.model, best.inputs, [best.result], details)
    inputs = best.model.prepare(dataset, cache=cache, progress=progress)
    return Choice(best.model, inputs, [], details)


def _loss_of_guessing(labels: NDArray[np.int64], job: FoldJob) -> float:
    """Log loss of saying of each item how frequent the classes are."""
    shares = np.bincount(job.labels, minlength=job.n_classes) + 1.0
    pred_probs = np.broadcast_to(shares / shares.sum(), (len(job.test), job.n_classes))
    return log_loss(pred_probs, labels[job.test])


def default_candidates(dataset: Dataset) -> tuple[str, ...]:
    """Name the models that suit the dataset, the cheapest first."""
    if dataset.image_paths is None:
        return "logistic", "knn", "extra-trees", "hist-gradient-boosting"
    pixels = ("pixels+logistic", "pixels+extra-trees")
    if has_photo_backbone():
        return *pixels, "efficientnet-lite0+logistic", "small-cnn"
    return *pixels, "pixels+knn", "pixels+svm"


def _part(dataset: Dataset, job: FoldJob, most_rows: int) -> tuple[Dataset, FoldJob]:
    """Take a random part of the items, as a dataset of its own, and of the fold's roles in it."""
    rows = np.random.default_rng(job.seed).permutation(len(dataset))[:most_rows]
    rows.sort()
    test = np.isin(rows, job.test)
    part = dataset.take(rows)
    train = np.flatnonzero(~test)
    return part, FoldJob(train, part.labels[train], np.flatnonzero(test), job.n_classes, job.seed)


def _try(
    model: Model,
    dataset: Dataset,
    job: FoldJob,
    before: Sequence[_Trial],
    cache: Path | None,
    store: Path | None,
    progress: Progress | None,
) -> _Trial:
    start = time.perf_counter()
    features = getattr(model, "features", model)
    known = (t.inputs for t in before if getattr(t.model, "features", t.model) == features)
    inputs = next(known, None) or model.prepare(dataset, cache=cache, progress=progress)
    (result,) = run_jobs(model, inputs, [job], workers=1, store=store, progress=progress)
    loss = log_loss(result.pred_probs, dataset.labels[job.test])
    return _Trial(model, inputs, result, loss, time.perf_counter() - start)


def _report(
    trials: Sequence[_Trial], best: _Trial, untried: Sequence[Model], auto: Auto
) -> dict[str, Any]:
    """Say which and why, for run.json and for people."""
    ranked = sorted(trials, key=lambda trial: trial.log_loss)
    others = ", ".join(f"{t.model.name} ({t.log_loss:.3f})" for t in ranked if t is not best)
    why = f"{best.model.name} has the lowest log loss on held-out items, {abs(best.log_loss):.3f}"
    if others:
        why += f"; behind it: {others}"
    if untried:
        names = ", ".join(model.name for model in untried)
        why += f"; not tried, since {auto.seconds:g} s had passed: {names}"
    return {
        "chosen": best.model.name,
        "why": why,
        "rows": len(best.result.pred_probs),
        "candidates": [
            {"model": t.model.name, "log_loss": t.log_loss, "seconds": t.seconds} for t in trials
        ],
        "not_tried": [model.name for model in untried],
        "seconds": auto.seconds,
        "most_rows": auto.most_rows,
    }
