"""Boxes before and after a correction, side by side in one picture.

The given box is a solid line, the corrected one dashed, others thin, each on a white casing: they
can be told apart on any image and in black and white.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from labelfix.report.document import Image

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Corners", "Side", "before_and_after", "window"]

Corners = tuple[float, float, float, float]

WIDTH, HEIGHT, GAP = 300, 225, 6
"""Of a panel, and between the two, in pixels."""

_GIVEN = 'stroke="#a8480a" stroke-width="3.5"'
_CORRECTED = 'stroke="#0a56a3" stroke-width="3.5" stroke-dasharray="9 6"'
_OTHER = 'stroke="#1d2125" stroke-width="1"'


@dataclass(frozen=True, slots=True)
class Side:
    """What one of the two panels shows: the box that it is about, if it is there, and others."""

    box: Corners | None
    others: Sequence[Corners] = ()


def window(
    boxes: Sequence[Corners], size: tuple[int, int], context: float, least: int
) -> tuple[int, int, int, int]:
    """Choose the part of an image to show, in the shape of a panel as far as the image reaches.

    Parameters
    ----------
    boxes
        To be seen; at least one.
    size
        Width and height of the image.
    context
        Margin on each side, as a share of the boxes' longer side.
    least
        Least margin in pixels.

    Examples
    --------
    >>> window([(40, 40, 60, 50)], (640, 480), 0.5, 10)
    (30, 30, 70, 60)
    """
    x1, y1, x2, y2 = (pick(box[i] for box in boxes) for i, pick in enumerate((min, min, max, max)))
    margin = max(least, context * max(x2 - x1, y2 - y1))
    wide, high = x2 - x1 + 2 * margin, y2 - y1 + 2 * margin
    wide, high = max(wide, high * WIDTH / HEIGHT), max(high, wide * HEIGHT / WIDTH)
    spans = (
        _span((x1 + x2) / 2, wide, size[0]),
        _span((y1 + y2) / 2, high, size[1]),
    )
    return spans[0][0], spans[1][0], spans[0][1], spans[1][1]


def _span(middle: float, length: float, limit: int) -> tuple[int, int]:
    """Lay a length around a middle, moved into the image rather than cut."""
    low = min(max(middle - length / 2, 0), max(limit - length, 0))
    first = min(int(low), limit - 1)
    return first, max(min(round(low + length), limit), first + 1)


def before_and_after(
    picture: Image, part: tuple[int, int, int, int], before: Side, after: Side
) -> Image:
    """Draw both panels as one SVG, which needs no other file.

    Parameters
    ----------
    picture
        What `part` shows of the image, at any size.
    part
        Corners of that, in pixels of the image.
    before, after
        Boxes in pixels of the image.
    """
    width, height = 2 * WIDTH + GAP, HEIGHT
    panels = (
        _panel(0, "given", part, before, _GIVEN),
        _panel(WIDTH + GAP, "corrected", part, after, _CORRECTED),
    )
    wide, high = part[2] - part[0], part[3] - part[1]
    svg = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
        f'viewBox="0 0 {width} {height}">'
        f'<defs><image id="p" width="{wide}" height="{high}" preserveAspectRatio="none" '
        f'href="{picture.address}"/></defs>{"".join(panels)}</svg>\n'
    )
    return Image(svg.encode(), "image/svg+xml", picture.says)


def _panel(left: int, name: str, part: tuple[int, int, int, int], side: Side, stroke: str) -> str:
    wide, high = part[2] - part[0], part[3] - part[1]
    scale = min(WIDTH / wide, HEIGHT / high)
    x, y = (WIDTH - wide * scale) / 2, (HEIGHT - high * scale) / 2
    inside = [_rect(box, part, scale, _OTHER, 2.5) for box in side.others if _meets(box, part)]
    if side.box is not None:
        inside.append(_rect(side.box, part, scale, stroke, 7))
    label = 14 + 9 * len(name)
    return (
        f'<svg x="{left}" width="{WIDTH}" height="{HEIGHT}">'
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#f1efe9"/>'
        f'<svg x="{x:g}" y="{y:g}" width="{wide * scale:g}" height="{high * scale:g}">'
        f'<g transform="scale({scale:g})"><use href="#p"/></g>'
        f'<g fill="none">{"".join(inside)}</g></svg>'
        f'<rect width="{label}" height="25" fill="#fff" fill-opacity=".88"/>'
        f'<text x="6" y="18" font-family="sans-serif" font-size="17">{name}</text></svg>'
    )


def _meets(box: Corners, part: tuple[int, int, int, int]) -> bool:
    return box[0] < part[2] and box[2] > part[0] and box[1] < part[3] and box[3] > part[1]


def _rect(
    box: Corners, part: tuple[int, int, int, int], scale: float, stroke: str, casing: float
) -> str:
    x, y = (box[0] - part[0]) * scale, (box[1] - part[1]) * scale
    wide, high = (box[2] - box[0]) * scale, (box[3] - box[1]) * scale
    place = f'x="{x:.2f}" y="{y:.2f}" width="{wide:.2f}" height="{high:.2f}"'
    white = f'stroke="#fff" stroke-opacity=".85" stroke-width="{casing:g}"'
    return f"<rect {place} {white}/><rect {place} {stroke}/>"
