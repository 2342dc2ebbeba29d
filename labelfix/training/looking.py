"""What a look at a dataset's images needs: which boxes, in which images."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import polars as pl

from labelfix.boxes import ODDITIES, oddities
from labelfix.errors import InputError, Problem
from labelfix.schema import BOX

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    from labelfix.schema import Dataset

__all__ = ["Shown", "shown"]


class Shown(NamedTuple):
    """One image, and the given boxes that a detector can learn from in it.

    Parameters
    ----------
    path
        Of the image.
    ids
        Annotation ids of its m boxes.
    box
        Their corners in pixels, shape (m, 4).
    label
        Their classes as indices into the dataset's class names, shape (m,).
    """

    path: Path
    ids: list[str]
    box: NDArray[np.float64]
    label: NDArray[np.int64]


def shown(dataset: Dataset) -> Iterator[Shown]:
    """Give each image that has boxes; without crowd regions, and boxes that are none.

    Raises
    ------
    InputError
        If the dataset has no images with boxes.
    """
    paths = dataset.image_paths
    if paths is None or not dataset.has_boxes:
        raise InputError(Problem("dataset", "no images with boxes", "what a detector learns from"))
    given = dataset.annotations
    box = given.select(BOX).to_numpy()
    odd = oddities(box, np.full((len(box), 2), np.nan))
    usable = (odd == ODDITIES.index("")) & ~given["crowd"].fill_null(value=False).to_numpy()
    rows = pl.DataFrame({"item_id": given["item_id"], "row": range(given.height)}).filter(usable)
    own = dict(rows.group_by("item_id", maintain_order=True).agg("row").iter_rows())
    for item_id, path in zip(dataset.items["item_id"], paths, strict=True):
        if item_id in own:
            here = np.array(own[item_id])
            ids = given["annotation_id"].gather(here).to_list()
            yield Shown(path, ids, box[here], dataset.labels[here])
