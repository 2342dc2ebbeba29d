"""Two versions of the boxes of one dataset, image by image and box by box."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from labelfix.errors import InputError
from labelfix.evaluate.pairing import lacking
from labelfix.schema import BOX
from labelfix.score.boxes.matching import Boxes, Pairs, overlaps

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from labelfix.schema import Dataset

    Integers = NDArray[np.int64]
    Bools = NDArray[np.bool_]

__all__ = ["BoxErrors", "BoxPair", "BoxVersion", "Same", "in_order", "pair_boxes"]


@dataclass(frozen=True)
class Same:
    """When two boxes are one: for pairing the boxes of two versions, and for counting errors.

    Parameters
    ----------
    pair_iou
        Boxes that overlap by so much (intersection over union) can be one box before and after; a
        box is the one that it overlaps most, of equals one of its class.
    right_iou
        A pair that overlaps by so much, with one class, is no error.
    """

    pair_iou: float = 0.5
    right_iou: float = 0.9


@dataclass(frozen=True, eq=False)
class BoxVersion:
    """One version of the boxes of n images.

    Parameters
    ----------
    dataset
        All images; those that are removed have no boxes.
    removed
        Images that this version leaves out: nothing learns from them, nothing is tested on them;
        shape (n,).
    """

    dataset: Dataset
    removed: Bools


@dataclass(frozen=True, eq=False)
class BoxPair:
    """Two versions of the boxes of the same images.

    Parameters
    ----------
    original, corrected
        The same items in the order of their ids, and the same class names; annotations in the order
        of items. Images that the corrected version leaves out have no boxes in it.
    removed
        Which images those are, shape (n,).
    """

    original: Dataset
    corrected: Dataset
    removed: Bools

    def versions(self) -> dict[str, BoxVersion]:
        """Give both by name."""
        return {
            "original": BoxVersion(self.original, np.zeros_like(self.removed)),
            "corrected": BoxVersion(self.corrected, self.removed),
        }

    @cached_property
    def changed(self) -> Bools:
        """Which images have other boxes, or are left out, shape (n,)."""
        ids = self.original.items["item_id"]
        columns = ("item_id", "label", *BOX, "crowd")
        before, after = (
            one.annotations.select(columns).group_by("item_id").agg(pl.struct(columns[1:]).sort())
            for one in (self.original, self.corrected)
        )
        both = (
            pl.DataFrame({"item_id": ids})
            .join(before, on="item_id", how="left", maintain_order="left")
            .join(after, on="item_id", how="left", maintain_order="left", suffix="_after")
        )
        same = both[columns[1]].eq_missing(both[f"{columns[1]}_after"])
        return ~same.to_numpy() | self.removed

    def item_of(self, dataset: Dataset) -> Integers:
        """Row of the image of each box of either version."""
        place = pl.DataFrame({"item_id": self.original.items["item_id"]}).with_row_index("item")
        joined = dataset.annotations.select("item_id").join(
            place, on="item_id", how="left", maintain_order="left"
        )
        return joined["item"].cast(pl.Int64).to_numpy()

    def partners(self, least_iou: float) -> tuple[Integers, NDArray[np.float64]]:
        """Pair the boxes one to one, those that overlap most first, of equals those of one class.

        Parameters
        ----------
        least_iou
            Boxes that overlap less are no pair, in (0, 1].

        Returns
        -------
        Row of each original box in the corrected annotations, -1 where it has none, and how far the
        two overlap (0 then).
        """
        before, after = self._boxes(self.original), self._boxes(self.corrected)
        pairs = overlaps(before, after, np.nextafter(least_iou, 0))
        other = before.label[pairs.left] != after.label[pairs.right]
        order = np.lexsort((pairs.right, pairs.left, other, -pairs.iou))
        ordered = Pairs(pairs.left[order], pairs.right[order], pairs.iou[order])
        partner, overlap = np.full(len(before), -1), np.zeros(len(before))
        for found in _mutual(ordered):
            partner[found.left], overlap[found.left] = found.right, found.iou
        return partner, overlap

    def _boxes(self, version: Dataset) -> Boxes:
        corners = version.annotations.select(BOX).to_numpy()
        item = self.item_of(version).astype(np.int32)
        return Boxes.new(item, version.labels.astype(np.int32), corners, len(self.removed))


@dataclass(frozen=True, eq=False)
class BoxErrors:
    """Which boxes of the original version are wrong by the corrected one, and what is missing.

    Parameters
    ----------
    pair
        Both versions.
    same
        When two boxes are one.
    """

    pair: BoxPair
    same: Same

    @cached_property
    def _pairing(self) -> tuple[Integers, NDArray[np.float64]]:
        return self.pair.partners(self.same.pair_iou)

    @property
    def partner(self) -> Integers:
        """Row of each given box in the corrected annotations; -1 if it was removed."""
        return self._pairing[0]

    @cached_property
    def wrong(self) -> Bools:
        """Which given boxes were removed, moved, relabelled, or set to be ignored or not."""
        given, right = self.pair.original.annotations, self.pair.corrected.annotations
        wrong: Bools = (self.partner < 0) | (self._pairing[1] < self.same.right_iou)
        if right.is_empty():
            return wrong
        after = right.select("label", "crowd")[self.partner]
        changed = (given["label"] != after["label"]) | (given["crowd"] != after["crowd"])
        wrong |= changed.to_numpy()
        return wrong

    @cached_property
    def missing(self) -> Bools:
        """Which corrected boxes were added."""
        added = np.ones(self.pair.corrected.annotations.height, bool)
        added[self.partner[self.partner >= 0]] = False
        return added

    @cached_property
    def by_image(self) -> Integers:
        """Errors of each image; an image that was removed is one."""
        n = len(self.pair.removed)
        given, right = self.pair.original, self.pair.corrected
        found = np.bincount(self.pair.item_of(given)[self.wrong], minlength=n)
        found += np.bincount(self.pair.item_of(right)[self.missing], minlength=n)
        return np.where(self.pair.removed, 1, found)


def pair_boxes(original: Dataset, corrected: Dataset, *, allow_removed: bool = False) -> BoxPair:
    """Match the images of two versions by their ids.

    Raises
    ------
    InputError
        Naming the images that one version lacks (with `allow_removed`: that only the corrected one
        has).
    """
    items = original.items.sort("item_id")
    there = items["item_id"].is_in(corrected.items["item_id"].implode())
    extra = corrected.items["item_id"].filter(
        ~corrected.items["item_id"].is_in(items["item_id"].implode())
    )
    problems = []
    if len(extra):
        problems.append(lacking("original", extra))
    if not there.all() and (not allow_removed or not there.any()):
        problems.append(lacking("corrected", items["item_id"].filter(~there)))
    if problems:
        raise InputError(problems)
    names = tuple(dict.fromkeys([*original.class_names, *corrected.class_names]))
    first, second = (
        replace(
            original,
            items=items,
            annotations=in_order(one.annotations, items["item_id"]),
            class_names=names,
        )
        for one in (original, corrected)
    )
    return BoxPair(first, second, ~there.to_numpy())


def in_order(annotations: pl.DataFrame, ids: pl.Series) -> pl.DataFrame:
    """Sort boxes by the place of their image in `ids`; those of one image stay in order."""
    place = pl.DataFrame({"item_id": ids}).with_row_index("place")
    joined = annotations.join(place, on="item_id", how="left", maintain_order="left")
    return joined.sort("place", maintain_order=True).drop("place")


def _mutual(pairs: Pairs) -> Iterator[Pairs]:
    """Take pairs, which come the best first: in each round those that are both boxes' best."""
    while len(pairs):
        of_left = np.unique(pairs.left, return_index=True)[1]
        of_right = np.unique(pairs.right, return_index=True)[1]
        best = np.zeros(len(pairs), bool)
        best[np.intersect1d(of_left, of_right)] = True
        found = pairs.keep(best)
        yield found
        free = ~np.isin(pairs.left, found.left) & ~np.isin(pairs.right, found.right)
        pairs = pairs.keep(free)
