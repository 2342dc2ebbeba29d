"""One HTML page of a run, for people: no script, nothing loaded from elsewhere, light and dark."""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from labelfix.report.heatmap import heatmap
from labelfix.text import count, visible

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from labelfix.schema import Dataset

__all__ = ["Facts", "Layout", "fill", "fill_page", "paths_of", "render"]

_TEMPLATES = Path(__file__).parent / "templates"


@dataclass(frozen=True)
class Layout:
    """How much the page shows.

    Parameters
    ----------
    issues
        The most suspicious labels, this many.
    thumbnail_px
        Longer side of a picture.
    image_bytes
        All pictures together; past this, issues are listed without theirs.
    classes_in_picture
        Classes in the picture of the confident joint.
    classes_in_table
        Rows of the class by class table.
    """

    issues: int = 60
    thumbnail_px: int = 192
    image_bytes: int = 4_000_000
    classes_in_picture: int = 30
    classes_in_table: int = 100


@dataclass(frozen=True)
class Facts:
    """What the page says that is in no table. See run.json, where all of it comes from.

    Parameters
    ----------
    model, model_note
        What judged the labels, and what is to be known of it.
    errors_at_least
        Flagged labels that the model is confident are wrong; None for boxes.
    made_with
        Pairs of a name and a text, listed at the end: command, model, rule, versions, times, ….
    warnings
        What was repaired, or makes the result weaker than it looks.
    skipped
        Items that could not be read.
    """

    title: str
    model: str
    model_note: str
    errors_at_least: int | None = None
    made_with: Mapping[str, str] = field(default_factory=dict)
    warnings: Sequence[str] = ()
    skipped: Sequence[str] = ()


def render(
    dataset: Dataset,
    issues: pl.DataFrame,
    joint: NDArray[np.integer[Any]],
    facts: Facts,
    layout: Layout = Layout(),
) -> str:
    """Draw the page.

    Parameters
    ----------
    dataset
        What was looked at; its images are read if it has any.
    issues
        The queue, columns as in `labelfix.schema.ISSUES`.
    joint
        Confident joint: counts by given class (rows) and likely class (columns), shape (K, K).
    facts, layout
        What else to say, and how much to show.

    Returns
    -------
    str
        HTML that needs no other file. Every text of the data is escaped.
    """
    top = _with_pictures(dataset, issues.head(layout.issues), layout)
    return fill(
        "report.html",
        dataset,
        issues,
        facts,
        layout=layout,
        top=top,
        has_pictures=any(row["picture"] for row in top),
        picture=heatmap(joint, dataset.class_names, layout.classes_in_picture),
        classes=_class_by_class(issues).head(layout.classes_in_table).to_dicts(),
    )


def fill(template: str, dataset: Dataset, issues: pl.DataFrame, facts: Facts, **more: Any) -> str:
    """Fill the template of a page on a queue."""
    return fill_page(
        template,
        facts=facts,
        total=issues.height,
        flagged=int(issues["flagged"].sum()),
        n_classes=len(dataset.class_names),
        noun="image" if dataset.image_paths else "item",
        **more,
    )


def fill_page(template: str, **values: Any) -> str:
    """Fill one of our templates, which is escaped wherever it shows what is in the data."""
    import jinja2
    from markupsafe import Markup

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=lambda value: visible(value) if type(value) is str else value,
    )
    environment.filters["count"] = count
    style = (_TEMPLATES / "report.css").read_text(encoding="utf-8")
    return environment.get_template(template).render(
        style=Markup(style),  # noqa: S704 # a file of ours
        style_hash=base64.b64encode(hashlib.sha256(style.encode()).digest()).decode(),
        **values,
    )


def _class_by_class(issues: pl.DataFrame) -> pl.DataFrame:
    """Count the labels and flags of each given class, with its most frequent suggestion."""
    flagged = issues.filter("flagged")
    counts = issues.group_by("given_label").agg(
        pl.len().alias("items"), pl.col("flagged").sum().cast(pl.Int64)
    )
    suggestion = (
        flagged.drop_nulls("suggested_label")
        .group_by("given_label", "suggested_label")
        .agg(pl.len().alias("times"))
        .sort(["times", "suggested_label"], descending=[True, False])
        .group_by("given_label", maintain_order=True)
        .first()
    )
    return (
        counts.join(suggestion, on="given_label", how="left")
        .with_columns(share=pl.col("flagged") / pl.col("items"))
        .sort(["flagged", "items", "given_label"], descending=[True, True, False])
    )


def _with_pictures(dataset: Dataset, top: pl.DataFrame, layout: Layout) -> list[dict[str, Any]]:
    """Give each row a `picture`: a data address, or None where there is no image or no room."""
    rows = top.to_dicts()
    paths = paths_of(dataset, top)
    room = layout.image_bytes
    for row, path in zip(rows, paths, strict=True):
        address = None if path is None or room <= 0 else _picture(path, layout.thumbnail_px)
        room -= len(address or "")
        row["picture"] = address if room >= 0 else None
    return rows


def paths_of(dataset: Dataset, top: pl.DataFrame) -> list[Path | None]:
    """Image of each row of `top`."""
    if dataset.root is None or "path" not in dataset.items.columns:
        return [None] * top.height
    paths = top.join(
        dataset.items.select("item_id", "path"), on="item_id", how="left", maintain_order="left"
    )["path"]
    return [None if path is None else dataset.root / path for path in paths]


def _picture(path: Path, px: int) -> str | None:
    """Make a small picture as a data address; None if the image went away or broke meanwhile."""
    from labelfix.images import thumbnail

    try:
        content, kind = thumbnail(path, px)
    except (OSError, ValueError, SyntaxError):  # the last from broken PNG chunks
        return None
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"
