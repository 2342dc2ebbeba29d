"""Reading datasets: one file per on-disk format, and `read`, which recognises which."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, cast

from labelfix.errors import InputError, Problem
from labelfix.images import MAX_PIXELS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from labelfix.progress import Progress
    from labelfix.schema import Dataset

__all__ = ["FORMATS", "ReadOptions", "format_of", "read", "unused"]

FORMATS = ("table", "coco", "yolo", "voc", "imagefolder")
"""In the order in which they are asked whether they recognise a path."""


TAKEN = {
    "label": ("table",),
    "image": ("table",),
    "id": ("table",),
    "group": ("table",),
    "features": ("table",),
    "images": ("table", "coco", "yolo", "voc"),
    "class_names": ("voc",),
    "voc_pixels": ("voc",),
}
"""Options that not every format can use, and those that can."""

FILES, FOLDERS = ("coco",), ("voc", "imagefolder")
"""Formats that are one file, and that are a folder; tables say themselves what they are, and YOLO
may be either."""


@dataclass(frozen=True)
class ReadOptions:
    """What `read` was asked for; each format takes what concerns it."""

    label: str | None = None
    image: str | None = None
    id: str | None = None
    group: str | None = None
    features: tuple[str, ...] | None = None
    skip_bad: bool = False
    progress: Progress | None = None
    images: Path | None = None
    class_names: tuple[str, ...] | None = None
    voc_pixels: Literal["inclusive", "continuous"] = "inclusive"
    max_pixels: int = MAX_PIXELS


class Format(Protocol):
    """What a module in this folder offers."""

    def recognises(self, path: Path) -> bool:
        """Say whether `path`, which exists, looks like this format."""
        ...

    def read(self, path: Path, options: ReadOptions) -> Dataset:
        """Read the dataset at `path`."""
        ...


def read(
    path: str | Path,
    *,
    format: str | None = None,  # noqa: A002 # the word that users look for
    label: str | None = None,
    image: str | None = None,
    id: str | None = None,  # noqa: A002 # as above
    group: str | None = None,
    features: Sequence[str] | None = None,
    skip_bad: bool = False,
    progress: Progress | None = None,
    images: str | Path | None = None,
    class_names: Sequence[str] | None = None,
    voc_pixels: Literal["inclusive", "continuous"] = "inclusive",
    max_pixels: int = MAX_PIXELS,
) -> Dataset:
    r"""Read a labelled dataset.

    Of the images of boxes, the header and the end of each file are read: one that is no image, too
    large or cut short is a problem, as is one that is missing beside others. A JPEG, PNG or WebP
    file is decoded only where its end is not what it must be. Without any image, COCO and VOC
    datasets are read with a warning, since ready-made predictions need none.

    Parameters
    ----------
    path
        A folder of images (`class/…` or `split/class/…`); a CSV, TSV, Parquet or Arrow file with a
        column of labels and either feature columns or a column of image paths; or boxes: a COCO
        JSON file, a YOLO `data.yaml`, or a folder of Pascal VOC XML files.
    format
        One of `FORMATS`; None to recognise it.
    label, image, id, group
        Columns of a table: the given label, the image's path, what names a row, and what must not
        be split between training and held-out data. None to recognise them by their usual names.
    features
        Columns that a model may learn from; None for all that are left.
    skip_bad
        Go on without what cannot be read, and list it in `Dataset.skipped`.
    progress
        Called as `progress(what, done, total)`.
    images
        Of boxes and tables: the folder that the paths of images are relative to, where it is not
        found by itself; for a table it is the table's own.
    class_names
        Of boxes in VOC files, which do not list their classes: all of them in order. None for those
        found, sorted.
    voc_pixels
        Whether VOC files count pixels from 1 with the last one inside, as VOC does, or hold
        continuous coordinates from 0, as some tools write.
    max_pixels
        Images of more pixels than this are not decoded, and are problems.

    Returns
    -------
    Dataset
        Items in the order of the file, or of sorted paths.

    Raises
    ------
    InputError
        Naming every file, row and column that is wrong, and options that the format has no use for.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     file = Path(folder, "flowers.csv")
    ...     _ = file.write_text("petal,label\n1.4,setosa\n4.7,versicolor\n")
    ...     dataset = read(file)
    >>> dataset.class_names, dataset.feature_columns
    (('setosa', 'versicolor'), ('petal',))
    """
    path = Path(path)
    columns = None if features is None else tuple(features)
    options = ReadOptions(
        label=label,
        image=image,
        id=id,
        group=group,
        features=columns,
        skip_bad=skip_bad,
        progress=progress,
        images=None if images is None else Path(images),
        class_names=None if class_names is None else tuple(class_names),
        voc_pixels=voc_pixels,
        max_pixels=max_pixels,
    )
    name = format_of(path, format)
    _refuse_unused(options, name)
    return _module(name).read(path, options)


def unused(name: str) -> dict[str, Any]:
    """Give the options that a format has no use for, as they are if nobody chooses.

    Examples
    --------
    >>> unused("voc")
    {'label': None, 'image': None, 'id': None, 'group': None, 'features': None}
    """
    return {
        option: getattr(ReadOptions, option)
        for option, formats in TAKEN.items()
        if name not in formats
    }


def _refuse_unused(options: ReadOptions, name: str) -> None:
    problems = [
        Problem(
            f"option {option} (--{'groups' if option == 'group' else option.replace('_', '-')})",
            f"{getattr(options, option)!r} for a dataset of format {name}",
            f"one of format {' or '.join(TAKEN[option])}",
            "leave it away",
        )
        for option, usual in unused(name).items()
        if getattr(options, option) != usual
    ]
    if options.images is not None and not options.images.is_dir():
        problems.append(Problem(str(options.images), "no such folder", "the folder of the images"))
    if problems:
        raise InputError(problems)


def _module(name: str) -> Format:
    return cast("Format", importlib.import_module(f"labelfix.formats.{name}"))


def format_of(path: str | Path, name: str | None = None) -> str:
    """Recognise the format of a dataset, or check that it can be the named one.

    Raises
    ------
    InputError
        If it is not there, or nothing that labelfix reads.
    """
    path = Path(path)
    if not path.exists():
        raise InputError(Problem(str(path), "no such file or folder", "a dataset"))
    if name is not None and name not in FORMATS:
        raise InputError(Problem("format", repr(name), "one of " + ", ".join(FORMATS)))
    if name in (FILES if path.is_dir() else FOLDERS):
        found, expected = ("a folder", "a file") if path.is_dir() else ("a file", "a folder")
        raise InputError(Problem(str(path), found, f"{expected}, for the format {name}"))
    for candidate in (name,) if name else FORMATS:
        if name or _module(candidate).recognises(path):
            return candidate
    is_array = path.suffix.lower() in {".npy", ".npz"}
    raise InputError(
        Problem(
            str(path),
            "an array" if is_array else "nothing that labelfix recognises",
            "a folder of images for each class; a CSV, TSV, Parquet or Arrow table; boxes as COCO, "
            "YOLO or Pascal VOC",
            "read labels and pred_probs together (--labels, --pred-probs)"
            if is_array
            else "name its format if it is one of these all the same",
        )
    )
