"""Training, validation and test parts: stratified, grouped, without copies on both sides.

A split is made of folds: with parts 8:1:1, ten folds of which eight train. Each source is split
apart, so that a small set that was collected to help with what is hard lands in all three parts.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from labelfix.errors import InputError, Problem, warn_caller
from labelfix.folds import assign_folds, merge_groups, stratify_by_counts

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import ArrayLike, NDArray

    from labelfix.progress import Progress
    from labelfix.schema import Dataset

__all__ = ["PARTS", "Split", "leaking", "split_items"]

PARTS = ("train", "validation", "test")
TRAIN, VALIDATION, TEST = range(3)

_NAMES = {
    **dict.fromkeys(("train", "training"), TRAIN),
    **dict.fromkeys(("val", "valid", "validation", "dev"), VALIDATION),
    **dict.fromkeys(("test", "testing"), TEST),
}
"""What a column that gives the split may say, in lower case."""


@dataclass(frozen=True)
class Split:
    """How items are split. Names of columns are those of `dataset.items`.

    Parameters
    ----------
    parts
        Shares of training, validation and test, whole numbers. Only validation may be 0.
    groups
        Column of items that stay together; None: no groups.
    sources
        Column that says where items come from: each source is split apart. None: one source.
    duplicates
        Images that differ in so many bits of their perceptual hash at most stay together (see
        `labelfix.duplicates.duplicate_groups`), and rows of a table whose features are equal;
        None: do not look.
    given
        Column that says already which part an item belongs to, as `split` of an image folder does.
        Then nothing is drawn, and what leaks is refused.
    force
        Go on although items of the given test or validation part have copies in training.
    seed
        Of the draw. Equal seeds give equal parts whatever the order of the items.

    Examples
    --------
    >>> Split(parts=(3, 0, 1), sources="camera").parts
    (3, 0, 1)
    """

    parts: tuple[int, int, int] = (8, 1, 1)
    groups: str | None = None
    sources: str | None = None
    duplicates: int | None = 10
    given: str | None = None
    force: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        _check_parts(self.parts)

    def units(self, dataset: Dataset, progress: Progress | None = None) -> NDArray[np.int64]:
        """Give what stays together, groups and copies, one number. Shape (n,).

        Raises
        ------
        InputError
            If a column is not there.
        """
        self._check_columns(dataset)
        groupings = [np.arange(len(dataset)), _copies(dataset, self.duplicates, progress)]
        if self.groups is not None:
            groupings.append(merge_groups(dataset.items[self.groups]))
        return merge_groups(*groupings)

    def draw(self, dataset: Dataset, units: NDArray[np.int64], seed: int) -> NDArray[np.int8]:
        """Give each item its part (0 train, 1 validation, 2 test), shape (n,).

        Parameters
        ----------
        dataset
            With one class label an item, or with boxes.
        units
            From `units`.
        seed
            Of this draw; with a given split there is nothing to draw.

        Raises
        ------
        InputError
            If the given split leaks, or says what is no part; if there are too few items.
        """
        if self.given is not None:
            return self._as_given(dataset, units)
        order = dataset.items["item_id"].arg_sort().to_numpy()
        sources = None if self.sources is None else dataset.items[self.sources][order]
        part = np.empty(len(order), dtype=np.int8)
        part[order] = split_items(
            _what_to_stratify(dataset)[order],
            parts=self.parts,
            groups=units[order],
            sources=sources,
            seed=seed,
        )
        return part

    def _check_columns(self, dataset: Dataset) -> None:
        named = {"groups": self.groups, "sources": self.sources, "given": self.given}
        problems = [
            Problem(
                f"split, {name}",
                f"no column {column!r}",
                f"one of {', '.join(dataset.items.columns)}",
            )
            for name, column in named.items()
            if column is not None and column not in dataset.items.columns
        ]
        if problems:
            raise InputError(problems)

    def _as_given(self, dataset: Dataset, units: NDArray[np.int64]) -> NDArray[np.int8]:
        column = dataset.items[self.given or ""]
        said = column.cast(pl.String).str.to_lowercase()
        found = said.replace_strict(_NAMES, default=None, return_dtype=pl.Int8)
        unknown = column.filter(found.is_null()).unique(maintain_order=True)
        if len(unknown):
            names = ", ".join(repr(name) for name in unknown[:5])
            expected = f"one of {', '.join(_NAMES)}"
            raise InputError(Problem(f"column {column.name!r}", names, expected))
        part = found.to_numpy()
        leaks = leaking(part, units)
        if len(leaks) and not self.force:
            raise InputError([_leak(one, dataset, part) for one in _examples(leaks, units, part)])
        return part


def split_items(
    labels: ArrayLike,
    *,
    parts: tuple[int, int, int] = (8, 1, 1),
    groups: ArrayLike | Sequence[Any] | None = None,
    sources: Iterable[Any] | None = None,
    seed: int = 0,
) -> NDArray[np.int8]:
    """Split items into training, validation and test, each source apart.

    Parameters
    ----------
    labels
        Class of each item, integers of shape (n,); or how many boxes of each class an image has,
        shape (n, K).
    parts
        Shares, whole numbers: 8:1:1 makes ten folds, of which eight train.
    groups
        Items that stay together share a value, shape (n,). A group that lies in several sources
        goes with the one that most of it comes from.
    sources
        Where each item comes from, shape (n,); missing values are one source.
    seed
        Which of the equally good splits. The order of the items is part of the input.

    Returns
    -------
    0 train, 1 validation, 2 test for each item, shape (n,), int8. Within each source, classes are
    spread evenly as far as groups allow.

    Raises
    ------
    InputError
        If lengths differ, or training or test would be empty.

    Warns
    -----
    LabelfixWarning
        If a source is too small to lie in every part.

    Examples
    --------
    >>> part = split_items([0, 1] * 1000 + [0] * 200, sources=["main"] * 2000 + ["night"] * 200)
    >>> np.bincount(part[:2000]).tolist(), np.bincount(part[2000:]).tolist()
    ([1600, 200, 200], [160, 20, 20])
    """
    _check_parts(parts)
    held = np.asarray(labels)
    n = len(held)
    unit = np.arange(n) if groups is None else merge_groups(groups)
    names = pl.Series([""] * n if sources is None else sources).cast(pl.String).fill_null("")
    if len(unit) != n or len(names) != n:
        found = f"{len(unit)} groups and {len(names)} sources for {n} items"
        raise InputError(Problem("split", found, "one for each item"))
    # numbered by name, so that the order of the items does not matter
    source = _majority(unit, names.rank("dense").to_numpy().astype(np.int64) - 1)
    divisor = math.gcd(*parts)
    role = np.repeat(np.arange(3, dtype=np.int8), [one // divisor for one in parts])
    part = np.empty(n, dtype=np.int8)
    seeds = np.random.SeedSequence(seed).spawn(int(source.max(initial=0)) + 1)
    for number, own in enumerate(seeds):
        rows = np.flatnonzero(source == number)
        part[rows] = role[_deal(held[rows], unit[rows], len(role), own)]
    _check_result(part, parts, source, names)
    return part


def leaking(part: NDArray[np.int8], units: NDArray[np.int64]) -> NDArray[np.int64]:
    """Find the items of validation and test whose unit has a member in training as well.

    Returns
    -------
    Rows, ascending.

    Examples
    --------
    >>> leaking(np.array([0, 2, 2, 1], np.int8), np.array([7, 7, 8, 7])).tolist()
    [1, 3]
    """
    in_training = np.unique(units[part == TRAIN])
    return np.flatnonzero((part != TRAIN) & np.isin(units, in_training))


def _deal(
    held: NDArray[Any], unit: NDArray[np.int64], n_folds: int, seed: np.random.SeedSequence
) -> NDArray[np.int64]:
    """Fold of each item of one source."""
    number = int(seed.generate_state(1)[0])
    unit = merge_groups(unit)
    n_units = int(unit.max(initial=-1)) + 1
    rng = np.random.default_rng(seed)
    if n_units < n_folds:  # too few to fill them all: any will do
        return rng.permutation(n_folds)[unit]
    if held.ndim == 1 and len(np.unique(held)) > 1:
        fold = assign_folds(held, n_folds, groups=unit, seed=number)
    else:
        counts = held if held.ndim == 2 else np.ones((len(held), 1), np.int64)
        fold = stratify_by_counts(counts, n_folds, groups=unit, seed=number)
    return rng.permutation(n_folds)[fold]


def _majority(unit: NDArray[np.int64], source: NDArray[np.int64]) -> NDArray[np.int64]:
    """Give all members of a unit the source that most of them come from; of ties, the first."""
    n_sources = int(source.max(initial=0)) + 1
    pairs, many = np.unique(unit * n_sources + source, return_counts=True)
    order = np.lexsort((pairs, -many, pairs // n_sources))
    owner, first = np.unique(pairs[order] // n_sources, return_index=True)
    chosen = np.empty(int(unit.max(initial=-1)) + 1, np.int64)
    chosen[owner] = pairs[order][first] % n_sources
    return chosen[unit]


def _copies(
    dataset: Dataset, threshold: int | None, progress: Progress | None
) -> NDArray[np.int64]:
    if threshold is None:
        return np.arange(len(dataset))
    from labelfix.duplicates import duplicate_groups, identical_rows

    if dataset.image_paths is not None:
        return duplicate_groups(dataset.image_paths, threshold=threshold, progress=progress)
    return identical_rows(dataset.items.select(dataset.feature_columns))


def _what_to_stratify(dataset: Dataset) -> NDArray[np.int64]:
    """Class of each item, or how many boxes of each class it has."""
    if not dataset.has_boxes:
        return dataset.labels
    row = dataset.annotations["item_id"].replace_strict(
        dataset.items["item_id"], range(len(dataset)), return_dtype=pl.Int64
    )
    counts = np.zeros((len(dataset), len(dataset.class_names)), np.int64)
    np.add.at(counts, (row.to_numpy(), dataset.labels), 1)
    return counts


def _check_parts(parts: tuple[int, int, int]) -> None:
    if len(parts) != 3 or parts[TRAIN] < 1 or parts[VALIDATION] < 0 or parts[TEST] < 1:
        found = ":".join(map(str, parts))
        expected = "three whole numbers, as 8:1:1; only validation may be 0"
        raise InputError(Problem("split", found, expected))


def _check_result(
    part: NDArray[np.int8],
    parts: tuple[int, int, int],
    source: NDArray[np.int64],
    names: pl.Series,
) -> None:
    wanted = np.flatnonzero(parts)
    empty = [PARTS[one] for one in wanted if not (part == one).any()]
    if {PARTS[TRAIN], PARTS[TEST]} & set(empty):
        found = f"no items for {' and '.join(empty)}"
        raise InputError(Problem("split", found, "more items, or smaller groups"))
    if names.n_unique() == 1:
        return
    small = [
        repr(names[int(np.flatnonzero(source == one)[0])])
        for one in np.unique(source)
        if len(np.unique(part[source == one])) < len(wanted)
    ]
    if small:
        warn_caller(
            f"too small to lie in every part of the split: source {', '.join(small[:5])}"
            + (f" and {len(small) - 5} more" if len(small) > 5 else "")
        )


def _examples(
    leaks: NDArray[np.int64], units: NDArray[np.int64], part: NDArray[np.int8]
) -> list[tuple[int, int]]:
    """Pair each leaking item with the first item of training that it is held to be a copy of."""
    training = np.flatnonzero(part == TRAIN)
    known, first = np.unique(units[training], return_index=True)
    twin = training[first[np.searchsorted(known, units[leaks])]]
    return list(zip(leaks.tolist(), twin.tolist(), strict=True))


def _leak(pair: tuple[int, int], dataset: Dataset, part: NDArray[np.int8]) -> Problem:
    names = dataset.items["item_id"]
    row, twin = pair
    return Problem(
        f"item {names[row]}",
        f"in {PARTS[part[row]]}, and its copy or companion {names[twin]} in training",
        fix="split anew, remove it, or force it (--force)",
    )
