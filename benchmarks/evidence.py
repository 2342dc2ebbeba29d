"""Sets with known errors, and all evidence about their labels, for `power.py`."""

from __future__ import annotations

import csv
import os
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from sklearn.ensemble import ExtraTreesClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import labelfix
from labelfix.find import Weighing
from labelfix.inject import (
    inject_labels,
    inject_labels_by_item,
    instance_noise,
    pair_noise,
    symmetric_noise,
)
from labelfix.score.combine import Evidence
from labelfix.score.neighbors import Neighbors, nearest_neighbors, neighbor_pred_probs
from labelfix.training import Tracker

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from numpy.typing import NDArray

ROOT = Path(__file__).parent.parent
DATA = Path(os.environ.get("LABELFIX_DATA", ROOT / "../shared/data"))
SEED = 0
CIFAR_IMAGES = 15_000
NUMERAL_SEEDS = (0, 1, 2)
TOGETHER = (1, 2, 3)
"""So many seeds of the small network are taken together on numerals."""
RATE = 0.08
WAYS = ("symmetric", "pair", "instance")
NEVER_FITTED = "numerals"
"""The family that nothing is fitted or chosen on."""


@dataclass(frozen=True, eq=False)
class Case:
    """Labels, all evidence about them, and which are wrong.

    Cases of one `family` share images: they are left out together.
    """

    name: str
    family: str
    labels: NDArray[np.int64]
    wrong: NDArray[np.bool_]
    models: Mapping[str, NDArray[np.float32]]
    seen: Mapping[str, NDArray[np.float32]] = field(default_factory=dict)
    """Mean probabilities in training, of the models of which they are known."""
    margin: NDArray[np.float64] | None = None
    """Mean margin of logits in training, over the models of which it is known."""
    neighbors: Neighbors | None = None
    fitted: bool = True
    """Takes part when the error probability is fitted."""

    @property
    def n_classes(self) -> int:
        """Count the classes."""
        return int(next(iter(self.models.values())).shape[1])

    def evidence(self) -> list[Evidence]:
        """Give what labelfix combines."""
        sources = [
            Evidence(name, matrix, self.seen.get(name)) for name, matrix in self.models.items()
        ]
        if self.neighbors is not None:
            shares = neighbor_pred_probs(
                self.labels, self.neighbors, self.n_classes, sharpness=Weighing().sharpness
            )
            sources.append(Evidence("neighbours", shares))
        return sources


# The cases


def reported(cache: Path) -> Iterator[Case]:
    """Give the cases of the tables, in their order."""
    yield from cifar_10n(cache)
    yield from cifar_10_test(cache)
    yield mnist_test(cache)
    yield from planted_digits(cache)
    yield from numerals(cache)


def cifar_10n(cache: Path) -> Iterator[Case]:
    """CIFAR-10 training images as three people each labelled them, by majority."""
    path = DATA / "label-error-detection-benchmarks/compact/cifar-10n-aggregate.npz"
    with np.load(path, allow_pickle=False) as stored:
        names = [name.partition("_patch")[0] for name in stored["models"].tolist()]
        models = dict(zip(names, stored["pred_probs"], strict=True))
        labels, truth = stored["given"].astype(np.int64), stored["true"].astype(np.int64)
    whole = Case("CIFAR-10N, ResNet-18", "CIFAR-10N", labels, labels != truth, {})
    one = {"resnet18": models["resnet18"]}
    yield replace(whole, models=one)
    yield replace(whole, name="CIFAR-10N, five stored models", models=models)
    rows, embeddings = cifar_part(cache)
    seen = kept_head(cache, "cifar-10n", embeddings, labels[rows])
    part = replace(
        whole,
        name=f"CIFAR-10N, {CIFAR_IMAGES:,} images, frozen features",
        labels=labels[rows],
        wrong=whole.wrong[rows],
        models={"head": seen["pred_probs"]},
        seen={"head": seen["train_pred_probs"]},
        margin=seen["margin"],
        neighbors=kept_neighbors(cache, "cifar-10n", embeddings),
    )
    yield part
    both = {**part.models, "resnet18": models["resnet18"][rows]}
    yield replace(part, name=f"CIFAR-10N, {CIFAR_IMAGES:,} images, both", models=both)


def cifar_10_test(cache: Path) -> Iterator[Case]:
    """CIFAR-10's test images, by the majority of some fifty people (CIFAR-10H)."""
    labels = _test_labels("cifar10")
    votes = np.load(DATA / "cifar10h/data/cifar10h-counts.npy")
    frozen = np.load(DATA / "cifar10/cifar10_test_effnetlite0_cv5_pred_probs.npy")
    models = {"network": _stored_probabilities("cifar10"), "frozen": frozen.astype(np.float32)}
    wrong = votes.argmax(1) != labels
    case = Case("CIFAR-10 test, two models", "CIFAR-10", labels, wrong, models)
    yield case
    embeddings = cifar_embeddings(cache, "cifar-10-test", "test", np.arange(10_000))
    seen = kept_head(cache, "cifar-10-test", embeddings, labels)
    yield replace(
        case,
        name="CIFAR-10 test, two models, a head and neighbours",
        models={"head": seen["pred_probs"], **models},
        seen={"head": seen["train_pred_probs"]},
        margin=seen["margin"],
        neighbors=kept_neighbors(cache, "cifar-10-test", embeddings),
        fitted=False,
    )


def mnist_test(cache: Path) -> Case:
    """MNIST's test images, by a list of 74 doubtful ones; a head on the pixels."""
    labels, wrong = _test_labels("mnist"), np.zeros(10_000, dtype=bool)
    with (DATA / "mnist/wrong-test/wrongImagesInMNISTTestset.csv").open() as listed:
        wrong[[int(row["index"]) for row in csv.DictReader(listed)]] = True
    pixels, _ = mnist()
    seen = kept_head(cache, "mnist", pixels, labels)
    return Case(
        "MNIST test, list of 74",
        "MNIST",
        labels,
        wrong,
        {"head": seen["pred_probs"], "network": _stored_probabilities("mnist")},
        {"head": seen["train_pred_probs"]},
        seen["margin"],
        kept_neighbors(cache, "mnist", components(pixels)),
    )


def planted_digits(cache: Path) -> Iterator[Case]:
    """scikit-learn's digits with planted errors; a head on the pixels."""
    features, truth = digits()
    for way in WAYS:
        yield planted(cache, "digits", features, features, truth, way)


def planted(
    cache: Path,
    name: str,
    features: NDArray[np.float32],
    places: NDArray[np.float32],
    truth: NDArray[np.int64],
    way: str,
    rate: float = RATE,
) -> Case:
    """Plant errors, train a head on the features, and look for neighbours by the places."""
    labels = spoilt(features, truth, way, rate)
    key = f"{name}-{way}-{rate:g}"
    seen = kept_head(cache, key, features, labels)
    return Case(
        f"{name}, {way} {rate:.0%}",
        name,
        labels,
        labels != truth,
        {"head": seen["pred_probs"]},
        {"head": seen["train_pred_probs"]},
        seen["margin"],
        kept_neighbors(cache, name, places),
    )


def spoilt(
    features: NDArray[np.float32], truth: NDArray[np.int64], way: str, rate: float
) -> NDArray[np.int64]:
    """Plant errors through `labelfix.inject`; the judge of what is hard takes no part later."""
    classes = [str(k) for k in range(10)]
    ids = [f"{row}" for row in range(len(truth))]
    table = pl.DataFrame(
        {"annotation_id": ids, "item_id": ids, "label": [classes[k] for k in truth]}
    )
    if way == "instance":
        judge = ExtraTreesClassifier(200, random_state=SEED)
        opinion = cross_val_predict(judge, features, truth, method="predict_proba", cv=5)
        noisy = inject_labels_by_item(table, instance_noise(truth, opinion, rate), classes, SEED)
    else:
        noise = {"symmetric": symmetric_noise, "pair": pair_noise}[way]
        noisy = inject_labels(table, noise(10, rate), classes, SEED)
    return noisy.annotations["label"].cast(pl.Int64).to_numpy()


def numerals(cache: Path) -> Iterator[Case]:
    """Real errors in hand-drawn numerals: reported on, never fitted or chosen on."""
    folder = DATA / "roman-numeral/dev"
    verdicts = dict(pl.read_csv(folder / "review.csv").select("file", "label_error").iter_rows())
    runs = [kept(cache, f"numerals-watched-{s}", small_cnn(folder, s)) for s in NUMERAL_SEEDS]
    frozen = kept(cache, "numerals-frozen", on_embeddings(folder))
    wrong = np.array([verdicts[item] for item in runs[0]["item_id"]])
    names = [f"small-cnn, seed {seed}" for seed in NUMERAL_SEEDS]
    cases = []
    for count in TOGETHER:
        some = dict(zip(names[:count], runs[:count], strict=True))
        title = "numerals, small-cnn" + (f", {count} seeds" if count > 1 else "")
        models = {name: run["pred_probs"] for name, run in some.items()}
        seen = {name: run["train_pred_probs"] for name, run in some.items()}
        margin = np.mean([run["margin"] for run in some.values()], axis=0)
        cases.append(Case(title, "numerals", runs[0]["labels"], wrong, models, seen, margin))
    yield from cases
    case = cases[0]
    near = nearest_neighbors(frozen["embeddings"], Weighing().neighbors)
    yield replace(
        case,
        name="numerals, frozen features",
        models={"logistic": frozen["pred_probs"]},
        seen={},
        margin=None,
        neighbors=near,
    )
    yield replace(case, name="numerals, small-cnn and frozen neighbours", neighbors=near)


def small_cnn(folder: Path, seed: int) -> Callable[[], dict[str, NDArray[Any]]]:
    """Train the small network out of fold, as a user would, but watched by a tracker."""

    def make() -> dict[str, NDArray[Any]]:
        from small_network import Watched

        dataset = labelfix.read(folder / "images")
        tracker = Tracker(len(dataset), dataset.class_names)
        model = Watched(tracker)
        found = labelfix.out_of_fold(dataset, model, seed=seed, jobs=1, cache=False)
        assert found.train_pred_probs is not None
        return {
            "item_id": dataset.items["item_id"].to_numpy().astype(str),
            "labels": dataset.labels,
            "pred_probs": found.pred_probs,
            "train_pred_probs": found.train_pred_probs,
            "margin": tracker.statistics()["margin"].to_numpy(),
        }

    return make


def on_embeddings(folder: Path) -> Callable[[], dict[str, NDArray[Any]]]:
    """Look through a frozen photo network."""

    def make() -> dict[str, NDArray[Any]]:
        dataset = labelfix.read(folder / "images")
        model = "efficientnet-lite0+logistic"
        found = labelfix.out_of_fold(dataset, model, jobs=1, cache=False)
        assert found.embeddings is not None
        return {"pred_probs": found.pred_probs, "embeddings": found.embeddings}

    return make


# What is kept


def kept(
    cache: Path, name: str, make: Callable[[], dict[str, NDArray[Any]]]
) -> dict[str, NDArray[Any]]:
    """Read arrays from the cache, or make and keep them."""
    path = cache / f"{name}.npz"
    if not path.exists():
        print(f"making {path.name}", flush=True)
        np.savez(path, **make())  # type: ignore[arg-type] # numpy types allow_pickle as a keyword
    with np.load(path, allow_pickle=False) as stored:
        return dict(stored)


def kept_neighbors(cache: Path, name: str, embeddings: NDArray[np.float32]) -> Neighbors:
    """Find the nearest neighbours, once."""
    return Neighbors(
        **kept(
            cache,
            f"neighbours-{name}",
            lambda: nearest_neighbors(embeddings, Weighing().neighbors)._asdict(),
        )
    )


def kept_head(
    cache: Path, name: str, features: NDArray[np.float32], labels: NDArray[np.int64]
) -> dict[str, NDArray[Any]]:
    """Train a head on features in five folds, once, watched by a tracker."""
    return kept(cache, f"head-{name}", lambda: head(features, labels))


def head(
    features: NDArray[np.float32], labels: NDArray[np.int64], epochs: int = 15
) -> dict[str, NDArray[Any]]:
    """Train a network of one hidden layer in five folds.

    Gives what it says out of fold, and what the tracker saw: mean probabilities and margins, over
    epochs and the four folds that learned from an item.
    """
    import torch
    from torch import nn

    torch.manual_seed(SEED)
    scaled = torch.from_numpy(StandardScaler().fit_transform(features).astype(np.float32))
    given = torch.from_numpy(np.array(labels))
    n_classes = int(labels.max()) + 1
    tracker = Tracker(len(labels), [str(k) for k in range(n_classes)])
    held_out = np.zeros((len(labels), n_classes), dtype=np.float32)
    folds = StratifiedKFold(5, shuffle=True, random_state=SEED)
    for train, test in folds.split(features, labels):
        network = nn.Sequential(
            nn.Linear(scaled.shape[1], 256), nn.ReLU(), nn.Dropout(0.3), nn.Linear(256, n_classes)
        )
        batches = max(1, len(train) // 128)
        optimizer = torch.optim.AdamW(network.parameters(), weight_decay=1e-2)
        rate = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, epochs * batches)
        for _ in range(epochs):
            network.train()
            for rows in np.array_split(np.random.default_rng(SEED).permutation(train), batches):
                logits = network(scaled[rows])
                tracker.update(rows, logits, given[rows])
                loss = nn.functional.cross_entropy(logits, given[rows])
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                rate.step()
            tracker.end_epoch()
        network.eval()
        with torch.inference_mode():
            held_out[test] = network(scaled[test]).softmax(dim=1).numpy()
    return {
        "pred_probs": held_out,
        "train_pred_probs": tracker.mean_probs(),
        "margin": tracker.statistics()["margin"].to_numpy(),
    }


def cifar_part(cache: Path) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Give a random part of CIFAR-10's training images: rows and embeddings."""
    rows = np.sort(np.random.default_rng(SEED).permutation(50_000)[:CIFAR_IMAGES])
    return rows, cifar_embeddings(cache, "cifar-10n", "train", rows)


def cifar_embeddings(
    cache: Path, name: str, part: str, rows: NDArray[np.int64]
) -> NDArray[np.float32]:
    """Embed some of CIFAR-10's images, of part "train" or "test", through EfficientNet-Lite0."""

    def make() -> dict[str, NDArray[Any]]:
        import tempfile

        from labelfix.predict.embed import EfficientNetLite
        from labelfix.schema import Dataset

        path = DATA / f"cifar10/cifar10_{part}_jpeg.npz"
        with np.load(path, allow_pickle=False) as stored, tempfile.TemporaryDirectory() as folder:
            blob, ends = stored["blob"], stored["offsets"]
            names = [f"{row:05}.jpg" for row in rows]
            for row, name in zip(rows, names, strict=True):
                (Path(folder) / name).write_bytes(blob[ends[row] : ends[row + 1]].tobytes())
            items = pl.DataFrame({"item_id": names, "path": names})
            labelled = items.select("item_id", annotation_id="item_id", label=pl.lit("0"))
            dataset = Dataset(items, labelled, ("0", "1"), "memory", root=Path(folder))
            inputs = EfficientNetLite().extract(dataset, cache=None, progress=None)
        return {"rows": rows, "embeddings": np.asarray(inputs.embeddings)}

    found = kept(cache, f"{name}-embeddings", make)
    assert np.array_equal(found["rows"], rows)
    return np.asarray(found["embeddings"])


def digits() -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """scikit-learn's 1,797 digits of 8 x 8 pixels."""
    found = load_digits()
    return (found.data / 16).astype(np.float32), found.target.astype(np.int64)


def mnist() -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Give the 10,000 test images of MNIST."""
    with np.load(DATA / "mnist/mnist_test.npz", allow_pickle=False) as stored:
        pixels = (stored["x"].reshape(-1, 784) / 255).astype(np.float32)
        return pixels, stored["y"].astype(np.int64)


def components(pixels: NDArray[np.float32]) -> NDArray[np.float32]:
    """Turn pixels into 40 principal components."""
    found: NDArray[np.float32] = PCA(40, random_state=SEED).fit_transform(pixels)
    return found


def _test_labels(name: str) -> NDArray[np.int64]:
    folder = DATA / "label-errors/original_test_labels"
    found: NDArray[np.int64] = np.load(folder / f"{name}_test_set_original_labels.npy")
    return found.astype(np.int64)


def _stored_probabilities(name: str) -> NDArray[np.float32]:
    folder = DATA / "label-errors/cross_validated_predicted_probabilities"
    found: NDArray[np.float32] = np.load(folder / f"{name}_test_set_pyx.npy").astype(np.float32)
    return found


# Further cases, to fit the error probability on


def fitted_on(cache: Path, reported: Sequence[Case]) -> Iterator[Case]:
    """Give the cases that are fitted on: those reported, but for numerals, and more.

    Each network alone; and planted errors that a strong or a weak model judges, looking at more or
    fewer principal components.
    """
    for case in reported:
        if case.fitted and case.family != NEVER_FITTED:
            yield case
            if len(case.models) > 1:
                yield from alone(case)
    pixels, truth = digits()
    places = PCA(30, random_state=SEED).fit_transform(pixels).astype(np.float32)
    for rate in (0.02, 0.2):
        for way in WAYS:
            yield planted(cache, "digits", pixels, pixels, truth, way, rate)
    yield from judged(cache, "digits", places, truth, (3, 6, 30))
    pixels, truth = mnist()
    yield from judged(cache, "MNIST", components(pixels)[:4000], truth[:4000], (4, 8, 40))


def alone(case: Case) -> Iterator[Case]:
    """Take each model by itself, without what else is known."""
    for name, matrix in case.models.items():
        yield Case(f"{case.name}: {name}", case.family, case.labels, case.wrong, {name: matrix})


def judged(
    cache: Path,
    name: str,
    places: NDArray[np.float32],
    truth: NDArray[np.int64],
    widths: Sequence[int],
) -> Iterator[Case]:
    """Plant errors at three rates in three ways, judged by two models at three strengths."""
    models = {
        "logistic": make_pipeline(StandardScaler(), LogisticRegression(max_iter=200)),
        "naive Bayes": GaussianNB(),
    }
    folds = StratifiedKFold(5, shuffle=True, random_state=SEED)
    for rate in (0.01, 0.05, 0.2):
        for way in WAYS:
            labels = spoilt(places, truth, way, rate)
            for width in widths:
                part = places[:, :width]
                near = kept_neighbors(cache, f"{name}-{width}", part)

                def predictions(
                    part: NDArray[np.float32] = part, labels: NDArray[np.int64] = labels
                ) -> dict[str, NDArray[Any]]:
                    return {
                        model: cross_val_predict(
                            models[model], part, labels, method="predict_proba", cv=folds
                        ).astype(np.float32)
                        for model in models
                    }

                for model, matrix in kept(
                    cache, f"judged-{name}-{width}-{way}-{rate:g}", predictions
                ).items():
                    title = f"{name}, {width} components, {way} {rate:.0%}, {model}"
                    wrong = labels != truth
                    yield Case(title, name, labels, wrong, {model: matrix}, neighbors=near)
