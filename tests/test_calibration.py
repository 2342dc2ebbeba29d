"""The error probability: what it means, what moves it, and how audits correct it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labelfix.cli import main
from labelfix.errors import InputError
from labelfix.find import assess
from labelfix.report.plots import reliability_chart
from labelfix.run import open_run
from labelfix.score.calibration import (
    ErrorProbability,
    fit_odds,
    log_odds,
    recalibrate,
    sigmoid,
)
from labelfix.score.combine import rivals, rivals_by_confusions
from labelfix.score.quality import self_confidence

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray


def labelled(
    n: int, rate: float, strength: float, seed: int = 0
) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.bool_]]:
    """Labels with errors at a rate, and what a model of some strength says that knows the truth."""
    draw = np.random.default_rng(seed)
    truth = draw.integers(5, size=n)
    logits = draw.normal(size=(n, 5)) + strength * np.eye(5)[truth]
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    labels = np.where(draw.random(n) < rate, (truth + draw.integers(1, 5, n)) % 5, truth)
    return labels, probabilities, labels != truth


@given(
    n=st.integers(1, 60), seed=st.integers(0, 99), exponent=st.integers(-3, 3), k=st.integers(2, 5)
)
def test_it_is_a_probability_and_the_quality_is_the_rest(
    n: int, seed: int, exponent: int, k: int
) -> None:
    draw = np.random.default_rng(seed)
    labels = draw.integers(k, size=n)
    probabilities = draw.dirichlet(np.full(k, 10.0**exponent), n)
    found = rivals_by_confusions(labels, probabilities)
    chance = ErrorProbability().of(found, rivals(labels, probabilities))
    assert ((chance >= 0) & (chance <= 1)).all()
    np.testing.assert_allclose(ErrorProbability().score(labels, probabilities), 1 - chance)


def test_it_falls_as_the_given_label_gets_likelier() -> None:
    labels, probabilities, _ = labelled(500, 0.1, 3.0)
    only_sums = ErrorProbability(all_others=1, confusions=0)
    order = np.argsort(self_confidence(labels, probabilities))
    chance = 1 - only_sums.score(labels, probabilities)[order]
    assert (np.diff(chance) <= 1e-12).all()
    assert chance[0] > 0.5 > chance[-1]


def test_contradictions_of_sure_items_are_believed_and_those_of_unsure_ones_are_not() -> None:
    """As many labels are contradicted in both sets: where the model is sure, or where it is not."""
    n, sure, unsure = 1000, [0.98, 0.02], [0.55, 0.45]
    probabilities = np.array([sure] * 500 + [unsure] * 500)
    of_sure, of_unsure = (np.zeros(n, dtype=np.int64) for _ in range(2))
    of_sure[:100:2] = 1
    of_unsure[500:600:2] = 1
    watched, alone = np.array([[0.2, 0.8]]), ErrorProbability(confusions=0)
    chances = [
        1 - alone.score(np.append(labels, 0), np.concatenate([probabilities, watched]))[-1]
        for labels in (of_sure, of_unsure)
    ]
    assert chances[0] > chances[1] + 0.1


@pytest.mark.parametrize("rate", [0.03, 0.1, 0.25])
@pytest.mark.parametrize("strength", [5.0, 7.0])
def test_where_the_model_is_good_the_number_of_errors_is_about_right(
    rate: float, strength: float
) -> None:
    labels, probabilities, wrong = labelled(4000, rate, strength)
    expected = (1 - ErrorProbability().score(labels, probabilities)).sum()
    assert 0.5 < expected / wrong.sum() < 2


@pytest.mark.parametrize("errors_first", [False, True])
def test_the_order_of_rows_has_no_say_where_the_surest_items_tie(errors_first: bool) -> None:
    truth = np.arange(1000) % 2
    probabilities = np.where(np.eye(2)[truth] == 1, 0.98, 0.02)
    labels = np.where(np.arange(1000) % 10 == 0, 1 - truth, truth)
    order = np.argsort((labels == truth) == errors_first, kind="stable")
    usual = ErrorProbability().score(labels, probabilities)
    sorted_ = ErrorProbability().score(labels[order], probabilities[order])
    np.testing.assert_array_equal(sorted_, usual[order])


def test_one_item_will_do() -> None:
    assert 0 <= ErrorProbability().score([0], [[0.5, 0.5]])[0] <= 1


def test_settings_out_of_range_are_all_told() -> None:
    with pytest.raises(InputError) as caught:
        ErrorProbability(surest=0, all_others=2, slack=-1)
    assert [one.where for one in caught.value.problems] == ["slack", "all_others", "surest"]


def test_find_gives_it_whatever_ranks_and_ranks_by_it_if_asked() -> None:
    labels, probabilities, _ = labelled(300, 0.1, 3.0)
    usual = assess(labels, probabilities)
    asked = assess(labels, probabilities, score="error_probability")
    assert asked.issues["error_probability"].is_sorted(descending=True)
    np.testing.assert_allclose(asked.issues["quality"], 1 - asked.issues["error_probability"])
    one, other = (found.issues.sort("item_id")["error_probability"] for found in (usual, asked))
    assert one.equals(other)
    own = ErrorProbability(intercept=-9.0)
    changed = assess(labels, probabilities, score=own)
    assert changed.issues["error_probability"].max() < usual.issues["error_probability"].max()  # type: ignore[operator] # floats
    assert changed.strategies["error_probability"] is own


# Audits


def calibration_error(chance: NDArray[np.float64], wrong: NDArray[np.bool_]) -> float:
    bins = np.minimum((10 * chance).astype(int), 9)
    return float(np.abs(np.bincount(bins, chance - wrong, minlength=10)).sum() / len(wrong))


@pytest.mark.parametrize("shift", [-1.5, 1.5])
def test_an_audit_corrects_a_shifted_base_rate(shift: float) -> None:
    draw = np.random.default_rng(1)
    odds = draw.normal(-1.5, 2, 20_000)
    claimed, wrong = sigmoid(odds), draw.random(20_000) < sigmoid(odds + shift)
    before = calibration_error(claimed, wrong)
    after = [
        calibration_error(recalibrate(claimed, rows, wrong[rows]), wrong)
        for rows in draw.permuted(np.tile(np.arange(20_000), (10, 1)), axis=1)[:, :100]
    ]
    assert np.mean(after) < before / 2


def test_many_decisions_find_the_line_that_made_them() -> None:
    draw = np.random.default_rng(2)
    odds = draw.normal(0, 2, 100_000)
    wrong = draw.random(100_000) < sigmoid(0.7 + 1.4 * odds)
    line = fit_odds(odds, wrong)
    assert line.intercept == pytest.approx(0.7, abs=0.05)
    assert line.slope == pytest.approx(1.4, abs=0.05)


def test_decisions_against_the_order_leave_the_share_of_errors_right() -> None:
    odds = np.repeat([-6.0, -2.0], [500, 1500])
    wrong = np.zeros(2000, dtype=bool)
    wrong[:400] = wrong[500:550] = True  # mostly where an error was said to be unlikely
    line = fit_odds(odds, wrong)
    assert line.slope == 0
    assert sigmoid(np.array(line.intercept)) == pytest.approx(wrong.mean(), abs=0.01)


@settings(deadline=None)
@given(seed=st.integers(0, 999), many=st.integers(1, 200), steadiness=st.floats(0.1, 100))
def test_no_other_line_fits_better(seed: int, many: int, steadiness: float) -> None:
    draw = np.random.default_rng(seed)
    odds = np.clip(draw.normal(draw.normal(0, 4), 4, many), -12, 12)
    wrong = draw.random(many) < sigmoid(draw.normal(0, 3) + draw.normal(0, 2) * odds)

    def loss(intercept: float, slope: float) -> float:
        claimed = intercept + slope * odds
        prior = steadiness / 8 * (intercept**2 + (slope - 1) ** 2)
        return float((np.logaddexp(0, claimed) - wrong * claimed).sum() + prior)

    found = fit_odds(odds, wrong, steadiness)
    for step in (-0.01, 0.01):
        assert loss(found.intercept + step, found.slope) > loss(*found)
        assert loss(found.intercept, max(0, found.slope + step)) >= loss(*found)


def test_no_decisions_change_nothing() -> None:
    claimed = np.array([0.0, 0.2, 1.0])
    nothing = np.array([], dtype=np.int64)
    corrected = recalibrate(claimed, nothing, nothing.astype(bool))
    np.testing.assert_allclose(corrected, claimed, atol=1e-5)


@settings(deadline=None)
@given(seed=st.integers(0, 999), many=st.integers(1, 40))
def test_a_correction_never_turns_the_order_around(seed: int, many: int) -> None:
    draw = np.random.default_rng(seed)
    claimed = np.sort(draw.random(50))
    rows = draw.permutation(50)[:many]
    corrected = recalibrate(claimed, rows, draw.random(many) < 0.5)
    assert (np.diff(corrected) >= -1e-12).all()
    assert np.isfinite(log_odds(corrected)).all()


def test_the_chart_of_reliability_names_every_set_and_is_the_same_each_time() -> None:
    bins = pl.DataFrame(
        {"set": ["a & b", "a & b", "c"], "said": [0.1, 0.9, 0.5], "true": [0, 1, 1]}
    )
    drawn = reliability_chart(bins)
    assert drawn == reliability_chart(bins)
    assert "a &amp; b" in drawn.decode()
    assert reliability_chart(bins, kind="png").startswith(b"\x89PNG")


def test_the_command_ranks_by_it_and_the_record_names_its_parameters(tmp_path: Path) -> None:
    labels, probabilities, _ = labelled(60, 0.1, 3.0)
    files = [tmp_path / name for name in ("labels.npy", "probabilities.npy")]
    for file, values in zip(files, (labels, probabilities), strict=True):
        np.save(file, values)
    call = ["find", "--labels", str(files[0]), "--pred-probs", str(files[1]), "--quiet"]
    assert main([*call, "--score", "error_probability", "--out", str(tmp_path / "run")]) == 0
    found = open_run(tmp_path / "run")
    assert found.issues["error_probability"].is_sorted(descending=True)
    for role in ("score", "error_probability"):
        kept = found.info.strategies[role]
        assert kept.name == "error_probability"
        assert kept.parameters["intercept"] == ErrorProbability().intercept
