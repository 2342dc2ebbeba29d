"""What a tracker promises: its statistics, whatever the loop does, and its refusals."""

from __future__ import annotations

import contextlib
import io
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labelfix.errors import InputError, LabelfixWarning, RunError
from labelfix.find import find_issues
from labelfix.formats import read
from labelfix.run import FindOptions, find
from labelfix.schema import CLASS_ISSUES, Dataset, Predictions
from labelfix.training import Tracker, threshold_labels
from labelfix.training.tracker import LOW_IS_SUSPICIOUS

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

N, K, E = 12, 4, 6


def story(seed: int = 0) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Logits of shape (E, N, K), and labels."""
    rng = np.random.default_rng(seed)
    return rng.normal(0, 2, (E, N, K)), rng.integers(0, K, N)


def told(
    logits: NDArray[Any], labels: NDArray[np.int64], tracker: Tracker | None = None, batch: int = 5
) -> Tracker:
    """Show all items once an epoch, in batches, each epoch in another order."""
    tracker = tracker or Tracker(len(labels))
    for epoch, one in enumerate(logits):
        order = np.random.default_rng(epoch).permutation(len(labels))
        for start in range(0, len(order), batch):
            rows = order[start : start + batch]
            tracker.update(rows, one[rows], labels[rows])
        tracker.end_epoch()
    return tracker


def dataset(labels: NDArray[np.int64], k: int = K) -> Dataset:
    names = [f"{row}.png" for row in range(len(labels))]
    given = [str(label) for label in labels]
    annotations = pl.DataFrame({"annotation_id": names, "item_id": names, "label": given})
    items = pl.DataFrame({"item_id": names})
    return Dataset(items, annotations, tuple(map(str, range(k))), "memory")


def softmax(logits: NDArray[Any]) -> NDArray[Any]:
    exp = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return np.asarray(exp / exp.sum(axis=-1, keepdims=True))


def assert_alike(one: Tracker, other: Tracker, **tolerance: float) -> None:
    left, right = one.statistics(), other.statistics()
    assert left.columns == right.columns
    for name in left.columns:
        if left[name].dtype.is_float():
            a, b = (table[name].fill_null(-99).to_numpy() for table in (left, right))
            np.testing.assert_allclose(a, b, **(tolerance or {"rtol": 1e-9}), err_msg=name)  # type: ignore[call-overload] # tolerances by name
        else:
            assert left[name].to_list() == right[name].to_list(), name


def test_statistics_are_those_of_the_papers() -> None:
    logits, labels = story()
    table = told(logits, labels).statistics()
    for row in range(N):
        own = logits[:, row, labels[row]]
        others = np.delete(logits[:, row], labels[row], axis=1)
        probs = softmax(logits[:, row])
        p = probs[:, labels[row]]
        right = own > others.max(axis=1)
        loss = -np.log(p)
        hot = np.eye(K)[labels[row]]
        expected = {
            "confidence": p.mean(),
            "variability": p.std(),
            "correctness": right.mean(),
            "margin": (own - others.max(axis=1)).mean(),
            "el2n": np.linalg.norm(probs - hot, axis=1).mean(),
            "forgetting": (right[:-1] & ~right[1:]).sum(),
            "loss": loss.mean(),
            "loss_slope": np.polyfit(np.arange(E), loss, 1)[0],
            "seen": E,
            "broken": 0,
            "relabelled": 0,
        }
        found = table.row(row, named=True)
        assert {name: found[name] for name in expected} == pytest.approx(expected)
        start = next((e for e in range(E) if right[e:].all()), None)
        assert found["learned"] == start


def test_the_course_of_the_loss_is_its_mean_in_each_epoch() -> None:
    logits, labels = story()
    loss = -np.log(softmax(logits)[:, np.arange(N), labels])
    found = told(logits, labels, Tracker(N, keep_losses=True)).losses()
    np.testing.assert_allclose(found, loss, rtol=1e-5)
    with pytest.raises(InputError, match="keep_losses"):
        told(logits, labels).losses()


def test_an_epochs_loss_rests_on_that_epoch_alone() -> None:
    tracker = Tracker(1, keep_losses=True)
    for loss, weight in [(1e20, 1.0), (2.0, 1.0), (3.0, 1e-17)]:
        tracker.update([0], np.zeros((1, 2)), [0], [loss], [weight])
        tracker.end_epoch()
    np.testing.assert_allclose(tracker.losses().ravel(), [1e20, 2, 3], rtol=1e-6)


def test_the_course_of_the_loss_goes_with_the_checkpoint_and_over_processes(tmp_path: Path) -> None:
    tracker = Tracker(3, keep_losses=True)
    tracker.update([0, 1], np.zeros((2, 2)), [0, 0], [1.0, 2.0])
    tracker.end_epoch()
    tracker.update([0], np.zeros((1, 2)), [0], [3.0])
    tracker.save(tmp_path / "kept.npz")  # in the midst of an epoch
    again = Tracker.load(tmp_path / "kept.npz")
    again.update([0], np.zeros((1, 2)), [0], [5.0])
    again.end_epoch()
    np.testing.assert_array_equal(again.losses(), [[1, 2, np.nan], [4, np.nan, np.nan]])
    other = Tracker(3, keep_losses=True)
    other.update([0, 2], np.zeros((2, 2)), [0, 0], [2.0, 7.0])
    other.end_epoch()
    both = again.merge(other).losses()
    np.testing.assert_array_equal(both, [[1.5, 2, 7], [4, np.nan, np.nan]])
    with pytest.raises(InputError, match="first"):
        again.merge(Tracker(3))
    with pytest.raises(InputError, match="keep_losses"):
        Tracker(3).load_state_dict(again.state_dict())


@given(st.integers(1, 30), st.integers(0, 5), st.integers(16, 4000))
@settings(max_examples=20)
def test_neither_batches_nor_the_buffer_change_a_thing(batch: int, seed: int, buffer: int) -> None:
    logits, labels = story(seed)
    small = Tracker(N, buffer_bytes=buffer)
    assert_alike(told(logits, labels, small, batch), told(logits, labels))


def test_item_ids_do_as_well_as_rows() -> None:
    logits, labels = story()
    data = dataset(labels)
    tracker = Tracker(data)
    for one in logits:
        order = np.random.default_rng(1).permutation(N)
        tracker.update(data.items["item_id"].gather(order).to_list(), one[order], labels[order])
        tracker.end_epoch()
    without = tracker.statistics().drop("item_id")
    assert without.equals(told(logits, labels).statistics().drop("item_id"))


def test_an_item_seen_twice_counts_twice_and_its_last_sight_is_the_epochs() -> None:
    tracker = Tracker(1)
    tracker.update([0, 0], [[1.0, 0.0], [0.0, 3.0]], [0, 0])
    tracker.end_epoch()
    tracker.update([0], [[1.0, 0.0]], [0])
    tracker.end_epoch()
    row = tracker.statistics().row(0, named=True)
    assert row["seen"] == 3
    assert row["margin"] == pytest.approx((1 - 3 + 1) / 3)
    assert (row["correctness"], row["forgetting"], row["learned"]) == (0.5, 0, 1)


def test_forgetting_looks_past_epochs_in_which_the_item_was_not_seen() -> None:
    tracker = Tracker(2)
    for sight in ([1.0, 0.0], None, [0.0, 1.0]):
        if sight:
            tracker.update([0], [sight], [0])
        tracker.update([1], [[1.0, 0.0]], [0])
        tracker.end_epoch()
    assert tracker.statistics()["forgetting"].to_list() == [1, 0]
    assert tracker.statistics()["correctness"].to_list() == [0.5, 1.0]


def test_what_was_never_seen_is_null_and_last_in_the_doubts() -> None:
    tracker = Tracker(3)
    tracker.update([1], [[0.0, 1.0]], [1])
    tracker.end_epoch()
    row = tracker.statistics().row(0, named=True)
    assert {name for name, value in row.items() if value is None} == {
        *{"label", "confidence", "variability", "correctness", "margin", "el2n"},
        *{"forgetting", "learned", "loss", "loss_slope"},
    }
    assert tracker.suspects(3)["item_id"].to_list() == ["1"]
    assert tracker.weights()[0] == 1
    with pytest.warns(LabelfixWarning, match="2 of 3 items were never seen"):
        assert tracker.issues([0, 1, 0])["item_id"].sort().to_list() == ["0", "1", "2"]


def test_half_precision_is_worked_on_in_single() -> None:
    logits, labels = story()
    half = told(logits.astype(np.float16), labels)
    assert_alike(half, told(logits, labels), rtol=0.02, atol=0.01)
    whole = told(logits.astype(np.float16).astype(np.float32), labels)
    assert_alike(half, whole)


def test_mixed_images_are_weighed_or_left_out() -> None:
    tracker = Tracker(2)
    for weights, sight in ([[1, 0], [2.0, 0.0]], [[0.25, 0], [0.0, 6.0]]):
        tracker.update([0, 1], [sight, sight], [0, 0], weights=weights)
        tracker.end_epoch()
    table = tracker.statistics()
    assert table["margin"][0] == pytest.approx((2 - 0.25 * 6) / 1.25)
    assert table["forgetting"][0] == 0, "what is mostly another image is no test"
    assert table["seen"].to_list() == [2, 0]


def test_one_logit_speaks_of_two_classes() -> None:
    one, two = Tracker(3), Tracker(3)
    z, labels = np.array([1.0, -2.0, 0.5]), np.array([1, 1, 0])
    whole = labels.astype(np.float32)  # as binary losses want them
    for tracker, logits, said in [
        (one, z, whole),
        (two, np.stack([np.zeros(3), z], axis=1), labels),
    ]:
        tracker.update([0, 1, 2], logits, said)
        tracker.end_epoch()
    assert_alike(one, two)


def test_log_probabilities_are_logits() -> None:
    logits, labels = story()
    assert_alike(told(np.log(softmax(logits)), labels), told(logits, labels), rtol=1e-6)


def test_nan_is_kept_apart_and_told() -> None:
    logits, labels = story()
    logits[2, 7] = np.nan
    logits[3, 7, 0] = np.inf
    tracker = told(logits, labels)
    row = tracker.statistics().row(7, named=True)
    fine = told(logits[[0, 1, 4, 5]], labels).statistics().row(7, named=True)
    assert (row["broken"], row["seen"]) == (2, 6)
    assert row["margin"] == pytest.approx(fine["margin"])
    with pytest.warns(LabelfixWarning, match=r"1 items were NaN or infinite \(row 7\)"):
        tracker.issues(labels)
    named = told(logits, labels, Tracker(dataset(labels)))
    with pytest.warns(LabelfixWarning, match=r"NaN or infinite \('7.png'\)"):
        named.issues(dataset(labels))


def test_a_nan_loss_of_the_loop_is_told_though_the_logits_are_fine() -> None:
    tracker = Tracker(2)
    tracker.update([0, 1], [[1.0, 0.0], [1.0, 0.0]], [0, 0], loss=[np.nan, 3.0])
    tracker.update([0, 1], [[1.0, 0.0], [1.0, 0.0]], [0, 0], loss=[1.0, 5.0])
    table = tracker.statistics()
    assert table["broken"].to_list() == [1, 0]
    assert table["loss"].to_list() == [1.0, 4.0]
    assert table["margin"].to_list() == [1.0, 1.0]


def test_changed_labels_are_counted_and_the_last_one_is_kept() -> None:
    tracker = Tracker(2)
    for label in (0, 1, 1, 0):
        tracker.update([0, 1], [[1.0, 0.0], [1.0, 0.0]], [label, 1])
        tracker.end_epoch()
    table = tracker.statistics()
    assert table["relabelled"].to_list() == [2, 0]
    assert table["label"].to_list() == [0, 1]
    with pytest.warns(LabelfixWarning, match="labels of 1 items changed"):
        tracker.issues([0, 1])


@pytest.mark.parametrize("parts", [1, 2, 3])
def test_processes_merge_into_what_one_would_have_seen(parts: int) -> None:
    logits, labels = story()
    each = [Tracker(N) for _ in range(parts)]
    for epoch, one in enumerate(logits):
        share = np.random.default_rng(epoch).integers(0, parts, N)
        for number, tracker in enumerate(each):
            rows = np.flatnonzero(share == number)
            tracker.update(rows, one[rows], labels[rows])
            tracker.end_epoch()
    merged = each[0].merge(*each[1:])
    assert_alike(merged, told(logits, labels))
    np.testing.assert_allclose(merged.mean_probs(), told(logits, labels).mean_probs(), rtol=1e-5)


def test_merging_leaves_the_parts_alone() -> None:
    logits, labels = story()
    one, other = told(logits, labels), told(logits, labels)
    before = one.statistics()
    one.merge(other)
    assert one.statistics().equals(before)


def test_trackers_of_other_datasets_are_not_merged() -> None:
    logits, labels = story()
    ours = told(logits, labels)
    others = [Tracker(N + 1), Tracker([str(k + 1) for k in range(N)]), Tracker(N, list("abcd"))]
    with pytest.raises(InputError, match="3 problems") as caught:
        ours.merge(*others)
    assert [problem.where for problem in caught.value.problems] == [
        f"tracker {k}" for k in (2, 3, 4)
    ]
    with pytest.raises(InputError, match="tracker 2: found a str; expected a Tracker"):
        ours.merge("dynamics.npz")  # type: ignore[arg-type] # what is refused


@pytest.mark.parametrize("cut", [0, 1, 17, 35])
def test_a_training_cut_short_goes_on_where_it_was(cut: int, tmp_path: Path) -> None:
    logits, labels = story()
    data = dataset(labels)
    whole, first, steps = Tracker(data), Tracker(data), 0
    second: Tracker | None = None
    for one in logits:
        for rows in np.array_split(np.arange(N), 5):
            if steps == cut:
                first.save(tmp_path / "at.npz")
                second = Tracker(data)
                second.load_state_dict(Tracker.load(tmp_path / "at.npz").state_dict())
            for tracker in (whole, second or first):
                tracker.update(rows, one[rows], labels[rows])
            steps += 1
        for tracker in (whole, second or first):
            tracker.end_epoch()
    if second is None:
        first.save(tmp_path / "at.npz")
        second = Tracker.load(tmp_path / "at.npz")
    assert_alike(second, whole)
    assert second.epoch == E


def test_a_state_of_another_dataset_is_refused() -> None:
    logits, labels = story()
    with pytest.raises(InputError, match="other items or classes"):
        Tracker(N + 1).load_state_dict(told(logits, labels).state_dict())


def test_what_is_no_tracker_is_refused(tmp_path: Path) -> None:
    (tmp_path / "text.npz").write_text("hello")
    np.savez(tmp_path / "other.npz", x=np.zeros(3))
    np.save(tmp_path / "plain.npy", np.zeros(3))
    np.savez(tmp_path / "newer.npz", about=np.frombuffer(b'{"schema_version": 99}', np.uint8))
    for name, text in [
        ("text.npz", "is not what a tracker of items wrote"),
        ("other.npz", "is not what a tracker of items wrote"),
        ("plain.npy", "is not what a tracker of items wrote"),
        ("newer.npz", "newer labelfix"),
        ("none.npz", "No such file"),
    ]:
        with pytest.raises(RunError, match=text):
            Tracker.load(tmp_path / name)
    nothing: list[Any] = [{}, None]
    for state in nothing:
        with pytest.raises(RunError, match="the state is not what a tracker"):
            Tracker(3).load_state_dict(state)


def test_a_damaged_file_is_refused(tmp_path: Path) -> None:
    logits, labels = story()
    state = told(logits, labels).state_dict()["npz"]
    whole = dict(np.load(io.BytesIO(state)))
    for name in sorted(set(whole) - {"about"}):
        np.savez(tmp_path / "short.npz", **{**whole, name: whole[name][..., :1]})
        if whole[name].shape != whole[name][..., :1].shape:
            with pytest.raises(RunError, match=rf"not of {N} items and {K} classes: {name}"):
                Tracker.load(tmp_path / "short.npz")
    rng = np.random.default_rng(0)
    for _ in range(200):
        damaged = np.frombuffer(state, np.uint8).copy()
        damaged[rng.integers(len(damaged), size=2)] = rng.integers(256, size=2)
        with contextlib.suppress(RunError):  # what says nothing of the tracker may be damaged
            Tracker.restored({"npz": damaged.tobytes()})


def test_a_tracker_that_cannot_be_written_says_so(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="No such file or directory"):
        Tracker(3).save(tmp_path / "none" / "dynamics.npz")


@pytest.mark.parametrize("keep_probs", [True, False])
def test_a_state_that_kept_other_things_is_refused(keep_probs: bool) -> None:
    logits, labels = story()
    state = told(logits, labels, Tracker(N, keep_probs=keep_probs)).state_dict()
    with pytest.raises(InputError, match=f"keep_probs={keep_probs}"):
        Tracker(N, keep_probs=not keep_probs).load_state_dict(state)


def test_a_state_has_no_pickle_in_it() -> None:
    logits, labels = story()
    with np.load(io.BytesIO(told(logits, labels).state_dict()["npz"]), allow_pickle=False) as state:
        assert all(state[name].dtype.kind in "fiub" for name in state)


@pytest.mark.parametrize(
    ("items", "logits", "labels", "more", "text"),
    [
        ([0, 9], np.zeros((2, 3)), [0, 1], {}, "items: found 1 out of range, such as 9"),
        ([0, -1], np.zeros((2, 3)), [0, 1], {}, "items: found 1 out of range, such as -1"),
        ([0.0, 1.0], np.zeros((2, 3)), [0, 1], {}, "items: found float64"),
        ([0, 1], np.zeros((2, 3)), [0, 3], {}, "labels: found 1 out of range, such as 3"),
        ([0, 1], np.zeros((2, 3)), [0, -100], {}, "labels: .* -100"),
        ([0, 1], np.zeros((2, 3)), [0, 0.5], {}, "labels: found 1 out of range, such as 0.5"),
        ([0, 1], np.zeros((2, 3)), [0, np.nan], {}, "labels: found 1 out of range, such as nan"),
        ([0, 1], np.zeros((2, 3)), ["a", "b"], {}, "labels: found str"),
        ([0, 1], np.zeros((2, 5)), [0, 1], {}, "logits: found 5 classes; expected 3, as before"),
        ([0, 1], np.zeros((3, 3)), [0, 1], {}, "logits: found shape"),
        ([0, 1], np.zeros((2, 3, 3)), [0, 1], {}, "logits: found shape"),
        ([0, 1], np.zeros((2, 3)), [0], {}, "labels: found shape"),
        ([0, 1], np.zeros((2, 3)), [0, 1], {"loss": 0.5}, "reduction='none'"),
        ([0, 1], np.zeros((2, 3)), [0, 1], {"weights": [0.5, 2]}, "weights: found 2"),
        (["a", "b"], np.zeros((2, 3)), [0, 1], {}, "give the ids to Tracker"),
        ([True, False], np.zeros((2, 3)), [0, 1], {}, "items: found bool; expected whole numbers"),
        (1, np.zeros((1, 3)), [0], {}, r"items: found shape \(\)"),
        ([0, 1], np.zeros((2, 3)), None, {}, "labels: found None"),
        ([0, 1], None, [0, 1], {}, "logits: found None"),
        ([0, 1], np.zeros((2, 0)), [0, 1], {}, "logits: found shape"),
        ([0, 1], [[1.0, 2.0, 3.0], [1.0]], [0, 1], {}, "logits: found rows of different lengths"),
        ([0, 1], [["a"] * 3] * 2, [0, 1], {}, "logits: found str.*; expected real numbers"),
        ([0, 1], np.zeros((2, 3), complex), [0, 1], {}, "logits: found complex128"),
        ([0, 1], np.zeros((2, 3)), [0, 1], {"loss": ["a", "b"]}, "loss: found str"),
        ([0, 1], np.zeros((2, 3)), [0, 1], {"weights": ["a", "b"]}, "weights: found str"),
    ],
)
def test_bad_batches_are_refused_and_change_nothing(
    items: Any, logits: Any, labels: Any, more: Any, text: str
) -> None:
    tracker = Tracker(3)
    tracker.update([0, 1, 2], np.eye(3), [0, 1, 2])
    before = tracker.statistics()
    with pytest.raises(InputError, match=text):
        tracker.update(items, logits, labels, **more)
    assert tracker.statistics().equals(before)


def test_unknown_ids_and_known_widths_are_refused() -> None:
    tracker = Tracker(["a", "b"], ["x", "y"])
    with pytest.raises(InputError, match="unknown ids: 'c'"):
        tracker.update(["a", "c"], np.zeros((2, 2)), [0, 1])
    with pytest.raises(InputError, match="3 classes; expected 2"):
        tracker.update(["a", "b"], np.zeros((2, 3)), [0, 1])
    with pytest.raises(InputError, match="3 classes; expected 0"):
        Tracker(["a", "b"], []).update(["a", "b"], np.zeros((2, 3)), [0, 1])
    with pytest.raises(InputError, match="1 ids twice"):
        Tracker(["a", "a"])
    with pytest.raises(InputError, match="one item at least"):
        Tracker(0)


def test_items_are_a_number_or_texts() -> None:
    assert len(Tracker(np.int64(5))) == 5
    for items, text in [
        ([7, 8, 9], "ids such as 7; expected text; give their number"),
        ("abc", "found a str; expected a dataset"),
        (None, "found a NoneType"),
        (2.5, "found a float"),
    ]:
        with pytest.raises(InputError, match=text):
            Tracker(items)  # type: ignore[arg-type] # what is refused


def test_a_batch_of_nothing_changes_nothing() -> None:
    tracker = Tracker(3)
    for k in (3, 4):
        tracker.update(np.zeros(0, int), np.zeros((0, k)), np.zeros(0, int))
    tracker.update([], [], [])
    tracker.update([0, 1, 2], np.eye(3), [0, 1, 2])
    assert tracker.statistics()["seen"].to_list() == [1, 1, 1]


def test_one_logit_and_two_may_take_turns() -> None:
    tracker = Tracker(1)
    for sight in ([1.0], [[0.0, 1.0]], [[1.0]]):
        tracker.update([0], sight, [1])
    assert tracker.statistics().select("seen", "margin").row(0) == (3, 1.0)


def test_bad_questions_are_refused() -> None:
    logits, labels = story()
    tracker = told(logits, labels, Tracker(N, threshold_class=True))
    with pytest.raises(InputError, match="k: found -1"):
        tracker.suspects(-1)
    with pytest.raises(InputError, match="k: found -1"):
        tracker.kept_rows(-1)
    with pytest.raises(InputError, match="percentile: found 101"):
        tracker.below_threshold(101)
    with pytest.raises(InputError, match=r"(?s)share: found 1\.5.*labels: found others"):
        threshold_labels([0, 3], 3, share=1.5)
    with pytest.raises(InputError, match="labels: found others, of type float64"):
        threshold_labels([0.5, 1], 3)


def test_a_tracker_that_saw_nothing_says_so() -> None:
    tracker = Tracker(2)
    tracker.end_epoch()
    for ask in (tracker.statistics, tracker.suspects, tracker.weights, tracker.mean_probs):
        with pytest.raises(InputError, match="nothing was seen yet"):
            ask()


def test_issues_are_those_of_find_on_the_mean_probabilities() -> None:
    logits, labels = story()
    tracker = told(logits, labels, Tracker(dataset(labels)))
    issues = tracker.issues(dataset(labels))
    mean = softmax(logits).mean(axis=0)
    expected = find_issues(dataset(labels), mean / mean.sum(axis=1, keepdims=True))
    assert issues.columns == list(CLASS_ISSUES)
    assert issues["item_id"].to_list() == expected["item_id"].to_list()
    np.testing.assert_allclose(issues["quality"], expected["quality"], rtol=1e-5)


def test_out_of_fold_predictions_are_joined_as_in_training() -> None:
    logits, labels = story()
    tracker = told(logits, labels)
    held_out = Predictions(softmax(logits[0]), tuple("0123"), model="held out")
    joined = tracker.predictions(dataset(labels), held_out)
    assert joined.train_pred_probs is not None
    np.testing.assert_array_equal(joined.train_pred_probs, tracker.mean_probs())
    assert tracker.issues(dataset(labels), held_out).equals(find_issues(dataset(labels), joined))
    plain = tracker.predictions(dataset(labels), held_out.pred_probs.tolist())
    assert plain.class_names == tuple("0123")
    np.testing.assert_array_equal(plain.train_pred_probs, tracker.mean_probs())
    turned = Predictions(softmax(logits[0])[:, ::-1], tuple("3210"))
    seen = tracker.predictions(dataset(labels), turned).train_pred_probs
    assert seen is not None
    np.testing.assert_array_equal(seen[:, ::-1], tracker.mean_probs())


def test_a_part_of_the_dataset_in_another_order_finds_its_items() -> None:
    logits, labels = story()
    data = dataset(labels)
    tracker = told(logits, labels, Tracker(data))
    rows = np.array([7, 2, 5])
    found = tracker.predictions(data.take(rows)).pred_probs
    np.testing.assert_array_equal(found, tracker.mean_probs()[rows])


def test_datasets_that_do_not_fit_are_refused() -> None:
    logits, labels = story()
    more = dataset(np.append(labels, 0))
    with pytest.raises(
        InputError, match=r"1 items that the tracker does not know, such as '12.png'"
    ):
        told(logits, labels, Tracker(dataset(labels))).issues(more)
    with pytest.raises(InputError, match="13 items, where the tracker has 12"):
        told(logits, labels).issues(more)
    with pytest.raises(InputError, match="keep_probs=False"):
        told(logits, labels, Tracker(N, keep_probs=False)).issues(labels)
    with pytest.raises(InputError, match="classes a, b"):
        told(logits, labels).issues(labels, Predictions(np.full((N, 2), 0.5), ("a", "b")))
    with pytest.raises(InputError, match="3 rows"):
        told(logits, labels).issues(labels, Predictions(np.full((3, K), 0.25), tuple("0123")))


def test_labels_that_are_not_those_of_the_training_are_told() -> None:
    logits, labels = story()
    tracker = told(logits, labels, Tracker(dataset(labels)))
    with pytest.warns(LabelfixWarning, match="12 labels of the dataset are not those"):
        tracker.issues(dataset((labels + 1) % K))


@pytest.mark.parametrize("by", sorted(LOW_IS_SUSPICIOUS))
def test_planted_errors_are_the_suspects(by: str) -> None:
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 3, 300)
    labels = np.where(np.arange(300) < 15, (truth + 1) % 3, truth)
    logits = rng.normal(0, 1, (8, 300, 3))
    for epoch in range(8):  # the true class first, the labels later, and never fully
        logits[epoch, np.arange(300), truth] += 3 + 0.2 * epoch
        logits[epoch, np.arange(300), labels] += 0.2 * epoch
    tracker = told(logits, labels)
    found = tracker.suspects(15, by)["item_id"].cast(pl.Int64) < 15
    if by in {"margin", "confidence", "el2n", "loss", "correctness"}:
        assert found.mean() == 1
    kept = tracker.kept_rows(15, by)
    assert len(kept) == 285
    assert (np.diff(kept) > 0).all()


def test_weights_doubt_what_the_network_doubts() -> None:
    tracker = Tracker(3)
    tracker.update([0, 1, 2], [[5.0, 0.0], [0.0, 0.0], [0.0, 3.0]], [0, 0, 0])
    np.testing.assert_allclose(tracker.weights(), [1, 1, 2 / (1 + np.exp(3))], rtol=1e-6)


def test_what_cannot_be_ranked_by_is_refused() -> None:
    logits, labels = story()
    with pytest.raises(InputError, match="one of margin, confidence"):
        told(logits, labels).suspects(3, by="label")


def test_threshold_class_tells_wrong_labels() -> None:
    rng = np.random.default_rng(3)
    n, k = 400, 4
    truth = rng.integers(0, k, n)
    labels = np.where(np.arange(n) < 40, (truth + 1) % k, truth)
    moved = threshold_labels(labels, k, seed=5)
    assert (moved == k).sum() == n // (k + 1)
    assert (moved[moved != k] == labels[moved != k]).all()
    logits = rng.normal(0, 0.5, (5, n, k + 1))
    logits[:, np.arange(n), truth] += 3
    tracker = told(logits, moved, Tracker(n, list("abcd"), threshold_class=True))
    below = tracker.below_threshold()
    asked = moved != k
    assert below[asked & (np.arange(n) < 40)].all()
    assert below[asked & (np.arange(n) >= 40)].mean() < 0.05
    assert not below[~asked].any()
    assert tracker.mean_probs().shape == (n, k)
    with pytest.raises(InputError, match="threshold_labels"):
        told(logits[..., :k], labels).below_threshold()


def test_noise_matrix_says_which_classes_were_mixed_up() -> None:
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 3, 3000)
    flipped = (truth == 0) & (rng.random(3000) < 0.3)
    labels = np.where(flipped, 1, truth)
    logits = rng.normal(0, 0.3, (2, 3000, 3))
    logits[:, np.arange(3000), truth] += 4
    matrix = told(logits, labels, batch=500).noise_matrix()
    mixed = np.array([[0.7, 0.3, 0], [0, 1, 0], [0, 0, 1]])
    np.testing.assert_allclose(matrix, mixed, atol=0.04)


def test_memory_is_at_most_32_bytes_an_item_and_statistic() -> None:
    n, k, epochs = 5000, 10, 128
    tracker = Tracker(n)
    logits = np.zeros((n, k), dtype=np.float32)
    for _ in range(epochs):
        tracker.update(np.arange(n), logits, np.zeros(n, dtype=int))
        tracker.end_epoch()
    statistics = len(tracker.statistics().columns) - 1 + k
    held = sum(array.nbytes for array in tracker._counts.arrays().values())
    assert held / n / statistics < 32


def test_watching_loads_no_torch() -> None:
    code = (
        "import sys, labelfix; t = labelfix.training.Tracker(2)\n"
        "t.update([0, 1], [[1., 0.], [0., 1.]], [0, 1]); t.end_epoch(); t.issues([0, 1])\n"
        "print('torch' in sys.modules)"
    )
    call = [sys.executable, "-c", code]
    done = subprocess.run(call, capture_output=True, text=True, check=True, timeout=120)
    assert done.stdout.strip() == "False"


@pytest.fixture
def photos(tmp_path: Path, paint: Any) -> Dataset:
    """A folder of images, read."""
    for row in range(N):
        paint(tmp_path / "photos" / "abcd"[row % K] / f"{row}.png", seed=row)
    return read(tmp_path / "photos")


def find_with(tmp_path: Path, dynamics: Path, **more: Any) -> Any:
    given = {"path": str(tmp_path / "photos"), "dynamics": str(dynamics)} | more
    return find(FindOptions(**given), tmp_path / "run")


@pytest.mark.parametrize("by", ["dataset", "number"])
def test_find_takes_dynamics_in_place_of_a_model(by: str, photos: Dataset, tmp_path: Path) -> None:
    logits, labels = story()[0], photos.labels
    tracker = told(logits, labels, Tracker(photos if by == "dataset" else N))
    tracker.save(tmp_path / "seen.npz")
    run = find_with(tmp_path, tmp_path / "seen.npz")
    assert run.info.models[0].name == "training"
    assert run.queue().equals(tracker.issues(photos))


def test_find_joins_dynamics_with_a_model(photos: Dataset, tmp_path: Path) -> None:
    logits, labels = story()[0], photos.labels
    told(logits, labels, Tracker(photos)).save(tmp_path / "seen.npz")
    run = find_with(tmp_path, tmp_path / "seen.npz", model="pixels+knn", folds=3)
    assert set(run.info.findings.weights) == {"1: pixels+knn", "1: pixels+knn, in training"}


def test_items_never_seen_are_not_made_suspicious(photos: Dataset) -> None:
    logits, labels = story()[0], photos.labels
    tracker = Tracker(photos)
    tracker.update(np.arange(1, N), logits[0][1:], labels[1:])
    tracker.end_epoch()
    with pytest.warns(LabelfixWarning, match="1 of 12 items were never seen"):
        alone = tracker.predictions(photos).pred_probs
    alike = np.flatnonzero(labels == labels[0])[1:]
    np.testing.assert_allclose(alone[0], alone[alike].mean(axis=0), rtol=1e-5)
    known = np.full((N, K), 1 / K, np.float32)
    known[0] = [0.7, 0.1, 0.1, 0.1]
    with pytest.warns(LabelfixWarning, match="1 of 12 items were never seen"):
        both = tracker.predictions(photos, known)
    assert both.train_pred_probs is not None
    np.testing.assert_allclose(both.train_pred_probs[0], known[0])
    np.testing.assert_allclose(both.train_pred_probs[1:], alone[1:])


def test_an_infinite_loss_is_counted_and_warns_of_nothing() -> None:
    tracker = Tracker(2, keep_losses=True)
    tracker.update([0, 1], [[1.0, 0.0], [0.0, 1.0]], [0, 1], [np.inf, 0.5])
    tracker.end_epoch()
    assert tracker.statistics()["broken"].to_list() == [1, 0]
    assert tracker.statistics()["loss"].to_list() == [None, 0.5]


def test_find_joins_dynamics_with_ready_made_predictions(tmp_path: Path) -> None:
    logits, labels = story()
    told(logits, labels).save(tmp_path / "seen.npz")
    np.save(tmp_path / "labels.npy", labels)
    np.save(tmp_path / "p.npy", softmax(logits[0]))
    files: dict[str, Any] = {"path": None, "labels": str(tmp_path / "labels.npy")}
    files |= {"pred_probs": (str(tmp_path / "p.npy"),)}
    run = find_with(tmp_path, tmp_path / "seen.npz", **files)
    assert set(run.info.findings.weights) == {"1: p.npy", "1: p.npy, in training"}


def test_find_refuses_dynamics_of_other_items(photos: Dataset, tmp_path: Path) -> None:
    logits, labels = story()
    told(logits, labels, Tracker(dataset(labels))).save(tmp_path / "seen.npz")
    with pytest.raises(InputError, match="12 items that the tracker does not know"):
        find_with(tmp_path, tmp_path / "seen.npz")
    with pytest.raises(RunError, match="No such file"):
        find_with(tmp_path, tmp_path / "none.npz")


def test_dynamics_that_are_none_are_refused_before_a_model_is_trained(
    photos: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def work(*arguments: Any, **options: Any) -> None:
        raise AssertionError("long work")

    monkeypatch.setattr("labelfix.predict.out_of_fold", work)
    with pytest.raises(RunError, match="No such file"):
        find_with(tmp_path, tmp_path / "none.npz", model="pixels+knn")
    logits, labels = story()
    told(logits, labels, Tracker(dataset(labels))).save(tmp_path / "seen.npz")
    with pytest.raises(InputError, match="12 items that the tracker does not know"):
        find_with(tmp_path, tmp_path / "seen.npz", model="pixels+knn")
    for tracker in (Tracker(N, ["w", "x", "y", "z"]), Tracker(N, threshold_class=True)):
        told(logits, np.minimum(labels, K - 2), tracker).save(tmp_path / "seen.npz")
        with pytest.raises(InputError, match="found classes a, b, c, d; expected the tracker's"):
            find_with(tmp_path, tmp_path / "seen.npz", model="pixels+knn")
