"""Predictions as objects of other libraries, recognised by what they have, never imported.

torchvision's detectors give a dict for each image: `boxes`, `labels` (numbers from 1: 0 is the
background) and `scores`; `pred_probs` beside them is used. Ultralytics gives a `Results` for each,
with the classes' names and the path of its image. `supervision.Detections` have names in
`data["class_name"]`, or numbers from 0.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from labelfix.errors import InputError, Problem
from labelfix.formats.detections.found import Found, Images
from labelfix.schema import BOX

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from labelfix.schema import Dataset

__all__ = ["read"]


def read(source: Any, dataset: Dataset) -> Found:
    """Take predictions from objects, one an image.

    Parameters
    ----------
    source
        Objects in item order, or by what the images are called; those that know the path of their
        image in any order.
    dataset
        What was predicted.

    Raises
    ------
    InputError
        Naming each object that is no prediction, or their number if it does not fit.
    """
    if not isinstance(source, Iterable):
        expected = "a path, a table, or a list of one object an image"
        raise InputError(Problem("predictions", type(source).__name__, expected))
    named = source.items() if isinstance(source, Mapping) else ((None, one) for one in source)
    images, problems = _images(named, dataset.class_names)
    unnamed = not images or any(one.name is None for one in images)
    if not problems and unnamed and len(images) != len(dataset):
        expected = f"{len(dataset)}, one for each item in order, or a mapping by item_id"
        problems.append(Problem("predictions", f"{len(images)} objects", expected))
    if len({one.numbered for one in images if one.key}) > 1:
        problems.append(Problem("predictions", "classes by name and by number", "one of them"))
    if problems:
        raise InputError(problems)
    return _found(images, dataset)


def _images(
    named: Iterable[tuple[Any, Any]], class_names: tuple[str, ...]
) -> tuple[list[_Image], list[Problem]]:
    """Take each object apart, or say why that cannot be done."""
    images: list[_Image] = []
    problems: list[Problem] = []
    for number, (name, one) in enumerate(named):
        try:
            image = _image(one, class_names)
            images.append(replace(image, name=image.name if name is None else str(name)))
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            where = f"predictions[{number if name is None else repr(name)}]"
            expected = "a torchvision output, an ultralytics Results or supervision.Detections"
            problems.append(Problem(where, f"{type(one).__name__} ({error})", expected))
    return images, problems


@dataclass(frozen=True)
class _Image:
    """What is predicted in one image: n boxes."""

    box: NDArray[np.float64]
    score: NDArray[np.float64]
    key: list[str]
    name_of: Mapping[str, str]
    numbered: bool
    name: str | None = None
    pred_probs: NDArray[np.float32] | None = None


def _image(one: Any, class_names: tuple[str, ...]) -> _Image:
    if isinstance(one, Mapping):
        image = _torchvision(one, class_names)
    elif hasattr(one, "boxes"):
        image = _ultralytics(one)
    else:
        image = _supervision(one, class_names)
    if not len(image.box) == len(image.score) == len(image.key):
        found = f"{len(image.box)} boxes, {len(image.score)} scores, {len(image.key)} labels"
        raise ValueError(f"{found}: as many of each are needed")
    return image


def _torchvision(one: Mapping[str, Any], class_names: tuple[str, ...]) -> _Image:
    key, numbered = _keys(one["labels"])
    probs = one.get("pred_probs")
    return _Image(
        _boxes(one["boxes"]),
        _array(one["scores"]),
        key,
        {str(code): name for code, name in enumerate(class_names, start=1)},
        numbered,
        pred_probs=None if probs is None or not key else _array(probs, np.float32),
    )


def _ultralytics(one: Any) -> _Image:
    names, path = one.names, one.path
    named = names if isinstance(names, Mapping) else dict(enumerate(names))
    if one.boxes is None:
        raise ValueError("no boxes: oriented boxes and classes are not supported")
    codes = _array(one.boxes.cls).astype(int).tolist()
    key = [str(named[code]) for code in codes]
    return _Image(
        _boxes(one.boxes.xyxy), _array(one.boxes.conf), key, {}, numbered=False, name=str(path)
    )


def _supervision(one: Any, class_names: tuple[str, ...]) -> _Image:
    box = _boxes(one.xyxy)
    if len(box) and (one.confidence is None or one.class_id is None):
        raise ValueError("no confidence or no class_id")
    names = one.data.get("class_name")
    key, numbered = _keys((one.class_id if len(box) else []) if names is None else names)
    probs = one.data.get("pred_probs")
    return _Image(
        box,
        _array(one.confidence if len(box) else []),
        key,
        {str(code): name for code, name in enumerate(class_names)},
        numbered,
        pred_probs=None if probs is None or not key else _array(probs, np.float32),
    )


def _found(images: list[_Image], dataset: Dataset) -> Found:
    lengths = [len(one.key) for one in images]
    number = np.repeat(np.arange(len(images)), lengths)
    first = np.cumsum(lengths) - lengths

    def place(row: int, found: str, expected: str = "", fix: str = "") -> Problem:
        at = int(number[row])
        where = f"predictions[{at}] ({named[at]}), box {row - first[at]}"
        return Problem(where, found, expected, fix)

    named = pl.Series(
        [one.name or item for one, item in zip(images, _in_order(images, dataset), strict=True)],
        dtype=pl.String,
    )
    box = np.concatenate([np.zeros((0, 4)), *(one.box for one in images)])
    boxes = pl.DataFrame(
        {
            "image": named.gather(number),
            "item": Images(dataset.items["item_id"]).rows(named).gather(number),
            "key": pl.Series([key for one in images for key in one.key], dtype=pl.String),
            "name": pl.Series(
                [
                    one.name_of.get(key, None if one.numbered else key)
                    for one in images
                    for key in one.key
                ],
                dtype=pl.String,
            ),
            "score": np.concatenate([np.zeros(0), *(one.score for one in images)]),
            **{edge: box[:, i] for i, edge in enumerate(BOX)},
        }
    )
    probs = [one.pred_probs for one in images]
    if any(one is not None for one in probs):
        boxes = boxes.with_columns(pred_probs=_stacked(probs, lengths, len(dataset.class_names)))
    return Found(boxes, place, numbered=any(one.numbered for one in images if one.key))


def _in_order(images: list[_Image], dataset: Dataset) -> Iterable[str]:
    """Names of images for objects that do not know theirs."""
    if any(one.name is None for one in images):
        return dataset.items["item_id"]
    return [""] * len(images)


def _stacked(
    probs: list[NDArray[np.float32] | None], lengths: list[int], n_classes: int
) -> pl.Series:
    """Class vectors of all boxes.

    Raises
    ------
    InputError
        If some have none, or one of another length.
    """
    expected = f"shape (boxes, {n_classes}): one number for each class in the dataset's order"
    problems = [
        Problem(
            f"predictions[{number}], pred_probs",
            "none" if one is None else str(one.shape),
            expected,
        )
        for number, (one, length) in enumerate(zip(probs, lengths, strict=True))
        if length and (one is None or one.shape != (length, n_classes))
    ]
    if problems:
        raise InputError(problems)
    rows = np.concatenate(
        [one for one, n in zip(probs, lengths, strict=True) if one is not None and n]
    )
    return pl.Series(rows, dtype=pl.Array(pl.Float32, n_classes))


def _keys(labels: Any) -> tuple[list[str], bool]:
    """Classes as text, and whether they are numbers."""
    values = labels if isinstance(labels, list | tuple) else _array(labels, None)
    numbered = not any(isinstance(one, str) for one in values)
    return [str(int(one)) if numbered else str(one) for one in values], numbered


def _boxes(values: Any) -> NDArray[np.float64]:
    box = _array(values)
    if box.size and (box.ndim != 2 or box.shape[1] != 4):
        raise ValueError(f"boxes of shape {box.shape}: (n, 4) is needed")
    return box.reshape(-1, 4)


def _array(values: Any, dtype: Any = np.float64) -> NDArray[Any]:
    """Take numbers from a tensor, wherever it lives, or anything NumPy makes an array of."""
    if hasattr(values, "detach"):
        values = values.detach().cpu()
    return np.asarray(values, dtype=dtype)
