"""Decoding images, hostile and broken ones included.

Every function here looks at all images before it complains, so that a person hears of every broken
one at once. Only plain raster formats are opened (`FORMATS`): never SVG, EPS, PDF or anything that
can run or fetch something. Pixels are turned upright (EXIF orientation), transparency is laid over
white, sixteen bits become eight, and of an animation the first frame counts.
"""

from __future__ import annotations

import io
import os
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from labelfix.errors import InputError, Problem

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from numpy.typing import NDArray

    from labelfix.progress import Progress

__all__ = [
    "FORMATS",
    "MAX_PIXELS",
    "SUFFIXES",
    "Fit",
    "Mode",
    "decode",
    "has_image_name",
    "load",
    "measure",
    "probe",
    "shrink",
    "thumbnail",
]

Mode = Literal["RGB", "L"]
Fit = Literal["pad", "stretch"]

FORMATS = ("JPEG", "PNG", "BMP", "GIF", "PPM", "TIFF", "WEBP")
"""What Pillow may open. Recognised by content: a PNG that is called .jpg is read."""

SUFFIXES = frozenset(
    [
        ".bmp",
        ".gif",
        ".jfif",
        ".jpe",
        ".jpeg",
        ".jpg",
        ".pbm",
        ".pgm",
        ".png",
        ".pnm",
        ".ppm",
        ".tif",
        ".tiff",
        ".webp",
    ]
)
"""Lower-case endings of file names that are taken for images."""

MAX_PIXELS = 89_478_485
"""Default for the largest image that is decoded, in pixels: a quarter GiB as RGB, Pillow's own
figure. Pillow refuses twice as many whatever is asked for."""

_CHUNK = 64  # images a thread takes at once: progress stays lively, and the overhead is nothing


def has_image_name(name: str) -> bool:
    """Say whether a file name ends like an image's, in any case.

    Examples
    --------
    >>> has_image_name("a/b.JPG"), has_image_name("labels.csv"), has_image_name("drawing.svg")
    (True, False, False)
    """
    return os.path.splitext(name)[1].lower() in SUFFIXES  # noqa: PTH122 # 20 times Path's speed


def probe(
    paths: Sequence[Path],
    *,
    decode: bool = True,
    max_pixels: int = MAX_PIXELS,
    progress: Progress | None = None,
) -> tuple[NDArray[np.int32], dict[int, Problem]]:
    """Find the size of each image, and every image that cannot be used.

    Parameters
    ----------
    paths
        n image files.
    decode
        Decode each image once, which is the only way to see that one is cut short. JPEG is decoded
        at an eighth of its size. Without it only headers are read.
    max_pixels
        Larger images are problems, and are not decoded.
    progress
        Called with (what, done, total).

    Returns
    -------
    sizes
        Width and height in pixels as stored (before EXIF orientation), shape (n, 2); zeros where an
        image is broken.
    problems
        By row, what is wrong.

    Examples
    --------
    >>> sizes, problems = probe([Path("no such image.png")])
    >>> print(problems[0])
    no such image.png: found no such file
    """
    sizes = np.zeros((len(paths), 2), np.int32)

    def look(row: int) -> None:
        with _open(paths[row], max_pixels) as image:
            size = image.size
            if decode:
                image.draft(None, (1, 1))
                image.load()
        sizes[row] = size

    return sizes, _each(look, paths, "reading images", progress)


def load(
    paths: Sequence[Path],
    size: int,
    mode: Mode = "RGB",
    *,
    fit: Fit = "pad",
    fill: int = 255,
    max_pixels: int = MAX_PIXELS,
    progress: Progress | None = None,
) -> NDArray[np.uint8]:
    """Decode images into one array of squares.

    Parameters
    ----------
    paths
        n image files.
    size
        Side of the squares in pixels. Resampling is bilinear, with the filter widened where an
        image shrinks.
    mode
        "RGB" (C = 3) or "L", luma (C = 1).
    fit
        "pad" keeps the aspect ratio and fills what is left on both sides; "stretch" does not.
    fill
        Grey level, 0 to 255, of the padding.
    max_pixels
        Larger images are problems, and are not decoded.
    progress
        Called with (what, done, total).

    Returns
    -------
    NDArray[np.uint8]
        Shape (n, size, size, C), 0 to 255.

    Raises
    ------
    InputError
        Listing every image that cannot be decoded.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder) / "wide.png"
    ...     Image.new("L", (8, 4), 0).save(path)
    ...     load([path], 4, "L")[0, :, :, 0].tolist()
    [[255, 255, 255, 255], [0, 0, 0, 0], [0, 0, 0, 0], [255, 255, 255, 255]]
    """
    pixels = np.empty((len(paths), size, size, 3 if mode == "RGB" else 1), np.uint8)

    def decode(row: int) -> None:
        with _open(paths[row], max_pixels) as image:
            image.draft(mode, (2 * size, 2 * size))  # the rest by filter, which is finer
            pixels[row] = _square(_plain(image, mode), size, fit, fill)

    _refuse(_each(decode, paths, "decoding images", progress).values())
    return pixels


def measure(
    paths: Sequence[Path],
    *,
    size: int = 512,
    max_pixels: int = MAX_PIXELS,
    progress: Progress | None = None,
) -> dict[str, NDArray[np.float64]]:
    """Find what light and focus images have.

    Parameters
    ----------
    paths
        n image files.
    size
        Images whose longer side is longer than this, in pixels, are shrunk to it first, so that
        sharpness compares between resolutions.
    max_pixels
        Larger images are problems, and are not decoded.
    progress
        Called with (what, done, total).

    Returns
    -------
    dict
        Arrays of shape (n,): `width` and `height` in pixels, upright; `aspect`, width over height;
        `brightness`, mean grey, and `contrast`, its standard deviation, both from 0 to 1;
        `sharpness`, the variance of the Laplacian of grey, low where blurred (Pech-Pacheco et al.
        2000), NaN for images of fewer than 3 pixels a side.

    Raises
    ------
    InputError
        Naming every image that cannot be used.
    """
    names = ("width", "height", "aspect", "brightness", "contrast", "sharpness")
    found = np.zeros((len(paths), len(names)))

    def look(row: int) -> None:
        with _open(paths[row], max_pixels) as image:
            grey = _plain(image, "L")
            width, height = grey.size
            grey.thumbnail((size, size))
            light = np.asarray(grey, np.float64) / 255
            found[row] = width, height, width / height, light.mean(), light.std(), _edges(light)

    _refuse(_each(look, paths, "measuring images", progress).values())
    return {name: found[:, i] for i, name in enumerate(names)}


def _edges(light: NDArray[np.float64]) -> float:
    """Variance of the Laplacian."""
    if min(light.shape) < 3:
        return float("nan")
    inner = light[1:-1, 1:-1]
    around = light[:-2, 1:-1] + light[2:, 1:-1] + light[1:-1, :-2] + light[1:-1, 2:]
    return float((around - 4 * inner).var())


def shrink(
    images: NDArray[np.uint8],
    size: int,
    mode: Mode = "RGB",
    *,
    fit: Fit = "stretch",
    fill: int = 255,
) -> NDArray[np.uint8]:
    """Do to decoded pixels what `load` does to files.

    Parameters
    ----------
    images
        Shape (n, h, w), (n, h, w, 1) or (n, h, w, 3), 0 to 255.
    size, mode, fit, fill
        As for `load`.

    Returns
    -------
    NDArray[np.uint8]
        Shape (n, size, size, C).

    Examples
    --------
    >>> shrink(np.zeros((5, 28, 28), np.uint8), 32).shape
    (5, 32, 32, 3)
    """
    flat = images[..., 0] if images.ndim == 4 and images.shape[3] == 1 else images
    pixels = np.empty((len(flat), size, size, 3 if mode == "RGB" else 1), np.uint8)

    def resize(row: int) -> None:
        pixels[row] = _square(Image.fromarray(flat[row]).convert(mode), size, fit, fill)

    _refuse(_each(resize, [Path(f"image {row}") for row in range(len(flat))], "", None).values())
    return pixels


def thumbnail(
    path: Path, size: int = 128, *, max_pixels: int = MAX_PIXELS
) -> tuple[bytes, Literal["image/png", "image/jpeg"]]:
    """Encode an image small, for a page: as PNG or as JPEG, whichever is shorter.

    Parameters
    ----------
    path
        An image file.
    size
        Longest side in pixels; a smaller image keeps its size.
    max_pixels
        A larger image is not decoded.

    Returns
    -------
    content
        The encoded picture, upright, without metadata.
    kind
        Its media type.

    Raises
    ------
    InputError
        If the image cannot be decoded.
    """
    small = decode(path, size, max_pixels=max_pixels)
    png, jpeg = _encoded(small, "PNG"), _encoded(small, "JPEG")
    return (png, "image/png") if len(png) <= len(jpeg) else (jpeg, "image/jpeg")


def decode(
    path: Path, size: int | None = None, *, turn: bool = True, max_pixels: int = MAX_PIXELS
) -> Image.Image:
    """Decode one image for people to look at: grey as "L", all else as "RGB".

    Parameters
    ----------
    path
        An image file.
    size
        Longest side in pixels at most; a smaller image keeps its size. None to keep any. A JPEG of
        more than twice the size is never decoded in full, which is what makes large ones fast.
    turn
        Turn it upright, as EXIF says; otherwise pixels stay where they are stored.
    max_pixels
        A larger image is not decoded.

    Raises
    ------
    InputError
        If the image cannot be decoded.
    """
    made: list[Image.Image] = []

    def look(row: int) -> None:  # noqa: ARG001 # there is one
        with _open(path, max_pixels) as image:
            if size is not None:
                image.draft("RGB", (size, size))  # by 2, 4 or 8, and no smaller than that
            made.append(_plain(image, "L" if image.mode in {"1", "L"} else "RGB", turn=turn))

    _refuse(_each(look, [path], "", None).values())
    if size is not None:
        made[0].thumbnail((size, size), Image.Resampling.BILINEAR)
    return made[0]


def _encoded(image: Image.Image, kind: Literal["PNG", "JPEG"]) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, optimize=True, quality=85)
    return file.getvalue()


class _UnusableError(Exception):
    """Carries what is wrong with one image out of its thread."""

    def __init__(self, found: str, expected: str = "", fix: str = "") -> None:
        self.found, self.expected, self.fix = found, expected, fix
        super().__init__(found)


def _open(path: Path, max_pixels: int) -> Image.Image:
    """Read the header. Anything but a file is refused first: opening a pipe would wait for ever."""
    if not path.is_file():
        raise _UnusableError("something that is no file" if path.exists() else "no such file")
    image = Image.open(path, formats=FORMATS)
    width, height = image.size
    if width * height > max_pixels:
        image.close()
        raise _UnusableError(
            f"an image of {width} x {height} pixels",
            f"at most {max_pixels} pixels in all",
            "shrink it; in Python max_pixels can be raised",
        )
    return image


def _plain(image: Image.Image, mode: Mode, *, turn: bool = True) -> Image.Image:
    """Decode to 8-bit `mode`, turned as EXIF says, transparency over white."""
    image.load()
    turned = ImageOps.exif_transpose(image) if turn else image
    if turned.mode.startswith(("I", "F")):
        turned = _eight_bit(turned)
    if turned.has_transparency_data:
        clear = turned.convert("RGBA")
        turned = Image.new("RGBA", clear.size, "white")
        turned.alpha_composite(clear)
    return turned if turned.mode == mode else turned.convert(mode)


def _eight_bit(image: Image.Image) -> Image.Image:
    """Scale grey of more than 8 bits: 16 bits by their range, others by darkest and lightest."""
    values = np.asarray(image, np.float64)
    low, high = 0.0, 65535.0
    if image.mode == "F" or values.min() < low or values.max() > high:
        finite = values[np.isfinite(values)]
        if finite.size == 0:
            raise _UnusableError("an image without one finite pixel")
        low, high = float(finite.min()), float(finite.max())
    scaled = np.nan_to_num((values - low) / max(high - low, 1e-300) * 255, posinf=255, neginf=0)
    return Image.fromarray(np.clip(scaled, 0, 255).round().astype(np.uint8))


def _square(image: Image.Image, size: int, fit: Fit, fill: int) -> NDArray[np.uint8]:
    """Resize to (size, size, C)."""
    width, height = size, size
    if fit == "pad":
        longest = max(image.size)
        width = max(1, round(image.width * size / longest))
        height = max(1, round(image.height * size / longest))
    resized = np.asarray(image.resize((width, height), Image.Resampling.BILINEAR))
    square = np.full((size, size, len(image.getbands())), fill, np.uint8)
    top, left = (size - height) // 2, (size - width) // 2
    square[top : top + height, left : left + width] = resized.reshape(height, width, -1)
    return square


def _each(
    work: Callable[[int], None],
    paths: Sequence[Path],
    what: str,
    progress: Progress | None,
) -> dict[int, Problem]:
    """Call `work` with every row, in threads; give back what went wrong, by row."""
    problems: dict[int, Problem] = {}

    def chunk(start: int) -> int:
        stop = min(start + _CHUNK, len(paths))
        for row in range(start, stop):
            try:
                work(row)
            except Exception as error:  # hostile files make decoders raise anything
                problems[row] = _problem(paths[row], error)
        return stop - start

    done = 0
    with warnings.catch_warnings(), ThreadPoolExecutor(os.cpu_count()) as pool:
        warnings.filterwarnings("ignore", module=r"PIL\b")  # what matters of them is checked here
        try:
            for finished in pool.map(chunk, range(0, len(paths), _CHUNK)):
                done += finished
                if progress is not None:
                    progress(what, done, len(paths))
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    return dict(sorted(problems.items()))


def _problem(path: Path, error: Exception) -> Problem:
    where = os.fsencode(path).decode("utf-8", "backslashreplace")
    if isinstance(error.__context__, UnidentifiedImageError):
        error = error.__context__  # Ultralytics, where loaded, tries a plugin then, which fails too
    match error:
        case _UnusableError():
            return Problem(where, error.found, error.expected, error.fix)
        case UnidentifiedImageError():
            found = "no image" if path.stat().st_size else "an empty file"
            return Problem(where, found, "one of " + ", ".join(FORMATS))
        case PermissionError():
            return Problem(where, "a file that may not be read", fix="change its permissions")
        case MemoryError():
            return Problem(where, "an image too large for the memory", fix="lower max_pixels")
        case Image.DecompressionBombError():
            return Problem(where, f"an image beyond what Pillow decodes ({error})", fix="shrink it")
        case _:
            return Problem(where, f"a broken image ({error or type(error).__name__})")


def _refuse(problems: Iterable[Problem]) -> None:
    listed = tuple(problems)
    if listed:
        raise InputError(listed)
