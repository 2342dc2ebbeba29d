"""The text of a YOLO label file: parsed many files at once, and edited line by line."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from labelfix.boxes import YOLO, Convention
from labelfix.errors import InputError, Problem

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from labelfix.formats.edits import Box, Edit, Segmentation
    from labelfix.formats.numbers import NumberStyle

__all__ = ["POLYGON", "Change", "Manner", "coordinates", "parse", "rewrite", "split_rows"]

BOM = b"\xef\xbb\xbf"
POLYGON = Convention("corners", normalised=True)
"""The box around a polygon, before it is scaled to pixels."""

_TOKEN = re.compile(rb"[^ \t\r\n\x0b\x0c]+")
_LINE_END = re.compile(rb"\r\n|\n|\r")
_LAST_LINE_END = re.compile(rb"(?:\r\n|\n|\r)\Z")


def split_rows(files: Sequence[bytes | None]) -> pl.DataFrame:
    """Rows with their file, line and tokens, without blank lines and comments."""
    lines = [data.removeprefix(BOM).splitlines() if data else [] for data in files]
    numbers = [len(found) for found in lines]
    text = [line.decode("utf-8", "replace") for found in lines for line in found]
    table = pl.DataFrame(
        {
            "file": np.repeat(np.arange(len(files)), numbers),
            "line": [number for many in numbers for number in range(1, many + 1)],
            "tokens": pl.Series(text, dtype=pl.String).str.extract_all(r"[^ \t\r\n\x0B\x0C]+"),
        },
        schema_overrides={"line": pl.Int64},
    )
    is_row = (pl.col("length") > 0) & ~pl.col("tokens").list.first().str.starts_with("#")
    return table.with_columns(length=pl.col("tokens").list.len().cast(pl.Int64)).filter(is_row)


def parse(
    files: Sequence[bytes | None], paths: Sequence[str], classes: int
) -> tuple[pl.DataFrame, list[Problem]]:
    """Rows of some label files: file, line, class id (code), length, polygon, points and v0 to v3.

    The four values are the numbers of a box row as written, or the corners around a polygon.
    `points` is how many numbers a point has, 2 or 3, where the first four numbers of each polygon
    are a box around all the points that follow; else 0.
    """
    rows = split_rows(files)
    tokens = rows["tokens"].explode()
    flat = tokens.cast(pl.Float64, strict=False)
    length = rows["length"].to_numpy()
    first = np.cumsum(length) - length
    numbers = flat.fill_null(float("nan")).to_numpy()
    has_text = np.zeros(len(length), dtype=bool)
    has_text[np.searchsorted(first, flat.is_null().arg_true().to_numpy(), side="right") - 1] = True
    rows = rows.with_columns(
        code=numbers[first],
        has_text=has_text,
        polygon=(pl.col("length") >= 7) & (pl.col("length") % 2 == 1),
    )
    bad, problems = _judge(rows, paths, classes)
    good = rows.filter(~bad)
    values, points = _values(numbers, first[~bad.to_numpy()], good)
    columns = pl.DataFrame(values, schema=["v0", "v1", "v2", "v3"], orient="row")
    columns = columns.cast(pl.Float64)
    return good.select("file", "line", pl.col("code").cast(pl.Int64), "length", "polygon").hstack(
        [pl.Series("points", points), *columns]
    ), problems


def _judge(
    rows: pl.DataFrame, paths: Sequence[str], classes: int
) -> tuple[pl.Series, list[Problem]]:
    """Which rows cannot be used, and why."""
    length, code = pl.col("length"), pl.col("code")
    expected = "5: class, centre x and y, width, height; or a class and 3 or more corners"
    judged = rows.with_columns(
        why=pl.when((length != 5) & ~pl.col("polygon"))
        .then(0)
        .when(pl.col("has_text"))
        .then(1)
        .when((code < 0) | (code >= classes) | (code != code.floor()))  # NaN is above all here
        .then(2)
    )
    says = [
        ("{length} numbers", expected),
        ("text among the numbers ({text})", "numbers"),
        ("class {code:g}", f"a class of the {classes} in the YAML, from 0"),
    ]
    problems = []
    for row in judged.filter(pl.col("why").is_not_null()).iter_rows(named=True):
        found, wanted = says[row["why"]]
        found = found.format(**row, text=" ".join(row["tokens"])[:40])
        fix = "labels have no confidence: give predictions as such" if row["length"] == 6 else ""
        if row["why"] == 0 and row["length"] > 6 and row["length"] % 3 == 2:
            fix = "keypoints, if that is what they are, are not read: give their boxes alone"
        problems.append(Problem(paths[row["file"]], found, wanted, fix, row["line"]))
    return judged["why"].is_not_null(), problems


def _values(
    numbers: NDArray[np.float64], first: NDArray[np.int64], rows: pl.DataFrame
) -> tuple[NDArray[np.float64], NDArray[np.int8]]:
    """Four numbers a row, shape (n, 4), and how many a point has where it looks like keypoints.

    The numbers are a box as written, or the corners around a polygon.
    """
    looks = np.zeros(len(first), dtype=np.int8)
    polygon = rows["polygon"].to_numpy()
    values = np.empty((len(first), 4))
    values[~polygon] = numbers[first[~polygon, None] + np.arange(1, 5)]
    if polygon.any():
        corners = (rows["length"].to_numpy()[polygon] - 1) // 2
        start = np.cumsum(corners) - corners
        place = np.repeat(first[polygon] + 1 - 2 * start, 2 * corners) + np.arange(
            2 * corners.sum()
        )
        points = numbers[place].reshape(-1, 2)
        values[polygon, :2] = np.minimum.reduceat(points, start)
        values[polygon, 2:] = np.maximum.reduceat(points, start)
        if polygon.all() and (corners == corners[0]).all():  # keypoints are as many in every row
            table = points.reshape(len(first), -1)
            triples, pairs = (_boxes_with_points(table, each) for each in (3, 2))
            looks = np.select([pairs, triples], [2, 3], 0).astype(np.int8)
    return values, looks


def _boxes_with_points(table: NDArray[np.float64], each: int) -> NDArray[np.bool_]:
    """Whether the first four numbers of each row are a box around the points that follow.

    A point is x and y, and of three numbers also 0, 1 or 2: not labelled, hidden or seen. One that
    is not labelled is written as (0, 0), wherever the box is.
    """
    if (table.shape[1] - 4) % each or table.shape[1] <= 4:
        return np.zeros(len(table), dtype=bool)
    points = table[:, 4:].reshape(len(table), -1, each)
    centre, half = table[:, None, :2], table[:, None, 2:4] / 2
    slack = 1e-4  # of rounding to a few decimals
    inside = (np.abs(points[..., :2] - centre) <= half + slack).all(axis=2)
    inside |= (points[..., :2] == 0).all(axis=2)
    return np.asarray((inside & np.isin(points[..., 2:], (0, 1, 2)).all(axis=2)).all(axis=1))


@dataclass
class Change:
    """What happens to one label file."""

    size: tuple[int, int]
    """Of the image."""
    rows: dict[int, Edit]
    """By line, from 1."""
    added: list[tuple[str, Box]]


@dataclass(frozen=True)
class Manner:
    """How the rows of a dataset are written."""

    ids: Mapping[str, int]
    """From label to class id."""
    style: NumberStyle
    """For files that do not show their own."""
    polygons: bool
    """Whether new rows are polygons, as most are."""
    segmentation: Segmentation


def rewrite(path: str, data: bytes, change: Change, manner: Manner) -> bytes:
    """Carry out the corrections of one label file, leaving all other bytes as they are.

    Raises
    ------
    InputError
        Naming each line with a correction that YOLO has no way to write.
    """
    bom = BOM if data.startswith(BOM) else b""
    lines = data.removeprefix(BOM).splitlines(keepends=True)
    ended = not lines or lines[-1].endswith((b"\n", b"\r"))
    found = _LINE_END.search(data)
    pen = _Pen(manner.style.of_file(coordinates(data)), change.size, manner)
    problems: list[Problem] = []
    for number, edit in change.rows.items():
        try:
            lines[number - 1] = pen.edit(lines[number - 1], edit)
        except _RefusedError as refused:
            problems.append(replace(refused.problem, where=path, line=number))
    if problems:
        raise InputError(problems)
    new = [pen.row(label, box) for label, box in change.added]
    return bom + _join(lines, new, found[0] if found else b"\n", ended=ended)


def coordinates(data: bytes) -> list[str]:
    """Give all numbers of a label file but the class ids, as text."""
    rows = [_TOKEN.findall(row) for row in data.splitlines() if not row.lstrip().startswith(b"#")]
    return [token.decode("ascii", "replace") for row in rows for token in row[1:]]


def _join(lines: list[bytes], new: list[bytes], line_end: bytes, *, ended: bool) -> bytes:
    """Lines that are left, then the new ones, the last one ended only if it was in the file."""
    left = [line for line in lines if line]
    if new and left and not left[-1].endswith((b"\n", b"\r")):
        left[-1] += line_end
    text = b"".join(left + [row + line_end for row in new])
    return text if ended else _LAST_LINE_END.sub(b"", text)


class _RefusedError(Exception):
    """A correction that the format has no way to write."""

    def __init__(self, found: str, expected: str, fix: str) -> None:
        self.problem = Problem("", found, expected, fix)


@dataclass(frozen=True)
class _Pen:
    """Writes rows the way a file does."""

    style: NumberStyle
    size: tuple[int, int]
    manner: Manner

    def row(self, label: str, box: Box) -> bytes:
        """Write a new row, without the end of its line."""
        numbers = self._corners(box) if self.manner.polygons else self._numbers(YOLO, box)
        return " ".join([str(self.manner.ids[label]), *map(self._text, numbers)]).encode()

    def edit(self, line: bytes, edit: Edit) -> bytes:
        """Put other tokens into a row; nothing is left of a deleted one."""
        if edit.ignore:
            fix = "--ignore side-file lists such boxes, --ignore exclude leaves them out"
            raise _RefusedError("a box to ignore", "what YOLO can write", fix)
        if edit.delete:
            return b""
        spans = [token.span() for token in _TOKEN.finditer(line)]
        texts = [line[start:end] for start, end in spans]
        if edit.box is not None:
            texts = self._moved(texts, edit.box)
        if edit.label is not None:
            places = len(texts[0].partition(b".")[2])  # some tools write class ids as 3.0
            texts[0] = f"{self.manner.ids[edit.label]:.{places}f}".encode()
        return _put(line, spans, texts)

    def _moved(self, texts: list[bytes], box: Box) -> list[bytes]:
        """Tokens of a row with another box; a number that stays the same stays as it is written."""
        if len(texts) == 5:
            pairs = zip(texts[1:], self._numbers(YOLO, box), strict=True)
            new = [
                old if float(old) == number else self._text(number).encode()
                for old, number in pairs
            ]
            return [texts[0], *new]
        if self.manner.segmentation == "keep":
            fix = "segmentation='drop' puts the corners of the box for it"
            raise _RefusedError("a new box for a polygon, which would not fit it", "a box", fix)
        return [texts[0], *(self._text(number).encode() for number in self._corners(box))]

    def _numbers(self, convention: Convention, box: Box) -> list[float]:
        return list(self.style.fit(convention, box, self.size))

    def _corners(self, box: Box) -> list[float]:
        x1, y1, x2, y2 = self._numbers(POLYGON, box)
        return [x1, y1, x2, y1, x2, y2, x1, y2]

    def _text(self, number: float) -> str:
        return self.style.write([number])[0]


def _put(line: bytes, spans: list[tuple[int, int]], texts: list[bytes]) -> bytes:
    """Replace the tokens of a line, and what they cover where their number changed."""
    if len(texts) != len(spans):
        first, last = spans[0][0], spans[-1][1]
        return line[:first] + b" ".join(texts) + line[last:]
    parts, done = [], 0
    for (start, end), text in zip(spans, texts, strict=True):
        parts += [line[done:start], text]
        done = end
    return b"".join([*parts, line[done:]])
