"""Planted errors are what they are said to be, and the truth about them is kept."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labelfix.boxes import area, iou
from labelfix.errors import InputError
from labelfix.inject import (
    PLANTED,
    BoxNoise,
    inject_boxes,
    inject_labels,
    inject_labels_by_item,
    instance_noise,
    pair_noise,
    symmetric_noise,
)
from labelfix.schema import BOX, check

if TYPE_CHECKING:
    from numpy.typing import NDArray

CLASSES = ("ant", "bee", "cat")
ORIGINAL = [f"original_{edge}" for edge in BOX]
ALL = BoxNoise(drop=0.1, flip=0.1, shift=0.1, merge=0.1, split=0.1, duplicate=0.1, spawn=0.1)


def boxes(seed: int = 0, images: int = 40) -> tuple[pl.DataFrame, pl.DataFrame]:
    rng = np.random.default_rng(seed)
    item = np.repeat(np.arange(images), rng.integers(1, 9, images))
    n = len(item)
    low, size = rng.random((n, 2)) * [500, 350], rng.uniform(20, 120, (n, 2))
    corners = np.concatenate([low, low + size], axis=1)
    table = pl.DataFrame(
        {
            "annotation_id": [f"box {i}" for i in range(n)],
            "item_id": [f"{i} ü.jpg" for i in item],
            "label": [CLASSES[k] for k in rng.integers(0, len(CLASSES), n)],
            **{edge: corners[:, i] for i, edge in enumerate(BOX)},
            "crowd": rng.random(n) < 0.05,
            "truncated": pl.Series(range(n)),
        }
    )
    items = table.select(pl.col("item_id").unique(maintain_order=True))
    return table, items.with_columns(width=640, height=480)


def corners(table: pl.DataFrame, columns: Any = BOX) -> NDArray[np.float64]:
    return table.select(columns).to_numpy()


@pytest.mark.parametrize("rate", [-0.1, 1.5, float("nan")])
def test_rates_that_are_no_share_are_refused(rate: float) -> None:
    told = r"rate: found .*; expected a share in \[0, 1\]"
    with pytest.raises(InputError, match=told):
        symmetric_noise(3, rate)
    with pytest.raises(InputError, match=told):
        pair_noise(3, rate)
    with pytest.raises(InputError, match=told):
        instance_noise(np.arange(4) % 3, np.full((4, 3), 1 / 3), rate)


def test_noise_needs_another_class() -> None:
    with pytest.raises(InputError, match="n_classes: found 1"):
        pair_noise(1, 0.2)


def changed(noise: BoxNoise, kind: str, seed: int = 0) -> pl.DataFrame:
    """What was planted, with the box as it is now beside what it was."""
    table, items = boxes(seed)
    noisy, truth = inject_boxes(table, noise, CLASSES, items, seed)
    known = truth.filter(pl.col("kind") == kind)
    assert known.height
    return known.join(noisy, on="annotation_id", how="left", maintain_order="left")


@pytest.mark.parametrize("seed", range(5))
def test_every_change_is_in_the_truth_and_nothing_else_changed(seed: int) -> None:
    table, items = boxes(seed)
    noisy, truth = inject_boxes(table, ALL, CLASSES, items, seed)
    assert noisy.schema == table.schema
    assert set(PLANTED) <= set(check(truth, PLANTED, "truth").columns)
    assert noisy["annotation_id"].is_unique().all()
    assert truth["annotation_id"].is_unique().all()
    untouched = table.filter(~pl.col("annotation_id").is_in(truth["annotation_id"].implode()))
    assert noisy.filter(~pl.col("annotation_id").is_in(truth["annotation_id"].implode())).equals(
        untouched
    )
    # and the truth undoes them
    old = truth.filter(pl.col("original_label").is_not_null()).select(
        "annotation_id", label="original_label", **{e: f"original_{e}" for e in BOX}
    )
    was = table.filter(pl.col("annotation_id").is_in(truth["annotation_id"].implode()))
    restored = was.select("annotation_id").join(old, on="annotation_id", maintain_order="left")
    assert restored.equals(was.select(old.columns))


def test_items_stay_together_and_in_order() -> None:
    table, items = boxes()
    noisy, truth = inject_boxes(table, ALL, CLASSES, items)
    for part in (noisy, truth):
        seen = part["item_id"].unique(maintain_order=True)
        assert seen.equals(
            table["item_id"]
            .unique(maintain_order=True)
            .filter(table["item_id"].unique(maintain_order=True).is_in(seen.implode()))
        )
        assert (part["item_id"] != part["item_id"].shift()).sum() == len(seen) - 1


def test_a_seed_plants_the_same_errors_and_another_seed_others() -> None:
    table, items = boxes()
    first, second = (inject_boxes(table, ALL, CLASSES, items, 7) for _ in range(2))
    assert first.annotations.equals(second.annotations)
    assert first.truth.equals(second.truth)
    assert not first.truth.equals(inject_boxes(table, ALL, CLASSES, items, 8).truth)


def test_rates_are_shares_of_the_boxes_that_are_no_crowd() -> None:
    table, items = boxes()
    n = table.filter(~pl.col("crowd")).height
    rates: dict[str, Any] = {
        "drop": 0.2,
        "flip": 0.3,
        "shift": 0.1,
        "duplicate": 0.15,
        "spawn": 0.25,
    }
    _, truth = inject_boxes(table, BoxNoise(**rates), CLASSES, items)
    kinds = dict(truth["kind"].value_counts().iter_rows())
    names = {"drop": "missing", "flip": "wrong_class", "shift": "bad_location"}
    names |= {"duplicate": "duplicate", "spawn": "spurious"}
    assert kinds == {names[name]: round(rate * n) for name, rate in rates.items()}
    crowd = table.filter(pl.col("crowd"))["annotation_id"]
    assert not truth["annotation_id"].is_in(crowd.implode()).any()


def test_no_noise_changes_nothing() -> None:
    table, items = boxes()
    noisy, truth = inject_boxes(table, BoxNoise(), CLASSES, items)
    assert noisy.equals(table)
    assert truth.height == 0


def test_everything_can_be_dropped() -> None:
    table, items = boxes()
    noisy, truth = inject_boxes(table, BoxNoise(drop=1.0), CLASSES, items)
    assert noisy["crowd"].all()
    assert truth.height + noisy.height == table.height


def test_a_flip_gives_another_class_and_keeps_the_box() -> None:
    rows = changed(BoxNoise(flip=0.5), "wrong_class")
    assert (rows["label"] != rows["original_label"]).all()
    assert (corners(rows) == corners(rows, ORIGINAL)).all()
    assert rows["label"].n_unique() == len(CLASSES)


def test_flips_follow_a_confusion_matrix() -> None:
    only_next = ((9.0, 1.0, 0.0), (0.0, 0.0, 1.0), (0.0, 0.0, 5.0))
    rows = changed(BoxNoise(flip=0.9, confusion=only_next), "wrong_class")
    pairs = set(rows.select("original_label", "label").iter_rows())
    # the diagonal does not count, and a class confused with none takes any other
    assert pairs == {("ant", "bee"), ("bee", "cat"), ("cat", "ant"), ("cat", "bee")}


@settings(deadline=None, max_examples=20)
@given(st.floats(0.05, 0.6), st.floats(0.02, 0.35), st.integers(0, 99))
def test_a_shift_meets_the_overlap_asked_for(low: float, width: float, seed: int) -> None:
    between = (low, low + width)
    rows = changed(BoxNoise(shift=0.5, shift_iou=between), "bad_location", seed)
    overlap = iou(corners(rows), corners(rows, ORIGINAL))
    assert ((overlap > low - 1e-6) & (overlap < low + width + 1e-6)).all()
    assert (rows["label"] == rows["original_label"]).all()


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 9999), st.floats(0.1, 0.6))
def test_what_moves_stays_inside_the_image_and_at_its_overlap(seed: int, low: float) -> None:
    rng = np.random.default_rng(seed)
    table, items = boxes(seed)
    n = table.height
    size = rng.uniform(0.7, 1, (n, 2)) * [640, 480]  # hardly a push leaves them inside
    corner = rng.random((n, 2)) * ([640, 480] - size)
    large = np.concatenate([corner, corner + size], axis=1)
    large[: n // 4] = [0, 0, 640, 480]
    table = table.with_columns(pl.Series(edge, large[:, i]) for i, edge in enumerate(BOX))
    noise = BoxNoise(shift=0.5, duplicate=0.5, shift_iou=(low, low + 0.2))
    noise = dataclasses.replace(noise, duplicate_iou=noise.shift_iou)
    noisy, truth = inject_boxes(table, noise, CLASSES, items, seed)
    new = truth.select("annotation_id", *ORIGINAL).join(noisy, on="annotation_id")
    box = corners(new)
    assert (box[:, :2] >= 0).all()
    assert (box[:, 2:] <= [640, 480]).all()
    shifted = new.drop_nulls("original_x1")
    overlap = iou(corners(shifted), corners(shifted, ORIGINAL))
    assert shifted.height > 10
    assert ((overlap > low - 1e-6) & (overlap < low + 0.2 + 1e-6)).all()


def test_a_box_that_leaves_its_image_may_go_on_doing_so() -> None:
    table, items = boxes()
    table = table.with_columns(x1=-2000.0, x2=20.0)
    noisy, truth = inject_boxes(table, BoxNoise(shift=1.0), CLASSES, items)
    rows = truth.join(noisy, on="annotation_id")
    overlap = iou(corners(rows), corners(rows, ORIGINAL))
    assert ((overlap > 0.4 - 1e-6) & (overlap < 0.7 + 1e-6)).all()


def test_a_spawned_box_touches_no_other() -> None:
    table, items = boxes()
    noisy, truth = inject_boxes(table, BoxNoise(spawn=0.5, drop=0.2), CLASSES, items)
    new = truth.filter(pl.col("kind") == "spurious").select("annotation_id")
    new = new.join(noisy, on="annotation_id")
    assert new["crowd"].not_().all()
    assert new["truncated"].is_null().all()
    columns = ["annotation_id", "item_id", *BOX]
    # where a box was dropped there is still an object
    everything = pl.concat([table.select(columns), new.select(columns)])
    pairs = new.join(everything, on="item_id", suffix="_2")
    pairs = pairs.filter(pl.col("annotation_id") != pl.col("annotation_id_2"))
    overlap = iou(corners(pairs), corners(pairs, [f"{edge}_2" for edge in BOX]))
    assert overlap.max() < 0.1
    box = corners(new)
    assert (box >= 0).all()
    assert (box[:, 2:] <= [640, 480]).all()


def test_a_duplicate_lies_on_a_box_of_its_class() -> None:
    table, items = boxes()
    noisy, truth = inject_boxes(table, BoxNoise(duplicate=0.3), CLASSES, items)
    assert truth["original_label"].is_null().all()
    new = truth.select("annotation_id").join(noisy, on="annotation_id")
    pairs = new.join(table, on=["item_id", "label"], suffix="_2")
    overlap = iou(corners(pairs), corners(pairs, [f"{edge}_2" for edge in BOX]))
    best = pairs.with_columns(iou=overlap).group_by("annotation_id").agg(pl.col("iou").max())
    assert best.height == truth.height
    assert best["iou"].is_between(0.8 - 1e-6, 0.95 + 1e-6).all()


def test_a_merge_is_one_box_around_two_of_a_class() -> None:
    table, items = boxes()
    noisy, truth = inject_boxes(table, BoxNoise(merge=0.4), CLASSES, items)
    assert (truth["kind"] == "group").all()
    kept = truth.join(noisy, on="annotation_id", suffix="_now")
    gone = truth.join(noisy, on="annotation_id", how="anti")
    assert kept.height == gone.height > 5
    both = kept.join(gone, on=["item_id", "original_label"], suffix="_gone")
    a, b = corners(both, ORIGINAL), corners(both, [f"{name}_gone" for name in ORIGINAL])
    around = np.concatenate([np.minimum(a[:, :2], b[:, :2]), np.maximum(a[:, 2:], b[:, 2:])], 1)
    is_hull = (corners(both) == around).all(axis=1)
    assert is_hull.sum() == kept.height
    assert (iou(around, a)[is_hull] <= 0.7).all()
    assert (area(around) <= 2 * (area(a) + area(b)))[is_hull].all()


def test_a_split_is_two_halves_of_a_box() -> None:
    table, items = boxes()
    noisy, truth = inject_boxes(table, BoxNoise(split=0.3), CLASSES, items)
    first = truth.filter(pl.col("original_x1").is_not_null())
    second = truth.filter(pl.col("original_x1").is_null())
    assert first.height == second.height
    halves = first.join(noisy, on="annotation_id")
    np.testing.assert_allclose(area(corners(halves)), area(corners(halves, ORIGINAL)) / 2)
    others = second.join(noisy, on="annotation_id")
    np.testing.assert_allclose(np.sort(area(corners(others))), np.sort(area(corners(halves))))


def test_added_boxes_get_names_that_nobody_has() -> None:
    table, items = boxes()
    taken = table.with_columns(
        annotation_id=pl.lit("planted-") + pl.int_range(pl.len()).cast(pl.String)
    )
    noisy, _ = inject_boxes(taken, BoxNoise(duplicate=0.5), CLASSES, items)
    assert noisy["annotation_id"].is_unique().all()


def test_image_sizes_are_not_needed() -> None:
    table, _ = boxes()
    noisy, truth = inject_boxes(table, ALL, CLASSES)
    assert truth["kind"].n_unique() == 6
    reach = table.group_by("item_id").agg(pl.col("x2").max(), pl.col("y2").max())
    new = truth.filter(pl.col("kind") == "spurious").join(noisy, on="annotation_id")
    new = new.join(reach, on="item_id", suffix="_most")
    assert (new["x2"] <= new["x2_most"] + 1e-9).all()


@pytest.mark.parametrize(
    ("noise", "found"),
    [
        ({"drop": 1.2}, "share in"),
        ({"drop": 0.6, "flip": 0.6}, "at most 1"),
        ({"shift_iou": (0.7, 0.4)}, "shift_iou"),
        ({"spawn_iou": 0.0}, "spawn_iou"),
    ],
)
def test_noise_that_cannot_be_is_refused(noise: dict[str, Any], found: str) -> None:
    with pytest.raises(InputError, match=found):
        BoxNoise(**noise)


def test_impossible_flips_and_unknown_labels_are_refused() -> None:
    table, _ = boxes()
    with pytest.raises(InputError, match="one class"):
        inject_boxes(table.with_columns(label=pl.lit("ant")), BoxNoise(flip=0.1), ["ant"])
    with pytest.raises(InputError, match="'cat'"):
        inject_boxes(table, BoxNoise(), ["ant", "bee"])
    with pytest.raises(InputError, match="confusion"):
        inject_boxes(table, BoxNoise(flip=0.1, confusion=((0.0, 1.0),)), CLASSES)


def test_an_empty_table_stays_empty() -> None:
    table, items = boxes()
    noisy, truth = inject_boxes(table.clear(), ALL, CLASSES, items)
    assert noisy.height == truth.height == 0


# class labels


def labels(n: int = 20_000) -> pl.DataFrame:
    names = [f"{i}.png" for i in range(n)]
    label = np.tile(np.array(CLASSES), n // 3 + 1)[:n]
    return pl.DataFrame({"annotation_id": names, "item_id": names, "label": label.tolist()})


@settings(deadline=None, max_examples=20)
@given(st.integers(2, 40), st.floats(0, 1))
def test_transitions_are_probabilities_with_the_rate_asked_for(n: int, rate: float) -> None:
    for matrix in (symmetric_noise(n, rate), pair_noise(n, rate)):
        np.testing.assert_allclose(matrix.sum(axis=1), 1)
        np.testing.assert_allclose(np.diag(matrix), 1 - rate)
        assert (matrix >= 0).all()
    assert np.count_nonzero(pair_noise(n, 0.5)) == 2 * n


def test_labels_are_drawn_from_the_matrix_and_the_truth_is_kept() -> None:
    matrix = np.array([[0.7, 0.3, 0.0], [0.0, 1.0, 0.0], [0.5, 0.1, 0.4]])
    table = labels()
    noisy, truth = inject_labels(table, matrix, CLASSES, seed=3)
    pairs = table.join(noisy, on="annotation_id", suffix="_now")
    for k, true in enumerate(CLASSES):
        here = pairs.filter(pl.col("label") == true)["label_now"]
        share = [float((here == now).to_numpy().mean()) for now in CLASSES]
        assert share == pytest.approx(matrix[k].tolist(), abs=0.02)
        assert all(got == 0 for got, asked in zip(share, matrix[k], strict=True) if asked == 0)
    wrong = pairs.filter(pl.col("label") != pl.col("label_now"))
    assert truth["annotation_id"].equals(wrong["annotation_id"])
    assert truth["original_label"].equals(wrong["label"].alias("original_label"))
    assert (truth["kind"] == "mislabeled").all()
    assert noisy.drop("label").equals(table.drop("label"))


def test_matrices_that_are_no_transitions_are_refused() -> None:
    for matrix in (np.eye(2), np.full((3, 3), 0.5), np.eye(3) * 2 - np.ones((3, 3)) / 3):
        with pytest.raises(InputError, match="transition"):
            inject_labels(labels(9), matrix, CLASSES)
    with pytest.raises(InputError, match="2 or more"):
        symmetric_noise(1, 0.1)


@given(n=st.integers(1, 40), rate=st.floats(0, 1), seed=st.integers(0, 99))
def test_instance_noise_spoils_hard_items_to_look_alikes(n: int, rate: float, seed: int) -> None:
    random = np.random.default_rng(seed)
    pred_probs, true = random.dirichlet(np.ones(4), n), random.integers(4, size=n)
    chances = instance_noise(true, pred_probs, rate)
    rows = np.arange(n)
    np.testing.assert_allclose(chances.sum(axis=1), 1)
    assert (chances >= 0).all()
    changed = 1 - chances[rows, true]
    assert changed.mean() <= rate + 1e-9
    if changed.max() < 1:
        assert changed.mean() == pytest.approx(rate)
    others = pred_probs.copy()
    others[rows, true] = 0
    assert (np.diff(changed[np.argsort(others.max(axis=1))]) >= -1e-9).all()
    shares = others / others.sum(axis=1, keepdims=True) * changed[:, None]
    np.testing.assert_allclose(np.where(others > 0, chances, 0), shares, atol=1e-12)


def test_labels_are_drawn_by_item() -> None:
    table, chances = labels(3), np.eye(3)[[2, 0, 1]]
    noisy, truth = inject_labels_by_item(table, chances, CLASSES)
    assert noisy["label"].to_list() == [CLASSES[k] for k in (2, 0, 1)]
    changed = table.filter(table["label"] != noisy["label"])
    assert truth["annotation_id"].equals(changed["annotation_id"])
    for bad in (np.eye(3)[:2], np.ones((3, 3))):
        with pytest.raises(InputError, match="chances"):
            inject_labels_by_item(table, bad, CLASSES)
