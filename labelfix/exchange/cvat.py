"""CVAT for images 1.1: an XML file of images with `box` and `tag` elements.

Format: https://docs.cvat.ai/docs/other/xml_format. Pixels from the image's edge. CVAT
writes two decimals. An attribute of each box, `labelfix_id`, keeps the ids where the labels of
the task have it; the file that is written lists it.
"""

from __future__ import annotations

import math
import zipfile
from typing import TYPE_CHECKING
from xml.sax.saxutils import quoteattr  # noqa: S406,RUF100 # no parser

from labelfix.errors import InputError, Problem
from labelfix.exchange.tasks import Answer, Region
from labelfix.formats.voc.xml import XmlDocument, XmlError, escaped

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from labelfix.exchange.tasks import Box, Task
    from labelfix.formats.voc.xml import Element

__all__ = ["read", "recognises", "write"]

ID = "labelfix_id"
NOTE = "labelfix"
FIX = "mend it in CVAT, or delete it there, and export again"
MOST_BYTES = 1 << 30
"""Of the annotations in an archive: an archive can say that it holds any number of zeros."""
MOST_DIGITS = 10
"""Of a side in pixels, from which on it is none."""

_SHAPES = ("polygon", "polyline", "points", "ellipse", "cuboid", "mask", "skeleton")


def recognises(path: Path) -> bool:
    """Whether it is XML, or an archive, as CVAT exports."""
    return path.suffix.lower() in {".xml", ".zip"}


def write(
    tasks: Sequence[Task],
    class_names: Sequence[str],
    root: Path | None,  # noqa: ARG001 # as the other formats
) -> Iterator[bytes]:
    """Give the file piece by piece."""
    yield b'<?xml version="1.0" encoding="utf-8"?>\n<annotations>\n  <version>1.1</version>\n'
    yield b"  <meta>\n    <task>\n      <labels>\n"
    for name in class_names:
        yield b"        <label>\n          <name>" + escaped(name) + b"</name>\n"
        yield b"          <attributes>\n"
        for attribute in (ID, NOTE):
            yield (
                f"            <attribute>\n              <name>{attribute}</name>\n"
                "              <mutable>False</mutable>\n"
                "              <input_type>text</input_type>\n"
                "              <default_value></default_value>\n"
                "              <values></values>\n            </attribute>\n"
            ).encode()
        yield b"          </attributes>\n        </label>\n"
    yield b"      </labels>\n    </task>\n  </meta>\n"
    for number, task in enumerate(tasks):
        name = quoteattr(task.item_id)
        size = f'width="{task.width}" height="{task.height}"'
        yield f'  <image id="{number}" name={name} {size}>\n'.encode()
        for region in task.regions:
            yield _shape(region)
        yield b"  </image>\n"
    yield b"</annotations>\n"


def _shape(region: Region) -> bytes:
    label = quoteattr(region.label)
    fields = {ID: region.key or "", NOTE: region.note}
    inner = b"".join(
        f'      <attribute name="{name}">'.encode() + escaped(text) + b"</attribute>\n"
        for name, text in fields.items()
    )
    if region.box is None:
        head = f'    <tag label={label} source="auto">\n'
        return head.encode() + inner + b"    </tag>\n"
    edges = zip(("xtl", "ytl", "xbr", "ybr"), region.box, strict=True)
    place = " ".join(f'{name}="{value!r}"' for name, value in edges)
    head = f'    <box label={label} source="auto" occluded="0" {place} z_order="0">\n'
    return head.encode() + inner + b"    </box>\n"


def read(path: Path) -> list[Answer]:
    """Read what CVAT exported: the XML, or the archive with it.

    Raises
    ------
    InputError
        Naming every rotated box, shape that is no box, track, and number that is none; if the XML
        is broken, or has a document type.
    """
    try:
        root = XmlDocument(_content(path)).root
        if root.tag != "annotations":
            raise XmlError(f"a document of <{root.tag}>, not <annotations>", root.line)
    except XmlError as error:
        raise InputError(Problem(str(path), str(error), line=error.line)) from error
    problems = [
        Problem(str(path), "a track of a video", "CVAT for images 1.1", line=one.line)
        for one in root.all("track")
    ]
    answers = []
    for image in root.all("image"):
        regions = []
        for element in image.children:
            found = _region(element)
            if isinstance(found, Region):
                regions.append(found)
            elif found:
                name = image.attributes.get("name", "")
                where = f"{path}: {name}"
                problems.append(Problem(where, found, "upright boxes, tags", FIX, element.line))
        answers.append(Answer(image.attributes.get("name", ""), tuple(regions), _size(image)))
    if problems:
        raise InputError(problems)
    return answers


def _size(image: Element) -> tuple[int, int] | None:
    sides = [image.attributes.get(name, "") for name in ("width", "height")]
    if not all(side.isascii() and side.isdigit() and len(side) < MOST_DIGITS for side in sides):
        return None
    width, height = map(int, sides)
    return (width, height) if width and height else None


def _content(path: Path) -> bytes:
    """Read the XML, out of an archive if it is one.

    Raises
    ------
    InputError
        If the archive has none, is broken or locked, or says that it is too large.
    """
    if path.suffix.lower() != ".zip":
        return path.read_bytes()
    try:
        with zipfile.ZipFile(path) as archive:
            info = archive.getinfo("annotations.xml")
            content = archive.read(info) if info.file_size <= MOST_BYTES else None
    except Exception as error:  # each way to pack has its own for what is broken or locked
        found = f"no annotations.xml in the archive that can be read ({error})"
        raise InputError(Problem(str(path), found, "an export as CVAT for images 1.1")) from error
    if content is None:
        raise InputError(Problem(str(path), f"{info.file_size:,} bytes of annotations"))
    return content


def _region(element: Element) -> Region | str:
    """Read a shape, or say what is wrong with it; "" for what is no shape."""
    given = element.attributes
    if element.tag in _SHAPES:
        return f"a shape <{element.tag}>"
    if element.tag not in {"box", "tag"}:
        return ""
    kept = {one.attributes.get("name"): one.text for one in element.all("attribute")}
    label, key = given.get("label", ""), kept.get(ID) or None
    if element.tag == "tag":
        return Region(label, None, key)
    try:
        rotation = float(given.get("rotation", 0))
        box: Box = tuple(float(given[name]) for name in ("xtl", "ytl", "xbr", "ybr"))  # type: ignore[assignment] # four
    except (KeyError, ValueError) as error:
        return f"a box without numbers ({error})"
    if rotation % 360:
        return f"a box rotated by {rotation:g} degrees"
    if not all(map(math.isfinite, box)):
        return "a box without finite numbers"
    return Region(label, box, key)
