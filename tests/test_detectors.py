"""Detectors trained per fold: what they learn from, what they give, what they leave alone."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest.mock import ANY

import numpy as np
import polars as pl
import pytest
from PIL import Image

import labelfix
from labelfix.errors import InputError, LabelfixError, LabelfixWarning
from labelfix.predict import out_of_fold, out_of_fold_boxes
from labelfix.predict.detect.models import Detector, FoundBoxes, Scenes, found, scenes
from labelfix.predict.detect.names import resolve
from labelfix.predict.models import Inputs, describe
from labelfix.schema import BOX, BOX_PREDICTIONS, BoxPredictions, Dataset

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from labelfix.predict.detect.models import DetectJob

SIZES = [(64, 48), (64, 64)]
needs_ultralytics = pytest.mark.skipif(find_spec("ultralytics") is None, reason="no ultralytics")
needs_torchvision = pytest.mark.skipif(find_spec("torchvision") is None, reason="no torchvision")


def write_yolo(folder: Path, n: int = 10) -> Path:
    """Draw dark and bright squares on grey, one an image; every other image is taller."""
    rng = np.random.default_rng(0)
    for kind in ("images", "labels"):
        (folder / kind).mkdir(parents=True)
    for i in range(n):
        width, height = SIZES[i % 2]
        pixels = rng.integers(100, 150, (height, width, 3), dtype=np.uint8)
        x, y = rng.integers(2, 30, 2)
        pixels[y : y + 16, x : x + 16] = 250 if i % 4 < 2 else 10
        Image.fromarray(pixels).save(folder / "images" / f"{i}.png")
        row = f"{int(i % 4 < 2)} {(x + 8) / width} {(y + 8) / height} {16 / width} {16 / height}\n"
        (folder / "labels" / f"{i}.txt").write_text(row * (1 + (i == 0)))  # one row twice
    (folder / "labels" / f"{n - 1}.txt").unlink()
    data = folder / "data.yaml"
    data.write_text("path: .\ntrain: images\nnames: [dark, bright]\n")
    return data


def content(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.fixture(scope="module")
def squares(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return labelfix.read(write_yolo(tmp_path_factory.mktemp("squares")))


@dataclass(frozen=True)
class Painter:
    """Says that each image has a box, and keeps what it was asked."""

    names: tuple[str, ...] = ("dark", "bright")
    score: float = 0.5
    asked: list[DetectJob] = field(default_factory=list, repr=False, hash=False, compare=False)

    @property
    def name(self) -> str:
        return "painter"

    def __getstate__(self) -> dict[str, Any]:
        return {"names": self.names, "score": self.score}  # what decides the result

    def prepare(self, dataset: Dataset, **_: Any) -> Inputs:
        return Inputs(scenes(dataset))

    def fit_predict(self, _data: Scenes, job: DetectJob, _progress: Any) -> pl.DataFrame:
        self.asked.append(job)
        item = np.repeat(job.test, 2)
        label = np.tile(np.array([0, len(self.names) - 1]), len(job.test))
        probs = np.linspace(0.1, 0.9, len(self.names))[None].repeat(len(item), 0)
        score = np.tile([self.score, self.score / 2], len(job.test))
        box = np.tile([1.0, 2.0, 3.0, 4.0], (len(item), 1))
        order = np.argsort(-item)  # the wrong way round
        return found(item[order], label[order], score[order], box, self.names, probs)


def of_images(predictions: BoxPredictions) -> dict[str, list[str]]:
    grouped = predictions.boxes.group_by("item_id", maintain_order=True).agg("label")
    return dict(grouped.iter_rows())


def losses_in(store: Path) -> list[NDArray[np.float64]]:
    """Training losses that stored folds keep: positive numbers, one an epoch."""
    found = []
    for path in store.glob("fold-*.boxes"):
        with path.open("rb") as file:
            stored = FoundBoxes().read(file, ANY)
        assert stored is not None
        assert stored.losses is not None
        assert (stored.losses > 0).all()
        found.append(stored.losses)
    return found


# What all detectors have in common


def test_each_image_is_predicted_by_a_detector_that_did_not_learn_from_it(squares: Dataset) -> None:
    painter = Painter()
    predictions = out_of_fold_boxes(squares, painter, folds=3)
    assert len(painter.asked) == 3
    for job in painter.asked:
        assert not set(job.train) & set(job.test)
        assert set(job.train) | set(job.test) == set(range(len(squares)))
    assert predictions.fold is not None
    by_item = dict(predictions.fold.iter_rows())
    assert predictions.boxes["fold"].to_list() == [by_item[i] for i in predictions.boxes["item_id"]]


def test_boxes_come_in_item_order_the_surest_first(squares: Dataset) -> None:
    predictions = out_of_fold_boxes(squares, Painter(), folds=2)
    assert list(of_images(predictions)) == squares.items["item_id"].to_list()
    assert set(map(tuple, of_images(predictions).values())) == {("dark", "bright")}
    kinds = {**BOX_PREDICTIONS, "fold": pl.Int32, "pred_probs": pl.Array(pl.Float32, 2)}
    assert dict(predictions.boxes.schema) == {
        name: kinds[name] for name in predictions.boxes.columns
    }


def test_copies_of_an_image_and_groups_are_held_out_together(tmp_path: Path) -> None:
    data = write_yolo(tmp_path, 12)
    for kind, suffix in (("images", "png"), ("labels", "txt")):
        original = (tmp_path / kind / f"3.{suffix}").read_bytes()
        (tmp_path / kind / f"7.{suffix}").write_bytes(original)
    dataset = labelfix.read(data)
    group = [
        "x" if i in {"images/0.png", "images/5.png"} else None for i in dataset.items["item_id"]
    ]
    for seed in range(5):
        predictions = out_of_fold_boxes(dataset, Painter(), 3, group, seed)
        fold = dict(predictions.fold.iter_rows()) if predictions.fold is not None else {}
        assert fold["images/3.png"] == fold["images/7.png"]
        assert fold["images/0.png"] == fold["images/5.png"]


def test_a_run_goes_on_at_the_fold_that_it_reached(squares: Dataset, tmp_path: Path) -> None:
    first, again, other = Painter(), Painter(), Painter(score=0.25)
    whole = out_of_fold_boxes(squares, first, folds=3, store=tmp_path)
    next(tmp_path.glob("fold-*.boxes")).unlink()
    resumed = out_of_fold_boxes(squares, again, folds=3, store=tmp_path)
    assert resumed.boxes.equals(whole.boxes)
    assert (len(first.asked), len(again.asked)) == (3, 1)
    out_of_fold_boxes(squares, other, folds=3, store=tmp_path)
    assert len(other.asked) == 3


def test_a_broken_stored_fold_is_done_again(squares: Dataset, tmp_path: Path) -> None:
    out_of_fold_boxes(squares, Painter(), folds=2, store=tmp_path)
    next(tmp_path.glob("fold-*.boxes")).write_bytes(b"half a fi")
    again = Painter()
    out_of_fold_boxes(squares, again, folds=2, store=tmp_path)
    assert len(again.asked) == 1


def test_a_ready_made_detector_speaks_of_the_datasets_classes(squares: Dataset) -> None:
    painter = Painter(("night", "dark", "sun"))
    predictions = out_of_fold_boxes(
        squares, painter, no_train=True, class_map={"night": "dark", "sun": "bright"}
    )
    assert len(painter.asked[0].train) == 0
    assert set(map(tuple, of_images(predictions).values())) == {("dark", "bright")}
    probs = predictions.boxes["pred_probs"].to_numpy()
    assert np.allclose(probs, [0.5, 0.9])  # the larger one of night's .1 and dark's .5
    assert predictions.fold is None
    assert predictions.details["class_map"] == {"night": "dark", "dark": "dark", "sun": "bright"}


def test_classes_that_map_to_nothing_are_dropped_and_unknown_ones_named(squares: Dataset) -> None:
    with pytest.warns(LabelfixWarning, match="'bright' are unknown to the detector"):
        predictions = out_of_fold_boxes(
            squares, Painter(("dark", "sun")), no_train=True, class_map={"sun": None}
        )
    assert predictions.boxes["label"].unique().to_list() == ["dark"]


def test_a_wrong_class_map_is_refused_with_all_that_is_wrong(squares: Dataset) -> None:
    wrong: dict[str, str | None] = {"moon": "dark", "dark": "grey"}
    with pytest.raises(InputError) as error:
        out_of_fold_boxes(squares, Painter(), no_train=True, class_map=wrong)
    assert "'moon'" in str(error.value)
    assert "'grey'" in str(error.value)
    with pytest.raises(InputError, match="no class of the detector"):
        out_of_fold_boxes(squares, Painter(("sun", "moon")), no_train=True)
    with pytest.raises(InputError, match="no_train"):
        out_of_fold_boxes(squares, Painter(), class_map={"dark": None})


def test_a_class_that_is_in_one_fold_only_is_named(tmp_path: Path) -> None:
    dataset = labelfix.read(write_yolo(tmp_path, 4))
    with pytest.warns(LabelfixWarning, match="cannot be learned"):
        out_of_fold_boxes(dataset, Painter(), folds=2, duplicates=None)


def test_a_dataset_without_boxes_trains_nothing_but_can_be_predicted(squares: Dataset) -> None:
    from dataclasses import replace

    empty = replace(squares, annotations=squares.annotations.clear())
    with pytest.raises(InputError, match="no boxes to learn from"):
        out_of_fold_boxes(empty, Painter(), folds=2)
    assert out_of_fold_boxes(empty, Painter(), no_train=True).boxes.height == 2 * len(empty)


@pytest.mark.parametrize(("score", "complaint"), [(2.0, "outside"), (float("nan"), "finite")])
def test_a_detector_is_held_to_its_promise(squares: Dataset, score: float, complaint: str) -> None:
    with pytest.raises(InputError, match=complaint):
        out_of_fold_boxes(squares, Painter(score=score), folds=2)


def test_what_cannot_be_learned_from_is_left_out_and_the_rest_cut_at_the_border() -> None:
    nan = float("nan")
    boxes = [(10, 10, 30, 30), (-9, -9, 5, 5), (nan, 0, 9, 9), (9, 9, 9, 20), (0, 0, 9, 9)]
    names = [str(i) for i in range(len(boxes))]
    items = pl.DataFrame({"item_id": ["i"], "path": [__file__], "width": [20], "height": [20]})
    annotations = pl.DataFrame(
        {
            "annotation_id": names,
            "item_id": ["i"] * len(boxes),
            "label": ["a"] * len(boxes),
            **{edge: [float(box[k]) for box in boxes] for k, edge in enumerate(BOX)},
            "crowd": [False] * 4 + [True],
        }
    )
    made = scenes(Dataset(items, annotations, ("a",), "memory", root=Path("/")))
    assert made.box.tolist() == [[10, 10, 20, 20], [0, 0, 5, 5]]


def test_missing_images_and_class_labels_are_refused(squares: Dataset, tmp_path: Path) -> None:
    data = write_yolo(tmp_path)
    dataset = labelfix.read(data)
    for number in (2, 4):
        (tmp_path / "images" / f"{number}.png").unlink()
    with pytest.raises(InputError, match=r"2 problems"):
        scenes(dataset)
    with pytest.raises(InputError, match="use out_of_fold_boxes"):
        out_of_fold(squares)
    with pytest.raises(InputError, match=r"torchvision:CONSTRUCTOR"):
        resolve("auto")


def test_parameters_follow_the_name() -> None:
    detector: Any = resolve("yolo11n.yaml,epochs=3,image_size=96,confidence=0.05")
    assert (detector.training.epochs, detector.training.image_size) == (3, 96)
    assert detector.confidence == 0.05
    with pytest.raises(InputError) as error:
        resolve("yolo11n.yaml,epoch=3,batch_size=two,weights=x.pt,mosaic")
    for wrong in ("'epoch=3'", "'batch_size=two'", "'weights=x.pt'", "'mosaic'"):
        assert wrong in str(error.value)
    with pytest.raises(InputError, match=r"(?s)'foo=3'.*confidence.*epochs: found 0"):
        resolve("yolo11n.yaml,epochs=0,foo=3,confidence=2")


# Ultralytics

CHILD = """
import sys, numpy as np, torch
from ultralytics import YOLO
torch.manual_seed(3)
folder, images = sys.argv[1], sys.argv[2:]
model = YOLO("yolo11n.yaml")
model.model.names = {0: "bright", 1: "unheard of", **{k: str(k) for k in range(2, 80)}}
model.save(folder + "/own.pt")
rows = []
model = YOLO(folder + "/own.pt")
for i, image in enumerate(images):
    (seen,) = model.predict(image, imgsz=64, conf=1e-9, max_det=12)
    rows += [[i, *row] for row in seen.boxes.data.tolist()]
np.save(folder + "/boxes.npy", np.array(rows))
"""


@pytest.fixture(scope="module")
def yolo(squares: Dataset) -> Any:
    from labelfix.predict.detect.yolo import Ultralytics, UltralyticsTraining

    training = UltralyticsTraining(epochs=1, image_size=64, batch_size=4)
    return Ultralytics("yolo11n.yaml", training, confidence=1e-5, most_boxes=12)


@needs_ultralytics
def test_ultralytics_trains_per_fold_and_leaves_everything_alone(
    squares: Dataset, yolo: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from labelfix.predict.detect import yolo as module

    lists: list[dict[str, set[str]]] = []
    run = module._run

    def watched(folder: Path, *args: Any, **options: Any) -> None:
        names = ("train", "test")
        lists.append({k: set(pl.read_parquet(folder / f"{k}.parquet")["path"]) for k in names})
        run(folder, *args, **options)

    home, told = tmp_path / "home", []
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.delenv("YOLO_CONFIG_DIR", raising=False)
    monkeypatch.setattr(module, "_run", watched)
    assert squares.root is not None
    before, environment = content(squares.root), dict(os.environ)
    for name in [name for name in sys.modules if name.partition(".")[0] == "ultralytics"]:
        monkeypatch.delitem(sys.modules, name)  # of another test
    predictions = out_of_fold_boxes(
        squares, yolo, 2, store=tmp_path / "store", progress=lambda *line: told.append(line)
    )
    assert content(squares.root) == before
    assert dict(os.environ) == environment
    assert not list(home.iterdir())
    assert "ultralytics" not in sys.modules

    everything = {str(path) for path in squares.image_paths or ()}
    assert [lists[0]["train"], lists[0]["test"]] == [lists[1]["test"], lists[1]["train"]]
    assert lists[0]["train"] | lists[0]["test"] == everything
    assert not lists[0]["train"] & lists[0]["test"]

    assert ("epochs of yolo11n.yaml", 1, 1) in told
    assert [len(one) for one in losses_in(tmp_path / "store")] == [1, 1]
    assert predictions.details["parameters"] == describe(yolo)
    probs = predictions.boxes["pred_probs"].to_numpy()
    assert probs.shape == (predictions.boxes.height, 2)
    assert np.allclose(probs.max(axis=1), predictions.boxes["score"], atol=1e-6)
    label = predictions.boxes["label"].replace_strict({"dark": 0, "bright": 1}).to_numpy()
    assert (probs.argmax(axis=1) == label).all()
    assert predictions.boxes.group_by("item_id").len()["len"].max() == 12

    def never(*args: Any, **options: Any) -> None:
        raise AssertionError("trained again")

    monkeypatch.setattr(module, "_run", never)
    again = out_of_fold_boxes(squares, yolo, 2, store=tmp_path / "store")
    assert again.boxes.equals(predictions.boxes)


@needs_ultralytics
def test_ultralytics_boxes_are_those_of_its_own_predict(
    squares: Dataset, yolo: Any, tmp_path: Path
) -> None:
    from dataclasses import replace

    images = [str(path) for path in squares.image_paths or ()]
    call = [sys.executable, "-c", CHILD, str(tmp_path), *images]
    env = {**os.environ, "YOLO_CONFIG_DIR": str(tmp_path), "YOLO_OFFLINE": "True"}
    subprocess.run(call, env=env, check=True, capture_output=True, cwd=tmp_path, timeout=300)
    theirs = np.load(tmp_path / "boxes.npy")
    ready = replace(yolo, weights=str(tmp_path / "own.pt"), confidence=1e-9)
    ids = squares.items["item_id"].to_list()
    other = {str(k): "dark" for k in range(2, 80)} | {"unheard of": "dark"}
    ours = out_of_fold_boxes(squares, ready, no_train=True, class_map=other).boxes
    assert len(theirs) == ours.height == 12 * len(images)
    for i, item in enumerate(ids):
        mine = ours.filter(pl.col("item_id") == item)
        own = theirs[theirs[:, 0] == i]
        assert np.allclose(mine.select(BOX).to_numpy(), own[:, 1:5], atol=1e-2)
        assert np.allclose(mine["score"].to_numpy(), own[:, 5], rtol=1e-4)
        assert mine["label"].to_list() == ["bright" if k == 0 else "dark" for k in own[:, 6]]


@needs_ultralytics
def test_what_ultralytics_says_when_it_fails_is_passed_on(squares: Dataset, tmp_path: Path) -> None:
    file = tmp_path / "broken.pt"
    file.write_bytes(b"no weights")
    with pytest.raises(LabelfixError, match=r"(?s)Ultralytics failed.*Error"):
        out_of_fold_boxes(squares, str(file), no_train=True)


NO_NETWORK = "http://127.0.0.1:9"  # a proxy that nobody runs


@needs_ultralytics
def test_weights_that_cannot_be_fetched_are_named_in_a_line(
    squares: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(name, NO_NETWORK)
    with pytest.raises(InputError, match=r"yolo11n\.pt that could not be.*\.yaml") as caught:
        out_of_fold_boxes(squares, "yolo11n.pt", cache=tmp_path)
    assert "\n" not in str(caught.value)


@needs_torchvision
def test_torchvision_says_which_weights_it_could_not_fetch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from labelfix.predict.detect.torchvision import Torchvision

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setenv("https_proxy", NO_NETWORK)
    with pytest.raises(InputError, match=r"weights of ssd300_vgg16 .*checkpoints") as caught:
        Torchvision("ssd300_vgg16")._state()
    assert "\n" not in str(caught.value)


@needs_ultralytics
def test_ultralytics_says_what_is_wrong_before_it_starts(squares: Dataset, tmp_path: Path) -> None:
    from labelfix.predict.detect.yolo import Ultralytics, UltralyticsTraining

    assert isinstance(resolve("yolo11n.yaml"), Detector)
    with pytest.raises(InputError, match=r"(?s)epochs.*image_size"):
        UltralyticsTraining(epochs=0, image_size=50)
    with pytest.raises(InputError, match="imgsz"):
        UltralyticsTraining(options={"imgsz": 32})
    with pytest.raises(InputError, match="no file"):
        out_of_fold_boxes(squares, str(tmp_path / "none.pt"))
    with pytest.raises(InputError, match=r"a folder for yolo11n\.pt"):
        out_of_fold_boxes(squares, "yolo11n.pt", cache=False)
    with pytest.raises(InputError, match="weights"):
        out_of_fold_boxes(squares, Ultralytics("yolo11n.yaml"), no_train=True)


# torchvision


@pytest.fixture(scope="module")
def faster() -> Any:
    pytest.importorskip("torchvision")
    from labelfix.predict.detect.torchvision import Torchvision, TorchvisionTraining

    training = TorchvisionTraining(epochs=1, image_size=64, batch_size=4)
    return Torchvision("fasterrcnn_mobilenet_v3_large_320_fpn", None, training, most_boxes=10)


@needs_torchvision
def test_torchvision_trains_per_fold_and_leaves_the_random_numbers_alone(
    squares: Dataset, faster: Any, tmp_path: Path
) -> None:
    import torch

    state = torch.random.get_rng_state()
    predictions = out_of_fold_boxes(squares, faster, 2, store=tmp_path)
    assert [len(one) for one in losses_in(tmp_path)] == [1, 1]
    assert torch.equal(state, torch.random.get_rng_state())
    assert set(predictions.boxes["label"]) <= {"dark", "bright"}
    assert predictions.boxes.group_by("item_id").len()["len"].max() == 10
    assert predictions.boxes["score"].min() >= 0.01  # type: ignore[operator] # there are scores
    assert predictions.model == "torchvision:fasterrcnn_mobilenet_v3_large_320_fpn"


@needs_torchvision
def test_weights_of_torchvision_are_named_behind_its_constructor(
    faster: Any, tmp_path: Path
) -> None:
    import torch

    file = tmp_path / "mine=1.pth"
    state = faster._build(3).state_dict()
    torch.save(state, file)
    own = resolve(f"{faster.name}={file},epochs=1")
    assert (own.weights, own.training.epochs) == (str(file), 1)  # type: ignore[attr-defined] # of torchvision
    learned = own._build(3).state_dict()  # type: ignore[attr-defined] # as above
    assert all(torch.equal(value, state[name]) for name, value in learned.items())
    assert resolve(f"{faster.name}=none").weights is None  # type: ignore[attr-defined] # as above
    assert resolve(faster.name).weights == "DEFAULT"  # type: ignore[attr-defined] # as above
    with pytest.raises(InputError, match="a file"):
        resolve(f"{faster.name}={tmp_path / 'gone.pth'}")


@needs_torchvision
def test_torchvision_boxes_are_those_of_the_model(squares: Dataset, faster: Any) -> None:
    import torch

    torch.manual_seed(0)
    model, data = faster._build(3), scenes(squares)
    names = ("", "dark", "bright")
    ours = faster._predict(model, names, data, np.array([1, 4]), None)
    for row in (1, 4):
        pixels = np.asarray(Image.open(data.paths[row])).astype(np.float32) / 255
        with torch.no_grad():
            (theirs,) = model.eval()([torch.from_numpy(pixels).permute(2, 0, 1)])
        mine = ours.filter(pl.col("item") == row)
        assert np.allclose(mine.select(BOX).to_numpy(), theirs["boxes"].numpy(), atol=1e-3)
        assert mine["label"].to_list() == [names[k] for k in theirs["labels"]]


@needs_torchvision
def test_a_mirrored_image_has_mirrored_boxes(squares: Dataset, faster: Any) -> None:
    import torch

    data, seen = scenes(squares), set()
    for seed in range(8):
        image, target = faster._example(data, 1, torch.Generator().manual_seed(seed))
        x1, y1, x2, y2 = target["boxes"][0].round().int().tolist()
        assert float(image[:, y1:y2, x1:x2].min()) > 0.9  # the bright square, and nothing else
        assert float(image[:, y1:y2, x1 - 1 : x2 + 1].min()) < 0.7
        seen.add(x1)
    assert len(seen) == 2


@needs_torchvision
def test_torchvision_takes_weights_from_a_file(
    squares: Dataset, tmp_path: Path, faster: Any
) -> None:
    from dataclasses import replace

    import torch

    file = tmp_path / "own.pt"
    torch.save(faster._build(7).state_dict(), file)
    ready = replace(faster, weights=str(file))
    there = torch.load(file, weights_only=True)
    started = ready._build(3).state_dict()
    same = [name for name, value in started.items() if torch.equal(value, there[name])]
    assert len(same) > 0.9 * len(started)
    with pytest.raises(InputError, match="name no classes"):
        out_of_fold_boxes(squares, ready, no_train=True)
    torch.save({"x": torch.zeros(1)}, file)
    with pytest.raises(InputError, match="weights of another model"):
        ready._build(3)


@needs_torchvision
def test_torchvision_says_what_it_takes() -> None:
    from labelfix.predict.detect.torchvision import Torchvision, TorchvisionTraining

    with pytest.raises(InputError, match="ssd300_vgg16"):
        Torchvision("maskrcnn_resnet50_fpn")
    with pytest.raises(InputError, match="learning_rate"):
        TorchvisionTraining(learning_rate=0)


def test_a_learning_rate_rises_and_falls() -> None:
    pytest.importorskip("torchvision")
    from labelfix.predict.detect.torchvision import TorchvisionTraining

    rates: NDArray[np.float64] = np.array([TorchvisionTraining().rate(k, 100) for k in range(100)])
    assert rates.argmax() == 10
    assert rates[0] < 0.1
    assert rates[-1] < 0.01
