"""A part of a box dataset as files of its own format: what is kept stands there as it was read.

Ids, categories, unknown members, numbers and layout stay. A part that is everything gives the same
bytes, but for the place that a YOLO data file names.
"""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

import polars as pl

from labelfix.formats.files import read_as_was

if TYPE_CHECKING:
    from collections.abc import Iterator

    from labelfix.formats.coco.text import Change
    from labelfix.schema import Dataset

__all__ = ["has_own_files", "part_files"]

File = tuple[str, bytes]


def has_own_files(dataset: Dataset) -> bool:
    """Whether a dataset is, or is a part of, one COCO, YOLO or VOC dataset that was read."""
    return dataset.format in {"coco", "yolo", "voc"} and bool(dataset.source)


def part_files(dataset: Dataset, to: Path) -> Iterator[File]:
    """Give the annotation files of a part of a dataset: paths from its root, and contents.

    Parameters
    ----------
    dataset
        As a box format read it, then filtered by its items. Images are not given.
    to
        Folder where the part is to be, for YOLO data files, which may name it.

    Raises
    ------
    InputError
        If a file changed since it was read.
    """
    if dataset.format == "coco":
        yield _coco(dataset)
    elif dataset.format == "yolo":
        from labelfix.formats.yolo.relocate import relocated

        yield from relocated(dataset, _yolo(dataset), to)
    else:
        yield from _voc(dataset)


def _read(dataset: Dataset, path: str, was: str | None) -> bytes | None:
    return read_as_was(dataset.root or Path(), path, was)  # a dataset that was read has a root


def _coco(dataset: Dataset) -> File:
    """Take images that are not kept, and their annotations, out of the document."""
    from labelfix.formats.coco.document import parse
    from labelfix.formats.coco.text import Document

    path = dataset.source["path"]
    data = _read(dataset, path, dataset.source["digest"]) or b""
    parsed = parse(path, data)
    document = Document(data)
    kept = {str(key) for key in dataset.items["image_id"]}
    owners = {
        "images": [str(image.id) for image in parsed.images],
        "annotations": [str(box.image_id) for box in parsed.annotations],
    }
    changes: list[Change] = []
    for name, of in owners.items():
        places = parsed.rows.get(name, range(len(of)))
        left = [place for place, key in zip(places, of, strict=True) if key in kept]
        if len(left) < len(document.elements(name)):
            changes += document.removals(name, left)
    return path, document.changed(changes)


def _yolo(dataset: Dataset) -> Iterator[File]:
    """Give the data file, the lists without the images that are not kept, and the label files."""
    source = dataset.source
    kept = dataset.items["item_id"]
    labels = source["files"].filter(pl.col("item_id").is_in(kept.implode())).unique("path")
    for path, was in [*source["others"], *labels.select("path", "digest").sort("path").rows()]:
        data = _read(dataset, path, was)
        if data is not None:
            yield path, _shorter(dataset, path, data) if path in source["lists"] else data


def _shorter(dataset: Dataset, place: str, data: bytes) -> bytes:
    """Take the lines of images that are not kept out of a list."""
    from labelfix.formats.yolo.data import BOM, named_items

    root, base = dataset.root or Path(), dataset.source["base"]
    kept = set(dataset.items["item_id"])

    def stays(line: str) -> bool:
        text = line.strip()
        items = named_items(root, base, place, text)
        return not text or next((one for one in items if (root / one).is_file()), "") in kept

    bom = BOM if data.startswith(BOM) else b""
    lines = data.removeprefix(BOM).decode().splitlines(keepends=True)
    return bom + "".join(line for line in lines if stays(line)).encode()


def _voc(dataset: Dataset) -> Iterator[File]:
    """Give the files of the images that are kept, and the lists of splits without the others."""
    files: pl.DataFrame = dataset.source["files"]
    here = pl.col("item_id").is_in(dataset.items["item_id"].implode())
    for path, was in files.filter(here).select("path", "digest").rows():
        yield path, _read(dataset, path, was) or b""
    stems, gone = (
        {PurePosixPath(path).stem.encode() for path in files.filter(rows)["path"]}
        for rows in (here, ~here)
    )
    root = dataset.root or Path()
    for place in sorted((root / "ImageSets").rglob("*.txt")):
        if not (place.is_file() and place.resolve().is_relative_to(root.resolve())):
            continue  # a folder of such a name, or a link to what is not of the dataset
        lines = place.read_bytes().splitlines(keepends=True)
        left = [line for line in lines if (gone - stems).isdisjoint(_named(line))]
        yield place.relative_to(root).as_posix(), b"".join(left)


def _named(line: bytes) -> set[bytes]:
    """Give the stems that a line of a list can mean: a flag may follow."""
    return {line.strip(), *line.rsplit(maxsplit=1)[:1]}
