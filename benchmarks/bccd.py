"""Real errors in boxes: red blood cells as first labelled, and as revised by another team.

    python benchmarks/bccd.py [--sheet FILE.html] [--write]

A detector is trained by labelfix on the first version, each half of the images predicted by one
that learned from the other half; with two cores that takes ten to twenty minutes, once. The revised
version says which boxes were moved, removed and added. `--sheet` writes a page with the crops of
the 100 likeliest missing boxes; the verdict on each is in bccd_verdicts.csv. `--write`
writes the table into docs/benchmarks/bccd.md.

Needs `labelfix[ultralytics]` and, under `$LABELFIX_DATA/bccd`, the folders `images`,
`annotations_cosmicad` (github.com/cosmicad/dataset) and `annotations_shenggan`
(github.com/Shenggan/BCCD_Dataset).
"""

from __future__ import annotations

import argparse
import base64
import html
import io
import re
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import polars as pl
from boxes import BY, CACHE, DATA, HERE
from PIL import Image, ImageDraw
from sklearn.metrics import average_precision_score, roc_auc_score

import labelfix
from labelfix.boxes import iou
from labelfix.errors import LabelfixWarning
from labelfix.predict import out_of_fold_boxes
from labelfix.predict.detect.yolo import Ultralytics, UltralyticsTraining
from labelfix.schema import BOX
from labelfix.score.boxes import find_box_issues, match_boxes

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from labelfix.schema import Dataset

    Values = NDArray[np.float64]

PAGE = HERE.parent / "docs" / "benchmarks" / "bccd.md"
VERDICTS = HERE / "bccd_verdicts.csv"

DETECTOR = Ultralytics("yolo11n.yaml", UltralyticsTraining(epochs=25, image_size=256))
FOLDS = 2
SAME, MOVED = 0.9, 0.5
"""A box that overlaps its revision more is the same; less than `MOVED`, it is another."""

TOP = 100
RESAMPLES = 1000


def read(version: str) -> Dataset:
    """Red cells of one version of the annotations."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", LabelfixWarning)  # of odd boxes that are in the files
        return labelfix.read(DATA / "bccd" / f"annotations_{version}")


def predictions(dataset: Dataset) -> pl.DataFrame:
    """Out-of-fold predictions, made once and kept."""
    kept = CACHE / "bccd" / "predictions.parquet"
    if not kept.exists():
        found = out_of_fold_boxes(dataset, DETECTOR, FOLDS, store=kept.parent, progress=tell)
        found.boxes.write_parquet(kept)
    return pl.read_parquet(kept)


def tell(what: str, done: int, total: int) -> None:
    """Show how far it is."""
    print(f"{what}: {done}/{total}", flush=True)


# what the revision says


@dataclass(frozen=True)
class Truth:
    """What became of the boxes."""

    shifted: NDArray[np.bool_]
    """Which given boxes were moved, and in `removed` which were removed."""
    removed: NDArray[np.bool_]
    added: pl.DataFrame
    """Boxes of the revision that were not there before."""


def compare(first: Dataset, revised: Dataset) -> Truth:
    """Pair the boxes of two versions one to one, those that overlap most first.

    As those who counted the changes did, by the numbers in the files: a pixel less each way.
    """
    less = (pl.col("x1") + 1, pl.col("y1") + 1)
    new = revised.annotations.filter(
        (pl.col("label") == "RBC") & pl.col("item_id").is_in(first.items["item_id"].implode())
    )
    match = match_boxes(
        first.annotations.with_columns(less),
        new.with_columns(*less, score=pl.lit(1.0)),
        ["RBC"],
        first.items,
    )
    pairs, partner = match.pairs, np.full(len(match.given), -1)
    free, overlap = np.ones(len(match.predicted), bool), np.zeros(len(match.given))
    for place in np.argsort(-pairs.iou, kind="stable"):
        left, right = pairs.left[place], pairs.right[place]
        if pairs.iou[place] > MOVED and partner[left] < 0 and free[right]:
            partner[left], overlap[left], free[right] = right, pairs.iou[place], False
    overlap = match.given.in_table_order(overlap)
    return Truth(
        (overlap > MOVED) & (overlap <= SAME),
        overlap <= MOVED,
        new[np.sort(match.predicted.row[free])],
    )


# how well


@dataclass(frozen=True)
class Answer:
    """What one method says of some boxes, and which of them are errors."""

    wrong: NDArray[np.bool_]
    image: NDArray[np.int64]
    """Of each box, for resampling."""
    suspicion: NDArray[np.float64]
    found: float = 1.0
    """Share of the errors that are among the boxes: the others are never reached."""

    def measured(self, draws: list[NDArray[np.int64]]) -> tuple[Values, Values]:
        """AUROC and AP, with each image counted as often as a draw says."""
        weights = [draw[self.image] for draw in draws]
        area = [roc_auc_score(self.wrong, self.suspicion, sample_weight=w) for w in weights]
        mean = [
            average_precision_score(self.wrong, self.suspicion, sample_weight=w) for w in weights
        ]
        return np.array(area), np.array(mean) * self.found


def compared(title: str, answers: dict[str, Answer], n_images: int) -> list[str]:
    """Table of the methods, with intervals, and by how much ours is ahead of each."""
    rng = np.random.default_rng(0)
    draws = [np.ones(n_images, np.int64)]  # all images once, then images at random
    draws += [
        np.bincount(rng.integers(0, n_images, n_images), minlength=n_images)
        for _ in range(RESAMPLES)
    ]
    values = {name: answer.measured(draws) for name, answer in answers.items()}
    lines = [
        f"| {title} | AUROC | labelfix ahead by | AP | labelfix ahead by |",
        "|---|---|---|---|---|",
    ]
    for name, own in values.items():
        cells = []
        for ours, theirs in zip(values["labelfix"], own, strict=True):
            cells += [within(theirs), "" if name == "labelfix" else within(ours - theirs)]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return [*lines, ""]


def within(values: Values) -> str:
    """Give the first value, and the middle 95 % of the others."""
    low, high = np.quantile(values[1:], [0.025, 0.975])
    return f"{values[0]:.3f} ({low:.3f} to {high:.3f})"


def tables(first: Dataset, found: pl.DataFrame, truth: Truth) -> list[str]:
    """One table for each kind of change."""
    match = match_boxes(first.annotations, found, first.class_names, first.items)
    says = {name: score(match, first.annotations, found) for name, score in BY.items()}
    image = rows_of(first, first.annotations)
    lines = []
    nothing = np.zeros(len(image), bool)
    for kind, wrong, other, title in (
        ("bad_location", truth.shifted, truth.removed, "moved"),
        ("spurious", truth.removed, truth.shifted, "removed"),
        ("any", truth.shifted | truth.removed, nothing, "moved or removed"),
    ):
        answers = {
            name: Answer(wrong[~other], image[~other], said.get(kind, said["any"])[~other])
            for name, said in says.items()
        }
        counted = f"{title}: {wrong.sum()} of {(~other).sum():,} boxes"
        lines += compared(counted, answers, len(first))
    hits = best_hits(found, truth.added, first)
    answers = {
        name: missing(first, found, truth.added, hits, said["missing"])
        for name, said in says.items()
    }
    reached = len(np.unique(hits[hits >= 0]))
    counted = f"added: {truth.added.height}, of which the detector sees {reached}"
    return lines + compared(counted, answers, len(first))


def rows_of(first: Dataset, table: pl.DataFrame) -> NDArray[np.int64]:
    """Row of each box's image."""
    number = {name: row for row, name in enumerate(first.items["item_id"])}
    return table["item_id"].replace_strict(number, return_dtype=pl.Int64).to_numpy()


def best_hits(found: pl.DataFrame, added: pl.DataFrame, first: Dataset) -> NDArray[np.int64]:
    """Of each prediction the added box that it finds, at IoU .5 or more; -1 for the others."""
    there = match_boxes(added, found, ["RBC"], first.items, least_iou=MOVED - 1e-9)
    order = np.argsort(there.pairs.iou, kind="stable")  # the best fitting one is written last
    hits = np.full(found.height, -1)
    left, right = there.pairs.left[order], there.pairs.right[order]
    hits[there.predicted.row[right]] = there.given.row[left]
    return hits


def missing(
    first: Dataset,
    found: pl.DataFrame,
    added: pl.DataFrame,
    hits: NDArray[np.int64],
    suspicion: Values,
) -> Answer:
    """Each added box speaks through the most suspicious prediction that finds it."""
    score = np.nan_to_num(suspicion, neginf=-1e9)
    order = np.lexsort((-score, hits))
    order = order[hits[order] >= 0]
    speaks = np.zeros(len(score), bool)
    speaks[order[np.unique(hits[order], return_index=True)[1]]] = True
    asked = speaks | (hits < 0)
    image = rows_of(first, found)
    return Answer(speaks[asked], image[asked], score[asked], speaks.sum() / added.height)


# the likeliest missing boxes, looked at


def proposals(first: Dataset, found: pl.DataFrame) -> pl.DataFrame:
    """Give all proposals, likeliest first."""
    return find_box_issues(first, found, kinds=["missing"])


def looked_up(listed: pl.DataFrame) -> list[str]:
    """Give the verdict on each proposal: on the box that overlaps it most in the file."""
    verdicts = pl.read_csv(VERDICTS)
    said = []
    for row in listed.iter_rows(named=True):
        own = np.array([[row[f"suggested_{edge}"] for edge in BOX]])
        seen = verdicts.filter(pl.col("item") == row["item_id"])
        overlap = iou(own, seen.select(BOX).to_numpy().astype(np.float64))
        best = int(overlap.argmax()) if seen.height else 0
        known = seen.height and overlap[best] >= 0.7
        said.append(seen["verdict"][best] if known else "not looked at")
    return said


def proposed(first: Dataset, found: pl.DataFrame, added: pl.DataFrame) -> list[str]:
    """Precision by eye of the first proposals, and how many added boxes are among them."""
    issues = proposals(first, found)
    suggested = issues.select("item_id", **{edge: f"suggested_{edge}" for edge in BOX})
    table = suggested.with_columns(label=pl.lit("RBC"), score=pl.lit(1.0))
    hits = best_hits(table, added, first)
    said = looked_up(issues.head(TOP))
    counts = {verdict: said.count(verdict) for verdict in sorted(set(said))}
    lines = ["| proposals | boxes that the revision added among them |", "|---|---|"]
    for many in sorted({TOP, added.height, issues.height}):
        number = len(np.unique(hits[:many][hits[:many] >= 0]))
        name = f"all {many:,}" if many == issues.height else f"first {many}"
        lines.append(f"| {name} | {number} of {added.height} |")
    lines += ["", f"| verdict on the first {TOP} | proposals |", "|---|---|"]
    lines += [f"| {verdict} | {number} |" for verdict, number in counts.items()]
    return [*lines, ""]


def crop(first: Dataset, row: dict[str, object], side: int = 192) -> Image.Image:
    """One proposal, red, with what is around it and the given boxes, green."""
    box = np.array([row[f"suggested_{edge}"] for edge in BOX], np.float64)
    centre, reach = (box[:2] + box[2:]) / 2, 1.1 * (box[2:] - box[:2]).max()
    low = centre - reach
    scale = side / (2 * reach)
    given = first.annotations.filter(pl.col("item_id") == row["item_id"])
    with Image.open(DATA / "bccd" / str(row["item_id"])) as image:
        area = (*low.tolist(), *(centre + reach).tolist())
        around = tuple(round(edge) for edge in area)
        part = image.convert("RGB").crop(around).resize((side, side), Image.Resampling.BICUBIC)
    pen = ImageDraw.Draw(part)
    for corners in given.select(BOX).to_numpy():
        pen.rectangle(tuple(((corners - np.tile(low, 2)) * scale).tolist()), outline="lime")
    pen.rectangle(tuple(((box - np.tile(low, 2)) * scale).tolist()), outline="red", width=2)
    return part


def sheet(first: Dataset, issues: pl.DataFrame, path: Path) -> None:
    """Write a page of crops with their verdicts; it opens offline."""
    figures = []
    for row, verdict in zip(issues.iter_rows(named=True), looked_up(issues), strict=True):
        content = io.BytesIO()
        crop(first, row).save(content, "JPEG", quality=85)
        source = base64.b64encode(content.getvalue()).decode()
        text = html.escape(f"{row['rank']}: {verdict}; {row['evidence']}")
        picture = f'<img alt="" src="data:image/jpeg;base64,{source}">'
        figures.append(f"<figure>{picture}<figcaption>{text}</figcaption></figure>")
    style = "body{font:12px sans-serif}figure{display:inline-block;width:192px;margin:4px}"
    path.write_text(
        f"<!doctype html><meta charset=utf-8><title>Missing red cells</title><style>{style}</style>"
        f"<p>Red: proposed. Green: given.</p>{''.join(figures)}",
        encoding="utf-8",
    )


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sheet", type=Path, metavar="FILE.html", help="write a page of crops")
    parser.add_argument("--write", action="store_true", help=f"write {PAGE.name}")
    args = parser.parse_args()
    first = read("cosmicad")
    found, truth = predictions(first), compare(first, read("shenggan"))
    if args.sheet:
        sheet(first, proposals(first, found).head(TOP), args.sheet)
    text = "\n".join([*tables(first, found, truth), *proposed(first, found, truth.added)])
    print(text)
    if args.write:
        pattern = re.compile("<!-- tables -->.*?<!-- end of tables -->", re.DOTALL)
        marked = f"<!-- tables -->\n\n{text.strip()}\n\n<!-- end of tables -->"
        PAGE.write_text(pattern.sub(lambda _: marked, PAGE.read_text(encoding="utf-8")))


if __name__ == "__main__":
    main()
