"""What kind of error, and whether the given label is right at all, on ImageNet's validation images.

    LABELFIX_DATA=../shared/data python benchmarks/kinds.py --write

reads the top-1 votes of 34 networks, the reassessed labels ("ReaL") of all 50,000 images, and the
crowd's verdicts on 5,440 of them. Prints the tables, and with `--write` puts them into
docs/benchmarks/kinds.md. Nothing is fitted to the truth, except for one line that says so.
"""

from __future__ import annotations

import argparse
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.metrics import average_precision_score, roc_auc_score

from labelfix.schema import CLASS_KINDS
from labelfix.score.combine import HeadToHead, head_to_head, rivals
from labelfix.score.kinds import kind_scores, likeliest_kind

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

ROOT = Path(__file__).parent.parent
DATA = Path(os.environ.get("LABELFIX_DATA", ROOT / "../shared/data"))
PAGE = ROOT / "docs" / "benchmarks" / "kinds.md"
N_CLASSES = 1000


@dataclass(frozen=True, eq=False)
class Images:
    """ImageNet's validation images, in the order of the given labels.

    `kind`, `crowd`: index into `CLASS_KINDS` by ReaL and by the crowd; -1 where the label is right
    or nobody was asked.
    """

    labels: NDArray[np.int64]
    votes: NDArray[np.int64]
    given_is_real: NDArray[np.bool_]
    kind: NDArray[np.int64]
    crowd: NDArray[np.int64]


def main() -> None:
    """Print, or write, the tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--write", action="store_true", help=f"write {PAGE.relative_to(ROOT)}")
    options = parser.parse_args()
    images = read()
    shares = vote_shares(images, np.ones(len(images.votes)))
    tables = {"kinds": kind_table(images, shares), "errors": error_table(images, shares)}
    for name, table in tables.items():
        print(f"\n{name}\n\n{table}")
    if options.write:
        PAGE.parent.mkdir(parents=True, exist_ok=True)
        PAGE.write_text(page(tables))


def read() -> Images:
    """Bring labels, votes and verdicts into one order."""
    with np.load(DATA / "imagenet-real/imagenet_val_labels.npz", allow_pickle=False) as stored:
        labels = stored["label_folder_order"].astype(np.int64)
        number = stored["val_number_folder_order"]
    votes = DATA / "benchmarking-keras-pytorch/compact/imagenet_val_top1.npz"
    with np.load(votes, allow_pickle=False) as stored:
        top = stored["top1"].astype(np.int64)
    by_number = json.loads((DATA / "imagenet-real/real.json").read_text())
    real = [by_number[one - 1] for one in number]
    given_is_real = np.array([own in some for own, some in zip(labels, real, strict=True)])
    counts = np.array([len(some) for some in real])
    kind = np.full(len(labels), -1)
    kind[(counts == 1) & ~given_is_real] = 0
    kind[counts > 1] = 1
    kind[counts == 0] = 2
    return Images(labels, top, given_is_real, kind, read_crowd(number))


def read_crowd(number: NDArray[Any]) -> NDArray[np.int64]:
    """Read what five people each said of the images that confident learning had picked."""
    verdicts = json.loads((DATA / "label-errors/mturk/imagenet_mturk.json").read_text())
    rows = np.argsort(number)[[verdict["id"] - 1 for verdict in verdicts]]
    said = np.array(
        [[v["mturk"][answer] for answer in ("guessed", "both", "neither")] for v in verdicts]
    )
    given = np.array([verdict["mturk"]["given"] for verdict in verdicts])
    crowd = np.full(len(number), -1)
    crowd[rows] = np.where(given < 3, said.argmax(axis=1), -1)
    return crowd


def vote_shares(images: Images, weights: NDArray[np.float64]) -> NDArray[np.float32]:
    """Share of the (weighted) votes that each class gets, shape (n, 1000)."""
    n = len(images.labels)
    shares = np.zeros((n, N_CLASSES), dtype=np.float32)
    for top, weight in zip(images.votes, weights / weights.sum(), strict=True):
        shares[np.arange(n), top] += weight
    return shares


def kind_table(images: Images, shares: NDArray[np.float32]) -> str:
    """Describe how often the kind is ReaL's, for all of its errors and for those the crowd saw."""
    guessed, _ = likeliest_kind(kind_scores(images.labels, shares))
    scores = kind_scores(images.labels, shares)
    lines = [
        "| images | by | right | balanced | mislabeled | multi_label | none_of_the_classes |",
        "|---|---|---|---|---|---|---|",
    ]
    wrong = images.kind >= 0
    sets = {"all of ReaL's errors": wrong, "the crowd's errors too": wrong & (images.crowd >= 0)}
    for name, rows in sets.items():
        truth = images.kind[rows]
        title = f"{name} ({rows.sum():,})"
        commonest = np.full(len(truth), np.bincount(truth).argmax())
        if name != "all of ReaL's errors":
            lines.append(f"| {title} | the crowd | {describe(truth, images.crowd[rows])} |")
        lines.append(f"| {title} | the commonest kind | {describe(truth, commonest)} |")
        lines.append(f"| {title} | **labelfix, votes alone** | {describe(truth, guessed[rows])} |")
        learned = cross_fitted_kind(images, shares)[rows]
        lines.append(f"| {title} | *boosted trees, fitted to ReaL* | {describe(truth, learned)} |")
    areas = [roc_auc_score(images.kind[wrong] == k, scores[wrong, k]) for k in range(3)]
    told = ", ".join(f"{kind} {area:.3f}" for kind, area in zip(CLASS_KINDS, areas, strict=True))
    return "\n".join(lines) + f"\n\nAUROC of each score among all of ReaL's errors: {told}."


def describe(truth: NDArray[np.int64], said: NDArray[np.int64]) -> str:
    """Accuracy, its mean over the kinds, and the recall of each."""
    recalls = [float((said[truth == kind] == kind).mean()) for kind in range(3)]
    figures = [float((said == truth).mean()), float(np.mean(recalls)), *recalls]
    return " | ".join(f"{figure:.3f}" for figure in figures)


def cross_fitted_kind(images: Images, shares: NDArray[np.float32]) -> NDArray[np.int64]:
    """Guess the kind with trees that saw the truth of the other half of the classes."""
    features = simple_features(images, shares)
    balance = 1 / np.bincount(images.kind[images.kind >= 0])
    said = np.zeros(len(images.labels), dtype=np.int64)
    for fit, use in class_halves(images.labels):
        rows = fit & (images.kind >= 0)
        trees = HistGradientBoostingClassifier(learning_rate=0.05, random_state=0)
        trees.fit(features[rows], images.kind[rows], sample_weight=balance[images.kind[rows]])
        said[use] = trees.predict(features[use])
    return said


def error_table(images: Images, shares: NDArray[np.float32]) -> str:
    """Average precision in finding images whose given label is not among ReaL's."""
    wrong = ~images.given_is_real
    found = rivals(images.labels, shares)
    weights = (images.votes == images.labels).mean(axis=1)
    weighted = vote_shares(images, weights)
    rankings: dict[str, NDArray[Any]] = {
        "share of the given class": found.given,
        "margin of the given class": found.given - found.rival_prob,
        "head to head, no slack": found.quality(0),
        "head to head alone": head_to_head(images.labels, shares),
        "**labelfix's default**": HeadToHead().score(images.labels, shares),
        "**the same, votes weighted by agreement with the labels**": HeadToHead().score(
            images.labels, weighted
        ),
        "*boosted trees, fitted to ReaL*": -cross_fitted_error(images, shares),
    }
    margin = rankings["margin of the given class"]
    draw = np.random.default_rng(0)
    samples = [draw.integers(len(wrong), size=len(wrong)) for _ in range(200)]
    lines = ["| ranked by | AP | AP less the margin's, 95 % | AUROC |", "|---|---|---|---|"]
    base = [average_precision_score(wrong[s], -margin[s]) for s in samples]
    for name, quality in rankings.items():
        drawn = [average_precision_score(wrong[s], -quality[s]) for s in samples]
        low, high = np.quantile(np.subtract(drawn, base), [0.025, 0.975])
        precision = average_precision_score(wrong, -quality)
        area = roc_auc_score(wrong, -quality)
        lines.append(f"| {name} | {precision:.3f} | {low:+.3f} to {high:+.3f} | {area:.3f} |")
    return "\n".join(lines)


def cross_fitted_error(images: Images, shares: NDArray[np.float32]) -> NDArray[np.float64]:
    """Score errors with trees that saw the truth of the other half of the classes."""
    features = simple_features(images, shares)
    score = np.zeros(len(images.labels))
    for fit, use in class_halves(images.labels):
        trees = HistGradientBoostingClassifier(learning_rate=0.05, random_state=0)
        trees.fit(features[fit], ~images.given_is_real[fit])
        score[use] = trees.predict_proba(features[use])[:, 1]
    return score


def simple_features(images: Images, shares: NDArray[np.float32]) -> NDArray[np.float64]:
    """Tell what votes can tell: shares, their entropy, and how often classes are confused."""
    n = len(images.labels)
    found = rivals(images.labels, shares)
    confusion = np.zeros((N_CLASSES, N_CLASSES))
    np.add.at(confusion, images.labels, shares)
    confusion /= np.bincount(images.labels, minlength=N_CLASSES)[:, None]
    own, other = images.labels, found.rival
    entropy = -(shares * np.log(np.maximum(shares, 1e-12))).sum(axis=1)
    columns = [found.given, found.rival_prob, entropy, confusion[own, own], confusion[other, other]]
    columns += [confusion[own, other], confusion[other, own]]
    return np.stack(columns, axis=1).reshape(n, -1)


def class_halves(
    labels: NDArray[np.int64],
) -> list[tuple[NDArray[np.bool_], NDArray[np.bool_]]]:
    """Rows to fit and rows to use: two halves of the classes, both ways."""
    half = (np.random.default_rng(0).permutation(N_CLASSES) % 2 == 0)[labels]
    return [(half, ~half), (~half, half)]


def page(tables: Mapping[str, str]) -> str:
    """Wrap the tables in words."""
    return f"""# What kind of error

<!-- written by benchmarks/kinds.py: run it again rather than edit this -->

ImageNet's 50,000 validation images. The only evidence is how 34 networks voted (their top-1, from
github.com/cgnorthcutt/benchmarking-keras-pytorch), as a matrix of vote shares. Truth is ReaL (Beyer
et al. 2020): 3,678 images have one other label (`mislabeled`), 7,443 several (`multi_label`; 6,448
of them with the given one among them), 3,163 none (`none_of_the_classes`). A crowd of five people
each (Northcutt, Athalye & Mueller 2021) looked at 5,440 images that confident learning had picked,
and rejected the given label of 2,916: their plurality among "the other label", "both" and "neither"
is the crowd's kind.

## The kind

Share of the erroneous images whose kind is ReaL's, its mean over the three kinds ("balanced"), and
the recall of each kind.

{tables["kinds"]}

The formulas are in `labelfix.score.kinds.kind_scores`; nothing in them was fitted. Votes say little
about the kind: an image with two correct labels often has all votes on one of them, and what raters
call "none" is often an image that networks agree on. Trees that are shown ReaL's verdicts for half
of the classes (in italics, on the other half; kinds weighted alike) do hardly better.

## Is the given label right at all?

Finding the 7,836 images whose given label is not among ReaL's, by the same votes. Intervals are of
200 bootstrap draws over the images, of the difference to the margin.

{tables["errors"]}

Whole corrections for classes that are often confused (a posterior by the confusion matrix,
thresholds, shares relative to the class's usual one) all did worse than the plain margin here. The
default takes a quarter of one (see [choosing a score](../choosing-a-score.md)).

To repeat: `python benchmarks/kinds.py --write`
"""


if __name__ == "__main__":
    main()
