"""Sections of a report on what was measured: the gain, the stages, many models."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import polars as pl

from labelfix.evaluate.curves import fluctuations
from labelfix.evaluate.sizes import Sizes
from labelfix.evaluate.statistics import EFFECTS
from labelfix.report.comparison import comparison_findings
from labelfix.report.document import Image, Points, Section, Table, Text
from labelfix.report.gain import about_movement, movement_rows
from labelfix.report.sizes import size_rows

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from labelfix.evaluate.compare import Comparison
    from labelfix.report.document import Block

__all__ = [
    "comparison_section",
    "gain_in_short",
    "gain_section",
    "metric_name",
    "metric_title",
    "sizes_section",
    "stages_section",
    "sure",
]

_EFFECTS = {
    "gain": "gain in all",
    "test_labels": "test labels",
    "training_labels": "training labels",
    "interaction": "interaction",
    "training_labels_corrected": "training labels, corrected yardstick",
}

_HOW_TO_READ = (
    "A model trained on each version of the labels, tested on each. Gain in all: corrected "
    "throughout, less original throughout. Test labels: the same model by a better yardstick. "
    "Training labels: a better model by the original yardstick, and in the last column by the "
    "corrected one, which is what the corrections did for the model. Brackets hold "
)

_STAGES = (
    "Tested on corrected labels: what cleaning does for the model. Tested on the labels of the "
    "stage: what one would have seen on the way."
)

_CLASSES = 10
"""Classes listed; the folder of the gain has all."""


def metric_name(name: str) -> str:
    """Write a metric for people.

    Examples
    --------
    >>> metric_name("balanced_accuracy"), metric_name("AP50")
    ('balanced accuracy', 'AP50')
    """
    return name.replace("_", " ")


def gain_section(
    tables: Mapping[str, pl.DataFrame],
    findings: Sequence[str],
    chart: Image | None,
    level: float,
) -> Section:
    """Say what the corrections bought.

    Parameters
    ----------
    tables
        Of `labelfix.evaluate.gain.Gain`: cells, effects, per_class and changes, and movement if it
        was measured.
    findings
        The same in sentences.
    chart
        The picture, if there is one.
    level
        Of the intervals.
    """
    blocks: list[Block] = [Points(findings)]
    if chart is not None:
        blocks.append(chart)
    blocks += [
        Text(f"{_HOW_TO_READ}{level:.0%} intervals."),
        _cells(tables["cells"]),
        _effects(tables["effects"]),
        _classes(tables["per_class"]),
        _changes(tables["changes"]),
    ]
    movement = tables.get("movement")
    if movement is not None and movement.height:
        head, rows = movement_rows(movement)
        text = about_movement(tables["cells"]["metric"][0])
        blocks += [Text(text), Table(head, rows, (1, 2), "How much of the movement is the split")]
    return Section("What the corrections bought", blocks)


def gain_in_short(tables: Mapping[str, pl.DataFrame]) -> str:
    """Say in one line what was gained, what of it is the yardstick, and what the model learnt."""
    cells = tables["cells"]
    metric = cells["metric"][0]
    first, last = (
        cells.filter(metric=metric, trained_on=name, tested_on=name)["value"][0]
        for name in ("original", "corrected")
    )
    effects = tables["effects"].filter(step="all", metric=metric)
    gain, test, training = (
        sure(effects.filter(effect=name).row(0, named=True), "+")
        for name in ("gain", "test_labels", "training_labels_corrected")
    )
    return (
        f"{metric_title(metric)}: {first:.1%} with original labels throughout, {last:.1%} with "
        f"corrected ones, {gain} points. Better test labels alone make {test}; training on "
        f"corrected labels makes {training}, measured by the corrected ones."
    )


def metric_title(metric: str) -> str:
    """Write a metric at the start of a sentence.

    Examples
    --------
    >>> metric_title("accuracy"), metric_title("mAP")
    ('Accuracy', 'mAP')
    """
    name = metric_name(metric)
    return name.capitalize() if name.islower() else name


def _cells(cells: pl.DataFrame) -> Table:
    metric = cells["metric"][0]
    names = cells["trained_on"].unique(maintain_order=True).to_list()
    rows = []
    for train in names:
        found = cells.filter(metric=metric, trained_on=train)
        shares = [sure(row) for row in found.iter_rows(named=True)]
        rows.append([f"trained on {train} labels", *shares])
    items = cells.filter(metric=metric, trained_on=names[0])["items"].to_list()
    head = [f"tested on {name}, {many:,} items" for name, many in zip(names, items, strict=True)]
    title = f"The cells: {metric_name(metric)}, in %"
    return Table(["", *head], rows, range(1, len(head) + 1), title)


def _effects(effects: pl.DataFrame) -> Table:
    whole = effects.filter(step="all")
    rows = [
        [
            metric_name(metric),
            *(
                sure(whole.filter(metric=metric, effect=name).row(0, named=True), sign="+")
                for name in EFFECTS
            ),
        ]
        for metric in whole["metric"].unique(maintain_order=True)
    ]
    head = ["metric", *(_EFFECTS[name] for name in EFFECTS)]
    return Table(head, rows, range(1, len(head)), "What the gain is made of, in points")


def _classes(per_class: pl.DataFrame) -> Table:
    known = per_class.drop_nulls("gain")
    moved = known[known["gain"].abs().arg_sort(descending=True)].head(_CLASSES)
    rows = [
        [
            row["label"],
            f"{row['items_original']:,}",
            f"{row['items_corrected']:,}",
            f"{100 * row['original']:.1f}",
            f"{100 * row['corrected']:.1f}",
            sure({"value": row["gain"], "low": row["gain_low"], "high": row["gain_high"]}, "+"),
        ]
        for row in moved.iter_rows(named=True)
    ]
    head = ["class", "tested by original labels", "by corrected", "right before", "after", "gain"]
    left = per_class.height - moved.height
    title = "Classes that moved most, in %" + (f" ({left:,} more in the folder)" if left else "")
    return Table(head, rows, range(1, 6), title)


def _changes(changes: pl.DataFrame) -> Table:
    rows = [[str(row[0]), *(f"{many:,}" for many in row[1:])] for row in changes.iter_rows()]
    head = [name.replace("_", " ") for name in changes.columns]
    return Table(head, rows, range(1, changes.width), "What changed in each part")


def sizes_section(
    tables: Mapping[str, pl.DataFrame],
    details: Mapping[str, Any],
    findings: Sequence[str],
    chart: Image | None,
) -> Section:
    """Show the metric beside the time of an image, for models and sizes.

    Parameters
    ----------
    tables, details
        Of `labelfix.evaluate.sizes.Sizes`.
    findings
        The same in sentences.
    chart
        The picture, if there is one.
    """
    marks = Sizes(tables["cells"], tables["effects"], tables["times"], details).marks()
    head, rows = size_rows(marks)
    blocks: list[Block] = [Points(findings)]
    if chart is not None:
        blocks.append(chart)
    title = f"{metric_title(marks['metric'][0])}, tested on corrected labels"
    blocks.append(Table(head, rows, range(1, len(head)), title))
    return Section("Smaller and faster models", blocks)


def stages_section(
    counts: pl.DataFrame,
    curve: pl.DataFrame,
    losses: pl.DataFrame | None,
    chart: Image | None,
    level: float,
) -> Section:
    """Show the metric while labels are cleaned.

    Parameters
    ----------
    counts, curve, losses
        Of `labelfix.evaluate.curves.Stages`; None for `losses` from before there were any.
    chart
        The picture, if there is one.
    level
        Of the intervals.
    """
    metric = curve["metric"][0]
    things = "labels" if metric == "accuracy" else "images"
    blocks: list[Block] = [Points(_first_stages(counts, things))]
    if chart is not None:
        blocks.append(chart)
    blocks.append(Text(f"{_STAGES} Brackets hold {level:.0%} intervals."))
    for yardstick, name in (("corrected", "corrected labels"), ("stage", "the stage's labels")):
        found = curve.filter(metric=metric, tested_on=yardstick)
        title = f"{metric_title(metric)} in %, tested on {name}"
        blocks.append(_by_share(found, sure, title))
    blocks.append(_by_share(counts, lambda row: f"{row['left']:,}", "Errors left"))
    unsteady = None if losses is None else fluctuations(losses)
    if unsteady is not None and unsteady.height:
        title = "Fluctuation of the training loss, as a share of the first epoch's loss"
        blocks.append(_by_share(unsteady, lambda row: f"{row['fluctuation']:.2g}", title))
    return Section("The metric while labels are cleaned", blocks)


def _first_stages(counts: pl.DataFrame, things: str) -> list[str]:
    """Say what each order mends at the first stage where anything is cleaned."""
    first = counts.filter(pl.col("decisions") > 0).group_by("order", maintain_order=True).first()
    return [
        f"Looking at {row['decisions']:,} {things} ({row['share']:.0%}) in the order "
        f"“{row['order']}” mends {row['mended']:,} errors and leaves {row['left']:,}."
        for row in first.iter_rows(named=True)
    ]


def _by_share(table: pl.DataFrame, write: Callable[[dict[str, Any]], str], title: str) -> Table:
    """Lay a long table out: a row a share, a column an order."""
    orders = table["order"].unique(maintain_order=True).to_list()
    cells = {(row["order"], row["share"]): write(row) for row in table.iter_rows(named=True)}
    rows = [
        [f"{share:.0%}", *(cells.get((order, share), "") for order in orders)]
        for share in table["share"].unique().sort()
    ]
    return Table(["looked at", *orders], rows, range(len(orders) + 1), title)


def comparison_section(found: Comparison, chart: Image | None) -> Section:
    """Rank many models under several versions of the labels.

    Parameters
    ----------
    found
        From `labelfix.evaluate.compare.compare_models`.
    chart
        The picture, if there is one.
    """
    blocks: list[Block] = [Points([line.replace("**", "") for line in comparison_findings(found)])]
    if chart is not None:
        blocks.append(chart)
    for top in found.accuracy["top"].unique().sort():
        blocks.append(_by_variant(found, top, _accuracy, f"Top-{top} accuracy, in %"))
        blocks.append(_by_variant(found, top, _rank, f"Rank by top-{top} accuracy"))
    if found.draws:
        blocks.append(
            Text(
                f"Brackets hold the middle {found.level:.0%} of {found.draws:,} draws of items, "
                f"seed {found.seed}; a rank without brackets is alone in its interval. ! marks "
                "a rank that changed beyond noise. Intervals cover the choice of items, not the "
                "training of the models."
            )
        )
    return Section("Models under each version of the labels", blocks)


def _by_variant(
    found: Comparison, top: int, write: Callable[[dict[str, Any]], str], title: str
) -> Table:
    """Lay the accuracies out: a row a model, a column a version of the labels."""
    rows = found.accuracy.filter(top=top)
    variants = rows["variant"].unique(maintain_order=True).to_list()
    models = rows.filter(variant=variants[0])["model"].to_list()
    cells = {(row["variant"], row["model"]): write(row) for row in rows.iter_rows(named=True)}
    table = [[model, *(cells[name, model] for name in variants)] for model in models]
    return Table(["model", *variants], table, range(1, len(variants) + 1), title)


def _accuracy(row: dict[str, Any]) -> str:
    value = f"{100 * row['accuracy']:.2f}"
    known = row["low"] is not None
    return f"{value} ({100 * row['low']:.1f} to {100 * row['high']:.1f})" if known else value


def _rank(row: dict[str, Any]) -> str:
    text = f"{row['rank']:g}"
    if row["rank_low"] is not None and row["rank_low"] != row["rank_high"]:
        text += f" ({row['rank_low']:g} to {row['rank_high']:g})"
    return f"{text} !" if row["beyond_noise"] else text


def sure(row: Mapping[str, Any], sign: str = "") -> str:
    """Write a share in per cent, with its interval.

    Examples
    --------
    >>> sure({"value": 0.5, "low": 0.4, "high": 0.6}), sure({"value": None})
    ('50.0 (40.0 to 60.0)', '')
    """
    if row["value"] is None:
        return ""
    value, low, high = (f"{100 * row[name] + 0.0:{sign}.1f}" for name in ("value", "low", "high"))
    return f"{value} ({low} to {high})"
