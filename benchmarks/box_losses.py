"""Losses of given boxes over a training, merged with what a detector says that never saw them.

    python benchmarks/box_losses.py [--choose 2] [--report 4] [--write]

Scenes (scenes.py) with planted errors, and a small FCOS of torchvision that is really trained: once
on all images, watched, and on each half for the other half. `--choose` seeds decide how losses
and predictions are weighed, `--report` seeds, other ones, say what that is worth; so does bccd.py,
on real errors. What was trained is kept in the temporary folder. `--write` puts the tables into
docs/benchmarks/box-losses.md.
"""

from __future__ import annotations

import argparse
import re
from dataclasses import replace
from itertools import product
from typing import TYPE_CHECKING, Any

import bccd
import numpy as np
import polars as pl
import torch
from boxes import BY, CACHE, DATA, HERE, NOISE, Tables, interval, joined, measure_given, plant
from PIL import Image
from scenes import CLASSES, Scenes, SceneStyle, draw, make_scenes
from torchvision.models.detection import FCOS
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.fcos import FCOSHead
from watched import watched

from labelfix.schema import BOX, BOX_PREDICTIONS, Dataset
from labelfix.score.boxes import (
    BoxParams,
    Calibration,
    Match,
    match_boxes,
    rank_boxes,
    rank_losses,
    score_boxes,
    with_losses,
)
from labelfix.training.boxes import BoxTracker
from labelfix.training.torchvision import look

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from boxes import Planted
    from numpy.typing import NDArray

    Suspicion = Mapping[str, NDArray[np.float64]]

PAGE = HERE.parent / "docs" / "benchmarks" / "box-losses.md"
KINDS = ("wrong_class", "bad_location", "spurious", "any")
WEIGHTS = (0.25, 0.5, 0.75)
NAMES = CLASSES[:4]
"""Two pairs of look-alikes: what a small network can learn from a few hundred images."""
STYLE = SceneStyle(objects=(3, 8), size=(0.2, 0.35), smallest=60.0)
IMAGES, SIDE, EPOCHS, EVERY, BATCH, RATE = 240, 128, 20, 2, 8, 4e-3


def scene_tables(seed: int) -> Tables:
    """Scenes as small images on disk, and their boxes as they are."""
    made = make_scenes(IMAGES, seed, STYLE)
    code = pl.Series([CLASSES.index(name) % len(NAMES) for name in made.annotations["label"]])
    boxes = made.annotations.with_columns(label=pl.Series(NAMES).gather(code))
    made = Scenes(made.items, boxes, made.hidden)
    shrink = SIDE / made.items.select(pl.max_horizontal("width", "height")).to_series()
    sizes = (made.items.select("width", "height") * shrink).select(pl.all().round().cast(pl.Int64))
    folder = CACHE / "box-losses" / str(seed)
    if not folder.exists():
        folder.mkdir(parents=True)
        for row, (name, size) in enumerate(zip(made.items["item_id"], sizes.rows(), strict=True)):
            draw(made, row, seed).resize(size, Image.Resampling.BOX).save(folder / name)
    scale = pl.DataFrame({"item_id": made.items["item_id"], "scale": shrink})
    boxes = joined(boxes, scale, "item_id").with_columns(pl.col(BOX) * pl.col("scale"))
    items = sizes.insert_column(0, made.items["item_id"]).with_columns(path="item_id")
    alike = tuple(tuple(0.7 if a ^ 1 == b else 0.15 for b in range(4)) for a in range(4))
    nothing = pl.DataFrame(schema=BOX_PREDICTIONS)
    return Tables(items, boxes.drop("scale"), nothing, NAMES, alike)


def small_detector() -> Any:
    """Make an FCOS on three convolutions, from nothing."""
    layers: list[Any] = []
    for before, after, stride in ((3, 16, 2), (16, 32, 2), (32, 64, 2)):
        layers += [torch.nn.Conv2d(before, after, 3, stride, 1), torch.nn.BatchNorm2d(after)]
        layers += [torch.nn.ReLU()]
    body = torch.nn.Sequential(*layers)
    body.out_channels = 64
    anchors = AnchorGenerator(((8,),), ((1.0,),))
    sizes = {"min_size": SIDE, "max_size": SIDE, "score_thresh": 0.01, "nms_thresh": 0.6}
    head = FCOSHead(64, 1, len(NAMES) + 1, num_convs=2)
    return FCOS(body, len(NAMES) + 1, anchor_generator=anchors, head=head, **sizes)


def pixels(dataset: Dataset) -> list[torch.Tensor]:
    """All images, channels first, from 0 to 1."""
    paths = dataset.image_paths or ()
    return [torch.tensor(np.array(Image.open(path))).permute(2, 0, 1) / 255 for path in paths]


def train(dataset: Dataset, seed: int, tracker: BoxTracker | None = None) -> Any:
    """Train on all images of a dataset, mirrored at random; the tracker looks after each epoch."""
    torch.manual_seed(seed)
    model, images, draw_from = small_detector(), pixels(dataset), np.random.default_rng(seed)
    own = dataset.annotations.with_columns(code=pl.Series(dataset.labels) + 1)
    usable = own.filter(pl.col("x2") - pl.col("x1") > 1, pl.col("y2") - pl.col("y1") > 1)
    boxes = usable.partition_by("item_id", as_dict=True)
    optimizer = torch.optim.AdamW(model.parameters(), lr=RATE, weight_decay=0.01)
    steps = EPOCHS * -(-len(images) // BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, total_steps=steps)
    for epoch in range(EPOCHS):
        model.train()
        order = draw_from.permutation(len(images))
        for rows in np.array_split(order, -(-len(images) // BATCH)):
            batch = [
                example(images[row], boxes.get((dataset.items["item_id"][int(row)],)), draw_from)
                for row in rows
            ]
            losses = model(*(list(part) for part in zip(*batch, strict=True)))
            optimizer.zero_grad()
            sum(losses.values()).backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 10.0)
            optimizer.step()
            schedule.step()
        if tracker is not None and epoch % EVERY == EVERY - 1:
            look(tracker, model, dataset, batch_size=BATCH)
        if tracker is not None:
            tracker.end_epoch()
    return model.eval()


def example(
    image: torch.Tensor, boxes: pl.DataFrame | None, rng: np.random.Generator
) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """One image with its boxes, mirrored or not."""
    box = torch.zeros(0, 4) if boxes is None else torch.tensor(boxes.select(BOX).to_numpy()).float()
    label = torch.zeros(0).long() if boxes is None else torch.tensor(boxes["code"].to_numpy())
    if rng.random() < 0.5:
        image, width = image.flip(2), image.shape[2]
        box = torch.stack([width - box[:, 2], box[:, 1], width - box[:, 0], box[:, 3]], dim=1)
    return image, {"boxes": box, "labels": label}


def predict(model: Any, dataset: Dataset) -> pl.DataFrame:
    """Give what a model sees in images."""
    parts = []
    for name, image in zip(dataset.items["item_id"], pixels(dataset), strict=True):
        with torch.inference_mode():
            (seen,) = model([image])
        label = pl.Series(NAMES).gather(pl.Series(seen["labels"].numpy() - 1))
        columns = {edge: seen["boxes"][:, i].double().numpy() for i, edge in enumerate(BOX)}
        score = seen["scores"].double().numpy()
        known = seen["labels"].numpy() > 0
        parts.append(
            pl.DataFrame(
                {"item_id": [name] * len(label), "label": label, "score": score, **columns}
            ).filter(known)
        )
    return pl.concat(parts)


def evidence(seed: int) -> tuple[Planted, pl.DataFrame]:
    """Boxes with planted errors and out-of-fold predictions, and losses; trainings are kept."""
    tables = scene_tables(seed)
    noisy = plant(tables, NOISE, seed).noisy
    folder = CACHE / "box-losses" / str(seed)
    dataset = Dataset(tables.items, noisy, NAMES, "memory", folder)
    kept, found = folder.with_suffix(".npz"), folder.with_suffix(".parquet")
    if not kept.exists():
        tracker = BoxTracker(dataset)
        train(dataset, seed, tracker)
        tracker.save(kept)
    if not found.exists():
        half = pl.int_range(pl.len()) % 2
        halves = [dataset.filter(half == side) for side in (0, 1)]
        seen = [predict(train(halves[1 - side], seed), halves[side]) for side in (0, 1)]
        order = tables.items.select("item_id").with_row_index("order")
        table = pl.concat(seen).join(order, on="item_id")
        table.sort("order", "score", descending=[False, True]).drop("order").write_parquet(found)
    planted = plant(replace(tables, predictions=pl.read_parquet(found)), NOISE, seed)
    losses = BoxTracker.load(kept).predictions(dataset).losses
    assert losses is not None
    return planted, losses


# who says what


def by_both(
    match: Match,
    given: pl.DataFrame,
    found: pl.DataFrame,
    losses: pl.DataFrame,
    weight: float,
    *,
    place: bool = False,
) -> Suspicion:
    """Suspicion by predictions, with the losses weighed in; `place`: of spurious boxes, both."""
    params = BoxParams(training=weight)
    bare = score_boxes(match, Calibration.fit(match, params))
    scores = with_losses(bare, given, losses, params)
    if place:  # losses whose odds are the sum of both odds
        doubt = pl.col("class_loss").exp() - 1
        share = pl.col("location_loss").clip(1e-6, 1 - 1e-6)
        summed = losses.with_columns(class_loss=(doubt * share / (1 - share)).log1p())
        spurious = with_losses(bare, given, summed, params).given["spurious"]
        scores = scores._replace(given=scores.given.with_columns(spurious))
    listed = rank_boxes(match, scores, given, found, params)
    quality = joined(given.select("annotation_id"), listed, "annotation_id")["quality"]
    of_box = scores.given.sort("row")
    odds = {kind: of_box[kind].to_numpy() for kind in KINDS if kind != "any"}
    return odds | {"any": -quality.to_numpy()}


def by_losses(match: Match, given: pl.DataFrame, losses: pl.DataFrame) -> Suspicion:
    """Suspicion by losses alone."""
    params = BoxParams()
    found = {}
    for kind in KINDS:
        kinds: Any = KINDS[:-1] if kind == "any" else [kind]
        listed = rank_losses(match, given, losses, params, kinds)
        quality = joined(given.select("annotation_id"), listed, "annotation_id")["quality"]
        found[kind] = 1 - quality.fill_null(1.0).to_numpy()
    return found


def measured(
    seeds: Sequence[int], weights: Sequence[float], places: Sequence[bool] = (False,)
) -> dict[str, list[Any]]:
    """Of each method and seed AUROC and AP by kind, shape (4, 2)."""
    found: dict[str, list[Any]] = {}
    for seed in seeds:
        planted, losses = evidence(seed)
        says = {"losses alone": by_losses(planted.match, planted.noisy, losses)}
        tables = planted.match, planted.noisy, planted.found, losses
        for weight, place in product(weights, places):
            name = f"weight {weight:g}" + ", spurious by both" * place
            says[name] = by_both(*tables, weight, place=place)
        for name, said in says.items():
            values = [measure_given(planted, said[kind], kind) for kind in KINDS]
            found.setdefault(name, []).append(values)
    return found


def table(found: dict[str, list[Any]], title: str) -> list[str]:
    """Means over the seeds."""
    lines = [f"| {title} | {' | '.join(KINDS)} | mean |", "|---|" + "---:|" * (len(KINDS) + 1)]
    for number, what in enumerate(("AUROC", "AP")):
        for name, runs in found.items():
            values = np.array(runs)[:, :, number]
            cells = [interval(values[:, k]) for k in range(len(KINDS))]
            cells.append(interval(values.mean(axis=1)))
            lines.append(f"| {what}, {name} | {' | '.join(cells)} |")
    return [*lines, ""]


def on_scenes(choose: int, report: int) -> str:
    """Choose the weight on some seeds, and say on others what it is worth."""
    first = measured(range(choose), WEIGHTS, (False, True))
    bare = measured(range(choose), (0.0,))
    lines = [f"### Seeds 0 to {choose - 1}: which weight", "", *table(first, "choose")]
    chosen = BoxParams().training
    second = measured(range(choose, choose + report), (0.0, chosen))
    names = {"weight 0": "predictions alone", f"weight {chosen:g}": "both"}
    second = {names.get(name, name): runs for name, runs in second.items()}
    ahead = np.array(second["both"]) - np.array(second["predictions alone"])
    second["both ahead by"] = list(ahead)
    title = f"### Seeds {choose} to {choose + report - 1}: what weight {chosen:g} is worth"
    alone = [*bare["weight 0"], *second["predictions alone"]]
    both = [*first[f"weight {chosen:g}"], *second["both"]]
    return "\n".join([*lines, title, "", *table(second, "report"), *by_seed(alone, both)])


def by_seed(alone: list[Any], both: list[Any]) -> list[str]:
    """Mean over the columns for each seed: a detector of one half may have learnt nothing."""
    lines = [
        "### Each seed: mean of the four columns",
        "",
        "| seed | AUROC, predictions alone | both ahead by | AP, the same | both ahead by |",
        "|---|" + "---:|" * 4,
    ]
    for seed, (one, other) in enumerate(zip(alone, both, strict=True)):
        own = np.array(one).mean(axis=0)
        ahead = np.array(other).mean(axis=0) - own
        cells = [own[0], ahead[0], own[1], ahead[1]]
        lines.append(f"| {seed} | {' | '.join(f'{cell:.3f}' for cell in cells)} |")
    return [*lines, ""]


def on_bccd() -> str:
    """Real errors: red cells as first drawn and as revised, with YOLO11n."""
    data = DATA / "bccd" / "annotations_cosmicad"
    tracker = watched(data, CACHE / "bccd" / "dynamics.npz", epochs=25, side=256)
    first = bccd.read("cosmicad")
    found, truth = bccd.predictions(first), bccd.compare(first, bccd.read("shenggan"))
    losses = tracker.predictions(first).losses
    assert losses is not None
    given = first.annotations
    match = match_boxes(given, found, first.class_names, first.items)
    says = {
        "labelfix": by_both(match, given, found, losses, BoxParams().training),
        "predictions alone": by_both(match, given, found, losses, 0.0),
        "losses alone": by_losses(match, given, losses),
        "IoU x confidence": BY["IoU x confidence"](match, given, found),
    }
    image, nothing = bccd.rows_of(first, given), np.zeros(given.height, bool)
    lines = []
    for kind, wrong, other, what in (
        ("bad_location", truth.shifted, truth.removed, "moved"),
        ("spurious", truth.removed, truth.shifted, "removed"),
        ("any", truth.shifted | truth.removed, nothing, "moved or removed"),
    ):
        answers = {
            name: bccd.Answer(wrong[~other], image[~other], said[kind][~other])
            for name, said in says.items()
        }
        title = f"{what}: {wrong.sum()} of {(~other).sum():,} boxes"
        lines += bccd.compared(title, answers, len(first))
    return "\n".join(lines)


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("sections", nargs="*", choices=["scenes", "bccd", []], default=[])
    parser.add_argument("--choose", type=int, default=2)
    parser.add_argument("--report", type=int, default=4)
    parser.add_argument("--write", action="store_true", help=f"write {PAGE.name}")
    args = parser.parse_args()
    torch.set_num_threads(1)
    for section in args.sections or ("scenes", "bccd"):
        text = on_scenes(args.choose, args.report) if section == "scenes" else on_bccd()
        print(text, end="\n\n", flush=True)
        if args.write:
            put(section, text)


def put(section: str, text: str) -> None:
    """Write a section into its place on the page."""
    marks = f"<!-- {section} -->", f"<!-- end of {section} -->"
    pattern = re.compile(f"{marks[0]}.*?{marks[1]}", re.DOTALL)
    page = PAGE.read_text(encoding="utf-8")
    made = pattern.sub(lambda _: f"{marks[0]}\n\n{text.strip()}\n\n{marks[1]}", page)
    PAGE.write_text(made, encoding="utf-8")


if __name__ == "__main__":
    main()
