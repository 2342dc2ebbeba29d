"""Generated scenes with known objects, and a made-up detector that looks at them.

    python benchmarks/scenes.py FOLDER [--images 400] [--seed 0]

writes the scenes as images with a COCO file, to train a real detector on. The benchmarks use the
tables alone.

The scenes hold what makes boxes hard: objects down to eight pixels, objects that overlap, and
classes that come in look-alike pairs. The detector stands for one that was trained on such scenes:
it is less sure of small and of hidden objects, takes look-alikes for each other, places boxes a
few pixels off, sees things that are not there, and misses some that are. Its numbers were set
before any scorer was run on it, and are not to be changed after a scorer's results.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from labelfix.boxes import iou

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from PIL.Image import Image
    from PIL.ImageDraw import ImageDraw

CLASSES = (
    "disc",
    "ring",
    "square",
    "frame",
    "triangle_up",
    "triangle_down",
    "star_5",
    "star_6",
    "plus",
    "cross",
    "diamond",
    "kite",
)
"""Look-alikes stand side by side: 0 with 1, 2 with 3, …"""


@dataclass(frozen=True)
class SceneStyle:
    """What the scenes hold.

    Parameters
    ----------
    objects
        Fewest and most objects drawn in a scene.
    size
        Median side of an object, as a share of the image's mean side, and the spread of its log.
    smallest
        Shortest side in pixels.
    crowding
        Share of the objects that are put next to an earlier one, most of them over its edge.
    most_overlap, most_hidden
        No object is put at a higher IoU with an earlier one, nor covers a larger share of one.
    """

    objects: tuple[int, int] = (2, 18)
    size: tuple[float, float] = (0.09, 0.75)
    smallest: float = 8.0
    crowding: float = 0.35
    most_overlap: float = 0.55
    most_hidden: float = 0.7


@dataclass(frozen=True)
class SceneDetector:
    """A made-up detector. Confidence is objectness times class probability, as YOLO models have it.

    Parameters
    ----------
    clarity
        Log-odds of objectness for a fully visible object of `reference_size`.
    size_slope
        Gained per doubling of the side; lost per halving.
    reference_size
        Side as a share of the image's mean side.
    hidden_slope
        Lost for an object that is all hidden.
    spread
        Standard deviation of the log-odds from object to object.
    class_margin, class_spread
        Mean and standard deviation of the logit by which the true class leads the others at
        `reference_size`; falls to half for the smallest.
    look_alike
        Of that lead, the share that is left against the look-alike.
    edge_noise
        Standard deviation of each edge as a share of the side, for a sure detection; up to three
        times that for an unsure one. `edge_pixels` more at any size.
    blind
        Chance that an object is not seen at all, beyond what lies under the floor.
    second_look
        Chance that an object gets a second, worse box of the same class.
    ghosts
        Mean number of boxes where there is nothing, per image.
    ghost_confidence
        Shape of the beta distribution of their objectness: most low, a few high.
    floor
        Boxes below this confidence are not given, as detectors are run.
    nms_iou
        Of two boxes of one class above this IoU the surer stays.
    """

    clarity: float = 2.2
    size_slope: float = 0.8
    reference_size: float = 0.12
    hidden_slope: float = 3.5
    spread: float = 1.4
    class_margin: float = 4.5
    class_spread: float = 1.6
    look_alike: float = 0.45
    edge_noise: float = 0.04
    edge_pixels: float = 0.7
    blind: float = 0.02
    second_look: float = 0.1
    ghosts: float = 5.0
    ghost_confidence: tuple[float, float] = (0.35, 2.5)
    floor: float = 0.01
    nms_iou: float = 0.65


@dataclass(frozen=True)
class Scenes:
    """Tables of the scenes; `annotations` is the truth."""

    items: pl.DataFrame
    annotations: pl.DataFrame
    hidden: NDArray[np.float64]
    """Share of each object that later ones cover, shape (annotations,)."""
    class_names: tuple[str, ...] = CLASSES


def make_scenes(images: int = 400, seed: int = 0, style: SceneStyle | None = None) -> Scenes:
    """Lay out scenes; nothing is drawn."""
    style = style or SceneStyle()
    rng = np.random.default_rng([seed, 1])
    sizes = rng.integers([480, 360], [801, 641], (images, 2))
    boxes = [_lay_out(rng, int(width), int(height), style) for width, height in sizes]
    item = np.repeat(np.arange(images), [len(b) for b in boxes])
    label = rng.integers(0, len(CLASSES), len(item))
    names = [f"scene_{i:04}.png" for i in range(images)]
    box = np.concatenate(boxes)
    annotations = pl.DataFrame(
        {
            "annotation_id": [str(i) for i in range(len(item))],
            "item_id": [names[i] for i in item],
            "label": [CLASSES[k] for k in label],
            **{edge: box[:, i] for i, edge in enumerate(("x1", "y1", "x2", "y2"))},
            "crowd": np.zeros(len(item), bool),
        }
    )
    items = pl.DataFrame({"item_id": names, "width": sizes[:, 0], "height": sizes[:, 1]})
    return Scenes(items, annotations, np.concatenate([_hidden(b) for b in boxes]))


def _lay_out(
    rng: np.random.Generator, width: int, height: int, style: SceneStyle
) -> NDArray[np.float64]:
    placed = np.zeros((0, 4))
    side = (width + height) / 2
    for _ in range(rng.integers(style.objects[0], style.objects[1] + 1)):
        for _attempt in range(20):
            length = side * style.size[0] * np.exp(rng.normal(0, style.size[1]))
            shape = np.exp(rng.normal(0, 0.2))
            size = np.clip([length * shape, length / shape], style.smallest, 0.8 * height)
            corner = rng.random(2) * ([width, height] - size)
            if len(placed) and rng.random() < style.crowding:
                near = placed[rng.integers(len(placed))]
                reach = (near[2:] - near[:2] + size) / 2 * rng.uniform(0.5, 1.1)
                turn = rng.random() * 2 * np.pi
                corner = (near[:2] + near[2:]) / 2 + reach * [np.cos(turn), np.sin(turn)] - size / 2
            corner = np.clip(corner, 0, [width, height] - size)
            box = np.concatenate([corner, corner + size])
            together = np.vstack([placed, box])
            if (
                iou(box, placed).max(initial=0) <= style.most_overlap
                and _hidden(together).max() <= style.most_hidden
            ):
                placed = together
                break
    return placed


def _hidden(box: NDArray[np.float64]) -> NDArray[np.float64]:
    """Largest share of each box that a single later one covers."""
    low = np.maximum(box[:, None, :2], box[None, :, :2])
    high = np.minimum(box[:, None, 2:], box[None, :, 2:])
    covered = np.prod(np.maximum(high - low, 0), axis=2)
    share = covered / np.prod(box[:, 2:] - box[:, :2], axis=1)[:, None]
    return np.asarray(np.triu(share, 1).max(axis=1, initial=0))


def detect(scenes: Scenes, seed: int = 0, detector: SceneDetector | None = None) -> pl.DataFrame:
    """Predict boxes, with class vectors, as `SceneDetector` says."""
    detector = detector or SceneDetector()
    rng = np.random.default_rng([seed, 2])
    seen = _look(scenes, detector, rng)
    again = _look_again(seen, detector, rng)
    ghosts = _ghosts(scenes, detector, rng)
    looks = zip(seen, again, ghosts, strict=True)
    item, box, objectness, logits = (np.concatenate(columns) for columns in looks)
    classes = np.exp(logits - logits.max(axis=1, keepdims=True))
    classes /= classes.sum(axis=1, keepdims=True)
    # a box is given once for each class that is likely enough, as detectors do
    probs = objectness[:, None] * classes
    row, label = np.nonzero(probs >= detector.floor)
    keep = _nms(item[row], label, box[row], probs[row, label], detector.nms_iou)
    row, label = row[keep], label[keep]
    table = pl.DataFrame(
        {
            "item_id": scenes.items["item_id"].gather(item[row]),
            "label": pl.Series(CLASSES).gather(label),
            "score": probs[row, label],
            **{edge: box[row, i] for i, edge in enumerate(("x1", "y1", "x2", "y2"))},
            "pred_probs": pl.Series(
                probs[row].astype(np.float32), dtype=pl.Array(pl.Float32, len(CLASSES))
            ),
        }
    )
    table = table.with_columns(order=pl.Series(item[row]))
    return table.sort("order", "score", descending=[False, True]).drop("order")


Looks = tuple[
    "NDArray[np.int64]", "NDArray[np.float64]", "NDArray[np.float64]", "NDArray[np.float64]"
]
"""Image, box, objectness and class logits of what the detector sees before the floor."""


def _look(scenes: Scenes, detector: SceneDetector, rng: np.random.Generator) -> Looks:
    number = pl.DataFrame({"item_id": scenes.items["item_id"], "item": range(scenes.items.height)})
    table = scenes.annotations.join(number, on="item_id", maintain_order="left")
    item, box = table["item"].to_numpy(), table.select("x1", "y1", "x2", "y2").to_numpy()
    label = table["label"].cast(pl.Enum(CLASSES)).to_physical().to_numpy().astype(np.int64)
    side = np.sqrt(np.prod(box[:, 2:] - box[:, :2], axis=1))
    doublings = np.log2(side / _sides(scenes)[item].mean(axis=1) / detector.reference_size)
    n = len(item)
    clear = detector.clarity + detector.size_slope * doublings
    clear += rng.normal(0, detector.spread, n) - detector.hidden_slope * scenes.hidden
    objectness = np.where(rng.random(n) < detector.blind, 0.0, 1 / (1 + np.exp(-clear)))
    lead = rng.normal(detector.class_margin, detector.class_spread, n)
    lead *= np.clip(1 + doublings / 4, 0.5, 1.2)
    logits = rng.normal(0, 0.7, (n, len(CLASSES)))
    logits[np.arange(n), label] += lead
    logits[np.arange(n), label ^ 1] += lead * (1 - detector.look_alike)
    edge = detector.edge_noise * (1 + 2 * (1 - objectness)) * side + detector.edge_pixels
    return item, _jitter(box, edge, rng), objectness, logits


def _look_again(seen: Looks, detector: SceneDetector, rng: np.random.Generator) -> Looks:
    item, box, objectness, logits = seen
    again = rng.random(len(item)) < detector.second_look
    item, box, logits = item[again], box[again], logits[again]
    side = np.sqrt(np.prod(box[:, 2:] - box[:, :2], axis=1))
    dimmer = objectness[again] * rng.uniform(0.1, 0.6, len(item))
    return item, _jitter(box, 0.15 * side, rng), dimmer, logits


def _ghosts(scenes: Scenes, detector: SceneDetector, rng: np.random.Generator) -> Looks:
    count = rng.poisson(detector.ghosts, scenes.items.height)
    item = np.repeat(np.arange(len(count)), count)
    n = len(item)
    room = _sides(scenes)[item]
    size = room.mean(axis=1, keepdims=True) * 0.1 * np.exp(rng.normal(0, [0.7], (n, 2)))
    size = np.clip(size, 6, room * 0.8)
    corner = rng.random((n, 2)) * (room - size)
    logits = rng.normal(0, 2.0, (n, len(CLASSES)))
    box = np.concatenate([corner, corner + size], axis=1)
    return item, box, rng.beta(*detector.ghost_confidence, n), logits


def _sides(scenes: Scenes) -> NDArray[np.float64]:
    return scenes.items.select("width", "height").to_numpy().astype(np.float64)


def _jitter(
    box: NDArray[np.float64], edge: NDArray[np.float64], rng: np.random.Generator
) -> NDArray[np.float64]:
    moved = box + rng.normal(0, 1, box.shape) * edge[:, None]
    low, high = np.minimum(moved[:, :2], moved[:, 2:]), np.maximum(moved[:, :2], moved[:, 2:])
    return np.concatenate([low, np.maximum(high, low + 1)], axis=1)


def _nms(
    item: NDArray[np.int64],
    label: NDArray[np.int64],
    box: NDArray[np.float64],
    score: NDArray[np.float64],
    most_iou: float,
) -> NDArray[np.int64]:
    """Rows that stay, within each image and class, surest first."""
    order = np.lexsort((-score, label, item))
    stays = np.ones(len(order), bool)
    group = item[order] * len(CLASSES) + label[order]
    for start, stop in pairwise([0, *(np.flatnonzero(np.diff(group)) + 1), len(order)]):
        rows = order[start:stop]
        for i in range(len(rows)):
            if stays[rows[i]] and i + 1 < len(rows):
                stays[rows[i + 1 :]] &= iou(box[rows[i]], box[rows[i + 1 :]]) <= most_iou
    return np.flatnonzero(stays)


def look_alike_confusion(share: float = 0.7) -> tuple[tuple[float, ...], ...]:
    """Weights of wrong classes as people confuse them: this share goes to the look-alike."""
    n = len(CLASSES)
    weights = np.full((n, n), (1 - share) / (n - 2))
    weights[np.arange(n), np.arange(n) ^ 1] = share
    return tuple(map(tuple, weights.tolist()))


def draw(scenes: Scenes, number: int, seed: int = 0) -> Image:
    """Draw one scene: objects in the order of the table, later ones over earlier ones."""
    import PIL.Image
    import PIL.ImageDraw

    rng = np.random.default_rng([seed, 3, number])
    name, width, height = scenes.items.row(number)[:3]
    base, grain = rng.integers(90, 165, 3), rng.normal(0, 14, (height, width, 1))
    image = PIL.Image.fromarray(np.clip(base + grain, 0, 255).astype(np.uint8))
    pen = PIL.ImageDraw.Draw(image)
    for row in scenes.annotations.filter(pl.col("item_id") == name).iter_rows(named=True):
        colour = tuple(int(c) for c in rng.integers(0, 256, 3))
        _draw_object(pen, row["label"], tuple(row[e] for e in ("x1", "y1", "x2", "y2")), colour)
    return image


def _draw_object(
    pen: ImageDraw, label: str, box: tuple[float, ...], colour: tuple[int, ...]
) -> None:
    x1, y1, x2, y2 = box
    thick = max(1, round(min(x2 - x1, y2 - y1) / 6))
    if label == "disc":
        pen.ellipse(box, fill=colour)
    elif label == "ring":
        pen.ellipse(box, outline=colour, width=thick)
    elif label == "square":
        pen.rectangle(box, fill=colour)
    elif label == "frame":
        pen.rectangle(box, outline=colour, width=thick)
    else:
        pen.polygon([(x1 + u * (x2 - x1), y1 + v * (y2 - y1)) for u, v in OUTLINES[label]], colour)


def _star(points: int) -> list[tuple[float, float]]:
    """Corners of a star that fills the unit square."""
    turn = np.arange(2 * points) * np.pi / points
    reach = np.where(np.arange(2 * points) % 2, 0.45, 1.0)
    x, y = reach * np.sin(turn), -reach * np.cos(turn)
    x, y = (x - x.min()) / np.ptp(x), (y - y.min()) / np.ptp(y)
    return list(zip(x.tolist(), y.tolist(), strict=True))


_ARM = (0.35, 0.65)
OUTLINES: dict[str, list[tuple[float, float]]] = {
    "triangle_up": [(0.5, 0), (1, 1), (0, 1)],
    "triangle_down": [(0, 0), (1, 0), (0.5, 1)],
    "star_5": _star(5),
    "star_6": _star(6),
    "plus": [
        *((_ARM[0], 0), (_ARM[1], 0), (_ARM[1], _ARM[0]), (1, _ARM[0])),
        *((1, _ARM[1]), (_ARM[1], _ARM[1]), (_ARM[1], 1), (_ARM[0], 1)),
        *((_ARM[0], _ARM[1]), (0, _ARM[1]), (0, _ARM[0]), (_ARM[0], _ARM[0])),
    ],
    "cross": [
        *((0.2, 0), (0.5, 0.3), (0.8, 0), (1, 0.2), (0.7, 0.5), (1, 0.8)),
        *((0.8, 1), (0.5, 0.7), (0.2, 1), (0, 0.8), (0.3, 0.5), (0, 0.2)),
    ],
    "diamond": [(0.5, 0), (1, 0.5), (0.5, 1), (0, 0.5)],
    "kite": [(0.5, 0), (1, 0.3), (0.5, 1), (0, 0.3)],
}


def write(scenes: Scenes, folder: Path, seed: int = 0) -> None:
    """Write the scenes as PNG images and one COCO file."""
    folder.mkdir(parents=True, exist_ok=True)
    for i, name in enumerate(scenes.items["item_id"]):
        draw(scenes, i, seed).save(folder / name)
    write_annotations(scenes.items, scenes.annotations, folder / "annotations.json")


def write_annotations(items: pl.DataFrame, annotations: pl.DataFrame, path: Path) -> None:
    """Write one COCO file."""
    number = {name: i for i, name in enumerate(items["item_id"], start=1)}
    images = [
        {"id": i, "file_name": name, "width": width, "height": height}
        for i, (name, width, height) in enumerate(items.iter_rows(), start=1)
    ]
    boxes = [
        {
            "id": int(row["annotation_id"]) + 1,
            "image_id": number[row["item_id"]],
            "category_id": CLASSES.index(row["label"]) + 1,
            "bbox": [row["x1"], row["y1"], row["x2"] - row["x1"], row["y2"] - row["y1"]],
            "area": (row["x2"] - row["x1"]) * (row["y2"] - row["y1"]),
            "iscrowd": 0,
        }
        for row in annotations.iter_rows(named=True)
    ]
    categories = [{"id": k, "name": name} for k, name in enumerate(CLASSES, start=1)]
    document = {"images": images, "annotations": boxes, "categories": categories}
    path.write_text(json.dumps(document))


def main() -> None:
    """Write scenes to a folder."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--images", type=int, default=400)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    write(make_scenes(args.images, args.seed), args.folder, args.seed)


if __name__ == "__main__":
    main()
