"""What a model is to labelfix: what it is asked for, and what it gives.

A model is a small frozen dataclass. Its fields are its parameters and go into run.json; the work is
two methods: `prepare` looks at the dataset once and never at its labels, `fit_predict` does one
fold.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from labelfix.progress import Progress
    from labelfix.schema import Dataset

__all__ = [
    "Features",
    "FoldJob",
    "FoldResult",
    "Inputs",
    "Model",
    "describe",
]


@dataclass(frozen=True)
class Inputs:
    """What the folds learn from, made once for a dataset.

    Parameters
    ----------
    data
        What `fit_predict` picks rows from: an array with n rows, or anything that pickles. Arrays
        are shared with worker processes as memory maps, so they are read-only there.
    embeddings
        Shape (n, d), float32, if the model looks at items through any.
    """

    data: Any
    embeddings: NDArray[np.float32] | None = None


@dataclass(frozen=True)
class FoldJob:
    """One fold: learn from some rows, predict the others.

    Parameters
    ----------
    train
        Rows to learn from, ascending, shape (t,).
    labels
        Given class of each row in `train`, in 0..n_classes-1, shape (t,). A class can be missing
        here, or be alone: all members of the others may be held out in this fold.
    test
        Rows to predict, ascending, shape (m,). Neither they nor their near-duplicates are in
        `train`.
    n_classes
        K, the columns to return.
    seed
        Of this fold alone. The result depends on nothing random but this.
    timed
        So many rows of `test`, the first ones, are also predicted one by one on one thread of the
        processor, by models that can, to take the time.
    """

    train: NDArray[np.int64]
    labels: NDArray[np.int64]
    test: NDArray[np.int64]
    n_classes: int
    seed: int
    timed: int = 0


@dataclass(frozen=True)
class FoldResult:
    """What one fold gives.

    Parameters
    ----------
    pred_probs
        Of the rows in `test`, shape (m, K), float32, rows sum to one.
    train_pred_probs
        Of the rows in `train`, shape (t, K), float32: what the network said of them while it
        learned from them, the mean over the epochs, and of some models in the end too. None from
        models without epochs.
    losses
        Mean training loss of each epoch, shape (epochs,). None from models without epochs.
    seconds
        Of each row that was timed, as `labelfix.predict.timing.seconds_each` takes them. None
        from models that do not say.
    """

    pred_probs: NDArray[np.float32]
    train_pred_probs: NDArray[np.float32] | None = None
    losses: NDArray[np.float64] | None = None
    seconds: NDArray[np.float64] | None = None


@runtime_checkable
class Model(Protocol):
    """What `out_of_fold` asks of a model. Anything with these three names will do.

    Frozen dataclasses are best: their fields go into run.json, and tell stored folds apart. A model
    may also have `jobs`, an int as joblib's `n_jobs`: so many folds at once suit it where the user
    does not say; else it is one after the other. And it may have `fetch`, called before all else:
    it gets weights and the like, and raises if they are not to be had.
    """

    @property
    def name(self) -> str:
        """Say what it is in a word or two, as `--model` takes it."""
        ...

    def prepare(self, dataset: Dataset, *, cache: Path | None, progress: Progress | None) -> Inputs:
        """Turn the dataset into what the folds learn from. Must not look at its labels.

        `cache` is a folder that outlives the run, for what is dear to compute; None for no cache.
        """
        ...

    def fit_predict(self, data: Any, job: FoldJob, progress: Progress | None) -> FoldResult:
        """Learn from rows `job.train` of `data`, which is `Inputs.data`, and predict `job.test`.

        Classes that are not in `job.labels` get 0. Runs in a worker process where there is more
        than one; `progress` is None there.
        """
        ...


@runtime_checkable
class Features(Protocol):
    """A way to look at items that learns nothing: columns, pixels, or a frozen backbone.

    It may have `fetch`, as a model may.
    """

    @property
    def name(self) -> str:
        """Say what it is, as `--model NAME+CLASSIFIER` takes it."""
        ...

    def extract(self, dataset: Dataset, *, cache: Path | None, progress: Progress | None) -> Inputs:
        """Make the features of all items; `Inputs.data` is a `labelfix.predict.tabular.Table`."""
        ...


def describe(value: Any) -> Any:
    """Turn a model's parameters into what JSON can hold, for run.json.

    Examples
    --------
    >>> from labelfix.predict.tabular import Head
    >>> describe(Head("knn", options={"n_neighbors": 5}))["options"]
    {'n_neighbors': 5}
    """
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        shown = (f.name for f in dataclasses.fields(value) if f.repr)
        fields = {name: describe(getattr(value, name)) for name in shown}
        return {"type": type(value).__name__, **fields}
    if isinstance(value, Mapping):
        return {str(key): describe(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [describe(item) for item in value]
    return value if isinstance(value, str | int | float | bool | None) else repr(value)
