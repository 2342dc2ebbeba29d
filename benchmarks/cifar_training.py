"""What watching one training finds: CIFAR-10N, 50,000 images, a small network on a processor.

    OMP_NUM_THREADS=1 LABELFIX_DATA=../shared/data python benchmarks/cifar_training.py --write

trains the network of cifar_network.py on each half of the images by their noisy labels alone,
watched by `labelfix.training.Tracker`, so that each image has what the network said while it
learned from it, and what another said that did not. It is kept under `--cache` and made if it is
not there. The stored out-of-fold probabilities of larger networks are read beside it. Prints the
tables, and with `--write` makes docs/benchmarks/cifar-training.md. Needs `labelfix[cleanlab]`,
torch and scikit-learn.
"""

from __future__ import annotations

import argparse
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from cifar_network import CLASSES, Recipe, read_images, train_fold
from evidence import DATA, ROOT, Case
from power import DRAWS, Ranking, default, peers, summary

from labelfix.find import Weighing
from labelfix.score.neighbors import Neighbors, nearest_neighbors
from labelfix.training import Tracker

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from numpy.typing import NDArray

PAGE = ROOT / "docs" / "benchmarks" / "cifar-training.md"
NETWORK = "small network"


def main() -> None:
    """Print, or write, the tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    usual = Path(tempfile.gettempdir()) / "labelfix-benchmarks" / "cifar-training"
    parser.add_argument("--cache", type=Path, default=usual, help="folder of what was trained")
    parser.add_argument("--write", action="store_true", help=f"write {PAGE.relative_to(ROOT)}")
    options = parser.parse_args()
    labels, truth, stored = stored_models()
    trained = Trained.read(Recipe(), train(labels, Recipe(), options.cache))
    found = list(cases(labels, labels != truth, stored, trained))
    tables = {
        "network": about(trained, labels, truth),
        "aims": aims(found),
        "summary": summary(found),
        "peers": "\n\n".join(peers(case) for case in found),
    }
    for name, table in tables.items():
        print(f"\n{name}\n\n{table}")
    if options.write:
        PAGE.write_text(page(tables), encoding="utf-8")


def stored_models() -> tuple[NDArray[np.int64], NDArray[np.int64], dict[str, NDArray[np.float32]]]:
    """Read given labels, true ones, and what five networks say out of fold."""
    path = DATA / "label-error-detection-benchmarks/compact/cifar-10n-aggregate.npz"
    with np.load(path, allow_pickle=False) as stored:
        names = [name.partition("_patch")[0] for name in stored["models"].tolist()]
        models = dict(zip(names, stored["pred_probs"], strict=True))
        return stored["given"].astype(np.int64), stored["true"].astype(np.int64), models


# The training


@dataclass(frozen=True, eq=False)
class Trained:
    """All that the trainings gave."""

    recipe: Recipe
    tracker: Tracker
    """Of all images: each was seen by the networks that learned from it."""
    held_out: NDArray[np.float32]
    """What the network says that did not learn from the image, shape (n, 10)."""
    neighbors: Neighbors
    """In its features, among the images that it did not learn from either."""
    seconds: NDArray[np.float64]
    """Of processor time: in the epochs, and in the tracker among them."""

    @classmethod
    def read(cls, recipe: Recipe, folders: Sequence[Path]) -> Trained:
        """Put together what the networks said."""
        trackers = [Tracker.load(folder / "tracker.npz") for folder in folders]
        tracker = trackers[0].merge(*trackers[1:])
        n, k = len(tracker), Weighing().neighbors
        held_out = np.zeros((n, len(CLASSES)), dtype=np.float32)
        near = Neighbors(np.zeros((n, k), dtype=np.int64), np.zeros((n, k), dtype=np.float32))
        seconds = np.zeros(2)
        for folder in folders:
            with np.load(folder / "network.npz", allow_pickle=False) as said:
                test = np.setdiff1d(np.arange(n), said["train"])
                held_out[test] = said["probs"][test]
                found = nearest_neighbors(said["features"][test].astype(np.float32), k)
                near.rows[test], near.similarity[test] = test[found.rows], found.similarity
                seconds += said["seconds"]
        return cls(recipe, tracker, held_out, near, seconds)


def train(labels: NDArray[np.int64], recipe: Recipe, folder: Path) -> list[Path]:
    """Train the networks that are not there yet; give the folder of each."""
    order = np.random.default_rng(recipe.seed).permutation(len(labels))
    folders = [folder / f"fold{fold}" for fold in range(recipe.folds)]
    torch.set_num_threads(1)
    for fold, test in enumerate(np.array_split(order, recipe.folds)):
        if not (folders[fold] / "network.npz").exists():
            images = read_images(DATA / "cifar10/cifar10_train_jpeg.npz")
            learned = np.setdiff1d(order, test)
            train_fold(images, labels, learned, recipe, 100 * recipe.seed + fold, folders[fold])
    return folders


def about(trained: Trained, labels: NDArray[np.int64], truth: NDArray[np.int64]) -> str:
    """Say what the network is, what it cost, and what watching it cost."""
    recipe = trained.recipe
    epochs, watching = trained.seconds
    guess = trained.held_out.argmax(axis=1)
    return f"""| | |
|---|---:|
| networks, each on {1 - 1 / recipe.folds:.0%} of the images | {recipe.folds} |
| epochs of each | {recipe.epochs} |
| minutes on one core, all trainings together | {epochs / 60:.0f} |
| seconds a pass over all images, with the tracker | {epochs / recipe.epochs:.1f} |
| seconds a pass over all images, without | {(epochs - watching) / recipe.epochs:.1f} |
| **the tracker's share** | **{watching / (epochs - watching):.2%}** |
| right out of fold, by the true labels | {(guess == truth).mean():.1%} |
| right out of fold, by the given labels | {(guess == labels).mean():.1%} |"""


# The figures


def cases(
    labels: NDArray[np.int64],
    wrong: NDArray[np.bool_],
    stored: Mapping[str, NDArray[np.float32]],
    trained: Trained,
) -> Iterator[Case]:
    """Give the network's evidence, that of stored models, and both."""
    own = Case(
        NETWORK,
        "CIFAR-10N",
        labels,
        wrong,
        {NETWORK: trained.held_out},
        {NETWORK: trained.tracker.mean_probs()},
        trained.tracker.statistics()["margin"].to_numpy(),
    )
    yield replace(own, name=f"{NETWORK}, out of fold alone", seen={}, margin=None)
    yield own
    yield replace(own, name=f"{NETWORK} and its neighbours", neighbors=trained.neighbors)
    one = {"resnet18": stored["resnet18"]}
    for name, models in [("stored ResNet-18", one), ("five stored models", stored)]:
        yield Case(name, own.family, labels, wrong, models)
        yield replace(own, name=f"{name} and {NETWORK}", models={**own.models, **models})


def aims(found: Sequence[Case]) -> str:
    """Set the default ranking beside what is aimed at."""
    aim = {"stored ResNet-18": (".93", ".90"), "five stored models": (".98", ".98")}
    lines = ["| evidence | AP | recall at 10 % | aim |", "|---|---:|---:|---|"]
    for case in found:
        once = np.ones((1, len(case.labels)), dtype=np.float32)
        ranking = Ranking.of(case.wrong, default(case), once)
        wanted = next((aim[name] for name in aim if case.name.startswith(name)), None)
        said = f"AP {wanted[0]}, recall {wanted[1]}" if wanted else ""
        precision, recall = ranking.average_precision()[0], ranking.recall(0.1)[0]
        lines.append(f"| {case.name} | {precision:.3f} | {recall:.3f} | {said} |")
    return "\n".join(lines)


def page(tables: Mapping[str, str]) -> str:
    """Wrap the tables in words."""
    return f"""# What watching a training finds: CIFAR-10N

<!-- written by benchmarks/cifar_training.py: run it again rather than edit this -->

50,000 images of 32 pixels with the labels that the majority of three annotators gave
(noisylabels.com, "aggregate"), 4,505 of them wrong. A small network learns from these labels alone,
on one core, and `labelfix.training.Tracker` watches.

## The network

Six convolutions, {_listed(Recipe().widths)} wide, two of each, without any pretraining. One is
trained on each half of the images. So each image has what a network said of it while it learned
from it, on average over the epochs, and what another said that did not learn from it. True labels
take no part. The recipe was set before the first training, and not tuned.

{tables["network"]}

Time is that of the processor in the epochs, since others were at work on the machine; the tracker's
is what was spent in its calls. Beside ResNet-18 it is in [what watching costs](tracker.md).

## Average precision, and what 10 % of the looks find

The default ranking of labelfix, from each evidence: the network's; stored out-of-fold probabilities
of larger networks (github.com/cleanlab/label-error-detection-benchmarks); and both.
Neighbours are the ten nearest in the features of the network that did not learn from the image,
among the images that it did not learn from either.

{tables["aims"]}

What was seen in training and what was said out of fold find more together than either alone (the
former is "probability in training" below). Beside a stored ResNet-18, which is right far more
often, the small network adds a little; beside five such networks nothing, or less. The aims are not
reached by it.

## Beside others

The rankings are those of [finding power](finding-power.md); "margin" and "probability in training"
are the small network's. Average precision:

{tables["summary"]}

All figures, with the middle 95 % of {DRAWS} bootstrap draws over the items; ties count as if broken
at random.

{tables["peers"]}

To repeat: `OMP_NUM_THREADS=1 python benchmarks/cifar_training.py --cache DIR --write`; what was
trained is kept in DIR, so that a second call only ranks.
"""


def _listed(numbers: Sequence[int]) -> str:
    return ", ".join(map(str, numbers[:-1])) + f" and {numbers[-1]}"


if __name__ == "__main__":
    main()
