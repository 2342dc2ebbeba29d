"""How sure a difference is: redrawing items and seeds, McNemar's test, and what a gain is made of.

Pure: arrays in, arrays out; for class labels and for boxes alike.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from labelfix.progress import Progress

    Floats = NDArray[np.float64]

__all__ = [
    "EFFECTS",
    "interval",
    "mcnemar",
    "mean_over_seeds",
    "redraw",
    "sd_interval",
    "share_of_pairs",
    "share_of_variance",
    "split_gain",
]

EFFECTS = ("gain", "test_labels", "training_labels", "interaction", "training_labels_corrected")
"""What `split_gain` gives, in order."""

_DRAWS = 64  # draws at once: bounds memory; the result does not depend on it


def redraw(
    statistic: Callable[[Floats, Floats], Floats],
    n_units: int,
    n_seeds: int,
    *,
    draws: int = 1000,
    seed: int = 0,
    progress: Progress | None = None,
) -> Floats:
    """Redraw units and seeds with replacement, each on its own, and count anew every time.

    Units (items, or groups of them) and seeds are crossed: each model sees all items. Both are
    redrawn (the pigeonhole bootstrap of Owen 2007), so that the spread covers other items and other
    seeds; it errs on the wide side. Everything that is compared comes from the same draw, so that
    differences are paired. With one seed the spread is over units alone.

    Parameters
    ----------
    statistic
        Called with how often each unit is drawn, shape (b, units), and each seed, shape (b, seeds);
        returns shape (b, m).
    n_units, n_seeds
        How many there are.
    draws
        So many.
    seed
        Of the draws.
    progress
        Called as `progress(what, done, total)`.

    Returns
    -------
    Shape (draws, m).

    Examples
    --------
    >>> values = np.array([0.0, 1.0, 1.0, 1.0])
    >>> means = redraw(lambda units, _: (units @ values / 4)[:, None], 4, 1, draws=500)
    >>> interval(means, 0.95).round(2).ravel().tolist()
    [0.25, 1.0]
    """
    found = []
    for start in range(0, draws, _DRAWS):
        stop = min(start + _DRAWS, draws)
        units, seeds = np.empty((stop - start, n_units)), np.empty((stop - start, n_seeds))
        for row in range(stop - start):
            rng = np.random.default_rng([seed, start + row])
            units[row] = np.bincount(rng.integers(0, n_units, n_units), minlength=n_units)
            seeds[row] = np.bincount(rng.integers(0, n_seeds, n_seeds), minlength=n_seeds)
        found.append(statistic(units, seeds))
        if progress is not None:
            progress("redrawing items and seeds", stop, draws)
    return np.concatenate(found)


def mean_over_seeds(numbers: Floats, seeds: Floats) -> Floats:
    """Average draws over seeds; where a seed has nothing to count (NaN), over the others.

    Parameters
    ----------
    numbers
        Shape (b, …, seeds, m).
    seeds
        How often each seed is drawn, shape (b, seeds).

    Returns
    -------
    Shape (b, …, m); NaN where no drawn seed has anything to count.

    Examples
    --------
    >>> numbers = np.array([[[1.0, np.nan], [3.0, np.nan]]])
    >>> mean_over_seeds(numbers, np.array([[1.0, 1.0]])).tolist()
    [[2.0, nan]]
    """
    axes = [1] * (numbers.ndim - 3)
    drawn = seeds.reshape(len(seeds), *axes, seeds.shape[1], 1)
    weight = drawn * ~np.isnan(numbers)
    total = weight.sum(axis=-2)
    mean: Floats = np.divide(
        (np.nan_to_num(numbers) * weight).sum(axis=-2),
        total,
        out=np.full(total.shape, np.nan),
        where=total > 0,
    )
    return mean


def interval(drawn: Floats, level: float) -> Floats:
    """Give both ends of the middle `level` of the draws (the percentile bootstrap).

    Parameters
    ----------
    drawn
        Shape (draws, m). Draws in which there was nothing to count are NaN, and left out.
    level
        In (0, 1).

    Returns
    -------
    Shape (2, m): low, high; NaN where all draws are.

    Examples
    --------
    >>> interval(np.arange(101.0)[:, None], 0.9).ravel().tolist()
    [5.0, 95.0]
    """
    ends = np.full((2, drawn.shape[1]), np.nan)
    known = ~np.isnan(drawn).all(axis=0)
    wanted = ((1 - level) / 2, (1 + level) / 2)
    ends[:, known] = np.nanquantile(drawn[:, known], wanted, axis=0, method="inverted_cdf")
    return ends


def split_gain(cells: Floats) -> Floats:
    """Split what corrections bought into what they did to the test and to the training labels.

    Parameters
    ----------
    cells
        A number for each version of the training labels (first of the last two axes: original,
        corrected) and of the test labels (last), shape (…, 2, 2).

    Returns
    -------
    Shape (…, 5), as `EFFECTS` names them: the gain, corrected on corrected less original on
    original; `test_labels`, what the model trained on original labels gains by the better
    yardstick; `training_labels`, what better training gains by the original yardstick;
    `interaction`, what is left, so that gain = test_labels + training_labels + interaction; and
    `training_labels_corrected` = training_labels + interaction, what better training gains by the
    corrected yardstick.

    Examples
    --------
    >>> split_gain(np.array([[0.70, 0.88], [0.71, 0.91]])).round(2).tolist()
    [0.21, 0.18, 0.01, 0.02, 0.03]
    """
    before, yardstick = cells[..., 0, 0], cells[..., 0, 1]
    training, after = cells[..., 1, 0], cells[..., 1, 1]
    parts = [
        after - before,
        yardstick - before,
        training - before,
        after - training - yardstick + before,
        after - yardstick,
    ]
    return np.stack(parts, axis=-1)


def mcnemar(only_first: Any, only_second: Any) -> tuple[Floats, Floats]:
    """Test whether two classifiers are right equally often on the same items.

    McNemar's test, from how many items only the one, and only the other, gets right: the exact
    conditional test, and its mid-p version, which is less cautious and still holds its level
    (Fagerland, Lydersen and Laake 2013).

    Parameters
    ----------
    only_first, only_second
        Counts, scalars or arrays of one shape.

    Returns
    -------
    Two-sided p-values, exact and mid-p, each of that shape; 1 where the two never differ.

    Examples
    --------
    >>> exact, mid = mcnemar(1, 7)
    >>> float(exact.round(4)), float(mid.round(4))
    (0.0703, 0.0391)
    """
    from scipy.stats import binom

    first, second = np.asarray(only_first), np.asarray(only_second)
    fewer, both = np.minimum(first, second), first + second
    exact = np.minimum(2 * binom.cdf(fewer, both, 0.5), 1)
    here = binom.pmf(fewer, both, 0.5)
    mid = np.where(first == second, 1 - here / 2, exact - here)
    return exact, np.where(both == 0, 1.0, mid)


def sd_interval(variance: float, freedom: float, level: float) -> tuple[float, float]:
    """Give the interval of a standard deviation, of values that are about normal.

    Parameters
    ----------
    variance
        As estimated.
    freedom
        Its degrees of freedom: of n values n - 1.
    level
        Of the interval.

    Examples
    --------
    >>> [round(end, 2) for end in sd_interval(1.0, 4, 0.95)]
    [0.6, 2.87]
    """
    from scipy.stats import chi2

    ends = chi2.ppf([(1 + level) / 2, (1 - level) / 2], freedom)
    low, high = np.sqrt(variance * freedom / ends)
    return float(low), float(high)


def share_of_variance(without: Floats, total: Floats, level: float) -> tuple[float, float, float]:
    """Say how much of the variance of values comes of what was held fast in others.

    Parameters
    ----------
    without
        Values with it held fast, shape (n,).
    total
        Values with it let go, shape (m,).
    level
        Of the interval, which is that of a ratio of two variances (F), values about normal.

    Returns
    -------
    Share, low and high, in [0, 1]. 0 where the values do not vary at all; 1, with NaN for ends,
    where they do not vary with it held fast: then nothing is estimated.

    One value may be in both, as the first seed's training on the first split is in `measure_gain`:
    of five, the interval at .95 covered .950 to .959 in simulations where the share is above 0, as
    against .949 to .951 where none is shared, so it errs on the wide side.

    Examples
    --------
    >>> values = np.arange(100.0)
    >>> [round(one, 2) for one in share_of_variance(values, 2 * values, 0.95)]
    [0.75, 0.63, 0.83]
    """
    from scipy.stats import f

    if np.ptp(total) == 0:
        return 0.0, 0.0, 0.0
    if np.ptp(without) == 0:
        return 1.0, float("nan"), float("nan")
    ratio = without.var(ddof=1) / total.var(ddof=1)
    ends = f.ppf([(1 + level) / 2, (1 - level) / 2], len(without) - 1, len(total) - 1)
    # the ratio of estimates is the ratio of variances times an F
    share, high, low = (float(min(max(1 - x, 0), 1)) for x in (ratio, *(ratio / ends)))
    return share, low, high


def share_of_pairs(first: Floats, second: Floats, level: float) -> tuple[float, float, float]:
    """Say how much of the variance of a difference is gone where its two ends come in pairs.

    With the ends apart the difference varies by the sum of their variances, in pairs by less: the
    share between is the intraclass correlation (Shrout and Fleiss 1979, ICC(3,1)), with its exact
    interval for values that are about normal.

    Parameters
    ----------
    first, second
        The ends in pairs, each of shape (n,).
    level
        Of the interval.

    Returns
    -------
    Share, low and high, in [0, 1]. 0 where the values do not vary at all; 1, with NaN for ends,
    where the difference does not.

    Examples
    --------
    >>> common = np.arange(50.0)
    >>> found = share_of_pairs(common + np.cos(common), common + np.sin(common), 0.95)
    >>> [round(one, 3) for one in found]
    [0.998, 0.996, 0.999]
    """
    from scipy.stats import f

    between = (first + second).var(ddof=1)
    within = (first - second).var(ddof=1)
    if np.ptp(first + second) == 0 and np.ptp(first - second) == 0:
        return 0.0, 0.0, 0.0
    if np.ptp(first - second) == 0:
        return 1.0, float("nan"), float("nan")
    ratio, reach = between / within, f.ppf((1 + level) / 2, len(first) - 1, len(first) - 1)
    share, low, high = (
        float(max((x - 1) / (x + 1), 0)) for x in (ratio, ratio / reach, ratio * reach)
    )
    return share, low, high
