"""The text of a JSON document: where its parts are, and how they are laid out.

A correction replaces some characters of a file that may have hundreds of megabytes, so nothing is
parsed into objects and written again: the spans of the parts are found, and edited.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec
import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

__all__ = ["Change", "Document", "Layout", "Member", "members"]

Change = tuple[int, int, str]
"""Start, end and new text of a part, one character a byte."""

BOM = b"\xef\xbb\xbf"

_SPACE = re.compile(r"[ \t\r\n]*")
_COMMA = re.compile(rb"[ \t\r\n]*,[ \t\r\n]*")
_NO_NUMBER = re.compile(rb'"(?:[^"\\]|\\.)*"|(-?)(NaN|Infinity)', re.DOTALL)
_parse = json.JSONDecoder().raw_decode


class Document:
    """A JSON object with lists in it, as bytes.

    Python's json writes NaN and Infinity, which are no JSON. They are seen here as numbers of the
    same length, so that all spans are right.
    """

    def __init__(self, data: bytes) -> None:
        self.bom = BOM if data.startswith(BOM) else b""
        self.body = data.removeprefix(BOM)
        self._seen = self.body
        try:
            self.parts = msgspec.json.decode(self._seen, type=dict[str, msgspec.Raw])
        except msgspec.DecodeError:
            self._seen = _NO_NUMBER.sub(_same_length, self.body)
            self.parts = msgspec.json.decode(self._seen, type=dict[str, msgspec.Raw])

    def span(self, name: str) -> tuple[int, int]:
        """Where the value of `name` starts and ends."""
        start = _address(self.parts[name]) - _address(self._seen)
        return start, start + memoryview(self.parts[name]).nbytes

    def elements(self, name: str) -> list[tuple[int, int]]:
        """Where each element of the list `name` starts and ends."""
        raws = msgspec.json.decode(self.parts[name], type=list[msgspec.Raw])
        if not raws:
            return []
        place = _address(raws[0]) - _address(self._seen)
        spans = []
        for raw in raws:
            end = place + memoryview(raw).nbytes
            spans.append((place, end))
            comma = _COMMA.match(self._seen, end)
            place = comma.end() if comma else end
        return spans

    def text(self, span: tuple[int, int]) -> str:
        """Give a part as text, one character a byte."""
        return self.body[span[0] : span[1]].decode("latin-1")

    def removals(self, name: str, left: Sequence[int]) -> Iterator[Change]:
        """Give the changes that leave these elements of a list, each other with its comma."""
        if not left:
            yield (*self.span(name), "[]")
            return
        spans = self.elements(name)
        for row in range(left[0]):
            yield spans[row][0], spans[row + 1][0], ""
        stays = set(left)
        for row in range(left[0] + 1, len(spans)):
            if row not in stays:
                yield spans[row - 1][1], spans[row][1], ""

    def changed(self, changes: Iterable[Change]) -> bytes:
        """Carry changes out that do not overlap, leaving all other bytes as they are."""
        parts, done = [self.bom], 0
        for start, end, text in sorted(changes):
            parts += [self.body[done:start], text.encode("latin-1")]
            done = end
        return b"".join([*parts, self.body[done:]])

    def lines(self, places: list[int]) -> list[int]:
        """Line of each place, from 1."""
        ends = np.flatnonzero(np.frombuffer(self.body, dtype=np.uint8) == ord("\n"))
        return (np.searchsorted(ends, places) + 1).tolist()  # type: ignore[no-any-return] # ints


def _same_length(found: re.Match[bytes]) -> bytes:
    if not found[2]:
        return found[0]  # a string
    return found[1] + (b"1e1" if found[2] == b"NaN" else b"1.000000")


def _address(data: bytes | msgspec.Raw) -> int:
    """Place in memory: what msgspec decodes to Raw lies inside of what it was given."""
    return int(np.frombuffer(data, dtype=np.uint8).ctypes.data)


@dataclass(frozen=True, slots=True)
class Member:
    """Where the key and the value of a member of an object are, in its text."""

    key: int
    key_end: int
    value: int
    value_end: int


def members(text: str) -> dict[str, Member]:
    """Find the members of a JSON object; of a repeated key the last one, as parsers do.

    Examples
    --------
    >>> members('{"id": 7, "bbox": [1, 2]}')["bbox"]
    Member(key=10, key_end=16, value=18, value_end=24)
    """
    found = {}
    place = _skip(text, 1)
    while text[place] == '"':
        name, key_end = _parse(text, place)
        value = _skip(text, _skip(text, key_end) + 1)
        _, value_end = _parse(text, value)
        found[name] = Member(place, key_end, value, value_end)
        place = _skip(text, _skip(text, value_end) + 1)
        if place >= len(text):
            break
    return found


def _skip(text: str, place: int) -> int:
    space = _SPACE.match(text, place)
    return space.end() if space else place


@dataclass(frozen=True)
class Layout:
    """The white space of an object and of a list of numbers in it."""

    opening: str
    comma: str
    colon: str
    closing: str
    list_opening: str
    list_comma: str
    list_closing: str

    @classmethod
    def of(cls, text: str) -> Layout:
        """Take the layout of an object with two members or more; its `bbox`, if any, is a list."""
        found = sorted(members(text).values(), key=lambda member: member.key)
        first, second = found[0], found[1]
        opening, closing = text[1 : first.key], text[found[-1].value_end : -1]
        comma = text[first.value_end : second.key]
        colon = text[first.key_end : first.value]
        return cls(opening, comma, colon, closing, *cls._of_list(text, opening, comma, closing))

    @staticmethod
    def _of_list(text: str, opening: str, comma: str, closing: str) -> tuple[str, str, str]:
        bbox = members(text).get("bbox")
        if bbox is None:  # one step deeper than the object
            deeper = opening.removeprefix(closing) if "\n" in opening else ""
            return (
                (opening + deeper, comma + deeper, opening) if deeper else (opening, comma, closing)
            )
        inner = text[bbox.value + 1 : bbox.value_end - 1]
        bare = inner.strip(" \t\r\n")
        comma_found = re.search(r"[ \t\r\n]*,[ \t\r\n]*", bare)
        start = inner.index(bare)
        return (
            inner[:start],
            comma_found[0] if comma_found else comma,
            inner[start + len(bare) :],
        )

    def comma_before(self, space: str) -> str:
        """Write a comma between elements that start on lines of their own, or do not."""
        if "\n" not in space:
            return self.comma
        blank = len(self.comma) - len(self.comma[1:].lstrip(" \t")) - 1
        return self.comma[: 1 + blank] + space

    def list(self, tokens: list[str]) -> str:
        """Write a list."""
        return f"[{self.list_opening}{self.list_comma.join(tokens)}{self.list_closing}]"

    def object(self, tokens: Mapping[str, str]) -> str:
        """Write an object from the text of its values."""
        body = self.comma.join(f'"{name}"{self.colon}{token}' for name, token in tokens.items())
        return f"{{{self.opening}{body}{self.closing}}}"
