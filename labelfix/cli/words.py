"""What the commands say of a run, in a few lines."""

from __future__ import annotations

from typing import TYPE_CHECKING

from labelfix.text import count

if TYPE_CHECKING:
    from labelfix.demo import Demo
    from labelfix.run import Run, RunRecord

__all__ = ["about_demo", "about_run", "where_next"]


def about_run(run: Run) -> list[str]:
    """Say what was read, what judged it, and what came out."""
    info = run.info
    return [_what_was_read(info), _what_judged(info), _what_was_found(info)]


def where_next(run: Run, left: int, how: str) -> list[str]:
    """Say how to see what is left of the list, and the page."""
    more = [f"And {left:,} more: {how}"] if left else []
    return [*more, f"See them: {run.report}"]


def about_demo(demo: Demo) -> list[str]:
    """Say how many of the planted errors were found, and what it was worth to correct them."""
    from labelfix.demo import BUDGET
    from labelfix.report.gain import gain_findings

    planted = demo.planted
    return [
        f"Planted {planted} errors in the labels of {demo.run.info.dataset.items:,} handwritten "
        f"digits, a real image folder: {demo.images}",
        f"Found {demo.found} of the {planted} among the first {planted} of the queue "
        f"({demo.found / planted:.0%}; by chance it would be {demo.by_chance:.0f}), "
        f"and {demo.found_flagged} among the {demo.run.info.findings.flagged} flagged.",
        f"Which they were: {demo.truth_file}",
        "",
        f"A simulated reviewer decided on {BUDGET} of the queue; {demo.corrections} labels were "
        f"corrected: {demo.corrected}",
        *gain_findings(demo.gain)[:2],
        f"All of it on a page: {demo.page}",
        "",
    ]


def _what_was_read(info: RunRecord) -> str:
    data = info.dataset
    splits = "".join(f", {number:,} in {name}" for name, number in data.splits.items())
    boxes = f" with {count(data.annotations, 'box', 'boxes')}" if data.boxes else ""
    skipped = f"; left out {count(len(data.skipped), 'bad one')}" if data.skipped else ""
    return (
        f"Read {count(data.items, 'image' if data.images else 'item')} of "
        f"{count(len(data.class_names), 'class', 'classes')}{boxes}{splits}{skipped}."
    )


def _what_judged(info: RunRecord) -> str:
    names = ", ".join(model.name for model in info.models)
    why = "".join(f" {model.why}." for model in info.models if model.why)
    share = f"{info.findings.agreement:.0%}"
    if info.dataset.boxes:
        return f"Judged by {names}, which finds {share} of the given boxes.{why}"
    given = "the probabilities in " if info.options.pred_probs else ""
    agree = f"agree{'s' * (not given)} with {share} of the labels"
    return f"Judged by {given}{names}, which {agree}.{why}"


def _what_was_found(info: RunRecord) -> str:
    found, boxes = info.findings, info.dataset.boxes
    kinds = ", ".join(
        f"{number:,} {kind.replace('_', ' ')}" for kind, number in found.flagged_by_kind.items()
    )
    what = "" if boxes else f" of {count(info.dataset.annotations, 'label')}"
    flagged = f"Flagged {found.flagged:,}{what}" + (f" ({kinds})" if kinds else "")
    if found.errors_at_least is not None:
        are = "is" if found.errors_at_least == 1 else "are"
        sure = f"at least {found.errors_at_least:,} {are} wrong"
        return f"{flagged}; {sure} if the model can be trusted where it is sure."
    return f"{flagged}."
