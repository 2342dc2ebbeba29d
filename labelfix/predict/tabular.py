"""Classifiers on features: any of scikit-learn's by a short name, or the caller's own.

What a fold learns (medians, scales, categories, the classifier) it learns from its training rows
alone.
"""

from __future__ import annotations

import copy
import importlib
import sys
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import polars as pl

from labelfix.errors import InputError, Problem, name_rows
from labelfix.predict.models import FoldResult, Inputs

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from labelfix.predict.models import Features, FoldJob
    from labelfix.progress import Progress
    from labelfix.schema import Dataset

__all__ = ["CLASSIFIERS", "Columns", "Head", "Table", "encoder_for", "one_thread"]


@dataclass(frozen=True)
class Table:
    """Features as an array: numbers first, then categories.

    Parameters
    ----------
    values
        Shape (n, d), float32 or float64. Missing numbers are NaN; categories are codes from 0, and
        -1 where missing.
    n_numbers
        So many of the d columns are numbers.
    """

    values: NDArray[Any]
    n_numbers: int


@dataclass(frozen=True)
class Columns:
    """The feature columns of a table: numbers, bools and dates as numbers, others as categories."""

    @property
    def name(self) -> str:
        """As `--model` takes it."""
        return "columns"

    def extract(
        self,
        dataset: Dataset,
        *,
        cache: Path | None,  # noqa: ARG002 # part of the protocol; nothing dear to keep
        progress: Progress | None,  # noqa: ARG002 # part of the protocol; done at once
    ) -> Inputs:
        """Turn the columns into an array.

        Raises
        ------
        InputError
            With no feature columns, or infinite numbers.
        """
        table = dataset.items.select(dataset.feature_columns)
        if not table.width:
            raise InputError(Problem("dataset", "no feature columns", "columns to learn from"))
        numbers = [column for column in table if _is_number(column.dtype)]
        categories = [column for column in table if not _is_number(column.dtype)]
        arrays = [_as_numbers(column) for column in numbers]
        _refuse_infinite(numbers, arrays)
        arrays += [_as_codes(column) for column in categories]
        return Inputs(Table(np.stack(arrays, axis=1), len(numbers)))


def _is_number(dtype: pl.DataType) -> bool:
    return dtype.is_numeric() or dtype.is_temporal() or dtype == pl.Boolean


def _as_numbers(column: pl.Series) -> NDArray[np.float64]:
    physical = column.to_physical() if column.dtype.is_temporal() else column
    return physical.cast(pl.Float64).fill_null(np.nan).to_numpy()


def _as_codes(column: pl.Series) -> NDArray[np.float64]:
    """Replace the categories by numbers. Names only: nothing is learned from held-out rows."""
    text = column.cast(pl.String)
    names = text.unique().drop_nulls().sort()
    codes = text.replace_strict(names, range(len(names)), default=-1, return_dtype=pl.Float64)
    return codes.to_numpy()


def _refuse_infinite(columns: list[pl.Series], arrays: list[NDArray[np.float64]]) -> None:
    infinite = [np.flatnonzero(np.isinf(array)) for array in arrays]
    problems = [
        Problem(
            f"column {column.name!r}", f"infinite numbers in {name_rows(rows)}", "finite or null"
        )
        for column, rows in zip(columns, infinite, strict=True)
        if len(rows)
    ]
    if problems:
        raise InputError(problems)


Encoding = Literal["scaled", "ordinal", "none"]
"""What a classifier takes. "scaled": medians for missing numbers, numbers scaled to mean 0 and
variance 1, one column for each category. "ordinal": missing numbers stay, one column of codes for
all categories. "none": `Table.values` as it is."""

Options = Mapping[str, Any]


@dataclass(frozen=True)
class Recipe:
    """How to make one of the named classifiers.

    Parameters
    ----------
    make
        Called with the number of training rows, the seed, and the caller's options.
    encoding
        What the classifier takes.
    """

    make: Callable[[int, int, Options], Any]
    encoding: Encoding = "scaled"


def _plain(place: str, **defaults: Any) -> Callable[[int, int, Options], Any]:
    """Make the class at `place`; the defaults yield to the caller's options."""

    def make(n_train: int, seed: int, options: Options) -> Any:  # noqa: ARG001 # fits all sizes
        return _seeded(_load(place)(**{**defaults, **options}), seed)

    return make


def _knn(n_train: int, seed: int, options: Options) -> Any:  # noqa: ARG001 # nothing random in it
    from sklearn.neighbors import KNeighborsClassifier

    wanted = {"n_neighbors": 10, **options}
    return KNeighborsClassifier(**{**wanted, "n_neighbors": min(n_train, wanted["n_neighbors"])})


def _tuned(name: str) -> Callable[[int, int, Options], Any]:
    def make(n_train: int, seed: int, options: Options) -> Any:  # noqa: ARG001 # fits all sizes
        return _load(f"labelfix.predict.{name}")(**{"seed": seed, **options})

    return make


_TREES = {"n_estimators": 300, "min_samples_leaf": 2}

CLASSIFIERS: Mapping[str, Recipe] = {
    "logistic": Recipe(_tuned("heads:TunedLogistic")),
    "knn": Recipe(_knn),
    "hist-gradient-boosting": Recipe(
        _plain("sklearn.ensemble:HistGradientBoostingClassifier", categorical_features=None),
        "ordinal",
    ),
    "random-forest": Recipe(_plain("sklearn.ensemble:RandomForestClassifier", **_TREES), "ordinal"),
    "extra-trees": Recipe(_plain("sklearn.ensemble:ExtraTreesClassifier", **_TREES), "ordinal"),
    "decision-tree": Recipe(
        _plain("sklearn.tree:DecisionTreeClassifier", min_samples_leaf=5), "ordinal"
    ),
    "svm": Recipe(_tuned("heads:CalibratedSVC")),
    "naive-bayes": Recipe(_plain("sklearn.naive_bayes:GaussianNB", var_smoothing=1e-3)),
    "lda": Recipe(
        _plain(
            "sklearn.discriminant_analysis:LinearDiscriminantAnalysis",
            solver="lsqr",
            shrinkage="auto",
        )
    ),
    "ridge": Recipe(_tuned("closed_form:RidgeClassifier")),
    "mlp": Recipe(_plain("sklearn.neural_network:MLPClassifier", alpha=1e-2)),
}
"""The classifiers that have a short name."""


@dataclass(frozen=True)
class Head:
    """A classifier on features, anew in each fold.

    Parameters
    ----------
    classifier
        A name in `CLASSIFIERS`, `package.module:factory`, or an object with `fit` and
        `predict_proba`, which is copied for each fold. It is given class indices to learn; its
        `classes_`, if it has any, says which columns it returns. Where its `random_state` is None
        it gets the fold's seed.
    features
        How it sees the items.
    options
        Passed to a named classifier or a factory.
    encoding
        What it takes; None: what is best for it if it is named, else "scaled".
    max_categories
        Of each column, the most frequent ones; the others count as one.

    Examples
    --------
    >>> Head("knn", options={"n_neighbors": 5}).name
    'columns+knn'
    """

    classifier: Any = "logistic"
    features: Features = field(default_factory=Columns)
    options: Options = field(default_factory=dict)
    encoding: Encoding | None = None
    max_categories: int = 100

    def __post_init__(self) -> None:
        if isinstance(self.classifier, str):
            if self.classifier not in CLASSIFIERS:
                if ":" not in self.classifier:
                    raise InputError(_unknown(self.classifier))
                _load(self.classifier)
        else:
            _check_classifier(self.classifier)

    @property
    def name(self) -> str:
        """`FEATURES+CLASSIFIER`."""
        named = isinstance(self.classifier, str)
        return (
            f"{self.features.name}+{self.classifier if named else type(self.classifier).__name__}"
        )

    def prepare(self, dataset: Dataset, *, cache: Path | None, progress: Progress | None) -> Inputs:
        """Make the features."""
        return self.features.extract(dataset, cache=cache, progress=progress)

    def fit_predict(
        self,
        data: Table,
        job: FoldJob,
        progress: Progress | None,  # noqa: ARG002 # part of the protocol; classifiers say nothing
    ) -> FoldResult:
        """Learn the encoding and the classifier from the training rows, and predict the others."""
        pred_probs = np.zeros((len(job.test), job.n_classes), dtype=np.float32)
        present = np.unique(job.labels)
        if len(present) == 1:  # most classifiers refuse to learn one class
            pred_probs[:, present] = 1
            return FoldResult(pred_probs)
        with one_thread(), warnings.catch_warnings():
            self._accept_known_warnings()
            classifier, encoding = self._make(len(job.train), job.seed)
            encoder = encoder_for(data, self.encoding or encoding, self.max_categories)
            classifier.fit(encoder.fit_transform(data.values[job.train]), job.labels)
            found = np.asarray(classifier.predict_proba(encoder.transform(data.values[job.test])))
        pred_probs[:, self._columns(classifier, found, present, job.n_classes)] = found
        losses = getattr(classifier, "loss_curve_", None)  # as scikit-learn's networks have it
        return FoldResult(pred_probs, losses=None if losses is None else np.asarray(losses))

    def _make(self, n_train: int, seed: int) -> tuple[Any, Encoding]:
        if not isinstance(self.classifier, str):
            return _seeded(_copy(self.classifier), seed), "scaled"
        if self.classifier in CLASSIFIERS:
            recipe = CLASSIFIERS[self.classifier]
            return recipe.make(n_train, seed, self.options), recipe.encoding
        return _seeded(_made(self.classifier, self.options), seed), "scaled"

    def _accept_known_warnings(self) -> None:
        """Let the named classifiers stop when their steps are used up, and learn single items."""
        from sklearn.exceptions import ConvergenceWarning

        if isinstance(self.classifier, str) and self.classifier in CLASSIFIERS:
            warnings.simplefilter("ignore", ConvergenceWarning)
            warnings.filterwarnings("ignore", "Only one sample available")  # lda; it has no spread
            warnings.filterwarnings("ignore", "The number of unique classes is greater")

    def _columns(
        self, classifier: Any, found: NDArray[Any], present: NDArray[np.int64], n_classes: int
    ) -> NDArray[np.int64]:
        """Say which class each column of what `predict_proba` returned speaks of."""
        candidates = [getattr(classifier, "classes_", present), present, np.arange(n_classes)]
        for classes in candidates:
            if found.ndim == 2 and found.shape[1] == len(classes):
                return np.asarray(classes, dtype=np.int64)
        raise InputError(
            Problem(
                f"model {self.name}",
                f"probabilities of shape {found.shape}",
                f"{len(present)} columns, one for each class in training, or all {n_classes}",
                "say which with `classes_`",
            )
        )


def encoder_for(data: Table, encoding: Encoding, max_categories: int) -> Any:
    """Build what turns `Table.values` into what a classifier takes."""
    from sklearn.compose import make_column_transformer
    from sklearn.impute import SimpleImputer
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import (
        FunctionTransformer,
        OneHotEncoder,
        OrdinalEncoder,
        StandardScaler,
    )

    numbers = slice(0, data.n_numbers)
    categories = slice(data.n_numbers, data.values.shape[1])
    if encoding == "none":
        return FunctionTransformer()
    if encoding == "ordinal":
        codes = OrdinalEncoder(
            handle_unknown="use_encoded_value", unknown_value=-1, max_categories=max_categories
        )
        parts = [("passthrough", numbers), (codes, categories)]
    else:
        scaled: Any = StandardScaler()
        if np.isnan(data.values[:, numbers]).any():
            filled = SimpleImputer(strategy="median", keep_empty_features=True)
            scaled = make_pipeline(filled, scaled)
        if data.n_numbers == data.values.shape[1]:
            return scaled  # without the copies that putting columns together takes
        one_hot = OneHotEncoder(
            handle_unknown="infrequent_if_exist",
            max_categories=max_categories,
            sparse_output=False,
        )
        parts = [(scaled, numbers), (one_hot, categories)]
    return make_column_transformer(*(part for part in parts if part[1].start < part[1].stop))


def _load(place: str) -> Any:
    """Import `package.module:name`, from the working folder too, as `python -m` does."""
    module, _, name = place.partition(":")
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.append(here)
    try:
        factory = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        found = f"{place!r}, which does not import ({error})"
        raise InputError(Problem("model", found, "package.module:factory")) from error
    if not callable(factory):
        found = f"{place!r}, a {type(factory).__name__}"
        raise InputError(Problem("model", found, "a class or function that makes a classifier"))
    return factory


def _made(place: str, options: Options) -> Any:
    """Call a caller's factory."""
    try:
        classifier = _load(place)(**options)
    except InputError:
        raise
    except Exception as error:  # whatever a caller's own code may raise
        found = f"{place!r}, which raised {type(error).__name__}: {error}"
        raise InputError(Problem("model", found, "a factory that takes no arguments")) from error
    _check_classifier(classifier)
    return classifier


def _check_classifier(classifier: Any) -> None:
    if not hasattr(classifier, "fit") or not hasattr(classifier, "predict_proba"):
        raise InputError(_no_probabilities(classifier))


def _copy(classifier: Any) -> Any:
    """Copy without what it has learned, where the classifier knows how."""
    if hasattr(classifier, "get_params"):
        from sklearn.base import clone

        return clone(classifier)
    return copy.deepcopy(classifier)


def _seeded(classifier: Any, seed: int) -> Any:
    """Set each `random_state` that is None, in a pipeline's steps too."""
    if hasattr(classifier, "get_params"):
        states = {k: v for k, v in classifier.get_params().items() if k.endswith("random_state")}
        unset = {name: seed for name, state in states.items() if state is None}
        if unset:
            classifier.set_params(**unset)
    return classifier


def one_thread() -> Any:
    """Hold linear algebra to one thread: sums come out alike however many folds run at once."""
    from threadpoolctl import threadpool_limits

    return threadpool_limits(1, user_api="blas")


def _unknown(name: str) -> Problem:
    return Problem(
        "model", repr(name), f"one of {', '.join(CLASSIFIERS)}, or package.module:factory"
    )


def _no_probabilities(classifier: Any) -> Problem:
    is_network = hasattr(classifier, "state_dict")  # of torch
    fix = (
        "keep it frozen, with labelfix.predict.embed.TorchModule"
        if is_network
        else "wrap it, e.g. in sklearn.calibration.CalibratedClassifierCV"
    )
    found = f"a {type(classifier).__name__} without fit and predict_proba"
    return Problem("model", found, "both", fix)
