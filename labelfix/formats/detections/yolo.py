"""YOLO predictions: a folder of text files, one an image, one row a box.

A row is `class centre-x centre-y width height confidence`, as fractions of the image: what
Ultralytics writes with `save_txt=True, save_conf=True`. A class, three or more corners and a
confidence are a polygon, read as the box around it. The file of an image has its name, in folders
like the image's, like its label file's, or in none. An image without a file has no predictions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from labelfix.boxes import YOLO
from labelfix.errors import InputError, Problem
from labelfix.formats.detections.found import Found, Images
from labelfix.formats.imagefiles import shown_size
from labelfix.formats.yolo.data import label_path
from labelfix.formats.yolo.rows import POLYGON, split_rows
from labelfix.schema import BOX

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from labelfix.schema import Dataset

__all__ = ["read"]

EXPECTED = "6: class, centre x and y, width, height, confidence"


def read(folder: Path, dataset: Dataset) -> Found:
    """Read a folder of prediction files.

    Raises
    ------
    InputError
        If there are none, or the size of an image is not known.
    """
    files = sorted(folder.rglob("*.txt"))
    if not files:
        raise InputError(Problem(str(folder), "no .txt files", "one for each image with boxes"))
    names = pl.Series(
        [file.relative_to(folder).with_suffix("").as_posix() for file in files], dtype=pl.String
    )
    labels = [label_path(item).removesuffix(".txt") for item in dataset.items["item_id"]]
    items = Images(dataset.items["item_id"], [labels]).rows(names)
    rows = split_rows([file.read_bytes() for file in files])

    def place(row: int, found: str, expected: str = "", fix: str = "") -> Problem:
        at = good["file"][row], good["line"][row]
        return Problem(str(files[at[0]]), found, expected, fix, at[1])

    length = pl.col("length")
    fits = (length == 6) | ((length >= 8) & (length % 2 == 0))
    good, bad = rows.filter(fits), rows.filter(~fits)
    problems = [
        Problem(
            str(files[row["file"]]),
            f"{row['length']} numbers",
            EXPECTED,
            "predict with save_conf=True" if row["length"] == 5 else "",
            row["line"],
        )
        for row in bad.iter_rows(named=True)
    ]
    numbers = good["tokens"].explode().cast(pl.Float64, strict=False)
    file = good["file"].cast(pl.Int64)
    item = items.gather(file)
    box, score = _numbers(numbers.to_numpy(), good["length"].to_numpy())
    box = np.where(
        (good["length"].to_numpy() == 6)[:, None],
        YOLO.to_pixels(box, sizes := _sizes(dataset, item)),
        POLYGON.to_pixels(box, sizes),
    )
    key = good["tokens"].list.first().str.replace(r"\.0+$", "")
    codes = [str(code) for code in range(len(dataset.class_names))]
    boxes = pl.DataFrame(
        {
            "image": names.gather(file),
            "item": item,
            "key": key,
            "name": key.replace_strict(
                codes, dataset.class_names, default=None, return_dtype=pl.String
            ),
            "score": score,
            **{edge: box[:, i] for i, edge in enumerate(BOX)},
        },
    )
    return Found(boxes, place, numbered=True, problems=problems)


def _numbers(
    numbers: NDArray[np.float64], length: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Give the four numbers of each box, as written or the corners around a polygon; confidence."""
    end = np.cumsum(length)
    first = end - length
    box = np.full((len(length), 4), np.nan)
    plain = length == 6
    box[plain] = numbers[first[plain, None] + np.arange(1, 5)]
    for row in np.flatnonzero(~plain):
        corners = numbers[first[row] + 1 : end[row] - 1].reshape(-1, 2)
        box[row] = [*corners.min(axis=0), *corners.max(axis=0)]
    return box, numbers[end - 1]


def _sizes(dataset: Dataset, item: pl.Series) -> NDArray[np.float64]:
    """Width and height of each row's image, shape (n, 2); 1 where the item is not known."""
    known = np.full((len(dataset), 2), np.nan)
    if {"width", "height"} <= set(dataset.items.columns):
        known = dataset.items.select(pl.col("width", "height").cast(pl.Float64)).to_numpy().copy()
    needed = item.filter(item >= 0).unique().to_numpy()
    problems = []
    for row in needed[np.isnan(known[needed]).any(axis=1)]:
        name = dataset.items["item_id"][int(row)]
        try:
            known[row] = shown_size((dataset.image_paths or [])[row])
        except (ValueError, IndexError):
            problems.append(Problem(name, "no width and height", "an image or its size"))
    if problems:
        raise InputError(problems)
    rows = item.to_numpy()
    return np.where((rows >= 0)[:, None], known[np.maximum(rows, 0)], 1.0)
