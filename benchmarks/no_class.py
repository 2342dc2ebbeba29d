"""Images that show none of the classes: how much all other classes should count.

    LABELFIX_DATA=../shared/data python benchmarks/no_class.py --write

takes classes out of scikit-learn's digits, of MNIST's test images and of CIFAR-10N, and leaves some
of their images in, labelled as one of the classes that stay, as a judge that takes no part later
sees them. Ranks by the likeliest other class and, more and more, by all others together. Prints the
tables, and with `--write` puts them into docs/benchmarks/no-class.md. What takes long is kept under
`--cache`. Needs `labelfix[vision]`.
"""

from __future__ import annotations

import argparse
import tempfile
import warnings
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from evidence import (
    DATA,
    ROOT,
    SEED,
    WAYS,
    Case,
    cifar_part,
    components,
    digits,
    kept,
    kept_head,
    kept_neighbors,
    mnist,
    spoilt,
)
from sklearn.ensemble import ExtraTreesClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from labelfix.score.combine import SLACK, combine, rivals_by_confusions

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

PAGE = ROOT / "docs" / "benchmarks" / "no-class.md"
SHARES = (0.0, 0.25, 0.5, 0.75, 1.0)
STRANGERS = 0.04
RATE = 0.05
IMAGES = 4_000
CIFAR_IMAGES = 7_000
DRAWS = 100
MOST_FOR_LOGISTIC = 100
"""Features; with more of them it takes minutes, and is not weak."""


@dataclass(frozen=True, eq=False)
class Set:
    """Features, labels, and which of them are wrong; `strange` are those of no class."""

    name: str
    features: NDArray[np.float32]
    labels: NDArray[np.int64]
    wrong: NDArray[np.bool_]
    strange: NDArray[np.bool_]

    def without(self, classes: Sequence[int], truth: NDArray[np.int64]) -> Set:
        """Take classes out but for a few of their images, which get labels of other classes."""
        draw = np.random.default_rng(SEED + sum(classes))
        out = np.isin(truth, classes)
        stay, strange = np.flatnonzero(~out), draw.permutation(np.flatnonzero(out))
        strange = strange[: round(STRANGERS * len(stay))]
        judge = ExtraTreesClassifier(100, random_state=SEED, min_samples_leaf=5)
        seen = judge.fit(self.features[stay], truth[stay]).predict_proba(self.features[strange])
        left = np.setdiff1d(np.unique(truth), classes)
        labels, wrong, marked = self.labels.copy(), self.wrong.copy(), self.strange.copy()
        labels[strange] = [draw.choice(left, p=chances) for chances in seen]
        wrong[strange] = marked[strange] = True
        rows = np.sort(np.concatenate([stay, strange]))
        rows = rows[np.isin(labels[rows], left)]
        return Set(
            f"{self.name}, without {' and '.join(map(str, classes))}",
            self.features[rows],
            np.searchsorted(left, labels[rows]),
            wrong[rows],
            marked[rows],
        )

    def cases(self, cache: Path) -> Iterator[tuple[Case, NDArray[np.bool_]]]:
        """Judge it by all that labelfix combines, and by a weak model alone."""
        seen = kept_head(cache, f"no-class-{self.name}", self.features, self.labels)
        near = kept_neighbors(cache, f"no-class-{self.name}", self.features)
        case = Case(
            self.name,
            self.name,
            self.labels,
            self.wrong,
            {"head": seen["pred_probs"]},
            {"head": seen["train_pred_probs"]},
            neighbors=near,
        )
        yield case, self.strange
        if self.features.shape[1] > MOST_FOR_LOGISTIC:
            return
        alone = kept(cache, f"no-class-logistic-{self.name}", self.logistic)["pred_probs"]
        name = f"{self.name}: logistic regression alone"
        models = {"logistic": alone}
        yield replace(case, name=name, models=models, seen={}, neighbors=None), self.strange

    def logistic(self) -> dict[str, NDArray[np.float32]]:
        """Predict out of fold by a linear model."""
        model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=200))
        folds = StratifiedKFold(5, shuffle=True, random_state=SEED)
        found = cross_val_predict(
            model, self.features, self.labels, method="predict_proba", cv=folds
        )
        return {"pred_probs": found.astype(np.float32)}


def main() -> None:
    """Print, or write, the tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    usual = Path(tempfile.gettempdir()) / "labelfix-benchmarks"
    parser.add_argument("--cache", type=Path, default=usual, help="folder of what takes long")
    parser.add_argument("--write", action="store_true", help=f"write {PAGE.relative_to(ROOT)}")
    options = parser.parse_args()
    options.cache.mkdir(parents=True, exist_ok=True)
    warnings.filterwarnings("ignore", module="sklearn")
    rows = [
        line(case, strange)
        for one in sets(options.cache)
        for case, strange in one.cases(options.cache)
    ]
    table = "\n".join([HEAD, *rows])
    print(table)
    if options.write:
        PAGE.write_text(page(table))


HEAD = (
    "| set | errors | of no class | 0 | 0.25 | 0.5 | 0.75 | 1 | 0.25 less 0 | 1 less 0 |\n"
    f"|---|{'---|' * 9}"
)


def sets(cache: Path) -> Iterator[Set]:
    """Give each set whole, and without some of its classes."""
    pixels, truth = digits()
    for way in WAYS:
        yield from both(f"digits, {way}", pixels, truth, way, [(3, 7), (1, 4)])
    images, truth = mnist()
    places = components(images)[:IMAGES, :12]
    for way in WAYS:
        yield from both(f"MNIST, {way}", places, truth[:IMAGES], way, [(4, 8)])
    rows, embeddings = cifar_part(cache)
    path = DATA / "label-error-detection-benchmarks/compact/cifar-10n-aggregate.npz"
    with np.load(path, allow_pickle=False) as people:
        rows = rows[:CIFAR_IMAGES]
        given, truth = (people[name][rows].astype(np.int64) for name in ("given", "true"))
    wrong = given != truth
    none = np.zeros_like(wrong)
    whole = Set("CIFAR-10N", embeddings[:CIFAR_IMAGES], given, wrong, none)
    yield whole
    for classes in ((2, 6), (3, 5)):
        yield whole.without(classes, truth)


def both(
    name: str,
    features: NDArray[np.float32],
    truth: NDArray[np.int64],
    way: str,
    without: Sequence[Sequence[int]],
) -> Iterator[Set]:
    """Plant errors, and take classes out of the result."""
    labels = spoilt(features, truth, way, RATE)
    wrong = labels != truth
    whole = Set(name, features, labels, wrong, np.zeros_like(wrong))
    yield whole
    for classes in without:
        yield whole.without(classes, truth)


def line(case: Case, strange: NDArray[np.bool_]) -> str:
    """Average precision for each share, and two differences with their intervals."""
    found = rivals_by_confusions(case.labels, combine(case.labels, case.evidence()).pred_probs)
    odds = [1 - found.quality(SLACK, share) for share in SHARES]
    draw, n = np.random.default_rng(SEED), len(case.labels)
    drawn = [np.arange(n), *(draw.integers(n, size=n) for _ in range(DRAWS))]
    values = np.array(
        [[average_precision_score(case.wrong[r], one[r]) for one in odds] for r in drawn]
    )
    cells = [f"{value:.3f}" for value in values[0]]
    cells += [difference(values[:, k] - values[:, 0]) for k in (1, -1)]
    return f"| {case.name} | {case.wrong.sum()} | {strange.sum()} | {' | '.join(cells)} |"


def difference(values: NDArray[np.float64]) -> str:
    """Write a difference with the middle 95 % of its draws."""
    low, high = np.quantile(values[1:], [0.025, 0.975])
    return f"{values[0]:+.3f} ({low:+.3f} to {high:+.3f})"


def page(table: str) -> str:
    """Wrap the table in words."""
    return f"""# Images that show none of the classes

<!-- written by benchmarks/no_class.py: run it again rather than edit this -->

Set against the likeliest other class alone, an image that shows none of the classes has no rival:
its probability is spread over all of them. Counting all others together (`all_others` of
`labelfix.score.HeadToHead`: 0 is the likeliest alone, 1 all together) finds it sooner. This table
says what that costs elsewhere. The default is 0.25.

From each set classes are taken out. As many of their images as {STRANGERS:.0%} of the others stay,
with labels of other classes, drawn from what a forest sees in them. Of the labels of digits and
MNIST (the first {IMAGES:,} test images, 12 principal components) {RATE:.0%} are wrong besides,
planted by `labelfix.inject`; those of CIFAR-10N ({CIFAR_IMAGES:,} images, frozen features of an
EfficientNet-Lite0) are people's. "Without" names the classes that were taken out; a set that names
none is whole. Judged by a head of one hidden layer with its training and ten neighbours, combined
as labelfix does, and, of digits and MNIST, by logistic regression alone. Average precision for five
values of `all_others`; differences with the middle 95 % of {DRAWS} bootstrap draws over the items.

{table}

Where images of no class are among the errors, counting all others finds more: in every set with all
evidence, and in most with a weak model alone. Where labels of one class became those of the next
(pair), or a weak model judges, it can find less; [ranking](ranking.md) says by how much. So a
quarter is the default. If many of your images may show none of the classes, in Python
`find_issues(..., score=HeadToHead(all_others=1))` looks for them first.

To repeat: `python benchmarks/no_class.py --write`
"""


if __name__ == "__main__":
    main()
