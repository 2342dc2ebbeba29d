"""How long reading takes, which copies of images are found, and what is taken for one and is none.

    python benchmarks/reading.py [--small]

reads CIFAR-10 (60,000 images), MNIST's test set and COCO128 below LABELFIX_DATA (default
../shared/data), writes CIFAR-10 to a temporary folder as JPEG files, and prints its tables. The
peer of the groups is the perceptual hash alone, as it is often used: items whose hashes differ in
as many bits or fewer are one group. CPU seconds are of the whole process, over all threads.
"""

from __future__ import annotations

import argparse
import io
import os
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image, ImageEnhance
from sklearn.datasets import load_digits

import labelfix
from labelfix import duplicates
from labelfix.duplicates import duplicate_groups, label_conflicts
from labelfix.images import load, probe

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

DATA = Path(__file__).parent.parent / os.environ.get("LABELFIX_DATA", "../shared/data")
THRESHOLD = 10


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--small", action="store_true", help="a tenth of the images")
    part = 10 if parser.parse_args().small else 1
    with tempfile.TemporaryDirectory() as folder:
        cifar = write_cifar(Path(folder), part)
        time_reading(cifar)
        count_groups(cifar, part)
        rng = np.random.default_rng(0)
        paths = rng.choice(sorted(cifar.glob("train/*/*.jpg")), 1000 // part, replace=False)
        measure_recall("CIFAR-10, 32 px", [Image.open(path).convert("RGB") for path in paths])
    coco = sorted((DATA / "coco128").rglob("*.jpg"))[:: max(part // 2, 1)]
    measure_recall("COCO128, about 640 px", [Image.open(path).convert("RGB") for path in coco])
    measure_recall("MNIST, 28 px", [Image.fromarray(x) for x in mnist()[: 1000 // part]])


def write_cifar(folder: Path, part: int) -> Path:
    """Write CIFAR-10 as split/class/number.jpg."""
    for split in ("train", "test"):
        with np.load(DATA / "cifar10" / f"cifar10_{split}_jpeg.npz") as arrays:
            blob, offsets = arrays["blob"].tobytes(), arrays["offsets"]
            for row, label in enumerate(arrays["labels"]):
                if row % part == 0:
                    path = folder / split / str(label) / f"{row:05d}.jpg"
                    path.parent.mkdir(parents=True, exist_ok=True)
                    path.write_bytes(blob[offsets[row] : offsets[row + 1]])
    return folder


def mnist() -> NDArray[np.uint8]:
    """Give MNIST's test images."""
    with np.load(DATA / "mnist" / "mnist_test.npz") as arrays:
        images: NDArray[np.uint8] = arrays["x"]
        return images


def timed(work: Callable[[], Any]) -> tuple[Any, float, float]:
    """Give what it gave, and the wall and CPU seconds it took."""
    wall, cpu = time.perf_counter(), time.process_time()
    result = work()
    return result, time.perf_counter() - wall, time.process_time() - cpu


def time_reading(folder: Path) -> None:
    """Print what each pass over the images of a folder takes."""
    paths = sorted(folder.rglob("*.jpg"))
    passes: dict[str, Callable[[], Any]] = {
        "headers (probe, decode=False)": partial(probe, paths, decode=False),
        "labelfix.read, every image decoded": partial(labelfix.read, folder),
        "images.load at 32 px": partial(load, paths, 32),
        "duplicate_groups": partial(duplicate_groups, paths),
    }
    print(f"\n| {len(paths):,} JPEG files of 32 px | wall, s | CPU, s |\n|---|---:|---:|")
    for name, work in passes.items():
        _, wall, cpu = timed(work)
        print(f"| {name} | {wall:.1f} | {cpu:.1f} |")


def count_groups(cifar: Path, part: int) -> None:
    """Print how many images are grouped, beside what the hash alone groups."""
    dataset = labelfix.read(cifar)
    digits = load_digits()
    with np.load(DATA / "mnist" / "mnist_test.npz") as arrays:
        drawn, numbers = arrays["x"][::part], arrays["y"][::part]
    print("\n| images | n | grouped | largest | labels differ | by hash alone | largest |")
    print("|---|---:|---:|---:|---:|---:|---:|")
    sets: dict[str, tuple[Any, Any]] = {
        "CIFAR-10 train and test": (dataset.image_paths, dataset.labels),
        "MNIST test": (drawn, numbers),
        "scikit-learn's digits, 8 px": ((digits.images * 15.9).astype(np.uint8), digits.target),
    }
    for name, (images, labels) in sets.items():
        groups = duplicate_groups(images, threshold=THRESHOLD)
        grouped, largest = sizes(groups)
        peers = " | ".join(f"{x:,}" for x in sizes(by_hash_alone(images)))
        conflicts = len(label_conflicts(groups, labels))
        print(f"| {name} | {len(images):,} | {grouped:,} | {largest} | {conflicts} | {peers} |")


def by_hash_alone(images: Sequence[Path] | NDArray[np.uint8]) -> NDArray[np.int64]:
    """Group what the hash proposes, without a look at the pixels."""
    codes = duplicates._prints(images, None).code
    pairs = list(duplicates._proposed(codes, THRESHOLD, None))
    return np.asarray(duplicates._connected(len(codes), pairs))


def sizes(groups: NDArray[np.int64]) -> tuple[int, int]:
    """Count the items in groups of two or more, and in the largest."""
    count = np.bincount(groups)
    return int(count[count > 1].sum()), int(count.max())


def saved(image: Image.Image, quality: int) -> Image.Image:
    """Save as JPEG and open again."""
    file = io.BytesIO()
    image.save(file, "JPEG", quality=quality)
    return Image.open(file)


CHANGES: dict[str, Callable[[Image.Image], Image.Image]] = {
    "saved as JPEG, quality 75": lambda image: saved(image, 75),
    "saved as JPEG, quality 30": lambda image: saved(image, 30),
    "half the size": lambda image: image.resize((image.width // 2, image.height // 2)),
    "twice the size": lambda image: image.resize((image.width * 2, image.height * 2)),
    "15 % brighter": lambda image: ImageEnhance.Brightness(image).enhance(1.15),
    "15 % darker": lambda image: ImageEnhance.Brightness(image).enhance(0.85),
    "1 px cropped on all sides": lambda i: i.crop((1, 1, i.width - 1, i.height - 1)),
    "2 px cropped on all sides": lambda i: i.crop((2, 2, i.width - 2, i.height - 2)),
}


def measure_recall(name: str, images: list[Image.Image]) -> None:
    """Print which part of changed copies is found among the originals of all."""
    print(f"\n| {name}: {len(images):,} images, each with a copy | found |\n|---|---:|")
    with tempfile.TemporaryDirectory() as folder:
        originals = [Path(folder) / f"{row} original.png" for row in range(len(images))]
        copies = [Path(folder) / f"{row} copy.png" for row in range(len(images))]
        for image, path in zip(images, originals, strict=True):
            image.save(path)
        for change, work in CHANGES.items():
            for image, path in zip(images, copies, strict=True):
                work(image).save(path)
            groups = duplicate_groups([*originals, *copies], threshold=THRESHOLD)
            found = groups[: len(images)] == groups[len(images) :]
            print(f"| {change} | {found.mean():.3f} |")


if __name__ == "__main__":
    main()
