"""On what terms versions are measured: which items train and which test, by which seeds."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

import numpy as np

from labelfix.errors import InputError, Problem
from labelfix.evaluate.pairing import REMOVED
from labelfix.splits import PARTS, TEST, TRAIN, Split

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from labelfix.progress import Progress
    from labelfix.schema import Dataset

__all__ = ["Terms", "check_classes"]


@dataclass(frozen=True, kw_only=True)
class Terms:
    """How versions are split, trained on and compared.

    Parameters
    ----------
    seeds, split, resplit, suggested_by, draws, level, timed, jobs, store, cache, progress
        As for `labelfix.measure_gain`.

    Raises
    ------
    InputError
        For numbers that nothing can be measured with, naming each.

    Examples
    --------
    >>> Terms(seeds=0, level=95)
    Traceback (most recent call last):
    labelfix.errors.InputError: 2 problems
      seeds: found 0; expected 1 or more
      level: found 95; expected a number between 0 and 1
    """

    seeds: int = 5
    split: Split = field(default_factory=Split)
    resplit: bool = False
    suggested_by: Sequence[str] = ()
    draws: int = 1000
    level: float = 0.95
    timed: int = 0
    jobs: int | None = None
    store: Path | None = None
    cache: Path | Literal[False] | None = None
    progress: Progress | None = None
    _drawn: dict[str, tuple[NDArray[np.int64], NDArray[np.int8]]] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    def __post_init__(self) -> None:
        problems = [
            Problem(name, str(found), expected)
            for name, found, expected, good in (
                ("seeds", self.seeds, "1 or more", self.seeds >= 1),
                ("draws", self.draws, "1 or more", self.draws >= 1),
                ("level", self.level, "a number between 0 and 1", 0 < self.level < 1),
            )
            if not good
        ]
        if problems:
            raise InputError(problems)

    @property
    def cache_folder(self) -> Path | None:
        """Where what can be used again is kept; None: nowhere."""
        from labelfix.predict import default_cache

        return None if self.cache is False else (self.cache or default_cache())

    @property
    def model_seeds(self) -> list[int]:
        """A seed for each training; the first ones stay as more are asked for."""
        spawned = np.random.SeedSequence(self.split.seed).spawn(self.seeds)
        return [int(one.generate_state(1)[0]) for one in spawned]

    def parts(self, dataset: Dataset) -> tuple[NDArray[np.int64], NDArray[np.int8]]:
        """Draw one split for all seeds, or one each: units (n,), and parts (seeds, n).

        Once for a dataset: looking for copies takes long, and several models may be measured.

        Raises
        ------
        InputError
            As `Split.draw`; for a given split with `resplit`.
        """
        if self.resplit and self.split.given is not None:
            found = f"resplit with the given split {self.split.given!r}"
            raise InputError(Problem("split", found, "one or the other"))
        if dataset.fingerprint not in self._drawn:
            self._drawn[dataset.fingerprint] = self._draw(dataset)
        return self._drawn[dataset.fingerprint]

    def _draw(self, dataset: Dataset) -> tuple[NDArray[np.int64], NDArray[np.int8]]:
        units = self.split.units(dataset, self.progress)
        seeds = [self.split.seed + one for one in range(self.seeds if self.resplit else 1)]
        draws = [self.split.draw(dataset, units, seed) for seed in seeds]
        return units, np.stack(draws if self.resplit else draws * self.seeds)


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
