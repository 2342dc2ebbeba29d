"""Label quality: the documented formulas, equal to cleanlab's where cleanlab's are right."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labelfix import score
from labelfix.errors import InputError
from labelfix.score import QUALITY_SCORES, Blocks

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

Case = tuple["NDArray[np.int64]", "NDArray[Any]"]


@st.composite
def cases(draw: st.DrawFn) -> Case:
    classes, items = draw(st.integers(2, 40)), draw(st.integers(2, 200))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    logits = rng.standard_normal((items, classes)) * draw(st.sampled_from([0.1, 2.0, 50.0]))
    pred_probs = np.exp(logits - logits.max(axis=1, keepdims=True))
    pred_probs /= pred_probs.sum(axis=1, keepdims=True)
    labels = rng.integers(0, classes, items)
    labels[:2] = [0, 1]  # cleanlab wants two classes
    return labels, pred_probs.astype(draw(st.sampled_from(["float32", "float64"])))


def cleanlab_quality(labels: Any, pred_probs: Any, method: str, **parameters: Any) -> NDArray[Any]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pytest.importorskip("cleanlab", reason="the reference is an extra")
        return score.reference.label_quality(labels, pred_probs, method, **parameters)


@settings(deadline=None, max_examples=60)
@given(cases(), st.booleans(), st.sampled_from(["self_confidence", "normalized_margin"]))
def test_self_confidence_and_margin_are_cleanlabs(case: Case, adjust: bool, method: str) -> None:
    labels, pred_probs = case
    expected = cleanlab_quality(labels, pred_probs, method, adjust=adjust)
    found = score.label_quality(labels, pred_probs, method, adjust=adjust)
    np.testing.assert_allclose(found, expected.clip(0, 1), rtol=0, atol=1e-6 if adjust else 0)


@settings(deadline=None, max_examples=60)
@given(cases())
def test_weighted_entropy_is_cleanlabs_where_its_floors_are_not_reached(case: Case) -> None:
    labels, pred_probs = case
    exact = pred_probs.astype(np.float64)
    given_prob = exact[np.arange(len(labels)), labels]
    entropy = -(exact * np.log(np.maximum(exact, 1e-300))).sum(axis=1)
    normal = (given_prob > 1e-6) & (entropy > 1e-3 * given_prob)
    expected = cleanlab_quality(labels, pred_probs, "confidence_weighted_entropy")
    found = score.confidence_weighted_entropy(labels, pred_probs)
    np.testing.assert_allclose(found[normal], expected[normal], rtol=1e-3)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_weighted_entropy_does_not_collapse_when_probabilities_saturate(dtype: str) -> None:
    pred_probs = np.array([[1, 0, 0], [1 - 1e-6, 1e-6, 0], [0, 1, 0], [0, 0.5, 0.5]], dtype=dtype)
    found = score.confidence_weighted_entropy(np.zeros(4, dtype=int), pred_probs)
    assert found[0] == 1
    assert found[1] == pytest.approx(1, abs=1e-4)
    assert found[2:].tolist() == [0, 0]


def test_weighted_entropy_rises_with_the_belief_in_the_given_class() -> None:
    belief = np.concatenate([[0], np.logspace(-12, -1, 50), np.linspace(0.11, 0.99, 50), [1]])
    pred_probs = np.column_stack([belief, 1 - belief])
    found = score.confidence_weighted_entropy(np.zeros(len(belief), dtype=int), pred_probs)
    assert (np.diff(found) > 0).all()
    assert (found[0], found[-1]) == (0, 1)


@settings(deadline=None, max_examples=60)
@given(cases(), st.sampled_from(list(QUALITY_SCORES)))
def test_scores_are_in_range_and_keep_the_precision(case: Case, method: str) -> None:
    labels, pred_probs = case
    found = score.label_quality(labels, pred_probs, method)
    assert found.shape == labels.shape
    assert found.dtype == pred_probs.dtype
    assert (found >= 0).all()
    assert (found <= 1).all()


@pytest.mark.parametrize("method", QUALITY_SCORES)
def test_certainty_of_the_given_class_is_one_and_of_another_zero(method: str) -> None:
    found = score.label_quality([0, 1], [[1.0, 0.0, 0.0], [1.0, 0.0, 0.0]], method)
    assert found.tolist() == [1, 0]


@settings(deadline=None, max_examples=40)
@given(cases(), st.sampled_from(list(QUALITY_SCORES)), st.integers(1, 9999), st.integers(1, 3))
def test_blocks_and_threads_change_no_bit(case: Case, method: str, size: int, threads: int) -> None:
    expected = score.label_quality(*case, method)
    found = score.label_quality(*case, method, blocks=Blocks(size, threads))
    assert found.tobytes() == expected.tobytes()


@pytest.mark.parametrize("method", ["self_confidence", "normalized_margin"])
def test_blocks_and_threads_change_no_bit_of_adjusted_scores(method: str) -> None:
    rng = np.random.default_rng(0)
    labels, pred_probs = rng.integers(0, 7, 500), rng.dirichlet(np.ones(7), 500)
    expected = score.label_quality(labels, pred_probs, method, adjust=True)
    blocks = Blocks(size=300, threads=2)
    found = score.label_quality(labels, pred_probs, method, blocks=blocks, adjust=True)
    assert found.tobytes() == expected.tobytes()


@settings(deadline=None, max_examples=40)
@given(cases(), st.sampled_from(list(QUALITY_SCORES)), st.integers(0, 99))
def test_order_of_items_changes_no_bit(case: Case, method: str, seed: int) -> None:
    labels, pred_probs = case
    order = np.random.default_rng(seed).permutation(len(labels))
    expected = score.label_quality(labels, pred_probs, method)[order]
    assert score.label_quality(labels[order], pred_probs[order], method).tobytes() == (
        expected.tobytes()
    )


@pytest.mark.parametrize("method", QUALITY_SCORES)
def test_memory_mapped_and_float16_give_the_same(tmp_path: Path, method: str) -> None:
    rng = np.random.default_rng(1)
    labels, pred_probs = rng.integers(0, 5, 900), rng.dirichlet(np.ones(5), 900)
    half = pred_probs.astype(np.float16)
    np.save(tmp_path / "p.npy", half)
    mapped = np.load(tmp_path / "p.npy", mmap_mode="r")
    expected = score.label_quality(labels, half.astype(np.float32), method)
    for one in (half, mapped):
        found = score.label_quality(labels, one, method, blocks=Blocks(size=500))
        assert found.dtype == np.float32
        assert found.tobytes() == expected.tobytes()


@pytest.mark.parametrize("method", QUALITY_SCORES)
@pytest.mark.parametrize("bad", [np.nan, np.inf, -0.2, 1.2])
def test_what_is_no_probability_is_refused_by_row(method: str, bad: float) -> None:
    pred_probs = np.full((50, 3), 1 / 3)
    pred_probs[17, 2] = bad
    with pytest.raises(InputError, match="row 17"):
        score.label_quality(np.full(50, 2), pred_probs, method)


def test_unknown_scores_and_parameters_are_refused() -> None:
    with pytest.raises(InputError, match="one of self_confidence, normalized_margin"):
        score.label_quality([0, 1], [[1.0, 0.0], [0.5, 0.5]], "entropy")
    with pytest.raises(InputError, match="parameter 'adjust'"):
        score.label_quality(
            [0, 1], [[1.0, 0.0], [0.5, 0.5]], "confidence_weighted_entropy", adjust=True
        )


def test_scores_are_reached_by_name_object_and_function() -> None:
    case = [0, 1], [[0.9, 0.1], [0.6, 0.4]]
    by_name = score.label_quality(*case, "normalized_margin")
    assert by_name.tolist() == score.label_quality(*case, score.NormalizedMargin()).tolist()
    assert by_name.tolist() == score.normalized_margin(*case).tolist()
    assert score.self_confidence(*case).tolist() == [0.9, 0.4]
