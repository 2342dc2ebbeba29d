"""Text that came with the data, made safe to show: names of files and labels can hold anything."""

from __future__ import annotations

import re

__all__ = ["count", "visible"]

_UNSEEN = re.compile(
    "[\x00-\x1f\x7f-\x9f"  # control characters: colours, cursor moves, bells, line ends
    "\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"  # changes of reading direction
    "\u2028\u2029\ud800-\udfff]"  # line ends of Unicode; halves of characters
)


def visible(text: str) -> str:
    r"""Spell out what a terminal or a page would obey instead of show.

    Examples
    --------
    >>> print(visible("cat\x1b[31m.png"))
    cat\x1b[31m.png
    """
    return _UNSEEN.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def count(number: int, noun: str, plural: str | None = None) -> str:
    """Write a number and what it counts.

    Examples
    --------
    >>> count(1, "item"), count(1797, "item"), count(2, "class", "classes")
    ('1 item', '1,797 items', '2 classes')
    """
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"
