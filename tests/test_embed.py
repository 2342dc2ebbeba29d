"""Features of images: frozen networks, embedded once and kept by content, and plain pixels."""

from __future__ import annotations

import io
import pickle
import shutil
import urllib.error
from email.message import Message
from pathlib import Path
from typing import TYPE_CHECKING, Any

import joblib
import numpy as np
import polars as pl
import pytest
from PIL import Image

from labelfix.errors import InputError
from labelfix.predict import default_cache, out_of_fold
from labelfix.predict.models import describe
from labelfix.predict.names import default_features, has_photo_backbone
from labelfix.predict.pixels import Pixels, oriented_gradients
from labelfix.predict.tabular import Head, Table
from labelfix.schema import Dataset

if TYPE_CHECKING:
    from labelfix.predict.models import Features


def draw(kind: int, rng: np.random.Generator) -> Image.Image:
    """Stripes that lie (0) or stand (1), or a disc (2), somewhere."""
    y, x = np.mgrid[:24, :32] + rng.uniform(0, 8, (2, 1, 1))
    disc = np.hypot(y - 16, x - 20) < 8
    shape = (np.sin(y), np.sin(x), np.where(disc, 1.0, -1.0))[kind]
    noise = rng.normal(0, 20, (24, 32, 3))
    return Image.fromarray(np.clip(128 + 90 * shape[..., None] + noise, 0, 255).astype(np.uint8))


def image_dataset(folder: Path, n: int = 45) -> Dataset:
    rng = np.random.default_rng(0)
    names = [f"{i:03d}.png" for i in range(n)]
    for i, name in enumerate(names):
        draw(i % 3, rng).save(folder / name)
    return as_dataset(folder, names, ["abc"[i % 3] for i in range(n)])


def as_dataset(folder: Path, names: list[str], labels: list[str]) -> Dataset:
    return Dataset(
        pl.DataFrame({"item_id": names, "path": names}),
        pl.DataFrame({"annotation_id": names, "item_id": names, "label": labels}),
        ("a", "b", "c"),
        "memory",
        root=folder,
    )


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LABELFIX_CACHE", str(tmp_path_factory.mktemp("cache")))


@pytest.fixture
def images(tmp_path: Path) -> Dataset:
    return image_dataset(tmp_path)


# Near-duplicates


def test_near_duplicates_are_held_out_together_and_reported(tmp_path: Path) -> None:
    data = image_dataset(tmp_path, 30)
    copies = []
    for i in range(0, 30, 2):
        with Image.open(tmp_path / f"{i:03d}.png") as image:
            image.save(tmp_path / f"copy{i:03d}.jpg", quality=85)
        copies.append(f"copy{i:03d}.jpg")
    names = [*data.items["item_id"], *copies]
    labels = [*data.annotations["label"], *["abc"[(i + 1) % 3] for i in range(0, 30, 2)]]
    predictions = out_of_fold(as_dataset(tmp_path, names, labels), "pixels+knn", folds=3)
    group, fold = predictions.duplicate_group, predictions.fold
    assert group is not None
    assert fold is not None
    assert (group[30:] == group[:30:2]).all()
    assert (fold[30:] == fold[:30:2]).all()
    apart = out_of_fold(as_dataset(tmp_path, names, labels), "pixels+knn", folds=3, duplicates=None)
    assert apart.duplicate_group is None
    assert apart.fold is not None
    assert (apart.fold[30:] != apart.fold[:30:2]).any()


# Pixels


def test_pixels_tell_shapes_apart(images: Dataset) -> None:
    predictions = out_of_fold(images, "pixels+logistic", folds=3)
    assert predictions.model == "pixels+logistic"
    assert (predictions.pred_probs.argmax(axis=1) == images.labels).mean() > 0.9


def test_pixels_have_the_size_that_is_said(images: Dataset) -> None:
    inputs = Pixels(size=16, cell=4, bins=6, grey=4, colour=2).extract(
        images, cache=None, progress=None
    )
    assert inputs.data.values.shape == (45, 4 * 4 + 3 * 2 * 2 + 3 * 3 * 4 * 6)
    assert inputs.data.n_numbers == inputs.data.values.shape[1]


def test_pixels_that_do_not_divide_are_told_all_at_once() -> None:
    with pytest.raises(InputError) as error:
        Pixels(size=30, cell=8, grey=7)
    assert len(error.value.problems) == 3


def test_gradients_agree_with_a_pixel_by_pixel_count() -> None:
    image = np.random.default_rng(1).random((16, 24)).astype(np.float32)
    cells = np.zeros((2, 3, 9))
    for y in range(16):
        for x in range(24):
            down = image[y + 1, x] - image[y - 1, x] if 0 < y < 15 else 0.0
            right = image[y, x + 1] - image[y, x - 1] if 0 < x < 23 else 0.0
            place = (np.degrees(np.arctan2(down, right)) % 180) / 20 - 0.5
            low = int(np.floor(place))
            strength = float(np.hypot(down, right))
            cells[y // 8, x // 8, low % 9] += strength * (1 - place + low)
            cells[y // 8, x // 8, (low + 1) % 9] += strength * (place - low)
    found = oriented_gradients(image[None])
    assert found.shape == (1, 1, 2, 36)
    for x in (0, 1):
        block = cells[:, x : x + 2].reshape(4, 9)
        block = np.minimum(block / np.sqrt((block**2).sum() + 1e-2), 0.2)
        block = block / np.sqrt((block**2).sum() + 1e-2)
        assert np.allclose(found[0, 0, x].reshape(4, 9), block, atol=1e-4)


def test_gradients_do_not_see_brightness_and_hardly_contrast() -> None:
    image = np.random.default_rng(2).random((1, 16, 16)).astype(np.float32)
    changed = np.asarray(image / 2 + 0.3, dtype=np.float32)
    assert np.allclose(oriented_gradients(image), oriented_gradients(changed), atol=0.01)


# Which features


def test_the_cache_is_where_the_environment_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LABELFIX_CACHE", "/own")
    assert default_cache() == Path("/own")
    monkeypatch.delenv("LABELFIX_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", "/xdg")
    assert default_cache() == Path("/xdg/labelfix")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert default_cache() == Path.home() / ".cache" / "labelfix"


def test_without_the_extra_images_are_pixels(
    images: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("labelfix.predict.names.has_photo_backbone", lambda: False)
    assert default_features(images).name == "pixels"
    monkeypatch.setattr("labelfix.predict.auto.has_photo_backbone", lambda: False)
    why = out_of_fold(images, folds=2, cache=False).details["auto"]["why"]
    assert "with labelfix[vision] installed" in why


# Frozen networks


def tiny_network() -> Any:
    torch = pytest.importorskip("torch")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return torch.nn.Sequential(
            torch.nn.Conv2d(3, 8, 5, stride=2), torch.nn.ReLU(), torch.nn.Conv2d(8, 6, 3)
        )


def tiny(**options: Any) -> Any:
    network = tiny_network()
    from labelfix.predict.embed import TorchModule

    return TorchModule(network, **{"size": 16, "batch": 10, **options})


def embed(features: Features, data: Dataset, cache: Path | None = None) -> np.ndarray[Any, Any]:
    inputs = features.extract(data, cache=cache, progress=None)
    assert isinstance(inputs.data, Table)
    assert inputs.embeddings is not None
    assert inputs.embeddings.dtype == np.float32
    return inputs.embeddings


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many images went through a network, call by call."""
    pytest.importorskip("torch")
    import labelfix.predict.embed as module

    counts: list[int] = []
    original = module._Backbone._embed

    def spy(self: Any, network: Any, paths: list[Path], device: str) -> Any:
        counts.append(len(paths))
        return original(self, network, paths, device)

    monkeypatch.setattr(module._Backbone, "_embed", spy)
    return counts


def test_embeddings_are_what_the_network_gives(images: Dataset) -> None:
    torch = pytest.importorskip("torch")
    from labelfix.images import load

    mean, std = (0.1, 0.2, 0.3), (0.5, 0.6, 0.7)
    found = embed(tiny(mean=mean, std=std, device="cpu"), images)
    paths = images.image_paths
    assert paths is not None
    x = load(paths, 16, "RGB", fit="stretch") / 255
    x = ((x - np.array(mean)) / np.array(std)).transpose(0, 3, 1, 2)
    with torch.inference_mode():
        expected = tiny_network()(torch.from_numpy(x).float()).mean(dim=(2, 3)).numpy()
    assert np.allclose(found, expected, atol=1e-5)


def test_each_image_is_embedded_once_whatever_it_is_called(tmp_path: Path, seen: list[int]) -> None:
    data = image_dataset(tmp_path)
    cache = tmp_path / "cache"
    first = embed(tiny(), data, cache)
    assert sum(seen) == 45
    order = np.random.default_rng(0).permutation(45)
    names = [f"renamed {i}.png" for i in range(45)]
    for i, name in zip(order, names, strict=True):
        shutil.copy(tmp_path / f"{i:03d}.png", tmp_path / name)
    renamed = as_dataset(tmp_path, [*names, names[0]], ["a", "b"] * 23)
    assert (embed(tiny(), renamed, cache) == first[[*order, order[0]]]).all()
    assert sum(seen) == 45


def test_a_changed_image_is_embedded_anew(tmp_path: Path, seen: list[int]) -> None:
    data = image_dataset(tmp_path)
    cache = tmp_path / "cache"
    before = embed(tiny(), data, cache)
    draw(2, np.random.default_rng(9)).save(tmp_path / "003.png")
    after = embed(tiny(), data, cache)
    assert seen == [45, 1]
    assert (np.flatnonzero((before != after).any(axis=1)) == [3]).all()


@pytest.mark.parametrize("change", ["weights", "size", "mean", "std"])
def test_what_an_embedding_depends_on_tells_caches_apart(
    tmp_path: Path, seen: list[int], change: str
) -> None:
    data = image_dataset(tmp_path, 9)
    embed(tiny(), data, tmp_path / "cache")
    other = tiny(**{"size": {"size": 20}, "weights": {}}.get(change, {change: (0.3, 0.3, 0.3)}))
    if change == "weights":
        torch = pytest.importorskip("torch")
        with torch.no_grad():
            other.module[2].bias[3] += 1
    embed(other, data, tmp_path / "cache")
    assert seen == [9, 9]


def test_an_interrupted_embedding_goes_on(
    tmp_path: Path, seen: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("labelfix.predict.embed._CHUNK", 20)
    data = image_dataset(tmp_path)

    def stop(what: str, done: int, total: int) -> None:
        if done == 20:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        tiny().extract(data, cache=tmp_path / "cache", progress=stop)
    embed(tiny(), data, tmp_path / "cache")
    assert seen == [20, 20, 5]


def test_damaged_cache_files_are_made_anew(tmp_path: Path, seen: list[int]) -> None:
    data = image_dataset(tmp_path, 9)
    expected = embed(tiny(), data, tmp_path / "cache")
    (file,) = (tmp_path / "cache").rglob("*.npz")
    file.write_bytes(file.read_bytes()[:200])
    assert (embed(tiny(), data, tmp_path / "cache") == expected).all()
    assert seen == [9, 9]


def test_batches_do_not_matter(images: Dataset) -> None:
    assert np.allclose(embed(tiny(batch=1), images), embed(tiny(batch=64), images), atol=1e-6)


def test_progress_ends_at_all_images(images: Dataset) -> None:
    calls: list[tuple[str, int, int]] = []
    tiny().extract(images, cache=None, progress=lambda *call: calls.append(call))
    assert calls[-1] == ("embeddings", 45, 45)


def test_the_callers_module_is_left_as_it_was(images: Dataset) -> None:
    features = tiny()
    features.module.train()
    embed(features, images)
    assert features.module.training


def test_a_timm_style_module_gives_what_comes_before_its_head(images: Dataset) -> None:
    torch = pytest.importorskip("torch")
    from labelfix.predict.embed import TorchModule

    class Timm(torch.nn.Module):  # type: ignore[name-defined,misc] # it is a variable
        def forward_features(self, x: Any) -> Any:
            return x[:, :, :2, :2]

        def forward_head(self, x: Any, pre_logits: bool = False) -> Any:
            return x.mean(dim=(2, 3)) if pre_logits else x.sum()

    assert embed(TorchModule(Timm(), size=16), images).shape == (45, 3)


def test_a_frozen_network_alone_has_logistic_regression_on_it(images: Dataset) -> None:
    predictions = out_of_fold(images, tiny(name="mine"), folds=3)
    assert predictions.model == "mine+logistic"
    expected = out_of_fold(images, Head("logistic", tiny(name="mine")), folds=3)
    assert (predictions.pred_probs == expected.pred_probs).all()


def test_a_bare_network_is_told_how_to_be_a_model(images: Dataset) -> None:
    with pytest.raises(InputError, match=r"a Sequential without fit.*with .*embed\.TorchModule"):
        out_of_fold(images, tiny_network())


def test_an_output_of_another_shape_is_told(images: Dataset) -> None:
    torch = pytest.importorskip("torch")
    from labelfix.predict.embed import TorchModule

    with pytest.raises(InputError, match="output of shape"):
        embed(TorchModule(torch.nn.Flatten(2), size=16), images)


def test_unreadable_images_are_told_all_at_once(images: Dataset) -> None:
    assert images.root is not None
    (images.root / "001.png").unlink()
    (images.root / "007.png").unlink()
    with pytest.raises(InputError) as error:
        embed(tiny(), images)
    assert ["001.png" in str(error.value), "007.png" in str(error.value)] == [True, True]


def test_folds_on_a_callers_module_are_stored_and_described(
    images: Dataset, tmp_path: Path, seen: list[int]
) -> None:
    import json

    store = tmp_path / "store"
    head = Head("logistic", tiny(name="mine"))
    predictions = out_of_fold(images, head, folds=3, store=store)
    assert predictions.model == "mine+logistic"
    assert predictions.embeddings is not None
    assert predictions.embeddings.shape == (45, 6)
    assert "Conv2d" not in json.dumps(predictions.details["parameters"])
    again = out_of_fold(images, Head("logistic", tiny(name="mine")), folds=3, store=store)
    assert (predictions.pred_probs == again.pred_probs).all()
    assert len(list(store.glob("*.npz"))) == 3
    assert joblib.hash(head) == joblib.hash(Head("logistic", tiny(name="mine")))
    assert len(pickle.dumps(head)) < 1000, "workers need no network"
    assert seen == [45]


def test_the_installed_backbone_knows_photos_without_a_download(
    images: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not has_photo_backbone():
        pytest.skip("needs the extra vision")

    def refuse(*arguments: Any, **options: Any) -> None:
        raise AssertionError("a connection")

    monkeypatch.setattr("socket.create_connection", refuse)
    assert default_features(images).name == "efficientnet-lite0"
    predictions = out_of_fold(images, "efficientnet-lite0+logistic", folds=3)
    assert predictions.embeddings is not None
    assert predictions.embeddings.shape == (45, 1280)
    assert (predictions.pred_probs.argmax(axis=1) == images.labels).mean() > 0.9


# torchvision


def offline(*arguments: Any, **options: Any) -> None:
    raise urllib.error.URLError("no network")


def test_weights_that_cannot_be_downloaded_are_told_with_a_way_out(
    images: Dataset, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    pytest.importorskip("torchvision")
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr("torch.hub.urlopen", offline)
    with pytest.raises(InputError) as error:
        out_of_fold(images, "torchvision:resnet18+knn", duplicates=None)
    told = str(error.value)
    assert "could not be downloaded" in told
    assert "resnet18-f37072fd.pth" in told
    assert str(tmp_path) in told
    assert "efficientnet-lite0" in told


@pytest.mark.parametrize("model", ["torchvision:resnet18+knn", "finetune:resnet18"])
def test_missing_weights_are_told_before_long_work(
    model: str, images: Dataset, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    pytest.importorskip("torchvision")
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr("torch.hub.urlopen", offline)

    def work(*arguments: Any, **options: Any) -> None:
        raise AssertionError("long work")

    monkeypatch.setattr("labelfix.duplicates.duplicate_groups", work)
    with pytest.raises(InputError, match=f"no network.*{tmp_path}"):
        out_of_fold(images, model)


class HalfSent(io.BytesIO):
    """What `urlopen` gives where the connection breaks in the middle of weights."""

    def info(self) -> Message:
        headers = Message()
        headers["Content-Length"] = "1000"
        return headers


@pytest.mark.parametrize("model", ["torchvision:resnet18", "finetune:resnet18"])
def test_half_a_download_is_no_crash_and_is_not_kept(
    model: str, images: Dataset, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    pytest.importorskip("torchvision")
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setattr("torch.hub.urlopen", lambda *_, **__: HalfSent(bytes(500)))
    with pytest.raises(InputError, match="invalid hash value"):
        out_of_fold(images, model)
    assert not [path for path in (tmp_path / "torch").rglob("*") if path.is_file()]


@pytest.fixture
def weights_from_nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """Random weights in place of the download."""
    torchvision = pytest.importorskip("torchvision")
    original = torchvision.models.get_model

    def without(name: str, *, weights: Any, progress: bool) -> Any:
        assert weights is not None
        assert not progress, "a library prints nothing"
        return original(name, weights=None)

    monkeypatch.setattr(torchvision.models, "get_model", without)


@pytest.mark.parametrize(
    ("architecture", "width"),
    [("resnet18", 512), ("mobilenet_v3_small", 1024), ("squeezenet1_0", None)],
)
@pytest.mark.usefixtures("weights_from_nowhere")
def test_torchvision_networks_lose_their_last_layer(
    tmp_path: Path, architecture: str, width: int | None
) -> None:
    from labelfix.predict.embed import Torchvision

    data = image_dataset(tmp_path, 6)
    if width is None:
        with pytest.raises(InputError, match="without a linear layer"):
            embed(Torchvision(architecture, size=64), data)
    else:
        assert embed(Torchvision(architecture, size=64), data).shape == (6, width)


@pytest.mark.parametrize(
    ("name", "weights", "told"),
    [("resnet19", "DEFAULT", "resnet18"), ("resnet18", "BEST", "IMAGENET1K_V1")],
)
def test_unknown_networks_are_told_with_the_known_ones(
    images: Dataset, name: str, weights: str, told: str
) -> None:
    pytest.importorskip("torchvision")
    from labelfix.predict.embed import Torchvision

    with pytest.raises(InputError, match=told):
        embed(Torchvision(name, weights), images)


def test_describing_features_leaves_the_module_out() -> None:
    assert describe(tiny(name="mine"))["name"] == "mine"
    assert "module" not in describe(tiny())
