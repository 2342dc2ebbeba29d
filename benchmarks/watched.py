"""A detector of Ultralytics, trained on all boxes of a dataset with the tracker on, once.

    python benchmarks/watched.py DATA KEPT.npz [--epochs 25] [--side 256] [--every 1]

The benchmarks call it as a process of its own, since Ultralytics changes the process it is in.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

import labelfix
from labelfix.boxes import YOLO
from labelfix.errors import LabelfixWarning
from labelfix.schema import BOX
from labelfix.training.boxes import BoxTracker

if TYPE_CHECKING:
    from labelfix.schema import Dataset


def watched(data: Path, kept: Path, **choices: int) -> BoxTracker:
    """Train in a process of its own, unless that was done before, and give what was seen."""
    if not kept.exists():
        kept.parent.mkdir(parents=True, exist_ok=True)
        options = [f"--{name}={value}" for name, value in choices.items()]
        with tempfile.TemporaryDirectory() as settings:
            own = {"YOLO_CONFIG_DIR": settings, "YOLO_OFFLINE": "True"}
            threads = {"OMP_NUM_THREADS": str(os.cpu_count())}  # Ultralytics would take one
            subprocess.run(
                [sys.executable, __file__, str(data), str(kept), *options],
                env={**threads, **os.environ, **own},
                check=True,
            )
    return BoxTracker.load(kept)


def as_yolo(dataset: Dataset, folder: Path) -> Path:
    """Write labels, and links to the images, as Ultralytics reads them; give the data file."""
    images, labels = folder / "images" / "train", folder / "labels" / "train"
    for made in (images, labels):
        made.mkdir(parents=True)
    sizes = dict(dataset.items.select("item_id", pl.concat_list("width", "height")).iter_rows())
    codes = pl.Series(dataset.labels)
    boxes = dataset.annotations.with_columns(code=codes)
    for number, (item_id, path) in enumerate(
        zip(dataset.items["item_id"], dataset.image_paths or (), strict=True)
    ):
        own = boxes.filter(pl.col("item_id") == item_id)
        size = np.tile(sizes[item_id], (own.height, 1))
        rows = YOLO.from_pixels(own.select(BOX).to_numpy(), size, decimals=6)
        (images / f"{number:06}{path.suffix}").symlink_to(path.resolve())
        lines = [
            f"{code} {' '.join(map(str, row))}"
            for code, row in zip(own["code"], rows.tolist(), strict=True)
        ]
        (labels / f"{number:06}.txt").write_text("\n".join(lines))
    names = ", ".join(dataset.class_names)
    file = folder / "data.yaml"
    file.write_text(f"path: {folder}\ntrain: images/train\nval: images/train\nnames: [{names}]\n")
    return file


def train(dataset: Dataset, kept: Path, epochs: int, side: int, every: int) -> None:
    """Train, and say how long it took, and the looks in it."""
    import ultralytics

    from labelfix.training.ultralytics import box_losses

    tracker = BoxTracker(dataset)
    look, spent, start = box_losses(tracker, dataset, every), 0.0, time.perf_counter()

    def timed(trainer: Any) -> None:
        nonlocal spent
        before = time.perf_counter()
        look(trainer)
        spent += time.perf_counter() - before
        total = time.perf_counter() - start
        print(f"epoch {tracker.epoch}: {total:.0f} s, {spent / total:.0%} of it looks", flush=True)

    with tempfile.TemporaryDirectory() as folder:
        file = as_yolo(dataset, Path(folder))
        model = ultralytics.YOLO("yolo11n.yaml")
        model.add_callback("on_train_epoch_end", timed)
        quiet = {"val": False, "plots": False, "verbose": False, "amp": False, "pretrained": False}
        model.train(
            data=file, epochs=epochs, imgsz=side, project=folder, workers=0, seed=0, **quiet
        )
    tracker.save(kept)


def main() -> None:
    """Do what the command line says."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path)
    parser.add_argument("kept", type=Path)
    for name, default in {"epochs": 25, "side": 256, "every": 1}.items():
        parser.add_argument(f"--{name}", type=int, default=default)
    args = parser.parse_args()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", LabelfixWarning)  # of odd boxes that are in the files
        dataset = labelfix.read(args.data)
    train(dataset, args.kept, args.epochs, args.side, args.every)


if __name__ == "__main__":
    main()
