"""Pictures through matplotlib: told apart by shape and lightness first, by colour second."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import polars as pl

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["gain_chart", "rank_chart", "reliability_chart", "size_chart", "stage_chart"]

_MARKS = ("o", "s", "^", "D", "v", "P", "X", "*")
_COLOURS = ("#000000", "#d55e00", "#0072b2", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#777777")
"""Of Okabe and Ito (2008), which people with any kind of colour vision tell apart."""

_METRICS = {"ap": "AP"}

_FAR = 4
"""Ratio of times from which an axis of them is logarithmic."""

_DASHES = ("solid", "dotted", "dashed", "dashdot")

_STYLE = {
    "svg.hashsalt": "labelfix",  # the same picture is the same file
    "svg.fonttype": "none",
    "font.size": 8,
    "font.family": "sans-serif",
    "axes.spines.top": False,
    "axes.spines.right": False,
}


def rank_chart(
    accuracy: pl.DataFrame, variants: Sequence[str] | None = None, *, kind: str = "svg"
) -> bytes:
    """Draw accuracies and rank intervals of many models under several versions of the labels.

    Parameters
    ----------
    accuracy
        `Comparison.accuracy`; its top-1 rows are drawn.
    variants
        Which to draw; None for all. Ranks are drawn of the first and the last.
    kind
        "svg", or any other that matplotlib writes: "png", "pdf".

    Returns
    -------
    bytes
        The file's content.
    """
    import matplotlib as mpl
    from matplotlib.figure import Figure

    table = accuracy.filter(top=1)
    names = list(variants or table["variant"].unique(maintain_order=True))
    models = table.filter(variant=names[0]).sort("rank")["model"].to_list()
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(9, 1.4 + 0.19 * len(models)), layout="constrained")
        left, right = figure.subplots(1, 2, sharey=True)
        for i, name in enumerate(names):
            rows = _rows(table, name, models)
            left.plot(rows["accuracy"], range(len(models)), **_mark(i), label=name)
        for i, name in _ends(names):
            _draw_ranks(right, _rows(table, name, models), i, shift=0.2 if i else -0.2)
        left.set_yticks(range(len(models)), models)
        left.invert_yaxis()  # shared: the best on top
        left.set_xlabel("top-1 accuracy")
        right.set_xlabel("rank, with its interval: " + " and ".join(n for _, n in _ends(names)))
        for axes in (left, right):
            axes.grid(visible=True, color="#dddddd", linewidth=0.5)
            axes.tick_params(length=0)
        figure.legend(*left.get_legend_handles_labels(), loc="outside upper center", ncols=3)
        return _content(figure, kind)


def _ends(names: Sequence[str]) -> list[tuple[int, str]]:
    """Give the first and the last, with their places."""
    listed = list(enumerate(names))
    return listed if len(listed) < 2 else [listed[0], listed[-1]]


def _rows(table: pl.DataFrame, variant: str, models: Sequence[str]) -> pl.DataFrame:
    order = pl.DataFrame({"model": models})
    return order.join(table.filter(variant=variant), on="model", how="left", maintain_order="left")


def _mark(i: int) -> dict[str, Any]:
    """Every other mark is hollow: a third way to tell them apart."""
    colour = _COLOURS[i % len(_COLOURS)]
    return {
        "marker": _MARKS[i % len(_MARKS)],
        "color": colour,
        "markerfacecolor": "white" if i % 2 else colour,
        "markersize": 4,
        "linestyle": "none",
    }


def _draw_ranks(axes: Any, rows: pl.DataFrame, i: int, shift: float) -> None:
    places = [row + shift for row in range(rows.height)]
    if rows["rank_low"].null_count() == 0:
        dash = "dotted" if i else "solid"
        axes.hlines(places, rows["rank_low"], rows["rank_high"], _mark(i)["color"], dash)
    axes.plot(rows["rank"], places, **_mark(i) | ({"markerfacecolor": "white"} if i else {}))


def gain_chart(cells: pl.DataFrame, effects: pl.DataFrame, *, kind: str = "svg") -> bytes:
    """Draw the four cells, and what the gain is made of, each with its interval.

    Parameters
    ----------
    cells, effects
        Of `labelfix.evaluate.gain.Gain`; accuracy from the original to the corrected labels.
    kind
        As for `rank_chart`.
    """
    import matplotlib as mpl
    from matplotlib.figure import Figure

    corners = cells.filter(
        pl.col("metric") == pl.col("metric").first(),
        pl.col("trained_on") != "relabelled",
        pl.col("tested_on") != "relabelled",
    )
    parts = effects.filter(pl.col("metric") == pl.col("metric").first(), step="all")
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(9, 2.6), layout="constrained")
        left, right = figure.subplots(1, 2)
        for i, train in enumerate(("original", "corrected")):
            rows = [
                corners.filter(trained_on=train, tested_on=t) for t in ("original", "corrected")
            ]
            _draw_points(left, pl.concat(rows), i, shift=0.06 * (2 * i - 1), upright=True)
        left.set_xticks([0, 1], ["tested on\noriginal labels", "tested on\ncorrected labels"])
        left.set_xlim(-0.5, 1.5)
        left.set_ylabel(str(corners["metric"][0]).replace("_", " "))
        left.legend(["trained on original labels", "trained on corrected labels"], frameon=False)
        _draw_points(right, parts, 0, shift=0, upright=False)
        right.axvline(0, color="black", linewidth=0.8)
        names = [name.replace("_", " ") for name in parts["effect"]]
        names[-1] = "training labels,\ncorrected yardstick"
        right.set_yticks(range(len(names)), names)
        right.invert_yaxis()
        right.set_xlabel("difference")
        for axes in (left, right):
            axes.grid(visible=True, color="#dddddd", linewidth=0.5)
            axes.tick_params(length=0)
        return _content(figure, kind)


def stage_chart(
    curve: pl.DataFrame,
    counts: pl.DataFrame,
    fluctuations: pl.DataFrame | None = None,
    *,
    kind: str = "svg",
) -> bytes:
    """Draw the first metric and the errors that are left over the share that was looked at.

    Parameters
    ----------
    curve, counts, fluctuations
        Of `labelfix.evaluate.curves.Stages`. How unsteady the training loss is gets a panel of its
        own where it is known.
    kind
        As for `rank_chart`.
    """
    import matplotlib as mpl
    from matplotlib.figure import Figure

    metric = curve["metric"][0]
    lines = [
        (
            f"{_METRICS.get(metric, metric)}, tested on {yardstick} labels".replace("_", " "),
            curve.filter(metric=metric, tested_on=yardstick).drop_nulls("value"),
            "value",
        )
        for yardstick in ("corrected", "stage")
    ]
    lines.append(("errors left", counts, "left"))
    if fluctuations is not None and fluctuations.height:
        lines.append(("fluctuation of the training loss", fluctuations, "fluctuation"))
    orders = counts["order"].unique(maintain_order=True).to_list()
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(3.7 * len(lines), 3), layout="constrained")
        for axes, (title, rows, column) in zip(figure.subplots(1, len(lines)), lines, strict=True):
            for i, order in enumerate(orders):
                shift = 0.012 * (i - (len(orders) - 1) / 2)  # intervals stand side by side
                _draw_curve(axes, rows.filter(order=order), column, i, shift)
            axes.set_ylabel(title)
            axes.set_xlabel("share looked at")
            axes.grid(visible=True, color="#dddddd", linewidth=0.5)
            axes.tick_params(length=0)
        figure.axes[2].legend(orders, frameon=False)
        return _content(figure, kind)


def _draw_curve(axes: Any, rows: pl.DataFrame, column: str, i: int, shift: float) -> None:
    """Draw one order of work, with its intervals if it has any."""
    reach: Any = None  # what matplotlib takes is a pair, or one for both ways
    if "low" in rows.columns:
        reach = _reach(rows, column)
    elif "sd" in rows.columns:
        reach = rows["sd"].fill_null(0.0)
    style = _mark(i) | {"linestyle": _DASHES[i % len(_DASHES)]}
    style |= {"capsize": 1.5, "elinewidth": 0.6, "linewidth": 1}
    axes.errorbar(rows["share"] + shift, rows[column], yerr=reach, **style)


def reliability_chart(bins: pl.DataFrame, *, kind: str = "svg") -> bytes:
    """Draw how often something was so over how likely it was said to be: best on the diagonal.

    Parameters
    ----------
    bins
        Columns `set`; `said`, the mean probability in a bin, and `true`, the share that was so,
        both in [0, 1].
    kind
        As for `rank_chart`.
    """
    import matplotlib as mpl
    from matplotlib.figure import Figure

    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(4.5, 4.2), layout="constrained")
        axes = figure.subplots()
        axes.plot([0, 1], [0, 1], color="#aaaaaa", linewidth=0.8)
        for i, ((name,), one) in enumerate(bins.group_by("set", maintain_order=True)):
            style = _mark(i) | {"linestyle": _DASHES[i % len(_DASHES)], "linewidth": 1}
            axes.plot(one["said"], one["true"], **style, label=str(name))
        axes.set_xlabel("probability that was said")
        axes.set_ylabel("share that was so")
        axes.set_aspect("equal")
        axes.legend(frameon=False, loc="lower right")
        axes.grid(visible=True, color="#dddddd", linewidth=0.5)
        axes.tick_params(length=0)
        return _content(figure, kind)


def size_chart(marks: pl.DataFrame, *, kind: str = "svg") -> bytes:
    """Draw the metric over the time of an image: for each model and size two marks that are joined.

    Parameters
    ----------
    marks
        Of `labelfix.evaluate.sizes.Sizes`. Hollow: trained on original labels; filled: on
        corrected ones, both tested on corrected ones.
    kind
        As for `rank_chart`.
    """
    import matplotlib as mpl
    from matplotlib.figure import Figure
    from matplotlib.ticker import LogLocator, NullFormatter, ScalarFormatter

    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(7, 3.6), layout="constrained")
        axes = figure.subplots()
        if marks["ms"].max() > _FAR * marks["ms"].min():  # type: ignore[operator] # both are floats
            axes.set_xscale("log")
            axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            axes.xaxis.set_major_formatter(ScalarFormatter())
            axes.xaxis.set_minor_formatter(NullFormatter())
        for i, ((model,), rows) in enumerate(marks.group_by("model", maintain_order=True)):
            colour, mark = _COLOURS[i % len(_COLOURS)], _MARKS[i % len(_MARKS)]
            style: dict[str, Any] = {"color": colour, "marker": mark, "capsize": 2}
            style |= {"linestyle": "none", "elinewidth": 0.4}
            axes.vlines(rows["ms"], rows["original"], rows["corrected"], colour, linewidth=0.8)
            for name, face in (("original", "white"), ("corrected", colour)):
                reach = [rows[name] - rows[f"{name}_low"], rows[f"{name}_high"] - rows[name]]
                label = str(model) if name == "corrected" else None
                own = style | {"markerfacecolor": face, "label": label}
                axes.errorbar(rows["ms"], rows[name], reach, **own)
            for row in rows.drop_nulls("size").iter_rows(named=True):
                place = (row["ms"], row["corrected"])
                axes.annotate(str(row["size"]), place, (4, 3), textcoords="offset points")
        axes.set_xlabel("processor time of an image on one thread, ms")
        axes.set_ylabel(f"{_title(marks)}, tested on corrected labels")
        axes.grid(visible=True, color="#dddddd", linewidth=0.5)
        axes.tick_params(length=0)
        figure.legend(
            loc="outside upper center", ncols=3, title="hollow: trained on original labels"
        )
        return _content(figure, kind)


def _title(marks: pl.DataFrame) -> str:
    metric = str(marks["metric"][0])
    return _METRICS.get(metric, metric.replace("_", " "))


def _draw_points(axes: Any, rows: pl.DataFrame, i: int, shift: float, *, upright: bool) -> None:
    """Draw values with their intervals, the second set hollow and joined by dots."""
    values = rows["value"].to_numpy()
    reach = _reach(rows, "value")
    places = [place + shift for place in range(len(values))]
    style = _mark(i) | {"capsize": 3, "elinewidth": 1}
    style["linestyle"] = ("solid", "dotted")[i] if upright else "none"
    if upright:
        axes.errorbar(places, values, yerr=reach, **style)
    else:
        axes.errorbar(values, places, xerr=reach, **style)


def _reach(rows: pl.DataFrame, column: str) -> list[pl.Series]:
    """How far intervals go below and above values; few draws may leave a value just outside."""
    return [(rows[column] - rows["low"]).clip(0), (rows["high"] - rows[column]).clip(0)]


def _content(figure: Any, kind: str) -> bytes:
    file = io.BytesIO()
    figure.savefig(file, format=kind, dpi=110, metadata={"Date": None} if kind == "svg" else None)
    return file.getvalue()
