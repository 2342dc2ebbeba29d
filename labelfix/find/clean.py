"""Items whose right label somebody knows, and what they say of the error probabilities."""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl

from labelfix.errors import InputError, Problem
from labelfix.score.calibration import recalibrate

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray

__all__ = ["check_clean", "corrected_by"]


def check_clean(clean: pl.DataFrame, item_id: pl.Series, class_names: Sequence[str]) -> None:
    """Refuse what tells nothing of the items.

    Parameters
    ----------
    clean, item_id
        As for `corrected_by`.
    class_names
        That a right label can have.

    Raises
    ------
    InputError
        If a column is not there; for no rows, unknown ids, ids twice and unknown classes.
    """
    missing = [name for name in ("item_id", "label") if name not in clean.columns]
    if missing:
        found = f"no column {' and no column '.join(missing)}"
        raise InputError(Problem("clean labels", found, "columns item_id and label"))
    ids = clean["item_id"].cast(pl.String).fill_null("")
    labels = clean["label"].cast(pl.String).drop_nulls().unique(maintain_order=True)
    problems = [
        Problem("clean labels", f"{what} {', '.join(map(repr, values.head(5)))}", expected)
        for what, values, expected in (
            ("no item", ids.filter(~ids.is_in(item_id.implode())), "ids of the dataset"),
            ("twice", ids.filter(ids.is_duplicated()).unique(maintain_order=True), "each once"),
            ("no class", labels.filter(~labels.is_in(list(class_names))), "names of classes"),
        )
        if len(values)
    ]
    if clean.is_empty():
        problems.append(Problem("clean labels", "no rows", "a random sample of the items"))
    if problems:
        raise InputError(problems)


def corrected_by(
    clean: pl.DataFrame,
    chance: NDArray[np.float64],
    item_id: pl.Series,
    given: pl.Series,
) -> NDArray[np.float64]:
    """Correct error probabilities by a random sample of right labels.

    As `labelfix.score.calibration.recalibrate` does, which says how.

    Parameters
    ----------
    clean
        Columns item_id and label, the right one; null where no class fits. See `check_clean`.
    chance
        Of an error, shape (n,).
    item_id, given
        Of the same items: ids, and names of the given labels, shape (n,).

    Returns
    -------
    NDArray
        Shape (n,), in [0, 1], in the same order as before; all the same where the sample shows
        that they tell nothing.

    Examples
    --------
    >>> import numpy as np
    >>> ids = pl.Series([str(row) for row in range(1000)])
    >>> chance, given = np.repeat([0.1, 0.6], 500), pl.Series(["cat"] * 1000)
    >>> sample = ids.gather_every(10)
    >>> clean = pl.DataFrame({"item_id": sample, "label": ["cat"] * 50 + ["dog"] * 50})
    >>> corrected_by(clean, chance, ids, given)[[0, 999]].round(2)
    array([0.02, 0.91])
    """
    known = clean.select(pl.col("item_id", "label").cast(pl.String))
    items = pl.DataFrame({"item_id": item_id, "given": given}).with_row_index("row")
    found = known.join(items, on="item_id", maintain_order="left")
    wrong = ~found["label"].eq_missing(found["given"])
    return recalibrate(chance, found["row"].cast(pl.Int64).to_numpy(), wrong.to_numpy())
