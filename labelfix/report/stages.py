"""Stages of cleaning as a page of Markdown."""

from __future__ import annotations

from typing import TYPE_CHECKING

from labelfix.report.gain import plain_table
from labelfix.text import visible

if TYPE_CHECKING:
    from labelfix.evaluate.curves import Stages

__all__ = ["stages_page"]

_READING = (
    "Tested on `corrected` labels, the curve says what cleaning does for the model. Tested on the "
    "labels of the `stage`, it says what one would have seen on the way; what lies between the two "
    "is the yardstick. `gain` is above the first stage of the order, paired."
)


def stages_page(found: Stages, chart: str | None = None) -> str:
    """Write the curves as tables.

    Parameters
    ----------
    found
        From `measure_stages` or `simulate`.
    chart
        Address of the picture to show; None for none.
    """
    details = found.details
    parts = ["# The metric while labels are cleaned", _READING]
    parts += [f"- Warning: {visible(text).replace('<', '&lt;')}" for text in found.warnings]
    if chart:
        parts.append(f"![The metric and the errors left at each stage]({chart})")
    parts += ["## Errors", plain_table(found.counts)]
    parts += ["## The training loss", str(details["losses"])]
    if found.fluctuations.height:
        parts.append(plain_table(found.fluctuations))
    for (metric,), rows in found.curve.group_by("metric", maintain_order=True):
        parts += [
            f"## {str(metric).replace('_', ' ').capitalize()}",
            plain_table(rows.drop("metric")),
        ]
    parts.append(
        f"Means over {details['seeds']} seeds of {details['model']}; intervals of "
        f"{details['level']:.0%} from {details['draws']:,} draws of items and seeds."
    )
    return "\n\n".join(parts) + "\n"
