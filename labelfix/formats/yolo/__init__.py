"""YOLO: a `data.yaml` that names image folders or lists, and a text file of rows for each image.

A row is `class centre-x centre-y width height`, as fractions of the image *as it is shown*: one
whose EXIF data says that it lies on its side is turned first, as OpenCV and Ultralytics do. A row
of a class and three or more corners is a polygon; it is read as the box around it and stays a
polygon in the file. Oriented boxes and keypoints are refused: where the YAML says so (`task: obb`,
`kpt_shape`), where every row has eight numbers after its class, and where every row is a box with
as many points inside it, each of two numbers, or three of which the last is 0, 1 or 2. `task:
segment` says that rows are polygons all the same.

The label file of an image is found by putting `labels` for the last folder `images` in its path and
`.txt` for its suffix. A missing label file means no boxes, and stays missing; an empty one stays
empty. Lines that are blank or start with `#` are passed over, and kept.

The dataset's root is what `path` in the YAML names, relative to the YAML's folder; if the images
are not there (it often names a folder of the machine it was written on), the YAML's own folder.
`annotation_id` is the label file and the line in it, from 1: `labels/train/a.txt:3`.
"""

from __future__ import annotations

import os
import warnings
from functools import partial
from multiprocessing.pool import ThreadPool
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import polars as pl

from labelfix.boxes import YOLO
from labelfix.errors import InputError, Problem, warn_caller
from labelfix.formats.edits import plan
from labelfix.formats.files import digest, patch_files
from labelfix.formats.imagefiles import shown_size
from labelfix.formats.numbers import NumberStyle
from labelfix.formats.oddities import keep_or_raise, warn_of_odd_boxes
from labelfix.formats.yolo.data import (
    Data,
    Listed,
    data_file,
    label_path,
    list_images,
    load_data,
    other_files,
)
from labelfix.formats.yolo.rows import POLYGON, Change, Manner, coordinates, parse, rewrite
from labelfix.schema import BOX, Dataset

if TYPE_CHECKING:
    from collections.abc import Iterator

    from labelfix.formats import ReadOptions
    from labelfix.formats.edits import Edit, Plan, Segmentation

__all__ = ["patched", "read", "recognises"]

BLOCK = 4096
"""Images read and parsed at once. Decides memory and speed, no result."""

ORIENTED = 9
"""Numbers in the row of an oriented box: a class and four corners."""

FEW = 5
"""Rows from which all of them are not polygons by chance that look like a box with points in it."""

FIX = "if they are polygons, put `task: segment` into the data file"

STYLE_FILES = 200
"""Label files looked at to see how a dataset writes its numbers."""


def recognises(path: Path) -> bool:
    """Whether `path` is a YOLO data file, or a folder with one in it."""
    return data_file(path) is not None


def read(path: Path, options: ReadOptions) -> Dataset:
    """Read a YOLO dataset.

    Parameters
    ----------
    path
        The data file, or a folder with one in it.
    options
        `images` is the folder that the paths in the data file are relative to, instead of the one
        that it names.

    Raises
    ------
    InputError
        Naming every broken row, image and list entry with its file and line.
    """
    file = data_file(path)
    if file is None:
        raise InputError(
            Problem(str(path), "no YOLO data file", "a data.yaml with train and names")
        )
    data = load_data(file, options.images)
    listing = list_images(data)
    images, problems = listing.images, listing.problems
    items, annotations, files, bad = _read_files(data, images, options)
    problems = problems + bad
    if not images and not problems:
        problems.append(Problem(file.name, f"no images in {data.root}", "some"))
    if not data.says_polygons and (doubt := _no_polygons(annotations)):
        raise InputError([Problem(file.name, doubt, "boxes or polygons", FIX), *problems])
    keep_or_raise(problems, skip_bad=options.skip_bad and not items.is_empty())
    _warn_of_doubtful_files(data, files, annotations)
    polygons = int(annotations["polygon"].sum())
    annotations = annotations.drop("length", "polygon", "points")
    if files["path"].is_duplicated().any():
        annotations = annotations.with_columns(annotation_id=_OWN_ID)
    warn_of_odd_boxes(items, annotations)
    return Dataset(
        items=items,
        annotations=annotations,
        class_names=data.class_names,
        format="yolo",
        root=data.root,
        skipped=tuple(problems),
        source={
            "files": files,
            "others": other_files(data, listing),
            "lists": tuple(listing.lists),
            "folders": tuple(listing.folders),
            "file": data.file.absolute(),
            "base": data.base,
            "polygons": 2 * polygons > annotations.height,
        },
    )


_OWN_ID = (
    pl.when(pl.col("annotation_id").is_duplicated())
    .then(pl.format("{} of {}", "annotation_id", "item_id"))
    .otherwise("annotation_id")
)
"""Tells the rows of a label file apart that two images share."""


def _read_files(
    data: Data, images: list[Listed], options: ReadOptions
) -> tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame, list[Problem]]:
    """Items, annotations and label files, block by block, and what is wrong with any of them."""
    blocks: list[tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame]] = []
    problems: list[Problem] = []
    with ThreadPool(min(8, os.cpu_count() or 1)) as pool, warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="PIL")  # of sizes and metadata: no pixel is read
        for start in range(0, max(1, len(images)), BLOCK):
            block = images[start : start + BLOCK]
            work = partial(_load, data.root, options.max_pixels)
            loaded = pool.map(work, [image.item_id for image in block], chunksize=32)
            tables, bad = _tables(data, block, loaded)
            blocks.append(tables)
            problems += bad
            if options.progress:
                options.progress("reading images and labels", start + len(block), len(images))
    items, annotations, files = (pl.concat(tables) for tables in zip(*blocks, strict=True))
    return items, annotations, files, problems


def _tables(
    data: Data, block: list[Listed], loaded: list[_Loaded]
) -> tuple[tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame], list[Problem]]:
    """Items, annotations and label files of some images."""
    paths = [label_path(image.item_id) for image in block]
    rows, problems = parse([load.data for load in loaded], paths, len(data.class_names))
    problems += [problem for load in loaded for problem in load.problems]
    item_ids = pl.Series("item_id", [image.item_id for image in block], dtype=pl.String)
    items = pl.DataFrame(
        {
            "item_id": item_ids,
            "path": item_ids,
            "split": pl.Series([image.split for image in block], dtype=pl.String),
            "width": pl.Series([load.width for load in loaded], dtype=pl.Int64),
            "height": pl.Series([load.height for load in loaded], dtype=pl.Int64),
        }
    )
    digests = [None if load.data is None else digest(load.data) for load in loaded]
    files = pl.DataFrame(
        {"item_id": item_ids, "path": paths, "digest": digests},
        schema_overrides={"path": pl.String, "digest": pl.String},
    )
    good = pl.Series([not load.problems for load in loaded], dtype=pl.Boolean)
    rows = rows.filter(good.gather(rows["file"]))
    return (items.filter(good), _annotations(rows, items, paths, data.class_names), files), problems


def _annotations(
    rows: pl.DataFrame, items: pl.DataFrame, paths: list[str], class_names: tuple[str, ...]
) -> pl.DataFrame:
    """Rows as annotations, in pixels; with `length`, `polygon` and `points`."""
    item = items[rows["file"]]
    sizes = item.select("width", "height").to_numpy()
    values = rows.select("v0", "v1", "v2", "v3").to_numpy()
    polygon = rows["polygon"].to_numpy()[:, None]
    boxes = np.where(polygon, POLYGON.to_pixels(values, sizes), YOLO.to_pixels(values, sizes))
    label = pl.Series(class_names, dtype=pl.String).gather(rows["code"])
    path = pl.Series(paths, dtype=pl.String).gather(rows["file"])
    return pl.DataFrame(
        {
            "annotation_id": path + ":" + rows["line"].cast(pl.String),
            "item_id": item["item_id"],
            "label": label,
            **{edge: boxes[:, i] for i, edge in enumerate(BOX)},
            "crowd": pl.repeat(value=False, n=rows.height, dtype=pl.Boolean, eager=True),
            "polygon": rows["polygon"],
            "length": rows["length"],
            "points": rows["points"],
        }
    )


def _no_polygons(annotations: pl.DataFrame) -> str | None:
    """Say what rows that could be polygons are in truth, judged by all of them together."""
    length = annotations["length"]
    if length.is_empty() or length.n_unique() > 1:
        return None
    if length[0] == ORIENTED:
        return "eight numbers after the class in every row: oriented boxes"
    each = annotations["points"].to_numpy()
    if length[0] > ORIENTED and len(length) >= FEW and each.all():
        points = (length[0] - 5) // each.max()
        return f"a box and {points} points inside it in every row: keypoints"
    return None


def _warn_of_doubtful_files(data: Data, files: pl.DataFrame, annotations: pl.DataFrame) -> None:
    """Say what looks like a mistake about the whole dataset."""
    if files["digest"].null_count() == files.height:
        warn_caller(f"no image has a label file: looked for {files['path'][0]} and the like")
    oriented = int((annotations["length"] == ORIENTED).sum())
    if not data.says_polygons and 2 * oriented > annotations.height:
        warn_caller(
            f"{oriented:,} of {annotations.height:,} rows have eight numbers after their class, "
            "taken for the corners of polygons; of oriented boxes, which are not supported, only "
            f"the boxes around them would be seen ({FIX})"
        )


class _Loaded(NamedTuple):
    """Size of an image as shown, and its label file's content; None if missing."""

    width: int
    height: int
    data: bytes | None
    problems: list[Problem]


def _load(root: Path, max_pixels: int, item_id: str) -> _Loaded:
    problems = []
    width = height = 0
    data = None
    try:
        width, height = shown_size(root / item_id, max_pixels)
    except ValueError as error:
        problems.append(Problem(item_id, f"an image that cannot be read ({error})"))
    label = label_path(item_id)
    try:
        data = (root / label).read_bytes()
    except FileNotFoundError:
        pass
    except OSError as error:
        problems.append(Problem(label, f"a label file that cannot be read ({error})"))
    return _Loaded(width, height, data, problems)


def patched(
    dataset: Dataset, corrections: pl.DataFrame, *, segmentation: Segmentation = "keep"
) -> Iterator[tuple[PurePosixPath, bytes]]:
    """Every annotation file as it must be after the corrections, line by line as it was elsewhere.

    New rows go to the end of the file, in the style of its numbers. A label file that was missing
    is made when a box is added; one whose last row is deleted stays, empty: an image known to have
    nothing on it. The data file and the lists are given unchanged where they are inside the root.

    Parameters
    ----------
    dataset
        As `read` gave it.
    corrections
        Table with the columns of `labelfix.schema.CORRECTIONS`. YOLO cannot mark a box to be
        ignored, so `ignore` is refused.
    segmentation
        A polygon no longer fits when its box is corrected. `keep` refuses the correction; `drop`
        puts the four corners of the new box for the polygon.

    Returns
    -------
    iterator of tuple
        Path relative to the dataset's root, and content.

    Raises
    ------
    InputError
        If a correction cannot be carried out or a file changed since it was read, before anything
        is given.
    """
    listed = dataset.source["files"].select("path", "digest").unique("path", maintain_order=True)
    files: list[tuple[str, str | None]] = listed.rows()
    root = dataset.root or Path()  # a dataset that was read has a root
    changes = _by_file(dataset, plan(dataset, corrections))
    manner = Manner(
        {name: code for code, name in enumerate(dataset.class_names)},
        _style(root, [path for path, was in files if was]) if changes else NumberStyle(),
        dataset.source["polygons"],
        segmentation,
    )
    return patch_files(
        root,
        [*dataset.source["others"], *files],
        changes,
        lambda path, data: rewrite(path, data or b"", changes[path], manner),
    )


def _refuse_shared(dataset: Dataset, made: Plan, shared: pl.DataFrame) -> None:
    """Refuse corrections of boxes in label files that several images share."""
    given = dataset.annotations.filter(pl.col("annotation_id").is_in(list(made.edits)))
    touched = given["item_id"].to_list() + list(made.added)
    bad = shared.filter(pl.col("item_id").is_in(touched))
    if len(bad):
        raise InputError(
            Problem(
                item,
                f"a correction in {path}, which is another image's label file too",
                "a label file of its own",
                "rename one of the images and its copy of the label file",
            )
            for item, path in bad.select("item_id", "path").iter_rows()
        )


def _style(root: Path, paths: list[str]) -> NumberStyle:
    """How the dataset writes numbers, from the first of its files."""
    texts = [(root / path).read_bytes() for path in paths[:STYLE_FILES] if (root / path).exists()]
    return NumberStyle.of(token for text in texts for token in coordinates(text))


def _by_file(dataset: Dataset, made: Plan) -> dict[str, Change]:
    """Corrections by the label file that they change."""
    files: pl.DataFrame = dataset.source["files"]
    _refuse_shared(dataset, made, files.filter(pl.col("path").is_duplicated()))
    rows: dict[str, dict[int, Edit]] = {}
    for annotation_id, edit in made.edits.items():
        path, _, line = annotation_id.rpartition(":")
        rows.setdefault(path, {})[int(line)] = edit
    touched = files.filter(
        pl.col("path").is_in(list(rows)) | pl.col("item_id").is_in(list(made.added))
    )
    sized = touched.join(dataset.items, on="item_id")
    return {
        path: Change((width, height), rows.get(path, {}), made.added.get(item, []))
        for path, item, width, height in sized.select(
            "path", "item_id", "width", "height"
        ).iter_rows()
    }
