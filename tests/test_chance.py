"""What predictions know of labels beyond how frequent classes are."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labelfix.score.chance import knowledge_of

SEEDS = st.integers(0, 2**32 - 1)


@settings(deadline=None, max_examples=40)
@given(SEEDS, st.integers(2, 60), st.integers(2, 5), st.floats(0, 2))
def test_it_is_what_dealing_out_every_label_to_every_item_gives(
    seed: int, n: int, classes: int, lean: float
) -> None:
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, n)
    probs = rng.dirichlet(np.ones(classes), n)
    probs[np.arange(n), labels] += lean
    probs /= probs.sum(axis=1, keepdims=True)
    dealt = probs[:, labels]  # item down, whose label across
    left = dealt - dealt.mean(axis=1, keepdims=True) - dealt.mean(axis=0) + dealt.mean()
    found = knowledge_of(labels, probs)
    assert found.given == pytest.approx(dealt.diagonal().mean())
    assert found.chance == pytest.approx(dealt.mean())
    lead = left.diagonal().mean() - max(2 * np.sqrt((left**2).sum() / (n - 1)) / n, 1e-6)
    if abs(lead) > 1e-12:
        assert found.is_more == (lead > 0)


def test_rows_in_another_order_are_told_from_weak_models_and_rare_classes() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=1000)
    chance = 1 / (1 + np.exp(4.4 - 1.6 * x))  # 3 % of the items, hardly any of them likely
    labels = (rng.random(1000) < chance).astype(int)
    probs = np.stack([1 - chance, chance], axis=1)
    assert (probs.argmax(axis=1) == 0).mean() > 0.99
    assert knowledge_of(labels, probs).is_more
    turned = [knowledge_of(labels, rng.permutation(probs)).is_more for _ in range(100)]
    assert np.mean(turned) < 0.1


def test_more_than_chance_is_told_from_all_ways_to_deal_the_labels_out() -> None:
    rng = np.random.default_rng(0)
    labels, drawn = rng.integers(0, 3, 6), rng.dirichlet(np.ones(3), 6)
    more = set()
    for lean in np.linspace(0, 2, 41):
        probs = drawn + lean * np.eye(3)[labels]
        probs /= probs.sum(axis=1, keepdims=True)
        ways = [probs[np.arange(6), labels[[*way]]].mean() for way in permutations(range(6))]
        found = knowledge_of(labels, probs)
        assert found.chance == pytest.approx(np.mean(ways))
        assert found.is_more == (found.given > np.mean(ways) + 2 * np.std(ways))
        more.add(found.is_more)
    assert more == {False, True}


@pytest.mark.parametrize("rare", [1, 3, 10])
def test_a_few_rare_items_that_are_all_known_are_no_chance(rare: int) -> None:
    labels = np.repeat([0, 1], [1000 - rare, rare])
    assert knowledge_of(labels, np.eye(2)[labels] * 0.98 + 0.01).is_more


def test_predictions_that_are_all_alike_know_nothing() -> None:
    for dtype in (np.float16, np.float32, np.float64):
        alike = np.tile(np.array([0.1, 0.2, 0.7], dtype), (1000, 1))
        assert not knowledge_of(np.arange(1000) % 3, alike).is_more
