"""Boxes: the one place that knows how other formats write coordinates.

Inside labelfix a box is its corners (x1, y1, x2, y2) in pixels as float64, counted from the outer
edge of the image's top left pixel: x2 and y2 are exclusive, the first pixel's box is (0, 0, 1, 1).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

__all__ = [
    "COCO",
    "ODDITIES",
    "VOC",
    "VOC_CONTINUOUS",
    "YOLO",
    "Convention",
    "area",
    "iou",
    "iou_blocks",
    "oddities",
]

Layout = Literal["corners", "corner_size", "centre_size"]

MOST_DECIMALS = 17
"""No float64 between 0 and 1 needs more to be told from its neighbours."""

ODDITIES = ("", "no finite numbers", "inverted", "empty", "outside the image")
"""What `oddities` finds, by code."""


@dataclass(frozen=True, slots=True)
class Convention:
    """How a format writes a box as four numbers.

    Parameters
    ----------
    layout
        `corners` (x1, y1, x2, y2), `corner_size` (x1, y1, width, height) or `centre_size`
        (centre x, centre y, width, height).
    normalised
        Divided by the width and height of the image.
    inclusive
        Pixels are numbered from 1 and the right and bottom ones named belong to the box.

    Examples
    --------
    >>> COCO.to_pixels([[10, 20, 30, 40]]).tolist()
    [[10.0, 20.0, 40.0, 60.0]]
    >>> VOC.to_pixels([[1, 1, 640, 480]]).tolist()
    [[0.0, 0.0, 640.0, 480.0]]
    >>> YOLO.to_pixels([[0.5, 0.5, 0.25, 1]], sizes=[[640, 480]]).tolist()
    [[240.0, 0.0, 400.0, 480.0]]
    >>> YOLO.from_pixels([[240, 0, 400, 480]], sizes=[[640, 480]]).tolist()
    [[0.5, 0.5, 0.25, 1.0]]
    """

    layout: Layout
    normalised: bool = False
    inclusive: bool = False

    def to_pixels(
        self, values: NDArray[np.float64] | list[list[float]], sizes: object = None
    ) -> NDArray[np.float64]:
        """Corners in pixels, shape (n, 4), of boxes as this convention writes them.

        Parameters
        ----------
        values
            Shape (n, 4).
        sizes
            Width and height of each box's image in pixels, shape (n, 2); only for `normalised`.
        """
        first, second = _halves(values)
        low, high = first, second
        if self.layout == "corner_size":
            high = first + second
        elif self.layout == "centre_size":
            low, high = first - second / 2, first + second / 2
        if self.normalised:
            scale = np.asarray(sizes, dtype=np.float64)
            low, high = low * scale, high * scale
        if self.inclusive:
            low = low - 1
        return np.hstack([low, high])

    def from_pixels(
        self,
        boxes: NDArray[np.float64] | list[list[float]],
        sizes: object = None,
        decimals: int | None = None,
    ) -> NDArray[np.float64]:
        """Numbers, shape (n, 4), that this convention writes for boxes in pixels.

        Arithmetic on floats does not undo itself to the last bit, so the numbers are chosen by
        reading them back: those with the fewest decimals that give the same box, bit for bit. A
        box that was read from numbers of up to nine decimals therefore becomes those numbers
        again. Where no float64 reads back exactly, the box is off by a rounding error.

        Parameters
        ----------
        boxes
            Shape (n, 4), finite.
        sizes
            As in `to_pixels`.
        decimals
            Round to this many instead, or to as many more as keep every edge within half a pixel
            and a box that is not empty from becoming so.
        """
        wanted = np.asarray(boxes, dtype=np.float64).reshape(-1, 4)
        exact = self._invert(wanted, sizes)
        chosen = exact.copy()
        left = np.ones((len(wanted), 2), dtype=bool)  # which axes are not settled yet
        for places in range(decimals or 0, MOST_DECIMALS + 1):
            rounded = np.round(exact, places)
            read = self.to_pixels(rounded, sizes)
            good = left & (_same(read, wanted) if decimals is None else _close(read, wanted))
            chosen = np.where(np.hstack([good, good]), rounded, chosen)
            left &= ~good
            if not left.any():
                break
        return chosen

    def _invert(self, boxes: NDArray[np.float64], sizes: object) -> NDArray[np.float64]:
        low, high = _halves(boxes)
        if self.inclusive:
            low = low + 1
        if self.normalised:
            scale = np.asarray(sizes, dtype=np.float64)
            low, high = low / scale, high / scale
        if self.layout == "corner_size":
            return np.hstack([low, high - low])
        if self.layout == "centre_size":
            return np.hstack([low + (high - low) / 2, high - low])
        return np.hstack([low, high])


COCO = Convention("corner_size")
"""x, y, width, height in pixels."""

VOC = Convention("corners", inclusive=True)
"""xmin, ymin, xmax, ymax as numbers of pixels from 1, the last ones inside (the VOC kit's way)."""

VOC_CONTINUOUS = Convention("corners")
"""The same four names, filled with continuous coordinates from 0 as many tools do."""

YOLO = Convention("centre_size", normalised=True)
"""Centre x, centre y, width, height as fractions of the image."""


def _halves(
    values: NDArray[np.float64] | list[list[float]],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    table = np.asarray(values, dtype=np.float64).reshape(-1, 4)
    return table[:, :2], table[:, 2:]


def _same(read: NDArray[np.float64], wanted: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Whether both edges of an axis agree, shape (n, 2)."""
    equal = read == wanted
    return np.asarray(equal[:, :2] & equal[:, 2:])


def _close(read: NDArray[np.float64], wanted: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Whether both edges of an axis are within half a pixel, and its length has kept its sign."""
    near = np.abs(read - wanted) <= 0.5 + 1e-9
    length_read, length_wanted = (x[:, 2:] - x[:, :2] > 0 for x in (read, wanted))
    return np.asarray(near[:, :2] & near[:, 2:] & (length_read == length_wanted))


def area(boxes: NDArray[np.float64]) -> NDArray[np.float64]:
    """Area of each box in square pixels, shape (n,); zero where a box is inverted.

    Examples
    --------
    >>> area(np.array([[0.0, 0, 4, 5], [4, 0, 0, 5]])).tolist()
    [20.0, 0.0]
    """
    low, high = _halves(boxes)
    width, height = np.maximum(high - low, 0).T
    return np.asarray(width * height)


def iou(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    """Intersection over union of each box in `a` with the one in `b` beside it, in [0, 1].

    Parameters
    ----------
    a, b
        Corners, of shapes that broadcast: (n, 4) with (n, 4) gives (n,); (n, 1, 4) with (m, 4)
        gives (n, m).

    Returns
    -------
    ndarray
        Two boxes without area have IoU 0, NaN in a box gives NaN.

    Examples
    --------
    >>> iou(np.array([[0.0, 0, 2, 2]]), np.array([[1.0, 0, 3, 2]])).round(3).tolist()
    [0.333]
    """
    low = np.maximum(a[..., :2], b[..., :2])
    high = np.minimum(a[..., 2:], b[..., 2:])
    inside = np.prod(np.maximum(high - low, 0), axis=-1)
    both = sum(np.prod(np.maximum(x[..., 2:] - x[..., :2], 0), axis=-1) for x in (a, b))
    union = both - inside
    return np.asarray(np.divide(inside, union, out=np.zeros_like(union), where=union != 0))


def iou_blocks(
    a: NDArray[np.float64], b: NDArray[np.float64], block_pairs: int = 1 << 19
) -> Iterator[tuple[slice, NDArray[np.float64]]]:
    """IoU of every box in `a` with every box in `b`, some rows at a time.

    Parameters
    ----------
    a, b
        Corners, shapes (n, 4) and (m, 4).
    block_pairs
        Pairs in memory at once. Decides memory, no result.

    Yields
    ------
    tuple
        Which rows of `a`, and their IoU with all of `b`, shape (rows, m).

    Examples
    --------
    >>> a = np.array([[0.0, 0, 2, 2], [5, 5, 6, 6]])
    >>> [(rows, block.tolist()) for rows, block in iou_blocks(a, a, block_pairs=2)]
    [(slice(0, 1, None), [[1.0, 0.0]]), (slice(1, 2, None), [[0.0, 1.0]])]
    """
    rows = max(1, block_pairs // max(1, len(b)))
    for start in range(0, len(a), rows):
        part = slice(start, min(start + rows, len(a)))
        yield part, iou(a[part, None], b)


def oddities(
    boxes: NDArray[np.float64], sizes: NDArray[np.float64], slack: float = 0.5
) -> NDArray[np.int8]:
    """Say what is wrong with each box as a box, as an index into `ODDITIES`; 0 is nothing.

    Parameters
    ----------
    boxes
        Corners, shape (n, 4).
    sizes
        Width and height of each box's image, shape (n, 2); NaN where unknown.
    slack
        By how many pixels an edge may lie outside: half a pixel is what rounding does.

    Examples
    --------
    >>> boxes = np.array([[0.0, 0, 9, 9], [5, 0, 4, 9], [5, 0, 5, 9], [5, 0, 12, 9]])
    >>> [ODDITIES[code] for code in oddities(boxes, np.full((4, 2), 10.0))]
    ['', 'inverted', 'empty', 'outside the image']
    """
    low, high = _halves(boxes)
    outside = (low < -slack) | (high > np.asarray(sizes) + slack)
    return np.select(
        [
            ~np.isfinite(boxes).all(axis=1),
            (high < low).any(axis=1),
            (high == low).any(axis=1),
            outside.any(axis=1),
        ],
        [1, 2, 3, 4],
        0,
    ).astype(np.int8)
