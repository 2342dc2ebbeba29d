"""Stages and played reviews of boxes: the ends are the two versions, decisions do what they say."""

# ruff: noqa: ARG002 # the fake detectors have the parameters of the protocol

from __future__ import annotations

import json
import warnings
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

import labelfix
from labelfix.cli import main
from labelfix.decisions import DecisionLog, State, new_decision
from labelfix.errors import InputError, LabelfixWarning
from labelfix.evaluate.boxpairing import BoxErrors, Same, pair_boxes
from labelfix.evaluate.boxreview import play_boxes, simulate_boxes
from labelfix.evaluate.stages import measure_stages
from labelfix.inject import BoxNoise, inject_boxes
from labelfix.predict import out_of_fold_boxes
from labelfix.predict.detect.models import DetectResult, found, scenes
from labelfix.predict.models import Inputs
from labelfix.report.measured import stages_section
from labelfix.run.measured import read_measured
from labelfix.schema import Dataset
from labelfix.splits import Split

if TYPE_CHECKING:
    from labelfix.predict.detect.models import DetectJob, Scenes
    from labelfix.progress import Progress

SPLIT = Split((1, 0, 1), duplicates=None)
CLASSES = ("dark", "bright")


@dataclass(frozen=True)
class Median:
    """Sees the median box of training in every image, a little shaken, once a class."""

    name = "median"
    epochs: int = 6

    def prepare(self, dataset: Dataset, *, cache: Path | None, progress: Progress | None) -> Inputs:
        return Inputs(scenes(dataset))

    def fit_predict(self, data: Scenes, job: DetectJob, progress: Progress | None) -> DetectResult:
        rng = np.random.default_rng(job.seed)
        learned = np.isin(data.item, job.train)
        classes = np.unique(data.label[learned])
        boxes = [np.median(data.box[learned & (data.label == k)], axis=0) for k in classes]
        item = np.repeat(job.test, len(classes))
        box = np.tile(np.stack(boxes), (len(job.test), 1)) + rng.normal(0, 1, (len(item), 4))
        label = np.tile(classes, len(job.test))
        score = rng.uniform(0.05, 1, len(item))
        table = found(item, label, score, box, data.class_names)
        losses = 1 / np.arange(1, self.epochs + 1) * rng.uniform(0.9, 1.1, self.epochs)
        return DetectResult(table, losses)


@dataclass(frozen=True)
class Noting(Median):
    """Notes which images each training learns from."""

    learned: list[set[str]] = field(default_factory=list)

    def fit_predict(self, data: Scenes, job: DetectJob, progress: Progress | None) -> DetectResult:
        self.learned.append({Path(data.paths[row]).name for row in job.train})
        return super().fit_predict(data, job, progress)


def dataset_of(boxes: pl.DataFrame, clean: Dataset) -> Dataset:
    return replace(clean, annotations=boxes)


@pytest.fixture(scope="module")
def versions(two_places: Dataset) -> tuple[Dataset, Dataset]:
    """Two kinds of boxes at two places; some of the original ones wrong in every way."""
    clean = two_places
    noise = BoxNoise(drop=0.1, flip=0.15, shift=0.2, spawn=0.1, shift_iou=(0.55, 0.7))
    noisy, _ = inject_boxes(clean.annotations, noise, clean.class_names, clean.items, 0)
    return dataset_of(noisy, clean), clean


PLANTED = 8 + 12 + 16 + 8


# Errors


def test_errors_are_those_that_were_planted(versions: tuple[Dataset, Dataset]) -> None:
    errors = BoxErrors(pair_boxes(*versions), Same())
    assert errors.wrong.sum() == 12 + 16 + 8  # flipped, shifted, spawned
    assert errors.missing.sum() == 8
    assert errors.by_image.sum() == PLANTED
    assert BoxErrors(pair_boxes(versions[1], versions[1]), Same()).by_image.sum() == 0


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 40)), max_size=8), st.randoms())
def test_boxes_are_paired_as_one_would_by_hand(rows: list[tuple[int, int]], random: Any) -> None:
    """Over and over the pair that overlaps most, until none overlaps enough."""
    half = len(rows) // 2
    tables = [
        pl.DataFrame(
            {
                "annotation_id": [str(k) for k in range(len(part))],
                "item_id": [f"i{item}" for item, _ in part],
                "label": ["a"] * len(part),
                "x1": [float(x) + random.random() for _, x in part],
                "crowd": [False] * len(part),
            },
            schema_overrides={
                "annotation_id": pl.String,
                "item_id": pl.String,
                "label": pl.String,
                "x1": pl.Float64,
                "crowd": pl.Boolean,
            },
        ).with_columns(y1=pl.lit(0.0), x2=pl.col("x1") + 20, y2=pl.lit(20.0))
        for part in (rows[:half], rows[half:])
    ]
    items = pl.DataFrame({"item_id": [f"i{k}" for k in range(4)]})
    one, two = (Dataset(items, table, ("a",), "memory") for table in tables)
    pair = pair_boxes(one, two)
    before, after = pair.original.annotations, pair.corrected.annotations
    left = [
        (20 - abs(a["x1"] - b["x1"])) / (20 + abs(a["x1"] - b["x1"]))
        if a["item_id"] == b["item_id"]
        else 0
        for a in before.iter_rows(named=True)
        for b in after.iter_rows(named=True)
    ]
    overlap = np.array(left).reshape(before.height, after.height)
    expected = np.full(before.height, -1)
    while overlap.size and overlap.max() >= 0.5:
        i, j = divmod(int(overlap.argmax()), after.height)
        expected[i] = j
        overlap[i, :] = overlap[:, j] = 0
    assert pair.partners(0.5)[0].tolist() == expected.tolist()


# Stages


def test_the_first_and_the_last_stage_are_the_cells_of_the_gain(
    versions: tuple[Dataset, Dataset],
) -> None:
    noisy, clean = versions
    at = (0, 0.5, 1)
    stages = measure_stages(noisy, clean, at=at, model=Median(), seeds=2, split=SPLIT, draws=30)
    gain = labelfix.measure_gain(noisy, clean, Median(), 2, SPLIT, draws=30)
    cells = {
        (row["trained_on"], row["tested_on"], row["metric"]): row
        for row in gain.cells.iter_rows(named=True)
    }
    corners = {
        (0.0, "stage"): ("original", "original"),
        (0.0, "corrected"): ("original", "corrected"),
        (1.0, "stage"): ("corrected", "corrected"),
        (1.0, "corrected"): ("corrected", "corrected"),
    }
    for (share, tested_on), corner in corners.items():
        for row in stages.curve.filter(share=share, tested_on=tested_on).iter_rows(named=True):
            for name in ("value", "low", "high"):
                assert row[name] == pytest.approx(cells[(*corner, row["metric"])][name])
    whole = gain.effect("gain")
    last = stages.curve.filter(share=1.0, tested_on="stage", metric="ap").row(0, named=True)
    assert last["gain"] == pytest.approx(whole["value"])
    assert last["gain_low"] == pytest.approx(whole["low"])
    assert stages.counts["mended"].to_list()[::2] == [0, PLANTED]
    assert stages.counts["left"].to_list()[::2] == [PLANTED, 0]


def test_an_order_that_knows_the_errors_gets_there_first(
    versions: tuple[Dataset, Dataset],
) -> None:
    noisy, clean = versions
    pair = pair_boxes(noisy, clean)
    worst = pl.Series(BoxErrors(pair, Same()).by_image).arg_sort(descending=True)
    orders = {"oracle": pair.original.items["item_id"].gather(worst)}
    stages = measure_stages(noisy, clean, orders, (0, 0.4), Median(), 1, SPLIT, draws=5)
    left = dict(stages.counts.filter(share=0.4).select("order", "left").iter_rows())
    assert left["oracle"] < left["random"]


def test_stages_go_on_where_they_stopped(versions: tuple[Dataset, Dataset], tmp_path: Path) -> None:
    some: Any = {"model": Median(), "seeds": 1, "split": SPLIT, "draws": 5, "store": tmp_path}
    measure_stages(*versions, at=(0, 0.5), **some)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    stages = measure_stages(*versions, at=(0, 0.5, 1), **some)
    after = {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    assert len(after) == len(before) + 1 == 3
    assert {path: after[path] for path in before} == before
    assert stages.losses["epochs"].to_list() == [6] * 3
    assert stages.fluctuations["fluctuation"].min() > 0  # type: ignore[operator] # there are some


def test_removed_images_go_as_their_stage_comes(versions: tuple[Dataset, Dataset]) -> None:
    noisy, clean = versions
    kept = clean.filter(pl.col("item_id") >= "10.png")
    with pytest.raises(InputError, match=r"no item 00\.png, 01\.png"):
        measure_stages(noisy, kept, model=Median(), split=SPLIT)
    model = Noting()
    stages = measure_stages(
        noisy, kept, at=(0, 1), model=model, seeds=1, split=SPLIT, draws=5, allow_removed=True
    )
    assert stages.counts["left"].to_list()[1] == 0
    removed = {f"{number:02}.png" for number in range(10)}
    before, after = sorted(model.learned, key=len, reverse=True)
    assert before & removed
    assert after == before - removed


def test_stages_without_boxes_are_said(versions: tuple[Dataset, Dataset]) -> None:
    noisy, clean = versions
    some: Any = {"model": Median(), "seeds": 1, "split": SPLIT, "draws": 5}
    empty = dataset_of(noisy.annotations.clear(), clean)
    with pytest.raises(InputError, match="training part, stage of order random, 0 looked at"):
        measure_stages(empty, clean, at=(0, 1), **some)
    with pytest.raises(InputError, match="test part, corrected boxes: found no boxes"):
        measure_stages(noisy, empty, at=(0,), **some)
    part = pl.when(pl.int_range(pl.len()) % 2 == 0).then(pl.lit("train")).otherwise(pl.lit("test"))
    clean = replace(clean, items=clean.items.with_columns(split=part))
    tested = clean.items.filter(split="test")["item_id"].implode()
    bare = dataset_of(clean.annotations.filter(~pl.col("item_id").is_in(tested)), clean)
    some["split"] = Split(given="split", duplicates=None)
    with pytest.warns(LabelfixWarning, match="no boxes in its test images"):
        stages = measure_stages(bare, clean, at=(0, 1), **some)
    ap = stages.curve.filter(metric="ap", share=0.0)
    assert dict(ap.select("tested_on", "value").iter_rows())["stage"] is None
    assert ap.filter(tested_on="corrected")["value"][0] > 0.5


def test_the_model_under_test_is_named_if_it_suggested(versions: tuple[Dataset, Dataset]) -> None:
    with pytest.warns(LabelfixWarning, match="median suggested the corrections") as told:
        measure_stages(*versions, None, (1,), Median(), 1, SPLIT, suggested_by=("median",), draws=2)
    assert {one.filename for one in told} == {__file__}


# A played reviewer


@pytest.fixture(scope="module")
def queue(versions: tuple[Dataset, Dataset]) -> pl.DataFrame:
    noisy, _ = versions
    predictions = out_of_fold_boxes(noisy, Median(), 2, duplicates=None)
    return labelfix.find_issues(noisy, predictions)


def test_who_looks_at_everything_and_never_errs_finds_all_that_is_shown(
    versions: tuple[Dataset, Dataset], queue: pl.DataFrame
) -> None:
    noisy, clean = versions
    played = simulate_boxes(
        noisy, clean, {"ours": queue}, [20, queue.height], 0.0, Median(), 1, SPLIT, draws=5
    )
    ours = played.counts.filter(order="ours")
    assert ours["decisions"].to_list() == [0, 20, queue.height]
    assert ours["left"][0] == PLANTED
    assert ours["left"][2] == 0  # the detector proposes every box that was taken away
    assert ours["spoilt"].sum() == 0
    by_chance = played.counts.filter(order="random")
    assert ours["mended"][1] > 1.5 * by_chance["mended"][1]
    assert by_chance.drop("order").row(2) == ours.drop("order").row(2)
    gain = labelfix.measure_gain(noisy, clean, Median(), 1, SPLIT, draws=5)
    last = played.curve.filter(order="ours", decisions=queue.height, metric="ap")
    corner = gain.cells.filter(metric="ap", trained_on="corrected", tested_on="corrected")
    assert last["value"].to_list() == pytest.approx([corner["value"][0]] * 2)


def test_who_always_errs_mends_nothing_and_follows_the_queue(
    versions: tuple[Dataset, Dataset], queue: pl.DataFrame
) -> None:
    noisy, clean = versions
    played = simulate_boxes(
        noisy, clean, {"ours": queue}, [queue.height], 1.0, Median(), 1, SPLIT, draws=2
    )
    last = played.counts.filter(order="ours").row(1, named=True)
    errors = BoxErrors(pair_boxes(noisy, clean), Same())
    proposals = queue["annotation_id"].null_count()
    assert last["mended"] == 0
    assert last["left"] == PLANTED
    right = int((~errors.wrong).sum())
    assert right <= last["spoilt"] <= right + proposals - int(errors.missing.sum())


def test_reviews_that_follow_other_suggestions_are_trained_apart(
    versions: tuple[Dataset, Dataset], queue: pl.DataFrame, tmp_path: Path
) -> None:
    """Two queues name other classes for the same right boxes."""
    noisy, clean = versions
    same = queue.drop_nulls("annotation_id").with_columns(kind=pl.lit("wrong_class"))
    queues = {name: same.with_columns(suggested_label=pl.lit(name, pl.String)) for name in CLASSES}
    some: Any = {"split": SPLIT, "draws": 2, "store": tmp_path}
    simulate_boxes(noisy, clean, queues, [same.height], 1.0, Median(), 1, **some)
    assert len(list(tmp_path.iterdir())) == 3  # none looked at, all dark, all bright


def test_what_is_found_needs_no_training(
    versions: tuple[Dataset, Dataset], queue: pl.DataFrame
) -> None:
    noisy, clean = versions
    queues = {"ours": queue}
    played = simulate_boxes(noisy, clean, queues, [30], 0.2, Median(), 1, SPLIT, draws=2)
    assert play_boxes(noisy, clean, queues, [30], 0.2).equals(played.counts)
    kept = clean.filter(pl.col("item_id") >= "10.png")
    with pytest.raises(InputError, match=r"no item 00\.png"):
        play_boxes(noisy, kept, queues, [30])
    fewer = play_boxes(noisy, kept, queues, [30], allow_removed=True)
    assert 0 < fewer["left"][0] < PLANTED


def test_what_cannot_be_played_is_said(
    versions: tuple[Dataset, Dataset], queue: pl.DataFrame
) -> None:
    noisy, clean = versions
    foreign = queue.with_columns(annotation_id=pl.lit("nobody"))
    with pytest.raises(InputError, match="no box nobody") as caught:
        simulate_boxes(noisy, clean, {"mine": foreign}, [10**6], 2.0, Median(), split=SPLIT)
    assert len(caught.value.problems) == 3
    with pytest.raises(InputError, match="queue mine: found no rows"):
        play_boxes(noisy, clean, {"mine": queue.clear()}, [0])


# From files to a folder


def write_coco(dataset: Dataset, path: Path) -> Path:
    """Write boxes as a COCO file beside the images."""
    ids = {name: k for k, name in enumerate(dataset.items["item_id"], start=1)}
    content = {
        "images": [
            {"id": k, "file_name": name, "width": 100, "height": 100} for name, k in ids.items()
        ],
        "categories": [{"id": k, "name": name} for k, name in enumerate(CLASSES, start=1)],
        "annotations": [
            {
                "id": k,
                "image_id": ids[row["item_id"]],
                "category_id": CLASSES.index(row["label"]) + 1,
                "bbox": [row["x1"], row["y1"], row["x2"] - row["x1"], row["y2"] - row["y1"]],
                "area": 1.0,
                "iscrowd": 0,
            }
            for k, row in enumerate(dataset.annotations.iter_rows(named=True), start=1)
        ],
    }
    path.write_text(json.dumps(content))
    return path


@pytest.fixture
def files(
    versions: tuple[Dataset, Dataset], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> list[str]:
    """Options of a call on two COCO files, whose detector is the one above."""
    for place in ("labelfix.predict.detect.names", "labelfix.predict.detect"):
        monkeypatch.setattr(f"{place}.resolve", lambda _: Median())
    names = ("noisy", "clean")
    root = versions[0].root
    assert root is not None
    paths = [
        str(write_coco(one, tmp_path / f"{name}.json"))
        for name, one in zip(names, versions, strict=True)
    ]
    shared = ["--images", str(root), "--model", "median", "--seeds", "1", "--draws", "5"]
    split = ["--parts", "1:0:1", "--duplicates", "-1"]
    return ["--original", paths[0], "--corrected", paths[1], *shared, *split]


def test_stages_of_boxes_from_files_to_a_folder(
    files: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert main(["stages", *files, "--at", "0,50,100", "--out", str(out)]) == 0
    shown = capsys.readouterr().out
    assert "loss fluctuates" in shown
    assert "random" in shown
    assert pl.read_csv(out / "counts.csv")["left"].to_list()[::2] == [PLANTED, 0]
    assert pl.read_csv(out / "losses.csv")["fluctuation"].min() > 0  # type: ignore[operator] # numbers
    record = json.loads((out / "stages.json").read_text())
    assert "second half" in record["details"]["losses"]
    assert record["details"]["same"] == {"type": "Same", "pair_iou": 0.5, "right_iou": 0.9}
    assert "fluctuation" in (out / "stages.md").read_text()
    assert "fluctuation of the training loss" in (out / "stages.svg").read_text()
    tables = read_measured(out, "stages").tables
    told = str(stages_section(tables["counts"], tables["curve"], tables["losses"], None, 0.95))
    assert "Looking at 20 images (50%)" in told
    assert "Fluctuation of the training loss" in told


def test_a_played_review_of_boxes_from_files_to_a_folder(
    files: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    call = ["simulate", *files, "--decisions", "15,30", "--error-rate", "0.1", "--out", str(out)]
    assert main([*call, "--format", "csv"]) == 0
    assert pl.read_csv(capsys.readouterr().out.encode())["metric"][0] == "ap"
    counts = pl.read_csv(out / "counts.csv").filter(decisions=30)
    mended = dict(counts.select("order", "mended").iter_rows())
    assert set(mended) == {"labelfix", "objectlab", "random"}
    assert mended["labelfix"] > mended["random"]


def test_a_run_on_boxes_is_cleaned_in_the_orders_of_its_queue_and_of_its_review(
    files: list[str], tmp_path: Path
) -> None:
    from labelfix.run import FindOptions, find

    options = FindOptions(path=files[1], images=files[5], model="median", folds=2, duplicates=None)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", LabelfixWarning)  # of so few boxes
        run = find(options, tmp_path / "run")
    fingerprint = run.info.dataset.fingerprint
    log = DecisionLog(run.path / "decisions.jsonl", fingerprint)
    for row in run.issues.filter(kind="wrong_class").head(6).iter_rows(named=True):
        what = {name: row[name] for name in ("item_id", "annotation_id")}
        state = State(row["suggested_label"])
        log.append(
            new_decision("set_label", reviewer="ann", fingerprint=fingerprint, after=state, **what)
        )
    call = ["stages", str(run.path), "--at", "0,50,100", "--out", str(tmp_path / "out")]
    assert main([*call, *files[6:], "--quiet"]) == 0
    counts = pl.read_csv(tmp_path / "out" / "counts.csv")
    assert counts["order"].unique(maintain_order=True).to_list() == ["queue", "reviewed", "random"]
    half = counts.filter(share=0.5)
    left = dict(half.select("order", "left").iter_rows())
    assert left["reviewed"] == 0 <= left["queue"] <= left["random"]
    record = json.loads((tmp_path / "out" / "stages.json").read_text())
    assert any("median suggested the corrections" in text for text in record["warnings"])
