"""Folds as independent jobs, and the store that lets an interrupted run go on."""

from __future__ import annotations

import functools
import io
import os
import pickle
import threading
import time
import zipfile
from typing import TYPE_CHECKING, Any, BinaryIO, Protocol

import joblib
import numpy as np

from labelfix._version import __version__
from labelfix.atomic import replacing
from labelfix.errors import InputError, Problem, name_rows
from labelfix.predict.models import FoldJob, FoldResult
from labelfix.predict.timing import processor

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from labelfix.predict.models import Inputs
    from labelfix.progress import Progress

__all__ = ["Probabilities", "ResultKind", "make_jobs", "run_jobs"]


class ResultKind(Protocol):
    """What the folds give, how it is held to its promise, and how a store keeps it."""

    suffix: str
    """Of the files."""

    def check(self, result: Any, job: Any, name: str) -> Any:
        """Give the result as it is to be used, or raise `InputError`."""
        ...

    def write(self, result: Any, file: BinaryIO) -> None:
        """Write a checked result."""
        ...

    def read(self, file: BinaryIO, job: Any) -> Any:
        """Read what `write` wrote; None if it is something else."""
        ...


class Probabilities:
    """The results of classifiers: `FoldResult`."""

    suffix = ".npz"

    def check(self, result: FoldResult, job: FoldJob, name: str) -> FoldResult:
        """Hold a model to its promise, and give unseen classes their share."""
        pred_probs = _as_probabilities(result.pred_probs, (len(job.test), job.n_classes), name)
        pred_probs = _share_with_unseen(pred_probs, job.labels)
        train = result.train_pred_probs
        if train is not None:
            train = _as_probabilities(train, (len(job.train), job.n_classes), name)
        return FoldResult(pred_probs, train, result.losses, result.seconds)

    def write(self, result: FoldResult, file: BinaryIO) -> None:
        """Keep a result."""
        named = {name: getattr(result, name) for name in _ARRAYS}
        arrays = {name: array for name, array in named.items() if array is not None}
        content = io.BytesIO()
        np.savez(content, **arrays)
        file.write(content.getbuffer())

    def read(self, file: BinaryIO, job: FoldJob) -> FoldResult | None:
        """Read a stored result."""
        try:
            with np.load(file, allow_pickle=False) as arrays:
                result = FoldResult(*(arrays.get(name) for name in _ARRAYS))
        except (OSError, ValueError, KeyError, zipfile.BadZipFile):
            return None
        shape = (len(job.test), job.n_classes)
        return result if getattr(result.pred_probs, "shape", None) == shape else None


_ARRAYS = ("pred_probs", "train_pred_probs", "losses", "seconds")

PROBABILITIES = Probabilities()


def make_jobs(
    labels: NDArray[np.int64], fold: NDArray[np.int32], n_classes: int, seed: int
) -> list[FoldJob]:
    """One job for each fold, each with a seed of its own."""
    n_folds = int(fold.max()) + 1
    seeds = np.random.SeedSequence(seed).generate_state(n_folds)
    jobs = []
    for k in range(n_folds):
        train, test = np.flatnonzero(fold != k), np.flatnonzero(fold == k)
        jobs.append(FoldJob(train, labels[train], test, n_classes, int(seeds[k])))
    return jobs


def run_jobs(
    model: Any,
    inputs: Inputs,
    jobs: Sequence[Any],
    kind: ResultKind = PROBABILITIES,
    *,
    workers: int | None = None,
    store: Path | None = None,
    progress: Progress | None = None,
) -> list[Any]:
    """Do each job, or take it from the store.

    Parameters
    ----------
    model, inputs
        What learns, by its `fit_predict(inputs.data, job, progress)`, and from what.
    jobs
        The results come in their order, whatever order they end in.
    kind
        What the model gives.
    workers
        Jobs at once, as joblib's `n_jobs`; None: what `joblib.parallel_config` says, else what the
        model says. That config's backend is used too, whichever is registered.
    store
        A folder that keeps each result as soon as it is there, for the next run with the same
        model, parameters, data, labels, fold and seed. Workers must see it under the same path.
    progress
        Told of each job that ends; with one worker, of what the model tells too.

    Raises
    ------
    InputError
        If the model returns no probabilities, or cannot be pickled where it must.
    """
    if workers == 0:
        raise InputError(Problem("jobs", "0", "how many at once, or -1 for one a core"))
    paths = _paths(model, inputs, jobs, store, kind)
    results = [_load(path, job, kind) for path, job in zip(paths, jobs, strict=True)]
    missing = [k for k, result in enumerate(results) if result is None]
    if workers is None and joblib.effective_n_jobs(None) == 1:  # nothing is configured
        workers = getattr(model, "jobs", 1)
    alone = joblib.effective_n_jobs(workers) == 1
    inner = progress if alone else None
    tasks = [
        joblib.delayed(_do)(k, model, inputs.data, jobs[k], paths[k], kind, inner, os.getpid())
        for k in missing
    ]
    what = f"folds of {model.name}"
    for count, (k, result) in enumerate(_each(tasks, workers), start=len(jobs) - len(missing) + 1):
        results[k] = result
        if progress:
            progress(what, count, len(jobs))
    return [result for result in results if result is not None]


def _each(tasks: list[Any], workers: int | None) -> Iterator[tuple[int, Any]]:
    """Give results as they end, or all at the end from a backend that cannot."""
    try:
        parallel = joblib.Parallel(n_jobs=workers, return_as="generator_unordered")
    except ValueError:  # raised by joblib for such a backend
        parallel = joblib.Parallel(n_jobs=workers)
    yield from parallel(tasks)


def _do(
    k: int,
    model: Any,
    data: Any,
    job: Any,
    path: Path | None,
    kind: ResultKind,
    progress: Progress | None,
    starter: int,
) -> tuple[int, Any]:
    """Do one job, in whatever process."""
    _end_with(starter, os.getpid())
    result = kind.check(model.fit_predict(data, job, progress), job, model.name)
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as file:
            kind.write(result, file)
    return k, result


@functools.cache  # once in each process: one that was forked has what its starter remembered
def _end_with(starter: int, process: int) -> None:  # noqa: ARG001 # as above
    """End this process, if it is a worker, when the one that started it is gone.

    loky's workers wait for theirs forever: they hold the pipes that would tell them. On Windows a
    process does not learn that its starter is gone.
    """
    if os.getppid() != starter:  # no worker, or one on another machine
        return

    def watch() -> None:
        while os.getppid() == starter:
            time.sleep(1)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _as_probabilities(
    found: NDArray[Any], shape: tuple[int, int], name: str
) -> NDArray[np.float32]:
    if found.shape != shape:
        raise InputError(Problem(f"model {name}", f"probabilities {found.shape}", f"shape {shape}"))
    sums = found.sum(axis=1, dtype=np.float64)
    bad = np.flatnonzero(~(np.abs(sums - 1) <= 1e-3) | ~(found.min(axis=1) >= 0))
    if len(bad):
        where = name_rows(bad)
        raise InputError(
            Problem(f"model {name}", f"no probabilities in {where}", "numbers >= 0 with sum 1")
        )
    return _normalised(found)


def _share_with_unseen(
    pred_probs: NDArray[np.float32], labels: NDArray[np.int64]
) -> NDArray[np.float32]:
    """Give each class that training had no example of its share by Laplace's rule of succession.

    1 / (t + K) at least, for t training rows and K classes: little, but a class is not impossible
    because its few members are all held out together.
    """
    n_classes = pred_probs.shape[1]
    unseen = np.bincount(labels, minlength=n_classes) == 0
    if not unseen.any():
        return pred_probs
    share = np.where(unseen, 1 / (len(labels) + n_classes), 0)
    return _normalised(np.maximum(pred_probs, share))


def _normalised(weights: NDArray[Any]) -> NDArray[np.float32]:
    sums = weights.sum(axis=1, keepdims=True, dtype=np.float64)
    return np.asarray(weights / sums, dtype=np.float32)


def _paths(
    model: Any, inputs: Inputs, jobs: Sequence[Any], store: Path | None, kind: ResultKind
) -> list[Path | None]:
    """Name each job's file by a hash of all that its result depends on."""
    if store is None:
        return [None] * len(jobs)
    try:
        base = joblib.hash((__version__, model, inputs.data))
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        raise InputError(
            Problem(
                f"model {model.name}",
                f"an object that cannot be pickled ({str(error)[:200]})",  # it may show all data
                "one that can, to tell its stored folds from others'",
                "define it at the top of a module, or pass store=None",
            )
        ) from error
    keys = [(base, job, processor()) if job.timed else (base, job) for job in jobs]
    return [store / f"fold-{joblib.hash(key)}{kind.suffix}" for key in keys]


def _load(path: Path | None, job: Any, kind: ResultKind) -> Any:
    """Read a stored result; None if there is none that can be read."""
    if path is None or not path.exists():
        return None
    try:
        with path.open("rb") as file:
            return kind.read(file, job)
    except OSError:
        return None
