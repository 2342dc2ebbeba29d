"""XML as text with the places of its elements, so that some can be changed and no other byte is.

Document types are refused, and entities with them: nothing is expanded, nothing is fetched.
"""

from __future__ import annotations

import codecs
import re
from dataclasses import dataclass, field
from typing import Any
from xml.parsers import expat  # noqa: S405,RUF100 # document types are refused below
from xml.sax.saxutils import escape  # noqa: S406,RUF100 # no parser

__all__ = ["Change", "Element", "XmlDocument", "XmlError", "escaped"]

Change = tuple[int, int, bytes]
"""Start and end of a part, in UTF-8 bytes, and what takes its place."""

_DECLARED = re.compile(rb"""^\s*<\?xml[^>]*?\sencoding\s*=\s*["']([A-Za-z0-9._-]+)["']""")
_START_TAG = re.compile(rb"""<(?:"[^"]*"|'[^']*'|[^"'>])*>""")
_SPACE_BEFORE = re.compile(rb"[ \t\r\n]*\Z")


class XmlError(ValueError):
    """What is wrong with a document, and in which line."""

    def __init__(self, found: str, line: int | None = None) -> None:
        super().__init__(found)
        self.line = line


@dataclass
class Element:
    """An element, and where it is in the UTF-8 text.

    `start` and `end` are those of the whole element, `inner` and `inner_end` those of its content;
    both are at the end of an element that closes itself.
    """

    tag: str
    start: int
    line: int
    inner: int = 0
    inner_end: int = 0
    end: int = 0
    attributes: dict[str, str] = field(default_factory=dict)
    pieces: list[str] = field(default_factory=list)
    children: list[Element] = field(default_factory=list)

    @property
    def text(self) -> str:
        """Its own text, without white space around it."""
        return "".join(self.pieces).strip()

    def all(self, tag: str) -> list[Element]:
        """Its children of that name."""
        return [child for child in self.children if child.tag == tag]

    def first(self, tag: str) -> Element | None:
        """Its first child of that name."""
        return next(iter(self.all(tag)), None)

    def text_of(self, tag: str) -> str:
        """Text of its first child of that name, empty if there is none."""
        child = self.first(tag)
        return "" if child is None else child.text


class XmlDocument:
    """A document with a tree of its elements.

    Raises
    ------
    XmlError
        If it is broken, has a document type, or is not in the encoding that it names.
    """

    def __init__(self, data: bytes) -> None:
        self.encoding = _encoding(data)
        try:
            self.utf8 = data if self.encoding == "utf-8" else self._recoded(data)
        except (UnicodeError, LookupError) as error:
            raise XmlError(f"text that is not {self.encoding} ({error})") from error
        self.root = _parse(self.utf8)

    def _recoded(self, data: bytes) -> bytes:
        text = data.decode(self.encoding)
        if text.encode(self.encoding) != data:
            raise UnicodeError("it cannot be written back")
        return text.encode()

    def changed(self, changes: list[Change]) -> bytes:
        """Give the document with changes, in its own encoding."""
        parts, done = [], 0
        for start, end, new in sorted(changes):
            parts += [self.utf8[done:start], new]
            done = end
        utf8 = b"".join([*parts, self.utf8[done:]])
        if self.encoding == "utf-8":
            return utf8
        return utf8.decode().encode(self.encoding, "xmlcharrefreplace")

    def space_before(self, place: int) -> bytes:
        """White space that ends at a place."""
        found = _SPACE_BEFORE.search(self.utf8, max(0, place - 1000), place)
        return found[0] if found else b""


def escaped(text: str) -> bytes:
    """Write text as the content of an element."""
    return escape(text).encode()


def _encoding(data: bytes) -> str:
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16-le" if data.startswith(codecs.BOM_UTF16_LE) else "utf-16-be"
    declared = _DECLARED.match(data.removeprefix(codecs.BOM_UTF8))
    try:
        return codecs.lookup(declared[1].decode()).name if declared else "utf-8"
    except LookupError as error:
        raise XmlError(f"an unknown encoding ({error})", 1) from error


def _parse(utf8: bytes) -> Element:
    parser = expat.ParserCreate("utf-8")
    top = Element("", 0, 0)
    open_elements = [top]

    def start(tag: str, attributes: dict[str, str]) -> None:
        found = _START_TAG.match(utf8, parser.CurrentByteIndex)
        element = Element(tag, parser.CurrentByteIndex, parser.CurrentLineNumber)
        element.attributes = attributes
        element.inner = found.end() if found else 0
        open_elements[-1].children.append(element)
        open_elements.append(element)

    def end(_tag: str) -> None:
        element = open_elements.pop()
        if utf8[element.inner - 2 : element.inner] == b"/>":
            element.inner_end = element.end = element.inner
        else:
            element.inner_end = parser.CurrentByteIndex
            element.end = utf8.index(b">", element.inner_end) + 1

    def refuse(*_: Any) -> None:  # the two handlers get different arguments
        raise XmlError("a document type or entity, which is refused", parser.CurrentLineNumber)

    parser.StartElementHandler = start
    parser.EndElementHandler = end
    parser.CharacterDataHandler = lambda text: open_elements[-1].pieces.append(text)
    parser.StartDoctypeDeclHandler = refuse
    parser.EntityDeclHandler = refuse
    try:
        parser.Parse(utf8, True)  # noqa: FBT003,RUF100 # whether it is the last part
    except expat.ExpatError as error:
        raise XmlError(f"broken XML ({expat.ErrorString(error.code)})", error.lineno) from error
    return top.children[0]
