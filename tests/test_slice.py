"""Errors per value of a fact: counts, intervals, adjusted p-values, and their order."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest, fisher_exact

from labelfix.cli import main
from labelfix.decisions import DecisionLog, State, new_decision
from labelfix.errors import InputError
from labelfix.evaluate.detection import coco_metrics
from labelfix.evaluate.slices import box_facts, slice_map, slice_rates, wilson
from labelfix.run import FindOptions, find, open_run
from labelfix.run.slices import slice_errors
from labelfix.schema import Dataset

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Paint


@given(hits=st.integers(0, 50), more=st.integers(0, 50), level=st.sampled_from([0.8, 0.95, 0.99]))
def test_wilson_is_scipys(hits: int, more: int, level: float) -> None:
    n = max(hits + more, 1)
    low, high = wilson(np.array([hits]), np.array([n]), level)
    expected = binomtest(hits, n).proportion_ci(level, method="wilson")
    assert (low[0], high[0]) == pytest.approx((expected.low, expected.high), abs=1e-12)
    assert low[0] == 0 or hits
    assert high[0] == 1 or hits < n


def planted(seed: int = 0, n: int = 400) -> tuple[pl.DataFrame, np.ndarray[Any, Any]]:
    rng = np.random.default_rng(seed)
    light = rng.choice(["dark", "bright", "dim"], n)
    facts = pl.DataFrame(
        {
            "item_id": [f"i{k}" for k in range(n)],
            "light": light,
            "size": rng.random(n) * 100,
            "night": light == "dark",
            "same": ["x"] * n,
        }
    )
    return facts, rng.random(n) < np.where(light == "dark", 0.5, 0.1)


def test_counts_are_those_of_the_slices_and_the_worst_leads() -> None:
    facts, wrong = planted()
    table = slice_rates(facts, wrong)
    assert table["value"][0] in {"dark", "true"}
    for value in ("dark", "bright", "dim"):
        mine = (facts["light"] == value).to_numpy()
        row = table.filter(fact="light", value=value).row(0, named=True)
        assert (row["items"], row["wrong"]) == (mine.sum(), wrong[mine].sum())
        assert row["error_rate"] == pytest.approx(wrong[mine].mean())
        assert row["rest"] == pytest.approx(wrong[~mine].mean())
    assert table["low"].is_sorted(descending=True)
    assert set(table["fact"]) == {"light", "size", "night"}


@given(seed=st.integers(0, 1000), shuffle=st.integers(0, 1000))
def test_the_order_of_rows_does_not_matter(seed: int, shuffle: int) -> None:
    facts, wrong = planted(seed, 60)
    order = np.random.default_rng(shuffle).permutation(60)
    keys = ["fact", "value"]
    one, other = slice_rates(facts, wrong), slice_rates(facts[order], wrong[order])
    assert one.sort(keys).equals(other.sort(keys))


def test_numbers_are_cut_into_bins_that_hold_every_item_once() -> None:
    facts, wrong = planted()
    table = slice_rates(facts, wrong, by=["size"], bins=5)
    assert table["items"].to_list() == [80] * 5
    assert table["wrong"].sum() == wrong.sum()


def test_missing_values_are_a_slice_of_their_own() -> None:
    facts = pl.DataFrame(
        {"lux": [1.0, 2, 3, 4, 5, None, float("nan")], "word": [*"aaabb", None, "a"]}
    )
    table = slice_rates(facts, np.array([0, 0, 0, 0, 0, 1, 1], bool), bins=2)
    assert table.filter(fact="lux", value="missing")["items"].item() == 2
    assert table.filter(fact="word", value="missing")["items"].item() == 1


def test_p_values_are_fishers_adjusted_by_holm() -> None:
    facts, wrong = planted()
    table = slice_rates(facts, wrong, by=["light"])
    raw = []
    for row in table.to_dicts():
        other = (len(wrong) - row["items"], int(wrong.sum()) - row["wrong"])
        counts = [[row["wrong"], row["items"] - row["wrong"]], [other[1], other[0] - other[1]]]
        raw.append(fisher_exact(counts)[1])
    order = np.argsort(raw)
    adjusted = np.maximum.accumulate(np.array(raw)[order] * [3, 2, 1]).clip(max=1)
    assert table["p_adjusted"].to_numpy()[order] == pytest.approx(adjusted)


def test_noise_alone_is_seldom_certain() -> None:
    rng = np.random.default_rng(0)
    sure = 0
    for seed in range(40):
        facts, _ = planted(seed, 100)
        sure += (slice_rates(facts, rng.random(100) < 0.2)["p_adjusted"] < 0.05).any()
    assert sure <= 5


def test_accuracy_is_the_error_rate_turned() -> None:
    facts, wrong = planted()
    one, other = slice_rates(facts, wrong), slice_rates(facts, wrong, measure="accuracy")
    assert other["accuracy"].to_numpy() == pytest.approx(1 - one["error_rate"].to_numpy())
    assert other["low"].to_numpy() == pytest.approx(1 - one["high"].to_numpy())
    assert other["value"].to_list() == one["value"].to_list()


def test_every_odd_option_is_told() -> None:
    facts, wrong = planted()
    with pytest.raises(InputError) as caught:
        slice_rates(facts, wrong[:-1], by=["nothing"], bins=1, level=1)
    assert len(caught.value.problems) == 4
    with pytest.raises(InputError, match="no column to slice by"):
        slice_rates(facts.select("item_id", "same"), wrong)


def boxes() -> tuple[Dataset, pl.DataFrame]:
    """Detections are right on sharp images, and far off on blurred ones."""
    rng = np.random.default_rng(0)
    n = 40
    ids = [f"{k}.png" for k in range(n)]
    x, y = rng.random((2, n)) * 50
    corners = {"x1": x, "y1": y, "x2": x + 20, "y2": y + 5}
    given_boxes = pl.DataFrame(
        {"annotation_id": ids, "item_id": ids, "label": ["a"] * n, **corners, "crowd": [False] * n}
    )
    focus = ["sharp", "blurred"] * (n // 2)
    items = pl.DataFrame({"item_id": ids, "focus": focus})
    off = np.where(np.array(focus) == "sharp", 0, 15)
    predicted = {"x1": x + off, "y1": y, "x2": x + 20 + off, "y2": y + 5}
    found = pl.DataFrame({"item_id": ids, "label": ["a"] * n, "score": rng.random(n), **predicted})
    return Dataset(items, given_boxes, ("a",), "coco"), found


def test_average_precision_of_a_slice_is_that_of_its_images() -> None:
    dataset, found = boxes()
    table = slice_map(dataset, found, by=["focus"])
    assert table.select("value", "ap", "boxes").rows() == [("blurred", 0, 20), ("sharp", 1, 20)]
    sharp = dataset.filter(pl.col("focus") == "sharp")
    mine = found.join(sharp.items, on="item_id", how="semi")
    assert coco_metrics(sharp.annotations, mine, ("a",), sharp.items).ap == 1


def test_average_precision_has_intervals_over_images() -> None:
    dataset, found = boxes()
    mixed = dataset.with_facts(pl.DataFrame({"half": ["a"] * 20 + ["b"] * 20}))
    table = slice_map(mixed, found, by=["half"], draws=50)
    for row in table.to_dicts():
        part = mixed.filter(pl.col("half") == row["value"])
        mine = found.join(part.items, on="item_id", how="semi")
        expected = coco_metrics(part.annotations, mine, ("a",), part.items)
        assert (row["ap"], row["ap50"]) == pytest.approx((expected.ap, expected.ap50))
        assert 0 < row["low"] < row["ap"] < row["high"] < 1
    assert slice_map(mixed, found, by=["half"], draws=0)["low"].null_count() == 2


def test_object_size_is_the_side_of_a_square_of_that_area() -> None:
    dataset, _ = boxes()
    assert box_facts(dataset)["object_size"].to_numpy() == pytest.approx(10)


def images(root: Path, paint: Paint) -> Path:
    for k in range(12):
        paint(root / "in" / ("cat" if k % 2 else "dog") / f"cam{k % 3}_{k}.png", k)
    answers = ["cat" if k % 2 and k % 3 else "dog" for k in range(12)]
    ids = [f"{'cat' if k % 2 else 'dog'}/cam{k % 3}_{k}.png" for k in range(12)]
    pl.DataFrame({"item_id": ids, "prediction": answers}).write_csv(root / "model.csv")
    return root / "in"


def test_the_command_slices_predictions(
    tmp_path: Path, paint: Paint, capsys: pytest.CaptureFixture[str]
) -> None:
    path = images(tmp_path, paint)
    call = ["slice", str(path), "--predictions", str(tmp_path / "model.csv")]
    call += ["--template", "{label}/{camera}_{}.png", "--by", "camera"]
    assert main(call) == 0
    assert "adjusted for 3 comparisons" in capsys.readouterr().out
    assert main([*call, "--format", "csv", "--where", "camera != 'cam1'"]) == 0
    table = pl.read_csv(capsys.readouterr().out.encode())
    assert table.select("value", "items", "wrong").rows() == [("cam0", 4, 2), ("cam2", 4, 0)]
    assert main(call[:2]) == 2
    assert "a dataset, and no predictions" in capsys.readouterr().err


def test_a_run_is_sliced_by_what_is_flagged_and_by_what_reviewers_say(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 3, 90)
    labels = np.where(np.arange(90) < 12, (truth + 1) % 3, truth)
    probs = 0.05 + 0.85 * np.eye(3)[truth]
    np.save(tmp_path / "labels.npy", labels)
    np.save(tmp_path / "probs.npy", probs)
    options = FindOptions(
        labels=str(tmp_path / "labels.npy"), pred_probs=(str(tmp_path / "probs.npy"),)
    )
    run = tmp_path / "run"
    find(options, run)
    source = ["bad"] * 12 + ["good"] * 78
    ids = [str(k) for k in range(90)]
    pl.DataFrame({"id": ids, "source": source}).write_csv(tmp_path / "facts.csv")
    joins = [(tmp_path / "facts.csv", "id")]
    table = slice_errors(run, joins=joins, by=["source"])
    assert table.select("value", "items", "wrong").rows() == [("bad", 12, 12), ("good", 78, 0)]
    with pytest.raises(InputError, match="no decision"):
        slice_errors(run, joins=joins, by=["source"], reviewed=True)
    fingerprint = open_run(run).info.dataset.fingerprint
    log = DecisionLog(run / "decisions.jsonl", fingerprint)
    for k in range(4):  # three are wrong, the fourth is right after all
        log.append(
            new_decision(
                "set_label" if k < 3 else "keep",
                reviewer="ann",
                fingerprint=fingerprint,
                item_id=str(k),
                annotation_id=str(k),
                before=State(str(labels[k])),
                after=State(str(truth[k] if k < 3 else labels[k])),
            )
        )
    reviewed = slice_errors(run, joins=joins, by=["source"], reviewed=True)
    assert reviewed.select("value", "items", "wrong").rows() == [("bad", 4, 3)]


def test_a_run_of_boxes_is_sliced_by_box(tmp_path: Path, paint: Paint) -> None:
    """Five small boxes are called a dog where the detector sees a cat."""
    rng = np.random.default_rng(0)
    rows = []
    images = []
    for k in range(20):
        paint(tmp_path / f"{k:02d}.png", k, (100, 80))
        images.append({"id": k, "file_name": f"{k:02d}.png", "width": 100, "height": 80})
        for place, side in ((5, 8), (45, 30)):
            x = place + int(rng.integers(0, 5))
            rows.append((k, x, side, "dog" if side == 8 and k < 5 else "cat"))
    annotations = [
        {
            "id": i,
            "image_id": k,
            "category_id": 1 if label == "cat" else 2,
            "bbox": [x, 10, side, side],
            "area": side**2,
            "iscrowd": 0,
        }
        for i, (k, x, side, label) in enumerate(rows)
    ]
    categories = [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}]
    content = {"images": images, "annotations": annotations, "categories": categories}
    (tmp_path / "boxes.json").write_text(json.dumps(content))
    seen = [(f"{k:02d}.png", "cat", 0.97, x, 10, x + side, 10 + side) for k, x, side, _ in rows]
    unsure = [("00.png", "dog", 0.02, 80, 60, 90, 70)]  # detectors give such boxes too
    schema = ["item_id", "label", "score", "x1", "y1", "x2", "y2"]
    found = pl.DataFrame([*seen, *unsure], schema=schema, orient="row")
    found.write_csv(tmp_path / "found.csv")
    options = FindOptions(
        path=str(tmp_path / "boxes.json"), predictions=str(tmp_path / "found.csv")
    )
    find(options, tmp_path / "run")
    run = open_run(tmp_path / "run")
    table = slice_errors(run.path, by=["object_size"])
    assert table.select("value", "items").sort("value").rows() == [("30", 20), ("8", 20)]
    assert table["wrong"].sum() == run.issues["flagged"].sum()
    log = DecisionLog(run.path / "decisions.jsonl", run.info.dataset.fingerprint)
    for one in run.annotations.head(10).iter_rows(named=True):
        log.append(
            new_decision(
                "delete" if one["label"] == "dog" else "keep",
                reviewer="ann",
                fingerprint=run.info.dataset.fingerprint,
                item_id=one["item_id"],
                annotation_id=one["annotation_id"],
                before=State(one["label"]),
            )
        )
    reviewed = slice_errors(run.path, by=["object_size"], reviewed=True)
    assert reviewed.select("value", "items", "wrong").rows() == [("8", 5, 5), ("30", 5, 0)]


def detections_of_other_names(root: Path, paint: Paint) -> list[str]:
    """Two images with a cat each, which the detector calls 17; on one it is far off."""
    boxes = [{"id": k, "image_id": k, "category_id": 1, "bbox": [5, 5, 40, 40]} for k in (0, 1)]
    sizes = {"width": 100, "height": 80}
    pictures = [{"id": k, "file_name": f"{k}.png", **sizes} for k in (0, 1)]
    for k in (0, 1):
        paint(root / f"{k}.png", k, (100, 80))
    whole = {"images": pictures, "annotations": boxes, "categories": [{"id": 1, "name": "cat"}]}
    (root / "boxes.json").write_text(json.dumps(whole))
    found = [
        {"image_id": k, "category_id": 17, "bbox": [5 + 50 * k, 5, 40, 40], "score": 0.9}
        for k in (0, 1)
    ]
    (root / "found.json").write_text(json.dumps(found))
    call = ["slice", str(root / "boxes.json"), "--predictions", str(root / "found.json")]
    return [*call, "--by", "item_id", "--draws", "0", "--format", "csv"]


def test_the_command_takes_a_class_map_as_find_does(
    tmp_path: Path, paint: Paint, capsys: pytest.CaptureFixture[str]
) -> None:
    call = detections_of_other_names(tmp_path, paint)
    assert main(call) == 2
    told = capsys.readouterr().err
    assert "17" in told
    assert "class map" in told
    assert main([*call, "--class-map", "17=cat"]) == 0
    table = pl.read_csv(capsys.readouterr().out.encode())
    assert table["value"].to_list() == ["1.png", "0.png"]
    assert table["ap"].to_list() == pytest.approx([0, 1])
    (tmp_path / "map.json").write_text('{"17": "cat"}')
    assert main([*call, "--class-map", str(tmp_path / "map.json")]) == 0
    assert pl.read_csv(capsys.readouterr().out.encode()).equals(table)


def test_a_class_map_for_what_has_no_predicted_boxes_is_refused(
    tmp_path: Path, paint: Paint, class_run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = images(tmp_path, paint)
    call = ["slice", str(path), "--predictions", str(tmp_path / "model.csv")]
    for one in (call, ["slice", str(class_run)]):
        assert main([*one, "--class-map", "a=b"]) == 2
        assert "--class-map" in capsys.readouterr().err


def test_classes_in_another_order_are_suspected(
    tmp_path: Path, paint: Paint, capsys: pytest.CaptureFixture[str]
) -> None:
    for k in range(20):
        paint(tmp_path / "in" / ("cat" if k % 2 else "dog") / f"cam{k % 3}_{k}.png", k)
    np.save(tmp_path / "model.npy", np.repeat([1, 0], 10))  # the dataset's are cat, dog
    call = ["slice", str(tmp_path / "in"), "--predictions", str(tmp_path / "model.npy")]
    call += ["--template", "{label}/{camera}_{}.png", "--by", "camera"]
    assert main(call) == 0
    assert "its classes may be in another order" in capsys.readouterr().err
    np.save(tmp_path / "model.npy", np.repeat([0, 1], 10))
    assert main(call) == 0
    assert capsys.readouterr().err == ""
