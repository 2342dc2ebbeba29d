"""Whether the order that learns from decisions finds errors sooner than the fixed one.

    LABELFIX_DATA=../shared/data python benchmarks/review_order.py --write

plays reviews with the truth as the reviewer, on the stored probabilities of five networks for
CIFAR-10N (aggregate) and five for hand-drawn numerals, and counts the errors found within budgets.
Prints the tables, and with `--write` puts them into docs/benchmarks/review-order.md. Nothing was
chosen on the numerals.
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

import labelfix
from labelfix.decisions import Replay, decide
from labelfix.review.order import Adaptive
from labelfix.review.queue import WRONG, Queue, Settings
from labelfix.review.status import estimate_errors

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from labelfix.decisions import Action

ROOT = Path(__file__).parent.parent
DATA = Path(os.environ.get("LABELFIX_DATA", ROOT / "../shared/data"))
PAGE = ROOT / "docs" / "benchmarks" / "review-order.md"
BUDGETS = (0.01, 0.02, 0.05, 0.1, 0.15, 0.2)
STEPS = 400
"""The order is learned anew so many times within the largest budget."""


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
    orders = order_table(cases)
    print(orders)
    intervals = interval_table(cases[-1], options.reviews)
    print(intervals)
    if options.write:
        PAGE.write_text(page(orders, intervals, options.reviews))


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


def order_table(cases: list[Case]) -> str:
    """Share of all errors found within budgets, fixed and learned."""
    budgets = " | ".join(f"{budget:.0%}" for budget in BUDGETS)
    lines = [
        f"| set | model | errors | {budgets} | mean over the first fifth | ms to learn |",
        f"|---|---|---|{'---|' * (len(BUDGETS) + 2)}",
    ]
    for case in cases:
        fixed = np.cumsum(case.wrong)
        learned, milliseconds = play(case)
        cells = []
        for budget in BUDGETS:
            at = round(budget * len(case.wrong)) - 1
            cells.append(pair(fixed[at] / fixed[-1], learned[at] / fixed[-1]))
        most = round(max(BUDGETS) * len(case.wrong))
        means = [curve[:most].mean() / fixed[-1] for curve in (fixed, learned)]
        cells += [pair(means[0], means[1]), f"{milliseconds:.0f}"]
        lines.append(f"| {case.family} | {case.model} | {fixed[-1]} | {' | '.join(cells)} |")
    return "\n".join(lines)


def pair(fixed: float, learned: float) -> str:
    """Write two shares, the better one bold."""
    words = [f"{fixed:.3f}", f"{learned:.3f}"]
    if words[0] != words[1]:
        best = int(learned > fixed)
        words[best] = f"**{words[best]}**"
    return " → ".join(words)


def play(case: Case) -> tuple[NDArray[np.int64], float]:
    """Review up to the largest budget in the order that learns; errors found after each."""
    queue = Queue(case.issues, Replay(), Settings(audit=0, audit_least=0))
    quality = case.issues["quality"].to_numpy()
    most = round(max(BUDGETS) * len(case.wrong))
    step = max(1, most // STEPS)
    seen = np.zeros(len(case.wrong), bool)
    shown: list[int] = []
    seconds = []
    while len(shown) < most:
        start = time.perf_counter()
        score = -np.arange(len(seen), dtype=np.float64)
        if shown:
            rows = np.array(shown)
            score = Adaptive().learn(quality, queue.groups, rows, case.wrong[rows]).log_odds
        seconds.append(time.perf_counter() - start)
        left = np.flatnonzero(~seen)
        some = left[np.argsort(-score[left], kind="stable")[:step]]
        seen[some] = True
        shown += some.tolist()
    found: NDArray[np.int64] = np.cumsum(case.wrong[shown])
    return found, 1000 * float(np.median(seconds))


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


def page(orders: str, intervals: str, reviews: int) -> str:
    """Wrap the tables in words."""
    return f"""# The order of a review

<!-- written by benchmarks/review_order.py: run it again rather than edit this -->

A review in which the truth decides: is the label wrong or not? Share of all errors found after
looking at so many per cent of the set, in the fixed order → in the order that learns from the
decisions (`labelfix.review.order.Adaptive`, default parameters, learned anew {STEPS} times). The
second to last column is the mean of that share over all budgets up to 20 %. CIFAR-10N (aggregate,
50,000 images, noisylabels.com) and hand-drawn numerals (1,443 images) with the stored out-of-fold
probabilities of github.com/cleanlab/label-error-detection-benchmarks. Nothing was chosen on the
numerals.

{orders}

## What is left

{reviews} reviews of the last of these sets with other audit slices each (20 % of the set), stopped
after so many were shown: how often the 95 % interval for the errors left holds what is really left.

{intervals}

To repeat: `python benchmarks/review_order.py --write`
"""


if __name__ == "__main__":
    main()
