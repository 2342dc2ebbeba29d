"""The 2x2 of boxes: cells are COCO's numbers, effects add up, and nothing gains nothing."""

# ruff: noqa: ARG002 # the fake detectors have the parameters of the protocol

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import polars as pl
import pytest

import labelfix
from labelfix.errors import InputError, LabelfixWarning
from labelfix.evaluate.boximages import DETECTIONS, image_tables
from labelfix.evaluate.detection import TWELVE, coco_metrics
from labelfix.predict.detect.models import found, scenes
from labelfix.predict.models import Inputs
from labelfix.report.gain import gain_findings, gain_page
from labelfix.schema import BOX, Dataset
from labelfix.splits import Split

if TYPE_CHECKING:
    from pathlib import Path

    from labelfix.predict.detect.models import DetectJob, Scenes
    from labelfix.progress import Progress

SPLIT = Split((1, 0, 1), duplicates=None)


@dataclass(frozen=True)
class Median:
    """Sees the median box of training in every image, a little shaken, once a class."""

    name = "median"

    def prepare(self, dataset: Dataset, *, cache: Path | None, progress: Progress | None) -> Inputs:
        return Inputs(scenes(dataset))

    def fit_predict(self, data: Scenes, job: DetectJob, progress: Progress | None) -> pl.DataFrame:
        rng = np.random.default_rng(job.seed)
        learned = np.isin(data.item, job.train)
        classes = np.unique(data.label[learned])
        boxes = [np.median(data.box[learned & (data.label == k)], axis=0) for k in classes]
        item = np.repeat(job.test, len(classes))
        box = np.tile(np.stack(boxes), (len(job.test), 1)) + rng.normal(0, 1, (len(item), 4))
        label = np.tile(classes, len(job.test))
        return found(item, label, rng.random(len(item)), box, data.class_names)


@pytest.fixture(scope="module")
def versions(two_places: Dataset) -> tuple[Dataset, Dataset]:
    """Two kinds of boxes at two places; three quarters of the original ones drawn too far right."""
    clean = two_places
    rng = np.random.default_rng(0)
    shift = np.where(rng.random(clean.annotations.height) < 0.75, 8.0, 0.0)
    moved = clean.annotations.with_columns(x1=pl.col("x1") + shift, x2=pl.col("x2") + shift)
    return replace(clean, annotations=moved), clean


def test_effects_add_up_and_cells_are_the_official_numbers(
    versions: tuple[Dataset, Dataset],
) -> None:
    noisy, clean = versions
    gain = labelfix.measure_gain(noisy, clean, Median(), 2, SPLIT, draws=30)
    assert gain.metrics == TWELVE
    for metric in TWELVE[:3]:
        rows = gain.effects.filter(metric=metric)
        whole, test, training, rest, _ = rows["value"]
        assert test + training + rest == pytest.approx(whole)
        assert (rows["low"] <= rows["value"] + 1e-9).all()
        assert (rows["high"] >= rows["value"] - 1e-9).all()
    assert gain.effect("training_labels_corrected")["low"] > 0
    part = SPLIT.draw(noisy, SPLIT.units(noisy), 0)
    data = Median().prepare(noisy, cache=None, progress=None).data
    seeds = np.random.SeedSequence(0).spawn(2)
    from labelfix.predict.detect.models import DetectJob

    job = DetectJob(
        np.flatnonzero(part == 0), np.flatnonzero(part == 2), int(seeds[0].generate_state(1)[0])
    )
    seen = Median().fit_predict(data, job, None)
    ids = noisy.items["item_id"]
    table = seen.select(
        pl.Series("item_id", ids.gather(seen["item"])),
        pl.col("label").cast(pl.String),
        "score",
        *BOX,
    )
    tested = clean.items.filter(pl.Series(part == 2)).select("item_id")
    expected = coco_metrics(
        clean.annotations.join(tested, on="item_id", how="semi"), table, clean.class_names, tested
    )
    row = gain.by_seed.row(1, named=True)
    assert (row["seed"], row["trained_on"], row["tested_on"]) == (0, "original", "corrected")
    assert [row[name] for name in ("ap", "ap50", "ar")] == pytest.approx(
        [expected.ap, expected.ap50, expected.ar], abs=1e-10
    )


def test_identical_boxes_gain_exactly_nothing(versions: tuple[Dataset, Dataset]) -> None:
    noisy, _ = versions
    with pytest.warns(LabelfixWarning, match="no test image was corrected") as told:
        gain = labelfix.measure_gain(noisy, noisy, Median(), 2, SPLIT, draws=10)
    assert {one.filename for one in told} == {__file__}  # and not to a place in the library
    values = gain.effects.select("value", "low", "high").drop_nulls().to_numpy()
    assert (values == 0).all()


def test_the_order_of_images_does_not_matter(versions: tuple[Dataset, Dataset]) -> None:
    noisy, clean = versions
    turned = replace(clean, items=clean.items.reverse(), annotations=clean.annotations.reverse())
    here = labelfix.measure_gain(noisy, clean, Median(), 1, SPLIT, draws=5)
    there = labelfix.measure_gain(noisy, turned, Median(), 1, SPLIT, draws=5)
    assert here.cells.equals(there.cells)


def test_removed_images_count_in_no_corrected_cell(versions: tuple[Dataset, Dataset]) -> None:
    noisy, clean = versions
    kept = replace(
        clean,
        items=clean.items[10:],
        annotations=clean.annotations.filter(pl.col("item_id") >= "10.png"),
    )
    with pytest.raises(InputError, match=r"no item 00\.png, 01\.png"):
        labelfix.measure_gain(noisy, kept, Median(), 1, SPLIT)
    gain = labelfix.measure_gain(
        noisy, kept, Median(), 2, SPLIT, allow_removed=True, resplit=True, draws=5
    )
    assert gain.changes["removed"].sum() == 10
    assert gain.movement is not None
    assert gain.movement["sd"].is_not_null().all()
    items = dict(gain.cells.filter(metric="ap").select("tested_on", "items").iter_rows())
    assert items["corrected"] < items["original"]


def test_a_test_part_without_boxes_is_refused(versions: tuple[Dataset, Dataset]) -> None:
    noisy, clean = versions
    empty = replace(clean, annotations=clean.annotations.clear())
    with pytest.raises(InputError, match="test part, corrected boxes: found no boxes"):
        labelfix.measure_gain(noisy, empty, Untrained(), 1, SPLIT)


class Untrained(Median):
    """Looks at nothing that it is given to learn from."""

    def fit_predict(self, data: Scenes, job: DetectJob, progress: Progress | None) -> pl.DataFrame:
        none = np.zeros(0, np.int64)
        return found(none, none, none.astype(float), np.zeros((0, 4)), data.class_names)


def test_the_page_speaks_of_boxes(versions: tuple[Dataset, Dataset]) -> None:
    noisy, clean = versions
    gain = labelfix.measure_gain(noisy, clean, Median(), 1, SPLIT, draws=5)
    assert gain_findings(gain)[0].startswith("AP (COCO) goes from")
    page = gain_page(gain)
    assert "AP at IoU .75" in page
    assert "McNemar" not in page


def box(item: str, label: str, left: float, score: float | None = None) -> dict[str, object]:
    """A box of ten by ten."""
    edges = dict(zip(BOX, (float(left), 0.0, left + 10.0, 10.0), strict=True))
    row = {"item_id": item, "label": label, **edges}
    return row | (
        {"annotation_id": f"{item}{left}", "crowd": False} if score is None else {"score": score}
    )


def test_images_are_read_as_well_as_their_boxes_are_found() -> None:
    given = [box("a", "cat", 0), box("a", "cat", 50), box("b", "dog", 0), box("d", "cat", 0)]
    items = pl.DataFrame({"item_id": ["a", "b", "c", "d"]})
    truth = Dataset(items, pl.DataFrame(given), ("cat", "dog"), "memory")
    seen = {
        # one of two in a; b by another name; nothing in c, where nothing is; all of d
        "original": [box("a", "cat", 1, 0.9), box("b", "cat", 0, 0.8), box("d", "cat", 0, 0.7)],
        # both in a; b found, and a wrong box there that is too unsure to count; a wrong one in c
        "corrected": [
            *(box("a", "cat", 0, 0.9), box("a", "cat", 50, 0.8), box("b", "dog", 0, 0.7)),
            *(box("b", "dog", 80, 0.1), box("c", "dog", 0, 0.95), box("d", "cat", 0, 0.7)),
        ],
    }
    tested = np.array([[True, True, True, True], [True, False, False, False]])
    found_by = {name: [pl.DataFrame(rows), pl.DataFrame(rows[:1])] for name, rows in seen.items()}
    images, detections = image_tables(truth, found_by, tested, most=3)
    assert images.rows() == [
        ("b", 0.0, 1.0, 1),
        ("c", 1.0, 0.0, 1),
        ("a", pytest.approx(2 / 3), pytest.approx(5 / 6), 2),
        ("d", 1.0, 1.0, 1),
    ]
    assert dict(detections.schema) == DETECTIONS
    assert detections["item_id"].unique(maintain_order=True).to_list() == ["b", "c", "a"]
    listed = detections.filter(item_id="b").select("source", "label", "right").rows()
    assert listed == [
        ("trained_on_original", "cat", False),
        ("trained_on_corrected", "dog", True),
        ("corrected_labels", "dog", None),
    ]
    assert detections.filter(item_id="a", source="trained_on_corrected")["right"].all()


def test_images_of_a_gain_are_its_test_images(versions: tuple[Dataset, Dataset]) -> None:
    noisy, clean = versions
    gain = labelfix.measure_gain(noisy, clean, Median(), 2, SPLIT, draws=5)
    assert gain.images is not None
    assert gain.detections is not None
    part = SPLIT.draw(noisy, SPLIT.units(noisy), 0)
    assert (
        sorted(gain.images["item_id"])
        == noisy.items.filter(pl.Series(part == 2))["item_id"].to_list()
    )
    assert gain.images["f1_corrected"].sum() > gain.images["f1_original"].sum() + 1
    change = (gain.images["f1_corrected"] - gain.images["f1_original"]).abs()
    assert change.is_sorted(descending=True)


def test_detectors_that_see_nothing_have_images_too(versions: tuple[Dataset, Dataset]) -> None:
    noisy, clean = versions
    gain = labelfix.measure_gain(noisy, clean, Untrained(), 1, SPLIT, draws=5)
    assert gain.images is not None
    assert gain.images["f1_original"].sum() == gain.images["f1_corrected"].sum() == 0
