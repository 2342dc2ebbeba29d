"""Out-of-fold predictions: never trained on, the same however they are computed, resumable."""

from __future__ import annotations

import os
import subprocess
import sys
import warnings
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import joblib
import numpy as np
import polars as pl
import pytest
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import PredefinedSplit, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC

import labelfix
from labelfix.errors import InputError, LabelfixWarning
from labelfix.predict import out_of_fold
from labelfix.predict.auto import Auto
from labelfix.predict.jobs import make_jobs, run_jobs
from labelfix.predict.models import FoldJob, FoldResult, Inputs, describe
from labelfix.predict.tabular import CLASSIFIERS, Head, Table
from labelfix.schema import Dataset

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Self

    from numpy.typing import NDArray

    from labelfix.progress import Progress


def dataset(
    columns: dict[str, Any], labels: Sequence[str], class_names: Sequence[str] | None = None
) -> Dataset:
    names = [f"{i:05d}" for i in range(len(labels))]
    return Dataset(
        pl.DataFrame({"item_id": names, **columns}),
        pl.DataFrame({"annotation_id": names, "item_id": names, "label": list(labels)}),
        tuple(sorted(set(labels)) if class_names is None else class_names),
        "memory",
        feature_columns=tuple(columns),
    )


def blobs(n: int = 120, n_classes: int = 3, seed: int = 0) -> Dataset:
    rng = np.random.default_rng(seed)
    codes = rng.permutation(np.arange(n) % n_classes)
    x = rng.normal(size=(n, 4)) + 2 * np.eye(max(n_classes, 4))[codes, :4]
    return dataset({f"x{j}": x[:, j] for j in range(4)}, [f"class {c}" for c in codes])


GUESSES = pytest.mark.filterwarnings("ignore:no model learns the labels")
FOREST = Head("random-forest", options={"n_estimators": 10})


class Spy:
    """Says the class frequencies, and remembers the first feature of what it saw."""

    fitted: ClassVar[list[NDArray[np.float64]]] = []
    asked: ClassVar[list[NDArray[np.float64]]] = []

    def fit(self, X: NDArray[np.float64], y: NDArray[np.int64]) -> Self:
        self.fitted.append(X[:, 0])
        self.frequency = np.bincount(y) / len(y)
        return self

    def predict_proba(self, X: NDArray[np.float64]) -> NDArray[np.float64]:
        self.asked.append(X[:, 0])
        return np.tile(self.frequency[self.frequency > 0], (len(X), 1))


@pytest.fixture(autouse=True)
def _forget() -> None:
    Spy.fitted.clear()
    Spy.asked.clear()


# Never trained on


@pytest.mark.parametrize("folds", [2, 5])
def test_no_item_is_predicted_by_a_model_that_learned_from_it(folds: int) -> None:
    n = 53
    data = dataset({"row": np.arange(n)}, ["ab"[i % 2] for i in range(n)])
    out_of_fold(data, Head(Spy(), encoding="none"), folds=folds)
    assert len(Spy.fitted) == folds
    for fitted, asked in zip(Spy.fitted, Spy.asked, strict=True):
        assert sorted([*fitted, *asked]) == list(range(n))
    assert sorted(np.concatenate(Spy.asked)) == list(range(n))


def test_nothing_is_repeated_in_training_to_fill_a_class() -> None:
    data = dataset({"row": np.arange(22)}, ["a"] * 10 + ["b"] * 10 + ["c", "d"])
    with pytest.warns(LabelfixWarning, match="cannot be learned"):
        out_of_fold(data, Head(Spy(), encoding="none"))
    for fitted in Spy.fitted:
        assert len(np.unique(fitted)) == len(fitted)


@pytest.mark.parametrize("how", ["column", "array"])
def test_groups_are_held_out_together(how: str) -> None:
    n = 60
    groups = [f"patient {i // 4}" if i < 48 else None for i in range(n)]
    data = dataset({"row": np.arange(n), "patient": groups}, ["ab"[i % 2] for i in range(n)])
    predictions = out_of_fold(
        data, Head(Spy(), encoding="none"), groups="patient" if how == "column" else groups
    )
    assert predictions.fold is not None
    for start in range(0, 48, 4):
        assert len(set(predictions.fold[start : start + 4].tolist())) == 1
    for fitted, asked in zip(Spy.fitted, Spy.asked, strict=True):
        learned = {groups[int(row)] for row in fitted} - {None}
        assert not learned & {groups[int(row)] for row in asked}


def test_the_group_column_is_not_learned_from() -> None:
    groups = np.arange(40) % 20
    data = dataset({"x": np.ones(40), "who": groups}, ["ab"[g % 2] for g in groups])
    predictions = out_of_fold(data, "logistic", groups="who")
    assert np.allclose(predictions.pred_probs, 0.5, atol=0.05)


def test_encodings_are_learned_from_training_rows_alone() -> None:
    """The held-out row is an outlier; were it in the scaling, the others would collapse."""
    x = np.arange(20.0)
    x[0] = 1e12
    job = FoldJob(np.arange(1, 20), np.arange(1, 20) % 2, np.arange(1), 2, 0)
    data = dataset({"x": x}, ["ab"[i % 2] for i in range(20)])
    seen: list[NDArray[np.float64]] = []

    class Watch(Spy):
        def fit(self, X: NDArray[np.float64], y: NDArray[np.int64]) -> Self:
            seen.append(X)
            return super().fit(X, y)

    head = Head(Watch())
    head.fit_predict(head.prepare(data, cache=None, progress=None).data, job, None)
    assert np.isclose(seen[0].mean(), 0)
    assert np.isclose(seen[0].std(), 1)


# The same as scikit-learn's, and the same however computed


def test_plain_folds_agree_with_cross_val_predict() -> None:
    data = blobs(150)
    predictions = out_of_fold(data, LogisticRegression(C=0.3))
    X = data.items.select(data.feature_columns).to_numpy()
    expected = cross_val_predict(
        make_pipeline(StandardScaler(), LogisticRegression(C=0.3)),
        X,
        data.labels,
        cv=PredefinedSplit(predictions.fold),
        method="predict_proba",
    )
    assert np.allclose(predictions.pred_probs, expected, atol=1e-6)
    assert predictions.pred_probs.dtype == np.float32


@pytest.mark.parametrize("model", ["logistic", RandomForestClassifier(20)])
def test_jobs_do_not_change_the_answer(model: Any) -> None:
    data = blobs(90)
    alone = out_of_fold(data, model, folds=3)
    together = out_of_fold(data, model, folds=3, jobs=2)
    assert (alone.pred_probs == together.pred_probs).all()


def test_any_joblib_backend_will_do() -> None:
    data = blobs(60)
    expected = out_of_fold(data, "knn").pred_probs
    for backend in ("threading", "sequential", "multiprocessing"):
        with joblib.parallel_config(backend=backend, n_jobs=2):
            assert (out_of_fold(data, "knn").pred_probs == expected).all()


def test_a_model_may_say_how_many_folds_at_once_suit_it(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []
    original = joblib.Parallel

    def spy(**options: Any) -> Any:
        asked.append(options["n_jobs"])
        return original(**{**options, "n_jobs": 1})

    monkeypatch.setattr(joblib, "Parallel", spy)
    monkeypatch.setattr(TwoSteps, "jobs", 3, raising=False)
    out_of_fold(blobs(), TwoSteps())
    out_of_fold(blobs(), TwoSteps(), jobs=2)
    out_of_fold(blobs(), "knn")
    with joblib.parallel_config(n_jobs=4):
        out_of_fold(blobs(), TwoSteps())
    assert asked == [3, 2, 1, None]


def test_the_order_of_the_folds_does_not_change_the_answer() -> None:
    data = blobs(90)
    predictions = out_of_fold(data, FOREST)
    assert predictions.fold is not None
    inputs = FOREST.prepare(data, cache=None, progress=None)
    todo = make_jobs(data.labels, predictions.fold, 3, seed=0)
    for job, result in zip(todo[::-1], run_jobs(FOREST, inputs, todo[::-1]), strict=True):
        assert (predictions.pred_probs[job.test] == result.pred_probs).all()


def test_the_order_of_the_items_does_not_change_the_folds() -> None:
    data = blobs(75)
    order = np.random.default_rng(3).permutation(75)
    straight = out_of_fold(data, "lda")
    shuffled = out_of_fold(data.take(order), "lda")
    assert straight.fold is not None
    assert shuffled.fold is not None
    assert (straight.fold[order] == shuffled.fold).all()
    assert np.allclose(straight.pred_probs[order], shuffled.pred_probs, atol=1e-5)


def test_seeds_differ_and_repeat() -> None:
    data = blobs(90)
    first, again, other = (out_of_fold(data, FOREST, seed=seed).pred_probs for seed in (1, 1, 2))
    assert (first == again).all()
    assert (first != other).any()


def test_columns_follow_the_class_names() -> None:
    names = ["zebra", "ant", "never given", "cow"]
    codes = np.arange(80) % 3
    data = dataset(
        {"x": codes + np.linspace(0, 0.1, 80), "kind": [f"k{c}" for c in codes]},
        [("zebra", "ant", "cow")[c] for c in codes],
        class_names=names,
    )
    predictions = out_of_fold(data, "logistic")
    assert predictions.class_names == tuple(names)
    assert (predictions.pred_probs.argmax(axis=1) == data.labels).all()
    assert (predictions.pred_probs[:, 2] < 0.05).all()


# The store


SCRIPT = """
import os, sys, warnings
from pathlib import Path
import numpy as np
sys.path.insert(0, {tests!r})
warnings.simplefilter("error")
from labelfix.predict import out_of_fold
from labelfix.predict.tabular import Head
from test_out_of_fold import blobs

folder = Path({folder!r})

class Counted:
    def fit(self, X, y):
        with open(folder / "fits", "a") as log:
            log.write("fit\\n")
        if len((folder / "fits").read_text().splitlines()) == int(os.environ["DIE_AT"]):
            os.kill(os.getpid(), 9)
        self.mean = np.array([X[y == k, 0].mean() for k in range(3)])
        return self
    def predict_proba(self, X):
        weight = np.exp(-(X[:, :1] - self.mean) ** 2)
        return weight / weight.sum(axis=1, keepdims=True)

out_of_fold(blobs(), Head(Counted()), store=folder / "store")
"""


def test_a_killed_run_goes_on_at_the_fold_it_reached(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(SCRIPT.format(tests=str(Path(__file__).parent), folder=str(tmp_path)))

    def run(die_at: int) -> int:
        environment = {**os.environ, "DIE_AT": str(die_at)}
        package = str(Path(labelfix.__file__).parents[1])
        environment["PYTHONPATH"] = package
        call = [sys.executable, str(script)]
        return subprocess.run(call, env=environment, check=False, timeout=120).returncode

    assert run(die_at=4) == -9
    assert len((tmp_path / "fits").read_text().splitlines()) == 4
    assert len(list((tmp_path / "store").glob("*.npz"))) == 3
    assert run(die_at=0) == 0
    assert len((tmp_path / "fits").read_text().splitlines()) == 6  # folds 4 and 5, no other


def test_stored_folds_are_those_of_a_run_without_a_store(tmp_path: Path) -> None:
    data = blobs()
    expected = out_of_fold(data, FOREST).pred_probs
    for _ in range(2):
        assert (out_of_fold(data, FOREST, store=tmp_path).pred_probs == expected).all()


@pytest.mark.parametrize("change", ["labels", "features", "options", "seed", "model", "folds"])
def test_what_a_result_depends_on_tells_stored_folds_apart(tmp_path: Path, change: str) -> None:
    codes = np.arange(60) % 2
    x = np.arange(60.0)

    def fits(codes: NDArray[np.int64] = codes, x: NDArray[np.float64] = x, **options: Any) -> int:
        Spy.fitted.clear()
        head = Head(options.pop("spy", Spy)(), encoding=options.pop("encoding", "none"))
        out_of_fold(dataset({"x": x}, ["ab"[c] for c in codes]), head, store=tmp_path, **options)
        return len(Spy.fitted)

    assert fits() == 5
    assert fits() == 0
    other: dict[str, Any] = {
        "labels": {"codes": np.where(np.arange(60) == 7, 0, codes)},
        "features": {"x": np.where(np.arange(60) == 7, 0.5, x)},
        "options": {"encoding": "scaled"},
        "seed": {"seed": 1},
        "model": {"spy": OtherSpy},
        "folds": {"folds": 3},
    }
    assert fits(**other[change]) > 0


@pytest.mark.parametrize("change", ["train", "labels", "test", "seed", "n_classes"])
def test_each_part_of_a_job_tells_stored_results_apart(tmp_path: Path, change: str) -> None:
    head = Head(Spy(), encoding="none")
    inputs = Inputs(Table(np.arange(20.0)[:, None], 1))
    job = FoldJob(np.arange(12), np.arange(12) % 2, np.arange(12, 20), 2, seed=0)
    other: dict[str, Any] = {
        "train": np.arange(12)[::-1],
        "labels": np.arange(12) // 6,
        "test": np.arange(13, 20),
        "seed": 1,
        "n_classes": 3,
    }
    for each in (job, job, replace(job, **{change: other[change]})):
        run_jobs(head, inputs, [each], store=tmp_path)
    assert len(Spy.fitted) == 2


class OtherSpy(Spy):
    pass


def test_a_damaged_file_of_the_store_is_made_anew(tmp_path: Path) -> None:
    data = blobs()
    expected = out_of_fold(data, "knn", store=tmp_path).pred_probs
    damaged = min(tmp_path.glob("*.npz"))
    damaged.write_bytes(damaged.read_bytes()[:100])
    assert (out_of_fold(data, "knn", store=tmp_path).pred_probs == expected).all()
    assert len(damaged.read_bytes()) > 100


def test_a_model_that_cannot_be_told_apart_is_not_stored(tmp_path: Path) -> None:
    class Local(Spy):
        pass

    assert out_of_fold(blobs(), Head(Local())).pred_probs.shape == (120, 3)
    with pytest.raises(InputError, match="pickled"):
        out_of_fold(blobs(), Head(Local()), store=tmp_path)


# Small classes


def test_a_class_held_out_whole_is_unlikely_but_not_impossible() -> None:
    data = dataset({"x": np.arange(41.0)}, ["a"] * 20 + ["b"] * 20 + ["rare"])
    with pytest.warns(LabelfixWarning, match=r"1 class \('rare'\) cannot be learned"):
        predictions = out_of_fold(data, "logistic")
    rare = predictions.pred_probs[40]
    assert 0 < rare[2] < 1 / 30
    assert np.isclose(rare.sum(), 1)


def test_a_fold_that_leaves_one_class_predicts_it() -> None:
    data = dataset({"x": np.arange(21.0)}, ["a"] * 20 + ["b"])
    with pytest.warns(LabelfixWarning):
        predictions = out_of_fold(data, "svm")
    assert predictions.pred_probs[20, 0] > 0.9


def quick(name: str) -> Head:
    forest = name in {"random-forest", "extra-trees"}
    options = {"n_estimators": 20} if forest else {"max_iter": 20} if "boost" in name else {}
    return Head(name, options=options)


@pytest.mark.parametrize("name", sorted(CLASSIFIERS))
def test_every_named_classifier_copes_with_few_of_a_class(name: str) -> None:
    rng = np.random.default_rng(0)
    labels = ["a"] * 20 + ["b"] * 12 + ["c"] * 2 + ["d"]
    columns = {
        "x": np.where(rng.random(35) < 0.1, np.nan, rng.normal(size=35)),
        "flat": np.zeros(35),
        "colour": [("red", "green", None)[i] for i in rng.integers(0, 3, 35)],
        "yes": rng.random(35) < 0.5,
    }
    with pytest.warns(LabelfixWarning):
        predictions = out_of_fold(dataset(columns, labels), quick(name))
    assert predictions.pred_probs.shape == (35, 4)
    assert np.allclose(predictions.pred_probs.sum(axis=1), 1, atol=1e-5)
    assert (predictions.pred_probs >= 0).all()


@pytest.mark.parametrize("name", sorted(CLASSIFIERS))
def test_every_named_classifier_learns(name: str) -> None:
    data = blobs(150)
    predictions = out_of_fold(data, quick(name), folds=3)
    assert (predictions.pred_probs.argmax(axis=1) == data.labels).mean() > 0.6


def test_categories_and_missing_values_are_learned_from() -> None:
    codes = np.arange(90) % 3
    columns = {
        "colour": [("red", "green", None)[c] for c in codes],
        "when": pl.Series([c * 1000 for c in codes]).cast(pl.Datetime),
    }
    for kind, wanted in (("colour", "logistic"), ("when", "hist-gradient-boosting")):
        data = dataset({kind: columns[kind]}, ["abc"[c] for c in codes])
        predictions = out_of_fold(data, wanted)
        assert (predictions.pred_probs.argmax(axis=1) == data.labels).all()


# The caller's own


class Columns:
    """Says of each row the class that it was given as a number, in columns of its own order."""

    def __init__(self, classes: list[int] | None, width: int) -> None:
        self.order, self.width = classes, width

    def fit(self, *_: NDArray[Any]) -> None:
        if self.order is not None:
            self.classes_ = self.order

    def predict_proba(self, X: NDArray[np.float64]) -> list[list[float]]:
        order = list(range(self.width)) if self.order is None else self.order
        return [[float(k == round(x[0])) for k in order] for x in X]


@pytest.mark.parametrize("model", [Columns([2, 0, 1], 3), Columns(None, 3), Columns([0, 1, 2], 3)])
def test_the_callers_columns_are_put_in_class_order(model: Columns) -> None:
    codes = np.arange(30) % 3
    data = dataset({"x": codes.astype(float)}, ["abc"[c] for c in codes])
    predictions = out_of_fold(data, Head(model, encoding="none"))
    assert (predictions.pred_probs == np.eye(3)[codes]).all()


def test_the_callers_object_is_left_as_it_was() -> None:
    model = LogisticRegression()
    spy = Spy()
    out_of_fold(blobs(), model)
    out_of_fold(blobs(), spy)
    assert not hasattr(model, "classes_")
    assert model.random_state is None
    assert not hasattr(spy, "frequency")


def test_a_factory_is_found_by_its_place() -> None:
    data = blobs(60)
    by_name = out_of_fold(data, "sklearn.linear_model:LogisticRegression")
    assert (by_name.pred_probs == out_of_fold(data, LogisticRegression).pred_probs).all()


class TwoSteps:
    """A whole model of the caller's: no dataclass, no base class."""

    name = "two-steps"

    def prepare(
        self,
        dataset: Dataset,
        *,
        cache: Path | None,  # noqa: ARG002 # of the protocol
        progress: Progress | None,  # noqa: ARG002 # of the protocol
    ) -> Inputs:
        return Inputs({"n": len(dataset)}, np.zeros((len(dataset), 2), dtype=np.float32))

    def fit_predict(self, data: Any, job: FoldJob, progress: Progress | None) -> FoldResult:
        if progress:
            progress("epochs", 1, 1)
        probs = np.full((data["n"], job.n_classes), 1 / job.n_classes, dtype=np.float32)
        train = np.zeros((len(job.train), job.n_classes), dtype=np.float32)
        train[:, job.seed % job.n_classes] = 1
        return FoldResult(probs[job.test], train)


def test_in_sample_probabilities_are_the_mean_over_the_folds_that_trained_on_the_item() -> None:
    data = blobs(60)
    predictions = out_of_fold(data, TwoSteps(), folds=4)
    assert predictions.fold is not None
    assert predictions.train_pred_probs is not None
    assert predictions.embeddings is not None
    seeds = [job.seed for job in make_jobs(data.labels, predictions.fold, 3, 0)]
    expected = np.zeros((60, 3))
    for k, seed in enumerate(seeds):
        expected[predictions.fold != k, seed % 3] += 1 / 3
    assert np.allclose(predictions.train_pred_probs, expected)


# What is told


def test_details_say_what_was_done() -> None:
    predictions = out_of_fold(blobs(), Head("knn", options={"n_neighbors": 3}), seed=4)
    assert predictions.model == "columns+knn"
    assert predictions.details["parameters"]["options"] == {"n_neighbors": 3}
    assert predictions.details["seed"] == 4
    assert predictions.details["folds"] == 5


def test_describing_a_model_gives_what_json_holds() -> None:
    import json

    head = Head(LogisticRegression(C=2), options={"a": (1, 2.5, None)})
    assert json.loads(json.dumps(describe(head)))["options"] == {"a": [1, 2.5, None]}
    assert "LogisticRegression" in describe(head)["classifier"]


def test_progress_is_told_of_every_fold() -> None:
    calls: list[tuple[str, int, int]] = []
    out_of_fold(blobs(), TwoSteps(), folds=3, progress=lambda *call: calls.append(call))
    assert [call for call in calls if call[0] == "folds of two-steps"] == [
        ("folds of two-steps", k, 3) for k in (1, 2, 3)
    ]
    assert ("epochs", 1, 1) in calls


# Automatic choice


class Sure:
    """Is sure of the class that the feature names, wrong as that may be."""

    def fit(self, *_: NDArray[Any]) -> None:
        pass

    def predict_proba(self, X: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.array(np.eye(3)[(X[:, 0] > 1).astype(int)])


def test_auto_takes_the_lowest_log_loss_and_says_why() -> None:
    auto = Auto((Head(Sure()), "knn", "logistic"))
    predictions = out_of_fold(blobs(300), auto)
    told = predictions.details["auto"]
    losses = {row["model"]: row["log_loss"] for row in told["candidates"]}
    assert set(losses) == {"columns+Sure", "columns+knn", "columns+logistic"}
    assert predictions.model == told["chosen"] == min(losses, key=lambda name: losses[name])
    assert told["why"].startswith(f"{told['chosen']} has the lowest log loss")
    assert all(name in told["why"] for name in losses)


def test_auto_equals_its_choice() -> None:
    data = blobs(200)
    auto = out_of_fold(data, Auto(("naive-bayes", "knn")))
    assert (auto.pred_probs == out_of_fold(data, auto.model).pred_probs).all()


@GUESSES
def test_the_winners_first_fold_is_not_trained_twice() -> None:
    n = 60
    data = dataset({"row": np.arange(n)}, ["ab"[i % 2] for i in range(n)])
    out_of_fold(data, Auto((Head(Spy(), encoding="none"),)))
    assert len(Spy.fitted) == 5


@GUESSES
def test_auto_tries_on_a_part_of_a_large_dataset() -> None:
    n = 400
    data = dataset({"row": np.arange(n)}, ["ab"[i % 2] for i in range(n)])
    out_of_fold(data, Auto((Head(Spy(), encoding="none"),), most_rows=100))
    trial, *folds = Spy.fitted
    assert len(trial) + len(Spy.asked[0]) == 100
    assert not set(trial) & set(Spy.asked[0])
    assert not set(trial) & set(Spy.asked[1]), "the trial's held-out items are of the first fold"
    assert [len(fold) for fold in folds] == [320] * 5


def test_auto_stops_when_its_time_is_up() -> None:
    predictions = out_of_fold(blobs(), Auto(("knn", "logistic"), seconds=-1))
    assert predictions.details["auto"]["not_tried"] == ["columns+logistic"]
    assert "not tried" in predictions.details["auto"]["why"]


def test_auto_is_the_default_and_fits_tables() -> None:
    predictions = out_of_fold(blobs(80))
    assert len(predictions.details["auto"]["candidates"]) == 4


# Bad input


@pytest.mark.parametrize(
    ("model", "told"),
    [
        ("no-such", "hist-gradient-boosting"),
        ("columns+no-such", "hist-gradient-boosting"),
        ("no-such+knn", "efficientnet-lite0"),
        ("sklearn.nowhere:Thing", "does not import"),
        (LinearSVC(), "CalibratedClassifierCV"),
        (3, "without fit"),
        ("pixels+knn", "no images"),
    ],
)
def test_unknown_models_are_told_with_the_known_ones(model: Any, told: str) -> None:
    with pytest.raises(InputError, match=told):
        out_of_fold(blobs(), model)


def test_a_missing_group_column_is_told_with_those_there_are() -> None:
    with pytest.raises(InputError, match=r"no column 'who'.*x0"):
        out_of_fold(blobs(), groups="who")


def test_infinite_features_are_named() -> None:
    data = dataset({"x": [1.0, np.inf] * 10, "y": [-np.inf] + [0.0] * 19}, ["a", "b"] * 10)
    with pytest.raises(InputError) as error:
        out_of_fold(data, "logistic")
    assert "column 'x'" in str(error.value)
    assert "column 'y'" in str(error.value)
    assert "row 0" in str(error.value)


def test_a_dataset_with_nothing_to_learn_from_is_told() -> None:
    with pytest.raises(InputError, match="neither images nor feature columns"):
        out_of_fold(dataset({}, ["a", "b"] * 10))


def test_several_labels_an_item_are_told() -> None:
    data = blobs()
    twice = pl.concat([data.annotations, data.annotations])
    with pytest.raises(InputError, match="240 annotations for 120 items"):
        out_of_fold(Dataset(data.items, twice, data.class_names, "memory"))


class Liar(Spy):
    def predict_proba(self, X: NDArray[np.float64]) -> NDArray[np.float64]:
        probs = np.full((len(X), 3), 1 / 3)
        probs[1] = self.lie
        return probs

    lie: ClassVar[float] = 0.0


@pytest.mark.parametrize("lie", [float("nan"), 2.0, 0.0])
def test_what_is_no_probability_is_refused(lie: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Liar, "lie", lie)
    with pytest.raises(InputError, match="Liar: found no probabilities in row 1"):
        out_of_fold(blobs(), Liar())


def test_columns_that_cannot_be_named_are_refused() -> None:
    with pytest.raises(InputError, match="classes_"):
        out_of_fold(blobs(), Columns(None, 7))


def test_no_warning_comes_from_plain_work() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        out_of_fold(blobs(), "mlp")


def test_a_model_that_sees_nothing_in_the_data_is_said_to() -> None:
    rng = np.random.default_rng(0)
    noise = dataset({"x": rng.normal(size=80)}, rng.permutation(["a", "b"] * 40).tolist())
    with pytest.warns(LabelfixWarning, match="little better than chance"):
        out_of_fold(noise, "auto", cache=False)


@pytest.mark.parametrize("groups", [np.arange(79), np.zeros((80, 2)), np.arange(160) // 4])
def test_groups_are_one_an_item(groups: Any) -> None:
    with pytest.raises(InputError, match="one group an item"):
        out_of_fold(blobs(80), "knn", groups=groups, cache=False)


@pytest.mark.parametrize(
    ("body", "found"),
    [
        ("make = 3", "a int"),
        ("def make(a): pass", "raised TypeError"),
        ("def make(): return None", "a NoneType without fit"),
        ("def make(): raise OSError('no licence')", "raised OSError: no licence"),
    ],
)
def test_a_factory_that_makes_no_classifier_is_bad_input(
    body: str, found: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "their_models.py").write_text(body)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "their_models", raising=False)
    monkeypatch.setattr(sys, "path", sys.path.copy())
    with pytest.raises(InputError, match=found):
        out_of_fold(blobs(80), "their_models:make", cache=False)
    with pytest.raises(InputError, match="jobs"):
        out_of_fold(blobs(80), "knn", jobs=0, cache=False)
