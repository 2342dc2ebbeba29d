"""How tables and messages are printed: for people, for pipes, and never obeying the data."""

from __future__ import annotations

import sys
from enum import StrEnum
from typing import TYPE_CHECKING, TextIO

from labelfix.text import visible

if TYPE_CHECKING:
    from collections.abc import Mapping

    import polars as pl
    from rich.table import Table

__all__ = ["Format", "print_lines", "print_queue", "print_rows"]

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

_DISPENSABLE = {"kind", "flagged"}
"""What a table gives up on a terminal narrower than `_WIDE` characters."""
_WIDE = 76


class Format(StrEnum):
    """How a command lists things."""

    table = "table"
    json = "json"
    jsonl = "jsonl"
    csv = "csv"


def print_queue(rows: pl.DataFrame, form: Format) -> None:
    """Print rows of a queue; in a table of boxes, the corners of each given or missing one."""
    import polars as pl

    if form is not Format.table or "given_x1" not in rows.columns:
        print_rows(rows, form)
        return
    corners = [
        pl.coalesce(f"given_{edge}", f"suggested_{edge}").round(0).cast(pl.Int64, strict=False)
        for edge in ("x1", "y1", "x2", "y2")
    ]
    columns = {**_COLUMNS}
    del columns["flagged"]
    print_rows(
        rows.with_columns(box=pl.format("{},{} {},{}", *corners)),
        form,
        {"rank": "rank", "item_id": "item", "box": "box", **columns},
    )


def print_rows(rows: pl.DataFrame, form: Format, columns: Mapping[str, str] = _COLUMNS) -> None:
    """Print rows to standard output; as a table these columns, by these names."""
    if form is Format.table:
        _print_table(rows, columns)
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


def _print_table(rows: pl.DataFrame, columns: Mapping[str, str]) -> None:
    """Draw a table as wide as the terminal, or, into a pipe, as wide as it needs."""
    from rich.console import Console

    console = Console(file=sys.stdout, highlight=False)
    narrow = console.is_terminal and console.width < _WIDE
    shown = {name: columns[name] for name in columns if not (narrow and name in _DISPENSABLE)}
    table = _table(rows, shown)
    if not console.is_terminal:
        console.width = max(1, Console(width=100_000).measure(table).maximum)
    console.print(table)


def _table(rows: pl.DataFrame, columns: Mapping[str, str]) -> Table:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="bold")
    for name, shown in columns.items():
        is_item = name == "item_id"
        table.add_column(
            shown,
            justify="right" if rows.schema[name].is_numeric() else "left",
            no_wrap=not is_item,
            overflow="fold" if is_item else "ellipsis",
            min_width=16 if is_item else None,
        )
    for row in rows.select(list(columns)).iter_rows():
        table.add_row(*(Text(_cell(value)) for value in row))
    return table


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
