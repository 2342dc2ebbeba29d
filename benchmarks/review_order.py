"""Whether the order that learns from decisions finds errors sooner than the fixed one.

    LABELFIX_DATA=../shared/data python benchmarks/review_order.py --write

plays reviews with the truth as the reviewer, and counts the errors found within budgets: on the
stored probabilities of five networks for CIFAR-10N (aggregate) and five for hand-drawn numerals,
and for the choice of the defaults, on digits, MNIST and CIFAR-10's test set. Prints the tables, and
with `--write` puts them into docs/benchmarks/review-order.md. Nothing was chosen on CIFAR-10N and
numerals. Takes some ten minutes on one core.
"""

from __future__ import annotations

import argparse
import os
import time
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import polars as pl
from ranking import digits, mnist, spoil
from scipy.stats import beta
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import labelfix
from labelfix.decisions import Replay, decide
from labelfix.review.order import Adaptive
from labelfix.review.queue import WRONG, Queue, Settings
from labelfix.review.status import estimate_errors

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from numpy.typing import NDArray

    from labelfix.decisions import Action

ROOT = Path(__file__).parent.parent
DATA = Path(os.environ.get("LABELFIX_DATA", ROOT / "../shared/data"))
PAGE = ROOT / "docs" / "benchmarks" / "review-order.md"
BUDGETS = (0.01, 0.02, 0.05, 0.1, 0.15, 0.2)
STEPS = 400
"""The order is learned anew so many times within the largest budget."""
TRIED = ((5, 10), (20, 10), (40, 10), (80, 10), (40, 5), (30, 20))
"""Shrinkage and steadiness."""
STEPS_TRIED = 150


@dataclass(frozen=True, eq=False)
class Case:
    """A queue, and which of its rows are errors."""

    family: str
    model: str
    issues: pl.DataFrame
    wrong: NDArray[np.bool_]


def main() -> None:
    """Print, or write, the tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--write", action="store_true", help=f"write {PAGE.relative_to(ROOT)}")
    parser.add_argument("--reviews", type=int, default=20, help="reviews to test intervals with")
    options = parser.parse_args()
    warnings.simplefilter("ignore", labelfix.LabelfixWarning)
    cases = list(stored())
    orders, ahead = order_tables(cases)
    tables = {
        "orders": orders,
        "ahead": ahead,
        "choice": choice_table(list(others())),
        "intervals": interval_table(cases[-1], options.reviews),
    }
    for table in tables.values():
        print(table, end="\n\n")
    if options.write:
        PAGE.write_text(page(tables, options.reviews))


def stored() -> Iterator[Case]:
    """Queues of the stored probabilities, one a model."""
    places = {
        "CIFAR-10N": "label-error-detection-benchmarks/compact/cifar-10n-aggregate.npz",
        "numerals": "roman-numeral/dev/pred_probs_5models.npz",
    }
    for family, place in places.items():
        with np.load(DATA / place, allow_pickle=False) as file:
            names, given = file["models"].tolist(), file["given"].astype(np.int64)
            truth = file["is_error"] if "is_error" in file else given != file["true"]
            for name, pred_probs in zip(names, file["pred_probs"], strict=True):
                issues = labelfix.find_issues(given, pred_probs)
                rows = issues["item_id"].cast(pl.Int64).to_numpy()
                yield Case(family, name.partition("_patch")[0], issues, truth[rows])


def others() -> Iterator[Case]:
    """Queues that the defaults may be chosen on: planted errors in digits, CIFAR-10H's votes."""
    truth = np.load(
        DATA / "label-errors/original_test_labels/cifar10_test_set_original_labels.npy"
    ).astype(np.int64)
    votes = np.load(DATA / "cifar10h/data/cifar10h-counts.npy")
    shares = np.cumsum(votes / votes.sum(axis=1, keepdims=True), axis=1)
    files = {
        "efficientnet": "cifar10/cifar10_test_effnetlite0_cv5_pred_probs.npy",
        "stored": "label-errors/cross_validated_predicted_probabilities/cifar10_test_set_pyx.npy",
    }
    for seed in range(3):
        draw = np.random.default_rng(seed)
        labels = (draw.random((len(truth), 1)) < shares).argmax(axis=1)  # one person's vote each
        few = draw.permutation(len(truth))[:1500]
        for name, place in files.items():
            matrix = np.load(DATA / place).astype(np.float32)
            yield queued("CIFAR-10 test", name, labels, truth, matrix)
        yield queued("CIFAR-10 test, 1,500", name, labels[few], truth[few], matrix[few])
    for name, (features, known), seeds in (("digits", digits(), 3), ("MNIST", mnist(), 1)):
        for seed in range(seeds):
            for uneven in (False, True):
                yield from planted(name, features, known, seed, uneven=uneven)


def planted(
    name: str, features: NDArray[np.float64], truth: NDArray[np.int64], seed: int, *, uneven: bool
) -> Iterator[Case]:
    """Digits with 12 % of the labels changed in three ways, judged by two models out of fold."""
    draw = np.random.default_rng(seed)
    share = np.array([1, 0.1, 0.5, 1, 0.2, 0.3, 1, 0.1, 0.6, 0.8])[truth]
    kept = np.flatnonzero(~np.bool_(uneven) | (draw.random(len(truth)) < share))
    features, truth = features[kept], truth[kept]
    judge = KNeighborsClassifier(15, weights="distance")
    opinion = cross_val_predict(judge, features, truth, method="predict_proba", cv=5)
    logistic = make_pipeline(StandardScaler(), LogisticRegression(max_iter=200))
    folds = StratifiedKFold(5, shuffle=True, random_state=seed)
    for way in ("uniform", "pairs", "hard"):
        labels = spoil(truth, opinion, way, np.random.default_rng(seed), rate=0.12)
        for kind, model in (("logistic", logistic), ("knn", KNeighborsClassifier(10))):
            matrix = cross_val_predict(model, features, labels, method="predict_proba", cv=folds)
            yield queued(f"{name}, {way}", kind, labels, truth, matrix.astype(np.float32))


def queued(
    family: str,
    model: str,
    labels: NDArray[np.int64],
    truth: NDArray[np.int64],
    matrix: NDArray[np.float32],
) -> Case:
    """Rank labels."""
    issues = labelfix.find_issues(labels, matrix)
    rows = issues["item_id"].cast(pl.Int64).to_numpy()
    return Case(family, model, issues, (labels != truth)[rows])


def order_tables(cases: list[Case]) -> tuple[str, str]:
    """Share of all errors found within budgets, fixed and learned; and their difference."""
    budgets = " | ".join(f"{budget:.0%}" for budget in BUDGETS)
    lines = [
        f"| set | model | errors | {budgets} | mean over the first fifth | ms to learn |",
        f"|---|---|---|{'---|' * (len(BUDGETS) + 2)}",
    ]
    ahead = [f"| set | model | {budgets} |", f"|---|---|{'---|' * len(BUDGETS)}"]
    for case in cases:
        shown, milliseconds = play(case, Adaptive(), STEPS)
        fixed, learned = np.cumsum(case.wrong), np.cumsum(case.wrong[shown])
        cells = [pair(fixed[at - 1] / fixed[-1], learned[at - 1] / fixed[-1]) for at in ends(case)]
        most = ends(case)[-1]
        means = [curve[:most].mean() / fixed[-1] for curve in (fixed, learned)]
        cells += [pair(means[0], means[1]), f"{milliseconds:.0f}"]
        lines.append(f"| {case.family} | {case.model} | {fixed[-1]} | {' | '.join(cells)} |")
        found = [difference(case, shown, at) for at in ends(case)]
        words = [f"{one[0]:+.3f} ({one[1]:+.3f} to {one[2]:+.3f})" for one in found]
        ahead.append(f"| {case.family} | {case.model} | {' | '.join(words)} |")
    return "\n".join(lines), "\n".join(ahead)


def choice_table(cases: list[Case]) -> str:
    """Compare parameters of the order, over sets that nothing is reported on."""
    budgets = " | ".join(f"{budget:.0%}" for budget in BUDGETS)
    lines = [
        f"| shrinkage | steadiness | {budgets} | worst | surely behind | surely ahead |",
        f"|---|---|{'---|' * (len(BUDGETS) + 3)}",
    ]
    for shrinkage, steadiness in TRIED:
        strategy = Adaptive(shrinkage, steadiness)
        found = np.array(
            [
                [difference(case, shown, at) for at in ends(case)]
                for case in cases
                for shown in [play(case, strategy, STEPS_TRIED)[0]]
            ]
        )
        means = " | ".join(f"{mean:+.4f}" for mean in found[:, :, 0].mean(axis=0))
        behind, ahead = int((found[:, :, 2] < 0).sum()), int((found[:, :, 1] > 0).sum())
        worst = found[:, :, 0].min()
        lines.append(
            f"| {shrinkage} | {steadiness} | {means} | {worst:+.3f} | {behind} | {ahead} |"
        )
    return "\n".join(lines)


def ends(case: Case) -> list[int]:
    """Give how many are looked at within each budget."""
    return [round(budget * len(case.wrong)) for budget in BUDGETS]


def difference(case: Case, shown: NDArray[np.int64], at: int) -> tuple[float, float, float]:
    """How many more of all errors the learned order has found, with a 95 % interval.

    Errors that one order alone has found are told apart by a fair coin if the orders are equally
    good: Clopper and Pearson's interval for the share that is the learned order's.
    """
    seen = np.zeros(len(case.wrong), bool)
    seen[shown[:at]] = True
    early = np.arange(len(case.wrong)) < at
    ours, theirs = int((case.wrong & seen & ~early).sum()), int((case.wrong & early & ~seen).sum())
    both, all_errors = ours + theirs, int(case.wrong.sum())
    low = beta.ppf(0.025, ours, theirs + 1) if ours else 0.0
    high = beta.ppf(0.975, ours + 1, theirs) if theirs else 1.0
    scaled = [float(both * (2 * share - 1) / all_errors) for share in (low, high)]
    return (ours - theirs) / all_errors, scaled[0], scaled[1]


def pair(fixed: float, learned: float) -> str:
    """Write two shares, the better one bold."""
    words = [f"{fixed:.3f}", f"{learned:.3f}"]
    if words[0] != words[1]:
        best = int(learned > fixed)
        words[best] = f"**{words[best]}**"
    return " → ".join(words)


def play(case: Case, strategy: Adaptive, steps: int) -> tuple[NDArray[np.int64], float]:
    """Review up to the largest budget in the order that learns: what is shown, and ms to learn."""
    queue = Queue(case.issues, Replay(), Settings(audit=0, audit_least=0))
    quality = case.issues["quality"].to_numpy()
    most = ends(case)[-1]
    step = max(1, most // steps)
    seen = np.zeros(len(case.wrong), bool)
    shown: list[int] = []
    seconds = []
    while len(shown) < most:
        start = time.perf_counter()
        score = -np.arange(len(seen), dtype=np.float64)
        if shown:
            rows = np.array(shown)
            score = strategy.learn(quality, queue.groups, rows, case.wrong[rows]).log_odds
        seconds.append(time.perf_counter() - start)
        left = np.flatnonzero(~seen)
        some = left[np.argsort(-score[left], kind="stable")[:step]]
        seen[some] = True
        shown += some.tolist()
    return np.array(shown[:most]), 1000 * float(np.median(seconds))


def interval_table(case: Case, reviews: int) -> str:
    """How often the interval of `status` holds what is really left, over random audit slices."""
    lines = [
        "| reviewed | audited, mean | errors left, mean | interval, mean | holds |",
        "|---|---|---|---|---|",
    ]
    stops = (150, 300, 600)
    found: dict[int, list[tuple[int, int, int, int]]] = {stop: [] for stop in stops}
    for seed in range(reviews):
        replay = Replay()
        queue = Queue(case.issues, replay, Settings(seed=seed, audit=0.2))
        for done in range(1, max(stops) + 1):
            shown = queue.next("truth")[0]
            action: Action = "delete" if case.wrong[shown.row] else "keep"
            replay.extend(
                [
                    decide(
                        shown.issue,
                        action,
                        reviewer="truth",
                        fingerprint="benchmark",
                        source=shown.source,
                    )
                ]
            )
            if done in stops:
                one = estimate_errors(queue)
                left = int(case.wrong.sum()) - int((queue.state == WRONG).sum())
                found[done].append((one.audited, left, *one.left))
    for stop, rows in found.items():
        audited, left, low, high = np.array(rows).T
        holds = ((low <= left) & (left <= high)).sum()
        lines.append(
            f"| {stop} | {audited.mean():.0f} | {left.mean():.0f} | {low.mean():.0f} to "
            f"{high.mean():.0f} | {holds} of {reviews} |"
        )
    return "\n".join(lines)


def page(tables: Mapping[str, str], reviews: int) -> str:
    """Wrap the tables in words."""
    return f"""# The order of a review

<!-- written by benchmarks/review_order.py: run it again rather than edit this -->

A review in which the truth decides: is the label wrong or not? Share of all errors found after
looking at so many per cent of the set, in the fixed order → in the order that learns from the
decisions (`labelfix.review.order.Adaptive`, default parameters, learned anew {STEPS} times). The
second to last column is the mean of that share over all budgets up to 20 %. CIFAR-10N (aggregate,
50,000 images, noisylabels.com) and hand-drawn numerals (1,443 images) with the stored out-of-fold
probabilities of github.com/cleanlab/label-error-detection-benchmarks. Nothing was chosen on these.

{tables["orders"]}

How much further the learned order is, as a share of all errors, with a paired 95 % interval: of the
errors that one order alone has found, how many the learned one has (Clopper and Pearson).

{tables["ahead"]}

## How the defaults were chosen

On other sets: CIFAR-10's test images with one of CIFAR-10H's votes each as the label (three draws,
two models; one of them on 1,500 of the images too), and scikit-learn's digits and MNIST's test
images with 12 % of the labels changed uniformly, in pairs, and where items are hard, classes even
and uneven (two models, three draws of the digits). The mean of what the learned order is ahead by,
over these sets; the worst of all sets and budgets; and in how many of them the paired interval lies
wholly below, or above, 0. More shrinkage than at first (5) is less often behind, and less
steadiness makes up for what that costs.

{tables["choice"]}

## What is left

{reviews} reviews of the last set of the first table with other audit slices each (20 % of the set),
stopped after so many were shown: how often the 95 % interval for the errors left holds what is
really left.

{tables["intervals"]}

To repeat: `python benchmarks/review_order.py --write`
"""


if __name__ == "__main__":
    main()
