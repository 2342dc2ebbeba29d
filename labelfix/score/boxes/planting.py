"""How boxes go wrong, as geometry: shared by the calibration and by `labelfix.inject`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from labelfix.boxes import area, iou

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["halves", "hull", "moved", "neighbours", "pushed"]

STRETCH = 0.7
"""How much of a random push goes into the size of a box, beside one into its place."""
FARTHEST = 20.0
"""No push is longer than this many sides: at that distance nothing overlaps any more."""
BISECTIONS = 30
DIRECTIONS = 8
"""How many pushes of a box are tried to stay in its image."""


def moved(
    box: NDArray[np.float64],
    extent: NDArray[np.float64],
    between: tuple[float, float],
    rng: np.random.Generator,
) -> NDArray[np.float64]:
    """Move and stretch boxes to an IoU drawn uniformly from `between`, inside their image.

    Of several pushes of each box (see `pushed`) the one that leaves the image least is taken. A box
    that every push takes outside is made smaller instead, within what of it lies in the image. Only
    one that lies outside itself, by so much that the IoU cannot be met inside, stays outside.

    Parameters
    ----------
    box
        Corners, shape (n, 4).
    extent
        Width and height of each box's image, shape (n, 2).
    between
        Lowest and highest IoU, in (0, 1).
    rng
        Where chance comes from.
    """
    target = rng.uniform(*between, len(box))
    found = _pushed_to(box, target, rng, DIRECTIONS)
    outside = np.maximum(-found[..., :2], 0) + np.maximum(found[..., 2:] - extent, 0)
    outside = outside.sum(axis=-1)
    best, rows = np.argmin(outside, axis=0), np.arange(len(box))
    result = np.asarray(found[best, rows])
    out = np.flatnonzero(outside[best, rows] > 0)
    low = np.maximum(box[out, :2], 0)
    inner = np.concatenate([low, np.minimum(box[out, 2:], extent[out])], axis=1)
    share = target[out] * area(box[out]) / np.maximum(area(inner), np.finfo(float).tiny)
    fits = share <= 1
    result[out[fits]] = _shrunk(inner[fits], share[fits], rng)
    return result


def pushed(
    box: NDArray[np.float64], between: tuple[float, float], rng: np.random.Generator
) -> NDArray[np.float64]:
    """Move and stretch boxes to an IoU drawn uniformly from `between`, whatever the image.

    Each box is pushed along a random direction, which has a part for its centre and one for its
    size, until the IoU is met. Parameters are those of `moved`.
    """
    return np.asarray(_pushed_to(box, rng.uniform(*between, len(box)), rng, 1)[0])


def _pushed_to(
    box: NDArray[np.float64],
    target: NDArray[np.float64],
    rng: np.random.Generator,
    directions: int,
) -> NDArray[np.float64]:
    """Push each box along several directions until the IoU is met, shape (directions, n, 4)."""
    direction = rng.normal(size=(directions, len(box), 4)) * (1, 1, STRETCH, STRETCH)
    near, far = np.zeros(direction.shape[:2]), np.full(direction.shape[:2], FARTHEST)
    for _ in range(BISECTIONS):
        middle = (near + far) / 2
        close = iou(_pushed(box, direction, middle), box) > target
        near, far = np.where(close, middle, near), np.where(close, far, middle)
    return _pushed(box, direction, near)


def _shrunk(
    box: NDArray[np.float64], share: NDArray[np.float64], rng: np.random.Generator
) -> NDArray[np.float64]:
    """Draw a box within each that has this share of its area."""
    part, place = rng.random(len(box)), rng.random((len(box), 2))
    size = box[:, 2:] - box[:, :2]
    new = size * np.column_stack([share**part, share ** (1 - part)])
    low = box[:, :2] + place * (size - new)
    return np.concatenate([low, np.minimum(low + new, box[:, 2:])], axis=1)


def _pushed(
    box: NDArray[np.float64], direction: NDArray[np.float64], far: NDArray[np.float64]
) -> NDArray[np.float64]:
    size = box[:, 2:] - box[:, :2]
    step = direction * far[..., None]
    centre = (box[:, :2] + box[:, 2:]) / 2 + step[..., :2] * size
    half = size * np.exp(np.clip(step[..., 2:], -5, 5)) / 2
    return np.concatenate([centre - half, centre + half], axis=-1)


def hull(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    """Smallest box around the two of each row.

    Examples
    --------
    >>> hull(np.array([[0, 0, 2, 2]]), np.array([[1, -1, 3, 1]])).tolist()
    [[0, -1, 3, 2]]
    """
    return np.concatenate([np.minimum(a[:, :2], b[:, :2]), np.maximum(a[:, 2:], b[:, 2:])], axis=1)


def halves(box: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Cut boxes in the middle of their longer side.

    Examples
    --------
    >>> first, second = halves(np.array([[0.0, 0, 10, 4]]))
    >>> first.tolist(), second.tolist()
    ([[0.0, 0.0, 5.0, 4.0]], [[5.0, 0.0, 10.0, 4.0]])
    """
    wide = box[:, 2] - box[:, 0] >= box[:, 3] - box[:, 1]
    first, second = box.copy(), box.copy()
    for edge, cut in ((0, wide), (1, ~wide)):
        middle = (box[:, edge] + box[:, edge + 2]) / 2
        first[cut, edge + 2] = middle[cut]
        second[cut, edge] = middle[cut]
    return first, second


def neighbours(
    item: NDArray[np.integer[Any]],
    label: NDArray[np.integer[Any]],
    box: NDArray[np.float64],
    rows: NDArray[np.int64],
    most_area: float,
    most_iou: float,
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Pairs among `rows`, of one image and class, that are each other's nearest, in rows' order.

    Near means that the hull of the two is small beside the two together.

    Parameters
    ----------
    item, label, box
        Of all boxes; shapes (n,), (n,) and (n, 4).
    rows
        Which boxes may be taken.
    most_area
        The hull is at most this many times as large as the two together.
    most_iou
        The hull fits neither of the two any better.
    """
    table = pl.DataFrame(
        {"row": rows, "item": item[rows], "label": label[rows], "turn": np.arange(len(rows))}
    )
    pairs = table.join(table.drop("turn"), on=["item", "label"], suffix="_2")
    pairs = pairs.filter(pl.col("row") != pl.col("row_2"))
    a, b = box[pairs["row"].to_numpy()], box[pairs["row_2"].to_numpy()]
    around = hull(a, b)
    both = area(a) + area(b)
    slack = np.divide(area(around), both, out=np.full(len(both), np.inf), where=both > 0)
    apart = np.maximum(iou(around, a), iou(around, b)) <= most_iou
    pairs = pairs.with_columns(slack=slack).filter(apart & (slack <= most_area))
    best = pairs.sort("slack", "row_2").group_by("row", maintain_order=True).first()
    mutual = best.join(best.select(row="row_2", row_2="row"), on=["row", "row_2"], how="semi")
    mutual = mutual.filter(pl.col("row") < pl.col("row_2")).sort("turn")
    return mutual["row"].to_numpy(), mutual["row_2"].to_numpy()
