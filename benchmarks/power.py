"""How well errors are found, beside peers on the same items, and how far to trust what is said.

    LABELFIX_DATA=../shared/data python benchmarks/power.py --write

reads CIFAR-10N with the stored probabilities of five networks, the CIFAR-10 and MNIST test sets
with theirs, scikit-learn's digits, and `roman-numeral/dev`. What takes long (networks trained,
images embedded) is kept under `--cache` and made if it is not there. Prints the tables, and with
`--write` puts them into docs/benchmarks/finding-power.md. `--fit` fits the error probability anew
instead. Needs `labelfix[vision,cleanlab]`.

Hand-drawn numerals (`roman-numeral`) are only reported on: nothing is fitted or chosen on them.
"""

from __future__ import annotations

import argparse
import csv
import io
import os
import warnings
from collections import Counter
from dataclasses import dataclass, field, fields, replace
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
from labelfix.report.plots import reliability_chart
from labelfix.score.calibration import ErrorProbability, Signs, recalibrate, sigmoid
from labelfix.score.combine import Evidence, combine, head_to_head, rivals
from labelfix.score.neighbors import Neighbors, nearest_neighbors, neighbor_pred_probs
from labelfix.training import Tracker

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from numpy.typing import NDArray

ROOT = Path(__file__).parent.parent
DATA = Path(os.environ.get("LABELFIX_DATA", ROOT / "../shared/data"))
PAGE = ROOT / "docs" / "benchmarks" / "finding-power.md"
BUDGETS = (0.01, 0.02, 0.05, 0.1, 0.2)
DRAWS = 200
SEED = 0
CIFAR_IMAGES = 15_000
NUMERAL_SEEDS = (0, 1)
RATE = 0.08
WAYS = ("symmetric", "pair", "instance")
AUDITS = 50
COEFFICIENTS = ROOT / "labelfix" / "score" / "calibration_fit.py"
CHART = PAGE.with_suffix(".svg")


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
    """Of the first model: mean margin of logits in training."""
    neighbors: Neighbors | None = None

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


def main() -> None:
    """Print, or write, the tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    usual = ROOT / "benchmarks" / ".cache"
    parser.add_argument("--cache", type=Path, default=usual, help="folder of what takes long")
    parser.add_argument("--write", action="store_true", help=f"write {PAGE.relative_to(ROOT)}")
    parser.add_argument(
        "--fit", action="store_true", help="fit the error probability anew, and keep it"
    )
    options = parser.parse_args()
    options.cache.mkdir(parents=True, exist_ok=True)
    warnings.filterwarnings("ignore", module="sklearn")
    cases = list(reported(options.cache))
    judged = [Judged.of(case) for case in fitted_on(options.cache, cases)]
    if options.fit:
        families = list(dict.fromkeys(one.case.family for one in judged))
        COEFFICIENTS.write_text(coefficients(fit(judged), families))
        return
    held_out = list(left_out(judged))
    for case in cases:
        if case.family == "numerals":  # never fitted on
            one = Judged.of(case)
            held_out.append((one, one.p_error(ErrorProbability())))
    shown = {id(case) for case in cases}
    results = [(one, p_error) for one, p_error in held_out if id(one.case) in shown]
    tables = {
        "trust": trust_table(results),
        "audit": trust_table(results, audit=100),
        "families": family_table(held_out),
        "summary": summary(cases),
        "peers": "\n\n".join(peers(case) for case in cases),
    }
    for name, table in tables.items():
        print(f"\n{name}\n\n{table}")
    if options.write:
        CHART.write_bytes(reliability_chart(reliability(held_out)))
        PAGE.write_text(page(tables))


# The cases


def reported(cache: Path) -> Iterator[Case]:
    """Give the cases of the tables, in their order."""
    yield from cifar_10n(cache)
    yield cifar_10_test()
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
    kept = cifar_embeddings(cache)
    rows, embeddings = kept["rows"], kept["embeddings"]
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


def cifar_10_test() -> Case:
    """CIFAR-10's test images, by the majority of some fifty people (CIFAR-10H)."""
    labels = _test_labels("cifar10")
    votes = np.load(DATA / "cifar10h/data/cifar10h-counts.npy")
    frozen = np.load(DATA / "cifar10/cifar10_test_effnetlite0_cv5_pred_probs.npy")
    models = {"network": _stored_probabilities("cifar10"), "frozen": frozen.astype(np.float32)}
    return Case("CIFAR-10 test, two models", "CIFAR-10", labels, votes.argmax(1) != labels, models)


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
    runs = [kept(cache, f"numerals-small-cnn-{s}", small_cnn(folder, s)) for s in NUMERAL_SEEDS]
    frozen = kept(cache, "numerals-frozen", on_embeddings(folder))
    wrong = np.array([verdicts[item] for item in runs[0]["item_id"]])
    labels = runs[0]["labels"]
    names = [f"small-cnn, seed {seed}" for seed in NUMERAL_SEEDS]
    models = {name: run["pred_probs"] for name, run in zip(names, runs, strict=True)}
    seen = {name: run["train_pred_probs"] for name, run in zip(names, runs, strict=True)}
    one = names[0]
    case = Case(
        "numerals, small-cnn",
        "numerals",
        labels,
        wrong,
        {one: models[one]},
        {one: seen[one]},
    )
    yield case
    yield replace(case, name=f"numerals, small-cnn, {len(names)} seeds", models=models, seen=seen)
    near = nearest_neighbors(frozen["embeddings"], Weighing().neighbors)
    yield replace(
        case,
        name="numerals, frozen features",
        models={"logistic": frozen["pred_probs"]},
        seen={},
        neighbors=near,
    )
    yield replace(case, name="numerals, small-cnn and frozen neighbours", neighbors=near)


def small_cnn(folder: Path, seed: int) -> Callable[[], dict[str, NDArray[Any]]]:
    """Train the small network out of fold, as a user would."""

    def make() -> dict[str, NDArray[Any]]:
        dataset = labelfix.read(folder / "images")
        found = labelfix.out_of_fold(dataset, "small-cnn", seed=seed, jobs=1, cache=False)
        assert found.train_pred_probs is not None
        return {
            "item_id": dataset.items["item_id"].to_numpy().astype(str),
            "labels": dataset.labels,
            "pred_probs": found.pred_probs,
            "train_pred_probs": found.train_pred_probs,
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


def cifar_embeddings(cache: Path) -> dict[str, NDArray[Any]]:
    """Embed a random part of CIFAR-10's training images through EfficientNet-Lite0."""

    def make() -> dict[str, NDArray[Any]]:
        import tempfile

        from labelfix.predict.embed import EfficientNetLite
        from labelfix.schema import Dataset

        rows = np.sort(np.random.default_rng(SEED).permutation(50_000)[:CIFAR_IMAGES])
        path = DATA / "cifar10/cifar10_train_jpeg.npz"
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

    return kept(cache, "cifar-10n-embeddings", make)


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


# The rankings


def default(case: Case) -> NDArray[Any]:
    """Rank as labelfix does by default."""
    return 1 - head_to_head(case.labels, combine(case.labels, case.evidence()).pred_probs)


def by_probability(case: Case) -> NDArray[Any]:
    """Rank by the error probability; its coefficients have no part in the order."""
    return 1 - ErrorProbability().score(
        case.labels, combine(case.labels, case.evidence()).pred_probs
    )


def cleanlab(method: str) -> Callable[[Case], NDArray[Any]]:
    """Make a function of a score of cleanlab; of several models, by its own way to combine them."""

    def score(case: Case) -> NDArray[Any]:
        from cleanlab.rank import get_label_quality_ensemble_scores, get_label_quality_scores

        matrices = list(case.models.values())
        if len(matrices) == 1:
            return 1 - np.asarray(get_label_quality_scores(case.labels, matrices[0], method=method))
        found = get_label_quality_ensemble_scores(
            case.labels, matrices, method=method, verbose=False
        )
        return 1 - np.asarray(found)

    return score


def contradicted(case: Case) -> NDArray[Any]:
    """Say whether the mean of the models has another class in front."""
    mean = np.mean(list(case.models.values()), axis=0)
    found: NDArray[Any] = (mean.argmax(axis=1) != case.labels).astype(np.float64)
    return found


def margin(case: Case) -> NDArray[Any] | None:
    """Mean margin of logits in training, over epochs: AUM."""
    return None if case.margin is None else -case.margin


def in_sample(case: Case) -> NDArray[Any] | None:
    """Mean probability of the given label in training, over epochs."""
    if not case.seen:
        return None
    mean = np.mean(list(case.seen.values()), axis=0)
    found: NDArray[Any] = 1 - mean[np.arange(len(case.labels)), case.labels]
    return found


def vote(case: Case) -> NDArray[Any] | None:
    """Share of the ten nearest neighbours that are labelled otherwise."""
    if case.neighbors is None:
        return None
    found: NDArray[Any] = (case.labels[case.neighbors.rows] != case.labels[:, None]).mean(axis=1)
    return found


RANKINGS: Mapping[str, Callable[[Case], NDArray[Any] | None]] = {
    "**labelfix, default**": default,
    "labelfix, error probability": by_probability,
    "cleanlab, self-confidence": cleanlab("self_confidence"),
    "cleanlab, normalized margin": cleanlab("normalized_margin"),
    "cleanlab, confidence-weighted entropy": cleanlab("confidence_weighted_entropy"),
    "AUM: margin in training": margin,
    "probability in training": in_sample,
    "kNN vote": vote,
    "argmax ≠ label": contradicted,
}


# The figures


@dataclass(frozen=True, eq=False)
class Ranking:
    """Items in groups of equal suspicion, the most suspicious first, drawn again and again.

    Row 0 are the items themselves, the others bootstrap draws; ties count as if broken at random.
    """

    found: NDArray[np.float64]
    """Errors down to the end of each group, shape (draws + 1, groups)."""
    looked: NDArray[np.float64]
    """Items, as above."""

    @classmethod
    def of(
        cls, wrong: NDArray[np.bool_], suspicion: NDArray[Any], weights: NDArray[Any]
    ) -> Ranking:
        """Sort; `weights` says how often each item was drawn, shape (draws + 1, n)."""
        order = np.argsort(-suspicion, kind="stable")
        starts = np.flatnonzero(np.diff(suspicion[order], prepend=np.inf))
        items = np.add.reduceat(weights[:, order], starts, axis=1)
        errors = np.add.reduceat((weights * wrong)[:, order], starts, axis=1)
        return cls(errors.cumsum(axis=1), items.cumsum(axis=1))

    def average_precision(self) -> NDArray[np.float64]:
        """Mean precision over the errors, as scikit-learn has it."""
        steps = np.diff(self.found, axis=1, prepend=0)
        precision = np.divide(
            self.found, self.looked, out=np.zeros_like(self.found), where=self.looked > 0
        )
        figure: NDArray[np.float64] = (steps * precision).sum(axis=1) / self.found[:, -1]
        return figure

    def auroc(self) -> NDArray[np.float64]:
        """Chance that an error is ranked before a right label."""
        rights = self.looked - self.found
        width = np.diff(rights, axis=1, prepend=0)
        height = self.found - np.diff(self.found, axis=1, prepend=0) / 2
        figure: NDArray[np.float64] = (width * height).sum(axis=1)
        return figure / (rights[:, -1] * self.found[:, -1])

    def recall(self, share: float) -> NDArray[np.float64]:
        """Share of the errors within this share of the items."""
        return self._within(share * self.looked[:, -1]) / self.found[:, -1]

    def precision(self) -> NDArray[np.float64]:
        """Share of errors among as many items as there are errors."""
        return self._within(self.found[:, -1]) / self.found[:, -1]

    def _within(self, top: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.array(
            [
                np.interp(many, [0, *looked], [0, *found])
                for many, looked, found in zip(top, self.looked, self.found, strict=True)
            ]
        )


def draws(n: int) -> NDArray[np.float64]:
    """How often each item is drawn: once each, then bootstrap draws."""
    random = np.random.default_rng(SEED)
    drawn = [np.bincount(random.integers(n, size=n), minlength=n) for _ in range(DRAWS)]
    return np.stack([np.ones(n), *drawn]).astype(np.float32)


def peers(case: Case) -> str:
    """Make the table of one case."""
    budgets = " | ".join(f"{budget:.0%}" for budget in BUDGETS)
    out = io.StringIO()
    print(f"### {case.name}\n", file=out)
    print(f"{len(case.labels):,} items, {case.wrong.sum():,} errors; ", end="", file=out)
    print(f"models: {', '.join(case.models)}.\n", file=out)
    print(
        f"| ranked by | AUROC | AP | precision at the errors' number | recall at {budgets} |\n"
        f"|---|---|---|---|{'---|' * len(BUDGETS)}",
        file=out,
    )
    weights = draws(len(case.labels))
    for name, rank in RANKINGS.items():
        suspicion = rank(case)
        if suspicion is not None:
            ranking = Ranking.of(case.wrong, np.asarray(suspicion, np.float64), weights)
            figures = [ranking.auroc(), ranking.average_precision(), ranking.precision()]
            cells = [cell(values) for values in figures]
            cells += [f"{ranking.recall(budget)[0]:.3f}" for budget in BUDGETS]
            print(f"| {name} | {' | '.join(cells)} |", file=out)
    return out.getvalue().rstrip()


def summary(cases: Sequence[Case]) -> str:
    """Average precision of every ranking on every case, the best of a row in bold."""
    lines = [
        f"| case | {' | '.join(name.strip('*') for name in RANKINGS)} |",
        f"|---|{'---|' * len(RANKINGS)}",
    ]
    for case in cases:
        once = np.ones((1, len(case.labels)), dtype=np.float32)
        figures = [
            None
            if said is None
            else f"{Ranking.of(case.wrong, said, once).average_precision()[0]:.3f}"
            for said in (rank(case) for rank in RANKINGS.values())
        ]
        best = max(figure for figure in figures if figure is not None)
        cells = ["" if f is None else f"**{f}**" if f == best else f for f in figures]
        lines.append(f"| {case.name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def cell(values: NDArray[np.float64]) -> str:
    """Write a figure with the middle 95 % of its draws."""
    low, high = np.quantile(values[1:], [0.025, 0.975])
    return f"{values[0]:.3f} ({low:.3f} to {high:.3f})"


# the error probability


def fitted_on(cache: Path, reported: Sequence[Case]) -> Iterator[Case]:
    """Give the cases that are fitted on: those reported, but for numerals, and more.

    Each network alone; and planted errors that a strong or a weak model judges, looking at more or
    fewer principal components.
    """
    for case in reported:
        if case.family != "numerals":
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


@dataclass(frozen=True, eq=False)
class Judged:
    """A case, and what `ErrorProbability` goes by in it."""

    case: Case
    signs: Signs

    @classmethod
    def of(cls, case: Case) -> Judged:
        """Combine the evidence as labelfix does."""
        pooled = combine(case.labels, case.evidence()).pred_probs
        endless = replace(ErrorProbability(), least_sure=-np.inf)
        return cls(case, endless.signs(rivals(case.labels, pooled)))

    def design(self) -> NDArray[np.float64]:
        """Columns of the line, shape (n, 5)."""
        z, b, a = self.signs
        one = np.ones(len(z))
        return np.column_stack([one, z, b * one, a * one, a * z])

    def p_error(self, found: ErrorProbability) -> NDArray[np.float64]:
        """Give the error probability of each label."""
        signs = self.signs._replace(sure=max(self.signs.sure, found.least_sure))
        return found.of_signs(signs)


def fit(cases: Sequence[Judged]) -> ErrorProbability:
    """Find the coefficients that make the truth likeliest: families count alike, cases in them too.

    A penalty of 1e-4 / 2 times their squares settles what the data leave open.
    """
    from scipy.optimize import minimize

    families = Counter(one.case.family for one in cases)
    weights = [1 / families[one.case.family] / len(one.case.labels) for one in cases]
    sums = [
        (one.design(), one.case.wrong.astype(np.float64), weight)
        for one, weight in zip(cases, weights, strict=True)
    ]

    def loss(line: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        value, slope = 1e-4 / 2 * float(line @ line), 1e-4 * line
        for design, wrong, weight in sums:
            odds = design @ line
            value += weight * float((np.logaddexp(0, odds) - wrong * odds).sum())
            slope = slope + weight * (design.T @ (sigmoid(odds) - wrong))
        return value, slope

    line = minimize(loss, np.zeros(5), jac=True, method="L-BFGS-B").x
    least = min(one.signs.sure for one in cases)
    return ErrorProbability(
        *(round(float(one), 3) for one in (*line, np.ceil(1000 * least) / 1000))
    )


def left_out(cases: Sequence[Judged]) -> Iterator[tuple[Judged, NDArray[np.float64]]]:
    """Give the error probability of each case by a fit that saw nothing of its family."""
    for family in dict.fromkeys(one.case.family for one in cases):
        found = fit([one for one in cases if one.case.family != family])
        for one in cases:
            if one.case.family == family:
                yield one, one.p_error(found)


def trust(p_error: NDArray[np.float64], wrong: NDArray[np.bool_]) -> tuple[float, ...]:
    """Errors expected; expected calibration error in ten bins; and what is said to be likely.

    The last four: of items given .8 or more their number and share of errors, then of those given
    .5 to .8.
    """
    bins = np.minimum((10 * p_error).astype(int), 9)
    gaps = np.bincount(bins, p_error - wrong, minlength=10)
    figures = [float(p_error.sum()), float(np.abs(gaps).sum() / len(wrong))]
    for low, high in ((0.8, 1.01), (0.5, 0.8)):
        rows = (p_error >= low) & (p_error < high)
        figures += [float(rows.sum()), float(wrong[rows].mean()) if rows.any() else np.nan]
    return tuple(figures)


def trust_table(results: Sequence[tuple[Judged, NDArray[np.float64]]], audit: int = 0) -> str:
    """Say of each case how far to trust what is said, after so many audited decisions."""
    lines = [
        "| case | errors | expected | calibration error | given .8 or more | of which wrong "
        "| given .5 to .8 | of which wrong |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for one, p_error in results:
        wrong, p = one.case.wrong, p_error
        figures = np.array(trust(p, wrong))
        if audit:
            with warnings.catch_warnings():  # no slice may have led to labels given so much
                warnings.simplefilter("ignore", RuntimeWarning)
                slices = range(AUDITS)
                figures = np.nanmean(
                    [trust(audited(p, wrong, audit, seed), wrong) for seed in slices], axis=0
                )
        expected, gap, many, share, some, part = figures
        cells = [f"{expected:,.0f}", f"{gap:.3f}", f"{many:,.0f}", _share(share)]
        cells += [f"{some:,.0f}", _share(part)]
        lines.append(f"| {one.case.name} | {wrong.sum():,} | {' | '.join(cells)} |")
    return "\n".join(lines)


def audited(
    p_error: NDArray[np.float64], wrong: NDArray[np.bool_], many: int, seed: int
) -> NDArray[np.float64]:
    """Correct by a random sample of labels whose truth is looked up."""
    rows = np.random.default_rng(seed).permutation(len(wrong))[:many]
    return recalibrate(p_error, rows, wrong[rows])


def _share(value: float) -> str:
    return "" if np.isnan(value) else f"{value:.2f}"


def reliability(results: Sequence[tuple[Judged, NDArray[np.float64]]]) -> pl.DataFrame:
    """Average, over the cases of each family in six bins, what was said and what was so.

    Cases with fewer than ten labels in a bin are left out of it.
    """
    edges = (0.05, 0.2, 0.4, 0.6, 0.8)
    rows = []
    for one, p_error in results:
        bins = np.digitize(p_error, edges)
        for k in range(len(edges) + 1):
            rows_in = bins == k
            if rows_in.sum() >= 10:
                said, true = p_error[rows_in].mean(), one.case.wrong[rows_in].mean()
                rows.append((one.case.family, k, float(said), float(true)))
    table = pl.DataFrame(rows, ["set", "bin", "said", "true"], orient="row")
    mean = table.group_by("set", "bin", maintain_order=True).agg(pl.col("said", "true").mean())
    order = {name: k for k, name in enumerate(dict.fromkeys(table["set"]))}
    return mean.sort(pl.col("set").replace_strict(order), "bin")


def family_table(results: Sequence[tuple[Judged, NDArray[np.float64]]]) -> str:
    """Say of each family how far to trust what is said, on average over all its cases."""
    lines = [
        "| set | cases | calibration error | worst | expected / errors, half of the cases within |",
        "|---|---|---|---|---|",
    ]
    for family in dict.fromkeys(one.case.family for one, _ in results):
        own = [(one.case.wrong, p) for one, p in results if one.case.family == family]
        gaps = [trust(p, wrong)[1] for wrong, p in own]
        low, high = np.quantile([p.sum() / wrong.sum() for wrong, p in own], [0.25, 0.75])
        lines.append(
            f"| {family} | {len(own)} | {np.mean(gaps):.3f} | {max(gaps):.3f} "
            f"| {low:.2f} to {high:.2f} |"
        )
    return "\n".join(lines)


def coefficients(found: ErrorProbability, families: Sequence[str]) -> str:
    """Write the module that keeps the coefficients."""
    names = [one.name for one in fields(ErrorProbability)][:6]
    values = "\n".join(f'    "{name}": {getattr(found, name)},' for name in names)
    return (
        '"""Coefficients of `ErrorProbability`, written by `benchmarks/power.py --fit`."""\n\n'
        f"COEFFICIENTS = {{\n{values}\n}}\n\n"
        f"FITTED_ON = ({', '.join(repr(one) for one in families)})\n"
        '"""Sets with known errors, which count alike."""\n'.replace("'", '"')
    )


def page(tables: Mapping[str, str]) -> str:
    """Wrap the tables in words."""
    return f"""# Finding power, and how far to trust what is said

<!-- written by benchmarks/power.py: run it again rather than edit this -->

What labelfix finds, beside others on the same items; and how far its error probability can be
trusted on sets that it was not fitted on.

## The sets

- **CIFAR-10N** (noisylabels.com, the majority of three annotators): 50,000 images with the stored
  out-of-fold probabilities of five networks (github.com/cleanlab/label-error-detection-benchmarks);
  and a random part of {CIFAR_IMAGES:,} images, on which a head of one hidden layer was trained on
  the frozen features of an EfficientNet-Lite0, five folds, watched by `labelfix.training.Tracker`.
- **CIFAR-10 test** by the majority of some fifty people an image (CIFAR-10H), and **MNIST test** by
  a list of 74 doubtful images, both with stored probabilities of github.com/cleanlab/label-errors,
  and with a frozen network's or a head's on the pixels.
- **Digits** of scikit-learn with {RATE:.0%} of the labels changed by `labelfix.inject`: to any
  class, to the next class, or item by item, hard ones to look-alikes (what is hard is judged by a
  forest that takes no part later).
- **Numerals**: `roman-numeral` (half of it) of label-error-detection-benchmarks, from the images
  alone. **Only reported on: nothing was fitted or chosen on it.** Seeds {_listed(NUMERAL_SEEDS)}.

Everything else uses seed {SEED}. Intervals are the middle 95 % of {DRAWS} bootstrap draws over the
items, the same draws for each ranking. Ties count as if broken at random.

## The others

- cleanlab 2.9's three scores; of several models, `get_label_quality_ensemble_scores`.
- AUM, the mean margin of logits in training (Pleiss et al. 2020), and the mean probability of the
  given label in training. arXiv 2510.16211 finds such in-sample averages ahead in most scenarios;
  its library, `mislabeled` of Orange (MIT), is in no package index, so both are our own, from their
  definitions, and not that library's.
- kNN vote: the share of the ten nearest neighbours that are labelled otherwise.
- argmax ≠ label: the mean of the models has another class in front.

A row is left out where its evidence is missing. labelfix uses all that there is.

## Average precision

{tables["summary"]}

## The error probability

What `error_probability` says, of sets that the fit did not see: to judge one family (all sets of
the same images), the coefficients are fitted on the other families. The numerals are judged by the
coefficients that ship, which never saw them. Calibration error: the mean distance of said and true
shares in ten bins of equal width, weighted by their items.

{tables["trust"]}

After 100 labels of a random slice were reviewed, as `labelfix status` corrects it; mean over
{AUDITS} slices:

{tables["audit"]}

Over all cases of each family, each model by itself, and planted errors at 1, 2, 5 and 20 % that
weak and strong models judge:

{tables["families"]}

![Share of wrong labels over what is said, of families that the fit did not see]({CHART.name})

Where people erred, on hard items, it says too little; where labels are clean and models err, too
much: probabilities alone cannot tell these apart. A random slice that people look at can.

## All figures

{tables["peers"]}

To repeat: `python benchmarks/power.py --write`; to fit the coefficients anew, `--fit` first.
"""


def _listed(seeds: Sequence[int]) -> str:
    return ", ".join(map(str, seeds))


if __name__ == "__main__":
    main()
