"""Exact smallest and largest values by group, in flat memory; equal values go by item order.

Two streams over the rows of a matrix are ranked here: one value an item (`mark_smallest`), and one
value an item and class (`mark_largest_margins`). Both look at every value, keep few of them, and
give the same answer for every block size and thread count.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from labelfix.score.blocks import read_rows, working_dtype

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from labelfix.score.blocks import Blocks, Span

    Stream = Callable[[int, int], tuple[NDArray[np.intp], NDArray[np.intp], NDArray[Any]]]

__all__ = ["mark_largest_margins", "mark_smallest"]

BINS = 1 << 16
"""Counters that `mark_smallest` uses. Decides no result."""


def mark_smallest(
    stream: Stream,
    spans: Sequence[Span],
    wanted: NDArray[np.int64],
    dtype: np.dtype[Any],
    marks: NDArray[np.uint8],
    mark: np.uint8,
    blocks: Blocks,
) -> None:
    """Add `mark` to `marks` of the `wanted` items of each group that have the smallest values.

    The value at which a group's quota is full is found digit by digit from histograms: some passes
    over the stream, no copy of it.

    Parameters
    ----------
    stream
        Gives for the items of a span their rows, groups and values, in item order.
    spans
        What to call it with.
    wanted
        How many items of each group, shape (G,), at most what the group has.
    dtype
        Of the values, float32 or float64.
    marks
        Shape (n,); changed in place.
    mark
        The bit to add.
    blocks
        Who does the work.
    """
    limits, left = _limits(stream, spans, wanted, dtype, blocks)

    def task(start: int, stop: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        rows, groups, values = stream(start, stop)
        keys = ascending_bits(values)
        marks[rows[keys < limits[groups]]] |= mark
        equal = keys == limits[groups]
        return rows[equal], groups[equal]

    for rows, groups in blocks.each(task, spans):
        marks[rows[take_first(groups, left)]] |= mark


def _limits(
    stream: Stream,
    spans: Sequence[Span],
    wanted: NDArray[np.int64],
    dtype: np.dtype[Any],
    blocks: Blocks,
) -> tuple[NDArray[Any], NDArray[np.int64]]:
    """Bits of the last value to take in each group, and how many items to take that equal it."""
    width = dtype.itemsize * 8
    digit = max(1, (BINS // len(wanted)).bit_length() - 1)
    limits = np.zeros(len(wanted), dtype=f"u{dtype.itemsize}")
    left = wanted.copy()
    group = np.arange(len(wanted))
    while width:
        bits = min(digit, width)
        width -= bits
        counts = _count_digits(stream, spans, limits, width, bits, blocks)
        upto = counts.cumsum(axis=1)
        found = (upto < left[:, None]).sum(axis=1)
        left -= upto[group, found] - counts[group, found]
        limits |= found.astype(limits.dtype) << limits.dtype.type(width)
    return limits, left


def _count_digits(
    stream: Stream,
    spans: Sequence[Span],
    limits: NDArray[Any],
    width: int,
    bits: int,
    blocks: Blocks,
) -> NDArray[np.int64]:
    """Count the next digit of the values that agree with `limits` in the digits before it."""

    def task(start: int, stop: int) -> NDArray[np.intp]:
        _, groups, values = stream(start, stop)
        # What differs in an earlier digit comes out larger than any digit.
        digits = (ascending_bits(values) ^ limits[groups]) >> limits.dtype.type(width)
        agrees = digits < (1 << bits)
        places: NDArray[np.intp] = (groups[agrees] << bits) + digits[agrees].astype(np.intp)
        return places

    counts = np.zeros((len(limits), 1 << bits), dtype=np.int64)
    for places in blocks.each(task, spans):
        np.add.at(counts.reshape(-1), places, 1)
    return counts


def ascending_bits(values: NDArray[Any]) -> NDArray[Any]:
    """Unsigned integers that are in the order of the floats they stand for.

    Examples
    --------
    >>> bits = ascending_bits(np.array([-1.5, -0.0, 0.0, 2.0], dtype=np.float32))
    >>> np.diff(bits.astype(np.int64)) > 0
    array([ True, False,  True])
    """
    size = values.dtype.itemsize
    bits = (values + values.dtype.type(0)).view(f"i{size}")  # minus zero becomes zero
    top = bits.dtype.type(np.iinfo(bits.dtype).min)
    turned: NDArray[Any] = bits ^ ((bits >> bits.dtype.type(8 * size - 1)) | top)
    return turned.view(f"u{size}")


def floats_of_bits(bits: NDArray[Any]) -> NDArray[Any]:
    """Undo `ascending_bits`.

    Examples
    --------
    >>> floats_of_bits(ascending_bits(np.array([-1.5, 0.0, 2.0], dtype=np.float32)))
    array([-1.5,  0. ,  2. ], dtype=float32)
    """
    size = bits.dtype.itemsize
    turned = bits.view(f"i{size}")
    top = turned.dtype.type(np.iinfo(turned.dtype).min)
    back: NDArray[Any] = turned ^ (~(turned >> turned.dtype.type(8 * size - 1)) | top)
    return back.view(f"f{size}")


def take_first(groups: NDArray[np.intp], left: NDArray[Any]) -> NDArray[np.intp]:
    """Places of the first `left[g]` members of each group g, which are then taken from `left`.

    Examples
    --------
    >>> left = np.array([1, 2])
    >>> take_first(np.array([1, 0, 0, 1, 1]), left), left
    (array([1, 0, 3]), array([0, 0]))
    """
    order = np.argsort(groups, kind="stable")
    ordered = groups[order]
    starts = np.flatnonzero(np.diff(ordered, prepend=-1))
    sizes = np.diff(starts, append=len(ordered))
    rank = np.arange(len(ordered)) - np.repeat(starts, sizes)
    taken = rank < left[ordered]
    present = ordered[starts]
    left[present] -= np.minimum(left[present], sizes).astype(left.dtype)
    return order[taken]


def mark_largest_margins(
    labels: NDArray[Any],
    pred_probs: NDArray[Any],
    wanted: NDArray[np.int32],
    marks: NDArray[np.uint8],
    mark: np.uint8,
    blocks: Blocks,
) -> None:
    """Add `mark` to the items that lean most from class k to class j, `wanted[k, j]` for each pair.

    The margin of an item labelled k is p[j] - p[k]. Of each pair only the leading margins are held
    while the rows go by, a part of the pairs at a time where there are many.

    Parameters
    ----------
    labels, pred_probs
        Shapes (n,) and (n, K).
    wanted
        Shape (K, K), given class down; at most the number of items labelled with it.
    marks
        Shape (n,); changed in place.
    mark
        The bit to add.
    blocks
        Who does the work.
    """
    room = max(1 << 14, pred_probs.nbytes >> 11)
    part_of = np.cumsum(wanted.reshape(-1), dtype=np.int32).reshape(wanted.shape)
    part_of -= 1
    part_of //= room
    for part in range(max(0, part_of.min()), part_of.max() + 1):
        margins = _Margins(labels, pred_probs, np.where(part_of == part, wanted, 0), blocks)
        margins.mark_leading(marks, mark)


class _Margins:
    """The margins of some pairs of classes, and the least of each that is among the leading.

    `floors`, shape (K, K): no margin below it can lead. It rises while the rows go by, to the last
    leading margin, and is infinite for pairs of which none is wanted.
    """

    def __init__(
        self,
        labels: NDArray[Any],
        pred_probs: NDArray[Any],
        wanted: NDArray[np.int32],
        blocks: Blocks,
    ) -> None:
        dtype = working_dtype(pred_probs)
        self.labels, self.pred_probs, self.wanted, self.blocks = labels, pred_probs, wanted, blocks
        self.floors = np.where(wanted > 0, dtype.type(-np.inf), dtype.type(np.inf))
        self.classes = (wanted > 0).any(axis=1)
        # A block's rows, their margins, their floors, and what of it may lead.
        self.spans = blocks.spans(len(labels), 4 * dtype.itemsize * len(wanted))

    def mark_leading(self, marks: NDArray[np.uint8], mark: np.uint8) -> None:
        """Add `mark` to the items that lead in some pair."""
        left = self._raise_floors()

        def task(start: int, stop: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
            rows, given, margins = self._block(start, stop)
            floors = self.floors[given]
            places = np.flatnonzero(margins >= floors)
            above = margins.reshape(-1)[places] > floors.reshape(-1)[places]
            item, true = np.divmod(places, len(self.floors))
            marks[rows[item[above]]] |= mark
            return rows[item[~above]], (given[item] * len(self.floors) + true)[~above]

        for rows, pairs in self.blocks.each(task, self.spans):
            marks[rows[take_first(pairs, left)]] |= mark

    def _block(self, start: int, stop: int) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
        """Rows of a span that matter, their given classes, and their margins for all classes."""
        rows = np.arange(start, stop)
        given = self.labels[start:stop].astype(np.intp)
        block = read_rows(self.pred_probs, start, stop)
        if not self.classes.all():
            here = self.classes[given]
            rows, given, block = rows[here], given[here], block[here]
        return rows, given, block - block[np.arange(len(block)), given][:, None]

    def _candidates(self, start: int, stop: int) -> NDArray[Any]:
        _, given, margins = self._block(start, stop)
        places = np.flatnonzero(margins > self.floors[given])
        item, true = np.divmod(places, len(self.floors))
        return _pack(given[item] * len(self.floors) + true, margins.reshape(-1)[places])

    def _raise_floors(self) -> NDArray[np.int32]:
        """Let the rows go by; give how many margins equal to its floor lead in each pair, flat."""
        pool = np.empty(2 * self.wanted.sum() + (1 << 13), dtype=_pack_dtype(self.floors.dtype))
        filled = 0
        # Spread out, so that data sorted by class or by confidence soon show their range.
        spread = [span for first in range(16) for span in self.spans[first::16]]
        for keys in self.blocks.each(self._candidates, spread):
            while len(keys):
                if filled == len(pool):
                    filled = self._keep_leading(pool)
                moved = min(len(pool) - filled, len(keys))
                pool[filled : filled + moved] = keys[:moved]
                filled, keys = filled + moved, keys[moved:]
        keys = pool[: self._keep_leading(pool[:filled])]
        _, starts, sizes = _runs(keys)
        last = np.flatnonzero(keys == np.repeat(keys[starts + sizes - 1], sizes))
        left = np.zeros(self.wanted.size, dtype=np.int32)
        np.add.at(left, _unpack_pairs(keys[last]), 1)
        return left

    def _keep_leading(self, keys: NDArray[Any]) -> int:
        """Sort, move the leading keys of each pair to the front, raise floors; count the kept."""
        keys.sort()
        pairs, starts, sizes = _runs(keys)
        kept = np.minimum(sizes, self.wanted.reshape(-1)[pairs])
        full = kept == self.wanted.reshape(-1)[pairs]
        self.floors.reshape(-1)[pairs[full]] = _unpack_margins(keys[(starts + kept - 1)[full]])
        rank = np.arange(len(keys), dtype=np.int32) - np.repeat(starts.astype(np.int32), sizes)
        leading = rank < np.repeat(kept.astype(np.int32), sizes)
        keys[: kept.sum()] = keys[leading]
        return int(kept.sum())


def _runs(keys: NDArray[Any]) -> tuple[NDArray[Any], NDArray[np.intp], NDArray[np.intp]]:
    """Pairs in sorted keys, where each begins, and how many keys it has."""
    pairs = _unpack_pairs(keys)
    starts = np.flatnonzero(np.diff(pairs, prepend=-1))
    return pairs[starts], starts, np.diff(starts, append=len(keys))


# A key sorts by pair first, and by descending margin within the pair. For float32 both are packed
# into 64 bits, for which NumPy has the fastest sort; for float64 they make a complex number, which
# sorts by its real part first.


def _pack_dtype(dtype: np.dtype[Any]) -> np.dtype[Any]:
    return np.dtype(np.uint64 if dtype == np.float32 else np.complex128)


def _pack(pairs: NDArray[np.intp], margins: NDArray[Any]) -> NDArray[Any]:
    keys = pairs.astype(_pack_dtype(margins.dtype))
    if margins.dtype == np.float32:
        keys <<= np.uint64(32)
        keys |= ~ascending_bits(margins)
    else:
        keys.imag = -margins
    return keys


def _unpack_pairs(keys: NDArray[Any]) -> NDArray[np.int64]:
    if keys.dtype == np.uint64:
        return (keys >> np.uint64(32)).astype(np.int64)
    return keys.real.astype(np.int64)


def _unpack_margins(keys: NDArray[Any]) -> NDArray[Any]:
    if keys.dtype == np.uint64:
        return floats_of_bits(~keys.astype(np.uint32))
    return -keys.imag
