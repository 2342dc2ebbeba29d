"""In which order what is left is shown: as ranked, or as the decisions so far suggest."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from labelfix.score.calibration import fit_odds, log_odds, sigmoid

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

__all__ = ["Adaptive", "Learned"]


@dataclass(frozen=True, slots=True)
class Adaptive:
    """Rank by the ranking's own quality, corrected by how often similar suggestions were right.

    A logistic curve over the quality, fitted to the decisions so far and held near the quality's
    own odds by a prior, says how many errors to expect. Where a group of similar issues (of one
    kind, one given class, one suggested class, one pair of them) had more or fewer than expected,
    its odds are shifted by the ratio of observed to expected, errors and rights alike, with
    `shrinkage` of each added: the posterior mean under a gamma prior around "as expected".

    Parameters
    ----------
    shrinkage
        Decisions that a group needs to be believed; higher: slower to learn.
    steadiness
        Weight of the prior that the quality's own odds are right, in decisions.
    """

    shrinkage: float = 40.0
    steadiness: float = 5.0

    def learn(
        self,
        quality: NDArray[np.float64],
        groups: Sequence[NDArray[np.int64]],
        rows: NDArray[np.int64],
        wrong: NDArray[np.bool_],
    ) -> Learned:
        """Estimate the odds of an error for every issue.

        Parameters
        ----------
        quality
            Of every issue, shape (n,), in [0, 1], low = suspicious.
        groups
            Numbers of the groups that issues belong to, each of shape (n,), coarse ones first.
        rows
            Issues that were decided, shape (m,).
        wrong
            Whether they were errors, shape (m,).

        Examples
        --------
        >>> quality, pair = np.full(40, 0.5), np.arange(40) % 2
        >>> rows = np.arange(20)
        >>> found = Adaptive().learn(quality, [pair], rows, pair[rows] == 1)
        >>> bool(found.log_odds[21] > found.log_odds[20])
        True
        """
        odds = log_odds(1 - quality)
        line = fit_odds(odds[rows], wrong, self.steadiness)
        odds = line.intercept + line.slope * odds
        for group in groups:
            odds = odds + self._shift(odds[rows], wrong, group, rows)[group]
        return Learned(odds, line.intercept, line.slope)

    def _shift(
        self,
        odds: NDArray[np.float64],
        wrong: NDArray[np.bool_],
        group: NDArray[np.int64],
        rows: NDArray[np.int64],
    ) -> NDArray[np.float64]:
        """Log odds to add to each group."""
        chance, mine, n = sigmoid(odds), group[rows], int(group.max(initial=-1)) + 1

        def count(weights: NDArray[np.float64]) -> NDArray[np.float64]:
            return np.asarray(np.bincount(mine, weights, n) + self.shrinkage, np.float64)

        errors = count(wrong.astype(np.float64)) / count(chance)
        rights = count((~wrong).astype(np.float64)) / count(1 - chance)
        return np.asarray(np.log(errors) - np.log(rights), np.float64)


@dataclass(frozen=True, eq=False)
class Learned:
    """What the decisions so far say.

    Parameters
    ----------
    log_odds
        Of an error, for every issue, shape (n,).
    intercept, slope
        Of the curve over the log odds that the quality stands for.
    """

    log_odds: NDArray[np.float64]
    intercept: float
    slope: float
