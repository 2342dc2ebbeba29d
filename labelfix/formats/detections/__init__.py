"""Predicted boxes as people have them: files of four kinds, and objects of three libraries."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import polars as pl

from labelfix.errors import InputError, Problem
from labelfix.formats.detections.classmap import read_class_map
from labelfix.formats.detections.found import Found, settle
from labelfix.formats.tablefile import is_table

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from labelfix.schema import Dataset

__all__ = ["read_box_predictions", "read_class_map"]

Format = Literal["coco", "yolo", "table"]
FORMATS: tuple[Format, ...] = ("coco", "yolo", "table")


def read_box_predictions(
    source: Any,  # a path, a table, or objects of other libraries
    dataset: Dataset,
    *,
    class_map: Mapping[Any, str | None] | str | Path | Iterable[str] | None = None,
    format: Format | None = None,  # noqa: A002 # the word that users look for
) -> pl.DataFrame:
    """Read what a detector predicted for the images of a dataset.

    Parameters
    ----------
    source
        One of

        - a COCO results file (`.json`): a list of `image_id`, `category_id`, `bbox`, `score`;
        - a folder of YOLO text files with a confidence at the end of each row;
        - a table (Parquet, Arrow, CSV, TSV, or a Polars one) with the columns item_id, label,
          score, x1, y1, x2, y2 in pixels;
        - one object an image: torchvision's output dicts, Ultralytics' `Results`,
          `supervision.Detections`; in item order, or a mapping by image.
    dataset
        With boxes.
    class_map
        The dataset's class for each class of the detector, where their names differ; None as a
        class leaves its boxes out. What `read_class_map` reads.
    format
        Of a path: "coco", "yolo" or "table"; None to recognise it.

    Returns
    -------
    pl.DataFrame
        Columns of `labelfix.schema.BOX_PREDICTIONS`, in item order, of each item the surest first;
        with `pred_probs` where the source has class vectors.

    Raises
    ------
    InputError
        All at once, with file and line: images that the dataset does not have or that a name does
        not tell apart, classes it does not have, scores outside [0, 1], boxes that are inverted or
        no numbers, rows that are too short.

    Warns
    -----
    LabelfixWarning
        Where boxes without area are left out, or those of unknown images since the dataset was read
        without its bad ones (`Dataset.skipped`).

    Notes
    -----
    Images are found as `labelfix.formats.detections.found.Images` says: by `item_id` or by a path
    of which the one ends in the other; in COCO results for a COCO dataset by the dataset's
    `image_id`. Numbers of classes are, without a class map, the dataset's own: category ids of a
    COCO dataset, places in `class_names` from 0 (YOLO, supervision) or from 1 (torchvision, where
    0 is the background). Once a class map speaks of numbers, they are those of the map alone.

    Examples
    --------
    >>> from labelfix.schema import Dataset
    >>> items = pl.DataFrame({"item_id": ["a.jpg", "b.jpg"]})
    >>> box = {"x1": [1.0], "y1": [2.0], "x2": [30.0], "y2": [40.0]}
    >>> given = pl.DataFrame({"annotation_id": ["0"], "item_id": ["a.jpg"], "label": ["cat"], **box,
    ...                       "crowd": [False]})
    >>> dataset = Dataset(items, given, ("cat", "dog"), "memory")
    >>> outputs = [{"boxes": [[1, 2, 30, 41]], "labels": [1], "scores": [0.9]},
    ...            {"boxes": [], "labels": [], "scores": []}]
    >>> read_box_predictions(outputs, dataset).rows()
    [('a.jpg', 'cat', 0.9, 1.0, 2.0, 30.0, 41.0)]
    """
    if not dataset.has_boxes:
        found = "class labels"
        raise InputError(Problem("dataset", found, "boxes", "pred_probs go with class labels"))
    if format is not None and format not in FORMATS:
        raise InputError(Problem("format", repr(format), f"one of {', '.join(FORMATS)}"))
    mapped = read_class_map(class_map)
    return settle(_found(source, dataset, format), dataset, mapped)


def _found(source: Any, dataset: Dataset, kind: Format | None) -> Found:
    if isinstance(source, pl.DataFrame):
        from labelfix.formats.detections.table import read_frame

        return read_frame(source, dataset)
    if not isinstance(source, str | Path):
        from labelfix.formats.detections import objects

        return objects.read(source, dataset)
    path = Path(source)
    if not path.exists():
        raise InputError(Problem(str(path), "no such file or folder", "predictions"))
    match kind or _recognise(path):
        case "coco":
            from labelfix.formats.detections import coco

            return coco.read(path, dataset)
        case "yolo":
            from labelfix.formats.detections import yolo

            return yolo.read(path, dataset)
        case "table":
            from labelfix.formats.detections import table

            return table.read(path, dataset)
        case _:
            expected = "a folder of YOLO text files, COCO results (.json), or a table"
            raise InputError(Problem(str(path), "no predictions that labelfix reads", expected))


def _recognise(path: Path) -> Format | None:
    if path.is_dir():
        return "yolo"
    if path.suffix.lower() == ".json":
        return "coco"
    return "table" if is_table(path) else None
