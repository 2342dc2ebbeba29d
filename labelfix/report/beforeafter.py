"""Two views of the boxes on one image, side by side in one picture.

Before and after a correction: the given box is a solid line, the corrected one dashed, others thin.
Seen by two detectors: right boxes are solid, wrong ones dashed and named, the true ones thin. Each
on a white casing: they can be told apart on any image and in black and white.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING
from xml.sax.saxutils import escape

from labelfix.report.document import Image
from labelfix.text import visible

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["Corners", "Side", "View", "before_and_after", "two_views", "window"]

Corners = tuple[float, float, float, float]

WIDTH, HEIGHT, GAP = 300, 225, 6
"""Of a panel, and between the two, in pixels."""

_GIVEN = 'stroke="#a8480a" stroke-width="3.5"'
_CORRECTED = 'stroke="#0a56a3" stroke-width="3.5" stroke-dasharray="9 6"'
_RIGHT = 'stroke="#0a56a3" stroke-width="2"'
_WRONG = 'stroke="#a8480a" stroke-width="2" stroke-dasharray="5 4"'
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


@dataclass(frozen=True, slots=True)
class View:
    """What a detector sees.

    Parameters
    ----------
    name
        Of the panel.
    true
        Boxes that are there.
    right, wrong
        Boxes that it draws: those that find one, and the others with their class.
    """

    name: str
    true: Sequence[Corners]
    right: Sequence[Corners]
    wrong: Sequence[tuple[Corners, str]]


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

    def panel(side: Side, stroke: str) -> list[_Line]:
        lines = [_Line(box, _OTHER, 2.5) for box in side.others if _meets(box, part)]
        return lines if side.box is None else [*lines, _Line(side.box, stroke, 7)]

    panels = {"given": panel(before, _GIVEN), "corrected": panel(after, _CORRECTED)}
    return _side_by_side(picture, part, panels)


def two_views(picture: Image, part: tuple[int, int, int, int], views: Sequence[View]) -> Image:
    """Draw what two detectors see as one SVG; `picture` and `part` as for `before_and_after`."""

    def panel(view: View) -> list[_Line]:
        return [
            *(_Line(box, _OTHER, 2.5) for box in view.true),
            *(_Line(box, _RIGHT, 4.5) for box in view.right),
            *(_Line(box, _WRONG, 4.5, label) for box, label in view.wrong),
        ]

    return _side_by_side(picture, part, {view.name: panel(view) for view in views})


@dataclass(frozen=True, slots=True)
class _Line:
    """A box to draw: its stroke, the width of its casing, and what to write beside it."""

    box: Corners
    stroke: str
    casing: float
    text: str = ""


def _side_by_side(
    picture: Image, part: tuple[int, int, int, int], panels: Mapping[str, Sequence[_Line]]
) -> Image:
    width, height = len(panels) * (WIDTH + GAP) - GAP, HEIGHT
    drawn = [
        _panel(place * (WIDTH + GAP), name, part, lines)
        for place, (name, lines) in enumerate(panels.items())
    ]
    wide, high = part[2] - part[0], part[3] - part[1]
    svg = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
        f'viewBox="0 0 {width} {height}">'
        f'<defs><image id="p" width="{wide}" height="{high}" preserveAspectRatio="none" '
        f'href="{picture.address}"/></defs>{"".join(drawn)}</svg>\n'
    )
    return Image(svg.encode(), "image/svg+xml", picture.says)


def _panel(left: int, name: str, part: tuple[int, int, int, int], lines: Sequence[_Line]) -> str:
    wide, high = part[2] - part[0], part[3] - part[1]
    scale = min(WIDTH / wide, HEIGHT / high)
    x, y = (WIDTH - wide * scale) / 2, (HEIGHT - high * scale) / 2
    boxes = "".join(_rect(one.box, part, scale, one.stroke, one.casing) for one in lines)
    words = "".join(_word(one, part, scale) for one in lines if one.text)
    label = 14 + 9 * len(name)
    return (
        f'<svg x="{left}" width="{WIDTH}" height="{HEIGHT}">'
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#f1efe9"/>'
        f'<svg x="{x:g}" y="{y:g}" width="{wide * scale:g}" height="{high * scale:g}">'
        f'<g transform="scale({scale:g})"><use href="#p"/></g>'
        f'<g fill="none">{boxes}</g>{words}</svg>'
        f'<rect width="{label}" height="25" fill="#fff" fill-opacity=".88"/>'
        f'<text x="6" y="18" font-family="sans-serif" font-size="17">{name}</text></svg>'
    )


def _word(line: _Line, part: tuple[int, int, int, int], scale: float) -> str:
    """Write beside a box, inside its lower left corner, on a white casing."""
    x, y = (line.box[0] - part[0]) * scale + 3, (line.box[3] - part[1]) * scale - 4
    return (
        f'<text x="{x:.2f}" y="{y:.2f}" font-family="sans-serif" font-size="11" fill="#1d2125" '
        'stroke="#fff" stroke-width="3" paint-order="stroke">'
        f"{escape(visible(line.text))}</text>"
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
