"""Linear discriminants with a ridge penalty: every fold for the price of one look at the features.

The fit needs nothing of the features but the sums of their products. So the sums over all rows less
those over a fold give the fit of the other rows, exactly, and a single row is left out by a formula
(Sherman-Morrison). However many folds there are, the products are summed up twice.

The discriminants are those of Fisher, with a multiple of the identity added to the scatter within
classes (Friedman 1989, "Regularized Discriminant Analysis"). Ridge regression on class indicators
finds the same directions (Hastie, Buja and Tibshirani 1995, "Penalized Discriminant Analysis").

From there it is a few steps to logistic regression, which needs no normal classes: Newton's, but
with the scatter, factorised already, in place of the curvature (in the manner of Böhning 1992,
"Multinomial Logistic Regression Algorithm"). A step costs two products with the features.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from labelfix.errors import InputError, Problem
from labelfix.predict.heads import log_loss
from labelfix.predict.models import FoldResult, Inputs

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path
    from typing import Self

    from numpy.typing import NDArray

    from labelfix.predict.models import Features, FoldJob
    from labelfix.predict.tabular import Table
    from labelfix.progress import Progress
    from labelfix.schema import Dataset

__all__ = [
    "Discriminants",
    "Fitted",
    "Linear",
    "Prepared",
    "Ridge",
    "RidgeClassifier",
    "Search",
    "Sums",
    "gram",
    "prepared",
]

_PENALTIES = (100.0, 10.0, 1.0, 0.1, 0.01, 1e-3)
_TEMPERATURES = tuple(np.geomspace(0.5, 20, 40).tolist())
_FLAT, _LOOKS = 1e-4, 30  # along a line: until the slope is a part of the first, or so often
_ROWS = 4096  # summed up in the precision of X; sums of those are in float64


class Sums(NamedTuple):
    """All that a fit needs to know of the training rows.

    Parameters
    ----------
    scatter
        Sum of (x - mean of its class) (x - mean of its class)', shape (d, d), float64.
    means
        Of each class, shape (K, d), float64; 0 where there is no row.
    counts
        Rows of each class, shape (K,).
    """

    scatter: NDArray[np.float64]
    means: NDArray[np.float64]
    counts: NDArray[np.int64]

    @classmethod
    def of(
        cls,
        products: NDArray[np.float64],
        X: NDArray[Any],
        rows: NDArray[np.int64],
        labels: NDArray[np.int64],
        n_classes: int,
    ) -> Sums:
        """Take the class means off `products`, which is `gram(X, rows)`; labels are of `rows`."""
        counts = np.bincount(labels, minlength=n_classes)
        totals = np.zeros((n_classes, X.shape[1]))
        of = np.full(len(X), n_classes)  # no class where a row is not to count
        of[rows] = labels
        for start in range(0, len(X), _ROWS):  # all rows as they lie: no copy
            part = slice(start, start + _ROWS)
            totals += np.eye(n_classes + 1, n_classes, dtype=X.dtype)[of[part]].T @ X[part]
        means = totals / np.maximum(counts, 1)[:, None]
        return cls(products - (means * counts[:, None]).T @ means, means, counts)


@dataclass(frozen=True, eq=False)
class Discriminants:
    """A fit: the logits of a row are `x @ weights + bias`.

    Parameters
    ----------
    sums, penalty
        What was fitted, and what was added to the diagonal of the scatter.
    lower
        Cholesky factor of the penalised scatter, shape (d, d).
    weights, bias
        Shapes (d, K) and (K,); the bias of a class without rows is minus infinity.
    """

    sums: Sums
    penalty: float
    lower: NDArray[np.float64]
    weights: NDArray[np.float64]
    bias: NDArray[np.float64]

    @classmethod
    def fit(cls, sums: Sums, penalty: float) -> Discriminants:
        """Solve for the discriminants.

        Raises
        ------
        InputError
            If the penalty is not above 0.
        """
        from scipy.linalg import cho_solve, cholesky

        if not penalty > 0:
            raise InputError(Problem("penalty", str(penalty), "a number above 0"))
        n = sums.counts.sum()
        penalised = sums.scatter.copy()
        penalised.ravel()[:: len(penalised) + 1] += penalty
        lower = cholesky(penalised, lower=True, overwrite_a=True)
        weights = n * cho_solve((lower, True), sums.means.T, check_finite=False)
        bias = _log_shares(sums.counts) - np.einsum("kd,dk->k", sums.means, weights) / 2
        return cls(sums, penalty, lower, weights, bias)

    def logits(self, X: NDArray[Any]) -> NDArray[np.float64]:
        """Give the logits, shape (m, K)."""
        return np.asarray(X @ self.weights.astype(X.dtype) + self.bias)

    def leave_one_out(self, X: NDArray[Any], labels: NDArray[np.int64]) -> NDArray[np.float64]:
        """Give for training rows the logits by the fit of all rows but that one.

        Without a row x of class c, one of a, the scatter loses a / (a - 1) uu', u = x - mean of c,
        and the mean of c moves by u / (a - 1). Rows that are alone in their class get NaN.

        Parameters
        ----------
        X, labels
            Rows that were fitted, shapes (m, d) and (m,).

        Returns
        -------
        NDArray
            Shape (m, K). Of logits only differences within a row mean anything.
        """
        from scipy.linalg import solve_triangular

        rows, counts = np.arange(len(X)), self.sums.counts
        both = np.concatenate([X, self.sums.means]).T
        whitened = solve_triangular(
            self.lower, both, lower=True, overwrite_b=True, check_finite=False
        ).T
        x, means = whitened[: len(X)], whitened[len(X) :]
        with np.errstate(divide="ignore", invalid="ignore"):
            grown = (counts / (counts - 1.0))[labels]
            # distances and products in the metric of all rows, of x - mean[k] and of u
            far = (x**2).sum(1)[:, None] - 2 * x @ means.T + (means**2).sum(1)
            own = far[rows, labels]
            u = x - means[labels]
            along = (u * x).sum(1)[:, None] - u @ means.T
            left = 1 - grown * own
            far = far + (grown / left)[:, None] * along**2
            far[rows, labels] = grown**2 * own / left
            others = np.repeat(counts[None], len(X), axis=0)
            others[rows, labels] -= 1
            return np.asarray(_log_shares(others) - (counts.sum() - 1) * far / 2)


@dataclass(frozen=True)
class Search:
    """How the penalty and the temperature are chosen: by leave-one-out log loss in the training.

    From the middle one to weaker ones, penalties are tried until the log loss has risen `patience`
    times in a row; from the middle to stronger ones, if none was better. No row is held back.

    Parameters
    ----------
    penalties
        To try, descending, in units of the training rows.
    temperatures
        To divide the logits by (Guo et al. 2017, "On Calibration of Modern Neural Networks").
    most_rows
        Choose on so many training rows at most, drawn at random.
    patience
        Stop after so many penalties in a row that are no better.
    """

    penalties: Sequence[float] = _PENALTIES
    temperatures: Sequence[float] = _TEMPERATURES
    most_rows: int = 500
    patience: int = 1

    def __post_init__(self) -> None:
        if not self.penalties or not self.temperatures:
            raise InputError(Problem("Search", "nothing to try", "a penalty and a temperature"))

    def __call__(
        self,
        sums: Sums,
        X: NDArray[Any],
        rows: NDArray[np.int64],
        labels: NDArray[np.int64],
        seed: int,
    ) -> Fitted:
        """Choose on some of the rows `rows` of X, whose labels are `labels`; `sums` are of all."""
        counted = np.flatnonzero(sums.counts[labels] > 1)
        drawn = np.random.default_rng(seed).permutation(counted)[: self.most_rows]
        sample, given = X[rows[drawn]], labels[drawn]
        middle = len(self.penalties) // 2
        least, best = first = self._tried(self.penalties[middle], sums, sample, given)
        for way in (self.penalties[middle + 1 :], self.penalties[:middle][::-1]):
            worse = 0
            for penalty in way:
                loss, found = self._tried(penalty, sums, sample, given)
                worse = 0 if loss < least else worse + 1
                if loss < least:
                    least, best = loss, found
                if worse >= self.patience:
                    break
            if least < first[0]:
                break
        return best

    def _tried(
        self, penalty: float, sums: Sums, sample: NDArray[Any], labels: NDArray[np.int64]
    ) -> tuple[float, Fitted]:
        """Give the log loss of leaving each row of the sample out, and the fit; best of all t."""
        found = Discriminants.fit(sums, penalty * float(sums.counts.sum()))
        logits = found.leave_one_out(sample, labels)
        losses = [self._loss(logits, labels, t) for t in self.temperatures]
        return min(losses), Fitted(found, self.temperatures[int(np.argmin(losses))])

    def _loss(self, logits: NDArray[np.float64], labels: NDArray[np.int64], t: float) -> float:
        return log_loss(_softmax(logits / t), labels) if len(labels) else 0.0


class Linear(NamedTuple):
    """A linear classifier: weights of shape (d, K), and biases of shape (K,)."""

    weights: NDArray[np.float64]
    bias: NDArray[np.float64]

    def logits(self, X: NDArray[Any]) -> NDArray[Any]:
        """Give the logits, shape (m, K), in the precision of X."""
        return np.asarray(X @ self.weights.astype(X.dtype) + self.bias.astype(X.dtype))

    def predict(self, X: NDArray[Any]) -> NDArray[Any]:
        """Give the probabilities, shape (m, K)."""
        return _softmax(self.logits(X))


class Fitted(NamedTuple):
    """Discriminants, and how sure they are to be."""

    discriminants: Discriminants
    temperature: float

    @property
    def linear(self) -> Linear:
        """What they say of a row, less what they say of all classes alike."""
        found, seen = self.discriminants, self.discriminants.sums.counts > 0
        weights = found.weights - found.weights[:, seen].mean(axis=1, keepdims=True)
        bias = found.bias - found.bias[seen].mean()
        return Linear(weights * seen / self.temperature, bias / self.temperature)

    def towards_logistic(
        self, X: NDArray[Any], rows: NDArray[np.int64], labels: NDArray[np.int64], steps: int
    ) -> Linear:
        """Take steps down the log loss of the training rows, with a penalty on squared weights.

        The penalty follows from the temperature: of all multiples of the discriminants, the one
        that leave-one-out chose is to have the least penalised loss. It is at least that on the
        discriminants before the temperature shrinks them, times the log loss's mean curvature.

        Parameters
        ----------
        X, rows, labels
            What was fitted: rows `rows` of X, shape (n, d), and their labels.
        steps
            How many; 0 gives the discriminants.
        """
        from scipy.linalg import cho_solve

        found, counts = self.discriminants, self.discriminants.sums.counts
        centre = counts @ found.sums.means / counts.sum()
        at, penalty = self.linear, None
        logits = at.logits(X)[rows]
        residual = np.zeros((len(X), len(counts)), X.dtype)  # all rows as they lie: no copy
        for _ in range(steps):
            curvature = 0.0
            for part in _parts(len(rows)):
                chances = _softmax(logits[part])
                residual[rows[part]] = chances
                if penalty is None:
                    curvature += float(np.sum(chances * (1 - chances), dtype=np.float64))
            residual[rows, labels] -= 1
            excess = residual.sum(axis=0, dtype=np.float64)
            slope = X.T @ residual - np.outer(centre, excess)
            if penalty is None:
                least = self.temperature**2 * found.penalty * curvature / logits.size
                size = max(np.sum(at.weights**2), np.finfo(float).tiny)
                penalty = max(least, -np.sum(slope * at.weights) / size)
            slope += penalty * at.weights
            turn = -cho_solve((found.lower, True), slope, check_finite=False)
            step = Linear(turn, -excess / counts.sum() - centre @ turn)
            along = step.logits(X)[rows]
            far = _how_far(logits, along, labels, penalty, at.weights, turn)
            at = Linear(at.weights + far * step.weights, at.bias + far * step.bias)
            logits += X.dtype.type(far) * along
        return at


@dataclass(frozen=True)
class Prepared:
    """The features, and the sum that all folds share.

    Parameters
    ----------
    X
        Scaled features, shape (n, d), float32.
    products
        `gram(X)`.
    """

    X: NDArray[np.float32]
    products: NDArray[np.float64]


@dataclass(frozen=True)
class Ridge:
    """Linear discriminants with a ridge penalty, all folds from one sum of products, made better.

    A few steps towards logistic regression find more of the errors that people make on hard items.

    Medians, scales and categories are those of all items, held-out ones too, as is usual for
    embeddings. Held-out labels are not looked at.

    Parameters
    ----------
    features
        How it sees the items.
    search
        How strong the penalty is, and how sure the predictions.
    steps
        From the discriminants towards logistic regression; see `Fitted.towards_logistic`.
    rows_a_column
        Steps are taken from so many training rows for each column: with fewer, the discriminants
        alone know held-out rows better, by the log loss.
    max_categories
        Of each column of categories, the most frequent ones; the others count as one.
    """

    features: Features
    search: Search = field(default_factory=Search)
    steps: int = 2
    rows_a_column: float = 8.0
    max_categories: int = 100

    @property
    def name(self) -> str:
        """`FEATURES+ridge`."""
        return f"{self.features.name}+ridge"

    def prepare(self, dataset: Dataset, *, cache: Path | None, progress: Progress | None) -> Inputs:
        """Make the features, and sum up their products."""
        from labelfix.predict.tabular import one_thread

        found = self.features.extract(dataset, cache=cache, progress=progress)
        with one_thread():
            return Inputs(prepared(found.data, self.max_categories), found.embeddings)

    def fit_predict(
        self,
        data: Prepared,
        job: FoldJob,
        progress: Progress | None,  # noqa: ARG002 # part of the protocol; it is done at once
    ) -> FoldResult:
        """Fit the training rows, and predict the others."""
        from labelfix.predict.tabular import one_thread

        with one_thread():
            sums = Sums.of(_products(data, job.train), data.X, job.train, job.labels, job.n_classes)
            _, found = _learned(self, sums, data.X, job.train, job.labels, job.seed)
            held_out = [
                found.predict(data.X[job.test[start : start + _ROWS]])
                for start in range(0, len(job.test) or 1, _ROWS)
            ]
            return FoldResult(np.concatenate(held_out))


@dataclass
class RidgeClassifier:
    """What `Ridge` does in a fold, as a classifier like those of scikit-learn.

    Parameters
    ----------
    search, steps, rows_a_column
        See `Ridge`.
    seed
        Which rows it chooses on.

    Examples
    --------
    >>> X, y = np.array([[0.0], [1.0], [4.0], [5.0]]), np.array([3, 3, 7, 7])
    >>> RidgeClassifier().fit(X, y).predict_proba(np.array([[0.0], [5.0]])).argmax(axis=1)
    array([0, 1])
    """

    search: Search = field(default_factory=Search)
    steps: int = 2
    rows_a_column: float = 8.0
    seed: int = 0

    def fit(self, X: NDArray[Any], y: NDArray[np.int64]) -> Self:
        """Choose the penalty, and learn from all rows; `fitted_` and `linear_` hold both."""
        self.classes_, codes = np.unique(y, return_inverse=True)
        seen, rows = np.asarray(X, dtype=np.float32), np.arange(len(codes))
        sums = Sums.of(gram(seen), seen, rows, codes, len(self.classes_))
        self.fitted_, self.linear_ = _learned(self, sums, seen, rows, codes, self.seed)
        return self

    def predict_proba(self, X: NDArray[Any]) -> NDArray[Any]:
        """Shape (m, classes seen)."""
        return self.linear_.predict(np.asarray(X, dtype=np.float32))


def prepared(table: Table, max_categories: int) -> Prepared:
    """Scale the features of all items, and sum up their products."""
    from labelfix.predict.tabular import encoder_for

    values, encoder = table.values, encoder_for(table, "scaled", max_categories)
    if not hasattr(encoder, "partial_fit"):
        X = np.ascontiguousarray(encoder.fit_transform(values), dtype=np.float32)
        return Prepared(X, gram(X))
    X = np.empty(
        values.shape, dtype=np.float32
    )  # numbers alone: rows that fit the cache are faster
    spans = [slice(start, start + _ROWS // 8) for start in range(0, len(X), _ROWS // 8)]
    for rows in spans:
        encoder.partial_fit(values[rows])
    for rows in spans:
        X[rows] = encoder.transform(values[rows])
    return Prepared(X, gram(X))


def gram(X: NDArray[Any], rows: NDArray[np.int64] | None = None) -> NDArray[np.float64]:
    """Sum the products of the columns, X'X, over some rows or all.

    In the precision of X for some thousand rows, then in float64.

    Examples
    --------
    >>> gram(np.array([[1, 2], [3, 4]], dtype=np.float32))
    array([[10., 14.],
           [14., 20.]])
    """
    total = np.zeros((X.shape[1], X.shape[1]))
    for start in range(0, len(X) if rows is None else len(rows), _ROWS):
        part = slice(start, start + _ROWS)
        block = X[part] if rows is None else X[rows[part]]
        total += block.T @ block
    return total


def _products(data: Prepared, train: NDArray[np.int64]) -> NDArray[np.float64]:
    """Give the products of the training rows, by looking at them or at the others: the fewer."""
    others = np.delete(np.arange(len(data.X)), train)
    if len(others) < len(train):
        return data.products - gram(data.X, others)
    return gram(data.X, train)


def _learned(
    model: Ridge | RidgeClassifier,
    sums: Sums,
    X: NDArray[Any],
    rows: NDArray[np.int64],
    labels: NDArray[np.int64],
    seed: int,
) -> tuple[Fitted, Linear]:
    """Choose the discriminants, and take the steps that the training rows are enough for."""
    fitted = model.search(sums, X, rows, labels, seed)
    steps = model.steps if len(rows) >= model.rows_a_column * X.shape[1] else 0
    return fitted, fitted.towards_logistic(X, rows, labels, steps)


def _log_shares(counts: NDArray[np.int64]) -> NDArray[np.float64]:
    with np.errstate(divide="ignore"):
        return np.asarray(np.log(counts / counts.sum(axis=-1, keepdims=True)))


def _how_far(
    logits: NDArray[Any],
    along: NDArray[Any],
    labels: NDArray[np.int64],
    penalty: float,
    weights: NDArray[np.float64],
    turn: NDArray[np.float64],
) -> float:
    """Find the least of the penalised log loss at `logits + far * along`: Newton, and halving."""
    given = along[np.arange(len(labels)), labels].sum(dtype=np.float64)
    far, low, high, first = 0.0, 0.0, np.inf, None
    for _ in range(_LOOKS):
        slope = float(penalty * np.sum((weights + far * turn) * turn) - given)
        curvature = float(penalty * np.sum(turn**2))
        for part in _parts(len(labels)):
            ways = along[part]
            chances = _softmax(logits[part] + logits.dtype.type(far) * ways)
            mean = np.einsum("mk,mk->m", chances, ways)
            square = np.einsum("mk,mk,mk->m", chances, ways, ways)
            slope += float(mean.sum(dtype=np.float64))
            curvature += float((square - mean**2).sum(dtype=np.float64))
        first = slope if first is None else first
        if abs(slope) <= _FLAT * abs(first) or not curvature > 0:
            break
        low, high = (far, high) if slope < 0 else (low, far)
        far -= slope / curvature
        if not low < far < high:
            far = (low + high) / 2
    return far


def _parts(count: int) -> list[slice]:
    return [slice(start, start + _ROWS) for start in range(0, count, _ROWS)]


def _softmax(logits: NDArray[Any]) -> NDArray[Any]:
    exp = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(exp / exp.sum(axis=1, keepdims=True))
