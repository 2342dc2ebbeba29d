"""Evidence from several models, from neighbours and from duplicates, combined."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score
from sklearn.neighbors import NearestNeighbors

from labelfix.errors import InputError
from labelfix.score import neighbors as neighbors_module
from labelfix.score.blocks import Blocks
from labelfix.score.combine import (
    Evidence,
    LogPool,
    OtherLikelier,
    combine,
    head_to_head,
    rivals,
    weigh_duplicates,
)
from labelfix.score.confident import count_confident
from labelfix.score.neighbors import (
    Neighbors,
    isolation,
    nearest_neighbors,
    neighbor_counts,
    neighbor_pred_probs,
    neighbor_quality,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray


def noisy_problem(
    n: int = 600, n_classes: int = 4, noise: float = 0.15, seed: int = 0
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    """True classes, given labels, and logits that know the truth up to noise."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(n_classes, size=n)
    wrong = rng.random(n) < noise
    labels = np.where(wrong, (truth + rng.integers(1, n_classes, n)) % n_classes, truth)
    return truth, labels, np.eye(n_classes)[truth] * 2.5


def model(logits: NDArray[np.float64], blur: float, seed: int) -> NDArray[np.float64]:
    logits = logits + np.random.default_rng(seed).normal(0, blur, logits.shape)
    weights = np.exp(logits - logits.max(axis=1, keepdims=True))
    shares: NDArray[np.float64] = weights / weights.sum(axis=1, keepdims=True)
    return shares


def precision(labels: NDArray[Any], truth: NDArray[Any], pred_probs: NDArray[Any]) -> float:
    return float(average_precision_score(labels != truth, -head_to_head(labels, pred_probs)))


class TestHeadToHead:
    def test_equals_its_formula(self) -> None:
        rng = np.random.default_rng(0)
        pred_probs = rng.dirichlet(np.ones(5), 200)
        labels = rng.integers(5, size=200)
        expected = [
            (row[k] + 0.05) / (row[k] + np.delete(row, k).max() + 0.1)
            for row, k in zip(pred_probs, labels, strict=True)
        ]
        np.testing.assert_allclose(head_to_head(labels, pred_probs), expected)

    def test_is_self_confidence_where_there_are_two_classes_and_no_slack(self) -> None:
        pred_probs = np.array([[0.3, 0.7], [0.9, 0.1]])
        np.testing.assert_allclose(head_to_head(np.array([0, 1]), pred_probs, 0), [0.3, 0.1])

    def test_what_the_model_rules_out_is_ranked_by_what_it_says_instead(self) -> None:
        pred_probs = np.array([[0, 0.4, 0.3, 0.3], [0, 1, 0, 0], [1e-9, 0.7, 0.3, 0]])
        assert head_to_head(np.zeros(3, dtype=int), pred_probs).argsort().tolist() == [1, 2, 0]

    @given(st.floats(0.2, 5))
    def test_without_slack_ranks_the_same_however_sharp(self, power: float) -> None:
        pred_probs = np.random.default_rng(1).dirichlet(np.ones(4), 50)
        labels = np.arange(50) % 4
        sharper = pred_probs**power / (pred_probs**power).sum(axis=1, keepdims=True)
        np.testing.assert_array_equal(
            head_to_head(labels, pred_probs, 0).argsort(kind="stable"),
            head_to_head(labels, sharper, 0).argsort(kind="stable"),
        )

    @pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
    def test_saturated_probabilities_reach_both_ends(self, dtype: type) -> None:
        pred_probs: NDArray[Any] = np.array([[1, 0, 0], [0, 1, 0]], dtype=dtype)
        np.testing.assert_array_equal(head_to_head(np.array([0, 0]), pred_probs, 0), [1, 0])

    @pytest.mark.parametrize("size", [1, 50, 1 << 20])
    def test_blocks_and_threads_change_nothing(self, size: int) -> None:
        pred_probs = np.random.default_rng(2).dirichlet(np.ones(3), 100).astype(np.float32)
        labels = np.arange(100) % 3
        one, other = rivals(labels, pred_probs), rivals(labels, pred_probs, Blocks(size, threads=3))
        for a, b in zip(one, other, strict=True):
            np.testing.assert_array_equal(a, b)

    def test_leaves_the_matrix_as_it_was(self) -> None:
        pred_probs = np.array([[0.3, 0.7], [0.9, 0.1]])
        pred_probs.flags.writeable = False
        head_to_head(np.array([0, 1]), pred_probs)

    def test_of_equally_likely_others_the_first_is_the_rival(self) -> None:
        assert rivals(np.array([1]), np.array([[0.3, 0.4, 0.3]])).rival[0] == 0


class TestOtherLikelier:
    def test_selects_what_another_class_beats_by_the_ratio(self) -> None:
        pred_probs = np.array([[0.6, 0.4], [0.45, 0.55], [0.25, 0.75], [0.1, 0.9]])
        counts = count_confident(np.zeros(4, dtype=int), pred_probs)
        np.testing.assert_array_equal(OtherLikelier().select(counts), [False, False, True, True])
        np.testing.assert_array_equal(OtherLikelier(4).select(counts), [False, False, False, True])
        np.testing.assert_array_equal(
            OtherLikelier(3, 0).select(counts), [False, False, True, True]
        )
        np.testing.assert_array_equal(OtherLikelier(1).select(counts), [False, True, True, True])

    @pytest.mark.parametrize("ratio", [0, -1, float("nan")])
    def test_refuses_ratios_that_mean_nothing(self, ratio: float) -> None:
        with pytest.raises(InputError, match="ratio"):
            OtherLikelier(ratio)


class TestPool:
    def test_one_source_stays_the_matrix_that_it_is(self) -> None:
        _, labels, logits = noisy_problem()
        pred_probs = model(logits, 1, 1)
        assert combine(labels, [Evidence("m", pred_probs)]).pred_probs is pred_probs

    def test_rows_sum_to_one(self) -> None:
        _, labels, logits = noisy_problem()
        sources = [Evidence(str(k), model(logits, 1 + k, k), model(logits, 2, 9)) for k in range(3)]
        pooled = combine(labels, sources).pred_probs
        np.testing.assert_allclose(pooled.sum(axis=1), 1, atol=1e-6)

    def test_a_twin_changes_no_rank(self) -> None:
        _, labels, logits = noisy_problem()
        pred_probs = model(logits, 1, 1)
        both = combine(labels, [Evidence("a", pred_probs), Evidence("b", pred_probs)])
        assert both.weights["a"] == pytest.approx(both.weights["b"], rel=1e-3)
        alone, together = (head_to_head(labels, p) for p in (pred_probs, both.pred_probs))
        assert np.corrcoef(alone.argsort().argsort(), together.argsort().argsort())[0, 1] > 0.9999

    def test_models_that_err_apart_are_better_together(self) -> None:
        truth, labels, logits = noisy_problem()
        matrices = [model(logits, 1.5, k) for k in range(3)]
        pooled = combine(labels, [Evidence(str(k), one) for k, one in enumerate(matrices)])
        best = max(precision(labels, truth, one) for one in matrices)
        assert precision(labels, truth, pooled.pred_probs) > best + 0.02

    def test_noise_gets_little_weight_and_does_little_harm(self) -> None:
        truth, labels, logits = noisy_problem()
        good, noise = model(logits, 1, 1), model(logits * 0, 2, 2)
        pooled = combine(labels, [Evidence("good", good), Evidence("noise", noise)])
        assert pooled.weights["noise"] < 0.1 * pooled.weights["good"]
        assert precision(labels, truth, pooled.pred_probs) == pytest.approx(
            precision(labels, truth, good), abs=0.01
        )

    def test_what_was_learned_by_heart_does_not_take_over(self) -> None:
        truth, labels, logits = noisy_problem()
        by_heart = np.eye(4)[labels] * 0.98 + 0.005
        apart = Evidence("m", model(logits, 1, 1))
        heard = combine(labels, [Evidence("m", apart.pred_probs, by_heart)])
        assert precision(labels, truth, heard.pred_probs) == pytest.approx(
            precision(labels, truth, apart.pred_probs), abs=0.02
        )
        # The same matrix as a source of its own would have won all the weight.
        fooled = combine(labels, [apart, Evidence("by heart", by_heart)])
        assert fooled.weights["by heart"] > fooled.weights["m"]

    def test_training_counts_half_and_no_more_with_other_models_beside(self) -> None:
        _, labels, logits = noisy_problem()
        taught = Evidence("a", model(logits, 1, 1), model(logits, 1, 2))
        weights = combine(labels, [taught, Evidence("b", model(logits, 1, 3))]).weights
        alone = LogPool()(
            labels, [Evidence("a", taught.pred_probs), Evidence("b", model(logits, 1, 3))]
        )
        assert weights["a"] == pytest.approx(alone[1]["a"] / 2)
        assert weights["b"] == pytest.approx(alone[1]["b"])

    def test_weights_are_the_likeliest(self) -> None:
        _, labels, logits = noisy_problem()
        matrices = [model(logits, 1, 1), model(logits, 2, 2)]
        _, weights = LogPool(pull=0)(labels, [Evidence(str(k), m) for k, m in enumerate(matrices)])

        def likelihood(exponents: list[float]) -> float:
            logs = sum(w * np.log(m) for w, m in zip(exponents, matrices, strict=True))
            logs = logs - np.log(np.exp(logs).sum(axis=1, keepdims=True))
            return float(logs[np.arange(len(labels)), labels].mean())

        found = list(weights.values())
        for step in ([0.05, 0], [-0.05, 0], [0, 0.05], [0, -0.05]):
            nearby = [w + s for w, s in zip(found, step, strict=True)]
            assert likelihood(found) > likelihood(nearby)

    def test_zeros_rule_out_nothing(self) -> None:
        labels = np.array([0, 1, 0, 1])
        hard = np.eye(2)[labels]
        pooled = combine(labels, [Evidence("a", hard), Evidence("b", hard[::-1])]).pred_probs
        assert np.isfinite(pooled).all()

    def test_few_rows_find_about_the_same_weights(self) -> None:
        _, labels, logits = noisy_problem(4000)
        sources = [Evidence(str(k), model(logits, 1 + k, k)) for k in range(2)]
        whole = LogPool()(labels, sources)[1]
        part = LogPool(fit_values=8000)(labels, sources)[1]
        assert part != whole
        assert part["0"] == pytest.approx(whole["0"], rel=0.2)


class TestDuplicates:
    def test_the_minority_is_blamed(self) -> None:
        labels = np.array([0, 0, 1, 2])
        pred_probs = np.full((4, 3), 1 / 3)
        weighed, agree = weigh_duplicates(labels, pred_probs, np.array([5, 5, 5, 6]))
        quality = head_to_head(labels, weighed)
        assert quality[2] < 0.1 < 0.45 < quality[0] == quality[1]
        assert agree == pytest.approx((0.5 + 0.5 + 0 + 9) / (3 + 10))

    def test_of_two_that_disagree_the_one_is_blamed_that_the_model_doubts(self) -> None:
        labels = np.array([0, 1])
        pred_probs = np.array([[0.9, 0.1], [0.9, 0.1]])
        quality = head_to_head(labels, weigh_duplicates(labels, pred_probs, np.array([1, 1]))[0])
        assert quality[1] < 0.1 < quality[0] < 0.9

    def test_where_all_agree_nothing_changes(self) -> None:
        labels = np.array([0, 0, 1])
        pred_probs = np.array([[0.1, 0.9], [0.2, 0.8], [0.5, 0.5]])
        weighed, agree = weigh_duplicates(labels, pred_probs, np.array([3, 3, 4]))
        assert weighed is pred_probs
        assert agree is None

    def test_what_is_no_duplicate_is_not_believed(self) -> None:
        rng = np.random.default_rng(0)
        labels = rng.integers(10, size=400)
        pred_probs = np.full((400, 10), 0.01)
        pred_probs[np.arange(400), labels] = 0.91
        weighed, agree = weigh_duplicates(labels, pred_probs, np.arange(400) // 2)
        assert agree is not None
        assert agree < 0.2
        assert (head_to_head(labels, weighed) > 0.9).all()

    def test_matches_a_plain_loop(self) -> None:
        rng = np.random.default_rng(3)
        labels, group = rng.integers(3, size=60), rng.integers(15, size=60)
        pred_probs = rng.dirichlet(np.ones(3), 60)
        weighed, agree = weigh_duplicates(labels, pred_probs, group)
        assert agree is not None
        odds = agree * 2 / (1 - agree)
        for i in range(60):
            others = [labels[j] for j in range(60) if group[j] == group[i] and j != i]
            row = pred_probs[i].copy()
            if len({*others, labels[i]}) > 1:
                for label in others:
                    row[label] *= odds
            np.testing.assert_allclose(weighed[i], row / row.sum(), rtol=1e-6)


class TestNeighbors:
    @pytest.mark.parametrize(("n", "k"), [(40, 5), (300, 10), (7, 6), (3, 10)])
    def test_equal_brute_force(self, n: int, k: int) -> None:
        points = np.random.default_rng(n).normal(size=(n, 8))
        found = nearest_neighbors(points, k)
        k = min(k, n - 1)
        peer = NearestNeighbors(n_neighbors=k, metric="cosine", algorithm="brute").fit(points)
        distances, rows = peer.kneighbors()
        np.testing.assert_array_equal(found.rows, rows)
        np.testing.assert_allclose(1 - found.similarity, distances, atol=1e-5)

    def test_the_cut_into_blocks_changes_nothing(self, monkeypatch: pytest.MonkeyPatch) -> None:
        # Whole numbers on axes: products are exact, and there are many ties.
        points = np.eye(6)[np.random.default_rng(0).integers(6, size=90)]
        whole = nearest_neighbors(points, 4)
        monkeypatch.setattr(neighbors_module, "QUERY_ROWS", 7)
        monkeypatch.setattr(neighbors_module, "KEY_ROWS", 11)
        cut = nearest_neighbors(points, 4)
        np.testing.assert_array_equal(cut.rows, whole.rows)
        np.testing.assert_array_equal(cut.similarity, whole.similarity)

    def test_of_equally_near_the_first_come_first_and_oneself_never(self) -> None:
        found = nearest_neighbors(np.ones((5, 2)), 2).rows
        np.testing.assert_array_equal(found, [[1, 2], [0, 2], [0, 1], [0, 1], [0, 1]])

    def test_progress_ends_at_the_end(self) -> None:
        told: list[tuple[str, int, int]] = []
        nearest_neighbors(
            np.random.default_rng(0).normal(size=(600, 3)), 2, progress=lambda *a: told.append(a)
        )
        assert told[-1][1:] == (600, 600)
        assert len(told) > 1

    @pytest.mark.parametrize(
        "bad", [np.ones(3), np.array([[1.0, np.nan]]), np.array([["a"]]), np.array([[np.inf], [1]])]
    )
    def test_refuses_what_has_no_distances(self, bad: NDArray[Any]) -> None:
        with pytest.raises(InputError, match="embeddings"):
            nearest_neighbors(bad)

    def test_a_row_of_zeros_is_near_to_nothing(self) -> None:
        points = np.array([[0.0, 0.0], [1.0, 0.0], [1.0, 0.1]])
        assert nearest_neighbors(points, 1).rows[1:].ravel().tolist() == [2, 1]
        assert nearest_neighbors(points, 2).similarity[0].tolist() == [0, 0]

    def test_own_label_has_no_vote(self) -> None:
        points = np.random.default_rng(0).normal(size=(30, 4))
        labels = np.arange(30) % 3
        near = nearest_neighbors(points, 5)
        changed = labels.copy()
        changed[7] = (labels[7] + 1) % 3
        votes, after = (
            neighbor_pred_probs(some, near, 3, prior_weight=0) for some in (labels, changed)
        )
        np.testing.assert_array_equal(votes[7], after[7])
        assert (votes != after).any()

    def test_votes_match_a_plain_loop(self) -> None:
        rng = np.random.default_rng(4)
        labels = rng.integers(3, size=25)
        near = nearest_neighbors(rng.normal(size=(25, 3)), 4)
        votes = np.tile(np.bincount(labels) / 25 * 2.0, (25, 1))
        for i in range(25):
            for row, similarity in zip(near.rows[i], near.similarity[i], strict=True):
                votes[i, labels[row]] += max(similarity, 0) ** 3
        found = neighbor_pred_probs(labels, near, 3, sharpness=3, prior_weight=2)
        np.testing.assert_allclose(found, votes / votes.sum(axis=1, keepdims=True), rtol=1e-5)

    def test_nobody_near_and_no_prior_is_no_opinion(self) -> None:
        near = Neighbors(np.array([[1], [0]]), np.array([[-0.5], [-0.5]], dtype=np.float32))
        votes = neighbor_pred_probs(np.array([0, 1]), near, 2, prior_weight=0)
        np.testing.assert_array_equal(votes, 0.5)

    def test_a_wrong_label_among_right_ones_has_the_lowest_quality(self) -> None:
        rng = np.random.default_rng(5)
        labels = np.repeat([0, 1, 2], 20)
        points = np.eye(3)[labels] + rng.normal(0, 0.1, (60, 3))
        labels[33] = 2
        quality = neighbor_quality(labels, points)
        assert quality.argmin() == 33
        assert quality[33] < 0.1
        assert ((quality >= 0) & (quality <= 1)).all()

    def test_counts_ask_for_one_class_an_item(self) -> None:
        near = Neighbors(np.array([[1, 2], [0, 2], [0, 1]]), np.ones((3, 2), dtype=np.float32))
        counts = neighbor_counts(np.array([0, 0, 1]), near, np.array([0, 1, 0]))
        np.testing.assert_array_equal(counts, [1, 1, 2])

    def test_isolation_is_zero_for_half_and_high_for_what_resembles_nothing(self) -> None:
        rng = np.random.default_rng(6)
        points = np.append(np.eye(4)[0] + rng.normal(0, 0.1, (40, 4)), [[0, -1, 5, 0]], axis=0)
        far = isolation(nearest_neighbors(points, 5))
        assert (far == 0).sum() >= 20
        assert far.argmax() == 40
        assert far[40] > 0.5
