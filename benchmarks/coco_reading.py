"""How long 300,000 COCO boxes take to read, beside decoding their JSON alone.

    python benchmarks/coco_reading.py

writes a file of 300,000 boxes with polygons in 40,000 images (82 MB, and one small image under
40,000 names) to a temporary folder, and reads it three times; the best time counts. Once without
the images, and once with them: each is then looked at, whether it is an image and whole.
"""

from __future__ import annotations

import json
import os
import tempfile
import time
import warnings
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

import labelfix

if TYPE_CHECKING:
    from collections.abc import Callable

IMAGES, BOXES, CLASSES, TURNS = 40_000, 300_000, 80, 3


def main() -> None:
    """Write, read and print."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        document = made_up()
        file = root / "instances.json"
        file.write_text(json.dumps(document))
        decode = best(lambda: json.loads(file.read_bytes()))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", labelfix.LabelfixWarning)  # that there are no images
            alone = best(partial(labelfix.read, file))
        (root / "images").mkdir()
        Image.new("RGB", (640, 480)).save(root / "one.jpg")
        for image in document["images"]:
            os.link(root / "one.jpg", root / "images" / image["file_name"])
        checked = best(partial(labelfix.read, file, images=root / "images"))
    print(f"labelfix.read, boxes alone: {alone:.2f} s; json.loads: {decode:.2f} s")
    print(f"labelfix.read, {IMAGES:,} images looked at as well: {checked:.2f} s")


def made_up() -> dict[str, Any]:
    """Make a COCO document with polygons."""
    rng = np.random.default_rng(0)
    place, size = rng.random((BOXES, 2)) * 300, rng.random((BOXES, 2)) * 150 + 2
    boxes = np.concatenate([place, size], axis=1).round(2).tolist()
    polygons = (rng.random((BOXES, 16)) * 300).round(2).tolist()
    images = rng.integers(IMAGES, size=BOXES).tolist()
    classes = rng.integers(1, CLASSES + 1, BOXES).tolist()
    return {
        "images": [
            {"id": i, "file_name": f"{i:012d}.jpg", "width": 640, "height": 480}
            for i in range(IMAGES)
        ],
        "annotations": [
            {
                "id": i,
                "image_id": images[i],
                "category_id": classes[i],
                "bbox": boxes[i],
                "area": round(boxes[i][2] * boxes[i][3], 2),
                "iscrowd": 0,
                "segmentation": [polygons[i]],
            }
            for i in range(BOXES)
        ],
        "categories": [{"id": k, "name": f"class {k}"} for k in range(1, CLASSES + 1)],
    }


def best(work: Callable[[], Any]) -> float:
    """Give the least of some times, in seconds."""
    times = []
    for _ in range(TURNS):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return min(times)


if __name__ == "__main__":
    main()
