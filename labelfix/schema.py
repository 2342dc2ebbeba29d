"""The tables that all of labelfix passes around, and the objects that carry them.

`read` gives a `Dataset`, `out_of_fold` gives `Predictions` or `BoxPredictions` for it,
`find_issues` gives an issues table. Each table's columns are listed here, once, and `check` holds a
table to its list at every boundary.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import polars as pl

from labelfix.errors import InputError, Problem, name_rows

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    from numpy.typing import NDArray

__all__ = [
    "ANNOTATIONS",
    "BOX",
    "BOX_ANNOTATIONS",
    "BOX_ISSUES",
    "BOX_KINDS",
    "BOX_LOSSES",
    "BOX_PREDICTIONS",
    "CLASS_ISSUES",
    "CLASS_KINDS",
    "CORRECTIONS",
    "FOLDS",
    "ISSUES",
    "ITEMS",
    "SCHEMA_VERSION",
    "BoxKind",
    "BoxPredictions",
    "ClassKind",
    "Dataset",
    "Predictions",
    "check",
]

SCHEMA_VERSION = 1
"""Written into every file of a run; a reader refuses what is newer than it knows."""

ClassKind = Literal["mislabeled", "multi_label", "none_of_the_classes"]
CLASS_KINDS: tuple[ClassKind, ...] = ("mislabeled", "multi_label", "none_of_the_classes")

BoxKind = Literal["missing", "spurious", "wrong_class", "bad_location", "duplicate", "group"]
BOX_KINDS: tuple[BoxKind, ...] = (
    "missing",
    "spurious",
    "wrong_class",
    "bad_location",
    "duplicate",
    "group",
)

ITEMS: Mapping[str, type[pl.DataType]] = {"item_id": pl.String}
"""One row an item. Optional known columns: path, split, group, width, height. All others are
metadata or features."""

ANNOTATIONS: Mapping[str, type[pl.DataType]] = {
    "annotation_id": pl.String,
    "item_id": pl.String,
    "label": pl.String,
}
"""One row a given label, in item order. With class labels each item has one, named like it."""

BOX = ("x1", "y1", "x2", "y2")
"""Corners in pixels from the top left of the image: xyxy, x2 and y2 exclusive, fractions kept."""

BOX_ANNOTATIONS: Mapping[str, type[pl.DataType]] = {
    **ANNOTATIONS,
    **dict.fromkeys(BOX, pl.Float64),
    "crowd": pl.Boolean,
}
"""One row a given box, in item order. `crowd` marks a region that counts neither for nor against
a model (COCO's iscrowd). Formats may add columns of their own: ignore, difficult, truncated, …"""

BOX_PREDICTIONS: Mapping[str, type[pl.DataType]] = {
    "item_id": pl.String,
    "label": pl.String,
    "score": pl.Float64,
    **dict.fromkeys(BOX, pl.Float64),
}
"""One row a predicted box. `score` is the detector's confidence in [0, 1]. Optional: `fold` (Int32)
and `pred_probs` (Array of Float32, one a class in the dataset's class order)."""

BOX_LOSSES: Mapping[str, type[pl.DataType]] = {
    "annotation_id": pl.String,
    "class_loss": pl.Float64,
    "location_loss": pl.Float64,
}
"""Mean losses of given boxes over a training: minus the log of the probability of the box's class
at its place, and one minus the overlap (IoU) with what is predicted there. Null: never seen."""

FOLDS: Mapping[str, type[pl.DataType]] = {"item_id": pl.String, "fold": pl.Int32}
"""In which fold each item was held out."""

ISSUES: Mapping[str, type[pl.DataType]] = {
    "rank": pl.Int64,
    "item_id": pl.String,
    "annotation_id": pl.String,
    "kind": pl.String,
    "quality": pl.Float64,
    "flagged": pl.Boolean,
    "given_label": pl.String,
    "suggested_label": pl.String,
    "kind_score": pl.Float64,
    "evidence": pl.String,
}
"""The queue: one row an annotation, most suspicious first. `rank` counts from 1; `quality` is in
[0, 1], low = suspicious; `flagged` marks the recommended set; `kind_score` in [0, 1] says how sure
the kind is; `evidence` is one sentence."""

CLASS_ISSUES: Mapping[str, type[pl.DataType]] = {**ISSUES, "error_probability": pl.Float64}
"""As `ISSUES`, of class labels: with how likely the label is wrong, in [0, 1]."""

BOX_ISSUES: Mapping[str, type[pl.DataType]] = {
    **ISSUES,
    **{f"given_{edge}": pl.Float64 for edge in BOX},
    **{f"suggested_{edge}": pl.Float64 for edge in BOX},
}
"""As `ISSUES`, with the boxes. `annotation_id`, `given_label` and the given box are null where a
box is missing; the suggested ones where the suggestion is to delete."""

CORRECTIONS: Mapping[str, type[pl.DataType]] = {
    "action": pl.String,
    "item_id": pl.String,
    "annotation_id": pl.String,
    "label": pl.String,
    **dict.fromkeys(BOX, pl.Float64),
}
"""What to change: `action` is set_label, set_box, add_box, delete or ignore. `annotation_id` is
null for add_box; `label` and the box are null where the action leaves them alone."""


def check(table: pl.DataFrame, schema: Mapping[str, type[pl.DataType]], name: str) -> pl.DataFrame:
    """Hold `table` to `schema`: every column there, with its type. Further columns are let through.

    Raises
    ------
    InputError
        Listing every column that is missing or of another type.

    Examples
    --------
    >>> check(pl.DataFrame({"item_id": ["a"]}), ITEMS, "items").height
    1
    """
    problems = [
        Problem(
            f"table {name}, column {column!r}",
            "no such column" if column not in table.columns else str(table.schema[column]),
            str(dtype()),
        )
        for column, dtype in schema.items()
        if table.schema.get(column) != dtype
    ]
    if problems:
        raise InputError(problems)
    return table


@dataclass(frozen=True)
class Dataset:
    """Items, their given labels, and the class names, as read from disk.

    Parameters
    ----------
    items
        Table with the columns of `ITEMS`, in the order that rows of predictions follow.
    annotations
        Table with the columns of `ANNOTATIONS`, in item order.
    class_names
        In the order that columns of `pred_probs` follow.
    format
        Which file of `labelfix/formats` reads and writes it.
    root
        The folder that item paths are relative to; None for what never was a file.
    feature_columns
        The columns of `items` that a model may learn from.
    skipped
        What `skip_bad` left out, and why.
    """

    items: pl.DataFrame
    annotations: pl.DataFrame
    class_names: tuple[str, ...]
    format: str
    root: Path | None = None
    feature_columns: tuple[str, ...] = ()
    skipped: tuple[Problem, ...] = ()
    source: Mapping[str, Any] = field(default_factory=dict)
    """What the format needs to write the dataset back, and nobody else looks at."""

    def __post_init__(self) -> None:
        check(self.items, ITEMS, "items")
        check(self.annotations, BOX_ANNOTATIONS if self.has_boxes else ANNOTATIONS, "annotations")

    def __len__(self) -> int:
        """Count the items."""
        return self.items.height

    @property
    def has_boxes(self) -> bool:
        """Whether annotations are boxes, with the columns of `BOX_ANNOTATIONS`, or class labels."""
        return "x1" in self.annotations.columns

    @cached_property
    def labels(self) -> NDArray[np.int64]:
        """Given class of each annotation as an index into `class_names`, shape (n,)."""
        codes = self.annotations["label"].replace_strict(
            list(self.class_names),
            range(len(self.class_names)),
            default=None,
            return_dtype=pl.Int64,
        )
        if codes.null_count():
            rows = codes.is_null().arg_true()
            raise InputError(
                Problem(
                    "annotations",
                    f"labels that are no class name in {name_rows(rows.to_list())}",
                    f"one of {len(self.class_names)} class names",
                )
            )
        return codes.to_numpy()

    @cached_property
    def image_paths(self) -> list[Path] | None:
        """Absolute path of each item's image, or None where the items are not images."""
        if "path" not in self.items.columns or self.root is None:
            return None
        return [self.root / path for path in self.items["path"]]

    @cached_property
    def fingerprint(self) -> str:
        """Hex digest over the items, annotations and class names: which dataset a run speaks of."""
        digest = hashlib.blake2b("\x1f".join(self.class_names).encode(), digest_size=16)
        for column in (*self.items, *self.annotations):
            digest.update(f"\x1e{column.name}\x1f".encode())
            digest.update(column.is_null().to_numpy().tobytes())
            if column.dtype.is_numeric():
                digest.update(column.fill_null(0).to_numpy().tobytes())
            else:
                digest.update("\x1f".join(column.cast(pl.String).fill_null("")).encode())
        return digest.hexdigest()

    @property
    def facts(self) -> pl.DataFrame:
        """What conditions are asked of: the items, and the given `label` where each has one."""
        if self.has_boxes or "label" in self.items.columns:
            return self.items
        return self.items.with_columns(self.annotations["label"])

    def with_facts(self, facts: pl.DataFrame) -> Dataset:
        """Add columns to the items, or replace those of the same name; rows in item order."""
        return replace(self, items=self.items.with_columns(facts))

    def filter(self, *conditions: pl.Expr) -> Dataset:
        """Keep the items for which all conditions on `facts` hold, and their annotations.

        `labelfix.metadata.where` makes a condition of text.
        """
        rows = self.facts.with_row_index("\0row").filter(*conditions)["\0row"]
        items = self.items[rows]
        kept = self.annotations.join(items, on="item_id", how="semi", maintain_order="left")
        return replace(self, items=items, annotations=kept)

    def __add__(self, other: Dataset) -> Dataset:
        """Join two datasets that share no item. Classes are this one's, then new ones."""
        shared = self.items.join(other.items, on="item_id", how="semi")["item_id"]
        if len(shared):
            what = f"{len(shared)} items of both, such as {shared[0]!r}"
            raise InputError(Problem("datasets", what, "no item in both", "use | in place of +"))
        return _joined(self, other)

    def __or__(self, other: Dataset) -> Dataset:
        """Take the items of either; those of both must be labelled alike."""
        on = {"on": "item_id", "how": "semi", "maintain_order": "left"}
        mine = self.annotations.join(other.items, **on)  # type: ignore[arg-type] # one dict for two calls
        theirs = other.annotations.join(self.items, **on)  # type: ignore[arg-type] # as above
        columns = [name for name in mine.columns if name in theirs.columns]
        if not mine.select(columns).sort(columns).equals(theirs.select(columns).sort(columns)):
            what = "items of both whose annotations differ"
            raise InputError(Problem("datasets", what, "the same annotations in both"))
        rest = other.items.join(self.items, on="item_id", how="anti", maintain_order="left")
        return _joined(self, other.filter(pl.col("item_id").is_in(rest["item_id"].implode())))

    def take(self, rows: NDArray[np.int64]) -> Dataset:
        """Keep these items, in this order. For datasets with one annotation an item."""
        return replace(self, items=self.items[rows], annotations=self.annotations[rows])


def _joined(one: Dataset, other: Dataset) -> Dataset:
    """Put two datasets without a common item behind each other."""
    if one.has_boxes != other.has_boxes:
        raise InputError(Problem("datasets", "boxes and class labels", "two of one sort"))
    one, other = _below_one_root(one, other)
    same = one.format == other.format and _alike(one.source, other.source)
    columns = set(other.feature_columns)
    return replace(
        one,
        items=pl.concat([one.items, other.items], how="diagonal_relaxed"),
        annotations=pl.concat([one.annotations, other.annotations], how="diagonal_relaxed"),
        class_names=tuple(dict.fromkeys((*one.class_names, *other.class_names))),
        format=one.format if same else "joined",
        feature_columns=tuple(name for name in one.feature_columns if name in columns),
        skipped=(*one.skipped, *other.skipped),
        source=one.source if same else {},
    )


def _alike(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether two datasets come from the same files, unchanged between two readings."""
    return one is other or (
        one.keys() == other.keys()
        and all(
            value.equals(other[name]) if isinstance(value, pl.DataFrame) else value == other[name]
            for name, value in one.items()
        )
    )


def _below_one_root(one: Dataset, other: Dataset) -> tuple[Dataset, Dataset]:
    """Make the paths of images start at a folder that both have; ids stay as they are."""
    if one.root == other.root or one.root is None or other.root is None:
        return one, other
    root = Path(os.path.commonpath([one.root, other.root]))

    def moved(dataset: Dataset) -> Dataset:
        assert dataset.root is not None  # noqa: S101 # for the type checker: looked at above
        if "path" not in dataset.items.columns:
            return replace(dataset, root=root)
        start = dataset.root.relative_to(root).as_posix()
        path = pl.concat_str(pl.lit(f"{start}/"), "path").alias("path")
        items = dataset.items.with_columns(path) if start != "." else dataset.items
        return replace(dataset, items=items, root=root, source={})

    return moved(one), moved(other)


@dataclass(frozen=True)
class Predictions:
    """What one model says of each item of a dataset, rows in item order.

    Parameters
    ----------
    pred_probs
        Out-of-fold class probabilities, shape (n, K), float16, float32 or float64, rows sum to one.
    class_names
        Names of the K columns.
    fold
        Fold in which each item was held out, shape (n,), or None if unknown.
    train_pred_probs
        What networks said of the item while they learned from it, and some of them in the end too:
        the mean over the epochs and over the folds that trained on it, shape (n, K); None from
        models without epochs. In-sample, so an evidence of its own: what a network is slow to learn
        is suspicious (Pleiss et al. 2020, Swayamdipta et al. 2020).
    embeddings
        Shape (n, d), float32; None from models without any.
    duplicate_group
        Exact and near-duplicate items share a number, shape (n,); None if nobody looked.
    model
        Its name, and what it was given, for run.json.
    """

    pred_probs: NDArray[Any]
    class_names: tuple[str, ...]
    fold: NDArray[np.int32] | None = None
    train_pred_probs: NDArray[np.float32] | None = None
    embeddings: NDArray[np.float32] | None = None
    duplicate_group: NDArray[np.int64] | None = None
    model: str = "given"
    details: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class BoxPredictions:
    """What one detector sees in the images of a dataset.

    Parameters
    ----------
    boxes
        Table with the columns of `BOX_PREDICTIONS`, in item order, of each item the surest first.
    class_names
        The dataset's; those of the entries of `pred_probs`, where the table has that column.
    fold
        Table with the columns of `FOLDS`, or None if unknown.
    model, details
        Its name, and what it was given, for run.json.
    losses
        Table with the columns of `BOX_LOSSES`: what a detector that learned from the given boxes
        found hard to learn, as `labelfix.training.boxes.BoxTracker` gives it. None if nobody
        watched.
    """

    boxes: pl.DataFrame
    class_names: tuple[str, ...]
    fold: pl.DataFrame | None = None
    model: str = "given"
    details: Mapping[str, Any] = field(default_factory=dict)
    losses: pl.DataFrame | None = None

    def __post_init__(self) -> None:
        check(self.boxes, BOX_PREDICTIONS, "predictions")
        if self.fold is not None:
            check(self.fold, FOLDS, "folds")
        if self.losses is not None:
            check(self.losses, BOX_LOSSES, "losses")
            if twice := self.losses.filter(self.losses["annotation_id"].is_duplicated()).height:
                found = f"{twice} rows with an annotation_id that others have too"
                raise InputError(Problem("losses", found, "one row a box"))
