"""Two versions of one dataset, item by item: what was relabelled, and what was removed."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from labelfix.errors import MOST_LINES, InputError, Problem

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from labelfix.schema import Dataset

__all__ = ["REMOVED", "Pair", "flattering", "lacking", "pair_versions"]

REMOVED = -1
"""Class number of an item that the corrected version leaves out."""


@dataclass(frozen=True, eq=False)
class Pair:
    """The labels of n items before and after correction.

    Parameters
    ----------
    dataset
        The original, its items in the order of their ids, so that nothing that is computed from
        them depends on the order in which they came.
    class_names
        Of both versions; the original's first.
    original, corrected
        Class numbers, shape (n,); `REMOVED` where the corrected version leaves the item out.
    """

    dataset: Dataset
    class_names: tuple[str, ...]
    original: NDArray[np.int64]
    corrected: NDArray[np.int64]

    @property
    def removed(self) -> NDArray[np.bool_]:
        """Which items the corrected version leaves out, shape (n,)."""
        removed: NDArray[np.bool_] = self.corrected == REMOVED
        return removed

    @property
    def relabelled(self) -> NDArray[np.bool_]:
        """Which items have another label, shape (n,)."""
        changed: NDArray[np.bool_] = self.original != self.corrected
        return changed & ~self.removed

    def versions(self) -> dict[str, NDArray[np.int64]]:
        """Give the labels to train and test on by name: original and corrected.

        Where items were relabelled and others removed, `relabelled` lies between: the removed ones
        are there, as given, so that the two can be told apart.
        """
        found = {"original": self.original}
        if self.removed.any() and self.relabelled.any():
            found["relabelled"] = np.where(self.removed, self.original, self.corrected)
        return {**found, "corrected": self.corrected}


def pair_versions(original: Dataset, corrected: Dataset, *, allow_removed: bool = False) -> Pair:
    """Match the items of two versions of a dataset.

    Items are matched by their ids, and images that a correction moved to another folder by their
    bytes.

    Parameters
    ----------
    original, corrected
        One class label an item each.
    allow_removed
        Take items that are missing from the corrected version as removed by the reviewer; else they
        are refused, since they may as well be lost.

    Raises
    ------
    InputError
        Naming every item that one version lacks; for boxes; for items without exactly one label.

    Examples
    --------
    >>> from labelfix.schema import Dataset
    >>> def version(labels):
    ...     table = pl.DataFrame({"item_id": list(labels), "label": list(labels.values())})
    ...     return Dataset(table.select("item_id"), table.with_columns(annotation_id="item_id"),
    ...                    tuple(sorted(set(labels.values()))), "memory")
    >>> pair = pair_versions(version({"a": "cat", "b": "cat", "c": "dog"}),
    ...                      version({"c": "dog", "a": "dog"}), allow_removed=True)
    >>> pair.original.tolist(), pair.corrected.tolist()
    ([0, 0, 1], [1, -1, 1])
    """
    _check_one_label_each(original, corrected)
    dataset = original.take(original.items["item_id"].arg_sort().to_numpy())
    partner = _partners(dataset, corrected)
    problems = _unmatched(dataset, corrected, partner, allow_removed=allow_removed)
    if problems:
        raise InputError(problems)
    names = tuple(dict.fromkeys([*original.class_names, *corrected.class_names]))
    place = {name: k for k, name in enumerate(names)}
    number = np.array([place[name] for name in corrected.class_names], np.int64)
    theirs = np.append(number[corrected.labels], REMOVED)
    return Pair(replace(dataset, class_names=names), names, dataset.labels, theirs[partner])


def _check_one_label_each(original: Dataset, corrected: Dataset) -> None:
    problems = []
    for name, version in (("original", original), ("corrected", corrected)):
        if version.has_boxes:
            problems.append(Problem(name, "boxes", "class labels, one an item"))
        elif not version.annotations["item_id"].equals(version.items["item_id"]):
            found = f"{version.annotations.height} annotations for {len(version)} items"
            problems.append(Problem(name, found, "one class label for each item, in item order"))
    if problems:
        raise InputError(problems)


def _partners(dataset: Dataset, corrected: Dataset) -> NDArray[np.int64]:
    """Row of each item in the corrected version, or -1."""
    theirs = pl.DataFrame({"item_id": corrected.items["item_id"]}).with_row_index("row")
    joined = dataset.items.select("item_id").join(
        theirs, on="item_id", how="left", maintain_order="left"
    )
    partner = joined["row"].cast(pl.Int64).fill_null(-1).to_numpy().copy()
    left = np.flatnonzero(partner < 0)
    free = np.setdiff1d(np.arange(len(corrected)), partner)
    mine, yours = dataset.image_paths, corrected.image_paths
    if len(left) and len(free) and mine is not None and yours is not None:
        moved = defaultdict(list)
        for row in free[::-1]:
            moved[_content(yours[row])].append(row)
        for row in left:
            same = moved.get(_content(mine[row]))
            partner[row] = same.pop() if same else -1
    return partner


def _content(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "blake2b").digest()
    except OSError as error:
        raise InputError(Problem(str(path), f"a file that cannot be read ({error})")) from error


def _unmatched(
    dataset: Dataset, corrected: Dataset, partner: NDArray[np.int64], *, allow_removed: bool
) -> list[Problem]:
    extra = np.setdiff1d(np.arange(len(corrected)), partner)
    problems = [lacking("original", corrected.items["item_id"].gather(extra))] * bool(len(extra))
    missing = np.flatnonzero(partner < 0)
    if len(missing) and (not allow_removed or len(missing) == len(dataset)):
        problems.append(lacking("corrected", dataset.items["item_id"].gather(missing)))
    return problems


def lacking(version: str, ids: pl.Series) -> Problem:
    """Say which items a version lacks, by name."""
    shown: Sequence[str] = ids.head(MOST_LINES).to_list()
    more = f" and {len(ids) - MOST_LINES:,} more" if len(ids) > MOST_LINES else ""
    fix = (
        "allow removed items (--allow-removed), if a reviewer took them out"
        if version == "corrected"
        else ""
    )
    return Problem(
        f"the {version} version",
        f"no item {', '.join(shown)}{more}",
        "the same items in both",
        fix,
    )


def flattering(model: str, what: str) -> str:
    """Warn that the model under test is the one whose suggestions the reviewer saw."""
    return (
        f"{model} suggested the corrections and is the model under test: {what} that follow its "
        "suggestions flatter it; test another model as well"
    )
