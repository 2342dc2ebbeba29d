"""What corrections buy over models and sizes, in words and tables."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from labelfix.report.gain import metric_words
from labelfix.text import count, visible

if TYPE_CHECKING:
    from collections.abc import Mapping

    import polars as pl

__all__ = ["size_findings", "size_page", "size_rows"]


def size_findings(marks: pl.DataFrame, details: Mapping[str, Any]) -> list[str]:
    """Say in a few sentences whether clean labels let a smaller, faster model do the job.

    Parameters
    ----------
    marks
        Of `labelfix.evaluate.sizes.Sizes`.
    details
        Of the same.
    """
    rows = marks.to_dicts()
    word = metric_words(rows[0]["metric"])
    best = max(rows, key=lambda row: (row["original"] or 0, -row["ms"]))
    lines = [
        f"Trained on original labels, {_named(best)} is best: {word} {best['original']:.1%} on the "
        f"corrected labels, {best['ms']:.1f} ms an image."
    ]
    reach = [row for row in rows if (row["corrected"] or 0) >= best["original"]]
    if reach:
        fast = min(reach, key=lambda row: row["ms"])
        lines.append(
            f"Trained on corrected labels, {_named(fast)} reaches that: {fast['corrected']:.1%}, "
            f"{fast['ms']:.1f} ms an image, {_ratio(best['ms'], fast['ms'])}. {_lead(fast)}"
        )
    else:
        near = max(rows, key=lambda row: (row["corrected"] or 0, -row["ms"]))
        lines.append(
            f"Trained on corrected labels, none reaches that; {_named(near)} comes nearest, with "
            f"{near['corrected'] or 0:.1%}. {_lead(near)}"
        )
    sure = [row for row in rows if row["change_low"] is not None and row["change_low"] > 0]
    lines.append(
        f"Training on corrected labels brings more beyond noise for {len(sure)} of "
        f"{count(len(rows), 'model and size', 'models and sizes')}."
    )
    return [*lines, _how(details)]


def _named(row: Mapping[str, Any]) -> str:
    size = "" if row["size"] is None else f" at {row['size']} px"
    return f"{row['model']}{size}"


def _lead(row: Mapping[str, Any]) -> str:
    """Say how far it is from the best one on original labels, and whether that is noise."""
    points = _points(row, "lead")
    noise = row["lead_low"] is not None and row["lead_low"] <= 0 <= row["lead_high"]
    return f"Paired, that is {points} points, {'within' if noise else 'beyond'} noise." * bool(
        points
    )


def _ratio(before: float, after: float) -> str:
    """Say how much less time something takes.

    Examples
    --------
    >>> _ratio(30.0, 10.0), _ratio(10.0, 10.0), _ratio(10.0, 20.0)
    ('3.0 times as fast', 'as fast', '2.0 times as slow')
    """
    ratio = before / after
    if 0.95 < ratio < 1.05:
        return "as fast"
    return f"{ratio:.1f} times as fast" if ratio > 1 else f"{1 / ratio:.1f} times as slow"


def _how(details: Mapping[str, Any]) -> str:
    several = details["seeds"] > 1
    seeds = count(details["seeds"], "seed")
    reach = "the seeds" if several else "not over other seeds"
    return (
        f"Times are processor time of the trained network on one thread ({details['processor']}), "
        f"one image after another: the median over at most {details['timed']:,} test images, after "
        f"some to warm up, both versions and {seeds}. Intervals of {details['level']:.0%} are over "
        f"{details['tested']:,} test items and {reach}."
    )


def size_rows(marks: pl.DataFrame) -> tuple[list[str], list[list[str]]]:
    """Give head and cells of the table: a row a model and size, the fastest first."""
    rows = [
        [
            row["model"],
            "" if row["size"] is None else str(row["size"]),
            f"{row['ms']:.1f}",
            *(_share(row, name) for name in ("original", "corrected")),
            _points(row, "change"),
        ]
        for row in marks.to_dicts()
    ]
    head = ["model", "pixels", "ms an image", "trained on original", "trained on corrected"]
    return [*head, "difference, points"], rows


def _share(row: Mapping[str, Any], name: str) -> str:
    if row[name] is None:
        return ""
    return f"{row[name]:.1%} ({row[f'{name}_low']:.1%} to {row[f'{name}_high']:.1%})"


def _points(row: Mapping[str, Any], name: str) -> str:
    if row[name] is None:
        return ""
    value, low, high = (
        f"{100 * row[key] + 0.0:+.1f}" for key in (name, f"{name}_low", f"{name}_high")
    )
    return f"{value} ({low} to {high})"


def size_page(
    marks: pl.DataFrame, details: Mapping[str, Any], said: tuple[str, ...], chart: str
) -> str:
    """Write what was found as Markdown; `chart` is the address of the picture."""
    head, rows = size_rows(marks)
    table = [head, ["---"] * len(head), *([_safe(cell) for cell in row] for row in rows)]
    parts = [
        "# Models and sizes",
        "\n".join(f"- {_safe(line)}" for line in size_findings(marks, details)),
        "\n".join(f"- Warning: {_safe(text)}" for text in said),
        f"![{metric_words(marks['metric'][0])} against milliseconds an image]({chart})",
        f"## {metric_words(marks['metric'][0])}, tested on corrected labels",
        "\n".join(f"| {' | '.join(line)} |" for line in table),
    ]
    return "\n\n".join(filter(None, parts)) + "\n"


def _safe(text: str) -> str:
    return visible(text).replace("<", "&lt;").replace("|", "\\|")
