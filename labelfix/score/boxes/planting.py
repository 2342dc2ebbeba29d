"""How boxes go wrong, as geometry: shared by the calibration and by `labelfix.inject`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from labelfix.boxes import area, iou

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["halves", "hull", "moved", "neighbours"]

STRETCH = 0.7
"""How much of a random push goes into the size of a box, beside one into its place."""
FARTHEST = 20.0
"""No push is longer than this many sides: at that distance nothing overlaps any more."""
BISECTIONS = 30


def moved(
    box: NDArray[np.float64],
    extent: NDArray[np.float64],
    between: tuple[float, float],
    rng: np.random.Generator,
    directions: int = 8,
) -> NDArray[np.float64]:
    """Move and stretch boxes to an IoU drawn uniformly from `between`, inside their image.

    Each box is pushed along a random direction, which has a part for its centre and one for its
    size, until the IoU is met.

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
    directions
        How many are drawn for each box; the one that leaves the image least is taken.
    """
    n = len(box)
    target = rng.uniform(*between, n)
    direction = rng.normal(size=(directions, n, 4)) * (1, 1, STRETCH, STRETCH)
    near, far = np.zeros((directions, n)), np.full((directions, n), FARTHEST)
    for _ in range(BISECTIONS):
        middle = (near + far) / 2
        close = iou(_pushed(box, direction, middle), box) > target
        near, far = np.where(close, middle, near), np.where(close, far, middle)
    found = _pushed(box, direction, near)
    outside = np.maximum(-found[..., :2], 0) + np.maximum(found[..., 2:] - extent, 0)
    best = np.argmin(outside.sum(axis=-1), axis=0)
    return np.asarray(found[best, np.arange(n)])


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
    slack = area(around) / np.maximum(area(a) + area(b), np.finfo(float).tiny)
    apart = np.maximum(iou(around, a), iou(around, b)) <= most_iou
    pairs = pairs.with_columns(slack=slack).filter(apart & (slack <= most_area))
    best = pairs.sort("slack", "row_2").group_by("row", maintain_order=True).first()
    mutual = best.join(best.select(row="row_2", row_2="row"), on=["row", "row_2"], how="semi")
    mutual = mutual.filter(pl.col("row") < pl.col("row_2")).sort("turn")
    return mutual["row"].to_numpy(), mutual["row_2"].to_numpy()
