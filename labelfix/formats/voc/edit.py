"""Corrections carried out on the text of a VOC file."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from labelfix.formats.voc.xml import Element, XmlDocument, escaped

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from labelfix.boxes import Convention
    from labelfix.formats.edits import Box, Edit
    from labelfix.formats.numbers import NumberStyle
    from labelfix.formats.voc.xml import Change

__all__ = ["CORNERS", "Manner", "rewrite"]

CORNERS = ("xmin", "ymin", "xmax", "ymax")

USUAL = {"name": "", "pose": "Unspecified", "truncated": "0", "difficult": "0", "bndbox": ""}
"""What a new object has where a file has none to go by, in order."""

POSSIBLE = {**USUAL, "occluded": "0"}
"""What a new object may have, if the last one of the file has it."""


@dataclass(frozen=True)
class Manner:
    """How the files of a dataset are written."""

    convention: Convention
    style: NumberStyle
    """For files that do not show their own."""


def rewrite(
    data: bytes, edits: Mapping[int, Edit], added: Sequence[tuple[str, Box]], manner: Manner
) -> bytes:
    """Carry out the corrections of one file, by number of the object, and add new objects.

    All other bytes stay as they are.
    """
    document = XmlDocument(data)
    objects = document.root.all("object")
    pen = _Pen(document, _style(objects, manner.style), manner.convention)
    changes = [
        change for number, edit in edits.items() for change in pen.edit(objects[number - 1], edit)
    ]
    if added:
        changes += pen.add(added)
    return document.changed(changes)


def _style(objects: Sequence[Element], otherwise: NumberStyle) -> NumberStyle:
    boxes = [box for element in objects for box in element.all("bndbox")]
    return otherwise.of_file(box.text_of(corner) for box in boxes for corner in CORNERS)


@dataclass(frozen=True)
class _Pen:
    """Writes into a file the way it is written."""

    document: XmlDocument
    style: NumberStyle
    convention: Convention

    def edit(self, element: Element, edit: Edit) -> Iterator[Change]:
        """Change an object, or take it out with the white space before it."""
        if edit.delete:
            space = self.document.space_before(element.start)
            yield element.start - len(space), element.end, b""
        if edit.label is not None:
            yield self._put(element.all("name")[0], edit.label)
        if edit.box is not None:
            yield from self._move(element.all("bndbox")[0], edit.box)
        if edit.ignore:
            yield self._ignore(element)

    def _put(self, element: Element, text: str) -> Change:
        """Replace the text of an element, not the white space around it."""
        if element.inner == element.end:  # <name/>
            new = f"<{element.tag}>".encode() + escaped(text) + f"</{element.tag}>".encode()
            return element.start, element.end, new
        inner = self.document.utf8[element.inner : element.inner_end]
        before = len(inner) - len(inner.lstrip())
        after = len(inner) - len(inner.rstrip())
        return element.inner + before, element.inner_end - after, escaped(text)

    def _move(self, box: Element, corners: Box) -> Iterator[Change]:
        """Replace the numbers of a box, those that have another value."""
        values = self.style.fit(self.convention, corners)
        for corner, value, text in zip(CORNERS, values, self.style.write(values), strict=True):
            old = box.all(corner)[0]
            if float(old.text) != value:
                yield self._put(old, text)

    def _ignore(self, element: Element) -> Change:
        """Set `difficult`; put it behind the name if it is not there."""
        marks = element.all("difficult")
        if marks:
            return self._put(marks[0], "1")
        name = element.all("name")[0]
        space = self.document.space_before(name.start)
        return name.end, name.end, space + b"<difficult>1</difficult>"

    def add(self, added: Sequence[tuple[str, Box]]) -> list[Change]:
        """Put new objects behind the last one, or behind all else."""
        root = self.document.root
        objects = root.all("object")
        above = objects or root.children
        place = above[-1].end if above else root.inner
        space = self.document.space_before(above[-1].start) if above else b""
        layout = _Layout.of(self.document, objects[-1]) if objects else _Layout.guess(space)
        new = b"".join(space + self._new(label, box, layout) for label, box in added)
        if root.inner == root.end:  # <annotation/>
            return [(root.end - 2, root.end, b">" + new + b"</annotation>")]
        return [(place, place, new)]

    def _new(self, label: str, corners: Box, layout: _Layout) -> bytes:
        values = self.style.write(self.style.fit(self.convention, corners))
        numbers = dict(zip(CORNERS, values, strict=True))
        box = b"".join(layout.deepest + _tag(corner, numbers[corner]) for corner in layout.corners)
        fields = {tag: escaped(text) for tag, text in POSSIBLE.items()}
        fields |= {"name": escaped(label), "bndbox": box + layout.deeper}
        body = b"".join(layout.deeper + _tag(tag, fields[tag]) for tag in layout.tags)
        return _tag("object", body + layout.closing)


def _tag(tag: str, content: bytes | str) -> bytes:
    inner = content.encode() if isinstance(content, str) else content
    return b"<%b>%b</%b>" % (tag.encode(), inner, tag.encode())


@dataclass(frozen=True)
class _Layout:
    """What an object has in it, and the white space before its parts."""

    tags: tuple[str, ...]
    corners: tuple[str, ...]
    deeper: bytes
    """Before what is in the object."""
    deepest: bytes
    """Before what is in the box."""
    closing: bytes
    """Before the end of the object."""

    @classmethod
    def of(cls, document: XmlDocument, element: Element) -> _Layout:
        """Take that of an object; guess where it has nothing to show."""
        box = element.first("bndbox")
        tags = tuple(dict.fromkeys(c.tag for c in element.children if c.tag in POSSIBLE))
        corners = {child.tag for child in box.children} if box else set()
        if box is None or not corners.issuperset(CORNERS) or "name" not in tags:
            return cls.guess(document.space_before(element.start))
        return cls(
            tags,
            tuple(dict.fromkeys(c.tag for c in box.children if c.tag in CORNERS)),
            document.space_before(element.children[0].start),
            document.space_before(box.children[0].start),
            document.space_before(element.inner_end),
        )

    @classmethod
    def guess(cls, space: bytes) -> _Layout:
        """Indent by what stands before an element at the top, if it is on a line of its own."""
        head, line, step = space.rpartition(b"\n")
        end = (b"\r" if head.endswith(b"\r") else b"") + line
        step = step if line else b""
        return cls(tuple(USUAL), CORNERS, end + 2 * step, end + 3 * step, end + step)
