"""Folds: stratified, whole groups, even sizes, the same for the same seed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

from labelfix.errors import InputError
from labelfix.folds import assign_folds, merge_groups, stratify_by_counts

if TYPE_CHECKING:
    from numpy.typing import NDArray


@st.composite
def problems(draw: st.DrawFn) -> tuple[NDArray[np.int64], NDArray[np.int64], int, int]:
    n_folds = draw(st.integers(2, 6))
    n = draw(st.integers(n_folds, 80))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    labels = rng.integers(0, draw(st.integers(2, 8)), n)
    labels[:2] = 0, 1
    groups = rng.integers(0, draw(st.integers(1, 2 * n)), n)
    groups[:n_folds] = -1 - np.arange(n_folds)
    return labels, groups, n_folds, draw(st.integers(0, 99))


def table(labels: NDArray[np.int64], fold: NDArray[np.int32], n_folds: int) -> NDArray[np.int64]:
    counts = np.zeros((labels.max() + 1, n_folds), dtype=np.int64)
    np.add.at(counts, (labels, fold), 1)
    return counts


@given(problems())
def test_every_item_has_a_fold_and_every_fold_an_item(
    problem: tuple[NDArray[np.int64], NDArray[np.int64], int, int],
) -> None:
    labels, groups, n_folds, seed = problem
    fold = assign_folds(labels, n_folds, groups=groups, seed=seed)
    assert fold.dtype == np.int32
    assert set(fold.tolist()) == set(range(n_folds))


@given(problems())
def test_a_group_is_never_split(
    problem: tuple[NDArray[np.int64], NDArray[np.int64], int, int],
) -> None:
    labels, groups, n_folds, seed = problem
    fold = assign_folds(labels, n_folds, groups=groups, seed=seed)
    for group in np.unique(groups):
        assert len(set(fold[groups == group].tolist())) == 1


@given(problems())
def test_without_groups_classes_and_sizes_differ_by_one_at_most(
    problem: tuple[NDArray[np.int64], NDArray[np.int64], int, int],
) -> None:
    labels, _, n_folds, seed = problem
    counts = table(labels, assign_folds(labels, n_folds, seed=seed), n_folds)
    assert np.ptp(counts, axis=1).max() <= 1
    assert np.ptp(counts.sum(axis=0)) <= 1


@given(problems())
def test_groups_of_one_are_no_groups(
    problem: tuple[NDArray[np.int64], NDArray[np.int64], int, int],
) -> None:
    labels, _, n_folds, seed = problem
    alone = np.random.default_rng(seed).permutation(len(labels))
    expected = assign_folds(labels, n_folds, seed=seed)
    assert (assign_folds(labels, n_folds, groups=alone, seed=seed) == expected).all()


@given(problems())
def test_names_of_groups_and_classes_do_not_matter(
    problem: tuple[NDArray[np.int64], NDArray[np.int64], int, int],
) -> None:
    labels, groups, n_folds, seed = problem
    fold = assign_folds(labels, n_folds, groups=groups, seed=seed)
    names = np.array([f"g{1000 - g}" for g in groups])
    assert (assign_folds(labels * 7, n_folds, groups=names, seed=seed) == fold).all()


def test_as_even_as_scikit_learn_on_groups() -> None:
    rng = np.random.default_rng(1)
    labels = rng.choice(8, 2000, p=np.array([40, 25, 15, 8, 6, 3, 2, 1]) / 100)
    groups = rng.integers(0, 400, 2000)
    ours = table(labels, assign_folds(labels, 5, groups=groups), 5)
    theirs = np.zeros_like(ours)
    splits = StratifiedGroupKFold(5, shuffle=True, random_state=0).split(labels, labels, groups)
    for k, (_, test) in enumerate(splits):
        theirs[:, k] = np.bincount(labels[test], minlength=8)
    share = labels.size / 5
    assert np.ptp(ours.sum(axis=0)) <= max(np.ptp(theirs.sum(axis=0)), 0.01 * share)
    assert ours.std(axis=1).sum() <= 1.05 * theirs.std(axis=1).sum()


def test_as_even_as_scikit_learn_without_groups() -> None:
    labels = np.random.default_rng(2).integers(0, 7, 1001)
    ours = table(labels, assign_folds(labels, 4), 4)
    splits = StratifiedKFold(4, shuffle=True, random_state=0).split(labels, labels)
    theirs = np.stack([np.bincount(labels[test], minlength=7) for _, test in splits], axis=1)
    assert (np.sort(ours, axis=1) == np.sort(theirs, axis=1)).all()


def test_one_giant_group_leaves_the_rest_even() -> None:
    labels = np.arange(1000) % 4
    groups = np.where(np.arange(1000) < 400, 0, np.arange(1000))
    sizes = np.bincount(assign_folds(labels, 5, groups=groups))
    assert sorted(sizes.tolist()) == [150, 150, 150, 150, 400]


def test_seeds_differ_and_repeat() -> None:
    labels = np.arange(100) % 3
    first, again, other = (assign_folds(labels, 5, seed=seed) for seed in (1, 1, 2))
    assert (first == again).all()
    assert (first != other).any()


def test_a_million_items_in_groups_take_few_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """The loop runs over the groups that are no full round of equals: hundreds, not 300,000."""
    import labelfix.folds as folds

    visited: list[int] = []
    place_rest = folds._place_rest

    def spy(fold: NDArray[np.int64], *rest: NDArray[np.int64]) -> None:
        visited.append(int((fold < 0).sum()))
        place_rest(fold, *rest)

    monkeypatch.setattr(folds, "_place_rest", spy)
    rng = np.random.default_rng(0)
    assign_folds(rng.integers(0, 5, 300_000), 5, groups=rng.integers(0, 150_000, 300_000))
    assert 0 < sum(visited) < 3_000


def test_few_members_spread_over_as_many_folds() -> None:
    labels = np.array([0] * 20 + [1] * 3 + [2])
    counts = table(labels, assign_folds(labels, 5), 5)
    assert sorted(counts[1].tolist()) == [0, 0, 1, 1, 1]
    assert counts[2].sum() == 1


def test_merging_joins_what_any_grouping_joins() -> None:
    assert merge_groups([0, 0, 1, 2, 3], ["x", "y", "y", "z", "z"]).tolist() == [0, 0, 0, 1, 1]


@given(st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), min_size=1, max_size=25))
def test_merging_agrees_with_brute_force(pairs: list[tuple[int, int]]) -> None:
    first, second = np.array(pairs).T
    component = np.arange(len(pairs))
    for _ in pairs:
        for i in range(len(pairs)):
            same = (first == first[i]) | (second == second[i])
            component[same] = component[same].min()
    merged = merge_groups(first, second)
    assert ((merged[:, None] == merged) == (component[:, None] == component)).all()
    assert merged.max() + 1 == len(np.unique(component))


@pytest.mark.parametrize("missing", [None, float("nan")])
def test_missing_groups_group_nothing(missing: float | None) -> None:
    assert merge_groups([missing, 4.0, missing, 4.0]).tolist() == [0, 1, 2, 1]


@pytest.mark.parametrize(
    ("labels", "n_folds", "groups", "told"),
    [
        ([0, 1, 0], 5, None, "5 folds for 3 items"),
        ([], 2, None, "2 folds for 0 items"),
        ([1, 1, 1], 2, None, "one class only"),
        ([0, 1, 0], 1, None, "at least 2"),
        ([0, 1, 0, 1], 2, [7, 7, 7, 7], "2 folds for 1 group of items"),
        ([0, 1, 0, 1], 2, [7, 7, 8], "3 groups for 4 items"),
    ],
)
def test_what_cannot_be_dealt_is_told(
    labels: list[int], n_folds: int, groups: list[int] | None, told: str
) -> None:
    with pytest.raises(InputError, match=told):
        assign_folds(labels, n_folds, groups=groups)


def test_all_problems_are_told_at_once() -> None:
    with pytest.raises(InputError) as error:
        assign_folds([3, 3], 5)
    assert len(error.value.problems) == 2


@st.composite
def count_problems(draw: st.DrawFn) -> tuple[NDArray[np.int64], NDArray[np.int64], int, int]:
    n_folds = draw(st.integers(2, 6))
    n = draw(st.integers(n_folds, 80))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    counts = rng.poisson(draw(st.floats(0, 3)), (n, draw(st.integers(1, 8))))
    groups = rng.integers(0, draw(st.integers(1, 2 * n)), n)
    groups[:n_folds] = -1 - np.arange(n_folds)
    return counts, groups, n_folds, draw(st.integers(0, 99))


@given(count_problems())
def test_by_counts_every_fold_has_an_item_and_no_group_is_split(
    problem: tuple[NDArray[np.int64], NDArray[np.int64], int, int],
) -> None:
    counts, groups, n_folds, seed = problem
    fold = stratify_by_counts(counts, n_folds, groups=groups, seed=seed)
    assert fold.dtype == np.int32
    assert set(fold.tolist()) == set(range(n_folds))
    for group in np.unique(groups):
        assert len(set(fold[groups == group].tolist())) == 1
    assert (stratify_by_counts(counts, n_folds, groups=groups, seed=seed) == fold).all()


def test_by_counts_rare_classes_are_spread_where_chance_would_not() -> None:
    rng = np.random.default_rng(0)
    rates = np.array([5.0, 1.0, 0.2, 0.05, 0.01])
    ours: list[NDArray[np.float64]] = []
    chance: list[NDArray[np.float64]] = []
    for seed in range(10):
        counts = rng.poisson(rates * rng.gamma(0.5, 2, (1000, 1)))
        for folds, spreads in (
            (stratify_by_counts(counts, 5, seed=seed), ours),
            (rng.permutation(1000) % 5, chance),
        ):
            sums = np.array([counts[folds == k].sum(axis=0) for k in range(5)])
            spreads.append(np.ptp(sums, axis=0) / sums.mean(axis=0))
    assert (np.max(ours, axis=0)[:4] < [0.05, 0.05, 0.05, 0.2]).all()
    assert (np.mean(ours, axis=0) < np.mean(chance, axis=0) / 2).all()


def test_by_counts_empty_images_even_out_the_sizes() -> None:
    counts = np.zeros((100, 3), dtype=np.int64)
    counts[:7] = np.arange(21).reshape(7, 3)
    for seed in range(5):
        assert set(np.bincount(stratify_by_counts(counts, 5, seed=seed)).tolist()) == {20}


def test_by_counts_complaints_name_what_is_wrong() -> None:
    with pytest.raises(InputError, match="numbers below 0"):
        stratify_by_counts([[1], [-1]], 2)
    with pytest.raises(InputError, match="3 folds for 2 items"):
        stratify_by_counts([[1], [1]], 3)
    with pytest.raises(InputError, match="1 group "):
        stratify_by_counts([[1], [1]], 2, groups=[0, 0])
