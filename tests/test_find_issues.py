"""The issues table: its shape and order, whatever the input comes in, and the sentences in it."""

from __future__ import annotations

import sys
import tracemalloc
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
import pytest

from labelfix.errors import InputError, LabelfixWarning
from labelfix.find import Weighing, assess, find_issues
from labelfix.schema import CLASS_ISSUES, CLASS_KINDS, Dataset, Predictions
from labelfix.score.combine import HeadToHead, OtherLikelier
from labelfix.score.quality import self_confidence
from labelfix.score.selection import SELECTION_RULES, select_issues

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

NAMES = ("i", "iv", "vi", "x")


def problem(n: int = 120, seed: int = 0) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    rng = np.random.default_rng(seed)
    truth = rng.integers(4, size=n)
    labels = np.where(rng.random(n) < 0.15, rng.integers(4, size=n), truth)
    return labels, rng.dirichlet(np.ones(4), n) * 0.4 + np.eye(4)[truth] * 0.6


def dataset(labels: NDArray[np.int64], ids: list[str] | None = None) -> Dataset:
    names = ids or [f"{NAMES[k]}/{row}.png" for row, k in enumerate(labels)]
    annotations = pl.DataFrame(
        {
            "annotation_id": [f"{name}#0" for name in names],
            "item_id": names,
            "label": [NAMES[k] for k in labels],
        }
    )
    return Dataset(pl.DataFrame({"item_id": names}), annotations, NAMES, "memory")


class TestTable:
    def test_has_exactly_the_columns_of_the_schema(self) -> None:
        issues = find_issues(*problem())
        assert dict(issues.schema) == {name: dtype() for name, dtype in CLASS_ISSUES.items()}
        assert not any(issues.null_count().row(0))

    def test_holds_every_label_most_suspicious_first(self) -> None:
        labels, pred_probs = problem()
        issues = find_issues(labels, pred_probs)
        assert issues["rank"].to_list() == list(range(1, 121))
        assert issues["quality"].is_sorted()
        assert issues["quality"].is_between(0, 1).all()
        assert sorted(issues["item_id"].cast(int)) == list(range(120))
        assert set(issues["kind"]) <= set(CLASS_KINDS)
        assert issues["kind_score"].is_between(0, 1).all()

    def test_without_ids_the_row_number_is_the_id(self) -> None:
        labels, pred_probs = problem()
        issues = find_issues(labels, pred_probs).sort(pl.col("item_id").cast(int))
        assert issues["item_id"].equals(issues["annotation_id"])
        assert issues["given_label"].to_list() == [str(k) for k in labels]

    def test_equal_quality_keeps_the_order_of_the_items(self) -> None:
        issues = find_issues([0, 1, 0, 1], [[0.4, 0.6], [0.6, 0.4], [0.4, 0.6], [0.6, 0.4]])
        assert issues["quality"].n_unique() == 1
        assert issues["item_id"].to_list() == ["0", "1", "2", "3"]

    def test_suggests_the_likeliest_other_class_on_every_row(self) -> None:
        labels, pred_probs = problem()
        issues = find_issues(labels, pred_probs, score=HeadToHead(confusions=0))
        issues = issues.sort(pl.col("item_id").cast(int))
        pred_probs[np.arange(120), labels] = -1
        assert issues["suggested_label"].cast(int).to_list() == pred_probs.argmax(axis=1).tolist()

    def test_a_dataset_gives_its_ids_and_names(self) -> None:
        labels, pred_probs = problem()
        data = dataset(labels)
        issues = find_issues(data, Predictions(pred_probs, NAMES))
        plain = find_issues(labels, pred_probs, class_names=NAMES)
        rows = plain["item_id"].cast(int).to_numpy()
        assert issues["item_id"].to_list() == data.items["item_id"][rows].to_list()
        assert (
            issues["annotation_id"].to_list() == data.annotations["annotation_id"][rows].to_list()
        )
        rest = pl.exclude("item_id", "annotation_id")
        assert issues.select(rest).equals(plain.select(rest))

    def test_the_order_of_the_rows_decides_nothing_but_ties(self) -> None:
        labels, pred_probs = problem()
        data, order = dataset(labels), np.random.default_rng(1).permutation(120)
        embeddings = np.random.default_rng(2).normal(size=(120, 5)).astype(np.float32)
        group = np.arange(120) // 3
        there, back = (
            find_issues(
                data.take(rows),
                [
                    Predictions(
                        pred_probs[rows],
                        NAMES,
                        embeddings=embeddings[rows],
                        duplicate_group=group[rows],
                    ),
                    Predictions(
                        pred_probs[rows] ** 2 / (pred_probs[rows] ** 2).sum(1)[:, None], NAMES
                    ),
                ],
            )
            for rows in (np.arange(120), order)
        )
        assert there.drop("quality", "kind_score").equals(back.drop("quality", "kind_score"))
        np.testing.assert_allclose(there["quality"], back["quality"], rtol=1e-4)

    def test_twice_the_same_call_gives_the_same_table(self) -> None:
        labels, pred_probs = problem()
        again = [find_issues(labels, [pred_probs, pred_probs[:, ::-1].copy()]) for _ in range(2)]
        assert again[0].equals(again[1])


def as_torch(values: NDArray[Any]) -> Any:
    return pytest.importorskip("torch").from_numpy(values)


def as_pandas(values: NDArray[Any]) -> Any:
    pandas = pytest.importorskip("pandas")
    return pandas.Series(values) if values.ndim == 1 else pandas.DataFrame(values)


def as_polars(values: NDArray[Any]) -> Any:
    return pl.Series(values) if values.ndim == 1 else pl.DataFrame(values, schema=list("0123"))


class TestInput:
    @pytest.mark.parametrize("form", [np.ndarray.tolist, as_torch, as_pandas, as_polars])
    def test_lists_and_other_libraries_give_what_numpy_gives(
        self, form: Callable[[NDArray[Any]], Any]
    ) -> None:
        labels, pred_probs = problem()
        expected = find_issues(labels, pred_probs)
        assert find_issues(form(labels), form(pred_probs)).equals(expected)

    @pytest.mark.parametrize("form", [np.ndarray.tolist, as_torch, as_pandas, as_polars])
    def test_so_do_several_models(self, form: Callable[[NDArray[Any]], Any]) -> None:
        labels, pred_probs = problem()
        other = problem(seed=5)[1]
        expected = find_issues(labels, [pred_probs, other])
        assert find_issues(labels, [form(pred_probs), form(other)]).equals(expected)

    def test_class_names_for_labels(self) -> None:
        labels, pred_probs = problem()
        issues = find_issues([NAMES[k] for k in labels], pred_probs, class_names=NAMES)
        assert issues.equals(find_issues(labels, pred_probs, class_names=NAMES))
        assert set(issues["given_label"]) == set(NAMES)

    def test_an_ensemble_of_one_equals_the_model(self) -> None:
        labels, pred_probs = problem()
        assert find_issues(labels, [pred_probs]).equals(find_issues(labels, pred_probs))

    def test_columns_in_another_order_are_put_in_order(self) -> None:
        labels, pred_probs = problem()
        turned = Predictions(
            pred_probs[:, ::-1],
            NAMES[::-1],
            train_pred_probs=pred_probs[:, ::-1].astype(np.float32),
        )
        straight = Predictions(pred_probs, NAMES, train_pred_probs=pred_probs.astype(np.float32))
        data = dataset(labels)
        assert find_issues(data, turned).equals(find_issues(data, straight))

    def test_nothing_that_was_given_is_changed(self) -> None:
        labels, pred_probs = problem()
        embeddings = np.random.default_rng(0).normal(size=(120, 3)).astype(np.float32)
        groups = np.arange(120) // 2
        given: tuple[NDArray[Any], ...] = (labels, pred_probs, embeddings, groups)
        kept = [values.copy() for values in given]
        for values in given:
            values.flags.writeable = False
        find_issues(
            labels, Predictions(pred_probs, NAMES, embeddings=embeddings, duplicate_group=groups)
        )
        for values, before in zip(given, kept, strict=True):
            np.testing.assert_array_equal(values, before)


class TestBadInput:
    def test_other_classes_than_the_dataset_has(self) -> None:
        labels, pred_probs = problem()
        with pytest.raises(InputError, match="classes a, b, c, d"):
            find_issues(dataset(labels), Predictions(pred_probs, ("a", "b", "c", "d"), model="m"))

    def test_problems_of_all_models_are_listed_together(self) -> None:
        labels, pred_probs = problem()
        bad = pred_probs.copy()
        bad[3, 0] = np.nan
        with pytest.raises(InputError) as caught:
            find_issues(labels, [pred_probs, bad, pred_probs[:50]])
        text = str(caught.value)
        assert "model 2, pred_probs" in text
        assert "row 3" in text
        assert "model 3, labels" in text

    def test_embeddings_or_groups_of_another_length(self) -> None:
        labels, pred_probs = problem()
        predictions = Predictions(
            pred_probs,
            NAMES,
            embeddings=np.ones((7, 2), dtype=np.float32),
            duplicate_group=np.arange(9),
        )
        with pytest.raises(InputError) as caught:
            find_issues(labels, predictions)
        assert [p.where for p in caught.value.problems] == ["embeddings", "duplicate_group"]

    def test_what_was_said_in_training_is_checked_too(self) -> None:
        labels, pred_probs = problem()
        bad = pred_probs.astype(np.float32)
        bad[5] = -1
        with pytest.raises(InputError, match=r"train_pred_probs: .*row 5"):
            find_issues(labels, Predictions(pred_probs, NAMES, train_pred_probs=bad))

    def test_rows_that_nearly_sum_to_one_are_mended_with_a_warning(self) -> None:
        labels, pred_probs = problem()
        nearly = pred_probs * 1.0005
        with pytest.warns(LabelfixWarning, match="sum"):
            mended = find_issues(
                labels, Predictions(nearly, NAMES, train_pred_probs=nearly.astype(np.float32))
            )
        whole = Predictions(pred_probs, NAMES, train_pred_probs=pred_probs.astype(np.float32))
        np.testing.assert_allclose(
            mended["quality"], find_issues(labels, whole)["quality"], rtol=1e-5
        )

    def test_several_labels_an_item(self) -> None:
        data = dataset(np.array([0, 1]))
        twice = Dataset(data.items[:1], data.annotations, NAMES, "memory")
        with pytest.raises(InputError, match="2 annotations for 1 items"):
            find_issues(twice, np.full((2, 4), 0.25))

    @pytest.mark.parametrize("option", ["score", "select", "engine"])
    def test_names_that_nobody_knows(self, option: str) -> None:
        with pytest.raises(InputError, match="nonsense"):
            find_issues(*problem(), **{option: "nonsense"})  # type: ignore[arg-type] # on purpose

    def test_no_models(self) -> None:
        with pytest.raises(InputError, match="predictions"):
            find_issues([0, 1], [])


class TestChoices:
    def test_flagged_by_default_is_what_another_class_clearly_beats(self) -> None:
        issues = find_issues(*problem())
        by_itself = find_issues(*problem(), score=HeadToHead(confusions=0, all_others=0))
        assert by_itself["flagged"].equals(by_itself["quality"] <= 0.4)
        chosen = {"score": HeadToHead(0.05, 0.25, 0.25), "select": OtherLikelier(1.5)}
        assert issues.equals(find_issues(*problem(), **chosen))  # type: ignore[arg-type] # two sorts

    @pytest.mark.parametrize("rule", list(SELECTION_RULES))
    def test_every_rule_flags_what_it_selects(self, rule: str) -> None:
        labels, pred_probs = problem()
        issues = find_issues(labels, pred_probs, select=rule).sort(pl.col("item_id").cast(int))
        np.testing.assert_array_equal(issues["flagged"], select_issues(labels, pred_probs, rule))

    def test_another_score_is_the_quality(self) -> None:
        labels, pred_probs = problem()
        issues = find_issues(labels, pred_probs, score="self_confidence")
        assert issues["quality"].is_sorted()
        in_order = issues.sort(pl.col("item_id").cast(int))
        np.testing.assert_array_equal(in_order["quality"], self_confidence(labels, pred_probs))

    def test_cleanlab_can_do_the_scoring_and_the_selection(self) -> None:
        cleanlab = pytest.importorskip("cleanlab")
        labels, pred_probs = problem()
        issues = find_issues(labels, pred_probs, engine="cleanlab")
        in_order = issues.sort(pl.col("item_id").cast(int))
        mask = cleanlab.filter.find_label_issues(labels, pred_probs)
        np.testing.assert_array_equal(in_order["flagged"], mask)
        np.testing.assert_array_equal(
            in_order["quality"], cleanlab.rank.get_label_quality_scores(labels, pred_probs)
        )
        ours = find_issues(
            labels, pred_probs, score="self_confidence", select="prune_by_noise_rate"
        )
        assert issues.equals(ours)

    def test_weighing_can_leave_evidence_out(self) -> None:
        labels, pred_probs = problem()
        rich = Predictions(
            pred_probs,
            ("0", "1", "2", "3"),
            embeddings=np.random.default_rng(0).normal(size=(120, 3)).astype(np.float32),
            duplicate_group=np.arange(120) // 2,
        )
        bare = find_issues(labels, rich, weighing=Weighing(neighbors=0, duplicates=False))
        assert bare.drop("evidence").equals(find_issues(labels, pred_probs).drop("evidence"))
        assert not find_issues(labels, rich)["quality"].equals(bare["quality"])


class TestEvidence:
    def test_names_the_likelier_class_first(self) -> None:
        issues = find_issues(
            ["vi", "iv"], [[0.93, 0.05, 0.02], [0.996, 0.0, 0.004]], class_names=["iv", "x", "vi"]
        )
        assert issues["evidence"].to_list() == [
            "the model gives 'iv' .93 and the given 'vi' .02",
            "the model gives the given 'iv' more than .99 and 'vi' less than .01",
        ]

    def test_tells_the_mean_of_several_models(self) -> None:
        issues = find_issues([0, 1], [[[0.2, 0.8], [0.1, 0.9]], [[0.4, 0.6], [0.3, 0.7]]])
        assert issues["evidence"][0] == "2 models give on average '1' .70 and the given '0' .30"

    def test_tells_what_neighbours_training_and_duplicates_say(self) -> None:
        pred_probs = np.array([[0.8, 0.2]] * 4 + [[0.1, 0.9]] * 2)
        predictions = Predictions(
            pred_probs,
            ("iv", "vi"),
            train_pred_probs=np.full((6, 2), 0.5, dtype=np.float32),
            embeddings=np.array([[1, 0]] * 4 + [[0, 1]] * 2, dtype=np.float32),
            duplicate_group=np.array([1, 1, 1, 2, 3, 3]),
        )
        issues = find_issues(
            np.array([1, 0, 0, 0, 1, 1]), predictions, weighing=Weighing(neighbors=3)
        )
        evidence = issues.sort("item_id")["evidence"]
        assert evidence[0] == (
            "the model gives 'iv' .80 and the given 'vi' .20; "
            "in training on this label it got .50; "
            "3 of its 3 nearest neighbours are labelled 'iv', 0 'vi'; "
            "2 of its 2 duplicates are labelled 'iv'"
        )
        assert evidence[1].endswith("1 of its 2 duplicates is labelled 'vi'")
        assert evidence[3].endswith("neighbours is labelled 'vi', 2 'iv'")
        assert "duplicate" not in evidence[4]

    def test_a_single_duplicate_is_named_alone(self) -> None:
        predictions = Predictions(
            np.array([[0.8, 0.2], [0.8, 0.2]]), ("a", "b"), duplicate_group=np.array([0, 0])
        )
        issues = find_issues([0, 1], predictions)
        assert issues["evidence"][0].endswith("; a near-duplicate of it is labelled 'a'")

    def test_names_with_braces_and_quotes_come_through(self) -> None:
        issues = find_issues([0, 1], [[0.8, 0.2], [0.1, 0.9]], class_names=["{x}", "o'ne"])
        assert issues["evidence"].sort()[1].endswith("given '{x}' .80 and 'o'ne' .20")

    def test_conflicting_duplicates_come_up_in_the_queue(self) -> None:
        labels, pred_probs = np.zeros(50, dtype=int), np.tile([0.7, 0.3], (50, 1))
        labels[20] = 1
        pred_probs[20] = [0.3, 0.7]  # the model falls for it
        group = np.arange(50)
        group[[20, 21, 22]] = 99
        issues = find_issues(labels, Predictions(pred_probs, ("0", "1"), duplicate_group=group))
        assert issues["item_id"][0] == "20"
        assert issues["flagged"].to_list() == [True] + [False] * 49


class TestSummary:
    def test_counts_every_class(self) -> None:
        labels, pred_probs = problem()
        found = assess(labels, pred_probs, class_names=[*NAMES])
        classes = found.summary.classes
        assert classes["class_name"].to_list() == list(NAMES)
        assert classes["given"].to_list() == np.bincount(labels).tolist()
        flagged = found.issues.filter("flagged")
        assert classes["flagged"].sum() == classes["suggested"].sum() == flagged.height

    def test_a_class_that_nobody_has_is_counted_as_none(self) -> None:
        found = assess([0, 1, 0], [[0.8, 0.1, 0.1], [0.1, 0.8, 0.1], [0.7, 0.2, 0.1]])
        assert found.summary.classes.row(2) == ("2", 0, 0, 0)

    def test_the_confident_joint_adds_up_to_the_labels(self) -> None:
        labels, pred_probs = problem()
        summary = assess(labels, pred_probs).summary
        np.testing.assert_array_equal(summary.confident_joint.sum(axis=1), np.bincount(labels))
        assert 0 < summary.errors_at_least < 120

    def test_says_how_much_each_source_counted(self) -> None:
        labels, pred_probs = problem()
        assert assess(labels, pred_probs).summary.weights == {"1: given": 1.0}
        two = assess(labels, [pred_probs, problem(seed=9)[1]]).summary.weights
        assert two["1: given"] > 5 * two["2: given"]


def test_the_work_is_done_on_whole_columns() -> None:
    calls: dict[int, int] = {}
    for n in (2_000, 200_000):
        labels, pred_probs = np.arange(n) % 10, np.full((n, 10), 0.1, dtype=np.float32)
        count = 0

        def profile(frame: Any, event: str, arg: object) -> None:
            nonlocal count
            count += 1

        sys.setprofile(profile)
        try:
            find_issues(labels, pred_probs)
        finally:
            sys.setprofile(None)
        calls[n] = count
    assert calls[200_000] < 10 * calls[2_000]


def test_no_more_than_blocks_are_held_beside_the_table() -> None:
    labels = np.arange(20_000) % 500
    pred_probs = np.full((20_000, 500), 1 / 500, dtype=np.float32)
    find_issues(labels[:1000], pred_probs[:1000])
    tracemalloc.start()
    find_issues(labels, pred_probs)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < pred_probs.nbytes / 2
