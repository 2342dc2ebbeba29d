"""What is odd in a dataset and kept as given, and what cannot be kept."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from labelfix.boxes import ODDITIES, oddities
from labelfix.errors import InputError, Problem, warn_caller
from labelfix.schema import BOX
from labelfix.text import count

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["keep_or_raise", "name_classes", "odd_boxes", "warn_of_odd_boxes"]


def keep_or_raise(problems: Sequence[Problem], *, skip_bad: bool) -> None:
    """Raise with all problems, unless the caller asked to go on without what is bad.

    Raises
    ------
    InputError
        If there are any and `skip_bad` is not set.
    """
    if problems and not skip_bad:
        raise InputError(problems)


def name_classes(names: Sequence[str], ids: Sequence[object], where: str) -> tuple[str, ...]:
    """Give classes that share a name one of their own each, with a warning; files keep theirs.

    Examples
    --------
    >>> name_classes(["cat", "dog"], [0, 1], "data.yaml")
    ('cat', 'dog')
    """
    repeated = {name for name, times in Counter(names).items() if times > 1}
    if not repeated:
        return tuple(names)
    warn_caller(
        f"{where}: {count(len(repeated), 'class name')} used more than once "
        f"({', '.join(sorted(repeated)[:5])}); told apart by their ids in brackets"
    )
    return tuple(
        f"{name} [{key}]" if name in repeated else name
        for name, key in zip(names, ids, strict=True)
    )


def odd_boxes(items: pl.DataFrame, annotations: pl.DataFrame) -> pl.DataFrame:
    """Find given boxes that are none: annotation_id, item_id and `oddity`, in words."""
    sizes = annotations.join(
        items.select("item_id", "width", "height"), on="item_id", how="left", maintain_order="left"
    ).select(pl.col("width", "height").cast(pl.Float64).fill_null(float("nan")))
    codes = oddities(annotations.select(BOX).to_numpy(), sizes.to_numpy())
    odd = np.flatnonzero(codes)
    words = pl.Series("oddity", [ODDITIES[code] for code in codes[odd]], dtype=pl.String)
    return annotations.select("annotation_id", "item_id")[odd].with_columns(words)


def warn_of_odd_boxes(
    items: pl.DataFrame, annotations: pl.DataFrame, name: pl.Expr | None = None
) -> None:
    """Say how many given boxes are none, by kind, and name some. They are kept as given.

    `name` is what to call a box, of annotation_id and item_id; None for its annotation_id.
    """
    odd = odd_boxes(items, annotations)
    if odd.is_empty():
        return
    called = pl.col("annotation_id") if name is None else name
    kinds = odd.group_by("oddity").agg(pl.len(), called.head(5))
    kinds = kinds.sort(pl.col("oddity").cast(pl.Enum(ODDITIES)))
    parts = []
    for kind, number, names in kinds.iter_rows():
        more = f" and {number - 5:,} more" if number > 5 else ""
        parts.append(f"{number:,} {kind} ({', '.join(names)}{more})")
    warn_caller(f"{count(odd.height, 'odd box', 'odd boxes')}, kept as given: " + "; ".join(parts))
