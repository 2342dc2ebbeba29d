from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from labelfix.schema import CLASS_KINDS
from labelfix.score.blocks import Blocks
from labelfix.score.kinds import kind_scores, likeliest_kind


def kind_of(row: list[float], label: int = 0, isolation: float | None = None) -> str:
    far = None if isolation is None else np.array([isolation])
    kind, _ = likeliest_kind(kind_scores(np.array([label]), np.array([row]), far))
    return CLASS_KINDS[int(kind[0])]


@pytest.mark.parametrize(
    ("row", "kind"),
    [
        ([0.02, 0.95, 0.03], "mislabeled"),
        ([0.00, 0.60, 0.40], "mislabeled"),
        ([0.45, 0.50, 0.05], "multi_label"),
        ([0.55, 0.45, 0.00], "multi_label"),
        ([0.25, 0.25, 0.25, 0.25], "none_of_the_classes"),
        ([0.05, 0.30, 0.25, 0.40], "none_of_the_classes"),
    ],
)
def test_hand_made_rows_get_the_kind_that_a_person_would_say(row: list[float], kind: str) -> None:
    assert kind_of(row) == kind


def test_two_other_classes_are_no_sign_of_several_labels_with_the_given_one() -> None:
    assert kind_of([0.0, 0.5, 0.5]) != "multi_label"


def test_what_resembles_nothing_belongs_to_no_class() -> None:
    assert kind_of([0.2, 0.7, 0.1], isolation=0.0) == "mislabeled"
    assert kind_of([0.2, 0.7, 0.1], isolation=0.9) == "none_of_the_classes"


def test_the_scores_are_the_documented_formulas() -> None:
    scores = kind_scores(np.array([1]), np.array([[0.5, 0.3, 0.2]]), np.array([0.4]))
    np.testing.assert_allclose(scores, [[0.5 * 0.7, 4 * 0.5 * 0.3, 1 - 0.5 * 0.6]])


@given(
    hnp.arrays(
        np.float64, st.tuples(st.integers(1, 20), st.integers(2, 6)), elements=st.floats(0, 1)
    ),
    st.randoms(use_true_random=False),
)
def test_scores_stay_between_zero_and_one_and_follow_their_rows(
    raw: np.ndarray[tuple[int, int], np.dtype[np.float64]], random: object
) -> None:
    probabilities = (raw + 1e-9) / (raw + 1e-9).sum(axis=1, keepdims=True)
    n, n_classes = probabilities.shape
    labels = np.arange(n) % n_classes
    scores = kind_scores(labels, probabilities)
    assert scores.shape == (n, 3)
    assert ((scores >= 0) & (scores <= 1)).all()
    order = np.argsort(np.random.default_rng(n).random(n))
    np.testing.assert_array_equal(kind_scores(labels[order], probabilities[order]), scores[order])
    np.testing.assert_array_equal(
        kind_scores(labels, probabilities, blocks=Blocks(size=8, threads=2)), scores
    )


def test_equal_scores_give_the_first_kind() -> None:
    kind, score = likeliest_kind(np.array([[0.4, 0.4, 0.4], [0.1, 0.4, 0.4]]))
    assert [CLASS_KINDS[k] for k in kind] == ["mislabeled", "multi_label"]
    np.testing.assert_array_equal(score, [0.4, 0.4])
