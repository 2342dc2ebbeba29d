"""Discriminants whose folds cost one look: equal to fits from scratch, and finding errors."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import brentq
from scipy.special import softmax
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score

from labelfix.errors import InputError
from labelfix.predict import out_of_fold
from labelfix.predict.closed_form import (
    Discriminants,
    Prepared,
    Ridge,
    RidgeClassifier,
    Search,
    Sums,
    gram,
)
from labelfix.predict.models import FoldJob
from labelfix.predict.names import resolve
from labelfix.predict.tabular import Columns, Head, Table
from labelfix.schema import Dataset
from labelfix.score.combine import head_to_head

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray


def cloud(n: int, d: int, k: int, seed: int) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, k, n)
    X = rng.normal(0, 1, (n, d)) + 2 * rng.normal(0, 1, (k, d))[labels]
    return X, labels


def sums_of(X: NDArray[Any], y: NDArray[np.int64], k: int) -> Sums:
    return Sums.of(gram(X), X, np.arange(len(y)), y, k)


def by_hand(
    X: NDArray[Any], y: NDArray[np.int64], k: int, penalty: float, rows: NDArray[Any]
) -> NDArray[np.float64]:
    """Logits by the textbook: distances to the means in the metric of the scatter, and shares."""
    means = np.array([X[y == c].mean(axis=0) if (y == c).any() else X[0] for c in range(k)])
    centred = X - means[y]
    metric = np.linalg.inv(centred.T @ centred + penalty * np.eye(X.shape[1])) * len(X)
    off = rows[:, None] - means
    with np.errstate(divide="ignore"):
        shares = np.log(np.bincount(y, minlength=k) / len(y))
    return np.asarray(shares - np.einsum("mkd,de,mke->mk", off, metric, off) / 2)


def assert_same_logits(one: NDArray[Any], other: NDArray[Any]) -> None:
    """Alike but for a number a row; classes without rows are ruled out in both."""
    assert (np.isneginf(one) == np.isneginf(other)).all()
    one, other = (np.where(np.isneginf(z), np.nan, z) for z in (one, other))
    one, other = (z - np.nanmax(z, axis=1, keepdims=True) for z in (one, other))
    np.testing.assert_allclose(one, other, rtol=1e-7, atol=1e-7 * max(1, np.nanmax(-other)))


SHAPES = st.tuples(st.integers(8, 40), st.integers(1, 12), st.integers(2, 5), st.integers(0, 99))
LARGER = st.tuples(st.integers(40, 80), st.integers(1, 6), st.integers(2, 5), st.integers(0, 99))
PENALTIES = st.sampled_from([0.1, 1.0, 30.0])


@given(SHAPES, PENALTIES)
@settings(max_examples=40)
def test_the_fit_is_the_textbooks(shape: tuple[int, int, int, int], penalty: float) -> None:
    X, y = cloud(*shape)
    found = Discriminants.fit(sums_of(X, y, shape[2]), penalty)
    assert_same_logits(found.logits(X), by_hand(X, y, shape[2], penalty, X))


@given(SHAPES, PENALTIES)
@settings(max_examples=30)
def test_leaving_one_out_is_a_fit_without_it(
    shape: tuple[int, int, int, int], penalty: float
) -> None:
    X, y = cloud(*shape)
    k = shape[2]
    found = Discriminants.fit(sums_of(X, y, k), penalty).leave_one_out(X, y)
    for row in range(len(y)):
        others = np.arange(len(y)) != row
        if not (y[others] == y[row]).any():
            assert np.isnan(found[row, y[row]])
            continue
        expected = by_hand(X[others], y[others], k, penalty, X[[row]])
        assert_same_logits(found[[row]], expected)


def fold_jobs(y: NDArray[np.int64], k: int, folds: int, *, part: bool) -> Iterator[FoldJob]:
    """Every fold in turn; with `part` of a trial on a part of the rows."""
    fold = np.arange(len(y)) % folds
    for one in range(folds):
        train, test = np.flatnonzero(fold != one), np.flatnonzero(fold == one)
        if part:
            train = train[: len(train) // 2]
        yield FoldJob(train, y[train], test, k, seed=0)


@given(SHAPES, st.integers(2, 6), st.booleans())
@settings(max_examples=40)
def test_each_fold_is_a_fit_of_the_others(
    shape: tuple[int, int, int, int], folds: int, part: bool
) -> None:
    X, y = cloud(*shape)
    k = shape[2]
    data = Prepared(X.astype(np.float32), gram(X.astype(np.float32)))
    model = Ridge(Columns(), Search(penalties=(0.5,), temperatures=(1.0,)), steps=0)
    for job in fold_jobs(y, k, folds, part=part):
        found = model.fit_predict(data, job, None).pred_probs
        logits = by_hand(X[job.train], job.labels, k, 0.5 * len(job.train), X[job.test])
        expected = softmax(logits, axis=1)
        np.testing.assert_allclose(found, expected, rtol=1e-3, atol=2e-5)


def stepped_by_hand(
    X: NDArray[Any],
    y: NDArray[np.int64],
    k: int,
    relative: float,
    t: float,
    steps: int,
    rows: NDArray[Any],
) -> NDArray[np.float64]:
    """Predict `rows` by steps from the discriminants: X centred, the curvature written out."""
    ridge = relative * len(X)
    centre, present = X.mean(axis=0), np.unique(y)
    X, rows, y = X - centre, rows - centre, np.searchsorted(present, y)
    means = np.array([X[y == c].mean(axis=0) for c in range(len(present))])
    within = (X - means[y]).T @ (X - means[y]) + ridge * np.eye(X.shape[1])
    W = np.linalg.solve(within, means.T) * len(X)
    b = np.log(np.bincount(y) / len(y)) - (means.T * W).sum(axis=0) / 2
    W, b = (W - W.mean(axis=1, keepdims=True)) / t, b / t
    Y = np.eye(len(present))[y]
    chances = softmax(X @ W + b, axis=1)
    held = np.sum(X.T @ (Y - chances) * W) / max(np.sum(W**2), 1e-300)
    penalty = max(held, t**2 * (chances * (1 - chances)).sum() / len(X) / k * ridge)

    def slope(far: float, W: Any, b: Any, turn: Any, lift: Any) -> float:
        along, moved = X @ turn + lift, W + far * turn
        over = softmax(X @ moved + b + far * lift, axis=1) - Y
        return float(np.sum(over * along) + penalty * np.sum(moved * turn))

    for _ in range(steps):
        over = softmax(X @ W + b, axis=1) - Y
        turn = -np.linalg.solve(within, X.T @ over + penalty * W)
        line = (W, b, turn, -over.mean(axis=0))
        far = brentq(slope, 0, 1e4, line, xtol=1e-12) if slope(0, *line) < -1e-9 else 0.0
        W, b = W + far * turn, b - far * over.mean(axis=0)
    found = np.zeros((len(rows), k))
    found[:, present] = softmax(rows @ W + b, axis=1)
    return found


@given(LARGER, st.integers(2, 6), st.booleans(), st.integers(1, 3))
@settings(max_examples=40)
def test_steps_of_each_fold_are_those_of_the_others(
    shape: tuple[int, int, int, int], folds: int, part: bool, steps: int
) -> None:
    X, y = cloud(*shape)
    k = shape[2]
    y = np.where(np.arange(len(y)) % 3, y, y[::-1])  # none so sure that float32 cannot tell
    data = Prepared(X.astype(np.float32), gram(X.astype(np.float32)))
    search = Search(penalties=(0.5,), temperatures=(10.0,))
    model = Ridge(Columns(), search, steps, rows_a_column=0)
    for job in fold_jobs(y, k, folds, part=part):
        found = model.fit_predict(data, job, None).pred_probs
        expected = stepped_by_hand(X[job.train], job.labels, k, 0.5, 10.0, steps, X[job.test])
        np.testing.assert_allclose(found, expected, rtol=1e-3, atol=5e-4)


def test_enough_steps_arrive_at_logistic_regression() -> None:
    X, y = cloud(300, 5, 3, 0)
    y = np.where(np.arange(300) % 10, y, 0)
    rows = np.arange(300)
    fitted = Search()(sums_of(X, y, 3), X, rows, y, seed=0)
    found = fitted.towards_logistic(X, rows, y, steps=200)
    pull = X.T @ (np.eye(3)[y] - found.predict(X))
    penalty = np.sum(pull * found.weights) / np.sum(found.weights**2)
    assert penalty > 0
    expected = LogisticRegression(C=1 / penalty, tol=1e-8, max_iter=1000).fit(X, y)
    np.testing.assert_allclose(found.predict(X), expected.predict_proba(X), atol=1e-4)


@pytest.mark.parametrize(("rows", "stepped"), [(159, False), (160, True)])
def test_few_rows_stay_with_the_discriminants(rows: int, stepped: bool) -> None:
    X, y = cloud(rows, 20, 3, 0)
    y = np.where(np.arange(rows) % 5, y, 0)
    usual, without = (RidgeClassifier(steps=steps).fit(X, y) for steps in (2, 0))
    alike = np.allclose(usual.predict_proba(X), without.predict_proba(X), atol=1e-6)
    assert alike is not stepped


def digits() -> tuple[Dataset, NDArray[np.bool_], Table]:
    """Scikit-learn's digits as a table, 8 % of the labels wrong."""
    X, truth = load_digits(return_X_y=True)
    rng = np.random.default_rng(0)
    wrong = rng.random(len(truth)) < 0.08
    labels = np.where(wrong, (truth + rng.integers(1, 10, len(truth))) % 10, truth)
    names = [f"{row}" for row in range(len(truth))]
    columns = {f"pixel{k}": X[:, k] for k in range(64)}
    items = pl.DataFrame({"item_id": names, **columns})
    annotations = pl.DataFrame(
        {"annotation_id": names, "item_id": names, "label": labels.astype(str)}
    )
    classes = tuple(map(str, range(10)))
    dataset = Dataset(items, annotations, classes, "memory", feature_columns=tuple(columns))
    return dataset, wrong, Table(X, 64)


def test_ridge_is_a_short_name_and_finds_planted_errors() -> None:
    dataset, wrong, _ = digits()
    assert isinstance(resolve("ridge", dataset), Ridge)
    assert resolve("pixels+ridge", dataset).name == "pixels+ridge"
    predictions = out_of_fold(dataset, "ridge", duplicates=None)
    assert predictions.model == "columns+ridge"
    quality = head_to_head(dataset.labels, predictions.pred_probs)
    assert average_precision_score(wrong, -quality) > 0.94


def test_ridge_in_a_head_learns_the_same_but_for_the_scales_of_its_training_rows() -> None:
    dataset, _, _ = digits()
    shared = out_of_fold(dataset, "ridge", folds=3, duplicates=None).pred_probs
    apart = out_of_fold(dataset, Head("ridge"), folds=3, duplicates=None).pred_probs
    assert (shared.argmax(axis=1) == apart.argmax(axis=1)).mean() > 0.98


def test_a_class_alone_and_a_class_missing_are_coped_with() -> None:
    X, y = cloud(30, 4, 3, 0)
    y[:] = y % 2
    y[0] = 2
    sums = sums_of(X, y, 5)
    fitted = Search()(sums, X, np.arange(30), y, seed=0)
    predicted = fitted.towards_logistic(X, np.arange(30), y, steps=2).predict(X)
    np.testing.assert_allclose(predicted.sum(axis=1), 1)
    assert (predicted[:, 3:] == 0).all()
    two = np.array([0, 1])
    alone = Search()(sums_of(X[:2], two, 2), X[:2], two, two, seed=0)
    assert np.isfinite(alone.towards_logistic(X[:2], two, two, steps=2).predict(X)).all()


@pytest.mark.parametrize("classes", [1, 2])
def test_what_is_told_apart_with_ease_stays_in_numbers(classes: int) -> None:
    y = np.arange(40) % classes
    X = (100.0 * y[:, None] + np.random.default_rng(0).normal(0, 1, (40, 3))).astype(np.float32)
    predicted = RidgeClassifier().fit(X, y).predict_proba(X)
    assert (predicted.argmax(axis=1) == y).all()
    np.testing.assert_allclose(predicted.sum(axis=1), 1, rtol=1e-5)


def test_what_cannot_be_fitted_is_refused() -> None:
    X, y = cloud(10, 2, 2, 0)
    with pytest.raises(InputError, match="a number above 0"):
        Discriminants.fit(sums_of(X, y, 2), 0.0)
    with pytest.raises(InputError, match="nothing to try"):
        Search(penalties=())
