"""A COCO document, parsed into what the tables need."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any, TypeVar

import msgspec

from labelfix.errors import InputError, Problem
from labelfix.formats.coco.text import BOM, Document

__all__ = ["Annotation", "Category", "Id", "Image", "Parsed", "parse"]

Id = int | str
LISTS = ("images", "annotations", "categories")


class Image(msgspec.Struct, gc=False):
    """An image of the document."""

    id: Id
    file_name: str
    width: float | None = None
    height: float | None = None


class Annotation(msgspec.Struct, gc=False):
    """A box of the document; its segmentation is stepped over."""

    id: Id
    image_id: Id
    category_id: Id
    bbox: tuple[float, float, float, float]
    area: float | None = None
    iscrowd: int | bool | None = 0
    ignore: int | bool | None = 0


class Category(msgspec.Struct):
    """A class of the document."""

    id: Id
    name: str


class _Strict(msgspec.Struct):
    images: list[Image]
    annotations: list[Annotation]
    categories: list[Category]


T = TypeVar("T")


@dataclass
class Parsed:
    """What a document holds, and what of it could not be used.

    `rows` says where each image and annotation stands in its list, where some were left out.
    """

    name: str
    data: bytes
    images: list[Image] = field(default_factory=list)
    annotations: list[Annotation] = field(default_factory=list)
    categories: list[Category] = field(default_factory=list)
    rows: dict[str, list[int]] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    lines: dict[str, list[int]] = field(default_factory=dict)

    def problem(
        self, part: str, row: int, found: str, expected: str = "", fix: str = ""
    ) -> Problem:
        """Describe what is wrong with an element of a list, with its line."""
        place = self.rows[part][row] if part in self.rows else row
        if part not in self.lines:
            document = Document(self.data)
            self.lines[part] = document.lines([start for start, _ in document.elements(part)])
        return Problem(
            self.name, f"{part}[{place}] {found}", expected, fix, self.lines[part][place]
        )


def parse(name: str, data: bytes) -> Parsed:
    """Parse a document: all of it at once, or element by element where that fails.

    Raises
    ------
    InputError
        If it is no JSON, or an object without the three lists.
    """
    try:
        strict = msgspec.json.decode(data.removeprefix(BOM), type=_Strict)
        return Parsed(name, data, strict.images, strict.annotations, strict.categories)
    except (msgspec.DecodeError, RecursionError):
        return _parse_loose(name, data)  # a ValidationError is a DecodeError


def _parse_loose(name: str, data: bytes) -> Parsed:
    """As `parse`, taking Python's NaN and Infinity, and leaving out what does not fit."""
    content = _load(name, data)
    if not isinstance(content, dict):
        raise InputError(Problem(name, f"a {type(content).__name__}", "an object with images"))
    missing = [part for part in LISTS if not isinstance(content.get(part), list)]
    if missing:
        raise InputError([Problem(name, f"no list {part!r}", "one") for part in missing])
    parsed = Parsed(name, data)
    parsed.images = _each(parsed, "images", content, Image)
    parsed.annotations = _each(parsed, "annotations", content, Annotation)
    parsed.categories = _each(parsed, "categories", content, Category)
    return parsed


def _load(name: str, data: bytes) -> Any:  # JSON can hold anything
    try:
        return json.loads(data.removeprefix(BOM).decode())
    except json.JSONDecodeError as error:
        found = f"broken or truncated JSON ({error.msg}, column {error.colno})"
        raise InputError(Problem(name, found, "a whole document", line=error.lineno)) from error
    except (ValueError, RecursionError) as error:
        raise InputError(Problem(name, f"no JSON ({error})")) from error


def _each(parsed: Parsed, part: str, content: dict[str, Any], kind: type[T]) -> list[T]:
    """Convert each element of a list, leaving out and reporting those that do not fit."""
    good: list[T] = []
    rows: list[int] = []
    for row, element in enumerate(content[part]):
        try:
            good.append(msgspec.convert(element, kind))
            rows.append(row)
        except msgspec.ValidationError as error:
            parsed.problems.append(parsed.problem(part, row, f"that does not fit: {error}"))
    parsed.rows[part] = rows
    return good
