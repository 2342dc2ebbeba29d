"""Pictures for the screen: images of the dataset alone, scaled, encoded anew, kept for a while.

A picture is asked for by the number of its item, never by a path. What is sent was decoded and
encoded here: no byte of a file reaches the browser as it is, so no SVG and nothing that a decoder
would not have understood.
"""

from __future__ import annotations

import io
import threading
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Generic, Literal, TypeVar

from PIL import Image

from labelfix.errors import InputError, Problem
from labelfix.images import MAX_PIXELS, decode, probe

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Sequence

    from labelfix.run import Run

__all__ = ["LARGEST", "Picture", "Pictures", "pictures_of", "safe_path"]

LARGEST = 4096
"""Longest side of a picture in pixels: more than a screen has."""

_LOSSLESS = 256
"""Images up to this many pixels wide and high that were not scaled are sent as PNG: there every
pixel is seen. Of larger images, a JPEG takes a quarter of the bytes and half of the time."""

_SIDES = (512, 1024, 2048)
"""Longest sides at which images are decoded for parts of them: few, so that they are shared."""

Box = tuple[int, int, int, int]
Value = TypeVar("Value")


@dataclass(frozen=True, slots=True)
class Picture:
    """An encoded picture.

    Parameters
    ----------
    content
        The bytes.
    kind
        Their media type.
    """

    content: bytes
    kind: Literal["image/png", "image/jpeg"]


class Shelf(Generic[Value]):
    """What was used last, as much of it as a number of bytes allows.

    Examples
    --------
    >>> shelf = Shelf(3, len)
    >>> [shelf.get(key, lambda: "ab") for key in (1, 2)], len(shelf)
    (['ab', 'ab'], 1)
    """

    def __init__(self, room: int, size: Callable[[Value], int]) -> None:
        self._room, self._size = room, size
        self._used = 0
        self._kept: OrderedDict[Hashable, Value] = OrderedDict()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        """Count what is kept."""
        return len(self._kept)

    def get(self, key: Hashable, make: Callable[[], Value]) -> Value:
        """Give what is kept under a key, or make it. What is larger than all room is not kept."""
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key]
        value = make()
        with self._lock:
            if key not in self._kept and self._size(value) <= self._room:
                self._kept[key] = value
                self._used += self._size(value)
                while self._used > self._room:
                    self._used -= self._size(self._kept.popitem(last=False)[1])
        return value


class Pictures:
    """Pictures of a dataset's images. Threads may ask at once.

    Parameters
    ----------
    root
        The dataset's folder.
    paths
        Of each item, relative to `root`; None where it has no image.
    sizes
        Width and height that boxes refer to, of each item, where known: an image that has this size
        as it is stored, and another one when turned as EXIF says, is not turned.
    max_pixels
        Larger images are not decoded.
    room
        Bytes of encoded pictures to keep, and as many of decoded images, four times.
    """

    def __init__(
        self,
        root: Path,
        paths: Sequence[str | None],
        sizes: Sequence[tuple[int, int] | None] | None = None,
        *,
        max_pixels: int = MAX_PIXELS,
        room: int = 1 << 26,
    ) -> None:
        self._root = root.resolve()
        self._paths = paths
        self._sizes = sizes
        self._max_pixels = max_pixels
        self._encoded: Shelf[Picture] = Shelf(room, lambda picture: len(picture.content))
        self._decoded: Shelf[Image.Image] = Shelf(4 * room, _bytes_of)

    def __len__(self) -> int:
        """Count the items."""
        return len(self._paths)

    def has(self, row: int) -> bool:
        """Whether an item has an image."""
        return self._paths[row] is not None

    def scaled(self, row: int, size: int) -> Picture:
        """Give the image of an item, its longest side `size` pixels at most.

        Raises
        ------
        InputError
            If there is no such image inside the dataset, or it cannot be decoded.
        """
        size = max(1, min(size, LARGEST))
        return self._encoded.get((row, size), lambda: _encode(self._small(row, size), size))

    def crop(self, row: int, box: Box, size: int) -> Picture:
        """Give the part of an image within a box, its longest side `size` pixels at most.

        Parameters
        ----------
        row
            Of the item.
        box
            Corners in pixels of the image; what lies outside of it is left out.
        size
            A part that is smaller keeps its size.

        Raises
        ------
        InputError
            As `scaled`, and if there is nothing in the box.
        """
        size = max(1, min(size, LARGEST))
        return self._encoded.get(
            (row, box, size), lambda: _encode(self._part(row, box, size), size)
        )

    def size(self, row: int) -> tuple[int, int]:
        """Give the width and height of an image as it is shown.

        Raises
        ------
        InputError
            As `scaled`.
        """
        return self._whole(row).size

    def _small(self, row: int, size: int) -> Image.Image:
        path, turn = self._place(row), self._turns(row)
        return decode(path, size, turn=turn, max_pixels=self._max_pixels)

    def _whole(self, row: int) -> Image.Image:
        path, turn = self._place(row), self._turns(row)
        return self._decoded.get(row, lambda: decode(path, turn=turn, max_pixels=self._max_pixels))

    def _part(self, row: int, box: Box, size: int) -> Image.Image:
        scale = min(1.0, size / max(box[2] - box[0], box[3] - box[1], 1))
        image, zoom = self._at_least(row, scale)
        x1, y1 = (max(round(edge * zoom), 0) for edge in box[:2])
        x2 = min(round(box[2] * zoom), image.width)
        y2 = min(round(box[3] * zoom), image.height)
        if x1 >= x2 or y1 >= y2:
            raise InputError(Problem(f"box {box}", "nothing of the image in it"))
        shrink = min(1.0, size / max(x2 - x1, y2 - y1))
        new = (max(1, round((x2 - x1) * shrink)), max(1, round((y2 - y1) * shrink)))
        return image.resize(new, Image.Resampling.BILINEAR, (x1, y1, x2, y2), reducing_gap=2.0)

    def _at_least(self, row: int, scale: float) -> tuple[Image.Image, float]:
        """Decode an image at a scale or a larger one, faster than in full, and say at which."""
        full = None if self._sizes is None else self._sizes[row]
        if full is not None:
            side = next((one for one in _SIDES if one >= scale * max(full)), max(full))
            if 2 * side <= max(full):
                small = self._decoded.get((row, side), lambda: self._small(row, side))
                return small, max(small.size) / max(full)
        return self._whole(row), 1.0

    def _place(self, row: int) -> Path:
        path = self._paths[row]
        if path is None:
            raise InputError(Problem(f"item {row}", "no image"))
        return safe_path(self._root, path)

    def _turns(self, row: int) -> bool:
        """Whether to turn an image as EXIF says."""
        size = None if self._sizes is None else self._sizes[row]
        if size is None or size[0] == size[1]:
            return True
        stored, _ = probe([self._place(row)], decode=False)
        return tuple(stored[0]) != size


def pictures_of(run: Run, root: Path | None) -> Pictures | None:
    """Find the images of a run's dataset.

    Raises
    ------
    InputError
        If the dataset's folder is gone; says where it is looked for.
    """
    data = run.info.dataset
    if not data.images or "path" not in run.items.columns:
        return None
    folder = root or Path(data.root or ".")
    if not folder.is_dir():
        fix = "say where it is now: --root DIR" if root is None else ""
        raise InputError(Problem(str(folder), "no such folder", "the dataset's images", fix))
    sizes = None
    if "x1" in run.annotations.columns and {"width", "height"} <= set(run.items.columns):
        sizes = list(run.items.select("width", "height").iter_rows())
    return Pictures(folder, run.items["path"].to_list(), sizes)


def safe_path(root: Path, path: str) -> Path:
    """Find a file of the dataset, links followed, and refuse what lies outside of it.

    Raises
    ------
    InputError
        If there is no such file, or it is not below `root`.
    """
    try:
        found = (root / path).resolve(strict=True)
    except (OSError, ValueError, RuntimeError) as error:  # a loop of links, a zero byte
        raise InputError(Problem(path, "no such file", f"an image below {root}")) from error
    if not found.is_relative_to(root):
        raise InputError(Problem(path, "a file outside of the dataset", f"one below {root}"))
    return found


def _bytes_of(image: Image.Image) -> int:
    return image.width * image.height * len(image.getbands())


def _encode(image: Image.Image, size: int) -> Picture:
    """Encode what was asked for at a size: one that is smaller was not scaled."""
    file = io.BytesIO()
    if max(image.size) <= _LOSSLESS and max(image.size) < size:
        image.save(file, "PNG", compress_level=1)
        return Picture(file.getvalue(), "image/png")
    image.save(file, "JPEG", quality=90)
    return Picture(file.getvalue(), "image/jpeg")
