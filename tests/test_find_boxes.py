"""Boxes, from a detector's predictions to a queue, a run and a page, in Python and on the line."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
import textwrap
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import polars as pl
import pytest
from PIL import Image

from labelfix.cli import main
from labelfix.errors import InputError, LabelfixWarning, RunError
from labelfix.find import assess_boxes, find_issues
from labelfix.report import BoxLayout, Facts, render_boxes
from labelfix.run import FindOptions, RunRecord, find, open_run
from labelfix.run.lock import locked
from labelfix.run.record import encode
from labelfix.schema import BOX, BOX_ISSUES, BOX_KINDS, BoxPredictions, Dataset
from labelfix.score.boxes import BoxParams, FiftyOne, ObjectLab

if TYPE_CHECKING:
    from pathlib import Path

SIDE = 200
CLASSES = ("cat", "dog", "owl")
HOSTILE = "<script>alert(1)</script>\"' onload=x"


def scenes(n: int = 30, seed: int = 0) -> tuple[Dataset, pl.DataFrame, dict[str, str]]:
    """Images of four objects in four corners; what is predicted is right, what is given not all.

    Also gives the planted errors: the kind by annotation_id, or by item_id for a missing box.
    """
    rng = np.random.default_rng(seed)
    corner = np.array([[10, 10], [110, 10], [10, 110], [110, 110]])
    names = [f"images/{'train' if i % 3 else 'val'}/{i} ü.png" for i in range(n)]
    item = np.repeat(np.arange(n), 4)
    low = np.tile(corner, (n, 1)) + rng.uniform(0, 15, (4 * n, 2))
    box = np.hstack([low, low + rng.uniform(40, 70, (4 * n, 2))])
    label = rng.integers(0, 3, 4 * n)
    truth = pl.DataFrame(
        {
            "annotation_id": [str(i) for i in range(4 * n)],
            "item_id": [names[i] for i in item],
            "label": [CLASSES[code] for code in label],
            **{edge: box[:, i] for i, edge in enumerate(BOX)},
            "crowd": [False] * (4 * n),
        }
    )
    predicted = truth.drop("annotation_id", "crowd").with_columns(
        *(pl.col(edge) + pl.Series(rng.normal(0, 1, 4 * n)) for edge in BOX),
        score=pl.Series(rng.uniform(0.3, 0.95, 4 * n)),
    )
    noise = predicted.with_columns(
        label=pl.Series(rng.permutation(predicted["label"])),
        score=pl.Series(rng.uniform(0.01, 0.1, 4 * n)),
    )
    given, planted = _plant(truth)
    items = pl.DataFrame(
        {"item_id": names, "path": names, "width": [SIDE] * n, "height": [SIDE] * n}
    ).with_columns(split=pl.col("item_id").str.extract(r"images/(\w+)/"))
    return Dataset(items, given, CLASSES, "memory"), pl.concat([predicted, noise]), planted


def _plant(truth: pl.DataFrame) -> tuple[pl.DataFrame, dict[str, str]]:
    """Another class for box 0, another place for 5, box 9 dropped, one spawned over nothing."""
    first = pl.col("annotation_id") == "0"
    moved = pl.col("annotation_id") == "5"
    given = truth.with_columns(
        label=pl.when(first).then(pl.lit("owl")).otherwise("label"),
        **{
            edge: pl.when(moved).then(pl.col(edge) + shift).otherwise(edge)
            for edge, shift in zip(BOX, (14, 10, 14, 10), strict=True)
        },
    )
    if truth["label"][0] == "owl":
        given[0, "label"] = "cat"
    dropped = given["item_id"][9]
    spawned = given[16].with_columns(
        annotation_id=pl.lit("new"),
        x1=pl.lit(85.0),
        y1=pl.lit(85.0),
        x2=pl.lit(108.0),
        y2=pl.lit(108.0),
    )
    given = pl.concat([given[:9], given[10:17], spawned, given[17:]])
    return given, {"0": "wrong_class", "5": "bad_location", dropped: "missing", "new": "spurious"}


def named(issues: pl.DataFrame) -> dict[str, str]:
    """Kind of each row by its annotation_id, or by its item_id where a box is missing."""
    keys = pl.coalesce("annotation_id", "item_id")
    return dict(issues.select(keys, "kind").iter_rows())


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write the scenes as COCO and as YOLO, with their images and predictions."""
    root = tmp_path_factory.mktemp("data")
    dataset, predictions, _ = scenes()
    for i, item in enumerate(dataset.items["item_id"]):
        path = root / item
        path.parent.mkdir(parents=True, exist_ok=True)
        noise = np.random.default_rng(i).integers(0, 256, (8, 8, 3), np.uint8)
        Image.fromarray(noise).resize((SIDE, SIDE)).save(path)
    _write_coco(root, dataset, predictions)
    _write_yolo(root, dataset, predictions)
    predictions.write_parquet(root / "predictions.parquet")
    return root


def _write_coco(root: Path, dataset: Dataset, predictions: pl.DataFrame) -> None:
    number = {item: i + 1 for i, item in enumerate(dataset.items["item_id"])}
    category = {name: 10 * (i + 1) for i, name in enumerate(CLASSES)}

    def box(row: dict[str, Any]) -> dict[str, Any]:
        return {
            "image_id": number[row["item_id"]],
            "category_id": category[row["label"]],
            "bbox": [row["x1"], row["y1"], row["x2"] - row["x1"], row["y2"] - row["y1"]],
        }

    document = {
        "images": [
            {"id": i, "file_name": item.removeprefix("images/"), "width": SIDE, "height": SIDE}
            for item, i in number.items()
        ],
        "annotations": [
            {"id": i, "iscrowd": 0, **box(row)}
            for i, row in enumerate(dataset.annotations.iter_rows(named=True))
        ],
        "categories": [{"id": i, "name": name} for name, i in category.items()],
    }
    (root / "coco.json").write_text(json.dumps(document))
    rows = predictions.iter_rows(named=True)
    (root / "results.json").write_text(
        json.dumps([box(row) | {"score": row["score"]} for row in rows])
    )


def _write_yolo(root: Path, dataset: Dataset, predictions: pl.DataFrame) -> None:
    (root / "data.yaml").write_text(
        "train: images/train\nval: images/val\nnames: [cat, dog, owl]\n"
    )
    for part, table in (("labels", dataset.annotations), ("predicted", predictions)):
        for (item,), rows in table.group_by("item_id"):
            file = root / part / str(item).removeprefix("images/").replace(".png", ".txt")
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text("".join(_yolo_row(row) for row in rows.iter_rows(named=True)))


def _yolo_row(row: dict[str, Any]) -> str:
    x1, y1, x2, y2 = (row[edge] / SIDE for edge in BOX)
    numbers = [(x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1]
    numbers += [row["score"]] if "score" in row else []
    return " ".join([str(CLASSES.index(row["label"])), *(f"{one:.9f}" for one in numbers)]) + "\n"


# ---------------------------------------------------------------- in Python


def test_planted_errors_come_first_with_their_kind() -> None:
    dataset, predictions, planted = scenes()
    issues = find_issues(dataset, BoxPredictions(predictions, CLASSES))
    assert dict(issues.schema) == {name: kind() for name, kind in BOX_ISSUES.items()}
    found = named(issues.head(len(planted)))
    assert found == planted
    assert 1 <= issues["flagged"].sum() <= 2 * len(planted)
    assert issues["flagged"].is_sorted(descending=True)


def test_a_table_does_as_well_as_box_predictions() -> None:
    dataset, predictions, _ = scenes()
    by_table = find_issues(dataset, predictions)
    assert by_table.equals(find_issues(dataset, BoxPredictions(predictions, CLASSES)))


def test_one_kind_alone_has_its_own_ranking() -> None:
    dataset, predictions, _ = scenes()
    for kind in ("wrong_class", "bad_location", "missing", "spurious"):
        issues = find_issues(dataset, predictions, kinds=[kind])
        assert set(issues["kind"]) == {kind}
        top = pl.coalesce("annotation_id", "item_id")
        assert issues.select(top).item(0, 0) in {k for k, v in scenes()[2].items() if v == kind}


@pytest.mark.parametrize("peer", ["objectlab", "fiftyone"])
def test_peers_scores_make_a_queue_of_the_kinds_they_know(peer: str) -> None:
    dataset, predictions, planted = scenes()
    high = pl.col("score") > 0.1  # ObjectLab wants .95
    sure = predictions.with_columns(score=pl.when(high).then(0.96).otherwise("score"))
    issues = find_issues(dataset, sure, score=peer)
    assert dict(issues.schema) == {name: kind() for name, kind in BOX_ISSUES.items()}
    assert issues["quality"].is_between(0, 1).all()
    assert issues["quality"].is_sorted()
    known = {"missing", "wrong_class", "bad_location"} | (
        {"spurious"} if peer == "fiftyone" else set()
    )
    assert set(issues["kind"]) <= known
    kinds = named(issues.filter("flagged"))
    assert kinds["0"] == planted["0"] == "wrong_class"
    given = issues.filter(pl.col("annotation_id").is_not_null())
    assert given["annotation_id"].is_unique().all()
    assert given.height <= dataset.annotations.height
    wrong = issues.filter(annotation_id="0").to_dicts()[0]
    assert wrong["suggested_label"] != wrong["given_label"]
    assert [wrong[f"suggested_{edge}"] for edge in BOX] == [wrong[f"given_{edge}"] for edge in BOX]


def test_peers_queues_hold_their_scores() -> None:
    from labelfix.score.boxes import fiftyone_scores, match_boxes, objectlab_scores

    dataset, predictions, _ = scenes()
    match = match_boxes(dataset.annotations, predictions, CLASSES, dataset.items)
    rows = dataset.annotations.with_row_index("row").select("annotation_id", "row")

    lab = find_issues(dataset, predictions, score=ObjectLab(), kinds=["wrong_class"])
    joined = lab.join(rows, on="annotation_id")
    assert np.array_equal(joined["quality"], objectlab_scores(match).swap[joined["row"]])

    one = find_issues(dataset, predictions, score=FiftyOne(), kinds=["missing"])
    unmatched = fiftyone_scores(match).missing
    assert np.allclose(one["quality"], np.sort(1 - unmatched[~np.isnan(unmatched)]))


def test_a_tool_is_not_asked_for_kinds_that_it_does_not_know() -> None:
    dataset, predictions, _ = scenes()
    with pytest.raises(InputError, match="of objectlab: wrong_class, bad_location, missing"):
        find_issues(dataset, predictions, score="objectlab", kinds=["group"])


def test_a_peer_matches_at_the_overlap_that_it_is_given() -> None:
    dataset, predictions, _ = scenes()
    strict, loose = (
        find_issues(dataset, predictions, score=FiftyOne(iou=iou), kinds=["spurious"])
        for iou in (0.97, 0.001)
    )
    assert strict.height > 20
    assert loose.height < 2


def test_crowd_regions_are_in_no_queue() -> None:
    dataset, predictions, _ = scenes()
    crowd = dataset.annotations.with_columns(crowd=pl.col("annotation_id") == "3")
    data = Dataset(dataset.items, crowd, CLASSES, "memory")
    for score in ("default", "objectlab", "fiftyone"):
        assert "3" not in set(find_issues(data, predictions, score=score)["annotation_id"])


def test_parameters_decide() -> None:
    dataset, predictions, _ = scenes()
    bold, shy = (
        find_issues(dataset, predictions, score=BoxParams(flag_above=limit))
        for limit in (0.001, 0.9)
    )
    assert bold["flagged"].sum() > shy["flagged"].sum()


def test_the_summary_adds_up() -> None:
    dataset, predictions, _ = scenes()
    found = assess_boxes(dataset, predictions)
    flagged, summary = found.issues.filter("flagged"), found.summary
    assert summary.kinds["kind"].to_list() == list(BOX_KINDS)
    assert summary.kinds["flagged"].sum() == summary.classes["flagged"].sum() == flagged.height
    assert summary.kinds["listed"].sum() == summary.images["boxes"].sum() == found.issues.height
    assert (
        summary.classes.select(BOX_KINDS)
        .sum_horizontal()
        .equals(summary.classes["flagged"], null_equal=True)
    )
    assert summary.classes["given"].sum() == dataset.annotations.height
    assert summary.images["quality"].is_sorted()
    assert summary.images.height == len(dataset)
    assert 0.9 < summary.found < 1


@pytest.mark.parametrize(
    "options",
    [
        {"score": "nosuch"},
        {"score": "head_to_head"},
        {"select": "other_likelier"},
        {"engine": "cleanlab"},
        {"kinds": ["mislabeled"]},
    ],
)
def test_choices_that_boxes_do_not_have_are_refused(options: dict[str, Any]) -> None:
    dataset, predictions, _ = scenes(5)
    with pytest.raises(InputError):
        find_issues(dataset, predictions, **options)
    with pytest.raises(InputError, match="kinds"):
        find_issues([0, 1], [[0.9, 0.1], [0.2, 0.8]], kinds=["missing"])


def test_what_predictions_hide_is_warned_of() -> None:
    dataset, predictions, _ = scenes()
    with pytest.warns(LabelfixWarning, match="confidence below 0.3"):
        find_issues(dataset, predictions.filter(pl.col("score") > 0.3))
    one = dataset.items["item_id"][4]
    with pytest.warns(LabelfixWarning, match="no prediction for 1 of 30 images"):
        find_issues(dataset, predictions.filter(pl.col("item_id") != one))


def test_a_split_that_nobody_predicted_is_left_out() -> None:
    dataset, predictions, _ = scenes()
    only = predictions.filter(pl.col("item_id").str.contains("/train/"))
    with pytest.warns(LabelfixWarning, match="split val: 10 images left out"):
        found = assess_boxes(dataset, only)
    assert not found.issues["item_id"].str.contains("/val/").any()
    assert found.summary.images.height == 20


def test_no_predictions_and_no_boxes_are_legal() -> None:
    dataset, predictions, _ = scenes(5)
    with pytest.warns(LabelfixWarning):
        assert find_issues(dataset, predictions.head(0)).height == dataset.annotations.height
    empty = Dataset(dataset.items, dataset.annotations.head(0), CLASSES, "memory")
    with pytest.warns(LabelfixWarning):
        assert set(find_issues(empty, predictions)["kind"]) <= {"missing"}


# ---------------------------------------------------------------- a run


@pytest.mark.parametrize(
    ("data", "predictions"),
    [
        ("coco.json", "results.json"),
        ("data.yaml", "predicted"),
        ("data.yaml", "predictions.parquet"),
    ],
)
def test_a_run_from_files_finds_what_was_planted(
    folder: Path, tmp_path: Path, data: str, predictions: str
) -> None:
    options = FindOptions(path=str(folder / data), predictions=str(folder / predictions))
    run = find(options, tmp_path / "run")
    again = open_run(tmp_path / "run")
    assert again.info == run.info
    assert again.issues.equals(run.issues)
    kinds = again.issues.head(4)["kind"].to_list()
    assert sorted(kinds) == ["bad_location", "missing", "spurious", "wrong_class"]
    assert {path.name for path in (tmp_path / "run").iterdir()} >= {
        "run.json",
        "issues.parquet",
        "predictions.parquet",
        "report.html",
    }
    assert not (tmp_path / "run/predictions.npy").exists()
    assert again.predictions.height == 240
    assert again.folds is None


def test_the_record_has_every_parameter(folder: Path, tmp_path: Path) -> None:
    options = FindOptions(path=str(folder / "coco.json"), predictions=str(folder / "results.json"))
    info = find(options, tmp_path / "run").info
    assert info.dataset.boxes
    score = info.strategies["score"]
    assert score.name == "error_probability"
    assert score.parameters.keys() == set(BoxParams.__dataclass_fields__) - {"name"}
    assert set(info.strategies["calibration"].parameters["weights"]) >= {"missing", "spurious"}
    assert info.findings.errors_at_least is None
    assert sum(info.findings.flagged_by_kind.values()) == info.findings.flagged > 0
    assert msgspec.json.decode(encode(info), type=RunRecord).strategies == info.strategies


def test_class_labels_have_their_strategies_in_the_record(tmp_path: Path) -> None:
    np.save(tmp_path / "y.npy", np.array([0, 1, 0, 1]))
    np.save(tmp_path / "p.npy", np.tile(np.array([[0.9, 0.1], [0.2, 0.8]], np.float32), (2, 1)))
    options = FindOptions(labels=str(tmp_path / "y.npy"), pred_probs=(str(tmp_path / "p.npy"),))
    strategies = find(options, tmp_path / "run").info.strategies
    assert strategies["score"].name == "head_to_head"
    assert strategies["select"].name == "other_likelier"
    assert strategies["select"].parameters["ratio"] == 1.5
    assert "pool" in strategies["weighing"].parameters
    chosen = msgspec.structs.replace(options, score="self_confidence", select="both")
    strategies = find(chosen, tmp_path / "run").info.strategies
    assert strategies["score"].name == "self_confidence"
    assert strategies["score"].parameters == {"adjust": False}
    assert strategies["select"].name == "both"


BAD: dict[str, dict[str, Any]] = {
    "nothing to judge by": {"predictions": None},
    "two things to judge by": {"model": "yolo11n.yaml"},
    "no such score": {"score": "nosuch"},
    "no such rule": {"select": "both"},
    "no such kind": {"kinds": ("nosuch",)},
    "cleanlab": {"engine": "cleanlab"},
    "no such predictions": {"predictions": "nowhere.json"},
    "no such class": {"class_map": ("cat=tiger",)},
}


@pytest.mark.parametrize("what", BAD)
def test_bad_options_leave_no_trace(folder: Path, tmp_path: Path, what: str) -> None:
    options: dict[str, Any] = {"path": str(folder / "coco.json")}
    options["predictions"] = str(folder / "results.json")
    with pytest.raises(InputError):
        find(FindOptions(**options | BAD[what]), tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "option",
    [
        {"predictions": "p.json"},
        {"class_map": ("a=b",)},
        {"kinds": ("missing",)},
        {"train": False},
    ],
    ids=lambda option: next(iter(option)),
)
def test_options_for_boxes_are_refused_for_class_labels(
    tmp_path: Path, option: dict[str, Any]
) -> None:
    (tmp_path / "table.csv").write_text("x,label\n" + "1,a\n2,b\n" * 20)
    options = FindOptions(path=str(tmp_path / "table.csv"), model="logistic", **option)
    with pytest.raises(InputError, match="boxes"):
        find(options, tmp_path / "run")


def test_a_detector_is_trained_where_no_predictions_are_given(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, table, _ = scenes()

    def train(dataset: Dataset, model: str, folds: int, *_: object, **more: Any) -> BoxPredictions:
        fold = dataset.items.select("item_id", fold=pl.lit(0, pl.Int32))
        details = {"folds": folds, **{name: more[name] for name in ("no_train", "class_map")}}
        return BoxPredictions(table, dataset.class_names, fold, model, details)

    monkeypatch.setattr("labelfix.predict.out_of_fold_boxes", train)
    options = FindOptions(path=str(folder / "data.yaml"), model="yolo11n.yaml", folds=3)
    run = find(options, tmp_path / "run")
    assert run.info.models[0].name == "yolo11n.yaml"
    assert run.info.models[0].details["folds"] == 3
    assert not run.info.models[0].details["no_train"]
    assert open_run(run.path).folds is not None
    options = FindOptions(path=options.path, model="a.pt", train=False, class_map=("kitty=cat",))
    details = find(options, tmp_path / "run").info.models[0].details
    assert details["no_train"]
    assert details["class_map"] == {"kitty": "cat"}


def test_images_are_listed_by_all_that_is_in_them(folder: Path, tmp_path: Path) -> None:
    options = FindOptions(path=str(folder / "coco.json"), predictions=str(folder / "results.json"))
    run = find(options, tmp_path / "run")
    images = run.images()
    assert images["quality"].is_sorted()
    assert images["boxes"].sum() == run.issues.height
    worst = run.issues.filter(item_id=images["item_id"][0])
    assert images["quality"][0] == pytest.approx(worst["quality"].product())


# ---------------------------------------------------------------- one writer at a time


def test_two_finds_do_not_write_to_one_directory(folder: Path, tmp_path: Path) -> None:
    options = FindOptions(path=str(folder / "coco.json"), predictions=str(folder / "results.json"))
    out = tmp_path / "run"
    out.mkdir()
    with locked(out), pytest.raises(RunError, match=rf"process {os.getpid()}\) is writing"):
        find(options, out)
    find(options, out)
    assert not (out / ".lock").exists()


def test_what_a_dead_process_leaves_is_no_obstacle(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    out.mkdir()
    code = """
        import os, sys
        from pathlib import Path
        from labelfix.run.lock import locked
        with locked(Path(sys.argv[1])):
            print("locked", flush=True)
            sys.stdin.read()
    """
    holder = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code), str(out)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert holder.stdout is not None
    assert holder.stdin is not None
    assert holder.stdout.readline() == "locked\n"
    options = FindOptions(path=str(folder / "coco.json"), predictions=str(folder / "results.json"))
    with pytest.raises(RunError, match=f"process {holder.pid}"):
        find(options, out)
    holder.kill()
    holder.wait(timeout=30)
    holder.stdin.close()
    holder.stdout.close()
    assert (out / ".lock").exists()
    assert find(options, out).issues.height
    assert not (out / ".lock").exists()


def test_no_two_processes_ever_hold_the_lock(tmp_path: Path) -> None:
    # whoever holds it counts beside it, forty times each: with two at once a count would be lost
    code = """
        import sys, time
        from pathlib import Path
        from labelfix.errors import RunError
        from labelfix.run.lock import locked
        folder, left = Path(sys.argv[1]), 40
        counter, until = folder / "counter", time.monotonic() + 60
        while left and time.monotonic() < until:
            try:
                with locked(folder):
                    counter.write_text(str(int(counter.read_text()) + 1))
                left -= 1
            except RunError:
                pass
    """
    (tmp_path / "counter").write_text("0")
    command = [sys.executable, "-c", textwrap.dedent(code), str(tmp_path)]
    with contextlib.ExitStack() as stack:
        holders = [stack.enter_context(subprocess.Popen(command)) for _ in range(3)]
        for holder in holders:
            stack.callback(holder.kill)
        assert [holder.wait(timeout=90) for holder in holders] == [0, 0, 0]
    assert (tmp_path / "counter").read_text() == "120"


# ---------------------------------------------------------------- on the line


def test_find_and_show_on_the_command_line(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = str(tmp_path / "run")
    done = main(
        ["find", str(folder / "data.yaml"), "--predictions", str(folder / "predicted"), "-o", out]
    )
    text = capsys.readouterr().out
    assert done == 0
    assert "3 classes with 120 boxes" in text
    assert "of the given boxes" in text
    assert "wrong_class" in text
    assert main(["show", out, "--kind", "missing", "--top", "1"]) == 0
    assert re.search(r"\d+,\d+ \d+,\d+", capsys.readouterr().out)
    assert main(["show", out, "--kind", "missing", "--format", "json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert {row["kind"] for row in rows} == {"missing"}
    assert all(row["given_x1"] is None and row["suggested_x1"] is not None for row in rows)
    assert main(["show", out, "--class", "cat", "--format", "csv"]) == 0
    table = pl.read_csv(capsys.readouterr().out.encode())
    assert set(
        pl.select(pl.coalesce(table["given_label"], table["suggested_label"])).to_series()
    ) == {"cat"}
    assert main(["show", out, "--by-image", "--top", "3", "--format", "jsonl"]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [set(line) for line in lines] == [{"item_id", "quality", "boxes", "flagged"}] * 3
    assert main(["show", out, "--by-image", "--top", "3"]) == 0
    assert main(["show", out, "--kind", "mislabeled"]) == 2


def test_a_class_map_on_the_command_line(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = tmp_path / "other.parquet"
    pl.read_parquet(folder / "predictions.parquet").with_columns(
        pl.col("label").replace({"cat": "felis", "owl": "bubo"})
    ).write_parquet(other)
    call = [
        "find",
        str(folder / "coco.json"),
        "--predictions",
        str(other),
        "-o",
        str(tmp_path / "r"),
    ]
    assert main(call) == 2
    told = capsys.readouterr().err
    assert "felis" in told
    assert "bubo" in told
    assert main([*call, "--class-map", "felis=cat", "--class-map", "bubo=owl", "--quiet"]) == 0
    assert open_run(tmp_path / "r").info.options.class_map == ("felis=cat", "bubo=owl")


def test_every_odd_box_is_in_the_record(folder: Path, tmp_path: Path) -> None:
    document = json.loads((folder / "coco.json").read_text())
    for box in document["annotations"][:7]:
        box["bbox"][0] += SIDE
    document["annotations"][7]["bbox"][2] = float("nan")
    (tmp_path / "coco.json").write_text(json.dumps(document))
    options = FindOptions(
        path=str(tmp_path / "coco.json"),
        images=str(folder / "images"),
        predictions=str(folder / "predictions.parquet"),
    )
    with pytest.warns(LabelfixWarning, match="7 outside the image .* and 2 more"):
        run = find(options, tmp_path / "run")
    owners = dict(run.annotations.select("annotation_id", "item_id").iter_rows())
    ids = {kind: list(boxes) for kind, boxes in run.info.dataset.odd_boxes.items()}
    assert ids == {
        "outside the image": [str(i) for i in range(7)],
        "no finite numbers": ["7"],
    }
    assert all(
        owners[box] == item
        for boxes in run.info.dataset.odd_boxes.values()
        for box, item in boxes.items()
    )


def test_warnings_come_up_before_the_error_that_they_may_explain(
    folder: Path, tmp_path: Path
) -> None:
    shutil.copy(folder / "coco.json", tmp_path)  # and no images
    options = FindOptions(
        path=str(tmp_path / "coco.json"), predictions=str(folder / "no such file.parquet")
    )
    with (
        pytest.warns(LabelfixWarning, match="without pictures"),
        pytest.raises(InputError, match="no such file"),
    ):
        find(options, tmp_path / "run")


def test_a_detector_does_not_see_images_that_are_skipped(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One image is cut short, which its end shows; one is damaged inside, which decoding shows."""
    from labelfix.run import boxes

    data = shutil.copytree(folder, tmp_path / "data")
    short, damaged = sorted(data.glob("images/*/*.png"))[:2]
    short.write_bytes(short.read_bytes()[:200])
    whole = damaged.read_bytes()
    damaged.write_bytes(whole[:100] + bytes(100) + whole[200:])
    names = [path.relative_to(data).as_posix() for path in (short, damaged)]
    table = pl.read_parquet(folder / "predictions.parquet")
    seen: list[Dataset] = []

    def predict(dataset: Dataset, *_: Any) -> BoxPredictions:
        seen.append(dataset)
        return BoxPredictions(table.filter(~pl.col("item_id").is_in(names)), CLASSES)

    monkeypatch.setattr(boxes, "predict", predict)
    options = FindOptions(path=str(data / "data.yaml"), model="yolo11n.yaml", skip_bad=True)
    run = find(options, tmp_path / "run")
    assert not set(names) & set(seen[0].items["item_id"])
    assert [problem.where for problem in run.info.dataset.skipped] == names
    shutil.copy(folder / names[0], short)
    with pytest.raises(InputError) as caught:
        find(msgspec.structs.replace(options, skip_bad=False), tmp_path / "other")
    assert [problem.where for problem in caught.value.problems] == names[1:]
    assert not (tmp_path / "other").exists()


# ---------------------------------------------------------------- the page


def page(dataset: Dataset, predictions: pl.DataFrame, layout: BoxLayout | None = None) -> str:
    found = assess_boxes(dataset, predictions)
    facts = Facts("t", "m", "n")
    kinds, classes = found.summary.kinds, found.summary.classes
    return render_boxes(dataset, found.issues, kinds, classes, facts, layout or BoxLayout())


def with_images(folder: Path) -> tuple[Dataset, pl.DataFrame]:
    dataset, predictions, _ = scenes()
    return Dataset(dataset.items, dataset.annotations, CLASSES, "memory", folder), predictions


def test_the_page_shows_crops_with_both_boxes_and_loads_nothing(folder: Path) -> None:
    html = page(*with_images(folder))
    assert html.count('class="box better-box"') > 3  # the key, and what is suggested
    assert html.count('class="box given-box"') > 30
    assert not re.findall(r"""(?:src|href)\s*=\s*["'](?!data:)""", html)
    assert "<script" not in html
    dashed = re.search(r"\.better-box \{[^}]*stroke-dasharray", html)
    assert dashed, "boxes are told apart without colours"
    assert "stroke-dasharray" not in re.findall(r"\.given-box \{[^}]*\}", html)[0]
    for kind in BOX_KINDS:
        assert kind.replace("_", " ") in html


def test_crops_show_the_boxes_where_they_are(folder: Path) -> None:
    """The crop of a missing box is that part of the image, and the box is drawn in its middle."""
    from labelfix.report.boxes import _with_crops

    dataset, predictions = with_images(folder)
    issues = find_issues(dataset, predictions, kinds=["missing"]).head(1)
    layout = BoxLayout(context=0.1, least_context_px=5)
    crop = _with_crops(dataset, issues, layout)[0]["crop"]
    row = issues.to_dicts()[0]
    assert crop["given"] is None
    x, y, width, height = crop["suggested"]
    assert width == pytest.approx(row["suggested_x2"] - row["suggested_x1"])
    assert 5 <= x <= 5 + 0.1 * 80
    assert x + width < crop["width"]
    assert y + height < crop["height"]


def test_crops_show_what_was_predicted_where_only_the_class_is_in_doubt(folder: Path) -> None:
    """Of the suggested class, not whatever overlaps most; and nothing where nothing is near."""
    from labelfix.report.boxes import _with_crops, _with_predicted

    dataset, predictions = with_images(folder)
    issues = find_issues(dataset, predictions, kinds=["wrong_class"]).head(1)
    row = issues.to_dicts()[0]
    edges = np.array([row[f"given_{edge}"] for edge in BOX])
    near = dict(zip(BOX, (edges + np.array([2, 0, 2, 0])).tolist(), strict=True))
    exact = dict(zip(BOX, edges.tolist(), strict=True))
    others = {"item_id": row["item_id"], "label": row["given_label"], "score": 1.0, **exact}
    right = {"item_id": row["item_id"], "label": row["suggested_label"], "score": 0.9, **near}
    said = pl.DataFrame([others, right])
    crop = _with_crops(dataset, _with_predicted(issues, said, 0.1), BoxLayout())[0]["crop"]
    moved = np.array(crop["predicted"]) - np.array(crop["given"])
    np.testing.assert_allclose(moved, [2, 0, 0, 0], atol=1e-9)
    far = pl.DataFrame([right | {"x1": 0.0, "x2": 1.0, "y1": 0.0, "y2": 1.0}])
    assert (
        _with_crops(dataset, _with_predicted(issues, far, 0.1), BoxLayout())[0]["crop"]["predicted"]
        is None
    )
    found = assess_boxes(dataset, predictions)
    parts = (found.issues, found.summary.kinds, found.summary.classes, Facts("t", "m", "n"))
    assert (
        "predicted-box"
        in render_boxes(dataset, *parts, predictions=predictions).split("</style>")[1]
    )
    assert "predicted-box" not in render_boxes(dataset, *parts).split("</style>")[1]


def test_images_that_went_away_are_named_and_no_obstacle(folder: Path, tmp_path: Path) -> None:
    dataset, predictions = with_images(folder)
    gone = Dataset(dataset.items, dataset.annotations, CLASSES, "memory", tmp_path)
    with pytest.warns(LabelfixWarning, match=r"cannot show \d+ images: .*no such file"):
        html = page(gone, predictions)
    assert "data:image" not in html
    assert "wrong class" in html
    few = page(dataset, predictions, BoxLayout(image_bytes=3000))
    assert 1 <= few.count("data:image") < 5
    assert "no picture here" in few


def test_hostile_names_are_shown_and_never_obeyed_on_the_page_of_boxes() -> None:
    dataset, predictions, _ = scenes()
    names = (HOSTILE, "dog", "owl")
    swap = pl.col("label").replace({"cat": HOSTILE})
    data = Dataset(
        dataset.items.drop("path"), dataset.annotations.with_columns(swap), names, "memory"
    )
    html = page(data, predictions.with_columns(swap))
    assert "<script" not in html
    assert "&lt;script&gt;" in html


def test_odd_boxes_do_not_break_the_page(folder: Path) -> None:
    dataset, predictions = with_images(folder)
    odd = dataset.annotations.with_columns(
        x1=pl.when(pl.col("annotation_id") == "2").then(pl.lit(float("nan"))).otherwise("x1"),
        x2=pl.when(pl.col("annotation_id") == "3").then(pl.lit(-50.0)).otherwise("x2"),
        y2=pl.when(pl.col("annotation_id") == "6").then(pl.lit(9999.0)).otherwise("y2"),
    )
    data = Dataset(dataset.items, odd, CLASSES, "memory", folder)
    assert "data:image" in page(data, predictions, BoxLayout(issues=500, image_bytes=10**8))


def test_a_row_is_named_after_a_kind_that_something_speaks_of() -> None:
    """A speck that no prediction is near is no group, whatever its odds: it is spurious."""
    dataset, predictions, _ = scenes()
    speck = dataset.annotations[20].with_columns(
        annotation_id=pl.lit("speck"), x1=100.0, y1=100.0, x2=101.0, y2=101.0
    )
    given = pl.concat([dataset.annotations, speck])
    data = Dataset(dataset.items, given, CLASSES, "memory")
    issues = find_issues(data, predictions)
    assert issues.filter(annotation_id="speck")["kind"].to_list() == ["spurious"]
    silent = ("no prediction speaks of a group", "no other class is predicted there")
    assert not issues["evidence"].is_in(silent).any()
