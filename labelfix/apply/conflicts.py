"""Corrections that no longer fit the dataset, because it changed since they were made."""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl

from labelfix.errors import Problem
from labelfix.schema import BOX

if TYPE_CHECKING:
    from labelfix.schema import Dataset

__all__ = ["done_already", "find_conflicts"]


def find_conflicts(
    dataset: Dataset, corrections: pl.DataFrame, before: Dataset
) -> dict[str, Problem]:
    """Name the items whose corrections do not fit, and say why.

    A correction fits if what it speaks of is as it was when the correction was made, or has the
    label or box already that the correction wants. Of what is gone `done_already` says whether that
    was wanted; else it is a conflict. What else changed in the dataset is none: it is written as it
    is now.

    Parameters
    ----------
    dataset
        As it is now.
    corrections
        Columns as in `labelfix.schema.CORRECTIONS`.
    before
        As it was.

    Returns
    -------
    dict
        The first conflict of each item, by item_id.
    """
    if dataset.fingerprint == before.fingerprint:
        return {}
    rows = _with_states(dataset, corrections, before)
    named = pl.col("action") != "add_box"
    sizes = [name for name in ("width", "height") if f"was_{name}" in rows.columns]
    resized = pl.any_horizontal(
        pl.lit(value=False),
        *(pl.col(f"was_{name}").ne_missing(pl.col(f"now_{name}")) for name in sizes),
    )
    tests = [
        (pl.col("now_item").is_null(), "an item that is no longer there"),
        (named & pl.col("now_label").is_null(), "an annotation that is no longer there"),
        (named & _differs("label", "set_label"), "label {now_label!r}, which was {was_label!r}"),
        (
            named
            & pl.any_horizontal(
                pl.lit(value=False),
                *(_differs(edge, "set_box") for edge in BOX if f"now_{edge}" in rows.columns),
            ),
            "a box that was moved",
        ),
        (resized.fill_null(value=False), "an image of another size"),
        (
            ~named & pl.col("item_id").is_in(_repopulated(dataset, corrections, before)),
            "other boxes, so that one to be added may be there already",
        ),
    ]
    found: dict[str, Problem] = {}
    for test, text in tests:
        for row in rows.filter(test).iter_rows(named=True):
            what = text.format(**row)
            fix = "--skip-conflicts leaves it out"
            problem = Problem(row["item_id"], what, "what the run saw", fix)
            found.setdefault(row["item_id"], problem)
    return {item: found[item] for item in dict.fromkeys(corrections["item_id"]) if item in found}


def done_already(dataset: Dataset, before: Dataset) -> pl.Expr:
    """Tell the corrections that someone carried out since, so that what they speak of is gone.

    COCO, where ids last: a deleted annotation that is no longer there. Image folders: an image that
    is no longer there, and one of its name in the wanted class that was not there before. In YOLO
    and VOC, where annotations go by their place in a file, it cannot be told.

    Parameters
    ----------
    dataset, before
        As in `find_conflicts`.

    Returns
    -------
    polars.Expr
        Over rows of corrections.
    """
    if dataset.format == "coco":
        there = dataset.annotations["annotation_id"].implode()
        return (pl.col("action") == "delete") & ~pl.col("annotation_id").is_in(there)
    if dataset.format == "imagefolder":
        now, was = (one.items["item_id"].implode() for one in (dataset, before))
        depth = dataset.source["depth"]
        parts = pl.col("item_id").str.split("/")
        ends = (parts.list.head(depth - 1), pl.concat_list("label"), parts.list.slice(depth))
        target = pl.concat_list(ends).list.join("/")
        moved = ~pl.col("item_id").is_in(now) & target.is_in(now) & ~target.is_in(was)
        return (pl.col("action") == "set_label") & moved
    return pl.lit(value=False)


def _repopulated(dataset: Dataset, corrections: pl.DataFrame, before: Dataset) -> list[str]:
    """Items to which a box is to be added, and whose boxes are not what they were."""
    asked = corrections.filter(pl.col("action") == "add_box")["item_id"].unique().implode()
    what = ["item_id", "label", *BOX]
    if not dataset.has_boxes or not before.has_boxes:
        return []
    counts = [
        one.annotations.filter(pl.col("item_id").is_in(asked)).select(*what, number=number)
        for one, number in ((dataset, pl.lit(1)), (before, pl.lit(-1)))
    ]
    differing = pl.concat(counts).group_by(what).agg(pl.col("number").sum())
    return differing.filter(pl.col("number") != 0)["item_id"].unique().to_list()


def _differs(name: str, action: str) -> pl.Expr:
    """Whether something is neither as it was nor as a correction of its annotation wants it."""
    now, was = pl.col(f"now_{name}"), pl.col(f"was_{name}")
    wanted = pl.when(pl.col("action") == action).then(name).max().over("annotation_id")
    return now.ne_missing(was) & now.ne_missing(wanted)


def _with_states(dataset: Dataset, corrections: pl.DataFrame, before: Dataset) -> pl.DataFrame:
    """Corrections with what they speak of beside them, as it is now and as it was."""
    rows = corrections
    for name, one in (("now", dataset), ("was", before)):
        values = [c for c in ("label", *BOX) if c in one.annotations.columns]
        states = one.annotations.select(
            "annotation_id", pl.col(values).name.prefix(f"{name}_")
        ).unique("annotation_id", keep="first")
        sizes = [c for c in ("width", "height") if c in one.items.columns]
        items = one.items.select(
            "item_id",
            pl.col("item_id").alias(f"{name}_item"),
            pl.col(sizes).cast(pl.Int64).name.prefix(f"{name}_"),
        )
        rows = rows.join(states, on="annotation_id", how="left", maintain_order="left").join(
            items, on="item_id", how="left", maintain_order="left"
        )
    return rows
