"""Images as plain numbers, for the base install: small pixels and the directions of edges.

The directions are histograms of oriented gradients (Dalal and Triggs 2005), made of whole arrays.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from labelfix.errors import InputError, Problem
from labelfix.predict.models import Inputs
from labelfix.predict.tabular import Table

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from labelfix.progress import Progress
    from labelfix.schema import Dataset

__all__ = ["Pixels", "oriented_gradients"]


@dataclass(frozen=True)
class Pixels:
    """Grey pixels, coarse colours, and gradient histograms of images scaled to one size.

    Parameters
    ----------
    size
        Images become `size` by `size` pixels; a multiple of `cell`.
    cell
        Pixels of a gradient histogram, each way.
    bins
        Directions of a histogram, over half a turn.
    grey
        Grey values are averaged to a grid of so many, each way; a divisor of `size`.
    colour
        The same for red, green and blue.
    """

    size: int = 32
    cell: int = 8
    bins: int = 9
    grey: int = 8
    colour: int = 4

    def __post_init__(self) -> None:
        problems = [
            Problem(f"Pixels, {name}", str(value), f"a divisor of the size {self.size}")
            for name, value in (("cell", self.cell), ("grey", self.grey), ("colour", self.colour))
            if self.size % value
        ]
        if problems:
            raise InputError(problems)

    @property
    def name(self) -> str:
        """As `--model` takes it."""
        return "pixels"

    def extract(
        self,
        dataset: Dataset,
        *,
        cache: Path | None,  # noqa: ARG002 # part of the protocol; cheaper than keeping it
        progress: Progress | None,
    ) -> Inputs:
        """Load the images and describe each by (grey² + 3 colour² + gradients) numbers.

        Raises
        ------
        InputError
            If the items are not images.
        """
        if dataset.image_paths is None:
            raise InputError(Problem("dataset", "no images", "an image for each item"))
        from labelfix.images import load

        images = load(
            dataset.image_paths, size=self.size, mode="RGB", fit="stretch", progress=progress
        )
        values = np.concatenate(
            [self._describe(images[i : i + 1024]) for i in range(0, len(images), 1024)]
        )
        return Inputs(Table(values, values.shape[1]))

    def _describe(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        colour = images.astype(np.float32) / np.float32(255)
        grey: NDArray[np.float32] = colour.mean(axis=3, dtype=np.float32)
        parts = [
            _shrink(grey[..., None], self.grey),
            _shrink(colour, self.colour),
            oriented_gradients(grey, self.cell, self.bins),
        ]
        return np.concatenate([part.reshape(len(images), -1) for part in parts], axis=1)


def oriented_gradients(
    images: NDArray[np.float32], cell: int = 8, bins: int = 9
) -> NDArray[np.float32]:
    """Histograms of gradient directions in overlapping blocks of 2 by 2 cells.

    Parameters
    ----------
    images
        Grey, in [0, 1], shape (n, h, w); h and w are multiples of `cell`.
    cell
        Pixels of a cell, each way.
    bins
        Directions over half a turn; a gradient is shared by the two nearest.

    Returns
    -------
    Shape (n, h / cell - 1, w / cell - 1, 4 * bins), float32: each block scaled to length 1, cut at
    0.2 and scaled again, as Dalal and Triggs (2005) do.

    Examples
    --------
    >>> stripes = np.tile(np.arange(32, dtype=np.float32) % 8 / 8, (1, 32, 1))
    >>> oriented_gradients(stripes).shape
    (1, 3, 3, 36)
    """
    histograms = _histograms(images, cell, bins)
    corners = [histograms[:, y : y - 1 or None, x : x - 1 or None] for y in (0, 1) for x in (0, 1)]
    blocks = np.concatenate(corners, axis=-1)
    return _unit(np.minimum(_unit(blocks), 0.2))


def _histograms(images: NDArray[np.float32], cell: int, bins: int) -> NDArray[np.float32]:
    """Sum the gradients of each cell by direction: (n, h / cell, w / cell, bins)."""
    n, height, width = images.shape
    down, right = np.zeros_like(images), np.zeros_like(images)
    down[:, 1:-1] = images[:, 2:] - images[:, :-2]
    right[:, :, 1:-1] = images[:, :, 2:] - images[:, :, :-2]
    strength = np.hypot(down, right)
    place = np.arctan2(down, right) % np.pi * np.float32(bins / np.pi) - np.float32(0.5)
    low = np.floor(place)
    share = place - low
    low = low.astype(np.int64) % bins
    shape = (n, height // cell, cell, width // cell, cell)
    histograms = [
        (strength * ((low == b) * (1 - share) + ((low + 1) % bins == b) * share))
        .reshape(shape)
        .sum(axis=(2, 4))
        for b in range(bins)
    ]
    return np.stack(histograms, axis=-1)


def _unit(blocks: NDArray[Any]) -> NDArray[np.float32]:
    """Scale each block to length 1; flat ones, whose gradients are noise, stay short."""
    length = np.sqrt((blocks**2).sum(axis=-1, keepdims=True) + 1e-2)
    return np.asarray(blocks / length, dtype=np.float32)


def _shrink(images: NDArray[np.float32], side: int) -> NDArray[np.float32]:
    """Average to a grid of `side` by `side`."""
    n, height, width, channels = images.shape
    cells = images.reshape(n, side, height // side, side, width // side, channels)
    return np.asarray(cells.mean(axis=(2, 4)), dtype=np.float32)
