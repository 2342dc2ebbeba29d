"""COCO: one JSON document with lists of images, annotations and categories.

Boxes are `[x, y, width, height]` in pixels of an image of the stated width and height. Images are
looked for beside the document and in the folders that people keep them in, under their `file_name`;
the dataset's root is the folder that holds both. Where none is found the dataset has no pictures,
and says so; where some are missing that is an error.

`annotation_id` is the annotation's `id`; `item_id` the image's path from the root. The items have a
column `image_id`, the annotations `area` and `ignore` as written; `crowd` is `iscrowd`.

Reading 300,000 boxes takes the file's size and about 200 MB for a moment; polygons and masks are
stepped over. Patching edits the text, so that ids, unknown members, the order of keys, numbers and
layout stay as they are.
"""

from __future__ import annotations

import mmap
import os
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import polars as pl

from labelfix.boxes import COCO
from labelfix.errors import Problem, warn_caller
from labelfix.formats.coco.document import parse
from labelfix.formats.coco.edit import Manner, rewrite
from labelfix.formats.edits import plan
from labelfix.formats.files import digest, inside, lowest_common, patch_files
from labelfix.formats.imagefiles import broken_images
from labelfix.formats.oddities import keep_or_raise, name_classes, warn_of_odd_boxes
from labelfix.schema import BOX, Dataset

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import PurePosixPath

    from numpy.typing import NDArray

    from labelfix.formats import ReadOptions
    from labelfix.formats.coco.document import Annotation, Category, Id, Image, Parsed
    from labelfix.formats.edits import Segmentation

__all__ = ["patched", "read", "recognises"]

FOLDERS = ("", "images", "data", "JPEGImages", "{split}", "images/{split}")
"""Where images are looked for, beside the document and one folder up; {split} is what is left of
the document's name, `instances_val2017.json`, without its first word."""


def recognises(path: Path) -> bool:
    """Whether `path` is a JSON file with a list of images and one of annotations.

    One of them is enough in a file that is cut short, so that this is what is said of it.
    """
    if path.suffix.lower() != ".json" or not path.is_file() or not path.stat().st_size:
        return False
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as text:
        if not text[:64].lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"{"):
            return False
        found = [text.find(name) >= 0 for name in (b'"annotations"', b'"images"')]
        return all(found) or (any(found) and not text[-64:].rstrip().endswith(b"}"))


def read(path: Path, options: ReadOptions) -> Dataset:
    """Read a COCO document.

    Parameters
    ----------
    path
        The JSON file.
    options
        `images` is the folder that `file_name` is relative to; looked for if None.

    Raises
    ------
    InputError
        Naming every image, annotation and category that cannot be used, with its line.
    """
    data = path.read_bytes()
    with ThreadPoolExecutor(1) as beside:  # hashing lets other threads run
        hashed = beside.submit(digest, data)
        parsed = parse(path.name, data)
    pictures = _find_pictures(path, parsed.images, options.images)
    items, rows, problems = _items(parsed, pictures, options)
    class_names, twice = _class_names(parsed)
    annotations, bad = _annotations(parsed, class_names, items, rows)
    problems = [*parsed.problems, *problems, *twice, *bad]
    if not parsed.images and not problems:
        problems.append(Problem(path.name, "no images", "some"))
    keep_or_raise(problems, skip_bad=options.skip_bad and not items.is_empty())
    warn_of_odd_boxes(items, annotations, pl.format("{} in {}", "annotation_id", "item_id"))
    return Dataset(
        items=items,
        annotations=annotations,
        class_names=class_names,
        format="coco",
        root=pictures.root,
        skipped=tuple(problems),
        source={
            "path": inside(pictures.root, path.absolute()),
            "digest": hashed.result(),
            "category_ids": tuple(category.id for category in parsed.categories),
            "rows": parsed.rows.get("annotations"),
        },
    )


def _class_names(parsed: Parsed) -> tuple[tuple[str, ...], list[Problem]]:
    """Name the classes, leaving out of `parsed` those with the id of another one."""
    ids = _ids([category.id for category in parsed.categories])
    test = ~pl.col("id").is_first_distinct()
    tests = [(test, "with id {0.id!r} again", "its own id")]
    left_out, problems = _judge(
        parsed, "categories", parsed.categories, pl.DataFrame({"id": ids}), tests
    )
    parsed.categories = [parsed.categories[row] for row in (~left_out).arg_true()]
    names = [category.name for category in parsed.categories]
    return name_classes(
        names, [category.id for category in parsed.categories], parsed.name
    ), problems


# ---------------------------------------------------------------- pictures


class _Pictures(NamedTuple):
    """Where the images of a document are."""

    root: Path
    folder: Path | None
    """What `file_name` is relative to; None if no image was found."""


def _find_pictures(path: Path, images: Sequence[Image], given: Path | None) -> _Pictures:
    """Take the folder in which most of a sample of the images are."""
    home = path.absolute().parent
    if given is not None:
        return _Pictures(lowest_common(home, given.absolute()), given.absolute())
    split = path.stem.partition("_")[2] or path.stem
    places = [base / sub.format(split=split) for base in (home, home.parent) for sub in FOLDERS]
    sample = images[:: max(1, len(images) // 20)]
    found = [sum((place / image.file_name).is_file() for image in sample) for place in places]
    if any(found):
        best = places[found.index(max(found))]
        return _Pictures(lowest_common(home, best), best)
    if images:
        warn_caller(
            f"{path.name}: none of its images was found beside it or one folder up; going on "
            "without pictures (give the folder of the images to have them)"
        )
    return _Pictures(home, None)


def _items(
    parsed: Parsed, pictures: _Pictures, options: ReadOptions
) -> tuple[pl.DataFrame, NDArray[np.int64], list[Problem]]:
    """Items; the row of each image among them, -1 where it is left out; and why it is."""
    images = parsed.images
    folder = pictures.folder or pictures.root
    names = pl.Series("name", [image.file_name for image in images], dtype=pl.String)
    item_ids = _relative(names, pictures.root, folder)
    table = pl.DataFrame(
        {
            "item_id": item_ids,
            "width": pl.Series([image.width for image in images], dtype=pl.Float64),
            "height": pl.Series([image.height for image in images], dtype=pl.Float64),
            "image_id": _ids([image.id for image in images]),
        }
    ).with_columns(
        pl.col("width", "height").cast(pl.Int64, strict=False),
        is_there=pl.lit(value=True)
        if pictures.folder is None
        else _present(pictures.root, item_ids),
    )
    left_out, problems = _judge(
        parsed,
        "images",
        images,
        table,
        [
            (~pl.col("image_id").is_first_distinct(), "with id {0.id!r} again", "its own id"),
            (
                pl.col("item_id").is_null(),
                "{0.file_name!r}, which leaves the dataset's root",
                "a path inside it",
            ),
            (~pl.col("item_id").is_first_distinct(), "{0.file_name!r} again", "each image once"),
            (~pl.col("is_there"), "{0.file_name!r}, which is not there", f"a file in {folder}"),
        ],
    )
    if pictures.folder is not None:
        there = (~left_out).arg_true()
        paths = table["item_id"].gather(there).to_list()
        broken = broken_images(pictures.root, paths, options.max_pixels, options.progress)
        left_out[there.gather(list(broken))] = True
        problems += broken.values()
    items = table.filter(~left_out).select(
        "item_id",
        *([] if pictures.folder is None else [pl.col("item_id").alias("path")]),
        "width",
        "height",
        "image_id",
    )
    rows = np.where(left_out.to_numpy(), -1, (~left_out).cum_sum().to_numpy().astype(np.int64) - 1)
    return items, rows, problems


def _relative(names: pl.Series, root: Path, folder: Path) -> pl.Series:
    """Paths from the root of files named from `folder`; null where they leave the root."""
    prefix = "" if folder == root else f"{inside(root, folder)}/"
    paths = prefix + names
    odd = names.str.contains(r"(^|/)\.{0,2}(/|$)").arg_true()
    mended = pl.Series([inside(root, folder / names[row]) for row in odd], dtype=pl.String)
    return paths.scatter(odd, mended) if len(odd) else paths


def _present(root: Path, paths: pl.Series) -> pl.Series:
    """Whether each file is there, listing each folder once."""
    folders = paths.str.replace(r"/?[^/]*$", "")
    listed = {
        folder: set(next(os.walk(root / folder), ("", [], []))[2])
        for folder in folders.drop_nulls().unique()
    }
    known = [
        path is not None and path.rpartition("/")[2] in listed[folder]
        for path, folder in zip(paths, folders, strict=True)
    ]
    return pl.Series(known, dtype=pl.Boolean)


def _ids(ids: list[Id]) -> pl.Series:
    """Ids as Int64 if all are integers, else as text."""
    try:
        return pl.Series(ids, dtype=pl.Int64)
    except (TypeError, OverflowError):
        return pl.Series([str(key) for key in ids], dtype=pl.String)


def _rows(keys: list[Id], among: list[Id]) -> pl.Series:
    """Row of the first of `among` that each key equals, -1 if none does."""
    left, right = _ids(keys), _ids(among)
    if left.dtype != right.dtype:
        left, right = left.cast(pl.String), right.cast(pl.String)
    first = pl.DataFrame({"key": right}).with_row_index("row").unique("key", keep="first")
    found = pl.DataFrame({"key": left}).join(first, on="key", how="left", maintain_order="left")
    return found["row"].cast(pl.Int64).fill_null(-1)


def _judge(
    parsed: Parsed,
    part: str,
    elements: Sequence[Image | Annotation | Category],
    table: pl.DataFrame,
    tests: list[tuple[pl.Expr, str, str]],
) -> tuple[pl.Series, list[Problem]]:
    """Which elements of a list fail a test, and what the first one is that each fails."""
    left_out = pl.repeat(value=False, n=table.height, dtype=pl.Boolean, eager=True)
    problems: list[Problem] = []
    for test, found, expected in tests:
        fails = table.select(test.fill_null(value=False)).to_series() & ~left_out
        problems += [
            parsed.problem(part, row, found.format(elements[row]), expected)
            for row in fails.arg_true()
        ]
        left_out |= fails
    return left_out, problems


def _annotations(
    parsed: Parsed,
    class_names: tuple[str, ...],
    items: pl.DataFrame,
    item_rows: NDArray[np.int64],
) -> tuple[pl.DataFrame, list[Problem]]:
    """Annotations in item order, and why some are left out."""
    boxes = parsed.annotations
    table = pl.DataFrame(
        {
            "annotation_id": _ids([box.id for box in boxes]).cast(pl.String),
            "image": _rows([box.image_id for box in boxes], [one.id for one in parsed.images]),
            "class": _rows([box.category_id for box in boxes], [c.id for c in parsed.categories]),
        }
    )
    left_out, problems = _judge(
        parsed,
        "annotations",
        boxes,
        table,
        [
            (~pl.col("annotation_id").is_first_distinct(), "with id {0.id!r} again", "its own id"),
            (pl.col("image") < 0, "for image_id {0.image_id!r}", "the id of an image"),
            (pl.col("class") < 0, "with category_id {0.category_id!r}", "the id of a category"),
        ],
    )
    item = item_rows[table["image"].to_numpy()] if len(item_rows) else table["image"].to_numpy()
    kept = np.flatnonzero(~left_out.to_numpy() & (item >= 0))
    order = kept[np.argsort(item[kept], kind="stable")]
    return _columns(parsed, class_names, items, table, item, order), problems


def _columns(
    parsed: Parsed,
    class_names: tuple[str, ...],
    items: pl.DataFrame,
    table: pl.DataFrame,
    item: NDArray[np.int64],
    order: NDArray[np.int64],
) -> pl.DataFrame:
    """Make the annotations table of the rows in `order`."""
    boxes = parsed.annotations
    values = np.fromiter(chain.from_iterable([box.bbox for box in boxes]), float, 4 * len(boxes))
    corners = COCO.to_pixels(values.reshape(-1, 4)[order])
    flags = {
        "crowd": [bool(box.iscrowd) for box in boxes],
        "ignore": [bool(box.ignore) for box in boxes],
    }
    return pl.DataFrame(
        {
            "annotation_id": table["annotation_id"].gather(order),
            "item_id": items["item_id"].gather(item[order]),
            "label": pl.Series(class_names, dtype=pl.String).gather(table["class"].gather(order)),
            **{edge: corners[:, i] for i, edge in enumerate(BOX)},
            **{name: np.array(flag, dtype=bool)[order] for name, flag in flags.items()},
            "area": pl.Series([box.area for box in boxes], dtype=pl.Float64).gather(order),
        }
    )


# ---------------------------------------------------------------- writing


def patched(
    dataset: Dataset, corrections: pl.DataFrame, *, segmentation: Segmentation = "keep"
) -> Iterator[tuple[PurePosixPath, bytes]]:
    """Give the document as it must be after the corrections: the same text but for what they name.

    A new annotation goes to the end of the list, with the next free id, the members that the one
    before it has of id, image_id, category_id, bbox, area, iscrowd and segmentation (empty), and in
    its layout. A box to ignore gets `iscrowd: 1`, the one mark that COCO's evaluation heeds, and
    `ignore: 1` where it has that member. The area follows the box where it was width times height.

    Parameters
    ----------
    dataset
        As `read` gave it.
    corrections
        Table with the columns of `labelfix.schema.CORRECTIONS`.
    segmentation
        The polygon or mask of an annotation whose box is corrected no longer fits it: `keep` leaves
        it, with a warning that names the annotations; `drop` makes it an empty list.

    Returns
    -------
    iterator of tuple
        Path relative to the dataset's root, and content: one document.

    Raises
    ------
    InputError
        If a correction cannot be carried out or the file changed since it was read.
    """
    made = plan(dataset, corrections)
    path, was = dataset.source["path"], dataset.source["digest"]
    category_ids = dict(zip(dataset.class_names, dataset.source["category_ids"], strict=True))
    image_ids = dict(dataset.items.select("item_id", "image_id").iter_rows())
    manner = Manner(category_ids, image_ids, segmentation, dataset.source["rows"])
    return patch_files(
        dataset.root or Path(),  # a dataset that was read has a root
        [(path, was)],
        [path] if made else [],
        lambda _, data: rewrite(data or b"", made, manner),
    )
