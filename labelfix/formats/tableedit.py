"""Corrections carried out on a table file: the label column changes, and nothing else does.

Text files are edited byte by byte. Parquet and Arrow files are written again by pyarrow, which
keeps types, metadata, row groups and compression of the columns that it was given.
"""

from __future__ import annotations

import csv
import io
import re
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from labelfix.errors import InputError, Problem, require_extra
from labelfix.formats.tablefile import DELIMITERS

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import PurePath

__all__ = ["TableChange", "rewrite"]

STYLE_CELLS = 1000
"""Cells looked at to see whether a column is quoted where it need not be."""


@dataclass(frozen=True)
class TableChange:
    """What is to become of the rows of a table.

    Parameters
    ----------
    label
        The column of labels.
    rows
        How many rows there were when the table was read.
    given
        Label of each row that changes or goes, to see that it is the one that is meant.
    new
        New label by row, from 0.
    gone
        Rows that are left out.
    column
        A column to add, if any: its name, and its values by row; the others are empty.
    """

    label: str
    rows: int
    given: Mapping[int, str]
    new: Mapping[int, str] = field(default_factory=dict)
    gone: frozenset[int] = frozenset()
    column: tuple[str, Mapping[int, str]] | None = None

    def __bool__(self) -> bool:
        """Whether anything changes at all."""
        return bool(self.new or self.gone or self.column)


def rewrite(path: PurePath, data: bytes, change: TableChange) -> bytes:
    """Carry out a change on the content of a table file.

    Raises
    ------
    InputError
        If a label is none that its column can hold, or the column to add is there already.
    MissingExtraError
        If the file is Parquet or Arrow and pyarrow is not installed.
    """
    suffix = path.suffix.lower()
    if suffix in DELIMITERS:
        return _Text(path, data, DELIMITERS[suffix]).changed(change)
    return _rewrite_binary(path, data, change)


# ---------------------------------------------------------------- text


class _Text:
    """A CSV or TSV file as bytes, with the place of each record."""

    def __init__(self, path: PurePath, data: bytes, delimiter: str) -> None:
        self.path, self.data = path, data
        self.delimiter = delimiter.encode()
        self.places = list(pairwise(_starts(data, delimiter)))
        self._field = re.compile(rb'"(?:[^"]|"")*"|[^\r\n%b]*' % re.escape(self.delimiter))

    def changed(self, change: TableChange) -> bytes:
        """Give the file with the change."""
        if len(self.places) < change.rows + 1:
            raise self._other(f"{len(self.places) - 1} rows", f"{change.rows}")
        header = self.fields(0)
        names = [self.text(one) for one in header]
        at = names.index(change.label)
        edits = [*self._labels(change, at), *self._column(change, names)]
        for row in change.gone:
            self._check(row, at, change.given[row])
            edits.append((*self.places[row + 1], b""))
        return _edited(self.data, edits)

    def fields(self, record: int) -> list[tuple[int, int]]:
        """Where each field of a record starts and ends, quotes included."""
        place, end = self.places[record]
        if record == 0 and self.data.startswith(b"\xef\xbb\xbf"):
            place += 3
        spans = []
        while True:
            found = self._field.match(self.data, place, end)
            stop = found.end() if found else place
            spans.append((place, stop))
            if self.data[stop : stop + 1] != self.delimiter:
                return spans
            place = stop + 1

    def text(self, span: tuple[int, int]) -> str:
        """Content of a field, without its quotes."""
        cell = self.data[slice(*span)].decode()
        return cell[1:-1].replace('""', '"') if cell.startswith('"') else cell

    def _labels(self, change: TableChange, at: int) -> Iterator[tuple[int, int, bytes]]:
        for row, label in change.new.items():
            span = self._check(row, at, change.given[row])
            yield (*span, self._cell(label, quoted=self._quoted(span, at)))

    def _check(self, row: int, at: int, given: str) -> tuple[int, int]:
        """Find the label of a row, which must be the given one."""
        spans = self.fields(row + 1)
        found = self.text(spans[at]) if at < len(spans) else "nothing"
        if found != given:
            raise self._other(f"label {found!r} in row {row}", repr(given))
        return spans[at]

    def _quoted(self, span: tuple[int, int], at: int) -> bool:
        """Whether a new label is quoted without need: if the old one was, or else if most are."""
        cell = self.data[slice(*span)]
        if not self._needs_quotes(self.text(span)):
            return cell.startswith(b'"')
        votes = [
            self.data[start : start + 1] == b'"'
            for record in range(1, min(len(self.places), STYLE_CELLS))
            if at < len(spans := self.fields(record))
            for start, end in [spans[at]]
            if not self._needs_quotes(self.text((start, end)))
        ]
        return 2 * sum(votes) > len(votes)

    def _needs_quotes(self, text: str) -> bool:
        return any(sign in text for sign in ('"', "\r", "\n", self.delimiter.decode()))

    def _cell(self, text: str, *, quoted: bool) -> bytes:
        if quoted or self._needs_quotes(text):
            text = '"' + text.replace('"', '""') + '"'
        return text.encode()

    def _column(self, change: TableChange, names: list[str]) -> Iterator[tuple[int, int, bytes]]:
        """Put a field at the end of the header and of each row."""
        if change.column is None:
            return
        name, values = change.column
        if name in names:
            raise InputError(_taken(self.path, name))
        for record in range(change.rows + 1):
            end = self.fields(record)[-1][1]
            text = values.get(record - 1, "") if record else name
            if record - 1 not in change.gone:
                yield end, end, self.delimiter + self._cell(text, quoted=False)

    def _other(self, found: str, expected: str) -> InputError:
        fix = "read the dataset again"
        return InputError(Problem(str(self.path), found, f"{expected}, as it was read", fix))


def _starts(data: bytes, delimiter: str) -> list[int]:
    """Where each record starts, and where the last one ends."""
    lines = [0, *(found.end() for found in re.finditer(rb"\r\n|\r|\n", data))]
    if lines[-1] != len(data):
        lines.append(len(data))
    text = io.TextIOWrapper(io.BytesIO(data), encoding="utf-8-sig", newline="")
    reader = csv.reader(text, delimiter=delimiter, strict=True)
    return [0, *(lines[reader.line_num] for _ in reader)]


def _edited(data: bytes, edits: list[tuple[int, int, bytes]]) -> bytes:
    parts, done = [], 0
    for start, end, new in sorted(edits):
        parts += [data[done:start], new]
        done = end
    return b"".join([*parts, data[done:]])


# ---------------------------------------------------------------- Parquet and Arrow


def _rewrite_binary(path: PurePath, data: bytes, change: TableChange) -> bytes:
    arrow = require_extra("pyarrow", "parquet", "writing Parquet and Arrow files")
    if path.suffix.lower() in {".parquet", ".pq"}:
        return _rewrite_parquet(arrow, path, data, change)
    ipc = require_extra("pyarrow.ipc", "parquet", "writing Arrow files")
    try:
        opened, write = ipc.open_file(data), ipc.new_file
    except arrow.ArrowInvalid:
        opened, write = ipc.open_stream(data), ipc.new_stream
    table = _changed(arrow, path, opened.read_all(), change)
    sink = arrow.BufferOutputStream()
    with write(sink, table.schema) as writer:
        writer.write_table(table)
    return bytes(sink.getvalue())


def _rewrite_parquet(arrow: Any, path: PurePath, data: bytes, change: TableChange) -> bytes:
    """Write with the compression of the old file, and row groups as long as its first one."""
    parquet = require_extra("pyarrow.parquet", "parquet", "writing Parquet files")
    file = parquet.ParquetFile(arrow.BufferReader(data))
    table = _changed(arrow, path, file.read(), change)
    group = file.metadata.row_group(0)
    kinds = {
        group.column(column).path_in_schema: group.column(column).compression
        for column in range(group.num_columns)
    }
    sink = arrow.BufferOutputStream()
    parquet.write_table(
        table,
        sink,
        row_group_size=max(1, group.num_rows),
        compression={name: kind.replace("UNCOMPRESSED", "NONE") for name, kind in kinds.items()},
        version=file.metadata.format_version,
    )
    return bytes(sink.getvalue())


def _changed(arrow: Any, path: PurePath, table: Any, change: TableChange) -> Any:
    """Give an Arrow table with the change."""
    at = table.schema.get_field_index(change.label)
    kind = table.schema.field(at)
    labels = _relabelled(arrow, path, table.column(at), change)
    table = table.set_column(at, kind, labels)
    if change.column is not None:
        name, values = change.column
        if name in table.schema.names:
            raise InputError(_taken(path, name))
        cells = [values.get(row) for row in range(change.rows)]
        table = table.append_column(name, arrow.array(cells, arrow.string()))
    if not change.gone:
        return table
    stays = np.ones(table.num_rows, dtype=bool)
    stays[list(change.gone)] = False
    return table.filter(arrow.array(stays))


def _relabelled(arrow: Any, path: PurePath, column: Any, change: TableChange) -> Any:
    """Put new labels into a column, in its own type."""
    if not change.new:
        return column
    if arrow.types.is_dictionary(column.type):
        return _recoded(arrow, path, column, change)
    cells = column.to_pylist()
    for row, label in change.new.items():
        cells[row] = _typed(arrow, path, label, column.type)
    return arrow.array(cells, column.type)


def _recoded(arrow: Any, path: PurePath, column: Any, change: TableChange) -> Any:
    """Put new labels into a column of codes; a label without a code gets the next one."""
    whole = column.unify_dictionaries().combine_chunks()
    whole = whole.chunk(0) if isinstance(whole, arrow.ChunkedArray) else whole
    kind = whole.type
    words = whole.dictionary.to_pylist()
    codes = whole.indices.to_pylist()
    for row, label in change.new.items():
        word = _typed(arrow, path, label, kind.value_type)
        if word not in words:
            words.append(word)
        codes[row] = words.index(word)
    return arrow.DictionaryArray.from_arrays(
        arrow.array(codes, kind.index_type),
        arrow.array(words, kind.value_type),
        ordered=kind.ordered,
    )


def _typed(arrow: Any, path: PurePath, label: str, kind: Any) -> Any:
    """Read a label as what a column holds.

    Raises
    ------
    InputError
        If it cannot hold it.
    """
    try:
        if arrow.types.is_boolean(kind):
            return {"true": True, "false": False}[label]
        value = int(label) if arrow.types.is_integer(kind) else label
        arrow.scalar(value, kind)
    except (ValueError, KeyError, OverflowError, arrow.ArrowException) as error:
        raise InputError(
            Problem(f"label {label!r}", f"no {kind}", f"a label that {path.name} can hold")
        ) from error
    return value


def _taken(path: PurePath, name: str) -> Problem:
    return Problem(f"{path}, column {name!r}", "a column of that name already", "none")
