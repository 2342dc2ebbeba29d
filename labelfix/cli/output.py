"""How tables and messages are printed: for people, for pipes, and never obeying the data."""

from __future__ import annotations

import sys
from enum import StrEnum
from typing import TYPE_CHECKING, TextIO

from labelfix.text import visible

if TYPE_CHECKING:
    import polars as pl

__all__ = ["Format", "print_lines", "print_rows"]

_COLUMNS = {
    "rank": "rank",
    "item_id": "item",
    "given_label": "given",
    "suggested_label": "suggested",
    "kind": "kind",
    "quality": "quality",
    "flagged": "flagged",
}
"""What the table for people shows of the queue; the other formats show every column."""


class Format(StrEnum):
    """How a command lists things."""

    table = "table"
    json = "json"
    jsonl = "jsonl"
    csv = "csv"


def print_rows(rows: pl.DataFrame, form: Format) -> None:
    """Print rows of a queue to standard output."""
    if form is Format.table:
        _print_table(rows)
        return
    if form is Format.json:
        text = rows.write_json()
    elif form is Format.jsonl:
        text = rows.write_ndjson()
    else:
        text = rows.write_csv()
    if sys.stdout.isatty():
        text = "\n".join(visible(line) for line in text.split("\n"))
    sys.stdout.write(text if text.endswith("\n") or not text else text + "\n")


def print_lines(*lines: str, to: TextIO | None = None) -> None:
    """Print lines, to standard output unless told otherwise."""
    out = to or sys.stdout
    for line in lines:
        out.write("\n".join(visible(part) for part in line.split("\n")) + "\n")


def _print_table(rows: pl.DataFrame) -> None:
    """Draw a table as wide as the terminal, or, into a pipe, as wide as it needs."""
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="bold")
    for title in _COLUMNS.values():
        right = title in {"rank", "quality"}
        table.add_column(
            title,
            justify="right" if right else "left",
            no_wrap=title != "item",
            overflow="fold" if title == "item" else "ellipsis",
        )
    for row in rows.select(*_COLUMNS).iter_rows(named=True):
        table.add_row(*(Text(_cell(value)) for value in row.values()))
    console = Console(file=sys.stdout, highlight=False)
    if not console.is_terminal:
        console.width = max(1, Console(width=100_000).measure(table).maximum)
    console.print(table)


def _cell(value: object) -> str:
    """Write one value for people.

    Examples
    --------
    >>> _cell(0.04719), _cell(None), _cell(True), _cell("a b")
    ('0.047', '', 'yes', 'a b')
    """
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else ""
    return f"{value:.3f}" if isinstance(value, float) else visible(str(value))
