"""What applying would change, as a unified diff: the format that people and tools read."""

from __future__ import annotations

import re
from itertools import chain
from pathlib import PurePath
from typing import TYPE_CHECKING

from labelfix.apply.record import Choices
from labelfix.apply.work import plan_work

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import polars as pl

    from labelfix.apply.work import Work
    from labelfix.schema import Dataset

__all__ = ["preview"]

CONTEXT = 3
LOOK = 3
"""Lines that must be equal for two versions to have met again after a change."""

AHEAD = 1000
"""Lines looked ahead for such a place; if there is none, the rest is shown as changed."""

LONG = 1000
"""Bytes of a line from which it is shown in pieces, with a word on that."""

_BINARY = {".parquet", ".pq", ".arrow", ".feather", ".ipc"}
_PIECES = re.compile(rb"(?<=\})[ \t]*,[ \t]*(?=\{)")
_OUTLINE = re.compile(rb"""("segmentation"\s*:\s*)\[\[[^a-z"{}]{80,}?\]\]""")

Change = tuple[int, int, int, int]
"""Old lines from, to, and new lines from, to."""


def preview(
    dataset: Dataset,
    corrections: pl.DataFrame,
    *,
    marks: pl.DataFrame | None = None,
    before: Dataset | None = None,
    choices: Choices | None = None,
    skip_conflicts: bool = False,
) -> Iterator[str]:
    """Yield the lines of a unified diff of what applying would change; nothing is written.

    Lines of a file that is all in one line, as COCO often is, are shown object by object. Parquet
    and Arrow files, which have no lines, are shown row by row.

    Parameters
    ----------
    dataset, corrections, marks, before, choices, skip_conflicts
        As in `labelfix.apply.apply_corrections`.

    Raises
    ------
    InputError
        As `apply_corrections` does, when the first line is asked for.
    """
    work = plan_work(
        dataset,
        corrections,
        marks,
        before,
        choices or Choices(),
        skip_conflicts=skip_conflicts,
    )
    for path, (old, new) in work.changed().items():
        if PurePath(path).suffix.lower() in _BINARY:
            yield from _rows(path, work)
        else:
            yield from _diff(path, old, new)
    for source, target in work.carried.select("source", "target").iter_rows():
        if target is None:
            yield f"excluded {source}"
        elif target != source:
            yield f"rename from {source}"
            yield f"rename to {target}"


def _rows(path: str, work: Work) -> Iterator[str]:
    """Say row by row what changes in a file without lines."""
    yield f"--- a/{path}"
    yield f"+++ b/{path}"
    given = dict(work.dataset.annotations.select("item_id", "label").iter_rows())
    for action, item, label in work.corrections.select("action", "item_id", "label").iter_rows():
        yield f"@@ {item} @@"
        yield f"-{given[item]}"
        if action == "set_label":
            yield f"+{label}"


def _diff(path: str, old: bytes | None, new: bytes) -> Iterator[str]:
    pieces = max(map(len, chain(new.split(b"\n"), [b""]))) >= LONG
    if pieces:
        yield f"{path} has long lines; here each object has its own, and long segmentations are cut"
    one, other = (_lines(data, pieces=pieces) for data in (old or b"", new))
    yield "--- /dev/null" if old is None else f"--- a/{path}"
    yield f"+++ b/{path}"
    for group in _grouped(list(_changes(one, other))):
        yield from _hunk(one, other, group)


def _lines(data: bytes, *, pieces: bool) -> list[bytes]:
    if pieces:
        data = _OUTLINE.sub(rb"\1[[ ... ]]", _PIECES.sub(b",\n", data))
    return data.splitlines(keepends=True) if b"\n" in data else [data] if data else []


def _changes(old: Sequence[bytes], new: Sequence[bytes]) -> Iterator[Change]:
    """Walk both versions; where they part, look for the nearest place where they meet again.

    Corrections are few and near each other, so this takes time proportional to the length.
    """
    i = j = 0
    while i < len(old) or j < len(new):
        if i < len(old) and j < len(new) and old[i] == new[j]:
            i, j = i + 1, j + 1
            continue
        i2, j2 = _meeting(old, new, i, j)
        yield i, i2, j, j2
        i, j = i2, j2


def _meeting(old: Sequence[bytes], new: Sequence[bytes], i: int, j: int) -> tuple[int, int]:
    longest = min(AHEAD, len(old) - i + len(new) - j)
    for distance in range(1, longest + 1):
        for step in range(max(0, distance - (len(new) - j)), min(distance, len(old) - i) + 1):
            a, b = i + step, j + distance - step
            if old[a : a + LOOK] == new[b : b + LOOK]:
                return a, b
    return len(old), len(new)


def _grouped(changes: list[Change]) -> Iterator[list[Change]]:
    """Put changes together whose context would touch."""
    group: list[Change] = []
    for change in changes:
        if group and change[0] - group[-1][1] > 2 * CONTEXT:
            yield group
            group = []
        group.append(change)
    if group:
        yield group


def _hunk(old: Sequence[bytes], new: Sequence[bytes], group: list[Change]) -> Iterator[str]:
    first, last = group[0], group[-1]
    before = min(CONTEXT, first[0])
    after = min(CONTEXT, len(old) - last[1])
    spans = (
        _span(first[0] - before, last[1] + after),
        _span(first[2] - before, last[3] + after),
    )
    yield f"@@ -{spans[0]} +{spans[1]} @@"
    place = first[0] - before
    for i1, i2, j1, j2 in group:
        yield from (_line(" ", line) for line in old[place:i1])
        yield from (_line("-", line) for line in old[i1:i2])
        yield from (_line("+", line) for line in new[j1:j2])
        place = i2
    yield from (_line(" ", line) for line in old[place : place + after])


def _span(start: int, end: int) -> str:
    return f"{start + (end > start)},{end - start}"


def _line(sign: str, line: bytes) -> str:
    text = line.decode("utf-8", "backslashreplace")
    if text.endswith("\n"):
        return sign + text[:-1]
    return f"{sign}{text}\n\\ No newline at end of file"
