"""The page of a comparison of models, as Markdown: what changes with the labels, what does not."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import polars as pl

from labelfix.text import visible

if TYPE_CHECKING:
    from collections.abc import Sequence

    from labelfix.evaluate.compare import Comparison

__all__ = ["comparison_findings", "comparison_page"]


def comparison_page(found: Comparison, chart: str | None = None) -> str:
    """Write what was found, in words and tables.

    Parameters
    ----------
    found
        The comparison.
    chart
        Address of the picture to show; None for none.
    """
    picture = [f"![Accuracy and rank of each model under each version of the labels]({chart})"]
    return "\n\n".join(
        [
            "## What changes, and what does not",
            "\n".join(f"- {line.replace('<', '&lt;')}" for line in comparison_findings(found)),
            *(picture if chart else []),
            *_accuracies(found),
            "## Left out, or relabelled",
            _GAINS,
            _gains(found),
            "## What models answer on the erroneous items",
            _ANSWERS,
            _answers(found),
            "## How sure this is",
            _method(found),
        ]
    )


_GAINS = """What the top-1 accuracy gains when items are left out, when the same items are
relabelled instead, and the difference: what leaving out gains only because those items are hard.
Median over the models, and the least and the most."""

_ANSWERS = """Shares of the items of a kind that are answered with the given label, with a
corrected label that is not the given one, and with another class. Median over the models, and the
least and the most."""


def comparison_findings(found: Comparison) -> list[str]:
    """Say in sentences what the tables show; every number comes from them."""
    kinds = {row["kind"]: row for row in found.kinds.to_dicts()}
    return [
        *(_about_order(row) for row in found.order.filter(top=1).to_dicts()[1:]),
        *_about_changes(found),
        *_about_swaps(found),
        *_about_gains(found),
        *_about_several(kinds),
        *_about_mislabeled(found),
    ]


def _about_order(row: dict[str, Any]) -> str:
    changed = (
        f"{row['changed_rank']} models change rank" if row["changed_rank"] else "no rank changes"
    )
    text = f"**{visible(str(row['variant']))}** ({row['items']:,} items): {changed}"
    if row["beyond_noise"] is not None and row["changed_rank"]:
        text += f", {row['beyond_noise'] or 'none'} of them beyond noise"
    if row["tau"] is not None:
        text += f"; Kendall's τ with the original order is {row['tau']:.3f}"
    if row["tau"] is not None and row["tau_redrawn"] is not None:
        text += f", where redrawing the items alone gives {row['tau_redrawn']:.3f}"
    return text + "."


def _about_changes(found: Comparison) -> list[str]:
    """Name the models whose rank change is more than noise."""
    rows = found.accuracy.filter(pl.col("top") == 1, pl.col("beyond_noise")).to_dicts()
    named = ", ".join(
        f"{row['model']} from {row['rank'] - row['rank_change']} to {row['rank']} "
        f"({row['variant']})"
        for row in rows
    )
    return [f"Rank changes beyond noise: {visible(named)}."] if rows else []


def _about_swaps(found: Comparison) -> list[str]:
    swaps = found.swaps.filter(pl.col("top") == 1)
    if not found.draws:
        return []
    sure = swaps.filter("beyond_noise")
    if swaps.is_empty():
        return ["No two models change places."]
    pairs = swaps.select("model", "other").unique().height
    text = f"{pairs} pairs of models change places under some version"
    if sure.is_empty():
        return [text + "; in none is the order sure both before and after."]
    named = ", ".join(
        f"{m} and {o} ({v})" for v, m, o in sure.select("variant", "model", "other").rows()
    )
    return [f"{text}; the order is sure both before and after for {visible(named)}."]


def _about_gains(found: Comparison) -> list[str]:
    if found.gains.is_empty():
        return []
    all_kinds = found.gains.filter(kind="all")
    out, new, hard = (
        all_kinds[name].median() for name in ("left_out", "relabelled", "left_out_hard")
    )
    return [
        f"Leaving all erroneous items out adds {_points(out)} points (median of the models); "
        f"scoring the same items by their corrected labels adds {_points(new)}. The other "
        f"{_points(hard)} come of leaving hard items out, and say nothing of the models."
    ]


def _about_several(kinds: dict[str, dict[str, Any]]) -> list[str]:
    several = kinds["multi_label"]
    if not several["items"]:
        return []
    return [
        f"Of the {several['items']:,} items with several labels, {several['given_is_right']:,} "
        "still have the given one among them: leaving them out removes right labels."
    ]


def _about_mislabeled(found: Comparison) -> list[str]:
    rows = found.answers.filter(kind="mislabeled")
    if rows.is_empty():
        return []
    best = found.accuracy["model"][0]
    mine = rows.filter(model=best)
    learnt = int((rows["given"] > rows["corrected"]).sum())
    return [
        f"On the {rows['items'][0]:,} mislabeled items, models answer with the wrong given label "
        f"in {_share(rows['given'].median())} of the cases (median; from "
        f"{_share(rows['given'].min())} to {_share(rows['given'].max())}), with the corrected one "
        f"in {_share(rows['corrected'].median())}. {learnt} of {rows.height} models repeat the "
        "wrong label more often than they give the right one. The best model, "
        f"{visible(best)}: {_share(mine['given'][0])} wrong, {_share(mine['corrected'][0])} right."
    ]


def _accuracies(found: Comparison) -> list[str]:
    """One table of accuracies and ranks for top-1, and one for top-5."""
    return [
        text
        for top in found.accuracy["top"].unique().sort()
        for text in (f"## Top-{top} accuracy, in %, and rank", _accuracy_table(found, top))
    ]


def _accuracy_table(found: Comparison, top: int) -> str:
    rows = found.accuracy.filter(top=top)
    variants = rows["variant"].unique(maintain_order=True).to_list()
    models = rows.filter(variant=variants[0])["model"].to_list()
    cells = {(row["variant"], row["model"]): _cell(row) for row in rows.to_dicts()}
    table = [[model, *(cells[variant, model] for variant in variants)] for model in models]
    return _markdown(["model", *variants], table)


def _cell(row: dict[str, Any]) -> str:
    text = f"{100 * row['accuracy']:.2f}"
    if row["low"] is not None:
        text += f" ({100 * row['low']:.1f} to {100 * row['high']:.1f})"
    text += f", {row['rank']}"
    if row["rank_low"] is not None and row["rank_low"] != row["rank_high"]:
        text += f" ({row['rank_low']} to {row['rank_high']})"
    return f"{text} **!**" if row["beyond_noise"] else text


def _gains(found: Comparison) -> str:
    if found.gains.is_empty():
        return "No item is erroneous."
    names = ("left_out", "relabelled", "left_out_hard")
    rows = [
        [kind, f"{group['items'][0]:,}", *(_spread(group[name], _points) for name in names)]
        for (kind,), group in found.gains.group_by("kind", maintain_order=True)
    ]
    head = ["kind", "items", "left out, points", "relabelled, points", "only left out, points"]
    return _markdown(head, rows)


def _answers(found: Comparison) -> str:
    names = ("given", "corrected", "another")
    rows = [
        [kind, f"{group['items'][0]:,}", *(_spread(group[name], _share) for name in names)]
        for (kind,), group in found.answers.group_by("kind", maintain_order=True)
    ]
    return _markdown(["kind", "items", "given label", "corrected label", "another"], rows)


def _method(found: Comparison) -> str:
    if not found.draws:
        return "Without draws: no interval, and nothing says which changes are noise."
    return (
        f"Intervals hold the middle {found.level:.0%} of {found.draws:,} bootstrap draws over the "
        "items, the same draws for all models and versions. They cover the choice of items, not "
        "the training of the models, nor errors in the corrected labels. Ranks count from 1; in "
        "brackets is the interval where it is more than one rank; **!** marks a rank change "
        "against the original whose own interval excludes 0. Each interval stands for itself: "
        "among many, some exclude 0 by chance."
    )


def _spread(values: pl.Series, write: object) -> str:
    known = values.drop_nulls()
    if known.is_empty() or not callable(write):
        return ""
    return f"{write(known.median())} ({write(known.min())} to {write(known.max())})"


def _points(value: object) -> str:
    """Write a difference of shares in percentage points, without a minus before nothing."""
    number = 100 * float(value) if isinstance(value, float) else 0.0
    return f"{number:.1f}".replace("-0.0", "0.0")


def _share(value: object) -> str:
    return f"{float(value):.1%}" if isinstance(value, float) else ""


def _markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(map(_inert, line)) + " |" for line in lines)


def _inert(text: str) -> str:
    """Keep names from breaking the table."""
    return visible(text).replace("|", r"\|").replace("<", "&lt;")
