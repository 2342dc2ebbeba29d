"""The noise matrix, and what it does to the ranking."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score

from labelfix.errors import InputError
from labelfix.find import find_issues
from labelfix.inject import pair_noise
from labelfix.score.blocks import Blocks
from labelfix.score.calibration import ErrorProbability
from labelfix.score.combine import (
    HeadToHead,
    OtherLikelier,
    head_to_head,
    rivals,
    rivals_by_confusions,
)
from labelfix.score.confident import count_confident
from labelfix.score.confusions import noise_matrix

if TYPE_CHECKING:
    from numpy.typing import NDArray


def confused(
    n: int = 4000, K: int = 5, rate: float = 0.2, strength: float = 4.0, seed: int = 0
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[Any]]:
    """Truth, labels of which a share are the next class, and a fair model."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(K, size=n)
    labels = np.where(rng.random(n) < rate, (truth + 1) % K, truth)
    logits = strength * np.eye(K)[truth] + rng.normal(0, 1.5, (n, K))
    shares = np.exp(logits)
    return truth, labels, shares / shares.sum(axis=1, keepdims=True)


def test_the_noise_matrix_is_about_the_one_that_labels_were_drawn_by() -> None:
    _, labels, pred_probs = confused()
    np.testing.assert_allclose(noise_matrix(labels, pred_probs), pair_noise(5, 0.2), atol=0.06)


@given(n=st.integers(1, 80), K=st.integers(2, 6), seed=st.integers(0, 99))
def test_rows_of_the_noise_matrix_sum_to_one_and_nothing_is_ruled_out(
    n: int, K: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    noise = noise_matrix(rng.integers(K, size=n), rng.dirichlet(np.full(K, 0.1), n))
    assert (noise > 0).all()
    np.testing.assert_allclose(noise.sum(axis=1), 1, atol=1e-7)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_neither_threads_nor_the_order_of_rows_change_it(dtype: Any) -> None:
    _, labels, pred_probs = confused(n=200_000)
    pred_probs = pred_probs.astype(dtype)
    noise = noise_matrix(labels, pred_probs, Blocks(threads=1))
    np.testing.assert_array_equal(noise_matrix(labels, pred_probs, Blocks(1000, threads=3)), noise)
    order = np.random.default_rng(1).permutation(len(labels))
    np.testing.assert_array_equal(noise_matrix(labels[order], pred_probs[order]), noise)


def test_errors_that_follow_a_pattern_are_found_sooner() -> None:
    truth, labels, pred_probs = confused(rate=0.1, strength=2.0)
    by_itself, knowing = (
        average_precision_score(labels != truth, 1 - quality)
        for quality in (head_to_head(labels, pred_probs), HeadToHead().score(labels, pred_probs))
    )
    assert knowing > by_itself + 0.03


def test_errors_without_a_pattern_are_found_as_soon() -> None:
    rng = np.random.default_rng(0)
    truth, _, pred_probs = confused(strength=3.0)
    wrong = rng.random(len(truth)) < 0.1
    labels = np.where(wrong, (truth + rng.integers(1, 5, len(truth))) % 5, truth)
    by_itself, knowing = (
        average_precision_score(labels != truth, 1 - quality)
        for quality in (head_to_head(labels, pred_probs), HeadToHead().score(labels, pred_probs))
    )
    assert knowing > by_itself - 0.01


def test_of_two_likely_others_the_one_that_is_often_called_so_is_suggested() -> None:
    _, labels, pred_probs = confused(strength=6.0)
    doubtful = np.array([[0.45, 0.09, 0.01, 0.44, 0.01]])
    labels, pred_probs = np.append(labels, 4), np.append(pred_probs, doubtful, axis=0)
    assert rivals(labels, pred_probs).rival[-1] == 0
    assert rivals_by_confusions(labels, pred_probs).rival[-1] == 3


def test_without_confusions_and_others_it_is_head_to_head() -> None:
    _, labels, pred_probs = confused(n=300)
    plain = HeadToHead(confusions=0, all_others=0).score(labels, pred_probs)
    np.testing.assert_array_equal(plain, head_to_head(labels, pred_probs))


def test_an_image_that_shows_no_class_is_suspicious() -> None:
    _, labels, pred_probs = confused(n=1000, K=5)
    none = np.array([[0.2] * 5, [0.3, 0.28, 0.14, 0.14, 0.14]])
    labels, pred_probs = np.append(labels, [0, 0]), np.append(pred_probs, none, axis=0)
    rank = HeadToHead(all_others=1).score(labels, pred_probs).argsort().argsort()
    beside = HeadToHead(all_others=0).score(labels, pred_probs).argsort().argsort()
    assert (rank[-2:] < beside[-2:]).all()


@pytest.mark.parametrize("K", [2, 5, 10, 100])
def test_a_model_that_knows_nothing_flags_nothing(K: int) -> None:
    labels = np.arange(2000) % K
    flagged = OtherLikelier().select(count_confident(labels, np.full((2000, K), 1 / K)))
    assert not flagged.any()


def test_what_is_suggested_follows_the_score_that_was_asked_for() -> None:
    _, labels, pred_probs = confused(n=400)
    issues = find_issues(labels, pred_probs, score="self_confidence")
    expected = rivals(labels, pred_probs).rival[issues["item_id"].cast(int).to_numpy()]
    np.testing.assert_array_equal(issues["suggested_label"].cast(int).to_numpy(), expected)


@pytest.mark.parametrize("scorer", [HeadToHead(), ErrorProbability()])
def test_one_row_that_is_no_probability_is_named_and_spoils_no_others(scorer: Any) -> None:
    _, labels, pred_probs = confused(n=100)
    pred_probs[7, 2] = np.nan
    with pytest.raises(InputError, match="7"):
        scorer.score(labels, pred_probs)


def test_parameters_that_mean_nothing_are_all_told() -> None:
    with pytest.raises(InputError) as caught:
        HeadToHead(slack=-1, confusions=np.nan, all_others=2)
    found = [one.where for one in caught.value.problems]
    assert found == ["slack", "confusions", "all_others"]
