"""What many tests need: the real data sets where they are to be had, and images to write."""

from __future__ import annotations

import json
import os
import shutil
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
import pytest
from hypothesis import settings
from PIL import Image

from labelfix.errors import LabelfixWarning

if TYPE_CHECKING:
    from labelfix.schema import Dataset

ROOT = Path(__file__).parent.parent

# A change is judged on the same examples each time; elsewhere every run looks at new ones.
settings.register_profile("ci", derandomize=True, deadline=None)
settings.register_profile("new examples", deadline=None)
settings.load_profile("ci" if os.environ.get("CI") else "new examples")


class Paint(Protocol):
    """Writes an image."""

    def __call__(
        self, path: Path, seed: int = 0, size: tuple[int, int] = (12, 8), mode: str = "RGB"
    ) -> Path: ...


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """Real data with known errors (`LABELFIX_DATA`); a test that asks for it skips without it."""
    folder = ROOT / os.environ.get("LABELFIX_DATA", "../shared/data")
    if not folder.is_dir():
        pytest.skip("no real data here; LABELFIX_DATA names the folder")
    return folder.resolve()


@pytest.fixture(scope="session")
def paint() -> Paint:
    """Write an image of smooth noise that no other seed gives, and the folders above it."""

    def write(
        path: Path, seed: int = 0, size: tuple[int, int] = (12, 8), mode: str = "RGB"
    ) -> Path:
        noise = np.random.default_rng(seed).integers(0, 256, (4, 4, 3), np.uint8)
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(noise).resize(size, Image.Resampling.BICUBIC).convert(mode).save(path)
        return path

    return write


@pytest.fixture(scope="session")
def two_places(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """Forty images with a dark thing at one place and a bright one at another, nearly the same."""
    import polars as pl

    from labelfix.schema import BOX, Dataset

    root = tmp_path_factory.mktemp("places")
    rng = np.random.default_rng(0)
    names = [f"{row:02d}.png" for row in range(40)]
    for name in names:
        Image.fromarray(rng.integers(0, 255, (100, 100, 3), np.uint8)).save(root / name)
    places = np.array([[10.0, 10, 40, 40], [60, 60, 90, 90]])
    box = np.tile(places, (40, 1)) + rng.normal(0, 1, (80, 4))
    table = {
        "annotation_id": [str(row) for row in range(80)],
        "item_id": np.repeat(names, 2),
        "label": ["dark", "bright"] * 40,
        **{edge: box[:, i] for i, edge in enumerate(BOX)},
        "crowd": [False] * 80,
    }
    items = pl.DataFrame({"item_id": names, "path": names, "width": 100, "height": 100})
    return Dataset(items, pl.DataFrame(table), ("dark", "bright"), "memory", root)


COLOURS = {"blue": (40, 60, 200), "green": (50, 160, 60), "red": (200, 40, 40)}


def _write_colours(folder: Path, per_class: int) -> None:
    """An image folder of plain colours with some noise; the first of each class is another's."""
    names = [*COLOURS]
    for number, name in enumerate(names):
        for one in range(per_class):
            true = names[(number + 1) % len(names)] if one == 0 else name
            noise = np.random.default_rng([number, one]).integers(-30, 30, (6, 8, 3))
            pixels = np.clip(np.array(COLOURS[true]) + noise, 0, 255).astype(np.uint8)
            path = folder / name / f"{one:02}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).resize((320, 240), Image.Resampling.NEAREST).save(path)


def _write_boxes(folder: Path) -> None:
    """Four images with two boxes each, of which one is wrong in its own way, and predictions."""
    found, given = [], []
    (folder / "images").mkdir(parents=True)
    for number in range(4):
        Image.new("RGB", (640, 480), (200, 200, 190)).save(folder / f"images/{number}.jpg")
        left = {"image_id": number + 1, "category_id": 1, "bbox": [60, 80, 150, 120]}
        right = {"image_id": number + 1, "category_id": 2, "bbox": [360, 200, 180, 160]}
        found += [{**left, "score": 0.97}, {**right, "score": 0.95}]
        given += [left, right]
    given[1] = {**given[1], "category_id": 1}  # wrong class
    given[3] = {**given[3], "bbox": [420, 240, 180, 160]}  # badly placed
    given[5:6] = []  # missing
    given.append({"image_id": 4, "category_id": 1, "bbox": [20, 400, 60, 60]})  # spurious
    images = [
        {"id": n + 1, "file_name": f"images/{n}.jpg", "width": 640, "height": 480} for n in range(4)
    ]
    annotations = [{"id": n + 1, "area": 1, "iscrowd": 0, **one} for n, one in enumerate(given)]
    classes = [{"id": 1, "name": "cup"}, {"id": 2, "name": "dish"}]
    coco = {"images": images, "annotations": annotations, "categories": classes}
    (folder / "coco.json").write_text(json.dumps(coco))
    (folder / "found.json").write_text(json.dumps(found))


@pytest.fixture(scope="session")
def _reviewable(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on class labels and one on boxes, with the queue in plain order."""
    from labelfix.review.queue import Settings, write_settings
    from labelfix.run import FindOptions, find

    folder = tmp_path_factory.mktemp("reviewable")
    _write_colours(folder / "colours", 8)
    _write_boxes(folder / "scenes")
    scenes = folder / "scenes"
    classes = FindOptions(path=str(folder / "colours"), model="pixels+logistic", folds=2)
    boxes = FindOptions(path=str(scenes / "coco.json"), predictions=str(scenes / "found.json"))
    plain = Settings(audit=0, audit_least=0, repeats=0, adaptive=False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", LabelfixWarning)  # of so few boxes
        for options, name in ((classes, "class_run"), (boxes, "box_run")):
            write_settings(find(options, folder / name).path, plain)
    return folder


@pytest.fixture
def class_run(_reviewable: Path, tmp_path: Path) -> Path:
    """A run on 24 images of three colours, three of them in a wrong folder; nothing decided yet."""
    return Path(shutil.copytree(_reviewable / "class_run", tmp_path / "class_run"))


@pytest.fixture
def box_run(_reviewable: Path, tmp_path: Path) -> Path:
    """A run on four images with one wrong box each, a kind of error each; nothing decided yet."""
    return Path(shutil.copytree(_reviewable / "box_run", tmp_path / "box_run"))
