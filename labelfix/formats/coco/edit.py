"""Corrections carried out on the text of a COCO document."""

from __future__ import annotations

import itertools
import json
import math
import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import msgspec

from labelfix.boxes import COCO
from labelfix.errors import warn_caller
from labelfix.formats.coco.text import Document, Layout, members
from labelfix.formats.numbers import NumberStyle
from labelfix.text import count

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from labelfix.formats.coco.document import Id
    from labelfix.formats.coco.text import Change, Member
    from labelfix.formats.edits import Box, Edit, Plan, Segmentation

__all__ = ["Manner", "rewrite"]

Span = tuple[int, int]

SAMPLE = 1000
"""Annotations looked at to see how a document writes its numbers."""

JSON_STYLE = NumberStyle(decimals=2, fixed=False, point=True)
"""Two decimals as in COCO, no zero at the end of a number but in 1.0."""

SAME_AREA = 1e-3
"""Relative difference up to which an area counts as the box's width times height."""


_NUMBER = re.compile(r"[-+.\w]+")


@dataclass(frozen=True)
class Manner:
    """What corrections need to know of a dataset."""

    category_ids: Mapping[str, Id]
    """By label."""
    image_ids: Mapping[str, Id]
    """By item_id."""
    segmentation: Segmentation
    rows: Sequence[int] | None = None
    """Which annotations of the list could be used, of those that were read one by one."""


class _Named(msgspec.Struct, gc=False):
    id: Any = None


def rewrite(data: bytes, made: Plan, manner: Manner) -> bytes:
    """Carry out corrections, leaving all other bytes of a document as they are."""
    pen = _Pen(Document(data), manner)
    changes = [*pen.edits(made.edits), *pen.list_changes(made)]
    if pen.outdated:
        _warn_of_outdated(pen.outdated)
    return pen.document.changed(changes)


def _warn_of_outdated(ids: list[str]) -> None:
    more = f" and {len(ids) - 5:,} more" if len(ids) > 5 else ""
    warn_caller(
        f"{count(len(ids), 'annotation')} with a new box kept the segmentation of the old one: "
        f"{', '.join(ids[:5])}{more}"
    )


def _ids(document: Document) -> list[Any]:  # JSON can hold anything
    """Id of each annotation; None for one that has none, which no correction can name."""
    try:
        named = msgspec.json.decode(document.parts["annotations"], type=list[_Named])
    except msgspec.ValidationError:  # something else among them
        mixed = msgspec.json.decode(document.parts["annotations"])
        return [one.get("id") if isinstance(one, dict) else None for one in mixed]
    return [one.id for one in named]


def _style(tokens: Iterable[str]) -> NumberStyle:
    """How numbers are written: JSON pads none, and may hold fractions among whole numbers."""
    style = NumberStyle.of(tokens, JSON_STYLE)
    return replace(style, fixed=False, decimals=max(style.decimals, JSON_STYLE.decimals))


class _Pen:
    """Writes into a document the way it is written."""

    def __init__(self, document: Document, manner: Manner) -> None:
        self.document = document
        self.manner = manner
        self.outdated: list[str] = []
        """Annotations whose segmentation no longer fits."""
        self._spans = document.elements("annotations")
        self._ids = _ids(document)
        rows = range(len(self._ids)) if manner.rows is None else manner.rows
        self._place = {str(self._ids[row]): row for row in reversed(rows)}
        sample = [_Element.of(document, span) for span in self._spans[:SAMPLE]]
        self._style = _style(token for one in sample for token in one.numbers("bbox"))
        self._area_style = _style(token for one in sample for token in one.numbers("area"))

    def edits(self, edits: Mapping[str, Edit]) -> Iterator[Change]:
        """Give the changes within annotations."""
        for annotation_id, edit in edits.items():
            span = self._spans[self._place[annotation_id]]
            element = _Element.of(self.document, span)
            if edit.label is not None:
                yield element.put("category_id", json.dumps(self.manner.category_ids[edit.label]))
            if edit.ignore:
                yield from element.ignored()
            if edit.box is not None:
                yield from self._moved(annotation_id, element, edit.box)

    def _moved(self, annotation_id: str, element: _Element, box: Box) -> Iterator[Change]:
        """Change a box's numbers, where they differ, and what depends on them."""
        old = element.numbers("bbox")
        new = self._style.fit(COCO, box).tolist()
        yield from element.put_numbers("bbox", new, self._style.write(new))
        areas = element.numbers("area")
        if areas and math.isclose(
            float(areas[0]), float(old[2]) * float(old[3]), rel_tol=SAME_AREA
        ):
            yield element.put("area", self._area(new))
        if element.has("segmentation"):
            if self.manner.segmentation == "drop":
                yield element.put("segmentation", "[]")
            else:
                self.outdated.append(annotation_id)

    def _area(self, numbers: Sequence[float]) -> str:
        area = numbers[2] * numbers[3]
        style = self._area_style
        return style.write([area if style.decimals > 9 else round(area, style.decimals)])[0]

    def list_changes(self, made: Plan) -> Iterator[Change]:
        """Annotations that go, and new ones at the end."""
        gone = {self._place[key] for key, edit in made.edits.items() if edit.delete}
        left = [row for row in range(len(self._ids)) if row not in gone]
        new = self._new(made)
        if not left:
            if gone or new:
                yield (*self.document.span("annotations"), self._fresh_list(new))
            return
        yield from self.document.removals("annotations", left)
        if new:
            end = self._spans[-1][1]
            yield end, end, "".join(self._comma() + text for text in new)

    def _new(self, made: Plan) -> list[str]:
        """Text of each new annotation."""
        boxes = [(item, *new) for item, many in made.added.items() for new in many]
        if not boxes:
            return []
        template = _Element.of(self.document, (self._spans or self.document.elements("images"))[-1])
        layout = Layout.of(template.text)
        return [
            layout.object(self._values(key, item, label, box, layout, template))
            for key, (item, label, box) in zip(self._free_ids(), boxes, strict=False)
        ]

    def _values(
        self, key: Id, item: str, label: str, box: Box, layout: Layout, template: _Element
    ) -> dict[str, str]:
        numbers = self._style.fit(COCO, box).tolist()
        values = {
            "id": json.dumps(key),
            "image_id": json.dumps(self.manner.image_ids[item]),
            "category_id": json.dumps(self.manner.category_ids[label]),
            "bbox": layout.list(self._style.write(numbers)),
            "area": self._area(numbers),
            "iscrowd": "0",
        }
        if not self._spans:
            return values
        if "segmentation" in template.members:
            values["segmentation"] = "[]"
        order = [name for name in template.members if name in values]
        return {name: values[name] for name in dict.fromkeys([*order, *values])}

    def _free_ids(self) -> Iterator[Id]:
        numbers = [key for key in self._ids if isinstance(key, int)]
        if numbers or not self._ids:
            yield from itertools.count(max(numbers, default=0) + 1)
        taken = set(self._ids)
        yield from (key for n in itertools.count(1) if (key := f"new-{n}") not in taken)

    def _comma(self) -> str:
        """Give what stands between two annotations."""
        body = self.document.body
        if len(self._spans) > 1:
            return body[self._spans[0][1] : self._spans[1][0]].decode("latin-1")
        opening = body[self.document.span("annotations")[0] + 1 : self._spans[0][0]].decode()
        return Layout.of(self.document.text(self._spans[0])).comma_before(opening)

    def _fresh_list(self, new: list[str]) -> str:
        """Write a list of new annotations, laid out like the list of images."""
        if not new:
            return "[]"
        start, end = self.document.span("images")
        images = self.document.elements("images")
        opening = self.document.text((start + 1, images[0][0]))
        comma = Layout.of(self.document.text(images[0])).comma_before(opening)
        return f"[{opening}{comma.join(new)}{self.document.text((images[-1][1], end - 1))}]"


@dataclass(frozen=True)
class _Element:
    """An object of the document, and where it starts."""

    text: str
    start: int
    members: Mapping[str, Member]

    @classmethod
    def of(cls, document: Document, span: Span) -> _Element:
        """Look at an element of a list."""
        text = document.text(span)
        return cls(text, span[0], members(text) if text.startswith("{") else {})

    def value(self, name: str) -> str:
        """Text of a member's value, empty if there is no such member."""
        found = self.members.get(name)
        return "" if found is None else self.text[found.value : found.value_end]

    def has(self, name: str) -> bool:
        """Whether a member is there and holds anything."""
        return self.value(name).strip("[]{} \t\r\n") not in {"", "null", '""'}

    def numbers(self, name: str) -> list[str]:
        """Text of each number in a member's value."""
        return _NUMBER.findall(self.value(name))

    def put(self, name: str, text: str) -> Change:
        """Replace the value of a member that is there."""
        found = self.members[name]
        return self.start + found.value, self.start + found.value_end, text

    def put_numbers(
        self, name: str, values: Sequence[float], texts: Sequence[str]
    ) -> Iterator[Change]:
        """Replace the numbers of a list, those that have another value."""
        place = self.start + self.members[name].value
        found = _NUMBER.finditer(self.value(name))
        for old, value, text in zip(found, values, texts, strict=True):
            if float(old[0]) != value:
                yield place + old.start(), place + old.end(), text

    def ignored(self) -> Iterator[Change]:
        """Mark as a crowd, the one mark that COCO's evaluation heeds."""
        marks = {name: self.value(name) for name in ("iscrowd", "ignore") if name in self.members}
        for name, old in marks.items():
            yield self.put(name, "true" if old in {"false", "true"} else "1")
        if "iscrowd" not in marks:
            layout = Layout.of(self.text)
            end = self.start + max(member.value_end for member in self.members.values())
            yield end, end, f'{layout.comma}"iscrowd"{layout.colon}1'
