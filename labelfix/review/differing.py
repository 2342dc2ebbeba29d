"""Section of a report: what detectors trained on either version of the boxes see in the images."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import polars as pl

from labelfix.errors import InputError
from labelfix.report.beforeafter import View, two_views
from labelfix.report.document import Card, Cards, Image, Section, Text
from labelfix.schema import BOX
from labelfix.text import count

if TYPE_CHECKING:
    from collections.abc import Mapping

    from labelfix.review.reviewed import Shown

__all__ = ["images_section"]

_SIDES = ("original", "corrected")

_HOW_TO_READ = (
    "Left, what the detector sees that was trained on original boxes; right, on corrected ones. "
    "Solid: finds a corrected box of its class (IoU .5). Dashed: finds none; its class is named "
    "where there are several. Thin: the corrected boxes. Each training at the confidence at which "
    "its F1 over all its test images is best; the pictures are of the first seed that tests the "
    "image, F1 is the mean over seeds. Those first that changed most, either way."
)


def images_section(shown: Shown, tables: Mapping[str, pl.DataFrame]) -> list[Section]:
    """Show the test images that the detectors trained on either version read most differently.

    Parameters
    ----------
    shown
        The run.
    tables
        Of `labelfix.evaluate.gain.Gain`; without `images` and `detections` there is no section.
    """
    if "images" not in tables or "detections" not in tables:
        return []
    title = "Where the two detectors differ"
    images, detections = tables["images"], tables["detections"]
    before, after = (images[f"f1_{name}"] for name in _SIDES)
    differ = images.filter(before != after)
    if differ.is_empty():
        return [Section(title, [Text("They read every test image equally well.")])]
    better, worse = int((after > before).sum()), int((after < before).sum())
    text = (
        f"By the corrected boxes, the detector trained on corrected boxes reads {better:,} of "
        f"{count(images.height, 'test image')} better than the one trained on original boxes, and "
        f"{worse:,} worse."
    )
    drawn = differ.filter(pl.col("item_id").is_in(detections["item_id"].implode()))
    cards = [
        _card(shown, row, detections.filter(item_id=row["item_id"]))
        for row in drawn.head(shown.cards).iter_rows(named=True)
    ]
    return [Section(title, [Text(text), Text(_HOW_TO_READ), Cards(cards, wide=True)])]


def _card(shown: Shown, row: dict[str, Any], boxes: pl.DataFrame) -> Card:
    before, after = (f"F1 {row[f'f1_{name}']:.2f}" for name in _SIDES)
    true = boxes.filter(source="corrected_labels").height
    lines = [f"{count(true, 'corrected box', 'corrected boxes')}"]
    for name in _SIDES:
        seen = boxes.filter(source=f"trained_on_{name}")
        right = int(seen["right"].sum())
        lines.append(f"Trained on {name} boxes: {right:,} right, {seen.height - right:,} wrong")
    return Card(row["item_id"], before, after, lines, _picture(shown, row["item_id"], boxes))


def _picture(shown: Shown, item: str, boxes: pl.DataFrame) -> Image | None:
    """Draw both views; None if there is no image to draw on."""
    row = shown.row(item)
    if row is None or shown.pictures is None:
        return None
    try:
        width, height = shown.pictures.size(row)
        part = (0, 0, width, height)
        whole = shown.pictures.crop(row, part, shown.picture_px)
    except InputError:
        return None
    true = boxes.filter(source="corrected_labels").select(BOX).rows()
    several = boxes["label"].n_unique() > 1
    views = []
    for name in _SIDES:
        seen = boxes.filter(source=f"trained_on_{name}")
        wrong = seen.filter(~pl.col("right"))
        words = wrong["label"] if several else [""] * wrong.height
        views.append(
            View(
                f"trained on {name}",
                true,
                seen.filter("right").select(BOX).rows(),
                list(zip(wrong.select(BOX).rows(), words, strict=True)),
            )
        )
    return two_views(Image(whole.content, whole.kind, item), part, views)
