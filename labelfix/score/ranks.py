"""Exact smallest and largest values by group, in flat memory; equal values go by item order.

Two streams over the rows of a matrix are ranked here: one value an item (`mark_smallest`), and one
value an item and class (`mark_largest_margins`). Both look at every value, keep few of them, and
give the same answer for every block size and thread count.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from labelfix.score.blocks import read_rows, working_dtype
from labelfix.score.sums import values_at

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from numpy.typing import NDArray

    from labelfix.score.blocks import Blocks, Span

    Stream = Callable[[int, int], tuple[NDArray[np.intp], NDArray[np.intp], NDArray[Any]]]
    """Gives for the items of a span their rows, groups and values, in item order."""

__all__ = ["Suspects", "mark_largest_margins", "mark_smallest"]

BINS = 1 << 15
"""Counters that `mark_smallest` uses. Decides no result."""

HELD = 1 << 23
"""Bytes of margins that are held at the most rather than computed again. Decides no result."""

ROOM = 1 << 14
"""Leading margins that are held at the least, and half as many to come. Decides no result."""


def mark_smallest(
    stream: Stream,
    spans: Sequence[Span],
    wanted: NDArray[np.int64],
    dtype: np.dtype[Any],
    marks: NDArray[np.uint8],
    mark: np.uint8,
    blocks: Blocks,
    room: int = 0,
) -> None:
    """Add `mark` to `marks` of the `wanted` items of each group that have the smallest values.

    The value at which a group's quota is full is found digit by digit from histograms, until there
    are few items left to sort: some passes over the stream, no copy of it.

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
    room
        Bytes in which the stream may be kept rather than asked for again.
    """
    blocks = blocks.alone()
    stream = _remembered(stream, spans, blocks, room)
    limits, left, width = _limits(stream, spans, wanted, dtype, blocks)

    def task(start: int, stop: int) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[Any]]:
        rows, groups, values = stream(start, stop)
        keys, limit = ascending_bits(values), limits.take(groups)
        marks[rows[keys < limit]] |= mark
        near = (keys ^ limit) < (1 << width)  # only the digits that were not looked at differ
        return rows[near], groups[near], keys[near]

    held: list[tuple[NDArray[np.intp], NDArray[np.intp], NDArray[Any]]] = []
    for near in blocks.each(task, spans):
        held.append(near)
        if width == 0:  # there may be many, but they are all equal
            _mark_first(held, left, marks, mark)
            held = []
    _mark_first(held, left, marks, mark)


def _mark_first(
    held: Sequence[tuple[NDArray[np.intp], NDArray[np.intp], NDArray[Any]]],
    left: NDArray[np.int64],
    marks: NDArray[np.uint8],
    mark: np.uint8,
) -> None:
    """Of items in order, with groups and keys, mark those of each group with the least keys."""
    if held:
        rows, groups, keys = (np.concatenate(parts) for parts in zip(*held, strict=True))
        order = np.argsort(keys, kind="stable")
        marks[rows[order[take_first(groups[order], left)]]] |= mark


def _remembered(stream: Stream, spans: Sequence[Span], blocks: Blocks, room: int) -> Stream:
    """Give the stream from memory, if it fits in `room` bytes."""
    held: dict[int, tuple[NDArray[Any], NDArray[Any], NDArray[Any]]] = {}
    taken = 0
    for (start, _), found in zip(spans, blocks.each(stream, spans), strict=True):
        held[start] = found
        taken += sum(array.nbytes for array in found)
        if taken * len(spans) > room * len(held):  # as it goes on, it will not
            return stream
    return lambda start, _: held[start]


def _limits(
    stream: Stream,
    spans: Sequence[Span],
    wanted: NDArray[np.int64],
    dtype: np.dtype[Any],
    blocks: Blocks,
) -> tuple[NDArray[Any], NDArray[np.int64], int]:
    """Leading bits of the last value to take in each group, as many as leave few items with them.

    Also how many of these items to take in each group, and how many bits were not looked at.
    """
    width = dtype.itemsize * 8
    digit = max(1, (BINS // len(wanted)).bit_length() - 1)
    limits = np.zeros(len(wanted), dtype=f"u{dtype.itemsize}")
    left = wanted.copy()
    group = np.arange(len(wanted))
    near = np.inf
    while width and 4 * near > BINS:
        bits = min(digit, width)
        width -= bits
        counts = _count_digits(stream, spans, limits, width, bits, blocks)
        upto = counts.cumsum(axis=1)
        found = (upto < left[:, None]).sum(axis=1)
        left -= upto[group, found] - counts[group, found]
        limits |= found.astype(limits.dtype) << limits.dtype.type(width)
        near = counts[group, found].sum()
    return limits, left, width


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
        groups, values = stream(start, stop)[1:]
        # What differs in an earlier digit comes out larger than any digit.
        digits = (ascending_bits(values) ^ limits.take(groups)) >> limits.dtype.type(width)
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


class Suspects(NamedTuple):
    """The items that have another class likelier than the given one by more than 1e-6, all of them.

    Parameters
    ----------
    marks, bit
        Shape (n,), and the bit of it that they bear.
    likeliest
        Likeliest class of each item, shape (n,).
    """

    marks: NDArray[np.uint8]
    bit: np.uint8
    likeliest: NDArray[Any]

    def rows(self, start: int, stop: int) -> NDArray[np.intp]:
        """Which they are from `start` to `stop`."""
        return start + np.flatnonzero((self.marks[start:stop] & self.bit) != 0)


def mark_largest_margins(
    labels: NDArray[Any],
    pred_probs: NDArray[Any],
    wanted: NDArray[np.int32],
    suspects: Suspects,
    mark: np.uint8,
    blocks: Blocks,
) -> None:
    """Add `mark` to the items that lean most from class k to class j, `wanted[k, j]` for each pair.

    The margin of an item labelled k is p[j] - p[k]. Of each pair only the leading margins are held
    while the rows go by, a part of the pairs at a time where there are many. Suspects alone have
    margins above 2e-6; so the other rows are read only for pairs that suspects cannot fill.

    Parameters
    ----------
    labels, pred_probs
        Shapes (n,) and (n, K).
    wanted
        Shape (K, K), given class down; at most the number of items labelled with it.
    suspects
        Whom to look at first; their `marks` are changed in place.
    mark
        The bit to add.
    blocks
        Who does the work.
    """
    blocks = blocks.alone()
    for part in _parts(wanted, room=max(ROOM, pred_probs.nbytes // 1400)):
        leaders = _Leaders(labels, pred_probs, part, blocks, suspects)
        leaders.mark_all(suspects.marks, mark)
        if len(leaders.unfilled):
            rest = np.zeros_like(part)
            rest.reshape(-1)[leaders.unfilled] = part.reshape(-1)[leaders.unfilled]
            _Leaders(labels, pred_probs, rest, blocks).mark_all(suspects.marks, mark)


def _parts(wanted: NDArray[np.int32], room: int) -> Iterator[NDArray[np.int32]]:
    """Share the wanted pairs out so that about `room` items are wanted at a time."""
    total = int(wanted.sum())
    if total <= room:
        if total:
            yield wanted
        return
    part_of = (np.cumsum(wanted.reshape(-1), dtype=np.int64) - 1) // room
    for part in range(total // room + 1):
        yield np.where(part_of.reshape(wanted.shape) == part, wanted, 0)


class _Leaders:
    """The leading margins of some pairs of classes.

    Each pair has a slot. Where few of all pairs are wanted, only these have one, and only their
    margins are computed. Else all pairs have, and whole rows are: but first the margins towards the
    likeliest class alone, of which most leading ones are, so that few rows are left to look at.

    Parameters
    ----------
    labels, pred_probs, wanted, blocks
        See `mark_largest_margins`.
    suspects
        Look at their margins above 2e-6 alone; None looks at all rows.

    Attributes
    ----------
    unfilled
        Pairs, as places in `wanted`, of which there were fewer margins than wanted. None of their
        items is marked.
    """

    def __init__(
        self,
        labels: NDArray[Any],
        pred_probs: NDArray[Any],
        wanted: NDArray[np.int32],
        blocks: Blocks,
        suspects: Suspects | None = None,
    ) -> None:
        self.labels, self.pred_probs = labels, pred_probs
        self.blocks, self.suspects = blocks, suspects
        dtype, classes = working_dtype(pred_probs), len(wanted)
        self.classes = (wanted > 0).any(axis=1)
        pairs = np.flatnonzero(wanted)
        self.sparse = 8 * len(pairs) < wanted.size
        if self.sparse:
            self.pairs = pairs
            given, self.true = np.divmod(pairs, classes)
            self.degree = np.bincount(given, minlength=classes)
            self.first_slot = np.cumsum(self.degree) - self.degree
            row_bytes = 24 * int(self.degree.max(initial=1))
        else:
            self.pairs = np.arange(wanted.size)
            row_bytes = 3 * dtype.itemsize * classes
        self.wanted = wanted.reshape(-1)[self.pairs]
        floor = dtype.type(-np.inf if suspects is None else 2e-6)
        self.floors = np.where(self.wanted > 0, floor, dtype.type(np.inf))
        self.at_once = blocks.spans(len(labels), row_bytes, parts=512)[0][1]
        share = 1.0 if suspects is None else np.count_nonzero(suspects.marks) / len(labels)
        self.spans = blocks.spans(
            len(labels), row_bytes=max(4 * (blocks.threads or 1), int(24 * share))
        )
        self.least: NDArray[Any] | None = None
        self.room = min(HELD, pred_probs.nbytes // 18 - 2 * len(labels))  # beside flags of items
        self.held: dict[int, tuple[NDArray[Any], NDArray[Any], NDArray[Any]]] = {}
        if suspects is not None and not self.sparse:
            self._raise_floors(self._towards_likeliest)
            self.floors = np.nextafter(self.floors, dtype.type(-np.inf))  # they come once more
            self.least = self.floors.reshape(wanted.shape).min(axis=1)
        keys = self._raise_floors(self._reaching)
        slots, starts, sizes = _runs(keys)
        last = np.flatnonzero(keys == np.repeat(keys[starts + sizes - 1], sizes))
        self.ties_left = np.bincount(_heads(keys[last]).astype(np.intp), minlength=len(self.pairs))
        found = np.zeros_like(self.wanted)
        found[slots] = sizes
        missing = np.flatnonzero(found < self.wanted)
        self.floors[missing] = np.inf
        self.unfilled = self.pairs[missing]

    def mark_all(self, marks: NDArray[np.uint8], mark: np.uint8) -> None:
        """Add `mark` to the items that lead in some filled pair."""

        def task(start: int, stop: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
            rows, slots, margins = self._reaching(start, stop)
            floors = self.floors.take(slots)
            marks[rows[margins > floors]] |= mark
            tied = margins == floors
            return rows[tied], slots[tied]

        held: list[tuple[NDArray[np.intp], NDArray[np.intp]]] = []
        waiting = 0
        for ties in self.blocks.each(task, self.spans):
            held.append(ties)
            waiting += len(ties[0])
            if waiting > BINS:
                self._mark_ties(held, marks, mark)
                held, waiting = [], 0
        self._mark_ties(held, marks, mark)

    def _mark_ties(
        self,
        held: Sequence[tuple[NDArray[np.intp], NDArray[np.intp]]],
        marks: NDArray[np.uint8],
        mark: np.uint8,
    ) -> None:
        """Of the items whose margin is just its pair's floor, mark the first ones."""
        if held:
            rows, slots = (np.concatenate(parts) for parts in zip(*held, strict=True))
            marks[rows[take_first(slots, self.ties_left)]] |= mark

    def _looked_at(self, start: int, stop: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """Rows of a span that may have a margin above its pair's floor, and their given classes."""
        rows = np.arange(start, stop) if self.suspects is None else self.suspects.rows(start, stop)
        given = self.labels[rows].astype(np.intp, copy=False)
        if not self.classes.all():
            here = np.flatnonzero(self.classes.take(given))
            rows, given = rows[here], given[here]
        return rows, given

    def _towards_likeliest(
        self, start: int, stop: int
    ) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[Any]]:
        """Rows, slots and values of the margins of a span towards the likeliest class."""
        assert self.suspects is not None  # noqa: S101 # for the type checker
        rows, given = self._looked_at(start, stop)
        likeliest = self.suspects.likeliest[rows].astype(np.intp, copy=False)
        margins = values_at(self.pred_probs, rows, likeliest)
        margins -= values_at(self.pred_probs, rows, given)
        return rows, given * self.pred_probs.shape[1] + likeliest, margins

    def _reaching(
        self, start: int, stop: int
    ) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[Any]]:
        """Rows, slots and values of the margins of a span that reach their pair's floor."""
        if start in self.held:
            near, slots, values = self.held.pop(start)
            return start + near.astype(np.intp), slots.astype(np.intp), values
        if self.least is None:
            rows, given = self._looked_at(start, stop)
        else:
            rows, slots, largest = self._towards_likeliest(start, stop)
            given = slots // self.pred_probs.shape[1]
            here = np.flatnonzero(largest > self.least.take(given))
            rows, given = rows[here], given[here]
        margins = self._few if self.sparse else self._many
        found = [
            margins(rows[first : first + self.at_once], given[first : first + self.at_once])
            for first in range(0, len(rows) or 1, self.at_once)
        ]
        rows, slots, values = (np.concatenate(parts) for parts in zip(*found, strict=True))
        near = (rows - start).astype(np.min_scalar_type(stop - start))
        kept = near, slots.astype(np.min_scalar_type(len(self.pairs))), values
        size = sum(array.nbytes for array in kept)
        if size <= self.room:  # need not be computed again
            self.room -= size
            self.held[start] = kept
        return rows, slots, values

    def _many(
        self, rows: NDArray[np.intp], given: NDArray[np.intp]
    ) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[Any]]:
        classes = self.pred_probs.shape[1]
        margins = read_rows(self.pred_probs.take(rows, axis=0), 0, len(rows))
        margins -= values_at(self.pred_probs, rows, given)[:, None]
        floors = self.floors.reshape(classes, classes).take(given, axis=0)
        places = np.flatnonzero(margins >= floors)
        item, true = np.divmod(places, classes)
        return rows[item], given[item] * classes + true, margins.take(places)

    def _few(
        self, rows: NDArray[np.intp], given: NDArray[np.intp]
    ) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[Any]]:
        degree = self.degree.take(given)
        item = np.repeat(np.arange(len(rows)), degree)
        before = self.first_slot.take(given) - (np.cumsum(degree) - degree)
        slots = np.arange(len(item)) + before.take(item)
        margins = values_at(self.pred_probs, rows[item], self.true.take(slots))
        margins -= values_at(self.pred_probs, rows, given).take(item)
        reach = np.flatnonzero(margins >= self.floors.take(slots))
        return rows[item[reach]], slots[reach], margins[reach]

    def _raise_floors(self, stream: Stream) -> NDArray[Any]:
        """Let margins go by, raise floors to the last leading ones, and give these packed."""
        wanted = int(self.wanted.sum())
        room = wanted + wanted // 4 + ROOM // 2
        pool = np.empty(room, dtype=_pack_dtype(self.floors.dtype))
        filled = 0

        def task(start: int, stop: int) -> NDArray[Any]:
            _, slots, margins = stream(start, stop)
            above = margins > self.floors.take(slots)
            return _pack(slots[above], margins[above])

        # Spread out, so that data sorted by class or by confidence soon show their range.
        spread = [span for first in range(16) for span in self.spans[first::16]]
        for keys in self.blocks.each(task, spread):
            while len(keys):
                if filled == room:
                    filled = self._keep_leading(pool)
                moved = min(room - filled, len(keys))
                pool[filled : filled + moved] = keys[:moved]
                filled, keys = filled + moved, keys[moved:]
        return pool[: self._keep_leading(pool[:filled])]

    def _keep_leading(self, keys: NDArray[Any]) -> int:
        """Sort, move the leading keys of each pair to the front, raise floors; count the kept."""
        keys.sort()
        slots, starts, sizes = _runs(keys)
        kept = np.minimum(sizes, self.wanted[slots])
        full = kept == self.wanted[slots]
        self.floors[slots[full]] = _unpack_margins(keys[(starts + kept - 1)[full]])
        edges = np.zeros(len(keys) + 1, dtype=np.int8)
        edges[starts] += 1
        edges[starts + kept] -= 1
        total = int(kept.sum())
        keys[:total] = keys[np.cumsum(edges[:-1], dtype=np.int8).view(np.bool_)]
        return total


def _runs(keys: NDArray[Any]) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.intp]]:
    """Slots in sorted keys, where each begins, and how many keys it has."""
    heads = _heads(keys)
    starts = np.flatnonzero(np.concatenate([[len(keys) > 0], heads[1:] != heads[:-1]]))
    return heads[starts].astype(np.intp), starts, np.diff(starts, append=len(keys))


# A key sorts by slot first, and by descending margin within the slot. For float32 both are packed
# into 64 bits, for which NumPy has the fastest sort; for float64 they make a complex number, which
# sorts by its real part first.


def _pack_dtype(dtype: np.dtype[Any]) -> np.dtype[Any]:
    return np.dtype(np.uint64 if dtype == np.float32 else np.complex128)


def _pack(slots: NDArray[np.intp], margins: NDArray[Any]) -> NDArray[Any]:
    keys = slots.astype(_pack_dtype(margins.dtype))
    if margins.dtype == np.float32:
        keys <<= np.uint64(32)
        keys |= ~ascending_bits(margins)
    else:
        keys.imag = -margins
    return keys


def _heads(keys: NDArray[Any]) -> NDArray[Any]:
    """Slots, as numbers of some kind; a view."""
    if keys.dtype == np.uint64:
        return keys.view(np.uint32)[sys.byteorder == "little" :: 2]
    return keys.real


def _unpack_margins(keys: NDArray[Any]) -> NDArray[Any]:
    if keys.dtype == np.uint64:
        return floats_of_bits(~keys.astype(np.uint32))
    return -keys.imag
