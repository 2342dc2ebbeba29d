"""Predicted boxes as a source has them, and how they are held to a dataset."""

from __future__ import annotations

import difflib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

import numpy as np
import polars as pl

from labelfix.errors import InputError, Problem, warn_caller
from labelfix.schema import BOX, BOX_PREDICTIONS, check
from labelfix.text import count

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from labelfix.schema import Dataset

__all__ = ["Found", "Images", "Place", "settle"]

UNKNOWN, SEVERAL = -1, -2
"""In place of an item's row: no item is called so, or more than one."""

FEW = 10
"""So many class names are listed where one of them is expected."""

LONG, ALIKE = 6, 0.8
"""Names of so many letters may be two spellings of one, from this ratio of difflib on."""

SHOWN = 100
"""Rows with one and the same fault that are listed one by one; the rest is counted."""


class Place(Protocol):
    """Says where a row of a source is, with what is wrong there."""

    def __call__(self, row: int, found: str, expected: str = "", fix: str = "") -> Problem:
        """Describe what is wrong with a row."""


@dataclass(frozen=True)
class Found:
    """Predicted boxes as a source has them.

    Parameters
    ----------
    boxes
        One row a box: `item`, its row among the dataset's items (`UNKNOWN`, `SEVERAL`); `image`,
        what the source calls the image; `key`, the class as the source writes it; `name`, the
        class that this means without a class map, or null; `score`, the corners in pixels, and
        `pred_probs` and `fold` if any. Null is what was no number.
    place
        Where a row is.
    numbered
        Whether keys are numbers of classes, not names.
    problems
        What could not even become a row.
    """

    boxes: pl.DataFrame
    place: Place
    numbered: bool = False
    problems: list[Problem] = field(default_factory=list)


class Images:
    """Which item is meant by what a source calls an image.

    An item is found by its `item_id`, or by a path of which the one ends in the other, folder by
    folder, with or without the suffix: `a.jpg`, `train/a` and `/data/images/train/a.jpg` all mean
    `images/train/a.jpg`, as long as they mean no other item as well.

    Parameters
    ----------
    item_ids
        Of the dataset.
    aliases
        Further names of items, one list for each name that every item has.

    Examples
    --------
    >>> images = Images(["train/a.jpg", "train/b.jpg", "val/b.jpg"])
    >>> images.rows(pl.Series(["train/a.jpg", "a", "/data/val/b.jpg", "b.jpg", "c"])).to_list()
    [0, 0, 2, -2, -1]
    """

    def __init__(self, item_ids: Iterable[str], aliases: Iterable[Sequence[str]] = ()) -> None:
        self._whole = {name: row for row, name in enumerate(item_ids)}
        names = list(self._whole)
        self._endings: dict[str, int] = {}
        for each in (names, [_stem(name) for name in names], *aliases):
            for row, name in enumerate(each):
                for ending in _endings(name):
                    if self._endings.setdefault(ending, row) != row:
                        self._endings[ending] = SEVERAL

    def rows(self, names: pl.Series) -> pl.Series:
        """Row of the item that each name means, or `UNKNOWN` or `SEVERAL`."""
        different = names.unique().drop_nulls()
        found = [self._row(name.replace("\\", "/")) for name in different]
        return names.replace_strict(different, found, default=UNKNOWN, return_dtype=pl.Int64)

    def _row(self, name: str) -> int:
        if name in self._whole:
            return self._whole[name]
        if name in self._endings:
            return self._endings[name]
        whole = (self._whole[ending] for ending in _endings(name) if ending in self._whole)
        return next(whole, UNKNOWN)


def _stem(name: str) -> str:
    folder, slash, last = name.rpartition("/")
    return folder + slash + (last.rpartition(".")[0] or last)


def _endings(path: str) -> list[str]:
    """Give what a path ends in, folder by folder, the longest first.

    Examples
    --------
    >>> _endings("a/b/c.jpg")
    ['a/b/c.jpg', 'b/c.jpg', 'c.jpg']
    """
    parts = path.split("/")
    return ["/".join(parts[start:]) for start in range(len(parts))]


def settle(found: Found, dataset: Dataset, class_map: Mapping[str, str | None]) -> pl.DataFrame:
    """Hold predictions to a dataset, and put them in its order and its classes.

    Returns
    -------
    pl.DataFrame
        Columns of `BOX_PREDICTIONS`, in item order, of each item the surest first.

    Raises
    ------
    InputError
        Naming images and classes that are unknown, and each row whose numbers are none.

    Warns
    -----
    LabelfixWarning
        Where predicted boxes have no area, or are of unknown images and the dataset was read
        without its bad ones: they are left out.
    """
    labels, class_problems = _labels(found, dataset.class_names, class_map)
    problems = [
        *found.problems,
        *_unknown_images(found, dataset),
        *class_problems,
        *_bad_numbers(found),
        *_bad_vectors(found, len(dataset.class_names)),
    ]
    if problems:
        raise InputError(problems)
    table = found.boxes.with_columns(
        label=found.boxes["key"].replace_strict(
            list(labels), list(labels.values()), return_dtype=pl.String
        )
    ).filter(pl.col("label").is_not_null())
    table = _without_flat(_known(table)).sort(
        "item", "score", descending=[False, True], maintain_order=True
    )
    optional = [name for name in ("fold", "pred_probs") if name in table.columns]
    table = table.with_columns(item_id=dataset.items["item_id"].gather(table["item"]))
    return check(table.select(*BOX_PREDICTIONS, *optional), BOX_PREDICTIONS, "predictions")


def _known(table: pl.DataFrame) -> pl.DataFrame:
    """Leave out unknown images: what `_unknown_images` let pass."""
    strange = table.filter(pl.col("item") == UNKNOWN)["image"].unique(maintain_order=True)
    if len(strange):
        listed = ", ".join(strange.head(5)) + (", …" if len(strange) > 5 else "")
        warn_caller(
            f"predictions for {count(len(strange), 'image')} that the dataset does not have left "
            f"out, since it was read without its bad ones: {listed}"
        )
    return table.filter(pl.col("item") != UNKNOWN)


def _labels(
    found: Found, class_names: tuple[str, ...], class_map: Mapping[str, str | None]
) -> tuple[dict[str, str | None], list[Problem]]:
    """Class of the dataset for each class of the source, None to leave it out."""
    names = set(class_names)
    listed = f": {', '.join(class_names)}" if len(class_names) <= FEW else ""
    expected = f"one of the dataset's {count(len(names), 'class', 'classes')}{listed}"
    problems = [
        Problem("class map", f"{key}={label}, which is no class", expected)
        for key, label in class_map.items()
        if label is not None and label not in names
    ]
    # once a map speaks of numbers, they are not the dataset's: its own would be taken by mistake
    by_number = found.numbered and any(key.isdecimal() for key in class_map)
    classes = (
        found.boxes.with_row_index("row")
        .group_by("key", maintain_order=True)
        .agg(pl.col("row", "name").first(), pl.len().alias("boxes"))
    )
    labels: dict[str, str | None] = {}
    for row in classes.iter_rows(named=True):
        key, name = row["key"], row["name"]
        if key in class_map:
            labels[key] = class_map[key]
        elif not by_number and name in class_map:
            labels[key] = class_map[name]
        elif not by_number and name in names:
            labels[key] = name
        else:
            what = f"class {'' if key is None else key!r} of {count(row['boxes'], 'box', 'boxes')}"
            near = _same_name(str(name or key), class_names)
            pair = f"'{key}={near or 'NAME'}'" + ("" if near else " with the dataset's name for it")
            fix = f"give a class map, {pair}, or '{key}=' to leave its boxes out"
            problems.append(found.place(row["row"], what, expected, fix))
    return labels, problems


def _same_name(name: str, class_names: Sequence[str]) -> str | None:
    """Find the one class that differs in spelling only; a map of what is merely alike is worse.

    Examples
    --------
    >>> _same_name("aeroplane", ["airplane", "plant"]), _same_name("T-Shirt", ["tshirt", "skirt"])
    ('airplane', 'tshirt')
    >>> _same_name("WBC", ["RBC"]), _same_name("unhealthy", ["healthy"]), _same_name("a12", ["a11"])
    (None, None, None)
    """
    wanted = _plain(name)
    same = [one for one in class_names if _plain(one) == wanted] or [
        one
        for one in class_names
        if min(len(wanted), len(plain := _plain(one))) >= LONG
        and (plain[0], _digits(plain)) == (wanted[0], _digits(wanted))
        and difflib.SequenceMatcher(None, wanted, plain).ratio() >= ALIKE
    ]
    return same[0] if len(same) == 1 else None


def _plain(name: str) -> str:
    return "".join(filter(str.isalnum, name.casefold())) or name


def _digits(name: str) -> str:
    return "".join(filter(str.isdigit, name))


def _unknown_images(found: Found, dataset: Dataset) -> list[Problem]:
    """Refuse images that are not the dataset's, or in doubt; bad ones were left out of it."""
    least = UNKNOWN if dataset.skipped else 0
    strange = (
        found.boxes.with_row_index("row")
        .filter(pl.col("item") < least)
        .group_by("image", maintain_order=True)
        .agg(pl.col("row", "item").first(), pl.len().alias("boxes"))
    )
    example = str(dataset.items["item_id"].first())
    problems = []
    for row in strange.head(SHOWN).iter_rows(named=True):
        what = f"image {row['image']!r} ({count(row['boxes'], 'box', 'boxes')})"
        if row["item"] == SEVERAL:
            what += ", a name that several images of the dataset have"
            problems.append(found.place(row["row"], what, f"a path like {example}"))
        else:
            problems.append(found.place(row["row"], what, f"an image of the dataset, as {example}"))
    if (left := strange.height - SHOWN) > 0:
        problems.append(Problem("predictions", f"{left:,} more images like these"))
    return problems


def _bad_numbers(found: Found) -> list[Problem]:
    score, box = pl.col("score"), [pl.col(edge) for edge in BOX]
    finite = pl.all_horizontal(edge.is_finite().fill_null(value=False) for edge in box)
    tests = [
        (
            ~score.is_between(0, 1).fill_null(value=False),  # NaN is above all here
            "score {score}",
            "a confidence in [0, 1]",
        ),
        (~finite, "box ({x1}, {y1}, {x2}, {y2})", "four finite numbers"),
        (
            finite & ((box[2] < box[0]) | (box[3] < box[1])),
            "inverted box ({x1:g}, {y1:g}, {x2:g}, {y2:g})",
            "corners in order: left, top, right, bottom",
        ),
    ]
    problems = []
    table = found.boxes.with_row_index("row")
    for test, what, expected in tests:
        wrong = table.filter(test)
        problems += [
            found.place(row["row"], what.format(**row), expected)
            for row in wrong.head(SHOWN).iter_rows(named=True)
        ]
        if wrong.height > SHOWN:
            more = f"{wrong.height - SHOWN:,} more rows without {expected}"
            problems.append(Problem("predictions", more))
    return problems


def _bad_vectors(found: Found, n_classes: int) -> list[Problem]:
    if "pred_probs" not in found.boxes.columns:
        return []
    kind = found.boxes.schema["pred_probs"]
    expected = f"{n_classes} numbers in [0, 1], one for each class in the dataset's order"
    if not isinstance(kind, pl.Array) or kind.shape != (n_classes,):
        return [Problem("predictions, column 'pred_probs'", str(kind), expected)]
    values = found.boxes["pred_probs"].to_numpy()
    wrong = np.flatnonzero(~((values >= 0) & (values <= 1)).all(axis=1))
    return [found.place(int(row), f"pred_probs {values[row]}", expected) for row in wrong[:SHOWN]]


def _without_flat(table: pl.DataFrame) -> pl.DataFrame:
    """Leave out boxes without area, which clipping to the image makes of some."""
    solid = table.filter(pl.col("x2") > pl.col("x1"), pl.col("y2") > pl.col("y1"))
    if flat := table.height - solid.height:
        warn_caller(f"{count(flat, 'predicted box', 'predicted boxes')} without area left out")
    return solid
