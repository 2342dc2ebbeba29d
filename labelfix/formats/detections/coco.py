"""COCO results: a JSON list of `{"image_id", "category_id", "bbox", "score"}`.

Images are those of the dataset's `image_id` where it was read from COCO. Of other datasets they are
found by `file_name`, which Ultralytics writes too, or else by `image_id` as the name of the file
without its suffix, with or without leading zeros. Classes are the `category_id` of the dataset, or
those of a class map.
"""

from __future__ import annotations

import json
from functools import cached_property
from itertools import chain
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import polars as pl

from labelfix.boxes import COCO
from labelfix.errors import InputError, Problem
from labelfix.formats.coco.text import BOM, Document
from labelfix.formats.detections.found import Found, Images
from labelfix.schema import BOX

if TYPE_CHECKING:
    from pathlib import Path

    from labelfix.schema import Dataset

__all__ = ["read"]


class _Result(msgspec.Struct, gc=False):
    image_id: int | str
    category_id: int | str
    bbox: tuple[float, float, float, float]
    score: float
    file_name: str | None = None


def read(path: Path, dataset: Dataset) -> Found:
    """Read a results file.

    Raises
    ------
    InputError
        If it is no JSON list.
    """
    file = _File(str(path), path.read_bytes())
    results = file.results
    keys = _text([result.category_id for result in results])
    values = np.fromiter(chain.from_iterable(one.bbox for one in results), float, 4 * len(results))
    corners = COCO.to_pixels(values.reshape(-1, 4))
    ids = _text(dataset.source.get("category_ids", ()))
    names = keys.replace_strict(
        ids, dataset.class_names[: len(ids)], default=None, return_dtype=pl.String
    )
    boxes = pl.DataFrame(
        {
            **_images(results, dataset),
            "key": keys,
            "name": names,
            "score": pl.Series([result.score for result in results], dtype=pl.Float64),
            **{edge: corners[:, i] for i, edge in enumerate(BOX)},
        }
    )
    return Found(boxes, file.place, numbered=True, problems=file.problems)


def _images(results: list[_Result], dataset: Dataset) -> dict[str, pl.Series]:
    """Name and item of each result's image."""
    ids = _text([result.image_id for result in results])
    if "image_id" in dataset.items.columns:
        known = dataset.items["image_id"].cast(pl.String)
        rows = pl.int_range(len(known), eager=True)
        return {
            "image": ids,
            "item": ids.replace_strict(known, rows, default=-1, return_dtype=pl.Int64),
        }
    names = pl.Series([result.file_name for result in results], dtype=pl.String).fill_null(ids)
    item_ids = dataset.items["item_id"]
    number = item_ids.str.extract(r"(?:^|/)0*(\d+)\.[^./]*$").fill_null(item_ids)
    return {"image": names, "item": Images(item_ids, [number.to_list()]).rows(names)}


def _text(ids: Any) -> pl.Series:
    """Ids as text: by way of numbers, which is faster, if all are."""
    try:
        return pl.Series(ids, dtype=pl.Int64).cast(pl.String)
    except (TypeError, OverflowError):
        return pl.Series([str(key) for key in ids], dtype=pl.String)


class _File:
    """A results file, parsed at once, or where that fails element by element."""

    def __init__(self, name: str, data: bytes) -> None:
        self._name, self._data = name, data.removeprefix(BOM)
        self._rows: list[int] | None = None
        self.problems: list[Problem] = []
        try:
            self.results = msgspec.json.decode(self._data, type=list[_Result])
        except (msgspec.DecodeError, RecursionError):  # a ValidationError is a DecodeError
            self.results, self._rows = self._loose()

    def place(self, row: int, found: str, expected: str = "", fix: str = "") -> Problem:
        """Name a result by its place in the list and the line it starts on."""
        at = row if self._rows is None else self._rows[row]
        return Problem(self._name, f"result {at}: {found}", expected, fix, self._lines[at])

    @cached_property
    def _lines(self) -> list[int]:
        document = Document(b'{"results":' + self._data + b"}")
        return document.lines([start for start, _ in document.elements("results")])

    def _loose(self) -> tuple[list[_Result], list[int]]:
        """Take Python's NaN and Infinity, and report what does not fit."""
        good, rows = [], []
        for at, element in enumerate(self._load()):
            try:
                good.append(msgspec.convert(element, _Result))
                rows.append(at)
            except msgspec.ValidationError as error:
                self.problems.append(
                    Problem(self._name, f"result {at}: {error}", line=self._lines[at])
                )
        return good, rows

    def _load(self) -> list[Any]:
        try:
            content = json.loads(self._data.decode())
        except json.JSONDecodeError as error:
            found = f"broken or truncated JSON ({error.msg}, column {error.colno})"
            raise InputError(
                Problem(self._name, found, "a whole list", line=error.lineno)
            ) from error
        except (ValueError, RecursionError) as error:
            raise InputError(Problem(self._name, f"no JSON ({error})")) from error
        if not isinstance(content, list):
            expected = 'a list of {"image_id", "category_id", "bbox", "score"}: COCO results'
            raise InputError(Problem(self._name, f"a {type(content).__name__}", expected))
        return content
