"""YOLOX-Nano on CPU through onnxruntime: a ready-made detector for the benchmarks of boxes.

Needs `onnxruntime` (benchmarks only) and the exported model (Megvii's YOLOX-Nano, 416 x 416, 80
COCO classes, Apache-2.0): BGR from 0 to 255, letterboxed with 114 at the right and bottom, raw grid
output at strides 8, 16 and 32.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
from PIL import Image

from labelfix.boxes import iou

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

SIDE, GREY, STRIDES = 416, 114, (8, 16, 32)
FLOOR, NMS_IOU = 0.01, 0.65


def predict(model: Path, images: dict[str, Path], class_names: list[str]) -> pl.DataFrame:
    """Predict boxes of images by item id, with class vectors, from confidence .01 on."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    tables = [
        _table(item_id, class_names, *_detect(session, path)) for item_id, path in images.items()
    ]
    return pl.concat(tables)


def _detect(session: Any, path: Path) -> tuple[NDArray[np.float64], NDArray[np.float32]]:
    """Boxes in pixels and confidence in each class of one image."""
    with Image.open(path) as file:
        image = file.convert("RGB")
    scale = min(SIDE / image.width, SIDE / image.height)
    small = image.resize(
        (int(image.width * scale), int(image.height * scale)), Image.Resampling.BILINEAR
    )
    canvas = np.full((SIDE, SIDE, 3), GREY, np.uint8)
    canvas[: small.height, : small.width] = np.asarray(small)
    rows = session.run(
        None, {"images": canvas[None, :, :, ::-1].transpose(0, 3, 1, 2).astype(np.float32)}
    )[0][0]
    grid = np.concatenate(
        [np.indices((SIDE // s, SIDE // s))[::-1].reshape(2, -1).T for s in STRIDES]
    )
    stride = np.repeat(STRIDES, [(SIDE // s) ** 2 for s in STRIDES])[:, None]
    centre, half = (rows[:, :2] + grid) * stride, np.exp(rows[:, 2:4]) * stride / 2
    box = np.concatenate([centre - half, centre + half], axis=1).astype(np.float64) / scale
    probs = rows[:, 4:5] * rows[:, 5:]
    kept = np.flatnonzero(probs.max(axis=1) >= FLOOR)
    kept = kept[_nms(box[kept], probs[kept])]
    return box[kept], probs[kept]


def _nms(box: NDArray[np.float64], probs: NDArray[np.float32]) -> NDArray[np.int64]:
    """Of boxes of one class that overlap the surest stays; surest first."""
    label = probs.argmax(axis=1)
    left = np.argsort(-probs.max(axis=1), kind="stable")
    stays = []
    while len(left):
        first, rest = left[0], left[1:]
        stays.append(first)
        left = rest[(iou(box[first], box[rest]) <= NMS_IOU) | (label[rest] != label[first])]
    return np.array(stays, np.int64)


def _table(
    item_id: str, class_names: list[str], box: NDArray[np.float64], probs: NDArray[np.float32]
) -> pl.DataFrame:
    label = probs.argmax(axis=1)
    return pl.DataFrame(
        {
            "item_id": pl.Series([item_id] * len(box), dtype=pl.String),
            "label": pl.Series(class_names, dtype=pl.String).gather(label),
            "score": probs.max(axis=1, initial=0).astype(np.float64),
            **{edge: box[:, i] for i, edge in enumerate(("x1", "y1", "x2", "y2"))},
            "pred_probs": pl.Series(probs, dtype=pl.Array(pl.Float32, len(class_names))),
        }
    )
