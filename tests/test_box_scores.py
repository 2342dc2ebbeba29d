"""Box scores: equal to their oracles, independent of what should not matter, and finding errors."""

from __future__ import annotations

import dataclasses
import itertools
import json
import math
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labelfix.errors import InputError, LabelfixWarning
from labelfix.find.boxes import assess_boxes
from labelfix.inject import BoxNoise, inject_boxes
from labelfix.schema import BOX, BOX_ISSUES, BOX_KINDS, Dataset, check
from labelfix.score.boxes import (
    BoxParams,
    Calibration,
    Match,
    ObjectLab,
    fiftyone_scores,
    find_box_issues,
    image_quality,
    match_boxes,
    objectlab_scores,
    rank_boxes,
    score_boxes,
)
from labelfix.score.boxes.clues import CLUES
from labelfix.score.boxes.company import NODES, carelessness_of, shifts
from labelfix.score.boxes.fiftyone import match_greedily
from labelfix.score.boxes.matching import overlaps

if TYPE_CHECKING:
    from numpy.typing import NDArray

CLASSES = ("ant", "bee", "cat", "dog")
Tables = tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame]


def table(item: list[str], label: list[str], box: NDArray[np.float64], **more: Any) -> pl.DataFrame:
    corners = {edge: box[:, column] for column, edge in enumerate(BOX)}
    return pl.DataFrame({"item_id": item, "label": label, **corners, **more})


def given_table(item: list[str], label: list[str], box: NDArray[np.float64]) -> pl.DataFrame:
    ids = [str(number) for number in range(len(item))]
    return table(item, label, box, annotation_id=ids, crowd=np.zeros(len(item), bool))


def random_tables(seed: int, images: int = 12, sure: float = 1.0) -> Tables:
    """Boxes without sense: for oracles. `sure` near zero makes confidences high."""
    rng = np.random.default_rng(seed)

    def boxes(most: int) -> tuple[list[str], list[str], NDArray[np.float64]]:
        item = np.repeat(np.arange(images), rng.integers(0, most, images))
        low = rng.integers(0, 60, (len(item), 2))
        box = np.concatenate([low, low + rng.integers(1, 60, (len(item), 2))], axis=1)
        label = rng.integers(0, len(CLASSES), len(item))
        return [f"{i}.jpg" for i in item], [CLASSES[k] for k in label], box.astype(float)

    truth = given_table(*boxes(7))
    item, label, box = boxes(12)
    near = rng.random(len(item)) < 0.5  # half of them near a given box of some image
    box[near] = truth.select(BOX).to_numpy()[rng.integers(0, truth.height, near.sum())]
    found = table(item, label, box, score=rng.random(len(item)) ** sure)
    return truth, found, pl.DataFrame({"item_id": [f"{i}.jpg" for i in range(images)]})


def scenes(seed: int = 0, images: int = 150, vectors: bool = True) -> Tables:
    """Images of 160 x 120 with objects, and a detector that sees most of them, dimly."""
    rng = np.random.default_rng(seed)
    item = np.repeat(np.arange(images), rng.integers(2, 8, images))
    n = len(item)
    size = rng.uniform(12, 40, (n, 2))
    low = rng.random((n, 2)) * ([160, 120] - size)
    box, label = np.concatenate([low, low + size], axis=1), rng.integers(0, len(CLASSES), n)
    names = [f"{i}.jpg" for i in range(images)]
    truth = given_table([names[i] for i in item], [CLASSES[k] for k in label], box)

    seen = np.flatnonzero(rng.random(n) < 0.95)
    ghosts = 3 * images
    ghost_low, ghost_size = rng.random((ghosts, 2)) * [110, 80], rng.uniform(12, 40, (ghosts, 2))
    edge = rng.normal(0, 0.05, (len(seen), 4)) * np.tile(size[seen], 2)
    found_item = np.concatenate([item[seen], rng.integers(0, images, ghosts)])
    found_box = np.concatenate([box[seen] + edge, np.hstack([ghost_low, ghost_low + ghost_size])])
    sure = np.concatenate([rng.beta(4, 3, len(seen)), rng.beta(1, 12, ghosts)])
    classes = rng.dirichlet(np.full(len(CLASSES), 0.3), len(sure))
    classes[np.arange(len(seen)), label[seen]] += 3
    probs = sure[:, None] * classes / classes.sum(axis=1, keepdims=True)
    guess = probs.argmax(axis=1)
    found = table(
        [names[i] for i in found_item],
        [CLASSES[k] for k in guess],
        found_box,
        score=probs.max(axis=1),
    )
    if vectors:
        column = pl.Series(probs.astype(np.float32), dtype=pl.Array(pl.Float32, len(CLASSES)))
        found = found.with_columns(pred_probs=column)
    items = pl.DataFrame({"item_id": names, "width": [160] * images, "height": [120] * images})
    return truth, found, items


def matched(tables: Tables, **more: Any) -> Match:
    truth, found, items = tables
    return match_boxes(truth, found, CLASSES, items, **more)


def dataset(truth: pl.DataFrame, items: pl.DataFrame) -> Dataset:
    return Dataset(items, truth, CLASSES, "table")


def issues_of(tables: Tables, **more: Any) -> pl.DataFrame:
    truth, found, items = tables
    return find_box_issues(dataset(truth, items), found, **more)


@pytest.fixture(scope="module")
def clean() -> Tables:
    return scenes()


@pytest.fixture(scope="module")
def calibration(clean: Tables) -> Calibration:
    return Calibration.fit(matched(clean))


# matching


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 10_000), st.sampled_from([0.0, 0.1, 0.5]), st.sampled_from([1, 7, 1 << 16]))
def test_overlaps_are_those_of_brute_force_for_every_block_size(
    seed: int, least: float, block: int
) -> None:
    match = matched(random_tables(seed))
    for left, right in ((match.given, match.predicted), (match.predicted, match.predicted)):
        expected = {}
        for a in range(len(left)):
            for b in range(a + 1 if left is right else 0, len(right)):
                p, q = left.corners[a], right.corners[b]
                width = min(p[2], q[2]) - max(p[0], q[0])
                height = min(p[3], q[3]) - max(p[1], q[1])
                shared = max(width, 0) * max(height, 0)
                overlap = shared / (left.area[a] + right.area[b] - shared)
                if left.item[a] == right.item[b] and overlap > least:
                    expected[a, b] = overlap
        pairs = overlaps(left, right, least, block)
        assert list(zip(pairs.left.tolist(), pairs.right.tolist(), strict=True)) == list(expected)
        assert pairs.iou.tolist() == pytest.approx(list(expected.values()))


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 10_000))
def test_greedy_matching_is_that_of_one_prediction_after_the_other(seed: int) -> None:
    match = matched(random_tables(seed))
    score = np.round(match.predicted.confidence, 1)  # with ties
    pairs = match.pairs
    expected = np.full(len(match.given), -1)
    for row in np.argsort(-score, kind="stable"):
        options = np.flatnonzero((pairs.right == row) & (pairs.iou >= 0.5))
        for option in sorted(options, key=lambda o: (-pairs.iou[o], pairs.left[o])):
            if expected[pairs.left[option]] < 0:
                expected[pairs.left[option]] = row
                break
    partner, overlap = match_greedily(pairs, score, len(match.given), 0.5)
    assert partner.tolist() == expected.tolist()
    assert ((overlap >= 0.5) == (partner >= 0)).all()


def test_rows_may_come_in_any_order() -> None:
    truth, found, items = random_tables(3)
    ours = objectlab_scores(match_boxes(truth, found, CLASSES, items))
    order = np.random.default_rng(0).permutation(found.height)
    theirs = objectlab_scores(match_boxes(truth, found[order], CLASSES, items))
    np.testing.assert_array_equal(ours.overlooked[order], theirs.overlooked)
    np.testing.assert_array_equal(ours.badloc, theirs.badloc)


# peers


def cleanlab_input(match: Match) -> tuple[list[dict[str, Any]], list[list[NDArray[np.float64]]]]:
    labels, predictions = [], []
    given_box, found = match.given, match.predicted
    rows = np.column_stack([found.corners, found.confidence])
    for i in range(len(match)):
        here = slice(given_box.first[i], given_box.first[i + 1])
        labels.append({"bboxes": given_box.corners[here], "labels": given_box.label[here]})
        there = slice(found.first[i], found.first[i + 1])
        label = found.label[there]
        predictions.append([rows[there][label == k] for k in range(len(CLASSES))])
    return labels, predictions


@pytest.mark.parametrize(
    "params",
    [
        ObjectLab(),
        ObjectLab(alpha=0.5, low_probability_threshold=0.2, high_probability_threshold=0.6),
        ObjectLab(overlapping_label_check=False, temperature=0.5),
        ObjectLab(overlooked_weight=0.6, badloc_weight=0.1, swap_weight=0.3),
    ],
    ids=["default", "thresholds", "no overlap check", "weights"],
)
def test_objectlab_scores_are_those_of_cleanlab(params: ObjectLab) -> None:
    rank = pytest.importorskip("cleanlab.object_detection.rank")
    for seed, sure in ((0, 1.0), (1, 0.05), (2, 0.2)):
        match = matched(random_tables(seed, sure=sure))
        labels, predictions = cleanlab_input(match)
        scores = objectlab_scores(match, params)
        given_inputs = {"labels": labels, "predictions": predictions, "alpha": params.alpha}
        badloc = rank.compute_badloc_box_scores(
            **given_inputs, low_probability_threshold=params.low_probability_threshold
        )
        high = {"high_probability_threshold": params.high_probability_threshold}
        swap = rank.compute_swap_box_scores(
            **given_inputs, **high, overlapping_label_check=params.overlapping_label_check
        )
        overlooked = rank.compute_overlooked_box_scores(**given_inputs, **high)
        weights = {
            name: getattr(params, f"{name}_weight") for name in ("overlooked", "badloc", "swap")
        }
        image = rank._get_subtype_label_quality_scores(
            labels,
            predictions,
            alpha=params.alpha,
            low_probability_threshold=params.low_probability_threshold,
            temperature=params.temperature,
            aggregation_weights=weights,
            overlapping_label_check=params.overlapping_label_check,
            **high,
        )
        close: dict[str, Any] = {"rtol": 1e-9, "atol": 1e-12}
        np.testing.assert_allclose(scores.badloc, np.concatenate(badloc), **close)
        np.testing.assert_allclose(scores.swap, np.concatenate(swap), **close)
        np.testing.assert_allclose(scores.image, image, **close)
        by_class = [  # cleanlab has predictions of an image class by class
            match.predicted.row[
                first + np.argsort(match.predicted.label[first:last], kind="stable")
            ]
            for first, last in zip(match.predicted.first, match.predicted.first[1:], strict=False)
        ]
        theirs = np.concatenate(overlooked)
        np.testing.assert_allclose(scores.overlooked[np.concatenate(by_class)], theirs, **close)


def test_the_default_image_score_is_cleanlabs() -> None:
    rank = pytest.importorskip("cleanlab.object_detection.rank")
    match = matched(random_tables(5, sure=0.05))
    theirs = rank.get_label_quality_scores(*cleanlab_input(match), verbose=False)
    np.testing.assert_allclose(objectlab_scores(match).image, theirs, rtol=1e-9)


def test_fiftyone_scores_are_the_formulas() -> None:
    match = matched(random_tables(4))
    scores, confidence = fiftyone_scores(match), match.predicted.confidence
    partner, overlap = match_greedily(match.pairs, confidence, len(match.given), 0.5)
    for row, (mine, iou) in enumerate(zip(partner, overlap, strict=True)):
        assert scores.spurious[row] == (mine < 0)
        if mine < 0:
            assert math.isnan(scores.mistakenness[row])
            continue
        m = 1 if match.given.label[row] != match.predicted.label[mine] else -1
        assert scores.mistakenness[row] == (m * confidence[mine] + 1) / 2
        i = 2 * (1 - iou)
        assert scores.location[row] == (confidence[mine] * (2 * i - 1) + 1) / 2
    free = np.setdiff1d(np.arange(len(confidence)), partner)
    assert np.flatnonzero(~np.isnan(scores.missing)).tolist() == sorted(match.predicted.row[free])


# what must not matter


def scored(tables: Tables, calibration: Calibration, **more: Any) -> pl.DataFrame:
    truth, found, items = tables
    match = match_boxes(truth, found, CLASSES, items)
    return rank_boxes(match, score_boxes(match, calibration, **more), truth, found)


KEYS = ["item_id", "annotation_id", "suggested_x1", "suggested_y1"]


def same_but_for_rank(a: pl.DataFrame, b: pl.DataFrame, **close: Any) -> None:
    parts = [one.drop("rank") for one in (a, b)]
    parts = [
        one.sort([*KEYS, *(name for name in one.columns if name not in KEYS)]) for one in parts
    ]
    numbers = [name for name, dtype in parts[0].schema.items() if dtype == pl.Float64]
    words = [name for name in parts[0].columns if name not in numbers]
    assert parts[0].select(words).equals(parts[1].select(words))
    left, right = (part.select(numbers).to_numpy() for part in parts)
    np.testing.assert_allclose(left, right, **close)


def test_scores_do_not_depend_on_blocks(clean: Tables, calibration: Calibration) -> None:
    done = []

    def progress(what: str, number: int, total: int) -> None:
        done.append((what, number, total))

    whole = scored(clean, calibration)
    assert whole.equals(scored(clean, calibration, block=40, progress=progress))
    assert len(done) > 10
    assert done[-1] == ("boxes", 150, 150)


def test_scores_do_not_depend_on_the_other_images(clean: Tables, calibration: Calibration) -> None:
    truth, found, items = clean
    whole = scored(clean, calibration)
    some = items["item_id"][[3, 40, 99]]
    kept = pl.col("item_id").is_in(some.implode())
    few = (truth.filter(kept), found.filter(kept), items.filter(kept))
    same_but_for_rank(scored(few, calibration), whole.filter(kept), rtol=0)


@settings(deadline=None, max_examples=15)
@given(st.integers(0, 10_000))
def test_issues_do_not_depend_on_the_order_of_rows(seed: int) -> None:
    truth, found, items = random_tables(seed, images=40)
    found = found.with_columns(pl.col("score").round(1))  # ties
    alike = truth.head(8).with_columns(annotation_id="again-" + pl.col("annotation_id"))
    truth = pl.concat([truth, alike])
    orders = np.random.default_rng(seed)
    shuffled = [part[orders.permutation(part.height)] for part in (truth, found, items)]
    before, after = (
        issues_of((truth, found, items)),
        issues_of((shuffled[0], shuffled[1], shuffled[2])),
    )
    same_but_for_rank(before, after, rtol=0)
    assert issues_of((shuffled[0], shuffled[1], items)).equals(before)


@pytest.mark.parametrize("factor", [0.25, 3.0])
@pytest.mark.parametrize("sizes", [True, False], ids=["sizes known", "sizes unknown"])
def test_scores_do_not_depend_on_units_or_image_size(
    clean: Tables, calibration: Calibration, factor: float, sizes: bool
) -> None:
    truth, found, items = clean
    if not sizes:
        items = items.select("item_id")
    scale = pl.when(pl.col("item_id") < "5").then(factor).otherwise(1.0)  # of some images
    larger = [
        part.with_columns(pl.col(name).cast(pl.Float64) * scale for name in names)
        for part, names in (
            (truth, BOX),
            (found, BOX),
            (items, ("width", "height") if sizes else ()),
        )
    ]
    before = scored((truth, found, items), calibration)
    after = scored((larger[0], larger[1], larger[2]), calibration)
    order = ["item_id", "annotation_id", "kind", "quality"]
    assert before.height == after.height
    key = pl.col("quality").round(9)
    left, right = (x.with_columns(key).sort(order).select(order) for x in (before, after))
    assert left.equals(right)


def test_scores_do_not_depend_on_how_sure_a_detector_is_in_general(clean: Tables) -> None:
    truth, found, items = clean
    found = found.drop("pred_probs")
    dim = found.with_columns(score=pl.col("score") ** 2 * 0.3)  # never sure, as YOLO models are
    a, b = (issues_of((truth, predictions, items)) for predictions in (found, dim))
    both = a.join(b, on=["annotation_id"], how="inner")
    x, y = (both[name].rank().to_numpy() for name in ("quality", "quality_right"))
    assert np.corrcoef(x, y)[0, 1] > 0.97


def test_a_calibration_survives_a_file(clean: Tables, calibration: Calibration) -> None:
    restored = Calibration.from_json(json.loads(json.dumps(calibration.to_json())))
    assert restored.params == calibration.params
    assert scored(clean, restored).equals(scored(clean, calibration))


def test_the_same_data_gives_the_same_queue(clean: Tables) -> None:
    assert issues_of(clean).equals(issues_of(clean))


# what they find

NOISE = BoxNoise(
    drop=0.05, flip=0.05, shift=0.05, spawn=0.05, duplicate=0.05, merge=0.04, split=0.03
)


def auroc(suspicion: NDArray[np.float64], wrong: NDArray[np.bool_]) -> float:
    from sklearn.metrics import roc_auc_score

    return float(roc_auc_score(wrong, suspicion))


def share(mask: pl.Series) -> float:
    return float(mask.to_numpy().mean())


@pytest.fixture(scope="module", params=[True, False], ids=["class vectors", "labels alone"])
def planted(request: pytest.FixtureRequest) -> tuple[Tables, pl.DataFrame]:
    truth, found, items = scenes(1, images=400, vectors=request.param)
    noisy, errors = inject_boxes(truth, NOISE, CLASSES, items, seed=2)
    return (noisy, found, items), errors


def test_the_more_two_boxes_overlap_the_likelier_one_is_a_duplicate(
    planted: tuple[Tables, pl.DataFrame],
) -> None:
    """In data with duplicates too, which are what the calibration takes for right boxes."""
    (noisy, found, items), _ = planted
    learnt = Calibration.fit(match_boxes(noisy, found, CLASSES, items)).weights["duplicate"]
    overlap = np.linspace(0.1, 1, 46)
    for support in (0.0, 0.1, 0.9):
        evidence: Any = SimpleNamespace(
            twin=SimpleNamespace(iou=overlap), own_support=np.full(len(overlap), support)
        )
        assert (np.diff(learnt.log_ratio(CLUES["duplicate"](evidence, 1e-4))) > 0).all()


def test_a_box_that_nothing_fits_is_no_likelier_a_half_than_one_that_is_fitted_by_half(
    planted: tuple[Tables, pl.DataFrame],
) -> None:
    (noisy, found, items), _ = planted
    learnt = Calibration.fit(match_boxes(noisy, found, CLASSES, items)).weights["split"]
    overlap = np.array([0.1, 0.2, 0.4, 0.7, 1.0])
    some = np.full(len(overlap), 0.1)
    evidence: Any = SimpleNamespace(
        fit=SimpleNamespace(iou=overlap),
        support=SimpleNamespace(same=some),
        own_support=some,
        whole=SimpleNamespace(confidence=some, shared=some, most=some),
    )
    ratio = learnt.log_ratio(CLUES["split"](evidence, 1e-4))
    assert ratio.argmax() == 2


@pytest.mark.parametrize("kind", [kind for kind in BOX_KINDS if kind != "missing"])
def test_errors_in_given_boxes_come_first_in_the_ranking_of_their_kind(
    planted: tuple[Tables, pl.DataFrame], kind: str
) -> None:
    tables, errors = planted
    issues = issues_of(tables, kinds=[kind])
    assert issues.height == tables[0].height
    known = issues.join(errors, on="annotation_id", how="left", suffix="_planted")
    partner = pl.lit(value=False)
    if kind == "duplicate":  # of the two either may go
        twins = errors.filter(pl.col("kind") == "duplicate")
        partner = pl.col("item_id").is_in(twins["item_id"].implode())
    asked = known.filter(
        (pl.col("kind_planted") == kind) | (pl.col("kind_planted").is_null() & ~partner)
    )
    wrong = (asked["kind_planted"] == kind).fill_null(value=False).to_numpy()
    assert auroc(-asked["quality"].to_numpy(), wrong) > (0.8 if kind == "duplicate" else 0.9)


def test_dropped_boxes_come_first_among_missing_ones(
    planted: tuple[Tables, pl.DataFrame],
) -> None:
    tables, errors = planted
    issues = issues_of(tables, kinds=["missing"])
    dropped = errors.filter(pl.col("kind") == "missing")
    pairs = issues.head(dropped.height).join(dropped, on="item_id")
    near = sum((pl.col(f"suggested_{edge}") - pl.col(f"original_{edge}")).abs() for edge in BOX)
    found = pairs.filter(near < 40)["annotation_id_right"].n_unique()
    assert found > 0.7 * dropped.height


def test_what_a_labelled_object_explains_does_not_hide_the_one_beside_it() -> None:
    """A rider on a horse that has a box: the surer prediction is the horse's."""
    truth, found, items = scenes(3, vectors=False)
    row = truth.row(0, named=True)
    horse = np.array([[row[edge] for edge in BOX]])
    rider = horse - np.array([[0.0, 0.0, 4.0, 0.0]])
    where = [row["item_id"]] * 2
    other = CLASSES[CLASSES.index(row["label"]) - 1]
    both = table(where, [row["label"], other], np.vstack([horse, rider]), score=[0.95, 0.9])
    found = pl.concat([both, found.filter(pl.col("item_id") != row["item_id"])])
    params = BoxParams(propose_above=0.0)
    proposed = issues_of((truth, found, items), params=params, kinds=["missing"])
    here = proposed.filter(pl.col("item_id") == row["item_id"])
    assert here["suggested_label"].to_list() == [other]


# errors keep company


KINDS_OF_GIVEN = [kind for kind in BOX_KINDS if kind != "missing"]


def careless(seed: int, images: float) -> tuple[Tables, pl.Series]:
    """Plant as many errors into a share of the images, and say which boxes are wrong."""
    truth, found, items = scenes(seed, images=300)
    bad = pl.col("item_id").is_in(items["item_id"].head(round(300 * images)).implode())
    flip, shift, spawn = 0.05 / images, 0.08 / images, 0.03 / images
    noise = BoxNoise(flip=flip, shift=shift, spawn=spawn, shift_iou=(0.5, 0.9))
    noisy, errors = inject_boxes(truth.filter(bad), noise, CLASSES, items, seed)
    tables = pl.concat([noisy, truth.filter(~bad)]), found, items
    wrong = tables[0]["annotation_id"].is_in(errors["annotation_id"].implode())
    return tables, wrong


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 9999), st.sampled_from([0.5, 1.0, 3.0]))
def test_company_is_what_bayes_rule_says(seed: int, carelessness: float) -> None:
    """Summed up over which boxes are wrong and over how careless the image was."""
    rng = np.random.default_rng(seed)
    counts = rng.integers(0, 4, 5)
    first = np.concatenate([[0], np.cumsum(counts)])
    prior, odds = math.log(0.05), rng.normal(-2, 3, counts.sum())
    said = shifts(odds, first, prior, carelessness)
    density = np.exp(-(NODES**2) / 2) / np.exp(-(NODES**2) / 2).sum()
    for start, stop in itertools.pairwise(first):
        here = np.exp(odds[start:stop] - prior)  # how much likelier the evidence is of an error
        posterior = np.zeros((len(here), 2))
        for node, share_of_node in zip(NODES, density, strict=True):
            rate = math.exp(prior + carelessness * node)
            wrong, right = rate / (1 + rate), 1 / (1 + rate)
            both = np.stack([np.full(len(here), right), wrong * here], axis=1)
            for box in range(len(here)):
                others = np.delete(both.sum(axis=1), box).prod()
                posterior[box] += share_of_node * others * both[box]
        expected = np.log(posterior[:, 1] / posterior[:, 0])
        np.testing.assert_allclose(odds[start:stop] + said[start:stop], expected, atol=1e-8)


def test_a_box_alone_or_in_no_company_is_judged_by_itself() -> None:
    odds = np.array([-3.0, 2.0])
    assert shifts(odds, np.array([0, 2]), -3.0, 0.0).tolist() == [0.0, 0.0]
    assert carelessness_of(odds[:0], np.array([0]), -3.0, (1.0, 0.0)) == 0.0
    company = np.tile([-4.0, -4.0, 4.0, 4.0], 3)
    first = np.arange(0, 13, 2)
    assert carelessness_of(company, first, -3.0, (0.0, 1.5)) == 1.5
    assert carelessness_of(company, first, -3.0, (0.0, 1.5), least_gain=1e3) == 0.0
    beside_error, beside_none = (
        shifts(np.array([0.0, other]), np.array([0, 2]), -3.0, 1.5)[0] for other in (5.0, -5.0)
    )
    assert beside_error > beside_none


def test_errors_that_keep_company_are_found_by_it_and_others_as_before() -> None:
    alone = BoxParams(carelessness=(0.0,))
    tables, wrong = careless(4, 0.15)
    assert Calibration.fit(matched(tables)).carelessness >= 1
    areas = []
    for params in (BoxParams(), alone):
        said = issues_of(tables, params=params, kinds=KINDS_OF_GIVEN)
        quality = tables[0].join(said, on="annotation_id", how="left", maintain_order="left")
        areas.append(auroc(-quality["quality"].to_numpy(), wrong.to_numpy()))
    assert areas[0] > areas[1] + 0.03
    spread_out, _ = careless(4, 1.0)
    assert Calibration.fit(matched(spread_out)).carelessness == 0
    assert issues_of(spread_out).equals(issues_of(spread_out, params=alone))


def test_sentences_name_company_where_it_doubled_the_odds_and_nowhere_else() -> None:
    tables, _ = careless(4, 0.15)
    beside = "; other boxes of its image seem wrong too"
    match = matched(tables)
    company = score_boxes(match, Calibration.fit(match)).given.select("row", "company")
    rows = company.filter(pl.col("company") >= math.log(2))["row"]
    doubled = set(tables[0]["annotation_id"].gather(rows))
    said = issues_of(tables, kinds=KINDS_OF_GIVEN)
    named = said.filter(pl.col("evidence").str.ends_with(beside))
    assert set(named["annotation_id"]) == doubled
    assert len(doubled) > 20
    images = tables[2]["item_id"].head(round(300 * 0.15))
    assert share(named["item_id"].is_in(images.implode())) > 0.9
    alone = issues_of(tables, params=BoxParams(carelessness=(0.0,)))
    assert not alone["evidence"].str.contains(beside).any()


def test_company_does_not_depend_on_blocks() -> None:
    tables, _ = careless(4, 0.15)
    match = matched(tables)
    calibration = Calibration.fit(match)
    whole, parts = (score_boxes(match, calibration, block=block).given for block in (1 << 20, 40))
    assert whole.equals(parts)


def test_the_one_ranking_beats_chance_by_far_and_flags_mostly_errors(
    planted: tuple[Tables, pl.DataFrame],
) -> None:
    tables, errors = planted
    issues = issues_of(tables)
    given_rows = issues.filter(pl.col("annotation_id").is_not_null())
    wrong = given_rows["annotation_id"].is_in(errors["annotation_id"].implode())
    assert auroc(-given_rows["quality"].to_numpy(), wrong.to_numpy()) > 0.9
    flagged = given_rows["flagged"]
    assert share(wrong.filter(flagged)) > 0.6
    assert flagged.to_numpy().sum() > 0.4 * wrong.to_numpy().sum()


def test_suggestions_undo_the_errors(planted: tuple[Tables, pl.DataFrame]) -> None:
    tables, errors = planted
    known = issues_of(tables).join(errors, on="annotation_id", suffix="_planted")
    hit = known.filter(pl.col("flagged") & (pl.col("kind") == pl.col("kind_planted")))
    flips = hit.filter(pl.col("kind") == "wrong_class")
    assert share(flips["suggested_label"] == flips["original_label"]) > 0.9
    shifts = hit.filter(pl.col("kind") == "bad_location")
    off = shifts.select(
        before=sum((pl.col(f"given_{e}") - pl.col(f"original_{e}")).abs() for e in BOX),
        after=sum((pl.col(f"suggested_{e}") - pl.col(f"original_{e}")).abs() for e in BOX),
    )
    assert off["after"].sum() < off["before"].sum() / 2
    gone = hit.filter(pl.col("kind").is_in(["spurious", "duplicate"]))
    assert gone.height
    assert gone["suggested_x1"].is_null().all()
    assert gone["suggested_label"].is_null().all()


def test_kinds_that_nothing_speaks_of_count_only_where_there_is_no_other(
    planted: tuple[Tables, pl.DataFrame],
) -> None:
    (truth, found, items), _ = planted
    match = matched((truth, found, items))
    scores = score_boxes(match, Calibration.fit(match)).given
    silent = pl.col("whole_row").is_null() & pl.col("second_row").is_null()
    assert scores.filter(silent)["group"].max() == pytest.approx(math.log(0.02 / 0.98))
    both = issues_of((truth, found, items), kinds=["spurious", "group"])
    alone = issues_of((truth, found, items), kinds=["spurious"])
    rows = scores.filter(silent)["row"].to_list()
    names = truth["annotation_id"].gather(rows).implode()
    kept = [x.filter(pl.col("annotation_id").is_in(names)) for x in (both, alone)]
    assert kept[0].height > 100
    columns = ["annotation_id", "kind", "quality", "kind_score"]
    assert kept[0].select(columns).equals(kept[1].select(columns))


def test_images_with_errors_come_first(planted: tuple[Tables, pl.DataFrame]) -> None:
    (truth, found, items), errors = planted
    quality = image_quality(issues_of((truth, found, items)), items["item_id"])
    assert quality["item_id"].sort().equals(items["item_id"].sort())
    assert quality["quality"].is_sorted()
    wrong = quality["item_id"].is_in(errors["item_id"].implode()).to_numpy()
    assert auroc(-quality["quality"].to_numpy(), wrong) > 0.85


# the table


def test_the_queue_is_a_table_of_box_issues(clean: Tables) -> None:
    truth, _, _ = clean
    issues = check(issues_of(clean), BOX_ISSUES, "issues")
    assert issues.columns == list(BOX_ISSUES)
    assert issues["rank"].to_list() == list(range(1, issues.height + 1))
    assert issues["quality"].is_sorted()
    assert issues["quality"].is_between(0, 1).all()
    assert issues["kind_score"].is_between(0, 1).all()
    assert issues["evidence"].is_not_null().all()
    given_rows = issues.filter(pl.col("kind") != "missing")
    assert given_rows["annotation_id"].sort().equals(truth["annotation_id"].sort())
    missing = issues.filter(pl.col("kind") == "missing")
    assert missing["annotation_id"].is_null().all()
    assert missing["given_x1"].is_null().all()
    assert missing["suggested_x1"].is_not_null().all()


def test_equal_qualities_keep_the_order_of_items() -> None:
    n = 60
    names = [f"{n - i}.jpg" for i in range(n)]
    box = np.tile([10.0, 10, 40, 50], (n, 1))
    truth = given_table(names, ["cat"] * n, box)
    found = table(names, ["cat"] * n, box, score=[0.7] * n)
    issues = issues_of((truth, found, pl.DataFrame({"item_id": names})))
    assert issues["quality"].n_unique() == 1
    assert issues["item_id"].to_list() == names


@pytest.mark.parametrize("score", ["error_probability", "objectlab", "fiftyone"])
def test_suggestions_stay_in_the_image_and_given_boxes_stay_as_they_are(score: str) -> None:
    truth, found, items = scenes(3)
    # a detector that draws everything too large, and one given box beyond the edge
    found = found.with_columns(pl.col("x1", "y1") - 6, pl.col("x2", "y2") + 6)
    nowhere = found.head(1).with_columns(x1=200.0, x2=230.0, score=0.99)
    truth = truth.with_columns(x1=pl.when(pl.int_range(pl.len()) < 40).then(-3.0).otherwise("x1"))
    noisy, _ = inject_boxes(truth, BoxNoise(flip=0.3, shift=0.3), CLASSES, items)
    predictions = pl.concat([found, nowhere]) if score == "error_probability" else found
    issues = assess_boxes(dataset(noisy, items), predictions, score=score).issues
    rows = issues.filter(pl.col("kind") != "wrong_class").select(f"suggested_{e}" for e in BOX)
    box = rows.drop_nulls().to_numpy()
    assert len(box) > 100
    assert (box[:, :2] >= 0).all()
    assert (box[:, 2:] <= [160, 120]).all()
    assert (box[:, 2:] > box[:, :2]).all()
    assert (box == [0, 0, 160, 120]).any(axis=0).all()
    kept = issues.filter(pl.col("annotation_id").is_not_null()).sort("annotation_id")
    given_box = noisy.filter(pl.col("annotation_id").is_in(kept["annotation_id"].implode()))
    given_box = given_box.sort("annotation_id").select(BOX)
    assert (
        kept.select(f"given_{e}" for e in BOX).to_numpy().tolist() == given_box.to_numpy().tolist()
    )


def test_flags_and_proposals_follow_their_thresholds(clean: Tables) -> None:
    for flag, propose in ((0.05, 0.2), (0.6, 0.001)):
        issues = issues_of(clean, params=BoxParams(flag_above=flag, propose_above=propose))
        assert (issues["flagged"] == (issues["quality"] <= 1 - flag)).all()
        missing = issues.filter(pl.col("kind") == "missing")
        assert (missing["quality"] <= 1 - propose + 1e-12).all()


def test_a_crowd_region_is_neither_scored_nor_missed() -> None:
    truth, found, items = scenes(2)
    crowd = given_table(["0.jpg"], ["cat"], np.array([[0.0, 0, 160, 120]])).with_columns(
        annotation_id=pl.lit("crowd"), crowd=pl.lit(value=True)
    )
    ignored = crowd.with_columns(
        item_id=pl.lit("1.jpg"), annotation_id=pl.lit("ignored"), crowd=pl.lit(value=False)
    )
    regions = pl.concat(
        [
            crowd.with_columns(ignore=pl.lit(value=False)),
            ignored.with_columns(ignore=pl.lit(value=True)),
        ]
    )
    both = pl.concat([truth.with_columns(ignore=pl.lit(value=False)), regions])
    both = both.sort("item_id", maintain_order=True)
    everything = BoxParams(propose_above=0.0)
    calibration = Calibration.fit(matched((truth, found, items)), everything)
    plain = issues_of((truth, found, items), calibration=calibration)
    with_regions = issues_of((both, found, items), calibration=calibration)
    hidden = pl.col("item_id").is_in(["0.jpg", "1.jpg"]) & (pl.col("kind") == "missing")
    assert plain.filter(hidden).height > 0
    assert with_regions.filter(hidden).height == 0
    given_rows = pl.col("kind") != "missing"
    same_but_for_rank(with_regions.filter(given_rows), plain.filter(given_rows), rtol=1e-12)


# at the edge


def nothing() -> Tables:
    truth, found, items = scenes()
    return truth.clear(), found.clear(), items


def test_boxes_without_predictions_are_all_listed() -> None:
    truth, _, items = scenes()
    with pytest.warns(LabelfixWarning, match="too few"):
        issues = issues_of((truth, nothing()[1], items))
    assert issues.height == truth.height
    assert issues["quality"].is_finite().all()


def test_predictions_without_boxes_are_all_missing_the_surest_first() -> None:
    _, found, items = scenes()
    with pytest.warns(LabelfixWarning, match="too few"):
        issues = issues_of((nothing()[0], found, items), params=BoxParams(propose_above=0.0))
    assert (issues["kind"] == "missing").all()
    assert issues.height > 100
    first = found.filter(pl.col("x1") == issues["suggested_x1"][0])
    assert first["score"].item() > found["score"].quantile(0.99)


def test_an_empty_dataset_has_an_empty_queue() -> None:
    with pytest.warns(LabelfixWarning, match="too few"):
        assert issues_of(nothing()).height == 0


def test_one_class_has_no_wrong_class() -> None:
    truth, found, items = (
        part.with_columns(label=pl.lit("ant")) if "label" in part.columns else part
        for part in scenes(vectors=False)
    )
    alone = Dataset(items, truth, ("ant",), "table")
    assert (find_box_issues(alone, found, kinds=["wrong_class"])["quality"] > 0.999).all()


@pytest.mark.parametrize("sizes", [True, False], ids=["sizes known", "sizes unknown"])
@pytest.mark.parametrize(
    ("edges", "evidence"),
    [
        ({"x1": math.nan}, "x1 is NaN"),
        ({"y1": math.inf, "x1": 2.0}, "y1 is inf"),
        ({"x1": -math.inf, "x2": math.inf}, "x1 is -inf"),
        ({"x1": 20.0, "x2": -50.0}, "inverted: x2 = -50.0 < x1 = 20.0"),
        ({"y1": 30.0, "y2": 20.0}, "inverted: y2 = 20.0 < y1 = 30.0"),
        ({"y1": 30.0, "y2": 30.0}, "no area: y1 = y2 = 30.0"),
        ({"x1": -9.0, "x2": -2.0}, "outside the image: x2 = -2.0"),
        ({"x1": 160.0, "x2": 170.0}, "outside the image: x1 = 160.0, width 160.0"),
        ({"x1": -1e308, "x2": 1e308, "y2": 90.0}, "too large: x2 = 1e+308, y2 = 90.0"),
    ],
)
def test_what_cannot_be_a_box_comes_first_and_says_why(
    clean: Tables, sizes: bool, edges: dict[str, float], evidence: str
) -> None:
    truth, found, items = clean
    spoilt = pl.col("annotation_id") == "300"
    broken = truth.with_columns(
        pl.when(spoilt).then(value).otherwise(edge).alias(edge) for edge, value in edges.items()
    )
    issues = issues_of((broken, found, items if sizes else items.select("item_id")))
    first = issues.row(0, named=True)
    if not sizes and "width" in evidence:  # nobody knows how large the image is
        assert issues.filter(spoilt)["quality"].item() > 0.1
        return
    assert (first["annotation_id"], first["kind"], first["flagged"]) == ("300", "spurious", True)
    assert first["quality"] < 1e-9
    assert first["evidence"] == evidence
    assert first["suggested_x1"] is None
    kept = {edge: first[f"given_{edge}"] for edge in edges}
    assert kept == pytest.approx(edges, nan_ok=True)  # as given
    assert issues["quality"].is_finite().all()
    assert issues["quality"][1] > 1e-9


def test_all_that_is_wrong_is_told_at_once(clean: Tables) -> None:
    truth, found, items = clean
    bad = found.with_columns(
        label=pl.lit("emu"), score=pl.lit(7.0), x1=pl.lit(math.inf), pred_probs=pl.lit(1.0)
    )
    lost = truth.with_columns(item_id=pl.lit("elsewhere.jpg"))
    with pytest.raises(InputError) as raised:
        match_boxes(lost, bad, CLASSES, items)
    assert len(raised.value.problems) == 5


def test_another_detectors_calibration_is_refused(clean: Tables, calibration: Calibration) -> None:
    other = dataclasses.replace(calibration, class_names=("x", "y"))
    with pytest.raises(InputError, match="fit it on these classes"):
        score_boxes(matched(clean), other)


@pytest.mark.parametrize(
    "wrong",
    [
        {"missing": 0.0},
        {"match_iou": 1.5},
        {"quantiles": 1},
        {"planted_shift": (0.8, 0.3)},
        {"carelessness": ()},
        {"carelessness": (0.0, -1.0)},
    ],
    ids=str,
)
def test_parameters_out_of_range_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=next(iter(wrong))):
        BoxParams(**wrong)


def test_unknown_kinds_and_weights_are_refused(clean: Tables) -> None:
    with pytest.raises(InputError, match="typo"):
        issues_of(clean, kinds=["typo"])
    with pytest.raises(InputError, match="sum to one"):
        ObjectLab(swap_weight=0.9)
