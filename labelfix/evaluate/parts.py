"""Which items train and which test, by which seeds; and that there are enough of both."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from labelfix.errors import InputError, Problem
from labelfix.evaluate.pairing import REMOVED
from labelfix.splits import PARTS, TEST, TRAIN

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from labelfix.progress import Progress
    from labelfix.schema import Dataset
    from labelfix.splits import Split

__all__ = ["check_classes", "check_numbers", "draw_parts", "seeds_of"]


def check_numbers(*, seeds: int, draws: int, level: float) -> None:
    """Refuse numbers that nothing can be measured with.

    Raises
    ------
    InputError
        Naming each.
    """
    problems = [
        Problem(name, str(found), expected)
        for name, found, expected, good in (
            ("seeds", seeds, "1 or more", seeds >= 1),
            ("draws", draws, "1 or more", draws >= 1),
            ("level", level, "a number between 0 and 1", 0 < level < 1),
        )
        if not good
    ]
    if problems:
        raise InputError(problems)


def draw_parts(
    dataset: Dataset, split: Split, seeds: int, *, resplit: bool, progress: Progress | None
) -> tuple[NDArray[np.int64], NDArray[np.int8]]:
    """Draw one split for all seeds, or one each: units (n,), and parts (seeds, n).

    Raises
    ------
    InputError
        As `Split.draw`; for a given split with `resplit`.
    """
    if resplit and split.given is not None:
        found = f"resplit with the given split {split.given!r}"
        raise InputError(Problem("split", found, "one or the other"))
    units = split.units(dataset, progress)
    draws = [split.draw(dataset, units, split.seed + one) for one in range(seeds if resplit else 1)]
    return units, np.stack(draws if resplit else draws * seeds)


def seeds_of(split: Split, seeds: int) -> list[int]:
    """Give each training a seed of its own; the first ones stay as more are asked for."""
    spawned = np.random.SeedSequence(split.seed).spawn(seeds)
    return [int(one.generate_state(1)[0]) for one in spawned]


def check_classes(versions: Mapping[str, NDArray[np.int64]], splits: NDArray[np.int8]) -> None:
    """Refuse parts of one class, where nothing can be mixed up.

    Raises
    ------
    InputError
        Naming each, with its version of the labels.
    """
    problems = []
    for name, labels in versions.items():
        for part in (TRAIN, TEST):
            rows = (splits == part) & (labels != REMOVED)
            held = [len(np.unique(labels[one])) for one in rows]
            if min(held) < 2:
                found = "one class only" if min(held) else "no items"
                where = f"{PARTS[part]} part, {name} labels"
                problems.append(Problem(where, found, "2 or more", "more items, or another split"))
    if problems:
        raise InputError(problems)
