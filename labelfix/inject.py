"""Plant label errors into a clean dataset, and keep the truth.

The only way to know how well errors are found is to know where they are. These functions change
labels at random, seeded, and say what they changed. Tables in, tables out.

Planted errors are easier to find than people's: use them to compare methods, not to promise
figures.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import polars as pl

from labelfix.boxes import iou
from labelfix.errors import InputError, Problem, name_rows
from labelfix.schema import ANNOTATIONS, BOX, BOX_ANNOTATIONS, ITEMS, check
from labelfix.score.boxes.matching import spread
from labelfix.score.boxes.planting import halves, hull, moved, neighbours

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from labelfix.schema import BoxKind

__all__ = [
    "PLANTED",
    "BoxNoise",
    "Planted",
    "inject_boxes",
    "inject_labels",
    "inject_labels_by_item",
    "instance_noise",
    "pair_noise",
    "symmetric_noise",
]

PLANTED: Mapping[str, type[pl.DataType]] = {
    "annotation_id": pl.String,
    "item_id": pl.String,
    "kind": pl.String,
    "original_label": pl.String,
}
"""One row an annotation that was changed, in item order. `kind` is a kind of `labelfix.schema`.
For boxes also original_x1 … original_y2; the original is null where there was none."""

ROUNDS = 200
"""How often a place is drawn for a box that must not touch the others before it is given up."""


class Planted(NamedTuple):
    """A table with planted errors, and the truth about them."""

    annotations: pl.DataFrame
    """As given, with the errors in it."""
    truth: pl.DataFrame
    """What was changed: the columns of `PLANTED`."""


def symmetric_noise(n_classes: int, rate: float) -> NDArray[np.float64]:
    """Transition matrix in which a label is changed with probability `rate`, to any other alike.

    Parameters
    ----------
    n_classes
        At least 2.
    rate
        In [0, 1].

    Returns
    -------
    numpy.ndarray
        Shape (K, K): row = true class, column = given class, rows sum to one.

    Raises
    ------
    InputError
        If there is no other class, or the rate is no share.

    Examples
    --------
    >>> symmetric_noise(3, 0.2).tolist()
    [[0.8, 0.1, 0.1], [0.1, 0.8, 0.1], [0.1, 0.1, 0.8]]
    """
    _check_noise(n_classes, rate)
    matrix = np.full((n_classes, n_classes), rate / (n_classes - 1))
    np.fill_diagonal(matrix, 1 - rate)
    return matrix


def pair_noise(n_classes: int, rate: float) -> NDArray[np.float64]:
    """Transition matrix in which a label is changed with probability `rate`, to the next class.

    As people confuse look-alikes; the last class turns into the first. Parameters, result and
    errors are those of `symmetric_noise`.

    Examples
    --------
    >>> pair_noise(3, 0.25).tolist()
    [[0.75, 0.25, 0.0], [0.0, 0.75, 0.25], [0.25, 0.0, 0.75]]
    """
    _check_noise(n_classes, rate)
    keep = np.eye(n_classes)
    return (1 - rate) * keep + rate * np.roll(keep, 1, axis=1)


def instance_noise(
    labels: NDArray[np.int64], pred_probs: NDArray[np.float64], rate: float
) -> NDArray[np.float64]:
    """Chances of the given label item by item, as people err: on hard items, to a look-alike.

    An item's label is changed with a probability in proportion to how likely another model deems
    its likeliest other class, `rate` on average; and to each class as likely as the model deems it.

    Parameters
    ----------
    labels
        True class of each item, shape (n,).
    pred_probs
        What a model that takes no part in the search says, shape (n, K).
    rate
        In [0, 1]. Less is planted where too few items are hard: no chance exceeds 1.

    Returns
    -------
    numpy.ndarray
        Shape (n, K), rows sum to one: for `inject_labels_by_item`.

    Raises
    ------
    InputError
        If there is no other class, or the rate is no share.

    Examples
    --------
    >>> pred_probs = np.array([[1.0, 0.0, 0.0], [0.5, 0.4, 0.1]])
    >>> instance_noise(np.array([0, 0]), pred_probs, 0.25).round(2).tolist()
    [[1.0, 0.0, 0.0], [0.5, 0.4, 0.1]]
    """
    _check_noise(np.shape(pred_probs)[1], rate)
    rows = np.arange(len(labels))
    others = np.array(pred_probs, dtype=np.float64)
    others[rows, labels] = 0
    hard, sums = others.max(axis=1), others.sum(axis=1)
    chance = np.minimum(1, hard * rate * len(labels) / max(hard.sum(), np.finfo(float).tiny))
    chances = others * np.divide(chance, sums, out=np.zeros_like(sums), where=sums > 0)[:, None]
    chances[rows, labels] = 1 - chance
    return np.asarray(chances, np.float64)


def _check_noise(n_classes: int, rate: float) -> None:
    """Refuse what no noise can be: labels need another class, and a rate is a share.

    Raises
    ------
    InputError
        Naming both.
    """
    problems = []
    if n_classes < 2:
        problems.append(Problem("n_classes", str(n_classes), "2 or more: labels need another"))
    if not 0 <= rate <= 1:  # which NaN is not
        problems.append(Problem("rate", str(rate), "a share in [0, 1]"))
    if problems:
        raise InputError(problems)


def inject_labels_by_item(
    annotations: pl.DataFrame,
    chances: NDArray[np.float64],
    class_names: Sequence[str],
    seed: int = 0,
) -> Planted:
    """Draw each class label anew from the row of `chances` that belongs to its item.

    Parameters and result are those of `inject_labels`, but for:

    Parameters
    ----------
    chances
        Shape (n, K), one row an annotation, rows sum to one; `instance_noise` makes them.

    Raises
    ------
    InputError
        If the shape is another, or rows are no probabilities; if a label is no class.
    """
    check(annotations, ANNOTATIONS, "annotations")
    shape = (annotations.height, len(class_names))
    chances = _checked_chances(np.asarray(chances, np.float64), shape, "chances")
    return _drawn(annotations, chances, np.arange(len(chances)), class_names, seed)


def inject_labels(
    annotations: pl.DataFrame,
    transition: NDArray[np.float64],
    class_names: Sequence[str],
    seed: int = 0,
) -> Planted:
    """Draw each class label anew from the row of `transition` that belongs to it.

    Parameters
    ----------
    annotations
        Columns of `ANNOTATIONS`; further columns are kept.
    transition
        Shape (K, K): row = label as it is, column = label to give, rows sum to one.
        `symmetric_noise` and `pair_noise` make common ones.
    class_names
        Names of rows and columns.
    seed
        The same seed plants the same errors.

    Returns
    -------
    Planted
        `truth` has a row for each label that is now another one, of kind `mislabeled`.

    Raises
    ------
    InputError
        If the matrix has another shape, or rows that are no probabilities; if a label is no class.

    Examples
    --------
    >>> table = pl.DataFrame({"annotation_id": ["a", "b"], "item_id": ["a", "b"],
    ...                       "label": ["cat", "dog"]})
    >>> noisy, truth = inject_labels(table, pair_noise(2, 1.0), ["cat", "dog"])
    >>> noisy["label"].to_list(), truth["original_label"].to_list()
    (['dog', 'cat'], ['cat', 'dog'])
    """
    check(annotations, ANNOTATIONS, "annotations")
    shape = (len(class_names), len(class_names))
    transition = _checked_chances(np.asarray(transition, np.float64), shape, "transition")
    return _drawn(annotations, transition, _codes(annotations, class_names), class_names, seed)


def _drawn(
    annotations: pl.DataFrame,
    chances: NDArray[np.float64],
    rows: NDArray[np.int64],
    class_names: Sequence[str],
    seed: int,
) -> Planted:
    """Draw the label of each annotation from its row of `chances`."""
    draw = np.random.default_rng(seed).random(len(rows))
    new = _draw_columns(chances, rows, draw)
    changed = _codes(annotations, class_names) != new
    truth = annotations.select(
        "annotation_id",
        "item_id",
        kind=pl.lit("mislabeled"),
        original_label=pl.col("label"),
    ).filter(changed)
    return Planted(annotations.with_columns(label=_names(new, class_names)), truth)


@dataclass(frozen=True)
class BoxNoise:
    """How much to spoil boxes, and how.

    The first seven are shares of the given boxes (crowd regions apart), each in [0, 1]; no box is
    spoiled twice.

    Parameters
    ----------
    drop
        Boxes taken away: kind `missing`.
    flip
        Boxes given another class: kind `wrong_class`.
    shift
        Boxes moved and stretched to an IoU within `shift_iou` of where they were, inside their
        image: kind `bad_location`. Only a box that leaves the image itself may go on doing so.
    spawn
        Boxes put where there is none: kind `spurious`. Class and size are those of a box drawn
        from the table; the place is one that overlaps every other box by less than `spawn_iou`.
    duplicate
        Boxes drawn a second time, at an IoU within `duplicate_iou`, inside the image as with
        `shift`: kind `duplicate`.
    merge
        Boxes drawn as one with their nearest neighbour of the same class: kind `group`, for both.
    split
        Boxes drawn as two halves: kind `group`, for both halves.
    shift_iou, duplicate_iou
        Lowest and highest IoU, within (0, 1).
    spawn_iou
        In (0, 1].
    merge_area
        A merged box is at most this many times as large as the two together: objects far apart are
        no group.
    merge_iou
        A merged box fits neither of the two any better: else it would be right for one of them.
    confusion
        Weights to draw another class by, K rows of K numbers >= 0, row = class as it is; the
        diagonal does not count. None draws any other class alike.
    """

    drop: float = 0.0
    flip: float = 0.0
    shift: float = 0.0
    spawn: float = 0.0
    duplicate: float = 0.0
    merge: float = 0.0
    split: float = 0.0
    shift_iou: tuple[float, float] = (0.4, 0.7)
    duplicate_iou: tuple[float, float] = (0.8, 0.95)
    spawn_iou: float = 0.1
    merge_area: float = 2.0
    merge_iou: float = 0.7
    confusion: tuple[tuple[float, ...], ...] | None = None

    def __post_init__(self) -> None:
        shares = {name: getattr(self, name) for name in (*SPOILS, *ADDS)}
        problems = [
            Problem(f"BoxNoise.{name}", str(share), "a share in [0, 1]")
            for name, share in shares.items()
            if not 0 <= share <= 1
        ]
        for name in ("shift_iou", "duplicate_iou"):
            low, high = getattr(self, name)
            if not 0 < low <= high < 1:
                problems.append(
                    Problem(f"BoxNoise.{name}", f"{low}, {high}", "0 < low <= high < 1")
                )
        if not 0 < self.spawn_iou <= 1:
            problems.append(Problem("BoxNoise.spawn_iou", str(self.spawn_iou), "in (0, 1]"))
        if sum(shares[name] for name in SPOILS) > 1:
            problems.append(Problem("BoxNoise", f"{', '.join(SPOILS)} above 1 in all", "at most 1"))
        if problems:
            raise InputError(problems)


SPOILS = ("drop", "flip", "shift", "merge", "split")
"""What changes or removes a box of the table: each box at most once."""
ADDS = ("spawn", "duplicate")
"""What adds a box to the table."""


def inject_boxes(
    annotations: pl.DataFrame,
    noise: BoxNoise,
    class_names: Sequence[str],
    items: pl.DataFrame | None = None,
    seed: int = 0,
) -> Planted:
    """Plant box errors, and keep what was there before.

    Parameters
    ----------
    annotations
        Columns of `BOX_ANNOTATIONS`; further columns are kept, and null in boxes that are added.
    noise
        What to plant, and how much.
    class_names
        All classes that a box may be given.
    items
        Columns of `ITEMS`; `width` and `height` bound the places that boxes move to. Without them
        an image reaches as far as its boxes do.
    seed
        The same seed plants the same errors.

    Returns
    -------
    Planted
        `annotations` in the old order, added boxes after the others of their image. `truth` has
        one row for each box that was dropped, changed or added; dropped ones are in `truth` alone.
        Where a merged neighbour or a crowded image leaves too few places, fewer are planted than
        asked for.

    Raises
    ------
    InputError
        If a label is no class, or if `flip` is asked for with one class only.

    Examples
    --------
    >>> table = pl.DataFrame({
    ...     "annotation_id": ["a", "b"], "item_id": ["i", "i"], "label": ["cat", "dog"],
    ...     "x1": [0.0, 50.0], "y1": [0.0, 50.0], "x2": [20.0, 90.0], "y2": [20.0, 90.0],
    ...     "crowd": [False, False]})
    >>> noisy, truth = inject_boxes(table, BoxNoise(flip=0.5, drop=0.5), ["cat", "dog"], seed=1)
    >>> noisy["label"].to_list(), truth["kind"].to_list()
    (['cat'], ['missing', 'wrong_class'])
    """
    check(annotations, BOX_ANNOTATIONS, "annotations")
    labels = _codes(annotations, class_names)
    weights = _flip_weights(noise, len(class_names))
    item_ids = _item_order(annotations, items)
    desk = _lay_out(annotations, item_ids, labels)
    rng = np.random.default_rng(seed)
    free = rng.permutation(np.flatnonzero(~annotations["crowd"].fill_null(value=False).to_numpy()))
    count = {name: round(getattr(noise, name) * len(free)) for name in (*SPOILS, *ADDS)}
    asked = free if noise.merge else free[:0]
    rows, partners = neighbours(
        desk.item, desk.label, desk.box, asked, noise.merge_area, noise.merge_iou
    )
    # a merge takes two boxes
    rows, partners = rows[: count["merge"] // 2], partners[: count["merge"] // 2]
    _merge(desk, rows, partners)
    free = free[~np.isin(free, np.concatenate([rows, partners]))]
    edges = np.cumsum([count[name] for name in ("drop", "flip", "shift", "split", "duplicate")])
    drop, flip, shift, split, duplicate, _ = np.split(free, edges)
    _drop(desk, drop)
    _flip(desk, flip, weights, rng)
    _shift(desk, shift, noise, rng)
    _split(desk, split)
    _duplicate(desk, duplicate, noise, rng)
    _spawn(desk, count["spawn"], noise, rng)
    return _pick_up(desk, annotations, item_ids, class_names)


def _flip_weights(noise: BoxNoise, n_classes: int) -> NDArray[np.float64]:
    """Weights to draw another class by; rows without any draw all others alike."""
    others = 1 - np.eye(n_classes)
    if noise.flip and n_classes < 2:
        raise InputError(Problem("BoxNoise.flip", "one class only", "another class to flip to"))
    if noise.confusion is None:
        return others
    weights = np.asarray(noise.confusion, np.float64)
    if weights.shape != others.shape or not (weights >= 0).all():
        shape = f"{n_classes} rows of {n_classes} numbers >= 0"
        raise InputError(Problem("BoxNoise.confusion", f"shape {weights.shape}", shape))
    weights = weights * others
    return np.where(weights.sum(axis=1, keepdims=True) > 0, weights, others)


def _item_order(annotations: pl.DataFrame, items: pl.DataFrame | None) -> pl.DataFrame:
    """Item ids with a number in the order of first mention, and their sizes where known."""
    order = annotations.select(pl.col("item_id").unique(maintain_order=True)).with_row_index("code")
    order = order.with_columns(pl.col("code").cast(pl.Int64))
    if items is None or not {"width", "height"} <= set(items.columns):
        return order
    sizes = check(items, ITEMS, "items").select("item_id", "width", "height")
    return order.join(sizes, on="item_id", how="left", maintain_order="left")


@dataclass
class _Desk:
    """Boxes being spoiled. Rows of the table keep their place; added boxes follow at the end."""

    item: NDArray[np.int64]
    label: NDArray[np.int64]
    box: NDArray[np.float64]
    kind: NDArray[np.object_]
    """What was planted in each row; None where nothing was."""
    gone: NDArray[np.bool_]
    extent: NDArray[np.float64]
    """Width and height of each image."""

    def add(
        self,
        item: NDArray[np.int64],
        label: NDArray[np.int64],
        box: NDArray[np.float64],
        kind: BoxKind,
    ) -> None:
        """Put new boxes at the end."""
        self.item = np.concatenate([self.item, item])
        self.label = np.concatenate([self.label, label])
        self.box = np.concatenate([self.box, box])
        self.kind = np.concatenate([self.kind, np.full(len(item), kind, object)])
        self.gone = np.concatenate([self.gone, np.zeros(len(item), bool)])


def _lay_out(annotations: pl.DataFrame, item_ids: pl.DataFrame, labels: NDArray[np.int64]) -> _Desk:
    box = annotations.select(BOX).to_numpy().astype(np.float64)
    item = annotations.join(item_ids, on="item_id", how="left", maintain_order="left")["code"]
    extent = np.zeros((item_ids.height, 2))
    np.maximum.at(extent, item.to_numpy(), box[:, 2:])
    if {"width", "height"} <= set(item_ids.columns):
        known = item_ids.select("width", "height").cast(pl.Float64).to_numpy()
        extent = np.where(np.isnan(known), extent, known)
    n = len(box)
    return _Desk(item.to_numpy(), labels, box, np.full(n, None, object), np.zeros(n, bool), extent)


def _pick_up(
    desk: _Desk, annotations: pl.DataFrame, item_ids: pl.DataFrame, class_names: Sequence[str]
) -> Planted:
    added = len(desk.item) - annotations.height
    prefix = "planted"
    while annotations["annotation_id"].str.starts_with(prefix).any():
        prefix += "_"
    ids = annotations["annotation_id"].to_list() + [f"{prefix}-{i}" for i in range(added)]
    rest = annotations.drop("annotation_id", "item_id", "label", *BOX)
    blank = pl.DataFrame({"crowd": [False] * added}, schema_overrides={"crowd": pl.Boolean})
    table = pl.DataFrame(
        {
            "annotation_id": pl.Series(ids, dtype=pl.String),
            "item_id": item_ids["item_id"].gather(desk.item),
            "label": _names(desk.label, class_names),
            **dict(zip(BOX, desk.box.T, strict=True)),
            "planted_kind": pl.Series(desk.kind.tolist(), dtype=pl.String),
            "planted_gone": desk.gone,
            "planted_order": desk.item,
        }
    ).hstack(pl.concat([rest, blank], how="diagonal"))
    old = annotations.select(
        "annotation_id",
        original_label="label",
        **{f"original_{edge}": edge for edge in BOX},
    )
    table = table.sort("planted_order", maintain_order=True)
    truth = (
        table.filter(pl.col("planted_kind").is_not_null())
        .select("annotation_id", "item_id", kind="planted_kind")
        .join(old, on="annotation_id", how="left", maintain_order="left")
    )
    return Planted(table.filter(~pl.col("planted_gone")).select(annotations.columns), truth)


def _drop(desk: _Desk, rows: NDArray[np.int64]) -> None:
    desk.kind[rows] = "missing"
    desk.gone[rows] = True


def _flip(
    desk: _Desk, rows: NDArray[np.int64], weights: NDArray[np.float64], rng: np.random.Generator
) -> None:
    desk.kind[rows] = "wrong_class"
    desk.label[rows] = _draw_columns(weights, desk.label[rows], rng.random(len(rows)))


def _shift(desk: _Desk, rows: NDArray[np.int64], noise: BoxNoise, rng: np.random.Generator) -> None:
    desk.kind[rows] = "bad_location"
    extent = desk.extent[desk.item[rows]]
    desk.box[rows] = moved(desk.box[rows], extent, noise.shift_iou, rng)


def _merge(desk: _Desk, rows: NDArray[np.int64], partners: NDArray[np.int64]) -> None:
    desk.kind[rows] = desk.kind[partners] = "group"
    desk.gone[partners] = True
    desk.box[rows] = hull(desk.box[rows], desk.box[partners])


def _split(desk: _Desk, rows: NDArray[np.int64]) -> None:
    desk.kind[rows] = "group"
    desk.box[rows], second = halves(desk.box[rows])
    desk.add(desk.item[rows], desk.label[rows], second, "group")


def _duplicate(
    desk: _Desk, rows: NDArray[np.int64], noise: BoxNoise, rng: np.random.Generator
) -> None:
    copy = moved(desk.box[rows], desk.extent[desk.item[rows]], noise.duplicate_iou, rng)
    desk.add(desk.item[rows], desk.label[rows], copy, "duplicate")


def _spawn(desk: _Desk, count: int, noise: BoxNoise, rng: np.random.Generator) -> None:
    """Draw image, class, size and place until the place is free, `ROUNDS` times at most."""
    models = np.flatnonzero(desk.kind == None)  # noqa: E711 # elementwise over an object array
    for _ in range(ROUNDS):
        if count == 0 or len(models) == 0:
            return
        like = rng.choice(models, count)
        item = rng.choice(desk.item[models], count)
        scale = desk.extent[item] / desk.extent[desk.item[like]]
        size = (desk.box[like, 2:] - desk.box[like, :2]) * scale
        size = np.minimum(size, desk.extent[item])
        corner = rng.random((count, 2)) * (desk.extent[item] - size)
        box = np.concatenate([corner, corner + size], axis=1)
        fits = _is_alone(desk, item, box, noise.spawn_iou)
        # one a round and image, so that new boxes cannot touch each other either
        first = np.zeros(count, bool)
        first[np.unique(np.where(fits, item, -1), return_index=True)[1]] = True
        fits &= first
        desk.add(item[fits], desk.label[like[fits]], box[fits], "spurious")
        count -= int(fits.sum())


def _is_alone(
    desk: _Desk, item: NDArray[np.int64], box: NDArray[np.float64], most: float
) -> NDArray[np.bool_]:
    """Whether each new box overlaps every box of its image by less than `most`, gone ones too."""
    order = np.argsort(desk.item, kind="stable")
    first = np.searchsorted(desk.item[order], item, side="left")
    count = np.searchsorted(desk.item[order], item, side="right") - first
    group, place = spread(count)
    others = desk.box[order[first[group] + place]]
    touched = np.zeros(len(item), bool)
    touched[group[iou(box[group], others) >= most]] = True
    return ~touched


def _codes(annotations: pl.DataFrame, class_names: Sequence[str]) -> NDArray[np.int64]:
    """Class of each row as an index into `class_names`."""
    label = annotations["label"]
    unknown = sorted(set(label.unique()) - set(class_names))
    if unknown:
        raise InputError(
            [Problem("annotations, column 'label'", repr(u), "a class name") for u in unknown]
        )
    return label.cast(pl.Enum(class_names)).to_physical().to_numpy().astype(np.int64)


def _checked_chances(
    matrix: NDArray[np.float64], shape: tuple[int, int], name: str
) -> NDArray[np.float64]:
    expected = f"shape {shape}, numbers >= 0, rows that sum to one"
    if matrix.shape != shape:
        raise InputError(Problem(name, f"shape {matrix.shape}", expected))
    bad = ~(np.isclose(matrix.sum(axis=1), 1) & (matrix >= 0).all(axis=1))
    if bad.any():
        rows = name_rows(np.flatnonzero(bad))
        raise InputError(Problem(name, f"no probabilities in {rows}", expected))
    return matrix


def _names(codes: NDArray[np.int64], class_names: Sequence[str]) -> pl.Series:
    return pl.Series("label", class_names, dtype=pl.String).gather(codes)


def _draw_columns(
    weights: NDArray[np.float64], rows: NDArray[np.int64], draw: NDArray[np.float64]
) -> NDArray[np.int64]:
    """Draw a column for each of `rows` by the row's weights, from uniform `draw` in [0, 1)."""
    edges = np.cumsum(weights, axis=1)
    edges /= edges[:, -1:]
    # all rows in one sorted array: row r holds the interval [r, r + 1)
    width = edges.shape[1]
    flat = (edges + np.arange(len(edges))[:, None]).ravel()
    columns = np.searchsorted(flat, rows + draw, side="right") - rows * width
    return np.asarray(np.minimum(columns, width - 1))
