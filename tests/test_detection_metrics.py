"""COCO's numbers are COCO's, whatever the boxes."""

from __future__ import annotations

import contextlib
import io
import json
import math
import os
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labelfix.errors import InputError
from labelfix.evaluate.detection import CocoMetrics, coco_metrics
from labelfix.schema import BOX

DATA = Path(os.environ.get("LABELFIX_DATA", Path(__file__).parents[2] / "shared" / "data"))
FIXTURE = DATA / "coco-eval-fixture" / "tests" / "dataset" / "cocoapi"

CLASSES = ("ant", "bee", "cat")


def boxes(rows: list[dict[str, Any]], given: bool) -> pl.DataFrame:
    schema: dict[str, Any] = {"item_id": pl.String, "label": pl.String}
    schema |= dict.fromkeys(BOX, pl.Float64)
    if given:
        schema |= {"annotation_id": pl.String, "crowd": pl.Boolean, "ignore": pl.Boolean}
        schema |= {"area": pl.Float64}
    else:
        schema |= {"score": pl.Float64}
    return pl.DataFrame(rows, schema=schema)


def coco_table(rows: list[dict[str, Any]], names: dict[int, str], given: bool) -> pl.DataFrame:
    """Rows of a COCO file as one of our tables."""
    table = []
    for number, row in enumerate(rows):
        x, y, width, height = row["bbox"]
        box = {"x1": x, "y1": y, "x2": x + width, "y2": y + height}
        one = {"item_id": str(row["image_id"]), "label": names[row["category_id"]], **box}
        if given:
            one |= {"annotation_id": str(number), "crowd": bool(row["iscrowd"])}
            one |= {"ignore": bool(row.get("ignore", 0)), "area": row["area"]}
        else:
            one["score"] = row["score"]
        table.append(one)
    return boxes(table, given)


def official(
    truth: dict[str, Any], found: list[dict[str, Any]], max_dets: tuple[int, int, int]
) -> tuple[list[float], dict[int, float]]:
    """The twelve numbers as pycocotools computes them, and AP a category."""
    coco = pytest.importorskip("pycocotools.coco")
    evaluation = pytest.importorskip("pycocotools.cocoeval")
    with contextlib.redirect_stdout(io.StringIO()):
        gt = coco.COCO()
        gt.dataset = truth
        gt.createIndex()
        dt = gt.loadRes(found) if found else coco.COCO()
        if not found:
            dt.dataset = {**truth, "annotations": []}
            dt.createIndex()
        run = evaluation.COCOeval(gt, dt, "bbox")
        run.params.maxDets = list(max_dets)
        run.evaluate()
        run.accumulate()

    def mean(values: Any) -> float:
        known = values[values > -1]
        return float(known.mean()) if known.size else math.nan

    precision, recall = run.eval["precision"], run.eval["recall"]
    numbers = [mean(precision[:, :, :, 0, -1])]
    numbers += [mean(precision[at, :, :, 0, -1]) for at in (0, 5)]
    numbers += [mean(precision[:, :, :, area, -1]) for area in (1, 2, 3)]
    numbers += [mean(recall[:, :, 0, most]) for most in (0, 1, 2)]
    numbers += [mean(recall[:, :, area, -1]) for area in (1, 2, 3)]
    ids = run.params.catIds
    return numbers, {k: mean(precision[:, :, i, 0, -1]) for i, k in enumerate(ids)}


def assert_official(
    metrics: CocoMetrics, numbers: list[float], per_class: dict[int, float], tolerance: float
) -> None:
    np.testing.assert_allclose(list(metrics.numbers().values()), numbers, rtol=0, atol=tolerance)
    np.testing.assert_allclose(
        metrics.per_class["ap"].to_numpy(), list(per_class.values()), rtol=0, atol=tolerance
    )


@pytest.mark.skipif(not FIXTURE.exists(), reason="the COCO fixture is not here")
def test_the_official_numbers_of_the_fixture() -> None:
    truth = json.loads((FIXTURE / "instances_val2014_100.json").read_text())
    found = json.loads((FIXTURE / "instances_val2014_fakebbox100_results.json").read_text())
    names = {one["id"]: one["name"] for one in truth["categories"]}
    # equal confidences of two images are taken in item order, which COCO's evaluator has by id
    in_order = [str(number) for number in sorted(one["id"] for one in truth["images"])]
    metrics = coco_metrics(
        coco_table(truth["annotations"], names, given=True),
        coco_table(found, names, given=False),
        list(names.values()),
        pl.DataFrame({"item_id": in_order}),
    )
    printed = [0.505, 0.697, 0.573, 0.586, 0.519, 0.501, 0.387, 0.594, 0.595, 0.640, 0.566, 0.564]
    assert [round(number, 3) for number in metrics.numbers().values()] == printed
    assert_official(metrics, *official(truth, found, (1, 10, 100)), tolerance=1e-10)


corner = st.integers(0, 120).map(lambda n: n / 2)
side = st.integers(0, 260).map(lambda n: n / 2)


@st.composite
def coco_sets(draw: st.DrawFn) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    images = draw(st.integers(1, 4))
    count, guesses = draw(st.integers(0, 14)), draw(st.integers(0, 30))

    def row() -> dict[str, Any]:
        box = [draw(corner), draw(corner), draw(side), draw(side)]
        return {
            "image_id": draw(st.integers(1, images)),
            "category_id": draw(st.integers(1, 3)),
            "bbox": box,
        }

    annotations = []
    for number in range(count):
        one = row()
        one |= {"id": number + 1, "iscrowd": int(draw(st.integers(0, 4)) == 0)}
        one |= {"ignore": int(draw(st.integers(0, 3)) == 0)}
        one["area"] = one["bbox"][2] * one["bbox"][3] * draw(st.sampled_from([0.4, 0.8, 1.0]))
        annotations.append(one)
    found = []
    for _ in range(guesses):
        one = row()
        if len(annotations) and draw(st.integers(0, 1)):  # near a given one
            near = draw(st.sampled_from(annotations))
            shift = draw(st.integers(-4, 4))
            one |= {key: near[key] for key in ("image_id", "category_id")}
            one["bbox"] = [near["bbox"][0] + shift, *near["bbox"][1:]]
        one["score"] = draw(st.integers(0, 8)) / 8
        found.append(one)
    truth = {
        "images": [{"id": number} for number in range(1, images + 1)],
        "categories": [{"id": k, "name": name} for k, name in enumerate(CLASSES, start=1)],
        "annotations": annotations,
    }
    return truth, found


@settings(deadline=None, max_examples=60)
@given(coco_sets(), st.sampled_from([(1, 10, 100), (1, 2, 3), (2, 2, 5)]))
def test_random_sets_agree_with_pycocotools(
    drawn: tuple[dict[str, Any], list[dict[str, Any]]], max_dets: tuple[int, int, int]
) -> None:
    truth, found = drawn
    names = dict(enumerate(CLASSES, start=1))
    metrics = coco_metrics(
        coco_table(truth["annotations"], names, given=True),
        coco_table(found, names, given=False),
        CLASSES,
        pl.DataFrame({"item_id": [str(one["id"]) for one in truth["images"]]}),
        max_dets,
    )
    assert_official(metrics, *official(truth, found, max_dets), tolerance=1e-10)


def one_box(**changes: Any) -> dict[str, Any]:
    box = {"x1": 0.0, "y1": 0.0, "x2": 10.0, "y2": 10.0}
    return {"item_id": "a.jpg", "label": "cat", **box, **changes}


def test_no_detection_is_zero_and_no_truth_is_no_number() -> None:
    truth = boxes([one_box(annotation_id="0", crowd=False)], given=True)
    found = boxes([one_box(score=0.5)], given=False)
    nothing = coco_metrics(truth, found.clear(), CLASSES)
    assert nothing.ap == 0
    assert nothing.ar == 0
    assert all(
        math.isnan(n) for n in coco_metrics(truth.clear(), found, CLASSES).numbers().values()
    )
    empty = coco_metrics(truth.clear(), found.clear(), CLASSES)
    assert math.isnan(empty.ap)
    assert empty.per_class["label"].to_list() == list(CLASSES)


def test_a_crowd_region_counts_neither_way() -> None:
    truth = boxes(
        [
            one_box(annotation_id="0", crowd=False),
            one_box(annotation_id="1", crowd=True, x1=50.0, x2=90.0, y2=40.0),
        ],
        given=True,
    )
    inside = [one_box(score=0.9, x1=55.0 + n, x2=60.0 + n) for n in range(5)]
    found = boxes([*inside, one_box(score=0.5)], given=False)
    metrics = coco_metrics(truth, found, CLASSES)
    assert metrics.ap == pytest.approx(1)
    assert metrics.per_class["given"].to_list() == [0, 0, 1]


def test_only_the_surest_detections_of_an_image_are_looked_at() -> None:
    truth = boxes([one_box(annotation_id="0", crowd=False)], given=True)
    wrong = [one_box(score=0.9, x1=50.0 + n, x2=60.0 + n) for n in range(3)]
    found = boxes([*wrong, one_box(score=0.5)], given=False)
    assert coco_metrics(truth, found, CLASSES, max_dets=(1, 2, 3)).ar == 0
    assert coco_metrics(truth, found, CLASSES, max_dets=(1, 2, 4)).ar == 1


def test_a_broken_given_box_is_named_and_a_broken_prediction_finds_nothing() -> None:
    truth = boxes(
        [
            one_box(annotation_id="fine", crowd=False),
            one_box(annotation_id="inverted", crowd=False, x2=-5.0),
            one_box(annotation_id="no number", crowd=True, y1=math.nan),
        ],
        given=True,
    )
    found = boxes([one_box(score=0.9, x2=-1.0), one_box(score=0.5)], given=False)
    with pytest.raises(InputError, match="2 problems") as raised:
        coco_metrics(truth, found, CLASSES)
    assert {p.where for p in raised.value.problems} == {
        "annotation inverted",
        "annotation no number",
    }
    assert 0 < coco_metrics(truth[:1], found, CLASSES).ap < 1


def test_what_cannot_be_evaluated_is_told_at_once() -> None:
    truth = boxes([one_box(annotation_id="0", crowd=False, label="dog")], given=True)
    found = boxes([one_box(score=1.5, item_id="b.jpg")], given=False)
    items = pl.DataFrame({"item_id": ["a.jpg"]})
    with pytest.raises(InputError) as raised:
        coco_metrics(truth, found, CLASSES, items)
    assert len(raised.value.problems) == 3
    with pytest.raises(InputError, match="max_dets"):
        coco_metrics(truth, found, CLASSES, max_dets=(10, 1, 100))
