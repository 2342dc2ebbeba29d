"""What corrections bought, in words and tables, as Markdown."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from labelfix.text import count, visible

if TYPE_CHECKING:
    import polars as pl

    from labelfix.evaluate.tables import Gain

__all__ = [
    "about_movement",
    "gain_findings",
    "gain_page",
    "metric_words",
    "movement_rows",
    "plain_table",
]

_WORDS = {"ap": "AP (COCO)", "ap50": "AP at IoU .5", "ap75": "AP at IoU .75"}

_SHOWN = 3
"""Metrics that the page shows; the tables have them all."""

_EFFECTS = {
    "gain": "gain: corrected on corrected, less original on original",
    "test_labels": "test labels: the same model, a better yardstick",
    "training_labels": "training labels: a better model, by the original yardstick",
    "interaction": "interaction: what is left",
    "training_labels_corrected": "training labels by the corrected yardstick",
}

_STEPS = {
    "all": "from original to corrected labels",
    "relabelled": "relabelling alone",
    "removed": "removing, after relabelling",
}

_WORST = 20
"""Classes that the page lists; the table `per_class.csv` has them all."""


def gain_findings(gain: Gain) -> list[str]:
    """Say in a few sentences what was gained, and which half of it is the yardstick."""
    lines = [_overall(gain), _of_that(gain), _training(gain), *_tested(gain)]
    if "relabelled" in gain.effects["step"]:
        parts = [
            f"{_STEPS[step]} {_points(gain.effect('gain', step=step))}"
            for step in ("relabelled", "removed")
        ]
        lines.append(f"Apart: {'; '.join(parts)}.")
    lines += _reach(gain)
    return lines


def gain_page(gain: Gain, chart: str | None = None) -> str:
    """Write what was found, in words and tables.

    Parameters
    ----------
    gain
        From `labelfix.measure_gain`.
    chart
        Address of the picture to show; None for none.
    """
    parts = ["\n".join(f"- {_safe(line)}" for line in gain_findings(gain))]
    if gain.warnings:
        parts.append("\n".join(f"- Warning: {_safe(text)}" for text in gain.warnings))
    if chart:
        parts.append(f"![The four cells, and what the gain is made of]({chart})")
    parts += ["## The cells", _cells(gain)]
    for step, rows in gain.effects.group_by("step", maintain_order=True):
        parts += [f"## What the gain is made of: {_STEPS[str(step[0])]}", _effects(rows)]
    parts += ["## Which items changed", plain_table(gain.changes)]
    if gain.mcnemar is not None:
        title = "## McNemar's test: original against corrected training labels"
        parts += [title, plain_table(gain.mcnemar)]
    parts += ["## Classes, those first that moved most", _classes(gain)]
    if gain.movement is not None:
        parts += ["## How much the split moves", about_movement(gain.metrics[0])]
        parts.append(_table(*movement_rows(gain.movement)))
    return "\n\n".join(parts)


def about_movement(metric: str) -> str:
    """Say what the table of the movement shows."""
    return (
        f"How far the {metric_words(metric)} moves from training to training, as a standard "
        "deviation in points, and how much of the variance is the split. Intervals take the values "
        "for about normal; of few seeds they are wide. In the last row, original and corrected "
        "labels are each on a split of their own, as for one who splits anew after correcting."
    )


def movement_rows(movement: pl.DataFrame) -> tuple[list[str], list[list[str]]]:
    """Give head and cells of the table of the movement."""
    rows = [
        [row["what"], _range(row, "sd", ".1f"), _range(row, "split_share", ".0f")]
        for row in movement.iter_rows(named=True)
    ]
    return ["", "standard deviation, points", "of the variance, the split, %"], rows


def _range(row: dict[str, Any], name: str, form: str) -> str:
    """Write a share in per cent with its interval, which folders of earlier versions lack."""
    values = [row.get(key) for key in (name, f"{name}_low", f"{name}_high")]
    value, low, high = ("" if one is None else format(100 * one, form) for one in values)
    return f"{value} ({low} to {high})" if low else value


def _overall(gain: Gain) -> str:
    first, last = _value(gain, "original"), _value(gain, "corrected")
    word = metric_words(gain.metrics[0])
    return (
        f"{word[0].upper()}{word[1:]} goes from {first:.1%} (original labels throughout) to "
        f"{last:.1%} (corrected labels throughout): {_points(gain.effect('gain'))}."
    )


def _of_that(gain: Gain) -> str:
    test, training, rest = (
        _points(gain.effect(name)) for name in ("test_labels", "training_labels", "interaction")
    )
    return (
        f"Of that, the test labels are {test}: the same model, measured by a better yardstick. "
        f"The training labels are {training} by the original yardstick, and their interaction "
        f"{rest}."
    )


def _training(gain: Gain) -> str:
    found = gain.effect("training_labels_corrected")
    sure = found["low"] > 0 or found["high"] < 0
    return f"Measured by the corrected labels, training on them brings {_points(found)}" + (
        "." if sure else ", which is not beyond noise."
    )


def _tested(gain: Gain) -> list[str]:
    if gain.mcnemar is None:
        return []
    rows = gain.mcnemar.filter(tested_on="corrected")
    significant = int((rows["p_mid"] < 0.05).sum())
    return [
        f"McNemar's test (mid-p) sees the two models differ on the corrected test labels, at "
        f"5 %, in {significant} of {count(rows.height, 'seed')}."
    ]


def _reach(gain: Gain) -> list[str]:
    details = gain.details
    over = f"{details['tested']:,} test items"
    said = f"Intervals of {details['level']:.0%}, from {details['draws']:,} draws, are over {over} "
    if details["seeds"] > 1:
        said += f"and {details['seeds']} seeds"
    else:
        said += "alone: there is one seed, and what others would give is not covered"
    said += f"; the model is {details['model']}."
    if details["seeds"] > 1 and not details["seeds_differ"]:
        said += " Every seed gave the same answers, so that seeds add nothing here."
    lines = [said]
    if gain.movement is not None and gain.movement.height:
        lines.append(_moved(gain))
    return lines


def _moved(gain: Gain) -> str:
    assert gain.movement is not None  # noqa: S101 # for the type checker: its caller looked
    _, metric, paired, apart = gain.movement.to_dicts()
    share = f"of which other splits make {_range(metric, 'split_share', '.0f')} % of the variance"
    if metric["split_share_low"] is None:
        share = "all of it other splits: on one split every seed scores the same"
    return (
        f"From training to training the {metric_words(gain.metrics[0])} moves by "
        f"{_range(metric, 'sd', '.1f')} points (standard deviation), {share}. The gain moves by "
        f"{_range(paired, 'sd', '.1f')} points with both versions on one split, and by "
        f"{_range(apart, 'sd', '.1f')} had each a split of its own: "
        f"{_range(apart, 'split_share', '.0f')} % of that variance is the split alone."
    )


def _value(gain: Gain, version: str) -> float:
    rows = gain.cells.filter(metric=gain.metrics[0], trained_on=version, tested_on=version)
    value: float = rows["value"][0]
    return value


def _points(found: dict[str, float]) -> str:
    """Write a difference of shares in points, with its interval.

    Examples
    --------
    >>> _points({"value": 0.179, "low": 0.152, "high": 0.2})
    '+17.9 points (+15.2 to +20.0)'
    """
    value, low, high = (f"{100 * found[name] + 0.0:+.1f}" for name in ("value", "low", "high"))
    return f"{value} points ({low} to {high})"


def metric_words(metric: str) -> str:
    """Call a metric in running text.

    Examples
    --------
    >>> metric_words("ap"), metric_words("balanced_accuracy")
    ('AP (COCO)', 'balanced accuracy')
    """
    return _WORDS.get(metric, metric.replace("_", " "))


def _cells(gain: Gain) -> str:
    names = gain.cells["trained_on"].unique(maintain_order=True).to_list()
    head = ["metric", "trained on", *(f"tested on {name}" for name in names)]
    rows = []
    for metric in gain.metrics[:_SHOWN]:
        for train in names:
            found = gain.cells.filter(metric=metric, trained_on=train)
            cells = [
                f"{value:.1%} ({low:.1%} to {high:.1%}), {items:,} items"
                for value, low, high, items in found.select(
                    "value", "low", "high", "items"
                ).iter_rows()
            ]
            rows.append([metric_words(metric), train, *cells])
    return _table(head, rows)


def _effects(rows: pl.DataFrame) -> str:
    metrics = rows["metric"].unique(maintain_order=True).head(_SHOWN)
    listed = [
        [
            words,
            *(_points(rows.filter(metric=one, effect=name).row(0, named=True)) for one in metrics),
        ]
        for name, words in _EFFECTS.items()
    ]
    return _table(["", *map(metric_words, metrics)], listed)


def _classes(gain: Gain) -> str:
    table = gain.per_class.drop_nulls("gain")
    order = table["gain"].abs().arg_sort(descending=True)
    rows = table[order].head(_WORST)
    listed = [
        [
            _safe(row["label"]),
            f"{row['items_original']:,} → {row['items_corrected']:,}",
            f"{row['original']:.1%} → {row['corrected']:.1%}",
            _points({"value": row["gain"], "low": row["gain_low"], "high": row["gain_high"]}),
        ]
        for row in rows.iter_rows(named=True)
    ]
    return _table(["class", "test items", "right", "gain"], listed)


def plain_table(table: pl.DataFrame) -> str:
    """Write a table as it is, numbers with three digits."""
    head = [name.replace("_", " ") for name in table.columns]
    return _table(head, [[_cell(value) for value in row] for row in table.iter_rows()])


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _table(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _safe(text: str) -> str:
    """Make a name from the data harmless in Markdown."""
    return visible(text).replace("<", "&lt;").replace("|", "\\|")
