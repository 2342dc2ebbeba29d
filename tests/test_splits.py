"""Splits: in proportion, whole groups, each source apart, and no copies on both sides."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import labelfix
from labelfix.errors import InputError, LabelfixWarning
from labelfix.schema import Dataset
from labelfix.splits import Split, leaking, split_items

if TYPE_CHECKING:
    from pathlib import Path


def table(n: int, **columns: object) -> Dataset:
    names = [f"i{row:04d}" for row in range(n)]
    labels = [f"c{row % 3}" for row in range(n)]
    items = pl.DataFrame({"item_id": names, "x": range(n), **columns})
    annotations = pl.DataFrame({"annotation_id": names, "item_id": names, "label": labels})
    return Dataset(items, annotations, ("c0", "c1", "c2"), "memory", feature_columns=("x",))


def test_a_small_source_lands_in_every_part_in_proportion() -> None:
    labels = np.random.default_rng(0).integers(0, 7, 5200)
    sources = ["main"] * 5000 + ["night"] * 200
    part = split_items(labels, sources=sources)
    assert np.bincount(part[5000:]).tolist() == [160, 20, 20]
    assert np.bincount(part[:5000]).tolist() == [4000, 500, 500]
    without = split_items(labels)
    assert np.bincount(without[5000:]).tolist() != [160, 20, 20]


def test_a_source_of_one_class_is_split_like_any_other() -> None:
    part = split_items([0, 1] * 500 + [1] * 200, sources=["a"] * 1000 + ["b"] * 200)
    assert np.bincount(part[1000:]).tolist() == [160, 20, 20]


def test_parts_have_the_shares_that_were_asked_for() -> None:
    labels = np.arange(1000) % 4
    assert np.bincount(split_items(labels, parts=(6, 2, 2))).tolist() == [600, 200, 200]
    assert np.bincount(split_items(labels, parts=(3, 0, 1)), minlength=3).tolist() == [750, 0, 250]


def test_classes_are_spread_alike_over_the_parts() -> None:
    labels = np.repeat([0, 1, 2], [600, 300, 100])
    part = split_items(labels)
    for k, size in enumerate((600, 300, 100)):
        assert np.bincount(part[labels == k]).tolist() == [size * 8 // 10, size // 10, size // 10]


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 3), st.integers(0, 30), st.integers(0, 2)), min_size=60),
    st.integers(0, 5),
)
@pytest.mark.filterwarnings("ignore::labelfix.LabelfixWarning")
def test_groups_stay_whole(rows: list[tuple[int, int, int]], seed: int) -> None:
    labels, groups, sources = (np.array(column) for column in zip(*rows, strict=True))
    try:
        part = split_items(labels, groups=groups, sources=sources, seed=seed)
    except InputError:
        assert len(np.unique(groups)) < 31
        return
    assert len(leaking(part, groups)) == 0
    for group in np.unique(groups):
        assert len(np.unique(part[groups == group])) == 1


def test_boxes_are_stratified_by_what_the_images_hold() -> None:
    counts = np.zeros((200, 2), np.int64)
    counts[:20, 1] = 5
    counts[:, 0] = 1
    part = split_items(counts)
    assert np.bincount(part[:20]).tolist() == [16, 2, 2]


def test_the_order_of_the_items_does_not_matter() -> None:
    dataset = table(300, where=["a", "b", "b"] * 100)
    rows = np.random.default_rng(1).permutation(300)
    split = Split(sources="where")
    here = split.draw(dataset, split.units(dataset), 3)
    shuffled = dataset.take(rows)
    there = split.draw(shuffled, split.units(shuffled), 3)
    assert here[rows].tolist() == there.tolist()
    assert split.draw(dataset, split.units(dataset), 4).tolist() != here.tolist()


def test_equal_rows_of_a_table_stay_together() -> None:
    dataset = table(300, y=[0] * 300)
    items = dataset.items.with_columns(x=pl.col("x") // 2)
    twice = Dataset(items, dataset.annotations, dataset.class_names, "m", feature_columns=("x",))
    split = Split()
    part = split.draw(twice, split.units(twice), 0)
    assert part[::2].tolist() == part[1::2].tolist()


def noise(path: Path, seed: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 255, (8, 8, 3), np.uint8)
    Image.fromarray(pixels.repeat(8, 0).repeat(8, 1)).save(path)


def test_a_given_split_whose_test_images_are_copies_of_training_is_refused(tmp_path: Path) -> None:
    for row in range(6):
        noise(tmp_path / f"train/{'ab'[row % 2]}/{row}.png", row)
    noise(tmp_path / "test/a/new.png", 50)
    noise(tmp_path / "test/b/copy.png", 3)
    dataset = labelfix.read(tmp_path)
    split = Split(given="split")
    units = split.units(dataset)
    with pytest.raises(InputError, match=r"test/b/copy\.png.*train/b/3\.png in training"):
        split.draw(dataset, units, 0)
    part = Split(given="split", force=True).draw(dataset, units, 0)
    assert np.bincount(part, minlength=3).tolist() == [6, 0, 2]


def test_what_cannot_be_split_is_said() -> None:
    with pytest.raises(InputError, match="8:1:0"):
        Split(parts=(8, 1, 0))
    with pytest.raises(InputError, match="no column 'nowhere'"):
        Split(sources="nowhere").units(table(20))
    with pytest.raises(InputError, match="no items for"):
        split_items([0, 1] * 10, groups=[0] * 20)
    dataset = table(3, s=["train", "test", "holdout"])
    with pytest.raises(InputError, match="'holdout'"):
        Split(given="s").draw(dataset, np.arange(3), 0)
    with pytest.warns(LabelfixWarning, match="source 'tiny'"):
        split_items([0, 1] * 50 + [0, 1], sources=["big"] * 100 + ["tiny"] * 2)
