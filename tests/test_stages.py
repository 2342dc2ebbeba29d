"""Stages and the played reviewer: the ends are the two versions, and good orders find more."""

from __future__ import annotations

import json
import warnings
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPClassifier

from labelfix.cli import main
from labelfix.errors import InputError, LabelfixWarning
from labelfix.evaluate.curves import fluctuation
from labelfix.evaluate.gain import measure_gain
from labelfix.evaluate.stages import measure_stages, play_reviewer, simulate
from labelfix.schema import Dataset
from labelfix.splits import Split

if TYPE_CHECKING:
    from pathlib import Path

ALONE = Split((1, 0, 1), duplicates=None)
CLASSES = ("a", "b", "c")


def versions(n: int = 300, noise: float = 0.3) -> tuple[Dataset, Dataset]:
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 3, n)
    x = truth + rng.normal(0, 0.2, n)
    noisy = np.where(rng.random(n) < noise, (truth + rng.integers(1, 3, n)) % 3, truth)
    names = [f"i{row:04d}" for row in range(n)]
    items = pl.DataFrame({"item_id": names, "x": x})

    def version(labels: Any) -> Dataset:
        rows = {"annotation_id": names, "item_id": names, "label": np.array(CLASSES)[labels]}
        return Dataset(items, pl.DataFrame(rows), CLASSES, "memory", feature_columns=("x",))

    return version(noisy), version(truth)


def wrong_first(noisy: Dataset, clean: Dataset) -> list[str]:
    wrong = pl.Series(noisy.labels != clean.labels)
    return noisy.items["item_id"].filter(wrong).to_list()


def test_the_first_and_the_last_stage_are_the_cells_of_the_gain() -> None:
    noisy, clean = versions()
    stages = measure_stages(noisy, clean, at=(0, 0.5, 1), model="knn", seeds=2, split=ALONE)
    gain = measure_gain(noisy, clean, "knn", 2, ALONE)
    cells = {
        (row["trained_on"], row["tested_on"]): row
        for row in gain.cells.filter(metric="accuracy").iter_rows(named=True)
    }
    curve = stages.curve.filter(metric="accuracy", order="random")
    corners = {
        (0.0, "stage"): ("original", "original"),
        (0.0, "corrected"): ("original", "corrected"),
        (1.0, "stage"): ("corrected", "corrected"),
        (1.0, "corrected"): ("corrected", "corrected"),
    }
    for (share, tested_on), corner in corners.items():
        row = curve.filter(share=share, tested_on=tested_on).row(0, named=True)
        for name in ("value", "low", "high"):
            assert row[name] == pytest.approx(cells[corner][name]), corner
    last = curve.filter(share=1.0, tested_on="stage").row(0, named=True)
    whole = gain.effect("gain")
    for name, same in (("value", "gain"), ("low", "gain_low"), ("high", "gain_high")):
        assert last[same] == pytest.approx(whole[name])


def test_an_order_that_knows_the_errors_gets_there_first() -> None:
    noisy, clean = versions()
    orders = {"oracle": wrong_first(noisy, clean)}
    stages = measure_stages(noisy, clean, orders, (0, 0.35, 1), "knn", 1, ALONE, draws=20)
    left = dict(stages.counts.filter(share=0.35).select("order", "left").iter_rows())
    assert left["oracle"] == 0 < left["random"]
    ends = stages.counts.filter(pl.col("share") != 0.35)
    assert (
        ends.filter(order="oracle").drop("order").equals(ends.filter(order="random").drop("order"))
    )
    seen = stages.curve.filter(metric="accuracy", tested_on="stage", share=0.35)
    values = dict(seen.select("order", "value").iter_rows())
    assert values["oracle"] > values["random"]


def test_a_reviewer_finds_what_the_order_shows_and_spoils_as_often_as_said() -> None:
    noisy, clean = versions(1000)
    wrong = wrong_first(noisy, clean)
    found = simulate(
        noisy, clean, {"oracle": wrong}, [100, 200], 0.1, "knn", 1, ALONE, draws=10
    ).counts
    oracle = found.filter(order="oracle")
    assert oracle["decisions"].to_list() == [0, 100, 200]
    assert oracle["spoilt"].to_list() == [0, 0, 0]
    assert 80 <= oracle["mended"][1] <= 98
    assert found.filter(order="random")["spoilt"][2] > 0
    assert oracle["found_per_100"][1] == oracle["mended"][1]
    assert (oracle["mended"] + oracle["left"]).unique().to_list() == [len(wrong)]


@given(
    st.lists(st.tuples(*[st.integers(0, 3)] * 3), min_size=1),
    st.sampled_from([0.0, 0.3, 1.0]),
)
def test_a_reviewer_leaves_truth_given_or_suggested(
    rows: list[tuple[int, int, int]], rate: float
) -> None:
    given_labels, truth, suggested = (np.array(column) for column in zip(*rows, strict=True))
    left = play_reviewer(given_labels, truth, suggested, rate)
    assert ((left == truth) | (left == given_labels) | (left == suggested)).all()
    if rate == 0:
        assert left.tolist() == truth.tolist()
    if rate == 1:
        assert (left[given_labels != truth] == given_labels[given_labels != truth]).all()


def test_stages_go_on_where_they_stopped(tmp_path: Path) -> None:
    noisy, clean = versions(200)
    some = {"model": "knn", "seeds": 1, "split": ALONE, "draws": 5, "store": tmp_path}
    measure_stages(noisy, clean, at=(0, 0.5), **some)  # type: ignore[arg-type] # mixed values
    before = {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    measure_stages(noisy, clean, at=(0, 0.5, 1), **some)  # type: ignore[arg-type] # mixed values
    after = {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    assert len(after) == len(before) + 1 == 3
    assert {path: after[path] for path in before} == before


def test_a_gain_is_counted_from_the_first_stage_on() -> None:
    stages = measure_stages(*versions(200), at=(0.5, 1), model="knn", seeds=1, split=ALONE, draws=2)
    last = stages.curve.filter(decisions=200)
    assert last["gain"].abs().max() > 0  # type: ignore[operator] # there are some
    assert last["gain_per_100"].to_list() == pytest.approx(last["gain"].to_list())  # of 100 more
    assert stages.curve.filter(decisions=100)["gain_per_100"].null_count() == 4


def test_what_cannot_be_staged_is_said() -> None:
    noisy, clean = versions(60)
    with pytest.raises(InputError, match="shares from 0 to 1"):
        measure_stages(noisy, clean, at=(0, 50), model="knn", split=ALONE)
    with pytest.raises(InputError, match="no item nobody"):
        measure_stages(noisy, clean, {"mine": ["nobody"]}, model="knn", split=ALONE)
    with pytest.raises(InputError, match="2 problems"):
        simulate(noisy, clean, {}, [100], 2.0, "knn", split=ALONE)


def test_a_training_loss_is_as_unsteady_as_it_strays_from_its_course() -> None:
    steady = 3 * 0.99 ** np.arange(2000)
    noise = np.random.default_rng(0).normal(0, 0.06, 2000)
    assert fluctuation(steady) < 1e-4
    assert fluctuation(steady + noise) == pytest.approx(0.06 / (3 + noise[0]), rel=0.1)
    assert fluctuation(100 * (steady + noise)) == pytest.approx(fluctuation(steady + noise))
    early = np.where(np.arange(2000) < 999, noise, 0)
    assert fluctuation(steady + early) < 1e-4  # the first half does not count
    assert np.isnan(fluctuation(steady[:5]))
    assert not np.isnan(fluctuation(steady[:6]))
    assert np.isnan(fluctuation(np.array([1.0] * 9 + [np.inf])))
    assert np.isnan(fluctuation(np.zeros(9)))


def test_a_network_says_how_its_loss_went_and_a_neighbour_has_none() -> None:
    noisy, clean = versions()
    network = MLPClassifier(hidden_layer_sizes=(8,), max_iter=12, batch_size=16, solver="sgd")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        stages = measure_stages(noisy, clean, at=(0, 1), model=network, split=ALONE, draws=2)
    assert stages.losses["seed"].to_list() == [*range(5)] * 2
    assert stages.losses["epochs"].unique().to_list() == [12]
    last = dict(stages.losses.group_by("share").agg(pl.col("last").mean()).iter_rows())
    assert last[1.0] < last[0.0]
    assert stages.fluctuations["fluctuation"].min() > 0  # type: ignore[operator] # there are some
    assert stages.fluctuations.columns == ["order", "share", "decisions", "fluctuation", "sd"]
    assert stages.fluctuations.height == 2
    assert "second half" in stages.details["losses"]
    without = measure_stages(noisy, clean, at=(0,), model="knn", seeds=1, split=ALONE, draws=2)
    assert without.fluctuations.is_empty()
    assert without.details["losses"] == "None: columns+knn does not learn in epochs."


def test_stages_of_one_class_are_refused_by_name() -> None:
    _, clean = versions(60)
    labels = np.where(np.arange(60) < 30, "a", "b")
    turned = np.where(labels == "a", "b", "a")
    one, other = (
        replace(clean, annotations=clean.annotations.with_columns(label=pl.Series(labels)))
        for labels in (labels, turned)
    )
    first_half = {"half": one.items["item_id"][:30]}
    with pytest.raises(InputError, match="stage of order half, 30 looked at labels"):
        measure_stages(one, other, first_half, (0, 0.5), "knn", 1, ALONE, draws=2)


def test_the_model_under_test_is_named_if_it_suggested() -> None:
    noisy, clean = versions(60)
    with pytest.warns(LabelfixWarning, match=r"columns\+knn suggested the corrections"):
        measure_stages(
            noisy, clean, None, (1,), "knn", 1, ALONE, suggested_by=("columns+knn",), draws=2
        )


@pytest.fixture
def tables(tmp_path: Path) -> list[str]:
    paths = []
    for name, dataset in zip(("noisy", "clean"), versions(240), strict=True):
        path = tmp_path / f"{name}.csv"
        dataset.items.with_columns(label=dataset.annotations["label"]).write_csv(path)
        paths.append(str(path))
    shared = ["--id", "item_id", "--model", "knn", "--seeds", "1", "--draws", "10"]
    return ["--original", paths[0], "--corrected", paths[1], "--parts", "1:0:1", *shared]


def test_stages_from_files_to_a_folder(
    tables: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert main(["stages", *tables, "--at", "0,50,100", "--out", str(out)]) == 0
    assert "random" in capsys.readouterr().out
    assert pl.read_csv(out / "counts.csv")["share"].to_list() == [0, 0.5, 1]
    assert json.loads((out / "stages.json").read_text())["details"]["at"] == [0, 0.5, 1]
    assert "stages.svg" in (out / "stages.md").read_text()
    assert "errors left" in (out / "stages.svg").read_text()
    assert main(["stages", *tables, "--at", "a", "--out", str(out)]) == 2


def test_a_simulation_from_files_to_a_folder(
    tables: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    call = ["simulate", *tables, "--decisions", "40,80", "--error-rate", "0.05", "--out", str(out)]
    assert main([*call, "--format", "csv"]) == 0
    assert pl.read_csv(capsys.readouterr().out.encode())["decisions"].max() == 80
    counts = pl.read_csv(out / "counts.csv").filter(decisions=80)
    mended = dict(counts.select("order", "mended").iter_rows())
    assert mended["labelfix"] > 1.5 * mended["random"]
    assert json.loads((out / "simulation.json").read_text())["details"]["queue_model"] == "knn"


def test_a_run_is_cleaned_in_the_orders_of_its_queue_and_of_its_review(
    tables: list[str], tmp_path: Path
) -> None:
    from labelfix.decisions import DecisionLog, State, new_decision
    from labelfix.run import FindOptions, find

    run = find(FindOptions(path=tables[1], id="item_id", model="knn"), tmp_path / "run")
    fingerprint = run.info.dataset.fingerprint
    log = DecisionLog(tmp_path / "run" / "decisions.jsonl", fingerprint)
    for row in run.issues.head(60).reverse().iter_rows(named=True):
        what = {name: row[name] for name in ("item_id", "annotation_id")}
        state = State(row["suggested_label"])
        log.append(
            new_decision("set_label", reviewer="ann", fingerprint=fingerprint, after=state, **what)
        )
    call = ["stages", str(run.path), "--at", "0,10,25,100", "--out", str(tmp_path / "out")]
    assert main([*call, *tables[4:6], *tables[8:], "--quiet"]) == 0
    counts = pl.read_csv(tmp_path / "out" / "counts.csv")
    assert counts["order"].unique(maintain_order=True).to_list() == ["queue", "reviewed", "random"]
    left = dict(counts.filter(share=0.25).select("order", "left").iter_rows())
    assert left["queue"] == left["reviewed"] == 0 < left["random"]
