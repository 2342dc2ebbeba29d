"""A report as a list of blocks, which one function writes as HTML and another as Markdown.

Both say the same, since both are made from the same blocks. Every text is data: it is escaped where
it is written, and nowhere else.
"""

from __future__ import annotations

import base64
import re
from dataclasses import dataclass, field
from itertools import count as counting
from typing import TYPE_CHECKING, ClassVar

from labelfix.report.page import Facts, fill_page
from labelfix.text import visible

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

__all__ = [
    "Block",
    "Card",
    "Cards",
    "Document",
    "Image",
    "Made",
    "Points",
    "Section",
    "Table",
    "Text",
    "Undone",
    "plain",
    "to_html",
    "to_markdown",
]

_SUFFIXES = {"image/svg+xml": "svg", "image/png": "png", "image/jpeg": "jpg"}


@dataclass(frozen=True, slots=True)
class Image:
    """An encoded picture, and what it shows in words.

    Parameters
    ----------
    content, kind
        The bytes, and their media type.
    says
        For those who do not see it.
    """

    content: bytes
    kind: str
    says: str
    block: ClassVar[str] = "image"

    @property
    def address(self) -> str:
        """All of it as a data address."""
        return f"data:{self.kind};base64,{base64.b64encode(self.content).decode()}"


@dataclass(frozen=True, slots=True)
class Text:
    """A paragraph."""

    text: str
    block: ClassVar[str] = "text"


@dataclass(frozen=True, slots=True)
class Points:
    """Sentences, one below the other."""

    lines: Sequence[str]
    block: ClassVar[str] = "points"


@dataclass(frozen=True, slots=True)
class Table:
    """A table of texts.

    Parameters
    ----------
    head, rows
        Names of the columns, and the cells.
    numbers
        Places of the columns that hold numbers and stand to the right.
    title
        Above it; empty for none.
    """

    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    numbers: Sequence[int] = ()
    title: str = ""
    block: ClassVar[str] = "table"


@dataclass(frozen=True, slots=True)
class Card:
    """One item.

    Parameters
    ----------
    item
        Its name.
    before, after
        What was given, and what it is now; `after` is empty if there is nothing to say.
    lines
        What else is to be said.
    image
        None if there is none.
    """

    item: str
    before: str
    after: str
    lines: Sequence[str] = ()
    image: Image | None = None


@dataclass(frozen=True, slots=True)
class Cards:
    """Items beside each other; `wide` ones have two pictures in one."""

    cards: Sequence[Card]
    wide: bool = False
    block: ClassVar[str] = "cards"


@dataclass(frozen=True, slots=True)
class Made:
    """How something was made: names and texts, of which `Command` is what was typed."""

    title: str
    facts: Mapping[str, str]
    block: ClassVar[str] = "made"


@dataclass(frozen=True, slots=True)
class Undone:
    """What was not done, and the command that does it."""

    text: str
    command: str
    block: ClassVar[str] = "undone"


Block = Text | Points | Table | Cards | Image | Made | Undone


@dataclass(frozen=True, slots=True)
class Section:
    """A title, and what is below it."""

    title: str
    blocks: Sequence[Block]


@dataclass(frozen=True)
class Document:
    """A whole report.

    Parameters
    ----------
    title
        What it is about.
    numbers
        Name, value and remark of what is said first.
    warnings
        What makes the results weaker than they look.
    sections
        In order.
    """

    title: str
    numbers: Sequence[tuple[str, str, str]]
    sections: Sequence[Section]
    warnings: Sequence[str] = field(default=())


def to_html(document: Document) -> str:
    """Write one HTML page that needs no other file."""
    facts = Facts(document.title, model="", model_note="", warnings=document.warnings)
    return fill_page("document.html", facts=facts, document=document)


def to_markdown(document: Document, folder: str) -> tuple[str, dict[str, bytes]]:
    r"""Write Markdown, and give the pictures that it refers to.

    Parameters
    ----------
    document
        What to write.
    folder
        Where the pictures will be, as the page is to call it.

    Returns
    -------
    tuple of str and dict
        The page, and the content of each picture by name.

    Examples
    --------
    >>> page, pictures = to_markdown(Document("a|b", (), [Section("S", [Text("<b>")])]), "pictures")
    >>> print(page, end="")
    # a\|b
    <BLANKLINE>
    ## S
    <BLANKLINE>
    &lt;b&gt;
    >>> pictures
    {}
    """
    pictures = _Folder(folder)
    numbers = [f"{name}: {value} ({note})" for name, value, note in document.numbers]
    parts = [f"# {plain(document.title)}", _points(numbers)]
    if document.warnings:
        parts += ["**Worth knowing**", _points(document.warnings)]
    for section in document.sections:
        parts.append(f"## {plain(section.title)}")
        parts += [text for block in section.blocks for text in _written(block, pictures)]
    return "\n\n".join(filter(None, parts)) + "\n", pictures.files


class _Folder:
    """Pictures by name, numbered in the order in which they come."""

    def __init__(self, name: str) -> None:
        self._name, self._numbers = name, counting(1)
        self.files: dict[str, bytes] = {}

    def add(self, image: Image | None) -> str:
        """Take a picture in, and give the Markdown that shows it."""
        if image is None:
            return ""
        name = f"{next(self._numbers):03d}.{_SUFFIXES[image.kind]}"
        self.files[name] = image.content
        return f"![{plain(image.says)}]({self._name}/{name})"


def _written(block: Block, pictures: _Folder) -> Iterator[str]:
    """Write one block."""
    match block:
        case Text(text):
            yield plain(text)
        case Points(lines):
            yield _points(lines)
        case Table():
            if block.title:
                yield f"### {plain(block.title)}"
            rows = [[plain(cell) for cell in row] for row in block.rows]
            yield _grid([plain(name) for name in block.head], rows, block.numbers)
        case Cards(cards):
            yield _cards(cards, pictures)
        case Image():
            yield pictures.add(block)
        case Made(title, facts):
            yield f"### {plain(title)}"
            yield _code(facts["Command"]) if "Command" in facts else ""
            yield _points([f"{name}: {text}" for name, text in facts.items() if name != "Command"])
        case Undone(text, command):
            yield plain(text)
            yield _code(command)


def _points(lines: Sequence[str]) -> str:
    return "\n".join(f"- {plain(line)}" for line in lines)


def _cards(cards: Sequence[Card], pictures: _Folder) -> str:
    rows = [
        [
            pictures.add(card.image),
            f"{plain(card.before)} → **{plain(card.after)}**" if card.after else plain(card.before),
            "; ".join(map(plain, card.lines)),
            plain(card.item),
        ]
        for card in cards
    ]
    head = ["picture", "label", "", "item"]
    kept = [column for column in range(4) if any(row[column] for row in rows)]
    return _grid([head[i] for i in kept], [[row[i] for i in kept] for row in rows], ())


def _grid(head: Sequence[str], rows: Sequence[Sequence[str]], numbers: Sequence[int]) -> str:
    rule = ["---:" if column in numbers else "---" for column in range(len(head))]
    return "\n".join(f"| {' | '.join(line)} |" for line in (head, rule, *rows))


def _code(text: str) -> str:
    """Put a command between fences that nothing in it can close."""
    longest = max(map(len, re.findall("`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}\n{visible(text)}\n{fence}"


def plain(text: str) -> str:
    r"""Make any text stand in Markdown as it is, also in a table.

    Examples
    --------
    >>> print(plain("a|b <i>c</i> `d` *e* [f](g)\n# h"))
    a\|b &lt;i&gt;c&lt;/i&gt; \`d\` \*e\* \[f\](g)\\n# h
    """
    shown = re.sub(r"([\\`*_\[\]|~])", r"\\\1", visible(text))
    shown = shown.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return re.sub(r"^(\s*|\s*\d+)([#+=.)-])(?=[\s#]|$)", r"\1\\\2", shown)
