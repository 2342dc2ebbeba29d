"""How well errors are found, beside peers on the same items, and how far to trust what is said.

    LABELFIX_DATA=../shared/data python benchmarks/power.py --write

reads CIFAR-10N with the stored probabilities of five networks, the CIFAR-10 and MNIST test sets
with theirs, scikit-learn's digits, and `roman-numeral/dev`. What takes long (networks trained,
images embedded) is kept under `--cache` and made if it is not there. Prints the tables, and with
`--write` puts them into docs/benchmarks/finding-power.md. `--fit` fits the error probability anew
instead. Needs `labelfix[vision,cleanlab]`.

Hand-drawn numerals (`roman-numeral`) are only reported on: nothing is fitted or chosen on them.
"""

from __future__ import annotations

import argparse
import io
import tempfile
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from evidence import (
    CIFAR_IMAGES,
    NEVER_FITTED,
    NUMERAL_SEEDS,
    RATE,
    ROOT,
    SEED,
    Case,
    fitted_on,
    reported,
)
from trust import (
    AUDITS,
    Judged,
    coefficients,
    family_table,
    fit,
    left_out,
    reliability,
    trust_table,
)

from labelfix.report.plots import reliability_chart
from labelfix.score.calibration import ErrorProbability
from labelfix.score.combine import HeadToHead, combine

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray

    Rank = Callable[[Case], NDArray[Any] | None]

PAGE = ROOT / "docs" / "benchmarks" / "finding-power.md"
CHART = PAGE.with_suffix(".svg")
COEFFICIENTS = ROOT / "labelfix" / "score" / "calibration_fit.py"
CHOICES = [
    HeadToHead(confusions=power, all_others=share)
    for power in (0.0, 0.1, 0.25, 0.5, 1.0)
    for share in (0.0, 0.25, 0.5, 0.75, 1.0)
]
"""What the default was chosen among."""
DEFAULT, CHOSEN = "**labelfix, default**", "labelfix, chosen on other families"
BUDGETS = (0.01, 0.02, 0.05, 0.1, 0.2)
DRAWS = 200


def main() -> None:
    """Print, or write, the tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    usual = Path(tempfile.gettempdir()) / "labelfix-benchmarks"
    parser.add_argument("--cache", type=Path, default=usual, help="folder of what takes long")
    parser.add_argument("--write", action="store_true", help=f"write {PAGE.relative_to(ROOT)}")
    parser.add_argument(
        "--fit", action="store_true", help="fit the error probability anew, and keep it"
    )
    options = parser.parse_args()
    options.cache.mkdir(parents=True, exist_ok=True)
    warnings.filterwarnings("ignore", module="sklearn")
    cases = list(reported(options.cache))
    known = list(fitted_on(options.cache, cases))
    judged = [Judged.of(case) for case in known]
    if options.fit:
        families = list(dict.fromkeys(one.case.family for one in judged))
        COEFFICIENTS.write_text(coefficients(fit(judged), families))
        return
    held_out = list(left_out(judged))
    for case in cases:
        if case.family == NEVER_FITTED:
            one = Judged.of(case)
            held_out.append((one, one.p_error(ErrorProbability())))
    ranks = {**RANKINGS, CHOSEN: chosen_on_others(known)}
    shown = {id(case) for case in cases}
    results = [(one, p_error) for one, p_error in held_out if id(one.case) in shown]
    tables = {
        "trust": trust_table(results),
        "audit": trust_table(results, audit=100),
        "families": family_table(held_out),
        "summary": summary(cases, ranks),
        "leads": leads(cases, ranks),
        "peers": "\n\n".join(peers(case, ranks) for case in cases),
    }
    for name, table in tables.items():
        print(f"\n{name}\n\n{table}")
    if options.write:
        CHART.write_bytes(reliability_chart(reliability(held_out)))
        PAGE.write_text(page(tables))


# The rankings


def default(case: Case) -> NDArray[Any]:
    """Rank as labelfix does by default."""
    return 1 - HeadToHead().score(case.labels, combine(case.labels, case.evidence()).pred_probs)


def chosen_on_others(known: Sequence[Case]) -> Callable[[Case], NDArray[Any]]:
    """Make a function that ranks by the choice that is best on all families but the case's own.

    Best: in the mean over families of the mean over their cases of the average precision over that
    of the best choice for the case.
    """
    families = sorted({case.family for case in known})
    shares = np.array([_of_best(case) for case in known])
    own = np.array([case.family for case in known])
    means = {family: shares[own == family].mean(axis=0) for family in families}

    def rank(case: Case) -> NDArray[Any]:
        others = [mean for family, mean in means.items() if family != case.family]
        best = CHOICES[int(np.mean(others, axis=0).argmax())]
        return 1 - best.score(case.labels, combine(case.labels, case.evidence()).pred_probs)

    return rank


def _of_best(case: Case) -> NDArray[np.float64]:
    """Average precision of each choice, over that of the best."""
    pooled = combine(case.labels, case.evidence()).pred_probs
    once = np.ones((1, len(case.labels)), dtype=np.float32)
    found = np.array(
        [
            Ranking.of(case.wrong, 1 - one.score(case.labels, pooled), once).average_precision()[0]
            for one in CHOICES
        ]
    )
    shares: NDArray[np.float64] = found / found.max()
    return shares


def by_probability(case: Case) -> NDArray[Any]:
    """Rank by the error probability; its coefficients have no part in the order."""
    return 1 - ErrorProbability().score(
        case.labels, combine(case.labels, case.evidence()).pred_probs
    )


def cleanlab(method: str) -> Callable[[Case], NDArray[Any]]:
    """Make a function of a score of cleanlab; of several models, by its own way to combine them."""

    def score(case: Case) -> NDArray[Any]:
        from cleanlab.rank import get_label_quality_ensemble_scores, get_label_quality_scores

        matrices = list(case.models.values())
        if len(matrices) == 1:
            return 1 - np.asarray(get_label_quality_scores(case.labels, matrices[0], method=method))
        found = get_label_quality_ensemble_scores(
            case.labels, matrices, method=method, verbose=False
        )
        return 1 - np.asarray(found)

    return score


def contradicted(case: Case) -> NDArray[Any]:
    """Say whether the mean of the models has another class in front."""
    mean = np.mean(list(case.models.values()), axis=0)
    found: NDArray[Any] = (mean.argmax(axis=1) != case.labels).astype(np.float64)
    return found


def margin(case: Case) -> NDArray[Any] | None:
    """Mean margin of logits in training, over epochs: AUM."""
    return None if case.margin is None else -case.margin


def in_sample(case: Case) -> NDArray[Any] | None:
    """Mean probability of the given label in training, over epochs."""
    if not case.seen:
        return None
    mean = np.mean(list(case.seen.values()), axis=0)
    found: NDArray[Any] = 1 - mean[np.arange(len(case.labels)), case.labels]
    return found


def vote(case: Case) -> NDArray[Any] | None:
    """Share of the ten nearest neighbours that are labelled otherwise."""
    if case.neighbors is None:
        return None
    found: NDArray[Any] = (case.labels[case.neighbors.rows] != case.labels[:, None]).mean(axis=1)
    return found


RANKINGS: Mapping[str, Rank] = {
    DEFAULT: default,
    "labelfix, error probability": by_probability,
    "cleanlab, self-confidence": cleanlab("self_confidence"),
    "cleanlab, normalized margin": cleanlab("normalized_margin"),
    "cleanlab, confidence-weighted entropy": cleanlab("confidence_weighted_entropy"),
    "AUM: margin in training": margin,
    "probability in training": in_sample,
    "kNN vote": vote,
    "argmax ≠ label": contradicted,
}


# The figures


@dataclass(frozen=True, eq=False)
class Ranking:
    """Items in groups of equal suspicion, the most suspicious first, drawn again and again.

    Row 0 are the items themselves, the others bootstrap draws; ties count as if broken at random.
    """

    found: NDArray[np.float64]
    """Errors down to the end of each group, shape (draws + 1, groups)."""
    looked: NDArray[np.float64]
    """Items, as above."""

    @classmethod
    def of(
        cls, wrong: NDArray[np.bool_], suspicion: NDArray[Any], weights: NDArray[Any]
    ) -> Ranking:
        """Sort; `weights` says how often each item was drawn, shape (draws + 1, n)."""
        order = np.argsort(-suspicion, kind="stable")
        starts = np.flatnonzero(np.diff(suspicion[order], prepend=np.inf))
        items = np.add.reduceat(weights[:, order], starts, axis=1)
        errors = np.add.reduceat((weights * wrong)[:, order], starts, axis=1)
        return cls(errors.cumsum(axis=1), items.cumsum(axis=1))

    def average_precision(self) -> NDArray[np.float64]:
        """Mean precision over the errors, as scikit-learn has it."""
        steps = np.diff(self.found, axis=1, prepend=0)
        precision = np.divide(
            self.found, self.looked, out=np.zeros_like(self.found), where=self.looked > 0
        )
        figure: NDArray[np.float64] = (steps * precision).sum(axis=1) / self.found[:, -1]
        return figure

    def auroc(self) -> NDArray[np.float64]:
        """Chance that an error is ranked before a right label."""
        rights = self.looked - self.found
        width = np.diff(rights, axis=1, prepend=0)
        height = self.found - np.diff(self.found, axis=1, prepend=0) / 2
        figure: NDArray[np.float64] = (width * height).sum(axis=1)
        return figure / (rights[:, -1] * self.found[:, -1])

    def recall(self, share: float) -> NDArray[np.float64]:
        """Share of the errors within this share of the items."""
        return self._found_within(share * self.looked[:, -1])

    def precision(self) -> NDArray[np.float64]:
        """Share of errors among as many items as there are errors."""
        return self._found_within(self.found[:, -1])

    def _found_within(self, tops: NDArray[np.float64]) -> NDArray[np.float64]:
        """Share of the errors among so many items, on a line through the ends of the groups."""
        shares = []
        for top, looked, found in zip(tops, self.looked, self.found, strict=True):
            end = int(np.searchsorted(looked, top))
            near = slice(max(0, end - 1), end + 1)
            start = [0.0] if end == 0 else []
            within = np.interp(top, [*start, *looked[near]], [*start, *found[near]])
            shares.append(within / found[-1])
        return np.array(shares)


def draws(n: int) -> NDArray[np.float64]:
    """How often each item is drawn: once each, then bootstrap draws."""
    random = np.random.default_rng(SEED)
    drawn = [np.bincount(random.integers(n, size=n), minlength=n) for _ in range(DRAWS)]
    return np.stack([np.ones(n), *drawn]).astype(np.float32)


def peers(case: Case, ranks: Mapping[str, Rank] = RANKINGS) -> str:
    """Make the table of one case."""
    budgets = " | ".join(f"{budget:.0%}" for budget in BUDGETS)
    out = io.StringIO()
    print(f"### {case.name}\n", file=out)
    print(f"{len(case.labels):,} items, {case.wrong.sum():,} errors; ", end="", file=out)
    print(f"models: {', '.join(case.models)}.\n", file=out)
    print(
        f"| ranked by | AUROC | AP | precision at the errors' number | recall at {budgets} |\n"
        f"|---|---|---|---|{'---|' * len(BUDGETS)}",
        file=out,
    )
    weights = draws(len(case.labels))
    for name, rank in ranks.items():
        suspicion = rank(case)
        if suspicion is not None:
            ranking = Ranking.of(case.wrong, np.asarray(suspicion, np.float64), weights)
            figures = [ranking.auroc(), ranking.average_precision(), ranking.precision()]
            figures += [ranking.recall(budget) for budget in BUDGETS]
            cells = [cell(values) for values in figures]
            print(f"| {name} | {' | '.join(cells)} |", file=out)
    return out.getvalue().rstrip()


def summary(cases: Sequence[Case], ranks: Mapping[str, Rank] = RANKINGS) -> str:
    """Average precision of every ranking on every case, the best of a row in bold."""
    lines = [
        f"| case | {' | '.join(name.strip('*') for name in ranks)} |",
        f"|---|{'---|' * len(ranks)}",
    ]
    for case in cases:
        once = np.ones((1, len(case.labels)), dtype=np.float32)
        figures = [
            None
            if said is None
            else f"{Ranking.of(case.wrong, said, once).average_precision()[0]:.3f}"
            for said in (rank(case) for rank in ranks.values())
        ]
        best = max(figure for figure in figures if figure is not None)
        cells = ["" if f is None else f"**{f}**" if f == best else f for f in figures]
        lines.append(f"| {case.name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def leads(cases: Sequence[Case], ranks: Mapping[str, Rank] = RANKINGS) -> str:
    """By how much average precision labelfix is ahead of the best other, over the same draws."""
    ours = [name for name in (DEFAULT, CHOSEN) if name in ranks]
    lines = [
        f"| case | the best other | {' | '.join(name.strip('*') for name in ours)} |",
        f"|---|---|{'---|' * len(ours)}",
    ]
    for case in cases:
        weights = draws(len(case.labels))
        found = {
            name: Ranking.of(case.wrong, np.asarray(said, np.float64), weights).average_precision()
            for name, rank in ranks.items()
            if (said := rank(case)) is not None
        }
        others = [name for name in found if "labelfix" not in name]
        best = max(others, key=lambda name: found[name][0])
        cells = [cell(found[name] - found[best], "+.3f") for name in ours]
        lines.append(f"| {case.name} | {best} | {' | '.join(cells)} |")
    return "\n".join(lines)


def cell(values: NDArray[np.float64], form: str = ".3f") -> str:
    """Write a figure with the middle 95 % of its draws."""
    low, high = np.quantile(values[1:], [0.025, 0.975])
    return f"{values[0]:{form}} ({low:{form}} to {high:{form}})"


def page(tables: Mapping[str, str]) -> str:
    """Wrap the tables in words."""
    return f"""# Finding power, and how far to trust what is said

<!-- written by benchmarks/power.py: run it again rather than edit this -->

What labelfix finds, beside others on the same items; and how far its error probability can be
trusted on sets that it was not fitted on.

## The sets

- **CIFAR-10N** (noisylabels.com, the majority of three annotators): 50,000 images with the stored
  out-of-fold probabilities of five networks (github.com/cleanlab/label-error-detection-benchmarks);
  and a random part of {CIFAR_IMAGES:,} images, on which a head of one hidden layer was trained on
  the frozen features of an EfficientNet-Lite0, five folds, watched by `labelfix.training.Tracker`.
  A small network trained on all 50,000 is a [page of its own](cifar-training.md).
- **CIFAR-10 test** by the majority of some fifty people an image (CIFAR-10H), and **MNIST test** by
  a list of 74 doubtful images, both with stored probabilities of github.com/cleanlab/label-errors,
  and with a frozen network's or a head's on the pixels. Once more with a watched head on frozen
  features of CIFAR-10's images, for the peers' sake: this case took no part in any fit.
- **Digits** of scikit-learn with {RATE:.0%} of the labels changed by `labelfix.inject`: to any
  class, to the next class, or item by item, hard ones to look-alikes (what is hard is judged by a
  forest that takes no part later).
- **Numerals**: `roman-numeral` (half of it) of label-error-detection-benchmarks, from the images
  alone. **Only reported on: nothing was fitted or chosen on it.** Seeds {_listed(NUMERAL_SEEDS)}.

How much all other classes count beside the likeliest one (`all_others`), and how much it counts how
often classes are confused (`confusions`), was chosen on the sets but for the numerals, at a time
when older figures of the numerals were known. So on the other sets the default has an advantage.
The row *chosen on other families* has not that one: for each set it takes, of {len(CHOICES)}
choices, the one that is best on the sets of other images. That is the figure to hold against the
others. What was chosen besides stays: the slack, and how several models and neighbours are pooled.

Everything else uses seed {SEED}. Intervals are the middle 95 % of {DRAWS} bootstrap draws over the
items, the same draws for each ranking. Ties count as if broken at random.

## The others

- cleanlab 2.9's three scores; of several models, `get_label_quality_ensemble_scores`.
- AUM, the mean margin of logits in training (Pleiss et al. 2020), over all epochs and over the
  folds that learned from the item, and the mean probability of the given label in training. arXiv
  2510.16211 finds such in-sample averages ahead in most scenarios; its library, `mislabeled` of
  Orange (MIT), is in no package index, so both are our own, from their definitions, and not that
  library's.
- kNN vote: the share of the ten nearest neighbours that are labelled otherwise.
- argmax ≠ label: the mean of the models has another class in front.

A row is left out where its evidence is missing. labelfix uses all that there is.

## Average precision

{tables["summary"]}

How far labelfix is ahead of the other that is best on the case, which nobody could have known; in
brackets of the paired draws. An interval with zero in it does not tell who is ahead.

{tables["leads"]}

## The error probability

What `error_probability` says, of sets that the fit did not see: to judge one family (all sets of
the same images), the coefficients are fitted on the other families. The numerals are judged by the
coefficients that ship, which never saw them. Calibration error: the mean distance of said and true
shares in ten bins of equal width, weighted by their items.

{tables["trust"]}

After 100 labels of a random slice were reviewed, as `labelfix status` corrects it; mean over
{AUDITS} slices:

{tables["audit"]}

Over all cases of each family, each model by itself, and planted errors at 1, 2, 5 and 20 % that
weak and strong models judge:

{tables["families"]}

![Share of wrong labels over what is said, of families that the fit did not see]({CHART.name})

Where people erred, on hard items, it says too little; where labels are clean and models err, too
much: probabilities alone cannot tell these apart. A random slice that people look at can.

## All figures

{tables["peers"]}

To repeat: `python benchmarks/power.py --write`; to fit the coefficients anew, `--fit` first.
"""


def _listed(seeds: Sequence[int]) -> str:
    return ", ".join(map(str, seeds))


if __name__ == "__main__":
    main()
