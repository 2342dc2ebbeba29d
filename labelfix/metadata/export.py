"""A part of a dataset, gathered with its facts, and written out: a list, a table, or its files."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Literal

import polars as pl

from labelfix.atomic import replacing
from labelfix.errors import InputError, Problem
from labelfix.formats.parts import has_own_files, part_files
from labelfix.images import measure
from labelfix.metadata.join import facts_from_paths, join_facts, read_facts
from labelfix.metadata.where import where

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from labelfix.progress import Progress
    from labelfix.schema import Dataset

__all__ = ["Target", "export", "gather"]

Target = Literal["list", "table", "folder"]
_WRITERS: dict[str, Callable[[pl.DataFrame, BinaryIO], object]] = {
    ".csv": pl.DataFrame.write_csv,
    ".parquet": pl.DataFrame.write_parquet,
    ".jsonl": lambda rows, file: rows.write_ndjson(file),
    ".json": lambda rows, file: file.write(rows.write_json().encode()),
}


def gather(
    dataset: Dataset,
    *,
    template: str | None = None,
    joins: Sequence[tuple[str | Path, str]] = (),
    to: str | None = None,
    image_facts: bool = False,
    condition: str | None = None,
    progress: Progress | None = None,
) -> Dataset:
    """Add facts to a dataset, then keep the items for which a condition holds.

    Parameters
    ----------
    dataset
        What to start from.
    template
        Facts from item ids: see `facts_from_paths`. What items have already stays, here and below.
    joins
        Files of facts, each with the column that holds its keys: see `read_facts`, `join_facts`.
    to
        Column of the items that holds the keys; None for item ids.
    image_facts
        Measure the images: see `labelfix.images.measure`.
    condition
        See `labelfix.metadata.where`. May ask for the given `label` too.
    progress
        Called as `progress(what, done, total)`.

    Raises
    ------
    InputError
        As those.

    Examples
    --------
    >>> from labelfix.schema import Dataset
    >>> items = pl.DataFrame({"item_id": ["left/cat/1.png", "right/cat/2.png"]})
    >>> rows = items.with_columns(annotation_id="item_id", label=pl.lit("cat"))
    >>> dataset = Dataset(items, rows, ("cat",), "memory")
    >>> kept = gather(dataset, template="{camera}/{label}/{}.png", condition="camera == 'left'")
    >>> kept.facts["item_id", "camera"].rows()
    [('left/cat/1.png', 'left')]
    """
    if template is not None:
        if "{path}" in template and dataset.image_paths is None:
            expected = "another name: this one images alone have"
            raise InputError(Problem("template", "{path}", expected))
        dataset = _with_new(dataset, facts_from_paths(dataset.items["item_id"], template))
    for path, on in joins:
        dataset = join_facts(dataset, read_facts(path), on=on, to=to, name=str(path))
    if image_facts:
        if dataset.image_paths is None:
            raise InputError(Problem("dataset", "no images", "an image for each item"))
        measured = pl.DataFrame(measure(dataset.image_paths, progress=progress))
        dataset = _with_new(dataset, measured.cast({"width": pl.Int32, "height": pl.Int32}))
    return dataset if condition is None else dataset.filter(where(condition, dataset.facts.schema))


def _with_new(dataset: Dataset, facts: pl.DataFrame) -> Dataset:
    """Add the columns that there are not yet."""
    known = dataset.facts.columns
    return dataset.with_facts(facts.select(name for name in facts.columns if name not in known))


def export(dataset: Dataset, to: Target, out: str | Path, *, copy: bool = False) -> Path:
    r"""Write a dataset out.

    Parameters
    ----------
    dataset
        What to write.
    to
        `list`: a text file, a line an item: the path of its image, or its id. `table`: .csv,
        .parquet, .json or .jsonl with all facts and labels, a row an item, or of boxes a row a box.
        `folder`: the images, below a new folder as they lie below the dataset's root. Boxes of one
        COCO, YOLO or VOC dataset come with them in files of its format, which hold what is kept as
        it was read; labels that no folder tells come in `items.csv`.
    out
        The file, which is replaced, or the folder, which must be new or empty.
    copy
        Copy images. Otherwise they are hard links, which take no space, where the disk can, and
        copies elsewhere. A program that writes into a linked file changes the original too.

    Raises
    ------
    InputError
        If `out` is no such file or folder; for a folder, if no item is kept, the items have no
        images, or the files of boxes changed since they were read.

    Examples
    --------
    >>> import tempfile
    >>> from labelfix.schema import Dataset
    >>> items = pl.DataFrame({"item_id": ["1.png", "2.png"]})
    >>> rows = items.with_columns(annotation_id="item_id", label=pl.lit("cat"))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     place = Path(folder, "kept.txt")
    ...     export(Dataset(items, rows, ("cat",), "memory"), "list", place).read_text()
    '1.png\n2.png\n'
    """
    out = Path(out)
    if to == "list":
        lines = dataset.image_paths or dataset.items["item_id"]
        _write(out, "".join(f"{line}\n" for line in lines).encode())
    elif to == "table":
        _write_table(dataset, out)
    else:
        _write_folder(dataset, out, copy=copy)
    return out


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as file:
        file.write(content)


def _rows(dataset: Dataset) -> pl.DataFrame:
    if not dataset.has_boxes:
        return dataset.facts
    return dataset.annotations.join(dataset.items, on="item_id", maintain_order="left")


def _write_table(dataset: Dataset, out: Path) -> None:
    writer = _WRITERS.get(out.suffix.lower())
    if writer is None:
        expected = "a name that ends in " + ", ".join(_WRITERS)
        raise InputError(Problem(str(out), "no kind of table that labelfix writes", expected))
    out.parent.mkdir(parents=True, exist_ok=True)
    with replacing(out) as file:
        writer(_rows(dataset), file)


def _write_folder(dataset: Dataset, out: Path, *, copy: bool) -> None:
    root, images = dataset.root, dataset.image_paths
    if root is None or (images is None and not has_own_files(dataset)):
        raise InputError(Problem("dataset", "no images", "an image for each item"))
    if not len(dataset):
        raise InputError(Problem("dataset", "no item that fits", "one or more for a folder"))
    inside = Path(os.path.normpath(root))
    outside = [
        Problem(str(path), "an image outside of the dataset")
        for path in images or ()
        if not Path(os.path.normpath(path)).is_relative_to(inside)
    ]
    if outside:
        raise InputError(outside)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InputError(Problem(str(out), "something that is there", "a new or an empty folder"))
    if has_own_files(dataset):
        files = list(part_files(dataset, out.absolute()))
    elif dataset.format != "imagefolder":
        files = [("items.csv", _rows(dataset).write_csv().encode())]
    else:
        files = []
    for name, content in files:
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        (out / name).write_bytes(content)
    for name in dataset.source.get("folders", ()):  # of YOLO: a data file names them
        (out / name).mkdir(parents=True, exist_ok=True)
    for path in images or ():
        there = out / path.relative_to(root)
        there.parent.mkdir(parents=True, exist_ok=True)
        _put(path.resolve(), there, copy=copy)


def _put(path: Path, there: Path, *, copy: bool) -> None:
    if not copy:
        try:
            os.link(path, there)
        except OSError:  # another disk, or one without links
            pass
        else:
            return
    shutil.copy2(path, there)
