"""Many models under several versions of the labels: accuracies, ranks, and what is noise.

Pure: answers and labels in as arrays, tables out. A version of the labels gives each item any
number of right labels: one as data sets have it, several where several objects are to be seen, none
where no class fits, and then the item is left out, as the reassessed labels of ImageNet ("ReaL",
Beyer et al. 2020) are scored.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import polars as pl

from labelfix.errors import InputError, Problem, name_rows
from labelfix.evaluate.statistics import redraw
from labelfix.schema import CLASS_KINDS

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from numpy.typing import NDArray

    from labelfix.progress import Progress

__all__ = [
    "DROPS",
    "Comparison",
    "Drop",
    "LabelSets",
    "Renaming",
    "compare_models",
    "error_kinds",
    "in_another_order",
]

Drop = Literal["mislabeled", "multi_label", "none_of_the_classes", "all"]
DROPS: tuple[Drop, ...] = (*CLASS_KINDS, "all")
RIGHT, ALL = "right", "all"

_COLUMNS = 256  # to a matrix product: 51 MB at 50,000 items


@dataclass(frozen=True, eq=False)
class LabelSets:
    """The right labels of n items: none, one or several each.

    Parameters
    ----------
    item
        Row of each pair of an item and one right label, shape (p,), rising.
    label
        That label as a class number, shape (p,).
    n
        Number of items.

    Examples
    --------
    >>> LabelSets.of([[3], [], [1, 2]]).sizes
    array([1, 0, 2])
    """

    item: NDArray[np.int64]
    label: NDArray[np.int64]
    n: int

    @classmethod
    def of(cls, labels: Iterable[Iterable[int]] | NDArray[np.integer]) -> LabelSets:
        """Take one class number an item (below 0: none), or any number of them an item."""
        if isinstance(labels, np.ndarray):
            rows = np.flatnonzero(labels >= 0)
            return cls(rows, labels[rows].astype(np.int64), len(labels))
        sets = [list(one) for one in labels]
        item = np.repeat(np.arange(len(sets)), [len(one) for one in sets])
        return cls(item, np.array([x for one in sets for x in one], np.int64), len(sets))

    @cached_property
    def sizes(self) -> NDArray[np.int64]:
        """Number of right labels of each item, shape (n,)."""
        return np.bincount(self.item, minlength=self.n)

    @cached_property
    def single(self) -> NDArray[np.int64]:
        """The one right label of each item, shape (n,); -1 where there is none, or several."""
        one = np.full(self.n, -1, np.int64)
        one[self.item] = self.label
        return np.where(self.sizes == 1, one, -1)

    def hold(self, answers: NDArray[np.integer]) -> NDArray[np.bool_]:
        """Say of each item whether one of its answers, shape (n, k), is right."""
        found = np.zeros(self.n, bool)
        found[self.item[(answers[self.item] == self.label[:, None]).any(axis=1)]] = True
        return found

    def where(self, rows: NDArray[np.bool_], other: LabelSets) -> LabelSets:
        """Take the labels of `rows` from here, all others from `other`."""
        mine, theirs = rows[self.item], ~rows[other.item]
        item = np.concatenate([self.item[mine], other.item[theirs]])
        label = np.concatenate([self.label[mine], other.label[theirs]])
        order = np.argsort(item, kind="stable")
        return LabelSets(item[order], label[order], self.n)


def error_kinds(original: LabelSets, corrected: LabelSets) -> pl.Series:
    """Name what is wrong with each original label, by a corrected version.

    Parameters
    ----------
    original
        One label an item.
    corrected
        One other label: `mislabeled`; several, whether or not the original is one of them:
        `multi_label`; none: `none_of_the_classes`; the same one: null.

    Examples
    --------
    >>> error_kinds(LabelSets.of([[0], [0], [0]]), LabelSets.of([[0], [1], [0, 2]])).to_list()
    [None, 'mislabeled', 'multi_label']
    """
    wrong = (corrected.sizes == 1) & (corrected.single != original.single)
    kind = np.select([wrong, corrected.sizes > 1, corrected.sizes == 0], [0, 1, 2], -1)
    names = dict(enumerate(CLASS_KINDS))
    return pl.Series("kind", kind).replace_strict(names, default=None, return_dtype=pl.String)


@dataclass(frozen=True, eq=False)
class Comparison:
    """What `compare_models` finds. Shares are in [0, 1]; intervals are null without draws.

    Parameters
    ----------
    accuracy
        A row a variant of the labels, `top` (1 or 5) and model, best first: items that count,
        accuracy with interval, rank (1 + models that are better) with interval, rank change against
        the first variant (below 0: it rose) with interval, and whether that interval excludes 0.
    order
        A row a variant and `top`: Kendall's tau-b of its order with the first variant's;
        `tau_redrawn`, the mean tau between the first variant and the same labels on redrawn items,
        which is what noise alone does; models that changed rank, and those that did beyond noise.
    swaps
        Pairs of models whose order differs from the first variant's, the difference of their
        accuracies (left less right) under both, with intervals, and whether both exclude 0.
    gains
        A row a model and kind of error: items, what leaving them out adds to the top-1 accuracy,
        what relabelling the same items adds, and the difference, `left_out_hard`: the part of the
        gain that comes of leaving hard items out. Relabelled is null for items that no class fits.
        For `all`, relabelled is the corrected version, which leaves such items out as well.
    answers
        A row a model and kind: the shares answered with the given label, with a corrected label
        that is not the given one, with another class, and with any right label.
    kinds
        Items of each kind, and in how many of them the given label is among the right ones.
    draws, level, seed
        Of the bootstrap: items are redrawn with replacement, the same for all models and variants.
    """

    accuracy: pl.DataFrame
    order: pl.DataFrame
    swaps: pl.DataFrame
    gains: pl.DataFrame
    answers: pl.DataFrame
    kinds: pl.DataFrame
    draws: int
    level: float
    seed: int

    def tables(self) -> dict[str, pl.DataFrame]:
        """Give all tables by name."""
        names = ("accuracy", "order", "swaps", "gains", "answers", "kinds")
        return {name: getattr(self, name) for name in names}


@dataclass(frozen=True, eq=False)
class _Variant:
    """Labels, and the items that count."""

    name: str
    sets: LabelSets
    kept: NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class _Cell:
    """One variant at top 1 or 5: which answers are right, and in how many draws they are how many.

    `hits` (models, n), `accuracy` (models,), `drawn` (draws, models).
    """

    variant: _Variant
    top: int
    models: NDArray[np.int64]
    hits: NDArray[np.bool_]
    drawn: NDArray[np.float64]

    @property
    def accuracy(self) -> NDArray[np.float64]:
        right: NDArray[np.float64] = self.hits.sum(axis=1) / self.variant.kept.sum()
        return right


def compare_models(
    answers: Mapping[str, NDArray[np.integer]],
    versions: Mapping[str, LabelSets],
    *,
    drop: Sequence[Drop] = ("mislabeled", "all"),
    draws: int = 1000,
    level: float = 0.95,
    seed: int = 0,
    any_class_order: bool = False,
    progress: Progress | None = None,
) -> Comparison:
    """Score many models under several versions of the same labels.

    The variants are: the first version as it is; the same without the items of each kind in `drop`
    (`all`: without all errors); `relabelled`, where the mislabeled items have their right label and
    nothing else changes; and every other version, where any of its labels counts as right and items
    without one are left out. Kinds of errors are the second version's against the first.

    Parameters
    ----------
    answers
        By model, class numbers, best first, shape (n, k) or (n,). With k of 5 or more, top-5 is
        scored as well.
    versions
        At least one. The first has one label an item.
    drop
        Of `DROPS`.
    draws
        Bootstrap draws; 0 for none, which leaves all intervals null.
    level
        Of the percentile intervals, each on its own: of twenty comparisons without a difference one
        is expected outside 95 %.
    seed
        Of the draws.
    any_class_order
        Do not refuse models whose answers fit the labels far better with classes renamed.
    progress
        Called as `progress(what, done, total)`.

    Raises
    ------
    InputError
        All at once: shapes that differ, a first version without exactly one label an item, a
        variant without items, models whose classes are numbered otherwise.

    Examples
    --------
    >>> answers = {"a": np.array([0, 1, 1, 0]), "b": np.array([0, 1, 0, 1])}
    >>> found = compare_models(
    ...     answers,
    ...     {"original": LabelSets.of([[0], [1], [0], [1]]),
    ...      "real": LabelSets.of([[0], [1], [1], [0, 1]])},
    ...     draws=0)
    >>> found.accuracy.select("variant", "model", "accuracy", "rank", "rank_change").rows()[:2]
    [('original', 'b', 1.0, 1, 0), ('original', 'a', 0.5, 2, 0)]
    >>> found.answers.filter(kind="mislabeled").select("model", "given", "corrected").rows()
    [('a', 0.0, 1.0), ('b', 1.0, 0.0)]
    """
    tops = {name: np.asarray(one).reshape(len(one), -1) for name, one in answers.items()}
    _refuse_misfits(tops, versions, drop, draws=draws, level=level)
    original = next(iter(versions.values()))
    if not any_class_order:
        _refuse_other_orders(tops, original)
    corrected = list(versions.values())[1] if len(versions) > 1 else original
    kind = error_kinds(original, corrected)
    shown = _shown(versions, kind, drop)
    hidden = _for_gains(original, corrected, kind)
    cells = _cells(tops, [*shown, *hidden], draws, seed, progress)
    seen = {variant.name for variant in shown}
    ends = (round((1 - level) / 2, 12), round((1 + level) / 2, 12))  # 0.025, not a hair more
    listed = [cell for cell in cells if cell.variant.name in seen]
    names = list(answers)
    top1 = {cell.variant.name: cell for cell in cells if cell.top == 1}
    return Comparison(
        accuracy=_accuracy_table(listed, names, ends),
        order=_order_table(listed, ends),
        swaps=_swap_table(listed, names, ends),
        gains=_gain_table(top1, names, kind, ends),
        answers=_answer_table(tops, original, corrected, kind),
        kinds=_kind_table(original, corrected, kind),
        draws=draws,
        level=level,
        seed=seed,
    )


def _refuse_misfits(
    tops: Mapping[str, NDArray[np.integer]],
    versions: Mapping[str, LabelSets],
    drop: Sequence[str],
    *,
    draws: int,
    level: float,
) -> None:
    problems = []
    if not tops:
        problems.append(Problem("predictions", "no model", "at least one"))
    if not versions:
        raise InputError([*problems, Problem("labels", "no version", "at least one")])
    first, original = next(iter(versions.items()))
    if len(wrong := np.flatnonzero(original.sizes != 1)):
        found = f"no label or several in {name_rows(wrong)}"
        problems.append(Problem(f"labels {first}", found, "one label an item in the first version"))
    for what, sized in (("labels", versions), ("predictions", tops)):
        for name, one in sized.items():
            n = one.n if isinstance(one, LabelSets) else len(one)
            if n != original.n:
                expected = f"{original.n:,}, as labels {first} have"
                problems.append(Problem(f"{what} {name}", f"{n:,} items", expected))
    problems += [
        Problem(f"drop {name}", "no kind of error", "one of " + ", ".join(DROPS))
        for name in drop
        if name not in DROPS
    ]
    if draws < 0:
        problems.append(Problem("draws", str(draws), "0 or more"))
    if not 0 < level < 1:
        problems.append(Problem("level", str(level), "a number between 0 and 1"))
    if problems:
        raise InputError(problems)


def _refuse_other_orders(tops: Mapping[str, NDArray[np.integer]], original: LabelSets) -> None:
    labels = original.single
    classes = 1 + max(labels.max(), *(int(top[:, 0].max()) for top in tops.values()))
    expected = "classes in the order of the labels"
    fix = "reorder its classes, or allow any_class_order (--any-class-order)"
    problems = [
        Problem(f"predictions {name}", str(told), expected, fix)
        for name, top in tops.items()
        if (told := in_another_order(top[:, 0], labels, classes))
    ]
    if problems:
        raise InputError(problems)


@dataclass(frozen=True, eq=False)
class Renaming:
    """What answers would be worth if their numbers stood for other classes.

    Parameters
    ----------
    as_is, renamed
        Share that is right as they are, and with each answer renamed.
    label
        What each answer is renamed to, shape (K,); the answer itself where nobody gave it.
    """

    as_is: float
    renamed: float
    label: NDArray[np.int64]

    def __str__(self) -> str:
        return (
            f"answers that are right {self.as_is:.1%} of the time as they are, and "
            f"{self.renamed:.1%} with the classes renamed"
        )


def in_another_order(
    answers: NDArray[np.integer], labels: NDArray[np.integer], classes: int
) -> Renaming | None:
    """Say so if answers stand for other classes than their numbers say.

    Each answer is renamed to the label that it goes with most often. With ten items a class, no
    honest model gains much by that; one whose classes are permuted gains everything. Once renamed,
    answers must be right twice as often as they are, and wrong half as often as whoever always
    gives the most frequent label: answers that say nothing can be renamed to that one.

    Examples
    --------
    >>> labels = np.arange(40) % 2
    >>> print(in_another_order(1 - labels, labels, 2))
    answers that are right 0.0% of the time as they are, and 100.0% with the classes renamed
    """
    if len(labels) < 10 * classes:
        return None
    answer = answers.astype(np.int64).clip(0)
    pairs, times = np.unique(answer * classes + labels, return_counts=True)
    order = np.argsort(-times, kind="stable")
    said, first = np.unique(pairs[order] // classes, return_index=True)
    most = order[first]
    as_is, renamed = float((answer == labels).mean()), float(times[most].sum() / len(labels))
    least = (1 + np.bincount(labels).max() / len(labels)) / 2
    if renamed < least or renamed < 2 * as_is:
        return None
    label = np.arange(classes)
    label[said] = pairs[most] % classes
    return Renaming(as_is, renamed, label)


def _shown(
    versions: Mapping[str, LabelSets], kind: pl.Series, drop: Sequence[Drop]
) -> list[_Variant]:
    (first, original), *others = versions.items()
    whole = np.ones(original.n, bool)
    if not others:
        return [_Variant(first, original, whole)]
    mislabeled = _rows(kind, "mislabeled")
    variants = [
        _Variant(first, original, whole),
        *(_Variant(f"without {_called(name)}", original, ~_rows(kind, name)) for name in drop),
        _Variant("relabelled", others[0][1].where(mislabeled, original), whole),
        *(_Variant(name, sets, sets.sizes > 0) for name, sets in others),
    ]
    names = [one.name for one in variants]
    problems = [
        Problem(f"labels, variant {one.name}", "no item that counts", "at least one")
        for one in variants
        if not one.kept.any()
    ] + [
        Problem(f"labels {name}", "a name that stands for two variants", "another name")
        for name in sorted({name for name in names if names.count(name) > 1})
    ]
    if problems:
        raise InputError(problems)
    return variants


def _for_gains(original: LabelSets, corrected: LabelSets, kind: pl.Series) -> list[_Variant]:
    """Make what leaving out and relabelling each kind takes, under names that no version has."""
    whole = np.ones(original.n, bool)
    out = [_Variant(f"\0out {name}", original, ~_rows(kind, name)) for name in DROPS]
    new = [
        _Variant(f"\0new {name}", corrected.where(_rows(kind, name), original), whole)
        for name in CLASS_KINDS[:2]
    ]
    last = _Variant(f"\0new {ALL}", corrected, corrected.sizes > 0)
    base = _Variant("\0base", original, whole)
    return [one for one in (base, *out, *new, last) if one.kept.any()]


def _rows(kind: pl.Series, name: str) -> NDArray[np.bool_]:
    if name == RIGHT:
        return kind.is_null().to_numpy()
    found = kind.is_not_null() if name == ALL else (kind == name).fill_null(value=False)
    return found.to_numpy()


def _called(drop: str) -> str:
    return "errors" if drop == ALL else drop


def _cells(
    tops: Mapping[str, NDArray[np.integer]],
    variants: Sequence[_Variant],
    draws: int,
    seed: int,
    progress: Progress | None,
) -> list[_Cell]:
    listed = list(tops.values())
    five = np.array([i for i, top in enumerate(listed) if top.shape[1] >= 5], np.int64)
    plan = [
        (variant, top, models)
        for variant in variants
        for top, models in ((1, np.arange(len(listed))), (5, five))
        if len(models) and not (top == 5 and variant.name.startswith("\0"))
    ]
    hits = [
        np.stack([variant.sets.hold(listed[i][:, :top]) & variant.kept for i in models])
        for variant, top, models in plan
    ]
    drawn = _redraw(hits, [variant.kept for variant, _, _ in plan], draws, seed, progress)
    return [_Cell(*one, hit, means) for one, hit, means in zip(plan, hits, drawn, strict=True)]


def _redraw(
    hits: Sequence[NDArray[np.bool_]],
    kept: Sequence[NDArray[np.bool_]],
    draws: int,
    seed: int,
    progress: Progress | None,
) -> list[NDArray[np.float64]]:
    """Redraw the items, and give each cell's accuracies, shape (draws, models).

    How often each item is drawn, times which answers are right: a matrix product. Sums of whole
    numbers below 2^24 are exact in float32, so the order of summation changes nothing.
    """
    rows = np.concatenate([*hits, np.stack(kept)])

    def count(times: NDArray[np.float64], _: object) -> NDArray[np.float64]:
        narrow = times.astype(np.float32)
        blocks = [
            narrow @ rows[first : first + _COLUMNS].astype(np.float32).T
            for first in range(0, len(rows), _COLUMNS)
        ]
        return np.concatenate(blocks, axis=1).astype(np.float64)

    sums = np.empty((0, len(rows)))
    if draws:
        sums = redraw(count, rows.shape[1], 1, draws=draws, seed=seed, progress=progress)
    ends = np.cumsum([len(one) for one in hits])
    counts = sums[:, ends[-1] :]
    return [
        sums[:, end - len(one) : end] / np.maximum(counts[:, [i]], 1)
        for i, (one, end) in enumerate(zip(hits, ends, strict=True))
    ]


def _ranks(accuracy: NDArray[np.floating]) -> NDArray[np.int64]:
    """1 + how many are better, along the last axis."""
    from scipy.stats import rankdata

    ranks: NDArray[np.int64] = rankdata(-accuracy, method="min", axis=-1).astype(np.int64)
    return ranks


def _interval(
    prefix: str,
    drawn: NDArray[Any],
    ends: tuple[float, float],
    kind: type[pl.DataType] = pl.Float64,
) -> dict[str, pl.Series]:
    """Columns with the ends of the middle of the draws, shape (draws, m); null without draws."""
    names = (f"{prefix}low", f"{prefix}high")
    if not len(drawn):
        return {name: pl.Series([None] * drawn.shape[1], dtype=kind) for name in names}
    found = np.quantile(drawn, ends, axis=0, method="inverted_cdf")
    return {name: pl.Series(one).cast(kind) for name, one in zip(names, found, strict=True)}


def _excludes_zero(low: str, high: str) -> pl.Expr:
    return (pl.col(low) > 0) | (pl.col(high) < 0)


def _bases(cells: Sequence[_Cell]) -> dict[int, _Cell]:
    """Give the first variant's cell for each `top`."""
    return {cell.top: cell for cell in reversed(cells)}


def _accuracy_table(
    cells: Sequence[_Cell], names: Sequence[str], ends: tuple[float, float]
) -> pl.DataFrame:
    bases = _bases(cells)
    tables = []
    for cell in cells:
        base = bases[cell.top]
        ranks, drawn = _ranks(cell.accuracy), _ranks(cell.drawn)
        columns = {
            "variant": cell.variant.name,
            "top": cell.top,
            "model": [names[i] for i in cell.models],
            "items": int(cell.variant.kept.sum()),
            "accuracy": cell.accuracy,
            **_interval("", cell.drawn, ends),
            "rank": ranks,
            **_interval("rank_", drawn, ends, pl.Int64),
            "rank_change": ranks - _ranks(base.accuracy),
            **_interval("change_", drawn - _ranks(base.drawn), ends, pl.Int64),
        }
        tables.append(pl.DataFrame(columns).sort("rank", maintain_order=True))
    return pl.concat(tables).with_columns(beyond_noise=_excludes_zero("change_low", "change_high"))


def _order_table(cells: Sequence[_Cell], ends: tuple[float, float]) -> pl.DataFrame:
    bases = _bases(cells)
    rows = []
    for cell in cells:
        base = bases[cell.top]
        noise = _interval("", _ranks(cell.drawn) - _ranks(base.drawn), ends)
        sure = pl.DataFrame(noise).select(_excludes_zero("low", "high")).to_series()
        redrawn = [tau for one in base.drawn if (tau := _tau(base.accuracy, one)) is not None]
        rows.append(
            {
                "variant": cell.variant.name,
                "top": cell.top,
                "items": int(cell.variant.kept.sum()),
                "tau": _tau(base.accuracy, cell.accuracy),
                "tau_redrawn": float(np.mean(redrawn)) if redrawn else None,
                "changed_rank": int((_ranks(cell.accuracy) != _ranks(base.accuracy)).sum()),
                "beyond_noise": int(sure.sum()) if len(cell.drawn) else None,
            }
        )
    kinds = {"tau": pl.Float64, "tau_redrawn": pl.Float64, "beyond_noise": pl.Int64}
    return pl.DataFrame(rows, schema_overrides=kinds)


def _tau(one: NDArray[np.float64], other: NDArray[np.float64]) -> float | None:
    """Kendall's tau-b; None where one side has no order."""
    from scipy.stats import kendalltau

    if min(len(np.unique(one)), len(np.unique(other))) < 2:
        return None
    return float(kendalltau(one, other).statistic)


def _swap_table(
    cells: Sequence[_Cell], names: Sequence[str], ends: tuple[float, float]
) -> pl.DataFrame:
    bases = _bases(cells)
    tables = []
    for cell in cells:
        base = bases[cell.top]
        one, other = np.triu_indices(len(cell.models), 1)
        before = base.accuracy[one] - base.accuracy[other]
        after = cell.accuracy[one] - cell.accuracy[other]
        swapped = before * after < 0
        # the better one under the first variant comes first
        left = np.where(before > 0, one, other)[swapped]
        right = np.where(before > 0, other, one)[swapped]
        columns = {
            "model": [names[cell.models[i]] for i in left],
            "other": [names[cell.models[i]] for i in right],
            "before": abs(before[swapped]),
            **_interval("before_", base.drawn[:, left] - base.drawn[:, right], ends),
            "after": -abs(after[swapped]),
            **_interval("after_", cell.drawn[:, left] - cell.drawn[:, right], ends),
        }
        table = pl.DataFrame(columns, schema_overrides=_TEXT)
        tables.append(
            table.select(
                pl.lit(cell.variant.name).alias("variant"), pl.lit(cell.top).alias("top"), pl.all()
            )
        )
    return pl.concat(tables).with_columns(
        beyond_noise=(pl.col("before_low") > 0) & (pl.col("after_high") < 0)
    )


_TEXT = {"model": pl.String, "other": pl.String}


def _gain_table(
    cells: Mapping[str, _Cell],
    names: Sequence[str],
    kind: pl.Series,
    ends: tuple[float, float],
) -> pl.DataFrame:
    base = cells["\0base"]
    tables = []
    for name in DROPS:
        out, new = cells.get(f"\0out {name}"), cells.get(f"\0new {name}")
        if not _rows(kind, name).any():
            continue
        tables.append(
            pl.DataFrame(
                {
                    "kind": name,
                    "model": names,
                    "items": int(_rows(kind, name).sum()),
                    **_difference("left_out", out, base, ends),
                    **_difference("relabelled", new, base, ends),
                    **_difference("left_out_hard", out if new else None, new or base, ends),
                }
            )
        )
    return pl.concat(tables) if tables else pl.DataFrame()


def _difference(
    name: str, one: _Cell | None, other: _Cell, ends: tuple[float, float]
) -> dict[str, pl.Series]:
    """Columns of `one` less `other` with an interval; null where there is no `one`."""
    if one is None:
        nothing = pl.Series([None] * len(other.models), dtype=pl.Float64)
        return {name: nothing, f"{name}_low": nothing, f"{name}_high": nothing}
    return {
        name: pl.Series(one.accuracy - other.accuracy),
        **_interval(f"{name}_", one.drawn - other.drawn, ends),
    }


def _answer_table(
    tops: Mapping[str, NDArray[np.integer]],
    original: LabelSets,
    corrected: LabelSets,
    kind: pl.Series,
) -> pl.DataFrame:
    rows = {name: _rows(kind, name) for name in (RIGHT, *CLASS_KINDS)}
    listed = []
    for model, top in tops.items():
        given = original.hold(top[:, :1])
        right = corrected.hold(top[:, :1])
        listed += [
            {
                "kind": name,
                "model": model,
                "items": int(picked.sum()),
                "given": float(given[picked].mean()),
                "corrected": float((right & ~given)[picked].mean()),
                "another": float((~right & ~given)[picked].mean()),
                "any_right": float(right[picked].mean()),
            }
            for name, picked in rows.items()
            if picked.any()
        ]
    order = pl.Enum([RIGHT, *CLASS_KINDS])
    return pl.DataFrame(listed).sort(pl.col("kind").cast(order), maintain_order=True)


def _kind_table(original: LabelSets, corrected: LabelSets, kind: pl.Series) -> pl.DataFrame:
    given_is_right = corrected.hold(original.single[:, None])
    rows = {name: _rows(kind, name) for name in (RIGHT, *CLASS_KINDS)}
    return pl.DataFrame(
        {
            "kind": list(rows),
            "items": [int(picked.sum()) for picked in rows.values()],
            "given_is_right": [int(given_is_right[picked].sum()) for picked in rows.values()],
        }
    )
