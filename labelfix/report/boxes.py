"""The page of a run on boxes: the top of the queue as crops, and what was found by kind and class.

Boxes are drawn over the crops as vectors: the given one as a solid line, the suggested one dashed,
the predicted one dotted where no other box is suggested, others thin, each on a white casing, so
that they can be told apart on any picture and in black and white.
"""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import polars as pl

from labelfix.boxes import iou
from labelfix.errors import InputError, warn_caller
from labelfix.report.page import fill, paths_of
from labelfix.schema import BOX, BOX_KINDS
from labelfix.text import count

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from PIL import Image

    from labelfix.report.page import Facts
    from labelfix.schema import Dataset

__all__ = ["BoxLayout", "render_boxes"]

Corners = tuple[float, float, float, float]


@dataclass(frozen=True)
class BoxLayout:
    """How much the page of a run on boxes shows.

    Parameters
    ----------
    issues
        The most suspicious boxes, this many.
    crop_px
        Longer side of a crop at most.
    context
        How much of the picture is shown around the boxes: this share of their longer side, on each
        side.
    least_context_px
        And at least so many pixels of the image.
    least_iou
        A prediction that overlaps the given box less says nothing of it, and is not shown.
    image_bytes
        All crops together; past this, issues are listed without theirs.
    classes_in_table
        Rows of the table by class.
    """

    issues: int = 60
    crop_px: int = 320
    context: float = 0.5
    least_context_px: int = 24
    least_iou: float = 0.1
    image_bytes: int = 6_000_000
    classes_in_table: int = 100


def render_boxes(
    dataset: Dataset,
    issues: pl.DataFrame,
    kinds: pl.DataFrame,
    classes: pl.DataFrame,
    facts: Facts,
    layout: BoxLayout = BoxLayout(),
    predictions: pl.DataFrame | None = None,
) -> str:
    """Draw the page.

    Parameters
    ----------
    dataset
        What was looked at; its images are read if it has any.
    issues
        The queue, columns as in `labelfix.schema.BOX_ISSUES`.
    kinds, classes
        Counts, as in `labelfix.find.BoxSummary`.
    facts, layout
        What else to say, and how much to show.
    predictions
        Columns of `labelfix.schema.BOX_PREDICTIONS`: where no other box is suggested, the one that
        speaks loudest of the given box is shown, by confidence x IoU; of the suggested class, if
        one is suggested.

    Returns
    -------
    str
        HTML that needs no other file. Every text of the data is escaped.

    Warns
    -----
    LabelfixWarning
        Naming the images that cannot be decoded: their issues are listed without a crop.
    """
    top = issues.head(layout.issues)
    if predictions is not None:
        top = _with_predicted(top, predictions, layout.least_iou)
    shown = _with_crops(dataset, top, layout)
    by_class = classes.filter(pl.col("flagged") + pl.col("given") > 0).sort(
        ["flagged", "given"], descending=True, maintain_order=True
    )
    return fill(
        "boxes.html",
        dataset,
        issues,
        facts,
        given=int(classes["given"].sum()),
        top=shown,
        has_crops=any(row["crop"] for row in shown),
        kinds=kinds.to_dicts(),
        kind_names=BOX_KINDS,
        classes=by_class.head(layout.classes_in_table).to_dicts(),
        classes_left=max(0, by_class.height - layout.classes_in_table),
    )


def _with_predicted(top: pl.DataFrame, predictions: pl.DataFrame, least_iou: float) -> pl.DataFrame:
    """Add the corners of the prediction that speaks loudest of each given box, or nulls."""
    label = pl.col("label").cast(pl.String)
    said = predictions.select("item_id", label, "score", pl.col(BOX).name.prefix("predicted_"))
    pairs = top.filter(pl.col("given_x1").is_not_null()).join(said, on="item_id")
    pairs = pairs.filter(pl.col("label") == pl.coalesce("suggested_label", "label"))
    given, predicted = (
        pairs.select(f"{side}_{edge}" for edge in BOX).to_numpy() for side in ("given", "predicted")
    )
    pairs = pairs.with_columns(iou=iou(given, predicted)).filter(pl.col("iou") >= least_iou)
    first = pairs.sort(pl.col("score") * pl.col("iou"), descending=True, maintain_order=True)
    best = first.unique("rank", keep="first", maintain_order=True)
    columns = ["rank", *(f"predicted_{edge}" for edge in BOX)]
    return top.join(best.select(columns), on="rank", how="left", maintain_order="left")


def _with_crops(dataset: Dataset, top: pl.DataFrame, layout: BoxLayout) -> list[dict[str, Any]]:
    """Give each row a `crop`, or None where there is no image or no room."""
    rows = top.to_dicts()
    around = dataset.annotations.filter(pl.col("item_id").is_in(top["item_id"].implode()))
    given: dict[str, list[dict[str, Any]]] = {}
    for box in around.select("annotation_id", "item_id", *BOX).to_dicts():
        given.setdefault(box["item_id"], []).append(box)
    sizes = _sizes(dataset, top)
    room = layout.image_bytes
    unshown: dict[str, str] = {}
    for row, path, size in zip(rows, paths_of(dataset, top), sizes, strict=True):
        others = [
            corners
            for box in given.get(row["item_id"], [])
            if box["annotation_id"] != row["annotation_id"] and (corners := _corners(box))
        ]
        try:
            crop = None if path is None or room <= 0 else _crop(path, size, row, others, layout)
        except InputError as error:
            crop, unshown[row["item_id"]] = None, error.problems[0].found
        room -= 0 if crop is None else len(crop["picture"])
        row["crop"] = crop if room >= 0 else None
    if unshown:
        listed = "; ".join(f"{item}: {why}" for item, why in unshown.items())
        what = count(len(unshown), "image")
        warn_caller(f"the report cannot show {what}: {listed}")
    return rows


def _sizes(dataset: Dataset, top: pl.DataFrame) -> list[tuple[float, float] | None]:
    """Width and height that the boxes of each row refer to."""
    if not {"width", "height"} <= set(dataset.items.columns):
        return [None] * top.height
    sizes = dataset.items.select("item_id", "width", "height")
    found = top.join(sizes, on="item_id", how="left", maintain_order="left")
    return [
        None if width is None or height is None else (width, height)
        for width, height in found.select("width", "height").iter_rows()
    ]


def _crop(
    path: Path,
    size: tuple[float, float] | None,
    row: dict[str, Any],
    others: Sequence[Corners],
    layout: BoxLayout,
) -> dict[str, Any] | None:
    """Cut out the boxes of a row; None if it has none.

    Raises
    ------
    InputError
        If the image cannot be decoded.
    """
    given, suggested = _corners(row, "given_"), _corners(row, "suggested_")
    suggested = None if suggested == given else suggested
    shows_it = suggested is None and "predicted_x1" in row
    predicted = _corners(row, "predicted_") if shows_it else None
    boxes = [box for box in (given, suggested) if box is not None]
    if not boxes:
        return None
    image = _decoded(path, size)
    x1, y1, x2, y2 = _window(boxes, image.size, layout)
    scale = min(1.0, layout.crop_px / max(x2 - x1, y2 - y1))
    small = (max(1, round((x2 - x1) * scale)), max(1, round((y2 - y1) * scale)))
    content = io.BytesIO()
    image.resize(small, box=(x1, y1, x2, y2), reducing_gap=2.0).convert("RGB").save(
        content, "JPEG", quality=85, optimize=True
    )

    def drawn(box: Corners) -> Corners:
        return (box[0] - x1, box[1] - y1, box[2] - box[0], box[3] - box[1])

    return {
        "picture": f"data:image/jpeg;base64,{base64.b64encode(content.getvalue()).decode()}",
        "width": x2 - x1,
        "height": y2 - y1,
        "given": None if given is None else drawn(given),
        "suggested": None if suggested is None else drawn(suggested),
        "predicted": None if predicted is None else drawn(predicted),
        "others": [
            drawn(box)
            for box in others
            if box[0] < x2 and box[2] > x1 and box[1] < y2 and box[3] > y1
        ],
    }


def _decoded(path: Path, size: tuple[float, float] | None) -> Image.Image:
    """Decode an image the way round that its boxes refer to, upright if nobody knows."""
    from labelfix.images import decode

    image = decode(path)
    width, height = image.size
    sideways = size is not None and size[0] == height and size[1] == width and width != height
    return decode(path, turn=False) if sideways else image


def _window(
    boxes: Sequence[Corners], size: tuple[int, int], layout: BoxLayout
) -> tuple[int, int, int, int]:
    """Which part of the image to show: the boxes and something around them, within the image."""
    x1, y1, x2, y2 = (
        pick(box[edge] for box in boxes) for edge, pick in enumerate((min, min, max, max))
    )
    margin = max(layout.least_context_px, layout.context * max(x2 - x1, y2 - y1))
    left, top = (
        int(min(max(low - margin, 0), side - 1)) for low, side in zip((x1, y1), size, strict=True)
    )
    right = int(max(min(x2 + margin, size[0]), left + 1))
    bottom = int(max(min(y2 + margin, size[1]), top + 1))
    return left, top, right, bottom


def _corners(row: dict[str, Any], prefix: str = "") -> Corners | None:
    """Take a box out of a row; None if there is none, or it is inverted or no numbers."""
    x1, y1, x2, y2 = (row[f"{prefix}{edge}"] for edge in BOX)
    if x1 is None or not (x1 <= x2 and y1 <= y2 and abs(x1 + y1 + x2 + y2) < float("inf")):
        return None
    return (x1, y1, x2, y2)
