"""What other tools are given, and what they give back."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import polars as pl

from labelfix.decisions import issue_ids
from labelfix.errors import InputError, Problem
from labelfix.schema import BOX

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["PROPOSED", "Answer", "Box", "Region", "Task", "tasks_of"]

Box = tuple[float, float, float, float]

PROPOSED = "issue-"
"""Before the id of an issue, where a region has no annotation yet."""


@dataclass(frozen=True)
class Region:
    """One box, or the one class label of an image.

    Parameters
    ----------
    label
        Its class.
    box
        Corners in pixels, xyxy; None for a class label.
    key
        The annotation_id, or `PROPOSED` and the issue's id; None if the tool did not keep it.
    note
        Kind of the issue that it is about, if any.
    """

    label: str
    box: Box | None = None
    key: str | None = None
    note: str = ""


@dataclass(frozen=True)
class Task:
    """One image for a person to look at.

    Parameters
    ----------
    item_id
        Of the image.
    path
        From the dataset's root.
    width, height
        In pixels; 0 if unknown.
    regions
        As the suggestions would have them, where they are flagged.
    issues
        Ids of the issues that it is shown for.
    """

    item_id: str
    path: str
    width: int
    height: int
    regions: tuple[Region, ...]
    issues: tuple[str, ...]


@dataclass(frozen=True)
class Answer:
    """One image as it came back.

    Parameters
    ----------
    name
        What the tool calls the image: an item_id, or the end of one.
    regions
        All that is on it.
    size
        Width and height in pixels that the boxes refer to, where the tool says so.
    by
        Who answered, where the tool says so.
    """

    name: str
    regions: tuple[Region, ...]
    size: tuple[int, int] | None = None
    by: str = ""


def tasks_of(items: pl.DataFrame, annotations: pl.DataFrame, issues: pl.DataFrame) -> list[Task]:
    """Make the tasks of a queue, one an image, in the order of the queue.

    Parameters
    ----------
    items, annotations
        Of the dataset.
    issues
        Rows of its queue: those to be shown. Of those that are not flagged, what is given is shown.

    Raises
    ------
    InputError
        If the items are no images.
    """
    if "path" not in items.columns and "x1" not in annotations.columns:
        raise InputError(Problem("the dataset", "items that are no images", "images"))
    named = issues.with_columns(issue_ids(issues)) if "issue" not in issues.columns else issues
    order = named["item_id"].unique(maintain_order=True)
    wanted = pl.DataFrame([order]).join(items, on="item_id", how="left", maintain_order="left")
    given = _by_item(annotations.filter(pl.col("item_id").is_in(order.implode())))
    shown = _by_item(named)
    return [
        _task(row, given.get(row["item_id"], []), shown[row["item_id"]])
        for row in wanted.iter_rows(named=True)
    ]


def _by_item(table: pl.DataFrame) -> dict[str, list[dict[str, Any]]]:
    found: dict[str, list[dict[str, Any]]] = {}
    for row in table.iter_rows(named=True):
        found.setdefault(row["item_id"], []).append(row)
    return found


def _task(
    item: Mapping[str, Any], given: list[dict[str, Any]], shown: list[dict[str, Any]]
) -> Task:
    regions = {
        row["annotation_id"]: Region(row["label"], _box(row, ""), row["annotation_id"])
        for row in given
    }
    for issue in shown:
        if issue.get("flagged", True):  # else what is given is the likelier
            _suggest(regions, issue)
    return Task(
        item["item_id"],
        item.get("path") or item["item_id"],
        item.get("width") or 0,
        item.get("height") or 0,
        tuple(regions.values()),
        tuple(issue["issue"] for issue in shown),
    )


def _suggest(regions: dict[str, Region], issue: Mapping[str, Any]) -> None:
    """Change the regions of an image as an issue suggests."""
    kind, key, label = issue["kind"], issue["annotation_id"], issue["suggested_label"]
    box = _box(issue, "suggested_")
    if key is None:
        key = PROPOSED + issue["issue"]
        regions[key] = Region(label or "", box, key, kind)
        return
    region = replace(regions[key], note=kind)
    if kind in {"mislabeled", "wrong_class"} and label:
        region = replace(region, label=label)
    elif kind == "multi_label" and label:
        regions[PROPOSED + issue["issue"]] = Region(label, None, PROPOSED + issue["issue"], kind)
    elif kind in {"bad_location", "group"} and box:
        region = replace(region, box=box)
    regions[key] = region
    if kind == "none_of_the_classes":
        del regions[key]


def _box(row: Mapping[str, Any], prefix: str) -> Box | None:
    corners = [row.get(prefix + edge) for edge in BOX]
    return None if any(corner is None for corner in corners) else tuple(corners)  # type: ignore[return-value] # four
