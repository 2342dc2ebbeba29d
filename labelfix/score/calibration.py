"""How likely a label is wrong: from what speaks against it, and from how the whole set looks.

How it was fitted, and how far it can be trusted: docs/benchmarks/finding-power.md.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, NamedTuple

import numpy as np

from labelfix.errors import InputError, Problem
from labelfix.score.calibration_fit import COEFFICIENTS
from labelfix.score.combine import (
    ALL_OTHERS,
    CONFUSIONS,
    SLACK,
    checked_rivals,
    problems_of_rivalry,
    rivals,
)
from labelfix.score.inputs import as_arrays

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from labelfix.score.blocks import Blocks
    from labelfix.score.combine import Rivals

__all__ = [
    "ErrorProbability",
    "OddsLine",
    "Signs",
    "fit_odds",
    "log_odds",
    "recalibrate",
    "sigmoid",
]

LARGEST_LOGIT = 12.0
"""Log odds are cut where they exceed it: no model is ever surer than that."""


@dataclass(frozen=True, slots=True)
class ErrorProbability:
    """Label quality = 1 - the probability that the label is wrong, the error probability.

    The logarithm of the odds of an error is taken to be

        intercept + odds * z + contradicted * B + sure * A + odds_sure * z * A

    with three numbers that mean the same in every set:

    z: the log odds of the other classes against the given one, in [-3, 3], as `HeadToHead` has
    them without confusions.

    B: how many labels the model contradicts, as log odds of their share of all labels. What it
    contradicts is an error of the label or one of the model's own.

    A: the same among the items that the model is surest of, less B. It tells the two apart: a model
    errs where it is unsure, but labels are wrong on easy items too. If the surest tenth is
    contradicted hardly ever (A far below 0), contradictions are mostly the model's own errors; if
    as often as all items (A near 0), mostly wrong labels.

    Which label gets which of these probabilities is decided by `HeadToHead`: the highest goes to
    the lowest quality. So the order is the better one, that counts confusions, and what is said of
    the set as a whole stays as it was fitted.

    The five coefficients were fitted on sets with known errors; the defaults are
    `labelfix.score.calibration_fit`. Of evidence that is missing (neighbours, training, more
    models) nothing is assumed: the probabilities come from what there is, and A and B are measured
    on them.

    Parameters
    ----------
    intercept, odds, contradicted, sure, odds_sure
        Coefficients.
    least_sure
        A is not taken to be lower than this, the lowest that was seen in the fit.
    surest
        Share of the items that the model is surest of, in (0, 1]: by their highest probability.
    slack, confusions, all_others
        As in `HeadToHead`, which with the same ones ranks items alike; slack above 0.
    """

    name: ClassVar[str] = "error_probability"
    intercept: float = COEFFICIENTS["intercept"]
    odds: float = COEFFICIENTS["odds"]
    contradicted: float = COEFFICIENTS["contradicted"]
    sure: float = COEFFICIENTS["sure"]
    odds_sure: float = COEFFICIENTS["odds_sure"]
    least_sure: float = COEFFICIENTS["least_sure"]
    surest: float = 0.1
    slack: float = SLACK
    confusions: float = CONFUSIONS
    all_others: float = ALL_OTHERS

    def __post_init__(self) -> None:
        problems = problems_of_rivalry(self.slack, self.confusions, self.all_others)
        if self.slack == 0:
            problems.append(Problem("slack", "0", "a number above 0"))
        if not 0 < self.surest <= 1:
            problems.append(Problem("surest", str(self.surest), "a share above 0, at most 1"))
        if problems:
            raise InputError(problems)

    def score(
        self, labels: ArrayLike, pred_probs: ArrayLike, blocks: Blocks | None = None
    ) -> NDArray[np.float64]:
        """Quality of each label, shape (n,), in [0, 1], low = suspicious.

        Examples
        --------
        >>> pred_probs = np.array([[0.9, 0.1]] * 50 + [[0.1, 0.9]] * 50)
        >>> labels = np.array([0] * 49 + [1] * 51)
        >>> quality = ErrorProbability().score(labels, pred_probs)
        >>> int(quality.argmin()), bool(quality[49] < 0.5 < quality[0])
        (49, True)
        """
        given, matrix, _ = as_arrays(labels, pred_probs)
        codes = given.astype(np.int64, copy=False)
        found = checked_rivals(codes, matrix, self.confusions, blocks)
        return 1 - self.of(found, rivals(codes, matrix, blocks))

    def of(self, found: Rivals, alone: Rivals) -> NDArray[np.float64]:
        """Probability that each label is wrong, shape (n,), in [0, 1].

        Parameters
        ----------
        found
            By these `confusions`: the order.
        alone
            By none: how many labels get which probability.
        """
        quality = found.quality(self.slack, self.all_others)
        return hand_out(self.of_signs(self.signs(alone)), quality)

    def of_signs(self, signs: Signs) -> NDArray[np.float64]:
        """As `of`, from what was measured."""
        line = self.intercept + self.contradicted * signs.contradicted + self.sure * signs.sure
        slope = max(0.0, self.odds + self.odds_sure * signs.sure)
        return sigmoid(line + slope * signs.odds)

    def signs(self, found: Rivals) -> Signs:
        """Measure z, B and A. Shares are counted with half an item of either sort added."""
        given = found.given.astype(np.float64)
        other = found.rival_prob.astype(np.float64)
        odds = np.log(found.against(self.all_others) + self.slack) - np.log(given + self.slack)
        contradicted = other > given
        share = _log_odds_of_share(int(np.count_nonzero(contradicted)), len(given))
        many = max(1, round(self.surest * len(given)))
        among = _contradicted_among(many, np.maximum(given, other), contradicted)
        sure = _log_odds_of_share(among, many) - share
        return Signs(odds, share, max(sure, self.least_sure))


def hand_out(probability: NDArray[np.float64], quality: NDArray[np.float64]) -> NDArray[np.float64]:
    """Give the highest probability to the lowest quality and so on; equal ones get their mean.

    Examples
    --------
    >>> hand_out(np.array([0.1, 0.9, 0.4]), np.array([0.2, 0.8, 0.8]))
    array([0.9 , 0.25, 0.25])
    """
    _, group, sizes = np.unique(quality, return_inverse=True, return_counts=True)
    falling = np.sort(probability)[::-1]
    sums = np.add.reduceat(falling, np.concatenate([[0], np.cumsum(sizes)[:-1]]))
    return np.asarray((sums / sizes)[group])


class Signs(NamedTuple):
    """What `ErrorProbability` goes by.

    Parameters
    ----------
    odds
        z of each item, shape (n,).
    contradicted, sure
        B and A of the set.
    """

    odds: NDArray[np.float64]
    contradicted: float
    sure: float


def _contradicted_among(
    many: int, sureness: NDArray[np.float64], contradicted: NDArray[np.bool_]
) -> float:
    """Count the contradicted ones of the surest items.

    Of items that tie for the last places each counts in part: the order of rows has no say.
    """
    last = np.partition(sureness, -many)[-many]
    above, tied = sureness > last, sureness == last
    left = many - np.count_nonzero(above)
    return float(np.count_nonzero(contradicted & above) + left * contradicted[tied].mean())


def _log_odds_of_share(hits: float, size: int) -> float:
    return float(np.log(hits + 0.5) - np.log(size - hits + 0.5))


def recalibrate(
    probability: NDArray[np.float64],
    rows: NDArray[np.int64],
    wrong: NDArray[np.bool_],
    steadiness: float = 10.0,
) -> NDArray[np.float64]:
    """Correct probabilities of errors by a random sample that people looked at.

    The line of `fit_odds` through the log odds: one number for how many errors there are, one for
    how much the probabilities tell.

    Parameters
    ----------
    probability
        Of an error, shape (n,): as `ErrorProbability` gives.
    rows
        Items of the sample, shape (m,): drawn at random, as the audit slice of `labelfix review`
        is, and not by how suspicious they are.
    wrong
        Whether their labels were wrong, shape (m,).
    steadiness
        Weight of the probabilities as they are, in decisions; above 0.

    Returns
    -------
    NDArray
        Shape (n,), corrected; the order stays.

    Examples
    --------
    >>> probability = np.repeat([0.1, 0.6], 500)
    >>> sample = np.arange(0, 1000, 10)
    >>> corrected = recalibrate(probability, sample, sample >= 500)
    >>> corrected[[0, 999]].round(2)
    array([0.02, 0.91])
    """
    odds = log_odds(probability)
    line = fit_odds(odds[rows], wrong, steadiness)
    return sigmoid(line.intercept + line.slope * odds)


class OddsLine(NamedTuple):
    """Log odds of an error = intercept + slope * log odds that were claimed."""

    intercept: float
    slope: float


def fit_odds(
    odds: NDArray[np.float64], wrong: NDArray[np.bool_], steadiness: float = 10.0
) -> OddsLine:
    """Fit a logistic curve over log odds to what was found, by Newton's method.

    From and towards intercept 0 and slope 1: a normal prior with the weight of `steadiness`
    decisions at even odds. The slope is not below 0: where it would be, the best line without slope
    is given. (Platt 1999 fits such a curve without prior.)

    Parameters
    ----------
    odds
        Log odds of an error, shape (m,).
    wrong
        Whether it was one, shape (m,).
    steadiness
        Above 0.

    Examples
    --------
    >>> fit_odds(np.array([]), np.array([], dtype=bool))
    OddsLine(intercept=0.0, slope=1.0)
    """
    design = np.column_stack([np.ones(len(odds)), odds])
    prior = np.array([0.0, 1.0])
    # one decision at even odds carries an information of 1/4
    strength = steadiness / 4

    def loss(line: NDArray[np.float64]) -> float:
        claimed, away = design @ line, line - prior
        return float(
            (np.logaddexp(0, claimed) - wrong * claimed).sum() + strength / 2 * away @ away
        )

    found = prior
    for _ in range(50):
        chance = sigmoid(design @ found)
        slope = design.T @ (wrong - chance) - strength * (found - prior)
        bend = (design * (chance * (1 - chance))[:, None]).T @ design + strength * np.eye(2)
        step = np.linalg.solve(bend, slope)
        if np.abs(step).max() < 1e-6:
            break
        while loss(found + step) > loss(found):  # past the best line, and worse
            step = step / 2
        found = found + step
    if found[1] < 0:
        return OddsLine(fit_odds(np.zeros(len(odds)), wrong, steadiness).intercept, 0.0)
    return OddsLine(float(found[0]), float(found[1]))


def log_odds(chance: NDArray[np.float64]) -> NDArray[np.float64]:
    """Give log(p / (1 - p)), cut at `LARGEST_LOGIT`."""
    with np.errstate(divide="ignore"):
        odds = np.log(chance) - np.log1p(-chance)
    cut: NDArray[np.float64] = np.clip(odds, -LARGEST_LOGIT, LARGEST_LOGIT)
    return cut


def sigmoid(odds: NDArray[np.float64]) -> NDArray[np.float64]:
    """Give the probability that log odds stand for."""
    chance: NDArray[np.float64] = np.exp(-np.logaddexp(0, -odds))
    return chance
