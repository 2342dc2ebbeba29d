"""Which ranking and which selection are the default, and the tables that decided it.

    LABELFIX_DATA=../shared/data python benchmarks/ranking.py --embeddings cifar.npy --write

needs CIFAR-10N with the stored probabilities of five models, the CIFAR-10, MNIST and 20news test
sets with their probabilities and verdicts, and scikit-learn's digits. `--embeddings` names a file
with EfficientNet-Lite0 embeddings of the CIFAR-10 training images; it is made if it is not there
(needs `labelfix[vision]`, some 20 minutes on one core). Prints the tables, and with `--write` puts
them into docs/benchmarks/ranking.md. Hand-drawn numerals (`roman_numeral.py`) take no part.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import tempfile
import warnings
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score, roc_auc_score
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from sklearn.neighbors import KNeighborsClassifier
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from labelfix.find import Weighing
from labelfix.score.combine import (
    Evidence,
    HeadToHead,
    OtherLikelier,
    combine,
    weigh_duplicates,
)
from labelfix.score.confident import count_confident, estimate_noise
from labelfix.score.neighbors import nearest_neighbors, neighbor_pred_probs
from labelfix.score.quality import label_quality
from labelfix.score.selection import SELECTION_RULES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from numpy.typing import NDArray

ROOT = Path(__file__).parent.parent
DATA = Path(os.environ.get("LABELFIX_DATA", ROOT / "../shared/data"))
PAGE = ROOT / "docs" / "benchmarks" / "ranking.md"
BUDGETS = (0.01, 0.02, 0.05, 0.1, 0.2)
RNG_SEED = 0


@dataclass(frozen=True, eq=False)
class Case:
    """Labels, what a model says of them, and which of them are wrong.

    `family` is left out together when the default is chosen; `reviewed` holds the rows that people
    looked at, where they looked at some only.
    """

    name: str
    family: str
    labels: NDArray[np.int64]
    wrong: NDArray[np.bool_]
    pred_probs: NDArray[Any]
    reviewed: NDArray[np.int64] | None = None
    train_pred_probs: NDArray[np.float32] | None = None
    embeddings: NDArray[np.float32] | None = None
    clean: NDArray[np.int64] | None = None

    def precision(self, quality: NDArray[Any]) -> float:
        """Average precision of the ranking, among what was reviewed."""
        rows = slice(None) if self.reviewed is None else self.reviewed
        return float(average_precision_score(self.wrong[rows], -quality[rows]))


def main() -> None:
    """Print, or write, the tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--embeddings", type=Path, help="kept in this .npy; made if not there")
    parser.add_argument("--write", action="store_true", help=f"write {PAGE.relative_to(ROOT)}")
    options = parser.parse_args()
    warnings.filterwarnings("ignore", module="sklearn")
    stored, tests = list(cifar_10n()), list(test_sets())
    planted = list(planted_cases())
    cases = [*stored, *tests, *planted]
    vectors = None if options.embeddings is None else cifar_embeddings(options.embeddings)
    tables = {
        "scores": score_table(cases),
        "ensembles": ensemble_table(stored, vectors),
        "evidence": evidence_table(planted),
        "duplicates": duplicate_table(),
        "details": detail_table([*stored, *tests], vectors),
        "selection": selection_table(cases),
    }
    for name, table in tables.items():
        print(f"\n{name}\n\n{table}")
    if options.write:
        PAGE.parent.mkdir(parents=True, exist_ok=True)
        PAGE.write_text(page(tables))


# The cases


def cifar_10n() -> Iterator[Case]:
    """CIFAR-10 training images as three people each labelled them, by majority; five networks."""
    with np.load(
        DATA / "label-error-detection-benchmarks/compact/cifar-10n-aggregate.npz",
        allow_pickle=False,
    ) as stored:
        names, matrices = stored["models"].tolist(), stored["pred_probs"]
        labels, truth = stored["given"].astype(np.int64), stored["true"].astype(np.int64)
    for name, matrix in zip(names, matrices, strict=True):
        short = name.partition("_patch")[0]
        yield Case(f"CIFAR-10N, {short}", "CIFAR-10N", labels, labels != truth, matrix)


def test_sets() -> Iterator[Case]:
    """Test sets as they are published, with verdicts of people on them."""
    folder = DATA / "label-errors"
    for name in ("mnist", "cifar10", "20news"):
        labels = np.load(folder / f"original_test_labels/{name}_test_set_original_labels.npy")
        probabilities = folder / f"cross_validated_predicted_probabilities/{name}_test_set_pyx.npy"
        verdicts = json.loads((folder / f"mturk/{name}_mturk.json").read_text())
        rows = np.array([verdict["id"] for verdict in verdicts])
        wrong = np.zeros(len(labels), dtype=bool)
        wrong[rows] = [verdict["mturk"]["given"] < 3 for verdict in verdicts]
        case = Case(
            f"{name} test, reviewed",
            f"{name} test",
            labels.astype(np.int64),
            wrong,
            np.load(probabilities).astype(np.float32),
            reviewed=rows,
        )
        yield case
        if name == "cifar10":
            votes = np.load(DATA / "cifar10h/data/cifar10h-counts.npy")
            yield replace(
                case,
                name="cifar10 test, 50 votes each",
                wrong=votes.argmax(axis=1) != labels,
                reviewed=None,
            )
        if name == "mnist":
            listed = (DATA / "mnist/wrong-test/wrongImagesInMNISTTestset.csv").open()
            wrong = np.zeros(len(labels), dtype=bool)
            with listed:
                wrong[[int(row["index"]) for row in csv.DictReader(listed)]] = True
            yield replace(case, name="mnist test, list of 74", wrong=wrong, reviewed=None)


def planted_cases() -> Iterator[Case]:
    """Digits with 8 % of the labels changed in three ways, uneven classes too; three models."""
    for name, features, truth in (("digits", *digits()), ("MNIST", *mnist())):
        judge = KNeighborsClassifier(15, weights="distance")
        opinion = cross_val_predict(judge, features, truth, method="predict_proba", cv=5)
        for uneven in (False, True):
            share = np.array([1, 0.1, 0.5, 1, 0.2, 0.3, 1, 0.1, 0.6, 0.8])[truth]
            draw = np.random.default_rng(RNG_SEED)
            kept = np.flatnonzero(draw.random(len(truth)) < share) if uneven else slice(None)
            for way in ("uniform", "pairs", "hard"):
                labels = spoil(truth[kept], opinion[kept], way, np.random.default_rng(RNG_SEED))
                title = f"{name}{', uneven' if uneven else ''}, {way}"
                case = Case(
                    title,
                    f"{way}, planted",
                    labels,
                    labels != truth[kept],
                    np.empty(0),
                    embeddings=features[kept].astype(np.float32),
                )
                yield from with_models(case)


def with_models(case: Case) -> Iterator[Case]:
    """Judge a case by three models, out of fold."""
    assert case.embeddings is not None
    folds = StratifiedKFold(5, shuffle=True, random_state=RNG_SEED)
    logistic = make_pipeline(StandardScaler(), LogisticRegression(max_iter=300))
    for name, model in (("logistic", logistic), ("knn", KNeighborsClassifier(10))):
        matrix = cross_val_predict(
            model, case.embeddings, case.labels, method="predict_proba", cv=folds
        )
        yield replace(case, name=f"{case.name}, {name}", pred_probs=matrix.astype(np.float32))
    held_out, in_training = network(case.embeddings, case.labels, folds)
    yield replace(
        case, name=f"{case.name}, network", pred_probs=held_out, train_pred_probs=in_training
    )


def network(
    features: NDArray[np.float32],
    labels: NDArray[np.int64],
    folds: StratifiedKFold,
    epochs: int = 20,
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Probabilities out of fold, and the mean over folds and epochs of those in training."""
    classes = np.unique(labels)
    features = StandardScaler().fit_transform(features)
    held_out = np.zeros((len(labels), len(classes)), dtype=np.float32)
    in_training = np.zeros((len(labels), len(classes)))
    for train, test in folds.split(features, labels):
        model = MLPClassifier((100,), random_state=RNG_SEED)
        for _ in range(epochs):
            model.partial_fit(features[train], labels[train], classes=classes)
            in_training[train] += model.predict_proba(features[train])
        held_out[test] = model.predict_proba(features[test])
    return held_out, (in_training / in_training.sum(axis=1, keepdims=True)).astype(np.float32)


def spoil(
    truth: NDArray[np.int64],
    opinion: NDArray[np.float64],
    way: str,
    draw: np.random.Generator,
    rate: float = 0.08,
) -> NDArray[np.int64]:
    """Change labels.

    uniform: to any class; pairs: of every other class to the next; hard: to what another model
    takes hard items for.
    """
    n, n_classes = opinion.shape
    if way == "uniform":
        return np.where(
            draw.random(n) < rate, (truth + draw.integers(1, n_classes, n)) % n_classes, truth
        )
    if way == "pairs":
        changed = (draw.random(n) < 2 * rate) & (truth % 2 == 0)
        return np.where(changed, (truth + 1) % n_classes, truth)
    others = opinion.copy()
    others[np.arange(n), truth] = -1
    hardness = others.max(axis=1) + 1e-3
    changed = draw.random(n) < hardness * rate * n / hardness.sum()
    return np.where(changed, others.argmax(axis=1), truth)


@cache
def digits() -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """scikit-learn's 1,797 digits of 8 x 8 pixels."""
    found = load_digits()
    return found.data / 16, found.target


@cache
def mnist() -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Give the 10,000 test images, as 40 principal components."""
    with np.load(DATA / "mnist/mnist_test.npz", allow_pickle=False) as stored:
        pixels, truth = stored["x"].reshape(-1, 784) / 255, stored["y"].astype(np.int64)
    return PCA(40, random_state=RNG_SEED).fit_transform(pixels), truth


def cifar_embeddings(path: Path) -> NDArray[np.float32]:
    """Embeddings of the CIFAR-10 training images by EfficientNet-Lite0; made if not there."""
    if not path.exists():
        import polars as pl

        from labelfix.predict.embed import EfficientNetLite
        from labelfix.schema import Dataset

        with (
            np.load(DATA / "cifar10/cifar10_train_jpeg.npz", allow_pickle=False) as stored,
            tempfile.TemporaryDirectory() as folder,
        ):
            blob, ends, labels = stored["blob"], stored["offsets"], stored["labels"]
            names = [f"{row:05}.jpg" for row in range(len(labels))]
            for row, name in enumerate(names):
                (Path(folder) / name).write_bytes(blob[ends[row] : ends[row + 1]].tobytes())
            items = pl.DataFrame({"item_id": names, "path": names})
            annotations = pl.DataFrame(
                {"annotation_id": names, "item_id": names, "label": labels.astype(str)}
            )
            classes = tuple(map(str, range(10)))
            dataset = Dataset(items, annotations, classes, "memory", root=Path(folder))
            inputs = EfficientNetLite().extract(dataset, cache=None, progress=None)
        np.save(path, np.asarray(inputs.embeddings))
    found: NDArray[np.float32] = np.load(path, allow_pickle=False)
    return found


# The scores


def by_name(name: str) -> Callable[[Case], NDArray[Any]]:
    """Make a function of a score of labelfix."""
    return lambda case: label_quality(case.labels, case.pred_probs, name)


def less_threshold(case: Case) -> NDArray[Any]:
    """Self-confidence less the class's mean: what cleanlab calls adjusted."""
    adjusted: NDArray[Any] = own(case) - class_means(case)[case.labels]
    return adjusted


def over_prior(case: Case) -> NDArray[Any]:
    """Self-confidence where each class is first divided by its share of the labels."""
    share = np.bincount(case.labels, minlength=case.pred_probs.shape[1]) / len(case.labels)
    ratio = case.pred_probs / np.maximum(share, 1 / len(case.labels))
    quality: NDArray[Any] = ratio[np.arange(len(ratio)), case.labels] / ratio.sum(axis=1)
    return quality


def noise_posterior(case: Case) -> NDArray[Any]:
    """P(the given class is the true one), the confident joint's noise matrix taken for true."""
    counts = count_confident(case.labels, case.pred_probs)
    noise = estimate_noise(counts.joint + 1 / len(counts.joint), counts.label_counts).noise
    likely = noise[case.labels] * case.pred_probs
    quality: NDArray[Any] = likely[np.arange(len(likely)), case.labels] / likely.sum(axis=1)
    return quality


def own(case: Case) -> NDArray[Any]:
    """Probability of the given class."""
    return case.pred_probs[np.arange(len(case.labels)), case.labels].astype(np.float64)


def class_means(case: Case) -> NDArray[np.float64]:
    """Mean probability of each class where it is given."""
    n_classes = case.pred_probs.shape[1]
    sums = np.bincount(case.labels, own(case), minlength=n_classes)
    return sums / np.maximum(np.bincount(case.labels, minlength=n_classes), 1)


def default(case: Case) -> NDArray[np.float64]:
    """Score as labelfix does by default."""
    return quality(case.labels, case.pred_probs)


def quality(labels: NDArray[np.int64], pred_probs: NDArray[Any]) -> NDArray[np.float64]:
    """Score a matrix as labelfix does by default."""
    return HeadToHead().score(labels, pred_probs)


def variant(**parameters: float) -> Callable[[Case], NDArray[Any]]:
    """Make a function of a variant of the default."""
    scorer = HeadToHead(**parameters)
    return lambda case: scorer.score(case.labels, case.pred_probs)


SCORES: Mapping[str, Callable[[Case], NDArray[Any]]] = {
    "self-confidence": by_name("self_confidence"),
    "normalized margin": by_name("normalized_margin"),
    "confidence-weighted entropy": by_name("confidence_weighted_entropy"),
    "self-confidence less threshold": less_threshold,
    "self-confidence over prior": over_prior,
    "posterior under noise matrix": noise_posterior,
    **{
        f"head to head alone, slack {slack}": variant(slack=slack, confusions=0, all_others=0)
        for slack in (0, 0.01, 0.05, 0.1, 0.3)
    },
    **{f"confusions {power}": variant(confusions=power) for power in (0, 0.1, 0.5, 1)},
    **{f"all others {share}": variant(all_others=share) for share in (0, 0.5, 1)},
    "**slack 0.05, confusions 0.25, all others 0.25**": default,
}


def score_table(cases: Sequence[Case]) -> str:
    """Average precision of each score from one matrix; and what leaving a family out chooses."""
    families = list(dict.fromkeys(case.family for case in cases))
    values = {
        name: [case.precision(score(case)) for case in cases] for name, score in SCORES.items()
    }
    by_family = mean_by_family(values, cases)
    lines = [
        f"| score | {' | '.join(families)} | mean of AP / best |",
        f"|---|{'---|' * (len(families) + 1)}",
    ]
    relative = relative_to_best(values, cases)
    for name in SCORES:
        cells = " | ".join(f"{by_family[name][family]:.3f}" for family in families)
        lines.append(f"| {name} | {cells} | {np.mean(list(relative[name].values())):.3f} |")
    chosen = leave_one_out(relative, families)
    cells = " | ".join(f"{by_family[chosen[family]][family]:.3f}" for family in families)
    lines.append(f"| *chosen on the other columns* | {cells} | |")
    picks = ", ".join(f"{family}: {chosen[family].strip('*')}" for family in families)
    return "\n".join(lines) + f"\n\nChosen without the column: {picks}."


def mean_by_family(
    values: Mapping[str, Sequence[float]], cases: Sequence[Case]
) -> dict[str, dict[str, float]]:
    """Average a figure over the cases of each family."""
    return {
        name: {
            family: float(
                np.mean([v for v, case in zip(row, cases, strict=True) if case.family == family])
            )
            for family in dict.fromkeys(case.family for case in cases)
        }
        for name, row in values.items()
    }


def relative_to_best(
    values: Mapping[str, Sequence[float]], cases: Sequence[Case]
) -> dict[str, dict[str, float]]:
    """Divide by the best of the case, so that easy and hard sets count alike; by family."""
    best = np.max(list(values.values()), axis=0)
    return mean_by_family({name: np.array(row) / best for name, row in values.items()}, cases)


def leave_one_out(
    relative: Mapping[str, Mapping[str, float]], families: Sequence[str]
) -> dict[str, str]:
    """For each family, the choice that is best on all others."""
    return {
        left: max(
            relative,
            key=lambda name: np.mean([v for f, v in relative[name].items() if f != left]),
        )
        for left in families
    }


def ensemble_table(stored: Sequence[Case], embeddings: NDArray[np.float32] | None) -> str:
    """Several models, and embeddings, on CIFAR-10N."""
    short = [case.name.partition(", ")[2] for case in stored]
    sets = [[0, 1], [1, 2], [1, 4], [2, 4], [0, 1, 2, 4], [0, 1, 2, 3, 4]]
    ways = ("best one", "mean rank", "mean", "geometric mean", "**fitted pool**")
    lines = [f"| models | {' | '.join(ways)} | weights |", f"|---|{'---|' * (len(ways) + 1)}"]
    for members in sets:
        sources = [Evidence(short[k], stored[k].pred_probs) for k in members]
        lines.append(ensemble_row(" + ".join(short[k] for k in members), stored[0], sources))
    if embeddings is not None:
        shares = shares_of_neighbors(stored[0].labels, embeddings)
        for members in ([0], [1], [2], [4], [3], [0, 1, 2, 3, 4]):
            sources = [Evidence(short[k], stored[k].pred_probs) for k in members]
            sources.append(Evidence("neighbours", shares))
            name = " + ".join(short[k] for k in members) + " + neighbours"
            lines.append(ensemble_row(name, stored[0], sources))
    return "\n".join(lines)


def ensemble_row(name: str, case: Case, sources: Sequence[Evidence]) -> str:
    """Average precision of several ways to combine the same sources; the default after each."""
    matrices = [source.pred_probs.astype(np.float64) for source in sources]
    alone = [quality(case.labels, one) for one in matrices]
    ranks = np.mean([one.argsort().argsort() for one in alone], axis=0)
    logs = np.mean([np.log(np.maximum(one, 1e-6)) for one in matrices], axis=0)
    pooled = combine(case.labels, sources)
    figures = [
        max(case.precision(one) for one in alone),
        case.precision(ranks),
        case.precision(quality(case.labels, np.mean(matrices, axis=0))),
        case.precision(quality(case.labels, np.exp(logs))),
        case.precision(quality(case.labels, pooled.pred_probs)),
    ]
    weights = ", ".join(f"{weight:.2f}" for weight in pooled.weights.values())
    return f"| {name} | {' | '.join(f'{figure:.3f}' for figure in figures)} | {weights} |"


def shares_of_neighbors(
    labels: NDArray[np.int64], embeddings: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Ask the neighbours, by the default settings."""
    setting = Weighing()
    near = nearest_neighbors(embeddings, setting.neighbors)
    n_classes = int(labels.max()) + 1
    return neighbor_pred_probs(labels, near, n_classes, sharpness=setting.sharpness)


def evidence_table(planted: Sequence[Case]) -> str:
    """Show what neighbours and training add on the planted sets."""
    columns = ("alone", "+ neighbours", "+ training", "+ both", "training alone")
    lines = [f"| case | {' | '.join(columns)} |", f"|---|{'---|' * len(columns)}"]
    for case in planted:
        assert case.embeddings is not None
        near = Evidence("near", shares_of_neighbors(case.labels, case.embeddings))
        alone = Evidence("model", case.pred_probs)
        taught = replace(alone, train_pred_probs=case.train_pred_probs)
        sources = [[alone], [alone, near]]
        if case.train_pred_probs is not None:
            training = Evidence("training", case.train_pred_probs)
            sources += [[taught], [taught, near], [training]]
        figures = [
            case.precision(quality(case.labels, combine(case.labels, some).pred_probs))
            for some in sources
        ]
        cells = [f"{figure:.3f}" for figure in figures] + ["" for _ in columns[len(figures) :]]
        lines.append(f"| {case.name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def duplicate_table() -> str:
    """Digits of which a third is there two or three times, each copy with an error of its own."""
    lines = ["| case | without | with the labels of duplicates |", "|---|---|---|"]
    features, truth = digits()
    draw = np.random.default_rng(RNG_SEED)
    copies = np.repeat(
        np.arange(len(truth)), draw.choice([1, 2, 3], len(truth), p=[0.67, 0.2, 0.13])
    )
    for way in ("uniform", "pairs"):
        labels = spoil(truth[copies], np.empty((len(copies), 10)), way, draw)
        folds = StratifiedKFold(5, shuffle=True, random_state=RNG_SEED)
        fold = np.empty(len(truth), dtype=np.int64)
        for number, (_, test) in enumerate(folds.split(features, truth)):
            fold[test] = number
        matrix = np.empty((len(copies), 10))
        for number in range(5):
            test = fold[copies] == number
            model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=300))
            model.fit(features[copies[~test]], labels[~test])
            matrix[test] = model.predict_proba(features[copies[test]])
        wrong = labels != truth[copies]
        weighed, _ = weigh_duplicates(labels, matrix, copies)
        figures = [
            average_precision_score(wrong, -quality(labels, one)) for one in (matrix, weighed)
        ]
        lines.append(f"| digits, {way} | {figures[0]:.3f} | {figures[1]:.3f} |")
    return "\n".join(lines)


def detail_table(cases: Sequence[Case], embeddings: NDArray[np.float32] | None) -> str:
    """Describe the default ranking on the real sets, with bootstrap intervals."""
    budgets = " | ".join(f"{budget:.0%}" for budget in BUDGETS)
    lines = [
        f"| case | errors | AUROC | AP | precision at the number of errors | recall at {budgets} |",
        f"|---|---|---|---|---|{'---|' * len(BUDGETS)}",
    ]
    rows = [(case.name, case, default(case)) for case in cases]
    stored = [case for case in cases if case.family == "CIFAR-10N"]
    sources = [Evidence(case.name, case.pred_probs) for case in stored]
    first = stored[0]
    rows.append(("CIFAR-10N, all five", first, pooled_quality(first, sources)))
    if embeddings is not None:
        near = Evidence("neighbours", shares_of_neighbors(first.labels, embeddings))
        one = next(source for source in sources if "resnet18" in source.name)
        rows.append((f"{one.name} + embeddings", first, pooled_quality(first, [one, near])))
        rows.append(
            ("CIFAR-10N, all five + embeddings", first, pooled_quality(first, [*sources, near]))
        )
    for name, case, quality in rows:
        lines.append(f"| {name} | {describe(case, quality)} |")
    return "\n".join(lines)


def pooled_quality(case: Case, sources: Sequence[Evidence]) -> NDArray[np.float64]:
    """Score several sources as labelfix does by default."""
    return quality(case.labels, combine(case.labels, sources).pred_probs)


def describe(case: Case, quality: NDArray[np.float64], draws: int = 200) -> str:
    """Figures of a ranking, with the middle 95 % of bootstrap draws over items."""
    rows = np.arange(len(quality)) if case.reviewed is None else case.reviewed
    wrong, quality = case.wrong[rows], quality[rows]
    random = np.random.default_rng(RNG_SEED)
    samples = [random.integers(len(rows), size=len(rows)) for _ in range(draws)]

    def cell(figure: Callable[[NDArray[np.bool_], NDArray[np.float64]], float]) -> str:
        drawn = [figure(wrong[sample], quality[sample]) for sample in samples]
        low, high = np.quantile(drawn, [0.025, 0.975])
        return f"{figure(wrong, quality):.3f} ({low:.3f} to {high:.3f})"

    cells = [
        str(wrong.sum()),
        cell(lambda w, q: float(roc_auc_score(w, -q))),
        cell(lambda w, q: float(average_precision_score(w, -q))),
        cell(lambda w, q: found_within(w, q, int(w.sum())) / max(w.sum(), 1)),
    ]
    for budget in BUDGETS:
        top = round(budget * len(rows))
        cells.append(f"{found_within(wrong, quality, top) / wrong.sum():.3f}")
    return " | ".join(cells)


def found_within(wrong: NDArray[np.bool_], quality: NDArray[np.float64], top: int) -> int:
    """Count the errors among the most suspicious."""
    return int(wrong[np.argsort(quality, kind="stable")[:top]].sum())


# The selection


def selection_table(cases: Sequence[Case]) -> str:
    """F1 of what each rule flags, from one matrix."""
    full = [case for case in cases if case.reviewed is None]
    families = list(dict.fromkeys(case.family for case in full))
    rules: dict[str, Any] = {name: rule() for name, rule in SELECTION_RULES.items()}
    rules |= {
        f"another class {ratio} times as likely": OtherLikelier(ratio) for ratio in (1.25, 2, 3, 9)
    }
    rules["**another class 1.5 times as likely**"] = OtherLikelier(1.5)
    values: dict[str, list[float]] = {name: [] for name in rules}
    for case in full:
        counts = count_confident(case.labels, case.pred_probs)
        for name, rule in rules.items():
            values[name].append(f1(case.wrong, rule.select(counts)))
    by_family = mean_by_family(values, full)
    relative = relative_to_best(values, full)
    lines = [
        f"| rule | {' | '.join(families)} | mean of F1 / best | worst |",
        f"|---|{'---|' * (len(families) + 2)}",
    ]
    for name in rules:
        cells = " | ".join(f"{by_family[name][family]:.3f}" for family in families)
        shares = list(relative[name].values())
        lines.append(f"| {name} | {cells} | {np.mean(shares):.3f} | {min(shares):.3f} |")
    chosen = leave_one_out(relative, families)
    cells = " | ".join(f"{by_family[chosen[family]][family]:.3f}" for family in families)
    lines.append(f"| *chosen on the other columns* | {cells} | | |")
    picks = ", ".join(f"{family}: {chosen[family].strip('*')}" for family in families)
    return "\n".join(lines) + f"\n\nChosen without the column: {picks}."


def f1(wrong: NDArray[np.bool_], flagged: NDArray[np.bool_]) -> float:
    """Harmonic mean of precision and recall."""
    return float(2 * (wrong & flagged).sum() / max(wrong.sum() + flagged.sum(), 1))


def page(tables: Mapping[str, str]) -> str:
    """Wrap the tables in words."""
    return f"""# Rankings and selections

<!-- written by benchmarks/ranking.py: run it again rather than edit this -->

What these tables decided is told in [choosing a score](../choosing-a-score.md). Sources: CIFAR-10N
(noisylabels.com, the majority of three annotators) with the out-of-fold probabilities of five
networks from github.com/cleanlab/label-error-detection-benchmarks; the test sets with
probabilities and crowd verdicts of github.com/cleanlab/label-errors; fifty votes an image from
CIFAR-10H; the list of 74 doubtful MNIST images; scikit-learn's digits and MNIST's test images with
8 % of the labels changed (`uniform`: to any class; `pairs`: of every other class to the next;
`hard`: to what another model takes hard images for; `uneven`: classes of very different sizes),
judged by logistic regression, ten nearest neighbours and a small network, five folds each.

"Reviewed" sets are scored among the items that people looked at, and those were picked by
confident learning from the same probabilities. They are few; see the intervals below.

## One matrix of probabilities: which score

Average precision, mean over the cases of a column. The last column divides by the best score of
each case before it averages, so that easy and hard sets count alike. The last row is what a person
would have got who chose on the other columns only. "Head to head alone" is without `confusions` and
`all_others`; rows that name one parameter of `labelfix.score.HeadToHead` have the default's others.

{tables["scores"]}

## Several models: how to combine them

CIFAR-10N, average precision; the default score after each way to combine. Weights are the exponents
that the pool found from the given labels, in the order of the models. Neighbours (`--embeddings`)
are the ten nearest by the embeddings of an EfficientNet-Lite0 that knows photos.

{tables["ensembles"]}

## What else there is to know: neighbours, and training

Average precision. Neighbours are the ten nearest on the pixels (MNIST: on 40 principal components).
"+ training" gives the mean in-sample probabilities half of the network's weight.

{tables["evidence"]}

## Duplicates with different labels

{tables["duplicates"]}

## The default ranking on real errors

With the middle 95 % of 200 bootstrap draws over the items.

{tables["details"]}

## What to flag

F1 of the flagged set against all errors, from one matrix; columns as above.

{tables["selection"]}

To repeat: `python benchmarks/ranking.py --embeddings FILE.npy --write`
"""


if __name__ == "__main__":
    main()
