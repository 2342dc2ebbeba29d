"""Models and image sizes: the cells are those of single gains, times are taken, bad pairs told."""

# ruff: noqa: ARG002 # the fake detector has the parameters of the protocol

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
import pytest
from PIL import Image

import labelfix
from labelfix.cli import main
from labelfix.errors import InputError
from labelfix.evaluate.sizes import LEAD, Sizes, measure_sizes, model_at, models_named
from labelfix.predict.detect.models import DetectResult, found, scenes
from labelfix.predict.models import Inputs
from labelfix.predict.timing import WARM_UP, seconds_each
from labelfix.report.plots import size_chart
from labelfix.report.sizes import size_findings, size_page
from labelfix.run.measured import read_measured
from labelfix.schema import BOX, Dataset
from labelfix.splits import Split

if TYPE_CHECKING:
    from pathlib import Path

    from labelfix.predict.detect.models import DetectJob, Scenes
    from labelfix.progress import Progress

SPLIT = Split((1, 0, 1), duplicates=None)


@dataclass(frozen=True)
class Sight:
    """Size of the images."""

    image_size: int = 64


@dataclass(frozen=True)
class Median:
    """Sees the median box of training, more shaken in small images, which take less time."""

    slow: float = 1.0
    training: Sight = field(default_factory=Sight)

    @property
    def name(self) -> str:
        return f"median-{self.slow:g}"

    def prepare(self, dataset: Dataset, *, cache: Path | None, progress: Progress | None) -> Inputs:
        return Inputs(scenes(dataset))

    def fit_predict(self, data: Scenes, job: DetectJob, progress: Progress | None) -> DetectResult:
        rng = np.random.default_rng(job.seed)
        box = np.median(data.box[np.isin(data.item, job.train)], axis=0)
        shaken = box + rng.normal(0, 64 / self.training.image_size, (len(job.test), 4))
        label = np.zeros(len(job.test), np.int64)
        boxes = found(job.test, label, rng.random(len(job.test)), shaken, data.class_names)
        seconds = np.full(job.timed, self.slow * self.training.image_size / 1000)
        return DetectResult(boxes, seconds=seconds if job.timed else None)


class Timeless(Median):
    """Does not say how long it takes."""

    def fit_predict(self, data: Scenes, job: DetectJob, progress: Progress | None) -> DetectResult:
        return replace(super().fit_predict(data, job, progress), seconds=None)


@pytest.fixture(scope="module")
def versions(tmp_path_factory: pytest.TempPathFactory) -> tuple[Dataset, Dataset]:
    """One box at one place, drawn too far right in most original images."""
    root = tmp_path_factory.mktemp("boxes")
    rng = np.random.default_rng(0)
    names = [f"{row:02d}.png" for row in range(16)]
    for name in names:
        Image.fromarray(rng.integers(0, 255, (64, 64, 3), np.uint8)).save(root / name)
    items = pl.DataFrame({"item_id": names, "path": names, "width": 64, "height": 64})
    box = np.array([[10.0, 10, 40, 40]]) + rng.normal(0, 1, (16, 4))
    rows = {"annotation_id": names, "item_id": names, "label": ["thing"] * 16}
    edges = {edge: box[:, i] for i, edge in enumerate(BOX)}
    table = pl.DataFrame({**rows, **edges, "crowd": [False] * 16})
    clean = Dataset(items, table, ("thing",), "memory", root)
    shift = np.where(rng.random(16) < 0.75, 8.0, 0.0)
    moved = table.with_columns(x1=pl.col("x1") + shift, x2=pl.col("x2") + shift)
    return replace(clean, annotations=moved), clean


@pytest.fixture(scope="module")
def sizes(versions: tuple[Dataset, Dataset]) -> Sizes:
    models = [Median(), Median(slow=3.0)]
    return measure_sizes(*versions, models, [32, 64], 2, split=SPLIT, draws=20, timed=5)


def test_cells_and_effects_are_those_of_single_gains(
    versions: tuple[Dataset, Dataset], sizes: Sizes
) -> None:
    model = Median(training=Sight(32))
    gain = labelfix.measure_gain(*versions, model, 2, SPLIT, draws=20)
    for name, table in (("cells", gain.cells), ("effects", gain.effects)):
        mine = getattr(sizes, name).filter(model="median-1", size=32)
        if name == "effects":
            mine = mine.filter(pl.col("effect") != LEAD)
        assert mine.drop("model", "size").equals(table)
    assert gain.times is None


def test_times_are_medians_of_each_model_size_and_version(sizes: Sizes) -> None:
    assert sizes.times["images"].to_list() == [5] * 8
    assert sizes.times["ms"].to_list() == pytest.approx([32, 32, 64, 64, 96, 96, 192, 192])


def marks_of(rows: list[tuple[str, int | None, float, float, float]]) -> pl.DataFrame:
    """Model, size, original and corrected metric, milliseconds."""
    best = max(row[2] for row in rows)
    table = [
        {"model": model, "size": size, "metric": "ap"}
        | {"change": after - before, "change_low": after - before - 0.02, "change_high": 0.9}
        | {"original": before, "original_low": before - 0.1, "original_high": before + 0.1}
        | {"corrected": after, "corrected_low": after - 0.1, "corrected_high": after + 0.1}
        | {"lead": after - best, "lead_low": after - best - 0.06, "lead_high": after - best + 0.06}
        | {"ms": ms}
        for model, size, before, after, ms in rows
    ]
    return pl.DataFrame(table, schema_overrides={"size": pl.Int64})


ENDS = ("", "_low", "_high")
DETAILS = {"seeds": 2, "level": 0.95, "tested": 8, "timed": 5, "processor": "x86, Linux"}


def test_the_fastest_model_that_is_as_good_is_named() -> None:
    marks = marks_of(
        [("n", 160, 0.5, 0.6, 10), ("n", 320, 0.6, 0.75, 30), ("s", 320, 0.7, 0.78, 90)]
    )
    first, second, third, how = size_findings(marks, DETAILS)
    assert "s at 320 px is best: AP (COCO) 70.0%" in first
    assert "n at 320 px reaches that: 75.0%, 30.0 ms an image, 3.0 times as fast" in second
    assert "Paired, that is +5.0 (-1.0 to +11.0) points, within noise." in second
    assert "for 3 of 3 models and sizes" in third
    assert "one thread (x86, Linux)" in how
    none = size_findings(marks_of([("n", None, 0.5, 0.4, 10)]), DETAILS)
    assert "none reaches that; n comes nearest, with 40.0%" in none[1]
    assert "-10.0 (-16.0 to -4.0) points, beyond noise" in none[1]
    assert "0 of 1 model and size" in none[2]
    of_before = marks.with_columns(pl.lit(None, pl.Float64).alias(f"lead{end}") for end in ENDS)
    assert "Paired" not in " ".join(size_findings(of_before, DETAILS))


def test_the_lead_is_paired_with_the_best_on_original_labels(
    versions: tuple[Dataset, Dataset], sizes: Sizes
) -> None:
    marks = sizes.marks()
    best = marks["original"].max()
    assert (marks["lead"] - (marks["corrected"] - best)).abs().max() < 1e-12  # type: ignore[operator] # floats
    own = marks.filter(original=best).row(0, named=True)  # of the best one it is its own change
    assert [own[f"lead{end}"] for end in ENDS] == [own[f"change{end}"] for end in ENDS]
    assert ((marks["lead_low"] <= marks["lead"]) & (marks["lead"] <= marks["lead_high"])).all()


def test_copies_are_looked_for_once(
    versions: tuple[Dataset, Dataset], monkeypatch: pytest.MonkeyPatch
) -> None:
    looked: list[Dataset] = []
    units = Split.units

    def looking(split: Split, dataset: Dataset, progress: Progress | None) -> Any:
        looked.append(dataset)
        return units(split, dataset, progress)

    monkeypatch.setattr(Split, "units", looking)
    measure_sizes(*versions, [Median(), Median(slow=2.0)], [32, 64], 1, split=SPLIT, draws=2)
    assert len(looked) == 1


def test_the_page_and_the_picture_show_every_mark(sizes: Sizes) -> None:
    marks = sizes.marks()
    assert marks["ms"].to_list() == pytest.approx([32, 64, 96, 192])
    assert (marks["change"] - (marks["corrected"] - marks["original"])).abs().max() < 1e-12  # type: ignore[operator] # floats
    page = size_page(marks, {**sizes.details}, ("<b>|",), "sizes.svg")
    assert "- Warning: &lt;b>\\|" in page
    assert page.count("| median-") == 4
    picture = marks_of(
        [("n", 160, 0.5, 0.6, 10), ("s", 320, 0.6, 0.7, 30), ("s", None, 0.6, 0.7, 9)]
    )
    drawn = size_chart(picture)
    assert drawn == size_chart(picture)
    for text in (">160<", ">320<", ">n<", ">s<", "hollow: trained on original labels"):
        assert text in drawn.decode()


def test_names_with_settings_are_told_apart() -> None:
    text = "yolo11n,epochs=2,batch_size=4,torchvision:fcos_resnet50_fpn,yolo11s.pt"
    expected = ["yolo11n,epochs=2,batch_size=4", "torchvision:fcos_resnet50_fpn", "yolo11s.pt"]
    assert models_named(text) == expected
    assert models_named("yolo11n, epochs=2, yolo11s.pt ") == ["yolo11n,epochs=2", "yolo11s.pt"]


def test_every_model_and_size_that_do_not_go_together_are_told_before_anything_is_trained(
    versions: tuple[Dataset, Dataset],
) -> None:
    with pytest.raises(InputError) as caught:
        measure_sizes(*versions, ["yolo11n", "nothing:at-all"], [33, 64])
    assert len(caught.value.problems) == 3
    assert "33" in str(caught.value)
    with pytest.raises(InputError, match="takes no time"):
        measure_sizes(*versions, [Timeless()], [64], 1, split=SPLIT, draws=5)
    with pytest.raises(InputError, match="this model and size again"):
        measure_sizes(*versions, [Median(), Median()], [64])
    with pytest.raises(InputError, match="no models"):
        measure_sizes(*versions, [], [64])
    with pytest.raises(InputError, match="timed 0"):
        measure_sizes(*versions, [Median()], [64], timed=0)


def test_a_network_that_is_not_to_be_had_is_told_before_another_is_trained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("torchvision")

    def work(*arguments: Any, **options: Any) -> None:
        raise AssertionError("long work")

    monkeypatch.setattr("labelfix.evaluate.sizes.gain_of", work)
    before, after = (labelfix.read(path) for path in class_folders(tmp_path))
    with pytest.raises(InputError, match="'resnet-18'"):
        measure_sizes(before, after, ["small-cnn", "finetune:resnet-18"], [32], 1, split=SPLIT)


def test_a_bare_name_is_a_model_without_weights(versions: tuple[Dataset, Dataset]) -> None:
    made = model_at("yolo11n,epochs=2", 96, versions[0])
    assert (made.weights, made.training.epochs, made.training.image_size) == ("yolo11n.yaml", 2, 96)
    assert model_at("yolo11n.pt", None, versions[0]).training.image_size == 640


def test_models_with_a_size_of_their_own_are_refused(versions: tuple[Dataset, Dataset]) -> None:
    pytest.importorskip("torchvision")
    with pytest.raises(InputError, match="a size of its own"):
        model_at("torchvision:ssd300_vgg16", 64, versions[0])


def test_the_warm_up_is_not_timed() -> None:
    seen: list[int] = []
    assert len(seconds_each(seen.append, [7, 8])) == 2
    assert seen == [7, 8, 7, 7, 8]
    assert WARM_UP == 3
    assert len(seconds_each(seen.append, [])) == 0


def class_folders(root: Path) -> tuple[Path, Path]:
    """Light and dark images; every fourth in the wrong folder of the first version."""
    rng = np.random.default_rng(0)
    for k in range(40):
        light = k % 2
        pixels = (rng.integers(0, 60, (16, 16)) + 150 * light).astype(np.uint8)
        for name in ("before", "after"):
            given = 1 - light if name == "before" and k % 8 < 2 else light
            path = root / name / ("dark", "light")[given] / f"{k:02d}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(path)
    return root / "before", root / "after"


def test_the_command_takes_classifiers_over_sizes_and_goes_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    networks = pytest.importorskip("labelfix.predict.torch_models", exc_type=ImportError)
    quick = networks.Training(samples=20, epochs=(1, 1), batch_size=10)
    small = networks.SmallConvNet(training=quick)
    monkeypatch.setattr("labelfix.predict.names._load", lambda _: lambda: small)  # by the name
    before, after = class_folders(tmp_path)
    call = ["evaluate", "--original", str(before), "--corrected", str(after), "--out"]
    call += [str(tmp_path / "out"), "--models", "small-cnn", "--seeds", "1", "--draws", "5"]
    call += ["--parts", "1:0:1", "--duplicates", "-1", "--timed", "4", "--jobs", "1"]
    assert main([*call, "--sizes", "8"]) == 0
    kept = {path: path.stat().st_mtime_ns for path in (tmp_path / "out/trainings").iterdir()}
    capsys.readouterr()
    assert main([*call, "--sizes", "8,16", "--format", "csv", "--quiet"]) == 0
    marks = pl.read_csv(capsys.readouterr().out.encode())
    assert sorted(marks["size"]) == [8, 16]
    assert (marks["ms"] > 0).all()
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    measured = read_measured(tmp_path / "out", "sizes")
    assert measured.record.options["sizes"] == [8, 16]
    assert measured.tables["times"]["images"].to_list() == [4] * 4
    assert json.loads((tmp_path / "out/sizes.json").read_text())["details"]["timed"] == 4
    assert "small-cnn" in (tmp_path / "out/sizes.md").read_text()


@pytest.mark.parametrize(
    ("more", "told"),
    [
        (["--models", "logistic"], "small-cnn or finetune"),
        (["--sizes", "8"], "model auto"),
        (["--sizes", "8,x"], "--sizes"),
        (["--sizes", "8,inf"], "whole numbers"),
        (["--models", "small-cnn", "--sizes", "2"], "SmallConvNet, size"),
        (["--models", "small-cnn,epochs=3"], "parameters of a classifier"),
        (["--models", "small-cnn", "--model", "knn"], "--model knn beside it"),
        (["--timed", "20"], "--timed: found alone"),
    ],
)
def test_what_makes_no_sense_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], more: list[str], told: str
) -> None:
    pytest.importorskip("torch")
    before, after = class_folders(tmp_path)
    call = ["evaluate", "--original", str(before), "--corrected", str(after)]
    assert main([*call, "--out", str(tmp_path / "out"), *more]) == 2
    assert told in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_fine_tuned_network_takes_its_time_too(tmp_path: Path) -> None:
    pytest.importorskip("torchvision")
    from labelfix.predict.torch_models import FineTuned, Training

    before, after = (labelfix.read(path) for path in class_folders(tmp_path))
    quick = Training(samples=20, epochs=(1, 1), batch_size=10)
    network = FineTuned("squeezenet1_1", weights=None, training=quick)
    found_sizes = measure_sizes(before, after, [network], [32], 1, split=SPLIT, draws=5, timed=2)
    assert (found_sizes.times["ms"] > 0).all()


def test_a_detector_of_torchvision_takes_its_time(versions: tuple[Dataset, Dataset]) -> None:
    pytest.importorskip("torchvision")
    import torch

    from labelfix.predict.detect.torchvision import Torchvision, TorchvisionTraining

    training = TorchvisionTraining(epochs=1, batch_size=4)
    name = "fasterrcnn_mobilenet_v3_large_320_fpn"
    small = Torchvision(name, None, training, most_boxes=5)
    threads = torch.get_num_threads()
    options: dict[str, Any] = {"split": SPLIT, "draws": 5, "timed": 3}
    found_sizes = measure_sizes(*versions, [small], [64], 1, **options)
    assert found_sizes.times["images"].to_list() == [3, 3]
    assert (found_sizes.times["ms"] > 0.1).all()
    assert torch.get_num_threads() == threads


def test_ultralytics_takes_the_time_of_the_trained_detector(
    versions: tuple[Dataset, Dataset], tmp_path: Path
) -> None:
    pytest.importorskip("ultralytics")
    options: dict[str, Any] = {"split": SPLIT, "draws": 5, "timed": 3, "store": tmp_path}
    found_sizes = measure_sizes(*versions, ["yolo11n,epochs=1"], [32], 1, **options)
    assert found_sizes.times["images"].to_list() == [3, 3]
    assert (found_sizes.times["ms"] > 0.1).all()
    again = measure_sizes(*versions, ["yolo11n,epochs=1"], [32], 1, **options)
    assert again.times.equals(found_sizes.times)  # kept, not taken anew


def test_times_of_another_processor_are_taken_anew(
    versions: tuple[Dataset, Dataset], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    some: dict[str, Any] = {"split": SPLIT, "draws": 2, "store": tmp_path}

    def measure() -> set[Path]:
        measure_sizes(*versions, [Median()], [32], 1, timed=2, **some)
        return set(tmp_path.iterdir())

    here = measure()
    assert measure() == here
    monkeypatch.setattr("labelfix.predict.jobs.processor", lambda: "another, Linux")
    assert len(measure()) == 2 * len(here)
    monkeypatch.undo()
    labelfix.measure_gain(*versions, Median(), 1, **some)
    untimed = set(tmp_path.iterdir())
    monkeypatch.setattr("labelfix.predict.jobs.processor", lambda: "another, Linux")
    labelfix.measure_gain(*versions, Median(), 1, **some)
    assert set(tmp_path.iterdir()) == untimed  # what was learned does not depend on it
