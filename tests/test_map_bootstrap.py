"""Redrawn mAP: what COCO's evaluator says of the redrawn set, a thousand times a minute."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labelfix.errors import InputError
from labelfix.evaluate.detection import TWELVE, coco_metrics, evaluated
from labelfix.evaluate.redetection import MatchedBoxes, redraw_map


def scene(
    seed: int, n_images: int = 12, n_given: int = 60, n_found: int = 200, n_classes: int = 3
) -> tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame]:
    """Images with boxes of all sizes, crowds among them, and detections near and far."""
    rng = np.random.default_rng(seed)
    ids = np.array([f"i{n:04d}" for n in range(n_images)])
    names = np.array([f"{n:02d}" for n in range(n_classes)])
    image, label = rng.integers(0, n_images, n_given), rng.integers(0, n_classes, n_given)
    corner = rng.uniform(0, 300, (n_given, 2))
    size = rng.lognormal(3.6, 1.0, (n_given, 2))
    given = pl.DataFrame(
        {
            "annotation_id": [str(n) for n in range(n_given)],
            "item_id": ids[image],
            "label": names[label],
            **dict(zip(("x1", "y1"), corner.T, strict=True)),
            **dict(zip(("x2", "y2"), (corner + size).T, strict=True)),
            "crowd": rng.random(n_given) < 0.05,
        }
    )
    source = rng.integers(0, n_given, n_found)
    moved = corner[source] + rng.normal(0, 0.1, (n_found, 2)) * size[source]
    grown = size[source] * rng.lognormal(0, 0.15, (n_found, 2))
    elsewhere = rng.random(n_found) < 0.1
    found = pl.DataFrame(
        {
            "item_id": ids[np.where(elsewhere, rng.integers(0, n_images, n_found), image[source])],
            "label": names[label[source]],
            "score": rng.random(n_found),
            **dict(zip(("x1", "y1"), moved.T, strict=True)),
            **dict(zip(("x2", "y2"), (moved + grown).T, strict=True)),
        }
    )
    return given, found, pl.DataFrame({"item_id": ids})


def written_out(
    tables: tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame], weights: np.ndarray
) -> tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame]:
    """Make the redrawn set: each image as often as it was drawn, under names of its own."""
    given, found, items = tables
    copies = pl.DataFrame(
        {
            "item_id": np.repeat(items["item_id"].to_numpy(), weights),
            "copy": np.concatenate([np.arange(n) for n in weights]),
        },
        schema={"item_id": pl.String, "copy": pl.Int64},
    ).with_columns(new=pl.format("{}-{}", "item_id", "copy"))

    def copied(table: pl.DataFrame) -> pl.DataFrame:
        return table.join(copies, on="item_id").with_columns(item_id="new")

    again = copied(given).with_columns(annotation_id=pl.format("{}-{}", "annotation_id", "copy"))
    return again, copied(found), copies.select(item_id="new")


def official(tables: tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame], n_classes: int) -> np.ndarray:
    names = [f"{n:02d}" for n in range(n_classes)]
    metrics = coco_metrics(tables[0], tables[1], names, tables[2])
    return np.array([*metrics.numbers().values(), *metrics.per_class["ap"]])


@pytest.mark.parametrize("seed", range(4))
def test_the_images_as_they_are_give_the_official_numbers(seed: int) -> None:
    tables = scene(seed)
    names = [f"{n:02d}" for n in range(3)]
    counted = MatchedBoxes.of(tables[0], tables[1], names, tables[2]).count(np.ones((1, 12)))
    np.testing.assert_allclose(counted[0], official(tables, 3), atol=1e-10, rtol=0)


@pytest.mark.parametrize("seed", range(6))
def test_a_redrawn_set_gives_what_it_gives_written_out(seed: int) -> None:
    tables = scene(seed, n_images=10, n_found=300)
    names = [f"{n:02d}" for n in range(3)]
    weights = np.random.default_rng(seed).multinomial(10, [0.1] * 10, size=4)
    counted = MatchedBoxes.of(tables[0], tables[1], names, tables[2]).count(weights)
    for one, weight in zip(counted, weights, strict=True):
        expected = official(written_out(tables, weight), 3)
        np.testing.assert_allclose(one, expected, atol=1e-10, rtol=0)


def test_more_detections_than_are_looked_at() -> None:
    tables = scene(3, n_images=3, n_given=40, n_found=900, n_classes=2)
    names = ["00", "01"]
    weights = np.array([[1, 1, 1], [3, 0, 1], [0, 0, 2]])
    counted = MatchedBoxes.of(tables[0], tables[1], names, tables[2]).count(weights)
    for one, weight in zip(counted, weights, strict=True):
        expected = official(written_out(tables, weight), 2)
        np.testing.assert_allclose(one, expected, atol=1e-10, rtol=0)


@settings(deadline=None, max_examples=40)
@given(
    st.integers(0, 10_000),
    st.integers(0, 8),
    st.integers(0, 12),
    st.lists(st.integers(0, 3), min_size=4, max_size=4),
)
def test_small_and_empty_sets(seed: int, n_given: int, n_found: int, drawn: list[int]) -> None:
    tables = scene(seed, n_images=4, n_given=max(n_given, 1), n_found=n_found)
    tables = (tables[0][:n_given], *tables[1:])
    names = [f"{n:02d}" for n in range(3)]
    weights = np.array([drawn])
    counted = MatchedBoxes.of(tables[0], tables[1], names, tables[2]).count(weights)
    expected = official(written_out(tables, weights[0]), 3)
    np.testing.assert_allclose(counted[0], expected, atol=1e-10, rtol=0)


def test_intervals_enclose_the_value_and_shrink_with_images() -> None:
    widths = []
    for n in (20, 320):
        given, found, items = scene(0, n_images=n, n_given=6 * n, n_found=20 * n)
        table = redraw_map(given, found, ["00", "01", "02"], items, draws=100)
        assert table["metric"].to_list()[:12] == list(TWELVE)
        assert table["label"].to_list()[12:] == ["00", "01", "02"]
        ap = table.row(0, named=True)
        assert ap["low"] < ap["value"] < ap["high"]
        widths.append(ap["high"] - ap["low"])
    assert widths[1] < widths[0] / 2


def test_what_cannot_be_redrawn_is_said() -> None:
    given, found, items = scene(0)
    with pytest.raises(InputError, match="no images"):
        redraw_map(given.clear(), found.clear(), ["00"], items.clear())
    table = redraw_map(given.clear(), found, ["00", "01", "02"], items, draws=2)
    assert table["value"].null_count() == 15


def test_draws_match_nothing_anew_and_touch_few_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a draw costs, counted: time would depend on what else the machine does."""
    given, found, items = scene(0, n_images=200, n_given=2000, n_found=12_000)
    names, matched = ["00", "01", "02"], []

    def counting(*arguments: Any) -> Any:
        matched.append(evaluated(*arguments))
        return matched[-1]

    monkeypatch.setattr("labelfix.evaluate.redetection.evaluated", counting)
    redraw_map(given, found, names, items, draws=3)
    assert len(matched) == 1
    curves = MatchedBoxes.of(given, found, names, items).curves
    rows = len(curves.base_image) + len(curves.shift_image) + len(curves.hit_image)
    assert rows < 40 * len(found) / 8  # ten IoUs and four areas: an eighth of all that there is
