"""Exact and near-duplicate items, so that a model is never tested on a copy of what it learned.

Images are compared in two steps. A 64-bit perceptual hash (which low frequencies are strong: Zauner
2010, "Implementation and Benchmarking of Perceptual Image Hash Functions") proposes pairs, found
without comparing all with all: of its four 16-bit parts, one must differ in a quarter of the bits
or fewer (Norouzi, Punjani, Fleet 2012, "Fast Search in Hamming Space with Multi-Index Hashing").
Each pair is then held against its pixels, since simple drawings share a hash without being copies:
one small image is laid on the other, as shift, scale, contrast and sharpness allow (one step of
Lucas and Kanade 1981), and the largest difference that is left anywhere must be small beside the
image's own contrast.

That finds copies that were saved again, resized, made a little brighter or cropped by a hair. It
does not find mirrored, turned or heavily cropped ones.
"""

from __future__ import annotations

import hashlib
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from labelfix.errors import InputError, Problem, warn_caller
from labelfix.images import load, shrink

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from numpy.typing import ArrayLike, NDArray

    from labelfix.progress import Progress

    Floats = NDArray[np.floating[Any]]
    Integers = NDArray[np.integer[Any]]

__all__ = ["duplicate_groups", "identical_rows", "label_conflicts"]

_SIDE = 32  # pixels of the small images, the size that the hash is defined on
_GRIDS = (
    8,
    16,
    32,
)  # coarse to fine: most pairs that are no copies fall at the first, cheapest one
_LUMA = np.array([0.299, 0.587, 0.114], np.float32)  # ITU-R BT.601, as in JPEG
_IMAGES = 2048  # images decoded at once: bounds memory
_PAIRS = 256  # pairs compared at once: fits the cache
_BLOCK = 1 << 20  # pairs proposed at once: bounds memory


def duplicate_groups(
    images: Sequence[Path] | NDArray[np.uint8],
    *,
    threshold: int = 10,
    tolerance: float = 0.5,
    shade: float = 0.25,
    progress: Progress | None = None,
) -> NDArray[np.int64]:
    """Give images that are copies of each other, or nearly, the same number.

    Parameters
    ----------
    images
        n image files, or n images of one size as an array (n, h, w), (n, h, w, 1) or (n, h, w, 3).
    threshold
        Bits of the 64-bit hash that may differ between two copies, 0 to 19. More finds copies that
        were changed more, and takes longer.
    tolerance
        Largest difference that may be left between two copies anywhere on a 32 x 32 grid once they
        are aligned, in standard deviations of the image's luma. Images of so little contrast that
        this is less than one grey level are grouped only if identical on that grid, as all are if
        it is 0.
    shade
        How much two copies may differ in mean brightness and in colour anywhere, as a part of
        white; contrast may differ by a factor of 1 + 2 shade.
    progress
        Called with (what, done, total).

    Returns
    -------
    NDArray[np.int64]
        Shape (n,). Numbers count from 0 in the order in which groups first appear. A chain of
        pairs is one group.

    Raises
    ------
    InputError
        Listing every image that cannot be decoded, or for a threshold out of range.

    Warns
    -----
    LabelfixWarning
        If one group holds more than a tenth of the images, and more than 20 different ones.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> photos = rng.integers(0, 200, (3, 8, 8, 3), np.uint8).repeat(8, 1).repeat(8, 2)
    >>> brighter = photos[1:2] + np.uint8(10)
    >>> duplicate_groups(np.concatenate([photos, brighter])).tolist()
    [0, 1, 2, 1]
    """
    if not 0 <= threshold <= 19:
        raise InputError(Problem("threshold", str(threshold), "from 0 to 19 of 64 bits"))
    prints = _prints(images, progress)
    of_item, first = _numbered(prints.digest)
    pairs = [
        pair
        for found in _batched(_proposed(prints.code[first], threshold, progress))
        for pair in _verified(prints, first, found, tolerance, shade)
    ]
    seen = _connected(len(first), pairs)
    _warn_of_chains(np.bincount(seen), len(images))
    return _numbered(seen[of_item])[0]


def identical_rows(features: pl.DataFrame) -> NDArray[np.int64]:
    """Give rows that are equal in every column the same number; missing equals missing.

    Parameters
    ----------
    features
        n rows.

    Returns
    -------
    NDArray[np.int64]
        Shape (n,). Numbers count from 0 in the order in which groups first appear.

    Examples
    --------
    >>> identical_rows(pl.DataFrame({"a": [1, 2, 1], "b": ["x", None, "x"]})).tolist()
    [0, 1, 0]
    """
    if not features.columns:
        return np.arange(features.height)
    row = "\0row"  # no column is called that
    numbered = features.with_row_index(row)
    first = numbered.select(pl.col(row).first().over(features.columns)).to_series()
    return _numbered(first.to_numpy())[0]


def label_conflicts(groups: ArrayLike, labels: ArrayLike) -> NDArray[np.int64]:
    """Find the items whose duplicates carry another label.

    Parameters
    ----------
    groups
        Group number of each item, as `duplicate_groups` gives, shape (n,).
    labels
        Given class of each item, as numbers or names, shape (n,).

    Returns
    -------
    NDArray[np.int64]
        Rows, ascending.

    Examples
    --------
    >>> label_conflicts([0, 1, 0, 1, 2], ["cat", "dog", "fox", "dog", "cat"]).tolist()
    [0, 2]
    """
    table = pl.DataFrame({"group": np.asarray(groups), "label": np.asarray(labels)})
    mixed = table.select(pl.col("label").n_unique().over("group") > 1).to_series()
    return mixed.arg_true().to_numpy().astype(np.int64)


@dataclass(frozen=True)
class _Prints:
    """What is kept of n images to compare them."""

    digest: NDArray[np.void]  # (n,) equal where the small images are
    code: NDArray[np.uint64]  # (n,) the perceptual hash
    luma: tuple[Floats, ...]  # (n, g, g) a grid, blurred
    spread: Floats  # (n, grids) standard deviation of luma
    mean: Floats  # (n,) of luma
    colour: Floats  # (n, 8, 8, 2) red and blue less luma


def _prints(
    images: Sequence[Path] | NDArray[np.uint8],
    progress: Progress | None,
) -> _Prints:
    """Decode and reduce all images, some at a time; hear of every broken one."""
    parts: list[_Prints] = []
    problems: list[Problem] = []
    for start in range(0, max(len(images), 1), _IMAGES):
        chunk = images[start : start + _IMAGES]
        try:
            if isinstance(chunk, np.ndarray):
                small = shrink(chunk, _SIDE)
            else:
                small = load(chunk, _SIDE, fit="stretch")
            parts.append(_reduce(small))
        except InputError as error:
            problems += error.problems
        if progress is not None:
            progress("hashing images", min(start + _IMAGES, len(images)), len(images))
    if problems:
        raise InputError(problems)
    return _Prints(
        digest=np.concatenate([part.digest for part in parts]),
        code=np.concatenate([part.code for part in parts]),
        luma=tuple(map(np.concatenate, zip(*(part.luma for part in parts), strict=True))),
        spread=np.concatenate([part.spread for part in parts]),
        mean=np.concatenate([part.mean for part in parts]),
        colour=np.concatenate([part.colour for part in parts]),
    )


def _reduce(small: NDArray[np.uint8]) -> _Prints:
    """Take the prints of images of shape (n, 32, 32, 3)."""
    digests = [hashlib.blake2b(image.tobytes(), digest_size=16).digest() for image in small]
    luma = np.asarray(small @ _LUMA, np.float32)
    grids = [_blur(_pool(luma, grid)) for grid in _GRIDS]
    return _Prints(
        digest=np.frombuffer(b"".join(digests), "V16"),
        code=_hash(luma),
        luma=tuple(grid.astype(np.float16) for grid in grids),
        spread=np.stack([grid.std((1, 2)) for grid in grids], axis=1),
        mean=luma.mean((1, 2)),
        colour=_pool(small[..., ::2] - luma[..., None], 8).astype(np.float16),
    )


def _hash(luma: Floats) -> NDArray[np.uint64]:
    """Which of the 64 lowest frequencies of the cosine transform are above their median."""
    side = np.arange(_SIDE)
    basis = np.cos(np.pi / _SIDE * (side + 0.5) * np.arange(8)[:, None])
    waves = basis @ (luma - luma.mean((1, 2), keepdims=True)) @ basis.T
    waves = waves.reshape(len(luma), 64)
    above = waves > np.median(waves[:, 1:], axis=1, keepdims=True)
    return np.packbits(above, axis=1).view(np.uint64)[:, 0]


def _pool(images: Floats, side: int) -> Floats:
    """Average (n, 32, 32, …) over squares, down to (n, side, side, …)."""
    n, width = images.shape[:2]
    step = width // side
    blocks = images.reshape(n, side, step, side, step, *images.shape[3:])
    means: Floats = blocks.mean((2, 4), dtype=np.float32)
    return means


def _blur(images: Floats) -> Floats:
    """Smooth by [1, 2, 1] / 4 both ways, so that slopes mean something."""
    wide = np.pad(images, ((0, 0), (1, 1), (1, 1)), mode="edge")
    down = (wide[:, :-2] + 2 * wide[:, 1:-1] + wide[:, 2:]) / 4
    return (down[:, :, :-2] + 2 * down[:, :, 1:-1] + down[:, :, 2:]) / 4


def _proposed(
    codes: NDArray[np.uint64], threshold: int, progress: Progress | None
) -> Iterator[Integers]:
    """Give each pair of codes that differ in `threshold` bits or fewer once, as (m, 2) blocks."""
    flips = np.flatnonzero(np.bitwise_count(np.arange(1 << 16)) <= threshold // 4)
    words = codes[:, None] >> np.arange(0, 64, 16, dtype=np.uint64) & np.uint64(0xFFFF)
    words = words.astype(np.int64)
    for band in range(4):
        word = words[:, band]
        order = np.argsort(word, kind="stable")
        starts = np.searchsorted(word[order], np.arange((1 << 16) + 1))
        for done, flip in enumerate(flips):
            first, last = starts[word ^ flip], starts[(word ^ flip) + 1]
            for pairs in _expanded(first, last - first, order):
                yield pairs[_close(codes, words, pairs, band, threshold)]
            if progress is not None:
                total = 4 * len(flips)
                progress("looking for duplicates", band * len(flips) + done + 1, total)


def _batched(blocks: Iterator[Integers]) -> Iterator[Integers]:
    """Join small blocks of pairs into large ones."""
    kept: list[Integers] = []
    for block in blocks:
        kept.append(block)
        if sum(map(len, kept)) >= _BLOCK:
            yield np.concatenate(kept)
            kept = []
    yield np.concatenate([np.empty((0, 2), np.int64), *kept])


def _expanded(first: Integers, count: Integers, order: Integers) -> Iterator[Integers]:
    """Pair row i with order[first[i]], … order[first[i] + count[i] - 1], a block at a time."""
    rows = np.flatnonzero(count)
    if not len(rows):
        return
    ends = np.cumsum(count[rows])
    cuts = np.searchsorted(ends, np.arange(_BLOCK, ends[-1], _BLOCK))
    for block in np.split(rows, cuts):
        many = count[block]
        ramp = np.arange(many.sum()) - np.repeat(np.cumsum(many) - many, many)
        yield np.stack([block.repeat(many), order[first[block].repeat(many) + ramp]], axis=1)


def _close(
    codes: NDArray[np.uint64],
    words: Integers,
    pairs: Integers,
    band: int,
    threshold: int,
) -> Integers:
    """Which pairs are within the threshold, in order, and were not found by an earlier band."""
    rows = np.flatnonzero(pairs[:, 0] < pairs[:, 1])
    i, j = pairs[rows].T
    rows = rows[np.bitwise_count(codes[i] ^ codes[j]) <= threshold]
    i, j = pairs[rows].T
    earlier = np.bitwise_count(words[i, :band] ^ words[j, :band]) <= threshold // 4
    new: Integers = rows[~earlier.any(axis=1)]
    return new


def _verified(
    prints: _Prints,
    first: Integers,
    pairs: Integers,
    tolerance: float,
    shade: float,
) -> Iterator[Integers]:
    """Give those of the pairs whose pixels agree. `first` says which images are spoken of."""

    def agreeing(start: int) -> Integers:
        chunk = pairs[start : start + _PAIRS]
        chunk = chunk[_alike(prints, first[chunk], shade, tolerance)]
        for grid in range(len(_GRIDS)):
            i, j = first[chunk].T
            spread = np.minimum(prints.spread[i, grid], prints.spread[j, grid])
            left = _residual(prints.luma[grid][i], prints.luma[grid][j])
            chunk = chunk[left <= tolerance * spread]
        return chunk

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        yield from pool.map(agreeing, range(0, len(pairs), _PAIRS))


def _alike(prints: _Prints, pairs: Integers, shade: float, tolerance: float) -> NDArray[np.bool_]:
    """Which pairs are of like brightness, contrast and colour, and of contrast enough to tell."""
    i, j = pairs.T
    low, high = np.sort(prints.spread[pairs, -1], axis=1).T
    colour = np.abs(prints.colour[i].astype(np.float32) - prints.colour[j]).max((1, 2, 3))
    mean = np.abs(prints.mean[i] - prints.mean[j])
    alike: NDArray[np.bool_] = (
        (tolerance * low >= 1)
        & (high <= (1 + 2 * shade) * low)
        & (mean <= shade * 255)
        & (colour <= shade * 255)
    )
    return alike


def _residual(a: Floats, b: Floats) -> Floats:
    """Give the largest difference of each pair that no small alignment explains, in grey levels.

    The difference b - a is regressed on what the image midway would change by if it were brighter,
    of more contrast, shifted, scaled or blurred. Symmetric in a and b; shape (m,).
    """
    middle = (a.astype(np.float32) + b) / 2
    change = _changes(middle)
    gap = (b.astype(np.float32) - a)[:, 1:-1, 1:-1].reshape(len(a), 1, change.shape[2])
    square = change @ change.transpose(0, 2, 1)
    ways = np.arange(square.shape[1])
    square[:, ways, ways] = square[:, ways, ways] * 1.0001 + 1e-6  # flat images change in few ways
    weight = np.linalg.solve(square, change @ gap.transpose(0, 2, 1))
    left: Floats = np.abs(gap - weight.transpose(0, 2, 1) @ change).max((1, 2))
    return left


def _changes(image: Floats) -> Floats:
    """Give the seven ways in which a copy may differ, shape (m, 7, inner pixels)."""
    inner = image[:, 1:-1, 1:-1]
    up, down = image[:, :-2, 1:-1], image[:, 2:, 1:-1]
    left, right = image[:, 1:-1, :-2], image[:, 1:-1, 2:]
    side = np.linspace(-1, 1, inner.shape[1], dtype=np.float32)
    ways = [
        np.ones_like(inner),
        inner - inner.mean((1, 2), keepdims=True),
        right - left,
        down - up,
        (right - left) * side,
        (down - up) * side[:, None],
        up + down + left + right - 4 * inner,
    ]
    return np.stack(ways, axis=1).reshape(len(image), len(ways), len(side) ** 2)


def _connected(n: int, pairs: list[Integers]) -> Integers:
    """Give each of n nodes the number of its connected component."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    i, j = np.concatenate([np.empty((0, 2), np.int64), *pairs]).T
    graph = coo_array((np.ones(len(i), np.int8), (i, j)), shape=(n, n))
    return np.asarray(connected_components(graph, directed=False)[1], np.int64)


def _warn_of_chains(sizes: Integers, n: int) -> None:
    """Say so if one group holds much of the data: a fixed camera shows things alike, not copies."""
    largest = max(sizes, default=0)
    if largest > max(n / 10, 20):
        warn_caller(
            f"one group of duplicates holds {largest:,} of {n:,} images; if they are no copies but "
            "look alike, as seen by a fixed camera, lower tolerance or threshold, or do not look"
        )


def _numbered(keys: NDArray[Any]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Give equal keys a number from 0, in the order in which they first appear, and say where."""
    _, first, code = np.unique(keys, return_index=True, return_inverse=True)
    rank = np.empty(len(first), np.int64)
    rank[np.argsort(first)] = np.arange(len(first))
    return rank[code.reshape(-1)], np.sort(first)
