"""One sum of products instead of K fits: `ridge` beside `logistic`, in time and in errors found.

    python benchmarks/closed_form.py --write
    python benchmarks/closed_form.py --embeddings cifar.npz --write

Time is that of the process on one thread, on made-up features with the size and the spectrum of
embeddings. Errors are planted into digits and MNIST, where the steps towards logistic regression
and their penalty were chosen. `--embeddings` names a file with embeddings `X` of CIFAR-10 training
images and their `rows`, to compare what is found of the errors of CIFAR-10N (`LABELFIX_DATA`).
"""

from __future__ import annotations

import argparse
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from sklearn.metrics import average_precision_score, log_loss
from sklearn.model_selection import cross_val_predict
from sklearn.neighbors import KNeighborsClassifier
from sklearn.preprocessing import StandardScaler

from labelfix.folds import assign_folds
from labelfix.inject import instance_noise, pair_noise, symmetric_noise
from labelfix.predict.closed_form import Ridge, RidgeClassifier, prepared
from labelfix.predict.jobs import make_jobs
from labelfix.predict.tabular import Columns, Head, Table
from labelfix.score.combine import head_to_head

if TYPE_CHECKING:
    from numpy.typing import NDArray

FOLDS, CLASSES, RATE, DRAWS = 5, 10, 0.08, 3
MODELS = ("logistic", "discriminants", "ridge")
ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "benchmarks" / "closed-form.md"
DATA = ROOT / os.environ.get("LABELFIX_DATA", "../shared/data")


def main() -> None:
    """Measure, and print or write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=50_000)
    parser.add_argument("--columns", type=int, default=1_280)
    parser.add_argument("--folds-of-logistic", type=int, default=1, help="timed; the rest is like")
    parser.add_argument("--embeddings", type=Path, help=".npz with X and rows of CIFAR-10")
    parser.add_argument("--write", action="store_true", help="write the page")
    options = parser.parse_args()
    X, y, _ = made_up(options.rows, options.columns)
    page = f"""# One look instead of K fits

    python benchmarks/closed_form.py --embeddings cifar.npz --write

`--model ridge` beside `--model logistic`, {FOLDS} folds, scaling included, seconds of the process
on one thread. Made-up features: {options.rows:,} rows, {options.columns:,} columns. Of `logistic`
{options.folds_of_logistic} of the {FOLDS} folds was timed, and multiplied; of `ridge` all,
the median of 3 times.

{time_table(X, y, options.folds_of_logistic)}
{planted_table()}"""
    if options.embeddings is not None:
        page += f"\n{error_table(options.embeddings)}\n{rows_table(options.embeddings)}"
    print(page)
    if options.write:
        PAGE.write_text(page, encoding="utf-8")


def made_up(n: int, d: int) -> tuple[NDArray[np.float32], NDArray[np.int64], NDArray[np.bool_]]:
    """Features of which few directions hold most, labels of which a tenth is wrong."""
    rng = np.random.default_rng(0)
    truth = rng.integers(0, CLASSES, n)
    spread = np.arange(1, d + 1) ** -0.5
    X = rng.normal(0, 1, (n, d)).astype(np.float32)
    X += 0.6 * rng.normal(0, 1, (CLASSES, d)).astype(np.float32)[truth]
    X *= spread.astype(np.float32)
    mixed, _ = np.linalg.qr(rng.normal(0, 1, (d, d)).astype(np.float32))
    wrong = rng.random(n) < 0.1
    return X @ mixed, np.where(wrong, (truth + 1) % CLASSES, truth), wrong


def held_out(
    name: str, X: NDArray[np.float32], y: NDArray[np.int64], folds: int
) -> tuple[NDArray[np.float64], float]:
    """Predict the first folds, and time it: seconds for all."""
    jobs = make_jobs(y, assign_folds(y, FOLDS, seed=0), CLASSES, 0)
    table, pred_probs = Table(X, X.shape[1]), np.zeros((len(y), CLASSES))
    start = time.process_time()
    model: Any = Head("logistic")
    data: Any = table
    if name != "logistic":
        model = Ridge(Columns()) if name == "ridge" else Ridge(Columns(), steps=0)
        data = prepared(table, max_categories=100)
    for job in jobs[:folds]:
        pred_probs[job.test] = model.fit_predict(data, job, None).pred_probs
    return pred_probs, (time.process_time() - start) * len(jobs) / folds


def time_table(X: NDArray[np.float32], y: NDArray[np.int64], folds: int) -> str:
    """Compare the seconds."""
    ridge = float(np.median([held_out("ridge", X, y, FOLDS)[1] for _ in range(3)]))
    _, logistic = held_out("logistic", X, y, folds)
    return f"""| model | seconds | times as fast |
|---|---:|---:|
| logistic | {logistic:.0f} | 1 |
| ridge | {ridge:.1f} | **{logistic / ridge:.0f}** |
"""


def planted_table() -> str:
    """Compare what is found of planted errors, all folds of all."""
    lines = []
    for name, X, truth in (("digits", *digits()), ("MNIST", *mnist())):
        judged = cross_val_predict(
            KNeighborsClassifier(20, weights="distance"), X, truth, cv=3, method="predict_proba"
        )
        noises = {
            "symmetric": symmetric_noise(CLASSES, RATE)[truth],
            "pair": pair_noise(CLASSES, RATE)[truth],
            "by item": instance_noise(truth, judged, RATE),
        }
        for noise, chances in noises.items():
            drawn = np.random.default_rng(0).random(len(X))
            y = (chances.cumsum(axis=1) > drawn[:, None]).argmax(axis=1)
            found = [average_precision(model, X, y, truth)[0] for model in MODELS]
            lines.append(f"| {name} | {noise} | " + " | ".join(f"{ap:.3f}" for ap in found) + " |")
    return f"""Average precision in finding planted errors, {RATE:.0%} of the labels:
scikit-learn's digits, and the first 6,000 test images of MNIST (200 principal components).
`discriminants` is `ridge` without its steps towards logistic regression. How many steps, and the
penalty on them, was chosen on these sets and on CIFAR-10's test images with CIFAR-10H's votes.

| set | noise | {" | ".join(MODELS)} |
|---|---|---:|---:|---:|
{chr(10).join(lines)}
"""


def digits() -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Scikit-learn's digits."""
    X, truth = load_digits(return_X_y=True)
    return X.astype(np.float32), truth


def mnist() -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Principal components of test images of MNIST."""
    with np.load(DATA / "mnist/mnist_test.npz", allow_pickle=False) as stored:
        images, truth = stored["x"][:6_000], stored["y"][:6_000]
    pixels = images.reshape(len(images), -1) / 255
    found = PCA(200, random_state=0).fit_transform(pixels)
    return found.astype(np.float32), truth.astype(np.int64)


def average_precision(
    model: str, X: NDArray[np.float32], y: NDArray[np.int64], truth: NDArray[np.int64]
) -> tuple[float, float]:
    """Of the errors found by all folds; and seconds."""
    pred_probs, seconds = held_out(model, X, y, FOLDS)
    return float(average_precision_score(y != truth, -head_to_head(y, pred_probs))), seconds


def error_table(path: Path) -> str:
    """Compare what is found of CIFAR-10N's errors, all folds of both."""
    with np.load(path) as stored:
        X, rows = stored["X"], stored["rows"]
    with np.load(DATA / "cifar-n/cifar10_human.npz", allow_pickle=False) as labels:
        truth = labels["clean_label"][rows]
        given = {
            name: labels[f"{name}_label"][rows].astype(np.int64) for name in ("aggre", "worse")
        }
    lines = []
    for name, y in given.items():
        for model in MODELS:
            found, seconds = average_precision(model, X, y, truth)
            lines.append(
                f"| {name} | {(y != truth).sum():,} | {model} | {found:.3f} | {seconds:.1f} |"
            )
    return f"""Average precision in finding the errors of CIFAR-10N, {len(X):,} images through
EfficientNet-Lite0. Nothing was chosen on their true labels.

| labels | errors | model | average precision | seconds |
|---|---:|---|---:|---:|
{chr(10).join(lines)}
"""


def rows_table(path: Path) -> str:
    """Compare how well held-out rows are known with and without steps, by given labels alone."""
    with np.load(path) as stored:
        X, rows = stored["X"], stored["rows"]
    with np.load(DATA / "cifar-n/cifar10_human.npz", allow_pickle=False) as labels:
        given = labels["aggre_label"][rows].astype(np.int64)
    pixels, truth = digits()
    rng = np.random.default_rng(0)
    spoilt = np.where(rng.random(len(truth)) < RATE, rng.integers(0, CLASSES, len(truth)), truth)
    sets = {
        "digits": (StandardScaler().fit_transform(pixels), spoilt, (2, 4, 8, 16)),
        "CIFAR-10N": (StandardScaler().fit_transform(X), given, (0.5, 1, 2, 4, 8)),
    }
    lines = []
    for name, (features, y, ratios) in sets.items():
        for ratio in ratios:
            n = int(ratio * features.shape[1])
            cells = [_on_others(features, y, n, steps) for steps in (0, Ridge(Columns()).steps)]
            lines.append(f"| {name} | {n:,} | {ratio:g} | " + " | ".join(cells) + " |")
    usual = Ridge(Columns()).rows_a_column
    return f"""Share of right answers on held-out rows, and log loss, by the given labels (digits:
{RATE:.0%} of them drawn anew), mean over {DRAWS} draws of training rows. With fewer than {usual:g}
training rows for each column `ridge` takes no steps; that was chosen on this table.

| set | training rows | a column | discriminants | with steps |
|---|---:|---:|---:|---:|
{chr(10).join(lines)}
"""


def _on_others(X: NDArray[np.float32], y: NDArray[np.int64], n: int, steps: int) -> str:
    """Learn from n rows, some times, and judge the last thousand of the others."""
    figures = []
    for draw in range(DRAWS):
        order = np.random.default_rng(draw).permutation(len(y))
        train, test = order[:n], order[n:][-1000:]
        model = RidgeClassifier(steps=steps, rows_a_column=0).fit(X[train], y[train])
        said = model.predict_proba(X[test])
        right = (model.classes_[said.argmax(axis=1)] == y[test]).mean()
        figures.append((right, log_loss(y[test], said, labels=model.classes_)))
    right, loss = np.mean(figures, axis=0)
    return f"{right:.1%}, {loss:.3f}"


if __name__ == "__main__":
    main()
