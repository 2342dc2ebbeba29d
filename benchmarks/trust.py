"""Fit the error probability, and see how far it can be trusted on other sets, for `power.py`."""

from __future__ import annotations

import warnings
from collections import Counter
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from labelfix.score.calibration import ErrorProbability, Signs, hand_out, recalibrate, sigmoid
from labelfix.score.combine import HeadToHead, combine, rivals

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from evidence import Case
    from numpy.typing import NDArray


AUDITS = 50


@dataclass(frozen=True, eq=False)
class Judged:
    """A case, and what `ErrorProbability` goes by in it."""

    case: Case
    signs: Signs
    quality: NDArray[np.float64]

    @classmethod
    def of(cls, case: Case) -> Judged:
        """Combine the evidence as labelfix does."""
        pooled = combine(case.labels, case.evidence()).pred_probs
        endless = replace(ErrorProbability(), least_sure=-np.inf)
        signs = endless.signs(rivals(case.labels, pooled))
        return cls(case, signs, HeadToHead().score(case.labels, pooled))

    def design(self) -> NDArray[np.float64]:
        """Columns of the line, shape (n, 5)."""
        z, b, a = self.signs
        one = np.ones(len(z))
        return np.column_stack([one, z, b * one, a * one, a * z])

    def p_error(self, found: ErrorProbability) -> NDArray[np.float64]:
        """Give the error probability of each label."""
        signs = self.signs._replace(sure=max(self.signs.sure, found.least_sure))
        return hand_out(found.of_signs(signs), self.quality)


def fit(cases: Sequence[Judged]) -> ErrorProbability:
    """Find the coefficients that make the truth likeliest: families count alike, cases in them too.

    A penalty of 1e-4 / 2 times their squares settles what the data leave open.
    """
    from scipy.optimize import minimize

    families = Counter(one.case.family for one in cases)
    weights = [1 / families[one.case.family] / len(one.case.labels) for one in cases]
    sums = [
        (one.design(), one.case.wrong.astype(np.float64), weight)
        for one, weight in zip(cases, weights, strict=True)
    ]

    def loss(line: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        value, slope = 1e-4 / 2 * float(line @ line), 1e-4 * line
        for design, wrong, weight in sums:
            odds = design @ line
            value += weight * float((np.logaddexp(0, odds) - wrong * odds).sum())
            slope = slope + weight * (design.T @ (sigmoid(odds) - wrong))
        return value, slope

    line = minimize(loss, np.zeros(5), jac=True, method="L-BFGS-B").x
    least = min(one.signs.sure for one in cases)
    return ErrorProbability(
        *(round(float(one), 3) for one in (*line, np.ceil(1000 * least) / 1000))
    )


def left_out(cases: Sequence[Judged]) -> Iterator[tuple[Judged, NDArray[np.float64]]]:
    """Give the error probability of each case by a fit that saw nothing of its family."""
    for family in dict.fromkeys(one.case.family for one in cases):
        found = fit([one for one in cases if one.case.family != family])
        for one in cases:
            if one.case.family == family:
                yield one, one.p_error(found)


def trust(p_error: NDArray[np.float64], wrong: NDArray[np.bool_]) -> tuple[float, ...]:
    """Errors expected; expected calibration error in ten bins; and what is said to be likely.

    The last four: of items given .8 or more their number and share of errors, then of those given
    .5 to .8.
    """
    bins = np.minimum((10 * p_error).astype(int), 9)
    gaps = np.bincount(bins, p_error - wrong, minlength=10)
    figures = [float(p_error.sum()), float(np.abs(gaps).sum() / len(wrong))]
    for low, high in ((0.8, 1.01), (0.5, 0.8)):
        rows = (p_error >= low) & (p_error < high)
        figures += [float(rows.sum()), float(wrong[rows].mean()) if rows.any() else np.nan]
    return tuple(figures)


def trust_table(results: Sequence[tuple[Judged, NDArray[np.float64]]], audit: int = 0) -> str:
    """Say of each case how far to trust what is said, after so many audited decisions."""
    lines = [
        "| case | errors | expected | calibration error | given .8 or more | of which wrong "
        "| given .5 to .8 | of which wrong |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for one, p_error in results:
        wrong, p = one.case.wrong, p_error
        figures = np.array(trust(p, wrong))
        if audit:
            with warnings.catch_warnings():  # no slice may have led to labels given so much
                warnings.simplefilter("ignore", RuntimeWarning)
                slices = range(AUDITS)
                figures = np.nanmean(
                    [trust(audited(p, wrong, audit, seed), wrong) for seed in slices], axis=0
                )
        expected, gap, many, share, some, part = figures
        cells = [f"{expected:,.0f}", f"{gap:.3f}", f"{many:,.0f}", _share(share)]
        cells += [f"{some:,.0f}", _share(part)]
        lines.append(f"| {one.case.name} | {wrong.sum():,} | {' | '.join(cells)} |")
    return "\n".join(lines)


def audited(
    p_error: NDArray[np.float64], wrong: NDArray[np.bool_], many: int, seed: int
) -> NDArray[np.float64]:
    """Correct by a random sample of labels whose truth is looked up."""
    rows = np.random.default_rng(seed).permutation(len(wrong))[:many]
    return recalibrate(p_error, rows, wrong[rows])


def _share(value: float) -> str:
    return "" if np.isnan(value) else f"{value:.2f}"


def reliability(results: Sequence[tuple[Judged, NDArray[np.float64]]]) -> pl.DataFrame:
    """Average, over the cases of each family in six bins, what was said and what was so.

    Cases with fewer than ten labels in a bin are left out of it.
    """
    edges = (0.05, 0.2, 0.4, 0.6, 0.8)
    rows = []
    for one, p_error in results:
        bins = np.digitize(p_error, edges)
        for k in range(len(edges) + 1):
            rows_in = bins == k
            if rows_in.sum() >= 10:
                said, true = p_error[rows_in].mean(), one.case.wrong[rows_in].mean()
                rows.append((one.case.family, k, float(said), float(true)))
    table = pl.DataFrame(rows, ["set", "bin", "said", "true"], orient="row")
    mean = table.group_by("set", "bin", maintain_order=True).agg(pl.col("said", "true").mean())
    order = {name: k for k, name in enumerate(dict.fromkeys(table["set"]))}
    return mean.sort(pl.col("set").replace_strict(order), "bin")


def family_table(results: Sequence[tuple[Judged, NDArray[np.float64]]]) -> str:
    """Say of each family how far to trust what is said, on average over all its cases."""
    lines = [
        "| set | cases | calibration error | worst | expected / errors, half of the cases within |",
        "|---|---|---|---|---|",
    ]
    for family in dict.fromkeys(one.case.family for one, _ in results):
        own = [(one.case.wrong, p) for one, p in results if one.case.family == family]
        gaps = [trust(p, wrong)[1] for wrong, p in own]
        low, high = np.quantile([p.sum() / wrong.sum() for wrong, p in own], [0.25, 0.75])
        lines.append(
            f"| {family} | {len(own)} | {np.mean(gaps):.3f} | {max(gaps):.3f} "
            f"| {low:.2f} to {high:.2f} |"
        )
    return "\n".join(lines)


def coefficients(found: ErrorProbability, families: Sequence[str]) -> str:
    """Write the module that keeps the coefficients."""
    names = [one.name for one in fields(ErrorProbability)][:6]
    values = "\n".join(f'    "{name}": {getattr(found, name)},' for name in names)
    return (
        '"""Coefficients of `ErrorProbability`, written by `benchmarks/power.py --fit`."""\n\n'
        f"COEFFICIENTS = {{\n{values}\n}}\n\n"
        f"FITTED_ON = ({', '.join(repr(one) for one in families)})\n"
        '"""Sets with known errors, which count alike."""\n'.replace("'", '"')
    )
