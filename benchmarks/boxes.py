"""Planted box errors found, and time and memory, beside cleanlab's ObjectLab and FiftyOne.

    python benchmarks/boxes.py [scenes] [coco128] [company] [groups] [truth] [speed] [large]
                               [--seeds 20] [--write]

Without a name it does all of them, in half an hour. `coco128` needs `onnxruntime` and, under
`$LABELFIX_DATA`, the folders `coco128` and `models`; `speed` needs `labelfix[cleanlab]`; `large`
needs 4 GB of memory. With `--write` the tables go into docs/benchmarks/boxes.md, each into its
place; those that were not made stay as they are.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import platform
import re
import resource
import subprocess
import sys
import tempfile
import time
import warnings
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
import yaml
from scenes import CLASSES, detect, look_alike_confusion, make_scenes
from sklearn.metrics import average_precision_score, roc_auc_score

import labelfix
from labelfix.errors import LabelfixWarning
from labelfix.inject import BoxNoise, inject_boxes
from labelfix.schema import BOX, BOX_KINDS
from labelfix.score.boxes import (
    BoxParams,
    Calibration,
    Match,
    fiftyone_scores,
    image_quality,
    match_boxes,
    objectlab_scores,
    rank_boxes,
    score_boxes,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from numpy.typing import NDArray

    Suspicion = Mapping[str, NDArray[np.float64]]

HERE = Path(__file__).parent
PAGE = HERE.parent / "docs" / "benchmarks" / "boxes.md"
DATA = Path(os.environ.get("LABELFIX_DATA", HERE.parent.parent / "shared" / "data"))
CACHE = Path(tempfile.gettempdir()) / "labelfix-benchmarks"

NOISE = BoxNoise(
    drop=0.05, flip=0.05, shift=0.05, spawn=0.05, duplicate=0.05, merge=0.04, split=0.02
)
RATES = ("drop", "flip", "shift", "spawn", "duplicate", "merge", "split")
GIVEN_KINDS = tuple(kind for kind in BOX_KINDS if kind != "missing")
METHODS = ("labelfix", "ObjectLab", "FiftyOne", "IoU x confidence")


# what is scored


@dataclass(frozen=True)
class Tables:
    """A dataset that is taken to be right, and what a detector that did not see it says."""

    items: pl.DataFrame
    annotations: pl.DataFrame
    predictions: pl.DataFrame
    class_names: tuple[str, ...]
    confusion: tuple[tuple[float, ...], ...] | None = None


def scene_tables(seed: int) -> Tables:
    """400 scenes, other ones for each seed, with flips mostly to the look-alike."""
    scenes = make_scenes(400, seed)
    found = detect(scenes, seed)
    return Tables(scenes.items, scenes.annotations, found, CLASSES, look_alike_confusion())


@cache
def coco128(half: str) -> Tables:
    """Images of one half of coco128, and YOLOX-Nano's predictions, made once and kept."""
    folder = CACHE / "coco128"
    (folder / "labels").mkdir(parents=True, exist_ok=True)
    for name, target in (("images", "images"), ("labels", "object_detection/labels")):
        link = folder / name / half
        link.parent.mkdir(exist_ok=True)
        if not link.exists():
            link.symlink_to(DATA / "coco128" / target / half, target_is_directory=True)
    names = (DATA / "models" / "coco.names").read_text().split("\n")[:80]
    file = folder / f"{half}.yaml"
    data = {"path": str(folder), "train": f"images/{half}", "names": names}
    file.write_text(yaml.safe_dump(data))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", LabelfixWarning)  # of odd boxes that are in the files
        dataset = labelfix.read(file)
    kept = folder / f"yolox-nano-{half}.parquet"
    if not kept.exists():
        from yolox import predict

        paths = dict(zip(dataset.items["item_id"], dataset.image_paths or (), strict=True))
        model = DATA / "models" / "yolox_nano_416_coco80.onnx"
        predict(model, paths, names).write_parquet(kept)
    predictions = pl.read_parquet(kept)
    return Tables(dataset.items, dataset.annotations, predictions, dataset.class_names)


def coco_val_tables(seed: int) -> Tables:
    """Read the half of coco128 that no detector learnt from; only the errors differ by seed."""
    del seed
    return coco128("val2017")


SETS: dict[str, tuple[str, Callable[[int], Tables]]] = {
    "scenes": ("400 generated scenes, other ones for each seed", scene_tables),
    "coco128": ("coco128, the val2017 half, with YOLOX-Nano's predictions", coco_val_tables),
}


# who scores


def by_labelfix(
    match: Match, noisy: pl.DataFrame, found: pl.DataFrame, **choices: Any
) -> Suspicion:
    """Suspicion by `labelfix.score.boxes`, with its default parameters but for `choices`."""
    params = BoxParams(propose_above=0.0, **choices)
    scores = score_boxes(match, Calibration.fit(match, params))
    missing = np.full(found.height, -np.inf)
    missing[scores.missing["row"].to_numpy()] = scores.missing["missing"].to_numpy()
    probable = 1 / (1 + (-scores.missing["missing"]).exp()) >= BoxParams().propose_above
    listed = rank_boxes(
        match, scores._replace(missing=scores.missing.filter(probable)), noisy, found
    )
    boxes = joined(noisy.select("annotation_id"), listed, "annotation_id")
    images = joined(
        pl.DataFrame({"item_id": match.item_ids}),
        image_quality(listed, match.item_ids),
        "item_id",
    )
    of_box = scores.given.sort("row")
    return {
        **{kind: of_box[kind].to_numpy() for kind in GIVEN_KINDS},
        "missing": missing,
        "any": -boxes["quality"].to_numpy(),
        "image": -images["quality"].to_numpy(),
    }


def joined(left: pl.DataFrame, right: pl.DataFrame, on: str) -> pl.DataFrame:
    """Rows of `left`, with what `right` has on them."""
    return left.join(right, on=on, how="left", maintain_order="left")


def by_objectlab(match: Match, noisy: pl.DataFrame, found: pl.DataFrame) -> Suspicion:
    """Suspicion by ObjectLab as cleanlab computes it; its nearest score where it has none."""
    del noisy, found
    scores = objectlab_scores(match)
    return {
        "missing": np.nan_to_num(-scores.overlooked, nan=-2.0),
        "wrong_class": -scores.swap,
        "bad_location": -scores.badloc,
        "group": -scores.badloc,
        "any": -np.minimum(scores.badloc, scores.swap),
        "image": -scores.image,
    }


def by_fiftyone(match: Match, noisy: pl.DataFrame, found: pl.DataFrame) -> Suspicion:
    """Suspicion by FiftyOne's formulas; its nearest score where it has none."""
    del noisy, found
    scores = fiftyone_scores(match)
    # what no prediction matches is as likely right as wrong
    mistaken, location = (
        np.nan_to_num(values, nan=0.5) for values in (scores.mistakenness, scores.location)
    )
    missing = np.nan_to_num(scores.missing, nan=-1.0)
    any_error = np.maximum(np.maximum(mistaken, location), scores.spurious)
    image = np.zeros(len(match))
    np.maximum.at(image, match.given.item, any_error[match.given.row])
    np.maximum.at(image, match.predicted.item, missing[match.predicted.row])
    return {
        "missing": missing,
        "spurious": scores.spurious.astype(np.float64),
        "wrong_class": mistaken,
        "bad_location": location,
        "duplicate": scores.spurious.astype(np.float64),
        "group": np.maximum(location, scores.spurious),
        "any": any_error,
        "image": image,
    }


def by_overlap(match: Match, noisy: pl.DataFrame, found: pl.DataFrame) -> Suspicion:
    """Suspicion in a few lines: overlap times confidence of the best prediction."""
    del noisy, found
    given, predicted, pairs = match.given, match.predicted, match.pairs
    weight = pairs.iou * predicted.confidence[pairs.right]
    agrees = given.label[pairs.left] == predicted.label[pairs.right]
    twins = match.given_pairs
    alike = twins.iou * (given.label[twins.left] == given.label[twins.right])
    any_class = largest(pairs.left, weight, len(given))
    same_class = largest(pairs.left, weight * agrees, len(given))
    doubled = largest(np.concatenate([twins.left, twins.right]), np.tile(alike, 2), len(given))
    covered = largest(pairs.right, pairs.iou, len(predicted))
    return {
        "missing": predicted.in_table_order(predicted.confidence * (1 - covered)),
        **{
            kind: given.in_table_order(suspicion)
            for kind, suspicion in (
                ("spurious", -any_class),
                ("wrong_class", any_class - same_class),
                ("bad_location", -same_class),
                ("duplicate", doubled),
                ("group", -same_class),
                ("any", -same_class),
            )
        },
    }


def largest(
    group: NDArray[np.integer[Any]], value: NDArray[np.float64], n: int
) -> NDArray[np.float64]:
    """Largest value of each of n groups, 0 for those without any."""
    found = np.zeros(n)
    np.maximum.at(found, group, value)
    return found


BY: dict[str, Callable[[Match, pl.DataFrame, pl.DataFrame], Suspicion]] = {
    "labelfix": by_labelfix,
    "ObjectLab": by_objectlab,
    "FiftyOne": by_fiftyone,
    "IoU x confidence": by_overlap,
}


# how well


@dataclass(frozen=True)
class Planted:
    """Tables with errors in them, and what is known of every box."""

    match: Match
    noisy: pl.DataFrame
    found: pl.DataFrame
    kind: NDArray[Any]
    """Of each given box what was planted in it: "" for nothing, "twin" for what was doubled."""
    copy: NDArray[np.int64]
    """Planted duplicates, and beside them in `original` what they double."""
    original: NDArray[np.int64]
    dropped_items: pl.Series
    """Images that lost a box, once for each."""
    hits: NDArray[np.int64]
    """Of each prediction the dropped box that it finds, at IoU .5 or more; -1 for the others."""


def plant(tables: Tables, noise: BoxNoise, seed: int) -> Planted:
    """Put errors into tables, anywhere."""
    noise = replace(noise, confusion=tables.confusion)
    return known_of(
        tables, *inject_boxes(tables.annotations, noise, tables.class_names, tables.items, seed)
    )


CARELESS, CAREFUL = 0.3, 0.05
"""Share of careless images, and how likely errors are in the others beside them."""


def plant_in_company(tables: Tables, noise: BoxNoise, seed: int) -> Planted:
    """Put as many errors into tables, most of them into some of the images."""
    draw = np.random.default_rng([seed, 9]).random(tables.items.height)
    bad = tables.items["item_id"].filter(draw < CARELESS)
    in_bad = tables.annotations["item_id"].is_in(bad.implode())
    share = float(in_bad.to_numpy().mean())
    rate = 1 / (share + (1 - share) * CAREFUL)
    parts = []
    for name, here, times in (("a", in_bad, rate), ("b", ~in_bad, rate * CAREFUL)):
        images = tables.items.filter(pl.col("item_id").is_in(bad.implode()) == (name == "a"))
        more = {one: getattr(noise, one) * times for one in RATES}
        spoilt = replace(noise, confusion=tables.confusion, **more)
        own = tables.annotations.filter(here)
        named = pl.col("annotation_id").str.replace("^planted", f"planted {name} ")
        made = inject_boxes(own, spoilt, tables.class_names, images, seed)
        parts.append([table.with_columns(named) for table in made])
    noisy, truth = (pl.concat(tables) for tables in zip(*parts, strict=True))
    order = tables.items.select("item_id").with_row_index("order")
    noisy = joined(noisy, order, "item_id").sort("order", maintain_order=True).drop("order")
    return known_of(tables, noisy, truth)


def known_of(tables: Tables, noisy: pl.DataFrame, truth: pl.DataFrame) -> Planted:
    """Look up what is known of every box."""
    match = match_boxes(noisy, tables.predictions, tables.class_names, tables.items)
    known = joined(noisy.select("annotation_id"), truth, "annotation_id")
    kind = known["kind"].fill_null("").to_numpy().astype("U12")
    given, pairs = match.given, match.given_pairs
    close = given.label[pairs.left] == given.label[pairs.right]
    close &= pairs.iou > NOISE.duplicate_iou[0] - 1e-6
    one, other = given.row[pairs.left[close]], given.row[pairs.right[close]]
    copy, original = np.concatenate([one, other]), np.concatenate([other, one])
    doubles = (kind[copy] == "duplicate") & (kind[original] == "")
    copy, original = copy[doubles], original[doubles]
    kind[original] = "twin"
    dropped = truth.filter(pl.col("kind") == "missing")
    hits = np.full(tables.predictions.height, -1)
    there = match_boxes(
        dropped.select(
            "annotation_id",
            "item_id",
            label="original_label",
            **{edge: f"original_{edge}" for edge in BOX},
            crowd=pl.lit(value=False),
        ),
        tables.predictions,
        tables.class_names,
        tables.items,
        least_iou=0.4999,
    )
    order = np.argsort(there.pairs.iou, kind="stable")  # the best fitting one is written last
    hits[there.predicted.row[there.pairs.right[order]]] = there.pairs.left[order]
    return Planted(match, noisy, tables.predictions, kind, copy, original, dropped["item_id"], hits)


def measure_given(
    planted: Planted, suspicion: NDArray[np.float64], kind: str
) -> tuple[float, float]:
    """AUROC and AP of errors of a kind (or `any`) against boxes that are right.

    Of a box and its duplicate either may go: the more suspicious one speaks for both.
    """
    score = suspicion.copy()
    np.maximum.at(score, planted.copy, suspicion[planted.original])
    right = planted.kind == ""
    wrong = ~right & (planted.kind != "twin") if kind == "any" else planted.kind == kind
    asked = right | wrong
    return (
        float(roc_auc_score(wrong[asked], score[asked])),
        float(average_precision_score(wrong[asked], score[asked])),
    )


def measure_missing(planted: Planted, suspicion: NDArray[np.float64]) -> tuple[float, float]:
    """AUROC and AP of predictions that find a dropped box, against all others.

    For each dropped box its most suspicious find counts and the others do not. AP is over all
    dropped boxes: those that no prediction finds are never reached.
    """
    score = np.nan_to_num(suspicion, neginf=-1e9)
    order = np.lexsort((-score, planted.hits))
    order = order[planted.hits[order] >= 0]
    first = order[np.unique(planted.hits[order], return_index=True)[1]]
    found = np.zeros(len(score), bool)
    found[first] = True
    asked = found | (planted.hits < 0)
    recall = found.sum() / max(len(planted.dropped_items), 1)
    return (
        float(roc_auc_score(found[asked], score[asked])),
        float(average_precision_score(found[asked], score[asked]) * recall),
    )


def measure_images(planted: Planted, suspicion: NDArray[np.float64]) -> tuple[float, float]:
    """AUROC and AP of images with an error against those without."""
    wrong = planted.noisy.filter((planted.kind != "") & (planted.kind != "twin"))["item_id"]
    ids = planted.match.item_ids
    spoilt = ids.is_in(wrong.implode()).to_numpy().copy()
    spoilt |= ids.is_in(planted.dropped_items.implode()).to_numpy()
    return (
        float(roc_auc_score(spoilt, suspicion)),
        float(average_precision_score(spoilt, suspicion)),
    )


ROWS = (*BOX_KINDS, "any", "image")


def measure(tables: Tables, seed: int) -> dict[tuple[str, str], tuple[float, float]]:
    """AUROC and AP of each row and method, for one seed."""
    many, few = (plant(tables, noise, seed) for noise in (NOISE, fewer(NOISE)))
    found = {}
    for method, score in BY.items():
        suspicion = score(many.match, many.noisy, many.found)
        for kind in (*GIVEN_KINDS, "any"):
            if kind in suspicion:
                found[kind, method] = measure_given(many, suspicion[kind], kind)
        found["missing", method] = measure_missing(many, suspicion["missing"])
        suspicion = score(few.match, few.noisy, few.found)
        if "image" in suspicion:
            found["image", method] = measure_images(few, suspicion["image"])
    return found


def fewer(noise: BoxNoise) -> BoxNoise:
    """Plant a tenth of the errors: with all of them hardly an image is without one."""
    tenth: dict[str, Any] = {name: getattr(noise, name) / 10 for name in RATES}
    return replace(noise, **tenth)


def ranking(name: str, seeds: int) -> str:
    """Table of one set: mean over seeds and the 95 % interval of the mean."""
    title, make = SETS[name]
    runs = []
    for seed in range(seeds):
        runs.append(measure(make(seed), seed))
        print(f"\r{name} {seed + 1}/{seeds}", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    lines = [f"### {title}; {seeds} seeds", ""]
    for number, what in enumerate(("AUROC", "AP")):
        lines += [
            f"| {what} | {' | '.join(METHODS)} | ahead of the best peer |",
            "|---|" + "---:|" * 5,
        ]
        for row in ROWS:
            cells, values = [], {}
            for method in METHODS:
                if (row, method) not in runs[0]:
                    cells.append("")
                    continue
                values[method] = np.array([run[row, method][number] for run in runs])
                cells.append(interval(values[method]))
            peers = [values[method] for method in METHODS[1:] if method in values]
            best = max(peers, key=lambda peer: float(peer.mean()))
            ahead = int((values["labelfix"] > best).sum())
            lines.append(f"| {row} | {' | '.join(cells)} | {ahead} of {seeds} |")
        lines.append("")
    return "\n".join(lines)


def company(seeds: int) -> str:
    """Tables for errors that keep company, small shifts too, with and without looking at it."""
    methods: dict[str, Callable[..., Suspicion]] = {
        "labelfix": by_labelfix,
        "labelfix, each box alone": lambda *tables: by_labelfix(*tables, carelessness=(0.0,)),
        "FiftyOne": by_fiftyone,
        "IoU x confidence": by_overlap,
    }
    noise = replace(NOISE, shift_iou=(0.5, 0.9))
    rows = ("spurious", "wrong_class", "bad_location", "group", "any")
    lines = []
    for title, make in SETS.values():
        found: dict[str, list[Any]] = {name: [] for name in methods}
        for seed in range(seeds):
            planted = plant_in_company(make(seed), noise, seed)
            for name, score in methods.items():
                says = score(planted.match, planted.noisy, planted.found)
                found[name].append([measure_given(planted, says[kind], kind) for kind in rows])
        lines += [f"### {title}; {seeds} seeds", ""]
        lines += [f"| {title.split(',')[0]} | {' | '.join(rows)} |", "|---|" + "---:|" * len(rows)]
        for number, what in enumerate(("AUROC", "AP")):
            for name, runs in found.items():
                values = np.array(runs)[:, :, number].T
                lines.append(f"| {what}, {name} | {' | '.join(map(interval, values))} |")
        lines.append("")
    return "\n".join(lines)


def groups(seeds: int) -> str:
    """Say how many boxes at the top of the queue are named a group where no groups are planted."""
    tops = (10, 50)
    lines = [
        "| named a group where none is planted | of the first 10 | of the first 50 |",
        "|---|---:|---:|",
    ]
    others = replace(NOISE, merge=0.0, split=0.0)
    nothing: dict[str, Any] = dict.fromkeys(RATES, 0.0)
    for title, make in SETS.values():
        for what, noise in (
            ("nothing planted", replace(NOISE, **nothing)),
            ("a tenth of the other errors planted", fewer(others)),
            ("the other errors planted", others),
        ):
            counts = []
            for seed in range(seeds):
                planted = plant(make(seed), noise, seed)
                scores = score_boxes(planted.match, Calibration.fit(planted.match))
                issues = rank_boxes(planted.match, scores, planted.noisy, planted.found)
                named = (issues["kind"] == "group").cum_sum()
                counts.append([named[top - 1] for top in tops])
            cells = [f"{mean:.2f}" for mean in np.mean(counts, axis=0)]
            lines.append(f"| {title.split(',')[0]}, {what} | {' | '.join(cells)} |")
    return "\n".join(lines)


def interval(values: NDArray[np.float64]) -> str:
    """Mean, and half the width of its 95 % interval."""
    half = 1.96 * values.std(ddof=1) / np.sqrt(len(values)) if len(values) > 1 else float("nan")
    return f"{values.mean():.3f} ± {half:.3f}"


# are the probabilities true


def probabilities(seeds: int) -> str:
    """Say how many of the boxes given a probability are errors, on the scenes."""
    edges = np.array([0.01, 0.02, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0])
    lines = ["| planted | " + " | ".join(f"{a:.0%}-{b:.0%}" for a, b in pairs_of(edges)) + " |"]
    lines.append("|---|" + "---:|" * (len(edges) - 1))
    for rate in (0.002, 0.01, 0.02, 0.05):
        rates: dict[str, Any] = dict.fromkeys(RATES, rate) | {"split": rate / 2}
        noise = replace(NOISE, **rates)
        given, wrong = [], []
        for seed in range(seeds):
            planted = plant(scene_tables(seed), noise, seed)
            scores = score_boxes(planted.match, Calibration.fit(planted.match))
            issues = rank_boxes(planted.match, scores, planted.noisy, planted.found)
            known = joined(planted.noisy.select("annotation_id"), issues, "annotation_id")
            asked = planted.kind != "twin"
            given.append(1 - known["quality"].to_numpy()[asked])
            wrong.append(planted.kind[asked] != "")
        probability, error = np.concatenate(given), np.concatenate(wrong)
        cells = []
        for low, high in pairs_of(edges):
            here = (probability > low) & (probability <= high)
            cells.append(f"{error[here].mean():.0%} of {here.sum()}" if here.any() else "")
        lines.append(f"| {error.mean():.1%} of the boxes | {' | '.join(cells)} |")
    return "\n".join(lines)


def pairs_of(edges: NDArray[np.float64]) -> Iterable[tuple[float, float]]:
    """Neighbouring edges."""
    return zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True)


# how fast


def made_up(
    images: int, given: int, predicted: int, classes: int = 80, seed: int = 0
) -> tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame, tuple[str, ...]]:
    """Make tables of a size: two predictions in five are near a given box."""
    rng = np.random.default_rng(seed)
    names = pl.Series([f"images/{number:012}.jpg" for number in range(images)])
    labels = pl.Series([f"class {k}" for k in range(classes)])

    def anywhere(n: int) -> NDArray[np.float64]:
        centre, size = rng.random((n, 2)) * [640, 480], np.exp(rng.normal(4, 0.7, (n, 2)))
        return np.concatenate([centre - size / 2, centre + size / 2], axis=1)

    def table(
        item: NDArray[np.int64], label: NDArray[np.int64], box: NDArray[np.float64], **more: Any
    ) -> pl.DataFrame:
        order = np.argsort(item, kind="stable")
        columns = {edge: box[order, i] for i, edge in enumerate(BOX)}
        columns |= {name: values[order] for name, values in more.items()}
        return pl.DataFrame(
            {"item_id": names.gather(item[order]), "label": labels.gather(label[order]), **columns}
        )

    item, label, box = (
        rng.integers(0, images, given),
        rng.integers(0, classes, given),
        anywhere(given),
    )
    source = rng.integers(0, given, predicted)
    ghost = rng.random(predicted) < 0.6
    near = box[source] + rng.normal(0, 0.06, (predicted, 4)) * np.tile(
        box[source, 2:] - box[source, :2], 2
    )
    found = np.where(ghost[:, None], anywhere(predicted), near)
    found[:, 2:] = np.maximum(found[:, 2:], found[:, :2] + 1)
    wrong = ghost | (rng.random(predicted) < 0.1)
    predictions = table(
        np.where(ghost, rng.integers(0, images, predicted), item[source]),
        np.where(wrong, rng.integers(0, classes, predicted), label[source]),
        found,
        score=np.where(ghost, rng.beta(0.5, 6, predicted), rng.beta(2, 2, predicted)).clip(0.01, 1),
    )
    annotations = table(item, label, box).with_columns(
        annotation_id=pl.int_range(given).cast(pl.String), crowd=pl.lit(value=False)
    )
    items = pl.DataFrame({"item_id": names, "width": [640] * images, "height": [480] * images})
    return items, annotations, predictions, tuple(labels)


def speed() -> str:
    """Time everything from tables to the queue beside cleanlab's score of an image."""
    from cleanlab.object_detection import rank

    items, annotations, predictions, names = made_up(5000, 34_000, 91_000)
    match = match_boxes(annotations, predictions, names, items)
    labels, found = for_cleanlab(match)
    theirs = best(lambda: rank.get_label_quality_scores(labels, found, verbose=False), 1)
    params = BoxParams()

    def matched() -> Match:
        return match_boxes(annotations, predictions, names, items)

    def everything() -> pl.DataFrame:
        there = matched()
        scores = score_boxes(there, Calibration.fit(there, params))
        return rank_boxes(there, scores, annotations, predictions, params)

    calibration = Calibration.fit(match, params)
    timings = {
        "cleanlab's `get_label_quality_scores`": theirs,
        "the same numbers, `objectlab_scores`": best(lambda: objectlab_scores(matched()), 5),
        "`fiftyone_scores`": best(lambda: fiftyone_scores(matched()), 5),
        "`score_boxes`, calibrated before": best(lambda: score_boxes(matched(), calibration), 5),
        "all of `find_box_issues`: calibration, six kinds, the table": best(everything, 5),
    }
    theirs = min(
        theirs, best(lambda: rank.get_label_quality_scores(labels, found, verbose=False), 1)
    )
    lines = ["| 5,000 images, 34,000 boxes, 91,000 predictions | s | x faster |", "|---|---:|---:|"]
    lines += [
        f"| {what} | {seconds:.3f} | {theirs / seconds:.0f} |" for what, seconds in timings.items()
    ]
    return "\n".join(lines)


def for_cleanlab(match: Match) -> tuple[list[dict[str, Any]], list[list[NDArray[np.float64]]]]:
    """Give the boxes of a match as cleanlab wants them."""
    given, predicted, classes = match.given, match.predicted, range(len(match.class_names))
    rows = np.column_stack([predicted.corners, predicted.confidence])
    labels, found = [], []
    for i in range(len(match)):
        here, there = (slice(boxes.first[i], boxes.first[i + 1]) for boxes in (given, predicted))
        labels.append({"bboxes": given.corners[here], "labels": given.label[here]})
        found.append([rows[there][predicted.label[there] == k] for k in classes])
    return labels, found


def best(work: Callable[[], Any], times: int) -> float:
    """Give the least of some times, in seconds."""
    seconds = []
    for _ in range(times):
        start = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - start)
    return min(seconds)


LARGE = (118_000, 860_000, 12_000_000)


def large() -> str:
    """Time and memory of COCO's size, a hundred predictions an image, in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        items, annotations, predictions, _ = made_up(*LARGE)
        for name, table in (("items", items), ("given", annotations), ("found", predictions)):
            table.write_parquet(Path(folder) / f"{name}.parquet")
        del items, annotations, predictions
        call = [sys.executable, __file__, "--child", folder]
        told = json.loads(subprocess.run(call, check=True, capture_output=True, text=True).stdout)
    images, given, predicted = (f"{number:,}" for number in LARGE)
    return (
        f"{images} images, {given} boxes, {predicted} predictions: **{told['seconds']:.0f} s** "
        f"({told['cpu']:.0f} s of processor time) from tables to the queue of {told['issues']:,} "
        f"rows, and at most **{told['gigabytes']:.1f} GB** of memory in the whole process, of "
        f"which {told['tables']:.1f} GB are the tables and the imports."
    )


def child(folder: Path) -> None:
    """Do the large one, and tell what it took."""
    items, annotations, predictions = (
        pl.read_parquet(folder / f"{name}.parquet") for name in ("items", "given", "found")
    )
    names = tuple(annotations["label"].unique().sort())
    tables = peak()
    start, cpu = time.perf_counter(), time.process_time()
    match = match_boxes(annotations, predictions, names, items)
    scores = score_boxes(match, Calibration.fit(match))
    issues = rank_boxes(match, scores, annotations, predictions)
    told = {
        "seconds": time.perf_counter() - start,
        "cpu": time.process_time() - cpu,
        "gigabytes": peak(),
        "tables": tables,
        "issues": issues.height,
    }
    print(json.dumps(told))


def peak() -> float:
    """Most memory that this process has had, in GB."""
    unit = 1e9 if sys.platform == "darwin" else 1e6
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit


# the page

SECTIONS: dict[str, Callable[[int], str]] = {
    "scenes": lambda seeds: ranking("scenes", seeds),
    "coco128": lambda seeds: ranking("coco128", seeds),
    "company": company,
    "groups": groups,
    "truth": probabilities,
    "speed": lambda _seeds: speed(),
    "large": lambda _seeds: large(),
}


def machine() -> str:
    """On what it was measured."""
    names = ("numpy", "polars", "cleanlab")
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in names)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return (
        f"{versions}, Python {platform.python_version()}, {cores} cores, load "
        f"{os.getloadavg()[0]:.1f}. A load above the number of cores means that others were at "
        "work: times are then too long."
    )


def put(section: str, text: str) -> None:
    """Put a section's text between its marks on the page."""
    marks = f"<!-- {section} -->", f"<!-- end of {section} -->"
    pattern = re.compile(f"{marks[0]}.*?{marks[1]}", re.DOTALL)
    page = PAGE.read_text()
    assert pattern.search(page), f"{PAGE.name} has no place for {section}"
    PAGE.write_text(pattern.sub(lambda _: f"{marks[0]}\n\n{text.strip()}\n\n{marks[1]}", page))


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("sections", nargs="*", choices=[*SECTIONS, []], default=[])
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--write", action="store_true", help=f"write {PAGE.name}")
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        return child(args.child)
    for section in args.sections or SECTIONS:
        text = SECTIONS[section](args.seeds)
        if section in {"speed", "large"}:
            text += f"\n\n{machine()}"
        print(text, end="\n\n", flush=True)
        if args.write:
            put(section, text)
    return None


if __name__ == "__main__":
    main()
