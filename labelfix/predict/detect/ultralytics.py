"""The child process of `labelfix.predict.detect.yolo`, and the only module that uses Ultralytics.

    python -m labelfix.predict.detect.ultralytics FOLDER

does what FOLDER/task.json says. What it has to tell goes to standard output, a JSON list a line;
whatever Ultralytics prints goes to standard error.
"""

from __future__ import annotations

import json
import os
import sys
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
import torch
from ultralytics.data.dataset import YOLODataset
from ultralytics.models.yolo.detect import DetectionPredictor, DetectionTrainer
from ultralytics.nn.tasks import DetectionModel, load_checkpoint
from ultralytics.utils.nms import non_max_suppression
from ultralytics.utils.patches import imread

from labelfix.boxes import YOLO
from labelfix.predict.timing import seconds_each
from labelfix.schema import BOX

if TYPE_CHECKING:
    from torch import Tensor

    from labelfix.progress import Progress

    Tell = Progress


class Refusal(Exception):  # noqa: N818 # it is what the user is told, no failure of ours
    """Something wrong with what was given."""


class Boxes(YOLODataset):  # type: ignore[misc] # ultralytics ships no types that mypy may follow
    """Images where they are, and their boxes from tables.

    Ultralytics looks for label files beside the images, keeps a cache there, drops rows that occur
    twice, and writes JPEGs anew that it finds broken. Nothing of that happens here.
    """

    def get_img_files(self, img_path: Any) -> list[str]:
        """Take the list as it is."""
        return list(img_path["path"])

    def get_labels(self) -> list[dict[str, Any]]:
        """Give each image's boxes as fractions of it."""
        images, boxes = self.img_path, self.data["boxes"]
        sizes = images.select("width", "height").to_numpy()
        image = boxes["image"].to_numpy()
        order = np.argsort(image, kind="stable")
        image = image[order]
        rows = YOLO.from_pixels(boxes.select(BOX).to_numpy()[order], sizes[image], decimals=6)
        label = boxes["label"].to_numpy()[order, None]
        starts = np.searchsorted(image, np.arange(images.height + 1))
        return [
            {
                "im_file": path,
                "shape": (int(height), int(width)),
                "cls": label[start:stop].astype(np.float32),
                "bboxes": rows[start:stop].astype(np.float32),
                "segments": [],
                "keypoints": None,
                "normalized": True,
                "bbox_format": "xywh",
            }
            for path, (width, height), start, stop in zip(
                images["path"], sizes, starts[:-1], starts[1:], strict=True
            )
        ]


class Trainer(DetectionTrainer):  # type: ignore[misc] # as above
    """Trains on tables, validates on nothing, and reports to nobody but us."""

    def __init__(self, tables: dict[str, Any], tell: Tell, overrides: dict[str, Any]) -> None:
        self._tables, self._tell = tables, tell
        super().__init__(overrides=overrides)

    def get_dataset(self) -> dict[str, Any]:
        """Give what a data file would say."""
        return self._tables

    def build_dataset(self, img_path: Any, mode: str = "train", batch: int | None = None) -> Boxes:
        """Make the data set to learn from; the other one is never looked at."""
        return Boxes(
            img_path=img_path,
            data=self.data,
            imgsz=self.args.imgsz,
            batch_size=batch,
            augment=mode == "train",
            hyp=self.args,
            stride=int(self.stride),
        )

    def validate(self) -> tuple[dict[str, float], float]:
        """Do not: held-out images decide nothing here."""
        return {}, 0.0

    def final_eval(self) -> None:
        """Neither at the end."""

    def run_callbacks(self, event: str) -> None:
        """Tell of each epoch; the integrations that Ultralytics adds are not called."""
        if event == "on_train_epoch_end":
            self._tell(f"epochs of {Path(self.args.model).name}", self.epoch + 1, self.epochs)


class Predictor(DetectionPredictor):  # type: ignore[misc] # as above
    """Keeps each box's confidence in every class, and suppresses without a time limit."""

    def postprocess(self, preds: Any, img: Tensor, orig_imgs: Any, **kwargs: Any) -> Any:
        """Give results as Ultralytics does, with `pred_probs`."""
        raw = preds[0] if isinstance(preds, list | tuple) else preds
        kept, places = non_max_suppression(
            raw,
            self.args.conf,
            self.args.iou,
            max_det=self.args.max_det,
            max_time_img=float("inf"),
            return_idxs=True,
        )
        results = self.construct_results(kept, img, orig_imgs, **kwargs)
        for result, image, place in zip(results, raw, places, strict=True):
            result.pred_probs = image[4:, place.reshape(-1).long()].T
        return results


def load(weights: str) -> Any:
    """Load a detection model from a file, or refuse it."""
    model, _ = load_checkpoint(weights)
    if not isinstance(model, DetectionModel) or getattr(model, "task", "detect") != "detect":
        raise Refusal(f"{weights}, which holds no detection model but a {type(model).__name__}")
    return model


def train(task: dict[str, Any], folder: Path, tell: Tell) -> Any:
    """Train a model on the tables of a folder."""
    training = task["training"]
    images = pl.read_parquet(folder / "train.parquet")
    names = dict(enumerate(task["names"]))
    tables = {
        "names": names,
        "nc": len(names),
        "channels": 3,
        "train": images,
        "val": images,  # a loader is made of it, and never read
        "boxes": pl.read_parquet(folder / "boxes.parquet"),
    }
    overrides = training["options"] | {
        "model": task["weights"],
        "data": "labelfix",
        "project": str(folder),
        "epochs": training["epochs"],
        "imgsz": training["image_size"],
        "batch": training["batch_size"],
        "optimizer": training["optimizer"],
        "lr0": training["learning_rate"],
        "seed": task["seed"],
        "device": task["device"],
        "workers": task["workers"],
        "pretrained": task["weights"].endswith(".pt"),
        "amp": False,  # its check would fetch a model
        "patience": 0,
        "plots": False,
        "val": False,
        "verbose": False,
    }
    trainer = Trainer(tables, tell, overrides)
    trainer.train()
    losses(trainer.csv).write_parquet(folder / "losses.parquet")
    return trainer.ema.ema


def losses(results: Path) -> pl.DataFrame:
    """Add up the training losses of each epoch that Ultralytics wrote down."""
    table = pl.read_csv(results)
    return table.select(loss=pl.sum_horizontal("^train/.*loss$"))


def predictor_of(model: Any, task: dict[str, Any], folder: Path, device: str) -> Predictor:
    """Make what predicts with a model on a device."""
    predictor = Predictor(
        overrides={
            "conf": task["confidence"],
            "iou": task["most_iou"],
            "max_det": task["most_boxes"],
            "imgsz": task["training"]["image_size"],
            "device": device,
            "project": str(folder),
            "save": False,
            "verbose": False,
        }
    )
    predictor.setup_model(model.float().eval(), verbose=False)
    return predictor


def predict(model: Any, task: dict[str, Any], folder: Path, tell: Tell) -> pl.DataFrame:
    """Predict the images of a folder's table; `image` is the row there."""
    predictor = predictor_of(model, task, folder, task["device"])
    images = pl.read_parquet(folder / "test.parquet")
    tables, done = [], 0
    for rows in batches(images, task["training"]["batch_size"]):
        pixels = [imread(images["path"][row]) for row in rows]
        broken = [
            images["path"][row] for row, image in zip(rows, pixels, strict=True) if image is None
        ]
        if broken:
            raise Refusal(f"images that OpenCV cannot decode: {', '.join(broken)}")
        for row, result in zip(rows, predictor(pixels), strict=True):
            tables.append(table(row, result))
        done += len(rows)
        tell("images predicted", done, images.height)
    return pl.concat(tables)


def seconds(model: Any, task: dict[str, Any], folder: Path) -> Any:
    """Take the time of single images, from pixels to boxes, on one thread of the processor."""
    paths = pl.read_parquet(folder / "test.parquet")["path"].gather(task["timed"])
    pixels = [imread(path) for path in paths]
    predictor = predictor_of(model.cpu(), task, folder, "cpu")
    torch.set_num_threads(1)  # now: choosing the device sets it
    return seconds_each(lambda image: predictor([image]), pixels)


def batches(images: pl.DataFrame, most: int) -> list[list[int]]:
    """Rows of images of one size, so many at most: how an image is padded depends on no other."""
    sizes = images.select("width", "height").rows()
    alike = [list(rows) for _, rows in groupby(range(len(sizes)), key=sizes.__getitem__)]
    return [rows[i : i + most] for rows in alike for i in range(0, len(rows), most)]


def table(row: int, result: Any) -> pl.DataFrame:
    """Boxes of one image."""
    box = result.boxes.xyxy.cpu().numpy().astype(np.float64)
    probs = result.pred_probs.cpu().numpy().astype(np.float32)
    kind = pl.Array(pl.Float32, probs.shape[1])
    return pl.DataFrame(
        {
            "image": np.full(len(box), row),
            "label": result.boxes.cls.cpu().numpy().astype(np.int64),
            "score": result.boxes.conf.cpu().numpy().astype(np.float64),
            **{edge: box[:, i] for i, edge in enumerate(BOX)},
            "pred_probs": pl.Series(probs, dtype=kind),
        }
    )


def names_of(model: Any) -> list[str]:
    """Class names of a model, in order."""
    return [str(model.names[k]) for k in range(len(model.names))]


def work(folder: Path, tell: Tell) -> None:
    """Do the task of a folder."""
    task = json.loads((folder / "task.json").read_text(encoding="utf-8"))
    if "fetch" in task:
        fetch(Path(task["fetch"]))
        return
    task["device"] = task["device"] or ("0" if torch.cuda.is_available() else "cpu")
    model = train(task, folder, tell) if task["names"] else load(task["weights"])
    predict(model, task, folder, tell).write_parquet(folder / "found.parquet")
    if task["timed"]:
        np.save(folder / "seconds.npy", seconds(model, task, folder))
    (folder / "names.json").write_text(json.dumps(names_of(model)), encoding="utf-8")


def fetch(file: Path) -> None:
    """Fetch weights that Ultralytics knows by their name."""
    from ultralytics.utils.downloads import attempt_download_asset

    try:
        attempt_download_asset(file)
    except Exception as error:  # no network, or a server that refuses: many kinds
        why = str(error).strip().splitlines() or [type(error).__name__]
        raise Refusal(f"weights {file.name} that could not be fetched ({why[0][:200]})") from error
    if not file.exists():
        raise Refusal(f"no weights called {file.name}, here or at Ultralytics")


def main() -> None:
    """Do the task of the folder that is named, and say what was wrong with it."""
    folder = Path(sys.argv[1])
    channel = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # whatever prints from here on does not speak to our parent

    def tell(what: str, done: int, total: int) -> None:
        print(json.dumps([what, done, total]), file=channel, flush=True)

    try:
        work(folder, tell)
    except Refusal as refusal:
        (folder / "refusal.txt").write_text(str(refusal), encoding="utf-8")


if __name__ == "__main__":
    main()
