"""One label quality from all evidence at hand: models, neighbours, training, duplicates.

How it was chosen: docs/choosing-a-score.md.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import numpy as np

from labelfix.errors import InputError, Problem
from labelfix.score.blocks import Blocks, read_rows, working_dtype
from labelfix.score.confusions import noise_matrix
from labelfix.score.inputs import as_arrays, refuse_bad_values

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike, NDArray

    from labelfix.score.confident import ConfidentCounts

__all__ = [
    "Combined",
    "Evidence",
    "HeadToHead",
    "LogPool",
    "OtherLikelier",
    "Rivals",
    "combine",
    "head_to_head",
    "rivals",
    "rivals_by_confusions",
    "weigh_duplicates",
]

SLACK = 0.05
"""Default of `head_to_head`."""
CONFUSIONS = 0.25
ALL_OTHERS = 0.25
"""Defaults of `HeadToHead` and `ErrorProbability`."""


class Rivals(NamedTuple):
    """The given class of each item and the likeliest other one.

    Parameters
    ----------
    given
        Probability of the given class, shape (n,), float32 or float64.
    rival
        The likeliest other class, the first of several, shape (n,), int64.
    rival_prob
        Its probability, shape (n,).
    """

    given: NDArray[Any]
    rival: NDArray[np.int64]
    rival_prob: NDArray[Any]

    def against(self, all_others: float) -> NDArray[np.float64]:
        """Probability that is set against the given class: see `HeadToHead`."""
        rest: NDArray[np.float64] = 1 - self.given.astype(np.float64)
        return (1 - all_others) * self.rival_prob + all_others * rest

    def quality(self, slack: float, all_others: float = 0.0) -> NDArray[np.float64]:
        """`head_to_head` of each item."""
        given = self.given.astype(np.float64) + slack
        quality: NDArray[np.float64] = given / (given + self.against(all_others) + slack)
        return quality


def rivals(
    labels: NDArray[np.int64],
    pred_probs: NDArray[Any],
    blocks: Blocks | None = None,
    weights: NDArray[np.float64] | None = None,
) -> Rivals:
    """Find the likeliest class other than the given one, in one pass.

    Parameters
    ----------
    labels
        Given class of each item, shape (n,).
    pred_probs
        Shape (n, K), K at least 2, rows sum to one.
    blocks
        How to cut up the rows.
    weights
        Shape (K, K), above 0: what the probability of each class (row) is multiplied by where that
        class is given (column), before rows are made to sum to one again. None: nothing.

    Examples
    --------
    >>> rivals(np.array([0, 1]), np.array([[0.7, 0.1, 0.2], [0.6, 0.3, 0.1]])).rival
    array([2, 0])
    """
    n, n_classes = pred_probs.shape
    dtype = working_dtype(pred_probs)
    found = Rivals(np.empty(n, dtype), np.empty(n, dtype=np.int64), np.empty(n, dtype))
    by_given = None if weights is None else np.ascontiguousarray(weights.T, dtype)

    def task(start: int, stop: int) -> None:
        rows, own = np.arange(stop - start), labels[start:stop]
        block = np.array(read_rows(pred_probs, start, stop))
        if by_given is not None:
            block *= by_given[own]
            block /= block.sum(axis=1, keepdims=True)
        found.given[start:stop] = block[rows, own]
        block[rows, own] = -1
        best = block.argmax(axis=1)
        found.rival[start:stop] = best
        found.rival_prob[start:stop] = block[rows, best]

    blocks = blocks or Blocks.over(pred_probs)
    blocks.run(task, blocks.spans(n, row_bytes=n_classes * dtype.itemsize))
    return found


def rivals_by_confusions(
    labels: NDArray[np.int64],
    pred_probs: NDArray[Any],
    confusions: float = CONFUSIONS,
    blocks: Blocks | None = None,
) -> Rivals:
    """Find `rivals` where classes count more that are often given the label at hand.

    p[k] is multiplied by how often class k is given that label (`noise_matrix`), to a power.

    Parameters
    ----------
    labels, pred_probs, blocks
        As for `rivals`.
    confusions
        The power, at least 0. With 0 all labels are taken to be as likely for each class; 1 would
        be Bayes' rule for a model that has not seen the labels, but it learned from them.

    Examples
    --------
    >>> labels = np.array([0] * 80 + [1] * 120 + [2] * 100)  # 20 of class 0 are called 1
    >>> pred_probs = np.repeat(0.1 + 0.7 * np.eye(3), 100, axis=0)
    >>> doubtful = np.append(pred_probs, [[0.29, 0.4, 0.31]], axis=0)
    >>> rivals_by_confusions(np.append(labels, 1), doubtful).rival[-1]
    np.int64(0)
    """
    if confusions == 0:
        return rivals(labels, pred_probs, blocks)
    noise = noise_matrix(labels, pred_probs, blocks)
    return rivals(labels, pred_probs, blocks, np.power(noise, confusions, out=noise))


def head_to_head(
    labels: NDArray[np.int64],
    pred_probs: NDArray[Any],
    slack: float = SLACK,
    *,
    blocks: Blocks | None = None,
) -> NDArray[np.float64]:
    """Label quality as the chance of the given class against the likeliest other one alone.

    quality = (p[given] + slack) / (p[given] + slack + max of p[other] + slack)

    So below 0.5 another class is likelier than the given one, and below 0.4 about one and a half
    times as likely. What the rest of the classes share among them does not count.

    Parameters
    ----------
    labels, pred_probs, blocks
        As for `rivals`.
    slack
        Probabilities that are much smaller are not told apart, as few models mean them: what the
        model thinks instead decides then.

    Returns
    -------
    NDArray
        Shape (n,), float64, in [0, 1].

    Examples
    --------
    >>> head_to_head(np.array([0, 1]), np.array([[0.6, 0.2, 0.2], [0.6, 0.3, 0.1]])).round(2)
    array([0.72, 0.35])
    """
    return rivals(labels, pred_probs, blocks).quality(slack)


def checked_rivals(
    labels: NDArray[np.int64], pred_probs: NDArray[Any], confusions: float, blocks: Blocks | None
) -> Rivals:
    """As `rivals_by_confusions`, but what is no probability is refused: one row would spoil all."""
    refuse_bad_values(pred_probs, pred_probs)
    return rivals_by_confusions(labels, pred_probs, confusions, blocks)


def problems_of_rivalry(slack: float, confusions: float, all_others: float) -> list[Problem]:
    """List parameters of `HeadToHead` that mean nothing."""
    rules = [
        ("slack", slack, 0 <= slack < np.inf, "a number of 0 or more"),
        ("confusions", confusions, 0 <= confusions < np.inf, "a number of 0 or more"),
        ("all_others", all_others, 0 <= all_others <= 1, "in [0, 1]"),
    ]
    return [
        Problem(name, str(value), expected) for name, value, holds, expected in rules if not holds
    ]


@dataclass(frozen=True, slots=True)
class HeadToHead:
    """`head_to_head`, knowing which classes are confused. The default score of `find_issues`.

    quality = (p[given] + slack) / (p[given] + against + 2 slack), where against is
    (1 - all_others) max of p[other] + all_others (1 - p[given]), and p is weighed by confusions.

    Parameters
    ----------
    slack
        See `head_to_head`.
    confusions
        See `rivals_by_confusions`, which finds the likeliest other class.
    all_others
        How much all other classes together count, in [0, 1]; the likeliest of them counts the
        rest. Images that show none of the classes have no likely rival, but the given one is
        unlikely too.
    """

    name: ClassVar[str] = "head_to_head"
    slack: float = SLACK
    confusions: float = CONFUSIONS
    all_others: float = ALL_OTHERS

    def __post_init__(self) -> None:
        problems = problems_of_rivalry(self.slack, self.confusions, self.all_others)
        if problems:
            raise InputError(problems)

    def score(
        self, labels: ArrayLike, pred_probs: ArrayLike, blocks: Blocks | None = None
    ) -> NDArray[np.float64]:
        """Quality of each label, shape (n,), in [0, 1], low = suspicious."""
        given, matrix, _ = as_arrays(labels, pred_probs)
        codes = given.astype(np.int64, copy=False)
        return self.of(checked_rivals(codes, matrix, self.confusions, blocks))

    def of(self, found: Rivals) -> NDArray[np.float64]:
        """As `score`, from what was found by these `confusions`."""
        return found.quality(self.slack, self.all_others)


@dataclass(frozen=True, slots=True)
class OtherLikelier:
    """Select the items for which another class is at least `ratio` times as likely as the given.

    That is `head_to_head` of 1 / (1 + ratio) or less, of the model alone. The default rule of
    `find_issues`.

    Parameters
    ----------
    ratio
        1 selects whatever the model contradicts.
    slack
        See `head_to_head`.
    """

    name: ClassVar[str] = "other_likelier"
    ratio: float = 1.5
    slack: float = SLACK

    def __post_init__(self) -> None:
        if not self.ratio > 0:
            raise InputError(Problem("ratio", str(self.ratio), "a number above 0"))

    def select(self, counts: ConfidentCounts) -> NDArray[np.bool_]:
        """Mask of the selected items, shape (n,)."""
        found = rivals(counts.labels, counts.pred_probs, counts.blocks)
        selected: NDArray[np.bool_] = found.quality(self.slack) <= 1 / (1 + self.ratio)
        return selected


@dataclass(frozen=True, eq=False)
class Evidence:
    """Class probabilities from one source.

    Parameters
    ----------
    name
        For run.json.
    pred_probs
        What the source says of items it did not learn from, shape (n, K), rows sum to one.
    train_pred_probs
        What it said of them while it learned from them, on average, shape (n, K), if known.
    """

    name: str
    pred_probs: NDArray[Any]
    train_pred_probs: NDArray[Any] | None = None


@dataclass(frozen=True, slots=True)
class LogPool:
    """Combine sources as a weighted geometric mean whose weights are learned from the given labels.

    p[k] is proportional to the product over sources of p_source[k] ** weight, the logarithmic
    opinion pool (Genest & Zidek, Statistical Science 1986). The weights are the non-negative
    numbers that make the given labels likeliest. There is one a source and no more, so that labels
    which the out-of-fold sources contradict cannot be learned by heart; a source that is worse than
    the others, or says the same, gets little. The weights also calibrate the result.

    What a source said during training would win all the weight, as it saw the labels. So it takes
    no part in the fit of the weights: it shares its source's weight half and half, raised to the
    power that makes it as sharp as what the source says out of fold.

    Parameters
    ----------
    floor
        Probabilities below it count as it: no source can rule out a class on its own.
    pull
        How strongly the weights are held to equal ones that sum to one, in units of items: the
        precision of a normal prior.
    fit_values
        So many probabilities are looked at to find the weights: evenly spread rows.
    """

    floor: float = 1e-6
    pull: float = 1.0
    fit_values: int = 4_000_000

    def __call__(
        self, labels: NDArray[np.int64], sources: Sequence[Evidence]
    ) -> tuple[NDArray[np.float32], dict[str, float]]:
        """Combine the sources.

        Returns
        -------
        pred_probs
            Shape (n, K), float32, rows sum to one.
        weights
            The exponent of each matrix, by the name of its source.

        Examples
        --------
        >>> good = Evidence("good", np.array([[0.9, 0.1], [0.2, 0.8], [0.8, 0.2], [0.1, 0.9]]))
        >>> coin = Evidence("coin", np.array([[0.4, 0.6], [0.6, 0.4], [0.6, 0.4], [0.4, 0.6]]))
        >>> pred_probs, weights = LogPool()(np.array([0, 1, 0, 1]), [good, coin])
        >>> weights["good"] > weights["coin"]
        True
        """
        weights = self._weights(labels, sources)
        matrices, exponents, named = [], [], {}
        for source, weight in zip(sources, weights, strict=True):
            matrices.append(source.pred_probs)
            exponents.append(float(weight))
            named[source.name] = float(weight)
            if source.train_pred_probs is not None:
                exponents[-1] = named[source.name] = float(weight) / 2
                sharper = self._sharpness(labels, source)
                matrices.append(source.train_pred_probs)
                exponents.append(float(weight) / 2 * sharper)
                named[f"{source.name}, in training"] = exponents[-1]
        return self._multiply(matrices, exponents), named

    def _weights(
        self, labels: NDArray[np.int64], sources: Sequence[Evidence]
    ) -> NDArray[np.float64]:
        if len(sources) == 1:
            return np.ones(1)
        return self._fit(labels, [source.pred_probs for source in sources])

    def _sharpness(self, labels: NDArray[np.int64], source: Evidence) -> float:
        """Say to which power training's probabilities are as sharp as the out-of-fold ones."""
        out_of_fold = self._fit(labels, [source.pred_probs])[0]
        in_training = self._fit(labels, [source.train_pred_probs])[0]
        return float(in_training / out_of_fold) if out_of_fold > 0 else 1.0

    def _fit(self, labels: NDArray[np.int64], matrices: Sequence[Any]) -> NDArray[np.float64]:
        """Weights that maximise the likelihood of the given labels, shape (M,)."""
        from scipy.optimize import minimize

        n, n_classes = matrices[0].shape
        count = max(1, min(n, self.fit_values // (n_classes * len(matrices))))
        rows = np.linspace(0, n - 1, count).astype(np.int64)
        logs = np.stack([self._log(matrix[rows]) for matrix in matrices])
        given = logs[:, np.arange(count), labels[rows]]
        start = np.full(len(matrices), 1 / len(matrices))

        def loss(weights: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
            totals = np.tensordot(weights, logs, axes=1)
            totals -= totals.max(axis=1, keepdims=True)
            shares = np.exp(totals)
            sums = shares.sum(axis=1)
            shares /= sums[:, None]
            chosen = totals[np.arange(count), labels[rows]] - np.log(sums)
            expected = np.einsum("nk,mnk->m", shares, logs)
            off = weights - start
            value = self.pull / 2 * off @ off - chosen.sum()
            return value / count, (self.pull * off - given.sum(axis=1) + expected) / count

        limits = [(0, None)] * len(matrices)
        found = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=limits)
        weights: NDArray[np.float64] = found.x
        return weights

    def _log(self, probabilities: NDArray[Any]) -> NDArray[np.float64]:
        logs: NDArray[np.float64] = np.log(np.maximum(probabilities, self.floor, dtype=np.float64))
        return logs

    def _multiply(
        self, matrices: Sequence[NDArray[Any]], exponents: Sequence[float]
    ) -> NDArray[np.float32]:
        """Take the product of the powers, and let rows sum to one."""
        n, n_classes = matrices[0].shape
        pooled = np.empty((n, n_classes), dtype=np.float32)

        def task(start: int, stop: int) -> None:
            total = np.zeros((stop - start, n_classes))
            for matrix, exponent in zip(matrices, exponents, strict=True):
                total += exponent * self._log(matrix[start:stop])
            pooled[start:stop] = _softmax(total)

        Blocks().run(task, Blocks().spans(n, row_bytes=8 * n_classes))
        return pooled


def _softmax(logs: NDArray[np.float64]) -> NDArray[np.float64]:
    logs = logs - logs.max(axis=1, keepdims=True)
    np.exp(logs, out=logs)
    logs /= logs.sum(axis=1, keepdims=True)
    return logs


@dataclass(frozen=True, eq=False)
class Combined:
    """What all evidence together says.

    Parameters
    ----------
    pred_probs
        Shape (n, K), rows sum to one; the very matrix of the source if that is all there is.
    weights
        The exponent of each source: see `LogPool`.
    duplicates_agree
        How often the label of a duplicate is taken to be right, if there are duplicates with
        different labels: see `weigh_duplicates`.
    """

    pred_probs: NDArray[Any]
    weights: dict[str, float] = field(default_factory=dict)
    duplicates_agree: float | None = None


def combine(
    labels: NDArray[np.int64],
    sources: Sequence[Evidence],
    *,
    duplicate_group: NDArray[np.int64] | None = None,
    pool: LogPool | None = None,
) -> Combined:
    """Combine what models, neighbours and duplicates say into one matrix of probabilities.

    Parameters
    ----------
    labels
        Given class of each item, shape (n,).
    sources
        One or more. One without `train_pred_probs` is left as it is.
    duplicate_group
        Exact and near-duplicate items share a number, shape (n,).
    pool
        How to combine several.

    Examples
    --------
    >>> pred_probs = np.array([[0.9, 0.1], [0.2, 0.8]])
    >>> combine(np.array([0, 1]), [Evidence("model", pred_probs)]).pred_probs is pred_probs
    True
    """
    first = sources[0]
    weights = {first.name: 1.0}
    pred_probs = first.pred_probs
    if len(sources) > 1 or first.train_pred_probs is not None:
        pred_probs, weights = (pool or LogPool())(labels, sources)
    if duplicate_group is None:
        return Combined(pred_probs, weights)
    weighed, agree = weigh_duplicates(labels, pred_probs, duplicate_group)
    return Combined(weighed, weights, agree)


def weigh_duplicates(
    labels: NDArray[np.int64],
    pred_probs: NDArray[Any],
    duplicate_group: NDArray[np.int64],
    *,
    prior: tuple[float, float] = (9, 1),
    floor: float = 1e-6,
) -> tuple[NDArray[Any], float | None]:
    """Let the labels of duplicates speak where they contradict each other.

    Duplicates show the same thing, so that of different labels one at most is right. The label of
    each duplicate is a further opinion, right with probability a and otherwise any other class:

        p[k] is multiplied by (a (K - 1) / (1 - a)) ** (duplicates labelled k),

    where a is the share of items with duplicates that agree with theirs, so that if what was taken
    for duplicates is not, their labels count for little. Groups in which all agree are left alone:
    labels are often copied together with the image, and are no second opinion then.

    Parameters
    ----------
    labels
        Given class of each item, shape (n,).
    pred_probs
        Shape (n, K), rows sum to one.
    duplicate_group
        Exact and near-duplicate items share a number, shape (n,).
    prior
        How many items that agree and disagree with their duplicates are counted in before looking.
    floor
        Probabilities below it count as it.

    Returns
    -------
    pred_probs
        Shape (n, K): a copy if any row differs.
    agree
        a; None if no duplicates contradict each other.

    Examples
    --------
    >>> pred_probs = np.array([[0.6, 0.4], [0.6, 0.4], [0.6, 0.4]])
    >>> weighed, agree = weigh_duplicates(np.array([0, 0, 1]), pred_probs, np.array([7, 7, 7]))
    >>> weighed.round(2)
    array([[0.6 , 0.4 ],
           [0.6 , 0.4 ],
           [0.94, 0.06]])
    """
    _, group, sizes = np.unique(duplicate_group, return_inverse=True, return_counts=True)
    same, others = _same_label(group, labels), sizes[group] - 1
    mixed = np.zeros(len(sizes), dtype=bool)
    mixed[group[same < others]] = True
    rows = np.flatnonzero(mixed[group])
    if not len(rows):
        return pred_probs, None
    paired = others > 0
    agreeing = (same[paired] / others[paired]).sum() + prior[0]
    agree = float(agreeing / (paired.sum() + sum(prior)))
    n_classes = pred_probs.shape[1]
    odds = max(1.0, agree * (n_classes - 1) / (1 - agree))
    weighed = np.array(pred_probs, dtype=working_dtype(pred_probs))
    logs = np.log(np.maximum(weighed[rows], floor, dtype=np.float64))
    weighed[rows] = _softmax(
        logs + _votes_of_others(group[rows], labels[rows], n_classes) * np.log(odds)
    )
    return weighed, agree


def _votes_of_others(
    group: NDArray[np.int64], labels: NDArray[np.int64], n_classes: int
) -> NDArray[np.float64]:
    """Count by label the other members of each item's group, shape (n, K)."""
    _, place = np.unique(group, return_inverse=True)
    votes = np.zeros((place.max() + 1, n_classes))
    np.add.at(votes, (place, labels), 1)
    votes = votes[place]
    votes[np.arange(len(labels)), labels] -= 1
    return votes


def _same_label(group: NDArray[np.int64], labels: NDArray[np.int64]) -> NDArray[np.int64]:
    """Count the other members of its group that have the same label, shape (n,)."""
    pairs = np.stack([group, labels], axis=1)
    _, pair, counts = np.unique(pairs, axis=0, return_inverse=True, return_counts=True)
    same: NDArray[np.int64] = counts[pair.reshape(-1)] - 1
    return same
