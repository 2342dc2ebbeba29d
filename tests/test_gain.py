"""The 2x2: four cells that add up, zero for nothing, and intervals that hold what they promise."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import labelfix
from labelfix.errors import InputError, LabelfixWarning
from labelfix.evaluate.gain import measure_gain
from labelfix.evaluate.pairing import pair_versions
from labelfix.evaluate.scoring import ClassScores
from labelfix.evaluate.statistics import (
    EFFECTS,
    interval,
    mcnemar,
    redraw,
    sd_interval,
    share_of_pairs,
    share_of_variance,
    split_gain,
)
from labelfix.evaluate.tables import MOVEMENT
from labelfix.report.gain import gain_findings, gain_page
from labelfix.schema import Dataset
from labelfix.splits import Split

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

CLASSES = ("a", "b", "c")
ALONE = Split(duplicates=None)


def version(labels: Sequence[str], x: NDArray[Any] | None = None, **columns: Any) -> Dataset:
    names = [f"i{row:04d}" for row in range(len(labels))]
    values = np.arange(len(labels)) if x is None else x
    items = pl.DataFrame({"item_id": names, "x": values, **columns})
    rows = pl.DataFrame({"annotation_id": names, "item_id": names, "label": labels})
    return Dataset(items, rows, CLASSES, "memory", feature_columns=("x",))


def blobs(n: int, noise: float, seed: int = 0) -> tuple[Dataset, Dataset]:
    """One number that tells three classes apart, but for a few; labels with noise, and without."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, 3, n)
    x = truth + rng.normal(0, 0.25, n)
    noisy = np.where(rng.random(n) < noise, (truth + rng.integers(1, 3, n)) % 3, truth)
    names = np.array(CLASSES)
    return version(names[noisy].tolist(), x), version(names[truth].tolist(), x)


@given(st.lists(st.floats(0, 1), min_size=4, max_size=4))
def test_the_effects_add_up_to_the_gain(cells: list[float]) -> None:
    gain, test, training, interaction, on_corrected = split_gain(np.reshape(cells, (2, 2)))
    assert test + training + interaction == pytest.approx(gain)
    assert training + interaction == pytest.approx(on_corrected)
    assert gain == cells[3] - cells[0]


def test_the_split_of_the_gain_is_what_the_cells_say() -> None:
    noisy, clean = blobs(400, 0.3)
    gain = measure_gain(noisy, clean, "knn", 3, ALONE, draws=50)
    cells = {
        (train, test): value
        for train, test, value in gain.cells.filter(metric="accuracy")
        .select("trained_on", "tested_on", "value")
        .iter_rows()
    }
    before, after = cells["original", "original"], cells["corrected", "corrected"]
    assert gain.effect("gain")["value"] == pytest.approx(after - before)
    assert gain.effect("test_labels")["value"] == cells["original", "corrected"] - before
    assert gain.effect("training_labels")["value"] == cells["corrected", "original"] - before
    for name in EFFECTS:
        found = gain.effect(name)
        assert found["low"] <= found["value"] <= found["high"]
    assert gain.effect("test_labels")["low"] > 0
    mean = gain.by_seed.group_by("trained_on", "tested_on").mean()
    for row in mean.iter_rows(named=True):
        assert row["accuracy"] == pytest.approx(cells[row["trained_on"], row["tested_on"]])


def test_cells_are_what_training_and_testing_by_hand_gives() -> None:
    from sklearn.metrics import balanced_accuracy_score
    from sklearn.naive_bayes import GaussianNB

    noisy, clean = blobs(300, 0.3)
    gain = measure_gain(noisy, clean, GaussianNB(), 1, ALONE, draws=2)
    part = ALONE.draw(noisy, ALONE.units(noisy), 0)
    x = noisy.items.select("x").to_numpy()
    for row in gain.by_seed.iter_rows(named=True):
        train = (noisy if row["trained_on"] == "original" else clean).labels
        test = (noisy if row["tested_on"] == "original" else clean).labels[part == 2]
        answer = GaussianNB().fit(x[part == 0], train[part == 0]).predict(x[part == 2])
        assert row["accuracy"] == pytest.approx((answer == test).mean())
        assert row["balanced_accuracy"] == pytest.approx(balanced_accuracy_score(test, answer))


@pytest.mark.parametrize("resplit", [False, True])
def test_identical_labels_gain_exactly_nothing(resplit: bool) -> None:
    noisy, _ = blobs(300, 0.3)
    with pytest.warns(LabelfixWarning, match="nothing was corrected") as told:
        gain = measure_gain(noisy, noisy, "decision-tree", 2, ALONE, resplit=resplit, draws=20)
    assert {one.filename for one in told} == {__file__}  # and not to a place in the library
    assert (gain.effects.select("value", "low", "high").to_numpy() == 0).all()
    assert gain.mcnemar is not None
    assert gain.mcnemar["p_exact"].to_list() == [1.0] * 4


def test_the_order_of_the_items_does_not_matter() -> None:
    noisy, clean = blobs(150, 0.3)
    here = measure_gain(noisy, clean, "decision-tree", 2, ALONE, draws=20)
    rng = np.random.default_rng(0)
    there = measure_gain(
        noisy.take(rng.permutation(150)),
        clean.take(rng.permutation(150)),
        "decision-tree",
        2,
        ALONE,
        draws=20,
    )
    for name, table in here.tables().items():
        assert table.equals(there.tables()[name]), name


def test_relabelled_and_removed_are_told_apart() -> None:
    noisy, clean = blobs(600, 0.3)
    wrong = noisy.labels != clean.labels
    kept = np.flatnonzero(~wrong | (np.arange(600) % 2 == 0))
    gain = measure_gain(noisy, clean.take(kept), "knn", 2, ALONE, draws=30, allow_removed=True)
    assert gain.changes["relabelled"].sum() == (wrong & (np.arange(600) % 2 == 0)).sum()
    assert gain.changes["removed"].sum() == (wrong & (np.arange(600) % 2 == 1)).sum()
    halves = [gain.effect("gain", step=step)["value"] for step in ("relabelled", "removed")]
    assert sum(halves) == pytest.approx(gain.effect("gain")["value"])
    assert min(halves) > 0
    items = gain.cells.filter(metric="accuracy", trained_on="original")["items"].to_list()
    assert items[0] == items[1] > items[2]


def test_what_is_missing_is_listed_and_not_taken_for_removed() -> None:
    noisy, clean = blobs(60, 0.3)
    with pytest.raises(InputError, match=r"no item i0003, i0007; expected the same"):
        pair_versions(noisy, clean.take(np.setdiff1d(np.arange(60), [3, 7])))
    with pytest.raises(InputError, match=r"the original version: found no item i0005"):
        pair_versions(noisy.take(np.setdiff1d(np.arange(60), [5])), clean, allow_removed=True)


def test_images_that_were_moved_and_renamed_are_recognised(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for name in ("before/cat/1.png", "before/cat/2.png", "before/dog/1.png"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 255, (8, 8), np.uint8)).save(path)
    moves = {"cat/1.png": "dog/1-2.png", "cat/2.png": "cat/2.png", "dog/1.png": "dog/1.png"}
    for old, new in moves.items():
        (tmp_path / "after" / new).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "after" / new).write_bytes((tmp_path / "before" / old).read_bytes())
    pair = pair_versions(labelfix.read(tmp_path / "before"), labelfix.read(tmp_path / "after"))
    assert pair.original.tolist() == [0, 0, 1]
    assert pair.corrected.tolist() == [1, 0, 1]


def test_classes_are_matched_by_name() -> None:
    noisy, clean = blobs(60, 0.3)
    turned = Dataset(clean.items, clean.annotations, ("c", "b", "a"), "memory")
    assert pair_versions(noisy, turned).corrected.tolist() == clean.labels.tolist()


def test_the_model_that_suggested_the_corrections_is_warned_of() -> None:
    noisy, clean = blobs(200, 0.3)
    with pytest.warns(LabelfixWarning, match="is the model under test"):
        measure_gain(noisy, clean, "knn", 1, ALONE, draws=2, suggested_by=["columns+knn"])


def test_a_class_that_only_the_test_part_has_is_named() -> None:
    labels = ["a", "b"] * 50
    given = ["train"] * 80 + ["test"] * 20
    corrected = [*labels[:99], "c"]
    with pytest.warns(LabelfixWarning, match="no training item for 'c'"):
        measure_gain(
            version(labels, part=given),
            version(corrected, part=given),
            "knn",
            1,
            Split(given="part", duplicates=None),
            draws=2,
        )


def test_parts_of_one_class_are_refused() -> None:
    given = ["train"] * 80 + ["test"] * 20
    dataset = version(["a", "b"] * 40 + ["a"] * 20, part=given)
    with pytest.raises(InputError, match="test part, original labels: found one class only"):
        measure_gain(dataset, dataset, "knn", 1, Split(given="part", duplicates=None))


def test_a_finished_training_is_not_done_again(tmp_path: Path) -> None:
    noisy, clean = blobs(200, 0.3)
    first = measure_gain(noisy, clean, "knn", 2, ALONE, draws=5, store=tmp_path)
    times = {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    assert len(times) == 4
    more = measure_gain(noisy, clean, "knn", 3, ALONE, draws=5, store=tmp_path)
    assert len(list(tmp_path.iterdir())) == 6
    assert {path: path.stat().st_mtime_ns for path in times} == times
    seeds = more.by_seed.filter(pl.col("seed") < 2)
    assert seeds.equals(first.by_seed)


def test_the_movement_of_the_split_is_told_from_that_of_the_seeds() -> None:
    noisy, clean = blobs(300, 0.2)
    gain = measure_gain(noisy, clean, "naive-bayes", 6, ALONE, draws=5, resplit=True)
    assert gain.movement is not None
    seeds, splits, paired, apart = gain.movement["sd"].to_list()
    assert seeds == pytest.approx(0, abs=1e-12)  # nothing in it is random but the split
    assert gain.movement["split_share"][1] == 1
    assert gain.movement["split_share_low"][1] is None  # known, not estimated
    assert 0 < splits < apart
    assert paired < apart
    for name in ("sd", "split_share"):
        rows = gain.movement.drop_nulls(f"{name}_low")
        assert (rows[f"{name}_low"] <= rows[name]).all()
        assert (rows[name] <= rows[f"{name}_high"]).all()
    share = gain.movement["split_share"][3]
    assert share == pytest.approx(max(0, 1 - (paired / apart) ** 2))
    page = gain_page(gain)
    assert "## How much the split moves" in page
    assert "each version on a split of its own" in page
    said = gain_findings(gain)[-1]
    assert "all of it other splits: on one split every seed scores the same" in said
    assert "% of that variance is the split alone" in said


@pytest.mark.parametrize("share", [0.0, 0.5, 0.9])
def test_intervals_of_the_splits_share_hold_their_level(share: float) -> None:
    rng = np.random.default_rng(round(10 * share))
    held = np.zeros(3)
    for _ in range(600):
        split, apart = rng.normal(0, np.sqrt(share), (2, 6))
        noise = rng.normal(0, np.sqrt(1 - share), (3, 6))
        _, low, high = share_of_variance(noise[0], split + noise[1], 0.9)
        held[0] += low <= share <= high
        _, low, high = share_of_pairs(apart + noise[1], apart + noise[2], 0.9)
        held[1] += low <= share <= high
        low, high = sd_interval((split + noise[1]).var(ddof=1), 5, 0.9)
        held[2] += low <= 1 <= high
    assert (held >= 540 - 26).all()  # 3.5 standard deviations
    assert share == 0 or (held <= 540 + 26).all()  # cut off at 0, they hold 0 more often


def test_what_does_not_move_has_no_share() -> None:
    still = np.ones(4)
    assert share_of_variance(still, still, 0.95) == (0, 0, 0)
    assert share_of_pairs(still, still, 0.95) == (0, 0, 0)
    for known in (
        share_of_pairs(np.arange(4.0), np.arange(4.0), 0.95),
        share_of_variance(still, np.arange(4.0), 0.95),
    ):
        assert known[0] == 1
        assert np.isnan(known[1:]).all()


def test_one_seed_has_no_movement() -> None:
    noisy, clean = blobs(200, 0.2)
    gain = measure_gain(noisy, clean, "knn", 1, ALONE, draws=5, resplit=True)
    assert gain.movement is not None
    assert gain.movement.is_empty()
    assert dict(gain.movement.schema) == MOVEMENT
    gain_page(gain)


def test_auto_chooses_on_the_validation_part() -> None:
    noisy, clean = blobs(300, 0.05)
    from labelfix.predict.auto import Auto

    gain = measure_gain(noisy, clean, Auto(("knn", "logistic")), 1, ALONE, draws=2)
    assert gain.details["model"] in {"columns+knn", "columns+logistic"}
    with pytest.raises(InputError, match="without validation"):
        measure_gain(noisy, clean, "auto", 1, Split((8, 0, 2), duplicates=None))


def test_the_columns_of_the_split_are_not_learned_from() -> None:
    noisy, clean = blobs(300, 0.0)
    rows = clean.items.with_columns(leak=clean.annotations["label"], x=pl.lit(0.0))
    known = Dataset(rows, noisy.annotations, CLASSES, "memory", feature_columns=("x", "leak"))
    with pytest.warns(LabelfixWarning, match="nothing was corrected"):
        gain = measure_gain(known, known, "knn", 1, Split(sources="leak", duplicates=None), draws=2)
    assert gain.cells["value"][0] < 0.6


def test_mcnemar_is_the_binomial_test() -> None:
    from scipy.stats import binomtest

    first, second = np.meshgrid(range(12), range(12))
    exact, mid = mcnemar(first, second)
    for b, c, p, q in zip(first.flat, second.flat, exact.flat, mid.flat, strict=True):
        assert p == pytest.approx(binomtest(b, b + c).pvalue if b + c else 1.0)
        assert q <= p


def test_the_interval_covers_the_truth_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    n, seeds, shift = 200, 5, 0.15
    covered = 0
    for trial in range(100):
        truth = rng.random(n)  # how hard each item is
        skill = rng.normal(0, 0.03, seeds)
        right = rng.random((seeds, n)) < (truth * 0.5 + 0.3 + skill[:, None])
        better = right | (rng.random((seeds, n)) < shift)
        labels = np.zeros(n, np.int64)
        answers = {"original": 1 - right.astype(int), "corrected": 1 - better.astype(int)}
        scores = ClassScores(answers, {"original": labels}, np.arange(n), 2)
        cells = scores.as_cells(redraw(scores.redrawn, n, seeds, draws=200, seed=trial))
        low, high = interval(cells[:, 1, 0, :1] - cells[:, 0, 0, :1], 0.9).ravel()
        expected = shift * (1 - 0.55)
        covered += int(low <= expected <= high)
    assert 85 <= covered <= 100


def test_groups_are_redrawn_together() -> None:
    rng = np.random.default_rng(0)
    group = np.repeat(np.arange(20), 30)
    right = np.repeat(rng.integers(0, 2, 20), 30)[None]
    labels = {"original": np.zeros(600, np.int64)}
    widths = []
    for units in (np.arange(600), group):
        scores = ClassScores({"original": 1 - right}, labels, units, 2)
        drawn = redraw(scores.redrawn, scores.n_units, 1, draws=200)
        low, high = interval(drawn[:, :1], 0.95).ravel()
        widths.append(high - low)
    assert widths[1] > 3 * widths[0]


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 1000))
def test_draws_do_not_depend_on_how_many_are_done_at_once(seed: int) -> None:
    def means(units: NDArray[np.float64], seeds: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.column_stack([units @ np.arange(5), seeds @ np.arange(3)])

    some = redraw(means, 5, 3, draws=10, seed=seed)
    assert (redraw(means, 5, 3, draws=100, seed=seed)[:10] == some).all()
