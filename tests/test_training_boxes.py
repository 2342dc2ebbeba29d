"""A watched detector: losses of given boxes, from the loop to the queue."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw

import labelfix
from labelfix.boxes import iou
from labelfix.cli import main
from labelfix.errors import InputError, LabelfixWarning, RunError
from labelfix.run import FindOptions, find
from labelfix.schema import BOX, BoxKind, BoxPredictions, Dataset
from labelfix.score.boxes import BoxParams, BoxScores
from labelfix.score.boxes import losses as box_losses
from labelfix.training import Tracker
from labelfix.training.boxes import BoxTracker

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "training.md"


def example(heading: str) -> str:
    section = PAGE.read_text(encoding="utf-8").partition(f"## {heading}\n")[2].partition("\n## ")[0]
    (code,) = re.findall(r"^```python\n(.*?)^```", section, flags=re.MULTILINE | re.DOTALL)
    return str(code)


def made_up(n: int = 6) -> Dataset:
    """Two boxes an image, of two classes."""
    names = [f"{i // 2}.png" for i in range(n)]
    given = pl.DataFrame(
        {
            "annotation_id": [f"box {i}" for i in range(n)],
            "item_id": names,
            "label": ["cat", "dog"] * (n // 2),
            **{edge: np.arange(n) * 10.0 + i // 2 * 8 for i, edge in enumerate(BOX)},
            "crowd": [False] * n,
        }
    )
    items = pl.DataFrame({"item_id": names}).unique(maintain_order=True)
    return Dataset(items, given, ("cat", "dog"), "memory")


def drawn(folder: Path, n: int = 16) -> Dataset:
    """Write images of two boxes each, a red and a blue one, three quarters of them to train on."""
    rng = np.random.default_rng(0)
    for row in range(n):
        split = "train" if row < n * 3 // 4 else "val"
        picture, lines = Image.new("RGB", (96, 64), (120, 120, 120)), []
        for k, colour in enumerate([(230, 30, 30), (30, 30, 230)]):
            width, height = rng.integers(20, 40, 2)
            x, y = rng.integers(0, 48 - width) + 48 * k, rng.integers(0, 64 - height)
            ImageDraw.Draw(picture).rectangle((x, y, x + width - 1, y + height - 1), fill=colour)
            middle = (x + width / 2) / 96, (y + height / 2) / 64
            lines.append(f"{k} {middle[0]} {middle[1]} {width / 96} {height / 64}")
        for kind, suffix in (("images", "png"), ("labels", "txt")):
            (folder / kind / split).mkdir(parents=True, exist_ok=True)
            path = folder / kind / split / f"{row:02}.{suffix}"
            if kind == "images":
                picture.save(path)
            else:
                path.write_text("\n".join(lines))
    data = f"path: {folder}\ntrain: images/train\nval: images/val\nnames: [red, blue]\n"
    (folder / "data.yaml").write_text(data)
    return labelfix.read(folder / "data.yaml")


def watched(dataset: Dataset, losses: Any, part: slice = slice(None)) -> BoxTracker:
    """Of losses of shape (epochs, boxes, 2), those of some boxes."""
    tracker = BoxTracker(dataset)
    rows = np.arange(len(tracker))[part]
    for epoch in losses:
        tracker.update(rows, *epoch[rows].T)
        tracker.end_epoch()
    return tracker


# the tracker


@given(st.integers(2, 6), st.integers(0, 99))
@settings(max_examples=30, deadline=None)
def test_means_and_slopes_are_those_of_the_looks(epochs: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    losses = rng.random((epochs, 6, 2))
    losses[rng.random((epochs, 6)) < 0.2] = np.nan  # not every box is well every time
    table = watched(made_up(), losses).statistics()
    for part, name in enumerate(("class_loss", "location_loss")):
        for row in range(6):
            fine = np.flatnonzero(np.isfinite(losses[:, row, part]))
            own = table[row, name], table[row, f"{name}_slope"]
            assert table[row, "broken"] == epochs - len(fine)
            if len(fine) == 0:
                assert own == (None, None)
                continue
            assert own[0] == pytest.approx(losses[fine, row, part].mean())
            if len(fine) > 1:
                assert own[1] == pytest.approx(np.polyfit(fine, losses[fine, row, part], 1)[0])
    assert table["seen"].to_list() == [epochs] * 6


def test_boxes_are_known_by_id_and_by_row() -> None:
    dataset, losses = made_up(), np.random.default_rng(0).random((2, 6, 2))
    by_id = BoxTracker(dataset)
    for epoch in losses:
        order = np.random.default_rng(1).permutation(6)
        names = dataset.annotations["annotation_id"].gather(order).to_list()
        by_id.update(names, *epoch[order].T)
        by_id.end_epoch()
    assert by_id.statistics().equals(watched(dataset, losses).statistics())


@pytest.mark.parametrize("boxes", [[6], [-1], ["box 9"], [0.5], [True]])
def test_boxes_of_another_dataset_are_refused(boxes: Any) -> None:
    with pytest.raises(InputError, match="1 that are none of the dataset's"):
        BoxTracker(made_up()).update(boxes, [0.1], [0.1])


def test_losses_of_another_length_are_refused_both_at_once() -> None:
    with pytest.raises(InputError) as caught:
        BoxTracker(made_up()).update([0, 1], [0.1], [0.1, 0.2, 0.3])
    assert [problem.where for problem in caught.value.problems] == ["class_loss", "location_loss"]


def test_losses_that_are_no_numbers_are_refused() -> None:
    tracker = BoxTracker(made_up())
    with pytest.raises(InputError, match="class_loss: found str"):
        tracker.update([0], ["a"], [0.1])
    with pytest.raises(InputError, match=r"boxes: found shape \(1, 1\)"):
        tracker.update([[0]], [[0.1]], [[0.1]])
    with pytest.raises(InputError, match="k: found -1"):
        tracker.suspects(-1)


@pytest.mark.parametrize("precision", ["float16", "bfloat16"])
def test_losses_may_be_in_half_precision(precision: str) -> None:
    torch = pytest.importorskip("torch")
    tracker = BoxTracker(made_up())
    loss = torch.tensor([0.5, 0.25], requires_grad=True).to(getattr(torch, precision))
    tracker.update(torch.tensor([0, 1]), loss, loss)
    assert tracker.statistics()["class_loss"].to_list()[:2] == [0.5, 0.25]


def test_class_labels_are_refused() -> None:
    items = pl.DataFrame({"item_id": ["a"]})
    labels = items.with_columns(annotation_id="item_id", label=pl.lit("cat"))
    with pytest.raises(InputError, match="use Tracker"):
        BoxTracker(Dataset(items, labels, ("cat",), "memory"))


def test_boxes_are_refused_where_items_are_watched() -> None:
    with pytest.raises(InputError, match="dataset: found boxes; expected class labels; use Box"):
        Tracker(made_up())


def test_a_tracker_that_saw_nothing_says_so() -> None:
    tracker = BoxTracker(made_up())
    tracker.end_epoch()
    with pytest.raises(InputError, match="nothing was seen yet"):
        tracker.statistics()


def test_processes_are_put_together() -> None:
    dataset, losses = made_up(), np.random.default_rng(0).random((3, 6, 2))
    parts = [watched(dataset, losses, part) for part in (slice(0, 4), slice(4, 6))]
    merged, whole = parts[0].merge(parts[1]), watched(dataset, losses)
    assert merged.epoch == 3
    assert merged.statistics().equals(whole.statistics())
    assert parts[0].statistics()["seen"].to_list() == [3, 3, 3, 3, 0, 0]


def test_trackers_of_other_boxes_are_refused() -> None:
    tracker, dataset = BoxTracker(made_up()), made_up()
    with pytest.raises(InputError, match="tracker 2: found a Tracker; expected a BoxTracker"):
        tracker.merge(Tracker(6))  # type: ignore[arg-type] # what is refused
    for other in (
        made_up(4),
        Dataset(dataset.items, dataset.annotations, ("dog", "cat"), "memory"),
        Dataset(
            dataset.items,
            dataset.annotations.with_columns(x1=pl.col("x1") - 1),
            dataset.class_names,
            "memory",
        ),
    ):
        with pytest.raises(InputError, match="other boxes or classes"):
            tracker.merge(BoxTracker(other))
        with pytest.raises(InputError, match="other boxes or classes"):
            tracker.load_state_dict(BoxTracker(other).state_dict())


def test_a_saved_tracker_goes_on(tmp_path: Path) -> None:
    dataset, losses = made_up(), np.random.default_rng(0).random((4, 6, 2))
    watched(dataset, losses[:2]).save(tmp_path / "dynamics.npz")
    again = BoxTracker.load(tmp_path / "dynamics.npz")
    resumed = BoxTracker(dataset)
    resumed.load_state_dict(again.state_dict())
    for epoch in losses[2:]:
        resumed.update(np.arange(6), *epoch.T)
        resumed.end_epoch()
    assert resumed.epoch == 4
    assert resumed.fingerprint == BoxTracker(dataset).fingerprint
    assert resumed.statistics().equals(watched(dataset, losses).statistics())


def test_other_files_are_refused(tmp_path: Path) -> None:
    tracker = Tracker(2)
    tracker.update([0, 1], np.eye(2), [0, 1])
    tracker.save(tmp_path / "labels.npz")
    (tmp_path / "text.npz").write_text("no")
    for name in ("labels.npz", "text.npz", "none.npz"):
        with pytest.raises(RunError, match=name):
            BoxTracker.load(tmp_path / name)
    with pytest.raises(RunError, match="the state is not what a tracker of boxes wrote"):
        BoxTracker(made_up()).load_state_dict({})


def test_two_losses_of_one_box_are_refused() -> None:
    dataset, found = judged()
    losses = watched(dataset, np.full((1, 40, 2), 0.1)).predictions(dataset, found).losses
    assert losses is not None
    with pytest.raises(InputError, match="2 rows with an annotation_id that others have too"):
        BoxPredictions(found, dataset.class_names, losses=pl.concat([losses, losses[3:4]]))


def test_a_box_costs_at_most_32_bytes_a_statistic() -> None:
    tracker = BoxTracker(made_up())
    statistics = 4  # mean and slope of two losses
    assert sum(one.nbytes for one in tracker._sums_by_name().values()) / 6 <= 32 * statistics
    before = len(watched(made_up(), np.ones((1, 6, 2))).state_dict()["npz"])
    after = len(watched(made_up(), np.ones((100, 6, 2))).state_dict()["npz"])
    assert after <= before + 8  # the number of epochs has more digits


def test_suspects_and_images_begin_with_the_highest_loss() -> None:
    losses = np.zeros((2, 6, 2))
    losses[:, 4, 0], losses[:, 1, 1] = 3.0, 0.9
    tracker = watched(made_up(), losses)
    assert tracker.suspects(1)["annotation_id"].to_list() == ["box 4"]
    assert tracker.suspects(1, by="location_loss")["annotation_id"].to_list() == ["box 1"]
    assert tracker.images().row(0) == ("2.png", 2, 1.5, 0.0)
    with pytest.raises(InputError, match="by: found 'loss'"):
        tracker.suspects(1, by="loss")


# the losses


@given(st.integers(1, 14), st.integers(1, 40), st.booleans(), st.integers(0, 99))
@settings(max_examples=30, deadline=None)
def test_losses_are_those_of_the_best_aligned_predictions(
    predicted: int, boxes: int, by_class: bool, seed: int
) -> None:
    torch = pytest.importorskip("torch")
    from labelfix.training.alignment import Alignment

    rng = np.random.default_rng(seed)
    corners = rng.random((predicted, 3, 4)) * 20
    corners[..., 2:] += corners[..., :2]
    probs, labels = rng.random((predicted, 3)), rng.integers(0, 3, boxes)
    box = np.concatenate([rng.random((boxes, 2)) * 10, rng.random((boxes, 2)) * 10 + 15], axis=1)
    where = corners if by_class else corners[:, 0]
    tensors = (torch.tensor(one) for one in (where, probs, box, labels))
    said = Alignment(most=4).losses(*tensors)
    for row in range(boxes):
        own = corners[:, labels[row]] if by_class else corners[:, 0]
        overlap = iou(own, box[row])
        p = probs[:, labels[row]] * (overlap > 0)
        aligned = (p + 1e-7) ** 0.5 * (overlap + 1e-7) ** 6
        best = np.argsort(-aligned)[:4]
        weight = aligned[best] / aligned[best].sum()
        np.testing.assert_allclose(said[0][row], -weight @ np.log(p[best] + 1e-7), rtol=1e-3)
        np.testing.assert_allclose(said[1][row], 1 - weight @ overlap[best], atol=1e-4)


def test_where_nothing_is_predicted_losses_are_the_highest() -> None:
    torch = pytest.importorskip("torch")
    from labelfix.training.alignment import Alignment

    box, label = torch.tensor([[0.0, 0, 10, 10]]), torch.tensor([1])
    for shape in ((0, 4), (0, 3, 4)):
        said = Alignment().losses(torch.zeros(shape), torch.zeros(0, 3), box, label)
        assert [round(one.item(), 2) for one in said] == [16.12, 1.0]


def test_what_lies_elsewhere_says_nothing_of_the_class_of_a_box() -> None:
    torch = pytest.importorskip("torch")
    from labelfix.training.alignment import Alignment

    box, label = torch.tensor([[0.0, 0, 10, 10]]), torch.tensor([1])
    sure = torch.tensor([[0.0, 0.99, 0.0]])
    said = Alignment().losses(torch.tensor([[50.0, 50, 60, 60]]), sure, box, label)
    assert [round(one.item(), 2) for one in said] == [16.12, 1.0]


def small_models() -> dict[str, Any]:
    """One detector of each family, a few thousand weights each."""
    torch = pytest.importorskip("torch")
    detection = pytest.importorskip("torchvision").models.detection
    anchors = detection.anchor_utils

    def backbone(out_channels: Any = 32) -> Any:
        layers = [torch.nn.Conv2d(3, 16, 5, stride=4, padding=2), torch.nn.ReLU()]
        layers += [torch.nn.Conv2d(16, 32, 3, stride=2, padding=1), torch.nn.ReLU()]
        body = torch.nn.Sequential(*layers)
        body.out_channels = out_channels
        return body

    torch.manual_seed(3)
    sizes = anchors.AnchorGenerator(((24, 36),), ((1.0,),))
    side = {"min_size": 64, "max_size": 96}
    pool = pytest.importorskip("torchvision").ops.MultiScaleRoIAlign(["0"], 3, 2)
    return {
        "faster": detection.FasterRCNN(
            backbone(),
            rpn_anchor_generator=sizes,
            box_roi_pool=pool,
            box_head=detection.faster_rcnn.TwoMLPHead(32 * 9, 32),
            box_predictor=detection.faster_rcnn.FastRCNNPredictor(32, 3),
            **side,
        ),
        "retina": detection.RetinaNet(backbone(), 3, anchor_generator=sizes, **side),
        "fcos": detection.FCOS(
            backbone(), 3, anchor_generator=anchors.AnchorGenerator(((8,),), ((1.0,),)), **side
        ),
        "ssd": detection.ssd.SSD(
            backbone([32]), anchors.DefaultBoxGenerator([[2]], scales=[0.3, 0.6]), (96, 64), 3
        ),
    }


def loader_of(dataset: Dataset) -> list[Any]:
    """The training images in pairs, as torchvision's models want them."""
    torch = pytest.importorskip("torch")
    images, targets = [], []
    for path, item_id in zip(dataset.image_paths or [], dataset.items["item_id"], strict=True):
        own = dataset.annotations.filter(pl.col("item_id") == item_id)
        pixels = torch.tensor(np.array(Image.open(path))).permute(2, 0, 1) / 255
        labels = [1 + dataset.class_names.index(name) for name in own["label"]]
        images.append(pixels)
        boxes = torch.tensor(own.select(BOX).to_numpy(), dtype=torch.float32)
        targets.append({"boxes": boxes, "labels": torch.tensor(labels)})
    return [(images[i : i + 2], targets[i : i + 2]) for i in range(0, len(images), 2)]


@pytest.mark.parametrize("family", ["faster", "retina", "fcos", "ssd"])
def test_losses_are_those_of_what_the_model_gives_before_it_suppresses(
    family: str, tmp_path: Path
) -> None:
    torch = pytest.importorskip("torch")
    from labelfix.training.torchvision import look

    torch.set_num_threads(1)
    dataset = drawn(tmp_path, 6)
    model = small_models()[family]
    with torch.no_grad():
        for weight in model.parameters():
            weight += torch.randn(weight.shape) * 0.1  # predictions that differ
    model.train()
    frozen, tracker = model.backbone[0].eval(), BoxTracker(dataset)
    look(tracker, model, dataset, batch_size=1)
    assert model.training
    assert not frozen.training
    table = tracker.statistics()
    model.eval()
    head = getattr(model, "roi_heads", model)
    head.score_thresh, head.nms_thresh = -1.0, 1.0
    head.topk_candidates = head.detections_per_img = 10**6
    for images, targets in loader_of(dataset):
        for image, target in zip(images, targets, strict=True):
            with torch.no_grad():
                (seen,) = model([image])
            for box, label in zip(target["boxes"].numpy(), target["labels"], strict=True):
                own = seen["labels"] == label
                overlap = iou(seen["boxes"][own].numpy(), box)
                p = seen["scores"][own].double().numpy()
                aligned = (p + 1e-7) ** 0.5 * (overlap + 1e-7) ** 6
                best = np.argsort(-aligned)[:10]
                weight = aligned[best] / aligned[best].sum()
                given = dataset.annotations.select(BOX).to_numpy().astype(np.float32)
                (row,) = np.flatnonzero(
                    (given == box).all(axis=1) & (dataset.labels + 1 == int(label))
                )
                expected = -weight @ np.log(p[best] + 1e-7), 1 - weight @ overlap[best]
                found = table[int(row), "class_loss"], table[int(row), "location_loss"]
                np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-3)


def test_other_models_are_refused() -> None:
    torch = pytest.importorskip("torch")
    pytest.importorskip("torchvision")
    from labelfix.training.torchvision import look

    with pytest.raises(InputError, match="found Linear; expected Faster R-CNN, RetinaNet"):
        look(BoxTracker(made_up()), torch.nn.Linear(1, 1), made_up())


def test_what_no_detector_learns_from_is_not_looked_at(tmp_path: Path) -> None:
    from labelfix.training.looking import shown

    dataset = drawn(tmp_path, 4)
    odd = dataset.annotations.with_columns(
        crowd=pl.int_range(8) == 0,
        x1=pl.when(pl.int_range(8) == 2).then(float("nan")).otherwise("x1"),
        y2=pl.when(pl.int_range(8) == 5).then("y1").otherwise("y2"),
    )
    asked = Dataset(dataset.items, odd, dataset.class_names, dataset.format, dataset.root)
    known = [name for one in shown(asked) for name in one.ids]
    left = [row not in (0, 2, 5) for row in range(8)]
    assert known == odd["annotation_id"].filter(pl.Series(left)).to_list()
    with pytest.raises(InputError, match="no images with boxes"):
        list(shown(made_up()))


# the queue


def judged(n: int = 40) -> tuple[Dataset, pl.DataFrame]:
    """Boxes that a detector which never saw them agrees with, one more than another."""
    dataset = made_up(n)
    sizes = {"width": pl.lit(600), "height": pl.lit(600)}
    dataset = Dataset(
        dataset.items.with_columns(**sizes), dataset.annotations, ("cat", "dog"), "memory"
    )
    boxes = dataset.annotations.select("item_id", "label", *BOX)
    sure = np.random.default_rng(0).permutation(np.linspace(0.9, 0.05, n))
    return dataset, boxes.with_columns(score=pl.lit(sure))


def test_losses_reach_the_queue_by_kind() -> None:
    dataset, found = judged()
    losses = np.full((2, 40, 2), 0.1)
    losses[:, 7, 0], losses[:, 20, 1], losses[:, 30] = 4.0, 0.9, (4.0, 0.9)
    tracker = watched(dataset, losses)
    places: dict[BoxKind, int] = {"wrong_class": 7, "bad_location": 20, "spurious": 30}
    for kind, box in places.items():
        queues = [labelfix.find_issues(dataset, found, kinds=[kind])]
        queues += [tracker.issues(dataset, found, kinds=[kind])]
        before, after = (queue.filter(annotation_id=f"box {box}")["rank"][0] for queue in queues)
        assert after < before, kind
    alone = tracker.issues(dataset).head(3).sort("given_x1")
    assert alone["annotation_id"].to_list() == ["box 7", "box 20", "box 30"]
    assert alone["kind"].to_list() == ["wrong_class", "bad_location", "spurious"]
    assert (
        alone["evidence"][0] == "in training its class had probability 0.02 and its place IoU 0.9"
    )
    assert alone["suggested_label"].to_list() == ["dog", "cat", None]
    assert tracker.issues(dataset)["flagged"].sum() == 3  # of 40, 2 % for each of three kinds


@given(st.floats(0, 1), st.integers(0, 99))
@settings(max_examples=20, deadline=None)
def test_losses_change_who_has_which_odds_and_no_others(weight: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    annotations = made_up(20).annotations
    odds = {kind: rng.normal(size=20) for kind in ("spurious", "wrong_class", "bad_location")}
    given = pl.DataFrame({"row": rng.permutation(20), **odds, "group": rng.normal(size=20)})
    scores = BoxScores(given, pl.DataFrame())
    loss = np.where(rng.random(20) < 0.2, np.nan, rng.exponential(size=20))
    losses = pl.DataFrame(
        {
            "annotation_id": annotations["annotation_id"],
            "class_loss": pl.Series(loss).fill_nan(None),
            "location_loss": pl.Series(rng.random(20)),
        }
    )
    params = BoxParams(training=weight)
    table = box_losses.with_losses(scores, annotations, losses, params).given
    ours = loss[given["row"].to_numpy()]
    known = ~np.isnan(ours)
    before, after = odds["wrong_class"], table["wrong_class"].to_numpy()
    np.testing.assert_array_equal(after[~known], before[~known])
    matched = np.empty(known.sum())
    matched[np.argsort(ours[known], kind="stable")] = np.sort(before[known])
    np.testing.assert_allclose(after[known], (1 - weight) * before[known] + weight * matched)
    assert table["group"].equals(given["group"])


def test_losses_of_nothing_change_nothing() -> None:
    dataset, found = judged()
    tracker = watched(dataset, np.random.default_rng(0).random((2, 40, 2)))
    nothing = tracker.issues(dataset, found, score=BoxParams(training=0.0))
    bare = labelfix.find_issues(dataset, found).drop("evidence")
    assert nothing.drop("evidence").equals(bare)
    predictions = tracker.predictions(dataset, found)
    assert predictions.losses is not None
    unknown = predictions.losses.with_columns(class_loss=None, location_loss=None)
    unknown = unknown.cast({"class_loss": pl.Float64, "location_loss": pl.Float64})
    of_others = BoxPredictions(found, dataset.class_names, losses=unknown)
    assert labelfix.find_issues(dataset, of_others).drop("evidence").equals(bare)


def test_what_weakens_the_evidence_is_said() -> None:
    dataset, found = judged()
    losses = np.full((2, 40, 2), 0.1)
    losses[0, 3] = np.nan
    tracker = watched(dataset, losses, slice(0, 39))
    other = dataset.annotations.with_columns(
        label=pl.when(pl.int_range(40) == 8).then(pl.lit("dog")).otherwise("label")
    )
    changed = Dataset(dataset.items, other, dataset.class_names, "memory")
    with pytest.warns(LabelfixWarning) as said:
        tracker.issues(changed, found)
    texts = [str(one.message) for one in said]
    assert any("1 of 40 boxes were never seen" in text for text in texts)
    assert any("losses of 1 boxes were NaN or infinite, in '1.png'" in text for text in texts)
    assert any("1 boxes of the dataset are not those of the training" in text for text in texts)


def test_a_detector_that_saw_nothing_is_said_beside_losses() -> None:
    dataset, found = judged()
    tracker = watched(dataset, np.full((1, 40, 2), 0.1))
    with pytest.warns(LabelfixWarning, match="the detector predicts no box in any image"):
        told = tracker.issues(dataset, BoxPredictions(found.clear(), dataset.class_names))
    assert told.equals(tracker.issues(dataset))  # with no detector, and no warning


def test_a_dataset_with_other_boxes_is_refused() -> None:
    dataset, found = judged()
    tracker = watched(made_up(20), np.full((1, 20, 2), 0.1))
    with pytest.raises(InputError, match="20 boxes that the tracker does not know"):
        tracker.issues(dataset, found)


def test_other_scores_and_kinds_are_refused() -> None:
    dataset, found = judged()
    tracker = watched(dataset, np.full((1, 40, 2), 0.1))
    with pytest.raises(InputError, match="objectlab beside losses of a training"):
        tracker.issues(dataset, found, score="objectlab")
    with pytest.raises(InputError, match="spurious, wrong_class, bad_location, without"):
        tracker.issues(dataset, kinds=["missing"])
    with pytest.raises(InputError, match=re.escape("a number in [0, 1]")):
        BoxParams(training=1.5)


def test_find_takes_dynamics_of_boxes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    dataset = drawn(tmp_path, 24)
    found = dataset.annotations.select("item_id", "label", *BOX)
    found.with_columns(score=pl.lit(np.linspace(0.9, 0.05, 48))).write_csv(tmp_path / "found.csv")
    losses = np.full((2, 48, 2), 0.1)
    losses[:, 5, 0] = 5.0
    watched(dataset, losses).save(tmp_path / "dynamics.npz")
    files = [str(tmp_path / name) for name in ("data.yaml", "found.csv", "dynamics.npz")]
    both = ["--predictions", files[1], "--dynamics", files[2]]
    for name, choice in (("alone", both[2:]), ("joined", [*both, "--kinds", "wrong_class"])):
        assert main(["find", files[0], *choice, "--out", str(tmp_path / name)]) == 0
        issues = pl.read_parquet(tmp_path / name / "issues.parquet")
        (row,) = issues.filter(annotation_id=dataset.annotations["annotation_id"][5]).rows(
            named=True
        )
        assert (row["rank"] == 1) == (name == "alone")
        assert row["kind"] == "wrong_class"
        assert "probability 0.01" in row["evidence"]
    assert "Judged by training" in capsys.readouterr().out
    for choice, said in (
        ([*both, "--score", "fiftyone"], "fiftyone beside --dynamics"),
        ([*both[:2], "--dynamics", files[1]], "is not what a tracker of boxes wrote"),
    ):
        assert main(["find", files[0], *choice, "--out", str(tmp_path / "not")]) == 2
        assert said in capsys.readouterr().err


def test_losses_of_other_boxes_are_refused_before_a_detector_is_trained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def work(*arguments: Any, **options: Any) -> None:
        raise AssertionError("long work")

    monkeypatch.setattr("labelfix.predict.out_of_fold_boxes", work)
    drawn(tmp_path, 24)
    losses = watched(made_up(20), np.full((1, 20, 2), 0.1))
    losses.save(tmp_path / "dynamics.npz")
    path, seen = str(tmp_path / "data.yaml"), str(tmp_path / "dynamics.npz")
    with pytest.raises(InputError, match="boxes that the tracker does not know"):
        find(FindOptions(path=path, dynamics=seen, model="yolo11n.yaml"), tmp_path / "not")


# the examples


def test_torchvision_example(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = small_models()["retina"]
    loader = loader_of(drawn(tmp_path))
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {"model": model, "loader": loader}
    exec(compile(example("torchvision detection"), "training.md", "exec"), names)
    assert names["tracker"].epoch == 3
    assert names["tracker"].statistics()["seen"].to_list() == [3] * 32
    assert BoxTracker.load(tmp_path / "dynamics.npz").epoch == 3


CHECKS = """
from types import SimpleNamespace as Thing
import torch
from ultralytics.nn.modules import Detect

class Eyes(torch.nn.Module):  # sees red and blue as they are
    def __init__(self):
        super().__init__()
        self.model = torch.nn.ModuleList([Detect(2, ch=(8,))])
    def forward(self, batch):
        assert batch.shape[2:] == (64, 64) and not self.training and not self.model[-1].end2end
        seen = []
        for picture in batch:
            for k, other in ((0, 2), (2, 0)):
                y, x = torch.nonzero((picture[k] > 0.7) & (picture[other] < 0.4)).T
                low, high = torch.tensor([x.min(), y.min()]), torch.tensor([x.max(), y.max()]) + 1
                sure = [0.8, 0.1] if k == 0 else [0.1, 0.8]
                seen.append([*((low + high) / 2).tolist(), *(high - low).tolist(), *sure])
        return torch.tensor(seen).reshape(len(batch), 2, 6).permute(0, 2, 1), None

tracker, files = BoxTracker(dataset), [str(path) for path in dataset.image_paths[:5]]
data = {"names": {0: "red", 1: "blue"}}
trainer = Thing(epoch=0, epochs=9, data=data, batch_size=2, device="cpu", args=Thing(imgsz=64))
trainer.ema, trainer.train_loader = Thing(ema=Eyes().train()), Thing(dataset=Thing(im_files=files))
look = box_losses(tracker, dataset, every=2)
look(trainer)
trainer.epoch = 1
look(trainer)
table = tracker.statistics()
assert tracker.epoch == 2 and table["seen"].to_list() == [1] * 10 + [0] * 6
assert (table["class_loss"][:10] + torch.tensor(0.8).log().item()).abs().max() < 1e-5
assert table["location_loss"][:10].max() < 0.12 and trainer.ema.ema.training
trainer.data = {"names": {0: "blue", 1: "red"}}
trainer.ema.ema.model[-1] = torch.nn.Linear(1, 1)
trainer.train_loader.dataset.im_files = ["elsewhere.png"]
try:
    look(trainer)
    raise SystemExit("another training was let through")
except ValueError as error:
    for part in ("ends in Linear", "classes red, blue", "no image of the training"):
        assert part in str(error), error

bare = YOLO("yolo11n.yaml")  # training went on as it would without
bare.train(data="data.yaml", epochs=4, imgsz=64, **quiet)
for one, other in zip(bare.trainer.ema.ema.parameters(), model.trainer.ema.ema.parameters()):
    assert torch.equal(one, other)
"""


def test_ultralytics_example(tmp_path: Path) -> None:
    pytest.importorskip("ultralytics")
    dataset = drawn(tmp_path, 8)
    about = {"amp": False, "pretrained": False, "device": "cpu", "workers": 0, "plots": False}
    about |= {"val": False, "batch": 4, "nbs": 4, "verbose": False, "seed": 0, "mosaic": 0.0}
    about |= {"optimizer": "AdamW", "lr0": 0.005, "warmup_epochs": 0, "project": "runs"}
    code = f"quiet = {about!r}\n{example('Ultralytics detection')}\n{CHECKS}"
    own = {"YOLO_OFFLINE": "True", "YOLO_CONFIG_DIR": str(tmp_path), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(  # Ultralytics changes the process that it is in
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env={**os.environ, **own, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    tracker = BoxTracker.load(tmp_path / "dynamics.npz")
    table = tracker.statistics()
    assert tracker.epoch == 4
    trained = table["item_id"].str.contains("train")
    assert (table["seen"] == trained.cast(int) * 4).all()
    assert table.filter(trained)["class_loss_slope"].n_unique() > 2
    assert table["annotation_id"].equals(dataset.annotations["annotation_id"])
