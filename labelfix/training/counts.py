"""What a tracker keeps of each item: sums, so that memory does not grow with the sightings."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from itertools import zip_longest
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from labelfix.training.sightings import look, sum_by_item

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from labelfix.training.sightings import Sightings

__all__ = ["Counts", "History"]

SUMS = ("weight", "given", "given²", "margin", "error")
LOSS_SUMS = ("weight", "loss", "epoch", "epoch²", "epoch x loss")


@dataclass(frozen=True, eq=False)
class History:
    """When the network was right, by epochs in which it saw the item.

    Parameters
    ----------
    forgetting
        Times that it was right in one and wrong in the next, shape (n,), int32.
    learned
        The epoch since which it was always right, shape (n,), int32; -1: wrong in the last.
    correctness
        Share of them in which it was right, shape (n,), float64; NaN: never seen.
    """

    forgetting: NDArray[np.int32]
    learned: NDArray[np.int32]
    correctness: NDArray[np.float64]


@dataclass(eq=False)
class Counts:
    """All that is known of n items: rows in item order.

    Parameters
    ----------
    sums, loss_sums
        Over what was seen of each item, weighted, shape (n, 5), float64: see `SUMS`, `LOSS_SUMS`.
    label
        As last seen, shape (n,), int32; -1: never.
    seen, broken, relabelled
        How often the item was seen, with how many NaN, and how often its label changed, shape (n,).
    now
        Of the epoch that is on, shape (2, n), bool: seen in it; and right when last seen in it.
    epochs
        The same of those that ended, as packed bits.
    probs
        Sum of the class probabilities, shape (n, K), float32; None: nothing seen, or not kept.
    course
        Mean loss in each of the epochs that ended, shape (n,), float32; NaN: not seen in it. None:
        not kept.
    now_loss
        Weight and weighted loss in the epoch that is on, shape (n, 2). None: not kept.
    """

    sums: NDArray[np.float64]
    loss_sums: NDArray[np.float64]
    label: NDArray[np.int32]
    seen: NDArray[np.int32]
    broken: NDArray[np.int32]
    relabelled: NDArray[np.int32]
    now: NDArray[np.bool_]
    epochs: list[NDArray[np.uint8]] = field(default_factory=list)
    probs: NDArray[np.float32] | None = None
    course: list[NDArray[np.float32]] | None = None
    now_loss: NDArray[np.float64] | None = None

    @classmethod
    def of(cls, n: int, *, keep_course: bool = False) -> Self:
        """Start with nothing seen."""
        sums, losses = np.zeros((2, n, len(SUMS)))
        seen, broken, relabelled = np.zeros((3, n), dtype=np.int32)
        label, now = np.full(n, -1, dtype=np.int32), np.zeros((2, n), dtype=bool)
        found = cls(sums, losses, label, seen, broken, relabelled, now)
        if keep_course:
            found.course, found.now_loss = [], np.zeros((n, 2))
        return found

    def add(
        self,
        item: NDArray[np.int64],
        logits: NDArray[Any],
        label: NDArray[np.int64],
        loss: NDArray[Any],
        weight: NDArray[Any],
        *,
        keep_probs: bool,
    ) -> None:
        """Count in sightings, in the order they came in. A loss of -inf: none was given."""
        if not len(item):
            return
        sight = look(logits, label)
        loss = np.where(np.isneginf(loss), sight.loss, loss)
        fine, fine_loss = np.isfinite(sight.margin) & np.isfinite(sight.error), np.isfinite(loss)
        np.add.at(self.seen, item, 1)
        np.add.at(self.broken, item[~(fine & fine_loss)], 1)
        self._note_labels(item, label)
        whole = fine & (weight > 0.5)  # what was mostly something else is no test
        self.now[0, item[whole]] = True
        self.now[1, item[whole]] = sight.margin[whole] > 0  # of several, the last one stays
        _add(self.sums, item, _per_sighting(sight), np.where(fine, weight, 0))
        epoch = np.full(len(item), float(len(self.epochs)))
        loss = np.where(fine_loss, loss, 0)  # what is not has no weight
        losses = [loss, epoch, epoch**2, epoch * loss]
        _add(self.loss_sums, item, losses, np.where(fine_loss, weight, 0))
        if self.now_loss is not None:
            _add(self.now_loss, item, [loss], np.where(fine_loss, weight, 0))
        if keep_probs:
            self._add_probs(item[fine], sight.probs[fine] * weight[fine, None])

    def end_epoch(self) -> None:
        """Pack away the epoch that is on."""
        self.epochs.append(np.packbits(self.now, axis=1))
        self.now[:] = False
        if self.course is not None and self.now_loss is not None:
            weight, loss = self.now_loss.T
            with np.errstate(invalid="ignore"):
                self.course.append((loss / weight).astype(np.float32))
            self.now_loss[:] = 0

    def means(self) -> dict[str, NDArray[np.float64]]:
        """Divide the sums by their weights; NaN where there is none. Each name of `SUMS`."""
        return _means(SUMS, self.sums) | _means(LOSS_SUMS, self.loss_sums)

    def loss_slope(self) -> NDArray[np.float64]:
        """Change of the loss by an epoch, by least squares; NaN where seen in one epoch alone."""
        mean = _means(LOSS_SUMS, self.loss_sums)
        spread = mean["epoch²"] - mean["epoch"] ** 2
        together = mean["epoch x loss"] - mean["epoch"] * mean["loss"]
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.where(spread > 1e-9, together / spread, np.nan)

    def history(self) -> History:
        """Go through the epochs, the one that is on included."""
        n = len(self.label)
        right, ever = np.zeros(n, dtype=bool), np.zeros(n, dtype=bool)
        forgetting, learned = np.zeros(n, dtype=np.int32), np.full(n, -1, dtype=np.int32)
        times = np.zeros((2, n), dtype=np.int32)
        for epoch, bits in enumerate([*self.epochs, np.packbits(self.now, axis=1)]):
            seen, correct = np.unpackbits(bits, axis=1, count=n).astype(bool)
            forgetting += ever & right & seen & ~correct
            learned[seen & correct & (learned < 0)] = epoch
            learned[seen & ~correct] = -1
            right, ever = np.where(seen, correct, right), ever | seen
            times += (seen, seen & correct)
        with np.errstate(invalid="ignore"):
            return History(forgetting, learned, times[1] / times[0])

    def merged(self, others: Sequence[Counts]) -> Counts:
        """Put together what several saw of the same items, epoch by epoch."""
        everyone = [self, *others]
        merged = Counts.of(len(self.label), keep_course=self.course is not None)
        for one in everyone:
            both = (merged.label >= 0) & (one.label >= 0)
            merged.relabelled += one.relabelled + (both & (merged.label != one.label))
            merged.label = np.where(one.label >= 0, one.label, merged.label)
            for name in ("sums", "loss_sums", "seen", "broken"):
                getattr(merged, name)[:] += getattr(one, name)
            if one.probs is not None:
                merged.probs = one.probs + (0 if merged.probs is None else merged.probs)
        merged.now = _together([one.now for one in everyone])
        most = max(len(one.epochs) for one in everyone)
        for epoch in range(most):
            there = [one.epochs[epoch] for one in everyone if epoch < len(one.epochs)]
            merged.epochs.append(_together(there))
        if merged.course is not None:
            courses = [one.course for one in everyone if one.course is not None]
            merged.course += [_mean(parts) for parts in zip_longest(*courses)]
            merged.now_loss = np.sum(
                [one.now_loss for one in everyone if one.now_loss is not None], axis=0
            )
        return merged

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Give everything by name, for `from_arrays`."""
        found = {one.name: getattr(self, one.name) for one in fields(self)}
        found["epochs"] = np.array(self.epochs, dtype=np.uint8).reshape(
            len(self.epochs), 2, (len(self.label) + 7) // 8
        )
        if self.course is not None:
            found["course"] = np.array(self.course, np.float32).reshape(-1, len(self.label))
        return {name: values for name, values in found.items() if values is not None}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]], n: int, n_classes: int | None) -> Self:
        """Make it again; KeyError or ValueError where something is missing, or of another shape."""
        empty, names = cls.of(n, keep_course="course" in arrays), [one.name for one in fields(cls)]
        optional = ("probs",) if empty.course is not None else ("probs", "course", "now_loss")
        found = {name: arrays[name] for name in names if name in arrays or name not in optional}
        shapes = {name: np.shape(getattr(empty, name)) for name in found}
        shapes |= {"epochs": (len(found["epochs"]), 2, (n + 7) // 8)}
        shapes |= {"probs": (n, n_classes), "course": (len(found["epochs"]), n)}
        wrong = [name for name, values in found.items() if values.shape != shapes[name]]
        if wrong:
            raise ValueError(f"not of {n} items and {n_classes} classes: {', '.join(wrong)}")
        lists: dict[str, Any] = {
            name: list(found[name]) for name in ("epochs", "course") if name in found
        }
        return cls(**found | lists)

    def _add_probs(self, item: NDArray[np.int64], probs: NDArray[Any]) -> None:
        if self.probs is None:
            self.probs = np.zeros((len(self.label), probs.shape[1]), dtype=np.float32)
        if len(item):
            items, sums = sum_by_item(item, probs)
            self.probs[items] += sums

    def _note_labels(self, item: NDArray[np.int64], label: NDArray[np.int64]) -> None:
        """Keep each item's last label, and count the changes."""
        order = np.argsort(item, kind="stable")
        item, label = item[order], label[order]
        first = np.diff(item, prepend=-1) != 0
        before = np.where(first, self.label[item], np.roll(label, 1))
        np.add.at(self.relabelled, item[(before != label) & (before >= 0)], 1)
        self.label[item] = label  # of several, the last


def _per_sighting(sight: Sightings) -> list[NDArray[Any]]:
    given = sight.given.astype(np.float64)
    return [given, given**2, sight.margin, sight.error]


def _add(
    sums: NDArray[np.float64],
    item: NDArray[np.int64],
    columns: list[NDArray[Any]],
    weight: NDArray[Any],
) -> None:
    """Add weights and weighted columns to the items' rows; what has no weight may be NaN."""
    kept = weight > 0
    if kept.any():
        values = np.stack([np.ones(len(item)), *columns], axis=1)[kept]
        items, totals = sum_by_item(item[kept], values * weight[kept, None])
        sums[items] += totals


def _means(names: Sequence[str], sums: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
    with np.errstate(invalid="ignore", divide="ignore"):
        return {name: sums[:, k] / sums[:, 0] for k, name in enumerate(names) if k}


def _mean(parts: Sequence[NDArray[np.float32] | None]) -> NDArray[np.float32]:
    """Mean of what is there and not NaN."""
    there = np.array([one for one in parts if one is not None])
    known = np.isfinite(there)
    with np.errstate(invalid="ignore"):
        mean = np.where(known, there, 0).sum(axis=0, dtype=np.float64) / known.sum(axis=0)
    return np.asarray(mean, dtype=np.float32)


def _together(parts: Sequence[NDArray[Any]]) -> NDArray[Any]:
    """Seen by any; right for all that saw it. For bools and for packed bits."""
    wrong = np.bitwise_or.reduce([seen & ~right for seen, right in parts])
    seen = np.bitwise_or.reduce([seen for seen, _ in parts])
    return np.stack([seen, seen & ~wrong])
