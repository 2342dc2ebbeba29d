"""One sentence an item that says what speaks for and against its label, whole columns at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from labelfix.score.neighbors import neighbor_counts
from labelfix.score.sums import given_values

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from labelfix.score.neighbors import Neighbors

__all__ = ["evidence_sentences"]

SHARES = pl.Series(["less than .01", *(f".{share:02}" for share in range(1, 100)), "more than .99"])
"""How probabilities are written, by the hundredth."""


def evidence_sentences(
    labels: NDArray[np.int64],
    other: NDArray[np.int64],
    class_names: Sequence[str],
    pred_probs: Sequence[NDArray[Any]],
    *,
    train_pred_probs: Sequence[NDArray[Any]] = (),
    neighbors: Neighbors | None = None,
    duplicate_group: NDArray[np.int64] | None = None,
) -> pl.Series:
    """Say what models, neighbours and duplicates make of each label.

    Parameters
    ----------
    labels
        Given class of each item, shape (n,).
    other
        The class that it is compared with, shape (n,).
    class_names
        K names.
    pred_probs, train_pred_probs
        One matrix a model, shape (n, K); of several the mean is told.
    neighbors
        Of each item, if known.
    duplicate_group
        Duplicates share a number, shape (n,), if known. Only those with other labels are told of.

    Returns
    -------
    pl.Series
        Shape (n,), strings.

    Examples
    --------
    >>> pred_probs = np.array([[0.9, 0.1], [0.05, 0.95]])
    >>> for sentence in evidence_sentences(
    ...     np.array([0, 0]), np.array([1, 1]), ["cat", "dog"], [pred_probs],
    ...     duplicate_group=np.array([4, 9]),
    ... ):
    ...     print(sentence)
    the model gives the given 'cat' .90 and 'dog' .10
    the model gives 'dog' .95 and the given 'cat' .05
    """
    names = pl.Series(class_names, dtype=pl.String)
    table = pl.DataFrame({"given": names.gather(labels), "other": names.gather(other)})
    its, others = _mean_of(pred_probs, labels), _mean_of(pred_probs, other)
    table = table.with_columns(
        contradicted=pl.Series(others > its),
        given_share=SHARES.gather(_hundredths(its)),
        other_share=SHARES.gather(_hundredths(others)),
    )
    parts = _what_models_say(len(pred_probs))
    if train_pred_probs:
        share = SHARES.gather(_hundredths(_mean_of(train_pred_probs, labels)))
        table = table.with_columns(trained_share=share)
        parts.append(pl.format("in training on this label it got {}", "trained_share"))
    if neighbors is not None:
        table = table.with_columns(
            near_given=pl.Series(neighbor_counts(labels, neighbors, labels)),
            near_other=pl.Series(neighbor_counts(labels, neighbors, other)),
        )
        parts.append(_what_neighbors_say(neighbors.rows.shape[1]))
    if duplicate_group is not None:
        table = table.hstack(_other_labels(labels, duplicate_group, names))
        parts.append(_what_duplicates_say())
    sentence = pl.concat_str(parts, separator="; ", ignore_nulls=True)
    return table.select(sentence.alias("evidence")).to_series()


def _mean_of(matrices: Sequence[NDArray[Any]], classes: NDArray[np.int64]) -> NDArray[np.float64]:
    """Mean over the matrices of the probability of one class for each item."""
    total = np.zeros(len(classes))
    for matrix in matrices:
        total += given_values(classes, matrix, 0, len(classes))
    return total / len(matrices)


def _hundredths(probabilities: NDArray[np.float64]) -> NDArray[np.int64]:
    return np.clip(np.rint(probabilities * 100), 0, 100).astype(np.int64)


def _what_models_say(models: int) -> list[pl.Expr]:
    """Name the two classes and their probabilities, the likelier first."""
    who = "the model gives" if models == 1 else f"{models} models give on average"
    against = pl.format(
        f"{who} '{{}}' {{}} and the given '{{}}' {{}}",
        *("other", "other_share", "given", "given_share"),
    )
    agreeing = pl.format(
        f"{who} the given '{{}}' {{}} and '{{}}' {{}}",
        *("given", "given_share", "other", "other_share"),
    )
    return [pl.when("contradicted").then(against).otherwise(agreeing)]


def _what_neighbors_say(k: int) -> pl.Expr:
    verb = pl.when(pl.col("near_other") == 1).then(pl.lit("is")).otherwise(pl.lit("are"))
    return pl.format(
        f"{{}} of its {k} nearest neighbours {{}} labelled '{{}}', {{}} '{{}}'",
        *("near_other", verb, "other", "near_given", "given"),
    )


def _what_duplicates_say() -> pl.Expr:
    """Null where no duplicate has another label."""
    verb = pl.when(pl.col("twins_other") == 1).then(pl.lit("is")).otherwise(pl.lit("are"))
    return (
        pl.when(pl.col("twins") == 1)
        .then(pl.format("a near-duplicate of it is labelled '{}'", "twin_label"))
        .otherwise(
            pl.format(
                "{} of its {} duplicates {} labelled '{}'",
                *("twins_other", "twins", verb, "twin_label"),
            )
        )
    )


def _other_labels(
    labels: NDArray[np.int64], duplicate_group: NDArray[np.int64], names: pl.Series
) -> pl.DataFrame:
    """Find the commonest label among an item's duplicates that is not its own; null if none is.

    Columns: twin_label, twins_other (duplicates with that label), twins (all its duplicates).
    """
    items = pl.DataFrame({"group": duplicate_group, "label": labels})
    by_label = (
        items.group_by("group", "label")
        .len()
        .sort("group", "len", "label", descending=[False, True, False])
    )
    by_group = by_label.group_by("group").agg(
        twins=pl.col("len").sum().cast(pl.Int64) - 1,
        first=pl.col("label").first(),
        first_count=pl.col("len").first(),
        second=pl.col("label").get(1, null_on_oob=True),
        second_count=pl.col("len").get(1, null_on_oob=True),
    )
    is_first = pl.col("label") == pl.col("first")
    other = pl.when(is_first).then("second").otherwise("first")
    count = pl.when(is_first).then("second_count").otherwise("first_count")
    return items.join(by_group, on="group", how="left", maintain_order="left").select(
        twin_label=other.replace_strict(
            range(len(names)), names, default=None, return_dtype=pl.String
        ),
        twins_other=count,
        twins="twins",
    )
