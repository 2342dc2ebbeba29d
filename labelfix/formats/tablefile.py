"""Files that hold a table, read as they are: nothing guessed, nothing dropped, nothing rounded.

CSV and TSV cells are text; an empty cell is a missing one, and nothing else is. UTF-8, with or
without a byte order mark, any line ends, quotes as in RFC 4180.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

import polars as pl

from labelfix.errors import InputError, Problem

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

__all__ = ["TableFile", "is_table", "open_table"]

DELIMITERS = {".csv": ",", ".tsv": "\t"}


@dataclass(frozen=True)
class TableFile:
    """A table, where it came from, and the rows that do not fit its header.

    Parameters
    ----------
    path
        The file.
    table
        Its rows. Text files have text columns only.
    bad
        By row: what is wrong with its number of fields.
    """

    path: Path
    table: pl.DataFrame
    bad: dict[int, Problem] = field(default_factory=dict)

    @property
    def is_text(self) -> bool:
        """Whether cells are text because the file has no types."""
        return self.path.suffix.lower() in DELIMITERS

    @cached_property
    def lines(self) -> list[int]:
        """Line of a text file that each row starts on, from 1."""
        delimiter = DELIMITERS[self.path.suffix.lower()]
        return [line for line, _ in _records(self.path, delimiter)][1:]

    def problem(self, row: int, found: str, expected: str = "", fix: str = "") -> Problem:
        """Speak of a row by its line in a text file, else by its number from 0."""
        if self.is_text:
            return Problem(str(self.path), found, expected, fix, line=self.lines[row])
        return Problem(f"{self.path}, row {row}", found, expected, fix)


def is_table(path: Path) -> bool:
    """Whether the name ends like a table's: .csv, .tsv, .parquet, .arrow and the like.

    Examples
    --------
    >>> from pathlib import Path
    >>> is_table(Path("a/labels.CSV")), is_table(Path("labels.npy"))
    (True, False)
    """
    return path.suffix.lower() in DELIMITERS.keys() | _BINARY.keys()


def open_table(path: Path) -> TableFile:
    """Read a table file.

    Raises
    ------
    InputError
        If it is no table, cannot be read, has no rows, names a column twice, is not UTF-8, or its
        quotes do not pair. Rows with too few or too many fields are left to the caller, in
        `TableFile.bad`.
    """
    suffix = path.suffix.lower()
    if not path.is_file() or not is_table(path):
        known = ", ".join([*DELIMITERS, *_BINARY])
        found = "no table" if path.exists() else "no such file"
        raise InputError(Problem(str(path), found, f"a table, whose name ends in {known}"))
    delimiter = DELIMITERS.get(suffix)
    try:
        file = _open_text(path, delimiter) if delimiter else TableFile(path, _BINARY[suffix](path))
    except (OSError, pl.exceptions.PolarsError) as error:
        what = str(error).strip().partition("\n")[0] or type(error).__name__
        raise InputError(
            Problem(str(path), f"a file that does not read ({what})", f"a {suffix[1:]} table")
        ) from error
    if file.table.is_empty():
        raise InputError(Problem(str(path), "no rows", "a table with columns and rows"))
    return file


def _read_parquet(path: Path) -> pl.DataFrame:
    return pl.read_parquet(path, hive_partitioning=False, glob=False)


def _read_arrow(path: Path) -> pl.DataFrame:
    """Read Arrow's file format, or its stream format, which goes by the same suffix."""
    try:
        return pl.read_ipc(path)
    except pl.exceptions.ComputeError:
        return pl.read_ipc_stream(path)


_BINARY: dict[str, Callable[[Path], pl.DataFrame]] = {
    **dict.fromkeys((".parquet", ".pq"), _read_parquet),
    **dict.fromkeys((".arrow", ".feather", ".ipc"), _read_arrow),
}


def _open_text(path: Path, delimiter: str) -> TableFile:
    """Let Polars read what is plain, and the csv module, slower, what Polars would smooth over."""
    header = _header(path, delimiter)
    try:
        table = pl.read_csv(
            path, separator=delimiter, infer_schema=False, encoding="utf8", glob=False
        )
    except pl.exceptions.PolarsError:
        return _read_slowly(path, delimiter, header)
    if table.columns != header or table.is_empty() or table[header[-1]].null_count():
        return _read_slowly(path, delimiter, header)  # a short row ends in a missing cell
    return TableFile(path, table.with_columns(pl.col(pl.String).replace("", None)))


def _header(path: Path, delimiter: str) -> list[str]:
    _, header = next(_records(path, delimiter), (1, []))
    if not header:
        raise InputError(Problem(str(path), "no header", "a line that names each column", line=1))
    twice = sorted({name for name in header if header.count(name) > 1})
    if twice:
        found = "columns of the same name: " + ", ".join(map(repr, twice))
        raise InputError(Problem(str(path), found, "names that differ", "rename them", line=1))
    others = [sign for sign in ";\t," if sign != delimiter and sign in header[0]]
    if len(header) == 1 and others:
        name = {"\t": "tab", ",": "comma"}
        found = f"fields separated by {name.get(others[0], others[0])}"
        expected = f"by {name[delimiter]} in a {path.suffix} file"
        raise InputError(Problem(str(path), found, expected, "save it so", line=1))
    return header


def _read_slowly(path: Path, delimiter: str, header: list[str]) -> TableFile:
    """Read field by field; keep rows of the wrong length, cut or filled, and say which they are."""
    records = [record for _, record in _records(path, delimiter)][1:]
    while records and not records[-1]:
        records.pop()
    width = len(header)
    rows = [[cell or None for cell in [*record, *[""] * width][:width]] for record in records]
    table = pl.DataFrame(rows, schema=[(str(k), pl.String) for k in range(width)], orient="row")
    table.columns = header  # the constructor would give a column without a name one
    file = TableFile(path, table)
    for row, record in enumerate(records):
        if record and len(record) != width:
            file.bad[row] = file.problem(row, f"{len(record)} fields", f"{width}, as in the header")
    return file


def _records(path: Path, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """Give each record of a text file and the line it starts on; [] for an empty line."""
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.reader(file, delimiter=delimiter, strict=True)
        start = 1
        try:
            for record in reader:
                yield start, record
                start = reader.line_num + 1
        except UnicodeDecodeError as error:
            raise InputError(_not_utf8(path)) from error
        except csv.Error as error:
            raise InputError(
                Problem(str(path), f"a row that does not read ({error})", line=start)
            ) from error


def _not_utf8(path: Path) -> list[Problem]:
    content = path.read_bytes()
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        return [Problem(str(path), "UTF-16 text", "UTF-8", "save it as UTF-8")]
    problems = []
    for number, line in enumerate(content.splitlines(), 1):
        try:
            line.decode()
        except UnicodeDecodeError as error:
            found = f"bytes that are no UTF-8 ({error.object[error.start : error.end]!r})"
            problems.append(Problem(str(path), found, fix="save it as UTF-8", line=number))
    return problems
