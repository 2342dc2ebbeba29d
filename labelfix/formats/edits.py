"""Corrections sorted by what they change, after each was held to the dataset.

A correction changes what it names and nothing else. `plan` turns a table of corrections into what
is to become of each annotation, or lists every correction that cannot be carried out; `plan_labels`
does the same for class labels.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

import polars as pl

from labelfix.errors import InputError, Problem
from labelfix.schema import BOX, CORRECTIONS, check
from labelfix.text import count

if TYPE_CHECKING:
    from collections.abc import Iterator

    from labelfix.schema import Dataset

__all__ = ["Box", "Edit", "Plan", "Segmentation", "plan", "plan_labels"]

Box = tuple[float, float, float, float]
Segmentation = Literal["keep", "drop"]
"""What happens to the polygon or mask of an annotation whose box is corrected."""

ACTIONS = ("set_label", "set_box", "add_box", "delete", "ignore")


@dataclass(slots=True)
class Edit:
    """What is to become of one annotation; None and False leave that part alone."""

    label: str | None = None
    box: Box | None = None
    ignore: bool = False
    delete: bool = False


@dataclass(frozen=True)
class Plan:
    """Corrections by what they change.

    Parameters
    ----------
    edits
        By annotation_id. What a correction would leave as it is, is not among them.
    added
        New boxes with their labels by item_id, in the order of the corrections.
    """

    edits: dict[str, Edit] = field(default_factory=dict)
    added: dict[str, list[tuple[str, Box]]] = field(default_factory=dict)

    def __bool__(self) -> bool:
        """Whether anything changes at all."""
        return bool(self.edits or self.added)


def plan(dataset: Dataset, corrections: pl.DataFrame) -> Plan:
    """Sort corrections by annotation, after holding each of them to the dataset.

    Raises
    ------
    InputError
        Naming every correction of an unknown action, item, annotation or class, with a box that is
        none, or in contradiction to another one.
    """
    check(corrections, CORRECTIONS, "corrections")
    rows = _with_current(dataset, corrections)
    problems = [*_misfits(dataset, rows), *_contradictions(rows)]
    if problems:
        raise InputError(problems)
    made = Plan()
    for row in _effective(rows).iter_rows(named=True):
        _put(made, row)
    return made


def _put(made: Plan, row: dict[str, object]) -> None:
    box = tuple(row[edge] for edge in BOX)
    if row["action"] == "add_box":
        made.added.setdefault(str(row["item_id"]), []).append((str(row["label"]), box))  # type: ignore[arg-type] # floats, as `check` saw
        return
    edit = made.edits.setdefault(str(row["annotation_id"]), Edit())
    match row["action"]:
        case "set_label":
            edit.label = str(row["label"])
        case "set_box":
            edit.box = box  # type: ignore[assignment] # floats, as `check` saw
        case "ignore":
            edit.ignore = True
        case _:
            edit.delete = True


def _with_current(dataset: Dataset, corrections: pl.DataFrame) -> pl.DataFrame:
    """Corrections with what they would change beside them, in `now_…` columns."""
    now = dataset.annotations.select(
        "annotation_id",
        pl.col("item_id", "label", *BOX).name.prefix("now_"),
    )
    items = dataset.items.select("item_id", is_item=pl.lit(value=True))
    return (
        corrections.select(CORRECTIONS.keys())
        .with_row_index("row")
        .join(now, on="annotation_id", how="left", maintain_order="left")
        .join(items, on="item_id", how="left", maintain_order="left")
    )


def _misfits(dataset: Dataset, rows: pl.DataFrame) -> Iterator[Problem]:
    action, box = pl.col("action"), [pl.col(edge) for edge in BOX]
    names_annotation = action.is_in(["set_label", "set_box", "delete", "ignore"])
    is_finite = pl.all_horizontal(*(edge.is_finite().fill_null(value=False) for edge in box))
    is_box = is_finite & (box[2] > box[0]) & (box[3] > box[1])
    known = pl.col("label").is_in(list(dataset.class_names)).fill_null(value=False)
    tests = [
        (
            action.is_in(ACTIONS).fill_null(value=False).not_(),
            "action {action!r}",
            "one of " + ", ".join(ACTIONS),
        ),
        (
            names_annotation & pl.col("now_item_id").is_null(),
            "annotation {annotation_id!r}",
            "an annotation of the dataset",
        ),
        (
            names_annotation & (pl.col("now_item_id") != pl.col("item_id")),
            "annotation {annotation_id!r} with item {item_id!r}",
            "its own item",
        ),
        (
            (action == "add_box") & pl.col("is_item").is_null(),
            "a box for item {item_id!r}",
            "an item of the dataset",
        ),
        (
            (action == "add_box") & pl.col("annotation_id").is_not_null(),
            "a new box called {annotation_id!r}",
            "none: the format names new boxes",
        ),
        (
            action.is_in(["set_label", "add_box"]) & ~known,
            "label {label!r}",
            f"one of the {count(len(dataset.class_names), 'class', 'classes')} of the dataset",
        ),
        (
            (action == "add_box") & ~is_box,
            "box ({x1}, {y1}, {x2}, {y2})",
            "finite corners with x1 < x2 and y1 < y2",
        ),
        (  # an inverted box may be what an undone correction brings back
            (action == "set_box") & ~is_finite,
            "box ({x1}, {y1}, {x2}, {y2})",
            "finite corners",
        ),
    ]
    yield from _failing(rows, tests)


def _failing(rows: pl.DataFrame, tests: list[tuple[pl.Expr, str, str]]) -> Iterator[Problem]:
    """Name the corrections that fail a test."""
    for test, found, expected in tests:
        for row in rows.filter(test).iter_rows(named=True):
            yield Problem(f"corrections, row {row['row']}", found.format(**row), expected)


def plan_labels(dataset: Dataset, corrections: pl.DataFrame) -> pl.DataFrame:
    """Sort out corrections of class labels, after holding each of them to the dataset.

    A label that is no class yet makes a new one.

    Returns
    -------
    polars.DataFrame
        Columns item_id, given_label and label: the new one, null where the item is to be left out.
        What a correction would leave as it is, is not in it.

    Raises
    ------
    InputError
        Naming every correction of an unknown action or item, without a label, or in contradiction
        to another one.
    """
    check(corrections, CORRECTIONS, "corrections")
    given = dataset.annotations.select("annotation_id", now_item_id="item_id", given_label="label")
    rows = (
        corrections.select(CORRECTIONS.keys())
        .with_row_index("row")
        .join(given, on="annotation_id", how="left", maintain_order="left")
    )
    action = pl.col("action")
    known = action.is_in(["set_label", "delete"]).fill_null(value=False)
    lost = pl.col("now_item_id").is_null() | (pl.col("now_item_id") != pl.col("item_id"))
    no_label = pl.col("label").is_null() | (pl.col("label") == "")
    problems = [
        *_failing(
            rows,
            [
                (~known, "action {action!r} of a class label", "set_label or delete"),
                (known & lost.fill_null(value=True), "item {item_id!r}", "one of the dataset"),
                ((action == "set_label") & no_label, "no label", "one"),
            ],
        ),
        *_contradictions(rows),
    ]
    if problems:
        raise InputError(problems)
    label = pl.when(action == "set_label").then("label")
    return (
        rows.select("item_id", "given_label", label=label)
        .filter(~pl.col("label").eq(pl.col("given_label")).fill_null(value=False))
        .unique("item_id", keep="first", maintain_order=True)
    )


def _contradictions(rows: pl.DataFrame) -> Iterator[Problem]:
    """Two different values for one annotation, or a deletion beside another change."""
    named = rows.filter(pl.col("annotation_id").is_not_null(), pl.col("action") != "add_box")
    values = pl.struct("label", *BOX)
    for key, found in [
        (["annotation_id", "action"], values.n_unique() > 1),
        (
            ["annotation_id"],
            (pl.col("action") == "delete").any() & (pl.col("action").n_unique() > 1),
        ),
    ]:
        actions = pl.col("action").unique(maintain_order=True).str.join(" and ").alias("actions")
        clashes = named.group_by(key, maintain_order=True).agg(
            pl.col("row").first(), actions, found.alias("clash")
        )
        for row in clashes.filter("clash").iter_rows(named=True):
            yield Problem(
                f"corrections, row {row['row']}",
                f"several corrections ({row['actions']}) of annotation {row['annotation_id']!r}",
                "one that can be carried out",
            )


def _effective(rows: pl.DataFrame) -> pl.DataFrame:
    """Leave out what would change nothing."""
    idle_label = (pl.col("action") == "set_label") & (pl.col("label") == pl.col("now_label"))
    idle_box = (pl.col("action") == "set_box") & pl.all_horizontal(
        *(pl.col(edge) == pl.col(f"now_{edge}") for edge in BOX)
    )
    return rows.filter(~idle_label.fill_null(value=False), ~idle_box.fill_null(value=False))
